"""cookie-auth: keeps an API's auth token in an HttpOnly cookie, out of reach of page scripts.

    mitmdump -s addon/cookie_auth.py --mode reverse:https://api.example.com

The browser talks to mitmproxy, mitmproxy to the API:

- login: the token is taken out of the API's answer and becomes the cookie;
- every request: the browser's cookies stay here, the token becomes the header that the API reads;
- logout: answered here, by deleting the cookie.

mitmproxy logs an exception in a hook and lets the flow go on as it was, which would leak. So each
hook below ends in "translated" or "refused", whatever happens in between.
"""

import contextlib
import importlib
import logging
import sys
import traceback

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode

# mitmproxy reloads this file when it is edited, but not what it imports (mitmproxy issue 4253).
importlib.invalidate_caches()
for _name in [name for name in sys.modules if name.partition(".")[0] == "token_handler"]:
    del sys.modules[_name]

from token_handler import answers, auth_cookie, credentials, graphql, login, route  # noqa: E402
from token_handler.answers import Refused  # noqa: E402
from token_handler.settings import OPTIONS, InvalidOption, Settings  # noqa: E402
from token_handler.stand_in import StandIn, is_reverse  # noqa: E402

logger = logging.getLogger(__name__)

# What was decided about a flow, in its metadata, so that it survives a reload of this script and
# a replay from a file. Never a secret: metadata is saved with the flow.
ROLE = "cookie_auth"  # "api", "login", "logout" or "refused"
REFUSAL = "cookie_auth_refusal"  # [code, message] of a refused flow
INJECTED = "cookie_auth_injected"  # whether a request on a login path was given the token
ANSWERED_HERE = ("logout", "refused")


class CookieAuth:
    """The addon. Without valid settings it refuses everything."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.is_running = False

    # Life cycle

    def load(self, loader: Loader) -> None:
        for option in OPTIONS:
            loader.add_option(option.name, option.type, option.default, option.help)
        # mitmproxy would do this itself after load(), but run without this addon on an error.
        try:
            ctx.options.process_deferred()
        except (exceptions.OptionsError, TypeError) as error:
            logger.error("%s", error)
            for option in OPTIONS:
                ctx.options.deferred.pop(option.name, None)
        # With "eager", a browser gets an empty reply when the API is down, even to a logout.
        ctx.options.update(connection_strategy="lazy")

    def configure(self, updated: set[str]) -> None:
        try:
            refuse_foreign_options()
            if self.settings is None or any(option.name in updated for option in OPTIONS):
                values = {option.name: getattr(ctx.options, option.name) for option in OPTIONS}
                self.settings = Settings.parse(values)
        except InvalidOption as error:
            if self.is_running:
                raise exceptions.OptionsError(str(error)) from None  # rolls the change back
            # An OptionsError would print a traceback here; a logged error also ends start-up.
            logger.error("%s", error)
            return
        if stand_in := ctx.master.addons.get(StandIn.name):
            ctx.master.addons.remove(stand_in)

    def running(self) -> None:
        self.is_running = True
        unknown = [name for name in ctx.options.deferred if name.startswith("cookie_auth")]
        for name in unknown:
            logger.error("%s: there is no such option; `mitmdump --options` lists them", name)
        modes = [ProxyMode.parse(mode) for mode in ctx.options.mode]
        reverse = [mode for mode in modes if isinstance(mode, ReverseMode)]
        if ctx.options.server and not reverse:
            logger.error("cookie-auth needs to know its API: add --mode reverse:URL")
        for mode in reverse:
            host = mode.listen_host(ctx.options.listen_host)
            if ctx.options.server and host not in ("localhost", "::1") and host[:4] != "127.":
                logger.warning(
                    "cookie-auth listens on %s, so other machines can reach the API through it:"
                    " add --listen-host 127.0.0.1",
                    host or "all interfaces",
                )

    def done(self) -> None:
        # When mitmproxy does not end, the script is being reloaded, and that may fail.
        reloading = self.is_running and not ctx.master.should_exit.is_set()
        if reloading and not ctx.master.addons.get(StandIn.name):
            ctx.master.addons.add(StandIn())

    # Requests

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Decide about the request; a streamed one's headers are sent right after this hook."""
        if not is_reverse(flow):
            return
        try:
            self._translate_request(flow)
        except Exception as error:
            refuse(flow, error)
        if flow.metadata[ROLE] in ANSWERED_HERE:
            # mitmproxy cannot answer a request that streams; see request().
            flow.request.stream = False
            flow.request.headers.pop("cookie", None)

    def request(self, flow: http.HTTPFlow) -> None:
        """Answer what is not for the API, and settle what only the body tells."""
        if not is_reverse(flow):
            return
        request = flow.request
        request.trailers = None  # they could carry a Cookie field (RFC 9113, 8.1)
        if request.raw_content and not {"content-length", "transfer-encoding"} & set(
            request.headers
        ):
            # An HTTP/2 body needs no length. mitmproxy sends it to an HTTP/1 server as it is, which
            # would read it as the next request (12.2.3, proxy/layers/http/_http1.py).
            request.headers["Content-Length"] = str(len(request.raw_content))
        try:
            role = flow.metadata[ROLE]
            if role == "logout":
                flow.response = self._logout_answer(flow)
            elif role == "login":
                self._keep_token_from_login(flow)
        except Exception as error:
            refuse(flow, error)
        answer_if_refused(flow)

    def _translate_request(self, flow: http.HTTPFlow) -> None:
        settings = self._require_settings()
        request = flow.request
        if flow.is_replay == "request" and ROLE in flow.metadata:
            request.headers.pop("cookie", None)
            return  # translated when it was recorded
        api_target = route.strip_prefix(request.path, settings.prefix)
        if api_target is None:
            raise Refused("outside_prefix", f"The API is served under {settings.prefix} only.")
        if not (request.is_http2 or request.is_http3):
            # An absolute-form target (RFC 9112, 3.2.2) would go upstream with any host in it.
            request.authority = ""
        request.path = route.upstream_target(api_target, settings.base_path)
        path = route.normalise(request.path)
        if path == settings.logout_path:
            flow.metadata[ROLE] = "logout"
            return
        if path not in settings.login_paths:
            flow.metadata[ROLE] = "api"
            credentials.translate(request.headers, settings, inject=True)
            return
        flow.metadata[ROLE] = "login"
        # Other GraphQL operations need the token, and the body is not here yet: request() decides.
        may_be_graphql = "json" in request.headers.get("content-type", "").lower()
        # A bad cookie must not keep its user from logging in; the headers are clean all the same.
        with contextlib.suppress(Refused):
            flow.metadata[INJECTED] = credentials.translate(
                request.headers, settings, inject=may_be_graphql
            )

    def _keep_token_from_login(self, flow: http.HTTPFlow) -> None:
        """Take the token out again unless this is another operation on a GraphQL endpoint.

        Real servers refuse a login that comes with an old token.
        """
        if not flow.metadata.get(INJECTED):
            return
        settings = self._require_settings()
        if not graphql.is_other_operation(flow.request.raw_content or b"", settings.token_pointers):
            credentials.remove_header_variants(flow.request.headers, settings.header)

    def _logout_answer(self, flow: http.HTTPFlow) -> http.Response:
        settings = self._require_settings()
        attributes = settings.cookie_attributes(tls=flow.client_conn.tls)
        return answers.logged_out(
            flow.request,
            settings.logout_redirect,
            auth_cookie.expire_cookie(settings.cookie, attributes),
        )

    # Responses

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Decide about the response's headers; a streamed one's are sent right after this hook."""
        if not is_reverse(flow) or flow.metadata.get(ROLE) in ANSWERED_HERE:
            return
        response = flow.response
        assert response
        try:
            settings = self._require_settings()
            credentials.drop_api_cookies(
                response.headers, keep=settings.cookie if flow.is_replay == "response" else None
            )
            if flow.metadata[ROLE] == "login":
                response.stream = False
        except Exception as error:
            refuse(flow, error)
            response.stream = False

    def response(self, flow: http.HTTPFlow) -> None:
        if not is_reverse(flow):
            return
        try:
            if flow.metadata[ROLE] == "login":
                self._translate_login_answer(flow)
        except Exception as error:
            refuse(flow, error)
        answer_if_refused(flow)

    def _translate_login_answer(self, flow: http.HTTPFlow) -> None:
        settings = self._require_settings()
        response = flow.response
        assert response
        response.trailers = None
        captured = login.read_answer(
            flow.request.method,
            response,
            settings.token_pointers,
            redact=settings.redact_login,
        )
        if captured is None:
            return  # a second factor, a GraphQL error, a wrong password
        cookie = credentials.issue_cookie(captured.token, settings, tls=flow.client_conn.tls)
        login.replace_body(response, captured)
        response.headers.add("Set-Cookie", cookie)

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
    if ctx.options.connection_strategy != "lazy":
        raise InvalidOption(
            "connection_strategy",
            ctx.options.connection_strategy,
            "lazy: otherwise no logout is answered while the API is down",
        )


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
    path = flow.request.path.partition("?")[0]
    logger.warning("%s %s refused: %s%s", flow.request.method, path, refused, cause)


def answer_if_refused(flow: http.HTTPFlow) -> None:
    if flow.metadata[ROLE] == "refused":
        code, message = flow.metadata[REFUSAL]
        flow.response = answers.refusal(flow.request.method, code, message)


addons = [CookieAuth()]
