"""Requests about a session itself, told by their paths and GraphQL operations.

A path is an API path, with or without its query. Operations are the names that a GraphQL request
selects at its top, `refreshToken` in `mutation { refreshToken { token } }`.
"""

import re
from collections.abc import Collection, Iterator
from itertools import pairwise
from urllib.parse import unquote

from credentials.names import plain, words

_LOGOUT = frozenset({"logout", "logoff", "signout", "signoff"})
_REVOKE = frozenset({"revoke", "revocation"})
_ABOUT_TOKENS = frozenset(
    "refresh renew renewal introspect introspection refreshtoken revoketoken tokenrefresh"
    " endsession".split()
)
# Of djangorestframework-simplejwt, `/token/verify`: nothing that only one of two words names
_TOKEN = frozenset({"token", "jwt"})
_WITH_TOKEN = frozenset({"verify", "blacklist"})
_SAFE = ("GET", "HEAD")
_GRANT = re.compile("(?:^|&)grant_type=[^&]")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,5}$")  # `/users/sign_out.json`


def may_have_credentials_in_body(
    path: str, *, operations: Collection[str] = (), has_grant: bool = False
) -> bool:
    """Whether this request refreshes, revokes, introspects or logs out.

    Its body has credentials then. Of several operations each must be such a one: else a script
    could put one beside another that stores the same variable.
    """
    if operations:
        return all(_is_about_tokens(_words(name)) for name in operations)
    # As GoTrue has it, `/token?grant_type=refresh_token`
    has_grant = has_grant or bool(_GRANT.search(path.partition("?")[2]))
    return has_grant or any(_is_about_tokens(found) for found in _path_words(path))


def path_names_session(method: str, path: str) -> bool:
    """Whether a segment of the path may be a token: in a DELETE, a logout or a revocation."""
    ends = _LOGOUT | _REVOKE
    return method.upper() == "DELETE" or any(not ends.isdisjoint(f) for f in _path_words(path))


def is_logout(
    method: str, path: str, *, operations: Collection[str] = (), navigation: bool = False
) -> bool:
    """Whether this request ends the session it comes with, should the API agree.

    Not `/logout-others`, `DELETE /sessions/42`, `/tokens/5/revoke`.
    """
    method = method.upper()
    segments = _segments(path)
    if method == "DELETE" and (
        segments[-1:] == ["session"] or segments[-2:] == ["sessions", "current"]
    ):
        return True
    if method not in _SAFE and any(plain(name) in _LOGOUT for name in operations):
        return True
    last = _EXTENSION.sub("", segments[-1]) if segments else ""
    return plain(last) in _LOGOUT and (navigation if method in _SAFE else method != "OPTIONS")


def is_revoke(path: str) -> bool:
    """Whether tokens end that this request names in its body, query or path."""
    return any(not _REVOKE.isdisjoint(found) for found in _path_words(path))


def _is_about_tokens(found: Collection[str]) -> bool:
    found = frozenset(found)
    all_of_them = _ABOUT_TOKENS | _LOGOUT | _REVOKE
    return not found.isdisjoint(all_of_them) or (
        not found.isdisjoint(_TOKEN) and not found.isdisjoint(_WITH_TOKEN)
    )


def _path_words(path: str) -> Iterator[frozenset[str]]:
    """The words of each segment, those of the segment before it included for `token/verify`."""
    before: frozenset[str] = frozenset()
    for segment in _segments(path):
        found = _words(segment)
        yield found | (before & _TOKEN)
        before = found


def _words(name: str) -> frozenset[str]:
    """The words, and each two neighbours as one, for `sign-out`."""
    found = words(name)
    return frozenset(found).union(a + b for a, b in pairwise(found))


def _segments(path: str) -> list[str]:
    path = unquote(re.split("[?#]", path, maxsplit=1)[0])
    return [name for each in path.split("/") if (name := each.partition(";")[0])]
