"""What to make of the API's answer on a login path: capture its token, pass it on, or refuse it."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn
from urllib.parse import unquote, unquote_plus

from messages.answers import Refused
from mitmproxy import http

from tokens import json_pointer
from tokens.json_pointer import Absent, JsonPointer
from tokens.redirect import Redirect, hidden_parameter
from tokens.suspicion import JWT, is_plain, may_be_token, names_token

LOGGED_IN = b'{"loggedIn": true}'

_MAX_DEPTH = 100
_CODINGS = frozenset(("", "identity", "gzip", "deflate", "br", "zstd"))
# They describe the API's body, which the browser does not get (RFC 9110, 8; RFC 9530).
_BODY_HEADERS = (
    "accept-ranges age content-digest content-disposition content-encoding content-language"
    " content-location content-md5 content-range digest etag expires last-modified pragma"
    " repr-digest trailer transfer-encoding"
).split()


class TokenHeader(NamedTuple):
    """A response header in which an API gives its token; `header:NAME` among the pointers."""

    name: str

    @property
    def text(self) -> str:
        return f"header:{self.name}"


class TokenLocation(NamedTuple):
    """A parameter in the query or the fragment of a redirect; `location:NAME`."""

    name: str

    @property
    def text(self) -> str:
        return f"location:{self.name}"


Source = JsonPointer | TokenHeader | TokenLocation
"""Where a login answer may carry the token."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def parse_source(text: str) -> Source:
    """Read a JSON Pointer, `header:NAME` or `location:NAME`.

    Raises ValueError, saying what would be right.
    """
    kind, separator, name = text.partition(":")
    if not separator or kind.lower() not in ("header", "location"):
        return JsonPointer.parse(text)
    if not _NAME.fullmatch(name) or name.lower() == "set-cookie":
        raise ValueError(
            "a JSON Pointer such as /authToken, or header:X-Auth-Token, or location:access_token"
        )
    return TokenHeader(name) if kind.lower() == "header" else TokenLocation(name)


@dataclass(frozen=True)
class Captured:
    """The token that an answer carried, and what the browser gets instead."""

    token: str
    body: bytes
    beside: Mapping[str, object]
    """What stands beside the token in the API's JSON."""
    refresh_token: str | None = None
    location: str | None = None
    """Where a redirect leads, without the token; None for no redirect."""


def read_answer(
    method: str,
    response: http.Response,
    sources: tuple[Source, ...],
    *,
    redact: bool,
    refresh: JsonPointer | None = None,
) -> Captured | None:
    """Find the token in an API's answer; None when the answer holds none and may pass as it is.

    `refresh` is where the answer may hold a refresh token as well.

    Raises Refused when the answer may hold a token that cannot be taken out of it.
    """
    if redirect := _captured_redirect(method, response, sources):
        return redirect
    success = is_success(method, response)
    pointers = tuple(source for source in sources if isinstance(source, JsonPointer))
    if refresh:
        pointers += (refresh,)
    document: object = None
    problem = ""
    bodyless = response.status_code in (204, 205)
    if response.raw_content or (success and not bodyless):
        try:
            document = _read_json(_decoded(response), pointers, strict=success)
        except _NotJson as error:
            problem = str(error)
    found = _find_token(document, response.headers, sources, strict=success)
    if found is None:
        if success and problem:
            _unreadable(problem)
        if success:
            _refuse_hidden_token(document, response.headers)
        return None
    token, beside = found
    if not success:
        _unreadable(f"is no success ({method}, {response.status_code}) and yet holds a token")
    companion = (
        _find_token(document, response.headers, (refresh,), strict=True) if refresh else None
    )
    refresh_token = companion[0] if companion else None
    if bodyless:
        body = b""
    elif redact and not problem:
        body = _redacted(document, pointers, token, refresh_token)
    else:
        body = LOGGED_IN
    return Captured(token, body, beside, refresh_token)


def is_success(method: str, response: http.Response) -> bool:
    """Whether this answer logs somebody in, if it holds a token.

    HEAD and OPTIONS log nobody in, but nothing hinders an API from answering them with a token.
    """
    return 200 <= response.status_code <= 299 and method not in ("HEAD", "OPTIONS")


def _captured_redirect(
    method: str, response: http.Response, sources: tuple[Source, ...]
) -> Captured | None:
    """The token in a redirect's query or fragment; None for another answer, or one without.

    Raises Refused for one that no source names, or that stands there twice.
    """
    locations = response.headers.get_all("location")
    if not 300 <= response.status_code <= 399 or not locations:
        return None
    if len(locations) > 1:
        _unreadable("leads on to several places")
    location = locations[0]
    reference = Redirect.read(location)
    names = [source.name for source in sources if isinstance(source, TokenLocation)]
    if method in ("HEAD", "OPTIONS"):
        names = []  # they log nobody in, but must not lead on with a token either
    for name in names:
        values = set(reference.values(name)) - {""}
        if len(values) > 1:
            _unreadable(f"leads on with several values of {name}")
        if values:
            captured = _without_token(reference, values.pop())
            left = captured.location or ""
            if _holds(left, captured.token) or hidden_parameter(left):
                _unreadable("leads on with a token in a place that it cannot be taken out of")
            return captured
    found = [name for name, value in reference.parameters if may_be_token(name, value)]
    if hidden := None if found else hidden_parameter(location):
        found = [hidden]
    if found:
        raise Refused(
            "token_not_found",
            "The API's answer to this login leads on with what seems to be its token in the"
            f" address{_suggested(f'location:{found[0]}', found[:1])}",
        )
    return None


def _without_token(reference: Redirect, token: str) -> Captured:
    """What a redirect gives away, and where it leads without that."""
    left = reference.without(lambda name, value: value == token or may_be_token(name, value))
    return Captured(token, b"", dict(reference.parameters), location=left)


def replace_body(response: http.Response, captured: Captured) -> None:
    """Put the captured answer's new body in place, with no header left that speaks of the old one.

    Servers repeat the token in headers and in cookies of their own; those are dropped too, but for
    Set-Cookie fields: whoever lets one pass has made it HttpOnly.
    """
    found = [secret for secret in (captured.token, captured.refresh_token) if secret]
    response.headers.fields = tuple(
        (name, value)
        for name, value in response.headers.fields
        if name.lower() == b"set-cookie"
        or (
            name.decode("ascii", "replace").lower() not in _BODY_HEADERS
            and not any(_holds(value.decode("utf-8", "surrogateescape"), one) for one in found)
        )
    )
    response.trailers = None
    response.content = captured.body
    response.headers["Cache-Control"] = "no-store"
    if captured.location is not None:
        response.headers["Location"] = captured.location
        # The address had a token in it, and no page is to learn of it (RFC 9700, 4.2.4).
        response.headers["Referrer-Policy"] = "no-referrer"
        if response.status_code in (307, 308):
            response.status_code, response.reason = (
                303,
                "See Other",
            )  # else the password is sent on (RFC 9700, 4.12)
    elif captured.body:
        response.headers["Content-Type"] = "application/json"
    if not captured.body:
        response.headers.pop("Content-Type", None)
        response.headers.pop("Content-Length", None)  # RFC 9110, 8.6: none in a 204
    if captured.location is not None:
        response.headers["Content-Length"] = "0"


class _NotJson(Exception):
    """The text says in what way the body cannot be read."""


def _unreadable(how: str) -> NoReturn:
    raise Refused("login_unreadable", f"The API's answer to this login {how}.")


def _decoded(response: http.Response) -> bytes:
    # mitmproxy takes any Python codec for a content coding ("hex", "rot13"), so ours are named.
    if response.headers.get("content-encoding", "").strip().lower() not in _CODINGS:
        _unreadable("has a Content-Encoding that is not gzip, deflate, br or zstd")
    try:
        return response.content or b""
    except ValueError:
        _unreadable("is not what its Content-Encoding says")


def _read_json(body: bytes, pointers: tuple[JsonPointer, ...], *, strict: bool) -> object:
    """The JSON document.

    `strict` refuses NaN and infinities, which JSON does not have and Python accepts.

    Raises _NotJson, or Refused for JSON that different readers read differently.
    """
    telling = {step for pointer in pointers for step in pointer.steps}

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        document = dict(pairs)
        if len(document) < len(pairs):
            times = Counter(name for name, _ in pairs)
            if any(times[name] > 1 and (name in telling or names_token(name)) for name in times):
                _unreadable("holds the token's key twice")
        return document

    def number(text: str) -> float:
        value = float(text)
        if strict and value in (float("inf"), float("-inf")):
            raise _NotJson("holds a number beyond the range of a double")
        return value

    def constant(text: str) -> float:
        if strict:
            raise _NotJson(f"is not JSON: it holds {text}")
        return float(text)

    try:
        # fetch().json() drops a byte order mark, and some servers send one.
        document = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=members,
            parse_float=number,
            parse_constant=constant,
        )
    except UnicodeDecodeError:
        raise _NotJson("is not UTF-8") from None
    except ValueError:
        raise _NotJson("is not JSON") from None
    except RecursionError:
        _unreadable("is nested too deeply")
    if any(len(at) > _MAX_DEPTH for at, _ in _leaves(document)):
        _unreadable("is nested too deeply")
    return document


def _find_token(
    document: object, headers: http.Headers, sources: tuple[Source, ...], *, strict: bool
) -> tuple[str, Mapping[str, object]] | None:
    """The first non-empty string that a source leads to, and what stands beside it.

    `strict` refuses a value that is neither a string nor null: an answer that says a token is
    there, in a form that nobody can send in a header.
    """
    wrong = None
    for source in sources:
        if isinstance(source, TokenLocation):
            continue
        if isinstance(source, TokenHeader):
            values = set(headers.get_all(source.name)) - {""}
            if len(values) > 1:
                _unreadable(f"carries the header {source.name} more than once")
            if values:
                return values.pop(), document if isinstance(document, dict) else {}
            continue
        try:
            value = source.find(document)
        except Absent:
            continue
        if isinstance(value, str) and value:
            parent = JsonPointer("", source.steps[:-1]).find(document)
            return value, parent if isinstance(parent, dict) else {}
        if value not in (None, ""):
            wrong = wrong or source
    if strict and wrong:
        _unreadable(f"holds something else than a string at {wrong.text}")
    return None


def _suggested(option: str, names: Iterable[str]) -> str:
    """How to set the option that names a place; nothing of it where one of the names is unusual."""
    if all(map(is_plain, names)):
        return f": try --set cookie_auth_token={option}"
    return ", under a name that is not told here"


def place_that_looks_like_a_token(response: http.Response) -> str | None:
    """Where an answer that passes as it is, since it is no success, seems to hold a token."""
    if (name := _header_that_looks_like_a_token(response.headers)) is not None:
        return f"header {name}" if is_plain(name) else "headers"
    body = response.get_text(strict=False) or ""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = body
    return "body" if any(_looks_like_a_token(at, leaf) for at, leaf in _leaves(document)) else None


def _refuse_hidden_token(document: object, headers: http.Headers) -> None:
    """Raise Refused when the answer seems to hold a token where no pointer leads."""
    if (name := _header_that_looks_like_a_token(headers)) is not None:
        raise Refused(
            "token_not_found",
            "The API's answer to this login has no token where cookie_auth_token points, and seems"
            f" to carry one in a header{_suggested(f'header:{name}', [name])}",
        )
    found = [(at, leaf) for at, leaf in _leaves(document) if _looks_like_a_token(at, leaf)]
    if found:
        at, _ = max(found, key=lambda place: len(str(place[1])))
        raise Refused(
            "token_not_found",
            "The API's answer to this login has no token where cookie_auth_token points, and seems"
            f" to carry one elsewhere{_suggested(json_pointer.join(at) or '/', at)}",
        )


def _header_that_looks_like_a_token(headers: http.Headers) -> str | None:
    """The name of the first header that seems to hold one."""
    looks = (
        str(name)
        for name, text in headers.items(multi=True)
        if text and (names_token(name) or JWT.search(text) or _refers_to_token(name, text))
    )
    return next(looks, None)


def _refers_to_token(name: str, text: str) -> bool:
    """Whether a field leads on to an address with a token in it."""
    leads = name.lower() in ("content-location", "link", "location", "refresh")
    return leads and hidden_parameter(text) is not None


def _looks_like_a_token(at: tuple[str, ...], leaf: object) -> bool:
    """Whether a non-empty string at this place of a document is one, by its keys or its form."""
    return (
        isinstance(leaf, str)
        and leaf != ""
        and (any(names_token(step) for step in at) or JWT.search(leaf) is not None)
    )


def _redacted(document: object, pointers: tuple[JsonPointer, ...], *secrets: str | None) -> bytes:
    """The document without what the pointers name; LOGGED_IN if the rest holds a secret too."""
    removed = frozenset(pointer.steps for pointer in pointers)
    if () in removed:
        return LOGGED_IN
    rest = json_pointer.without(document, removed)
    body = json.dumps(rest)
    texts = [text for at, leaf in _leaves(rest) for text in (*at, leaf) if isinstance(text, str)]
    if any(_holds(text, secret) for secret in secrets if secret for text in (body, *texts)):
        return LOGGED_IN
    return body.encode()


def _holds(text: str, token: str) -> bool:
    return token in text or token in unquote(text) or token in unquote_plus(text)


def _leaves(document: object) -> Iterator[tuple[tuple[str, ...], object]]:
    """Everything in the document that holds nothing further, and the keys that lead there.

    Not recursive, so that a document may be as deep as it likes.
    """
    waiting: list[tuple[tuple[str, ...], object]] = [((), document)]
    while waiting:
        at, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += (((*at, key), child) for key, child in value.items())
        elif isinstance(value, list) and value:
            waiting += (((*at, str(index)), child) for index, child in enumerate(value))
        else:
            yield at, value
