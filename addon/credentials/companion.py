"""The companion cookie: which login this is, and that this proxy issued the cookies beside it.

Cookies have no port and no sender: every dev server on localhost gets ours, and any may set one of
our names. So each login has an HttpOnly companion, `auth-token-login`, that holds no secret:

    1.<login>.<marks>

`login` names the login, at random. A mark is a MAC over the API's origin, the login, and one
cookie's name and value: there is one for each cookie that belongs to the login. A cookie without a
mark was issued by somebody else, for another API, or for an earlier login.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_VERSION = "1"
_MARK_BYTES = 12  # 96 bits: it can be guessed online only
_MARK_LENGTH = 16
_COMPANION = re.compile(
    rf"{_VERSION}\.([\w-]{{12}})\.((?:[\w-]{{{_MARK_LENGTH}}}){{1,40}})", re.ASCII
)

KEY_FILE = "cookie-auth.key"


@dataclass(frozen=True)
class Companion:
    """A companion's value, read but not verified: that is what its marks are for."""

    login: str
    marks: frozenset[str]

    @classmethod
    def read(cls, value: str) -> "Companion | None":
        """None for anything else than a companion."""
        match = _COMPANION.fullmatch(value)
        if not match:
            return None
        marks = match[2]
        starts = range(0, len(marks), _MARK_LENGTH)
        return cls(match[1], frozenset(marks[at : at + _MARK_LENGTH] for at in starts))


@dataclass(frozen=True)
class Notary:
    """Marks cookies with the first key, and knows the marks of all."""

    keys: tuple[bytes, ...]
    api: str
    """The API's origin, which marks are bound to."""

    @staticmethod
    def new_login() -> str:
        return secrets.token_urlsafe(9)

    def companion(self, login: str, cookies: dict[str, str]) -> str:
        """The value of the companion to these cookies, by name."""
        marks = (self._mark(self.keys[0], login, *cookie) for cookie in cookies.items())
        return f"{_VERSION}.{login}.{''.join(marks)}"

    def issued(self, companion: Companion, name: str, value: str) -> bool:
        """Whether this cookie belongs to the companion's login."""
        return any(
            self._mark(key, companion.login, name, value) in companion.marks for key in self.keys
        )

    def tag(self, session: str) -> str:
        """Eight characters that tell one session's entity tags from another's."""
        return _tag(self.keys[0], self.api, session)

    def _mark(self, key: bytes, login: str, name: str, value: str) -> str:
        return _digest(key, _MARK_BYTES, "cookie", self.api, login, name, value)


@lru_cache(maxsize=256)
def _tag(key: bytes, api: str, session: str) -> str:
    return _digest(key, 6, "entity tag", api, session)


def _digest(key: bytes, size: int, *parts: str) -> str:
    # No part can hold a line break: none may stand in a header.
    text = "\n".join(parts).encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(hmac.digest(key, text, "sha256")[:size]).decode()


def is_companion(value: str) -> bool:
    """Whether some proxy of our kind, perhaps another one, has issued this cookie."""
    return _COMPANION.fullmatch(value) is not None


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
