"""What all exchanges share."""

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from credentials.logins import Logins
from credentials.wallet import Wallets
from messages.answers import Refused
from mitmproxy import http, options
from origins.origin import Origin
from profiles.reading import Resolved
from tokens import lifetime
from tokens.lifetime import Births, Ends
from upstream.own_requests import Renewals, Successors

from exchanges.learned import Learned
from exchanges.settings import Settings

if TYPE_CHECKING:
    from exchanges.exchange import Exchange
    from exchanges.renewal import Renewed

logger = logging.getLogger(__name__)

_MOST_TOLD = 1000


class Once:
    """Tells each thing once, up to a bound."""

    def __init__(self) -> None:
        self._told: set[object] = set()

    def has_told(self, about: object) -> bool:
        """Whether something was logged about this, so that it need not be looked for."""
        return about in self._told or len(self._told) == _MOST_TOLD

    def warn(self, about: object, message: str, *values: object) -> None:
        """Log a warning unless one was logged about the same."""
        self._log(logging.WARNING, about, message, *values)

    def info(self, about: object, message: str, *values: object) -> None:
        """The same of what is no cause for worry."""
        self._log(logging.INFO, about, message, *values)

    def _log(self, level: int, about: object, message: str, *values: object) -> None:
        if about not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(about)
            logger.log(level, message, *values)


@dataclass(frozen=True)
class Configuration:
    """What follows from the options; all of it is made anew when one changes."""

    settings: Settings
    wallets: Wallets
    options: Resolved = field(default_factory=Resolved)
    """What the settings were read from."""


@dataclass
class Proxy:
    """One running addon."""

    mitm_options: options.Options
    configuration: Configuration | None = None
    """None while the options are wrong: everything is refused then."""
    logins: Logins = field(default_factory=Logins)
    renewals: "Renewals[Renewed | Refused | None]" = field(default_factory=Renewals)
    successors: "Successors[Renewed]" = field(default_factory=Successors)
    page_refreshes: "Renewals[http.Response | None]" = field(default_factory=lambda: Renewals(10))
    """Those that pages ask for with a stand-in."""
    learned: Learned = field(default_factory=Learned)
    births: Births = field(default_factory=Births)
    ends: Ends = field(default_factory=Ends)
    once: Once = field(default_factory=Once)
    exchanges: "WeakKeyDictionary[http.HTTPFlow, Exchange]" = field(
        default_factory=WeakKeyDictionary
    )
    """Those under way; each flow has one."""
    frontends_of_angular: set[Origin | None] = field(default_factory=set)
    """Those that turned out to be Angular's dev server."""
    last_login: str = ""
    short_ways: int = 0
    """Requests for the front end that took the short way (see `short_way.py`)."""

    def is_due(self, token: str) -> bool:
        """Whether a token is to be renewed before it is used."""
        now, born, ends = time.time(), self.births.of(token), self.ends.of(token)
        return lifetime.is_due(token, now, born, ends)

    @property
    def settings(self) -> Settings:
        return self.configured.settings

    @property
    def configured(self) -> Configuration:
        if self.configuration is None:
            raise Refused(
                "addon_not_loaded", "cookie-auth's options are wrong; see mitmproxy's log."
            )
        return self.configuration
