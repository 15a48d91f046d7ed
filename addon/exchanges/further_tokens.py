"""Tokens beside the main one (`credentials.more_tokens`) in the requests to the API."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from credentials.carriers import put_header
from credentials.more_tokens import MoreToken, of_login
from credentials.stand_ins import MAIN
from messages.headers import IndexedHeaders
from mitmproxy import http

from exchanges import notes

if TYPE_CHECKING:
    from exchanges.api import Api
    from exchanges.exchange import Exchange


def put(exchange: "Api", *, with_token: bool, own_passes: bool) -> None:
    """Give the request those of its login if it has the main one, in place.

    What the browser has sent under their names goes, unless there is no login or it `own_passes`.
    """
    headers = exchange.flow.request.headers
    assert isinstance(headers, IndexedHeaders)
    with_token = with_token or any(slot == MAIN for slot, _ in exchange.stood)
    held = exchange.held
    tokens = {
        one.header: held.tokens[one.slot]
        for one in (of_its_login(exchange) if with_token else ())
        if one.slot in held.tokens
    }
    for one in exchange.settings.more:
        if (token := tokens.get(one.header)) is not None:
            _put(exchange, headers, one, token)
        else:
            own = headers.raw(one.header) if own_passes or not held.has_token else []
            put_header(headers, one.header, own[0] if own else None)
    exchange.note_added(tokens)


def put_shown(exchange: "Exchange", own: http.HTTPFlow) -> None:
    """Give a request of the proxy's own, which is to bring a fresh token, those that are no secret,
    such as a tenant's id, and no other.
    """
    own.request.headers = headers = IndexedHeaders.of(own.request.headers)
    ours = {one.header for one in of_its_login(exchange)}
    for one in exchange.settings.more:
        token = exchange.held.tokens.get(one.slot)
        put_header(headers, one.header, None)
        if token is not None and one.header in ours and not one.further.is_secret:
            _put(exchange, headers, one, token)
            own.metadata[notes.ADDED] = [*own.metadata.get(notes.ADDED, ()), one.header]


def take_out(exchange: "Api") -> None:
    """Take them out of a request that turns out to be a login, in place."""
    headers = exchange.flow.request.headers
    for one in exchange.settings.more:
        if one.header in exchange.flow.metadata.get(notes.ADDED, ()):
            headers.pop(one.header, None)


def of_its_login(exchange: "Exchange") -> tuple[MoreToken, ...]:
    """Those that the request's login has."""
    more = exchange.settings.more
    return of_login(more, exchange.held.session, exchange.wallet.notary) if more else ()


def secrets(exchange: "Exchange", tokens: Mapping[str, str]) -> dict[str, str]:
    """Of the tokens of the request's login, by slot, those that no page may see."""
    shown = {one.slot for one in of_its_login(exchange) if not one.further.is_secret}
    return {slot: token for slot, token in tokens.items() if slot not in shown}


def _put(exchange: "Exchange", headers: IndexedHeaders, one: MoreToken, token: str) -> None:
    data = token.encode("utf-8", "replace")
    secret = [data] if one.further.is_secret else []
    put_header(headers, one.header, exchange.settings.recorded(one.format.value(data), *secret))
