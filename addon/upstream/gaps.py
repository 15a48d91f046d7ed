"""What mitmproxy's HTTP layer lacks, put in its place.

- It reports a failing upstream to the browser as a page of its own; a response that an addon sets
  in `error()` is ignored. Here the addon answers.
- It holds back a whole body before the `request()` and `response()` hooks, however long. Here the
  addon says how long that may be.
- It raises on HTTP/1 trailers and leaves the client waiting (mitmproxy issue 2474). Here they are
  discarded, as RFC 9110, 6.5.1 allows.
- Its log quotes what it could not read, which may hold a token. Here the quotation is left out.
- It takes an HTTP/1 interim answer (100, 103) for the final one (issue 2229), and writes the final
  one to its log. Here interim answers are left out.

For that, two methods of `HttpStream` (mitmproxy `proxy/layers/http/__init__.py`) and two functions
of `_http1.py` are wrapped; they are alike in 11.0.2 and 12.3.1. A mitmproxy without them is left as
it is.
"""

import logging
import re
from collections.abc import Callable, Generator
from typing import Any

import h11
from h11._readers import ChunkedReader
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy.layers.http import HttpStream, SendHttp, _events, _http1
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

logger = logging.getLogger(__name__)

Commands = Generator[Any, Any, Any]
Answer = Callable[[http.HTTPFlow, str], http.Response | None]
"""Makes the answer to a failed flow, from the reason; None leaves it to mitmproxy."""
Limit = Callable[[http.HTTPFlow, bool], int | None]
"""How many bytes of a flow's request (True) or answer may be held back; None for any number."""

TOO_LONG = "it is too long to be read"
"""The reason for a flow whose request or answer went over its limit."""

_INTERIM_ANSWER = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d[ \r\n]")  # 101 is a final one

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


# A bytes literal, as `repr` writes it.
_QUOTED = re.compile(r"""b(['"])(?:\\.|(?!\1).)*\1""", re.DOTALL)


def without_quotations(text: str) -> str:
    """A message of mitmproxy's without the bytes from the wire that it quotes."""
    return _QUOTED.sub("(left out)", text)


class _WithoutQuotations(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_quotations(record.getMessage()), ()
        return True


def install(answer: Answer, limit: Limit) -> Callable[[], None]:
    """Have failures of upstream servers answered by `answer`. Returns what undoes it."""
    try:
        handle_protocol_error = HttpStream.handle_protocol_error
        check_body_size = HttpStream.check_body_size
        make_body_reader = _http1.make_body_reader
        read_headers = _http1.Http1Client.read_headers
    except AttributeError:
        logger.warning("cookie-auth does not know this mitmproxy: failing upstreams get its pages")
        return lambda: None

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
            yield from handle_protocol_error(self, event)
            return
        self.flow.response = response
        # The error closes an HTTP/1 connection, as it must while the rest of a request may come.
        is_http1 = not (self.flow.request.is_http2 or self.flow.request.is_http3)
        must_close = is_http1 and self.client_state != self.state_done
        commands = handle_protocol_error(self, event)
        reply = None
        while True:
            try:
                command = commands.send(reply)
            except StopIteration:
                return
            if isinstance(command, SendHttp) and command.event is event:
                yield from _send(self, response)
                if not must_close:
                    end = _events.ResponseEndOfMessage(self.stream_id)
                    command = SendHttp(end, self.context.client)
            reply = yield command

    def check(self: HttpStream, request: bool) -> Commands:
        most = limit(self.flow, request)
        if most is None:
            return check_body_size(self, request)
        size = len(self.request_body_buf) if request else _size_of_answer(self)
        return fail(self, request) if size > most else check_body_size(self, request)

    def fail(self: HttpStream, request: bool) -> Commands:
        """Fail a body that goes over its limit, as mitmproxy's body_size_limit does."""
        yield from self.handle_protocol_error(_error(_events.ResponseProtocolError, self.stream_id))
        if not request:
            error = _error(_events.RequestProtocolError, self.stream_id)
            yield SendHttp(error, self.context.server)
        self.client_state = self.server_state = self.state_errored
        return True

    def read_final_headers(self: _http1.Http1Client, event: Any) -> Commands:
        while _INTERIM_ANSWER.match(bytes(self.buf)) and self.buf.maybe_extract_lines():
            pass
        return read_headers(self, event)

    def put(handle: Any, check: Any, make_reader: Any, read: Any) -> None:
        HttpStream.handle_protocol_error = handle  # type: ignore[method-assign]
        HttpStream.check_body_size = check  # type: ignore[method-assign]
        _http1.make_body_reader = make_reader
        _http1.Http1Client.read_headers = read  # type: ignore[method-assign]

    def make_reader(size: int | None) -> Any:
        reader = make_body_reader(size)
        return _WithoutTrailers(reader) if isinstance(reader, ChunkedReader) else reader

    def undo() -> None:
        put(handle_protocol_error, check_body_size, make_body_reader, read_headers)
        wire_log.removeFilter(log_filter)

    put(handle, check, make_reader, read_final_headers)
    wire_log, log_filter = logging.getLogger("mitmproxy.proxy.server"), _WithoutQuotations()
    wire_log.addFilter(log_filter)
    return undo


def close_abandoned(proxyserver: Any, data: ServerConnectionHookData) -> None:
    """Close the socket of a server connection that mitmproxy has let go of without closing it.

    Version 12 does so when it closes a connection whose task waits to report more data, as with an
    answer that is too long: the API would go on sending (12.3.1, `proxy/server.py`,
    `handle_connection`). To be called from the `server_disconnected()` hook.
    """
    handler = proxyserver.connections.get(data.client.id)
    left = handler.transports.get(data.server) if handler else None
    if left and left.writer:
        left.writer.close()


class _WithoutTrailers:
    """Reads a chunked body as h11's reader does, and forgets the trailers at its end."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.read_eof = reader.read_eof

    def __call__(self, data: Any) -> Any:
        event = self.reader(data)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event


def _send(stream: HttpStream, response: http.Response) -> Commands:
    client, content = stream.context.client, response.raw_content
    yield SendHttp(_events.ResponseHeaders(stream.stream_id, response, not content), client)
    if content:
        yield SendHttp(_events.ResponseData(stream.stream_id, content), client)


def _size_of_answer(stream: HttpStream) -> int:
    """Bytes of the answer that are here, or that its Content-Length announces."""
    announced = (
        stream.flow.response.headers.get("content-length", "") if stream.flow.response else ""
    )
    return max(len(stream.response_body_buf), int(announced) if announced.isdecimal() else 0)


def _error(kind: Any, stream_id: int) -> Any:
    """An error event, whose code is an enumeration in mitmproxy 12 and a status in 11."""
    codes = getattr(_events, "ErrorCode", None)
    return kind(stream_id, TOO_LONG, codes.RESPONSE_TOO_LARGE if codes else 502)
