"""The API's own HttpOnly cookies of an unlisted login (see `credentials.api_cookies`).

A session or a refresh cookie beside the token, or in its place; the state of an OAuth login on its
way. Cookies that scripts may read are for `cookie_auth_forward_cookies`.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from credentials import api_cookies, session_requests
from credentials.api_cookies import ApiCookie
from credentials.companion import NO_SESSION, Session, Use
from mitmproxy import http
from origins import rules
from origins.origin import Origin
from tokens.suspicion import is_plain

from exchanges import notes
from exchanges.received import browser_path

_FORGERY = re.compile("[^=]*[cx]srf", re.IGNORECASE)

if TYPE_CHECKING:
    from exchanges.api import Api


def go_along(exchange: "Api") -> bool:
    """Whether they go to the API with the request.

    With a trusted one; and, before there is a token or where a listed login gives the next, with
    the navigation that ends an OAuth login and comes from another site: the state in the cookie is
    what tells it from one that somebody else has begun.
    """
    held = exchange.held
    if not held.api_cookies:
        return False
    if exchange.flow.metadata.get(notes.TRUSTED):
        return True
    begins = not held.tokens or exchange.kind == "login"
    return begins and comes_by_link(exchange) and _ends_a_login(exchange.flow.request)


def _ends_a_login(request: http.Request) -> bool:
    """OAuth 2.0 (RFC 6749, 4.1.2), its errors included, OAuth 1.0a (RFC 5849, 2.2), CAS."""
    names = {name for name, _ in parse_qsl(request.path.partition("?")[2])}
    answers = names & {"code", "error", "ticket", "oauth_verifier", "SAMLResponse"}
    is_other = session_requests.is_logout("POST", request.path)
    return bool(answers) and not is_other and not session_requests.is_revoke(request.path)


def comes_by_link(exchange: "Api") -> bool:
    """Whether a person has followed a link, as from an OAuth server or a mail."""
    request = exchange.flow.request
    return request.method == "GET" and rules.is_top_level_navigation(request.headers)


def kept(exchange: "Api", fields: Iterable[str]) -> tuple[ApiCookie, ...]:
    """Those in an answer's Set-Cookie fields that the browser is to keep, as cookies of ours."""
    settings = exchange.settings
    if settings.token.leak != "stand-in" or not exchange.browser_asks:
        return ()
    if not exchange.flow.metadata.get(notes.TRUSTED) and not comes_by_link(exchange):
        return ()
    fields = list(fields)
    guarded = any(_FORGERY.match(field) for field in fields)  # Sanctum, Django: before the login
    begins = _begins(exchange) or _leads_elsewhere(exchange) or guarded
    names = {cookie.name for cookie in exchange.held.api_cookies}
    found = []
    for field in fields:
        cookie, is_httponly = api_cookies.read_set_cookie(
            field, browser_path(exchange.flow), settings.paths.to_browser
        ) or (None, False)
        if cookie is None or cookie.name in settings.cookie.forwarded:
            continue
        if cookie.name in names or (begins and is_httponly and cookie.value is not None):
            found.append(cookie)
        elif begins and not is_httponly and cookie.value and is_plain(cookie.name):
            exchange.proxy.once.info(
                ("readable cookie", cookie.name),
                "the API sets the cookie %s, which scripts may read, with a login; if the page"
                " needs it: --set cookie_auth_forward_cookies=%s",
                *(cookie.name, cookie.name),
            )
    return tuple(found)


def _begins(exchange: "Api") -> bool:
    """Whether the answer is one to a login, and not just to a request that looks like one."""
    sent = exchange.sent
    acts = exchange.flow.request.method not in rules.SAFE_METHODS or comes_by_link(exchange)
    return exchange.hands_out and sent is not None and sent.is_sure and acts


def _leads_elsewhere(exchange: "Api") -> bool:
    """Whether the answer sends a person on to another origin, as a login by OAuth begins."""
    response = exchange.flow.response
    assert response
    location = response.headers.get("location", "")
    if not 300 <= response.status_code <= 399 or not location.startswith(("http:", "https:")):
        return False
    try:
        return str(Origin.of_url(location)) != exchange.upstream
    except ValueError:
        return False


def of_login(exchange: "Api", *, renews: bool) -> list[ApiCookie]:
    """What a login's answer, or a renewal's, does to those of the browser."""
    came = list(exchange.api_cookies)
    if renews:
        return came
    places = {(cookie.name, cookie.path) for cookie in came}
    brought = [one for one in exchange.held.api_cookies if (one.name, one.path) not in places]
    if not exchange.held.tokens:
        return [*brought, *came]  # the login that began with them is complete now
    return [*(one._replace(value=None) for one in brought), *came]


def fields(exchange: "Api") -> list[str]:
    """The Set-Cookie values for those of an answer that hands out no token."""
    came, session, wallet = exchange.api_cookies, exchange.session, exchange.wallet
    if not came:
        return []
    sent = exchange.sent
    begins = exchange.hands_out and sent is not None and sent.has_password
    if session.issued and not (begins and exchange.held.tokens and not exchange.is_authenticated):
        return wallet.api_fields(came, session)
    if not any(cookie.value is not None for cookie in came) or exchange.was_superseded:
        return []
    new = Session(wallet.notary.new_login(), issued=True, use=Use.GIVEN)
    cookies = wallet.give(new, {}, exchange.brought, api_cookies=of_login(exchange, renews=False))
    if begins:
        exchange.end_session()
    exchange.session = NO_SESSION
    return cookies
