"""The content view `cookie-auth`: what the browser sent, what the API got, what the page got."""

import json
import textwrap
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any
from urllib.parse import unquote

from credentials.cookies import cookie_pairs
from credentials.places import MARK
from exchanges import notes, received
from exchanges.router import KINDS
from messages.answers import ABOUT_THE_ANSWER
from messages.text import media_type
from mitmproxy import contentviews, http
from mitmproxy.utils import strutils
from tokens import jwt
from tokens.lifetime import size_and_expiry

from inspection import phrases

NAME = "cookie-auth"
WIDEST = 76
"""Characters of a line: what mitmweb shows beside its list on a screen of 1,280 pixels."""
COLUMN = (WIDEST - len(" | ")) // 2

_MOMENTS = ("exp", "iat", "nbf", "auth_time")  # RFC 7519, 4.1, and OpenID Connect Core, 2
_LONGEST_VALUE = 20
"""Characters of a string in an answer that are shown; whatever is longer may be a secret."""
_LONGEST_BODY = 16 * 1024
_MOST_LINES = 30


def lines(flow: http.HTTPFlow, comment: str, header: str, token: str | None) -> Iterator[str]:
    """The view's text. `header` carries the token, whose value is not shown; `token` is what the
    flow carried, None if it must not be looked into.
    """
    if notes.KIND not in flow.metadata:
        yield "cookie-auth has not seen this flow."
        return
    yield from _wrapped(comment, WIDEST)
    if sent := received.restored(flow, header):
        got, places = flow.request if _was_sent(flow) else None, phrases.Places(flow)
        if got and (added := flow.metadata.get(notes.ADDED)):
            got = got.copy()
            for name in added:
                got.headers[name] = f"({len(got.headers.get(name, '').encode())} bytes)"
        who = "front end" if flow.metadata[notes.KIND] == "frontend" else "API"
        yield ""
        yield from beside(sent, got, header, places, who)
        if places:
            yield ""
            told = f"The {who} got the token where the browser sent a stand-in: {places}"
            yield from _wrapped(told, WIDEST)
    if flow.response:
        yield ""
        yield "The page got"
        yield from _answer(flow.response, ours=KINDS[flow.metadata[notes.KIND]].answered_here)
    if token and (decoded := jwt.decode(token)):
        yield ""
        size = phrases.token_size(size_and_expiry(token))
        yield f"The token is a JWT ({size}); its signature is left out."
        for part, members in (("header", decoded.header), ("claims", decoded.claims)):
            yield f"{part}:"
            for name, value in members.items():
                yield from _wrapped(f"{name}: {_claim(name, value)}", WIDEST, "    ")


def beside(
    sent: http.Request,
    got: http.Request | None,
    header: str,
    places: phrases.Places | None = None,
    who: str = "API",
) -> Iterator[str]:
    """What the browser sent and what the API got, with the fields of one name on one line; of those
    that are the same only the names. `places` are those of stand-ins, `who` the API, or another.
    """
    rows = [("The browser sent", f"The {who} got")]
    start = _start_line(got, places) if got else "(nothing)"
    rows.append((_start_line(sent), start))
    left = _fields(sent, header, places, "stand-in, ")
    right = _fields(got, header, places, "token, ") if got else {}
    same = []
    for name in sorted(left.keys() | right.keys()):
        if left.get(name) == right.get(name):
            same.append(left[name][0].partition(":")[0])
        else:
            rows += zip_longest(left.get(name, []), right.get(name, []), fillvalue="")
    for one, other in rows:
        parts = zip_longest(_wrapped(one, COLUMN), _wrapped(other, COLUMN), fillvalue="")
        for mine, theirs in parts:
            yield f"{mine:{COLUMN}} | {theirs}".rstrip()
    if same:
        yield from _wrapped(f"unchanged: {', '.join(same)}", WIDEST)


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
            value = _without_values([value])
        lines.setdefault(name.lower(), []).append(f"{name}: {value}")
    return lines


def _answer(response: http.Response, *, ours: bool) -> Iterator[str]:
    """The answer as it is recorded: what the API said beyond that is gone."""
    yield from _wrapped(f"{response.http_version} {response.status_code} {response.reason}", WIDEST)
    for name, value in response.headers.items(multi=True):
        if name.lower() == "set-cookie":
            pair, semicolon, attributes = value.partition(";")
            value = f"{_without_values([pair])}{semicolon}{attributes}"
        yield from _wrapped(f"{name}: {value}", WIDEST)
    if size := len(response.raw_content or b""):
        yield ""
        shown = _json_in_outline(response, whole=ours) if size <= _LONGEST_BODY else None
        kind = media_type(response.headers)
        told = [f"({size} bytes{f' of {kind}' if kind else ''})"]
        for line in (shown or told)[:_MOST_LINES]:
            yield from _wrapped(line, WIDEST)
        if shown and len(shown) > _MOST_LINES:
            yield "…"


def _json_in_outline(response: http.Response, *, whole: bool) -> list[str] | None:
    """The lines of a JSON body, without its longer strings or whole; None for any other body."""
    try:
        value = json.loads(response.get_text(strict=False) or "")
        shown = value if whole else _outline(value)
        return json.dumps(shown, indent=2, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        return None


def _outline(value: object) -> object:
    if isinstance(value, dict):
        return {name: _outline(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_outline(member) for member in value]
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        size = len(value.encode("utf-8", "replace"))
        return f"({'stand-in, ' if MARK in value else ''}{size} bytes)"
    return value


def _without_values(fields: list[str]) -> str:
    pairs = cookie_pairs(fields)
    return "; ".join(f"{name}=({len(value)} bytes)" for name, value in pairs)


def _wrapped(line: str, width: int, indent: str = "") -> list[str]:
    line = strutils.escape_control_characters(line, keep_spacing=False)
    if not indent:
        indent = line[: len(line) - len(line.lstrip(" "))]
        line = line.strip(" ")
    wrapped = textwrap.wrap(
        line.replace(" bytes)", "\xa0bytes)"),  # a length stays in one piece
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )
    return [part.replace("\xa0", " ") for part in wrapped] or [""]


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
            # mitmweb 11 leaves out lines that are empty.
            return NAME, ([("text", line or " ")] for line in _text(flow, text_of).splitlines())

        def render_priority(self, data: bytes, **_: Any) -> float:
            return -1

    return CookieAuthView()


def _text(flow: object, text_of: Callable[[http.HTTPFlow], str]) -> str:
    return text_of(flow) if isinstance(flow, http.HTTPFlow) else "This is no HTTP flow."
