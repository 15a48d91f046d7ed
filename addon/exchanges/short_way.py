"""What becomes of heads on the short way: the same as in `frontend.FrontEnd`, without a flow.

What was decided about a head serves all of its shape (`messages.shapes`), as long as the settings
hold: nothing else is looked at but what is in the keys here.
"""

from typing import NamedTuple

from messages import http1, shapes
from messages.headers import IndexedHeaders
from messages.http1 import ForBrowser, ForFrontEnd
from mitmproxy.addons.update_alt_svc import update_alt_svc_header
from mitmproxy.connection import Client
from mitmproxy.net.http.http1 import assemble_request_head, assemble_response_head
from origins import addresses, paths
from origins.origin import Origin
from upstream.mending import lines_of

from exchanges import router
from exchanges.frontend import renews_for, told_client, translate_answer_head, translate_head
from exchanges.proxy import Configuration, Proxy


class Asker(NamedTuple):
    """What matters of a request for its answer."""

    method: str
    own: Origin
    """The proxy's origin, as the browser addressed it."""
    port: int
    """The proxy's."""


class MadeRequest(NamedTuple):
    """What becomes of requests of one shape."""

    form: bytes
    """See `shapes.form`."""
    address: tuple[str, int]
    closes: bool
    asker: Asker


class MadeAnswer(NamedTuple):
    """What becomes of answers of one shape."""

    form: bytes
    left: int | None
    length: int | None
    """Which of the values says how long the body is, if one does; else `left` does."""
    closes: bool


class Decisions:
    """What was decided while a configuration holds."""

    def __init__(self, configured: Configuration) -> None:
        self.configured = configured
        self.why_not = why_not(configured)
        self.requests: shapes.Memory[MadeRequest] = shapes.Memory()
        self.answers: shapes.Memory[MadeAnswer] = shapes.Memory()


class Heads:
    """What `short_way.py` asks the addon, as its settings are at the moment."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self._decisions: Decisions | None = None

    def why_not(self) -> str | None:
        """Why requests for the front end go the long way; empty if they need not, None without a
        front end. Raises Refused."""
        return self._current().why_not

    def to_front_end(self, head: bytes, client: Client) -> ForFrontEnd | None:
        """The request with this head, made the front end's. None for the long way: it is not plain
        (see `http1.plain_request`), or not for the front end alone. Raises Refused."""
        decisions, came = self._current(), shapes.request(head)
        if decisions.why_not != "" or came is None:
            return None
        proxy, configured = self.proxy, decisions.configured
        settings, wallet = configured.settings, configured.wallets.of(client)
        target = came.values[0].decode("ascii")
        if paths.strip_prefix(target, settings.paths.prefix) is not None:
            return None
        if settings.upstreams.entries and settings.upstreams.find(target):
            return None
        if target.endswith(".crl"):  # mitmproxy 12 answers for its own (`TlsConfig.request`)
            return None
        told = told_client(target, client.peername[0] if client.peername else None, proxy)
        port = client.sockname[1]
        key = came.shape, told, port, wallet.name, wallet.tls, addresses.kind_of(target)
        made = decisions.requests.get(key)
        if made:
            return ForFrontEnd(made.form % came.values, made.address, made.closes, made.asker)
        request = http1.plain_request(head)
        if request is None:
            return None
        if renews_for(request.method, request.headers, settings):
            return None
        headers = request.headers = IndexedHeaders.of(request.headers)
        own, verdict = router.judge(request, client, proxy)
        request.host_header = translate_head(
            headers, target, own, told, settings, wallet, acts=False, trusted=verdict.trusted
        )
        frontend = settings.paths.frontend
        assert frontend
        address, closes = (frontend.host.strip("[]"), frontend.port), http1.closes(request)
        asker = Asker(request.method, own, port)
        goes = assemble_request_head(request)
        if form := shapes.form(came, shapes.request(goes)):
            decisions.requests.put(key, head, MadeRequest(form, address, closes, asker))
        return ForFrontEnd(goes, address, closes, asker)

    def to_browser(self, head: bytes, asker: Asker) -> ForBrowser | None:
        """The answer with this head, made one of the proxy's; None if it is not well-formed, or may
        be read in two ways. Raises Refused."""
        decisions, came = self._current(), shapes.answer(head)
        key = came.shape, asker
        made = decisions.answers.get(key)
        if made:
            left = made.left if made.length is None else int(came.values[made.length])
            return ForBrowser(made.form % came.values, left, made.closes)
        response = http1.read_answer(head, lines_of)
        if response is None:
            return None
        translate_answer_head(response, asker.own, decisions.configured.settings)
        closes, left = http1.closes(response), http1.length_of(asker.method, response)
        if services := response.headers.get("alt-svc"):  # as mitmproxy's `UpdateAltSvc`
            if not self.proxy.mitm_options.keep_alt_svc_header:
                response.headers["alt-svc"] = update_alt_svc_header(services, asker.port)
            return ForBrowser(assemble_response_head(response), left, closes)
        goes = assemble_response_head(response)
        # Of several lengths, of which `lines_of` makes one, each matters.
        several = head.lower().count(b"\r\ncontent-length:") > 1
        if not several and (form := shapes.form(came, shapes.answer(goes))):
            bare = http1.ends_with_its_head(asker.method, response)
            length = None if bare else next(iter(came.lengths), None)
            decisions.answers.put(key, head, MadeAnswer(form, left, length, closes))
        return ForBrowser(goes, left, closes)

    def answered(self) -> None:
        self.proxy.short_ways += 1

    def _current(self) -> Decisions:
        """Raises Refused."""
        configured = self.proxy.configured
        if self._decisions is None or self._decisions.configured is not configured:
            self._decisions = Decisions(configured)
        return self._decisions


def why_not(configured: Configuration) -> str | None:
    """See `Heads.why_not`."""
    settings = configured.settings
    frontend, network = settings.paths.frontend, settings.network
    if not frontend:
        return None
    if settings.keep_frontend:
        return "cookie_auth_keep_frontend is set"
    if network.answer_timeout:
        return "cookie_auth_answer_timeout is set"
    if frontend.scheme != "http":
        return "it is reached by https"
    if network.proxies.on_the_way_to("http", frontend.host.strip("[]"), frontend.port):
        return "it is reached by way of a proxy"
    return ""
