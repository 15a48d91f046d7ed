"""A CORS preflight of an allowed origin, or of one that is to be told why not: answered here."""

from origins import cors, rules

from exchanges import notes
from exchanges.exchange import Asked, Exchange
from exchanges.settings import Settings


class Preflight(Exchange):
    """A page of another origin is about to ask for something, and its browser asks first.

    One of an allowed origin may. One that was likely meant to be (`rules.is_near`) hears yes where
    it will be refused, so that its developer can read why. Where it will not, for a GET with
    headers of its own, the API is asked as ever, and no CORS answer lets the page go on.
    """

    kind = "preflight"
    answered_here = True
    bounded_request = True

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        if asked.asks_for is None:
            return False
        refused = asked.asks_for not in rules.SAFE_METHODS
        return asked.cors is not None or (
            refused and rules.is_near(asked.page, settings.origins.allowed)
        )

    async def request(self) -> None:
        allowed = notes.CORS in self.flow.metadata
        self.flow.response = cors.preflight_answer(self.flow.request, lasts=allowed)
