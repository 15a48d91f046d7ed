"""The token in the browser's cookies: sealed if there is a secret, split if it is long."""

import re
from dataclasses import dataclass

from messages.answers import Refused

from credentials.cookies import (
    MAX_COOKIE_BYTES,
    Pairs,
    decode_token,
    encode_token,
)
from credentials.seal import Seal

LONGEST_VALUE = 32 * 1024
"""Bytes of a token, as the cookies carry it, that are accepted at most."""


@dataclass(frozen=True)
class Jar:
    """Where one API's token is kept in a browser.

    A value that fits becomes the cookie `name`. A longer one is split over `name.0`, `name.1`, …:
    pieces of one length, and a shorter last one, so that a missing piece is noticed.
    """

    name: str
    api: str
    """The API's origin, which a sealed value is bound to."""
    seal: Seal

    def owns(self, name: str) -> bool:
        """Whether a cookie of this name is the token or a piece of it."""
        return self._index(name) is not None

    def read(self, cookies: Pairs) -> bytes | None:
        """The token in a request's cookies; None when there is none.

        Raises Refused: `bad_request` for two cookies of one name that differ, since which one is
        ours cannot be known; `bad_cookie` for a value that does not open or is not whole.
        """
        values: dict[int, str] = {}
        for name, value in cookies:
            index = self._index(name)
            if index is None or not value:
                continue
            if values.setdefault(index, value) != value:
                raise Refused(
                    "bad_request",
                    f"The request carries different cookies named {name}. Delete this site's"
                    " cookies in the browser and log in again.",
                )
        if not values:
            return None
        value = self._joined(values)
        if not self.seal.active:
            return decode_token(value)
        try:
            return self.seal.open(value, self._context)
        except ValueError:
            raise self._bad("does not open with this proxy's secret") from None

    def cookies(self, token: str) -> dict[str, str]:
        """The cookies that keep the token, by name.

        Raises ValueError for a token that is too long, UnicodeEncodeError for one that is no text.
        """
        value = self.seal.close(token, self._context) if self.seal.active else encode_token(token)
        if len(value) > LONGEST_VALUE:
            raise ValueError(f"takes {len(value)} bytes, and {LONGEST_VALUE} are the most")
        return self._split(value)

    @property
    def _context(self) -> str:
        return f"{self.name}\n{self.api}"

    def _index(self, name: str) -> int | None:
        """-1 for the whole cookie, the number of a piece, None for a cookie that is not ours."""
        if name == self.name:
            return -1
        if not name.startswith(self.name):
            return None
        base, _, number = name.rpartition(".")
        is_piece = base == self.name and re.fullmatch("0|[1-9][0-9]?", number)
        return int(number) if is_piece else None

    def _split(self, value: str) -> dict[str, str]:
        if len(self.name) + len(value) <= MAX_COOKIE_BYTES:
            return {self.name: value}
        size = MAX_COOKIE_BYTES - len(f"{self.name}.99")
        if len(value) % size == 0:
            size -= 1  # so that the last piece is shorter
        starts = range(0, len(value), size)
        return {f"{self.name}.{i}": value[at : at + size] for i, at in enumerate(starts)}

    def _joined(self, values: dict[int, str]) -> str:
        if values.keys() == {-1}:
            return values[-1]
        if -1 in values or sorted(values) != list(range(len(values))):
            raise self._bad("is not whole")
        pieces = [values[index] for index in range(len(values))]
        *full, last = pieces
        if (
            not full
            or {len(piece) for piece in full} != {len(pieces[0])}
            or len(last) >= len(pieces[0])
        ):
            raise self._bad("is not whole")
        return "".join(pieces)

    def _bad(self, how: str) -> Refused:
        return Refused("bad_cookie", f"The cookie {self.name} {how}. It is deleted; log in again.")
