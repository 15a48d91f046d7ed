"""The house: which package may import which, and who may ask mitmproxy's global state."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ADDON

ROOMS = (
    "settings messages origins tokens credentials profiles upstream exchanges inspection".split()
)
"""Each may import those before it, and itself."""


def modules() -> list[tuple[str, Path]]:
    return [(room, file) for room in ROOMS for file in sorted((ADDON.parent / room).glob("*.py"))]


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


@pytest.mark.parametrize(("room", "file"), modules(), ids=lambda part: getattr(part, "stem", part))
def test_imports_lead_one_way(room: str, file: Path) -> None:
    found = {name.partition(".")[0] for name in imported(file)} & set(ROOMS)
    assert found <= set(ROOMS[: ROOMS.index(room) + 1])


def test_only_the_hooks_and_the_inspection_ask_for_mitmproxys_state() -> None:
    asking = {room for room, file in modules() if "mitmproxy.ctx" in imported(file)}
    assert asking == {"inspection"}


def test_flows_are_known_to_exchanges_upstream_and_inspection_only() -> None:
    knowing = {
        room for room, file in modules() if "HTTPFlow" in file.read_text() and room != "exchanges"
    }
    assert knowing == {"upstream", "inspection"}


def test_every_package_is_made_anew_with_the_script() -> None:
    text = ADDON.read_text()
    assert all(f'"{room}"' in text for room in ROOMS)
