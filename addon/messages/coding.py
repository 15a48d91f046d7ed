"""Content codings that are decoded as they pass: for bodies that stream, and so are never whole.

What mitmproxy decodes itself it decodes at once, whatever comes out. Here each piece is bounded: a
few bytes may stand for gigabytes.
"""

import importlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import brotli

PIECE = 64 * 1024
"""Bytes that are decoded at a time, where the library can be told so."""

_WINDOW_LOG = 23
"""8 MiB: more a zstd frame may not ask for (RFC 9659, 3), and browsers refuse it, too."""
# These libraries cannot be told, so they get little at a time.
_BROTLI_SLICE = 32
_ZSTD_SLICE = 64  # a block begins with 3 bytes and holds up to 128 KiB (RFC 8878, 3.1.1.2)
_SURPRISING = 1024 * 1024

_QVALUE_OF_NONE = re.compile(r"\s*q\s*=\s*0(\.0{0,3})?\s*", re.IGNORECASE)


class _Frame(Protocol):
    """A compressed stream, or one of those that follow each other in a body."""

    ended: bool
    rest: bytes
    """What came behind its end."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What these bytes add. What the library raises for corrupt ones."""


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._object = zlib.decompressobj(wbits)
        self.ended, self.rest = False, b""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while not self.ended:
            piece = self._object.decompress(data, PIECE)
            data, self.ended, self.rest = (
                self._object.unconsumed_tail,
                self._object.eof,
                self._object.unused_data,
            )
            yield piece
            if not data and len(piece) < PIECE:
                return


class _Brotli:
    """Unlike the others, its library refuses what comes behind the end in one chunk with it."""

    def __init__(self) -> None:
        self._object: Any = brotli.Decompressor()
        self._slice = _BROTLI_SLICE
        self.ended, self.rest = False, b""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        is_bounded = hasattr(self._object, "can_accept_more_data")  # since 1.2.0
        yield from self._bounded(data) if is_bounded else self._sliced(data)
        self.ended = self._object.is_finished()

    def _bounded(self, data: bytes) -> Iterator[bytes]:  # pragma: no cover - nor this
        more = True
        while more:
            yield (piece := self._object.process(data, output_buffer_limit=PIECE))
            data, more = b"", len(piece) >= PIECE or not self._object.can_accept_more_data()

    def _sliced(self, data: bytes) -> Iterator[bytes]:
        while data:
            part, data = data[: self._slice], data[self._slice :]
            yield (piece := self._object.process(part))
            self._slice = 1 if len(piece) > _SURPRISING else _BROTLI_SLICE


class _Zstd:  # pragma: no cover - not what the older generation has
    def __init__(self, library: Any) -> None:
        option = {library.DecompressionParameter.window_log_max: _WINDOW_LOG}
        self._object = library.ZstdDecompressor(options=option)
        self.ended, self.rest = False, b""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while not self.ended:
            yield self._object.decompress(data, PIECE)
            data, self.ended, self.rest = b"", self._object.eof, self._object.unused_data
            if self._object.needs_input:
                return


class _OldZstd:
    """By the library that mitmproxy 11 brings along."""

    def __init__(self, library: Any) -> None:
        context = library.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
        self._object = context.decompressobj(write_size=16 * 1024)
        self.ended, self.rest = False, b""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for begin in range(0, len(data), _ZSTD_SLICE):
            yield self._object.decompress(data[begin : begin + _ZSTD_SLICE])
            if self._object.eof:
                self.ended = True
                self.rest = self._object.unused_data + data[begin + _ZSTD_SLICE :]
                return


def _zstd() -> tuple[Callable[[], _Frame], type[Exception]]:
    """The one place that knows which library there is: mitmproxy's own (`net/encoding.py`)."""
    new: Callable[[Any], _Frame] = _Zstd
    try:
        library: Any = importlib.import_module("compression.zstd")  # Python 3.14
    except ImportError:
        try:
            library = importlib.import_module("backports.zstd")
        except ImportError:
            library, new = importlib.import_module("zstandard"), _OldZstd
    return lambda: new(library), library.ZstdError


_new_zstd, _zstd_error = _zstd()
_ERRORS = (zlib.error, brotli.error, _zstd_error, EOFError)


def _new_deflate(begin: bytes) -> _Frame:
    """With zlib's header, or without: servers send both (RFC 9110, 8.4.1.2)."""
    has_header = begin[0] & 0x0F == 8 and int.from_bytes(begin[:2], "big") % 31 == 0
    return _Zlib(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


class _Coding:
    """How the frames of a coding begin."""

    def __init__(self, new: Callable[[bytes], _Frame], needs: int, again: bytes | None) -> None:
        self.new = new
        self.needs = needs
        """Bytes that tell which frame it is."""
        self.again = again
        """What a further frame begins with; None where there is but one."""


_GZIP = _Coding(lambda _: _Zlib(zlib.MAX_WBITS + 16), 0, b"\x1f\x8b")
_CODINGS = {
    "gzip": _GZIP,
    "x-gzip": _GZIP,  # RFC 9110, 8.4.1.3
    "deflate": _Coding(_new_deflate, 2, None),
    "br": _Coding(lambda _: _Brotli(), 0, None),
    "zstd": _Coding(lambda _: _new_zstd(), 0, b"\x28\xb5\x2f\xfd"),
}


class Decoder:
    """Decodes one body. Both methods raise ValueError for what cannot be decoded."""

    def __init__(self, coding: _Coding) -> None:
        self._coding = coding
        self._frame: _Frame | None = None
        self._waiting = b""
        self._is_first = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk adds, piece by piece, none of them empty; all are to be taken.

        What comes behind the end, and is no further frame, is left out, as browsers do (brotli's
        library refuses it).
        """
        data = self._waiting + chunk
        self._waiting = b""
        while data:
            if self._frame is None and not self._begins(data):
                return
            assert self._frame
            try:
                yield from filter(None, self._frame.pieces(data))
            except _ERRORS as error:
                raise ValueError(f"corrupt: {error}") from None
            if not self._frame.ended:
                return
            data, self._frame, self._is_first = self._frame.rest, None, False

    def end(self) -> None:
        """The body is over."""
        if self._frame or (self._is_first and self._waiting):
            raise ValueError("truncated")

    def _begins(self, data: bytes) -> bool:
        """Begin a frame; keep what does not tell yet whether there is one."""
        coding = self._coding
        needed = coding.needs if self._is_first else len(coding.again or b"")
        if len(data) < needed:
            self._waiting = data
            return False
        if not self._is_first and (coding.again is None or not data.startswith(coding.again)):
            self._coding = _Coding(coding.new, 0, None)
            return False
        self._frame = coding.new(data)
        return True


def decoder(coding: str) -> Decoder | None:
    """For a value of Content-Encoding; None for one that cannot be decoded here.

    That is so for several codings, too, as with mitmproxy's own. `identity` needs no decoder.
    """
    found = _CODINGS.get(coding.strip().lower())
    return Decoder(found) if found else None


def readable_codings(accept_encoding: str) -> str:
    """An Accept-Encoding (RFC 9110, 12.5.3) without what cannot be decoded here.

    `*` would be any coding. What is left stands as it stood; `identity` if that is none.
    """
    members = [member.strip() for member in accept_encoding.split(",")]
    kept = [one for one in members if _name(one) in _CODINGS or _name(one) == "identity"]
    if all(_name(one) == "identity" or _is_refused(one) for one in kept):
        return "identity"
    return ", ".join(kept)


def _name(member: str) -> str:
    return member.partition(";")[0].strip().lower()


def _is_refused(member: str) -> bool:
    return any(_QVALUE_OF_NONE.fullmatch(part) for part in member.split(";")[1:])
