"""Heads of HTTP/1 answers that break a rule of which a recipient need not mind: mended.

- A folded field is put on one line (RFC 9112, 5.2).
- Blanks between a field's name and the colon go (RFC 9112, 5.1).
- One Content-Length stands for several of the same value (RFC 9110, 8.6).
- What ends with its head, whatever that says (RFC 9112, 6.3), says nothing of how a body is sent
  (6.1; RFC 9110, 8.6). A 304 keeps the length that it stands for.

Where the API may have meant another body than is read, its connection ends with this answer, and
so does the browser's. All else is left for mitmproxy to refuse: lengths that differ, one beside
Transfer-Encoding, names that are none. So is every such request: who reads it next is not known,
and what is mended for one may be two requests to another.
"""

import re
from typing import NamedTuple

from h11._receivebuffer import ReceiveBuffer

_END = re.compile(rb"\n\r?\n")
_ENDS_WITH_ITS_HEAD = (b"101", b"204", b"304")  # other interim answers are left out (`gaps`)
_LENGTH, _CODING, _CONNECTION = b"content-length", b"transfer-encoding", b"connection"
_LENGTH_LINE = b"\n" + _LENGTH


class _Field(NamedTuple):
    name: bytes
    value: bytes
    is_mended: bool

    @property
    def key(self) -> bytes:
        return self.name.lower()


def mend(received: ReceiveBuffer) -> None:
    """Mend the head that begins what was received, in place, once it is there as a whole."""
    data = bytes(received)
    end = _END.search(data)
    if not end or not _may_need_it(data[: end.end()]):
        return
    lines = [bytes(line) for line in received.maybe_extract_lines() or []]
    rest = received.maybe_extract_at_most(len(data)) or b""
    received += b"\r\n".join((*mended(lines), b"", bytes(rest)))


def lines_of(head: bytes) -> list[bytes]:
    """The lines of a head whose lines end in CRLF, mended where they need it."""
    lines = head.rstrip(b"\r\n").split(b"\r\n")
    return mended(lines) if _may_need_it(head) else lines


def mended(lines: list[bytes]) -> list[bytes]:
    """The lines of a head, as they are to be read; as they are if they are no head."""
    start, *rest = lines
    if (fields := _read(rest)) is None:
        return lines
    status = b"".join(start.split(None, 2)[1:2])
    lengths = [one.strip() for f in fields if f.key == _LENGTH for one in f.value.split(b",")]
    doubtful = any(field.is_mended for field in fields if field.key in (_LENGTH, _CODING))
    if status in _ENDS_WITH_ITS_HEAD:
        doubtful |= any(field.key == _CODING for field in fields)
        fields = [field for field in fields if field.key != _CODING]
        if status != b"304":
            doubtful |= not {b"0"}.issuperset(lengths)
            lengths, fields = [], [field for field in fields if field.key != _LENGTH]
    if len(lengths) > 1 and len(set(lengths)) == 1:
        fields = [field for field in fields if field.key != _LENGTH]
        fields.append(_Field(b"Content-Length", lengths[0], is_mended=True))
    if doubtful and status != b"101":
        fields = [field for field in fields if field.key != _CONNECTION]
        fields.append(_Field(b"Connection", b"close", is_mended=True))
    return [start, *(field.name + b": " + field.value for field in fields)]


def _read(lines: list[bytes]) -> list[_Field] | None:
    """The fields of a head; None if there is a line that belongs to none."""
    folded: list[list[bytes]] = []
    for line in lines:
        if not line[:1].isspace():
            folded.append([line])
        elif folded:
            folded[-1].append(line.strip())
        else:
            return None
    fields = []
    for first, *more in folded:
        name, colon, value = first.partition(b":")
        if not colon:
            return None
        bare = name.rstrip(b" \t")
        whole = b" ".join((value.strip(), *more)).strip()
        fields.append(_Field(bare, whole, is_mended=bool(more) or bare != name))
    return fields


def _may_need_it(head: bytes) -> bool:
    """Whether it has to be looked at closely; few have."""
    if head[9:12] in _ENDS_WITH_ITS_HEAD:
        return True
    if b"\n " in head or b"\n\t" in head or b" :" in head or b"\t:" in head:
        return True
    _, _, after = head.lower().partition(_LENGTH_LINE)
    return b"," in after.partition(b"\n")[0] or _LENGTH_LINE in after
