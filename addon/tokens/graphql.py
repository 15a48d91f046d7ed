"""Which operation a GraphQL request asks for, where login and everything else share one path.

Names follow the GraphQL specification (October 2021): a *document* has *definitions* (operations
and fragments), a *selection set* has fields and spreads, a field's *response key* is its alias or
its name.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tokens.json_pointer import JsonPointer

# Section 2.1. Strings, comments and numbers are matched so that they cannot be taken for names.
_LEXEME = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n\r]|\\[^\n\r])*"|#[^\n\r]*|\.\.\.|[{}()@:]|\w+',
    re.DOTALL,
)
# What else a document may have between them: punctuators and what is ignored
_BETWEEN = re.compile(r"[ \t\n\r,!$&=|\[\].+-]*")
_MAY_ASK = re.compile(rb"query|\\u", re.IGNORECASE)
_MEMBERS = frozenset({"query", "variables", "operationName", "extensions"})
_UNCLEAR = ""


def login_keys(pointers: Iterable[JsonPointer]) -> frozenset[str]:
    """The response keys through which these pointers lead: `login` for `/data/login/token`."""
    return frozenset(
        pointer.steps[at + 1]
        for pointer in pointers
        for at, step in enumerate(pointer.steps[:-1])
        if step == "data"
    )


def is_other_operation(body: bytes, keys: frozenset[str]) -> bool:
    """Whether this body is a GraphQL request whose answer cannot hold the token.

    Operations that select none of the keys (see `login_keys`) at the top are other operations. A
    body that is not clearly a GraphQL request (no JSON, no `query`), or no keys, gives False.
    """
    try:
        requests = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(requests, list):
        requests = [requests]
    documents = [request.get("query") for request in requests if isinstance(request, dict)]
    if not keys or not documents or len(documents) < len(requests):
        return False
    return all(isinstance(text, str) and keys.isdisjoint(_top_keys(text)) for text in documents)


@dataclass
class _Definition:
    """An operation or a fragment: what its outermost selection set names."""

    head: list[str]
    keys: set[str] = field(default_factory=set)
    names: list[str] = field(default_factory=list)
    """The keys without the aliases."""
    spreads: set[str] = field(default_factory=set)


def _top_keys(document: str) -> set[str]:
    """Names selected at the top of any operation, fragments followed.

    A field with an alias counts under both names: that errs towards calling it a login.
    """
    return {key for definition in _reached(document) for key in definition.keys}


def _reached(document: str) -> list[_Definition]:
    """The operations, and the fragments that stand at their top."""
    definitions = list(_definitions(document))
    reached = [d for d in definitions if d.head[:1] != ["fragment"]]
    for definition in reached:  # grows while it is read
        reached += [
            fragment
            for fragment in definitions
            if fragment.head[:1] == ["fragment"]
            and not definition.spreads.isdisjoint(fragment.head[1:2])
            and fragment not in reached
        ]
    return reached


def _definitions(document: str) -> Iterator[_Definition]:
    current = _Definition([])
    parentheses = 0
    # For each open brace: does it stand at the definition's top? Inline fragments do not nest.
    at_top: list[bool] = []
    spread: list[str] | None = None  # the names that followed the last "..."
    previous = ""
    for lexeme in _LEXEME.findall(document):
        if lexeme[0] == "#":  # wherever it stands, as between `@` and a name
            continue
        if lexeme == "(":
            parentheses += 1
        elif lexeme == ")":
            parentheses -= 1
        elif parentheses or lexeme[0] == '"' or previous == "@":
            pass
        elif lexeme == "...":
            spread = []
        elif lexeme == "{":
            inline = spread is not None and (not spread or spread[0] == "on")
            at_top.append(not at_top or (at_top[-1] and inline))
            spread = None
        elif lexeme == "}":
            spread = None
            if at_top:
                at_top.pop()
            if not at_top:
                yield current
                current = _Definition([])
        elif lexeme == ":":
            if at_top and at_top[-1] and current.names:
                current.names.pop()  # it was an alias
        elif lexeme != "@":
            if not at_top:
                current.head.append(lexeme)
            elif spread is not None and (not spread or spread == ["on"]):
                spread.append(lexeme)
                if at_top[-1] and lexeme != "on" and spread[0] != "on":
                    current.spreads.add(lexeme)
            elif at_top[-1]:
                spread = None
                current.keys.add(lexeme)
                current.names.append(lexeme)
        previous = lexeme


class Field(NamedTuple):
    """A field that a request selects, wherever in it."""

    key: str
    """Its response key: the alias, or the name."""
    name: str
    asks: bool
    """It has arguments or a selection set, so it may be an operation and not a mere value."""


class Asked(NamedTuple):
    """What a GraphQL request selects, and what it gives as arguments in its text."""

    fields: tuple[Field, ...]
    arguments: tuple[tuple[str, str], ...]
    """Names, and the strings that they are given."""
    kinds: frozenset[str]
    """query, mutation, subscription."""


def read_document(document: str) -> Asked:
    """All the fields of a document, of its fragments too. A text that is no GraphQL gives some."""
    lexemes = [text for text in _LEXEME.findall(document) if text[0] != "#"]
    fields: list[Field] = []
    arguments: list[tuple[str, str]] = []
    kinds: set[str] = set()
    parentheses = braces = 0
    at = 0
    while at < len(lexemes):
        lexeme = lexemes[at]
        following = lexemes[at + 1] if at + 1 < len(lexemes) else ""
        if lexeme in "()":
            parentheses = max(parentheses + (1 if lexeme == "(" else -1), 0)
        elif parentheses:
            if following == ":" and at + 2 < len(lexemes) and lexemes[at + 2][0] == '"':
                arguments.append((lexeme, _string(lexemes[at + 2])))
        elif lexeme == "{":
            kinds |= {"query"} if not braces and not kinds else set()
            braces += 1
        elif lexeme == "}":
            braces = max(braces - 1, 0)
        elif not braces:
            kinds |= {lexeme} & {"query", "mutation", "subscription"}
        elif lexeme == "@":
            at += 1
        elif lexeme == "...":
            at += 2 if following == "on" else following not in ("{", "@")
        elif lexeme != ":" and lexeme[0] != '"':
            name = lexeme
            if following == ":" and at + 2 < len(lexemes):
                at += 2
                name = lexemes[at]
                following = lexemes[at + 1] if at + 1 < len(lexemes) else ""
            fields.append(Field(lexeme, name, following in ("(", "{")))
        at += 1
    return Asked(tuple(fields), tuple(arguments), frozenset(kinds))


def operations(body: bytes) -> tuple[str, ...]:
    """The names of the fields that a GraphQL request in JSON selects at its top; none for another.

    Several requests in one body count together, as do the fragments that stand there. One of the
    names is empty where servers may run something else than is read here: they differ in which of
    two `query` they take, in whether `Query` is one, and in what goes before it (`doc_id`, `id`, a
    persisted query's hash).
    """
    if not _MAY_ASK.search(body):
        return ()
    try:
        requests = json.loads(body, object_pairs_hook=_Object, parse_int=str)
    except (ValueError, RecursionError):
        return ()
    batch = requests if isinstance(requests, list) else [requests]
    if not any(isinstance(each, _Object) and each.queries() for each in batch):
        return ()
    names: list[str] = []
    for each in batch:
        queries = each.queries() if isinstance(each, _Object) else []
        documents = [query for query in queries if isinstance(query, str)]
        found = [name for text in documents for one in _reached(text) for name in one.names]
        names += found
        is_clear = isinstance(each, _Object) and each.is_clear() and _is_clear(documents[0])
        if not is_clear or not found:
            names.append(_UNCLEAR)
    return tuple(names)


@dataclass
class _Object:
    """A JSON object as it is written, repeated members and all."""

    members: list[tuple[str, object]]

    def queries(self) -> list[object]:
        return [value for name, value in self.members if name.casefold() == "query"]

    def is_clear(self) -> bool:
        """Whether it has one document, a text, and nothing that may stand for another."""
        names = [name for name, _ in self.members]
        members = dict(self.members)
        extensions = members.get("extensions")
        # Apollo Client 4 says there what it is
        harmless = extensions is None or (
            isinstance(extensions, _Object)
            and all(name == "clientLibrary" for name, _ in extensions.members)
        )
        unique = len(members) == len(names) and _MEMBERS.issuperset(names)
        return unique and harmless and isinstance(members.get("query"), str)


def _is_clear(document: str) -> bool:
    """Whether all of it was understood: no block string, whose escapes are others, nothing odd."""
    return '"""' not in document and bool(_BETWEEN.fullmatch(_LEXEME.sub("", document)))


def _string(lexeme: str) -> str:
    if lexeme.startswith('"""'):
        return lexeme[3:-3]
    try:
        return str(json.loads(lexeme))
    except ValueError:
        return lexeme[1:-1]
