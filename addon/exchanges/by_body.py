"""A request of which only its body says what it is: held back until that is here.

OAuth 2.0's token endpoint takes logins and refreshes, told apart by their `grant_type`.
"""

from messages.answers import Refused
from origins.path_rules import Meaning
from tokens import login_like

from exchanges import notes, received
from exchanges.api import Api
from exchanges.exchange import Asked
from exchanges.login import Login
from exchanges.logout import Logout
from exchanges.received import Head
from exchanges.refresh import Refresh
from exchanges.session import SessionState
from exchanges.settings import Settings
from exchanges.switch import Switch

_KINDS = {
    Meaning.LOGOUT: Logout,
    Meaning.REFRESH: Refresh,
    Meaning.SESSION: SessionState,
    Meaning.LOGIN: Login,
    Meaning.SWITCH: Switch,
}


class ByBody(Api):
    """It becomes one of the others, before anything of it goes on."""

    kind = "by-body"
    bounded_request = True
    asked: Asked | None = None
    """What the router knew of it."""

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return asked.means is Meaning.IN_BODY

    def begin(self, asked: Asked) -> None:
        self.asked = asked
        self.record_without_cookies()  # of one that breaks off, nobody else would

    async def request_head(self) -> None:
        self.flow.request.stream = False

    async def request(self) -> None:
        request, asked = self.flow.request, self.asked
        if asked is None:
            raise Refused("internal", "The script was reloaded meanwhile. Ask again.")
        means = self.settings.paths.rules.meaning(
            asked.method, asked.path, login_like.members(request)
        )
        before = Head.of(request)
        self.turned_into(_KINDS.get(means, Api)).begin(asked._replace(means=means))
        exchange = self.proxy.exchanges[self.flow]  # a logout may have turned into another
        gone = received.differences(before, request, self.settings.secret_headers)["gone"]
        self.flow.metadata[notes.RECEIVED]["gone"] += gone
        await exchange.request_head()
        await exchange.request()
