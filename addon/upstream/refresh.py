"""Requests of the proxy's own, and the rule that one refresh serves all who need it.

APIs that rotate refresh tokens take each only once, while a page asks for many things at a time.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from mitmproxy import http, options
from mitmproxy.addons.clientplayback import ReplayHandler

T = TypeVar("T")

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
    return flow.response


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
