"""What an API's answer says: its strings, each with the names that lead to it.

Read are JSON, JSON within a string, and the JSON documents in any other text (lines, events, parts,
the argument of JSONP); forms and tables. What of it is a token is told in `tokens.candidates`.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from mitmproxy import http

from tokens import json_pointer
from tokens.suspicion import LONGEST_NAME, SHORTEST

LONGEST_BODY = 1 << 20
MOST_STRINGS = 10_000
_LONGEST_ENCODED = 256 * 1024
"""Bytes of a compressed body that is looked into: it may be a thousand times as long."""
_MAX_DEPTH = 100
_LONGEST_PLACE = 4096
"""Characters of what leads to a string: each of thousands may have it anew."""
_CODINGS = frozenset(("", "identity", "gzip", "deflate", "br", "zstd"))


@dataclass(frozen=True)
class Answer:
    """An API's answer, decoded."""

    status: int
    headers: http.Headers
    body: bytes | None
    """None if it cannot be decoded."""
    content_type: str

    @classmethod
    def of(cls, response: http.Response) -> "Answer":
        """A compressed body that may become too long counts as one that cannot be decoded."""
        body = response.raw_content or b""
        coding = response.headers.get("content-encoding", "").strip().lower()
        decoded: bytes | None = body
        if body and coding not in ("", "identity"):
            try:
                fits = coding in _CODINGS and len(body) <= _LONGEST_ENCODED
                decoded = response.content if fits else None
            except ValueError:
                decoded = None
        return cls.with_body(response, decoded)

    @classmethod
    def with_body(cls, response: http.Response, decoded: bytes | None) -> "Answer":
        kind = response.headers.get("content-type", "").lower()
        return cls(response.status_code, response.headers, decoded, kind)

    @cached_property
    def content(self) -> "Content":
        return _content(self)

    @cached_property
    def is_doubtful(self) -> bool:
        """Whether a token may be in it that is not found: nobody could look into the whole of it.

        It cannot be decoded, is too long or too deep, or says or seems to be JSON and is none.
        """
        if self.body is None or len(self.body) > LONGEST_BODY or self.content.is_broken:
            return True
        leaves = chain.from_iterable(leaves_of(one, {}) for one in self.content.documents)
        opened = (inner for leaf in leaves for inner in strings_in(leaf, {}))
        return sum(len(leaf.text) >= SHORTEST for leaf in opened) > MOST_STRINGS


class Unreadable(Exception):
    """JSON that cannot be parsed, or is too deep."""


class Members(list[tuple[str, object]]):
    """A JSON object: all of its members, those too that stand there twice."""


class Content(NamedTuple):
    """What a body holds."""

    documents: tuple[object, ...]
    """JSON: the whole of the body, or what of it is some: lines, events, parts."""
    text: str
    """What is no JSON."""
    is_json: bool
    """There is nothing but one document."""
    is_broken: bool
    """It says or seems to be JSON, and not all of it can be read."""


class Leaf(NamedTuple):
    """A string in an answer, and where it stands."""

    text: str
    place: str
    keys: tuple[str, ...] = ()
    """What leads to it, without the indexes of arrays: the last is its own name."""
    meant: tuple[str, ...] = ()
    """The same, with the field in the place of a GraphQL alias."""
    beside: Mapping[str, object] = {}

    @classmethod
    def named(cls, name: str, text: str, place: str, beside: Mapping[str, object]) -> "Leaf":
        return cls(text, place, (name,), (name,), beside)

    def within(self, outer: "Leaf") -> "Leaf":
        """The leaf of a document that is a string itself: it has no place of its own."""
        keys, meant = outer.keys + self.keys, outer.meant + self.meant
        return self._replace(
            place=outer.place, keys=keys, meant=meant, beside=self.beside or outer.beside
        )


# What makes a script of JSON, so that pages of other origins cannot run it.
_GUARD = re.compile(r"\s{0,99}(?:\)\]\}',?|for\s?\(;;\);|while\s?\((?:1|true)\);)")
_CHARSET = re.compile(
    r"charset\s?=\s?[\"']?(utf-?(?:8|16|32)(?:[bl]e|-[bl]e)?|iso-8859-\d\d?|windows-125\d"
    r"|shift_jis|euc-(?:jp|kr)|gbk|gb18030|big5|koi8-[ru])\b"
)
_SEEMS_JSON = re.compile(r"""\s*(?:\{\s*["'}]|\[\s*["'{\[\]])""")
_OPENING = re.compile(r"""\{(?=\s{0,99}["}])|\[(?=\s{0,99}[\[{])""")
_MOST_FAILURES = 200
"""Each costs a look at all that is before it, for the number of its line."""
_BETWEEN = re.compile(r"(?:[\s,;\x1e]|^(?:data|event|id|retry):.*$)*", re.MULTILINE)
_BINARY = ("msgpack", "cbor")


def _content(answer: Answer) -> Content:
    body, kind = answer.body or b"", answer.content_type
    text, is_wide = _decoded(body, kind)
    if guard := _GUARD.match(text):
        text = text[guard.end() :]
    if not text.strip():
        return Content((), "", is_json=False, is_broken=False)
    says, seems = "json" in kind, _SEEMS_JSON.match(text) is not None
    if says or starts_json(text):
        try:
            document = _parsed(text)
            _check_depth(document)
        except Unreadable:
            pass
        else:  # what is written two bytes a character can be read, but not replaced
            return Content((document,), "", is_json=True, is_broken=is_wide)
    if len(body) > LONGEST_BODY:
        return Content((), text, is_json=False, is_broken=True)
    if "event-stream" in kind:
        text = re.sub("^data: ?", "", text, flags=re.MULTILINE)
    documents, rest, begins_broken = _embedded(text)
    broken = (says or seems) and (is_wide or begins_broken)
    if says and not _BETWEEN.fullmatch(rest):
        broken = broken or any(mark in rest for mark in '{["')
    return Content(tuple(documents), rest, False, broken or any(word in kind for word in _BINARY))


def _decoded(body: bytes, kind: str) -> tuple[str, bool]:
    """The text of a body, and whether its characters have two bytes and more.

    Of another coding no letter of a token is written otherwise than in Latin-1.
    """
    named = _CHARSET.search(kind)
    for coding in (json.detect_encoding(body[:4]), named[1] if named else "", "utf-8-sig"):
        if not coding or (coding == "utf-8" and named):
            continue
        try:
            text = body.decode(coding)
        except UnicodeDecodeError:
            continue
        return text.removeprefix("\ufeff"), coding.startswith(
            ("utf-16", "utf16", "utf-32", "utf32")
        )
    return body.decode("latin-1"), False


def _embedded(text: str) -> tuple[list[object], str, bool]:
    """The JSON documents in a text, what is around them, and whether it begins with a broken one.

    What cannot be parsed costs time, so that it is not tried for ever.
    """
    documents: list[object] = []
    around: list[str] = []
    begins = len(text) - len(text.lstrip())
    broken, at, end, left, failures = False, 0, 0, 4 * len(text), 0
    while opening := _OPENING.search(text, at):
        if left <= 0 or failures > _MOST_FAILURES or len(documents) > MOST_STRINGS:
            broken = True
            break
        at = opening.start()
        try:
            document, after = _DECODER.raw_decode(text, at)
            _check_depth(document)
        except (ValueError, RecursionError, Unreadable) as error:
            failed_at = len(text)
            if isinstance(error, json.JSONDecodeError) and "Unterminated" not in error.msg:
                failed_at = error.pos
            left -= failed_at - at + 1
            failures += 1
            broken = broken or at == begins
            at += 1
        else:
            documents.append(document)
            around.append(text[end:at])
            at = end = after
    around.append(text[end:])
    return documents, "\n".join(around), broken


def starts_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[", '"')


def _check_depth(document: object) -> None:
    """Raises Unreadable."""
    for _ in leaves_of(document, {}):
        pass


# As float, integers of any length can be read; none of them is of interest here.
_DECODER = json.JSONDecoder(object_pairs_hook=Members, parse_int=float)


def _parsed(text: str) -> object:
    """Raises Unreadable."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise Unreadable from None


_Waiting = tuple[object, tuple[str, ...], tuple[str, ...], tuple[str, ...], Mapping[str, object]]


def leaves_of(document: object, aliases: Mapping[str, str]) -> Iterator[Leaf]:
    """The strings of a document that are not empty, in its order. Raises Unreadable."""
    waiting: list[_Waiting] = [(document, (), (), (), {})]
    while waiting:  # not recursive, so that a document may be as deep as it likes
        value, steps, keys, meant, beside = waiting.pop()
        if len(steps) > _MAX_DEPTH:
            raise Unreadable
        if isinstance(value, Members):
            members = dict(value)
            waiting += [
                (
                    child,
                    (*steps, key),
                    (*keys, key[-LONGEST_NAME:]),
                    (*meant, aliases.get(key, key)[-LONGEST_NAME:]),
                    members,
                )
                for key, child in reversed(value)
            ]
        elif isinstance(value, list):
            waiting += [
                (child, (*steps, str(index)), keys, meant, beside)
                for index, child in reversed(list(enumerate(value)))
            ]
        elif isinstance(value, str) and value:
            told = sum(map(len, steps)) <= _LONGEST_PLACE
            place = (json_pointer.join(steps) or "/") if told else "html"
            yield Leaf(value, place, keys, meant, beside)


def strings_in(leaf: Leaf, aliases: Mapping[str, str]) -> Iterator[Leaf]:
    """What is in a string that is JSON itself, however often; the leaf if it is none."""
    waiting = [leaf]
    while waiting:
        leaf = waiting.pop()
        try:
            document = _parsed(leaf.text) if starts_json(leaf.text) else leaf.text
            inner = [] if document == leaf.text else list(leaves_of(document, aliases))
        except Unreadable:
            inner = []
        waiting += [one.within(leaf) for one in reversed(inner)]
        if not inner:
            yield leaf


def cells_of(text: str, delimiter: str) -> list[Leaf]:
    """The cells of a table, each named by the head of its column."""
    try:
        head, *rows = csv.reader(text.splitlines(), delimiter=delimiter)
    except (csv.Error, ValueError):
        return []
    return [
        Leaf.named(name.strip()[-LONGEST_NAME:], cell.strip(), "html", {})
        for row in rows
        for name, cell in zip(head, row, strict=False)
        if cell.strip()
    ]


def fields_of(pairs: list[tuple[str, str]], *, pointers: bool) -> list[Leaf]:
    """The fields of a form, the elements of an XML document."""
    beside = dict(pairs)
    return [
        Leaf.named(name, value, json_pointer.join((name,)) if pointers else "html", beside)
        for name, value in pairs
    ]
