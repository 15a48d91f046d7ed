"""The options about cookies, and about the header that a token becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from settings.option import TABLES, InvalidOption, Option, Reader, one_of, token
from tokens.json_pointer import JsonPointer
from tokens.lifetime import LONGEST

from credentials.cookies import SECURE_PREFIXES, CookieAttributes, Forwarded, HeaderFormat
from credentials.seal import Seal

SECRET_VARIABLE = "COOKIE_AUTH_SECRET"
_SHORTEST_SECRET = 16

LASTING = 30 * 24 * 3600
"""Seconds that the cookies of a login last whose page holds stand-ins."""

# Headers that frame a message, name its target or carry what the proxy keeps back.
_UNFIT_HEADERS = frozenset(
    "connection content-encoding content-length cookie expect host keep-alive origin"
    " proxy-connection set-cookie te trailer transfer-encoding upgrade".split()
)

OPTIONS = (
    Option(
        "cookie_auth_cookie",
        str,
        "auth-token",
        "Name of the HttpOnly cookie that carries the token.",
    ),
    Option(
        "cookie_auth_header", str, "auth-token", "Request header in which the API reads the token."
    ),
    Option(
        "cookie_auth_header_format", str, "{token}", "Value of that header, e.g. 'Bearer {token}'."
    ),
    Option(
        "cookie_auth_header.fixed",
        TABLES,
        [],
        "Headers with each request to the API: {name: X-Api-Key, env: SHOP_API_KEY}, or file.",
    ),
    Option(
        "cookie_auth_token.more",
        TABLES,
        [],
        "Tokens beside the main one, each with its own header: {from: /id_token, header: X-Id}.",
    ),
    Option(
        "cookie_auth_samesite",
        str,
        "lax",
        "SameSite of the cookie: lax, strict or none; or partitioned, which is none together with"
        " Partitioned, for the app in an iframe of another site.",
    ),
    Option(
        "cookie_auth_secure",
        str,
        "auto",
        "Secure of the cookie: always, never, or auto (when the browser's connection is TLS).",
    ),
    Option(
        "cookie_auth_max_age",
        str,
        "session",
        "Lifetime of the cookie: a number of seconds, session (until the browser closes), or token"
        " (as long as the token: expires_in or expires_at beside it, or the exp of a JWT).",
    ),
    Option(
        "cookie_auth_login.remember",
        str,
        "",
        "Member of the login's request that says whether its user is to stay logged in, such as"
        " rememberMe, or a JSON Pointer; empty: cookie_auth_max_age holds.",
    ),
    Option(
        "cookie_auth_login.remember_age",
        str,
        str(LASTING),
        "Seconds that the cookies of such a login last, renewed with each token.",
    ),
    Option(
        "cookie_auth_secret",
        str,
        "",
        "When set, the cookie's value is encrypted and bound to this API. Two secrets, with a blank"
        " between, serve for a change: the first seals, both open. Better given in the environment"
        f" variable {SECRET_VARIABLE}.",
    ),
    Option(
        "cookie_auth_clear_on_401",
        bool,
        False,
        "Delete the cookie when the API answers 401 to a request that carried its token.",
    ),
    Option(
        "cookie_auth_forward_cookies",
        Sequence[str],
        [],
        "Names of other cookies that pass between browser and API, e.g. XSRF-TOKEN; * for all.",
    ),
)


@dataclass(frozen=True)
class CookieSettings:
    """The auth cookie, and what of the other cookies passes."""

    name: str
    same_site: str
    partitioned: bool
    secure: str
    max_age: int | None
    max_age_of_token: bool
    max_age_given: bool
    """Whether the user has said how long cookies last."""
    remember: JsonPointer | None
    """Where a login's request says whether it is remembered."""
    remember_age: int
    secrets: tuple[str, ...]
    seal: Seal
    clear_on_401: bool
    forwarded: Forwarded

    @classmethod
    def read(cls, read: Reader, environ: Mapping[str, str]) -> "CookieSettings":
        """The secret may also come from the environment (SECRET_VARIABLE); the option goes first.

        Raises InvalidOption.
        """
        name = read.text("cookie_auth_cookie", token)
        same_site = read.text(
            "cookie_auth_samesite", one_of("lax", "strict", "none", "partitioned")
        )
        partitioned = same_site == "partitioned"
        if partitioned:  # it is for pages that are in a frame, which get nothing else
            same_site = "none"
        secure = read.text("cookie_auth_secure", one_of("auto", "always", "never"))
        # RFC 6265bis, 4.1.2.7 and 4.1.3: without Secure, browsers reject these cookies.
        if same_site == "none" or name.lower().startswith(SECURE_PREFIXES):
            if secure == "never":
                raise InvalidOption(
                    "cookie_auth_secure",
                    secure,
                    "auto or always, since browsers reject a SameSite=None, __Secure- or __Host-"
                    " cookie that is not Secure",
                )
            secure = "always"
        max_age = read.text("cookie_auth_max_age", _max_age)
        given = read.text("cookie_auth_secret", str) or environ.get(SECRET_VARIABLE, "")
        secrets = tuple(given.split())
        if any(len(secret) < _SHORTEST_SECRET for secret in secrets):
            raise InvalidOption(
                "cookie_auth_secret", "", f"{_SHORTEST_SECRET} characters or more, without a blank"
            )
        forwarded = frozenset(read.each("cookie_auth_forward_cookies", token, or_none=True))
        return cls(
            name=name,
            same_site=same_site,
            partitioned=partitioned,
            secure=secure,
            max_age=max_age if isinstance(max_age, int) else None,
            max_age_of_token=max_age == "token",
            max_age_given="cookie_auth_max_age" in read.given,
            remember=read.text(
                "cookie_auth_login.remember", lambda text: JsonPointer.parse(text) if text else None
            ),
            remember_age=read.text("cookie_auth_login.remember_age", _seconds),
            secrets=secrets,
            seal=Seal.of(secrets),
            clear_on_401=read.flag("cookie_auth_clear_on_401"),
            forwarded=Forwarded(forwarded, name),
        )

    def attributes(
        self, *, tls: bool, lasting: bool = False, remembered: bool | None = None
    ) -> CookieAttributes:
        """The cookie's attributes on a browser connection with or without TLS.

        `lasting`: what the page keeps in the tokens' place outlives the browser's session, so
        unless it was said otherwise the cookies do, too. `remembered` is what a login's user says.
        """
        secure = self.secure == "always" or (self.secure == "auto" and tls)
        max_age = LASTING if lasting and not self.max_age_given else self.max_age
        if remembered is not None:
            max_age = self.remember_age if remembered else None
        return CookieAttributes(self.same_site, secure, max_age, partitioned=self.partitioned)

    def at_prefix(self, attributes: CookieAttributes, prefix: str) -> CookieAttributes:
        """Those of the cookies beside the token, such as the refresh token's.

        They are needed wherever the API is called, so their Path is the prefix (but for `__Host-`
        cookies, whose Path must be `/`).
        """
        at_root = self.name.lower().startswith("__host-")
        return replace(attributes, path="/" if at_root else prefix or "/")


@dataclass(frozen=True)
class HeaderSettings:
    """The header in which the API reads the token."""

    name: str
    format: HeaderFormat
    given: bool = True
    """Whether somebody has named it."""

    @classmethod
    def read(cls, read: Reader) -> "HeaderSettings":
        """Raises InvalidOption."""
        names = ("cookie_auth_header", "cookie_auth_header_format")
        return cls(
            read.text(names[0], header_name),
            read.text(names[1], header_format),
            given=not set(names).isdisjoint(read.given),
        )


def header_of(name: str, before: str, after: str = "") -> HeaderSettings | None:
    """A header that was learned, with what stands around the token; None for one that is unfit."""
    try:
        return HeaderSettings(header_name(name), header_format(f"{before}{{token}}{after}"))
    except ValueError:
        return None


def header_name(text: str) -> str:
    """A parser for the name of a header that is free."""
    if token(text).lower() in _UNFIT_HEADERS:
        raise ValueError("a header that is free for a token, such as Authorization")
    return text


def header_format(text: str) -> HeaderFormat:
    """A parser for a header's value with a place for the token."""
    before, *after = text.split("{token}")
    if len(after) != 1:
        raise ValueError("a text that holds {token} once, such as 'Bearer {token}'")
    form = HeaderFormat(before.encode(), after[0].encode())
    if not text.isascii() or not form.accepts(b"token"):
        raise ValueError("visible ASCII with no blank at either end, such as 'Bearer {token}'")
    return form


def _max_age(text: str) -> int | str:
    if text in ("session", "token"):
        return text
    try:
        return _seconds(text)
    except ValueError as error:
        raise ValueError(f"session, token, or {error}") from None


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 8) or not 0 < int(text) <= LONGEST:
        raise ValueError(f"seconds from 1 to {LONGEST} (400 days)")
    return int(text)
