"""What to make of the API's answer on a login path: capture its token, pass it on, or refuse it."""

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn
from urllib.parse import unquote, unquote_plus

from messages.answers import Refused
from mitmproxy import http

from tokens import json_pointer
from tokens.answer import Answer
from tokens.candidates import Candidate, find
from tokens.json_pointer import Absent, JsonPointer
from tokens.login_like import Sent
from tokens.redirect import Redirect, hidden_parameter
from tokens.search import Needle
from tokens.sources import (
    Further,
    RefreshSource,
    Source,
    TokenCookie,
    TokenLocation,
    given_cookies,
    in_head,
)
from tokens.suspicion import SHORTEST, is_plain, kind_of, may_be_token, speaks_of_token

LOGGED_IN = b'{"loggedIn": true}'

_MAX_DEPTH = 100
_CODINGS = frozenset(("", "identity", "gzip", "deflate", "br", "zstd"))
# They describe the API's body, which the browser does not get (RFC 9110, 8; RFC 9530).
_BODY_HEADERS = (
    "accept-ranges age content-digest content-disposition content-encoding content-language"
    " content-location content-md5 content-range digest etag expires last-modified pragma"
    " repr-digest trailer transfer-encoding"
).split()


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
    others: tuple[str, ...] = ()
    """Further tokens of the answer, which the browser does not get either."""
    place: str = ""
    """Where the token stood: the text of a source."""
    more: Mapping[str, str] = field(default_factory=dict)
    """What was asked for beside the token, by slot; no refresh token."""


class _Head(NamedTuple):
    """What an answer gives beside its body."""

    headers: http.Headers
    cookies: Mapping[str, str]

    def one(self, source: Source) -> str | None:
        """Its value of a source; None for none. Raises Refused for several."""
        values = in_head(source, self.headers, self.cookies)
        if len(values) > 1:
            _unreadable(f"carries the {source.text.replace(':', ' ')} more than once")
        return values.pop() if values else None


def read_answer(
    method: str,
    response: http.Response,
    sources: tuple[Source, ...],
    *,
    redact: bool,
    refresh: RefreshSource | None = None,
    sent: Sent | None = None,
    exposed: frozenset[str] = frozenset(),
    lenient: bool = False,
    set_cookies: Iterable[str] | None = None,
    further: Iterable[Further] = (),
) -> Captured | None:
    """Find the token in an API's answer; None when the answer holds none and may pass as it is.

    `refresh` is where the answer may hold a refresh token as well, and `further` what else is asked
    for: it is no failure if that is not there. `set_cookies` are the API's fields, where the answer
    has them no more; what cookies give counts in a success and a redirect only. `sent` tells of the
    request, `exposed` has the names of what pages may read. With `lenient` a token that no source
    leads to is left to the caller, and so is an empty answer: nobody said where the token would be.

    Raises Refused when the answer may hold a token that cannot be taken out of it.
    """
    exposed = frozenset(map(str.lower, exposed))
    fields = response.headers.get_all("set-cookie") if set_cookies is None else set_cookies
    head = _Head(response.headers, given_cookies(fields))
    further = tuple(further)
    if redirect := _captured_redirect(method, response, sources, exposed, lenient, head, further):
        renews = head.one(refresh) if isinstance(refresh, TokenCookie) else None
        return dataclasses.replace(redirect, refresh_token=renews)
    success = is_success(method, response)
    if not success and _location(method, response) is None:
        head = head._replace(cookies={})
    pointers = tuple(source for source in sources if isinstance(source, JsonPointer))
    secret = (one.source for one in further if one.is_secret)
    pointers += tuple(source for source in secret if isinstance(source, JsonPointer))
    if isinstance(refresh, JsonPointer):
        pointers += (refresh,)
    document: object = None
    problem, body = "", b""
    bodyless = response.status_code in (204, 205)
    if response.raw_content or (success and not bodyless):
        body = _decoded(response)
        try:
            document = _read_json(body, pointers, strict=success)
        except _NotJson as error:
            problem = str(error)
    found = _find_token(document, head, sources, strict=success)
    if found is None and not success:
        return None
    if found is None and problem and not _may_be_no_json(response, body, lenient):
        _unreadable(problem)
    more = _find_further(document, head, None, further)
    shown = {more[one.slot] for one in further if one.slot in more and not one.is_secret}
    candidates = find(Answer.with_body(response, body), sent, exposed, strict=True)
    candidates = [one for one in candidates if one.value not in shown]
    if found is None:
        if candidates and not lenient:
            _refuse(candidates[0], problem)
        return None
    token, beside, place = found
    location = _location(method, response)
    if not success and location is None:
        _unreadable(f"is no success ({method}, {response.status_code}) and yet holds a token")
    companion = _find_token(document, head, (refresh,), strict=True) if refresh else None
    refresh_token = companion[0] if companion else None
    secrets = [secret for secret in (token, refresh_token) if secret]
    taken = [*(more[one.slot] for one in further if one.slot in more and one.is_secret)]
    taken += [one.value for one in candidates]
    others = tuple(dict.fromkeys(value for value in taken if value not in secrets))
    if location is not None and _repeat([location], secrets, others):
        _unreadable("leads on with a token in a place that it cannot be taken out of")
    if bodyless or location is not None:
        left = b""
    elif redact and not problem:
        left = _redacted(document, pointers, candidates, secrets, others)
    else:
        left = LOGGED_IN
    return Captured(token, left, beside, refresh_token, location, others, place, more)


def is_success(method: str, response: http.Response) -> bool:
    """Whether this answer logs somebody in, if it holds a token.

    HEAD and OPTIONS log nobody in, but nothing hinders an API from answering them with a token.
    """
    return 200 <= response.status_code <= 299 and method not in ("HEAD", "OPTIONS")


def _location(method: str, response: http.Response) -> str | None:
    """Where an answer leads on that may log somebody in; None for one that does not."""
    leads = response.status_code in (301, 302, 303, 307, 308)
    if not leads or method in ("HEAD", "OPTIONS"):
        return None
    return response.headers.get("location") or None  # one at most: see `_captured_redirect`


def _captured_redirect(
    method: str,
    response: http.Response,
    sources: tuple[Source, ...],
    exposed: frozenset[str],
    lenient: bool,
    head: _Head,
    further: tuple[Further, ...],
) -> Captured | None:
    """The token in a redirect's query or fragment, or in a cookie that comes with one; None for
    another answer, or one without.

    Raises Refused for one that no source names, or that stands there twice.
    """
    locations = response.headers.get_all("location")
    if not 300 <= response.status_code <= 399 or not locations:
        return None
    if len(locations) > 1:
        _unreadable("leads on to several places")
    location = locations[0]
    reference = Redirect.read(location)
    # HEAD and OPTIONS log nobody in, but must not lead on with a token either.
    asked = () if method in ("HEAD", "OPTIONS") else sources
    if found := _in_redirect(reference, head, asked):
        more = _find_further(None, head, reference, further)
        secrets = [more[one.slot] for one in further if one.slot in more and one.is_secret]
        captured = _without_token(reference, *found, exposed, secrets)
        left = captured.location or ""
        if _holds(left, captured.token) or hidden_parameter(left, exposed):
            _unreadable("leads on with a token in a place that it cannot be taken out of")
        return dataclasses.replace(captured, more=more)
    hidden = None if lenient else hidden_parameter(location, exposed)
    if hidden is not None:
        raise Refused(
            "token_not_found",
            "The API's answer to this login leads on with what seems to be its token in the"
            f" address{_suggested(f'location:{hidden}', hidden, plain=is_plain(hidden))}",
        )
    return None


def _in_redirect(
    reference: Redirect, head: _Head, sources: tuple[Source, ...]
) -> tuple[str, str] | None:
    """The token that a redirect leads on with, or that a cookie beside it gives, and its place."""
    for source in sources:
        if isinstance(source, TokenLocation):
            values = set(reference.values(source.name)) - {""}
            if len(values) > 1:
                _unreadable(f"leads on with several values of {source.name}")
            if values:
                return values.pop(), source.text
    cookies = (source for source in sources if isinstance(source, TokenCookie))
    given = ((head.one(source), source.text) for source in cookies)
    return next(((token, place) for token, place in given if token), None)


def _without_token(
    reference: Redirect, token: str, place: str, exposed: frozenset[str], secrets: Collection[str]
) -> Captured:
    """What a redirect gives away, and where it leads without that."""

    def is_secret(name: str, value: str) -> bool:
        return value in (token, *secrets) or (
            name.lower() not in exposed and may_be_token(name, value, strict=True)
        )

    others = {value for name, value in reference.parameters if is_secret(name, value)}
    others = {*others, *secrets} - {token}
    left = reference.without(is_secret)
    beside = dict(reference.parameters)
    return Captured(token, b"", beside, None, left, tuple(sorted(others)), place)


def replace_body(response: http.Response, captured: Captured) -> None:
    """Put the captured answer's new body in place, with no header left that speaks of the old one.

    Servers repeat the token in headers and in cookies of their own; those are dropped too, but for
    Set-Cookie fields: whoever lets one pass has made it HttpOnly.
    """
    secrets = [secret for secret in (captured.token, captured.refresh_token) if secret]
    response.headers.fields = tuple(
        (name, value)
        for name, value in response.headers.fields
        if name.lower() == b"set-cookie"
        or (
            name.decode("ascii", "replace").lower() not in _BODY_HEADERS
            and not _repeat([value.decode("utf-8", "surrogateescape")], secrets, captured.others)
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
            if any(times[name] > 1 and (name in telling or _names_token(name)) for name in times):
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
    document: object, head: _Head, sources: tuple[Source, ...], *, strict: bool
) -> tuple[str, Mapping[str, object], str] | None:
    """The first non-empty string that a source leads to, what stands beside it, and the source.

    `strict` refuses a value that is neither a string nor null: an answer that says a token is
    there, in a form that nobody can send in a header.
    """
    wrong = None
    for source in sources:
        if isinstance(source, TokenLocation):
            continue
        if not isinstance(source, JsonPointer):
            if value := head.one(source):
                beside = document if isinstance(document, dict) else {}
                return value, beside, source.text
            continue
        try:
            found = source.find(document)
        except Absent:
            continue
        if isinstance(found, str) and found:
            parent = JsonPointer("", source.steps[:-1]).find(document)
            return found, parent if isinstance(parent, dict) else {}, source.text
        if found not in (None, ""):
            wrong = wrong or source
    if strict and wrong:
        _unreadable(f"holds something else than a string at {wrong.text}")
    return None


def _find_further(
    document: object, head: _Head, reference: Redirect | None, further: Iterable[Further]
) -> dict[str, str]:
    """What is there of what was asked for beside the token, by slot; a number may be an id."""
    found = {}
    for slot, source, _ in further:
        value: object = None
        if isinstance(source, TokenLocation):
            value = next(iter(reference.values(source.name)), None) if reference else None
        elif isinstance(source, JsonPointer):
            with contextlib.suppress(Absent):
                value = source.find(document)
        else:
            value = head.one(source)
        if value and isinstance(value, (str, int)) and value is not True:
            found[slot] = str(value)
    return found


def _may_be_no_json(response: http.Response, body: bytes, lenient: bool) -> bool:
    """Whether what is no JSON was not meant to be: a page, a word, an empty answer."""
    try:
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return False
    said = "json" in response.headers.get("content-type", "").lower()
    if not text:  # decoded to nothing, though, it may have been cut off
        return lenient and not response.raw_content
    return not said and text[0] not in '{["'


def _names_token(name: str) -> bool:
    return kind_of(name) not in ("", "never") or speaks_of_token(name)


def _refuse(candidate: Candidate, problem: str) -> NoReturn:
    """Refuse an answer that seems to hold a token where no source leads.

    `problem` says why its body is no JSON, if it is none: no pointer would lead into it.
    """
    kind = candidate.place.partition(":")[0]
    if problem and kind not in ("header", "location"):
        _unreadable(f"{problem}, and seems to hold a token")
    plain = candidate.place in ("/", candidate.told)
    where = "in a header" if kind in ("header", "location") else "elsewhere"
    raise Refused(
        "token_not_found",
        "The API's answer to this login has no token where cookie_auth_token points, and seems to"
        f" carry one {where}{_suggested(candidate.place, candidate.name, plain=plain)}",
    )


def _suggested(place: str, name: str, *, plain: bool) -> str:
    """How to set the options that name a place; nothing of it where it may be a secret itself."""
    if not plain:
        return ", under a name that is not told here"
    text = f": try --set cookie_auth_token={place}"
    return text + (f" or, if pages may read it: --set cookie_auth_expose={name}" if name else "")


def place_that_looks_like_a_token(response: http.Response) -> str | None:
    """Where an answer that passes as it is, since it is no success, seems to hold a token."""
    found = [one.place for one in find(Answer.of(response), None, frozenset(), strict=True)]
    for place in found:
        kind, separator, name = place.partition(":")
        if separator and place[0] != "/":
            name = name if kind == "header" else "Location"
            return f"header {name}" if is_plain(name) else "headers"
    return "body" if found else None


def _redacted(
    document: object,
    pointers: tuple[JsonPointer, ...],
    candidates: list[Candidate],
    secrets: list[str],
    others: tuple[str, ...],
) -> bytes:
    """The document without what is a token; LOGGED_IN if the rest holds one too."""
    places = [JsonPointer.parse(one.place) for one in candidates if one.place[0] == "/"]
    removed = frozenset(pointer.steps for pointer in (*pointers, *places))
    if () in removed:
        return LOGGED_IN
    rest = json_pointer.without(document, removed)
    body = json.dumps(rest)
    texts = [text for at, leaf in _leaves(rest) for text in (*at, leaf) if isinstance(text, str)]
    return LOGGED_IN if _repeat([body, *texts], secrets, others) else body.encode()


def _repeat(texts: list[str], secrets: list[str], others: tuple[str, ...]) -> bool:
    """Whether one of the texts holds one of these, written in whatever way (see `tokens.search`).

    Of the others, which nobody named, one that is shorter than a token may be in any text.
    """
    if not set(others).isdisjoint(texts):
        return True
    long = [other for other in others if len(other) >= SHORTEST]
    text = "\n".join(texts)
    data = text.encode("utf-8", "surrogatepass")
    return any(_holds(text, secret) for secret in secrets) or any(
        Needle.of(secret).found_in(data) for secret in (*secrets, *long)
    )


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
