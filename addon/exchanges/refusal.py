"""A refusal: the answer is ours, whatever the exchange was to become."""

import logging
import traceback

from messages import answers
from messages.answers import Refused
from messages.text import printable
from mitmproxy import http

from exchanges import notes
from exchanges.exchange import Exchange, printable_path, refusal_answer
from exchanges.proxy import Proxy

logger = logging.getLogger(__name__)


class Refusal(Exchange):
    """What an exchange becomes when something is wrong with it, or when our own code fails."""

    kind = "refused"
    answered_here = True
    bounded_request = True
    bounded_answer = True

    @classmethod
    def of(cls, flow: http.HTTPFlow, proxy: Proxy, error: Exception) -> "Refusal":
        """Note why, and log it: one line, with no value from the traffic."""
        if isinstance(error, Refused):
            refused, cause = error, ""
        else:
            refused = Refused("internal", "cookie-auth failed; mitmproxy's log says where.")
            cause = f" ({_place(error)})"
        before = proxy.exchanges.get(flow)
        refusal = cls(flow, proxy)
        if before:  # whose new cookies ride on this answer, too
            vars(refusal).update(vars(before))
        flow.metadata[notes.REFUSAL] = [refused.code, refused.message]
        logger.warning(
            "%s %s refused: %s%s",
            *(printable(flow.request.method), printable_path(flow), refused, cause),
        )
        return refusal

    async def request_head(self) -> None:
        """Make sure that nothing of the request goes on."""
        request = self.flow.request
        request.stream = False  # mitmproxy cannot answer a request that streams; see `request`
        request.headers.pop("cookie", None)

    async def request(self) -> None:
        self._answer()

    def answer_head(self) -> None:
        if self.flow.response:
            self.flow.response.stream = False

    async def answer(self) -> None:
        self._answer()

    def message(self) -> None:
        """Nothing of it goes on."""
        assert self.flow.websocket
        self.flow.websocket.messages[-1].drop()

    def failed(self, code: str, reason: str) -> http.Response:
        self._answer()
        assert self.flow.response
        return self.flow.response

    def _answer(self) -> None:
        self.flow.response = answers.make(500)  # stays if there is an error in ours, too
        try:
            self.flow.response = self._response()
        except Exception as error:
            logger.error("a refusal was refused itself (%s)", _place(error))

    def _response(self) -> http.Response:
        flow = self.flow
        code, message = flow.metadata[notes.REFUSAL]
        response = refusal_answer(self, code, message)
        if code == "bad_request" and not (flow.request.is_http2 or flow.request.is_http3):
            response.headers["Connection"] = "close"  # its sender may have meant another end of it
        if code == "bad_cookie":
            self.new_cookies = self.new_cookies or self.expired()
        elif code == "bad_request" and flow.metadata.get(notes.TRUSTED):
            # Else neither login nor logout would end it: they see no cookie of a deeper path.
            self.new_cookies = self.new_cookies or self.wallet.expire_planted(self.brought)
        self.add_new_cookies(response)
        return response


def _place(error: Exception) -> str:
    """What went wrong and where; nothing of the exception's own text, which may quote a token."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.filename}, line {last.lineno}"
