"""A page logs out at the API itself, or revokes a token there: what that ends, goes here."""

from typing import TYPE_CHECKING

from credentials import session_requests
from credentials.stand_ins import MAIN
from messages import answers
from mitmproxy import http
from origins.rules import SAFE_METHODS
from tokens import graphql

from exchanges import hints, notes
from exchanges.exchange import add_cookies

if TYPE_CHECKING:
    from exchanges.api import Api

_NAMED = ("body", "query", "path")


def is_one(exchange: "Api", response: http.Response) -> bool:
    """Whether this answer agrees to the end of a login, or of one of its tokens."""
    if not 200 <= response.status_code <= 399 or not exchange.session.issued:
        return False
    if not exchange.flow.metadata.get(notes.TRUSTED):
        return False
    if not exchange.stood and not (exchange.held.api_cookies and exchange.is_authenticated):
        return False
    return logs_out(exchange) or bool(_revoked(exchange))


def end(exchange: "Api", response: http.Response) -> None:
    """Take what has ended from the browser."""
    left = {} if logs_out(exchange) else dict(exchange.tokens)
    for slot in _revoked(exchange):
        left.pop(slot, None)
    if MAIN in left:
        exchange.new_cookies = exchange.wallet.give(exchange.session, left, exchange.brought)
        return
    hints.tell_logout(exchange)
    exchange.new_cookies = []
    add_cookies(response, exchange.expired(), exchange.settings)
    exchange.end_session()
    exchange.flow.metadata[notes.LOGGED_OUT] = True


def logs_out(exchange: "Api") -> bool:
    """Whether the request ends its login, should the API agree."""
    request = exchange.flow.request
    if request.method in SAFE_METHODS:
        ends = session_requests.is_logout(request.method, request.path, navigation=True)
        return ends and answers.is_navigation(request.headers)
    operations = graphql.operations(request.raw_content or b"")
    return session_requests.is_logout(request.method, request.path, operations=operations)


def _revoked(exchange: "Api") -> set[str]:
    """The slots of the tokens that a revocation names (RFC 7009): not the one that it came with."""
    if not session_requests.is_revoke(exchange.flow.request.path):
        return set()
    return {slot for slot, place in exchange.stood if place.startswith(_NAMED)}
