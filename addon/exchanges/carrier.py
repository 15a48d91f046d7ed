"""The header for a page that sends nothing, where no option names one: found by trying.

A page written for the proxy holds no stand-in that it would send. If the login's answer has not
said in which header the API wants the token, a 401 may; else it is `Authorization: Bearer`.
"""

import re
from typing import TYPE_CHECKING

from credentials.companion import Use
from credentials.options import HeaderSettings, header_of
from messages import streaming
from mitmproxy import http

from exchanges import notes, renewal

if TYPE_CHECKING:
    from exchanges.api import Api

_SCHEMES = frozenset("bearer token jwt".split())
_REFUSED = (401, 403)
"""Strapi, Spring and FastAPI's HTTPBearer say 403 to a request without a token."""


def may_be_another(exchange: "Api", response: http.Response) -> bool:
    """Whether the API may have looked for the token elsewhere."""
    request, session, status = exchange.flow.request, exchange.session, response.status_code
    if status not in _REFUSED or request.method != "GET" or request.raw_content:
        return False
    if not exchange.flow.metadata.get(notes.INJECTED) or session.use != Use.GIVEN:
        return False
    if exchange.settings.header.given or exchange.proxy.learned.header(session.id):
        return False
    tried = exchange.proxy.learned.was_tried(session.id, status)
    return not streaming.is_live(request) and not tried


async def try_another(exchange: "Api", response: http.Response) -> http.Response:
    """Ask once more, with the token where the answer says or where most APIs want it."""
    learned, login = exchange.proxy.learned, exchange.session.id
    learned.tries(login, response.status_code)
    header = _asked_for(response)
    token = (exchange.token or "").encode()
    if not header or not header.format.accepts(token) or exchange.settings.fixes(header.name):
        return response
    headers = exchange.flow.request.headers
    before = headers.fields
    headers.pop(exchange.settings.header.name, None)
    headers[header.name] = exchange.settings.recorded(header.format.value(token), token)
    again = await renewal.retry(exchange)
    if again is None or again.status_code in _REFUSED:
        headers.fields = before
        return response
    learned.reads(login, header)
    exchange.flow.metadata[notes.HEADER] = header.name
    exchange.proxy.once.info(
        ("header", exchange.wallet.api),
        "the API takes the token in %s: --set cookie_auth_header=%s --set"
        " 'cookie_auth_header_format=%s'",
        *(header.name, header.name, header.format.value(b"{token}").decode()),
    )
    exchange.flow.response = again
    exchange.translate_answer_head(again)
    return again


def _asked_for(response: http.Response) -> HeaderSettings | None:
    """The header that WWW-Authenticate asks for (RFC 9110, 11.6.1)."""
    for challenge in response.headers.get_all("www-authenticate"):
        scheme = re.match(r"[A-Za-z]+", challenge.strip())
        if scheme and scheme[0].lower() in _SCHEMES:
            return header_of("Authorization", f"{scheme[0]} ")
    return header_of("Authorization", "Bearer ")
