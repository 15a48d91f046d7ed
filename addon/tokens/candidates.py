"""Which strings of an API's answer are tokens, and which of them is the main one.

The rules were read off real answers (tests/answers, with the figures). Looked into are the members
of documents, forms and tables (see `tokens.answer`); a body that is one string; headers; the
address of a redirect; in any other text what stands behind a name for tokens, and what is a JWT.
Set-Cookie is left to `credentials.forwarded`.

Not found: an opaque token in an HTML page that is not in quotes, and anything but JWTs in a body of
more than 1 MiB or 10,000 strings: no login has that. `Answer.is_doubtful` tells.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import unescape
from itertools import pairwise
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl

from mitmproxy import http

from tokens import json_pointer, jwt
from tokens.answer import (
    LONGEST_BODY,
    MOST_STRINGS,
    Answer,
    Leaf,
    Members,
    cells_of,
    fields_of,
    leaves_of,
    starts_json,
    strings_in,
)
from tokens.jwt import Jwt
from tokens.login_like import Sent
from tokens.redirect import parameters_anywhere
from tokens.suspicion import (
    JWT,
    SHORTEST,
    Kind,
    is_about_token,
    is_formed,
    is_of_words,
    is_opaque,
    is_plain,
    is_random,
    kind_of,
    may_be_token,
    speaks_of_token,
    words,
)

Role = Literal["access", "id", "refresh", "other"]

# Smaller is more likely the main one: Slack and Discord hand out others beside the access_token,
# JHipster and Firebase nothing but an id_token and a refresh token.
_RANKS: Mapping[Kind, int] = {
    "access": 1, "auth": 2, "session": 3, "token": 4, "id": 5, "key": 8, "refresh": 9,
}  # fmt: skip
_NAMELESS_JWT, _WHOLE_BODY, _KEY = 6, 7, 8
_ROLES: Mapping[int, Role] = {5: "id", _NAMELESS_JWT: "other", 9: "refresh"}
_NAMED = frozenset((1, 2, 3, 4, 5, 9))
_SURE = frozenset((1, 2, 5, 9))
"""What is a token even beside the demand for a second factor."""


class Candidate(NamedTuple):
    """A string that is a token, as far as can be told."""

    value: str
    """The token itself, without the scheme before it."""
    place: str
    """A JSON Pointer (of the outer string, for JSON within one), "/" for the whole body,
    `header:NAME`, `location:NAME`, or "html" for what has no place but in a text."""
    name: str
    """What it stands under; empty for a whole body."""
    role: Role
    rank: int
    """Smaller is more likely the main one."""
    bound: bool
    """Of no use without the page's key (RFC 9449, RFC 7800), so to be left alone."""

    @property
    def told(self) -> str:
        """Where it stands, without a name that may be a secret itself."""
        kind, _, name = self.place.partition(":")
        if self.place in ("/", "html"):
            return "the body"
        if self.place[0] == "/":
            plain = all(map(is_plain, json_pointer.JsonPointer.parse(self.place).steps))
            return self.place if plain else "the body"
        if is_plain(name):
            return self.place
        return "a header" if kind == "header" else "the address"


def find(
    answer: Answer, sent: Sent | None, exposed: frozenset[str], *, strict: bool = False
) -> list[Candidate]:
    """The tokens in an answer to a login-like request, the most likely main one first.

    `sent` None stands for a login of whose request nothing is known. `exposed` has the names that
    pages may read. `strict` is for an answer in which any token is one too many: there what stands
    under a name that speaks of tokens counts, however short it is, and a body of any size is read.

    What the request sent is not among them: the caller knows the tokens that it holds.
    """
    finder = _Finder(sent, frozenset(map(str.lower, exposed)), strict)
    known = sent.values if sent else frozenset()
    found = [*finder.in_body(answer), *finder.in_headers(answer.headers)]
    new = dict.fromkeys(one for one in found if one.value not in known)
    return sorted(new, key=lambda one: (one.rank, max(one.place.count("/"), 1)))


def sliding(
    headers: http.Headers,
    used: str | None,
    named: Callable[[str], bool],
    old: Mapping[str, str],
) -> list[Candidate]:
    """What the headers of an ordinary answer hand out in the place of the tokens that it was for.

    `used` is the header in which the request carried one, `named` says whether a token of this
    login was handed out under a name, `old` are the tokens by slot. devise_token_auth sends a new
    access-token with each answer, Laravel's jwt.refresh an Authorization.
    """
    found: dict[str, Candidate] = {}
    for name, text in headers.items(multi=True):
        lower = name.lower()
        if lower in _NEVER_SLIDING or len(text) < SHORTEST:
            continue
        scheme, _, value = text.strip().rpartition(" ")
        if value in old.values() or (scheme and not _SCHEME_WORD.fullmatch(scheme)):
            continue
        at_its_place = lower == (used or "").lower() or named(name)
        if (at_its_place and _may_follow(value)) or _is_of_any(value, old.values()):
            rank = _RANKS.get(kind_of(name), _NAMELESS_JWT)
            leaf = Leaf.named(name, value, f"header:{name}", {})
            finder = _Finder(None, frozenset(), strict=False)
            found.setdefault(value, finder.candidate(value, leaf, rank))
    return sorted(found.values(), key=lambda one: one.rank)


_SCHEME_WORD = re.compile("[A-Za-z]{2,12}")


def _is_of_any(value: str, old: Iterable[str]) -> bool:
    """Whether it is a JWT, and one of these is of the same login."""
    new = jwt.decode(value) if value.count(".") == 2 else None
    decoded = (jwt.decode(token) for token in old) if new else ()
    return any(one is not None and new is not None and _is_of_same(one, new) for one in decoded)


def _may_follow(value: str) -> bool:
    return is_formed(value) or (is_opaque(value) and not is_of_words(value))


def takes_place_of(
    candidate: Candidate, old: str, old_name_matches: bool, same_place_seen: bool, sent: Sent
) -> bool:
    """Whether a token of an answer replaces the one that its request carried.

    Otherwise it is for the user: an API key just made, an invitation. `old_name_matches` says that
    the old one was handed out under this one's name, `same_place_seen` that a token of this login
    was handed out at this place of an answer of this path.
    """
    if same_place_seen or (sent.renews and not sent.has_password):
        return True
    # npm and Portainer ask for the password again before they make a key.
    if sent.has_password and (sent.says_login or (old_name_matches and not sent.makes_keys)):
        return True
    old_jwt, new_jwt = jwt.decode(old), jwt.decode(candidate.value)
    # PocketBase, Medusa and Payload renew at a path of its own, with nothing but the old token.
    if sent.says_refresh and (
        old_name_matches or new_jwt or words(candidate.name)[:1] == ["refreshed"]
    ):
        return True
    # Wiki.js's API keys have the session's issuer and audience, but other claims.
    return old_jwt is not None and new_jwt is not None and _is_of_same(old_jwt, new_jwt)


def _is_of_same(old: Jwt, new: Jwt) -> bool:
    """Whether two tokens are of one issuer, for the same API and user, and say the same things."""
    return (
        old.claims.keys() == new.claims.keys()
        and all(isinstance(old.claims.get(name), (str, list)) for name in ("iss", "aud"))
        and all(old.claims.get(name) == new.claims.get(name) for name in _SAME)
    )


_SAME = ("iss", "aud", "sub")


# Names of the token itself, in an object that is called after it.
_ITSELF = frozenset(
    "token jwt jwttoken value plaintext plaintexttoken raw string encoded tokenvalue".split()
)
# Of the words that deny, those that are also just parts of an application.
_PARTS = frozenset("state page request next device sync front continue delta".split())
_STRONG: frozenset[Kind] = frozenset(("access", "auth", "session", "token", "id", "refresh"))
_DOUBTFUL = frozenset(("key", "id", "password", "sha1"))
_SCHEME = re.compile(r"(?:bearer|token|jwt)\s+(?=\S)", re.IGNORECASE)
_FORM = re.compile(r"[\w.-]+=[^\s&<]*(?:&[\w.-]+=[^\s&<]*)*", re.ASCII)
_ELEMENT = re.compile(r"<([A-Za-z][\w.:-]*)(?:[\s/][^<>]*)?>([^<]+)</\1>")
# A name, and what leads on to its value: quotes, which may be escaped, YAML's marks, a list.
_NAME_AND_MARK = re.compile(
    r"""(?<![\w.-])(?P<name>[A-Za-z_][\w.-]{0,255})(?:\\{0,7}["'])?\s{0,8}(?::|=>?)"""
    r"""(?:[ \t]{0,8}[|>][+-]?[ \t]{0,8}\r?\n[ ]{1,8}|\s{0,8}(?=[\["'`\\])|[ \t]{0,8})"""
    r"""(?:\[\s{0,8})?(?P<quote>\\{0,7}["'`])?(?:(?:bearer|token|jwt)[ ]{1,8})?""",
    re.ASCII | re.IGNORECASE,
)
_MAY_NAME = re.compile("token|jwt|auth|access|bearer|session|sid|refresh|key|password|sha1", re.I)
_VALUE = re.compile(r"""(?:\\{1,4}(?:/|u[0-9A-Fa-f]{4})|[^\s"'`<>&;,{}()\[\]\\]){8,}""")
_SLASH_OR_CODE = re.compile(r"\\{1,4}(?:/|u([0-9A-Fa-f]{4}))")
_MARK = re.compile(r"""[<>{}\[\]"',]""")
"""What no token has and JSON, pages and scripts have."""
_PAGE = re.compile(r"\s{0,99}<(?:!doctype|html|head|body|script)", re.IGNORECASE)
_OTHER_HEADERS = frozenset(
    "set-cookie content-type content-length content-encoding content-security-policy date etag"
    " last-modified server vary www-authenticate proxy-authenticate authentication-info"
    " access-control-allow-headers access-control-expose-headers".split()
)
_LEADING_ON = frozenset(("location", "content-location", "link", "refresh"))
_NEVER_SLIDING = _OTHER_HEADERS | _LEADING_ON
# Names and values beside the demand for a second factor.
_FACTOR = frozenset("mfa otp totp 2fa tfa factor twofactor challenge".split())
_NO = ("false", "no", "none", "0")
_DEMAND = frozenset("required requires require needed must pending".split())


def _squeezed(name: str) -> str:
    return "".join(words(name))


def _kind(names: tuple[str, ...]) -> Kind:
    """What its name says of a value, or that of the object around it: `{"refresh": {"token"`."""
    kind = kind_of(names[-1]) if names else ""
    if len(names) > 1 and _squeezed(names[-1]) in _ITSELF:
        around = kind_of(names[-2])
        if around == "never" and not _PARTS.issuperset(words(names[-2])):
            return "never"
        if around in _STRONG - {"session", "token"}:
            return around
        return kind or (around if around in _STRONG else "")
    return kind


def _asks_for_more(members: Mapping[str, object]) -> bool:
    """Whether an object says that it is but a step: its token goes back in the next request.

    As Cognito's `ChallengeName`, Nginx Proxy Manager's `requires_2fa`, Okta's `MFA_REQUIRED` and
    the options of WebAuthn do. What it says of the user, in an object of its own, is another thing.
    """
    for name, value in members.items():
        said = words(name)
        if value and isinstance(value, str) and said in (["challenge"], ["challenge", "name"]):
            return True
        if isinstance(value, Members) and said == ["public", "key"] and "challenge" in dict(value):
            return True
        if value and value not in _NO and _demands(said):
            return True
        tells = said[-1:] in (["status"], ["type"], ["step"], ["error"])
        if tells and isinstance(value, str) and _demands(words(value)):
            return True
    return False


def _demands(said: list[str]) -> bool:
    joined = {first + second for first, second in pairwise(said)}  # 2 and fa, two and factor
    return not _FACTOR.isdisjoint(joined | set(said)) and not _DEMAND.isdisjoint(said)


class _Finder:
    """Tells tokens from other strings, for the answer to one request."""

    def __init__(self, sent: Sent | None, exposed: frozenset[str], strict: bool) -> None:
        self.strict = strict
        self.exposed = exposed
        self.weak = sent is not None and sent.weak
        self.logs_in = sent is None or sent.has_password
        self.begins = sent is None or (sent.says_login and not sent.signs_up)
        self.aliases: dict[str, str] = {}
        for alias, field in sent.names if sent else ():
            if kind_of(self.aliases.get(alias, "")) in ("", "never"):
                self.aliases[alias] = field

    # Where they stand

    def in_body(self, answer: Answer) -> Iterator[Candidate]:
        body, kind = answer.body or b"", answer.content_type
        if len(body) > LONGEST_BODY and not self.strict:
            yield from self._in_text(body.decode("latin-1"))
            return
        content = answer.content
        text = content.text.strip()
        if content.is_json:
            (document,) = content.documents
            if isinstance(document, str):
                yield from self._whole(document)
            else:
                yield from self._in_leaves(list(leaves_of(document, self.aliases)), document)
        elif content.documents:
            for document in content.documents:
                leaves = [leaf._replace(place="html") for leaf in leaves_of(document, self.aliases)]
                yield from self._in_leaves(leaves, document)
            yield from self._in_free_text(text, kind)
        elif "form-urlencoded" in kind or (
            "html" not in kind and "event-stream" not in kind and _FORM.fullmatch(text)
        ):
            yield from self._in_leaves(fields_of(parse_qsl(text), pointers=True))
        elif "xml" in kind and "html" not in kind:
            elements = [(name, unescape(value).strip()) for name, value in _ELEMENT.findall(text)]
            yield from self._in_leaves(fields_of(elements, pointers=False))
        elif "csv" in kind or "tab-separated" in kind:
            yield from self._in_leaves(cells_of(text, "," if "csv" in kind else "\t"))
        elif len(text.split()) == 1 and not _MARK.search(text):  # Laravel calls that HTML, too
            named = list(self._behind_names(text, is_page=False))
            yield from named or self._whole(text)
        else:
            yield from self._in_free_text(text, kind)

    def in_headers(self, headers: http.Headers) -> Iterator[Candidate]:
        for name, text in headers.items(multi=True):
            lower = name.lower()
            if lower in _OTHER_HEADERS or lower in self.exposed or not text:
                continue
            place = f"header:{name}"
            if lower in _LEADING_ON:
                yield from self._in_address(name, text)
            elif "cookie" in lower and starts_json(text):  # Appwrite's X-Fallback-Cookies
                for leaf in strings_in(Leaf.named(name, text, place, {}), {}):
                    if is_random(leaf.text):
                        yield self.candidate(leaf.text, leaf._replace(keys=(name,)), 3)
            elif "ratelimit" not in lower.replace("-", ""):
                yield from self._in_leaves([Leaf.named(name, text, place, {})])

    def _in_address(self, header: str, text: str) -> Iterator[Candidate]:
        """What an address leads on with: in its query, its fragment, or anywhere else."""
        found = False
        for name, value in parameters_anywhere(text):
            if name.lower() in self.exposed or not may_be_token(name, value, strict=self.strict):
                continue
            found = True
            at = f"location:{name}" if header.lower() == "location" else f"header:{header}"
            rank = _RANKS.get(kind_of(name), _NAMELESS_JWT)
            yield self.candidate(_jwt_or_all(value), Leaf.named(name, value, at, {}), rank)
        if not found:
            yield from self._in_text(text, f"header:{header}")

    def _whole(self, text: str) -> Iterator[Candidate]:
        """A body that is nothing but one string."""
        formed = is_formed(text)
        if formed or (not self.weak and is_random(text, uuid=self.logs_in)):
            yield self.candidate(text, Leaf(text, "/"), _WHOLE_BODY)
        else:
            yield from self._in_text(text, "/")

    def _in_free_text(self, text: str, kind: str) -> Iterator[Candidate]:
        """What stands behind a name for tokens in YAML, in scripts, in broken JSON; and JWTs."""
        is_page = "html" in kind or "script" in kind or _PAGE.match(text) is not None
        found = list(self._behind_names(text, is_page=is_page))
        yield from found
        known = {one.value for one in found}
        yield from (one for one in self._in_text(text) if one.value not in known)

    def _behind_names(self, text: str, *, is_page: bool) -> Iterator[Candidate]:
        """Of a page, whose scripts name much else so, only what is in quotes and looks random."""
        at, left = 0, 4 * len(text)
        while left > 0 and (behind := _NAME_AND_MARK.search(text, at)):
            at = behind.end()
            if not _MAY_NAME.search(behind["name"]):
                continue
            match = _VALUE.match(text, at)
            if match is None or kind_of(behind["name"]) in ("", "never"):
                continue
            value = _SLASH_OR_CODE.sub(_unescaped, match[0])
            value = value if is_formed(value) else value.rstrip(".:!?")
            left -= len(match[0])
            if is_formed(value) or (
                not is_of_words(value)
                and is_opaque(value)
                and (not is_page or (behind["quote"] and is_random(value)))
            ):
                leaf = Leaf.named(behind["name"], value, "html", {})
                found = list(self._in_leaf(leaf))
                yield from found
                at = match.end() if found else at

    def _in_text(self, text: str, place: str = "html") -> Iterator[Candidate]:
        for match in JWT.finditer(text):
            yield self.candidate(match[0], Leaf(match[0], place), _NAMELESS_JWT)

    def _in_leaves(self, leaves: list[Leaf], document: object = None) -> Iterator[Candidate]:
        shortest = 1 if self.strict else SHORTEST
        leaves = [leaf for leaf in leaves if len(leaf.text) >= shortest]
        opened = [inner for leaf in leaves for inner in strings_in(leaf, self.aliases)]
        if len(opened) > MOST_STRINGS and not self.strict:
            for leaf in opened:
                yield from self._in_text(leaf.text, leaf.place)
            return
        found = [(leaf, one) for leaf in opened for one in self._in_leaf(leaf)]
        objects = {id(leaf.beside): leaf.beside for leaf, _ in found}
        steps = {at for at, beside in objects.items() if _asks_for_more(beside)}
        whole = isinstance(document, Members) and _asks_for_more(dict(document))
        found = [
            (leaf, one)
            for leaf, one in found
            if one.rank in _SURE or not (whole or id(leaf.beside) in steps)
        ]
        # Vaultwarden's page decrypts its vault with the Key beside the access_token.
        named = any(one.rank in _NAMED for _, one in found)
        for leaf, one in found:
            doubtful = one.rank == _KEY and _squeezed(leaf.meant[-1]) in _DOUBTFUL
            if not (named and doubtful):
                yield one

    def _in_leaf(self, leaf: Leaf) -> Iterator[Candidate]:
        if not self.exposed.isdisjoint(map(str.lower, (*leaf.keys, *leaf.meant))):
            return
        kind = _kind(leaf.meant)
        text = _SCHEME.sub("", leaf.text, count=1)
        if "://" in text and (found := self._in_target(text, leaf)):
            yield from found
        elif kind == "never":
            return
        elif (rank := self._rank(kind, text, leaf)) is not None:
            yield self.candidate(text, leaf, rank)
        else:
            for match in JWT.finditer(text):
                yield self.candidate(match[0], leaf, _NAMELESS_JWT)

    def _in_target(self, text: str, leaf: Leaf) -> list[Candidate]:
        """What an address within a member leads on with: its parameters' names decide."""
        return [
            self.candidate(_jwt_or_all(value), leaf, _RANKS.get(kind_of(name), _NAMELESS_JWT))
            for name, value in parameters_anywhere(text)
            if may_be_token(name, value, strict=False)
        ]

    # What they are

    def _rank(self, kind: Kind, text: str, leaf: Leaf) -> int | None:
        """How likely a value is the main token, if it is one."""
        name = _squeezed(leaf.meant[-1]) if leaf.meant else ""
        formed = is_formed(text)
        if kind in _STRONG and (formed or self._fits(kind, name, text)):
            return _RANKS[kind]
        if formed:
            return _NAMELESS_JWT
        if not self.weak and self._is_key(kind, name, text, leaf.beside):
            return _KEY
        if self.strict and _speaks(leaf.meant):
            return _RANKS["refresh" if kind == "refresh" else "token"]
        return None

    def _fits(self, kind: Kind, name: str, text: str) -> bool:
        """Whether a value is long and strange enough for what its name says."""
        if kind == "session" and not name.endswith("token"):
            return is_random(text, uuid=self.logs_in and name != "sid")
        named = name.endswith(("token", "tokens", "jwt", "jwts"))
        return is_opaque(text) and (named or not is_of_words(text))

    def _is_key(self, kind: Kind, name: str, text: str, beside: Mapping[str, object]) -> bool:
        if kind == "key":
            return is_random(text, uuid=self.logs_in and name in ("apikey", "accesskey"))
        if name == "id":  # LoopBack; Metabase, where it is a UUID
            # What a sign-up answers alone is its new user's.
            alone = self.logs_in and self.begins and len(beside) == 1
            return ("ttl" in beside or alone) and is_random(text, uuid=alone)
        return name == "result" and "jsonrpc" in beside and is_random(text)  # Zabbix

    def candidate(self, value: str, leaf: Leaf, rank: int) -> Candidate:
        name = leaf.keys[-1] if leaf.keys else ""
        role = _ROLES.get(rank, "access")
        return Candidate(value, leaf.place, name, role, rank, _is_bound(value, leaf.beside))


def _jwt_or_all(value: str) -> str:
    match = JWT.search(value)
    return match[0] if match else value


def _speaks(names: tuple[str, ...]) -> bool:
    """Whether one of the names speaks of tokens, and neither it nor the last says of what else."""
    if not names or is_about_token(names[-1]) or "never" in map(kind_of, names):
        return False
    return any(map(speaks_of_token, names))


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else "/"


def _is_bound(value: str, beside: Mapping[str, object]) -> bool:
    """Whether the page proves with a key of its own that a token is its."""
    kinds = [beside.get(name) for name in ("token_type", "tokenType", "TokenType")]
    if any(isinstance(kind, str) and kind.lower() == "dpop" for kind in kinds):
        return True
    decoded = jwt.decode(value)
    return decoded is not None and "cnf" in decoded.claims
