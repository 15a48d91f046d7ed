"""Shows what `CookieAuth` decides. It changes nothing but marks and comments."""

import logging
import os
from collections.abc import Callable, Sequence
from itertools import chain

from credentials import carriers
from credentials.options import HeaderSettings
from exchanges import notes
from exchanges.proxy import Proxy
from exchanges.settings import OPTIONS, Settings
from mitmproxy import command, ctx, exceptions, flow, http, types, version
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode
from origins.origin import Origin
from profiles import writing

from inspection import explain, learned, mitmweb, onlookers, report, saving, start, view

logger = logging.getLogger(__name__)

SAVE_VARIABLE = "COOKIE_AUTH_SAVE_PROFILE"
"""Names the file in the environment that `run.sh --save-profile` asks for."""
NO_FILE = types.Path()

_LATE = frozenset(
    (
        *(notes.RENEWED, notes.LEAK, notes.STAND_INS, notes.LEFT_ALONE, notes.LOGGED_OUT),
        *(notes.CAPTURED, notes.HEADER, notes.TRANSLATED),
    )
)
"""What only the body or the answer tells of an exchange with the API."""


class Inspector:
    """Marks, comments, the content view, commands and the lines at start-up.

    The addon that decides calls its hooks at the end of its own. As an addon of its own it would
    cost each flow as much as the marks do: mitmproxy asks every addon for every event.
    """

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.withdrawals: list[Callable[[], None]] = []
        """What takes away what was given to mitmproxy's UI."""
        self.is_watched = True
        """Whether somebody may see marks and comments, which are not made otherwise."""
        self.unknown: list[str] = []
        """Functions of mitmproxy's that are not as the addon knows them."""

    def load(self, loader: Loader) -> None:
        self.withdrawals = [
            view.register(self.view_text),
            mitmweb.begin_with(self._first_search),
            mitmweb.search_comments(),
        ]
        loader.master.commands.collect_commands(self)
        for function in (self.status, self.explain, self.curl, self.profile):
            # mitmweb's command bar knows no underscore (12.3.1, `tools/web/app.py`).
            loader.add_command(f"cookieauth.{function.__name__}", function)

    def configure(self) -> None:
        self.is_watched = onlookers.may_look(ctx.master, ctx.options)

    def done(self) -> None:
        for withdraw in self.withdrawals:
            withdraw()
        if ctx.master.should_exit.is_set() and self.proxy.configuration:
            self._keep_what_was_learned()

    def _keep_what_was_learned(self) -> None:
        """At the end of a run: saved where that was asked for, else told to be copied."""
        try:
            if file := os.environ.get(SAVE_VARIABLE):
                for line in self._saved(file):
                    logger.info("%s", line)
            elif new := saving.unsaid(self._learned(), self.proxy.configured.options):
                logger.info("learned in this run: %s", saving.as_settings(new))
        except ValueError as error:
            logger.error("no profile was written: %s", error)

    def running(self) -> None:
        options = ctx.options
        if self.proxy.configuration is None or not options.server:
            return
        settings = self.proxy.settings
        modes = [ProxyMode.parse(mode) for mode in options.mode]
        servers = ctx.master.addons.get("proxyserver").servers
        ports = {server.mode: addr[1] for server in servers for addr in server.listen_addrs}
        listeners = [
            start.Listener(
                mode.listen_host(options.listen_host),
                ports.get(mode) or mode.listen_port(options.listen_port) or 0,
                Origin.served_by(mode),
            )
            for mode in modes
            if isinstance(mode, ReverseMode)
        ]
        if not listeners:
            return
        for line in start.summary(settings, listeners):
            logger.info("%s", line)
        for line in start.further(settings):
            logger.info("%s", line)
        self.tell_what_a_profile_widens()
        web = version.VERSION if "web_port" in options else None
        mitmweb.show_comments(options)
        if web and settings.paths.frontend:
            logger.info("mitmweb: %s in Search leaves the API's flows", mitmweb.ONLY_THE_APIS)
        if self.unknown:
            logger.warning(
                "cookie-auth does not know mitmproxy %s: it leaves %s as they are, so that what"
                " fails may get mitmproxy's own pages; see addon/upstream/gaps.py",
                *(version.VERSION, ", ".join(self.unknown)),
            )
        warnings = start.warnings(listeners, settings.paths.frontend, web)
        if warnings := [*warnings, *start.warnings_of_further(settings)]:
            logger.warning("%s", "; ".join(warnings))

    def tell_what_a_profile_widens(self) -> None:
        """Once for each profile that does: it may come from somebody else."""
        further = (one.widened for one in self.proxy.settings.further.values())
        for line in filter(None, (self.proxy.configured.options.widened, *further)):
            self.proxy.once.warn(("profile", line), "%s", line)

    # What is written to a flow

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if notes.KIND in flow.metadata and not flow.is_replay:
            self._write(flow)

    def response(self, flow: http.HTTPFlow) -> None:
        """Only now it is known what became of a login, and whether something leaked."""
        metadata = flow.metadata
        settled = metadata.get(notes.KIND) in (None, "frontend", "api")
        if not settled or not _LATE.isdisjoint(metadata):
            self._write(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        if notes.KIND in flow.metadata:
            self._write(flow)

    def _write(self, flow: http.HTTPFlow) -> None:
        if self.is_watched and self.proxy.configuration:
            flow.marked = report.mark(flow.metadata)
            flow.comment = report.comment(flow, self._settings_of(flow))

    # What the user asks for

    def view_text(self, flow: http.HTTPFlow) -> str:
        """The text of the content view."""
        header, comment = "", flow.comment
        if self.proxy.configuration:
            settings = self._settings_of(flow)
            header = settings.header.name
            if notes.KIND in flow.metadata:
                comment = report.comment(flow, settings)
        header = flow.metadata.get(notes.HEADER, header)
        return "\n".join(view.lines(flow, comment, header, self._token(flow)))

    def _first_search(self) -> str:
        has_more = self.proxy.configuration and self.proxy.settings.paths.frontend
        return mitmweb.ONLY_THE_APIS if has_more else ""

    def _token(self, flow: http.HTTPFlow) -> str | None:
        """The token that the flow carries in either direction, if that may be shown."""
        if self.proxy.configuration is None or self.proxy.settings.redact:
            return None
        if flow.metadata.get(notes.INJECTED):
            header = self._header(flow)
            return carriers.injected_token(flow.request.headers, header) if header else None
        if notes.CAPTURED in flow.metadata and flow.response:
            fields = flow.response.headers.get_all("set-cookie")
            pairs = [field.partition(";")[0].partition("=")[::2] for field in fields]
            upstream = self._settings_of(flow).upstream
            wallet = self.proxy.configured.wallets.of(flow.client_conn, upstream=upstream)
            token = wallet.jar.read(pairs)
            return token.decode("utf-8", "replace") if token else None
        return None

    def _header(self, flow: http.HTTPFlow) -> HeaderSettings | None:
        """The header that the token went into, as far as that is known."""
        settings = self._settings_of(flow)
        if notes.HEADER not in flow.metadata:
            return settings.header
        login = flow.metadata.get(notes.SESSION, [""])[0]
        return self.proxy.learned.header(login)

    @command.command("cookie_auth.status")  # type: ignore[untyped-decorator, unused-ignore]
    def status(self) -> Sequence[str]:
        """Show cookie-auth's settings in words, the last login, and what it learned of each API."""
        settings = self._settings()
        own = (str(one.origin) for one in settings.upstreams.entries if not one.shares_token)
        apis = dict.fromkeys([*_apis(), *own])
        return [
            *(f"proxy: {mode}" for mode in ctx.options.mode),
            *start.described(settings),
            *start.further(settings),
            f"last login: {self.proxy.last_login or 'none yet'}",
            f"front-end requests that took the short way: {self.proxy.short_ways}",
            *chain.from_iterable(learned.lines(self.proxy.learned, api) for api in apis),
        ]

    @command.command("cookie_auth.explain")  # type: ignore[untyped-decorator, unused-ignore]
    def explain(self, flow: flow.Flow) -> Sequence[str]:
        """Show, rule by rule, why cookie-auth translated this flow, refused it or left it alone."""
        return list(explain.rules(_http(flow), self._settings()))

    @command.command("cookie_auth.curl")  # type: ignore[untyped-decorator, unused-ignore]
    def curl(self, flow: flow.Flow) -> Sequence[str]:
        """Show a curl command that sends what the API got, with the token as $TOKEN."""
        self._settings()
        return [explain.curl(_http(flow), self._settings_of(_http(flow)))]

    @command.command("cookie_auth.profile")  # type: ignore[untyped-decorator, unused-ignore]
    def profile(self, file: types.Path = NO_FILE) -> Sequence[str]:
        """Show what is configured and what was learned as a profile, or save it in this file."""
        self._settings()
        try:
            return self._saved(file) if file else writing.lines(self._profile())
        except ValueError as error:
            raise exceptions.CommandError(str(error)) from None

    def _saved(self, file: str) -> list[str]:
        return saving.save(file, self._profile(), OPTIONS, f"cookie-auth, {', '.join(_apis())}")

    def _profile(self) -> dict[str, object]:
        return saving.profile(self.proxy.configured.options, self._learned(), OPTIONS)

    def _learned(self) -> dict[str, object]:
        return saving.learned_values(self.proxy.learned, _apis())

    def _settings_of(self, flow: http.HTTPFlow) -> Settings:
        """Those for the upstream that a flow went to; those of the API if it is gone."""
        settings = self.proxy.settings
        return settings.further.get(flow.metadata.get(notes.UPSTREAM, ""), settings)

    def _settings(self) -> Settings:
        if self.proxy.configuration is None:
            raise exceptions.CommandError("cookie-auth's options are wrong; see the log.")
        return self.proxy.settings


def _apis() -> list[str]:
    modes = [ProxyMode.parse(mode) for mode in ctx.options.mode]
    found = (str(Origin.served_by(mode)) for mode in modes if isinstance(mode, ReverseMode))
    return list(dict.fromkeys(found))


def _http(flow: flow.Flow) -> http.HTTPFlow:
    if not isinstance(flow, http.HTTPFlow):
        raise exceptions.CommandError("cookie-auth sees HTTP flows only.")
    return flow
