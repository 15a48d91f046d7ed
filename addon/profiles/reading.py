"""A profile is read: options of ours in a YAML file, by names without their prefix.

What belongs together may stand in a mapping: `refresh: {rule: /refresh, body: …}` says what the
options `refresh` and `refresh_body` do, and has keys beside that are no options.

Names and types are checked here. What a value may be, its option's own parser knows; `located` says
where in the file one stands that is refused there.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ruamel.yaml import YAML, MappingNode, Node, ScalarNode, SequenceNode, YAMLError
from settings.option import MAY_BE_SECRET, TABLES, InvalidOption, Option

PREFIX = "cookie_auth_"
RECIPES = Path(__file__).parent.parent / "recipes"
SUFFIX = ".yaml"

NEVER = MappingProxyType(
    {
        "secret": "a profile is for others to read: COOKIE_AUTH_SECRET in the environment is not",
        "profile": "a profile cannot name another one",
    }
)
"""Options that no profile has, and why."""

RULE = "rule"
"""In a mapping: the option itself."""

WIDENING = (
    *("allowed_origins", "allowed_hosts", "public_origin", "expose", "frontend", "leak"),
    *("upstream", "header.fixed"),
)
"""Options by which more programs, or scripts, get at what is kept from them."""

_MOST_BYTES = 64 * 1024
_TAG = "tag:yaml.org,2002:"
_PROFILE = f"{PREFIX}profile"


class InvalidProfile(InvalidOption):
    """What is wrong with a profile: one line that begins with file and line."""

    def __init__(self, file: str, line: int, text: str) -> None:
        super().__init__(_PROFILE, file, "a profile")
        self.args = (f"{file}:{line}: {text}",)


class Profile(NamedTuple):
    """What a file says; without one, nothing."""

    file: str = ""
    """As it is told to the user."""
    values: Mapping[str, object] = MappingProxyType({})
    """By the options' whole names."""
    lines: Mapping[str, Sequence[int]] = MappingProxyType({})
    """Of each: the key's line, then that of each member of its list."""

    @classmethod
    def named(cls, name: str, options: Collection[Option]) -> "Profile":
        """The one that the option names; empty for an empty name. Raises InvalidOption."""
        if not name:
            return cls()
        if "/" in name or name.endswith(SUFFIX):
            return cls.read(name, name, options)
        if name not in (names := recipes()):
            what = f"a file (with a / in it, or ending in {SUFFIX}), or one of the recipes"
            raise InvalidOption(_PROFILE, name, f"{what}: {', '.join(names)}")
        return cls.read(f"recipes/{name}{SUFFIX}", str(RECIPES / f"{name}{SUFFIX}"), options)

    @classmethod
    def read(cls, shown: str, path: str, options: Collection[Option]) -> "Profile":
        """The one in this file, relative to the working directory. Raises InvalidOption."""
        try:
            with Path(path).expanduser().open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except (OSError, RuntimeError, ValueError) as error:  # no home; a NUL
            why = getattr(error, "strerror", None) or error
            raise InvalidOption(_PROFILE, shown, f"a file that can be read: {why}") from None
        if len(data) > _MOST_BYTES:
            raise InvalidOption(_PROFILE, shown, f"of at most {_MOST_BYTES // 1024} KiB")
        return cls.parse(shown, data, options)

    @classmethod
    def parse(cls, file: str, data: bytes, options: Collection[Option]) -> "Profile":
        """What these bytes of a file say. Raises InvalidProfile."""
        known = {option.name.removeprefix(PREFIX): option for option in options}
        values: dict[str, object] = {}
        lines: dict[str, list[int]] = {}
        for key, name, node in _entries(file, _root(file, data), known):
            line = _line(key)
            if why := NEVER.get(name.removeprefix(PREFIX)):
                raise InvalidProfile(file, line, f"{name}: does not belong here; {why}")
            if not isinstance(key, ScalarNode) or name not in known or "." in key.value:
                raise InvalidProfile(file, line, _unknown(key, name, known.keys() - NEVER))
            option = known[name]
            if option.name in values:
                first = lines[option.name][0]
                text = f"{name}: is there already in line {first}; it must be there once"
                raise InvalidProfile(file, line, text)
            value = _value(node, option)
            if value is None:
                shown = "…" if option.name in MAY_BE_SECRET else _shown(node)
                text = f"{name}: {shown} is wrong; it must be {_form(option, node)}"
                raise InvalidProfile(file, line, text)
            values[option.name] = value
            members = node.value if isinstance(node, SequenceNode) else ()
            lines[option.name] = [line, *map(_line, members)]
        return cls(file, values, lines)

    def beneath(self, values: Mapping[str, object], given: Collection[str]) -> "Resolved":
        """All options with these values, of which those given go before the profile's own."""
        own = {name: value for name, value in self.values.items() if name not in given}
        widened = f"the profile {self.file} widens trust: {found}" if (found := widens(own)) else ""
        return Resolved({**values, **own}, frozenset((*given, *self.values)), widened)

    def located(self, error: InvalidOption, given: Collection[str]) -> InvalidOption:
        """The error, with its place in the file where the value came from there."""
        if error.name not in self.values or error.name in given:
            return error
        line, *members = self.lines[error.name]
        value = self.values[error.name]
        if isinstance(value, list) and error.value in value:
            line = members[value.index(error.value)]
        return InvalidProfile(self.file, line, str(error).removeprefix(PREFIX))


class Resolved(NamedTuple):
    """The options as they are with a profile."""

    values: Mapping[str, object] = MappingProxyType({})
    """Of all, by their whole names."""
    given: frozenset[str] = frozenset()
    """Those that were given, in the profile or otherwise."""
    widened: str = ""
    """What of the profile's widens trust, in one line; empty for nothing."""


def widens(values: Mapping[str, object]) -> str:
    """Which of these values widen trust, and how; empty for none."""
    found = []
    for name in WIDENING:
        value = values.get(PREFIX + name)
        harmless = name == "leak" and str(value).lower() in ("stand-in", "block")
        if value and not harmless:
            shown = ", ".join(map(_told, value)) if isinstance(value, list) else value
            found.append(f"{name} ({shown})")
    return ", ".join(found)


def _told(member: object) -> str:
    """A text, or a table as the user's file has it."""
    if isinstance(member, dict):
        return "{" + ", ".join(f"{name}: {value}" for name, value in member.items()) + "}"
    return str(member)


def recipes() -> list[str]:
    """The names of all recipes."""
    return sorted(file.stem for file in RECIPES.glob(f"*{SUFFIX}"))


def _root(file: str, data: bytes) -> Node | None:
    """The document, not yet made into objects: so nothing in it is run, and all has its line."""
    try:
        root: Node | None = YAML(typ="rt", pure=True).compose(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidProfile(file, line, "is wrong; it must be UTF-8") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "a character that YAML does not allow"
        at = getattr(error, "position", None)  # of such a character
        line = mark.line + 1 if mark else data.decode("utf-8-sig").count("\n", 0, at) + 1
        raise InvalidProfile(file, line, f"is wrong; it must be YAML: {problem}") from None
    except RecursionError:
        raise InvalidProfile(file, 1, "is wrong; it must be YAML that is not so deep") from None
    return root


def _members(file: str, root: Node | None) -> Iterator[tuple[Node, Node]]:
    if root is None:
        return
    if not isinstance(root, MappingNode):
        text = "is wrong; it must be lines like login: [/auth/sign-in]"
        raise InvalidProfile(file, _line(root), text)
    yield from root.value


def _entries(
    file: str, root: Node | None, known: Mapping[str, Option]
) -> Iterator[tuple[Node, str, Node]]:
    """Each key with the name that it has in `known`, and its value; those in mappings, too."""
    for key, node in _members(file, root):
        name = str(key.value)
        if isinstance(node, MappingNode) and any(_keys(name, known)):
            for member, value in _members(file, node):
                yield member, key_of(name, str(member.value), known), value
        else:
            yield key, name, node


def key_of(group: str, member: str, known: Collection[str]) -> str:
    """The name of what stands in the mapping `group` under this key: `rule` is the option itself,
    others have `group_` before them, or `group.` if they are of profiles only.
    """
    if member == RULE:
        return group
    flat = f"{group}_{member}"
    return flat if flat in known else f"{group}.{member}"


def _keys(group: str, known: Collection[str]) -> Iterator[str]:
    """What may stand in the mapping `group`, beside its rule; nothing if there is no such one."""
    for name in sorted(known):
        if name.startswith((f"{group}_", f"{group}.")) and group in known:
            yield name[len(group) + 1 :]


def _value(node: Node, option: Option) -> object:
    """The value that fits the option's type; None for one that does not."""
    if option.type is bool:
        text = node.value.lower() if _is(node, "bool") else ""
        return {"true": True, "false": False}.get(text)
    if option.type is str:
        return _text(node)
    if not isinstance(node, SequenceNode):
        return None
    if option.type == TABLES:
        tables = list(map(_table, node.value))
        return None if None in tables else tables
    texts = [_text(member) for member in node.value]
    return None if None in texts else texts


def _table(node: Node) -> dict[str, str] | None:
    if not isinstance(node, MappingNode):
        return None
    table = {_text(key): _text(value, "bool") for key, value in node.value}
    fits = len(table) == len(node.value) and None not in (*table, *table.values())
    return {str(key): str(value) for key, value in table.items()} if fits else None


def _text(node: Node, *more: str) -> str | None:
    """A text, or a number as it is written; and what is of one of these types."""
    fits = any(_is(node, kind) for kind in ("str", "int", *more))
    return str(node.value) if fits else None


def _is(node: Node, kind: str) -> bool:
    return isinstance(node, ScalarNode) and node.tag == _TAG + kind


def _form(option: Option, node: Node) -> str:
    """What would be right in this value's place."""
    if option.type is str and not isinstance(node, ScalarNode):
        return "one text, in quotes where it begins with { or ["
    if option.type in (bool, str):
        return option.form
    if option.type == TABLES:
        return f"{option.form}, one name and one text in each line"
    tells = _text(node) and option.name not in MAY_BE_SECRET
    return f"{option.form}, such as [{node.value}]" if tells else f"{option.form} in [ ]"


def _shown(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return repr(str(node.value)) if node.value else "nothing"
    return "a list" if isinstance(node, SequenceNode) else "a mapping"


def _unknown(key: Node, name: str, names: Collection[str]) -> str:
    if not isinstance(key, ScalarNode):
        return "a list or mapping is no name of an option"
    if name in names and name == key.value:  # it has a dot
        return "{!r} stands in a mapping: {}: {{{}: …}}".format(name, *name.split("."))
    if (short := name.removeprefix(PREFIX)) in names:
        return f"{name}: names have no {PREFIX} here; it must be {short}"
    group, dot, member = name.partition(".")
    possible = [RULE, *_keys(group, names)] if dot else sorted(names)
    near = difflib.get_close_matches(member or name, possible, n=1, cutoff=0)
    return f"{name!r}: there is no such option; is it {near[0]}?"


def _line(node: Node) -> int:
    line: int = node.start_mark.line
    return line + 1
