"""The types of a message's parts, checked in less time, and with nothing left behind.

mitmproxy checks each message that it makes (`http.py`, `MessageData.__post_init__`; alike in 11.0.2
and 12.3.1). It tries one type after the other by way of exceptions, and each of them holds its own
traceback, in a circle, and the whole stack with it, for the garbage collector to find
(`utils/typecheck.py`): with a small request, that is a tenth of all work. Here mitmproxy's check is
asked only about what it may refuse.

Without its debug checks (`python -O`) there is none, and nothing to be replaced.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from mitmproxy import http

from upstream.patches import Function, replace, unknown

CHECK = Function(http.MessageData, "__post_init__", ("self",))


def install() -> Callable[[], None]:
    """Have messages of the right types pass without more ado. Returns what undoes it."""
    if unknown([CHECK]):
        return lambda: None
    check: Callable[[Any], None] = getattr(CHECK.owner, CHECK.name)
    parts_of: dict[Any, list[tuple[str, Any]]] = {}

    def check_unless_right(message: http.MessageData) -> None:
        kind: Any = type(message)
        parts = parts_of.get(kind)
        if parts is None:
            fields = dataclasses.fields(kind)
            parts = parts_of[kind] = [(field.name, field.type) for field in fields]
        for name, expected in parts:
            if not isinstance(getattr(message, name), expected):
                check(message)
                return

    return replace({CHECK: check_unless_right})
