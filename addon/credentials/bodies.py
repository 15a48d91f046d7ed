"""Where a stand-in is translated back in the body of a request for tokens: refresh, revoke, logout.

Only the value's own bytes change: what is signed, the order of members, repeated ones and large
numbers stay as the page wrote them.
"""

import json
import re
from collections import Counter
from typing import NamedTuple
from urllib.parse import parse_qsl

from messages.text import printable

from credentials.names import PARAMETERS, plain
from credentials.places import MARK, Meant, Places, Reader, translate_pairs
from credentials.session_requests import is_grant

LONGEST = 1 << 20
"""Bytes of a body that is looked at."""

_LEVELS = 2
_VARIABLES = ("variables",)
_REFRESH_NAMES = frozenset({"token", "refreshtoken"})
_MARK = MARK.encode()
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_JSON = re.compile(r"(?:application|text)/(?:[^;\s]+\+)?json")
_LEXEME = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]')
_IN_BRACKETS = re.compile(r"[^\[\]]+\[([^\[\]]+)\]")
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_CHARSET = re.compile(r';\s*charset="?([^\s;"]*)', re.IGNORECASE)
_FIELD = re.compile(rb'form-data[ \t]*;[ \t]*name=(?:"([^"]*)"|([^\s;"]+))[ \t]*', re.IGNORECASE)


class Member(NamedTuple):
    """A string in a JSON document, by the names and indexes that lead to it."""

    path: tuple[str | int, ...]
    value: str
    start: int
    """Where its literal begins in the text, quotes included."""
    end: int


class _Part(NamedTuple):
    """A text field of a multipart form, and where its content stands in the body."""

    name: str
    start: int
    end: int


def translate_body(
    content_type: str, body: bytes, read: Reader, *, is_graphql: bool = False
) -> tuple[bytes, Places]:
    """The body with the tokens in its members or fields, at most two levels deep.

    Of a GraphQL request in its variables only.
    """
    if _MARK not in body or len(body) > LONGEST:
        return body, ()
    kind = _kind(content_type)
    if is_graphql and kind in (_FORM, _MULTIPART):
        return body, ()
    if kind == _MULTIPART:
        return _translate_multipart(content_type, body, read)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body, ()
    if kind == _FORM:
        translated, places = translate_pairs(text, "body", _is_field, read)
    elif kind == "json" or (kind == "text/plain" and text.lstrip().startswith("{")):
        translated, places = _translate_json(text, read, _VARIABLES if is_graphql else ())
    else:
        return body, ()
    return (translated.encode(), places) if places else (body, ())


def asks_for_a_grant(content_type: str, body: bytes) -> bool:
    """Whether the body is an OAuth token request (RFC 6749, 4 to 6): it has a known `grant_type`.

    Or an `action` that is `revoke`, as Home Assistant's page says at the same path.
    """
    if len(body) > LONGEST or (b"grant_type" not in body and b"revoke" not in body):
        return False
    kind = _kind(content_type)
    text = body.decode("utf-8", "replace")
    if kind == _FORM:
        pairs = parse_qsl(text)
    elif kind == _MULTIPART:
        parts = _parts(content_type, body) or []
        pairs = [(part.name, body[part.start : part.end].decode("latin-1")) for part in parts]
    elif kind in ("json", "text/plain"):
        pairs = [(str(member.path[0]), member.value) for member in members(text, 1)]
    else:
        return False
    grants = [value for name, value in pairs if name == "grant_type"]
    if grants:
        return len(grants) == 1 and is_grant(grants[0])
    return ("action", "revoke") in pairs


def members(text: str, levels: int) -> list[Member]:
    """The strings in a JSON document that are at most so deep in it; none when it is not JSON.

    The top level is 1. What stands under a name that its object has twice is left out.
    """
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return []
    found: list[Member] = []
    seen: set[tuple[str | int, ...]] = set()
    twice: set[tuple[str | int, ...]] = set()
    at: list[str | int] = []  # a name for each open object, an index for each open array
    wants_name = False
    for lexeme in _LEXEME.finditer(text):
        literal = lexeme[0]
        if literal == "{":
            at.append("")
            wants_name = True
        elif literal == "[":
            at.append(0)
            wants_name = False
        elif literal in "}]":
            at.pop()
            wants_name = False
        elif literal == ",":
            wants_name = isinstance(at[-1], str)
            if not wants_name:
                at[-1] = int(at[-1]) + 1
        elif wants_name:
            wants_name = False
            if len(at) <= levels:
                at[-1] = json.loads(literal)
                place = tuple(at)
                (twice if place in seen else seen).add(place)
        elif at and len(at) <= levels:
            found.append(Member(tuple(at), json.loads(literal), *lexeme.span()))
    if not twice:
        return found
    return [m for m in found if not any(m.path[:n] in twice for n in range(1, len(m.path) + 1))]


def is_named(name: str, meant: Meant) -> bool:
    """Whether a member or field of this name may have it, where tokens are spoken of."""
    known_as = plain(name)
    usual = _REFRESH_NAMES if meant.slot == "r" else PARAMETERS
    return known_as in usual or meant.was_named(name)


def replaced(text: str, values: list[tuple[int, int, str]]) -> str:
    """The text with other pieces from here to there, which are in order."""
    pieces, since = [], 0
    for start, end, value in values:
        pieces += [text[since:start], value]
        since = end
    return "".join([*pieces, text[since:]])


def _is_field(name: str, meant: Meant) -> bool:
    """As Rails and PHP write members, `session[token]`, too."""
    inner = _IN_BRACKETS.fullmatch(name)
    return is_named(inner[1] if inner else name, meant)


def _translate_json(text: str, read: Reader, below: tuple[str, ...]) -> tuple[str, Places]:
    values, places = [], []
    for path, value, start, end in members(text, _LEVELS):
        name = path[-1]
        if MARK not in value or not all(isinstance(step, str) for step in path):
            continue
        if path[:-1][: len(below)] != below:
            continue
        assert isinstance(name, str)
        if (meant := read(value)) and is_named(name, meant):
            values.append((start, end, json.dumps(meant.token)))
            places.append((meant.slot, f"body {printable(name)}"))
    return replaced(text, values), tuple(places)


def _translate_multipart(content_type: str, body: bytes, read: Reader) -> tuple[bytes, Places]:
    parts = _parts(content_type, body) or []
    names = Counter(part.name for part in parts)
    pieces, places, since = [], [], 0
    for part in parts:
        content = body[part.start : part.end]
        if _MARK not in content or names[part.name] > 1:
            continue
        meant = read(content.decode("latin-1"))
        if not meant or not _is_field(part.name, meant):
            continue
        try:
            token = meant.token.encode()
        except UnicodeEncodeError:
            continue
        if b"\r" in token or b"\n" in token:  # could end the part
            continue
        pieces += [body[since : part.start], token]
        since = part.end
        places.append((meant.slot, f"body {printable(part.name)}"))
    return (b"".join([*pieces, body[since:]]), tuple(places)) if places else (body, ())


def _parts(content_type: str, body: bytes) -> list[_Part] | None:
    """The text fields of a form (RFC 7578), None when it is not formed strictly as one."""
    found = _BOUNDARY.search(content_type)
    if not found:
        return None
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("utf-8", "replace")
    if not body.startswith(delimiter[2:]):
        return None
    fields = []
    at = len(delimiter) - 2
    while not body.startswith(b"--", at):
        end = body.find(delimiter, at)
        if not body.startswith(b"\r\n", at) or end < 0:
            return None
        head, blank, content = body[at:end].partition(b"\r\n\r\n")
        if not blank:
            return None
        name = _field_name(head)
        if name is not None:
            fields.append(_Part(name, end - len(content), end))
        at = end + len(delimiter)
    return fields if body[at + 2 :] in (b"", b"\r\n") else None


def _field_name(head: bytes) -> str | None:
    """The name of a part that is a text field; None for a file and for what is encoded."""
    name = None
    for line in head.split(b"\r\n")[1:]:
        header, _, value = line.partition(b":")
        header, value = header.strip().lower(), value.strip()
        if header == b"content-disposition":
            found = _FIELD.fullmatch(value)
            if not found or name is not None:
                return None
            name = (found[1] or found[2] or b"").decode("utf-8", "replace")
        elif header != b"content-type" or not value.lower().startswith(b"text/plain"):
            return None
    return name


def _kind(content_type: str) -> str:
    """The media type in small letters, `json` for all of its kinds; empty for a strange charset."""
    essence = content_type.partition(";")[0].strip().lower()
    charset = _CHARSET.search(content_type)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        return ""
    return "json" if _JSON.fullmatch(essence) else essence
