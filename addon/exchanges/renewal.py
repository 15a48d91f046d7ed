"""Requests of the proxy's own: for a fresh token, and once more with it."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from messages.answers import Refused
from messages.redacted import Redacted
from mitmproxy import http
from tokens import capture
from tokens.capture import Captured
from tokens.lifetime import seconds_left, size_and_expiry
from tokens.request_template import RequestTemplate
from tokens.sources import Source, TokenHeader
from upstream import own_requests

from exchanges import fixed_values, further_tokens, leaks, notes, upstreams
from exchanges.exchange import Exchange

# The API's word that the refresh token is no good (RFC 6749, 5.2, and what servers say beside it).
_NO_GOOD = (400, 401, 403)


class Renewed(NamedTuple):
    """What the API gave for a refresh token."""

    captured: Captured
    moment: int
    """When, as `Logins` counts."""
    ends: float | None
    """When the token is over, in seconds since 1970, if that is known."""

    @property
    def pair(self) -> Mapping[str, str]:
        """The tokens, as a template names them."""
        return {"token": self.captured.token, "refresh_token": self.captured.refresh_token or ""}


async def renew(exchange: Exchange) -> Captured | Refused | None:
    """The fresh token, or the API's refusal; None when it gave neither, or the login has ended.

    What comes of it for the browser's cookies is put by, for whatever answer goes there.
    """
    tokens = exchange.renews_by
    if not tokens or exchange.asked_to_renew or exchange.is_over:
        return None
    exchange.asked_to_renew = True
    renewed = await _renewed(exchange, tokens)
    if exchange.is_over:  # a logout, or another login, came in between
        return None
    if isinstance(renewed, Refused):
        if exchange.proxy.logins.is_latest(exchange.session, exchange.began):
            exchange.proxy.successors.forget(exchange.session.id)
            exchange.new_cookies = exchange.expired()
        return renewed  # else it has asked with what was replaced meanwhile
    if renewed is None:
        return None
    captured = renewed.captured
    try:
        exchange.new_cookies = exchange.issued(captured, renews=True)
    except Refused as error:
        exchange.proxy.once.warn(
            ("refresh", error.message), "a renewed token cannot be used: %s", error.message
        )
        return None
    exchange.refresh_token = captured.refresh_token
    exchange.renewed = renewed.moment
    exchange.flow.metadata[notes.RENEWED] = size_and_expiry(captured.token)
    return captured


async def fresh(exchange: Exchange) -> Captured | None:
    """A fresh token for a login that has just ended: the API is to end it, too.

    It becomes no cookie, and nobody else gets it.
    """
    tokens = exchange.renews_by
    if not tokens or exchange.asked_to_renew:
        return None
    exchange.asked_to_renew = True
    renewed = await _renewed(exchange, tokens)
    exchange.proxy.renewals.forget(exchange.session.id)
    return renewed.captured if isinstance(renewed, Renewed) else None


async def _renewed(exchange: Exchange, tokens: Mapping[str, str]) -> Renewed | Refused | None:
    """What the API gives for these tokens, or has given for them once."""
    proxy, session = exchange.proxy, exchange.session
    used = _what_renews(tokens)
    newest = proxy.successors.of(session.id, used) if session.issued else None
    if newest and _still_serves(newest):
        return newest
    if newest:  # it is over, too
        tokens = {name: token for name, token in newest.pair.items() if name in tokens}
    renewed = await proxy.renewals.run(
        exchange.wallet.api,
        session.id,
        _what_renews(tokens),
        newest.captured.token if newest else exchange.token,
        partial(_ask, exchange, tokens),
        serves=_still_serves,
    )
    if not isinstance(renewed, Renewed):
        return renewed
    # An API that gave no new refresh token goes on taking the old one.
    kept = renewed.captured.refresh_token or tokens.get("refresh_token") or exchange.refresh_token
    renewed = renewed._replace(captured=dataclasses.replace(renewed.captured, refresh_token=kept))
    if session.issued and not exchange.is_over:
        fresh = _what_renews(
            {name: token for name, token in renewed.pair.items() if name in tokens}
        )
        for replaced in {used, _what_renews(tokens)} - {fresh}:
            proxy.successors.note(session.id, replaced, renewed)
    return renewed


def _what_renews(tokens: Mapping[str, str]) -> str:
    """The one that the API may take only once; some APIs renew a token by itself."""
    return tokens.get("refresh_token") or tokens["token"]


async def retry(exchange: Exchange) -> http.Response | None:
    """The API's answer to the same request, sent once more; None when there is none."""
    own = own_flow(exchange)
    Retry(own, exchange.proxy).known = exchange.secrets()
    return await own_requests.send(own, exchange.proxy.mitm_options)


class OwnRequest(Exchange):
    """It has no browser: nothing is translated in it."""

    @property
    def sources(self) -> tuple[Source | None, ...]:
        """Where its answer may have tokens."""
        return self.settings.token.sources

    async def request_head(self) -> None:
        """It was made as the API wants it."""

    def answer_head(self) -> None:
        response = self.flow.response
        if not self.settings.redact or not response:
            return
        names = {one.name.lower() for one in self.sources if isinstance(one, TokenHeader)}
        names.add("set-cookie")  # no other answer is recorded with the API's own
        response.headers.fields = tuple(
            (name, Redacted.of(value, [value]) if name.decode().lower() in names else value)
            for name, value in response.headers.fields
        )

    def failed(self, code: str, reason: str) -> http.Response | None:
        return None


class Retry(OwnRequest):
    """A browser's request, sent once more with a fresh token."""

    kind = "retry"
    known: Sequence[str] = ()
    """What is not to be recorded of the answer, if flows are redacted."""

    async def answer(self) -> None:
        response = self.flow.response
        if response and self.settings.redact:
            leaks.record_without(response, self.known)


class Renewal(OwnRequest):
    """A request for a fresh token."""

    kind = "renewal"
    redacted_body: bytes | None = None
    """The body as it is recorded, with the real one behind it; None if flows are not redacted."""

    @property
    def sources(self) -> tuple[Source | None, ...]:
        refresh = self.settings.token.refresh
        return (*super().sources, *((*refresh.answer, refresh.next) if refresh else ()))

    def fill(self, tokens: Mapping[str, str]) -> None:
        """Make a copy of the browser's request the one that the API wants.

        Raises ValueError for tokens that it cannot carry.
        """
        request, settings = self.flow.request, self.settings
        refresh = settings.token.refresh
        assert refresh
        refresh.request.fill(request, tokens, settings.header.name)
        upstreams.send_home(self)
        fixed_values.put_anew(self)
        if settings.redact:
            record_without(request, tokens)
            self.redacted_body = request.raw_content

    async def request(self) -> None:
        if self.redacted_body is not None:  # mitmproxy has copied it as it is shown
            self.flow.request.raw_content = self.redacted_body

    async def answer(self) -> None:
        response = self.flow.response
        if self.redacted_body is not None and response and (body := response.raw_content):
            response.raw_content = Redacted.of(body, [body])


def record_without(request: http.Request, tokens: Mapping[str, str]) -> None:
    """Record a request that a template made without the tokens in it, in place."""
    secrets = [
        form.encode("utf-8", "surrogatepass")
        for token in tokens.values()
        for form in RequestTemplate.written(token)
    ]
    request.data.path = Redacted.of(request.data.path, secrets)
    request.headers.fields = tuple(
        (name, Redacted.of(value, secrets)) for name, value in request.headers.fields
    )
    request.raw_content = Redacted.of(request.raw_content or b"", secrets)


async def _ask(exchange: Exchange, tokens: Mapping[str, str]) -> Renewed | Refused | None:
    own, proxy = own_flow(exchange), exchange.proxy
    exchange.address_api(own.request)
    further_tokens.put_shown(exchange, own)
    try:
        Renewal(own, proxy).fill(tokens)
    except ValueError as error:
        proxy.once.warn(("refresh", str(error)), "a refresh token cannot be used: %s", error)
        return None
    response = await own_requests.send(own, proxy.mitm_options)
    if response is None:
        return None
    status, refresh = response.status_code, exchange.settings.token.refresh
    assert refresh
    if status in _NO_GOOD or refresh.expired.says(response):
        return Refused("bad_cookie", "The API does not renew this login. Log in again.")
    problem = f"it is {status}"
    if 200 <= status <= 299:
        try:
            captured = capture.read_answer(
                own.request.method,
                response,
                refresh.answer,
                redact=exchange.settings.token.login_body == "redact",
                refresh=refresh.next,
                set_cookies=response.headers.get_all("set-cookie"),
                further=exchange.settings.sought,
            )
            if captured:
                return _noted(exchange, exchange.bare(captured))
            problem = "it holds no token"
        except Refused as error:
            problem = str(error)
    # A busy server, a captive portal, a wrong path: none of it says that the login is over.
    proxy.once.warn(
        ("refresh", problem), "the API's answer to the refresh cannot be used: %s", problem
    )
    return None


def _noted(exchange: Exchange, captured: Captured) -> Renewed:
    now, proxy = time.time(), exchange.proxy
    proxy.births.note(captured.token)
    proxy.ends.note(captured.token, captured.beside)
    left = seconds_left(captured.beside, captured.token, now)
    moment = proxy.logins.renewed(exchange.session)
    return Renewed(captured, moment, None if left is None else now + left)


def _still_serves(renewed: Renewed | Refused | None) -> bool:
    """Whether a remembered result is still good."""
    return not isinstance(renewed, Renewed) or renewed.ends is None or renewed.ends > time.time()


def own_flow(exchange: Exchange) -> http.HTTPFlow:
    """A request of the proxy's own, made after that of a browser."""
    own: http.HTTPFlow = exchange.flow.copy()
    own.metadata = {}
    if upstream := exchange.settings.upstream:
        own.metadata[notes.UPSTREAM] = upstream.prefix
    own.comment = own.marked = ""
    return own
