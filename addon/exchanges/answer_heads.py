"""How the heads of answers were translated, for requests that are alike.

What becomes of a head depends on nothing but itself and what was decided about the request, and an
API says the same again and again, but for the date.
"""

import re
from collections.abc import Callable

from messages.headers import IndexedHeaders
from mitmproxy import http

Fields = tuple[tuple[bytes, bytes], ...]

_MOST = 4
_LONGEST = 8 * 1024
_DATE = re.compile(
    rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"
)  # RFC 9110, 5.6.7
_NO_DATE = b""


class AnswerHeads:
    """The last few, as they came and as they went, for one decision (see `router.Router`)."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes, Fields], tuple[bytes, Fields, bool]] = {}

    def translate(
        self,
        response: http.Response,
        anew: Callable[[http.Response], bool],
        stream: Callable[[http.Response], None],
    ) -> None:
        """Translate an answer's head as one before, in place, or by `anew`.

        That says whether it has changed nothing else, so that it need not be asked for one alike;
        but it may let the body stream, as `stream` does for the next one.
        """
        data = response.data
        fields, date = _undated(data.headers.fields)
        came = data.status_code, data.reason, fields
        if known := self._known.get(came):
            data.reason, fields, streams = known
            if streams:
                stream(response)
            response.headers = IndexedHeaders.with_fields(_dated(fields, date))
        elif anew(response) and sum(len(name) + len(value) for name, value in fields) <= _LONGEST:
            if len(self._known) == _MOST:
                self._known.clear()
            new, _ = _undated(data.headers.fields)
            self._known[came] = data.reason, new, bool(response.stream)


def _undated(fields: Fields) -> tuple[Fields, bytes]:
    """The fields with nothing in the place of the date, and the date."""
    for at, (name, value) in enumerate(fields):
        if len(name) == 4 and name.lower() == b"date" and _DATE.fullmatch(value):
            return (*fields[:at], (name, _NO_DATE), *fields[at + 1 :]), value
    return fields, _NO_DATE


def _dated(fields: Fields, date: bytes) -> Fields:
    if not date:
        return fields
    return tuple([(n, date if not v and n.lower() == b"date" else v) for n, v in fields])
