"""The token as a cookie, and back: reading Cookie fields strictly, writing Set-Cookie safely."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote_to_bytes

Pairs = list[tuple[str, str]]
"""Cookies as a request carries them: names and values, as they stand."""

MAX_COOKIE_BYTES = 4096
"""A browser ignores a cookie whose name and value are longer together (RFC 6265bis, 5.6)."""

SECURE_PREFIXES = ("__secure-", "__host-", "__http-")
"""How a cookie's name begins, in lower case, that browsers take with Secure only (RFC 6265bis,
4.1.3; `__Http-` and `__Host-Http-`: Cookies: HTTP State Management Mechanism, its successor)."""

# RFC 6265, 4.1.1: cookie-octet, less the percent sign, which starts our own escapes.
_COOKIE_OCTETS = "!#$&'()*+-./:<=>?@[]^_`{|}~"
# RFC 9110, 5.5: a field value has no control characters but HTAB, and no blank at either end.
_FIELD_VALUE = re.compile(rb"[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?")

_VISIBLE = re.compile(r"[!-~]+")  # ASCII without blanks and controls

# What follows the auth cookie's name in those of the cookies that go with it.
_BESIDE = re.compile(r"(-\d+)?(~\w*)?((-refresh|-login|-id|-t[1-3])?(\.\d+)?|-api-.*)", re.ASCII)


@dataclass(frozen=True)
class CookieAttributes:
    """What follows name and value in Set-Cookie (RFC 6265bis, 4.1.2)."""

    same_site: str
    secure: bool
    max_age: int | None
    """Seconds, or None for a cookie that ends with the browser's session."""
    path: str = "/"
    partitioned: bool = False
    """Whether each site in whose pages ours stand in a frame has a cookie of its own (CHIPS:
    Cookies Having Independent Partitioned State, 3).
    """

    def __str__(self) -> str:
        return "".join(
            (
                f"; Path={self.path}; HttpOnly",
                f"; SameSite={self.same_site.capitalize()}",
                "; Secure" if self.secure else "",
                "; Partitioned" if self.partitioned else "",
                "" if self.max_age is None else f"; Max-Age={self.max_age}",
            )
        )

    @property
    def twin(self) -> "CookieAttributes":
        """Those of the cookie of the same name and Path that stands beside this one: for browsers a
        partitioned cookie and another one are two.
        """
        if self.partitioned:
            return replace(self, partitioned=False)
        return replace(self, partitioned=True, same_site="none", secure=True)


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

    def token(self, value: bytes) -> bytes:
        """The token in a header's value; the value itself where it is of another format."""
        after = len(value) - len(self.after)
        fits = value.startswith(self.before) and value.endswith(self.after)
        return value[len(self.before) : after] if fits and after > len(self.before) else value


@dataclass(frozen=True)
class Forwarded:
    """The cookies, beside ours, that pass between browser and API: some names, or all."""

    names: frozenset[str]
    own: str
    """The auth cookie's name, which is never forwarded, nor is what belongs to it (`belongs`)."""

    def __contains__(self, name: str) -> bool:
        if not self.names or self.is_own(name) or not is_name(name):
            return False
        return "*" in self.names or name in self.names

    def passes(self, name: str, others: Iterable[str]) -> bool:
        """Whether the browser's cookie of this name goes to the API.

        `others` are the names of the auth cookies of other proxies of our kind, which stay here.
        """
        return name in self and not any(belongs(name, other) for other in others)

    def is_own(self, name: str) -> bool:
        return belongs(name, self.own)


def belongs(name: str, auth_cookie: str) -> bool:
    """Whether a cookie is this auth cookie or one that goes with it.

    That is a piece (`auth-token.0`), a token beside it (`auth-token-refresh`, `-id`, `-t1`), the
    companion (`auth-token-login`), a cookie of the API's own (`auth-token-api-NAME`), or one of
    these of another API, on another port (`auth-token-8082`) or behind a prefix
    (`auth-token~files`).
    """
    return name.startswith(auth_cookie) and _BESIDE.fullmatch(name, len(auth_cookie)) is not None


def is_name(text: str) -> bool:
    """Whether a cookie of this name passes at all, either way.

    One without a name comes back as its bare value (RFC 6265bis, 5.8.3), which may read like any
    cookie; what stands around a name, or in it, some servers drop.
    """
    return _VISIBLE.fullmatch(text) is not None


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


def forwarded_cookies(cookies: Pairs, forwarded: Forwarded, others: Iterable[str]) -> str:
    """The Cookie field value (empty for none) with those that pass; see `Forwarded.passes`."""
    return "; ".join(f"{name}={value}" for name, value in cookies if forwarded.passes(name, others))


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
