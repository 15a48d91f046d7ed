"""HTTP/1 messages that can be read in one way only (RFC 9112), for the short way.

What these patterns let through, mitmproxy's own reader then reads, as it does on the long way: a
head is never understood in two ways. All that they do not let through is for the long way.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import h11
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import http
from mitmproxy.net.http.http1 import (
    connection_close,
    expected_http_body_size,
    read_request_head,
    read_response_head,
)
from mitmproxy.net.http.validate import validate_headers

LONGEST_HEAD = 64 * 1024
"""Bytes; Node's servers take 16 KiB."""

HEAD_END = b"\r\n\r\n"

# RFC 9110, 5.1 and 5.5; no obs-fold, no control characters but HTAB
_FIELDS = rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
# Origin-form only (RFC 9112, 3.2.1)
_REQUEST = re.compile(rb"[A-Z]+ /[!\"$-~]* HTTP/1\.1\r\n" + _FIELDS)
_ANSWER = re.compile(rb"HTTP/1\.[01] [1-9][0-9][0-9](?: [\t\x20-\x7e\x80-\xff]*)?\r\n" + _FIELDS)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_GET_OR_HEAD = re.compile(rb"(?:GET|HEAD) ")

# In a well-formed head: what gives a request a body, or something else to wait for. `close` and
# `keep-alive` in small letters are what mitmproxy knows (`connection_close`).
_NOT_PLAIN = re.compile(
    rb"\r\n(?:(?i:content-length|transfer-encoding|upgrade|expect|trailer|http2-settings):"
    rb"|(?i:connection):(?![ \t]*(?:keep-alive|close)?[ \t]*\r\n))"
)


@dataclass
class Unread:
    """What has come and was not read yet. It begins with a head."""

    data: bytearray = field(default_factory=bytearray)
    searched: int = 0
    """Up to where the end of that head was looked for."""

    def take_head(self) -> bytes | None:
        """The head, as soon as it is there; raises ValueError when no well-formed one can come."""
        data, size = self.data, len(HEAD_END)
        end = data.find(HEAD_END, max(self.searched - size, 0)) + size
        if end < size:
            if data and not _may_become_a_head(data, since=self.searched):
                raise ValueError("no head")
            self.searched = len(data)
            return None
        if end > LONGEST_HEAD:
            raise ValueError("a head that is too long")
        head = bytes(data[:end])
        del data[:end]
        self.searched = 0
        return head

    def take_all(self) -> bytes:
        data = bytes(self.data)
        self.data.clear()
        self.searched = 0
        return data


def _may_become_a_head(data: bytearray, *, since: int) -> bool:
    """Whether bytes that hold no `HEAD_END` may be the beginning of a well-formed head.

    mitmproxy takes a bare LF for the end of a line, too, and would see another end. `since` says
    up to where they were asked about before.
    """
    if len(data) > LONGEST_HEAD or not 65 <= data[0] <= 90:  # a method's first letter
        return False
    return _BARE_LF.search(data, max(since - 1, 0)) is None


class ForFrontEnd(NamedTuple):
    """A request as the front end gets it."""

    head: bytes
    address: tuple[str, int]
    closes: bool
    """Whether it ends the browser's connection."""
    about: object
    """What matters for its answer, to whoever decides about that."""


class ForBrowser(NamedTuple):
    """The head of an answer as the browser gets it."""

    head: bytes
    left: int | None
    """How long its body is: see `Body.left`."""
    closes: bool


def is_well_formed(head: bytes) -> bool:
    """Whether this is the head of a request that can be read in one way only."""
    return _REQUEST.fullmatch(head) is not None


def plain_request(head: bytes) -> http.Request | None:
    """The GET or HEAD with this head, if that is well-formed, has no body, and asks for nothing
    else."""
    if not is_well_formed(head) or not _GET_OR_HEAD.match(head) or _NOT_PLAIN.search(head):
        return None
    return read_request_head(head[: -len(HEAD_END)].split(b"\r\n"))


def read_answer(head: bytes, lines_of: Callable[[bytes], list[bytes]]) -> http.Response | None:
    """The answer with this head; None if it is not well-formed, or may be framed in two ways.

    `lines_of` gives its lines, as they are read on the long way.
    """
    if not _ANSWER.fullmatch(head):
        return None
    response = read_response_head(lines_of(head))
    try:
        validate_headers(response)
    except ValueError:
        return None
    coding = response.headers.get("transfer-encoding", "chunked")
    return response if coding.lower() == "chunked" else None


def is_interim(head: bytes) -> bool:
    """Whether the head of an answer says that it is not the final one (RFC 9110, 15.2)."""
    return head[9:10] == b"1"


def ends_with_its_head(method: str, response: http.Response) -> bool:
    """Whether an answer has no body, whatever its head says (RFC 9112, 6.3)."""
    return method == "HEAD" or int(response.status_code) in (204, 304)


def length_of(method: str, response: http.Response) -> int | None:
    """How long an answer's body is: see `Body.left`."""
    return 0 if method == "HEAD" else expected_http_body_size(_GET, response)


def closes(message: http.Message) -> bool:
    """Whether it ends the connections (mitmproxy's `Http1Connection.mark_done`)."""
    return bool(connection_close(message.http_version, message.headers))


class Body:
    """The body of an answer, piece by piece: from the front end's framing to the browser's.

    They are the same; the chunks of a chunked body are put together anew, without trailers.
    """

    def __init__(self, left: int | None) -> None:
        self.left = left
        """Bytes still to come; None for a chunked body, -1 for one that ends the connection."""
        self.done = self.left == 0
        self.surplus = False
        """Whether bytes came that are none of it."""
        self.ends_connection = self.left == -1
        if self.left is None:
            self._reader = ChunkedReader()
            self._buffer = ReceiveBuffer()

    def __call__(self, data: bytes) -> bytes:
        """What the browser gets of these bytes. Raises ValueError for a malformed chunk."""
        if self.done:
            self.surplus = self.surplus or bool(data)
            return b""
        if self.left is None:
            return self._chunk(data)
        if self.ends_connection:
            return data
        self.surplus = len(data) > self.left
        data = data[: self.left]
        self.left -= len(data)
        self.done = self.left == 0
        return data

    def end(self) -> bool:
        """The connection has ended: whether the body is whole."""
        self.done = self.done or self.ends_connection
        return self.done

    def _chunk(self, data: bytes) -> bytes:
        self._buffer += data
        try:
            chunk = b"".join(self._chunks())
        except h11.ProtocolError:
            raise ValueError("malformed chunk") from None
        self.surplus = self.done and bool(self._buffer)
        sent = b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunk else b""
        return sent + b"0\r\n\r\n" if self.done else sent

    def _chunks(self) -> Iterator[bytes]:
        while event := self._reader(self._buffer):
            if isinstance(event, h11.EndOfMessage):
                self.done = True
                return
            yield bytes(event.data)


_GET = http.Request.make("GET", "http://localhost/")
