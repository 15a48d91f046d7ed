"""cookie-auth: keeps an API's auth token in an HttpOnly cookie, out of reach of page scripts.

    mitmdump -s addon/cookie_auth.py --mode reverse:https://api.example.com

The browser talks to mitmproxy, mitmproxy to the API:

- login: the token is taken out of the API's answer and becomes the cookie;
- every request: the browser's cookies stay here, the token becomes the header that the API reads;
- logout: answered here, by deleting the cookie;
- pages of other origins get nothing that needs the token;
- what is outside the API's prefix goes to the front end's own dev server, as it is.

mitmproxy logs an exception in a hook and lets the flow go on as it was, which would leak. So each
hook below ends in "translated" or "refused", whatever happens in between.
"""

import difflib
import importlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from weakref import WeakKeyDictionary

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

# mitmproxy reloads this file when it is edited, but not what it imports (mitmproxy issue 4253).
importlib.invalidate_caches()
for _name in list(sys.modules):
    if _name.partition(".")[0] in ("token_handler", "upstream", "inspection"):
        del sys.modules[_name]

from inspection.inspector import Inspector  # noqa: E402
from inspection.phrases import printable  # noqa: E402
from token_handler import (  # noqa: E402
    answers,
    credentials,
    guard,
    incoming,
    login,
    received,
    route,
    transport,
)
from token_handler.answers import Refused  # noqa: E402
from token_handler.decision import (  # noqa: E402
    ANSWERED_HERE,
    ASKED_BY,
    CAPTURED,
    COOKIES,
    CORS,
    INJECTED,
    OWN,
    RECEIVED,
    REFUSAL,
    RENEWED,
    ROLE,
    Secrets,
)
from token_handler.guard import Origin  # noqa: E402
from token_handler.incoming import Decisions  # noqa: E402
from token_handler.indexed_headers import IndexedHeaders  # noqa: E402
from token_handler.leak import LeakAlarm, redact  # noqa: E402
from token_handler.lifetime import seconds_left, size_and_expiry  # noqa: E402
from token_handler.login import Captured  # noqa: E402
from token_handler.settings import OPTIONS, InvalidOption, Settings  # noqa: E402
from token_handler.stand_in import StandIn, is_reverse  # noqa: E402
from token_handler.wallet import Wallet, Wallets  # noqa: E402
from upstream import gaps, redaction  # noqa: E402
from upstream.loopback import Loopback  # noqa: E402
from upstream.refresh import Renewals  # noqa: E402

logger = logging.getLogger(__name__)

# Roles of which no body is streamed, and none is read without end.
HELD_BACK_REQUESTS = (*ANSWERED_HERE, "sign-out")
HELD_BACK_ANSWERS = ("login", "sign-out")

SECONDS_BEFORE_END = 30  # a token that is good for less is renewed before it is used

# Options of mitmproxy that the addon takes over, and why.
OWN_VALUES = {
    "connection_strategy": ("lazy", "otherwise no logout is answered while the API is down"),
    "keep_host_header": (True, "the addon checks the browser's Host before it sets the API's"),
}


class CookieAuth:
    """The addon. Without valid settings it refuses everything."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.is_running = False
        self.loopback = Loopback()
        self.reopen_gaps: Callable[[], None] = lambda: None
        self.stop_redaction: Callable[[], None] | None = None
        self.renewals = Renewals()
        self.wallets: Wallets | None = None
        self.decisions: Decisions | None = None
        self.secrets: WeakKeyDictionary[http.HTTPFlow, Secrets] = WeakKeyDictionary()
        self.leak_alarm = LeakAlarm()
        self.last_login = ""
        self.inspector = Inspector(self)

    # Life cycle

    def load(self, loader: Loader) -> None:
        for option in OPTIONS:
            given = ctx.options.deferred.get(option.name)
            loader.add_option(option.name, option.type, option.default, option.help)
            # mitmproxy would do this itself after load(), but run without this addon on an error.
            try:
                ctx.options.process_deferred()
            except (exceptions.OptionsError, TypeError):
                ctx.options.deferred.pop(option.name, None)
                given = getattr(given, "val", given)  # what --set gave is a wrapped list
                shown = given[0] if isinstance(given, list) and len(given) == 1 else given
                logger.error("%s", InvalidOption(option.name, shown, option.form))
        ctx.options.update(**{name: value for name, (value, _) in OWN_VALUES.items()})
        self.reopen_gaps = gaps.install(self._answer_failure, most_held_back)
        self.inspector.load(loader)

    def configure(self, updated: set[str]) -> None:
        try:
            refuse_foreign_options()
            if self.settings is None or any(option.name in updated for option in OPTIONS):
                values = {option.name: getattr(ctx.options, option.name) for option in OPTIONS}
                self.settings = Settings.parse(values, os.environ)
            self.wallets = Wallets(self.settings, several=len(ctx.options.mode) > 1)
            self.decisions = Decisions(self.settings)
        except InvalidOption as error:
            if self.is_running:
                raise exceptions.OptionsError(str(error)) from None  # rolls the change back
            # An OptionsError would print a traceback here; a logged error also ends start-up.
            logger.error("%s", error)
            return
        # Once it is on it stays on, since flows may go on to hold redacted values.
        if self.settings.redact and not self.stop_redaction:
            self.stop_redaction = redaction.install()
        if stand_in := ctx.master.addons.get(StandIn.name):
            ctx.master.addons.remove(stand_in)

    def running(self) -> None:
        self.is_running = True
        names = [option.name for option in OPTIONS]
        for name in ctx.options.deferred:
            if name.startswith("cookie_auth"):
                near = difflib.get_close_matches(name, names, n=1, cutoff=0)
                logger.error("%s: there is no such option; is it %s?", name, near[0])
        modes = [ProxyMode.parse(mode) for mode in ctx.options.mode]
        if ctx.options.server and not any(isinstance(mode, ReverseMode) for mode in modes):
            logger.error("cookie-auth needs to know its API: add --mode reverse:URL")
        self.inspector.running()

    def done(self) -> None:
        self.inspector.done()
        self.reopen_gaps()
        if self.stop_redaction:
            self.stop_redaction()
        # When mitmproxy does not end, the script is being reloaded, and that may fail.
        reloading = self.is_running and not ctx.master.should_exit.is_set()
        if reloading and not ctx.master.addons.get(StandIn.name):
            ctx.master.addons.add(StandIn())

    # Requests

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Decide about the request; a streamed one's headers are sent right after this hook."""
        if not is_reverse(flow) or flow.error:
            return  # mitmproxy refuses malformed requests itself
        if flow.is_replay == "request" and ROLE in flow.metadata:
            return  # translated when it was recorded
        try:
            head = received.Head.of(flow.request)
            await self._decide(flow, head)
            if RECEIVED not in flow.metadata:
                header = self.settings.header if self.settings else ""
                flow.metadata[RECEIVED] = received.differences(head, flow.request, header)
        except Exception as error:
            refuse(flow, error)
            hold_back(flow.request)
        self.inspector.requestheaders(flow)

    async def _decide(self, flow: http.HTTPFlow, head: received.Head) -> None:
        """Route the request, or refuse it; nothing is raised."""
        request = flow.request
        try:
            wallet = self._wallet(flow)
            assert self.decisions
            self.decisions.decide(flow, head, wallet, self._secrets(flow))
            streams = flow.metadata[ROLE] in ("api", "frontend")
            if streams and transport.request_streams(request):
                request.stream = transport.Recorder()
            request.data.host = await self.loopback.resolve(request.host, request.port)
            await self._renew_if_due(flow)
        except Exception as error:
            refuse(flow, error)
        if flow.metadata[ROLE] in ANSWERED_HERE:
            hold_back(request)

    async def request(self, flow: http.HTTPFlow) -> None:
        """Answer what is not for an upstream, and settle what only the body tells."""
        if not is_reverse(flow):
            return
        request = flow.request
        try:
            role = flow.metadata[ROLE]
            if role == "logout":
                flow.response = self._logout_answer(flow)
            elif role == "sign-out":
                request.headers.pop("transfer-encoding", None)
                request.content = b""
            elif role == "refresh":
                flow.response = await self._refresh_answer(flow)
            elif role == "preflight":
                flow.response = guard.preflight_answer(request, flow.metadata[CORS])
            elif role == "login":
                incoming.settle_login(flow, self._require_settings(), self._secrets(flow))
            elif role == "renewal":
                self.renewals.restore_body(flow)
            request.trailers = None  # they could carry a Cookie field (RFC 9113, 8.1)
            framing = {"content-length", "transfer-encoding"}
            if request.raw_content and framing.isdisjoint(request.headers):
                # An HTTP/2 body needs no length. mitmproxy sends it to an HTTP/1 server as it is,
                # which reads it as the next request (12.3.1, proxy/layers/http/_http1.py).
                request.headers["Content-Length"] = str(len(request.raw_content))
            transport.record(request)
        except Exception as error:
            refuse(flow, error)
        self._answer_if_refused(flow)

    def _logout_answer(self, flow: http.HTTPFlow, upstream: str | None = None) -> http.Response:
        response = answers.logged_out(
            flow.metadata.get(ASKED_BY, flow.request.method),
            flow.request.headers,
            self._require_settings().logout_redirect,
            self._expired(flow),
            upstream,
        )
        self._answer_cors(flow, response)
        return response

    def _answer_cors(self, flow: http.HTTPFlow, response: http.Response) -> None:
        varies = bool(self._require_settings().allowed_origins)
        guard.answer_cors(response, flow.metadata.get(CORS), varies=varies)

    def _add_new_cookies(self, flow: http.HTTPFlow, response: http.Response) -> None:
        """Put the Set-Cookie values that wait for the flow's answer into this one, once."""
        secrets = self._secrets(flow)
        for field in secrets.new_cookies:
            value = field.partition(";")[0].partition("=")[2]
            recorded = self._require_settings().recorded(field.encode(), value.encode())
            response.headers.add("Set-Cookie", recorded)
        secrets.new_cookies = []

    def _issued(self, flow: http.HTTPFlow, captured: Captured) -> list[str]:
        """The Set-Cookie values that give the flow's browser a captured token."""
        return self._wallet(flow).issue(captured, flow.metadata.get(COOKIES, []))

    def _expired(self, flow: http.HTTPFlow) -> list[str]:
        """The Set-Cookie values that delete what the flow's browser has of our cookies."""
        return self._wallet(flow).expire(flow.metadata.get(COOKIES, []))

    def _wallet(self, flow: http.HTTPFlow) -> Wallet:
        """The cookies for the flow's API and browser."""
        self._require_settings()
        assert self.wallets
        return self.wallets.of(flow.client_conn)

    def _secrets(self, flow: http.HTTPFlow) -> Secrets:
        secrets = self.secrets.get(flow)
        if secrets is None:
            secrets = self.secrets[flow] = Secrets()
        return secrets

    # Renewal

    async def _renew_if_due(self, flow: http.HTTPFlow) -> None:
        """Give the request a fresh token when its own is about to end, or has ended."""
        secrets = self._secrets(flow)
        if flow.metadata[ROLE] != "api" or not secrets.refresh_token:
            return
        if secrets.token is not None:
            left = seconds_left({}, secrets.token, time.time())
            if left is None or left > SECONDS_BEFORE_END:
                return
        elif self._require_settings().header in flow.request.headers:
            return  # the browser's own
        renewed = await self._renew(flow)
        if isinstance(renewed, Captured):
            self._put_token(flow, renewed.token.encode())

    async def _renew_and_retry(self, flow: http.HTTPFlow) -> None:
        """Renew a token that the API has refused, and ask again; the browser sees the last answer.

        What cannot be asked again (a body that streamed, a WebSocket, an event stream) gets the 401
        and the new cookies.
        """
        request = flow.request
        renewed = await self._renew(flow)
        repeatable = not request.stream and request.raw_content is not None
        live = "upgrade" in request.headers or "event-stream" in request.headers.get("accept", "")
        if isinstance(renewed, Captured) and repeatable and not live:
            self._put_token(flow, renewed.token.encode())
            if response := await self.renewals.ask_again(flow, ctx.options):
                flow.response = response
                self._translate_response_headers(flow, response)

    def _put_token(self, flow: http.HTTPFlow, token: bytes) -> None:
        """Give the request this token in place of the one that it has, if any."""
        settings = self._require_settings()
        flow.request.headers[settings.header] = settings.header_value(token)
        incoming.note_token(flow, self._secrets(flow), token)

    async def _refresh_answer(self, flow: http.HTTPFlow) -> http.Response:
        """The answer to a front end that renews the token itself."""
        if not self._secrets(flow).refresh_token:
            raise Refused("bad_cookie", "There is no refresh token. Log in again.")
        renewed = await self._renew(flow)
        if not isinstance(renewed, Captured):
            raise renewed or Refused("upstream_unreachable", "The API did not answer the refresh.")
        response = http.Response.make(200)
        login.replace_body(response, renewed)
        self._add_new_cookies(flow, response)
        self._answer_cors(flow, response)
        return response

    async def _renew(self, flow: http.HTTPFlow) -> Captured | Refused | None:
        """The fresh token, or the API's refusal; None when it did not answer.

        What comes of it for the browser's cookies is put by, for whatever answer goes there.
        """
        secrets = self._secrets(flow)
        refresh_token, secrets.refresh_token = secrets.refresh_token, None
        assert refresh_token
        settings = self._require_settings()
        renewed = await self.renewals.renew(flow, refresh_token, settings, ctx.options)
        if isinstance(renewed, Captured):
            secrets.new_cookies = self._issued(flow, renewed)
            flow.metadata[RENEWED] = size_and_expiry(renewed.token)
        elif renewed:
            secrets.new_cookies = self._expired(flow)
        return renewed

    # Responses

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Decide about the response's headers; a streamed one's are sent right after this hook."""
        if not is_reverse(flow) or flow.metadata.get(ROLE) in ANSWERED_HERE:
            return
        response = flow.response
        assert response
        if flow.metadata.get(ROLE) in OWN:
            self.renewals.redact_headers(flow)
            return
        try:
            self._translate_response_headers(flow, response)
            if flow.metadata[ROLE] in ("login", "sign-out") or self._renewable(flow, response):
                response.stream = False
            elif transport.response_streams(response):
                response.stream = transport.Recorder()
                self._add_new_cookies(flow, response)
        except Exception as error:
            refuse(flow, error)
            response.stream = False

    def _translate_response_headers(self, flow: http.HTTPFlow, response: http.Response) -> None:
        settings = self._require_settings()
        headers = response.headers = IndexedHeaders.of(response.headers)
        role, prefix, base_path = flow.metadata[ROLE], settings.prefix, settings.base_path
        if role == "frontend":
            prefix = base_path = ""
        else:
            token = self._secrets(flow).token
            self.leak_alarm.check_headers(flow, response, settings, token)
            if "set-cookie" in headers:
                credentials.translate_set_cookies(
                    headers,
                    settings,
                    self._wallet(flow).jar,
                    tls=flow.client_conn.tls,
                    replayed=flow.is_replay == "response",
                )
            self._answer_cors(flow, response)
            expired = response.status_code == 401 and flow.metadata.get(INJECTED)
            if role == "api" and expired and settings.clear_on_401 and not settings.renewal:
                self._secrets(flow).new_cookies = self._expired(flow)
        if not route.REFERENCES.isdisjoint(headers.names):
            upstream = Origin.parse(f"{flow.request.scheme}://{flow.request.host_header}")
            route.rewrite_references(headers, upstream, prefix, base_path)

    def _renewable(self, flow: http.HTTPFlow, response: http.Response) -> bool:
        """Whether the API has refused a token that may be renewed."""
        refused = response.status_code == 401 and flow.metadata.get(INJECTED)
        is_api = flow.metadata[ROLE] == "api"
        return bool(refused and is_api and self._secrets(flow).refresh_token)

    async def response(self, flow: http.HTTPFlow) -> None:
        if not is_reverse(flow):
            return
        response = flow.response
        assert response
        if flow.metadata.get(ROLE) in OWN:
            self.renewals.redact_body(flow)
            self.inspector.response(flow)
            return
        try:
            if flow.metadata[ROLE] == "login":
                self._translate_login_answer(flow)
            elif flow.metadata[ROLE] == "sign-out":
                told = "done" if 200 <= response.status_code <= 299 else "failed"
                flow.response = self._logout_answer(flow, upstream=told)
            elif self._renewable(flow, response):
                await self._renew_and_retry(flow)
            assert flow.response
            response = flow.response  # another one after a renewal or a logout
            settings, token = self._require_settings(), self._secrets(flow).token
            self.leak_alarm.check_body(flow, settings, token)
            self._add_new_cookies(flow, response)
            transport.record(response)
            if settings.redact and token:
                redact(response, token)
            if not flow.request.is_http2:
                response.trailers = None  # an HTTP/2 server's; mitmproxy cannot send them on
        except Exception as error:
            refuse(flow, error)
        self._answer_if_refused(flow)
        self.inspector.response(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        if is_reverse(flow) and flow.error:  # shown, saved and printed
            flow.error.msg = gaps.without_quotations(flow.error.msg)
        self.inspector.error(flow)

    def _translate_login_answer(self, flow: http.HTTPFlow) -> None:
        response = flow.response
        assert response
        response.trailers = None
        settings = self._require_settings()
        captured = login.read_answer(
            flow.request.method,
            response,
            settings.token_sources,
            redact=settings.redact_login,
            refresh=settings.renewal.pointer if settings.renewal else None,
        )
        if captured is None:  # a second factor, a GraphQL error, a wrong password
            self.leak_alarm.check_failed_login(flow, response, settings)
            return
        cookies = self._issued(flow, captured)
        login.replace_body(response, captured)
        self._secrets(flow).new_cookies = cookies  # only now: on a failure above, none is set
        flow.metadata[CAPTURED] = size_and_expiry(captured.token)
        self.last_login = f"{time.strftime('%H:%M:%S')} {flow.request.method} {_path(flow)}"

    # Upstream connections

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Name the upstream in TLS; mitmproxy may name the host that the browser asked for."""
        if isinstance(data.client.proxy_mode, ReverseMode) and data.server.address:
            data.server.sni = self.loopback.name_of(*data.server.address)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """Let the next request try again.

        mitmproxy keeps the error with the browser's connection, and on an HTTP/2 one, which stays
        open, would answer every later request with it (12.3.1, `HttpLayer.get_connection`).
        """
        if isinstance(data.client.proxy_mode, ReverseMode) and data.server.address:
            self.loopback.forget(data.server.address[1])
            data.server.error = None

    def tls_failed_server(self, data: TlsData) -> None:
        """As above."""
        if isinstance(data.context.client.proxy_mode, ReverseMode):
            data.conn.error = None

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        gaps.close_abandoned(ctx.master.addons.get("proxyserver"), data)

    def _answer_failure(self, flow: http.HTTPFlow, reason: str) -> http.Response | None:
        """What the browser gets when the flow fails on its way; see `upstream.gaps`."""
        role = flow.metadata.get(ROLE)
        if not is_reverse(flow) or role in (None, *OWN):
            return None
        try:
            upstream = f"{flow.request.scheme}://{flow.request.host_header}"
            if role in ("logout", "sign-out"):
                told = "failed" if role == "sign-out" else None
                return self._logout_answer(flow, upstream=told)
            if role == "frontend" and answers.is_navigation(flow.request.headers):
                return answers.frontend_down(upstream, reason)
            if role == "login" and reason == gaps.TOO_LONG:
                raise Refused("login_unreadable", f"The API's answer to this login: {reason}.")
            if role != "refused":
                raise Refused("upstream_unreachable", f"No answer from {upstream}: {reason}.")
        except Exception as error:
            refuse(flow, error)
        return self._refusal_answer(flow)

    def _answer_if_refused(self, flow: http.HTTPFlow) -> None:
        if flow.metadata[ROLE] == "refused":
            flow.response = http.Response.make(500)  # stays only if there is an error in ours, too
            flow.response = self._refusal_answer(flow)

    def _refusal_answer(self, flow: http.HTTPFlow) -> http.Response:
        code, message = flow.metadata[REFUSAL]
        response = answers.refusal(flow.request.method, code, message)
        origin = flow.metadata.get(CORS)
        guard.answer_cors(response, origin, varies=origin is not None)
        if code == "bad_cookie":
            secrets = self._secrets(flow)
            secrets.new_cookies = secrets.new_cookies or self._expired(flow)
        self._add_new_cookies(flow, response)
        return response

    def _require_settings(self) -> Settings:
        if self.settings is None:
            raise Refused(
                "addon_not_loaded", "cookie-auth's options are wrong; see mitmproxy's log."
            )
        return self.settings


def refuse_foreign_options() -> None:
    """Raise InvalidOption for a value of mitmproxy's own options that would break a promise."""
    if ctx.options.stream_large_bodies:
        raise InvalidOption(
            "stream_large_bodies",
            ctx.options.stream_large_bodies,
            "unset: it streams answers to the browser before their token can be taken out",
        )
    for name, (value, why) in OWN_VALUES.items():
        if getattr(ctx.options, name) != value:
            raise InvalidOption(name, getattr(ctx.options, name), f"{value}: {why}")


def refuse(flow: http.HTTPFlow, error: Exception) -> None:
    """Mark the flow as refused, and log why: one line, with no value from the traffic."""
    if isinstance(error, Refused):
        refused, cause = error, ""
    else:
        # The exception's own text may quote a token, so only its type and place are told.
        refused = Refused("internal", "cookie-auth failed; mitmproxy's log says where.")
        last = traceback.extract_tb(error.__traceback__)[-1]
        cause = f" ({type(error).__name__} in {last.filename}, line {last.lineno})"
    flow.metadata[ROLE] = "refused"
    flow.metadata[REFUSAL] = [refused.code, refused.message]
    logger.warning("%s %s refused: %s%s", flow.request.method, _path(flow), refused, cause)


def _path(flow: http.HTTPFlow) -> str:
    """The request's path for the log: without the query, which may hold secrets."""
    return printable(flow.request.path.partition("?")[0])


def hold_back(request: http.Request) -> None:
    """Make sure that nothing of a request goes on that is answered here."""
    request.stream = False  # mitmproxy cannot answer a request that streams; see request()
    request.headers.pop("cookie", None)


def most_held_back(flow: http.HTTPFlow, is_request: bool) -> int | None:
    """How many bytes of a body that cannot stream are held back; None for any number."""
    if not is_reverse(flow):
        return None
    held_back = HELD_BACK_REQUESTS if is_request else HELD_BACK_ANSWERS
    return transport.MOST_HELD_BACK if flow.metadata.get(ROLE) in held_back else None


addons = [CookieAuth()]
