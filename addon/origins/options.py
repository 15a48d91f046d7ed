"""The options about paths, and about who may ask."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from settings.option import InvalidOption, Option, Reader, path, path_or_empty, token

from origins.origin import Origin
from origins.paths import normalise, strip_prefix

_VISIBLE = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(r"\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

OPTIONS = (
    Option(
        "cookie_auth_login",
        Sequence[str],
        ["/login"],
        "API paths whose answer carries a token: login, sign-up, switch of account.",
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
        "cookie_auth_refresh",
        str,
        "",
        "API path that renews the token; empty: tokens are not renewed.",
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
    Option(
        "cookie_auth_frontend",
        str,
        "",
        "URL of the front end's own dev server, which gets all that is outside the prefix,"
        " e.g. http://localhost:5173.",
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
    Option(
        "cookie_auth_public_origin",
        str,
        "",
        "Origin that people see when a tunnel (ngrok, Codespaces) is in front of the proxy, e.g."
        " https://abc.ngrok.app.",
    ),
    Option(
        "cookie_auth_forwarded",
        bool,
        False,
        "Tell the API the address that the browser used, in X-Forwarded-Host, -Proto and -For, as"
        " the front end is told anyway.",
    ),
    Option(
        "cookie_auth_rewrite_bodies",
        bool,
        False,
        "Put the proxy's address in the place of the API's own in the HTML, JSON, JavaScript and"
        " CSS that it answers.",
    ),
)


@dataclass(frozen=True)
class PathSettings:
    """Which paths mean what. Those of the API are upstream paths: the base path is part of them."""

    prefix: str
    base_path: str
    logins: frozenset[str]
    """Normalised."""
    logout: str
    """Normalised."""
    logout_redirect: str
    logout_upstream: tuple[str, str] | None
    """Method and path at which the API is told of a logout."""
    refresh: str | None
    """As it is sent; None if tokens are not renewed."""
    refresh_normalised: str | None
    frontend: Origin | None

    @classmethod
    def read(cls, read: Reader) -> "PathSettings":
        """Raises InvalidOption."""
        prefix = read.text("cookie_auth_prefix", path_or_empty)
        base_path = read.text("cookie_auth_base_path", path_or_empty)
        logins = read.each("cookie_auth_login", path)
        logout = read.text("cookie_auth_logout", path)
        if normalise(logout) in map(normalise, logins):
            raise InvalidOption(
                "cookie_auth_logout", logout, "another path than those of cookie_auth_login"
            )
        refresh = read.text("cookie_auth_refresh", lambda text: path(text) if text else "")
        if refresh and normalise(refresh) in map(normalise, [*logins, logout]):
            raise InvalidOption(
                "cookie_auth_refresh", refresh, "another path than those of login and logout"
            )
        frontend = read.text("cookie_auth_frontend", _origin_or_none)
        if frontend and not prefix:
            raise InvalidOption(
                "cookie_auth_frontend", str(frontend), "used with cookie_auth_prefix, e.g. /api"
            )
        told_at = read.text("cookie_auth_logout_upstream_path", lambda p: path(p) if p else logout)
        told_by = read.text("cookie_auth_logout_upstream_method", token).upper()
        told = read.flag("cookie_auth_logout_upstream")
        return cls(
            prefix=prefix,
            base_path=base_path,
            logins=frozenset(normalise(base_path + login) for login in logins),
            logout=normalise(base_path + logout),
            logout_redirect=read.text("cookie_auth_logout_redirect", _redirect),
            logout_upstream=(told_by, base_path + told_at) if told else None,
            refresh=base_path + refresh if refresh else None,
            refresh_normalised=normalise(base_path + refresh) if refresh else None,
            frontend=frontend,
        )

    def to_browser(self, upstream_path: str) -> str:
        """An upstream path as the browser knows it: base path off, prefix on."""
        rest = strip_prefix(upstream_path, self.base_path)
        return upstream_path if rest is None else self.prefix + rest or "/"


@dataclass(frozen=True)
class OriginSettings:
    """Who is trusted beside the proxy's own pages, and by which names it may be addressed."""

    allowed: frozenset[Origin]
    allowed_hosts: tuple[str, ...]
    public: Origin | None = None
    """The one that people see beside the proxy's own, when a tunnel is in front of it."""
    forwarded: bool = False
    """Whether the API is told what the front end is told anyway: the address that was asked for."""
    rewrites_bodies: bool = False

    @classmethod
    def read(cls, read: Reader) -> "OriginSettings":
        """Raises InvalidOption."""
        return cls(
            frozenset(read.each("cookie_auth_allowed_origins", Origin.parse, or_none=True)),
            tuple(read.each("cookie_auth_allowed_hosts", _host, or_none=True)),
            read.text("cookie_auth_public_origin", _public),
            forwarded=read.flag("cookie_auth_forwarded"),
            rewrites_bodies=read.flag("cookie_auth_rewrite_bodies"),
        )


def _origin_or_none(text: str) -> Origin | None:
    return Origin.parse(text.rstrip("/")) if text else None


def _public(text: str) -> Origin | None:
    try:
        return _origin_or_none(text)
    except ValueError:
        raise ValueError("an http(s) origin without a path, e.g. https://abc.ngrok.app") from None


def _host(text: str) -> str:
    if not _HOST_NAME.fullmatch(text):
        raise ValueError("a host name without port, such as shop.test, or .test for all under it")
    return text.lower()


def _redirect(text: str) -> str:
    if not _VISIBLE.fullmatch(text) or not text.startswith(("/", "http://", "https://")):
        raise ValueError("a path or an http(s) URL, such as / or http://localhost:3000/bye")
    return text
