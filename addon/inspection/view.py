"""The content view `cookie-auth`: a request as the browser sent it and as the API got it."""

import json
import textwrap
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any
from urllib.parse import unquote

from credentials.cookies import cookie_pairs
from exchanges import notes, received
from exchanges.router import KINDS
from messages.answers import ABOUT_THE_ANSWER
from mitmproxy import contentviews, http
from mitmproxy.utils import strutils
from tokens import jwt
from tokens.lifetime import size_and_expiry

from inspection import phrases

NAME = "cookie-auth"
WIDEST = 60
"""Characters of a column; what is longer takes several lines."""

_MOMENTS = ("exp", "iat", "nbf", "auth_time")  # RFC 7519, 4.1, and OpenID Connect Core, 2


def lines(flow: http.HTTPFlow, header: str, token: str | None) -> Iterator[str]:
    """The view's text. `header` carries the token, whose value is not shown; `token` is what the
    flow carried, None if it must not be looked into.
    """
    if notes.KIND not in flow.metadata:
        yield "cookie-auth has not seen this flow."
        return
    yield flow.comment
    if sent := received.restored(flow, header):
        got, places = flow.request if _was_sent(flow) else None, phrases.Places(flow)
        yield ""
        yield from beside(sent, got, header, places)
        if places:
            yield ""
            yield f"The API got the token where the browser sent a stand-in: {places}"
    if token and (decoded := jwt.decode(token)):
        yield ""
        size = phrases.token_size(size_and_expiry(token))
        yield f"The token is a JWT ({size}); its signature is left out."
        for part, members in (("header", decoded.header), ("claims", decoded.claims)):
            yield f"{part}:"
            for name, value in members.items():
                yield f"    {name}: {_claim(name, value)}"


def beside(
    sent: http.Request,
    got: http.Request | None,
    header: str,
    places: phrases.Places | None = None,
) -> Iterator[str]:
    """What the browser sent and what the API got, with the fields of one name on one line.

    `places` are those of stand-ins.
    """
    rows = [("The browser sent", "The API got"), ("", "")]
    start = _start_line(got, places) if got else "(nothing)"
    rows.append((_start_line(sent), start))
    left = _fields(sent, header, places, "stand-in, ")
    right = _fields(got, header, places, "token, ") if got else {}
    for name in sorted(left.keys() | right.keys()):
        rows += zip_longest(left.get(name, []), right.get(name, []), fillvalue="")
    lines = [
        line
        for one, other in rows
        for line in zip_longest(_wrapped(one), _wrapped(other), fillvalue="")
    ]
    width = max(len(one) for one, _ in lines)
    for one, other in lines:
        yield f"{one:{width}} | {other}".rstrip()


def _was_sent(flow: http.HTTPFlow) -> bool:
    """Whether the API got the request. A refused one may have been refused for its answer."""
    role = flow.metadata[notes.KIND]
    if role == "refused":
        return flow.metadata[notes.REFUSAL][0] in ABOUT_THE_ANSWER
    return not KINDS[role].answered_here and flow.server_conn.timestamp_start is not None


def _start_line(request: http.Request, places: phrases.Places | None = None) -> str:
    path = request.path
    if places:
        path = places.without_tokens(path, lambda token: f"({len(unquote(token))} bytes)")
    return f"{request.method} {path} {request.http_version}"


def _fields(
    request: http.Request, header: str, places: phrases.Places | None, what: str
) -> dict[str, list[str]]:
    """The header lines, by name, without values of tokens and cookies. `what` is it that stands in
    the places.
    """
    lines: dict[str, list[str]] = {}
    for name, value in request.headers.items(multi=True):
        is_place = places is not None and places.in_header(name)
        if value.endswith(" bytes)"):  # it was left out before
            value = value.replace("(", f"({what}", 1) if is_place else value
        elif is_place or name.lower() == header.lower():
            size = len(value.encode("utf-8", "replace"))
            value = f"({what if is_place else ''}{size} bytes)"
        elif name.lower() == "cookie":
            pairs = cookie_pairs([value])
            value = "; ".join(f"{name}=({len(value)} bytes)" for name, value in pairs)
        lines.setdefault(name.lower(), []).append(f"{name}: {value}")
    return lines


def _wrapped(line: str) -> list[str]:
    line = strutils.escape_control_characters(line, keep_spacing=False)
    indent = "    "
    return textwrap.wrap(line, WIDEST, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _claim(name: str, value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if name in _MOMENTS and isinstance(value, (int, float)):
        try:
            return f"{text}  ({phrases.moment(value)})"
        except (ValueError, OverflowError, OSError):
            return text
    return text


def register(text_of: Callable[[http.HTTPFlow], str]) -> Callable[[], None]:
    """Offer the view in mitmproxy's UI. Returns what takes it away again.

    The one place that knows how the generations differ: 12 has a `Contentview`, which takes the
    place of another one of its name, 11 has a `View`, of which a second one raises.
    """
    api: Any = contentviews
    if hasattr(api, "Contentview"):
        api.registry._by_name.pop(NAME, None)  # else each reload is worth a line in the log
        api.add(_view_for_12(text_of, api.Contentview))
        return lambda: None
    view = _view_for_11(text_of, api.View)
    api.add(view)
    return lambda: api.remove(view)


def _view_for_12(text_of: Callable[[http.HTTPFlow], str], base: Any) -> Any:
    class CookieAuthView(base):  # type: ignore[misc]
        name = NAME

        def prettify(self, data: bytes, metadata: Any) -> str:
            return _text(metadata.flow, text_of)

        def render_priority(self, data: bytes, metadata: Any) -> float:
            return -1  # only when it is asked for

    return CookieAuthView()


def _view_for_11(text_of: Callable[[http.HTTPFlow], str], base: Any) -> Any:
    class CookieAuthView(base):  # type: ignore[misc]
        name = NAME

        def __call__(self, data: bytes, *, flow: object = None, **_: Any) -> Any:
            return NAME, ([("text", line)] for line in _text(flow, text_of).splitlines())

        def render_priority(self, data: bytes, **_: Any) -> float:
            return -1

    return CookieAuthView()


def _text(flow: object, text_of: Callable[[http.HTTPFlow], str]) -> str:
    return text_of(flow) if isinstance(flow, http.HTTPFlow) else "This is no HTTP flow."
