"""Connections to API and front end: which way they go, how long they may take, which are used.

mitmproxy connects to what the resolver says, directly, for as long as the system likes, and speaks
the browser's HTTP version there. Here:

- a host's addresses are tried side by side, `*.localhost` is this machine (`addresses.py`);
- the proxy that the environment names is used (`proxies.py`): by CONNECT for https and WebSockets,
  with the whole URL as the target (RFC 9112, 3.2.2) for plain http, as many allow CONNECT to 443
  only. `Proxy-Authorization` is put into the bytes that are sent, and into no flow;
- connecting, TLS included, takes ten seconds at most, the head of an answer as many as the option
  says;
- an API that speaks HTTP/2 only is spoken to so. HTTP/1.1 is offered alone at first, which is what
  a page gets from mitmproxy without TLS, is less work, and has WebSockets; a server that refuses it
  or says nothing about it (RFC 7301, 3.2) is offered both from then on;
- a GET, HEAD or PUT whose kept connection is closed before a byte of the answer is sent once more
  (RFC 9112, 9.3.1).

For that, functions of mitmproxy's `proxy/layers/http` and `proxy/server.py` are wrapped, alike in
11.0.2 and 12.3.1. A mitmproxy that has others is left as it is, and start-up says so. So is a flow
that did not come in through a reverse mode, but for the addresses.
"""

import asyncio
import logging
import re
import time
import types
from collections.abc import Callable, Generator
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from mitmproxy import connection, http, tls
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.proxy import commands, events, server, tunnel
from mitmproxy.proxy.layers.http import (
    GetHttpConnection,
    GetHttpConnectionCompleted,
    HttpLayer,
    HttpStream,
    SendHttp,
    _events,
    _http1,
    _upstream_proxy,
)
from mitmproxy.proxy.layers.tls import ServerTLSLayer

from upstream import addresses, reasons
from upstream.gaps import failure, is_reverse
from upstream.options import NetworkSettings
from upstream.patches import Function, replace, unknown

logger = logging.getLogger(__name__)

Commands = Generator[Any, Any, Any]
Steps = Callable[..., Commands]

REPLACED = (
    Function(HttpLayer, "_handle_event", ("self", "event")),
    Function(HttpStream, "make_server_connection", ("self",)),
    Function(HttpStream, "handle_protocol_error", ("self", "event")),
    Function(HttpStream, "check_invalid", ("self", "request")),
    Function(ServerTLSLayer, "start_handshake", ("self",)),
    Function(_upstream_proxy.HttpUpstreamProxy, "start_handshake", ("self",)),
    Function(_http1.Http1Client, "send", ("self", "event")),
    Function(_http1.Http1Client, "read_headers", ("self", "event")),
)
RELIED_ON = (
    *REPLACED,
    Function(server.ConnectionHandler, "open_connection", ("self", "command")),
    Function(HttpLayer, "event_to_child", ("self", "child", "event")),
)
_CONNECTS = Function(server, "asyncio", ())  # the module, as that one knows it

_SENT_AGAIN = ("GET", "HEAD", "PUT")
_PERHAPS_NO_HTTP1 = re.compile(
    r"OpenSSL .*(no application protocol|handshake failure)|connection closed$"
)


SECONDS_TO_LOOK = 2
"""For TLS where there may be none: somebody waits for the answer that says so."""


class _Limit(commands.RequestWakeup):
    """Asks to be told when somebody has waited long enough."""

    def __init__(self, delay: float, who: Any) -> None:
        super().__init__(delay)
        self.cookie_auth_waits = who
        """A tunnel that is to be established, or a stream that is to be answered.

        By this name it is known after a reload of the script, too, with which this class is another
        one: mitmproxy's layers take an unknown event for a fault.
        """


class Connections:
    """What is known of the upstreams and of the connections to them, in memory only."""

    def __init__(self, settings: Callable[[], NetworkSettings]) -> None:
        self._settings = settings
        self._not_sure_of_http1: set[Any] = set()
        """Addresses that did not say that they speak it."""
        self._upgrading: WeakSet[Client] = WeakSet()
        """Browsers' HTTP/1 connections whose request is for a WebSocket."""
        self._tunnelled: WeakKeyDictionary[Server, bool] = WeakKeyDictionary()
        """Whether connections to a proxy are by CONNECT. Of those from before a reload of the
        script that is not known, and they are not used again: what is for the proxy only must not
        go through a tunnel."""
        self._used: WeakSet[Server] = WeakSet()
        self._silent: WeakSet[Server] = WeakSet()
        """Those that were used before, and have not answered the latest request with a byte."""
        self._looking_for_tls: WeakSet[Client] = WeakSet()
        self._speaks_tls: dict[Any, bool] = {}
        """Of addresses that ended a connection instead of answering to plain http."""
        self._sent_again: WeakSet[http.HTTPFlow] = WeakSet()

    def install(self) -> Callable[[], None]:
        """Have connections of reverse modes made so. Returns what undoes it."""
        if unknown(RELIED_ON) or server.asyncio is not asyncio:
            return lambda: None
        handle_layer: Steps = HttpLayer._handle_event
        handle_protocol_error: Steps = HttpStream.handle_protocol_error
        check_invalid: Steps = HttpStream.check_invalid
        start_tls: Steps = ServerTLSLayer.start_handshake
        start_proxy: Steps = _upstream_proxy.HttpUpstreamProxy.start_handshake
        send: Steps = _http1.Http1Client.send
        read_headers: Steps = _http1.Http1Client.read_headers
        make_connection: Steps = HttpStream.make_server_connection

        def handle_event(layer: HttpLayer, event: Any) -> Commands:
            if isinstance(event, events.Wakeup) and hasattr(event.command, "cookie_auth_waits"):
                return self._is_over(layer, event.command)
            return handle_layer(layer, event)

        def make_server_connection(stream: HttpStream) -> Commands:
            tcp = stream.flow.server_conn.transport_protocol == "tcp"
            if tcp and is_reverse(stream.context.client):
                return self._connect(stream)
            return make_connection(stream)

        def handle_failure(stream: HttpStream, event: Any) -> Commands:
            if event.message == reasons.CLOSED and _waits(stream):
                if self._may_be_sent_again(stream):
                    return self._send_again(stream)
                if stream.flow.request.scheme == "http" and not stream.flow.server_conn.via:
                    return self._look_for_tls(stream, event, handle_protocol_error)
            return handle_protocol_error(stream, event)

        def validate(stream: HttpStream, request: bool) -> Commands:
            response = stream.flow.response
            if request or not response:
                return check_invalid(stream, request)
            if self._is_from_the_proxy(response, stream.flow.server_conn):
                return _fail(stream, reasons.WANTS_PASSWORD)
            steps = check_invalid(stream, request)
            return frame_if_valid(stream.flow, steps) if response.is_http2 else steps

        def frame_if_valid(flow: http.HTTPFlow, steps: Commands) -> Commands:
            refused = yield from steps
            if not refused:
                frame(flow)
            return refused

        def begin_tls(layer: ServerTLSLayer) -> Commands:
            if is_reverse(layer.context.client):
                is_looking = layer.context.client in self._looking_for_tls
                seconds = SECONDS_TO_LOOK if is_looking else addresses.SECONDS_TO_CONNECT
                yield _Limit(seconds, layer)
            yield from start_tls(layer)

        def begin_tunnel(layer: _upstream_proxy.HttpUpstreamProxy) -> Commands:
            if is_reverse(layer.context.client):
                return self._begin_tunnel(layer, start_proxy)
            return start_proxy(layer)

        def send_request(client: _http1.Http1Client, event: Any) -> Commands:
            steps = send(client, event)
            if not isinstance(event, _events.RequestHeaders):
                return steps
            connection = client.conn
            assert isinstance(connection, Server)
            (self._silent if connection in self._used else self._used).add(connection)
            is_for_a_proxy = self._tunnelled.get(connection) is False
            return self._send_by_proxy(connection, steps) if is_for_a_proxy else steps

        def read_answer(client: _http1.Http1Client, event: Any) -> Commands:
            if isinstance(event, events.DataReceived):
                self._silent.discard(client.conn)  # type: ignore[arg-type]
            return read_headers(client, event)

        functions: tuple[Steps, ...] = (
            *(handle_event, make_server_connection, handle_failure, validate, begin_tls),
            *(begin_tunnel, send_request, read_answer),
        )
        ours: dict[Function, Any] = dict(zip(REPLACED, functions, strict=True))
        return replace({**ours, _CONNECTS: _with_our_connections()})

    def begin_tls(self, data: tls.TlsData, *, http2: bool) -> None:
        """Name the upstream in TLS, and offer HTTP versions. For the hook `tls_start_server()`.

        mitmproxy would name the host that the browser asked for, and offer what the browser offers.
        """
        conn, client = data.conn, data.context.client
        if not isinstance(conn, Server) or conn is not data.context.server or not conn.address:
            return  # a proxy's own TLS
        conn.sni = conn.address[0]
        if b"h2" not in (client.alpn_offers or ()):
            both = http2 and conn.address in self._not_sure_of_http1
            is_both = both and client not in self._upgrading
            conn.alpn_offers = (b"h2", b"http/1.1") if is_both else (b"http/1.1",)

    # Connecting

    def _connect(self, stream: HttpStream) -> Commands:
        """A connection for a stream's request; whether there is one.

        As `HttpStream.make_server_connection`, but for the way, and for what is tried once more.
        """
        flow, settings, client = stream.flow, self._settings(), stream.context.client
        request = flow.request
        upgrades = "upgrade" in request.headers
        if upgrades:
            self._upgrading.add(client)
        else:
            self._upgrading.discard(client)
        proxy = settings.proxies.on_the_way_to(request.scheme, request.host, request.port)
        via = proxy.via if proxy else None
        if flow.server_conn.via != via:  # the one that is there may be other flows', too
            flow.server_conn = Server(address=(request.host, request.port), via=via)

        def ask() -> GetHttpConnection:
            address = (request.host, request.port)
            return GetHttpConnection(address, request.scheme == "https", via)

        conn, error = yield ask()
        if conn and not self._fits(conn, upgrades=upgrades):
            yield from _close(stream, conn)
            conn, error = yield ask()
        elif self._should_offer_http2(stream, conn, error):
            self._not_sure_of_http1.add((request.host, request.port))
            if conn:
                yield from _close(stream, conn)
            conn, error = yield ask()
        if conn and upgrades and conn.alpn == b"h2":
            error = reasons.NO_SOCKETS
        if error:
            event = failure(_events.ResponseProtocolError, stream.stream_id, error)
            yield from stream.handle_protocol_error(event)
            return False
        stream.context.server = flow.server_conn = conn
        if settings.answer_timeout:
            yield _Limit(settings.answer_timeout, stream)
        return True

    def _fits(self, conn: Server, *, upgrades: bool) -> bool:
        """Whether a connection that may have served another request serves this one, too."""
        if conn.via and not conn.tls:
            return self._tunnelled.get(conn) is upgrades
        return not (upgrades and conn.alpn == b"h2")

    def _should_offer_http2(
        self, stream: HttpStream, conn: Server | None, error: str | None
    ) -> bool:
        """Whether a first try with HTTP/1.1 alone has failed, or was not confirmed."""
        request, client = stream.flow.request, stream.context.client
        if (
            request.scheme != "https"
            or (request.host, request.port) in self._not_sure_of_http1
            or client in self._upgrading
            or b"h2" in (client.alpn_offers or ())
            or not stream.context.options.http2
        ):
            return False
        return not conn.alpn if conn else bool(_PERHAPS_NO_HTTP1.match(error or ""))

    def _begin_tunnel(self, layer: _upstream_proxy.HttpUpstreamProxy, start: Steps) -> Commands:
        conn = layer.conn
        assert conn.address
        self._tunnelled[conn] = conn.tls or layer.context.client in self._upgrading
        if self._tunnelled[conn]:
            yield _Limit(addresses.SECONDS_TO_CONNECT, layer)
        else:
            layer.send_connect = False
        for command in start(layer):
            if isinstance(command, commands.SendData):
                target = _authority(*conn.address, default_port=None)
                lines = [b"CONNECT %b HTTP/1.1" % target, b"Host: " + target]
                command.data = b"\r\n".join([*lines, *self._authorization(conn), b"", b""])
            yield command

    def _send_by_proxy(self, conn: Server, steps: Commands) -> Commands:
        """The head of a request that a proxy is to fetch."""
        assert conn.address
        for command in steps:
            if isinstance(command, commands.SendData):
                line, _, fields = command.data.partition(b"\r\n")
                method, target, version = line.split(b" ", 2)
                authority = _authority(*conn.address, default_port=80)
                line = b"%b http://%b%b %b" % (method, authority, target.lstrip(b"*"), version)
                command.data = b"\r\n".join([line, *self._authorization(conn), fields])
            yield command

    def _authorization(self, conn: Server) -> list[bytes]:
        value = conn.via and self._settings().proxies.authorization(conn.via)
        return [b"Proxy-Authorization: " + value.encode()] if value else []

    def _is_from_the_proxy(self, response: http.Response, conn: Server) -> bool:
        """Whether an answer is not the upstream's (RFC 9110, 15.5.8)."""
        return response.status_code == 407 and self._tunnelled.get(conn) is False

    def _look_for_tls(self, stream: HttpStream, event: Any, handle: Steps) -> Commands:
        """Fail, and say so if the server speaks TLS: most such servers just close (OpenSSL 3)."""
        flow = stream.flow
        address = flow.request.host, flow.request.port
        if address not in self._speaks_tls:
            self._looking_for_tls.add(stream.context.client)
            conn, error = yield GetHttpConnection(address, True, None)
            self._looking_for_tls.discard(stream.context.client)
            if conn:
                yield from _close(stream, conn)
            self._speaks_tls[address] = bool(conn) or error.startswith(reasons.UNTRUSTED)
        if self._speaks_tls[address]:
            event.message = reasons.SPEAKS_TLS
        yield from handle(stream, event)

    # Limits

    def _is_over(self, layer: HttpLayer, limit: Any) -> Commands:
        layer.command_sources.pop(limit, None)
        stream = limit.cookie_auth_waits
        if not isinstance(stream, HttpStream):
            yield from _end_handshake(layer, stream)
            return
        if left := self._seconds_left(stream):
            again = _Limit(left, stream)
            layer.command_sources[again] = stream
            yield again
        elif left is not None:
            event = failure(_events.ResponseProtocolError, stream.stream_id, reasons.NO_ANSWER)
            upstream = layer.connections.get(stream.context.server)
            yield from layer.event_to_child(stream, event)
            if upstream:  # HTTP/1 closes the connection, HTTP/2 ends its stream
                event = failure(_events.RequestProtocolError, stream.stream_id, reasons.NO_ANSWER)
                yield from layer.event_to_child(upstream, event)

    def _seconds_left(self, stream: HttpStream) -> float | None:
        """How long a stream may go on waiting for an answer; None if it does not wait for one."""
        seconds = self._settings().answer_timeout
        if stream.server_state != stream.state_wait_for_response_headers or not seconds:
            return None
        if stream._paused:
            return 1
        ended = stream.flow.request.timestamp_end
        if stream.client_state != stream.state_done or ended is None:
            return seconds  # it is being uploaded
        return max(0.0, ended + seconds - time.time())

    # Sending again

    def _may_be_sent_again(self, stream: HttpStream) -> bool:
        flow = stream.flow
        return (
            stream.context.server in self._silent
            and stream.client_state == stream.state_done
            and flow.request.method in _SENT_AGAIN
            and not flow.request.stream
            and "upgrade" not in flow.request.headers
            and flow not in self._sent_again
        )

    def _send_again(self, stream: HttpStream) -> Commands:
        request, stream_id = stream.flow.request, stream.stream_id
        self._sent_again.add(stream.flow)
        logger.info("the upstream closed a kept connection; %s is sent again", request.method)
        if (yield from stream.make_server_connection()):
            body = request.raw_content
            upstream = stream.context.server
            yield SendHttp(_events.RequestHeaders(stream_id, request, not body), upstream)
            if body:
                yield SendHttp(_events.RequestData(stream_id, body), upstream)
            yield SendHttp(_events.RequestEndOfMessage(stream_id), upstream)


def frame(flow: http.HTTPFlow) -> None:
    """Have an HTTP/2 answer of unknown length end visibly for an HTTP/1 browser.

    mitmproxy would end it by closing the connection, and so would what breaks off (RFC 9112, 6.3).
    """
    response, request = flow.response, flow.request
    if (
        response
        and response.is_http2
        and request.http_version == "HTTP/1.1"
        and request.method != "HEAD"
        and response.status_code not in (204, 304)
        and "content-length" not in response.headers
    ):
        response.headers["transfer-encoding"] = "chunked"


def _with_our_connections() -> types.ModuleType:
    """The module asyncio with `open_connection` replaced."""
    module = types.ModuleType("asyncio")
    vars(module).update(vars(asyncio))
    vars(module)["open_connection"] = addresses.connect
    return module


def _end_handshake(layer: HttpLayer, handshake: tunnel.TunnelLayer) -> Commands:
    if handshake.tunnel_state is not tunnel.TunnelState.ESTABLISHING:
        return
    conn = handshake.context.server
    waiting = layer.waiting_for_establishment.get(conn, [])
    layer.waiting_for_establishment[conn] = []
    for asked in waiting:
        stream = layer.command_sources.pop(asked)
        answer = GetHttpConnectionCompleted(asked, (None, reasons.NO_HANDSHAKE))
        yield from layer.event_to_child(stream, answer)
    yield commands.CloseConnection(_socket(layer, conn))


def _close(stream: HttpStream, conn: Server) -> Commands:
    """Let go of a connection, so that the next request gets another one."""
    index = stream.context.layers.index(stream)
    layer = stream.context.layers[index - 1]
    assert isinstance(layer, HttpLayer)
    yield commands.CloseConnection(_socket(layer, conn))
    conn.state = ConnectionState.CLOSED


def _socket(layer: HttpLayer, conn: Server) -> connection.Connection:
    """The connection that is really one: that to the proxy, if there is a tunnel."""
    outermost = layer.connections[conn]
    return outermost.tunnel_connection if isinstance(outermost, tunnel.TunnelLayer) else conn


def _fail(stream: HttpStream, message: str) -> Commands:
    """Refuse an answer of which the head is here."""
    event = failure(_events.ResponseProtocolError, stream.stream_id, message)
    yield from stream.handle_protocol_error(event)
    event = failure(_events.RequestProtocolError, stream.stream_id, message)
    yield SendHttp(event, stream.context.server)
    stream.client_state = stream.server_state = stream.state_errored
    return True


def _authority(host: str, port: int, *, default_port: int | None) -> bytes:
    name = f"[{host}]".encode() if ":" in host else host.encode("idna")
    return name if port == default_port else b"%b:%d" % (name, port)


def _waits(stream: HttpStream) -> bool:
    """Whether nothing of an answer is here yet, in a reverse mode."""
    waits = stream.server_state == stream.state_wait_for_response_headers
    return waits and is_reverse(stream.context.client)
