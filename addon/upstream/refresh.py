"""Requests of the proxy's own, and the rule that one refresh serves all who need it.

APIs that rotate refresh tokens take each only once, while a page asks for many things at a time.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from mitmproxy import http, options
from mitmproxy.addons.clientplayback import ReplayHandler
from token_handler import login
from token_handler.answers import Refused
from token_handler.decision import ROLE
from token_handler.login import Captured, TokenHeader
from token_handler.redacted import Redacted, real_message
from token_handler.settings import Settings

T = TypeVar("T")

logger = logging.getLogger(__name__)

SECONDS_TO_ANSWER = 30
SECONDS_TO_REMEMBER = 60
"""How long a browser may still come with the old refresh token, which the API takes only once."""


async def send(flow: http.HTTPFlow, settings: options.Options) -> http.Response | None:
    """Send a flow's request as mitmproxy's client replay does, and wait for the answer.

    So it goes through mitmproxy's own connections (their TLS options hold), and is seen in its UI.
    None when there is no answer in time.
    """
    flow.is_replay = "request"
    flow.response = flow.error = None
    try:
        await asyncio.wait_for(ReplayHandler(flow, settings).replay(), SECONDS_TO_ANSWER)
    except asyncio.TimeoutError:
        return None
    return real_message(flow.response) if flow.response else None


class OnlyOnce(Generic[T]):
    """Runs a task once for each key, and gives its result to all who ask within a minute."""

    def __init__(self) -> None:
        self._tasks: dict[bytes, asyncio.Task[T]] = {}

    async def run(self, key: bytes, start: Callable[[], Awaitable[T]]) -> T:
        """The result for this key. The key is a secret: only a digest of it is kept.

        A result of None is forgotten at once, so that the next one tries again.
        """
        digest = hashlib.sha256(key).digest()
        task = self._tasks.get(digest)
        if task is None:
            task = self._tasks[digest] = asyncio.ensure_future(_awaited(start))
            task.add_done_callback(lambda done: self._forget(digest, done))
        # Whoever goes away does not take the others' refresh along.
        return await asyncio.shield(task)

    def _forget(self, digest: bytes, done: asyncio.Task[T]) -> None:
        failed = done.cancelled() or done.exception() is not None or done.result() is None
        delay = 0 if failed else SECONDS_TO_REMEMBER
        asyncio.get_running_loop().call_later(delay, self._tasks.pop, digest, None)


async def _awaited(start: Callable[[], Awaitable[T]]) -> T:
    return await start()


class Renewals:
    """Refresh tokens at work: the proxy's own requests to the API, and what comes of them."""

    def __init__(self) -> None:
        # Our own requests that are recorded without secrets: the body, and where a token may be.
        self._redacted: WeakKeyDictionary[http.HTTPFlow, tuple[bytes, Settings]] = (
            WeakKeyDictionary()
        )
        self._once: OnlyOnce[Captured | Refused | None] = OnlyOnce()

    async def renew(
        self,
        flow: http.HTTPFlow,
        refresh_token: str,
        settings: Settings,
        mitm_options: options.Options,
    ) -> Captured | Refused | None:
        """The fresh token, or the API's refusal; None when it did not answer."""
        renewal = settings.renewal
        assert renewal

        async def ask() -> Captured | Refused | None:
            own = _own(flow, "renewal")
            renewal.fill(own.request, refresh_token, settings.header)
            if settings.redact:
                written = (form.encode() for form in renewal.written(refresh_token))
                body = settings.recorded(own.request.raw_content or b"", *written)
                own.request.raw_content = body
                self._redacted[own] = body, settings
            response = await send(own, mitm_options)
            if response is None or response.status_code >= 500:
                return None
            refused = Refused("bad_cookie", "The API does not renew this login. Log in again.")
            try:
                return (
                    login.read_answer(
                        own.request.method,
                        response,
                        settings.token_sources,
                        redact=settings.redact_login,
                        refresh=renewal.pointer,
                    )
                    or refused
                )
            except Refused as error:
                logger.warning("the answer to the refresh cannot be used: %s", error)
                return refused

        return await self._once.run(f"{flow.client_conn.proxy_mode}\n{refresh_token}".encode(), ask)

    async def ask_again(
        self, flow: http.HTTPFlow, mitm_options: options.Options
    ) -> http.Response | None:
        """The answer to the flow's request, sent once more; None when there is none in time."""
        return await send(_own(flow, "retry"), mitm_options)

    def restore_body(self, own: http.HTTPFlow) -> None:
        """Give a redacted request its body back, which mitmproxy has copied as it is shown."""
        if own in self._redacted:
            own.request.raw_content = self._redacted[own][0]

    def redact_headers(self, own: http.HTTPFlow) -> None:
        """Record the answer to a redacted request without the header that may hold a token."""
        if own not in self._redacted or not own.response:
            return
        sources = self._redacted[own][1].token_sources
        names = {source.name.lower() for source in sources if isinstance(source, TokenHeader)}
        own.response.headers.fields = tuple(
            (name, Redacted.of(value, [value]) if name.decode().lower() in names else value)
            for name, value in own.response.headers.fields
        )

    def redact_body(self, own: http.HTTPFlow) -> None:
        """Record the answer to a redacted request without its body."""
        if own in self._redacted and own.response and (body := own.response.raw_content):
            own.response.raw_content = Redacted.of(body, [body])


def _own(flow: http.HTTPFlow, role: str) -> http.HTTPFlow:
    """A request of the proxy's own, made after that of a flow."""
    own: http.HTTPFlow = flow.copy()
    own.metadata = {ROLE: role}
    own.comment = own.marked = ""
    return own
