"""Finds a token in bytes, however it is written, and blanks it there or puts a stand-in.

What counts as the token: its characters, each as it is or in any of these ways, mixed as may be:
- percent-encoded (RFC 3986, 2.1), up to three times over; a blank also as `+` (all of them);
- as JSON and JavaScript escape it (RFC 8259, 7): `\\u002f`, `\\x2f`, `\\/`, with up to four
  backslashes (JSON within JSON), percent-encoded or not; two such for a surrogate pair;
- as a character reference of HTML with its semicolon (HTML, 13.1.4), the ampersand itself escaped
  up to twice more, or written `\\u0026`;
and of what its UTF-8 bytes are in base64 or base64url (RFC 4648, 4 and 5), wherever in a longer
text they stand, and in hex (all lower case or all upper), the characters written likewise.

Not found: base64 that is broken into lines, UTF-16, Latin-1, octal escapes, a compressed body, what
is split up or encrypted, and some mixtures of a token that has `%`, `\\` or `&` of its own. Where
base64 begins nobody can know, so it is looked for from each of its characters on.

What is put in its place needs no escape anywhere, so it stands there as it is; in base64 and hex it
is written likewise, with the bits of its neighbours kept. Behind the last byte of a base64 run it
ends the run, with `=` where the token had them; within one it gets up to two `~`, so that what
follows stays where it is. Where that cannot be, and where forms overlap of which none covers the
others, there are asterisks.

How: a form leaves either the token's longest run of letters and digits as it is (its *core*), or
escapes a letter or a digit, which hardly anybody does. So a few `core in chunk` dispose of nearly
every chunk; only one that has a core, or an escaped letter, is read closely.
"""

import json
import re
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from html.entities import html5
from typing import Literal, NamedTuple

SHORTEST = 4
"""Characters of a token that is looked for; a shorter one would be found everywhere."""

_LIKELY_BY_CHANCE = 16
"""A token of fewer characters is replaced only where it stands alone, and as text."""

_WORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_SAFE = re.compile(r"[A-Za-z0-9._~-]+")

_CORE = 40
"""Bytes of a core: a longer one is found no faster."""

_LONGEST = 40
"""Bytes of the longest escape, rounded up."""

_TAIL = 128
"""Bytes at a chunk's end that are read closely when the rest holds no core."""

_HEX = b"[0-9A-Fa-f]"
_ALNUM_IN_HEX = b"(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])"
_IN_SCRIPT = (  # after backslashes
    rb"(?:u(?P<pair>[Dd][89ABab]HH(?:\\{1,4}|(?:%5[Cc]){1,4})u[Dd][C-Fc-f]HH)|u(?P<u>HHHH)"
    rb"|x(?P<x>HH)|(?P<plain>[\"'/bfnrt])|%(?P<quote>2[27Ff])|&(?P<entity>quot);)"
)
_IN_HTML = (  # after an ampersand
    rb"(?:amp;){0,2}(?:#0{0,5}(?P<decimal>[0-9]{1,7})|#[Xx]0{0,5}(?P<code>H{1,6})"
    rb"|(?P<name>[A-Za-z][A-Za-z0-9]{1,15}));"
)


def _pattern(*parts: bytes) -> re.Pattern[bytes]:
    return re.compile(b"".join(parts).replace(b"H", _HEX))


# One for each first byte, since `re` jumps to a pattern's first byte when there is only one.
_ESCAPES = {
    b"%": _pattern(rb"%(?:5[Cc](?:%5[Cc]){0,3}", _IN_SCRIPT, rb"|(?:25){0,2}(?P<byte>HH))"),
    b"\\": _pattern(rb"\\(?:\\{0,3}u0026", _IN_HTML, rb"|\\{0,3}", _IN_SCRIPT, rb")"),
    b"&": _pattern(rb"&", _IN_HTML),
}
_UNFINISHED = _pattern(
    rb"(?:(?:\\{1,4}|(?:%5[Cc]){1,4})(?:u(?:H{0,3}|[Dd][89ABab]HH",
    rb"(?:(?:\\{1,4}|(?:%5[Cc]){0,3}%(?:5[Cc]?)?)(?:uH{0,3})?)?)|xH?|%[25]?|&[a-z]{0,4})?",
    rb"|%(?:25){0,2}H?|(?:&|\\{1,4}u0026)(?:amp;){0,2}[#0-9A-Za-z]{0,16})\Z",
)
"""Bytes at the end that may be an escape, or a longer one, with what follows."""

_ESCAPED_ALNUM = {
    b"%": re.compile(rb"%%(?:(?:25){0,2}%b|5[Cc](?:u00|x)%b)" % (_ALNUM_IN_HEX, _ALNUM_IN_HEX)),
    b"\\": re.compile(rb"\\(?:u00|x)%b" % _ALNUM_IN_HEX),
    b"#": re.compile(
        rb"#(?:0{0,5}(?:4[89]|5[0-7]|6[5-9]|[78][0-9]|90|9[7-9]|1[01][0-9]|12[0-2])"
        rb"|[Xx]0{0,5}%b);" % _ALNUM_IN_HEX
    ),
}
_LAST_BYTES = frozenset(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_+/%\\&#;\"'"
)
"""Of escapes, of half ones too, and of base64."""
_PLAIN = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")
_TO_BASE64URL = bytes.maketrans(b"+/", b"-_")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

View = Literal["raw", "text", "base64"]
"""Bytes as they came; with their escapes undone; and then base64url as base64."""
Coding = Literal["plain", "hex", "HEX", "base64"]


class _Form(NamedTuple):
    """What to look for in a view: `body`, between two bytes that are among those given, if any.

    In base64, `offset` bytes stand before it in its group of three. What is to stand `alone` has no
    letter, digit, `_` or `-` beside it.
    """

    view: View
    body: bytes
    before: bytes = b""
    after: bytes = b""
    coding: Coding = "plain"
    offset: int = 0
    alone: bool = False

    def occurrences(self, view: bytes, since: int, last: bytes = b"") -> Iterator[tuple[int, int]]:
        """Where it begins and ends, from the left, none over another; `last` is before the view."""
        body, before, after = self.body, self.before, self.after
        lead, trail = bool(before), bool(after)
        # Python prepares itself for a long needle at each call, and here may have to call often.
        head = body[:64] if before or after else body
        at = view.find(head, since + lead)
        while at >= 0:
            end = at + len(body)
            if (
                view.startswith(body, at)
                and (not before or view[at - 1] in before)
                and (not after or (end < len(view) and view[end] in after))
                and not (self.alone and self._is_beside_a_word(view, at, end, last))
            ):
                yield at - lead, end + trail
                at = view.find(head, end + trail + lead)
            else:
                at = view.find(head, at + 1)

    def _is_beside_a_word(self, view: bytes, at: int, end: int, last: bytes) -> bool:
        left = view[at - 1 : at] if at else last
        return (left != b"" and left in _WORD) or (end < len(view) and view[end] in _WORD)

    @property
    def length(self) -> int:
        """How many bytes of a view it takes."""
        return len(self.body) + bool(self.before) + bool(self.after)

    @property
    def padding(self) -> int:
        """How many `=` follow it where base64 ends with it and is padded."""
        return -(self.offset + self.length) % 4 if self.coding == "base64" else 0

    @property
    def ahead(self) -> int:
        """How many bytes behind it are to be known before it can be replaced."""
        if self.coding == "base64":
            return max(self.padding, 1)
        return int(self.alone)

    def begun(self, view: bytes, since: int) -> int | None:
        """The first place from which on the rest of the view is a beginning of it."""
        lead = bool(self.before)
        most = min(len(view) - since - lead, len(self.body) - (not self.after))
        for length in self._beginnings(view, most):
            start = len(view) - length - lead
            if not lead or view[start] in self.before:
                return start
        return None

    def _beginnings(self, view: bytes, most: int) -> Iterator[int]:
        """The lengths, longest first, of the body's beginnings with which the view ends."""
        end = view[-4:]
        at = self.body.rfind(end, 0, most) if most >= 4 else -1
        while at >= 0:
            if view.endswith(self.body[: at + 4]):
                yield at + 4
            at = self.body.rfind(end, 0, at + 3)
        yield from (n for n in range(min(most, 3), 0, -1) if view.endswith(self.body[:n]))
        if self.before and most >= 0:
            yield 0


@dataclass(frozen=True, repr=False)
class Needle:
    """A token to look for, in all its forms. One that is too short has none."""

    forms: tuple[_Form, ...]
    cores: tuple[bytes, ...]
    last_bytes: frozenset[int]
    """Bytes with which a beginning of a form may end, beside those of escapes and base64."""
    instead: bytes | None = None

    @classmethod
    def of(cls, token: str, instead: str | None = None) -> "Needle":
        """Of a token of up to 32 KiB or so; about ten times its length is kept for it.

        `instead` takes its place. It needs no escape in a header, a URL, JSON or a form, and where
        it is given a token of fewer than 16 characters is found only where it stands alone.
        """
        return cls._prepared(token) if instead is None else cls._replacing(token, instead)

    @classmethod
    @lru_cache(maxsize=64)
    def _replacing(cls, token: str, instead: str) -> "Needle":
        if not _SAFE.fullmatch(instead):
            raise ValueError("what takes a token's place must need no escape")
        needle = replace(cls._prepared(token), instead=instead.encode())
        if len(token) >= _LIKELY_BY_CHANCE:
            return needle
        forms = [form._replace(alone=True) for form in needle.forms if form.coding == "plain"]
        return replace(needle, forms=tuple(forms))

    @classmethod
    @lru_cache(maxsize=64)
    def _prepared(cls, token: str) -> "Needle":
        if len(token) < SHORTEST:
            return cls((), (), frozenset())
        data = _encoded(token)
        in_json = json.dumps(token)[1:-1]
        texts = [
            data,
            *map(_unescaped, (data, in_json.encode(), json.dumps(in_json)[1:-1].encode())),
        ]
        texts += [text.replace(b" ", b"+") for text in texts]
        forms = [
            _Form("raw", data),
            *(_Form("text", text) for text in texts if len(text) >= SHORTEST),
        ]
        digits = data.hex().encode()
        forms += [_Form("text", digits, coding="hex")]
        forms += [_Form("text", digits.upper(), coding="HEX")]
        encoded = [_in_base64(data, offset) for offset in range(3)]
        literal = _Text(data, final=True).without_escapes()
        cores = [_core(literal), digits[-_CORE:], digits.upper()[-_CORE:]]
        cores += [_core(form.body) for form in encoded]
        forms = list(dict.fromkeys(forms + encoded))
        last_bytes = frozenset(b"".join(form.body for form in forms))
        return cls(tuple(forms), tuple(dict.fromkeys(cores)), last_bytes)

    def found_in(self, data: bytes) -> bool:
        """Whether the token stands in these bytes, in whatever form."""
        if not _holds_any(data, self.cores) and not _holds_escaped_alnum(data):
            return False
        search = Search([self], watch=True)
        search.feed(data)
        search.end()
        return search.found

    def blanked(self, data: bytes) -> bytes:
        """The bytes with asterisks for all of the token, as many as it had bytes there."""
        search = Search([replace(self, instead=None)])
        return search.feed(data) + search.end()

    def replaced(self, data: bytes) -> bytes:
        """The bytes with what takes the token's place; the same object when it is not there."""
        return replaced(data, [self])


def replaced(data: bytes, needles: Iterable[Needle]) -> bytes:
    """The bytes with what takes the tokens' places; the same object when none is there.

    Where a token is part of a longer one, the longer one counts.
    """
    needles = list(needles)
    for needle in needles:
        if _holds_any(data, needle.cores):
            break
    else:
        if not _holds_escaped_alnum(data):
            return data
    search = Search(needles)
    changed = search.feed(data) + search.end()
    return changed if search.found else data


class _Place(NamedTuple):
    """Where among the bytes a token is, and what takes its place; asterisks if None."""

    start: int
    end: int
    instead: bytes | None

    def order(self) -> tuple[int, int, bool, bytes]:
        """From the left, the longest first."""
        return self.start, -self.end, self.instead is None, self.instead or b""


class Search:
    """Looks for needles in a body that comes in chunks, and blanks or replaces them.

    With `watch` it only looks, and until it has found one: chunks pass as they are. With
    `keep_length` no byte behind a token moves: what takes the place of a token in text is filled up
    with `~`, and where a length differs all the same there are asterisks.
    """

    def __init__(
        self, needles: Iterable[Needle], *, watch: bool = False, keep_length: bool = False
    ) -> None:
        needles = list(needles)
        self.found = False
        self._watch = watch
        self._keep_length = keep_length
        instead: dict[_Form, bytes | None] = {}
        for needle in needles:
            for form in needle.forms:
                instead.setdefault(form, needle.instead)
        self._forms, self._instead = tuple(instead), tuple(instead.values())
        self._cores = tuple(dict.fromkeys(core for needle in needles for core in needle.cores))
        self._held = _Text()
        self._places: list[_Place] = []
        self._since = [0] * len(self._forms)  # where in its view each may begin
        self._last_bytes = _LAST_BYTES.union(*(needle.last_bytes for needle in needles))

    def feed(self, chunk: bytes) -> bytes:
        """What may pass now: all but a tail that may be the beginning of a token."""
        if not self._forms or (self._watch and self.found):
            return chunk
        passing = self._skim(chunk)
        if passing is None:
            self._held.add(chunk)
            passing = self._look()
        return chunk if self._watch else passing

    def end(self) -> bytes:
        """What was held back."""
        if not self._held.raw:
            return b""
        self._held.add(b"", final=True)
        passing = self._look(final=True)
        return b"" if self._watch else passing

    def _skim(self, chunk: bytes) -> bytes | None:
        """As `feed`; None for a chunk that may hold a token and must be looked at closely."""
        held = self._held.raw
        if self._places or len(chunk) < len(held) or not chunk:
            return None
        data = held + chunk if held else chunk
        if any(core in data for core in self._cores) or _holds_escaped_alnum(data):
            return None
        if data[-1] not in self._last_bytes:  # as at the end of an event or a JSON document
            if held or self._held.raw_before:
                self._hold(_Text(), 0)
            return data
        if len(data) <= _TAIL:
            return None
        # Cut off anywhere, so its first escape may be read wrongly, but not those that follow.
        tail = _Text(data[-_TAIL:])
        free, views = tail.read_end, tail.views()
        sure: dict[View, int] = {"raw": _LONGEST, "text": tail.text_of(_LONGEST)}
        sure["base64"] = sure["text"]
        for form in self._forms:
            view, _, _ = views[form.view]
            if view[sure[form.view] :] in form.body:
                return None
            if (begun := form.begun(view, 0)) is not None:
                free = min(free, tail.span(form.view, begun, begun + 1)[0])
        if free < _LONGEST:
            return None
        self._hold(tail, free)
        return data if free == _TAIL else data[: free - _TAIL]

    def _hold(self, text: "_Text", free: int) -> None:
        text.drop(free)
        self._held = text
        self._since = [0] * len(self._forms)

    def _look(self, *, final: bool = False) -> bytes:
        """Find and replace in what is held, and let go what is surely no part of a token."""
        held = self._held
        free, views = held.read_end, held.views()
        for index, form in enumerate(self._forms):
            view, first, last = views[form.view]
            begun: int | None
            since = max(self._since[index] - first, 0)
            ahead = 0 if final or self._instead[index] is None else form.ahead
            for start, end in form.occurrences(view, since, last):
                if end + ahead > len(view):  # more has to come first
                    since = begun = start
                    break
                self._places.append(self._place(index, view, first, start, end))
                since = end
            else:
                since = max(since, len(view) - form.length + 1)
                begun = None if final else form.begun(view, since)
            self._since[index] = first + since
            if begun is not None:
                free = min(free, held.span(form.view, first + begun, first + begun + 1)[0])
        self.found = self.found or bool(self._places)
        self._places = list(_joined(self._places))
        passing: list[bytes] = []
        at = held.raw_from
        for start, end, new in self._places:
            # Nothing that is still to come can cover what starts before `free`.
            if end > free and (new is not None or start >= free):
                free = min(free, start)
                break
            start, stop = max(start, at), min(end, free)
            passing += held.part(at, start), b"*" * (stop - start) if new is None else new
            at = stop
        passing.append(held.part(at, free))
        self._places = [place for place in self._places if place.end > free]
        held.drop(free)
        return b"".join(passing)

    def _place(self, index: int, view: bytes, first: int, start: int, end: int) -> _Place:
        """What becomes of an occurrence of a form in a view whose first byte is at `first`."""
        form, instead, held = self._forms[index], self._instead[index], self._held
        raw, raw_end = held.span(form.view, first + start, first + end)
        if instead is None:
            return _Place(raw, raw_end, None)
        new: bytes | None = instead
        if form.coding == "hex":
            new = instead.hex().encode()
        elif form.coding == "HEX":
            new = instead.hex().upper().encode()
        elif form.coding == "base64":
            escaped = raw_end - raw > end - start
            goes_on = end < len(view) and view[end] in _BASE64
            equals = b"="
            if form.padding and view.startswith(b"=" * form.padding, end):
                equals = held.part(*held.span("text", first + end, first + end + 1))
                end += form.padding
                _, raw_end = held.span("text", first + start, first + end)
            written = held.written(first + start, first + end)
            new = _recoded(form, instead, written, equals, goes_on=goes_on)
            if escaped and (b"+" in new or b"/" in new):  # they would need an escape, too
                new = None
        if new is not None and self._keep_length:
            if form.coding == "plain":
                new = new.ljust(raw_end - raw, b"~")
            new = new if len(new) == raw_end - raw else None
        return _Place(raw, raw_end, new)


def _joined(places: list[_Place]) -> Iterator[_Place]:
    """From the left, those that overlap taken together: the one that covers the others counts."""
    together: _Place | None = None
    for place in sorted(places, key=_Place.order):
        if not together or place.start >= together.end:
            if together:
                yield together
            together = place
        elif place.end > together.end:
            together = _Place(together.start, place.end, None)
    if together:
        yield together


class _Unit(NamedTuple):
    """An escape: where it stands in the text and in the bytes, counted from the stream's start."""

    text: int
    text_end: int
    raw: int
    raw_end: int


class _Text:
    """Bytes and what they say once their escapes are undone; grows at its end, shrinks in front.

    Places in the bytes (`raw`) and in the text are counted from the stream's start.
    """

    def __init__(self, data: bytes = b"", *, final: bool = False) -> None:
        self.raw, self.raw_from = b"", 0
        self.text, self.text_from = b"", 0
        self.raw_before, self.text_before = b"", b""  # the last byte that was dropped
        self._units: list[_Unit] = []
        self._unread = b""
        self.add(data, final=final)

    def add(self, data: bytes, *, final: bool = False) -> None:
        """Append bytes. What may be half an escape is not read before more comes, or `final`."""
        self.raw += data
        data = self._unread + data
        raw, text = self.raw_end - len(data), self.text_from + len(self.text)
        read, end, near = 0, len(data), len(data) - _LONGEST
        parts = [self.text]
        for match in _escapes(data):
            if match.start() < read:
                continue
            if not final and match.end() > near and _UNFINISHED.match(data, match.start()):
                end = match.start()
                break
            meaning = _meaning(str(match.lastgroup), match[match.lastgroup or 0])
            if meaning is None:
                continue
            parts += data[read : match.start()], meaning
            text += match.start() - read
            read = match.end()
            self._units.append(_Unit(text, text + len(meaning), raw + match.start(), raw + read))
            text += len(meaning)
        else:
            if not final and (half := _UNFINISHED.search(data, max(read, near))):
                end = half.start()
        self.text = b"".join((*parts, data[read:end]))
        self._unread = data[end:]

    def drop(self, raw: int) -> None:
        """Forget what stands before this place."""
        gone = bisect_right(self._units, raw, key=lambda unit: unit.raw_end)
        text = self.text_of(raw)
        if gone < len(self._units):
            text = min(text, self._units[gone].text)
        self.raw_before = self.part(raw - 1, raw) if raw > self.raw_from else self.raw_before
        if text > self.text_from:
            self.text_before = self.written(text - 1, text)
        self.text, self.text_from = self.text[text - self.text_from :], text
        self.raw, self.raw_from = self.raw[raw - self.raw_from :], raw
        del self._units[:gone]

    @property
    def raw_end(self) -> int:
        return self.raw_from + len(self.raw)

    @property
    def read_end(self) -> int:
        """Where among the bytes the text ends."""
        return self.raw_end - len(self._unread)

    def views(self) -> dict[View, tuple[bytes, int, bytes]]:
        """Each with the place of its first byte, and with the byte before it, if any."""
        base64 = self.text.translate(_TO_BASE64)
        return {
            "raw": (self.raw, self.raw_from, self.raw_before),
            "text": (self.text, self.text_from, self.text_before),
            "base64": (base64, self.text_from, b""),
        }

    def raw_of(self, text: int) -> int:
        """Where among the bytes this place of the text is; an escape's begin for one within it."""
        before = bisect_right(self._units, text, key=lambda unit: unit.text)
        if not before:
            return self.raw_from + text - self.text_from
        unit = self._units[before - 1]
        return unit.raw if text < unit.text_end else unit.raw_end + text - unit.text_end

    def text_of(self, raw: int) -> int:
        """Where in the text this place of the bytes is; an escape's end for one within it."""
        before = bisect_right(self._units, raw - 1, key=lambda unit: unit.raw)
        if not before:
            return self.text_from + raw - self.raw_from
        unit = self._units[before - 1]
        return unit.text_end + max(raw - unit.raw_end, 0)

    def span(self, view: View, start: int, end: int) -> tuple[int, int]:
        """Where among the bytes a part of a view is, with all of the escapes at its ends."""
        if view == "raw":
            return start, end
        last = bisect_right(self._units, end - 1, key=lambda unit: unit.text) - 1
        inside = last >= 0 and end <= self._units[last].text_end
        return self.raw_of(start), (
            self._units[last].raw_end if inside else self.raw_of(end - 1) + 1
        )

    def part(self, start: int, end: int) -> bytes:
        """The bytes between two places."""
        return self.raw[start - self.raw_from : end - self.raw_from]

    def written(self, start: int, end: int) -> bytes:
        """The text between two places."""
        return self.text[start - self.text_from : end - self.text_from]

    def without_escapes(self) -> bytes:
        """The bytes, cut where an escape stands."""
        ends = [self.raw_from, *(unit.raw_end for unit in self._units)]
        starts = [*(unit.raw for unit in self._units), self.raw_end]
        return b"\0".join(
            self.raw[end - self.raw_from : start - self.raw_from]
            for end, start in zip(ends, starts, strict=True)
        )


def _escapes(data: bytes) -> list[re.Match[bytes]]:
    """What looks like an escape, from the left; one may lie within another."""
    found = [
        match
        for first, pattern in _ESCAPES.items()
        if first in data
        for match in pattern.finditer(data)
    ]
    found.sort(key=re.Match.start)
    return found


@lru_cache(maxsize=4096)
def _meaning(kind: str, written: bytes) -> bytes | None:
    """What an escape stands for, by the name of its group; None if it is none after all."""
    if kind in ("byte", "quote"):
        return bytes((int(written, 16),))
    if kind == "plain":
        return _PLAIN.get(written, written)
    if kind in ("name", "entity"):
        return html5[name].encode() if (name := f"{written.decode()};") in html5 else None
    if kind == "pair":
        code = 0x10000 + ((int(written[:4], 16) & 0x3FF) << 10) + (int(written[-4:], 16) & 0x3FF)
    else:
        code = int(written, 10 if kind == "decimal" else 16)
    return chr(code).encode("utf-8", "surrogatepass") if code < 0x110000 else None


def _unescaped(data: bytes) -> bytes:
    return _Text(data, final=True).text


def _encoded(token: str) -> bytes:
    try:
        return token.encode("utf-8", "surrogateescape")  # as mitmproxy writes headers
    except UnicodeEncodeError:
        return token.encode("utf-8", "surrogatepass")  # half a character, which JSON can hold


def _in_base64(data: bytes, offset: int) -> _Form:
    """As it stands in base64 behind so many other bytes.

    The characters at its ends may hold bits of its neighbours too: any that have its own bits do.
    """
    first, last = 8 * offset, 8 * (offset + len(data))  # bits
    text = b64encode(bytes(offset) + data + b"\0\0").translate(_TO_BASE64)
    start, end = -(-first // 6), last // 6
    before = after = b""
    if own := 6 * start - first:  # its lowest bits
        like = _BASE64.index(text[start - 1]) % (1 << own)
        before = _BASE64[like :: 1 << own]
    if own := last - 6 * end:  # its highest
        like = _BASE64.index(text[end]) >> (6 - own) << (6 - own)
        after = _BASE64[like : like + (1 << (6 - own))]
    return _Form("base64", text[start:end], before, after, "base64", offset)


def _recoded(form: _Form, instead: bytes, written: bytes, equals: bytes, *, goes_on: bool) -> bytes:
    """What takes the place of a token that is `written` in base64, perhaps with its padding.

    Its first and last character keep the bits of the token's neighbours. Where the base64 `goes_on`
    nothing behind may move within its group of three. No padding says nothing where none is due;
    then there is some unless the alphabet is that of URLs. Padding is written as `equals`.
    """
    text = written[: form.length].translate(_TO_BASE64)
    url = b"-" in written or b"_" in written
    first, last = _BASE64.index(text[0]), _BASE64.index(text[-1])
    before = (b"", bytes((first >> 4,)), bytes((0, first >> 2)))[form.offset]
    after = b""
    if goes_on:
        own = (0, 0, 1, 2)[(form.offset + form.length) % 4]  # bytes of the last, unfinished group
        instead += b"~" * ((own - form.offset - len(instead)) % 3)
        after = bytes((last << (2 + 2 * own) & 0xFF,)) if own else b""
    size = form.offset + len(instead)
    new = b64encode(before + instead + after)[form.offset : -(-8 * size // 6)]
    padded = len(written) > form.length or not (form.padding or url)
    if padded and not goes_on:
        new += equals * (-size % 3)
    return new.translate(_TO_BASE64URL) if url else new


def _core(text: bytes) -> bytes:
    """Of its longest runs of letters and digits the last: all JWTs begin with the same."""
    runs = re.findall(rb"[0-9A-Za-z]+", text)
    return max(reversed(runs), key=lambda run: min(len(run), 16), default=b"")[-_CORE:]


# Loops, since each answer is asked about here, and a generator would take most of the time.


def _holds_any(data: bytes, cores: tuple[bytes, ...]) -> bool:
    for core in cores:  # noqa: SIM110
        if core in data:
            return True
    return False


def _holds_escaped_alnum(data: bytes) -> bool:
    for first, pattern in _ESCAPED_ALNUM.items():  # noqa: SIM110
        if first in data and pattern.search(data):
            return True
    return False
