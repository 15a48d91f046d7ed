"""Rules that say which requests an option means: `[METHOD] PATTERN [MEMBER=VALUE]`.

A plain path means it with every method. In a pattern, `*` is one segment and `**`, at its end, any
rest. Members tell requests for one path apart by what is in their bodies, as OAuth 2.0 does:
`POST /oauth/token grant_type=refresh_token`.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from settings.option import path

from origins.paths import normalise

_METHOD = re.compile(r"[A-Z]+(-[A-Z]+)*")
_ONE, _REST = "\1", "\2"  # `paths.normalise` leaves them; nobody writes them in an option
_STARS = {"*": _ONE, "**": _REST}
_EXPECTED = (
    "a path that begins with / and has no query, such as /login; a method may stand before it, * be"
    " one of its segments, and MEMBER=VALUE of the body follow: POST /auth/*/callback"
)


@dataclass(frozen=True)
class PathRule:
    """Which requests are meant."""

    text: str
    """As it was written."""
    method: str
    """Empty for every one."""
    segments: tuple[str, ...]
    """Of the normalised upstream path."""
    members: tuple[tuple[str, str], ...]
    """Names and values that the body must have."""
    path: str
    """The upstream path as it was written; empty for a pattern."""

    @classmethod
    def parse(cls, text: str, base_path: str = "") -> "PathRule":
        """A rule for the API's paths below its base path.

        Raises ValueError, saying what would be right.
        """
        parts = text.split()
        method = parts.pop(0) if len(parts) > 1 and _METHOD.fullmatch(parts[0]) else ""
        written, *said = parts or ("",)
        members = [tuple(member.split("=", 1)) for member in said]
        try:
            segments = path(written).split("/")
        except ValueError:
            raise ValueError(_EXPECTED) from None
        if not all(len(member) == 2 and member[0] for member in members):
            raise ValueError(_EXPECTED)
        if any("*" in one and one not in _STARS for one in segments) or "**" in segments[:-1]:
            raise ValueError(
                "a path in which * is a whole segment, and ** the last one (%2A is the character)"
            )
        pattern = "/".join(_STARS.get(segment, segment) for segment in segments)
        return cls(
            text,
            method,
            _segments(normalise(base_path + pattern)),
            tuple((name, value) for name, value in members),
            "" if pattern != written else base_path + written,
        )

    def takes(self, method: str, normalised: str) -> bool:
        """Whether a request with this method and path is meant, as far as its head tells."""
        return self.method in ("", method.upper()) and _meet(self.segments, _segments(normalised))

    def fits(self, members: Mapping[str, str]) -> bool:
        """Whether a request is meant whose body has these members."""
        return all(members.get(name) == value for name, value in self.members)

    def overlaps(self, other: "PathRule") -> bool:
        """Whether one request may be meant by both, while none of them says more of its body."""
        if self.method != other.method and self.method and other.method:
            return False
        if bool(self.members) != bool(other.members) or not _meet(self.segments, other.segments):
            return False
        values = dict(self.members)
        return all(values.get(name, value) == value for name, value in other.members)


class Meaning(enum.Enum):
    """What a request is for, by the rules."""

    NONE = ""
    LOGIN = "login"
    LOGOUT = "logout"
    REFRESH = "refresh"
    SESSION = "session"
    SWITCH = "switch"
    IN_BODY = "one that its body tells"


@dataclass(frozen=True)
class PathRules:
    """Those of all options, by what they mean."""

    rules: tuple[tuple[Meaning, PathRule], ...]

    def meaning(
        self, method: str, normalised: str, members: Mapping[str, str] | None = None
    ) -> Meaning:
        """What a request with this method and path is for; what says more of it goes first.

        `members` are those of its body; IN_BODY where that is not here, and has to be.
        """
        taking = [(meaning, rule) for meaning, rule in self.rules if rule.takes(method, normalised)]
        in_body = [(meaning, rule) for meaning, rule in taking if rule.members]
        if in_body and members is None:
            return Meaning.IN_BODY
        fitting = [meaning for meaning, rule in in_body if rule.fits(members or {})]
        whole = [meaning for meaning, rule in taking if not rule.members]
        return next(iter((*fitting, *whole)), Meaning.NONE)


def _segments(normalised: str) -> tuple[str, ...]:
    return tuple(filter(None, normalised.split("/")))


def _meet(these: Sequence[str], those: Sequence[str]) -> bool:
    """Whether one path may be of both kinds."""
    for one, other in zip(these, those, strict=False):
        if _REST in (one, other):
            return True
        if one != other and _ONE not in (one, other):
            return False
    shorter, longer = sorted((these, those), key=len)
    return longer[len(shorter) :] in ((), (_REST,))
