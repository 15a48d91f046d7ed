"""What a browser holds for one API, a token and perhaps its refresh token: read and written."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from mitmproxy.connection import Client
from mitmproxy.proxy.mode_specs import ReverseMode

from token_handler.answers import Refused
from token_handler.auth_cookie import CookieAttributes, cookie_pairs, forwarded_cookies
from token_handler.guard import Origin
from token_handler.jar import Jar
from token_handler.lifetime import seconds_left
from token_handler.login import Captured
from token_handler.settings import Settings


@dataclass(frozen=True)
class Held:
    """What the Cookie fields of a request hold."""

    names: tuple[str, ...]
    """Those of our cookies."""
    has_token: bool
    """Whether there is an auth cookie with something in it, good or bad."""
    token: bytes | None
    problem: tuple[str, str] | None
    """What `Refused` is to say where the auth cookie does not tell which token is meant."""
    refresh_token: str | None
    forwarded: str
    """The Cookie field for the API; empty for none."""
    kept_back: tuple[str, ...]
    """The names of the others, which do not go to the API."""


@dataclass(frozen=True)
class Wallet:
    """The cookies of one browser connection and one API."""

    settings: Settings
    name: str
    """The auth cookie's; that of the refresh token is called after it."""
    api: str
    """The API's origin."""
    tls: bool
    """Whether the browser's connection has TLS."""

    @cached_property
    def jar(self) -> Jar:
        return Jar(self.name, self.api, self.settings.seal)

    @cached_property
    def refresh_jar(self) -> Jar:
        return Jar(f"{self.name}-refresh", self.api, self.settings.seal)

    @cached_property
    def read(self) -> Callable[[tuple[str, ...], bool], Held]:
        """What these Cookie fields hold, for a trusted request or another, whose cookies all stay.

        A page sends the same with each request, so they are parsed and opened once.
        """
        return lru_cache(maxsize=64)(self._read)

    def _read(self, fields: tuple[str, ...], trusted: bool) -> Held:
        settings, cookies = self.settings, cookie_pairs(fields)
        forwarded = forwarded_cookies(cookies, settings.forwarded) if trusted else ""
        token = refresh_token = problem = None
        try:
            token = self.jar.read(cookies)
            if token and not settings.header_format.accepts(token):
                problem = (
                    "bad_request",
                    f"The cookie {self.name} holds what no HTTP header can carry."
                    " Delete it and log in again.",
                )
        except Refused as refused:
            problem = refused.code, refused.message
        with contextlib.suppress(Refused):
            found = self.refresh_jar.read(cookies)
            refresh_token = found.decode("utf-8", "replace") if found else None
        return Held(
            names=(*self.jar.names_in(cookies), *self.refresh_jar.names_in(cookies)),
            has_token=any(value for name, value in cookies if self.jar.owns(name)),
            token=token,
            problem=problem,
            refresh_token=refresh_token,
            forwarded=forwarded,
            kept_back=tuple(
                name
                for name in dict(cookies)
                if not settings.forwarded.is_own(name)
                and not (trusted and name in settings.forwarded)
            ),
        )

    def issue(self, captured: Captured, held: Iterable[str]) -> list[str]:
        """The Set-Cookie values that give a captured token to the browser, which holds cookies of
        these names already.

        Raises Refused for a token that could not come back as it is, or that is over.
        """
        held = list(held)
        attributes = self.settings.cookie_attributes(tls=self.tls)
        if not self.settings.header_format.accepts(captured.token.encode("utf-8", "replace")):
            raise _unusable("holds characters that no HTTP header can carry")
        if self.settings.max_age_of_token:
            left = seconds_left(captured.beside, captured.token, time.time())
            if left is not None and left <= 0:
                raise _unusable("is over already; are the clocks of API and proxy right?")
            attributes = dataclasses.replace(attributes, max_age=left)
        cookies = _kept(self.jar, captured.token, attributes, held)
        if captured.refresh_token is not None:
            attributes = self.settings.refresh_cookie_attributes(tls=self.tls)
            cookies += _kept(self.refresh_jar, captured.refresh_token, attributes, held)
        return cookies

    def expire(self, held: Iterable[str]) -> list[str]:
        """The Set-Cookie values that delete the auth cookie, and all that the browser holds."""
        held = list(held)
        expired = self.jar.expire(held, self.settings.cookie_attributes(tls=self.tls))
        if self.settings.renewal:
            attributes = self.settings.refresh_cookie_attributes(tls=self.tls)
            expired += self.refresh_jar.expire(held, attributes)
        return expired


class Wallets:
    """One for each kind of browser connection and each API, as long as the settings hold.

    With `several` APIs, cookies are named after the port of ours that they are reached by.
    """

    def __init__(self, settings: Settings, *, several: bool) -> None:
        self._settings = settings
        self._several = several
        self._wallets: dict[object, Wallet] = {}

    def of(self, client: Client) -> Wallet:
        """The wallet for a browser's connection, which came in through a reverse mode."""
        mode, port = client.proxy_mode, client.sockname and client.sockname[1]
        key = mode.full_spec, port, client.tls
        if key not in self._wallets:
            assert isinstance(mode, ReverseMode)
            name = self._settings.cookie
            self._wallets[key] = Wallet(
                self._settings,
                name=f"{name}-{port}" if self._several and port else name,
                api=str(Origin.served_by(mode)),
                tls=client.tls,
            )
        return self._wallets[key]


def _kept(jar: Jar, token: str, attributes: CookieAttributes, held: list[str]) -> list[str]:
    try:
        return jar.issue(token, attributes, held)
    except UnicodeEncodeError:
        problem = "is not Unicode text"
    except ValueError as error:
        problem = str(error)
    raise _unusable(problem)


def _unusable(how: str) -> Refused:
    return Refused("login_unreadable", f"The token in the API's answer to this login {how}.")
