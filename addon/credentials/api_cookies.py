"""The API's own HttpOnly cookies beside the token of an unlisted login, as ours.

A session or a refresh cookie, or the state of an OAuth login that is on its way, comes back
to the API that set it, and to no other; scripts of other ports can neither set nor read it. So
`refresh=abc; Path=/auth` becomes

    auth-token-api-refresh=<login>.<mark>.<path>.<value>; Path=/auth; HttpOnly; …

where `mark` is a MAC that binds it all to the login and to the API. It needs no mark in the
companion: APIs change such cookies in answers to any of many requests that are under way at once.
"""

import base64
import binascii
import dataclasses
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from messages.set_cookies import SetCookie

from credentials.companion import Notary
from credentials.cookies import (
    CookieAttributes,
    Pairs,
    decode_token,
    encode_token,
    expire_cookie,
    set_cookie,
)
from credentials.forwarded import is_nameless
from credentials.seal import Seal

_MARK_BYTES = 12
_VALUE = re.compile(r"([\w-]{12})\.([\w-]{16})\.([\w-]*)\.(.*)", re.ASCII | re.DOTALL)


class ApiCookie(NamedTuple):
    """A cookie of the API's, as it set it."""

    name: str
    value: str | None
    """None for one that it has deleted."""
    path: str
    """As the browser knows it."""


@dataclass(frozen=True)
class ApiCookies:
    """Writes them and reads them."""

    prefix: str
    """What the names begin with in the browser."""
    notary: Notary
    seal: Seal

    def owns(self, name: str) -> bool:
        return name.startswith(self.prefix)

    def read(self, cookies: Pairs, login: str) -> tuple[ApiCookie, ...]:
        """Those of a request that belong to this login, in its order."""
        found = []
        for name, value in cookies:
            match = _VALUE.fullmatch(value) if self.owns(name) else None
            if not match or match[1] != login:
                continue
            _, mark, path, written = match.groups()
            if not self.notary.knows(mark, "api cookie", login, name, path, written):
                continue
            try:
                opened = (
                    self.seal.open(written, self._context(name, login))
                    if self.seal.active
                    else decode_token(written)
                )
                where = base64.urlsafe_b64decode(path + "=" * (-len(path) % 4)).decode()
            except (ValueError, binascii.Error):
                continue
            text = opened.decode("utf-8", "surrogateescape")
            found.append(ApiCookie(name.removeprefix(self.prefix), text, where))
        return tuple(found)

    def fields(
        self, cookies: Iterable[ApiCookie], login: str, attributes: CookieAttributes
    ) -> dict[str, list[str]]:
        """The Set-Cookie values that give these to the browser, or delete them there, by name."""
        found: dict[str, list[str]] = {}
        for cookie in cookies:
            name = self.prefix + cookie.name
            there = dataclasses.replace(attributes, path=cookie.path)
            if cookie.value is None:
                found.setdefault(name, []).append(expire_cookie(name, there))
            else:
                value = self._value(name, cookie, login)
                found.setdefault(name, []).append(set_cookie(name, value, there))
        return found

    def _value(self, name: str, cookie: ApiCookie, login: str) -> str:
        text = cookie.value or ""
        active = self.seal.active
        written = (
            self.seal.close(text, self._context(name, login)) if active else encode_token(text)
        )
        path = base64.urlsafe_b64encode(cookie.path.encode()).rstrip(b"=").decode()
        mark = self.notary.digest(_MARK_BYTES, "api cookie", login, name, path, written)
        return f"{login}.{mark}.{path}.{written}"

    def _context(self, name: str, login: str) -> str:
        return f"{name}\n{self.notary.api}\n{login}"


def read_set_cookie(
    field: str, asked: str, to_browser: Callable[[str], str]
) -> tuple[ApiCookie, bool] | None:
    """The cookie of an API's Set-Cookie field, and whether it is HttpOnly; None for none.

    `asked` is the path that the browser asked for (RFC 6265bis, 5.1.4), `to_browser` translates
    Path.
    """
    if is_nameless(field):
        return None
    cookie = SetCookie.read(field)
    name, value = cookie.name, cookie.value
    path = cookie.attributes.get("path", "")
    where = to_browser(path) if path.startswith("/") else _default_path(asked)
    try:
        encode_token(value)
    except UnicodeEncodeError:
        return None
    kept = None if cookie.deletes else value
    return ApiCookie(name, kept, where), "httponly" in cookie.attributes


def _default_path(asked: str) -> str:
    return asked.partition("?")[0].rpartition("/")[0] or "/"
