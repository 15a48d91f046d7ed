"""The target of a redirect, which may carry a token in its query or in its fragment."""

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote_plus

from tokens.suspicion import may_be_token


class Redirect(NamedTuple):
    """The target of a redirect, with the parameters of its query and of its fragment."""

    before: str
    query: tuple[tuple[str, str, str], ...]
    """Each as it is written, its name, its value."""
    route: str
    """What of the fragment stands before its parameters, as single-page apps have it (`/app?`)."""
    fragment: tuple[tuple[str, str, str], ...]

    @classmethod
    def read(cls, location: str) -> "Redirect":
        address, _, fragment = location.partition("#")
        before, _, query = address.partition("?")
        route, mark, rest = fragment.rpartition("?")
        return cls(before, _parameters(query), route + mark, _parameters(rest))

    @property
    def parameters(self) -> list[tuple[str, str]]:
        return [(name, value) for _, name, value in (*self.query, *self.fragment)]

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.parameters if found == name]

    def without(self, removed: Callable[[str, str], bool]) -> str:
        """The target without these parameters; the others stay as they are written."""
        query, fragment = (
            "&".join(written for written, name, value in part if not removed(name, value))
            for part in (self.query, self.fragment)
        )
        fragment = (self.route if fragment else self.route.removesuffix("?")) + fragment
        return self.before + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else "")


# Within another parameter, between semicolons, behind a second number sign.
_ANYWHERE = re.compile(r"[?&;#]([^?&;#=]+)=([^?&;#]+)")


def parameters_anywhere(location: str) -> list[tuple[str, str]]:
    """The parameters of an address, and those within others and within their values."""
    texts = (location, once := unquote_plus(location), unquote_plus(once))
    pairs = [pair for text in texts for pair in _ANYWHERE.findall(text)]
    return list(dict.fromkeys([*Redirect.read(location).parameters, *pairs]))


def hidden_parameter(location: str, exposed: frozenset[str] = frozenset()) -> str | None:
    """The name of a parameter, wherever in a redirect, that seems to hold a token.

    `exposed` has the names of those that pages may read, in lower case.
    """
    found = (
        name
        for name, value in parameters_anywhere(location)
        if name.lower() not in exposed and may_be_token(name, value, strict=True)
    )
    return next(found, None)


def _parameters(text: str) -> tuple[tuple[str, str, str], ...]:
    pairs = ((part, *part.partition("=")[::2]) for part in text.split("&") if part)
    return tuple((part, unquote_plus(name), unquote_plus(value)) for part, name, value in pairs)
