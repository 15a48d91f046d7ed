"""A request to the API: the cookie becomes the header, and the API's cookies stay here."""

import time
from urllib.parse import urlsplit

from credentials import carriers
from credentials.forwarded import translate_set_cookies
from messages import answer_policy, streaming, validators
from messages.headers import IndexedHeaders
from messages.redacted import real
from mitmproxy import http
from origins import framing, references, rules
from origins.origin import Origin
from tokens import jwt, lifetime
from tokens.capture import Captured, TokenHeader
from tokens.lifetime import size_and_expiry

from exchanges import notes, renewal
from exchanges.exchange import Asked, Exchange
from exchanges.leaks import LeakAlarm
from exchanges.settings import Settings

_SHOWN = frozenset(("document", "iframe", "frame", "embed", "object"))
"""Sec-Fetch-Dest of what a browser shows as a page (Fetch Metadata, 2.1)."""


class Api(Exchange):
    """An exchange with the API that is none of the special ones."""

    kind = "api"
    streams: bool | None = None
    """Whether the request's body goes on as it comes; None where nobody has looked yet."""

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return True

    # The request

    def begin(self, asked: Asked) -> None:
        self.read_cookies(asked)
        self.note_token(self.translate(inject=asked.verdict.trusted))
        if self.settings.paths.refresh and asked.verdict.trusted:
            self.refresh_token = self.held.refresh_token
        self._note_own_credential(asked)

    async def request_head(self) -> None:
        if self.streams is None:
            self.streams = streaming.request_streams(self.flow.request)
        if self.streams:
            self.flow.request.stream = streaming.Recorder()
        await self._renew_if_due()

    async def request(self) -> None:
        streaming.finish_request(self.flow.request)

    # The answer

    def answer_head(self) -> None:
        response = self.flow.response
        assert response
        self.translate_answer_head(response)
        if self._is_renewable(response):
            response.stream = False
        elif streaming.response_streams(response):
            self.leak_alarm.stream(response)
            self.add_new_cookies(response)

    async def answer(self) -> None:
        response = self.flow.response
        assert response
        if self._is_renewable(response):
            response = await self._renew_and_retry(response)
        self.leak_alarm.check_body(response)
        self.finish_answer(response)

    def message(self) -> None:
        self.leak_alarm.check_message()
        super().message()

    def remember(self) -> None:
        super().remember()
        if self.flow.metadata.get(notes.INJECTED):
            headers = self.flow.request.headers
            self.token = carriers.injected_token(headers, self.settings.header)

    # Parts of the request

    def read_cookies(self, asked: Asked) -> None:
        """Find out what the browser holds."""
        trusted, metadata = asked.verdict.trusted, self.flow.metadata
        self.is_browser = asked.is_browser
        fields = tuple(self.flow.request.headers.get_all("cookie"))
        self.held = held = self.wallet.read(fields, trusted=trusted, browser=asked.is_browser)
        self.session = held.session
        if held.session.issued:
            metadata[notes.SESSION] = [held.session.id, self.began]
        metadata[notes.COOKIES], metadata[notes.KEPT_BACK] = held.names, held.kept_back
        if held.doubtful:
            metadata[notes.DOUBTFUL] = held.doubtful

    def translate(self, *, inject: bool, own_passes: bool = False) -> bytes | None:
        """Put the API's credentials in the place of the browser's; the token that went in."""
        headers, settings = self.flow.request.headers, self.settings
        assert isinstance(headers, IndexedHeaders)
        for name in [name for name in headers.names if answer_policy.hides_a_path(name)]:
            del headers[name]
        token = carriers.translate(
            headers,
            self.held,
            settings.header,
            settings.recorded,
            inject=inject,
            own_passes=own_passes,
        )
        validators.own_validators(headers, self._entity_tag(token is not None))
        return token

    def note_token(self, token: bytes | None) -> None:
        """Remember which token the API gets, if any."""
        self.token = None if token is None else token.decode("utf-8", "replace")
        metadata = self.flow.metadata
        metadata[notes.INJECTED] = token is not None
        if self.token is not None:
            metadata[notes.SENT] = size_and_expiry(self.token)

    def put_token(self, token: bytes) -> None:
        """Give the request this token in place of the one that it has, if any."""
        settings = self.settings
        self.flow.request.headers[settings.header.name] = settings.header_value(token)
        self.note_token(token)

    def _entity_tag(self, with_token: bool) -> str:
        """What keeps this login's entity tags from others'; a page's own credential is one, too."""
        if with_token:
            return self.wallet.notary.tag(self.session.id)
        sent = IndexedHeaders.of(self.flow.request.headers).raw(self.settings.header.name)
        own = b", ".join(map(real, sent)).decode("utf-8", "surrogateescape")
        return self.wallet.notary.tag(f"own {own}") if own else validators.NOBODY

    def _note_own_credential(self, asked: Asked) -> None:
        """Tell, once, of a credential that a page holds though the proxy did not hand it out."""
        header = self.settings.header.name
        value = self.flow.request.headers.get(header)
        if value is None or self.token is not None or not asked.is_browser:
            return
        issuer = _issuer(self.settings.header.format.token(value.encode("utf-8", "replace")))
        self.proxy.once.warn(
            ("own credential", issuer),
            "a page sends a credential of its own in %s%s, which cookie-auth did not hand out",
            *(header, f" (a token of {issuer})" if issuer else ""),
        )

    # Renewal

    async def _renew_if_due(self) -> None:
        """Give the request a fresh token when its own is about to end, or has ended."""
        if not self.refresh_token:
            return
        if self.token is not None:
            if not lifetime.is_due(self.token, time.time(), self.proxy.births.of(self.token)):
                return
        elif self.settings.header.name in self.flow.request.headers:
            return  # the browser's own
        renewed = await renewal.renew(self)
        if isinstance(renewed, Captured):
            self.put_token(renewed.token.encode())

    def _is_renewable(self, response: http.Response) -> bool:
        """Whether the API has refused a token that may be renewed."""
        refused = response.status_code == 401 and self.flow.metadata.get(notes.INJECTED)
        renewable = self.refresh_token and not self.asked_to_renew
        return bool(refused and renewable and not self.new_cookies)

    async def _renew_and_retry(self, response: http.Response) -> http.Response:
        """Renew a token that the API has refused, and ask again; the last answer.

        What cannot be asked again (a body that streamed, a WebSocket, an event stream) gets the 401
        and the new cookies.
        """
        request = self.flow.request
        renewed = await renewal.renew(self)
        repeatable = not request.stream and request.raw_content is not None
        live = "upgrade" in request.headers or "event-stream" in request.headers.get("accept", "")
        if isinstance(renewed, Captured) and repeatable and not live:
            self.put_token(renewed.token.encode())
            if again := await renewal.retry(self):
                self.flow.response = response = again
                self.translate_answer_head(response)
        return response

    # Parts of the answer

    @property
    def leak_alarm(self) -> LeakAlarm:
        return LeakAlarm(self.flow, self.settings.token.leak, self.proxy.once, self.token)

    def translate_answer_head(self, response: http.Response) -> None:
        """Make the API's headers the proxy's own, in place."""
        headers = response.headers = IndexedHeaders.of(response.headers)
        settings, request = self.settings, self.flow.request
        self.take_token_headers(headers)
        self._translate_set_cookies(headers)
        self.leak_alarm.check_headers(response)
        self.answer_cors(response)
        if not references.REFERENCES.isdisjoint(headers.names):
            upstream = Origin.parse(self.upstream)
            paths = settings.paths
            references.rewrite_references(headers, upstream, paths.prefix, paths.base_path)
        answer_policy.apply(headers)
        is_browser = self.is_browser
        if is_browser is None:
            is_browser = rules.is_browser(request.headers)
        if is_browser and request.headers.get("sec-fetch-mode") != "navigate":
            answer_policy.without_dialogs(headers)
        if request.method in ("GET", "HEAD"):  # the answers to others are not kept by a cache
            tag = self._entity_tag(self.token is not None)
            validators.keep_apart(headers, tag, request.headers, is_browser=is_browser)
            if self.token is not None and request.headers.get("sec-fetch-dest") in _SHOWN:
                # Else the back button would show it after a logout: a page that was left for the
                # logout enters the back/forward cache after all that its answer can say.
                headers["Cache-Control"] = "no-store"
        framing.forbid_framing(
            headers, settings.origins.allowed, confirms=response.status_code == 304
        )
        refused = response.status_code == 401 and self.token is not None
        keeps = (self.refresh_token and not self.asked_to_renew) or self.new_cookies
        if refused and settings.cookie.clear_on_401 and not keeps:
            self.new_cookies = self.expired()

    def take_token_headers(self, headers: IndexedHeaders) -> None:
        """Keep a token that the API gives in a configured header, on whatever answer."""
        sources = self.settings.token.sources
        found = [s.name for s in sources if isinstance(s, TokenHeader) and s.name in headers]
        for name in found:
            values = set(headers.get_all(name)) - {""}
            del headers[name]
            if self.token is None or len(values) != 1:
                continue
            token = self.settings.header.format.token(
                values.pop().encode("utf-8", "surrogateescape")
            )
            fresh = token.decode("utf-8", "surrogateescape")
            if fresh != self.token and not self._lost_refresh_token:
                captured = Captured(fresh, b"", {}, self.refresh_token)
                self.new_cookies = self.issued(captured, renews=True)
                self.renewed = self.proxy.logins.renewed(self.session)
                self.flow.metadata[notes.RENEWED] = size_and_expiry(fresh)

    @property
    def _lost_refresh_token(self) -> bool:
        """Whether a reload of the script has forgotten it; a new pair of cookies would lack it."""
        brought = self.flow.metadata.get(notes.COOKIES, ())
        has_one = any(map(self.wallet.refresh_jar.owns, brought))
        return bool(self.settings.paths.refresh and has_one and self.refresh_token is None)

    def _translate_set_cookies(self, headers: IndexedHeaders) -> None:
        if "set-cookie" not in headers:
            return
        metadata, request = self.flow.metadata, self.flow.request
        trusted = bool(metadata.get(notes.TRUSTED))
        passes = trusted or rules.is_top_level_navigation(request.headers)
        translate_set_cookies(
            headers,
            self.settings.cookie.forwarded if passes else None,
            [self.token] if self.token else [],
            tls=self.flow.client_conn.tls,
            to_browser=self.settings.paths.to_browser,
            # A link from elsewhere goes without the user's cookies, and must not cost them.
            spared=() if trusted else metadata.get(notes.KEPT_BACK, ()),
            # In an answer that mitmproxy replays from a file, the auth cookie is our own.
            own=self.wallet.owns if self.flow.is_replay == "response" else None,
        )

    def secrets(self) -> list[str]:
        settings = self.settings
        sent = IndexedHeaders.of(self.flow.request.headers).raw(settings.header.name)
        own = [
            settings.header.format.token(real(value)).decode("utf-8", "replace") for value in sent
        ]
        return [*own, self.token] if self.token else own


def _issuer(token: bytes) -> str:
    """The host of a JWT's `iss` (RFC 7519, 4.1.1); empty for any other token."""
    decoded = jwt.decode(token.decode("ascii", "replace"))
    issuer = decoded.claims.get("iss") if decoded else None
    try:
        host = urlsplit(issuer).hostname if isinstance(issuer, str) else None
        return Origin.parse(f"http://{host}").host if host else ""
    except ValueError:
        return ""
