"""Which kind of exchange a request begins.

To add a kind: write its file, and name it in API_KINDS (or in OTHERS, if no request is one from the
start).
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from credentials.companion import Use
from messages import streaming
from messages.answers import Refused
from messages.headers import IndexedHeaders, without_broken
from messages.text import printable
from mitmproxy import http
from mitmproxy.connection import Client
from origins import addresses, cors, framing, paths, rules
from origins.origin import Origin
from origins.path_rules import Meaning
from origins.rules import Verdict
from origins.speculation import is_speculative

from exchanges import hints, notes, received, upstreams
from exchanges.answer_heads import AnswerHeads
from exchanges.api import Api
from exchanges.by_body import ByBody
from exchanges.exchange import Asked, Exchange, client_address
from exchanges.frontend import FrontEnd
from exchanges.login import Login
from exchanges.logout import Logout, OwnLogout, SignOut
from exchanges.page_refresh import PageRefresh
from exchanges.preflight import Preflight
from exchanges.proxy import Proxy
from exchanges.received import Head
from exchanges.refresh import Refresh
from exchanges.refusal import Refusal
from exchanges.renewal import Renewal, Retry
from exchanges.session import SessionState
from exchanges.settings import Settings
from exchanges.speculation import Speculation
from exchanges.switch import Switch

API_KINDS: tuple[type[Exchange], ...] = (
    *(Speculation, Preflight, Logout, Refresh, SessionState, Login),
    *(Switch, ByBody, Api),
)
"""The kinds of request to the API: the first that takes it has it."""
OTHERS: tuple[type[Exchange], ...] = (
    *(FrontEnd, SignOut, OwnLogout),
    *(Renewal, Retry, PageRefresh, Refusal),
)
KINDS: Mapping[str, type[Exchange]] = {kind.kind: kind for kind in (*API_KINDS, *OTHERS)}
"""All kinds, by the name that is noted on their flows."""

# What HTTP/2 lets through and would end a part of an HTTP/1 request line (RFC 9112, 3).
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_TARGET = re.compile(rb"[\x00-\x20\x7f]")

_MOST_REMEMBERED = 256
_LONGEST_REMEMBERED = 8 * 1024
"""Bytes of a head that is remembered: more than pages send, less than foreign ones could."""
_STATE = (
    *("is_browser", "session", "held", "token", "renews", "refresh_token", "streams", "wallet"),
    *("stood", "offered", "needles", "heads"),
)


class _Decision(NamedTuple):
    """What became of a request to the API."""

    head: Head
    metadata: dict[str, Any]
    state: dict[str, Any]
    """What the exchange knows in memory."""


class Router:
    """Routes requests. A decision about one to the API serves all that are alike.

    A page asks for the same things with the same headers again and again, and what is decided
    about such a request depends on nothing but its head, the API, and the settings, which hold as
    long as this object.
    """

    def __init__(self) -> None:
        self._made: dict[object, _Decision] = {}

    def route(self, flow: http.HTTPFlow, proxy: Proxy) -> Exchange:
        """Begin the exchange that a request asks for. Raises Refused."""
        request = flow.request
        head = Head.of(request)
        wallet = proxy.configured.wallets.of(flow.client_conn)
        client = client_address(flow) if proxy.settings.origins.forwarded else None
        key = head, flow.is_replay, wallet.name, wallet.api, wallet.tls, client
        made = self._made.get(key)
        if made and not proxy.logins.is_over(made.state["session"], proxy.logins.moment()):
            return self._as_before(made, flow, proxy)
        try:
            exchange = route(flow, proxy)
        finally:
            settings = proxy.settings.at(flow.metadata.get(notes.UPSTREAM))
            secret = settings.secret_headers
            flow.metadata.setdefault(notes.RECEIVED, received.differences(head, request, secret))
        # Whether the proxy sends the token for a page that holds stand-ins can change any time.
        settled = exchange.session.use != Use.GIVEN
        if type(exchange) is Api and settled and head.size <= _LONGEST_REMEMBERED:
            if len(self._made) == _MOST_REMEMBERED:
                self._made.clear()
            ours = {
                name: value
                for name, value in flow.metadata.items()
                if name.startswith(notes.PREFIX)
            }
            exchange.streams = streaming.request_streams(request)
            exchange.known_needles()
            exchange.heads = AnswerHeads()
            state = {name: getattr(exchange, name) for name in _STATE}
            self._made[key] = _Decision(Head.of(request), ours, state)
        return exchange

    @staticmethod
    def _as_before(made: _Decision, flow: http.HTTPFlow, proxy: Proxy) -> Exchange:
        request = flow.request
        request.headers = IndexedHeaders.with_fields(made.head.fields)
        data, head = request.data, made.head
        data.path, data.authority, data.scheme = head.path, head.authority, head.scheme
        data.host, data.port = head.host, head.port
        flow.metadata.update(made.metadata)
        exchange = Api(flow, proxy)
        vars(exchange).update(made.state)
        exchange.note_session(exchange.session)
        return exchange


def route(flow: http.HTTPFlow, proxy: Proxy) -> Exchange:
    """Find the kind of a request, and let it decide. Raises Refused."""
    request, settings = flow.request, proxy.settings
    headers = request.headers = IndexedHeaders.of(request.headers)
    if not _METHOD.fullmatch(request.method) or _NO_TARGET.search(request.data.path):
        raise Refused("bad_request", "The request's method or target is malformed.")
    if broken := without_broken(headers):
        said = f"the field {printable(broken)} has a line break or NUL in its value"
        raise Refused("bad_request", f"The request was refused: {said}.")
    if flow.is_replay == "request":
        # Recorded without this addon: nobody else's page has sent it, and Host is the API's.
        own = Origin.of(request.scheme, request.host, request.port)
        verdict = Verdict(True, "it is replayed")
    else:
        own, verdict = judge(request, flow.client_conn, proxy)
        flow.metadata[notes.ADDRESS] = str(own)
    flow.metadata[notes.TRUSTED] = verdict.trusted
    if further := settings.upstreams.find(request.path):
        upstreams.lead_to(flow, further)
        settings = settings.at(further.prefix)
    api_target = paths.strip_prefix(request.path, settings.paths.prefix)
    asked = Asked(
        method=request.method,
        path="",
        own=own,
        verdict=verdict,
        is_browser=not flow.is_replay and rules.is_browser(headers),
        cors=rules.allowed_origin(headers, settings.origins.allowed),
        upgrades="upgrade" in headers,
        site=headers.get("sec-fetch-site"),
        page=None if verdict.trusted else rules.page_origin(headers),
        asks_for=cors.asked_method(request),
        is_speculative=is_speculative(headers),
        means=Meaning.NONE,
    )
    if asked.cors:
        flow.metadata[notes.CORS] = asked.cors
    if api_target is not None:
        _begin_for_the_api(flow, proxy, settings, api_target, asked)
    elif settings.paths.frontend:
        FrontEnd(flow, proxy).begin(asked)
    else:
        raise Refused("outside_prefix", f"The API is served under {settings.paths.prefix} only.")
    if not (request.is_http2 or request.is_http3):
        # An absolute-form target (RFC 9112, 3.2.2) would go upstream with any host in it.
        request.authority = ""
    return proxy.exchanges[flow]  # a logout, for one, may have turned into another


def judge(request: http.Request, client: Client, proxy: Proxy) -> tuple[Origin, Verdict]:
    """The origin that the browser addressed, and what the origin rule says. Raises Refused."""
    origins = proxy.settings.origins
    own = rules.own_origin(
        request, tls=client.tls, allowed_hosts=origins.allowed_hosts, public=origins.public
    )
    verdict = rules.judge(request.headers, own, origins.allowed)
    if verdict.why is rules.SILENT_BROWSER:
        proxy.once.warn(
            verdict.why,
            "a request gets no token: it is from %s; use localhost or https",
            verdict.why,
        )
    if not verdict.trusted and (framed_by := framing.framing_origin(request.headers)):
        proxy.once.warn(
            ("framed by", framed_by),
            "a page of %s shows the app in a frame, which browsers refuse; if it is yours:"
            " --set cookie_auth_allowed_origins=%s",
            *(printable(framed_by), printable(framed_by)),
        )
    return own, verdict


def _begin_for_the_api(
    flow: http.HTTPFlow, proxy: Proxy, settings: Settings, target: str, asked: Asked
) -> None:
    request = flow.request
    request.path = paths.upstream_target(target, settings.paths.base_path)
    path = paths.normalise(settings.ruled_path(target))
    asked = asked._replace(path=path, means=settings.paths.rules.meaning(asked.method, path))
    assert isinstance(request.headers, IndexedHeaders)
    hints.without_nothing(request.headers, settings, proxy.once)
    if asked.page:
        _tell_of_page(asked, proxy)
    kind = next(kind for kind in API_KINDS if kind.takes(asked, settings))
    acts = asked.method not in rules.SAFE_METHODS or asked.upgrades
    if acts and not asked.verdict.trusted:
        raise Refused.cross_origin(asked.page)
    kind(flow, proxy).begin(asked)
    upstream = Origin.of(request.scheme, request.host, request.port)
    headers, told = request.headers, settings.origins.forwarded
    assert isinstance(headers, IndexedHeaders)
    addresses.forward(headers, asked.own if told else None, client_address(flow))
    if asked.verdict.trusted and not told:
        # An API that is told the proxy's address takes that for its own.
        rules.name_upstream(headers, asked.own, upstream)
    request.host_header = upstream.authority


def _tell_of_page(asked: Asked, proxy: Proxy) -> None:
    """What a page's developer may not see in the browser, which hides answers that are not CORS."""
    proxy.once.warn(
        ("page of another origin", asked.page),
        "a page of %s asks for the API (%s); it gets no token, and may change nothing; if it is"
        " yours: --set cookie_auth_allowed_origins=%s",
        *(asked.page, printable(asked.method), asked.page),
    )


def exchange_of(flow: http.HTTPFlow, proxy: Proxy) -> Exchange:
    """The exchange that a flow is in, made anew after a reload of the script, or for a replay."""
    exchange = proxy.exchanges.get(flow)
    if exchange is None:
        exchange = KINDS[flow.metadata[notes.KIND]](flow, proxy)
        exchange.remember()
    return exchange
