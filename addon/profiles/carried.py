"""Where known tokens stand in a request, for whoever reads a recording.

The places are called as `credentials.places` calls them. Nothing is translated here, so it does not
matter who could have chosen a name; what matters is that no place is overlooked.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote

from credentials import bodies
from messages.text import printable
from mitmproxy import http
from mitmproxy.net.http.multipart import decode_multipart
from tokens.suspicion import is_plain

Kind = Literal["header", "basic", "cookie", "query", "body", "path"]

_LEVELS = 8
"""Of a JSON body that are looked into."""
_PART_OF_TOKEN = re.compile(r"[\w+/=.-]", re.ASCII)
_BASIC = re.compile(r"(?:basic +)?([A-Za-z0-9+/_-]+={0,2})", re.IGNORECASE)
_NO_CREDENTIALS = ("referer", "cookie")
_SPELLED = {"authorization": "Authorization", "sec-websocket-protocol": "Sec-WebSocket-Protocol"}
_BASIC_PARTS = ("user", "password")


class Carried(NamedTuple):
    """A token in a request."""

    token: str
    kind: Kind
    name: str
    """Of the header, parameter, member or cookie."""
    before: str = ""
    after: str = ""
    """What stands around it in a header."""

    @property
    def told(self) -> str:
        """`query access_token`."""
        if self.kind == "basic":
            return f"the {self.before} of Basic in {self.name}"
        if self.kind == "header":
            return printable(self.name)
        return f"{self.kind} {self.name}" if is_plain(self.name) else self.kind


def carried(
    method: str, target: str, headers: http.Headers, body: bytes, tokens: Iterable[str]
) -> list[Carried]:
    """Where these tokens stand; the longer of two first, if one holds the other."""
    wanted = sorted(tokens, key=len, reverse=True)
    if not wanted:
        return []
    found = [
        *_in_headers(headers, wanted),
        *(one for one in _in_target(target) if one.token in wanted),
        *(one for one in _in_body(headers.get("content-type", ""), body) if one.token in wanted),
    ]
    return list(dict.fromkeys(found))


def spelled(header: str) -> str:
    """A header's name as it is usually written: HTTP/2 has small letters only."""
    return _SPELLED.get(header.lower(), header)


def members(document: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Names and values of the strings in a JSON document."""
    pairs: Iterable[tuple[str, object]] = ()
    if isinstance(document, Mapping):
        pairs = document.items()
    elif isinstance(document, list):
        pairs = (("", child) for child in document)
    for name, value in pairs if depth < _LEVELS else ():
        if isinstance(value, str):
            yield name, value
        else:
            yield from members(value, depth + 1)


def _in_headers(headers: http.Headers, tokens: list[str]) -> Iterator[Carried]:
    for name, value in headers.items(multi=True):
        lower = name.lower()
        if lower == "cookie":
            for pair in value.split(";"):
                cookie, _, held = pair.strip().partition("=")
                if (held := unquote(held).strip('"')) in tokens:
                    yield Carried(held, "cookie", cookie)
        if lower in _NO_CREDENTIALS or lower.startswith(":"):
            continue
        if found := _within(value.strip(), tokens):
            before, token, after = found
            yield Carried(token, "header", spelled(name), before, after)
            continue
        for part, held in zip(_BASIC_PARTS, _pair(value), strict=False):
            if held in tokens:
                yield Carried(held, "basic", spelled(name), part)


def _within(value: str, tokens: list[str]) -> tuple[str, str, str] | None:
    """A token in a value, as a whole, and what is around it."""
    for token in tokens:
        before, found, after = value.partition(token)
        if found and not _is_part(before[-1:], "=.") and not _is_part(after[:1]):
            return before, token, after
    return None


def _is_part(character: str, but: str = "") -> bool:
    return bool(_PART_OF_TOKEN.match(character)) and character not in but


def _pair(value: str) -> list[str]:
    """User and password of `Basic` (RFC 7617), or of its base64 alone."""
    match = _BASIC.fullmatch(value.strip())
    if not match:
        return []
    data = match[1].replace("-", "+").replace("_", "/").rstrip("=")
    try:
        pair = base64.b64decode(data + "=" * (-len(data) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return []
    user, colon, password = pair.partition(":")
    return [user, password] if colon else []


def _in_target(target: str) -> Iterator[Carried]:
    path, _, query = target.partition("?")
    for name, value in parse_qsl(query):
        yield Carried(value, "query", name)
    for segment in path.split("/"):
        yield Carried(unquote(segment), "path", "")


def _in_body(content_type: str, body: bytes) -> Iterator[Carried]:
    if not body or len(body) > bodies.LONGEST:
        return
    kind = content_type.partition(";")[0].strip().lower()
    pairs: Iterable[tuple[str, str]]
    if kind == "multipart/form-data":
        try:
            parts = decode_multipart(content_type, body)
        except ValueError:
            return
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in parts]
    else:
        text = body.decode("utf-8", "replace")
        try:
            pairs = members(json.loads(text))
        except (ValueError, RecursionError):
            pairs = parse_qsl(text) if "form" in kind or "=" in text[:200] else ()
    for name, value in pairs:
        yield Carried(value, "body", name)
