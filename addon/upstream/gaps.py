"""What mitmproxy's HTTP layer lacks, put in its place.

- It tells the browser of a failing upstream, and of a message that it cannot or will not read, with
  a page of its own, which quotes what it read; a response that an addon sets in `error()` is
  ignored. Here the addon answers.
- It holds back a whole body before the `request()` and `response()` hooks, however long. Here the
  addon says how long that may be.
- It raises on HTTP/1 trailers and leaves the client waiting (mitmproxy issue 2474). Here they are
  discarded, as RFC 9110, 6.5.1 allows.
- Its log and the flow's error quote what it could not read, which may hold a token. Here the
  quotation is left out, and so is a line for each message that streams.
- It takes an HTTP/1 interim answer (100, 103) for the final one (issue 2229), and writes the final
  one to its log. Here interim answers are left out.
- It refuses, or misreads, heads of answers that a recipient may mend. Here they are (`mending.py`).

For that, three methods of `HttpStream` (mitmproxy `proxy/layers/http/__init__.py`) and three
functions of `_http1.py` are wrapped; they are alike in 11.0.2 and 12.3.1. A mitmproxy that has
others is left as it is, and start-up says so. So is a flow that did not come in through a reverse
mode.

Where mitmproxy makes a page (`_base.format_error`), and what makes ours:

- `check_invalid` of a request (400: header names, framing, scheme, CONNECT) and of an answer (502);
  `check_body_size` with `body_size_limit` (413, 502); `handle_protocol_error` (502: what cannot be
  reached, breaks off or is no HTTP, of all HTTP versions). All of them end in a
  `ResponseProtocolError` for the browser, of which `_http1.py`, `_http2.py` or `_http3.py` makes
  the page: `answering` puts our answer in its place.
- `Http1Server.read_headers` (400: a request line, header line or length that cannot be parsed),
  which sends the page itself: `read_request_head`.
- A request without a host gets one from the mode, in reverse modes; an HTTP/2 or HTTP/3 browser
  that breaks the protocol gets no page, its connection ends.
"""

import html
import logging
import re
from collections.abc import Callable, Generator
from typing import Any, cast

import h11
from h11._readers import ChunkedReader
from mitmproxy import http
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.net.http import status_codes
from mitmproxy.net.http.http1 import assemble_response
from mitmproxy.proxy import commands, mode_specs
from mitmproxy.proxy.layers import http as http_layers
from mitmproxy.proxy.layers.http import DropStream, HttpStream, SendHttp, _events, _hooks, _http1
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from upstream.mending import mend
from upstream.patches import Function, replace, unknown
from upstream.reasons import (
    BAD_REQUEST,
    TOO_LONG,
    UNREACHABLE,
    Upstream,
    code_of,
    describe,
    without_quotations,
)

Commands = Generator[Any, Any, Any]
Answer = Callable[[http.HTTPFlow, str, str], http.Response | None]
"""Makes the answer to a failed flow, from a code of `reasons.py` and the reason. None where nobody
gets one: the flow is of the addon's own and has no answer then."""
Refusal = Callable[[str, str, str], http.Response]
"""Makes the answer to a request of which there is no flow, from method, code and message."""
Limit = Callable[[http.HTTPFlow, bool], int | None]
"""How many bytes of a flow's request (True) or answer may be held back; None for any number."""

_INTERIM_ANSWER = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d[ \r\n]")  # 101 is a final one


class _WithoutQuotations(logging.Filter):
    """Leaves out, too, that a message streams: most that do not say their length do here."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if message.startswith(("Streaming response from ", "Streaming request to ")):
            return False
        record.msg, record.args = without_quotations(message), ()
        return True


_FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_NOT_RECORDED = (b"cookie", b"content-length", b"transfer-encoding")

# Sends nothing: the flow was killed. An enumeration's member in mitmproxy 12, a status in 11.
_KILLED = getattr(getattr(_events, "ErrorCode", None), "KILL", status_codes.NO_RESPONSE)

_LOGGERS = ("mitmproxy.proxy.server", "mitmproxy.addons.clientplayback")


REPLACED = (
    Function(HttpStream, "handle_protocol_error", ("self", "event")),
    Function(HttpStream, "check_body_size", ("self", "request")),
    Function(HttpStream, "check_invalid", ("self", "request")),
    Function(_http1, "make_body_reader", ("expected_size",)),
    Function(_http1.Http1Client, "read_headers", ("self", "event")),
    Function(_http1.Http1Server, "read_headers", ("self", "event")),
)
RELIED_ON = (
    *REPLACED,
    Function(http_layers, "validate_request", ("mode", "request", "validate_inbound_headers")),
    Function(http_layers, "validate_headers", ("message",)),
)

_NO = cast("Commands", ())
"""What a check ends in that has nothing to say: no commands, and no."""


def install(
    answer: Answer, limit: Limit, refusal: Refusal, others_limit: Callable[[], bool]
) -> Callable[[], None]:
    """Have what fails in reverse modes answered by `answer`. Returns what undoes it.

    `others_limit` says whether an option of mitmproxy's own may limit a body, too. It, and what
    `_is_valid` says, spare most messages mitmproxy's checks, which read their options each time,
    and that is most of what they do.
    """
    if unknown(RELIED_ON):
        return lambda: None
    handle_protocol_error: Any = HttpStream.handle_protocol_error
    check_body_size: Any = HttpStream.check_body_size
    check_invalid: Any = HttpStream.check_invalid
    make_body_reader = _http1.make_body_reader
    read_headers: Callable[..., Commands] = _http1.Http1Client.read_headers
    read_request: Any = _http1.Http1Server.read_headers

    def answering(self: HttpStream, steps: Commands, code: str) -> Commands:
        """What mitmproxy does about a failure, with our answer in front of the error that ends it.

        That is made when mitmproxy reports the failure, which it does before it tells the browser;
        as long as nothing was sent there.
        """
        if not is_reverse(self.context.client):
            return (yield from steps)
        response = reply = None
        while True:
            try:
                command = steps.send(reply)
            except StopIteration as end:
                return end.value
            if isinstance(command, commands.StartHook) and (error := self.flow.error):
                code = code_of(error.msg, code)
                error.msg = describe(error.msg, code, Upstream.of(self.flow))
                if code == BAD_REQUEST:
                    _forget_what_is_malformed(self.flow.request)
                if isinstance(command, _hooks.HttpErrorHook) and _is_unanswered(self):
                    # It takes the place of the one that was refused, which would be recorded.
                    self.flow.response = response = answer(self.flow, code, error.msg)
            elif response and _ends_in_a_page(self, command):
                yield from _send(self, response)
                if not _must_close(self):  # else the error does that
                    yield DropStream(self.stream_id)
                    end_of_answer = _events.ResponseEndOfMessage(self.stream_id)
                    command = SendHttp(end_of_answer, self.context.client)
            reply = yield command

    def handle(self: HttpStream, event: Any) -> Commands:
        steps = handle_protocol_error(self, event)
        is_answer = isinstance(event, _events.ResponseProtocolError)
        return answering(self, steps, UNREACHABLE) if is_answer else steps

    def validate(self: HttpStream, request: bool) -> Commands:
        if _is_valid(self, request):
            return _NO
        code = BAD_REQUEST if request else UNREACHABLE
        return answering(self, check_invalid(self, request), code)

    def check(self: HttpStream, request: bool) -> Commands:
        most = limit(self.flow, request)
        if most is not None:
            size = len(self.request_body_buf) if request else _size_of_answer(self)
            if size > most:
                return fail(self, request)
        elif not others_limit():
            return _NO
        code = BAD_REQUEST if request else UNREACHABLE
        return answering(self, check_body_size(self, request), code)

    def fail(self: HttpStream, request: bool) -> Commands:
        """Fail a body that goes over its limit, as mitmproxy's body_size_limit does."""
        yield from self.handle_protocol_error(
            failure(_events.ResponseProtocolError, self.stream_id, TOO_LONG)
        )
        if not request:
            error = failure(_events.RequestProtocolError, self.stream_id, TOO_LONG)
            yield SendHttp(error, self.context.server)
        self.client_state = self.server_state = self.state_errored
        return True

    def read_final_headers(self: _http1.Http1Client, event: Any) -> Commands:
        while _INTERIM_ANSWER.match(bytes(self.buf)) and self.buf.maybe_extract_lines():
            pass
        if is_reverse(self.context.client):
            mend(self.buf)
        return read_headers(self, event)

    def read_request_head(self: _http1.Http1Server, event: Any) -> Commands:
        method = "HEAD" if bytes(self.buf).startswith(b"HEAD ") else "GET"
        for command in read_request(self, event):
            # All that it sends itself is the page, which says why, and quotes the line.
            if isinstance(command, commands.SendData) and is_reverse(self.context.client):
                reason = describe(html.unescape(command.data.decode(errors="replace")), BAD_REQUEST)
                response = refusal(method, BAD_REQUEST, f"The request was refused: {reason}.")
                response.headers["Connection"] = "close"
                command.data = assemble_response(response)
            yield command

    def make_reader(size: int | None) -> Any:
        reader = make_body_reader(size)
        return _WithoutTrailers(reader) if isinstance(reader, ChunkedReader) else reader

    ours = (handle, check, validate, make_reader, read_final_headers, read_request_head)
    put_back = replace(dict(zip(REPLACED, ours, strict=True)))
    log_filter = _WithoutQuotations()
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(log_filter)

    def undo() -> None:
        put_back()
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(log_filter)

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


def is_reverse(client: Client) -> bool:
    """Whether a browser's connection came in through a `--mode reverse:URL`."""
    return isinstance(client.proxy_mode, mode_specs.ReverseMode)


def _forget_what_is_malformed(request: http.Request) -> None:
    """Leave out of a refused request, which is recorded, what may have been meant as a cookie."""
    request.headers.fields = tuple(
        (name, value)
        for name, value in request.headers.fields
        if _FIELD_NAME.fullmatch(name) and name.lower() not in _NOT_RECORDED
    )


def _is_valid(stream: HttpStream, request: bool) -> bool:
    """Whether a head passes `check_invalid` whatever mitmproxy's options say."""
    flow = stream.flow
    if request:
        return http_layers.validate_request(stream.mode, flow.request, True) is None
    assert flow.response
    try:
        http_layers.validate_headers(flow.response)
    except ValueError:
        return False
    return True


def _is_unanswered(stream: HttpStream) -> bool:
    """Whether nothing of an answer was sent to the browser."""
    return stream.server_state in (
        stream.state_uninitialized,
        stream.state_wait_for_response_headers,
        stream.state_consume_response_body,
    )


def _ends_in_a_page(stream: HttpStream, command: commands.Command) -> bool:
    """Whether mitmproxy would make a page of this for the browser, if that is still there."""
    return (
        isinstance(command, SendHttp)
        and isinstance(command.event, _events.ResponseProtocolError)
        and command.event.code != _KILLED
        and bool(stream.context.client.state & ConnectionState.CAN_WRITE)
    )


def _must_close(stream: HttpStream) -> bool:
    """Whether an HTTP/1 connection must end, since the rest of a request may come on it."""
    request = stream.flow.request
    return not (request.is_http2 or request.is_http3) and stream.client_state != stream.state_done


def _send(stream: HttpStream, response: http.Response) -> Commands:
    if _must_close(stream):
        response.headers["Connection"] = "close"
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


def failure(kind: Any, stream_id: int, message: str) -> Any:
    """An error event, whose code is an enumeration in mitmproxy 12 and a status in 11."""
    codes = getattr(_events, "ErrorCode", None)
    return kind(stream_id, message, codes.RESPONSE_TOO_LARGE if codes else 502)
