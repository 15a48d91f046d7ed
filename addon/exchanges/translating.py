"""Stand-ins in a request to the API: each becomes its token (see `credentials.places`)."""

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from credentials import bodies, places, session_requests, socket_messages
from credentials.stand_ins import MAIN, StandIns
from messages.headers import IndexedHeaders, without_digests
from mitmproxy import http
from tokens import graphql

from exchanges import notes

if TYPE_CHECKING:
    from exchanges.api import Api

_SCHEME = re.compile("|([A-Za-z]{2,12} )")
_SUBPROTOCOL = b"sec-websocket-protocol"


def translate_head(exchange: "Api") -> None:
    """Those in the headers and in the target, in place."""
    if not (read := _reader(exchange)):
        return
    request, settings = exchange.flow.request, exchange.settings
    before = request.headers.fields
    fields, in_headers = places.translate_headers(before, settings.header.name, read)
    if in_headers:
        changed = {old: new for old, new in zip(before, fields, strict=True) if new != old}
        request.headers = IndexedHeaders.with_fields(
            tuple(
                (new[0], settings.recorded(new[1], new[1])) if (new := changed.get(old)) else old
                for old in before
            )
        )
        for (name, offered), (_, sent) in changed.items():
            if name.lower() == _SUBPROTOCOL:
                exchange.offered = dict(zip(_members(sent), _members(offered), strict=True))
    path = request.path
    path_too = (
        places.MARK in path
        and session_requests.path_names_session(request.method, _api_path(exchange))
        and session_requests.says_what_it_does(request.headers, _api_path(exchange))
    )
    target, in_target = places.translate_target(path, path_too=path_too, read=read)
    if in_target:
        secrets = (quote(token, safe="").encode() for token in read.tokens.values())
        request.data.path = settings.recorded(target.encode("utf-8", "surrogateescape"), *secrets)
    _note(exchange, read, (*in_headers, *in_target))


def name_offered_subprotocol(exchange: "Api", response: http.Response) -> None:
    """The subprotocol that the API has chosen, as the browser offered it, in place.

    A browser ends a connection for any other (RFC 6455, 4.1).
    """
    chosen = response.headers.get(_SUBPROTOCOL.decode(), "").strip().encode()
    if offered := exchange.offered.get(chosen):
        response.headers[_SUBPROTOCOL.decode()] = offered


def may_have_them_in_body(exchange: "Api") -> bool:
    """Whether the request's body may be a place of stand-ins, by what its head says."""
    request = exchange.flow.request
    is_one = session_requests.may_have_credentials_in_body(
        request.method, _api_path(exchange), has_grant=True
    )
    return is_one and _reader(exchange) is not None


def translate_body(exchange: "Api") -> None:
    """Those in the body, in place."""
    request, settings = exchange.flow.request, exchange.settings
    body = request.raw_content
    if not body or request.stream or places.MARK.encode() not in body:
        return
    if "content-encoding" in request.headers or not (read := _reader(exchange)):
        return
    kind = request.headers.get("content-type", "")
    if socket_messages.is_polling(request.method, request.path):
        new, found = socket_messages.translate_polling(body, read)
    elif session_requests.says_what_it_does(
        request.headers, path := _api_path(exchange)
    ) and session_requests.may_have_credentials_in_body(
        request.method,
        path,
        operations=(operations := graphql.operations(body)),
        has_grant=bodies.asks_for_a_grant(kind, body),
    ):
        new, found = bodies.translate_body(kind, body, read, is_graphql=bool(operations))
    else:
        return
    if found:
        request.raw_content = settings.recorded(new, new)
        if "content-length" in request.headers:
            request.headers["Content-Length"] = str(len(new))
        without_digests(request.headers)
        _note(exchange, read, found)


def translate_message(exchange: "Api") -> None:
    """Those in the last WebSocket message, if it is the browser's, in place."""
    assert exchange.flow.websocket
    message = exchange.flow.websocket.messages[-1]
    if not message.from_client or not message.is_text or places.MARK not in message.text:
        return
    if not (read := _reader(exchange)):
        return
    metadata = exchange.flow.metadata
    # A page that has said who it is in the handshake does not say it again.
    before = bool(exchange.stood) or notes.TRANSLATED_MESSAGE in metadata
    text, found = socket_messages.translate_message(
        message.text, translated_before=before, read=read
    )
    if found:
        new = text.encode()
        message.content = exchange.settings.recorded(new, new)
        metadata[notes.TRANSLATED_MESSAGE] = True
        _note(exchange, read, found)


def _api_path(exchange: "Api") -> str:
    """The target without the API's base path, which the user chose and no script can."""
    return exchange.flow.request.path.removeprefix(exchange.settings.paths.base_path) or "/"


def _members(field: bytes) -> list[bytes]:
    return [member.strip() for member in field.split(b",")]


def _reader(exchange: "Api") -> StandIns | None:
    """What reads the stand-ins of the request's login; None if none is translated in it."""
    held, session = exchange.held, exchange.session
    if not held.tokens or not session.issued:
        return None
    if not exchange.flow.metadata.get(notes.TRUSTED) or exchange.is_over:
        return None
    return StandIns(exchange.wallet.notary, session, held.tokens)


def _note(exchange: "Api", read: StandIns, tokens: places.Places) -> None:
    if not tokens:
        return
    exchange.stood = (*exchange.stood, *tokens)
    if any(slot == MAIN for slot, _ in tokens):
        exchange.token = read.tokens[MAIN]
    exchange.flow.metadata[notes.TRANSLATED] = list(
        dict.fromkeys(place for _, place in exchange.stood)
    )
    learned, login = exchange.proxy.learned, exchange.session.id
    learned.sends_stand_ins(login)
    learned.came_back(login, (slot for slot, _ in tokens))
