"""Our own answers where mitmproxy has none: an upstream that fails, a login answer without end.

mitmproxy reports such a failure to the browser as a page of its own, and an addon cannot change
that: a response set in its `error()` hook is ignored. And it holds back a whole answer before the
`response()` hook, however long. Both are decided in `HttpStream` (mitmproxy
`proxy/layers/http/__init__.py`, alike in 11.0.2 and 12.2.3), two methods of which are wrapped
here. A mitmproxy without these methods is left as it is.
"""

import logging
import re
from collections.abc import Callable, Generator
from typing import Any

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy.layers.http import HttpStream, SendHttp, _events

logger = logging.getLogger(__name__)

Commands = Generator[Any, Any, Any]
Answer = Callable[[http.HTTPFlow, str], http.Response | None]
"""Makes the answer to a failed flow, from the reason; None leaves it to mitmproxy."""
Limit = Callable[[http.HTTPFlow], int | None]
"""How many bytes of the flow's answer may be held back; None for any number."""

TOO_LONG = "it is too long to be read"
"""The reason for a flow whose answer went over its limit."""

# What mitmproxy and the system say of a connection. Other messages may quote the answer.
_ABOUT_THE_CONNECTION = re.compile(
    r"\[Errno|Multiple exceptions|Certificate verify failed|TLS|OpenSSL|The remote server|"
    r"[\w ]*(?:connection|stream)[\w ]*$",
    re.IGNORECASE,
)


def describe(message: str) -> str:
    """The reason for a failure, from mitmproxy's message, with nothing from the answer in it."""
    if message == TOO_LONG or _ABOUT_THE_CONNECTION.match(message):
        return re.sub(r"\[Errno -?\d+\] ", "", message).rstrip(".")
    return "what it sent is no HTTP answer"


def install(answer: Answer, limit: Limit) -> Callable[[], None]:
    """Have failures of upstream servers answered by `answer`. Returns what undoes it."""
    try:
        originals = HttpStream.handle_protocol_error, HttpStream.check_body_size
    except AttributeError:
        logger.warning("cookie-auth does not know this mitmproxy: upstream errors are its pages")
        return lambda: None
    handle_protocol_error, check_body_size = originals

    def handle(self: HttpStream, event: Any) -> Commands:
        """Send our answer in front of the error, as long as nothing was sent to the browser."""
        response = None
        unanswered = self.server_state in (
            self.state_uninitialized,
            self.state_wait_for_response_headers,
            self.state_consume_response_body,
        )
        connected = self.context.client.state & ConnectionState.CAN_WRITE
        if isinstance(event, _events.ResponseProtocolError) and unanswered and connected:
            reason = describe(event.message)
            response = answer(self.flow, reason)
            if response is not None:
                event.message = reason  # it is logged as well
        if response is None:
            return (yield from handle_protocol_error(self, event))
        self.flow.response = response
        commands = handle_protocol_error(self, event)
        reply = None
        while True:
            try:
                command = commands.send(reply)
            except StopIteration as end:
                return end.value
            if isinstance(command, SendHttp) and command.event is event:
                yield from _send(self, response)
                if self.flow.request.is_http2 or self.flow.request.is_http3:
                    yield SendHttp(
                        _events.ResponseEndOfMessage(self.stream_id), self.context.client
                    )
                    continue  # the stream has ended; over HTTP/1, the error closes the connection
            reply = yield command

    def check(self: HttpStream, request: bool) -> Commands:
        """Fail an answer that goes over its limit, as mitmproxy's body_size_limit does."""
        most = None if request else limit(self.flow)
        if most is None or _size(self) <= most:
            return (yield from check_body_size(self, request))
        yield from self.handle_protocol_error(_error(_events.ResponseProtocolError, self.stream_id))
        yield SendHttp(_error(_events.RequestProtocolError, self.stream_id), self.context.server)
        self.client_state = self.server_state = self.state_errored
        return True

    def uninstall() -> None:
        setattr(HttpStream, "handle_protocol_error", handle_protocol_error)  # noqa: B010
        setattr(HttpStream, "check_body_size", check_body_size)  # noqa: B010

    setattr(HttpStream, "handle_protocol_error", handle)  # noqa: B010
    setattr(HttpStream, "check_body_size", check)  # noqa: B010
    return uninstall


def _send(stream: HttpStream, response: http.Response) -> Commands:
    client, content = stream.context.client, response.raw_content
    yield SendHttp(_events.ResponseHeaders(stream.stream_id, response, not content), client)
    if content:
        yield SendHttp(_events.ResponseData(stream.stream_id, content), client)


def _size(stream: HttpStream) -> int:
    """Bytes of the answer that are here, or that its Content-Length announces."""
    announced = (
        stream.flow.response.headers.get("content-length", "") if stream.flow.response else ""
    )
    return max(len(stream.response_body_buf), int(announced) if announced.isdecimal() else 0)


def _error(kind: Any, stream_id: int) -> Any:
    """An error event, whose code is an enumeration in mitmproxy 12 and a status in 11."""
    codes = getattr(_events, "ErrorCode", None)
    return kind(stream_id, TOO_LONG, codes.RESPONSE_TOO_LARGE if codes else 502)
