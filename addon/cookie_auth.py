"""cookie-auth: keeps an API's auth token in an HttpOnly cookie, out of reach of page scripts.

    mitmdump -s addon/cookie_auth.py --mode reverse:https://api.example.com

The browser talks to mitmproxy, mitmproxy to the API:

- login: the token is taken out of the API's answer and becomes the cookie;
- every request: the browser's cookies stay here, the token becomes the header that the API reads;
- logout: answered here, by deleting the cookie;
- pages of other origins get nothing that needs the token;
- what is outside the API's prefix goes to the front end's own dev server, as it is.

This file is what mitmproxy calls. Each hook says which flows it leaves alone and lets the flow's
exchange act; the kinds of exchange are in `exchanges/`, one file each.

mitmproxy logs an exception in a hook and lets the flow go on as it was, which would leak. So there
is one door, `CookieAuth._let`, behind which everything ends in "translated" or "refused".
"""

import difflib
import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mitmproxy import ctx, exceptions, http, optmanager
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

# mitmproxy reloads this file when it is edited, but not what it imports (mitmproxy issue 4253).
PACKAGES = (
    *("credentials", "exchanges", "inspection", "messages", "origins", "profiles", "settings"),
    *("tokens", "upstream"),
)
importlib.invalidate_caches()
for _name in list(sys.modules):
    if _name.partition(".")[0] in PACKAGES:
        del sys.modules[_name]

from credentials import companion, fixed_headers  # noqa: E402
from credentials.wallet import Wallets  # noqa: E402
from exchanges import notes  # noqa: E402
from exchanges.closed import Closed, is_reverse  # noqa: E402
from exchanges.proxy import Configuration, Proxy  # noqa: E402
from exchanges.refusal import Refusal  # noqa: E402
from exchanges.router import Router, exchange_of  # noqa: E402
from exchanges.settings import MITMPROXY_OPTIONS, OPTIONS, Settings  # noqa: E402
from exchanges.short_way import Heads  # noqa: E402
from inspection.inspector import Inspector  # noqa: E402
from messages import answers, streaming  # noqa: E402
from messages.answers import Refused  # noqa: E402
from messages.headers import lower_names  # noqa: E402
from origins import upstreams  # noqa: E402
from profiles.reading import Profile  # noqa: E402
from settings.option import InvalidOption  # noqa: E402
from upstream import (  # noqa: E402
    closing,
    connections,
    gaps,
    part_types,
    patches,
    reasons,
    redaction,
)
from upstream.connections import Connections  # noqa: E402
from upstream.options import NetworkSettings  # noqa: E402

logger = logging.getLogger(__name__)

# Options of mitmproxy that the addon takes over, and why.
OWN_VALUES = {
    "connection_strategy": ("lazy", "otherwise no logout is answered while the API is down"),
    "keep_host_header": (True, "the addon checks the browser's Host before it sets the API's"),
}
# Those that must stay unset, and why.
UNFIT = {
    "stream_large_bodies": "it streams answers to the browser before their token can be taken out",
    "stickyauth": "it puts tokens on the requests of foreign pages",
    "stickycookie": "it puts cookies on the requests of foreign pages",
}


class CookieAuth:
    """The addon. Without valid settings it refuses everything."""

    def __init__(self) -> None:
        self.proxy = Proxy(ctx.options)
        self.router = Router()
        self.is_running = False
        self.others_limit_bodies = True
        """Whether an option of mitmproxy's own does so; its check is asked until that is known."""
        self.connections = Connections(self._network)
        self.reopen_gaps: Callable[[], None] = lambda: None
        self.let_connect: Callable[[], None] = lambda: None
        self.check_types_again: Callable[[], None] = lambda: None
        self.stop_redaction: Callable[[], None] | None = None
        self.closing: closing.Closing | None = None
        self.inspector = Inspector(self.proxy)
        self.heads = Heads(self.proxy)  # for short_way.py

    # Life cycle

    def load(self, loader: Loader) -> None:
        # What is over stays over when the script is reloaded.
        kept = vars(ctx.master)
        self.proxy.logins = kept.setdefault("cookie_auth_logins", self.proxy.logins)
        self.proxy.learned = kept.setdefault("cookie_auth_learned", self.proxy.learned)
        self.proxy.ends = kept.setdefault("cookie_auth_ends", self.proxy.ends)
        for option in MITMPROXY_OPTIONS:
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
        known = (*gaps.RELIED_ON, *connections.RELIED_ON, *redaction.REPLACED, *closing.REPLACED)
        self.inspector.unknown = patches.unknown(known)
        self.reopen_gaps = gaps.install(
            *(self._answer_failure, self._most_held_back, answers.refusal),
            lambda: self.others_limit_bodies,
        )
        self.let_connect = self.connections.install()
        self.check_types_again = part_types.install()
        self.closing = closing.Closing(self._close_reason)
        self.inspector.load(loader)

    def configure(self, updated: set[str]) -> None:
        options = ctx.options
        self.others_limit_bodies = bool(options.body_size_limit or options.stream_large_bodies)
        try:
            refuse_unfit_options()
            if self.proxy.configuration is None or configured_by(updated):
                self.proxy.configuration = configuration()
                self.router = Router()
                if self.is_running:
                    self.inspector.tell_what_a_profile_widens()
        except InvalidOption as error:
            if self.is_running:
                raise exceptions.OptionsError(str(error)) from None  # rolls the change back
            # An OptionsError would print a traceback here; a logged error also ends start-up.
            logger.error("%s", error)
            return
        self.inspector.configure()
        # Once it is on it stays on, since flows may go on to hold redacted values.
        if self.proxy.settings.redact and not self.stop_redaction:
            self.stop_redaction = redaction.install()
        if closed := ctx.master.addons.get(Closed.name):
            ctx.master.addons.remove(closed)

    def running(self) -> None:
        self.is_running = True
        names = [option.name for option in MITMPROXY_OPTIONS]
        for name in ctx.options.deferred:
            if name.startswith("cookie_auth"):
                near = difflib.get_close_matches(name, names, n=1, cutoff=0)
                logger.error("%s: there is no such option; is it %s?", name, near[0])
        for name in self._network().proxies.unfit:
            logger.warning("%s names no http proxy, such as http://HOST:3128: it is left out", name)
        modes = [ProxyMode.parse(mode) for mode in ctx.options.mode]
        if ctx.options.server and not any(isinstance(mode, ReverseMode) for mode in modes):
            logger.error("cookie-auth needs to know its API: add --mode reverse:URL")
        self.inspector.running()

    def done(self) -> None:
        self.inspector.done()
        self.let_connect()
        self.check_types_again()
        self.reopen_gaps()
        if self.closing:
            self.closing.undo()
        if self.stop_redaction:
            self.stop_redaction()
        # When mitmproxy does not end, the script is being reloaded, and that may fail.
        reloading = self.is_running and not ctx.master.should_exit.is_set()
        if reloading and not ctx.master.addons.get(Closed.name):
            ctx.master.addons.add(Closed())

    # Requests

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Decide about the request; a streamed one's headers are sent right after this hook."""
        if not is_reverse(flow) or flow.error:
            return  # mitmproxy refuses malformed requests itself
        if flow.is_replay == "request" and notes.KIND in flow.metadata:
            return  # translated when it was recorded
        await self._let(flow, "request_head", begins=True)
        self.inspector.requestheaders(flow)

    async def request(self, flow: http.HTTPFlow) -> None:
        """Answer what is not for an upstream, and settle what only the body tells."""
        if is_reverse(flow):
            await self._let(flow, "request")

    # Answers

    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Decide about the answer's headers; a streamed one's are sent right after this hook."""
        if is_reverse(flow):
            await self._let(flow, "answer_head")

    async def response(self, flow: http.HTTPFlow) -> None:
        if is_reverse(flow):
            await self._let(flow, "answer")
            self.inspector.response(flow)

    def websocket_start(self, flow: http.HTTPFlow) -> None:
        if self.closing and is_reverse(flow):
            self.closing.opened(flow)

    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        if is_reverse(flow):
            await self._let(flow, "message")

    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        if is_reverse(flow):
            self.inspector.response(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        if is_reverse(flow) and flow.error:  # shown, saved and printed
            flow.error.msg = reasons.without_quotations(flow.error.msg)
        self.inspector.error(flow)

    async def _let(self, flow: http.HTTPFlow, act: str, *, begins: bool = False) -> None:
        """Let the flow's exchange do what it does at this moment; on any error it is refused."""
        try:
            if begins:
                exchange = self.router.route(flow, self.proxy)
            else:
                exchange = exchange_of(flow, self.proxy)
            result = getattr(exchange, act)()
            if result is not None:
                await result
        except Exception as error:
            refusal = Refusal.of(flow, self.proxy, error)
            result = getattr(refusal, act)()
            if result is not None:
                await result
        if flow.request.is_http2 or flow.request.is_http3:
            for message in filter(None, (flow.request, flow.response)):
                lower_names(message.headers)

    # Upstream connections

    def tls_start_server(self, data: TlsData) -> None:
        if isinstance(data.context.client.proxy_mode, ReverseMode):
            self.connections.begin_tls(data, http2=ctx.options.http2)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """Let the next request try again.

        mitmproxy keeps the error with the browser's connection, and on an HTTP/2 one, which stays
        open, would answer every later request with it (12.3.1, `HttpLayer.get_connection`).
        """
        if isinstance(data.client.proxy_mode, ReverseMode):
            data.server.error = None

    def tls_failed_server(self, data: TlsData) -> None:
        """As above."""
        if isinstance(data.context.client.proxy_mode, ReverseMode):
            data.conn.error = None

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        gaps.close_abandoned(ctx.master.addons.get("proxyserver"), data)

    # What `upstream` asks, where mitmproxy has no hook

    def _network(self) -> NetworkSettings:
        """How upstreams are reached; while the options are wrong, nothing goes there."""
        settings = self.proxy.configuration
        return settings.settings.network if settings else NetworkSettings()

    def _answer_failure(self, flow: http.HTTPFlow, code: str, reason: str) -> http.Response | None:
        """What the browser gets when the flow fails on its way."""
        try:
            if notes.KIND not in flow.metadata:  # it was malformed from the start
                raise Refused(code, f"The request was refused: {reason}.")
            exchange = exchange_of(flow, self.proxy)
            response = exchange.failed(code, reason)
            if response:
                exchange.add_new_cookies(response)
            return response
        except Exception as error:
            return Refusal.of(flow, self.proxy, error).failed(code, reason)

    def _close_reason(self, flow: http.HTTPFlow, reason: str) -> str:
        """The reason for which a WebSocket is closed, as the browser gets it; none on an error."""
        try:
            return exchange_of(flow, self.proxy).close_reason(reason)
        except Exception as error:
            Refusal.of(flow, self.proxy, error)
            return ""

    def _most_held_back(self, flow: http.HTTPFlow, is_request: bool) -> int | None:
        """How many bytes of a body that cannot stream are held back; None for any number."""
        if not is_reverse(flow) or notes.KIND not in flow.metadata:
            return None
        exchange = exchange_of(flow, self.proxy)
        if isinstance(exchange, Refusal) and not is_request:
            return -1  # it is not waited for: an answer that streams may never end
        bounded = exchange.bounded_request if is_request else exchange.bounded_answer
        return streaming.MOST_HELD_BACK if bounded else None


def configured_by(updated: set[str]) -> bool:
    """Whether any of these options makes the addon read its own anew."""
    return bool(updated & {"mode", "confdir", *(option.name for option in MITMPROXY_OPTIONS)})


def configuration() -> Configuration:
    """What follows from the options as they are now. Raises InvalidOption."""
    names = [option.name for option in MITMPROXY_OPTIONS]
    values = {option.name: option.default for option in OPTIONS}
    values.update({name: getattr(ctx.options, name) for name in names})
    given = {name for name in names if ctx.options._options[name].value is not optmanager.unset}
    profile = Profile.named(ctx.options.cookie_auth_profile, OPTIONS)
    resolved = profile.beneath(values, given)
    modes = map(ProxyMode.parse, ctx.options.mode)
    apis = {mode.address for mode in modes if isinstance(mode, ReverseMode)}
    try:
        settings = Settings.parse(resolved.values, os.environ, resolved.given)
        fixed_headers.refuse_for(apis, settings.fixed)
    except InvalidOption as error:
        raise profile.located(error, given) from None
    if settings.redact and (names := patches.unknown(redaction.REPLACED)):
        what = f"false with this mitmproxy, whose {' and '.join(names)} cookie-auth does not know"
        raise InvalidOption("cookie_auth_redact", True, what)
    for one in settings.upstreams.entries if len(apis) > 1 else ():
        if one.shares_token:
            what = "without the word token: there are several APIs, and it would get that of each"
            raise InvalidOption(upstreams.NAME, one.text, what)
    confdir = Path(ctx.options.confdir).expanduser()
    try:
        keys = companion.keys(settings.cookie.secrets, confdir)
    except (OSError, ValueError) as error:
        file, why = confdir / companion.KEY_FILE, getattr(error, "strerror", None) or error
        raise InvalidOption(
            "confdir",
            ctx.options.confdir,
            f"a folder where cookie-auth can keep its key ({file}: {why}); or set a"
            " cookie_auth_secret",
        ) from None
    wallets = Wallets(
        settings.cookie,
        settings.header,
        settings.upstreams.shared_prefix,
        keys,
        renews=settings.paths.refresh is not None,
        several=len(ctx.options.mode) > 1,
        renews_for_pages=bool(settings.paths.refresh and settings.paths.frontend),
        further_apis={
            prefix: (one.cookie, one.header)
            for prefix, one in settings.further.items()
            if one.is_further_api
        },
        more={None: settings.more}
        | {prefix: one.more for prefix, one in settings.further.items() if one.is_further_api},
    )
    return Configuration(settings, wallets, resolved)


def refuse_unfit_options() -> None:
    """Raise InvalidOption for a value of mitmproxy's own options that would break a promise."""
    for name, why in UNFIT.items():
        if value := getattr(ctx.options, name, None):
            raise InvalidOption(name, value, f"unset: {why}")
    for name, (value, why) in OWN_VALUES.items():
        if getattr(ctx.options, name) != value:
            raise InvalidOption(name, getattr(ctx.options, name), f"{value}: {why}")


addons = [CookieAuth()]
