"""A request for the front end: it goes to the developer's own dev server, nearly as it came.

What becomes of heads is said in functions that the short way calls, too (`exchanges.short_way`).
"""

from credentials import carriers
from credentials.companion import Use
from credentials.cookies import belongs, cookie_pairs
from credentials.stand_ins import MAIN
from credentials.wallet import Wallet
from messages import answer_policy, answers, streaming
from messages.headers import IndexedHeaders
from messages.set_cookies import SetCookie
from mitmproxy import http
from origins import addresses, framing, references, rules
from origins.origin import Origin
from origins.rules import SAFE_METHODS

from exchanges import notes, renewal, upstreams
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
        self._note_what_is_due(asked)
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
        self.record_without_cookies()
        request.scheme = frontend.scheme
        request.data.host = frontend.host.strip("[]")
        request.data.port = frontend.port
        request.host_header = host

    def _note_what_is_due(self, asked: Asked) -> None:
        """Whether this is a page whose server would call the API with a token that has ended."""
        request = self.flow.request
        if not renews_for(request.method, request.headers, self.settings):
            return
        if not asked.verdict.trusted and not rules.is_top_level_navigation(request.headers):
            return
        fields = tuple(request.headers.get_all("cookie"))
        held = self.wallet.read(fields, trusted=False, browser=asked.is_browser)
        token = held.tokens.get(MAIN)
        ended = token is None or self.proxy.is_due(token)
        if not ended or not held.session.issued or held.session.use != Use.LISTED:
            return
        self.held, self.token, self.refresh_token = held, token, held.refresh_token
        self.renews = True
        self.note_session(held.session)
        self.flow.metadata[notes.COOKIES] = held.names

    def address_api(self, request: http.Request) -> None:
        headers = request.headers = IndexedHeaders.of(request.headers)
        addresses.forward(headers, None, None)
        headers.change({b"Referer": None, b"Origin": None})
        upstreams.lead(request, upstreams.main_origin(self.flow))

    def _use_new_cookies(self) -> None:
        """Let the front end see what the browser is going to have."""
        headers, new = self.flow.request.headers, list(map(SetCookie.read, self.new_cookies))
        headers.set_all("cookie", self.cookie_fields())
        carriers.keep_cookies_back(headers, {one.name for one in new}.__contains__)
        fields = headers.get_all("cookie") + [
            f"{one.name}={one.value}"
            for one in new
            if not one.deletes and not self.wallet.is_for_the_api_only(one.name)
        ]
        headers.set_all("cookie", ["; ".join(fields)] if fields else [])
        self.record_without_cookies()

    async def request_head(self) -> None:
        if self.renews:
            await renewal.renew(self)
            if self.new_cookies:
                self._use_new_cookies()
        if streaming.request_streams(self.flow.request):
            self.flow.request.stream = streaming.Recorder()

    async def request(self) -> None:
        streaming.finish_request(self.flow.request)

    def answer_head(self) -> None:
        response = self.flow.response
        assert response
        translate_answer_head(response, self.own, self.settings)
        self.add_new_cookies(response)
        if streaming.response_streams(response):
            response.stream = streaming.Recorder()

    async def answer(self) -> None:
        response = self.flow.response
        assert response
        self.finish_answer(response)

    def failed(self, code: str, reason: str) -> http.Response | None:
        if answers.is_navigation(self.flow.request.headers):
            page = answers.frontend_down(self.upstream, code, reason)
            self.add_new_cookies(page)
            return answers.without_body_for_head(self.flow.request.method, page)
        return super().failed(code, reason)

    @property
    def upstream(self) -> str:
        return str(self.settings.paths.frontend)

    def secrets(self) -> list[str]:
        """The values of our cookies, which the front end may repeat."""
        pairs, name = cookie_pairs(self.cookie_fields()), self.settings.cookie.name
        return [value for cookie, value in pairs if belongs(cookie, name)]


def renews_for(method: str, headers: http.Headers, settings: Settings) -> bool:
    """Whether a token that has ended is renewed before such a request reaches the front end."""
    return bool(settings.paths.refresh) and method == "GET" and answers.is_navigation(headers)


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
