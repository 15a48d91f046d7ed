"""Requests whose answers may hand out a token: logins, sign-ups, refreshes.

Which words say so was read off the requests of real APIs (tests/answers). The form of the answer
is looked at in `tokens.candidates`.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from mitmproxy import http
from mitmproxy.net.http.multipart import decode_multipart

from tokens import graphql
from tokens.json_pointer import Absent, JsonPointer
from tokens.suspicion import SHORTEST, words

_LONGEST_BODY = 1 << 20
"""Bytes of a body that is looked into: no login has more."""

_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))

# Names of members and fields, without what is no letter. Jellyfin has `Pw`, OctoPrint `pass`,
# Cognito `PASSWORD` two levels down, ASP.NET Identity `twoFactorCode`, dj-rest-auth `password1`.
_SECRETS = {
    "a password": "password passwd pwd pw pass passphrase passcode",
    "a code": (
        "code otp totp pin onetimecode onetimepassword mfacode otpcode totpcode smscode"
        " twofactorcode verificationcode devicecode"
    ),
    "an assertion": "assertion clientassertion samlresponse",
}
_SECRET_NAMES = {name: what for what, names in _SECRETS.items() for name in names.split()}
_REFRESH_NAMES = frozenset(("refresh", "refreshtoken"))
_WHO = frozenset("identity identifier user username email login".split())

# Words of a path or an operation.
_LOGIN = frozenset("login logon signin signup register authenticate".split())
_SIGN_UP = frozenset("signup register registration users accounts".split())
_REFRESH = frozenset("refresh renew".split())
_LAST = frozenset(("token", "session"))
_MAKES = frozenset("get mint create issue obtain fetch".split())
_AUTH = frozenset("auth auths oauth oauth2 noauth authn sso callback".split())
_PLURAL = frozenset(("tokens", "sessions"))
_COLLECTIONS = _PLURAL | {"keys"}
_ENDS = frozenset("logout signout revoke revocation introspect verify check".split())
_GIVEN_IN_QUERY = ("code", "ticket", "token")
# Nextcloud's getapppassword, Docker's token: safe, with Basic.
_FETCHED_WITH_BASIC = re.compile("token|password|session|login|auth", re.IGNORECASE)


@dataclass(frozen=True)
class Sent:
    """What a request says, as far as its answer's tokens depend on it."""

    method: str
    path: str
    """API path, percent-decoded, without its query."""
    why: str
    """Why it is login-like, for the log ("a password in its body"); empty if it is not."""
    renews: bool
    """It brought what a new token is given for: password, code, assertion, grant, refresh token."""
    has_password: bool
    """Somebody logs in anew: with a password, a code, an assertion; no mere refresh token."""
    says_refresh: bool
    """The word refresh or renew is in the path or the operation."""
    values: frozenset[str]
    """Every string of 8 and more characters that it sent; none of a request that is no login."""
    says_login: bool = False
    """A word for a login is in the path or the operation."""
    signs_up: bool = False
    """It is one for making an account."""
    makes_keys: bool = False
    """Its path is that of a collection of tokens or keys, to which it may add the user's own."""
    weak: bool = False
    """Login-like by little: only JWTs and what has a token's own name count in its answer."""
    names: tuple[tuple[str, str], ...] = ()
    """GraphQL: response keys that are aliases, and the fields they stand for."""
    json_rpc: bool = False

    @property
    def is_sure(self) -> bool:
        """Whether the request is a login or a refresh, and does not just look like one."""
        return not self.weak and (self.says_login or self.says_refresh or self.has_password)


class _Given(NamedTuple):
    """A value that a request gives, and the names beside it."""

    name: str
    value: str
    beside: frozenset[str]


class _Read(NamedTuple):
    given: tuple[_Given, ...] = ()
    asked: tuple[graphql.Asked, ...] = ()
    operations: tuple[str, ...] = ()
    """Names of operations: GraphQL's `operationName`, JSON-RPC's `method`."""
    json_rpc: bool = False


def read(request: http.Request) -> Sent:
    """What a request says of a login, its body included if that is here."""
    return read_request(*_parts(request))


def has_grant(target: str) -> bool:
    """Whether an address has with it what a login is given for: a code, a ticket, a token."""
    query = target.partition("#")[0].partition("?")[2]
    names = {name.lower() for name, value in parse_qsl(query) if value}
    return not names.isdisjoint((*_GIVEN_IN_QUERY, "oauth_verifier", "samlresponse"))


def members(request: http.Request) -> dict[str, str]:
    """The texts and numbers at the top of a request's JSON document or form, by their names.

    None of a body that cannot be read, or that gives one name two values, of which nobody knows
    which one a server takes.
    """
    return members_in(request.headers.get("content-type", ""), _parts(request)[3] or b"")


def members_in(content_type: str, body: bytes) -> dict[str, str]:
    """The same of a body."""
    pairs = _pairs(content_type, body) if len(body) <= _LONGEST_BODY else []
    if len({name for name, _ in pairs}) != len(pairs):
        return {}
    return {name: str(value) for name, value in pairs if isinstance(value, (str, int))}


_NO = frozenset(("", "0", "false", "off", "no", "none", "null", "undefined"))


def says_yes(request: http.Request, member: JsonPointer) -> bool:
    """Whether a member of a request's JSON document, or a field of its form, says yes.

    That is, it is there and no word for no: a ticked box may say what it likes (HTML, 4.10.18.3).
    """
    kind, body = request.headers.get("content-type", ""), _parts(request)[3] or b""
    if len(body) > _LONGEST_BODY:
        return False
    value: object = None
    try:
        value = member.find(json.loads(body.decode("utf-8-sig", "replace")))
    except Absent:
        pass
    except (ValueError, RecursionError):  # of a box, a form may have the other value before it
        value = dict(_pairs(kind, body)).get(member.steps[-1] if member.steps else "")
    return isinstance(value, (str, int)) and str(value).strip().lower() not in _NO


def _pairs(content_type: str, body: bytes) -> list[tuple[str, object]]:
    if content_type.lower().startswith("multipart/form-data"):
        try:
            parts = decode_multipart(content_type, body)
        except ValueError:
            return []
        return [(name.decode("latin-1"), one.decode("utf-8", "replace")) for name, one in parts]
    text = body.decode("utf-8-sig", "replace")
    try:
        document = json.loads(text, object_pairs_hook=tuple)
    except RecursionError:
        return []
    except ValueError:
        return list(parse_qsl(text, keep_blank_values=True))
    return list(document) if isinstance(document, tuple) else []


def read_if_like(request: http.Request) -> Sent | None:
    """The same; None for what is surely no login, as most requests are."""
    parts = _parts(request)
    return None if is_none(*parts) else read_request(*parts)


def _parts(request: http.Request) -> tuple[str, str, http.Headers, bytes | None]:
    body = request.raw_content and request.get_content(strict=False)
    return request.method, request.path, request.headers, body


def read_request(method: str, target: str, headers: http.Headers, body: bytes | None) -> Sent:
    """What a request says of a login. `target` is path and query; a body that streamed is None."""
    path, _, query = target.partition("#")[0].partition("?")
    path = unquote(path)
    method = method.upper()
    safe = method in _SAFE
    parameters = parse_qsl(query)
    read = _read_body(headers.get("content-type", ""), body) if body else _Read()
    secrets = dict.fromkeys(_secrets(read.given))
    in_query_too = [_Given(name, value, frozenset()) for name, value in parameters]
    password_in_query = "a password" in _secrets(in_query_too)  # Synology
    in_query = {name.lower() for name, value in parameters if value}
    segments = [segment for segment in path.split("/") if segment]
    said = _said(segments, read)
    basic = _has_basic(headers)

    why, weak = "", False
    if not safe and secrets:
        why = f"{next(iter(secrets))} in its body"
    elif password_in_query:
        why = "a password in its query"
    elif safe and (name := next((name for name in _GIVEN_IN_QUERY if name in in_query), "")):
        why = f"a {name} in its query"
    elif not safe and said.strong:
        why = said.strong
    elif basic and (not safe or (segments and _FETCHED_WITH_BASIC.search(segments[-1]))):
        why, weak = "Basic credentials", True
    elif said.refresh and said.strong:  # by GET
        why, weak = said.strong, True
    elif said.weak and not safe and not _carries(headers):
        why, weak = said.weak, True

    has_password = (
        password_in_query
        or any(secret != "a refresh token" for secret in secrets)
        or (safe and bool(in_query & {"code", "ticket"}))
    )
    return Sent(
        method=method,
        path=path,
        why=why,
        renews=bool(secrets) or has_password,
        has_password=has_password,
        says_refresh=said.refresh,
        values=frozenset(_values(path, parameters, headers, read) if why else ()),
        says_login=said.login,
        signs_up=said.signs_up,
        makes_keys=said.makes_keys,
        weak=weak,
        names=tuple(
            dict.fromkeys(
                (field.key, field.name)
                for asked in read.asked
                for field in asked.fields
                if field.key != field.name
            )
        ),
        json_rpc=read.json_rpc,
    )


def is_by_head(method: str, target: str) -> bool:
    """Whether method and path alone say that somebody logs in or renews.

    Below /auth, and at a session, that is a POST, or a GET that brings a code: others ask there who
    is logged in (`GET /auth/me`), change that, or end it (`DELETE /session`).
    """
    sent = read_request(method, target, http.Headers(), None)
    if any(word in _LOGIN for segment in sent.path.split("/") for word in words_of(segment)):
        return True
    if sent.method in _SAFE:
        return sent.says_login and bool(sent.why)
    return sent.says_refresh or (sent.method == "POST" and sent.says_login)


def is_none(method: str, target: str, headers: http.Headers, body: bytes | None) -> bool:
    """Whether a request is surely not login-like, at little cost: most are not.

    Where this is not so, `read_request` decides.
    """
    path, _, query = target.partition("?")
    if _is_by_path(method, path) or _has_basic(headers):
        return False
    return not _MAY_TELL_QUERY.search(query) and not (body and _MAY_TELL.search(body))


# Parts of names above, and what may hide one: an escape, a percent sign, a coding, GraphQL.
_MAY_TELL = re.compile(
    rb"pass|pw|code|otp|pin|assertion|saml|grant|refresh|secret|query|mutation|jsonrpc"
    rb"|operationName|\\u|%|\x00",
    re.IGNORECASE,
)
_MAY_TELL_QUERY = re.compile(
    "(?:^|&)[^=&]*(?:code|ticket|token|pass|pw|pin|otp|%|[+])", re.IGNORECASE
)


@lru_cache(maxsize=1024)
def _is_by_path(method: str, path: str) -> bool:
    return len(path) > 256 or bool(read_request(method, path, http.Headers(), None).why)


def _secrets(given: Iterable[_Given]) -> Iterator[str]:
    """What a body gives to get a token for."""
    for name, value, beside in given:
        plain = re.sub("[^a-z]", "", name.lower())
        last = (words(name) or [""])[-1]
        if plain == "granttype" and value:
            yield "a refresh token" if value == "refresh_token" else "a grant"
        elif plain in _REFRESH_NAMES and len(value) >= SHORTEST:
            yield "a refresh token"
        elif what := _SECRET_NAMES.get(plain):
            yield what
        elif last == "password" or plain.endswith("password"):
            yield "a password"  # user[password], current_password
        elif plain == "secret" and beside & _WHO:  # Nginx Proxy Manager
            yield "a password"


class _Said(NamedTuple):
    """What the words of path and operations say."""

    strong: str
    weak: str
    login: bool
    refresh: bool
    makes_keys: bool
    signs_up: bool


def _said(segments: list[str], read: _Read) -> _Said:
    spoken = list(map(words_of, segments))
    last = spoken[-1] if spoken else ()
    in_path = set(chain.from_iterable(spoken))
    in_operations = [words_of(name) for name in _operations(read)]
    makes_keys = bool(last) and last[-1] in _COLLECTIONS

    strong = [f"the path segment {word}" for word in chain(*spoken) if word in _LOGIN | _REFRESH]
    if last and last[-1] in _LAST and (len(last) == 1 or (len(last) == 2 and last[0] in _MAKES)):
        strong.append(f"the path segment {last[-1]}")
    strong += [
        f"the operation {word}"
        for name in in_operations
        for word in name
        if word in _LOGIN | _REFRESH or name == ("token", "create")  # Saleor
    ]
    weak = [f"the path segment {word}" for word in chain(*spoken) if word in _AUTH | _PLURAL]
    if in_path & _ENDS:
        weak = []

    everything = in_path.union(*in_operations)
    login = bool(everything & _LOGIN) or (
        not makes_keys and bool(in_path & _AUTH or (last and last[-1] in _LAST))
    )
    refresh = bool(everything & _REFRESH)
    signs_up = not everything.isdisjoint(_SIGN_UP)
    return _Said(next(iter(strong), ""), next(iter(weak), ""), login, refresh, makes_keys, signs_up)


@lru_cache(maxsize=1024)
def words_of(text: str) -> tuple[str, ...]:
    """The words of a path segment, with `sign in` and `log-in` as one."""
    found: list[str] = []
    for word in words(text):
        if word in ("in", "up", "on", "out") and found and found[-1] in ("sign", "log"):
            found[-1] += word
        else:
            found.append(word)
    return tuple(found)


def _operations(read: _Read) -> Iterator[str]:
    yield from read.operations
    for asked in read.asked:
        yield from (field.name for field in asked.fields if field.asks)


def _carries(headers: http.Headers) -> bool:
    """Whether a request has a credential in a header; a key that names only the app is none."""
    return any(
        not {"authorization", "token", "session"}.isdisjoint(words(name)) and value
        for name, value in headers.items(multi=True)
    )


def _has_basic(headers: http.Headers) -> bool:
    value: str = headers.get("authorization", "")
    return value[:6].lower() == "basic "


def _values(
    path: str, parameters: list[tuple[str, str]], headers: http.Headers, read: _Read
) -> Iterator[str]:
    texts = path.split("/") + [value for _, value in parameters]
    texts += [given.value for given in read.given]
    texts += [value for asked in read.asked for _, value in asked.arguments]
    for name, value in headers.items(multi=True):
        if name.lower() == "cookie":
            texts += [unquote(pair.partition("=")[2]) for pair in value.split(";")]
        else:
            texts += [value, value.rpartition(" ")[2]]
    if _has_basic(headers):
        try:
            pair = base64.b64decode(headers["authorization"][6:].strip()).decode("utf-8", "replace")
            texts += pair.partition(":")[::2]
        except ValueError:
            pass
    yield from (text for text in texts if len(text) >= SHORTEST)


def _read_body(content_type: str, body: bytes) -> _Read:
    """What a body gives: a JSON document, a form, or a GraphQL or JSON-RPC request."""
    kind = content_type.partition(";")[0].strip().lower()
    if len(body) > _LONGEST_BODY:
        return _Read()
    if kind == "multipart/form-data":
        try:
            parts = decode_multipart(content_type, body)
        except ValueError:
            return _Read()
        return _form(
            [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in parts]
        )
    text = body.decode("utf-8-sig", "replace")
    if kind == "application/graphql":
        return _graphql([text], _Read())
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return _form(parse_qsl(text)) if "form" in kind or "=" in text[:200] else _Read()
    return _json(document)


def _form(pairs: list[tuple[str, str]]) -> _Read:
    beside = frozenset(name.lower() for name, _ in pairs)
    # user[password]=… is the member password of user
    names = [name[:-1].rpartition("[")[2] if name[-1:] == "]" else name for name, _ in pairs]
    given = (_Given(name, value, beside) for name, (_, value) in zip(names, pairs, strict=True))
    queries = [value for name, value in pairs if name == "query" and "{" in value]
    return _graphql(queries, _Read(tuple(given)))


def _json(document: object) -> _Read:
    batch = document if isinstance(document, list) else [document]
    requests = [request for request in batch if isinstance(request, dict)]
    queries = [request.get("query") for request in requests]
    operations, json_rpc = [], False
    for request in requests:
        operations.append(request.get("operationName"))
        if "jsonrpc" in request:
            operations.append(request.get("method"))
            json_rpc = True
    read = _Read(
        tuple(_leaves(document)),
        operations=tuple(name for name in operations if isinstance(name, str)),
        json_rpc=json_rpc,
    )
    return _graphql([text for text in queries if isinstance(text, str) and "{" in text], read)


def _graphql(documents: list[str], read: _Read) -> _Read:
    asked = tuple(map(graphql.read_document, documents))
    given = list(read.given)
    for one in asked:
        beside = frozenset(name.lower() for name, _ in one.arguments)
        given += (_Given(name, value, beside) for name, value in one.arguments)
    return read._replace(given=tuple(given), asked=asked)


def _leaves(document: object) -> Iterator[_Given]:
    """Every string or number that is not empty, under its name."""
    waiting: list[tuple[str, object, frozenset[str]]] = [("", document, frozenset())]
    while waiting:
        name, value, beside = waiting.pop()
        if isinstance(value, dict):
            beside = frozenset(str(key).lower() for key in value)
            waiting += ((key, child, beside) for key, child in value.items())
        elif isinstance(value, list):
            waiting += ((name, child, beside) for child in value)
        elif isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
            yield _Given(name, str(value), beside)
