"""Headers that the API wants with each request: its key, or the gate of a staging server.

Their values are secrets of whoever runs the proxy. They come from the environment or from a file,
and go to the API only.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from messages.headers import IndexedHeaders, spelling
from settings.option import InvalidOption, Reader
from tokens.search import Needle

from credentials.carriers import Recorded, put_header
from credentials.options import header_name

OPTION = "cookie_auth_header.fixed"

HIDDEN = "..."
"""What a page gets where an answer repeats one: it has no stand-in, since none could come back."""

_LONGEST = 8 * 1024
_LINE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
"""Visible ASCII, and blanks within it."""


class FixedHeader(NamedTuple):
    """One of them."""

    name: str
    value: str
    source: str
    """Where the value is from, as it may be told."""

    @property
    def secret(self) -> str:
        """What no page may see: the value, without a scheme before it (RFC 9110, 11.4)."""
        return self.value.partition(" ")[2] or self.value

    def needle(self, *, replaces: bool) -> Needle:
        """What finds it in an answer, and puts HIDDEN in its place if it `replaces`."""
        return Needle.of(self.secret, HIDDEN if replaces else None)


def read_all(
    read: Reader, environ: Mapping[str, str], taken: Mapping[str, str]
) -> tuple[FixedHeader, ...]:
    """Those that the option names. `taken` says of a header's spelling what else is in it.

    Raises InvalidOption, which tells names, and no value.
    """
    known = dict(taken)

    def parse(table: Mapping[str, str]) -> FixedHeader:
        fixed = _read(table, environ)
        if other := known.get(spelling(fixed.name)):
            raise ValueError(f"another header: {fixed.name} is {other}")
        known[spelling(fixed.name)] = "there already"
        return fixed

    return tuple(read.tables(OPTION, parse))


def refuse_for(apis: Collection[object], fixed: Sequence[FixedHeader]) -> None:
    """Raise InvalidOption where more than one API would get them."""
    if fixed and len(apis) > 1:
        raise InvalidOption(OPTION, "", "left out with several --mode: it is for one API")


def put_all(headers: IndexedHeaders, fixed: Iterable[FixedHeader], recorded: Recorded) -> None:
    """Put them in the place of what has come under their names, in place."""
    for one in fixed:
        put_header(headers, one.name, recorded(one.value.encode(), one.secret.encode()))


def take_out(headers: IndexedHeaders, fixed: Iterable[FixedHeader]) -> None:
    """Take out what has come under their names, in place."""
    for one in fixed:
        put_header(headers, one.name, None)


def _read(table: Mapping[str, str], environ: Mapping[str, str]) -> FixedHeader:
    if table.keys() not in ({"name", "env"}, {"name", "file"}):
        raise ValueError(
            "{name: …, env: …} or {name: …, file: …}, which say where the header's value is found"
        )
    name = header_name(table["name"])
    if "env" in table:
        source = table["env"]
        value = environ.get(source, "")
        if not value:
            raise ValueError(f"a variable that is set, and {source}, for {name}, is not")
    else:
        source = table["file"]
        value = _from_file(name, source)
    value = value.rstrip("\r\n")
    if not _LINE.fullmatch(value) or len(value) > _LONGEST:
        raise ValueError(f"one line of visible ASCII, and that in {source}, for {name}, is not")
    return FixedHeader(name, value, source)


def _from_file(name: str, file: str) -> str:
    try:
        with Path(file).expanduser().open("rb") as stream:
            return stream.read(_LONGEST + 3).decode("latin-1")
    except (OSError, RuntimeError, ValueError) as error:  # no home; a NUL
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"a file that can be read, and {file}, for {name}: {why}") from None
