"""How long a token is good for, from what the API says beside it or from the token itself."""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import lru_cache

from tokens import jwt

LONGEST = 400 * 24 * 3600
"""Seconds: browsers cap a cookie's age at 400 days (RFC 6265bis, 5.5)."""

LONGEST_MARGIN = 30
"""Seconds before its end at which a token is renewed."""

_DURATIONS = ("expiresin",)  # RFC 6749, 5.1
_MOMENTS = ("expires", "expiresat", "expiredat")
_SHORTEST_EPOCH = 10**8  # a smaller number is no moment (1973) but a duration in seconds
_LONGEST_EPOCH = 10**11  # a larger one counts milliseconds
_MOST_MOMENTS = 1024
_OF_REFRESH_TOKEN = re.compile(r"refresh_?(?:token)?_?(exp.*)", re.IGNORECASE)
_ISO_FRACTION = re.compile(r"(\.\d{1,6})\d*")


def seconds_left(beside: Mapping[str, object], token: str, now: float) -> int | None:
    """Whole seconds until the token is over, at most LONGEST; None when nothing says.

    In this order: `expires_in` (seconds) among the members beside the token; `expires`,
    `expires_at` or `expired_at` (ISO 8601, or seconds or milliseconds since 1970); the `exp` claim
    of a JWT (RFC 7519, 4.1.4). Names count in any case, with `_` or without. `now` is in seconds
    since 1970. A token that is over gives 0 or less.
    """
    members = {re.sub("[_-]", "", name).lower(): value for name, value in beside.items()}
    for name in _DURATIONS:
        if (duration := _number(members.get(name))) is not None:
            return _capped(duration)
    for name in _MOMENTS:
        if (left := _until(members.get(name), now)) is not None:
            return _capped(left)
    expires = expiry(token)
    return None if expires is None else _capped(expires - now)


def refresh_seconds_left(beside: Mapping[str, object], token: str, now: float) -> int | None:
    """The same of a refresh token: by `refresh_expires_in` (Keycloak), `refresh_token_expires_in`
    (GitHub) and the like, or by its own `exp`. None also for one that never ends.
    """
    named = {
        match[1]: value
        for name, value in beside.items()
        if (match := _OF_REFRESH_TOKEN.match(name))
    }
    left = seconds_left(named, token, now)
    return left if left and left > 0 else None


def is_due(token: str, now: float, issued_at: float | None, ends: float | None = None) -> bool:
    """Whether a token ends so soon that it is to be renewed before it is used.

    That is in 30 seconds, or a fifth of its life if that is less. A JWT tells by `iat` when that
    began (RFC 7519, 4.1.6), and its end by `exp`; else `issued_at` and `ends` do, if known.
    """
    expires = expiry(token)
    if expires is None and (expires := ends) is None:
        return False
    decoded = jwt.decode(token)
    born = _number(decoded.claims.get("iat")) if decoded else None
    begins = born if born is not None else issued_at
    life = expires - begins if begins is not None else LONGEST
    return expires - now <= min(LONGEST_MARGIN, max(life, 0) / 5)


def size_and_expiry(token: str) -> tuple[int, float | None]:
    """What may be told of a token: its bytes, and when it is over (see `expiry`)."""
    return len(token.encode("utf-8", "replace")), expiry(token)


@lru_cache(maxsize=64)
def expiry(token: str) -> float | None:
    """When a JWT is over, by its own `exp`, in seconds since 1970; None for what does not say."""
    decoded = jwt.decode(token)
    return _number(decoded.claims.get("exp")) if decoded else None


def _capped(seconds: float) -> int:
    return int(max(min(seconds, LONGEST), -LONGEST))


def _number(value: object) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"\d{1,15}", value, re.ASCII):
        return float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(max(min(value, 10**15), -(10**15)))
    return None


def _until(value: object, now: float) -> float | None:
    number = _number(value)
    if number is not None:
        if abs(number) < _SHORTEST_EPOCH:
            return number
        return (number / 1000 if number > _LONGEST_EPOCH else number) - now
    if not isinstance(value, str):
        return None
    # Python 3.10 knows neither Z nor more than six digits of a second.
    text = _ISO_FRACTION.sub(lambda match: match[1].ljust(7, "0"), value.strip())
    try:
        moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() - now
    except (ValueError, OverflowError):
        return None


class _Moments:
    """One for each token, in seconds since 1970. Only digests of the tokens are kept."""

    def __init__(self) -> None:
        self._moments: OrderedDict[bytes, float] = OrderedDict()

    def _note(self, token: str, moment: float) -> None:
        self._moments[_digest(token)] = moment
        if len(self._moments) > _MOST_MOMENTS:
            self._moments.popitem(last=False)

    def of(self, token: str) -> float | None:
        """None for a token of an earlier process."""
        return self._moments.get(_digest(token))


class Births(_Moments):
    """When tokens came from a renewal, for those that do not say it themselves.

    Else one that lives for less than the margin would be renewed for each request.
    """

    def note(self, token: str) -> None:
        """The token has come just now."""
        self._note(token, time.time())


class Ends(_Moments):
    """When tokens are over, where that stood beside them as they came (see `seconds_left`)."""

    def note(self, token: str, beside: Mapping[str, object]) -> None:
        """The token has come just now, and this beside it."""
        now = time.time()
        left = seconds_left(beside, token, now)
        if left is not None:
            self._note(token, now + left)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
