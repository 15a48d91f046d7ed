"""What a browser holds for one API, a token and perhaps its refresh token, as Set-Cookie fields."""

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from token_handler.answers import Refused
from token_handler.auth_cookie import CookieAttributes, Pairs
from token_handler.jar import Jar
from token_handler.lifetime import seconds_left
from token_handler.login import Captured
from token_handler.settings import Settings


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

    def names_in(self, cookies: Pairs) -> list[str]:
        """The names of ours among a request's cookies."""
        return self.jar.names_in(cookies) + self.refresh_jar.names_in(cookies)

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
