"""A logout: answered here, by deleting the cookies; the API is told of it if that is wanted."""

import contextlib

from credentials.companion import Use
from credentials.places import MARK
from messages import answers, streaming
from messages.answers import Refused
from messages.headers import IndexedHeaders
from mitmproxy import http
from origins import rules
from origins.path_rules import Meaning
from tokens.request_template import RequestTemplate

from exchanges import fixed_values, notes, renewal, translating, upstreams
from exchanges.api import Api
from exchanges.exchange import Asked, add_cookies
from exchanges.settings import Settings


class Logout(Api):
    """A request to the logout path. It succeeds also while the API is down, and without cookies."""

    kind = "logout"
    answered_here = True
    bounded_request = True
    is_trustworthy = False
    """Whether the browser takes the connection for safe from eavesdroppers."""

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return asked.means is Meaning.LOGOUT

    def begin(self, asked: Asked) -> None:
        if not asked.verdict.trusted:
            raise Refused.cross_origin(asked.page)
        self.read_cookies(asked)
        self.is_trustworthy = rules.is_trustworthy(asked.own)
        if self.session.use != Use.LISTED or MARK in self.flow.request.path:
            self._become_the_page_s_own(asked)
            return
        self.end_session()
        self._tell_the_api(asked)

    def _become_the_page_s_own(self, asked: Asked) -> None:
        """Go on as a logout that the page, which holds stand-ins, wants the API to have."""
        own = self.turned_into(OwnLogout)
        assert isinstance(own, OwnLogout)
        with contextlib.suppress(Refused):
            own.begin_again(asked)

    def _tell_the_api(self, asked: Asked) -> None:
        """Go on as a sign-out, if the API wants to know, and there is something to tell it."""
        request, rule = self.flow.request, self.settings.paths.logout_all
        of_all_devices = rule is not None and rule.takes(asked.method, asked.path)
        template = None if of_all_devices else self.settings.token.logout
        if not template and not of_all_devices:
            return
        with contextlib.suppress(Refused):
            self.note_token(self.translate(inject=True))
            self.refresh_token = self.held.refresh_token
            self.renews = self.settings.paths.refresh is not None
            if not self.token and not self.refresh_token:
                return
            told = self.turned_into(SignOut)
            assert isinstance(told, SignOut)
            told.template, told.is_known = template, True
            self.flow.metadata[notes.ASKED_BY] = request.method
            if template:
                request.method, request.path = template.method, template.target
                if upstreams.send_home(told):
                    request.headers.pop("cookie", None)  # those of the host that was asked

    async def request_head(self) -> None:
        """Nothing goes on."""

    async def request(self) -> None:
        self.flow.response = self.logged_out(None)

    def answer_head(self) -> None:
        """Ours."""

    async def answer(self) -> None:
        """Ours."""

    def failed(self, code: str, reason: str) -> http.Response:
        return self.logged_out(None)

    def logged_out(self, upstream: str | None) -> http.Response:
        """The answer; `upstream` says what became of the logout at the API, if it was told."""
        flow = self.flow
        response = answers.logged_out(
            flow.metadata.get(notes.ASKED_BY, flow.request.method),
            flow.request.headers,
            self.settings.paths.logout_redirect,
            upstream,
        )
        add_cookies(response, self.expired(), self.settings)
        if self.is_trustworthy:
            # What the browser has kept, and pages in its back/forward cache; elsewhere it has no
            # meaning (Clear Site Data, 3.1).
            response.headers["Clear-Site-Data"] = '"cache"'
        self.answer_cors(response)
        return response


class OwnLogout(Logout):
    """A logout of a page that holds stand-ins: it is the API's, if it says whose it is.

    Whatever the API answers, and also when it does not, the cookies are deleted.
    """

    kind = "own-logout"
    answered_here = False

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return False  # a logout becomes one

    def begin_again(self, asked: Asked) -> None:
        translating.translate_head(self)
        if not self.stood and not self.held.api_cookies and self._proxy_sends():
            self._tell_the_api(asked)  # for a page that sends nothing itself
        if self.proxy.exchanges[self.flow] is not self:
            self.end_session()
        else:
            self.note_token(self.translate(inject=False))

    def _says_login(self) -> bool:
        return False  # `/auth/logout` does not

    async def request(self) -> None:
        translating.translate_body(self)
        streaming.finish_request(self.flow.request)
        self.end_session()
        if self.is_ours:
            self.flow.response = self.logged_out(None)  # to the API it would mean nothing

    def answer_head(self) -> None:
        assert self.flow.response
        if not self.is_ours:
            self.translate_answer_head(self.flow.response)
        self.flow.response.stream = False

    async def answer(self) -> None:
        response = self.flow.response
        assert response
        if self.is_ours:
            return
        self.leak_alarm.check_body(response)
        self.new_cookies, self.api_cookies = [], ()
        add_cookies(response, self.expired(), self.settings)
        self.finish_answer(response)

    @property
    def is_ours(self) -> bool:
        """Whether the answer is the proxy's own."""
        return not self.stood and not self.is_authenticated


class SignOut(Logout):
    """A logout of which the API is told, with the token. What it answers changes nothing."""

    kind = "sign-out"
    answered_here = False
    bounded_answer = True
    template: RequestTemplate | None = None
    """The request that the API wants; None for the page's own."""
    is_known = False
    """Whether it is known which; a reload of the script forgets it."""

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return False  # a logout becomes one

    async def request(self) -> None:
        if self.renews_by and (self.token is None or self.is_due):
            await self._renew()
        if not self.is_known or not self._fill():
            self.turned_into(Logout)
            self.flow.response = self.logged_out("failed")

    async def _renew(self) -> bool:
        """Have the API end a fresh token, where it would not know the other any more."""
        captured = await renewal.fresh(self)
        if captured:
            self.refresh_token = captured.refresh_token
            self.put_token(captured.token.encode())
        return captured is not None

    def _fill(self) -> bool:
        """Make the request what the API wants; whether that can be."""
        request, template = self.flow.request, self.template
        if template is None:
            streaming.finish_request(request)
            return True
        has = {"token": self.token, "refresh_token": self.refresh_token}
        tokens = {name: token for name, token in has.items() if token}
        if missing := template.needs - tokens.keys():
            said = "the API is not told of a logout: the login has no %s"
            self.proxy.once.warn(("logout", *missing), said, " and no ".join(sorted(missing)))
            return False
        # What a logout that is told without a template has, too.
        headers = IndexedHeaders.of(request.headers)  # whose `raw` keeps what is redacted
        kept = {name: headers.raw(name) for name in ("cookie", "accept")}
        try:
            template.fill(request, tokens, self.header.name)
        except ValueError as error:
            said = "the API is not told of a logout: %s"
            self.proxy.once.warn(("logout", str(error)), said, error)
            return False
        names = {name.lower() for name, _ in template.headers}
        for name in kept.keys() - names:
            request.headers.set_all(name, kept[name])
        upstreams.send_home(self)
        fixed_values.put(self)
        if self.settings.redact:
            renewal.record_without(request, tokens)
        if self.token and self.header.name.lower() not in names:
            self.put_token(self.token.encode())
        return True

    def answer_head(self) -> None:
        assert self.flow.response
        self.flow.response.stream = False

    async def answer(self) -> None:
        response = self.flow.response
        assert response
        # Of what was redacted, nothing could be sent again.
        if not self.settings.redact and self._is_renewable(response) and await self._renew():
            self._fill()
            response = await renewal.retry(self) or response
        done = 200 <= response.status_code <= 299
        self.flow.response = self.logged_out("done" if done else "failed")

    def failed(self, code: str, reason: str) -> http.Response:
        return self.logged_out("failed")
