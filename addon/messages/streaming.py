"""Which bodies stream through the proxy, and which are held back so that they can be looked at."""

import re
from collections.abc import Callable, Sequence

from mitmproxy import http

from messages.text import media_type

STREAM_ABOVE = 1024 * 1024
"""Bytes from which on a body streams, and up to which a streamed one is recorded."""

MOST_HELD_BACK = 1024 * 1024
"""Bytes of a login answer, and of the body of a request that is refused, that are read at most."""


_SERIES = re.compile(
    r"[/+-](?:nd-?json|json-?lines|jsonl|json-seq)|/(?:stream|connect)\+json|;\s*(?:stream=)?watch\b"
)
"""In media types of JSON that comes as things happen: NDJSON, RFC 7464, Spring, Connect, and
`application/json;stream=watch` of Kubernetes."""

_WATCHES = re.compile(r"(?:^|&)watch(?:=(?!false|0)|&|$)", re.IGNORECASE)  # Kubernetes


def request_streams(request: http.Request) -> bool:
    """Whether an upload goes on as it comes: a long one, or one that does not say how long it is.

    One document of JSON is read first, if it does not say that it is long: it may be a login, with
    a password by which its answer is known for one, and with which no token must go.

    An HTTP/2 request without Content-Length is held back all the same: mitmproxy would send it to
    an HTTP/1 server with nothing to tell where it ends.
    """
    length = _length(request.headers)
    if length is None:
        is_read = is_json(request.headers) and not is_series(request.headers)
        return "transfer-encoding" in request.headers and not is_read
    return length > STREAM_ABOVE


def response_streams(response: http.Response) -> bool:
    """Whether a download goes on as it comes: events, attachments, long ones, and those that do
    not say how long they are, which may never end.
    """
    headers = response.headers
    if headers.get("content-type", "").lower().startswith("text/event-stream"):
        return True
    if headers.get("content-disposition", "").lower().startswith("attachment"):
        return True
    length = _length(headers)
    return length is None or length > STREAM_ABOVE


def is_live(request: http.Request) -> bool:
    """Whether it opens a WebSocket, an event stream or a watch, which are not to be asked for
    twice: the second answer would be waited for to its end.
    """
    accept = request.headers.get("accept", "").lower()
    query = request.path.partition("?")[2]
    live = "upgrade" in request.headers or "event-stream" in accept
    return live or _SERIES.search(accept) is not None or _WATCHES.search(query) is not None


def is_series(headers: http.Headers) -> bool:
    """Whether a body is JSON documents that come one after the other, as things happen."""
    return _SERIES.search(headers.get("content-type", "").lower()) is not None


def is_json(headers: http.Headers) -> bool:
    """Whether a body is JSON by its media type."""
    kind = media_type(headers)
    return kind == "application/json" or kind.endswith("+json")


class Recorder:
    """Passes each chunk on at once, and keeps a copy of a body that stays short enough to show.

    mitmproxy calls it as `Message.stream`: with each chunk, then with b"" at the end. `pass_on` may
    change what is sent, and hold a part of it back until the end.
    """

    def __init__(self, pass_on: Callable[[bytes], bytes] | None = None) -> None:
        self.copy: bytearray | None = bytearray()
        self.pass_on = pass_on

    def __call__(self, chunk: bytes) -> Sequence[bytes]:
        if self.pass_on:
            chunk = self.pass_on(chunk)
        if self.copy is not None:
            self.copy += chunk
            if len(self.copy) > STREAM_ABOVE:
                self.copy = None
        return [chunk] if chunk else []  # an empty chunk would end the body (RFC 9112, 7.1)


def record(message: http.Message) -> None:
    """Put the copy of a body that was streamed into the recorded message."""
    if isinstance(message.stream, Recorder) and message.stream.copy is not None:
        message.raw_content = bytes(message.stream.copy)


def _length(headers: http.Headers) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() and "transfer-encoding" not in headers else None


def finish_request(request: http.Request) -> None:
    """What every request that goes upstream needs once its body is here, in place."""
    request.trailers = None  # they could carry a Cookie field (RFC 9113, 8.1)
    framing = {"content-length", "transfer-encoding"}
    if request.raw_content and framing.isdisjoint(request.headers):
        # An HTTP/2 body needs no length. mitmproxy sends it to an HTTP/1 server as it is,
        # which reads it as the next request (12.3.1, proxy/layers/http/_http1.py).
        request.headers["Content-Length"] = str(len(request.raw_content))
    record(request)
