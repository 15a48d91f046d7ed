"""What a JWT says about its user, as pages may read it: the claims that somebody has named."""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mitmproxy import http

from tokens import jwt
from tokens.answer import Answer
from tokens.candidates import find
from tokens.search import Needle
from tokens.suspicion import JWT


class Claims(NamedTuple):
    """What was found in a token."""

    told: Mapping[str, object]
    kept: tuple[str, ...]
    """The names of those that pages do not get, since they are or hold a token."""


def read(
    token: str, names: Iterable[str], secrets: Iterable[str], exposed: frozenset[str]
) -> Claims:
    """The claims of these names in a JWT (RFC 7519, 4); none in any other token.

    `secrets` are the tokens of its login, in whatever form a claim repeats one; `exposed` has the
    names of what pages may read though it looks like a token.
    """
    decoded = jwt.decode(token)
    told, kept = {}, []
    needles = [Needle.of(secret) for secret in (token, *secrets)]
    for name in names if decoded else ():
        assert decoded
        if name not in decoded.claims:
            continue
        value = decoded.claims[name]
        if _is_plain(name, value, needles, exposed):
            told[name] = value
        else:
            kept.append(name)
    return Claims(told, tuple(kept))


def _is_plain(name: str, value: object, needles: Iterable[Needle], exposed: frozenset[str]) -> bool:
    """Whether a claim may be told: it can be written as JSON, and nothing in it is a token."""
    try:
        text = json.dumps({name: value}, allow_nan=False, ensure_ascii=False)
        body = text.encode()
    except (ValueError, RecursionError):  # NaN, half a surrogate pair, absurd nesting
        return False
    if any(needle.found_in(body) for needle in needles):
        return False
    if name.lower() not in exposed and JWT.search(text):
        return False
    answer = Answer(200, http.Headers(), body, "application/json")
    return not answer.is_doubtful and not find(answer, None, exposed, strict=True)
