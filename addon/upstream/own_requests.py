"""Requests of the proxy's own, and the rule that one refresh serves all who need it.

APIs that rotate refresh tokens take each only once, while a page asks for many things at a time.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from messages.redacted import real_message
from mitmproxy import http, options
from mitmproxy.addons.clientplayback import ReplayHandler

T = TypeVar("T")

SECONDS_TO_ANSWER = 30
SECONDS_TO_REMEMBER = 60
"""How long a request may still come, or go on, with what a refresh has replaced."""
SECONDS_WITHOUT_TOKEN = 10
"""How long one may that has no token at all, so that nothing tells which one it lacks."""


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


@dataclass
class _Refresh(Generic[T]):
    task: asyncio.Task[T]
    sessions: set[str] = field(default_factory=set)
    replaced: set[bytes] = field(default_factory=set)
    """Digests of the tokens that its requests came with, b"" for none."""
    done_at: float | None = None


class Renewals(Generic[T]):
    """Asks once for each refresh token, and gives the result to all who need it.

    Tokens are kept as digests only; the results are the caller's, in memory for a minute.
    """

    def __init__(self, seconds: float = SECONDS_TO_REMEMBER) -> None:
        """`seconds`: how long a result is remembered."""
        self._known: dict[bytes, _Refresh[T]] = {}
        self._seconds = seconds

    async def run(
        self,
        api: str,
        session: str,
        refresh_token: str,
        token: str | None,
        ask: Callable[[], Awaitable[T]],
        *,
        serves: Callable[[T], bool],
    ) -> T:
        """The result for an API's refresh token, asked for by `ask` unless it was a moment ago.

        A remembered result serves requests that come with a token which it replaced, as long as
        `serves` says so of it. None is forgotten at once, so that the next one tries again.
        """
        key = _digest(f"{api}\n{refresh_token}")
        came_with = _digest(token) if token else b""
        known = self._known.get(key)
        if known and known.done_at is not None:
            recent = time.monotonic() - known.done_at < SECONDS_WITHOUT_TOKEN
            replaced = came_with in known.replaced if token else recent
            if not (replaced and serves(known.task.result())):
                known = None
        if known is None:
            known = self._begin(key, ask)
        known.replaced.add(came_with)
        known.sessions.add(session)
        # Whoever goes away does not take the others' refresh along.
        return await asyncio.shield(known.task)

    def forget(self, session: str) -> None:
        """Remember nothing of a session that is over."""
        for key in [key for key, known in self._known.items() if session in known.sessions]:
            del self._known[key]

    def _begin(self, key: bytes, ask: Callable[[], Awaitable[T]]) -> _Refresh[T]:
        begun = self._known[key] = _Refresh(asyncio.ensure_future(_awaited(ask)))
        begun.task.add_done_callback(lambda _: self._done(key, begun))
        return begun

    def _done(self, key: bytes, known: _Refresh[T]) -> None:
        known.done_at = time.monotonic()
        task = known.task
        if task.cancelled() or task.exception() is not None or task.result() is None:
            self._drop(key, known)
        else:
            asyncio.get_running_loop().call_later(self._seconds, self._drop, key, known)

    def _drop(self, key: bytes, known: _Refresh[T]) -> None:
        if self._known.get(key) is known:
            del self._known[key]


_MOST_LOGINS = 1024
_MOST_REPLACED = 256


@dataclass
class _Line(Generic[T]):
    newest: T
    replaced: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    """Digests of what it is in the place of."""


class Successors(Generic[T]):
    """What has taken the place of refresh tokens that are used up, by login.

    A server that calls through the proxy with its user's cookies may let the fresh ones drop; the
    browser comes with the old ones then, as much later as it may be. In memory only.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Line[T]] = OrderedDict()

    def note(self, session: str, replaced: str, newest: T) -> None:
        """A refresh token of this login was replaced, and what came instead."""
        line = self._lines.setdefault(session, _Line(newest))
        self._lines.move_to_end(session)
        line.newest = newest
        line.replaced[_digest(replaced)] = None
        if len(line.replaced) > _MOST_REPLACED:
            line.replaced.popitem(last=False)
        if len(self._lines) > _MOST_LOGINS:
            self._lines.popitem(last=False)

    def of(self, session: str, refresh_token: str) -> T | None:
        """What came last, if this token was replaced; None for one that may still be good."""
        line = self._lines.get(session)
        return line.newest if line and _digest(refresh_token) in line.replaced else None

    def forget(self, session: str) -> None:
        self._lines.pop(session, None)


async def _awaited(start: Callable[[], Awaitable[T]]) -> T:
    return await start()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
