"""A request for the front end: it goes to the developer's own dev server, nearly as it came.

What becomes of heads is said in functions that the short way calls, too (`exchanges.short_way`).
"""

from credentials import carriers
from credentials.cookies import belongs, cookie_pairs
from credentials.wallet import Wallet
from messages import answer_policy, answers, streaming
from messages.headers import IndexedHeaders
from messages.redacted import real
from mitmproxy import http
from origins import addresses, framing, references, rules
from origins.origin import Origin
from origins.rules import SAFE_METHODS

from exchanges.exchange import Asked, Exchange, client_address
from exchanges.proxy import Proxy
from exchanges.settings import Settings


class FrontEnd(Exchange):
    """What is outside the API's prefix. Cookies pass, since server-side rendering needs them."""

    kind = "frontend"

    def begin(self, asked: Asked) -> None:
        request, settings = self.flow.request, self.settings
        frontend, headers = settings.paths.frontend, request.headers
        assert frontend
        assert isinstance(headers, IndexedHeaders)
        host = translate_head(
            headers,
            request.path,
            asked.own,
            told_client(request.path, client_address(self.flow), self.proxy),
            settings,
            self.wallet,
            acts=asked.method not in SAFE_METHODS or asked.upgrades,
            trusted=asked.verdict.trusted,
        )
        if settings.redact:
            carriers.record_without(headers, settings.cookie.name, settings.recorded)
        request.scheme = frontend.scheme
        request.data.host = frontend.host.strip("[]")
        request.data.port = frontend.port
        request.host_header = host

    async def request_head(self) -> None:
        if streaming.request_streams(self.flow.request):
            self.flow.request.stream = streaming.Recorder()

    async def request(self) -> None:
        streaming.finish_request(self.flow.request)

    def answer_head(self) -> None:
        response = self.flow.response
        assert response
        translate_answer_head(response, self.own, self.settings)
        if streaming.response_streams(response):
            response.stream = streaming.Recorder()

    async def answer(self) -> None:
        response = self.flow.response
        assert response
        self.finish_answer(response)

    def failed(self, code: str, reason: str) -> http.Response | None:
        if answers.is_navigation(self.flow.request.headers):
            page = answers.frontend_down(self.upstream, code, reason)
            return answers.without_body_for_head(self.flow.request.method, page)
        return super().failed(code, reason)

    @property
    def upstream(self) -> str:
        return str(self.settings.paths.frontend)

    def secrets(self) -> list[str]:
        """The values of our cookies, which the front end may repeat."""
        name = self.settings.cookie.name
        fields = [
            real(value).decode("utf-8", "surrogateescape")
            for value in IndexedHeaders.of(self.flow.request.headers).raw("cookie")
        ]
        return [value for cookie, value in cookie_pairs(fields) if belongs(cookie, name)]


def translate_head(
    headers: IndexedHeaders,
    target: str,
    own: Origin,
    client: str | None,
    settings: Settings,
    wallet: Wallet,
    *,
    acts: bool,
    trusted: bool,
) -> str:
    """Make a request's headers those that the front end gets, in place; the Host that goes there.

    `target` is the request's, `own` the proxy's origin as the browser addressed it, `client` the
    browser's address. `acts` says that it is no GET, HEAD or OPTIONS, or an upgrade.
    """
    frontend, name = settings.paths.frontend, settings.cookie.name
    assert frontend
    if acts and not trusted:
        # The front end's own server code would act with them for a foreign page.
        carriers.keep_cookies_back(headers, lambda cookie: belongs(cookie, name))
    else:  # with `__Host-` names, whose Path is `/`, the browser sends all of them here
        carriers.keep_cookies_back(headers, wallet.is_for_the_api_only)
    addresses.forward(headers, own, client)
    if trusted:
        named = addresses.origin_for(frontend, own, headers, target)
        rules.name_upstream(headers, own, named)
    return addresses.host_for(frontend, own)


def told_client(target: str, client: str | None, proxy: Proxy) -> str | None:
    """The browser's address, for a front end that may be told it.

    Angular's server leaves the rendering to the browser when it gets X-Forwarded-For, unless it
    was set up to trust it (`ssr/src/utils/validation.ts`). Its pages say by what they load
    that they are Angular's: from the second one on it is not told.
    """
    frontend, known = proxy.settings.paths.frontend, proxy.frontends_of_angular
    if "/@ng/component" in target or "/.angular/cache/" in target:
        known.add(frontend)
    return None if frontend in known else client


def translate_answer_head(response: http.Response, own: Origin | None, settings: Settings) -> None:
    """Make the head of the front end's answer one of the proxy's, in place.

    `own` is the proxy's origin, as the browser addressed it.
    """
    headers = response.headers = IndexedHeaders.of(response.headers)
    if not references.REFERENCES.isdisjoint(headers.names):
        frontend = settings.paths.frontend
        assert frontend
        references.rewrite_references(headers, frontend, "", "")
        if own and own.scheme != frontend.scheme:
            references.rewrite_references(headers, addresses.as_served(frontend, own), "", "")
    framing.forbid_framing(headers, settings.origins.allowed, confirms=response.status_code == 304)
    answer_policy.without_line_breaks(headers)
