"""Puts what `Redacted` bytes stand for onto the wire, while the recorded flow keeps them.

For that, `SendHttp` is wrapped: all that mitmproxy's HTTP layer sends, in either direction, is such
a command (`proxy/layers/http/__init__.py`); and so is `Fragmentizer`, through which each WebSocket
message goes (`proxy/layers/websocket.py`). Both are alike in 11.0.2 and 12.3.1.
"""

from collections.abc import Callable, Iterator
from typing import Any

from messages.redacted import real, real_message
from mitmproxy.connection import Connection
from mitmproxy.proxy.layers.http import (
    HttpEvent,
    RequestData,
    RequestHeaders,
    ResponseData,
    ResponseHeaders,
    SendHttp,
)
from mitmproxy.proxy.layers.websocket import Fragmentizer
from wsproto.events import Message

from upstream.patches import Function, replace

REPLACED = (
    Function(SendHttp, "__init__", ("self", "event", "connection")),
    Function(Fragmentizer, "__call__", ("self", "content")),
)


def install() -> Callable[[], None]:
    """Send the real bytes from now on. Returns what undoes it."""
    send = SendHttp.__init__

    def send_real(self: SendHttp, event: HttpEvent, connection: Connection) -> None:
        if isinstance(event, RequestHeaders):
            event.request = real_message(event.request)
        elif isinstance(event, ResponseHeaders):
            event.response = real_message(event.response)
        elif isinstance(event, (RequestData, ResponseData)):
            event.data = real(event.data)
        send(self, event, connection)

    fragments = Fragmentizer.__call__

    def real_fragments(self: Fragmentizer, content: bytes) -> Iterator[Message[Any]]:
        return fragments(self, real(content))

    return replace(dict(zip(REPLACED, (send_real, real_fragments), strict=True)))
