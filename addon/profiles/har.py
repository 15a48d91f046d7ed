"""HAR files (HTTP Archive 1.2), as browsers and proxies export them.

mitmproxy reads them too, but gives the whole file up for one entry that lacks something; browsers
leave out what they have not kept.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from mitmproxy import http
from tokens.answer import Answer

from profiles.learning import Seen

_CHROMIUM = "WebInspector"
"""How Chrome, Edge and others of the kind call themselves in `creator`."""
_CREDENTIALS = ("authorization", "cookie", "set-cookie")
# They speak of a body as it was on the wire, and a HAR has it decoded.
_CODED = ("content-encoding", "transfer-encoding", "content-length")


class Har(NamedTuple):
    """The exchanges of a file, each with the API's origin."""

    exchanges: list[tuple[str, Seen]]
    is_sanitized: bool
    """Whether Chrome has left out all credentials."""


def read(data: bytes) -> Har | None:
    """What a HAR file holds; None for any other."""
    try:
        document = json.loads(data.decode("utf-8-sig"))
        entries = document["log"]["entries"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    if not isinstance(entries, list):
        return None
    creator = document["log"].get("creator")
    name = creator.get("name") if isinstance(creator, Mapping) else ""
    exchanges = [found for entry in entries for found in _exchange(entry)]
    heads = [head for _, one in exchanges for head in (one.headers, one.answer.headers)]
    has_some = any(name in head for head in heads for name in _CREDENTIALS)
    return Har(exchanges, name == _CHROMIUM and bool(exchanges) and not has_some)


def _exchange(entry: object) -> Iterator[tuple[str, Seen]]:
    """None for what is no HTTP exchange, or has no answer: blocked, from the cache, unreadable."""
    try:
        assert isinstance(entry, Mapping)
        request, response = entry["request"], entry["response"]
        url = urlsplit(str(request["url"]))
        status = int(response["status"])
        if url.scheme not in ("http", "https", "ws", "wss") or not url.netloc or not status:
            return
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = _headers(response)
        content = response.get("content") or {}
        kind = headers.get("content-type") or str(content.get("mimeType") or "")
        answer = Answer(status, headers, _text(content), kind.lower())
        scheme = url.scheme.replace("ws", "http")
        yield (
            f"{scheme}://{url.netloc.rpartition('@')[2].lower()}",
            Seen(str(request["method"]), target, _headers(request), _body(request), answer),
        )
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
        return


def _headers(message: Mapping[str, object]) -> http.Headers:
    fields = message.get("headers") or ()
    assert isinstance(fields, (list, tuple))
    pairs = [(str(one["name"]), str(one["value"])) for one in fields]
    return http.Headers(
        [
            (name.encode("utf-8", "replace"), value.encode("utf-8", "replace"))
            for name, value in pairs
            if name.lower() not in _CODED and not name.startswith(":")
        ]
    )


def _text(content: Mapping[str, object]) -> bytes:
    text = str(content.get("text") or "")
    if content.get("encoding") == "base64":
        try:
            return base64.b64decode(text)
        except binascii.Error:
            return b""
    return text.encode("utf-8", "replace")


def _body(request: Mapping[str, object]) -> bytes:
    posted = request.get("postData")
    if not isinstance(posted, Mapping):
        return b""
    if text := posted.get("text"):
        return str(text).encode("utf-8", "replace")
    params = posted.get("params") or ()
    assert isinstance(params, (list, tuple))
    return urlencode([(str(one["name"]), str(one.get("value") or "")) for one in params]).encode()
