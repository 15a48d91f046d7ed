"""A profile is written: whole or not at all, and what a file has already is kept."""

import contextlib
import copy
import io
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

from profiles.reading import NEVER, PREFIX, RULE

_START = re.compile(r"^---[ \t]*\r?\n", re.MULTILINE)
_COMMENTS = re.compile(r"^[ \t]*#", re.MULTILINE)
_IN_BLOCK = re.compile(r"^( *)-( +)\S", re.MULTILINE)


def lines(values: Mapping[str, object]) -> list[str]:
    """Options as lines of a profile; their names may have the prefix.

    Secrets are left out.
    """
    return _dumped(_yaml(), _merged(CommentedMap(), values)).splitlines()


def write(file: Path, values: Mapping[str, object], about: str = "") -> bool:
    """Put options into a profile: whether that has changed the file.

    Comments, order and other keys of the file stay; `about` is the comment at the top of a new one.
    Raises OSError, and ValueError for a file that is there and no profile.
    """
    file = file.expanduser().resolve()  # a link stays one
    try:
        before = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        before = None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    after = merged(before if before is not None else about and f"# {about}\n", values)
    if after == before:
        return False
    _replace(file, after.encode())
    return True


def merged(text: str, values: Mapping[str, object]) -> str:
    """The text of a profile with these values in it. Raises ValueError for what is none."""
    there = _loaded(text) or CommentedMap()
    before = _placed(there)
    for name, _ in _named(values):  # the mappings first, so that all know what stands in one
        _place(there, name)
    new_values = {_place(there, name): value for name, value in _named(values)}
    expected = {**_placed(there), **new_values}
    if _are(before, expected):
        return text
    start = _START.search(text)
    head, body = (text[: start.end()], text[start.end() :]) if start else ("", text)
    yaml = _yaml()
    if block := _IN_BLOCK.search(body):  # lists as they are there
        offset = len(block[1])
        yaml.indent(sequence=offset + 1 + len(block[2]), offset=offset)
    found = _loaded(body)
    if found is None:  # perhaps comments, which ruamel.yaml would lose
        head += body if body.endswith("\n") or not body else f"{body}\n"
        found = CommentedMap()
    elif _dumped(yaml, found).count("#") != body.count("#"):
        raise ValueError("it has comments within a list in brackets, which would be lost")
    new = head + _dumped(yaml, _merged(found, values))
    if not _are(_placed(_loaded(new) or {}), expected):  # by an alias, one value changes another
        raise ValueError("it cannot be written without a change to other options")
    if len(_COMMENTS.findall(new)) < len(_COMMENTS.findall(text)):
        raise ValueError("a comment below a list that is empty now would be lost")
    return new.replace("\r\n", "\n").replace("\n", "\r\n") if "\r\n" in text else new


def _loaded(text: str) -> CommentedMap | None:
    """The options that a file has; None for none. Raises ValueError."""
    try:
        found = _yaml().load(text)
    except (YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"it is no YAML{f', line {mark.line + 1}' if mark else ''}") from None
    if found is None:
        return None
    if not isinstance(found, CommentedMap):
        raise ValueError("it does not hold options")
    for name in found:
        if str(name).removeprefix(PREFIX) in NEVER:
            raise ValueError(f"{name} does not belong there")
    return found


def _named(values: Mapping[str, object]) -> list[tuple[str, object]]:
    """Those that a profile may have, by their short names."""
    short = ((name.removeprefix(PREFIX), value) for name, value in values.items())
    return [(name, value) for name, value in short if name not in NEVER]


def _are(old: Mapping[tuple[str, ...], object], new: Mapping[tuple[str, ...], object]) -> bool:
    """Whether these are the same options, with the same values."""
    return old.keys() == new.keys() and all(_is(old[name], value) for name, value in new.items())


def _is(old: object, new: object) -> bool:
    """Whether a file has this value already, if as a number."""
    return old == new or (type(old) is int and str(old) == new)


def _placed(found: Mapping[str, object]) -> dict[tuple[str, ...], object]:
    """What a file says, by the keys that lead there; copied, since `found` may be changed."""
    placed: dict[tuple[str, ...], object] = {}
    for name, value in found.items():
        members = value if isinstance(value, Mapping) else {"": value}
        for member, one in members.items():
            placed[(name, member) if member else (name,)] = copy.deepcopy(one)
    return placed


def _place(found: CommentedMap, name: str) -> tuple[str, ...]:
    """The keys that lead to an option; the mapping that it needs is made (see `reading.key_of`)."""
    group, dot, member = name.partition(".")
    if dot:
        if not isinstance(found.get(group), CommentedMap):
            found[group] = CommentedMap({RULE: found[group]} if group in found else {})
        return group, member
    for group, members in found.items():
        if isinstance(members, CommentedMap) and name == group:
            return group, RULE
        if isinstance(members, CommentedMap) and name.startswith(f"{group}_"):
            return group, name.removeprefix(f"{group}_")
    return (name,)


def _merged(document: CommentedMap, values: Mapping[str, object]) -> CommentedMap:
    for name, value in _named(values):
        *groups, key = _place(document, name)
        found = document[groups[0]] if groups else document
        if isinstance(value, Sequence) and not isinstance(value, str):
            if isinstance(old := found.get(key), CommentedSeq):
                _fill(old, value)
            else:
                found[key] = new = CommentedSeq(map(_quoted, value))
                new.fa.set_flow_style()
        elif not _is(found.get(key), value):
            found[key] = value
    return document


def _quoted(member: object) -> object:
    """A member as it can be read again: ruamel.yaml writes `[?0]`, and reads that as a mapping."""
    if isinstance(member, str) and member.startswith("?"):
        return SingleQuotedScalarString(member)
    return member


def _fill(old: CommentedSeq, new: Sequence[object]) -> None:
    """Make a list have these members, and keep the comments beside those that stay and below."""
    new = list(map(_quoted, new))
    below = _cut_comment_below(old) if len(new) != len(old) else None
    for index, value in enumerate(new[: len(old)]):
        if old[index] != value:
            old[index] = value
    del old[len(new) :]
    old.extend(new[len(old) :])
    if below is None or not old:
        return
    beside = old.ca.items.setdefault(len(old) - 1, [below, None, None, None])[0]
    if beside is not below:
        beside.value = beside.value.rstrip("\n") + below.value


def _cut_comment_below(found: CommentedSeq) -> CommentToken | None:
    """Take the lines below a list, which ruamel.yaml keeps with its last member."""
    last = len(found) - 1
    if not (comment := found.ca.items.get(last)) or comment[0] is None:
        return None
    beside, _, below = comment[0].value.partition("\n")
    if not below:
        return None
    cut: CommentToken = copy.copy(comment[0])
    cut.value = f"\n{below}"
    comment[0].value = f"{beside}\n"
    if not beside:
        del found.ca.items[last]
    return cut


def _yaml() -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # one line stays one line
    return yaml


def _dumped(yaml: YAML, found: CommentedMap) -> str:
    if not found:
        return ""
    stream = io.StringIO()
    yaml.dump(found, stream)
    return stream.getvalue()


def _replace(file: Path, data: bytes) -> None:
    """Put this in the file's place, once all of it is on the disk."""
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    with _removed_on_error(name):
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.replace(name, file)


@contextlib.contextmanager
def _removed_on_error(name: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
