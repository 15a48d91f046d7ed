"""A CORS preflight of an allowed origin: answered here."""

from origins import cors

from exchanges import notes
from exchanges.exchange import Asked, Exchange
from exchanges.settings import Settings


class Preflight(Exchange):
    """A page of an allowed origin is about to ask for something, and its browser asks first."""

    kind = "preflight"
    answered_here = True
    bounded_request = True

    @classmethod
    def takes(cls, asked: Asked, settings: Settings) -> bool:
        return asked.cors is not None and asked.is_preflight

    async def request(self) -> None:
        request = self.flow.request
        self.flow.response = cors.preflight_answer(request, self.flow.metadata[notes.CORS])
