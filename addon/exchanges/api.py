"""A request to the API: the cookie becomes the header, and the API's cookies stay here."""

import dataclasses
import time
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import urlsplit

from credentials import carriers, session_requests
from credentials.api_cookies import ApiCookie
from credentials.companion import NO_SESSION, Notary, Session, Use
from credentials.forwarded import translate_set_cookies
from credentials.options import HeaderSettings
from credentials.places import MARK, Places
from credentials.stand_ins import MAIN, REFRESH, stand_in
from credentials.wallet import NOTHING, Held
from messages import answer_policy, coding, streaming, validators
from messages.answers import Refused
from messages.headers import IndexedHeaders
from messages.redacted import real
from messages.text import is_text, media_type
from mitmproxy import http
from mitmproxy.net.http import status_codes
from origins import framing, references, rules
from origins.origin import Origin
from origins.paths import normalise
from profiles import schemes
from tokens import jwt, login_like
from tokens.capture import Captured
from tokens.lifetime import size_and_expiry
from tokens.login_like import Sent
from tokens.refreshing import Expired
from tokens.search import Needle
from upstream import own_requests

from exchanges import (
    carrier,
    fixed_values,
    further_tokens,
    handing_out,
    hints,
    notes,
    own_address,
    own_cookies,
    page_refresh,
    renewal,
    rotation,
    signing_out,
    translating,
    upstreams,
)
from exchanges.answer_heads import AnswerHeads
from exchanges.exchange import Asked, Exchange
from exchanges.leaks import LeakAlarm
from exchanges.settings import Settings

_SHOWN = frozenset(("document", "iframe", "frame", "embed", "object"))
"""Sec-Fetch-Dest of what a browser shows as a page (Fetch Metadata, 2.1)."""

_UNAUTHORISED = Expired(frozenset((401,)))

_SHORTEST_REPEATED = 16
"""Characters of a token that is looked for in all answers: a shorter one may be there by chance."""


class Api(Exchange):
    """An exchange with the API that is none of the special ones."""

    kind = "api"
    switches: ClassVar[bool] = False
    """Whether a token in the answer takes the place of the one that was sent, as somebody has said
    it."""
    streams: bool | None = None
    """Whether the request's body goes on as it comes; None where nobody has looked yet."""
    stood: Places = ()
    """The slots of the tokens for which stand-ins stood in the request, and where."""
    is_shared = False
    """Whether the answer is one to several requests (see `page_refresh`), here already."""
    offered: Mapping[bytes, bytes] = MappingProxyType({})
    """WebSocket subprotocols as the browser has offered them, by what the API got instead."""
    needles: tuple[tuple[Held, Session, str | None], tuple[Needle, ...]] = (
        (NOTHING, NO_SESSION, None),
        (),
    )
    """What finds the tokens in the answer, and for whose it was made."""
    sent: Sent | None = None
    """What the request says, once an answer has come that may hand out tokens."""
    hands_out = False
    """Whether the answer may do so, and is therefore held back."""
    api_cookies: tuple[ApiCookie, ...] = ()
    """The API's own cookies, in the answer, that are part of the login."""
    wishes: "list[hints.Wish] | None" = None
    """What an answer that refuses the request says of the header; None of one alike."""
    heads: AnswerHeads | None = None
    """Those of answers to requests that are alike; None where there are none alike."""

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return True

    # The request

    def begin(self, asked: Asked) -> None:
        self.read_cookies(asked)
        translating.translate_head(self)
        inject = asked.verdict.trusted and self._proxy_sends()
        self.note_token(self.translate(inject=inject))
        if self.settings.paths.refresh and inject:  # a page that holds stand-ins renews itself
            self.let_renew()
        self._note_own_credential(asked)

    async def request_head(self) -> None:
        request = self.flow.request
        if self.streams is None:
            self.streams = streaming.request_streams(request)
        if self.streams and not translating.may_have_them_in_body(self):
            request.stream = streaming.Recorder()
        await self._renew_if_due()

    async def request(self) -> None:
        translating.translate_body(self)
        self._withdraw_from_login()
        streaming.finish_request(self.flow.request)
        if self.stood:
            await page_refresh.ask_once(self)

    def _withdraw_from_login(self) -> None:
        """Take the token out again, where the body has a password: several servers refuse a login
        that comes with an old one.
        """
        request, metadata = self.flow.request, self.flow.metadata
        if not metadata.get(notes.INJECTED) or self.session.use != Use.GIVEN or request.stream:
            return
        sent = login_like.read_if_like(request)
        if sent and sent.has_password:
            carriers.remove_header(request.headers, self.header.name)
            further_tokens.take_out(self)
            self.note_token(None)

    # The answer

    def answer_head(self) -> None:
        response, request = self.flow.response, self.flow.request
        assert response
        is_first = not (self.asked_to_renew or self.is_shared)
        if self.heads and is_first and not request.raw_content and not request.stream:
            self.heads.translate(response, self._translates_only, self._stream)
        else:
            self._decide_about(response)
        if response.stream:
            self.settle_cookies(response)
            self.add_new_cookies(response)

    def _translates_only(self, response: http.Response) -> bool:
        """Decide about an answer; whether that has changed its head and nothing else, and so is all
        that is to be done about one alike.
        """
        held, told = self.held, len(self.flow.metadata)
        self._decide_about(response)
        changed = self.new_cookies or self.api_cookies or self.held is not held
        waits = self.hands_out or response.status_code in (206, *self._expired.statuses)
        return not (changed or waits or len(self.flow.metadata) != told)

    def _decide_about(self, response: http.Response) -> None:
        if response.status_code in hints.REFUSED:
            self.wishes = hints.wishes_of(response)
        if self.offered:
            translating.name_offered_subprotocol(self, response)
        self.hands_out = handing_out.is_expected(self, response)
        self.translate_answer_head(response)
        asks_again = carrier.may_be_another(self, response) or self._is_part_of_text(response)
        if self._is_renewable(response) or asks_again or self.is_shared:
            response.stream = False  # what is here already cannot stream
        elif self._streams(response):
            self._stream(response)

    async def answer(self) -> None:
        response = self.flow.response
        assert response
        if self._is_renewable(response):
            response = await self._renew_and_retry(response)
        elif carrier.may_be_another(self, response):
            response = await carrier.try_another(self, response)
        elif self._is_part_of_text(response):
            response = await self._whole(response)
        if self.hands_out:
            fixed_values.hide(self, response)
            handing_out.hand_out(self, response)
        if response.status_code in hints.REFUSED and self.wishes is not None:
            hints.tell_refusal(self, response, self.wishes)
        elif self.stood:
            hints.tell_header(self, response)
        if not response.stream:  # else they have gone with its head
            self.leak_alarm.check_body(response)
            self.settle_cookies(response)
        self.finish_answer(response)

    def finish_answer(self, response: http.Response) -> None:
        own_address.replace(self, response)
        super().finish_answer(response)
        own_address.tell(self, response)

    def failed(self, code: str, reason: str) -> http.Response | None:
        if self.stood and self.session.issued and signing_out.logs_out(self):
            self.new_cookies = self.expired()  # the page takes itself for logged out
            self.end_session()
            self.session = NO_SESSION
        return super().failed(code, reason)

    def message(self) -> None:
        translating.translate_message(self)
        self.leak_alarm.check_message()
        super().message()

    def close_reason(self, reason: str) -> str:
        return self.leak_alarm.close_reason(reason)

    def remember(self) -> None:
        super().remember()
        if self.flow.metadata.get(notes.INJECTED):
            headers = self.flow.request.headers
            self.token = carriers.injected_token(headers, self.header)

    # Parts of the request

    def read_cookies(self, asked: Asked) -> None:
        """Find out what the browser holds."""
        trusted, metadata = asked.verdict.trusted, self.flow.metadata
        self.is_browser = asked.is_browser
        fields = tuple(self.cookie_fields())
        self.held = held = self.wallet.read(fields, trusted=trusted, browser=asked.is_browser)
        self.note_session(held.session)
        metadata[notes.COOKIES], metadata[notes.KEPT_BACK] = held.names, held.kept_back
        if held.doubtful:
            metadata[notes.DOUBTFUL] = held.doubtful
        if self.answered_here:
            self.record_without_cookies()

    def translate(self, *, inject: bool, own_passes: bool = False) -> bytes | None:
        """Put the API's credentials in the place of the browser's; the token that went in."""
        headers, settings, held = self.flow.request.headers, self.settings, self.held
        assert isinstance(headers, IndexedHeaders)
        for name in [name for name in headers.names if answer_policy.hides_a_path(name)]:
            del headers[name]
        # What a page sends itself is its own affair where it holds stand-ins.
        own_passes = own_passes or (not inject and self.session.use != Use.LISTED)
        token = None
        try:
            token = carriers.translate(
                headers,
                held,
                self.header,
                settings.recorded,
                inject=inject,
                own_passes=own_passes,
                api_cookies=held.api_cookies if own_cookies.go_along(self) else (),
            )
        finally:  # a login goes on without a cookie that is not good
            further_tokens.put(self, with_token=token is not None, own_passes=own_passes)
            fixed_values.put(self)
        validators.own_validators(headers, self._entity_tag(token is not None))
        if (self.tokens or settings.fixed) and "accept-encoding" in headers:
            # What cannot be decoded here cannot be searched.
            live = "event-stream" in headers.get("accept", "")
            readable = coding.readable_codings(headers["accept-encoding"])
            headers["Accept-Encoding"] = "identity" if live else readable
        return token

    def _proxy_sends(self) -> bool:
        """Whether the proxy sends the token, and not the page."""
        session, headers = self.session, IndexedHeaders.of(self.flow.request.headers)
        if not session.issued or session.use == Use.LISTED:
            return not self.stood or MARK not in headers.get(self.settings.header.name, "")
        if self.stood or session.use == Use.USED or self.proxy.learned.is_user(session.id):
            return False
        # A page that has sent no stand-in yet may be one that sends nothing.
        request = self.flow.request
        says = MARK in request.path or any(MARK in value for value in headers.values())
        if says or {self.header.name.lower(), "authorization"} & headers.names:
            return False
        return self.switches or not self._says_login()

    def _says_login(self) -> bool:
        """Whether method and path say that the request logs in, or renews a token."""
        method, target = self.flow.request.method, self.flow.request.path
        ends = session_requests.is_logout(method, target)
        return not ends and login_like.is_by_head(method, target)

    @property
    def header(self) -> HeaderSettings:
        """The header in which the proxy sends the token."""
        settings = self.settings
        if self.session.use == Use.LISTED or settings.header.given:
            return settings.header
        learned = self.proxy.learned.header(self.session.id)
        return learned if learned and not settings.fixes(learned.name) else settings.header

    def note_token(self, token: bytes | None) -> None:
        """Remember which token the API gets, if any."""
        metadata = self.flow.metadata
        metadata[notes.INJECTED] = token is not None
        if token is not None:
            self.token = token.decode("utf-8", "replace")
        elif not self.stood:
            self.token = None
        if self.token is not None:
            metadata[notes.SENT] = size_and_expiry(self.token)
        if token is not None and self.header is not self.settings.header:
            metadata[notes.HEADER] = self.header.name

    @property
    def is_authenticated(self) -> bool:
        """Whether the API got a token or a cookie of its own with the request."""
        if self.token is not None or self.stood:
            return True
        return bool(self.held.api_cookies) and own_cookies.go_along(self)

    @property
    def browser_asks(self) -> bool:
        if self.session.issued and self.session.use != Use.LISTED:
            return True  # it holds stand-ins, and firefox lets a script hide what sends them
        if self.is_browser is None:
            return rules.is_browser(self.flow.request.headers)
        return self.is_browser

    def put_token(self, token: bytes) -> None:
        """Give the request this token in place of the one that it has, if any."""
        header = self.header
        value = self.settings.recorded(header.format.value(token), token)
        self.flow.request.headers[header.name] = value
        self.note_token(token)

    def _entity_tag(self, with_token: bool) -> str:
        """What keeps this login's entity tags from others'; a page's own credential is one, too."""
        if with_token or self.is_authenticated:
            return self.wallet.notary.tag(self.session.id)
        sent = IndexedHeaders.of(self.flow.request.headers).raw(self.settings.header.name)
        own = b", ".join(map(real, sent)).decode("utf-8", "surrogateescape")
        return self.wallet.notary.tag(f"own {own}") if own else validators.NOBODY

    def _note_own_credential(self, asked: Asked) -> None:
        """Tell, once, of a credential that a page holds though the proxy did not hand it out."""
        has_own = not self.settings.is_further_api  # that of another may go there
        if asked.cors and has_own and not self.held.names and MARK in self._own_authorization():
            said = "a page of %s sends a stand-in without its cookies: credentials: 'include'"
            self.proxy.once.warn(("credentials", asked.cors), said, asked.cors)
        if self.token is not None or self.stood or not asked.is_browser:
            return
        header, headers = self.settings.header, self.flow.request.headers
        for name in dict.fromkeys((header.name, "Authorization")):
            if (value := headers.get(name)) is None or MARK in value:
                continue
            token = header.format.token(value.encode("utf-8", "replace"))
            issuer = _issuer(token.rpartition(b" ")[2])
            self.proxy.once.warn(
                ("own credential", issuer),
                "a page sends a credential of its own in %s%s, which cookie-auth did not hand out",
                *(name, f" (a token of {issuer})" if issuer else ""),
            )
            return

    def _own_authorization(self) -> str:
        headers = self.flow.request.headers
        return f"{headers.get('authorization', '')} {headers.get(self.settings.header.name, '')}"

    # Renewal

    async def _renew_if_due(self) -> Captured | Refused | None:
        """Give the request a fresh token when its own is about to end, or has ended."""
        if not self.renews_by:
            return None
        if self.token is not None:
            if not self.is_due:
                return None
        elif self.settings.header.name in self.flow.request.headers:
            return None  # the browser's own
        renewed = await renewal.renew(self)
        if isinstance(renewed, Captured):
            self._use(renewed)
        return renewed

    @property
    def is_due(self) -> bool:
        """Whether its token is to be renewed before it is used."""
        return self.token is not None and self.proxy.is_due(self.token)

    def _use(self, renewed: Captured) -> None:
        """Send a fresh token, and look for it in the answer instead of the one that it replaces."""
        self.put_token(renewed.token.encode())
        self.hold(renewed)
        further_tokens.put(self, with_token=True, own_passes=False)

    def hold(self, captured: Captured) -> None:
        """Know these tokens for what the browser holds from now on."""
        fresh = {**captured.more, MAIN: captured.token}
        if captured.refresh_token:
            fresh[REFRESH] = captured.refresh_token
        self.session = self.session.with_names(self.wallet.names_of(captured))
        tokens = {**self.held.tokens, **fresh}
        self.held = dataclasses.replace(self.held, tokens=tokens, session=self.session)

    def _is_renewable(self, response: http.Response) -> bool:
        """Whether the API has refused a token that may be renewed."""
        renewable = self.flow.metadata.get(notes.INJECTED) and not self.asked_to_renew
        if not renewable or self.new_cookies or not self.renews_by:
            return False
        return self._expired.says(response) and not self._is_for_another_reason

    @property
    def _expired(self) -> Expired:
        """What tells that the token has ended."""
        refresh = self.settings.token.refresh
        return refresh.expired if refresh else _UNAUTHORISED

    async def _renew_and_retry(self, response: http.Response) -> http.Response:
        """Renew a token that the API has refused, and ask again; the last answer.

        What cannot be asked again (a body that streamed, a WebSocket, an event stream) gets the 401
        and the new cookies.
        """
        request = self.flow.request
        repeatable = not request.stream and request.raw_content is not None
        for _ in range(2):
            renewed = await renewal.renew(self)
            if not isinstance(renewed, Captured) or not repeatable or streaming.is_live(request):
                break
            self._use(renewed)
            if not (again := await renewal.retry(self)):
                break
            self.flow.response = response = again
            self.translate_answer_head(response)
            if not self._expired.says(response):
                break
            if self._has_new_token:
                self._note_another_reason()
                break
            self.asked_to_renew = False  # that one was remembered, and has ended since
        return response

    @property
    def _is_for_another_reason(self) -> bool:
        """Whether the token is not what the API refuses: it is new, and one that had just come has
        been refused for a request like this one, as by a form that asks for the password again.
        """
        return self._has_new_token and self.proxy.learned.refuses(*self._request_like_this)

    @property
    def _has_new_token(self) -> bool:
        born = self.proxy.births.of(self.token or "")
        return born is not None and time.time() - born < own_requests.SECONDS_TO_REMEMBER

    def _note_another_reason(self) -> None:
        request = self.flow.request
        self.proxy.learned.has_refused(*self._request_like_this)
        asked = schemes.asked_of(request.method, request.path, b"")
        said = "%s refuses a token that has just come, so it must be for another reason"
        self.proxy.once.info(("refuses", asked), said, asked)

    @property
    def _request_like_this(self) -> tuple[str, str]:
        return self.session.id, f"{self.flow.request.method} {normalise(self.flow.request.path)}"

    def _streams(self, response: http.Response) -> bool:
        """Whether the answer goes on as it comes."""
        if self.hands_out or not streaming.response_streams(response):
            return False
        return not self.leak_alarm.wants_whole(response)

    def _stream(self, response: http.Response) -> None:
        self.leak_alarm.stream(response, own_address.stream(self, response))

    def _is_part_of_text(self, response: http.Response) -> bool:
        """Whether a token may stand half in this answer, which is a part of a longer one."""
        if response.status_code != 206:
            return False
        looked_for = self.settings.fixed or (self.tokens and self.is_authenticated)
        if not is_text(media_type(response.headers)) or not (looked_for and self.browser_asks):
            return False
        # Of a longer one, which is no answer of an application, only the part is looked into.
        size = response.headers.get("content-range", "").rpartition("/")[2]
        return not size.isdecimal() or int(size) <= streaming.STREAM_ABOVE

    async def _whole(self, response: http.Response) -> http.Response:
        """The answer to the same request, without a range; the part itself where there is none."""
        for name in ("range", "if-range"):
            self.flow.request.headers.pop(name, None)
        again = await renewal.retry(self)
        if again is None:
            raise Refused("token_leak", "The API gives a part of a text that may hold a token.")
        self.flow.response = again
        self.translate_answer_head(again)
        return again

    # Parts of the answer

    @property
    def leak_alarm(self) -> LeakAlarm:
        mode = self.settings.token.leak
        return LeakAlarm(self.flow, mode, self.proxy.once, self.known_needles())

    def known_needles(self) -> tuple[Needle, ...]:
        """What finds the tokens that are known here; made anew when they have changed."""
        (held, *others), needles = self.needles
        if held is not self.held or others != [self.session, self.token]:
            needles = self._needles()
            self.needles = (self.held, self.session, self.token), needles
        return needles

    def _needles(self) -> tuple[Needle, ...]:
        """What finds the tokens that are known here."""
        session = self.session
        if self.settings.token.leak == "stand-in" and session.issued and self.browser_asks:
            own = tuple(cookie.value or "" for cookie in self.held.api_cookies)
            tokens = [*further_tokens.secrets(self, self.tokens).items()]
            if self.token and self.token not in self.tokens.values():
                tokens.append((MAIN, self.token))  # this answer gives another in its place
            found = _replacing(self.wallet.notary, session, tuple(tokens), own)
            return found + self.settings.fixed_needles
        fixed = self.settings.fixed_needles
        if not self.token or any(needle.instead for needle in fixed):
            return fixed  # nothing takes the token's place here
        return (Needle.of(self.token), *fixed)

    def translate_answer_head(self, response: http.Response) -> None:
        """Make the API's headers the proxy's own, in place."""
        headers = response.headers = IndexedHeaders.of(response.headers)
        settings, request = self.settings, self.flow.request
        if self.tokens or settings.fixed:
            # It may be any text.
            response.reason = status_codes.RESPONSES.get(response.status_code, "")
        self.take_tokens(headers)
        gets_stand_ins = self.leak_alarm.replaces and self.session.issued and self.browser_asks
        if gets_stand_ins and self.is_authenticated and not self.hands_out:
            handing_out.slide(self, response)
        self._translate_set_cookies(headers)
        self.check_headers(response)
        self.answer_cors(response)
        if not references.REFERENCES.isdisjoint(headers.names):
            asked, *others = upstreams.places(self)
            references.rewrite_references(headers, *asked, others)
        answer_policy.apply(headers)
        is_browser = self.browser_asks
        if is_browser and request.headers.get("sec-fetch-mode") != "navigate":
            answer_policy.without_dialogs(headers)
        if request.method in ("GET", "HEAD"):  # the answers to others are not kept by a cache
            tag = self._entity_tag(self.is_authenticated)
            validators.keep_apart(headers, tag, request.headers, is_browser=is_browser)
            if self.is_authenticated and request.headers.get("sec-fetch-dest") in _SHOWN:
                # Else the back button would show it after a logout: a page that was left for the
                # logout enters the back/forward cache after all that its answer can say.
                headers["Cache-Control"] = "no-store"
        framing.forbid_framing(
            headers, settings.origins.allowed, confirms=response.status_code == 304
        )
        refused = response.status_code == 401 and self.token is not None
        keeps = (self.renews_by and not self.asked_to_renew) or self.new_cookies
        if refused and settings.cookie.clear_on_401 and not keeps:
            self.new_cookies = self.expired()

    def check_headers(self, response: http.Response) -> None:
        """Look for tokens in the answer's headers."""
        self.leak_alarm.check_headers(response)

    def take_tokens(self, headers: IndexedHeaders) -> None:
        """Take the tokens out that the API gives in the head of its answer, and keep them."""
        rotation.take(self, headers)

    def _translate_set_cookies(self, headers: IndexedHeaders) -> None:
        if "set-cookie" not in headers:
            return
        metadata, request = self.flow.metadata, self.flow.request
        self.api_cookies = own_cookies.kept(self, headers.get_all("set-cookie"))
        trusted = bool(metadata.get(notes.TRUSTED))
        passes = trusted or rules.is_top_level_navigation(request.headers)
        translate_set_cookies(
            headers,
            self.settings.cookie.forwarded if passes else None,
            list(self.tokens.values()),
            tls=self.tls,
            to_browser=self.settings.paths.to_browser,
            # A link from elsewhere goes without the user's cookies, and must not cost them.
            spared=() if trusted else metadata.get(notes.KEPT_BACK, ()),
            # In an answer that mitmproxy replays from a file, the auth cookie is our own.
            own=self.wallet.owns if self.flow.is_replay == "response" else None,
        )

    def settle_cookies(self, response: http.Response) -> None:
        """Decide what becomes of the login's cookies, once the answer is known."""
        if signing_out.is_one(self, response):
            signing_out.end(self, response)
        elif not self.new_cookies:
            self.new_cookies = own_cookies.fields(self) or self._companion_of_user()
        self.api_cookies = ()

    def _companion_of_user(self) -> list[str]:
        """The companion that says from now on that the page sends stand-ins itself."""
        session = self.session
        used = self.proxy.learned.with_use(session)
        if session.use != Use.GIVEN or used is session or not self.held.session.issued:
            return []
        self.renewed = self.began  # so that nothing newer is undone by it
        return [self.wallet.companion_field(used, self.held.marked)]

    def secrets(self) -> list[str]:
        settings = self.settings
        sent = IndexedHeaders.of(self.flow.request.headers).raw(settings.header.name)
        own = [
            settings.header.format.token(real(value)).decode("utf-8", "replace") for value in sent
        ]
        own += [one.secret for one in settings.fixed]
        own += further_tokens.secrets(self, self.tokens).values()
        return list(dict.fromkeys([*own, *filter(None, [self.token])]))


@lru_cache(maxsize=256)
def _replacing(
    notary: Notary, session: Session, tokens: tuple[tuple[str, str], ...], own: tuple[str, ...]
) -> tuple[Needle, ...]:
    """What finds the tokens of a login, and puts their stand-ins in their place.

    `own` are the values of the API's own cookies, which nothing takes the place of.
    """
    found = dict.fromkeys(own) | {
        token: stand_in(notary, session, slot, token) for slot, token in tokens
    }
    return tuple(
        Needle.of(token, instead)
        for token, instead in found.items()
        if len(token) >= _SHORTEST_REPEATED
    )


def _issuer(token: bytes) -> str:
    """The host of a JWT's `iss` (RFC 7519, 4.1.1); empty for any other token."""
    decoded = jwt.decode(token.decode("ascii", "replace"))
    issuer = decoded.claims.get("iss") if decoded else None
    try:
        host = urlsplit(issuer).hostname if isinstance(issuer, str) else None
        return Origin.parse(f"http://{host}").host if host else ""
    except ValueError:
        return ""
