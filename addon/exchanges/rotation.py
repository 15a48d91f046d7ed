"""An answer gives fresh tokens in its head, in configured headers or cookies."""

import dataclasses
from typing import TYPE_CHECKING

from credentials.companion import Use
from credentials.wallet import NOTHING
from messages.headers import IndexedHeaders
from tokens.capture import Captured
from tokens.sources import Source, TokenHeader, given_cookies, in_head, take_cookies

from exchanges import further_tokens, notes

if TYPE_CHECKING:
    from exchanges.api import Api
    from exchanges.exchange import Exchange


def sources(exchange: "Exchange") -> list[Source]:
    """Where answers give tokens that no page may see."""
    settings = exchange.settings
    secret = [one.source for one in settings.sought if one.is_secret]
    return [*settings.token.sources, *secret]


def take(exchange: "Api", headers: IndexedHeaders) -> None:
    """Take the configured headers and cookies out, in place, but for those that pages may read.

    In answer to a request that carried the token, what they give takes the place of what there was.
    """
    settings = exchange.settings
    cookies = given_cookies(headers.get_all("set-cookie"))
    main = [found for one in settings.token.sources if (found := in_head(one, headers, cookies))]
    more = {
        slot: found.pop()
        for slot, source, _ in settings.sought
        if len(found := in_head(source, headers, cookies)) == 1
    }
    refresh = settings.token.refresh
    renews = refresh.source if refresh else None
    next_one = set()
    if isinstance(renews, TokenHeader):  # it goes with a token that comes beside it
        next_one = in_head(renews, headers, cookies)
        headers.pop(renews.name, None)
    take_cookies(headers, sources(exchange))
    for source in sources(exchange):
        if isinstance(source, TokenHeader):
            headers.pop(source.name, None)
    if exchange.token is None or not (main or more) or _was_forgotten(exchange):
        return
    token = main[0].pop() if main and len(main[0]) == 1 else exchange.token
    comes_along = token != exchange.token and len(next_one) == 1
    refresh_token = next_one.pop() if comes_along else exchange.refresh_token
    captured = Captured(token, b"", {}, refresh_token, more=more)
    _renew(exchange, exchange.bare(captured))


def _renew(exchange: "Api", captured: Captured) -> None:
    ours = {one.slot for one in further_tokens.of_its_login(exchange)}
    if exchange.session.use != Use.LISTED:  # its page may have something else in those slots
        more = {slot: value for slot, value in captured.more.items() if slot in ours}
        captured = dataclasses.replace(captured, more=more)
    held = exchange.held.tokens
    known = {slot: token for slot, token in held.items() if slot in ours}
    if captured.token == exchange.token:
        # It must not come back where a later request has got another one.
        is_latest = exchange.proxy.logins.is_latest(exchange.session, exchange.began)
        if captured.more.items() <= known.items() or not is_latest:
            return
    exchange.new_cookies = exchange.issued(captured, renews=True)
    exchange.note_renewal(captured.token)
    exchange.hold(captured)  # the answer may repeat them


def _was_forgotten(exchange: "Api") -> bool:
    """Whether a reload of the script has forgotten what the browser holds beside the token, so that
    new cookies would lack it.
    """
    brought = exchange.flow.metadata.get(notes.COOKIES, ())
    return exchange.held is NOTHING and any(map(exchange.wallet.is_for_the_api_only, brought))
