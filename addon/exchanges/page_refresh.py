"""A page asks the API for fresh tokens with a stand-in of its refresh token.

APIs that rotate refresh tokens take each only once, while two tabs, or ten requests that all got
401, may ask at the same time. So the API is asked once, and all get the same answer.
"""

import hashlib
from typing import TYPE_CHECKING

from credentials import session_requests
from credentials.stand_ins import MAIN, REFRESH
from messages.answers import Refused
from messages.redacted import Redacted, real
from mitmproxy import http
from origins.rules import SAFE_METHODS
from tokens import login_like
from upstream import own_requests

from exchanges import signing_out
from exchanges.renewal import OwnRequest, own_flow

if TYPE_CHECKING:
    from exchanges.api import Api

_TELLING = ("accept", "authorization", "content-type", "origin")
"""Headers on which the answer may depend."""


class PageRefresh(OwnRequest):
    """The request that is made for all of them."""

    kind = "page-refresh"
    body: bytes | None = None

    async def request(self) -> None:
        self.flow.request.raw_content = self.body  # mitmproxy has copied it as it is shown

    async def answer(self) -> None:
        response = self.flow.response
        if response and self.settings.redact and (body := response.raw_content):
            response.raw_content = Redacted.of(body, [body])


async def ask_once(exchange: "Api") -> None:
    """Answer a page's refresh with what the API says to it, or said a moment ago.

    Nothing is done for any other request, nor where the API gives no answer.
    """
    if not _is_refresh(exchange):
        return

    async def ask() -> http.Response | None:
        own = own_flow(exchange)
        PageRefresh(own, exchange.proxy).body = own.request.raw_content
        return await own_requests.send(own, exchange.proxy.mitm_options)

    request = exchange.flow.request
    asked = [request.method, exchange.upstream, request.path, exchange.session.id]
    asked += [request.headers.get(name, "") for name in _TELLING]
    body = hashlib.sha256(real(request.raw_content or b"")).hexdigest()
    answered = await exchange.proxy.page_refreshes.run(
        exchange.wallet.api,
        exchange.session.id,
        "\n".join((*asked, body, exchange.held.tokens[REFRESH])),
        exchange.held.tokens.get(MAIN),  # whoever brings the next one asks anew
        ask,
        serves=lambda answer: answer is not None and 200 <= answer.status_code <= 299,
    )
    if exchange.is_over:  # by a logout, or another login; the token is used up
        raise Refused("bad_cookie", "The login has ended meanwhile. Log in again.")
    if answered:
        exchange.flow.response = answered.copy()
        exchange.is_shared = True


def _is_refresh(exchange: "Api") -> bool:
    """Whether a request brings its refresh token to get another, and does nothing else with it.

    Some pages send it with each request, beside the other.
    """
    request = exchange.flow.request
    alone = {slot for slot, _ in exchange.stood} == {REFRESH}
    in_body = (REFRESH, "body") in ((slot, place[:4]) for slot, place in exchange.stood)
    if not (alone or in_body) or request.stream or request.method in SAFE_METHODS:
        return False
    if "upgrade" in request.headers or session_requests.is_revoke(request.path):
        return False
    sent = login_like.read(request)
    return (sent.says_refresh or sent.renews) and not signing_out.logs_out(exchange)
