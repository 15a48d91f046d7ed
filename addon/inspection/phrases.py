"""How tokens, cookies and times are spoken of: by name and length, never by value."""

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

from credentials.places import MARK
from exchanges import notes
from exchanges.received import browser_path
from messages.text import printable
from mitmproxy import http

MOST_NAMES = 8


def token_size(size_and_expiry: Sequence[Any]) -> str:
    """`412 bytes, expires in 14 min`; without a JWT's `exp`, the size alone."""
    size, end = size_and_expiry
    if end is None:
        return f"{size} bytes"
    left = end - time.time()
    return f"{size} bytes, {'expires' if left > 0 else 'expired'} {distance(left)}"


def distance(seconds: float) -> str:
    """`in 14 min`, `3 days ago`: a moment, from now, in its largest fitting unit."""
    amount = abs(seconds)
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if amount >= 2 * length:
            text = f"{int(amount // length)} {unit}"
            break
    else:
        text = f"{int(amount)} s"
    return f"in {text}" if seconds >= 0 else f"{text} ago"


def moment(seconds: float) -> str:
    """`2026-11-23 19:20:00 UTC, in 14 min`; what datetime raises for times beyond its calendar."""
    text = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{text}, {distance(seconds - time.time())}"


@lru_cache(maxsize=64)
def cookies(names: tuple[str, ...], what: str) -> str:
    """`3 cookies kept back: _ga, theme, sid`."""
    shown = ", ".join(printable(name) for name in names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{len(names)} cookie{'s' if len(names) > 1 else ''} {what}: {shown}{more}"


class Places:
    """Where stand-ins stood in a flow's request, and therefore tokens do now."""

    def __init__(self, flow: http.HTTPFlow) -> None:
        self._told = [str(place) for place in flow.metadata.get(notes.TRANSLATED, ())]
        self._headers = {place.lower() for place in self._told if " " not in place}
        self._sent = browser_path(flow)

    def __bool__(self) -> bool:
        return bool(self._told)

    def __str__(self) -> str:
        return ", ".join(map(printable, self._told))

    @property
    def in_body(self) -> bool:
        return any(place.startswith("body ") for place in self._told)

    def in_header(self, name: str) -> bool:
        return printable(name).lower() in self._headers

    def without_tokens(self, target: str, shown: Callable[[str], str]) -> str:
        """The target that the API got, with something else in the tokens' place."""
        # A token has none of these: it is percent-encoded. What was put before the path, or taken
        # from it, stands at its beginning.
        ours, theirs = (re.split("([/?&=])", text) for text in (self._sent, target))
        for at in range(1, min(len(ours), len(theirs)) + 1):
            if MARK in ours[-at] and ours[-at] != theirs[-at]:
                theirs[-at] = shown(theirs[-at])
        return "".join(theirs)
