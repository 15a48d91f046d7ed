"""The reason for which an API closes a WebSocket: scripts read it, and it may hold a token.

mitmproxy sends it before it calls a hook. So the function that sends it is wrapped, which is alike
in 11.0.2 and 12.3.1 (mitmproxy `proxy/layers/websocket.py`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.proxy.layers.websocket import WebsocketConnection
from wsproto.events import CloseConnection

from upstream.patches import Function, replace, unknown

REPLACED = (Function(WebsocketConnection, "send2", ("self", "event")),)


class Closing:
    """Has the reason that a browser gets written by `written(flow, reason)`."""

    def __init__(self, written: Callable[[http.HTTPFlow, str], str]) -> None:
        self._flows: WeakKeyDictionary[Connection, http.HTTPFlow] = WeakKeyDictionary()
        self.undo: Callable[[], None] = lambda: None
        if unknown(REPLACED):
            return
        send: Any = WebsocketConnection.send2

        def send_written(connection: Any, event: Any) -> Any:
            flow = self._flows.get(connection.conn)
            if flow and flow.websocket and isinstance(event, CloseConnection) and event.reason:
                flow.websocket.close_reason = written(flow, event.reason)
                event = dataclasses.replace(event, reason=flow.websocket.close_reason)
            return send(connection, event)

        self.undo = replace({REPLACED[0]: send_written})

    def opened(self, flow: http.HTTPFlow) -> None:
        """To be called from the `websocket_start()` hook."""
        self._flows[flow.client_conn] = flow
