"""The option about the way to API and front end, and what the environment says of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from settings.option import Option, Reader

from upstream.proxies import NO_PROXIES, Proxies

OPTIONS = (
    Option(
        "cookie_auth_answer_timeout",
        str,
        "",
        "Seconds that API and front end may take until their answer begins; empty: no limit.",
    ),
)

_SECONDS = re.compile(r"\d{1,6}(\.\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class NetworkSettings:
    """How API and front end are reached."""

    answer_timeout: float | None = None
    """Seconds until the head of an answer must have come."""
    proxies: Proxies = NO_PROXIES

    @classmethod
    def read(cls, read: Reader, environ: Mapping[str, str]) -> "NetworkSettings":
        """Raises InvalidOption."""
        return cls(read.text("cookie_auth_answer_timeout", _seconds), Proxies.read(environ))


def _seconds(text: str) -> float | None:
    if text and not _SECONDS.fullmatch(text):
        raise ValueError("a number of seconds, such as 30, or empty for no limit")
    return float(text or 0) or None
