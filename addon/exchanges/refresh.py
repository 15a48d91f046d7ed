"""A page asks for a fresh token itself: answered here, once the API has given one."""

from credentials.companion import Use
from messages import answers
from messages.answers import Refused
from origins.path_rules import Meaning
from tokens import capture
from tokens.capture import Captured

from exchanges import renewal
from exchanges.api import Api
from exchanges.exchange import Asked
from exchanges.session import with_claims
from exchanges.settings import Settings


class Refresh(Api):
    """A request to the refresh path. The API is asked by a request of the proxy's own.

    But for a page that sends stand-ins: it asks the API itself.
    """

    kind = "refresh"
    answered_here = True
    bounded_request = True

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return asked.means is Meaning.REFRESH

    def begin(self, asked: Asked) -> None:
        if not asked.verdict.trusted:
            raise Refused.cross_origin(asked.page)
        self.read_cookies(asked)
        if self.session.use == Use.USED or self.proxy.learned.is_user(self.session.id):
            self.turned_into(Api).begin(asked)  # its page reads the answer itself
            return
        self.let_renew()
        self.token = self.held.token.decode("utf-8", "replace") if self.held.token else None

    async def request_head(self) -> None:
        """Nothing goes on."""

    async def request(self) -> None:
        if not self.renews_by:
            raise Refused("bad_cookie", "There is no refresh token. Log in again.")
        renewed = await renewal.renew(self)
        if not isinstance(renewed, Captured):
            raise renewed or Refused("upstream_unreachable", "The API did not renew the token.")
        response = answers.make(200)
        capture.replace_body(response, with_claims(self, renewed))
        self.add_new_cookies(response)
        self.answer_cors(response)
        self.flow.response = answers.without_body_for_head(self.flow.request.method, response)

    def answer_head(self) -> None:
        """Ours."""

    async def answer(self) -> None:
        """Ours."""
