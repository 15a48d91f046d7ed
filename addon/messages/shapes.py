"""Heads that differ only in values that no decision looks at: what became of one becomes of all.

A page asks for hundreds of modules, with the same head but for the target and the entity tag that
it has of it, and gets the same but for a length, a date and an entity tag. Here a head is taken
apart into these values and the rest, its *shape*. The values are of visible ASCII, with blanks
within, so that a head is as well-formed as any other of its shape.
"""

import re
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

_MOST_REMEMBERED = 256
_LONGEST_REMEMBERED = 8 * 1024
"""Bytes of a head that is remembered: more than pages send, less than foreign ones could."""

_VALUE = rb"([!-~](?:[ -~]*[!-~])?)(?=\r\n)"
_START = re.compile(rb"(GET|HEAD) (/[!\"$-~]*)(?= HTTP/1\.1\r\n)")
# Of a Referer, the origin is looked at, which ends before the path.
_IN_REQUESTS = re.compile(
    rb"(\r\n(?:[Ii]f-(?i:none-match|modified-since): "
    rb"|[Rr](?i:eferer): https?://[A-Za-z0-9._:\[\]-]+(?=/)))" + _VALUE
)
# As long as mitmproxy takes it for one (`parse_content_length`)
_LENGTH = rb"[Cc]ontent-[Ll]ength: (?=(?:0|[1-9][0-9]{0,14})\r)"
_IN_ANSWERS = re.compile(
    rb"(\r\n(?:" + _LENGTH + rb"|(?:[Dd]ate|[Ee][Tt]ag|[Ll]ast-[Mm]odified): ))" + _VALUE
)


class Apart(NamedTuple):
    """A head, taken apart."""

    shape: tuple[bytes, ...]
    """All but the values: what precedes the first name, the name, what precedes the next, …"""
    values: tuple[bytes, ...]

    @property
    def lengths(self) -> list[int]:
        """Which of the values are those of a Content-Length."""
        names = self.shape[1::2]
        return [i for i, name in enumerate(names) if name.lower() == b"\r\ncontent-length: "]


def request(head: bytes) -> Apart | None:
    """That of a GET or HEAD, the target as its first value; None for any other."""
    start = _START.match(head)
    if not start:
        return None
    apart = _apart(_IN_REQUESTS, head[start.end() :])
    return Apart((b"", start[1] + b" ", *apart.shape), (start[2], *apart.values))


def answer(head: bytes) -> Apart:
    return _apart(_IN_ANSWERS, head)


def _apart(values: re.Pattern[bytes], head: bytes) -> Apart:
    pieces = values.split(head)  # text, name, value, text, name, value, …, text
    found = tuple(pieces[2::3])
    del pieces[2::3]
    return Apart(tuple(pieces), found)


def form(came: Apart, goes: Apart | None) -> bytes | None:
    """What makes, by `%`, of the values of a head the one that goes on in its place.

    None if that cannot be told from this one, which came and goes on as given.
    """
    if not goes or came.values != goes.values:
        return None
    quoted = [piece.replace(b"%", b"%%") for piece in goes.shape]
    return b"%s".join(map(b"".join, zip(quoted[::2], [*quoted[1::2], b""], strict=True)))


Made = TypeVar("Made")


class Memory(Generic[Made]):
    """What was made of heads, by their shape and what else it depends on."""

    def __init__(self) -> None:
        self._made: dict[Sequence[object], Made] = {}
        self.get = self._made.get

    def put(self, key: Sequence[object], head: bytes, made: Made) -> None:
        """Remember it, if this is not too much."""
        if len(head) <= _LONGEST_REMEMBERED:
            if len(self._made) == _MOST_REMEMBERED:
                self._made.clear()
            self._made[key] = made
