"""Options: declared once, read by one reader, refused in one line.

To add an option: declare it in the `options.py` of the package that uses it, give the group there a
field, and read it in the group's `read`.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")

TABLES = Sequence[Mapping[str, str]]
"""The type of an option that is a list of tables: of a profile only."""

MAY_BE_SECRET = (
    *("cookie_auth_secret", "cookie_auth_header.fixed", "cookie_auth_refresh_body"),
    *("cookie_auth_refresh.headers", "cookie_auth_logout.body", "cookie_auth_logout.headers"),
)
"""Options whose value is not told: in all but the first, somebody may write a secret, such as that
of an OAuth client."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_PATH = re.compile(r"/[!-\"$->@-~]*")  # visible ASCII without ? and #


class Option(NamedTuple):
    """An option as mitmproxy's `Loader.add_option` takes it; the help is for `--options`.

    With a dot in its name (`cookie_auth_refresh.expired`) it is a key of profiles only, which have
    it in a mapping: `refresh: {rule: /refresh, expired: [419]}`.
    """

    name: str
    type: type
    default: str | bool | Sequence[str] | TABLES
    help: str

    @property
    def form(self) -> str:
        """What a value of this type looks like."""
        forms = {bool: "true or false", str: "one text", TABLES: "a list of mappings"}
        return forms.get(self.type, "a list of texts")

    @property
    def is_key(self) -> bool:
        """Whether it is a key of profiles, and mitmproxy has no option of its name."""
        return "." in self.name


class InvalidOption(ValueError):
    """An option's value that makes no sense. The text is one line that says what would."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        shown = "…" if name in MAY_BE_SECRET else repr(value)
        super().__init__(f"{name}: {shown} is wrong; it must be {expected}")
        self.name = name
        self.value = value


class Reader(NamedTuple):
    """Reads options through parsers that raise ValueError, whose text is what would be right."""

    values: Mapping[str, object]
    given: Collection[str] = ()
    """Names of the options that somebody has set, if only to their default."""

    def text(self, name: str, parse: Callable[[str], T]) -> T:
        return self._parsed(name, self.values[name], parse)

    def each(self, name: str, parse: Callable[[str], T], *, or_none: bool = False) -> list[T]:
        values = self.values[name]
        if not isinstance(values, Sequence) or isinstance(values, str) or not (values or or_none):
            raise InvalidOption(name, values, "a list with at least one value")
        return [self._parsed(name, value, parse) for value in values]

    def tables(self, name: str, parse: Callable[[Mapping[str, str]], T]) -> list[T]:
        """Each of a list of tables, through a parser that gets one whole."""
        values = self.values[name]
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise InvalidOption(name, values, "a list of mappings")
        parsed = []
        for value in values:
            try:
                if not isinstance(value, Mapping):
                    raise ValueError("a mapping")
                parsed.append(parse(value))
            except ValueError as error:
                raise InvalidOption(name, value, str(error)) from None
        return parsed

    def flag(self, name: str) -> bool:
        return bool(self.values[name])

    @staticmethod
    def _parsed(name: str, value: object, parse: Callable[[str], T]) -> T:
        try:
            return parse(str(value))
        except ValueError as error:
            raise InvalidOption(name, value, str(error)) from None


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser for one of some words, in any letter case."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"{', '.join(choices[:-1])} or {choices[-1]}")
        return text.lower()

    return parse


def token(text: str) -> str:
    """A parser for what RFC 9110 calls a token: names of cookies, headers, methods."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("a name of letters, digits and !#$%&'*+-.^_`|~")
    return text


def path(text: str) -> str:
    """A parser for a path."""
    if not _PATH.fullmatch(text):
        raise ValueError("a path that begins with / and has no query, such as /login")
    return text


def path_or_empty(text: str) -> str:
    """A path to put in front of another one; a slash at its end would be doubled, so it goes."""
    return path(text).rstrip("/") if text else ""
