"""What looks like a token, and which names may be told of what an API sent."""

import re

_TOKEN_NAME = re.compile(r"token|jwt", re.IGNORECASE)
# Names about a token that do not hold one: token_type, tokenExpiresAt, …
_ABOUT_A_TOKEN = re.compile(
    r"(type|expir\w*|exp|ttl|lifetime|name|count|status|error|message|ur[il]|endpoint|At|In)s?$",
    re.IGNORECASE,
)
# RFC 7519: base64url of '{"…', a dot, claims, a dot, signature (which may be empty).
JWT = re.compile(r"(?<![\w-])ey[IJA][\w-]{8,}\.[\w-]*\.[\w-]*", re.ASCII)


def may_be_token(name: str, value: str) -> bool:
    """Whether a parameter of an address holds a token, by its name or its form."""
    return value != "" and (names_token(name) or JWT.search(value) is not None)


def names_token(name: str) -> bool:
    """Whether a key or a header of this name would hold a token that scripts must not read.

    A CSRF token is made for scripts to read.
    """
    return bool(
        _TOKEN_NAME.search(name)
        and not _ABOUT_A_TOKEN.search(name)
        and not re.search("[cx]srf", name, re.IGNORECASE)
    )


# A name as programmers give them. What the API chose freely may be a secret: an object whose keys
# are tokens, a header named after a session.
_WORD = r"(?:[A-Z]{0,3}[a-z]{1,15}(?:[A-Z]{1,3}[a-z]{1,15}){0,3}|[A-Z]{1,12})"
_PLAIN_NAME = re.compile(rf"_{{0,2}}{_WORD}(?:[_.-]{_WORD}){{0,4}}\d{{0,2}}|\d{{1,3}}")


def is_plain(name: str) -> bool:
    """Whether a name that an API chose may be told in a message."""
    return _PLAIN_NAME.fullmatch(name) is not None
