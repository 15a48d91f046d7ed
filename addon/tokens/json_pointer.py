"""JSON Pointer (RFC 6901): where in a login answer the token stands."""

import re
from typing import NamedTuple

_ARRAY_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")  # RFC 6901, section 4: no leading zeros
_BAD_ESCAPE = re.compile(r"~(?![01])")


class Absent(Exception):
    """The document has nothing at that place."""


class JsonPointer(NamedTuple):
    """A parsed pointer: its text, and the keys and indexes to follow from the root."""

    text: str
    steps: tuple[str, ...]

    @property
    def name(self) -> str:
        """What stands there is called so; empty for the whole document."""
        return self.steps[-1] if self.steps else ""

    @classmethod
    def parse(cls, text: str) -> "JsonPointer":
        """Read a pointer such as `/data/login/token`.

        Two conveniences: a name without a slash is that top-level key, taken literally, and `/` is
        the whole document (RFC 6901 writes an empty string, which an option cannot show).

        Raises ValueError, saying what would be right.
        """
        if text == "/":
            return cls(text, ())
        if not text:
            raise ValueError("a JSON Pointer such as /authToken, or / for the whole body")
        if "/" not in text:
            return cls(join((text,)), (text,))
        if not text.startswith("/"):
            raise ValueError("a JSON Pointer, which begins with a slash: /" + text)
        if _BAD_ESCAPE.search(text):
            raise ValueError("a JSON Pointer, in which ~ is written ~0 and a slash in a key ~1")
        steps = text[1:].split("/")
        return cls(text, tuple(step.replace("~1", "/").replace("~0", "~") for step in steps))

    def find(self, document: object) -> object:
        """The value at this place. Raises Absent."""
        for step in self.steps:
            document = _child(document, step)
        return document


def join(steps: tuple[str, ...]) -> str:
    """The text of the pointer that follows these keys and indexes."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def without(
    document: object, removed: frozenset[tuple[str, ...]], at: tuple[str, ...] = ()
) -> object:
    """A copy of the document that lacks what stands at these places (the `steps` of pointers)."""
    if isinstance(document, dict):
        return {
            key: without(value, removed, (*at, key))
            for key, value in document.items()
            if (*at, key) not in removed
        }
    if isinstance(document, list):
        return [
            without(value, removed, (*at, str(index)))
            for index, value in enumerate(document)
            if (*at, str(index)) not in removed
        ]
    return document


def _child(parent: object, step: str) -> object:
    if isinstance(parent, dict) and step in parent:
        return parent[step]
    if isinstance(parent, list) and _ARRAY_INDEX.fullmatch(step) and int(step) < len(parent):
        return parent[int(step)]
    raise Absent(step)
