"""A page asks the API for fresh tokens with a stand-in of its refresh token.

APIs that rotate refresh tokens take each only once, while two tabs, or ten requests that all got
401, may ask at the same time. So the API is asked once, and all get the same answer.
"""

import hashlib
from typing import TYPE_CHECKING

from credentials.stand_ins import REFRESH
from messages.redacted import Redacted, real
from mitmproxy import http
from upstream import own_requests

from exchanges.renewal import OwnRequest, own_flow

if TYPE_CHECKING:
    from exchanges.api import Api


class PageRefresh(OwnRequest):
    """The request that is made for all of them."""

    kind = "page-refresh"

    async def answer(self) -> None:
        response = self.flow.response
        if response and self.settings.redact and (body := response.raw_content):
            response.raw_content = Redacted.of(body, [body])


async def ask_once(exchange: "Api") -> None:
    """Answer a page's refresh with what the API says to it, or said a moment ago.

    Nothing is done for any other request, nor where the API gives no answer.
    """
    held, request = exchange.held, exchange.flow.request
    if REFRESH not in exchange.stood or request.stream or "upgrade" in request.headers:
        return

    async def ask() -> http.Response | None:
        own = own_flow(exchange)
        PageRefresh(own, exchange.proxy)
        return await own_requests.send(own, exchange.proxy.mitm_options)

    body = hashlib.sha256(real(request.raw_content or b"")).hexdigest()
    answered = await exchange.proxy.page_refreshes.run(
        exchange.wallet.api,
        exchange.session.id,
        f"{request.method} {request.path}\n{body}\n{held.tokens[REFRESH]}",
        None,
        ask,
        serves=lambda answer: answer is not None,
    )
    if answered and not exchange.is_over:
        exchange.flow.response = answered.copy()
