"""Where an API's answer may carry a token: in its JSON, a header, a cookie, a redirect."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from messages.set_cookies import SetCookie
from mitmproxy import http

from tokens.json_pointer import JsonPointer


class TokenHeader(NamedTuple):
    """A response header in which an API gives its token; `header:NAME` among the pointers."""

    name: str

    @property
    def text(self) -> str:
        return f"header:{self.name}"


class TokenCookie(NamedTuple):
    """A cookie that an API sets, and whose value it wants in a header; `cookie:NAME`."""

    name: str

    @property
    def text(self) -> str:
        return f"cookie:{self.name}"


class TokenLocation(NamedTuple):
    """A parameter in the query or the fragment of a redirect; `location:NAME`."""

    name: str

    @property
    def text(self) -> str:
        return f"location:{self.name}"


Source = JsonPointer | TokenHeader | TokenCookie | TokenLocation
"""Where a login answer may carry the token."""

RefreshSource = JsonPointer | TokenHeader | TokenCookie
"""Where an answer may carry the refresh token."""

_KINDS: Mapping[str, Callable[[str], Source]] = {
    "header": TokenHeader,
    "cookie": TokenCookie,
    "location": TokenLocation,
}
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Further(NamedTuple):
    """A token beside the main one."""

    slot: str
    """Which of the login's tokens it is."""
    source: Source
    is_secret: bool
    """Whether pages may not read it."""

    @property
    def name(self) -> str:
        """The name under which it is handed out."""
        return self.source.name


def parse_source(text: str) -> Source:
    """Read a JSON Pointer, `header:NAME`, `cookie:NAME` or `location:NAME`.

    Raises ValueError, saying what would be right.
    """
    kind, separator, name = text.partition(":")
    if not separator or kind.lower() not in _KINDS:
        return JsonPointer.parse(text)
    if not _NAME.fullmatch(name) or (kind.lower(), name.lower()) == ("header", "set-cookie"):
        raise ValueError(
            "a JSON Pointer such as /authToken, or header:X-Auth-Token, cookie:token, or"
            " location:access_token"
        )
    return _KINDS[kind.lower()](name)


def parse_refresh_source(text: str) -> RefreshSource:
    """Read a JSON Pointer, `header:NAME` or `cookie:NAME`.

    Raises ValueError, saying what would be right.
    """
    if text.lower().startswith("location:"):
        raise ValueError("a JSON Pointer such as /refreshToken, header:NAME, or cookie:NAME")
    source = parse_source(text)
    assert not isinstance(source, TokenLocation)
    return source


def given_cookies(fields: Iterable[str]) -> dict[str, str]:
    """The values that these Set-Cookie fields leave the cookies, by name."""
    cookies = {one.name: one for one in map(SetCookie.read, fields)}
    return {name: one.value for name, one in cookies.items() if not one.deletes}


def in_head(source: Source, headers: http.Headers, cookies: Mapping[str, str]) -> set[str]:
    """What an answer's header or cookie gives; `cookies` are those of `given_cookies`."""
    if isinstance(source, TokenHeader):
        return {value.strip() for value in headers.get_all(source.name)} - {""}
    given = cookies.get(source.name) if isinstance(source, TokenCookie) else None
    return {given} if given else set()


def take_cookies(headers: http.Headers, sources: Iterable[Source]) -> list[str]:
    """Take the Set-Cookie fields of cookies that are tokens out of an answer; these fields."""
    names = {source.name for source in sources if isinstance(source, TokenCookie)}
    fields = headers.get_all("set-cookie") if names else []
    taken = [field for field in fields if field.partition("=")[0].strip(" \t") in names]
    if taken:
        headers.set_all("set-cookie", [field for field in fields if field not in taken])
    return taken
