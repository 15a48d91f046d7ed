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
    r'"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"|#[^\n]*|\.\.\.|[{}()@:]|\w+', re.DOTALL
)


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
    spreads: set[str] = field(default_factory=set)


def _top_keys(document: str) -> set[str]:
    """Names selected at the top of any operation, fragments followed.

    A field with an alias counts under both names: that errs towards calling it a login.
    """
    definitions = list(_definitions(document))
    fragments = {d.head[1]: d for d in definitions if d.head[:1] == ["fragment"] and d.head[1:]}
    reached = [d for d in definitions if d.head[:1] != ["fragment"]]
    for definition in reached:  # grows while it is read
        for name in definition.spreads:
            if (fragment := fragments.get(name)) and fragment not in reached:
                reached.append(fragment)
    return {key for definition in reached for key in definition.keys}


def _definitions(document: str) -> Iterator[_Definition]:
    current = _Definition([])
    parentheses = 0
    # For each open brace: does it stand at the definition's top? Inline fragments do not nest.
    at_top: list[bool] = []
    spread: list[str] | None = None  # the names that followed the last "..."
    previous = ""
    for lexeme in _LEXEME.findall(document):
        if lexeme == "(":
            parentheses += 1
        elif lexeme == ")":
            parentheses -= 1
        elif parentheses or lexeme[0] in '"#' or previous == "@":
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
        elif lexeme not in "@:":
            if not at_top:
                current.head.append(lexeme)
            elif spread is not None and (not spread or spread == ["on"]):
                spread.append(lexeme)
                if at_top[-1] and lexeme != "on" and spread[0] != "on":
                    current.spreads.add(lexeme)
            elif at_top[-1]:
                spread = None
                current.keys.add(lexeme)
        previous = lexeme


class Field(NamedTuple):
    """A field that a request selects, wherever in it."""

    key: str
    """Its response key: the alias, or the name."""
    name: str
    asks: bool
    """It has arguments or a selection set, so it may be an operation and not a mere value."""
    top: bool = False
    """It stands at the top of its operation or fragment."""


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
            fields.append(Field(lexeme, name, following in ("(", "{"), top=braces == 1))
        at += 1
    return Asked(tuple(fields), tuple(arguments), frozenset(kinds))


def operations(body: bytes) -> tuple[str, ...]:
    """The names of the fields that a GraphQL request in JSON selects at its top; none for another.

    Several requests in one body count together, as do fragments.
    """
    if b"query" not in body:
        return ()
    try:
        requests = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    queries = (
        request.get("query")
        for request in (requests if isinstance(requests, list) else [requests])
        if isinstance(request, dict)
    )
    documents = (read_document(query) for query in queries if isinstance(query, str))
    return tuple(field.name for one in documents for field in one.fields if field.top)


def _string(lexeme: str) -> str:
    if lexeme.startswith('"""'):
        return lexeme[3:-3]
    try:
        return str(json.loads(lexeme))
    except ValueError:
        return lexeme[1:-1]
