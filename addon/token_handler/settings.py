"""The options, declared once, and their values as one frozen, validated `Settings`.

To add an option: declare it in OPTIONS, give `Settings` a field, read it in `Settings.parse`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from token_handler.auth_cookie import CookieAttributes, Forwarded, HeaderFormat
from token_handler.graphql import login_keys
from token_handler.guard import Origin
from token_handler.json_pointer import JsonPointer
from token_handler.lifetime import LONGEST
from token_handler.login import Source, parse_source
from token_handler.redacted import Redacted
from token_handler.renewal import Renewal
from token_handler.route import normalise, strip_prefix
from token_handler.seal import Seal

T = TypeVar("T")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_PATH = re.compile(r"/[!-\"$->@-~]*")  # visible ASCII without ? and #
_VISIBLE = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(r"\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_SECONDS = re.compile(r"[0-9]{1,8}")

# Headers that frame a message, name its target or carry what the proxy keeps back.
_UNFIT_HEADERS = frozenset(
    "connection content-encoding content-length cookie expect host keep-alive origin"
    " proxy-connection set-cookie te trailer transfer-encoding upgrade".split()
)


SECRET_VARIABLE = "COOKIE_AUTH_SECRET"
_SHORTEST_SECRET = 16


class Option(NamedTuple):
    """An option as mitmproxy's `Loader.add_option` takes it; the help is for `--options`."""

    name: str
    type: type
    default: str | bool | Sequence[str]
    help: str

    @property
    def form(self) -> str:
        """What a value of this type looks like."""
        return {bool: "true or false", str: "one text"}.get(self.type, "a list of texts")


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
        "cookie_auth_login",
        Sequence[str],
        ["/login"],
        "API paths whose answer carries a token: login, sign-up, switch of account.",
    ),
    Option(
        "cookie_auth_token",
        Sequence[str],
        ["/authToken"],
        "Where the token stands in the JSON of a login answer: JSON Pointers, tried in this order."
        " A name without a slash is that top-level key; / is the whole body.",
    ),
    Option(
        "cookie_auth_login_body",
        str,
        "replace",
        'What a login answers: "replace" gives {"loggedIn": true}, "redact" the API\'s own JSON'
        " without the token.",
    ),
    Option(
        "cookie_auth_logout",
        str,
        "/logout",
        "API path that the proxy answers by deleting the cookie.",
    ),
    Option(
        "cookie_auth_logout_redirect",
        str,
        "/",
        "Where a browser navigation to the logout path goes.",
    ),
    Option(
        "cookie_auth_prefix", str, "", "Path under which the browser reaches the API, e.g. /api."
    ),
    Option(
        "cookie_auth_base_path",
        str,
        "",
        "Path put in front of every API path, since --mode reverse: takes none, e.g. /v1.",
    ),
    Option("cookie_auth_samesite", str, "lax", "SameSite of the cookie: lax, strict or none."),
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
        "cookie_auth_secret",
        str,
        "",
        "When set, the cookie's value is encrypted and bound to this API. Two secrets, with a blank"
        " between, serve for a change: the first seals, both open. Better given in the environment"
        f" variable {SECRET_VARIABLE}.",
    ),
    Option(
        "cookie_auth_refresh",
        str,
        "",
        "API path that renews the token; empty: tokens are not renewed.",
    ),
    Option(
        "cookie_auth_refresh_token",
        str,
        "/refreshToken",
        "JSON Pointer to the refresh token in the answers to login and refresh.",
    ),
    Option(
        "cookie_auth_refresh_body",
        str,
        '{"refreshToken": "{refresh_token}"}',
        "Body of the request that renews the token, JSON or form, with {refresh_token} once.",
    ),
    Option(
        "cookie_auth_clear_on_401",
        bool,
        False,
        "Delete the cookie when the API answers 401 to a request that carried its token.",
    ),
    Option(
        "cookie_auth_logout_upstream",
        bool,
        False,
        "Also tell the API of a logout, with the token, before the cookie is deleted.",
    ),
    Option(
        "cookie_auth_logout_upstream_method",
        str,
        "POST",
        "Method with which the API is told of a logout.",
    ),
    Option(
        "cookie_auth_logout_upstream_path",
        str,
        "",
        "API path at which it is told; empty for that of cookie_auth_logout.",
    ),
    Option(
        "cookie_auth_frontend",
        str,
        "",
        "URL of the front end's own dev server, which gets all that is outside the prefix,"
        " e.g. http://localhost:5173.",
    ),
    Option(
        "cookie_auth_leak",
        str,
        "warn",
        "What to do with an API's answer, outside login, that repeats the token: warn (log and mark"
        " it), block (answer 502) or off.",
    ),
    Option(
        "cookie_auth_redact",
        bool,
        False,
        "Show and save flows without their tokens, which browser and API get all the same.",
    ),
    Option(
        "cookie_auth_forward_cookies",
        Sequence[str],
        [],
        "Names of other cookies that pass between browser and API, e.g. XSRF-TOKEN; * for all.",
    ),
    Option(
        "cookie_auth_allowed_origins",
        Sequence[str],
        [],
        "Further origins whose pages may use the proxy, e.g. http://localhost:3000. They get CORS"
        " answers with credentials.",
    ),
    Option(
        "cookie_auth_allowed_hosts",
        Sequence[str],
        [],
        "Further names under which the proxy may be addressed, beside localhost, *.localhost and"
        " IP addresses; .example.test covers the subdomains.",
    ),
)


class InvalidOption(ValueError):
    """An option's value that makes no sense. The text is one line that says what would."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        shown = "…" if name == "cookie_auth_secret" else repr(value)
        super().__init__(f"{name}: {shown} is wrong; it must be {expected}")


@dataclass(frozen=True)
class Settings:
    """All options, read once; the hooks look nothing up."""

    cookie: str
    header: str
    header_format: HeaderFormat
    login_paths: frozenset[str]
    """Upstream paths, normalised: the base path is part of them."""
    token_sources: tuple[Source, ...]
    redact_login: bool
    logout_path: str
    """Upstream path, normalised."""
    logout_redirect: str
    prefix: str
    base_path: str
    same_site: str
    secure: str
    max_age: int | None
    max_age_of_token: bool
    seal: Seal
    clear_on_401: bool
    renewal: Renewal | None
    refresh_path: str | None
    """Upstream path, normalised; None if tokens are not renewed."""
    graphql_login_keys: frozenset[str]
    logout_upstream: tuple[str, str] | None
    """Method and upstream path at which the API is told of a logout."""
    frontend: Origin | None
    forwarded: Forwarded
    leak: str
    redact: bool
    allowed_origins: frozenset[Origin]
    allowed_hosts: tuple[str, ...]

    @classmethod
    def parse(
        cls, values: Mapping[str, object], environ: Mapping[str, str] | None = None
    ) -> "Settings":
        """Settings from the options' values, by option name. Raises InvalidOption.

        The secret may also come from the environment (SECRET_VARIABLE); the option goes first.
        """
        read = _Reader(values)
        base_path = read.text("cookie_auth_base_path", _path_or_empty)
        logins = read.each("cookie_auth_login", _path)
        logout = read.text("cookie_auth_logout", _path)
        if normalise(logout) in map(normalise, logins):
            raise InvalidOption(
                "cookie_auth_logout", logout, "another path than those of cookie_auth_login"
            )
        same_site = read.text("cookie_auth_samesite", _one_of("lax", "strict", "none"))
        secure = read.text("cookie_auth_secure", _one_of("auto", "always", "never"))
        cookie = read.text("cookie_auth_cookie", _token)
        # RFC 6265bis, 4.1.2.7 and 4.1.3: without Secure, browsers reject these cookies.
        if same_site == "none" or cookie.lower().startswith(("__secure-", "__host-")):
            if secure == "never":
                raise InvalidOption(
                    "cookie_auth_secure",
                    secure,
                    "auto or always, since browsers reject a SameSite=None, __Secure- or __Host-"
                    " cookie that is not Secure",
                )
            secure = "always"
        prefix = read.text("cookie_auth_prefix", _path_or_empty)
        frontend = read.text("cookie_auth_frontend", _origin_or_none)
        if frontend and not prefix:
            raise InvalidOption(
                "cookie_auth_frontend", str(frontend), "used with cookie_auth_prefix, e.g. /api"
            )
        secrets = str(values["cookie_auth_secret"] or (environ or {}).get(SECRET_VARIABLE, ""))
        if any(len(secret) < _SHORTEST_SECRET for secret in secrets.split()):
            raise InvalidOption(
                "cookie_auth_secret", "", f"{_SHORTEST_SECRET} characters or more, without a blank"
            )
        max_age = read.text("cookie_auth_max_age", _max_age)
        sources = read.each("cookie_auth_token", parse_source)
        renewal = _renewal(read, base_path, [*logins, logout])
        told_at = read.text("cookie_auth_logout_upstream_path", lambda p: _path(p) if p else logout)
        told_by = read.text("cookie_auth_logout_upstream_method", _token).upper()
        return cls(
            cookie=cookie,
            header=read.text("cookie_auth_header", _header),
            header_format=read.text("cookie_auth_header_format", _header_format),
            login_paths=frozenset(normalise(base_path + path) for path in logins),
            token_sources=tuple(sources),
            redact_login=read.text("cookie_auth_login_body", _one_of("replace", "redact"))
            == "redact",
            logout_path=normalise(base_path + logout),
            logout_redirect=read.text("cookie_auth_logout_redirect", _redirect),
            prefix=prefix,
            base_path=base_path,
            same_site=same_site,
            secure=secure,
            max_age=max_age if isinstance(max_age, int) else None,
            max_age_of_token=max_age == "token",
            seal=Seal.of(tuple(secrets.split())),
            renewal=renewal,
            refresh_path=normalise(renewal.path) if renewal else None,
            graphql_login_keys=login_keys(s for s in sources if isinstance(s, JsonPointer)),
            clear_on_401=bool(values["cookie_auth_clear_on_401"]),
            logout_upstream=(told_by, base_path + told_at)
            if values["cookie_auth_logout_upstream"]
            else None,
            frontend=frontend,
            forwarded=Forwarded(
                frozenset(read.each("cookie_auth_forward_cookies", _token, or_none=True)), cookie
            ),
            leak=read.text("cookie_auth_leak", _one_of("warn", "block", "off")),
            redact=bool(values["cookie_auth_redact"]),
            allowed_origins=frozenset(
                read.each("cookie_auth_allowed_origins", Origin.parse, or_none=True)
            ),
            allowed_hosts=tuple(read.each("cookie_auth_allowed_hosts", _host, or_none=True)),
        )

    def header_value(self, token: bytes) -> bytes:
        """What the API reads; recorded without the token if flows are redacted."""
        return self.recorded(self.header_format.value(token), token)

    def recorded(self, data: bytes, *secrets: bytes) -> bytes:
        """A header's value or a body; recorded without these secrets if flows are redacted."""
        return Redacted.of(data, secrets) if self.redact else data

    def cookie_attributes(self, *, tls: bool) -> CookieAttributes:
        """The cookie's attributes on a browser connection with or without TLS."""
        secure = self.secure == "always" or (self.secure == "auto" and tls)
        return CookieAttributes(self.same_site, secure, self.max_age)

    def refresh_cookie_attributes(self, *, tls: bool) -> CookieAttributes:
        """Those of the cookie with the refresh token, which outlives the token's own.

        It is needed wherever the API is called, so its Path is the prefix (but for `__Host-`
        cookies, whose Path must be `/`).
        """
        attributes = self.cookie_attributes(tls=tls)
        at_root = self.cookie.lower().startswith("__host-")
        return replace(attributes, path="/" if at_root else self.prefix or "/")

    def path_to_browser(self, path: str) -> str:
        """An upstream path as the browser knows it: base path off, prefix on."""
        rest = strip_prefix(path, self.base_path)
        return path if rest is None else self.prefix + rest or "/"


class _Reader(NamedTuple):
    """Reads options through parsers that raise ValueError, whose text is what would be right."""

    values: Mapping[str, object]

    def text(self, name: str, parse: Callable[[str], T]) -> T:
        return self._parsed(name, self.values[name], parse)

    def each(self, name: str, parse: Callable[[str], T], *, or_none: bool = False) -> list[T]:
        values = self.values[name]
        if not isinstance(values, Sequence) or isinstance(values, str) or not (values or or_none):
            raise InvalidOption(name, values, "a list with at least one value")
        return [self._parsed(name, value, parse) for value in values]

    @staticmethod
    def _parsed(name: str, value: object, parse: Callable[[str], T]) -> T:
        try:
            return parse(str(value))
        except ValueError as error:
            raise InvalidOption(name, value, str(error)) from None


def _renewal(read: _Reader, base_path: str, others: list[str]) -> Renewal | None:
    path = read.text("cookie_auth_refresh", lambda text: _path(text) if text else "")
    if path and normalise(path) in map(normalise, others):
        raise InvalidOption(
            "cookie_auth_refresh", path, "another path than those of login and logout"
        )
    pointer = read.text("cookie_auth_refresh_token", JsonPointer.parse)
    template = read.text("cookie_auth_refresh_body", Renewal.parse_template)
    return Renewal(base_path + path, pointer, template) if path else None


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"{', '.join(choices[:-1])} or {choices[-1]}")
        return text.lower()

    return parse


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("a name of letters, digits and !#$%&'*+-.^_`|~")
    return text


def _header(text: str) -> str:
    if _token(text).lower() in _UNFIT_HEADERS:
        raise ValueError("a header that is free for a token, such as Authorization")
    return text


def _header_format(text: str) -> HeaderFormat:
    before, *after = text.split("{token}")
    if len(after) != 1:
        raise ValueError("a text that holds {token} once, such as 'Bearer {token}'")
    header_format = HeaderFormat(before.encode(), after[0].encode())
    if not text.isascii() or not header_format.accepts(b"token"):
        raise ValueError("visible ASCII with no blank at either end, such as 'Bearer {token}'")
    return header_format


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError("a path that begins with / and has no query, such as /login")
    return text


def _path_or_empty(text: str) -> str:
    """A path to put in front of another one; a slash at its end would be doubled, so it goes."""
    return _path(text).rstrip("/") if text else ""


def _origin_or_none(text: str) -> Origin | None:
    return Origin.parse(text.rstrip("/")) if text else None


def _host(text: str) -> str:
    if not _HOST_NAME.fullmatch(text):
        raise ValueError("a host name without port, such as shop.test, or .test for all under it")
    return text.lower()


def _redirect(text: str) -> str:
    if not _VISIBLE.fullmatch(text) or not text.startswith(("/", "http://", "https://")):
        raise ValueError("a path or an http(s) URL, such as / or http://localhost:3000/bye")
    return text


def _max_age(text: str) -> int | str:
    if text in ("session", "token"):
        return text
    if not _SECONDS.fullmatch(text) or not 0 < int(text) <= LONGEST:
        raise ValueError(f"session, token, or seconds from 1 to {LONGEST} (400 days)")
    return int(text)
