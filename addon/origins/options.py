"""The options about paths, and about who may ask."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from settings.option import InvalidOption, Option, Reader, path, path_or_empty, token

from origins.origin import Origin
from origins.path_rules import Meaning, PathRule, PathRules
from origins.paths import strip_prefix

_VISIBLE = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(r"\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

OPTIONS = (
    Option(
        "cookie_auth_login",
        Sequence[str],
        ["/login"],
        "API paths whose answer carries a token: login, sign-up, switch of account. As in logout,"
        " refresh and switch, a method may stand before a path, * and ** in it, and MEMBER=VALUE of"
        " the body after it: 'POST /auth/*/callback', 'POST /oauth/token grant_type=password'.",
    ),
    Option(
        "cookie_auth_login_redirect",
        str,
        "/",
        "Where a browser navigation (a form, a link) goes that has logged in, unless the API's own"
        " answer leads on.",
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
        "cookie_auth_switch",
        Sequence[str],
        [],
        "API paths that take the token and answer another in its place: impersonate and back, a"
        " tenant's or role's, step-up, a new password: 'POST /users/*/impersonate'.",
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
        "API path at which it is told, perhaps with {token} in it or in a query; empty for that of"
        " cookie_auth_logout.",
    ),
    Option(
        "cookie_auth_logout.all",
        str,
        "",
        "A further logout, which is the API's own: of all devices. The request goes there as it is,"
        " with the token, before the cookie is deleted.",
    ),
    Option(
        "cookie_auth_refresh",
        str,
        "",
        "API path that renews the token, perhaps with a query; empty: tokens are not renewed.",
    ),
    Option(
        "cookie_auth_session",
        str,
        "",
        "API path at which the proxy tells a page whether somebody is logged in; empty: none.",
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
    logins: tuple[PathRule, ...]
    logout: PathRule
    refresh_rule: PathRule | None
    """None if tokens are not renewed."""
    refresh: tuple[str, str] | None
    """By which method, and where, its query included."""
    switches: tuple[PathRule, ...]
    login_redirect: str
    logout_redirect: str
    logout_upstream: tuple[str, str] | None
    """Method and path at which the API is told of a logout."""
    logout_all: PathRule | None
    """The logout of all devices, which goes to the API as the page sends it."""
    session: str | None
    """Where pages are told whether somebody is logged in, below the base path; None for nowhere."""
    frontend: Origin | None

    @classmethod
    def read(cls, read: Reader) -> "PathSettings":
        """Raises InvalidOption."""
        prefix = read.text("cookie_auth_prefix", path_or_empty)
        base_path = read.text("cookie_auth_base_path", path_or_empty)
        rule = partial(PathRule.parse, base_path=base_path)
        logins = read.each("cookie_auth_login", rule)
        logout = read.text("cookie_auth_logout", rule)
        refresh, query = read.text("cookie_auth_refresh", partial(_refresh, base_path=base_path))
        if refresh and not refresh.path:
            raise InvalidOption(
                "cookie_auth_refresh", refresh.text, "a path without *: the proxy asks there itself"
            )
        _refuse_overlaps(("cookie_auth_logout", logout), logins, "cookie_auth_login")
        everywhere = read.text("cookie_auth_logout.all", lambda text: rule(text) if text else None)
        if everywhere:
            said = "cookie_auth_logout.all", everywhere
            _refuse_overlaps(said, logins, "cookie_auth_login")
            _refuse_overlaps(said, [logout], "cookie_auth_logout")
        logouts = [logout, *filter(None, [everywhere])]
        if refresh:
            said = "cookie_auth_refresh", refresh
            _refuse_overlaps(said, logins, "cookie_auth_login")
            _refuse_overlaps(said, logouts, "cookie_auth_logout")
        switches = read.each("cookie_auth_switch", rule, or_none=True)
        for switch in switches:
            said = "cookie_auth_switch", switch
            _refuse_overlaps(said, logins, "cookie_auth_login")
            _refuse_overlaps(said, logouts, "cookie_auth_logout")
            _refuse_overlaps(said, [refresh] if refresh else [], "cookie_auth_refresh")
        session = read.text("cookie_auth_session", lambda text: path(text) if text else "")
        for asks in _asking(session, base_path) if session else ():
            said = "cookie_auth_session", replace(asks, text=session)
            _refuse_overlaps(said, logins, "cookie_auth_login")
            _refuse_overlaps(said, logouts, "cookie_auth_logout")
            _refuse_overlaps(said, filter(None, [refresh]), "cookie_auth_refresh")
            _refuse_overlaps(said, switches, "cookie_auth_switch")
        frontend = read.text("cookie_auth_frontend", _origin_or_none)
        if frontend and not prefix:
            raise InvalidOption(
                "cookie_auth_frontend", str(frontend), "used with cookie_auth_prefix, e.g. /api"
            )
        return cls(
            prefix=prefix,
            base_path=base_path,
            logins=tuple(logins),
            logout=logout,
            refresh_rule=refresh,
            refresh=(refresh.method or "POST", refresh.path + query) if refresh else None,
            switches=tuple(switches),
            login_redirect=read.text("cookie_auth_login_redirect", _redirect),
            logout_redirect=read.text("cookie_auth_logout_redirect", _redirect),
            logout_upstream=_told(read, base_path, logout),
            logout_all=everywhere,
            session=session or None,
            frontend=frontend,
        )

    @cached_property
    def rules(self) -> PathRules:
        found = [(Meaning.LOGOUT, rule) for rule in (self.logout, self.logout_all) if rule]
        found += [(Meaning.REFRESH, rule) for rule in filter(None, [self.refresh_rule])]
        found += [(Meaning.LOGIN, rule) for rule in self.logins]
        found += [(Meaning.SWITCH, rule) for rule in self.switches]
        if self.session:
            found += [(Meaning.SESSION, rule) for rule in _asking(self.session, self.base_path)]
        return PathRules(tuple(found))

    def to_browser(self, upstream_path: str) -> str:
        """An upstream path as the browser knows it: base path off, prefix on.

        One above the base path is that of all that the proxy serves there.
        """
        rest = strip_prefix(upstream_path, self.base_path)
        if rest is None and strip_prefix(self.base_path, upstream_path.rstrip("/")) is not None:
            rest = ""
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


def _refresh(text: str, base_path: str) -> tuple[PathRule | None, str]:
    """A parser for the rule of the refresh; the query of its path, with its question mark."""
    query = re.search(r"\?\S*|$", text)
    assert query
    said = text.replace(query[0], "", 1)
    return PathRule.parse(said, base_path) if said else None, query[0]


def _refuse_overlaps(said: tuple[str, PathRule], others: Iterable[PathRule], name: str) -> None:
    """Raises InvalidOption for a rule that may mean a request which another option means."""
    option, rule = said
    for other in others:
        if rule.overlaps(other):
            what = f"for other requests than {other.text!r} of {name}"
            raise InvalidOption(option, rule.text, what)


def _asking(session: str, base_path: str) -> list[PathRule]:
    """The requests that ask who is logged in; others for the same path may be the login itself."""
    return [PathRule.parse(f"{method} {session}", base_path) for method in ("GET", "HEAD")]


def _told(read: Reader, base_path: str, logout: PathRule) -> tuple[str, str] | None:
    """By which method and at which path the API is told of a logout."""
    names = ("cookie_auth_logout_upstream_method", "cookie_auth_logout_upstream_path")
    method = read.text(names[0], token).upper()
    if logout.method and names[0] not in read.given:
        method = logout.method
    at = read.text(names[1], partial(_target, base_path=base_path)) or logout.path
    said = [read.values[f"cookie_auth_logout.{key}"] for key in ("body", "headers")]
    if not read.flag("cookie_auth_logout_upstream") and not any(said):
        return None
    if not at:
        what = "a path, since cookie_auth_logout is a pattern"
        raise InvalidOption(names[1], "", what)
    return method, at


def _target(text: str, base_path: str) -> str:
    """A parser for a path with a query, or for nothing."""
    before, mark, query = text.partition("?")
    return base_path + path(before) + mark + query if text else ""


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
