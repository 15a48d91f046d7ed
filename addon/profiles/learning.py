"""What a recording tells of an API: exchanges in, options with their evidence out.

It needs nobody to say what is a login. Which answers hand out tokens, and what in them is one, is
told in `tokens.login_like` and `tokens.candidates`; here it is followed to where it comes back:
which of them is the main one, and in which header it goes; what renews, and what logs out.

No evidence holds a token, nor anything else of a body but names (see `profiles.schemes`).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote

from credentials import session_requests
from credentials.names import plain
from credentials.options import header_of
from messages import answers
from messages.answers import Refused
from messages.text import printable
from mitmproxy import http
from origins.paths import normalise
from tokens import candidates, capture, graphql, jwt, login_like
from tokens.answer import Answer
from tokens.candidates import Candidate
from tokens.login_like import Sent
from tokens.sources import parse_source
from tokens.suspicion import is_plain

from profiles.carried import Carried, carried, members
from profiles.schemes import (
    SCHEME,
    asked_of,
    can_be_named,
    header_told,
    logout_options,
    may_be_secret,
    refresh_template,
    words_of,
)

_SHORTEST = 8
"""Characters of a token that gets a stand-in."""
_LOGIN = "/login"
"""The path that logs in where none is given."""
_SAFE = ("GET", "HEAD", "OPTIONS")
_WHO = frozenset("name user username email login".split())
_KINDS = ("granttype", "type", "action")
"""Members of a body that say what it asks for (RFC 6749, 4 to 6); their values are words."""
_WORD = re.compile(r"[a-z]{2,20}(?:[_-][a-z]{2,20}){0,3}", re.IGNORECASE)


class Seen(NamedTuple):
    """A request to an API, and its answer."""

    method: str
    target: str
    """Path and query."""
    headers: http.Headers
    body: bytes
    answer: Answer
    asked_as: str = ""
    """The path as the browser asked for it; empty where nothing was between it and the API."""
    injected: bool = False
    """Whether the proxy has sent the token, and not the page."""
    captured: tuple[str, str] | None = None
    """The token that the proxy has taken out of the answer, and where it stood."""


class Finding(NamedTuple):
    """An option's value, and what has shown it."""

    option: str
    """Its name, without `cookie_auth_`."""
    value: str | bool
    """Of a list: one of it."""
    evidence: str


@dataclass(frozen=True)
class Learnt:
    """What was found, in the order in which a profile tells it."""

    findings: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()
    """What no option says."""
    came_back: bool = False
    """Whether a token of a login was seen in a later request."""

    @property
    def options(self) -> dict[str, str | bool | list[str]]:
        """The values by option, without `cookie_auth_`."""
        found: dict[str, str | bool | list[str]] = {}
        for name, value, _ in self.findings:
            if name in LISTS:
                known = found.setdefault(name, [])
                assert isinstance(known, list)
                known.append(str(value))
            else:
                found[name] = value
        return found


LISTS = frozenset(("login", "token", "refresh.headers"))
_ORDER = (
    *("prefix", "base_path", "login", "token", "login_body", "header", "header_format"),
    *("refresh", "refresh.headers", "refresh_token", "refresh_body"),
    *("logout", "logout.body", "logout_upstream", "logout_upstream_method", "logout_upstream_path"),
)


def learn(exchanges: Iterable[Seen], elsewhere: Iterable[tuple[str, Seen]] = ()) -> Learnt:
    """What exchanges with one API tell of it, in the order in which they were.

    `elsewhere` are those with others, each with its origin: they may have been sent its tokens.
    """
    learner = _Learner([one for one in exchanges if one.method != "CONNECT"])
    learner.look_elsewhere(elsewhere)
    return learner.learnt()


def asked(seen: Seen) -> str:
    """The request, as it may be told."""
    return asked_of(seen.method, seen.target, seen.body)


def refresh_token_in(seen: Seen) -> str | None:
    """What a refresh brings, by its name: of a recording that began when somebody was logged in."""
    kind, text = seen.headers.get("content-type", ""), seen.body.decode("utf-8", "replace")
    try:
        pairs = list(members(json.loads(text)))
    except (ValueError, RecursionError):
        pairs = parse_qsl(text) if "form" in kind or "=" in text[:200] else []
    found = [value for name, value in pairs if plain(name) in ("refreshtoken", "refresh")]
    return found[0] if len(found) == 1 and len(found[0]) >= _SHORTEST else None


@dataclass
class _HandedOut:
    """A login or a refresh, and the tokens in its answer."""

    seen: Seen
    sent: Sent
    kind: Literal["login", "refresh"]
    found: list[Candidate]
    brought: list[Carried]
    """Tokens of before that it came with."""
    main: Candidate | None = None
    told: str = field(init=False)

    def __post_init__(self) -> None:
        self.told = asked(self.seen)


class _Use(NamedTuple):
    """A token in a request."""

    seen: Seen
    at: Carried


class _Learner:
    def __init__(self, exchanges: list[Seen]) -> None:
        self.exchanges = exchanges
        self.handed_out: list[_HandedOut] = []
        self.logins: list[_HandedOut] = []
        """Those that an option names."""
        self.tokens: dict[str, _HandedOut] = {}
        self.roles: dict[str, str] = {}
        self.findings: list[Finding] = []
        self.remarks: dict[str, None] = {}
        for one in exchanges:
            self._read(one)
        refreshes = {id(one.seen) for one in self.handed_out if one.kind == "refresh"}
        self.uses: dict[str, list[_Use]] = {}
        self.refreshed_with: dict[str, list[_Use]] = {}
        for seen in exchanges:
            for at in self._carried(seen):
                renews = id(seen) in refreshes and self.roles[at.token] == "refresh"
                uses = self.refreshed_with if renews else self.uses
                uses.setdefault(at.token, []).append(_Use(seen, at))

    def look_elsewhere(self, exchanges: Iterable[tuple[str, Seen]]) -> None:
        told = set()
        for origin, seen in exchanges:
            if origin not in told and self._carried(seen):
                told.add(origin)
                self._remark(
                    f"{origin} was sent its token ({asked(seen)}), which cookie-auth brings to the"
                    " API that has issued it only"
                )

    def learnt(self) -> Learnt:
        for event in self.handed_out:
            event.main = self._main(event)
        self._paths()
        logins = [event for event in self.handed_out if event.kind == "login"]
        self.logins = [event for event in logins if self._login(event)]
        self._refresh()
        self._header()
        uses = [use for found in self.uses.values() for use in found]
        if self.logins and any(not use.seen.injected for use in uses):
            said = "the page sends the token itself; a new one, which does not, needs no such line"
            self._find("login_body", "stand-in", said)
        self._logout()
        self._unused()
        self.findings.sort(key=lambda one: _ORDER.index(one.option))
        return Learnt(tuple(self.findings), tuple(self.remarks), came_back=bool(uses))

    def _find(self, name: str, value: str | bool, evidence: str) -> None:
        """Note an option's value, unless it is known."""
        if all((one.option, one.value) != (name, value) for one in self.findings):
            self.findings.append(Finding(name, value, evidence))

    def _remark(self, text: str) -> None:
        self.remarks[text] = None

    def _carried(self, seen: Seen) -> list[Carried]:
        return carried(seen.method, seen.target, seen.headers, seen.body, self.tokens)

    # What hands out tokens

    def _read(self, seen: Seen) -> None:
        """Note the tokens in an answer to a login or a refresh."""
        if not 200 <= seen.answer.status <= 399 or seen.method == "OPTIONS":
            return
        if session_requests.is_logout("POST", seen.target):
            return
        sent = login_like.read_request(seen.method, seen.target, seen.headers, seen.body)
        if seen.captured:
            self._note(_HandedOut(seen, sent, "login", [_captured(*seen.captured)], []))
        if seen.captured or not sent.why:
            return
        found = candidates.find(seen.answer, sent, frozenset())
        if not sent.is_sure and seen.method in _SAFE:
            found = [one for one in found if one.place != "/"]
        found = [one for one in found if len(one.value) >= _SHORTEST]
        for one in [one for one in found if one.bound]:
            self._remark(f"{asked(seen)} answered {one.told}, bound to a key of the page's (DPoP)")
        new = {one.value: one for one in reversed(found) if not one.bound}
        brought = self._carried(seen)
        kind = self._kind(sent, brought)
        known = [one for one in brought if one.kind != "cookie"]
        if known and kind == "login":
            new = {v: one for v, one in new.items() if self._takes_place(one, known[0], sent)}
        found = list(reversed(new.values()))
        # Some APIs give a user the same one each time, and a JWT of the same second is the same.
        is_new = any(one.value not in self.tokens for one in found)
        if is_new or (found and (kind == "refresh" or sent.is_sure)):
            self._note(_HandedOut(seen, sent, kind, found, brought))

    def _note(self, event: _HandedOut) -> None:
        self.handed_out.append(event)
        for one in event.found:
            self.tokens.setdefault(one.value, event)
            self.roles.setdefault(one.value, one.role)

    def _kind(self, sent: Sent, brought: list[Carried]) -> Literal["login", "refresh"]:
        brings_one = any(self.roles[one.token] == "refresh" for one in brought)
        mere = sent.renews and not sent.has_password
        says = sent.says_refresh and not sent.has_password
        return "refresh" if mere or says or (brings_one and not sent.has_password) else "login"

    def _takes_place(self, one: Candidate, old: Carried, sent: Sent) -> bool:
        """Whether it is the login's, and not a key that the user has just made."""
        event = self.tokens[old.token]
        names = [known.name for known in event.found if known.value == old.token]
        return candidates.takes_place_of(one, old.token, one.name in names, False, sent)

    def _main(self, event: _HandedOut) -> Candidate:
        """The one that goes to the API with its requests."""

        def order(one: Candidate) -> tuple[int, int]:
            kinds = {use.at.kind for use in self.uses.get(one.value, ())}
            used = 0 if "header" in kinds else 1 if kinds & {"basic", "query"} else 2
            return used + 3 * (one.role == "refresh" and len(event.found) > 1), one.rank

        return min(event.found, key=order)

    # What they tell

    def _paths(self) -> None:
        """Prefix and base path, where the proxy of the recording had them."""
        pairs = {_ends(one.asked_as, one.target) for one in self.exchanges if one.asked_as}
        if len(pairs) != 1:
            return
        ((prefix, base),) = pairs
        evidence = "as the proxy had it that recorded this"
        if prefix and can_be_named(prefix):
            self._find("prefix", prefix, evidence)
        if base and can_be_named(base):
            self._find("base_path", base, evidence)

    def _api_path(self, seen: Seen) -> str:
        base = next((str(one.value) for one in self.findings if one.option == "base_path"), "")
        return seen.target.partition("?")[0].removeprefix(base) or "/"

    def _login(self, event: _HandedOut) -> bool:
        """Note which path logs in, and where in its answer the token stands."""
        main, path = event.main, self._api_path(event.seen)
        assert main
        evidence = self._evidence(event)
        if not event.sent.is_sure and main.value not in self.uses:
            self._remark(f"{evidence}; it is not sure that this is a login")
            return False
        pattern = _without_user(event.seen, path)
        if not can_be_named(pattern):
            self._remark(f"{evidence}; no option can name this path")
            return False
        if not self._token(event, evidence):
            return False
        rule = path if pattern == path else f"{event.seen.method} {pattern}"
        self._find("login", rule, evidence)
        return True

    def _token(self, event: _HandedOut, evidence: str) -> bool:
        assert event.main
        if not _leads_to(event, event.main):
            self._remark(f"{evidence}; no option leads to it, so its page needs stand-ins")
            return False
        self._find("token", event.main.place, evidence)
        return True

    def _evidence(self, event: _HandedOut) -> str:
        assert event.main
        form = " (a JWT)" if jwt.decode(event.main.value) else ""
        said = f"{event.told} answered {event.main.told}{form}"
        use = _best(self.uses.get(event.main.value, []))
        return f"{said}; {_sent(use)}" if use else f"{said}; no request has sent it"

    def _header(self) -> None:
        """The header that takes the main tokens to the API."""
        mains = [event.main.value for event in self.handed_out if event.main]
        # A page that was logged in before says it too, if it says it with a refresh that follows.
        votes = Counter[tuple[str, str, str]]()
        first: dict[tuple[str, str, str], _Use] = {}
        for token in mains:
            for use in self.uses.get(token, ()):
                at = use.at
                if at.kind != "header" or at.name == "Sec-WebSocket-Protocol":
                    continue
                key = at.name.lower(), at.before, at.after
                votes[key] += 1 + 1000 * (200 <= use.seen.answer.status <= 399)
                first[key] = _best([first.get(key, use), use]) or use
        if votes:
            key, _ = votes.most_common(1)[0]
            self._name_header(first[key].at.name, key[1], key[2], _sent(first[key]))
            return
        for event in self.handed_out:
            assert event.main
            told = header_told(event.seen.answer, event.main.value, event.main.place)
            if told and event.kind == "login":
                self._name_header(*told, "", f"{event.told} says so with its token")
                return
        for token in mains:
            if best := _best(self.uses.get(token, [])):
                self._remark(f"{_sent(best)}; no option says that, a page's stand-in does")
                return

    def _name_header(self, name: str, before: str, after: str, evidence: str) -> None:
        if any(map(may_be_secret, words_of(before + " " + after))) or not header_of(
            name, before, after
        ):
            self._remark(f"{evidence}; no option can say what is around it")
            return
        self._find("header", name, evidence)
        self._find("header_format", f"{before}{{token}}{after}", evidence)

    def _refresh(self) -> None:
        """How a token is renewed, if an option can say that."""
        for event in self.handed_out:
            if event.kind == "refresh" and self._name_refresh(event):
                return

    def _name_refresh(self, event: _HandedOut) -> bool:
        seen, path = event.seen, self._api_path(event.seen)
        tokens = [one.token for one in event.brought if self.roles[one.token] == "refresh"]
        token = next(iter(tokens), None) or refresh_token_in(seen)
        said = f"{event.told} renewed the token"
        others = [one.value for one in self.findings if one.option == "login"] or [_LOGIN]
        if token is None:
            with_ = f" with {event.brought[0].told}" if event.brought else ""
            self._remark(f"{said}{with_}; no option says that, a page's own refresh works")
            return False
        places = list(self._places(token, event))
        template = refresh_template(seen.headers.get("content-type", ""), seen.body, token)
        alone = [one for one in event.brought if seen.body.strip() in (b"", b"{}")]
        header = next((_header_line(one) for one in alone if one.token == token), "")
        is_shared = normalise(path) in (normalise(str(other)) for other in others)
        member = self._told_apart(event) if is_shared else ""
        if is_shared and not member:
            why = "its path is that of the login, and no word in their bodies tells them apart"
        elif seen.method != "POST":
            why = "cookie_auth_refresh asks by POST"
        elif not can_be_named(path):
            why = "no option can name this path"
        elif not template and not header:
            why = "no option says where its refresh token stands, or what else is in its body"
        elif not places:
            why = "it was not seen where the refresh token came from"
        else:
            origin, pointer = places[0]
            where = "its body" if template else event.brought[0].told
            evidence = f"{said} with the {pointer} of {origin} in {where}"
            self._find("refresh", self._rule(event, member), evidence)
            if member:
                self._name_logins(event, member)
            self._find("refresh_token", pointer, evidence)
            if template:
                self._find("refresh_body", template, evidence)
            else:
                self._find("refresh.headers", header, evidence)
            self._token(event, self._evidence(event))
            return True
        self._remark(f"{said}; not by an option, since {why}; a page's own refresh works")
        return False

    def _told_apart(self, event: _HandedOut) -> str:
        """The member of the body that tells a refresh from the logins at its path, if one does."""
        logins = [_kinds_of(one.seen) for one in self._logins_at(event)]
        for name, value in _kinds_of(event.seen).items():
            if logins and all(one.get(name, value) != value for one in logins):
                return name
        return ""

    def _logins_at(self, event: _HandedOut) -> list[_HandedOut]:
        """The logins at the path of a refresh."""
        path = normalise(self._api_path(event.seen))
        return [one for one in self.logins if normalise(self._api_path(one.seen)) == path]

    def _rule(self, event: _HandedOut, member: str) -> str:
        """What means this request: its path, and what the member is where that has to tell."""
        path = self._api_path(event.seen)
        if not member:
            return path
        return f"{event.seen.method} {path} {member}={_kinds_of(event.seen)[member]}"

    def _name_logins(self, event: _HandedOut, member: str) -> None:
        """Say of the logins at the path of a refresh what tells them from it."""
        logins = self._logins_at(event)
        plain_ones = [("login", self._api_path(one.seen)) for one in logins]
        self.findings = [one for one in self.findings if (one.option, one.value) not in plain_ones]
        for one in logins:
            self._find("login", self._rule(one, member), self._evidence(one))

    def _places(self, token: str, event: _HandedOut) -> Iterator[tuple[str, str]]:
        """Which answers hand out the refresh token, and where."""
        came_from = self.tokens.get(token)
        for source in (came_from, event):
            for one in source.found if source else ():
                is_it = one.value == token or (source is event and one.role == "refresh")
                if source and is_it and one.place[0] == "/" and _leads_to(source, one):
                    yield source.told, one.place

    def _logout(self) -> None:
        """The first request that logs out, if an option can say that."""
        for seen in self.exchanges:
            if self._is_logout(seen) and self._name_logout(seen):
                return
        for seen in self.exchanges:
            if self._name_revocation(seen):
                return

    def _is_logout(self, seen: Seen) -> bool:
        if not 200 <= seen.answer.status <= 399:
            return False
        safe = seen.method in _SAFE
        return session_requests.is_logout(
            seen.method,
            seen.target,
            operations=graphql.operations(seen.body),
            navigation=safe and answers.is_navigation(seen.headers),
        )

    def _name_logout(self, seen: Seen) -> bool:
        path, evidence = self._api_path(seen), f"{asked(seen)} logs out"
        brought = self._carried(seen)
        evidence += f", with {brought[0].told}" if brought else ""
        if graphql.operations(seen.body) or not can_be_named(path):
            self._remark(f"{evidence}; no option says that, a page's own logout works")
            return False
        alone = all(
            normalise(self._api_path(one)) != normalise(path) or self._is_logout(one)
            for one in self.exchanges
            if one.answer.status < 400 and one.method != "OPTIONS"
        )
        body = self._with_refresh_token(seen) if alone else None
        for name, value in logout_options(seen.method, path, alone=alone, body=body):
            self._find(name, value, evidence)
        if not body and any(one.kind in ("body", "query") for one in brought):
            self._remark(f"{evidence}; no option says that, a page's own logout works")
        return True

    def _name_revocation(self, seen: Seen) -> bool:
        """Of a page that has its refresh token ended (RFC 7009), the proxy's logout does that."""
        if seen.method in _SAFE or not session_requests.is_revoke(seen.target):
            return False
        body, path = self._with_refresh_token(seen), self._api_path(seen)
        if not 200 <= seen.answer.status <= 299 or not body or not can_be_named(path):
            return False
        evidence = f"{asked(seen)} ends the refresh token, in its body"
        for name, value in logout_options(seen.method, path, alone=False, body=body):
            self._find(name, value, evidence)
        return True

    def _with_refresh_token(self, seen: Seen) -> str | None:
        """The body of a request that ends a login, if a refresh token stands in it."""
        found = [one.token for one in self._carried(seen) if one.kind == "body"]
        tokens = [token for token in found if self.roles[token] == "refresh"]
        kind = seen.headers.get("content-type", "")
        return refresh_template(kind, seen.body, tokens[0]) if tokens else None

    def _unused(self) -> None:
        """What no request has sent back, nor anything that stood in its place in another answer."""
        sent = self.uses.keys() | self.refreshed_with.keys()
        found = [one for event in self.handed_out for one in event.found if one.value in sent]
        used = {one.value for one in found} | {one.name for one in found}
        used |= {one.role for one in found if one.role == "refresh"}
        for event in self.handed_out:
            for one in event.found:
                if used.isdisjoint((one.value, one.name, one.role)):
                    self._remark(f"{event.told} answered {one.told}: never sent back")


def _kinds_of(seen: Seen) -> dict[str, str]:
    """What a body says of what it asks for, in words: `grant_type`, `password`."""
    found = login_like.members_in(seen.headers.get("content-type", ""), seen.body)
    return {
        name: value
        for name, value in found.items()
        if plain(name) in _KINDS and is_plain(name) and _WORD.fullmatch(value)
    }


def _best(uses: Iterable[_Use]) -> _Use | None:
    """The one that tells most: in a header, and accepted."""
    order = ("header", "basic", "query", "body", "path", "cookie")
    return min(
        uses,
        key=lambda use: (order.index(use.at.kind), not 200 <= use.seen.answer.status <= 399),
        default=None,
    )


def _sent(use: _Use) -> str:
    """`GET /me sent it as Authorization: Bearer`."""
    at = use.at
    if at.kind == "header":
        around = f"{at.before}…{at.after}" if at.after or "=" in at.before else at.before.strip()
        if not around or any(map(may_be_secret, words_of(around))):
            return f"{asked(use.seen)} sent it as {printable(at.name)}"
        return f"{asked(use.seen)} sent it as {printable(at.name)}: {printable(around)}"
    return f"{asked(use.seen)} sent it in {at.told}"


def _header_line(at: Carried) -> str:
    """The header that takes a refresh token along, if it may be told."""
    around = words_of(f"{at.before} {at.after}")
    if at.kind != "header" or any(map(may_be_secret, around)):
        return ""
    known = header_of(at.name, at.before, at.after)
    return f"{at.name}: {at.before}{{refresh_token}}{at.after}" if known else ""


def _without_user(seen: Seen, path: str) -> str:
    """The path of a login with `*` for the segment that names who logs in.

    By PUT only, whose path names what is put: `PUT /-/user/org.couchdb.user:ada`.
    """
    try:
        pairs = list(members(json.loads(seen.body)))
    except (ValueError, RecursionError):
        return path
    names = {value for name, value in pairs if plain(name) in _WHO}
    segments = [
        one if names.isdisjoint(unquote(one).split(":")) else "*" for one in path.split("/")
    ]
    return "/".join(segments) if seen.method == "PUT" else path


def _captured(token: str, place: str) -> Candidate:
    """The token of a login that was listed when this was recorded."""
    name = place.rpartition(":" if place[0] != "/" else "/")[2]
    return Candidate(token, place, name, "access", 0, bound=False)


def _leads_to(event: _HandedOut, one: Candidate) -> bool:
    """Whether an option can say where this token stands: asked of what will read it."""
    seen = event.seen
    if seen.captured:
        return True
    try:
        source = parse_source(one.place)
        if one.place[0] == "/" and not _is_telling(one):
            return False
        answer = seen.answer
        kept = [f for f in answer.headers.fields if f[0].lower() != b"content-encoding"]
        response = http.Response.make(answer.status, answer.body or b"", http.Headers(kept))
        captured = capture.read_answer(
            seen.method, response, (source,), redact=False, sent=event.sent, lenient=True
        )
    except (ValueError, Refused):
        return False
    return captured is not None and captured.token.removeprefix(_before(captured.token)) == (
        one.value
    )


def _before(token: str) -> str:
    """A scheme before a token, which the header's format takes off."""
    match = SCHEME.match(token)
    return match[0] if match else ""


def _is_telling(one: Candidate) -> bool:
    """Whether the names that lead there are no secrets themselves."""
    return one.place == "/" or one.told == one.place


def _ends(asked_as: str, target: str) -> tuple[str, str]:
    """What is before the part that two paths have in common: prefix and base path."""
    ours, theirs = asked_as.partition("?")[0], target.partition("?")[0]
    ours, theirs = ours.rstrip("/"), theirs.rstrip("/")
    common = 0
    while common < min(len(ours), len(theirs)) and ours[-common - 1] == theirs[-common - 1]:
        common += 1
    # Whole segments only
    common = next((n for n in range(common, 0, -1) if ours[len(ours) - n] == "/"), 0)
    return ours[: len(ours) - common], theirs[: len(theirs) - common]
