"""What becomes of heads on the short way: the same as in `frontend.FrontEnd`, without a flow."""

from typing import NamedTuple

from messages.headers import IndexedHeaders
from mitmproxy import http
from mitmproxy.connection import Client
from origins import paths
from origins.origin import Origin

from exchanges import router
from exchanges.frontend import renews_for, told_client, translate_answer_head, translate_head
from exchanges.proxy import Proxy


class Sent(NamedTuple):
    """What the front end was asked, as far as it matters for its answer."""

    address: tuple[str, int]
    own: Origin
    """The proxy's origin, as the browser addressed it."""


class Heads:
    """What `short_way.py` asks the addon, as its settings are at the moment."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy

    def why_not(self) -> str | None:
        """Why requests for the front end go the long way; empty if they need not, None without a
        front end. Raises Refused."""
        settings = self.proxy.settings
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

    def takes(self, target: str) -> bool:
        """Whether a request for this target may go the short way. Raises Refused."""
        settings = self.proxy.settings
        outside = paths.strip_prefix(target, settings.paths.prefix) is None
        return outside and not settings.upstreams.find(target) and self.why_not() == ""

    def to_front_end(self, request: http.Request, client: Client) -> Sent | None:
        """Make a GET or HEAD without a body the front end's, in place. Raises Refused."""
        proxy, settings = self.proxy, self.proxy.settings
        if renews_for(request.method, request.headers, settings):
            return None
        frontend = settings.paths.frontend
        assert frontend
        headers = request.headers = IndexedHeaders.of(request.headers)
        own, verdict = router.judge(request, client, proxy)
        peer = client.peername[0] if client.peername else None
        told = told_client(request.path, peer, proxy)
        wallet = proxy.configured.wallets.of(client)
        request.host_header = translate_head(
            headers, request.path, own, told, settings, wallet, acts=False, trusted=verdict.trusted
        )
        return Sent((frontend.host.strip("[]"), frontend.port), own)

    def to_browser(self, response: http.Response, sent: Sent) -> bool:
        """Make the front end's answer one of the proxy's, in place. Raises Refused."""
        translate_answer_head(response, sent.own, self.proxy.settings)
        return True

    def answered(self) -> None:
        self.proxy.short_ways += 1
