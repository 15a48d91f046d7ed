"""The companion cookie: which login this is, and that this proxy issued the cookies beside it.

Cookies have no port and no sender: every dev server on localhost gets ours, and any may set one of
our names. So each login has an HttpOnly companion, `auth-token-login`, that holds no secret:

    2.<login>.<use>.<names>.<marks>

`login` names the login, at random. `use` is who sends its tokens (see `Use`), with an `r` behind it
if its user wants to be remembered, an `s` if not, nothing where that was not asked. `names` says
under which names an unlisted login handed its tokens out: for each its slot and four characters of
a keyed digest (see `credentials.stand_ins`). A mark is a MAC over all of this, the API's origin,
and one cookie's name and value: there is one for each token that belongs to the login, and one for
the companion itself. A cookie without a mark was issued by somebody else, for another API, or for
an earlier login.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_VERSION = "2"
_MARK_BYTES = 12  # 96 bits: it can be guessed online only
_MARK_LENGTH = 16
_COMPANION = re.compile(
    rf"{_VERSION}\.([\w-]{{12}})\.([lgu])([rs]?)\.((?:[mri123][\w-]{{4}}){{0,6}})"
    rf"\.((?:[\w-]{{{_MARK_LENGTH}}}){{1,60}})",
    re.ASCII,
)
_ANY_VERSION = re.compile(r"[12]\.[\w-]{12}\.[\w.-]+", re.ASCII)

KEY_FILE = "cookie-auth.key"


_AGES = {None: "", True: "r", False: "s"}


class Use:
    """Who sends a login's tokens, as the companion says it."""

    LISTED = "l"
    """The proxy does: the page got none, nor a stand-in."""
    GIVEN = "g"
    """The page got stand-ins and has not sent one yet: the proxy does, by rule, until then."""
    USED = "u"
    """The page does: a request of its without a stand-in is meant to be anonymous."""


class Session(NamedTuple):
    """Which login a request belongs to."""

    id: str
    """Empty for none."""
    issued: bool
    """Whether a companion names it. Else a client without one wrote its cookies by hand, and the
    id is a digest of them."""
    use: str = Use.LISTED
    names: str = ""
    """As the companion has them."""
    remembered: bool | None = None
    """Whether its user wants to stay logged in; None where that was not asked."""

    @property
    def said(self) -> str:
        """Its part of the companion that says who sends its tokens, and how long it lasts."""
        return self.use + _AGES[self.remembered]

    def name_of(self, slot: str) -> str | None:
        """The digest of the name under which a slot's token was handed out; None for no name."""
        names = self.names
        parts = (names[at : at + 5] for at in range(0, len(names), 5))
        return next((part[1:] for part in parts if part[0] == slot), None)

    def with_names(self, digests: Mapping[str, str]) -> "Session":
        """The same, with the digests of the names of these slots' tokens."""
        slots = dict.fromkeys([*self.names[::5], *digests])
        text = "".join(f"{slot}{digests.get(slot) or self.name_of(slot)}" for slot in slots)
        return self._replace(names=text)


NO_SESSION = Session("", issued=False)

_ITSELF = ("", "")
"""What the companion's own mark is over, in the place of a cookie's name and value."""


@dataclass(frozen=True)
class Companion:
    """A companion's value, read but not verified: that is what its marks are for."""

    session: Session
    marks: frozenset[str]

    @classmethod
    def read(cls, value: str) -> "Companion | None":
        """None for anything else than a companion."""
        match = _COMPANION.fullmatch(value)
        if not match:
            return None
        login, use, age, names, marks = match.groups()
        remembered = {text: known for known, text in _AGES.items()}[age]
        starts = range(0, len(marks), _MARK_LENGTH)
        return cls(
            Session(login, issued=True, use=use, names=names, remembered=remembered),
            frozenset(marks[at : at + _MARK_LENGTH] for at in starts),
        )


@dataclass(frozen=True)
class Notary:
    """Marks cookies with the first key, and knows the marks of all."""

    keys: tuple[bytes, ...]
    api: str
    """The API's origin, which marks are bound to."""

    @staticmethod
    def new_login() -> str:
        return secrets.token_urlsafe(9)

    def companion(self, session: Session, cookies: Mapping[str, str]) -> str:
        """The value of the companion to these cookies, by name."""
        marks = [self._mark(self.keys[0], session, *one) for one in (_ITSELF, *cookies.items())]
        return f"{_VERSION}.{session.id}.{session.said}.{session.names}.{''.join(marks)}"

    def issued(self, companion: Companion, name: str = "", value: str = "") -> bool:
        """Whether this cookie belongs to the companion's login; without one, the companion."""
        return any(
            self._mark(key, companion.session, name, value) in companion.marks for key in self.keys
        )

    def tag(self, session: str) -> str:
        """Eight characters that tell one session's entity tags from another's."""
        return _tag(self.keys[0], self.api, session)

    def digest(self, size: int, *parts: str) -> str:
        """A MAC of so many bytes over the parts and the API's origin, by the first key."""
        return _digest(self.keys[0], size, self.api, *parts)

    def knows(self, digest: str, *parts: str) -> bool:
        """Whether `digest` made this, with whichever of the keys."""
        size = len(digest) * 3 // 4
        return any(_digest(key, size, self.api, *parts) == digest for key in self.keys)

    def _mark(self, key: bytes, session: Session, name: str, value: str) -> str:
        parts = ("cookie", self.api, session.id, session.said, session.names, name, value)
        return _digest(key, _MARK_BYTES, *parts)


@lru_cache(maxsize=256)
def _tag(key: bytes, api: str, session: str) -> str:
    return _digest(key, 6, "entity tag", api, session)


def _digest(key: bytes, size: int, *parts: str) -> str:
    # No part can hold a line break: none may stand in a header.
    text = "\n".join(parts).encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(hmac.digest(key, text, "sha256")[:size]).decode()


def is_companion(value: str) -> bool:
    """Whether some proxy of our kind, perhaps another one, has issued this cookie."""
    return _ANY_VERSION.fullmatch(value) is not None


def keys(shared: tuple[str, ...], confdir: Path) -> tuple[bytes, ...]:
    """The keys for marks: derived from the shared secrets, if there are any; else the one that is
    kept in mitmproxy's confdir, and made at the first call.

    Raises OSError when it can be neither read nor written, ValueError for a file that is no key.
    """
    if shared:
        return tuple(hashlib.sha256(b"cookie-auth marks\n" + s.encode()).digest() for s in shared)
    file = confdir / KEY_FILE
    if not file.exists():
        _write_once(file, secrets.token_hex(32))
    key = bytes.fromhex(file.read_text("ascii"))
    if len(key) != 32:
        raise ValueError("a key has 32 bytes")
    return (key,)


def _write_once(file: Path, text: str) -> None:
    """Whole or not at all; of two processes that begin at the same time, both use the first's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    try:
        os.link(draft, file)
    except OSError:  # it is there by now, or this file system knows no links
        if not file.exists():
            draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
