"""Set-Cookie fields of an API, as browsers read them (RFC 6265bis, 5.6)."""

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple


class SetCookie(NamedTuple):
    """One field."""

    name: str
    value: str
    attributes: Mapping[str, str]
    """By name in lower case."""

    @classmethod
    def read(cls, field: str) -> "SetCookie":
        pair, *attributes = field.split(";")
        name, _, value = (part.strip(" \t") for part in pair.partition("="))
        parts = (attribute.partition("=") for attribute in attributes)
        return cls(name, value, {key.strip().lower(): text.strip() for key, _, text in parts})

    @property
    def deletes(self) -> bool:
        """Whether it deletes the cookie: Max-Age goes before Expires."""
        if not self.value:
            return True
        if re.fullmatch(r"-?\d+", age := self.attributes.get("max-age", ""), re.ASCII):
            return int(age) <= 0
        try:
            ends = parsedate_to_datetime(self.attributes.get("expires", ""))
            return ends.timestamp() <= time.time()
        except (ValueError, TypeError, OverflowError, IndexError):
            return False
