"""What a browser holds for one API, its token and what came with it: read and written."""

import contextlib
import dataclasses
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import NamedTuple

from messages.answers import Refused
from mitmproxy.connection import Client
from mitmproxy.proxy.mode_specs import ReverseMode
from origins.origin import Origin
from origins.upstreams import Upstream
from tokens.capture import Captured
from tokens.lifetime import refresh_seconds_left, seconds_left

from credentials.api_cookies import ApiCookie, ApiCookies
from credentials.companion import NO_SESSION, Companion, Notary, Session, Use, is_companion
from credentials.cookies import (
    CookieAttributes,
    Pairs,
    cookie_pairs,
    expire_cookie,
    forwarded_cookies,
    set_cookie,
)
from credentials.jar import Jar
from credentials.more_tokens import MoreToken
from credentials.options import LASTING, CookieSettings, HeaderSettings
from credentials.stand_ins import MAIN, REFRESH, SUFFIXES, name_digest

_LONGEST_REMEMBERED = 16 * 1024  # bytes of Cookie fields; a foreign page may send any number
_MOST_COMPANIONS = 8
_OF_FURTHER_APIS = re.compile(r"~\w*(-login|(\.\d+)?)", re.ASCII)
"""What follows the auth cookie's name in the token cookies, and their companions, of the APIs of
`cookie_auth_upstream`."""


class Brought(NamedTuple):
    """What is to be known of a request's cookies to give its browser others."""

    names: tuple[str, ...] = ()
    """Those of ours."""
    doubtful: tuple[str, ...] = ()
    """Those of them that also have a value which this proxy has not issued."""
    path: str = "/"
    """The path that the browser asked for."""
    api_cookies: tuple[ApiCookie, ...] = ()
    """The API's own, of this login."""


@dataclass(frozen=True)
class Held:
    """What the Cookie fields of a request hold."""

    names: tuple[str, ...]
    doubtful: tuple[str, ...]
    marked: tuple[tuple[str, str], ...]
    """The cookies that the companion speaks of."""
    has_token: bool
    """Whether there is an auth cookie with something in it, good or bad."""
    token: bytes | None
    problem: tuple[str, str] | None
    """What `Refused` is to say where the auth cookie does not tell which token is meant."""
    refresh_token: str | None
    tokens: Mapping[str, str]
    """All of the login's, these two included, by slot."""
    api_cookies: tuple[ApiCookie, ...]
    """The API's own that are part of the login."""
    session: Session
    forwarded: str
    """The Cookie field for the API; empty for none."""
    kept_back: tuple[str, ...]
    """The names of the others, which do not go to the API."""


NOTHING = Held((), (), (), False, None, None, None, {}, (), NO_SESSION, "", ())
"""Held by a browser without cookies, or where it was forgotten."""


@dataclass(frozen=True)
class Wallet:
    """The cookies of one browser connection and one API."""

    cookie: CookieSettings
    header: HeaderSettings
    prefix: str
    renews: bool
    """Whether there are refresh tokens."""
    name: str
    """The auth cookie's; the others are called after it."""
    notary: Notary
    tls: bool
    """Whether the browser's connection has TLS."""
    other_host: str = ""
    """The origin of a further host that shares the token; empty for the API itself."""
    renews_for_pages: bool = False
    """Whether the login comes whole with requests for the front end's pages, for which it may be
    renewed."""
    more: tuple[MoreToken, ...] = ()
    """What is configured beside the token."""

    @property
    def api(self) -> str:
        """The API's origin, which tokens are bound to."""
        return self.notary.api

    @cached_property
    def jars(self) -> Mapping[str, Jar]:
        """By slot."""
        names = {slot: f"{self.name}{suffix}" for slot, suffix in SUFFIXES.items()}
        return {slot: Jar(name, self.api, self.cookie.seal) for slot, name in names.items()}

    @property
    def jar(self) -> Jar:
        return self.jars[MAIN]

    @property
    def refresh_jar(self) -> Jar:
        return self.jars[REFRESH]

    @cached_property
    def api_cookies(self) -> ApiCookies:
        notary = dataclasses.replace(self.notary, api=self.other_host or self.api)
        return ApiCookies(f"{self.name}-api-", notary, self.cookie.seal)

    @property
    def companion(self) -> str:
        """The companion's name."""
        return f"{self.name}-login"

    # Reading

    def read(self, fields: tuple[str, ...], *, trusted: bool, browser: bool) -> Held:
        """What these Cookie fields hold.

        Of a request that is not `trusted`, no cookie goes to the API. Where a `browser` asks, only
        what this proxy has issued counts; a client that is none may write its cookies by hand.
        """
        # A page sends the same with each request, so they are parsed and opened once.
        short = sum(map(len, fields)) <= _LONGEST_REMEMBERED
        return (self._remembered if short else self._read)(fields, trusted, browser)

    @cached_property
    def _remembered(self) -> Callable[[tuple[str, ...], bool, bool], Held]:
        return lru_cache(maxsize=64)(self._read)

    def _read(self, fields: tuple[str, ...], trusted: bool, browser: bool) -> Held:
        cookies = cookie_pairs(fields)
        ours = [pair for pair in cookies if self.owns(pair[0])]
        # The API's own say themselves whose they are, and may be there once for each Path.
        of_ours = [pair for pair in ours if not self.api_cookies.owns(pair[0])]
        issued, session, problem = self._issued(of_ours, alone_counts=browser)
        counting = issued if session.issued or browser else of_ours
        if counting and not session.issued:
            session = Session(hashlib.sha256(repr(counting).encode()).hexdigest(), issued=False)
        token, others_of_login = None, {}
        try:
            token = self.jar.read(counting)
            if token and not self.header.format.accepts(token):
                problem = (
                    "bad_request",
                    f"The cookie {self.name} holds what no HTTP header can carry."
                    " Delete it and log in again.",
                )
        except Refused as refused:
            problem = refused.code, refused.message
        for slot, jar in self.jars.items():
            with contextlib.suppress(Refused):
                if slot != MAIN and (found := jar.read(counting)):
                    others_of_login[slot] = found.decode("utf-8", "replace")
        tokens = {MAIN: token.decode("utf-8", "replace")} if token and not problem else {}
        forwarded = self.cookie.forwarded
        others = {
            name.removesuffix("-login")
            for name, value in cookies
            if name.endswith("-login") and is_companion(value)
        }
        return Held(
            names=tuple(sorted({name for name, _ in ours})),
            marked=tuple(pair for pair in issued if pair[0] != self.companion),
            doubtful=tuple(sorted(_doubtful(of_ours, counting))),
            has_token=any(value for name, value in counting if self.jar.owns(name)),
            token=token,
            problem=problem,
            refresh_token=others_of_login.get(REFRESH),
            tokens={**tokens, **others_of_login},
            api_cookies=self.api_cookies.read(ours, session.id) if session.issued else (),
            session=session,
            forwarded=forwarded_cookies(cookies, forwarded, others) if trusted else "",
            kept_back=tuple(
                name
                for name in dict(cookies)
                if not forwarded.is_own(name) and not (trusted and forwarded.passes(name, others))
            ),
        )

    def _issued(
        self, ours: Pairs, *, alone_counts: bool
    ) -> tuple[Pairs, Session, tuple[str, str] | None]:
        """The cookies that belong to a login of this proxy, and that login.

        `alone_counts`: its companion says so without any, too, as after a login by a cookie.
        """
        values = dict.fromkeys(value for name, value in ours if name == self.companion)
        found: dict[Session, Pairs] = {}
        for value in list(values)[:_MOST_COMPANIONS]:
            companion = Companion.read(value)
            if companion and self.notary.issued(companion):
                marked = [pair for pair in ours if self.notary.issued(companion, *pair)]
                if not marked and not alone_counts:
                    continue
                found.setdefault(companion.session, []).extend([(self.companion, value), *marked])
        if len({session.id for session in found}) > 1:
            text = "The request carries the cookies of two logins. Delete this site's cookies in"
            return [], NO_SESSION, ("bad_request", f"{text} the browser and log in again.")
        for session, cookies in found.items():
            return cookies, session, None
        return [], NO_SESSION, None

    def owns(self, name: str) -> bool:
        """Whether a cookie of this name is a token, their companion, or the API's own."""
        if not name.startswith(self.name):
            return False
        of_tokens = any(jar.owns(name) for jar in self.jars.values())
        return of_tokens or name == self.companion or self.api_cookies.owns(name)

    def is_for_the_api_only(self, name: str) -> bool:
        """Whether a cookie of ours is none of the front end's: all but the token itself."""
        if name.startswith(f"{self.name}~"):
            return _OF_FURTHER_APIS.fullmatch(name, len(self.name)) is None
        return self.owns(name) and not self.jar.owns(name) and name != self.companion

    # Writing

    def issue(
        self,
        captured: Captured,
        brought: Brought,
        renewed: Session | None = None,
        held: Mapping[str, str] = MappingProxyType({}),
        *,
        remembered: bool | None = None,
    ) -> list[str]:
        """The Set-Cookie values that give a captured token to the browser, and that take away what
        it has brought of earlier ones.

        `renewed` is the login that the token renews, of which what it holds, by slot, stays where
        that is not renewed; None for a new one, of which its user may say whether it is to be
        `remembered`. Raises Refused for a token that could not come back as it is, or that is over.
        """
        new = Session(self.notary.new_login(), issued=True, remembered=remembered)
        session = renewed or new
        tokens = {**held, MAIN: captured.token, **captured.more}
        if captured.refresh_token is not None:
            tokens[REFRESH] = captured.refresh_token
        session = session.with_names(self.names_of(captured))
        formats = {MAIN: self.header.format}
        formats |= {one.slot: one.format for one in self.more if one.slot in captured.more}
        for slot, form in formats.items():
            if not form.accepts(tokens[slot].encode("utf-8", "replace")):
                raise _unusable("holds characters that no HTTP header can carry")
        over = [] if renewed else [one._replace(value=None) for one in brought.api_cookies]
        return self.give(session, tokens, brought, beside=captured.beside, api_cookies=over)

    def names_of(self, captured: Captured) -> dict[str, str]:
        """Digests of the names of what was captured beside the token, by slot."""
        return {
            one.slot: name_digest(self.notary, one.further.name)
            for one in self.more
            if one.slot in captured.more
        }

    def give(
        self,
        session: Session,
        tokens: Mapping[str, str],
        brought: Brought,
        *,
        beside: Mapping[str, object] | None = None,
        api_cookies: Iterable[ApiCookie] = (),
    ) -> list[str]:
        """The Set-Cookie values with a login's tokens, by slot, and the API's own cookies; what the
        browser has brought of others goes. `beside` is what stood beside the token.

        Raises Refused.
        """
        attributes = lasting = self._attributes(session)
        if self._is_of_token(session) and REFRESH in tokens:
            left = refresh_seconds_left(beside or {}, tokens[REFRESH], time.time())
            lasting = dataclasses.replace(lasting, max_age=left or LASTING)
        if self._is_of_token(session) and MAIN in tokens:
            left = seconds_left(beside or {}, tokens[MAIN], time.time())
            if left is not None and left <= 0:
                raise _unusable("is over already; are the clocks of API and proxy right?")
            attributes = dataclasses.replace(attributes, max_age=left)
            if len(tokens) == 1:
                lasting = attributes
        jars = {slot: _kept(self.jars[slot], token) for slot, token in tokens.items()}
        marked = {name: value for cookies in jars.values() for name, value in cookies.items()}
        companion = self.notary.companion(session, marked)
        kept = {**marked, self.companion: companion}
        return [
            *self._twins_gone(brought),
            *(
                set_cookie(name, value, attributes if slot == MAIN else self._beside(slot, lasting))
                for slot, cookies in jars.items()
                for name, value in cookies.items()
            ),
            set_cookie(self.companion, companion, lasting),
            *self.api_fields(api_cookies, session),
            *self._gone(brought, kept),
        ]

    def expire(self, brought: Brought) -> list[str]:
        """The Set-Cookie values that delete the auth cookie, and all that the browser holds."""
        always = [self.name, self.refresh_jar.name] if self.renews else [self.name]
        names = dict.fromkeys([*always, *brought.names])
        return [
            *self._twins_gone(brought),
            *self._gone(brought._replace(names=tuple(names)), {}),
            *self.api_fields((one._replace(value=None) for one in brought.api_cookies), NO_SESSION),
        ]

    def api_fields(self, cookies: Iterable[ApiCookie], session: Session) -> list[str]:
        """The Set-Cookie values with the API's own cookies, as part of a login."""
        found = self.api_cookies.fields(cookies, session.id, self._attributes(session))
        return [field for fields in found.values() for field in fields]

    def companion_field(self, session: Session, marked: Iterable[tuple[str, str]]) -> str:
        """The Set-Cookie value of the companion alone, to cookies that stay as they are."""
        attributes, cookies = self._attributes(session), dict(marked)
        if self._is_of_token(session) and any(map(self.refresh_jar.owns, cookies)):
            attributes = dataclasses.replace(attributes, max_age=LASTING)
        return set_cookie(self.companion, self.notary.companion(session, cookies), attributes)

    def expire_planted(self, brought: Brought) -> list[str]:
        """Delete what stands where this proxy sets none: below our cookies' own Path, or beside
        them.
        """
        below = [
            expire_cookie(name, dataclasses.replace(self._attributes_of(name), path=path))
            for name in brought.doubtful
            for path in self._paths(brought.path)
            if path not in ("/", self._attributes_of(name).path)
        ]
        return [*self._twins_gone(brought), *below]

    def _twins_gone(self, brought: Brought) -> list[str]:
        """Delete the twins of what is doubtful, wherever they may stand.

        A script of another port plants one beside an HttpOnly cookie, at the same Path; or it is of
        before `cookie_auth_samesite` was changed. This goes before what is set, since browsers that
        know no partitions take one for the other.
        """
        return [
            expire_cookie(name, dataclasses.replace(self._attributes_of(name).twin, path=path))
            for name in brought.doubtful
            for path in dict.fromkeys((self._attributes_of(name).path, *self._paths(brought.path)))
        ]

    def _gone(self, brought: Brought, kept: dict[str, str]) -> list[str]:
        """Delete what was brought and is not kept; where it is doubtful, wherever it may stand."""
        expired = []
        for name in brought.names:
            if self.api_cookies.owns(name):
                continue  # they have Paths of their own
            attributes = self._attributes_of(name)
            paths = [] if name in kept else [attributes.path]
            if name in brought.doubtful:
                paths += [p for p in self._paths(brought.path) if p != attributes.path]
            expired += [
                expire_cookie(name, dataclasses.replace(attributes, path=path)) for path in paths
            ]
        return expired

    def _paths(self, path: str) -> list[str]:
        """Each Path that a cookie can have which comes with a request for this one (RFC 6265bis,
        5.1.4), the prefix included.
        """
        segments = [segment for segment in path.partition("?")[0].split("/") if segment][:8]
        paths = ["/".join(["", *segments[: end + 1]]) for end in range(len(segments))]
        written = [p for p in paths if p.isascii() and p.isprintable() and ";" not in p]
        return ["/", *(form for p in written for form in (p, p + "/"))]

    def _attributes(self, session: Session) -> CookieAttributes:
        lasting = session.use != Use.LISTED
        return self.cookie.attributes(tls=self.tls, lasting=lasting, remembered=session.remembered)

    def _is_of_token(self, session: Session) -> bool:
        """Whether the cookies last as long as the tokens in them."""
        return self.cookie.max_age_of_token and session.remembered is None

    def _at_prefix(self, attributes: CookieAttributes) -> CookieAttributes:
        return self.cookie.at_prefix(attributes, self.prefix)

    def _attributes_of(self, name: str) -> CookieAttributes:
        """Those that a cookie of ours is deleted with."""
        attributes = self.cookie.attributes(tls=self.tls)
        if self.jar.owns(name) or name == self.companion:
            return attributes
        return self._beside(REFRESH if self.refresh_jar.owns(name) else "", attributes)

    def _beside(self, slot: str, attributes: CookieAttributes) -> CookieAttributes:
        """The attributes of a cookie beside the token, from those of the token itself."""
        with_pages = {REFRESH, *(one.slot for one in self.more)}  # all of a listed login
        at_root = self.renews_for_pages and slot in with_pages
        return attributes if at_root else self._at_prefix(attributes)


class Wallets:
    """One for each kind of browser connection and each API, as long as the settings hold.

    With `several` APIs, cookies are named after the port of ours that they are reached by.
    `further_apis` are the settings of those of `cookie_auth_upstream`, by prefix.
    """

    def __init__(
        self,
        cookie: CookieSettings,
        header: HeaderSettings,
        prefix: str,
        keys: tuple[bytes, ...],
        *,
        renews: bool,
        several: bool,
        renews_for_pages: bool = False,
        further_apis: Mapping[str, tuple[CookieSettings, HeaderSettings]] = MappingProxyType({}),
        more: Mapping[str | None, tuple[MoreToken, ...]] = MappingProxyType({}),
    ) -> None:
        self._cookie = cookie
        self._header = header
        self._prefix = prefix
        self._keys = keys
        self._renews = renews
        self._several = several
        self._renews_for_pages = renews_for_pages
        self._further_apis = further_apis
        self._more = more
        self._wallets: dict[object, Wallet] = {}

    def of(
        self, client: Client, *, tls: bool | None = None, upstream: Upstream | None = None
    ) -> Wallet:
        """The wallet for a browser's connection, which came in through a reverse mode.

        `tls` says whether it has TLS, where something stands before it that may know better;
        `upstream` is the one of `cookie_auth_upstream` that is asked, if it is one.
        """
        mode, port = client.proxy_mode, client.sockname and client.sockname[1]
        tls = client.tls if tls is None else tls
        key = mode.full_spec, port, tls, upstream
        if key not in self._wallets and upstream:
            further = self._further_apis.get(upstream.prefix)
            self._wallets[key] = _further(
                self.of(client, tls=tls), upstream, further, self._more.get(upstream.prefix, ())
            )
        elif key not in self._wallets:
            assert isinstance(mode, ReverseMode)
            name = self._cookie.name
            self._wallets[key] = Wallet(
                self._cookie,
                self._header,
                self._prefix,
                self._renews,
                name=f"{name}-{port}" if self._several and port else name,
                notary=Notary(self._keys, str(Origin.served_by(mode))),
                tls=tls,
                renews_for_pages=self._renews_for_pages,
                more=self._more.get(None, ()),
            )
        return self._wallets[key]


def _further(
    wallet: Wallet,
    upstream: Upstream,
    own: tuple[CookieSettings, HeaderSettings] | None,
    more: tuple[MoreToken, ...],
) -> Wallet:
    """The wallet for a further upstream, made from that of the API of `--mode`.

    Of one that shares the token it is the same, but for the cookies of the host's own, which go to
    no other. That of another API has names, marks and settings of its `own`.
    """
    origin = str(upstream.origin)
    if own is None:
        return dataclasses.replace(wallet, other_host=origin)
    return dataclasses.replace(
        wallet,
        cookie=own[0],
        header=own[1],
        more=more,
        prefix=upstream.prefix,
        name=f"{wallet.name}{upstream.cookie}",
        notary=dataclasses.replace(wallet.notary, api=origin),
        renews_for_pages=False,  # they are renewed for by the API of `--mode`
    )


def _doubtful(ours: Pairs, counting: Pairs) -> set[str]:
    """The names that came with a value which does not count, or with several."""
    times = Counter(name for name, value in dict.fromkeys(ours) if value)
    return {
        name for name, value in ours if value and (times[name] > 1 or (name, value) not in counting)
    }


def _kept(jar: Jar, token: str) -> dict[str, str]:
    try:
        return jar.cookies(token)
    except UnicodeEncodeError:
        problem = "is not Unicode text"
    except ValueError as error:
        problem = str(error)
    raise _unusable(problem)


def _unusable(how: str) -> Refused:
    return Refused("login_unreadable", f"The token in the API's answer to this login {how}.")
