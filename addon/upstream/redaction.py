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

    def put(send: Callable[..., None], fragments: Callable[..., Iterator[Message[Any]]]) -> None:
        SendHttp.__init__ = send  # type: ignore[method-assign]
        Fragmentizer.__call__ = fragments  # type: ignore[method-assign]

    put(send_real, real_fragments)
    return lambda: put(send, fragments)
