"""A browser that looks ahead, before anybody has clicked: told to ask again then."""

from messages import answers
from origins.path_rules import Meaning

from exchanges.exchange import Asked, Exchange
from exchanges.settings import Settings

MESSAGE = "This is not done in advance: ask again when somebody has clicked."


class Speculation(Exchange):
    """A prefetch or prerender that would log out or in, or of which nobody knows whose page it is.

    Chromium marks what a page's speculation rules ask for `Sec-Fetch-Site: none`, as if its user
    had typed the address, and sends the cookies along from any port of the host.
    """

    kind = "speculation"
    answered_here = True
    bounded_request = True

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        matters = asked.means not in (Meaning.NONE, Meaning.REFRESH, Meaning.SESSION)
        return asked.is_speculative and (matters or asked.site == "none")

    def begin(self, asked: Asked) -> None:
        self.record_without_cookies()

    async def request(self) -> None:
        # No browser and no router keeps such an answer for the click, which asks anew (measured:
        # Chromium's speculation rules and link prefetch, Turbo, Next). A 204 they would keep.
        self.flow.response = answers.json_answer(
            self.flow.request.method, 503, {"error": "speculation", "message": MESSAGE}
        )
