"""A login: the API's answer carries the token, and the browser gets it as a cookie."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence

from credentials import carriers
from credentials.forwarded import hide_secrets
from messages import answers
from messages.answers import Refused
from messages.headers import IndexedHeaders
from messages.text import media_type
from mitmproxy import http
from origins.path_rules import Meaning
from origins.paths import normalise
from origins.rules import SAFE_METHODS
from tokens import capture, graphql, login_like
from tokens.sources import take_cookies
from upstream.reasons import TOO_LONG

from exchanges import (
    fixed_values,
    further_tokens,
    handing_out,
    hints,
    notes,
    own_cookies,
    rotation,
    translating,
)
from exchanges.api import Api
from exchanges.exchange import Asked
from exchanges.session import with_claims
from exchanges.settings import Settings


class Login(Api):
    """A request to one of the paths in `cookie_auth_login`."""

    kind = "login"
    bounded_answer = True
    own_header: str | None = None
    """What the page sent under the auth header's name."""
    set_cookies: Sequence[str] = ()
    """The API's, in one of which the refresh token may be."""

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return asked.means is Meaning.LOGIN

    # The request

    def begin(self, asked: Asked) -> None:
        # Its answer sets the cookie: a foreign page could log its visitor in as another.
        foreign = not self._may_log_in and asked.method in SAFE_METHODS - {"HEAD", "OPTIONS"}
        if foreign and not (self.settings.lenient and own_cookies.comes_by_link(self)):
            raise Refused.cross_origin(asked.page)
        self.proxy.learned.hit(self.wallet.api)
        self.read_cookies(asked)
        translating.translate_head(self)
        headers = self.flow.request.headers
        # Several real servers refuse a login that comes with an old token, so none is sent. The
        # page's own credentials pass, e.g. `Authorization: Basic`.
        self.own_header = self.flow.request.headers.get(self.settings.header.name)
        # GraphQL operations other than the login need the token; `request` knows the body.
        may_be_graphql = "json" in headers.get("content-type", "").lower()
        inject = asked.verdict.trusted and may_be_graphql and self._proxy_sends()
        # A bad cookie must not keep its user from logging in; the headers are clean all the same.
        with contextlib.suppress(Refused):
            self.note_token(self.translate(inject=inject, own_passes=True))
        if self.settings.paths.refresh and self.token is not None:
            self.let_renew()

    @property
    def _may_log_in(self) -> bool:
        """Whether one of ours asks, or a person follows a link that ends a login, as from an OAuth
        server or a mail: it has a grant with it, or the rule says GET.

        What tells it from a link of somebody who would log them in as another is the API's `state`.
        """
        if self.flow.metadata.get(notes.TRUSTED):
            return True
        request, settings = self.flow.request, self.settings
        logins, target = settings.paths.logins, request.path.removeprefix(settings.paths.base_path)
        path = normalise(settings.ruled_path(target))
        by_get = any(rule.method == "GET" and rule.takes("GET", path) for rule in logins)
        return own_cookies.comes_by_link(self) and (by_get or login_like.has_grant(request.path))

    async def request_head(self) -> None:
        self.flow.request.stream = False

    async def request(self) -> None:
        """Take the token out again unless this is another operation on a GraphQL endpoint."""
        if self.flow.metadata.get(notes.INJECTED):
            body = self.flow.request.raw_content or b""
            if graphql.is_other_operation(body, self.settings.token.graphql_login_keys):
                await self.turned_into(Api).request()
                return
            self._take_token_out()
        await super().request()

    def _take_token_out(self) -> None:
        headers, settings = self.flow.request.headers, self.settings
        carriers.remove_header(headers, settings.header.name)
        if self.own_header is not None:
            own = self.own_header.encode("utf-8", "surrogateescape")
            headers[settings.header.name] = settings.recorded(own, own)
        further_tokens.take_out(self)
        self.note_token(None)

    # The answer

    def answer_head(self) -> None:
        response = self.flow.response
        assert response
        # Where nobody has said where the token stands, it may turn out to be an unlisted login.
        self.hands_out = handing_out.is_expected(self, response) and self.settings.lenient
        self.sent = self.sent or login_like.read(self.flow.request)
        self.translate_answer_head(response)
        response.stream = False

    def translate_answer_head(self, response: http.Response) -> None:
        self.set_cookies = response.headers.get_all("set-cookie")
        super().translate_answer_head(response)

    def take_tokens(self, headers: IndexedHeaders) -> None:
        """Only cookies: the others are captured with all that the answer holds."""
        take_cookies(headers, rotation.sources(self))

    def check_headers(self, response: http.Response) -> None:
        """Nothing yet: what is captured may be the token of before, and is no repetition."""

    def _check_for_others(self, response: http.Response) -> None:
        """Look for tokens of an earlier login in what is left of the answer."""
        super().check_headers(response)
        self.leak_alarm.check_body(response)

    async def answer(self) -> None:
        response = self.flow.response
        assert response
        response.trailers = None
        fixed_values.hide(self, response)
        token, lenient = self.settings.token, self.settings.lenient
        captured = capture.read_answer(
            self.flow.request.method,
            response,
            token.sources,
            redact=token.login_body != "replace",
            refresh=token.refresh.source if token.refresh else None,
            set_cookies=self.set_cookies,
            sent=self.sent,
            exposed=token.exposed,
            lenient=lenient and token.leak != "off",
            further=self.settings.sought,
        )
        if captured is None:  # a second factor, a GraphQL error, a wrong password, another login
            if self.hands_out:
                handing_out.hand_out(self, response)
            self.leak_alarm.check_failed_login(response)
            self._check_for_others(response)
            self.settle_cookies(response)
        elif not self._may_log_in:
            raise Refused.cross_origin()  # a page that was linked to from elsewhere, and is none
        elif self.is_overtaken:
            body = json.dumps({"loggedIn": False}).encode() if captured.body else b""
            capture.replace_body(response, dataclasses.replace(captured, body=body))
            self._check_for_others(response)
        elif self.gives_stand_ins:
            handing_out.hand_out_captured(self, response, self.bare(captured))
        else:
            self._capture(response, self.bare(captured))
        if captured:
            self._lead_on(response, captured)
            answers.with_date(response)  # it is ours now
        self.finish_answer(response)

    @property
    def remembered(self) -> bool | None:
        member = self.settings.cookie.remember
        return None if member is None else login_like.says_yes(self.flow.request, member)

    @property
    def is_overtaken(self) -> bool:
        """Whether a logout, or a login that was asked for later, has come first, and holds."""
        return self.was_superseded

    @property
    def gives_stand_ins(self) -> bool:
        """Whether the page gets the API's answer with stand-ins."""
        return self.settings.token.login_body == "stand-in"

    def _capture(self, response: http.Response, captured: capture.Captured) -> None:
        cookies = self.issued(captured, renews=False)
        secrets = captured.token, captured.refresh_token, *captured.others
        hide_secrets(response.headers, filter(None, secrets))
        capture.replace_body(response, with_claims(self, captured))
        self._check_for_others(response)
        self.proxy.ends.note(captured.token, captured.beside)
        self.new_cookies = cookies  # only now: on a failure above, none is set
        hints.note_type(self, captured.beside)
        self._tell_missing(captured)
        self.note_login(captured.token)
        self.flow.metadata[notes.PLACE] = captured.place

    def _lead_on(self, response: http.Response, captured: capture.Captured) -> None:
        """A person who looks at the answer gets to see a page, and no JSON (RFC 9110, 15.4.4)."""
        is_page = media_type(response.headers) in ("text/html", "application/xhtml+xml")
        if is_page or captured.location or not answers.is_navigation(self.flow.request.headers):
            return
        response.status_code, response.reason = 303, "See Other"
        to = self.settings.paths.login_redirect
        capture.replace_body(response, dataclasses.replace(captured, body=b"", location=to))

    def _tell_missing(self, captured: capture.Captured) -> None:
        """Tell, once, of what was to be there beside the token, and is not."""
        for slot, source, _ in self.settings.sought:
            if slot not in captured.more:
                self.proxy.once.info(
                    ("missing", source.text),
                    "the answer to a login has no %s, which token.more asks for",
                    source.text,
                )

    def failed(self, code: str, reason: str) -> http.Response | None:
        if reason == TOO_LONG:
            raise Refused("login_unreadable", f"The API's answer to this login: {reason}.")
        return super().failed(code, reason)
