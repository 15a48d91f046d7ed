"""How an API's login, refresh and logout are said in options, and told to a user.

No text that is made here holds a token, nor anything of a body but names: what may be a secret is
left out, or makes the whole not sayable.
"""

import json
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, unquote_plus, urlencode

from credentials.names import is_credential_header, plain
from messages.text import printable
from mitmproxy.net.http.multipart import decode_multipart
from settings import option
from tokens import graphql
from tokens.answer import Answer
from tokens.json_pointer import Absent, JsonPointer
from tokens.request_template import RequestTemplate
from tokens.suspicion import is_formed, is_of_words, is_opaque, is_plain, is_random

from profiles.carried import spelled

SCHEME = re.compile(r"[A-Za-z]{2,12} ")
TYPES = {"bearer": "Bearer", "token": "Token", "jwt": "JWT"}
"""The schemes for which an API's `token_type` or challenge stands."""

_PLACE = "{refresh_token}"
_DEEPEST = 8
_SHORTEST_PIN = 1000
# What a refresh says beside its token that is no secret (RFC 6749, 6; a client's id is public).
_SAID = frozenset("granttype clientid scope audience mode operationname resource".split())
_LITERAL = re.compile(r'"[^"]{8,}"')
# Of a link in a mail: letters, and two digits and more among them.
_CODE = re.compile(r"(?=(?:.*\d){2})(?=.*[A-Za-z])[\w-]{8,}", re.ASCII)


def asked_of(method: str, target: str, body: bytes) -> str:
    """`POST /auth/sign-in`, or `POST /graphql (login)`; nothing that may be a secret."""
    names = [name for name in graphql.operations(body) if is_plain(name)]
    operation = f" ({', '.join(dict.fromkeys(names))})" if names else ""
    return f"{printable(method)} {told_path(target)}{operation}"


def told_path(target: str) -> str:
    """A path, with dots for the segments that may be a token."""
    segments = target.partition("?")[0].split("/")
    return printable("/".join("…" if may_be_secret(one) else one for one in segments))


def can_be_named(path: str) -> bool:
    """Whether an option can name this path: it has the form, and holds no secret."""
    return _is_path(path) and not any(map(may_be_secret, path.split("/")))


def may_be_secret(text: str) -> bool:
    """Whether a word of a path or a header may be one, for a message."""
    text = unquote(text)
    words = re.split("[:;,=]", text)
    return is_formed(text) or any(is_random(one, uuid=True) or _CODE.search(one) for one in words)


def words_of(around: str) -> list[str]:
    """What stands around a token, piece by piece."""
    return re.split(r'[\s,;="]+', around)


def header_told(answer: Answer, token: str, place: str) -> tuple[str, str] | None:
    """The header in which an API wants a token, and what is before it, by the login's own answer.

    It gives it in one, or says a `token_type` (RFC 6749, 7.1).
    """
    for name, value in answer.headers.items(multi=True):
        before = value.removesuffix(token)
        fits = not before or SCHEME.fullmatch(before)
        if before != value and fits and is_credential_header(name):
            return spelled(name), before
    kind = str(beside(answer, place).get("token_type", "")).lower()
    return ("Authorization", f"{TYPES[kind]} ") if kind in TYPES else None


def beside(answer: Answer, place: str) -> dict[str, object]:
    """What stands beside a token in the API's JSON."""
    if not place.startswith("/"):
        return {}
    try:
        pointer = JsonPointer.parse(place)
        parent = JsonPointer("", pointer.steps[:-1]).find(json.loads(answer.body or b""))
    except (ValueError, RecursionError, Absent):
        return {}
    return parent if isinstance(parent, dict) else {}


def refresh_template(content_type: str, body: bytes, token: str) -> str | None:
    """The body of a refresh with `{refresh_token}` in the token's place.

    None where it is not there once, or where something else is there that may be a secret. A form
    of several parts becomes a plain one, which is what token endpoints are to take (RFC 6749, 6).
    """
    text = body.decode("utf-8", "replace")
    if content_type.lower().startswith("multipart/form-data"):
        try:
            text = urlencode(decode_multipart(content_type, body))
        except ValueError:
            return None
    if "json" in content_type.lower() or text.lstrip().startswith(("{", "[")):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return None
        may_be_told = _may_be_told("", document, token)
        written, text = RequestTemplate.written(token)[0], json.dumps(document)
    else:
        may_be_told = all(_may_be_told(name, value, token) for name, value in parse_qsl(text))
        values = (pair.partition("=")[2] for pair in text.split("&"))
        written = next((one for one in values if unquote_plus(one) == token), "")
    if not may_be_told or not written or text.count(written) != 1:
        return None
    try:
        return RequestTemplate.parse_body(text.replace(written, _PLACE))
    except ValueError:
        return None


def logout_options(
    method: str, path: str, *, alone: bool, body: str | None = None
) -> Iterator[tuple[str, str | bool]]:
    """The options that make the proxy's logout this one; `alone`: the path is for nothing else."""
    if alone:
        yield "logout", path
    if body:  # which is told without `logout_upstream`
        yield "logout.body", body
    else:
        yield "logout_upstream", True
    if method != "POST":
        yield "logout_upstream_method", method
    if not alone:
        yield "logout_upstream_path", path


def _is_path(text: str) -> bool:
    try:
        return bool(option.path(text))
    except ValueError:
        return False


def _may_be_told(name: str, value: object, token: str, depth: int = 0) -> bool:
    """Whether a refresh says nothing here that may be a secret, but for its token."""
    if depth > _DEEPEST:
        return False
    if isinstance(value, dict):
        return all(_may_be_told(key, one, token, depth + 1) for key, one in value.items())
    if isinstance(value, list):
        return all(_may_be_told("", one, token, depth + 1) for one in value)
    if not isinstance(value, str):
        return not isinstance(value, (int, float)) or abs(value) < _SHORTEST_PIN
    if value == token:
        return True
    if plain(name) == "query":  # GraphQL, which may have it in its text
        return not _LITERAL.search(value.replace(token, ""))
    if plain(name) in _SAID:
        return not is_formed(value)
    return not is_opaque(value) or is_of_words(value)
