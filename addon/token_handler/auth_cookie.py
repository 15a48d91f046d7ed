"""The token as a cookie, and back: reading Cookie fields strictly, writing Set-Cookie safely."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import quote, unquote_to_bytes

Pairs = list[tuple[str, str]]
"""Cookies as a request carries them: names and values, as they stand."""

MAX_COOKIE_BYTES = 4096
"""A browser ignores a cookie whose name and value are longer together (RFC 6265bis, 5.6)."""

# RFC 6265, 4.1.1: cookie-octet, less the percent sign, which starts our own escapes.
_COOKIE_OCTETS = "!#$&'()*+-./:<=>?@[]^_`{|}~"
# RFC 9110, 5.5: a field value has no control characters but HTAB, and no blank at either end.
_FIELD_VALUE = re.compile(rb"[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?")


@dataclass(frozen=True)
class CookieAttributes:
    """What follows name and value in Set-Cookie (RFC 6265bis, 4.1.2)."""

    same_site: str
    secure: bool
    max_age: int | None
    """Seconds, or None for a cookie that ends with the browser's session."""
    path: str = "/"

    def __str__(self) -> str:
        return "".join(
            (
                f"; Path={self.path}; HttpOnly",
                f"; SameSite={self.same_site.capitalize()}",
                "; Secure" if self.secure else "",
                "" if self.max_age is None else f"; Max-Age={self.max_age}",
            )
        )


@dataclass(frozen=True)
class HeaderFormat:
    """How the API wants to read the token, e.g. `Bearer {token}`."""

    before: bytes
    after: bytes

    def accepts(self, token: bytes) -> bool:
        """Whether the header would bring this token to the API as it is."""
        return _FIELD_VALUE.fullmatch(self.value(token)) is not None

    def value(self, token: bytes) -> bytes:
        return self.before + token + self.after


@dataclass(frozen=True)
class Forwarded:
    """The cookies, beside ours, that pass between browser and API: some names, or all."""

    names: frozenset[str]
    own: str
    """The auth cookie's name, which is never forwarded: not its pieces (`own.0`) either, nor the
    cookie of another API on another port (`own-8082`), nor a refresh token (`own-refresh`)."""

    def __contains__(self, name: str) -> bool:
        if not self.names or self.is_own(name):
            return False
        return "*" in self.names or name in self.names

    def is_own(self, name: str) -> bool:
        return name.startswith(self.own) and self._own_names.fullmatch(name) is not None

    @cached_property
    def _own_names(self) -> re.Pattern[str]:
        return re.compile(re.escape(self.own) + r"(-\d+)?(-refresh)?(\.\d+)?")


def cookie_pairs(fields: Iterable[str]) -> Pairs:
    """Names and values, as they stand, of the cookies in these Cookie fields.

    RFC 6265, 4.2.1: pairs are split at semicolons, and quotes have no meaning there, so another
    application's open quote cannot swallow our cookie. HTTP/2 may send several fields (RFC 9113,
    8.2.3).
    """
    pairs = [pair.partition("=") for field in fields for pair in field.split(";")]
    return [
        (name.strip(" \t"), value.strip(" \t")) for name, separator, value in pairs if separator
    ]


def forwarded_cookies(cookies: Pairs, forwarded: Forwarded) -> str:
    """The Cookie field value (empty for none) with those of the browser's cookies that pass."""
    return "; ".join(f"{name}={value}" for name, value in cookies if name in forwarded)


def forwarded_set_cookie(
    field: str, forwarded: Forwarded, *, tls: bool, to_browser: Callable[[str], str]
) -> str | None:
    """The API's Set-Cookie field as the browser gets it; None for a cookie that does not pass.

    Domain goes, so that the cookie is the proxy's; `to_browser` translates Path. A browser on
    plain HTTP would drop a Secure cookie, and SameSite=None needs Secure; they go as well there,
    but for the prefixed names that must be Secure (RFC 6265bis, 4.1.3) and work on localhost.
    """
    pair, *attributes = field.split(";")
    name = pair.partition("=")[0].strip()
    if "=" not in pair or name not in forwarded:
        return None
    plain = not tls and not name.lower().startswith(("__host-", "__secure-"))
    kept = [pair.strip()]
    for attribute in attributes:
        key, _, value = (part.strip() for part in attribute.partition("="))
        key = key.lower()
        insecure = plain and (key == "secure" or (key, value.lower()) == ("samesite", "none"))
        if key == "path" and value.startswith("/"):
            kept.append(f"Path={to_browser(value)}")
        elif key and key != "domain" and not insecure:
            kept.append(attribute.strip())
    return "; ".join(kept)


def encode_token(token: str) -> str:
    """The token as a cookie's value: what is no cookie-octet is percent-encoded as UTF-8.

    Raises UnicodeEncodeError for a lone surrogate, which JSON can hold and UTF-8 cannot.
    """
    return quote(token, safe=_COOKIE_OCTETS, encoding="utf-8", errors="strict")


def decode_token(value: str) -> bytes:
    """The token's bytes from a cookie's value, as mitmproxy gives header text (`http.Headers`)."""
    return unquote_to_bytes(value.encode("utf-8", "surrogateescape"))


def set_cookie(name: str, value: str, attributes: CookieAttributes) -> str:
    """A Set-Cookie field value."""
    return f"{name}={value}{attributes}"


def expire_cookie(name: str, attributes: CookieAttributes) -> str:
    """The Set-Cookie field value that deletes the cookie: same name and Path, a time long past."""
    over = replace(attributes, max_age=0)
    return f"{name}={over}; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
