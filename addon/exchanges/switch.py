"""A switch: the request carries the token, and the answer brings another that takes its place.

Somebody is impersonated, and no more; a tenant or a role is chosen; a step-up, a new password.
"""

import dataclasses

from credentials.companion import Use
from messages import streaming
from messages.answers import Refused
from mitmproxy import http
from origins.path_rules import Meaning
from tokens import login_like
from tokens.capture import Captured

from exchanges import translating
from exchanges.api import Api
from exchanges.exchange import Asked
from exchanges.login import Login
from exchanges.settings import Settings


class Switch(Login):
    """A request to one of the paths in `cookie_auth_switch`.

    It begins a login of its own, so that nothing that was asked for before sets a cookie after it,
    and no cache hands on what the other user, or tenant, has seen. Where the page holds stand-ins,
    the login goes on, since those name it.
    """

    kind = "switch"
    switches = True

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return asked.means is Meaning.SWITCH

    def begin(self, asked: Asked) -> None:
        if not asked.verdict.trusted:
            raise Refused.cross_origin(asked.page)
        Api.begin(self, asked)

    async def request_head(self) -> None:
        self.flow.request.stream = False
        await self._renew_if_due()

    async def request(self) -> None:
        translating.translate_body(self)
        streaming.finish_request(self.flow.request)

    def answer_head(self) -> None:
        response = self.flow.response
        assert response
        self.sent = login_like.read(self.flow.request)
        self.hands_out = self.settings.lenient and 200 <= response.status_code <= 399
        self.translate_answer_head(response)
        response.stream = False

    async def answer(self) -> None:
        assert self.flow.response
        if self._is_renewable(self.flow.response):
            await self._renew_and_retry(self.flow.response)
        await super().answer()

    @property
    def remembered(self) -> bool | None:
        return self.session.remembered

    @property
    def is_overtaken(self) -> bool:
        return self.is_over

    @property
    def gives_stand_ins(self) -> bool:
        return super().gives_stand_ins or self.session.use != Use.LISTED

    def _capture(self, response: http.Response, captured: Captured) -> None:
        # What renews the token goes on doing so, unless there is another.
        refresh_token = captured.refresh_token or self.refresh_token
        super()._capture(response, dataclasses.replace(captured, refresh_token=refresh_token))

    def note_renewal(self, token: str) -> None:
        """The page's stand-ins mean this token from now on."""
        super().note_renewal(token)
        self.began = self.proxy.logins.switched(self.session)
        self.proxy.renewals.forget(self.session.id)
        self.proxy.successors.forget(self.session.id)
        self.proxy.page_refreshes.forget(self.session.id)
