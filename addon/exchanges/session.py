"""A page asks whether somebody is logged in, and who: answered here, without the API.

As the user endpoint of Duende's BFF and the session endpoint of Curity's token handler do.
"""

import dataclasses
import json
import time
from urllib.parse import parse_qsl

from credentials.stand_ins import ID, MAIN, REFRESH
from messages import answers
from messages.answers import CHALLENGE, Refused
from origins.path_rules import Meaning
from tokens import claims, lifetime
from tokens.capture import LOGGED_IN, Captured
from tokens.suspicion import is_plain

from exchanges import translating
from exchanges.api import Api
from exchanges.exchange import Asked, Exchange
from exchanges.settings import Settings

REQUIRED = "required"
"""The query parameter with which a page asks for an error where nobody is logged in."""


class SessionState(Api):
    """A GET of the session path. Somebody is logged in if an API request like it had a token.

    So it is for a page that sends stand-ins: without one it is nobody. Other methods go to the API,
    which may have its login or logout there.
    """

    kind = "session"
    answered_here = True
    bounded_request = True

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return asked.means is Meaning.SESSION

    def begin(self, asked: Asked) -> None:
        self.read_cookies(asked)
        if not asked.verdict.trusted or not self.session.issued or self.is_over:
            return
        translating.translate_head(self)
        if self._proxy_sends():
            self.token = self.held.tokens.get(MAIN)
            if self.settings.paths.refresh:
                self.let_renew()
        elif self.token is None:
            slots = (slot for slot, _ in self.stood if slot != REFRESH)
            self.token = next(map(self.held.tokens.get, slots), None)

    async def request_head(self) -> None:
        """Nothing goes on."""

    async def request(self) -> None:
        if isinstance(await self._renew_if_due(), Refused):
            self.token = None
        state = self._state()
        method, (_, _, query) = self.flow.request.method, self.flow.request.path.partition("?")
        missed = not state["loggedIn"] and REQUIRED in dict(parse_qsl(query, True))
        status, headers = (401, {"WWW-Authenticate": CHALLENGE}) if missed else (200, {})
        response = answers.json_answer(method, status, state, headers)
        self.add_new_cookies(response)
        self.answer_cors(response)
        self.flow.response = response

    def answer_head(self) -> None:
        """Ours."""

    async def answer(self) -> None:
        """Ours."""

    def _says_login(self) -> bool:
        """No: its path means this to us, whatever is in its name."""
        return False

    def put_token(self, token: bytes) -> None:
        """Nothing is sent with it."""
        self.token = token.decode("utf-8", "replace")

    @property
    def is_due(self) -> bool:
        left = self._seconds_left()
        return super().is_due or (left is not None and left <= 0)

    def _state(self) -> dict[str, object]:
        left = self._seconds_left()
        if self.token is None or self.is_over or (left is not None and left <= 0):
            return {"loggedIn": False}
        ends = {} if left is None else {"expiresIn": int(left)}
        tokens = {**self.held.tokens, MAIN: self.token}
        return {"loggedIn": True, **ends, **claims_of(self, tokens)}

    def _seconds_left(self) -> float | None:
        """Until the token is over; None where nothing says."""
        if self.token is None:
            return None
        ends = self.proxy.ends.of(self.token) or lifetime.expiry(self.token)
        return None if ends is None else ends - time.time()


def with_claims(exchange: Exchange, captured: Captured) -> Captured:
    """A captured answer that says of its login what the session path says, if that is asked for.

    Nothing is added to an API's own answer.
    """
    told = claims_of(exchange, {MAIN: captured.token}) if captured.body == LOGGED_IN else {}
    if not told:
        return captured
    return dataclasses.replace(captured, body=json.dumps({"loggedIn": True, **told}).encode())


def claims_of(exchange: Exchange, tokens: dict[str, str]) -> dict[str, object]:
    """The claims that pages are told, of the main token, else of the id token."""
    settings = exchange.settings.token
    found: dict[str, object] = {}
    for slot in (ID, MAIN):
        read = claims.read(tokens.get(slot, ""), settings.claims, tokens.values(), settings.exposed)
        found.update(read.told)
        for name in filter(is_plain, read.kept):
            exchange.proxy.once.warn(
                ("claim", name),
                "the claim %s seems to hold a token, so pages do not get it; if they may read it:"
                " --set cookie_auth_expose=%s",
                *(name, name),
            )
    return {name: found[name] for name in settings.claims if name in found}
