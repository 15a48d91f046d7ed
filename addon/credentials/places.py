"""Where a stand-in is translated back in the head of a request: headers, query, path.

Only where a credential stands, and only as the whole of it: inside other text an API may store it,
send it on or answer it, and a script would have the token. Everything else stays byte for byte.

All functions give what they got, the same object, when there is nothing to translate, and with it
nothing; else what to send, and for each token its slot and its place as a user is told of it.
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_plus

from messages.headers import spelling
from messages.text import printable

from credentials.names import PARAMETERS, is_credential_header, plain, words

MARK = "stand-"
"""A text without it holds no stand-in."""


class Meant(NamedTuple):
    """What a stand-in stands for."""

    token: str
    """The real token."""
    slot: str
    """`m` main, `r` refresh, `i` id, `1` to `3`."""
    was_named: Callable[[str], bool]
    """Whether it was handed out under this name, however that is spelled."""


Reader = Callable[[str], Meant | None]
"""What a text stands for that is a stand-in of this login; None for any other."""

Places = tuple[tuple[str, str], ...]
"""The slot and the place of each token that went in: `("m", "query access_token")`."""

Fields = tuple[tuple[bytes, bytes], ...]

Filled = tuple[str, Meant]
"""A text with the token in it, and what stood there."""

_MARK = MARK.encode()
# `stand-` in base64, at each of the three ways in which bytes may fall into its groups
_IN_BASE64 = (b"c3RhbmQt", b"N0YW5kL", b"zdGFuZC")
_TCHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # RFC 9110, 5.6.2
_RFC_TOKEN = re.compile(f"{_TCHAR}+")
# Shorter than any stand-in, so that of two none is translated
_SCHEME = re.compile(rf"({_TCHAR}{{1,32}} +)(.+)", re.DOTALL)
_BASIC = re.compile(r"(basic +)?([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
# RFC 9110, 11.2, and as lenient as Rails and Jellyfin read them
_AUTH_PARAM = re.compile(
    rf'[ \t]*({_TCHAR}+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]+))[ \t]*(?:[,;]|$)'
)
_NO_FIELD_VALUE = re.compile(r"[\0-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]$|^$")  # RFC 9110, 5.5
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_SUBPROTOCOL = "sec-websocket-protocol"
_TOLD = {"authorization": "Authorization", _SUBPROTOCOL: "Sec-WebSocket-Protocol"}
_MOST_SEPARATORS = 8
_LONGEST_NAME = 64


def translate_headers(fields: Fields, configured: str, read: Reader) -> tuple[Fields, Places]:
    """The fields with the tokens in them; `configured` is the header that the user named.

    A field whose value the token would make invalid (RFC 9110, 5.5) stays as it is.
    """
    translated: list[tuple[bytes, bytes]] | None = None
    places = []
    for index, (name, value) in enumerate(fields):
        # Long names are not remembered: a foreign page could fill the memory with them.
        if len(name) > _LONGEST_NAME or not _may_hold(name, configured) or not _has_mark(value):
            continue
        known_as = name.decode("latin-1")
        is_subprotocol = known_as.lower() == _SUBPROTOCOL
        filled = (_subprotocols if is_subprotocol else _field_value)(value.decode("latin-1"), read)
        if filled:
            translated = translated or list(fields)
            translated[index] = (name, filled[0].encode("latin-1"))
            places.append((filled[1].slot, _TOLD.get(known_as.lower()) or printable(known_as)))
    return (tuple(translated), tuple(places)) if translated else (fields, ())


def translate_target(target: str, *, path_too: bool, read: Reader) -> tuple[str, Places]:
    """The request target with the tokens in its query and, with `path_too`, in its path."""
    if MARK not in target:
        return target, ()
    path, mark, query = target.partition("?")
    query, places = translate_pairs(query, "query", _is_parameter, read)
    if path_too and path.startswith("/"):
        path, in_path = _path(path, read)
        places = in_path + places
    return (path + mark + query, places) if places else (target, ())


def translate_pairs(
    text: str, where: str, is_named: Callable[[str, Meant], bool], read: Reader
) -> tuple[str, Places]:
    """`application/x-www-form-urlencoded` with the tokens in the pairs that may have one.

    A name that is there twice says nothing: servers differ in which one they take.
    """
    pairs = text.split("&")
    names = Counter[str]()
    places = []
    for index, pair in enumerate(pairs):
        if MARK not in pair:
            continue
        name, _, value = pair.partition("=")
        meant = read(unquote_plus(value))
        if not meant or not is_named(unquote_plus(name), meant):
            continue
        names = names or Counter(unquote_plus(each.partition("=")[0]) for each in pairs)
        encoded = percent_encoded(meant.token)
        if names[unquote_plus(name)] == 1 and encoded is not None:
            pairs[index] = f"{name}={encoded}"
            places.append((meant.slot, f"{where} {printable(unquote_plus(name))}"))
    return ("&".join(pairs), tuple(places)) if places else (text, ())


def percent_encoded(token: str) -> str | None:
    """All but unreserved characters encoded (RFC 3986, 2.3); None for what is no text."""
    try:
        return quote(token, safe="")
    except UnicodeEncodeError:
        return None


def after_scheme(text: str, read: Reader) -> tuple[str, Meant] | None:
    """A value that is a stand-in, or one after a scheme word: what stands before it, and it."""
    if MARK not in text:
        return None
    if meant := read(text):
        return "", meant
    found = _SCHEME.fullmatch(text)
    return (found[1], meant) if found and (meant := read(found[2])) else None


@lru_cache(maxsize=1024)
def _may_hold(name: bytes, configured: str) -> bool:
    """Whether a field of this name may hold a credential."""
    known_as = name.decode("latin-1")
    return (
        known_as.lower() == _SUBPROTOCOL
        or is_credential_header(known_as)
        or spelling(known_as) == spelling(configured)
    )


def _has_mark(value: bytes) -> bool:
    return _MARK in value or any(mark in value for mark in _IN_BASE64)


def _is_parameter(name: str, meant: Meant) -> bool:
    if meant.slot == "r":
        return False
    known_as = plain(name)
    # OpenID Connect RP-Initiated Logout, 2
    is_hint = known_as == "idtokenhint" and meant.slot == "i"
    return known_as in PARAMETERS or is_hint or meant.was_named(name)


def _path(path: str, read: Reader) -> tuple[str, Places]:
    segments = path.split("/")
    found = [
        (index, meant)
        for index, segment in enumerate(segments)
        if MARK in segment and (meant := read(unquote(segment)))
    ]
    if len(found) != 1:
        return path, ()
    ((index, meant),) = found
    encoded = percent_encoded(meant.token)
    if encoded in (None, "", ".", ".."):
        return path, ()
    return "/".join([*segments[:index], encoded or "", *segments[index + 1 :]]), (
        (meant.slot, "path"),
    )


def _in_field(token: str) -> str | None:
    """A token as it stands in a field value, a character for each byte; None if it cannot."""
    try:
        text = token.encode().decode("latin-1")
    except UnicodeEncodeError:
        return None
    return None if _NO_FIELD_VALUE.search(text) else text


def _field_value(text: str, read: Reader) -> Filled | None:
    value = text.strip(" \t")
    if found := after_scheme(value, read):
        before, meant = found
        token = _in_field(meant.token)
        return (before + token, meant) if token else None
    return _auth_params(value, read) if MARK in value else _user_and_password(value, read)


def _user_and_password(value: str, read: Reader) -> Filled | None:
    """`Basic` (RFC 7617), or its base64 alone."""
    found = _BASIC.fullmatch(value)
    pair = _decoded(found[2]) if found else None
    if not found or pair is None:
        return None
    user, colon, password = pair.partition(":")
    in_user, in_password = (read(part) if MARK in part else None for part in (user, password))
    meant = in_user or in_password
    if not colon or not meant or (in_user and in_password):
        return None
    token = _in_field(meant.token)
    if not token or _CONTROL.search(token) or (in_user and ":" in token):
        return None
    pair = f"{token}:{password}" if in_user else f"{user}:{token}"
    return (found[1] or "") + base64.b64encode(pair.encode("latin-1")).decode(), meant


def _auth_params(value: str, read: Reader) -> Filled | None:
    """Parameters after a scheme or alone, exactly one of which is a stand-in, rightly named."""
    scheme = _SCHEME.fullmatch(value)
    begin = scheme.end(1) if scheme and "=" not in scheme[1] else 0
    found: list[tuple[re.Match[str], Meant]] = []
    for param in _params(value, begin):
        quoted, bare = param[2], param[3]
        text = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if MARK in text and (meant := read(text)):
            found.append((param, meant))
    if len(found) != 1:
        return None
    ((param, meant),) = found
    token = _in_field(meant.token)
    if not token or not (is_credential_header(param[1]) or meant.was_named(param[1])):
        return None
    group = 3 if param[2] is None else 2
    if group == 2 or re.search(r'[\s,;"]', token):
        token = re.sub(r'(["\\])', r"\\\1", token)
        token = token if group == 2 else f'"{token}"'
    return value[: param.start(group)] + token + value[param.end(group) :], meant


def _params(value: str, begin: int) -> Iterator[re.Match[str]]:
    """All parameters; none when what is there is not all parameters."""
    params = []
    while begin < len(value):
        param = _AUTH_PARAM.match(value, begin)
        if not param:
            return
        params.append(param)
        begin = param.end()
    yield from params


def _subprotocols(text: str, read: Reader) -> Filled | None:
    """The one member that is a stand-in, whole or after a prefix that says so.

    As `new WebSocket(url, ["access_token", TOKEN])`; `openai-insecure-api-key.TOKEN`; and in
    base64url after Kubernetes' `base64url.bearer.authorization.k8s.io.`, in base64 after openHAB's
    `org.openhab.ws.accessToken.base64.`.
    """
    members = text.split(",")
    found = [
        (index, filled)
        for index, member in enumerate(members)
        if (filled := _subprotocol(member.strip(" \t"), read))
    ]
    if len(found) != 1:
        return None
    ((index, (member, meant)),) = found
    blanks = members[index][: len(members[index]) - len(members[index].lstrip(" \t"))]
    members[index] = blanks + member
    return ",".join(members), meant


def _subprotocol(member: str, read: Reader) -> Filled | None:
    if (MARK not in member and "base64" not in member) or (not _RFC_TOKEN.fullmatch(member)):
        return None
    starts = [0, *(at.end() for at in re.finditer("[-._]", member))]
    for start in starts[: _MOST_SEPARATORS + 1]:
        prefix, rest = member[:start], member[start:]
        if prefix and not (is_credential_header(prefix) or "bearer" in words(prefix)):
            continue
        if MARK in rest and (meant := read(rest)):
            token = _as_rfc_token(meant.token)
            return (prefix + token, meant) if token else None
        if "base64" in prefix and (inner := _decoded(rest)) and (meant := read(inner)):
            token = _in_base64(meant.token, for_url="base64url" in prefix)
            return (prefix + token, meant) if token else None
    return None


def _as_rfc_token(token: str) -> str | None:
    """As it is, or else encoded as a page must have done it: browsers refuse other characters."""
    return token if _RFC_TOKEN.fullmatch(token) else percent_encoded(token)


def _in_base64(token: str, *, for_url: bool) -> str | None:
    try:
        data = token.encode()
    except UnicodeEncodeError:
        return None
    encode = base64.urlsafe_b64encode if for_url else base64.b64encode
    encoded = encode(data).decode().rstrip("=")
    return encoded if _RFC_TOKEN.fullmatch(encoded) else None


def _decoded(text: str) -> str | None:
    """What base64 or base64url holds, with or without padding, a character for each byte."""
    data = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True).decode("latin-1")
    except binascii.Error:
        return None
