"""short-way: requests for the front end, past mitmproxy's hooks.

    mitmdump -s addon/cookie_auth.py -s addon/short_way.py …

Most requests of a page are for the modules of its front end, which cookie-auth passes on as they
came, and most of what each costs is mitmproxy's flow and its hooks. This script puts a layer of its
own (`upstream/short_way.py`) under the browser's connection, which passes plain ones on without.
mitmproxy neither shows nor saves them then; `cookie_auth_keep_frontend` keeps them.

It leaves everything to mitmproxy where somebody wants to see or change those requests: an option of
mitmproxy's, or another script. A mitmproxy that it does not know it leaves as it is.
"""

import hashlib
import inspect
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from messages.http1 import ForBrowser, ForFrontEnd
from mitmproxy import addonmanager, ctx
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.next_layer import NextLayer as ChoosesLayers
from mitmproxy.addons.script import ScriptLoader
from mitmproxy.connection import Client, Connection
from mitmproxy.net.http.http1 import assemble, read
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import server
from mitmproxy.proxy.layer import Layer, NextLayer
from mitmproxy.proxy.layers import http as http_layers
from mitmproxy.proxy.layers import modes
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.mode_specs import ReverseMode
from upstream.short_way import ShortWayLayer

logger = logging.getLogger(__name__)

COUNTED_ON = (
    *(Layer, NextLayer, modes.DestinationKnown, modes.ReverseProxy, ChoosesLayers),
    *(http_layers.HttpLayer, _http1.Http1Connection, _http1.Http1Server),
    *(server.ConnectionHandler, Connection, read, assemble),
)
"""What the layer stands between, whose insides it reads, or what it does in another way."""

KNOWN = frozenset(
    (
        "11e36033b11c6982f7167278825e0496d0e54fce3d04db3a8769d0d444ceeba6",  # 11.0.2
        "3a2656cdb59855faffebf9e30c231489687d6174a9db294ec9a350d578e55775",  # 12.3.1
    )
)

# mitmproxy's own addons that have HTTP hooks, and the option that has them look at each request.
OPTION_OF = {
    "AntiCache": "anticache",
    "AntiComp": "anticomp",
    "BlockList": "block_list",
    "Intercept": "intercept",
    "MapLocal": "map_local",
    "MapRemote": "map_remote",
    "ModifyBody": "modify_body",
    "ModifyHeaders": "modify_headers",
    "ProxyAuth": "proxyauth",
    "Save": "save_stream_file",
    "SaveHar": "hardump",
    "ServerPlayback": "server_replay",
    "StickyAuth": "stickyauth",
    "StickyCookie": "stickycookie",
    "UpstreamAuth": "upstream_auth",
}
# Those that have nothing to do with what goes the short way, or only show it.
IDLE = frozenset(("DisableH2C", "Dumper", "Onboarding", "TlsConfig", "UpdateAltSvc", "View"))
# What mitmproxy does at the same places without an addon, or with none of these hooks.
OTHER_OPTIONS = ("allow_hosts", "body_size_limit", "ignore_hosts", "tcp_hosts")

HOOKS = ("requestheaders", "request", "responseheaders", "response", "error")
_FOLDER = Path(__file__).resolve().parent
OURS = frozenset(_FOLDER / name for name in ("cookie_auth.py", "fast_dispatch.py", "short_way.py"))


class ShortWay:
    """The addon."""

    def __init__(self) -> None:
        self.known = self.loaded = False
        self.why_not = ""
        """Why all goes the long way, as mitmproxy's options and its own addons are."""
        self.others: list[tuple[str, Any]] = []
        """The addons that are neither mitmproxy's nor cookie-auth's, and what they are called."""
        self.playback: Any = None
        self.heads: Any = None
        """Whom to ask: cookie-auth's `exchanges.short_way.Heads`."""
        self._seen: object = None
        """What all this follows from; None for options that have changed."""
        self._told: str | None = None

    def load(self, loader: Loader) -> None:
        self.loaded = True
        self.known = fingerprint() in KNOWN
        if not self.known:
            logger.warning("short way: it does not know this mitmproxy and leaves it as it is")

    def configure(self, updated: set[str]) -> None:
        self._seen = None

    def running(self) -> None:
        self.is_open()

    def done(self) -> None:
        self.loaded = False  # its layers stay under their connections, and ask

    def next_layer(self, nextlayer: NextLayer) -> None:
        """Put the layer under a browser's plain connection, above mitmproxy's own."""
        context = nextlayer.context
        client, mode = context.client, context.client.proxy_mode
        if nextlayer.layer or hasattr(nextlayer, "below_short_way") or not self.is_open():
            return
        if not isinstance(mode, ReverseMode) or mode.scheme not in ("http", "https"):
            return
        if [type(layer) for layer in context.layers] != [modes.ReverseProxy]:
            return
        data = nextlayer.data_client()
        is_plain = client.transport_protocol == "tcp" and not client.tls and data
        if is_plain and not starts_like_tls_record(data) and not nextlayer.data_server():
            nextlayer.layer = ShortWayLayer(context, CookieAuthDecides())

    def is_open(self) -> bool:
        """Whether requests for the front end may take the short way now; told when it changes."""
        if not self.known or not self.loaded:
            return False
        self._look()
        why_not = self.ask("why_not")
        if why_not is None:  # there is no front end
            return False
        if not why_not:
            why_not = self.why_not or next(listening(self.others), "")
        if why_not != self._told:
            self._told = why_not
            tell(why_not)
        return not why_not and not (self.playback and self.playback.flowmap)

    def ask(self, what: str, *arguments: object) -> Any:
        """What cookie-auth says; None where it cannot."""
        try:
            return getattr(self.heads, what)(*arguments) if self.heads else None
        except Exception as error:
            # What cookie-auth refuses, it refuses on the long way, in words.
            if type(error).__name__ != "Refused":
                _tell_fault(what, type(error).__name__)
            return None

    def _look(self) -> None:
        """Find out anew who is there, if anything about options or addons has changed."""
        addons = ctx.master.addons
        scripts = [one.ns for one in addons.get("scriptloader").addons]
        seen = addons.chain, len(addons.chain), len(addons.lookup), scripts
        if seen != self._seen:
            self._seen = seen
            self.playback = addons.get("serverplayback")
            self.heads = getattr(addons.get("cookieauth"), "heads", None)
            self.why_not = next(looked_at(addons.chain), "")
            self.others = list(others(addons.chain))


class CookieAuthDecides:
    """What the layers ask: cookie-auth, as that is at the moment. See `upstream.short_way.Decides`.

    Where cookie-auth refuses, fails, or is not there, the request takes the long way, where that
    is answered.
    """

    def to_front_end(self, head: bytes, client: Client) -> ForFrontEnd | None:
        addon = current()
        if not addon or not addon.is_open():
            return None
        request: ForFrontEnd | None = addon.ask("to_front_end", head, client)
        return request

    def to_browser(self, head: bytes, about: object) -> ForBrowser | None:
        addon = current()
        if not addon:
            return None
        addon._look()
        answer: ForBrowser | None = addon.ask("to_browser", head, about)
        return answer

    def answered(self) -> None:
        if addon := current():
            addon.ask("answered")


def current() -> ShortWay | None:
    """The addon as it is loaded: a layer outlives a reload of this script."""
    addon: ShortWay | None = ctx.master.addons.get("shortway")
    return addon


@lru_cache(maxsize=16)
def _tell_fault(what: str, error: str) -> None:
    """Once, and without the text, which may quote."""
    logger.error("short way: %s in %s; such requests go the long way", error, what)


def tell(why_not: str) -> None:
    if why_not:
        logger.info("requests for the front end take the long way: %s", why_not)
    else:
        logger.info(
            "requests for the front end take the short way, which does not record them; to have"
            " them recorded: --set cookie_auth_keep_frontend=true"
        )


def looked_at(chain: Sequence[Any]) -> Iterator[str]:
    """What of mitmproxy's own looks at requests or answers: mostly options."""
    for name in OTHER_OPTIONS:
        if getattr(ctx.options, name, None):
            yield f"{name} is set"
    for member in filter(is_mitmproxys, chain):
        name = type(member).__name__
        if option := OPTION_OF.get(name):
            if getattr(ctx.options, option):
                yield f"{option} is set"
        elif name not in IDLE and not isinstance(member, ScriptLoader) and has_hooks(member):
            yield f"{name} may want to see them"


def others(chain: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """See `ShortWay.others`."""
    for member in chain:
        if isinstance(member, ScriptLoader):
            for script in member.addons:
                if Path(script.fullpath).resolve() not in OURS:
                    yield script.path, script
        elif not is_mitmproxys(member):
            yield type(member).__name__, member


def listening(addons: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Which of these may want to see or change requests and answers.

    It is asked anew for each request, since nothing tells of a hook that comes late: an attribute
    that is set, an addon that is put into another.
    """
    return (f"{name} may want to see them" for name, one in addons if has_hooks(one))


def is_mitmproxys(addon: Any) -> bool:
    return type(addon).__module__.startswith("mitmproxy.")


def has_hooks(addon: Any) -> bool:
    return any(hasattr(one, hook) for one in addonmanager.traverse([addon]) for hook in HOOKS)


def fingerprint() -> str | None:
    """A digest of what is counted on; None without source (in mitmproxy's own binaries)."""
    try:
        source = "".join(inspect.getsource(one) for one in COUNTED_ON)
    except (OSError, TypeError):
        return None
    return hashlib.sha256(source.encode()).hexdigest()


addons = [ShortWay()]
