"""What every kind of exchange shares."""

import dataclasses
import time
import weakref
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import ClassVar, NamedTuple

from credentials import carriers
from credentials.companion import NO_SESSION, Session
from credentials.cookies import belongs
from credentials.stand_ins import MAIN
from credentials.wallet import NOTHING, Brought, Held, Wallet
from messages import answers, streaming
from messages.answers import Refused
from messages.headers import IndexedHeaders
from messages.redacted import real
from messages.text import printable
from mitmproxy import http
from origins import cors, rules
from origins.origin import Origin
from origins.path_rules import Meaning
from origins.rules import Verdict
from tokens.capture import Captured
from tokens.lifetime import size_and_expiry
from upstream import reasons

from exchanges import leaks, notes
from exchanges.proxy import Proxy
from exchanges.received import browser_path, told_path
from exchanges.settings import Settings


class Asked(NamedTuple):
    """What the router knows of a request when it chooses the kind."""

    method: str
    path: str
    """The API path with the base path, normalised; as it came where it is the front end's."""
    own: Origin
    """The proxy's origin, as the browser addressed it."""
    verdict: Verdict
    is_browser: bool
    cors: str | None
    """The allowed origin that asks, if one does."""
    site: str | None
    """Sec-Fetch-Site."""
    upgrades: bool
    page: Origin | None
    """That of the page, where it is not trusted and says so in Origin."""
    asks_for: str | None
    """The method that a CORS preflight asks for; None for any other request."""
    is_speculative: bool
    means: Meaning
    """What the request is for; IN_BODY until its body is here, where only that says it."""


class Exchange:
    """One request and its answer.

    The methods are called in the order in which they stand here, and what one of them raises
    makes the exchange a refusal (see `refusal.Refusal`). An exchange that a reload of the script
    has forgotten is made anew from the flow and its metadata.
    """

    kind: ClassVar[str]
    answered_here: ClassVar[bool] = False
    """Whether the request goes to no upstream."""
    bounded_request: ClassVar[bool] = False
    bounded_answer: ClassVar[bool] = False
    """Whether a body is held back, and refused when it is too long for that."""

    def __init__(self, flow: http.HTTPFlow, proxy: Proxy) -> None:
        self._flow = weakref.ref(flow)  # it is the key under which the exchange is found
        self.proxy = proxy
        flow.metadata[notes.KIND] = self.kind
        proxy.exchanges[flow] = self
        self.began = proxy.logins.moment()
        # What follows is secret, and therefore in memory only.
        self.held: Held = NOTHING
        """What the browser holds; nothing where that was forgotten."""
        self.is_browser: bool | None = None
        """Whether a browser asks; None where that was forgotten."""
        self.session: Session = NO_SESSION
        self.token: str | None = None
        """The one that the request carries to the API."""
        self.renews = False
        """Whether the token may be renewed for this request."""
        self.refresh_token: str | None = None
        """That of the browser."""
        self.asked_to_renew = False
        """Whether that was used for it already."""
        self.new_cookies: list[str] = []
        """Set-Cookie values for whatever answer the browser will get."""
        self.renewed: int | None = None
        """When the tokens in `new_cookies` came, if they renew others (see `Logins`)."""

    # What the hooks call

    @classmethod
    def takes(cls, asked: "Asked", settings: Settings) -> bool:
        """Whether a request is of this kind; asked for in the router's order."""
        return False

    def begin(self, asked: "Asked") -> None:
        """Decide, from the request's head, what goes upstream. Raises Refused."""

    async def request_head(self) -> None:
        """The last moment before the head of a request that streams is sent."""

    async def request(self) -> None:
        """The request's body is here (unless it streams)."""

    def answer_head(self) -> None:
        """The last moment before the head of an answer that streams is sent."""

    async def answer(self) -> None:
        """The answer's body is here, or has gone by."""

    def message(self) -> None:
        """A WebSocket message is here; it is the last of `flow.websocket.messages`."""
        if self.settings.redact:
            leaks.record_message_without(self.flow, self.secrets())

    def close_reason(self, reason: str) -> str:
        """The reason for which a WebSocket is closed, as the browser gets it."""
        return reason

    def failed(self, code: str, reason: str) -> http.Response | None:
        """What the browser gets when mitmproxy gives the exchange up; None for no answer at all.

        `code` is `upstream_unreachable`, `upstream_timeout`, or `bad_request` for what the browser
        sent.

        Raises Refused.
        """
        is_long_request = reason == reasons.TOO_LONG and self.flow.response is None
        if code == reasons.BAD_REQUEST or is_long_request:
            raise Refused(reasons.BAD_REQUEST, f"The request was refused: {reason}.")
        raise Refused(code, f"No answer from {self.upstream}: {reason}.")

    # What the kinds use

    def secrets(self) -> list[str]:
        """What is not to be recorded of the answer, if flows are redacted."""
        return []

    def finish_answer(self, response: http.Response) -> None:
        """What every answer of an upstream needs once its body is here or has gone by."""
        self.add_new_cookies(response)
        streaming.record(response)
        if self.settings.redact:
            leaks.record_without(response, self.secrets())
        if not self.flow.request.is_http2:
            response.trailers = None  # an HTTP/2 server's; mitmproxy cannot send them on

    @property
    def flow(self) -> http.HTTPFlow:
        flow = self._flow()
        assert flow
        return flow

    def note_session(self, session: Session) -> None:
        """The login that the request belongs to."""
        self.session = session
        if session.issued:
            noted = [session.id, self.began, session.use, session.names, session.remembered]
            self.flow.metadata[notes.SESSION] = noted

    def remember(self) -> None:
        """Take from the flow what it says of a state that was lost."""
        if noted := self.flow.metadata.get(notes.SESSION):
            login, self.began, use, names, *more = noted  # none of an older version
            self.session = Session(login, True, use, names, *more)

    def turned_into(self, kind: "type[Exchange]") -> "Exchange":
        """The exchange that goes on in the place of this one."""
        other = kind(self.flow, self.proxy)
        vars(other).update(vars(self))
        return other

    @property
    def settings(self) -> Settings:
        return self.proxy.settings.at(self.flow.metadata.get(notes.UPSTREAM))

    @cached_property
    def wallet(self) -> Wallet:
        """The cookies for the flow's API and browser."""
        return self.proxy.configured.wallets.of(
            self.flow.client_conn, tls=self.tls, upstream=self.settings.upstream
        )

    @property
    def own(self) -> Origin | None:
        """The proxy's origin, as the browser addressed it; None where no browser did."""
        address = self.flow.metadata.get(notes.ADDRESS)
        return Origin.parse(address) if address else None

    @property
    def tls(self) -> bool:
        """Whether the browser's connection has TLS, which may end at a tunnel in front of us."""
        own = self.own
        return own.scheme == "https" if own else self.flow.client_conn.tls

    @property
    def upstream(self) -> str:
        return f"{self.flow.request.scheme}://{self.flow.request.host_header}"

    @property
    def brought(self) -> Brought:
        """The cookies that the browser has, which a new login replaces."""
        metadata = self.flow.metadata
        return Brought(
            tuple(metadata.get(notes.COOKIES, ())),
            tuple(metadata.get(notes.DOUBTFUL, ())),
            browser_path(self.flow),
            self.held.api_cookies,
        )

    @property
    def tokens(self) -> Mapping[str, str]:
        """The tokens of the request's login, by slot."""
        if self.held.session.issued:
            return self.held.tokens
        return {MAIN: self.token} if self.token else {}

    def let_renew(self) -> None:
        """Have its token renewed when that is due, by what the browser holds for it."""
        self.renews, self.refresh_token = True, self.held.refresh_token

    @property
    def renews_by(self) -> Mapping[str, str] | None:
        """What the API gets for a fresh token, by the names that the template has for it; None
        where it cannot be asked.
        """
        refresh = self.settings.token.refresh
        if not refresh or not self.renews:
            return None
        needs = refresh.request.needs
        has = {"token": self.token, "refresh_token": self.refresh_token}
        found = {name: token for name, token in has.items() if token and name in needs}
        return found if found.keys() == needs else None

    def address_api(self, request: http.Request) -> None:
        """Have a request of our own that was made after this exchange's go to the API, in place."""

    @property
    def is_over(self) -> bool:
        """Whether its login has ended, so that it must not set cookies any more."""
        return self.proxy.logins.is_over(self.session, self.began)

    @property
    def was_superseded(self) -> bool:
        """Whether a logout or a login that was asked for later has come first, for a login."""
        return self.proxy.logins.was_superseded(self.session, self.began)

    def note_login(self, token: str) -> None:
        """Its answer has logged somebody in; the earlier login is over."""
        self.end_session()
        self.session = NO_SESSION
        self.flow.metadata[notes.CAPTURED] = size_and_expiry(token)
        method, path = self.flow.request.method, printable_path(self.flow)
        self.proxy.last_login = f"{time.strftime('%H:%M:%S')} {method} {path}"

    def note_renewal(self, token: str) -> None:
        """Its answer has renewed the login's token."""
        self.renewed = self.proxy.logins.renewed(self.session)
        self.flow.metadata[notes.RENEWED] = size_and_expiry(token)

    def end_session(self) -> None:
        """Its login ends with this request: nothing late revives it, nothing is remembered."""
        self.proxy.logins.end(self.session, self.began)
        self.proxy.renewals.forget(self.session.id)
        self.proxy.successors.forget(self.session.id)
        self.proxy.page_refreshes.forget(self.session.id)

    def bare(self, captured: Captured) -> Captured:
        """Without the scheme before its token (`Bearer …`) that the header's format puts there."""
        token = captured.token.encode("utf-8", "surrogatepass")
        token = self.settings.header.format.token(token)
        more = {
            one.slot: one.format.token(captured.more[one.slot].encode("utf-8", "surrogatepass"))
            for one in self.settings.more
            if one.slot in captured.more
        }
        return dataclasses.replace(
            captured,
            token=token.decode("utf-8", "surrogatepass"),
            more={slot: value.decode("utf-8", "surrogatepass") for slot, value in more.items()},
        )

    @property
    def remembered(self) -> bool | None:
        """Whether the user of a new login wants to stay logged in; None where nobody says."""
        return None

    def issued(self, captured: Captured, *, renews: bool) -> list[str]:
        """The Set-Cookie values that give the browser a captured token."""
        renewed = self.session if renews and self.session.issued else None
        held = self.held.tokens if renewed else {}
        return self.wallet.issue(captured, self.brought, renewed, held, remembered=self.remembered)

    def expired(self) -> list[str]:
        """The Set-Cookie values that delete what the browser has of our cookies."""
        return self.wallet.expire(self.brought)

    def note_added(self, names: Iterable[str]) -> None:
        """Remember which headers beside the token's the request was given."""
        metadata = self.flow.metadata
        if added := list(dict.fromkeys([*metadata.get(notes.ADDED, ()), *names])):
            metadata[notes.ADDED] = added

    def record_without_cookies(self) -> None:
        """Record the request without the values of our cookies, which stay in it where no upstream
        gets it, if flows are redacted.
        """
        settings = self.settings
        if settings.redact:
            headers = self.flow.request.headers
            carriers.record_without(headers, settings.cookie.name, settings.recorded)

    def cookie_fields(self) -> list[str]:
        """The Cookie fields as they are sent, whatever is recorded of them."""
        fields = IndexedHeaders.of(self.flow.request.headers).raw("cookie")
        return [real(value).decode("utf-8", "surrogateescape") for value in fields]

    def add_new_cookies(self, response: http.Response) -> None:
        """Put the Set-Cookie values that wait for the flow's answer into this one, once."""
        cookies, self.new_cookies = self.new_cookies, []
        logins = self.proxy.logins
        stale = self.renewed is not None and not logins.is_latest(self.session, self.renewed)
        stale = stale or logins.was_switched(self.session, self.began)
        if cookies and not self.is_over and not stale:
            add_cookies(response, cookies, self.settings)

    def answer_cors(self, response: http.Response) -> None:
        varies = bool(self.settings.origins.allowed)
        cors.answer_cors(response, self.flow.metadata.get(notes.CORS), varies=varies)


def add_cookies(response: http.Response, cookies: list[str], settings: Settings) -> None:
    """Give the browser these cookies; recorded without ours' values if flows are redacted."""
    for field in cookies:
        name, _, value = field.partition(";")[0].partition("=")
        secret = [value.encode()] if belongs(name, settings.cookie.name) else []
        response.headers.add("Set-Cookie", settings.recorded(field.encode(), *secret))
    if cookies:
        response.headers["Cache-Control"] = "no-store"


def client_address(flow: http.HTTPFlow) -> str | None:
    """Of the browser, or of what stands before the proxy."""
    address = flow.client_conn.peername
    return address[0] if address else None


def printable_path(flow: http.HTTPFlow) -> str:
    """The request's path for the log (see `received.told_path`)."""
    return printable(told_path(flow))


def refusal_answer(exchange: Exchange, code: str, message: str) -> http.Response:
    """The JSON answer to a refused request, readable for the page of an allowed origin, and for one
    that is likely meant to be one.
    """
    flow = exchange.flow
    response = answers.refusal(flow.request.method, code, message)
    origin = flow.metadata.get(notes.CORS)
    if code == "cross_origin":
        # Nothing in it is secret, and it sets no cookie.
        origin = rules.told_why(flow.request.headers, exchange.settings.origins.allowed)
    cors.answer_cors(response, origin, varies=origin is not None)
    return response
