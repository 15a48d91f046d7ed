"""Functions of mitmproxy's that are replaced while the addon is loaded.

Which ones, and why, is said where it is done: `gaps.py` and `redaction.py`. (`fast_dispatch.py`, a
script of its own, looks after itself.) Here is what they share: whether this mitmproxy has these
functions as they are known, and putting them back.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple


class Function(NamedTuple):
    """A function of mitmproxy's: where it is found, and the parameters that it is known to have."""

    owner: Any
    name: str
    parameters: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"


def unknown(functions: Iterable[Function]) -> list[str]:
    """The names of those that this mitmproxy lacks, or has with other parameters."""
    return [str(function) for function in functions if not _is_known(function)]


def replace(replacements: Mapping[Function, Any]) -> Callable[[], None]:
    """Put each in the place of its function. Returns what undoes it."""
    before = {function: getattr(function.owner, function.name) for function in replacements}

    def put(functions: Mapping[Function, Any]) -> None:
        for function, new in functions.items():
            setattr(function.owner, function.name, new)

    put(replacements)
    return lambda: put(before)


def _is_known(function: Function) -> bool:
    found = getattr(function.owner, function.name, None)
    try:
        return tuple(inspect.signature(found).parameters) == function.parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
