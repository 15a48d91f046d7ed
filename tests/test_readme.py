"""The README says what is: options, error codes, commands, links; and so do the other texts."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from exchanges import notes
from exchanges.settings import OPTIONS, Settings
from inspection.inspector import Inspector
from messages.answers import STATUS_OF
from profiles.reading import PREFIX
from settings.option import TABLES, Option
from support import ROOT

README = ROOT / "README.md"
TEXTS = [README, ROOT / "addon" / "README.md", ROOT / "tests" / "benchmarks" / "README.md"]
MOST_BYTES_OF_A_PICTURE = 150_000

# Parses command lines as mitmdump does, once it has all its options. A process of its own, since a
# master leaves handlers behind.
PARSE = """
import asyncio, json, sys
from mitmproxy import options
from mitmproxy.tools import cmdline, dump

async def main():
    known = options.Options()
    dump.DumpMaster(known)
    parser = cmdline.mitmdump(known)
    given = [parser.parse_args(arguments).setoptions for arguments in json.load(sys.stdin)]
    json.dump({"given": given, "known": list(known.keys())}, sys.stdout)

asyncio.run(main())
"""


def without_code_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


# Options


def rows() -> list[tuple[str, str, str]]:
    """Name, default and meaning, as the tables tell them."""
    return [
        (PREFIX * ("." in match[1]) + match[1], match[2], match[3])
        for match in re.finditer(
            r"^\| `(cookie_auth_\w+|\w+\.\w+)`((?: \(list\))? \| [^|]*) \| (.*) \|$",
            README.read_text(),
            re.MULTILINE,
        )
    ]


def default_cell(option: Option) -> str:
    """What the first cells of an option's row say after its name."""
    if option.type in (Sequence[str], TABLES):
        assert isinstance(option.default, list)
        return f" (list) | {', '.join(f'`{value}`' for value in option.default) or 'none'}"
    if isinstance(option.default, bool):
        return f" | `{str(option.default).lower()}`"
    return f" | `{option.default}`" if option.default else " | empty"


def test_the_tables_have_every_option_once_and_no_other() -> None:
    assert sorted(name for name, _, _ in rows()) == sorted(option.name for option in OPTIONS)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_options_row_has_its_default_and_a_meaning_and_so_does_its_help(option: Option) -> None:
    told = {name: (default, meaning) for name, default, meaning in rows()}
    default, meaning = told[option.name]
    assert default == default_cell(option)
    assert meaning.strip()
    assert option.help.strip()


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: str(file.parent.name))
def test_no_text_names_an_option_or_a_command_that_is_not_there(file: Path) -> None:
    text = file.read_text()
    noted = {value for name, value in vars(notes).items() if name.isupper()}
    named = set(re.findall(r"\bcookie_auth_\w+", text)) - noted
    assert named <= {option.name for option in OPTIONS}
    commands = set(re.findall(r"\bcookie_?auth\.(\w+)", text)) - {"py"}
    assert all(callable(getattr(Inspector, command)) for command in commands)


def test_the_help_of_run_sh_has_the_options_of_the_first_table_in_its_order() -> None:
    shown = re.findall(r"^  (cookie_auth_\w+)=(\S*) ", usage(), re.MULTILINE)
    defaults = {
        option.name: option.default[0] if isinstance(option.default, list) else option.default
        for option in OPTIONS
        if option.default != []
    }
    first = [name for name, _, _ in rows()][: len(shown)]
    assert shown == [(name, defaults[name]) for name in first]


# Error codes


def test_the_table_of_error_codes_is_complete() -> None:
    found = re.findall(r"^\| (\d{3}) `(\w+)` \|", README.read_text(), re.MULTILINE)
    assert {code: int(status) for status, code in found} == STATUS_OF
    assert len(found) == len(STATUS_OF)


# Commands


def commands(file: Path) -> list[str]:
    """The command lines of a text's shell blocks, and those within its sentences."""
    text = file.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`((?:\w+=\S+ )?(?:\./run\.sh|mitmdump|bash)(?: [^`]*)?)`", text)
    return [*lines, *spans]


ALL_COMMANDS = [(file, line) for file in TEXTS for line in commands(file)]


def usage() -> str:
    return subprocess.run(
        [ROOT / "run.sh", "--help"], capture_output=True, text=True, check=True
    ).stdout


def proxy_arguments(line: str) -> list[str] | None:
    """What mitmproxy gets of a command line; None for one that starts no proxy."""
    words = shlex.split(line)
    while "=" in words[0]:  # PYTHON=…
        words.pop(0)
    program, *arguments = words
    if program != "./run.sh":
        return arguments if program == "mitmdump" else None
    while arguments and arguments[0] in ("--web", "--no-fast"):
        arguments.pop(0)
    if "--frontend" in arguments:
        assert "--frontend URL" in usage()
        at = arguments.index("--frontend")
        named = ("cookie_auth_prefix=/api", f"cookie_auth_frontend={arguments[at + 1]}")
        arguments[at : at + 2] = [part for one in named for part in ("--set", one)]
    if "--save-profile" in arguments:
        assert "--save-profile FILE" in usage()
        at = arguments.index("--save-profile")
        del arguments[at : at + 2]
    if arguments and arguments[0].startswith(("http://", "https://")):
        return arguments[1:]
    return None if arguments and not arguments[0].startswith("--set") else arguments


@lru_cache
def parsed() -> tuple[dict[str, list[str]], list[str]]:
    """What each proxy's command line sets, and the names of mitmproxy's options."""
    lines = {
        line: words for _, line in ALL_COMMANDS if (words := proxy_arguments(line)) is not None
    }
    process = subprocess.run(
        [sys.executable, "-c", PARSE],
        input=json.dumps(list(lines.values())),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout)
    return dict(zip(lines, answer["given"], strict=True)), answer["known"]


def test_there_are_commands_to_check() -> None:
    assert len(commands(README)) > 8


@pytest.mark.parametrize(
    ("file", "line"), ALL_COMMANDS, ids=lambda part: getattr(part, "stem", part)
)
def test_a_command_is_one_that_its_program_takes(file: Path, line: str) -> None:
    words = [word for word in shlex.split(line) if not word.startswith("PYTHON=")]
    if words[0] == "bash":
        assert (ROOT / words[1]).is_file()
        return
    sets = parsed()[0].get(line)
    if sets is None:
        told = re.findall(r"^(?:usage:|      ) \./run\.sh (--version|\w+)", usage(), re.MULTILINE)
        assert words[1] in (*told, "--help")
        return
    assert all((ROOT / script).is_file() for script in re.findall(r"-s (\S+)", line))
    values: dict[str, object] = {option.name: option.default for option in OPTIONS}
    types = {option.name: option.type for option in OPTIONS}
    for name, _, value in (setting.partition("=") for setting in sets or []):
        if name.startswith("cookie_auth"):
            values[name] = [value] if types[name] == Sequence[str] else value
        else:
            assert name in parsed()[1]
    Settings.parse(values)


def test_version_tells_what_a_report_needs() -> None:
    out = subprocess.run(
        [ROOT / "run.sh", "--version"],
        env={"VENV": sys.prefix, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    newest = re.search(r"^## Changes\n\n\*\*([\d.]+)\*\*", README.read_text(), re.MULTILINE)
    assert newest
    python = ".".join(map(str, sys.version_info[:3]))
    assert re.fullmatch(
        rf"cookie-auth {re.escape(newest[1])}\nPython {re.escape(python)}\S*\nmitmproxy [\d.]+\n",
        out,
    )


def test_version_sets_nothing_up(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    out = subprocess.run(
        [ROOT / "run.sh", "--version"],
        env={"VENV": str(venv), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.fullmatch(r"cookie-auth [\d.]+\n.*not set up yet.*\n", out)
    assert not venv.exists()


# Links, pictures, names of functions


def slug(heading: str) -> str:
    """The anchor that a heading has on GitHub and its like."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def links(file: Path) -> list[str]:
    text = without_code_blocks(file.read_text())
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in found if not re.match(r"https?:", link)]


@pytest.mark.parametrize(
    ("file", "link"),
    [(file, link) for file in TEXTS for link in links(file)],
    ids=lambda part: getattr(part, "stem", part),
)
def test_a_link_leads_somewhere(file: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (file.parent / unquote(path)).resolve() if path else file
    assert ROOT in target.parents
    assert target.exists()
    if anchor:
        text = without_code_blocks(target.read_text())
        assert anchor in map(slug, re.findall(r"^#+ (.*)$", text, re.MULTILINE))


def test_pictures_are_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text())  # each says what it shows
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < MOST_BYTES_OF_A_PICTURE


def definitions(file: Path) -> set[str]:
    """`function`, `Class`, `Class.method`."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (ast.FunctionDef, ast.AsyncFunctionDef)
            found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, methods)}
    return found


def test_what_the_walks_name_is_there() -> None:
    text = TEXTS[1].read_text()
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", text)
    assert len(named) > 30
    missing = [
        f"{file}:{name}" for file, name in named if name not in definitions(ROOT / "addon" / file)
    ]
    assert missing == []
