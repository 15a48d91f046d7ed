"""An answer of the API's hands out tokens, though no option says so: the page gets stand-ins.

Which answers those are, and what in them is a token, is told in `tokens.login_like` and
`tokens.candidates`; what a stand-in is, in `credentials.stand_ins`.
"""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from credentials import socket_messages
from credentials.companion import NO_SESSION, Notary, Session, Use
from credentials.forwarded import hide_secrets
from credentials.options import HeaderSettings, header_of
from credentials.stand_ins import ID, MAIN, REFRESH, name_digest, stand_in
from messages import streaming
from messages.answers import Refused
from messages.text import is_text, media_type
from mitmproxy import http
from origins.rules import SAFE_METHODS
from profiles import schemes
from tokens import candidates, jwt, login_like
from tokens.answer import Answer
from tokens.candidates import Candidate
from tokens.capture import Captured
from tokens.login_like import Sent
from tokens.suspicion import is_plain

from exchanges import further_tokens, hints, notes, own_cookies
from exchanges.leaks import put_stand_ins, replace_in_headers
from exchanges.learned import Given
from exchanges.received import told_place

if TYPE_CHECKING:
    from exchanges.api import Api

_SHORTEST = 8
"""Characters of a token that gets a stand-in."""
_MOST_BYTES = 24 * 1024
"""Of all tokens of a login: more than browsers and servers take in one Cookie field."""
_LONGEST_ANSWER = 1024 * 1024
_OTHERS = ("1", "2", "3")
_ALSO_READ = ("octet-stream", "msgpack", "cbor")
"""Ends of media types of logins' answers that are no text."""
_DOUBTFUL = 6
"""The rank from which on a candidate has no name that is a token's own."""
_VERSION = re.compile(r"v\d{1,3}(?:\.\d{1,3})*")


def is_expected(exchange: "Api", response: http.Response) -> bool:
    """Whether tokens are to be looked for in this answer, which is held back then.

    Raises Refused for one that is too long for that, where it surely is a login's.
    """
    request, status = exchange.flow.request, response.status_code
    if exchange.settings.token.leak == "off" or not 200 <= status <= 399 or status == 304:
        return False
    if request.method == "OPTIONS":
        return False
    sent = exchange.sent = login_like.read_if_like(request)
    if not sent or not sent.why or not _may_hold_tokens(exchange, sent, response):
        return False
    if socket_messages.is_polling("POST", request.path):
        return False  # Engine.IO's own session, whatever else stands in the query
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length) > _LONGEST_ANSWER:
        if sent.is_sure and exchange.browser_asks:
            raise Refused("login_unreadable", "The API's answer to this login is too long.")
        return False
    return True


def _may_hold_tokens(exchange: "Api", sent: Sent, response: http.Response) -> bool:
    """Whether an answer of this type may be that to a login. Others stream: images, watches."""
    kind = media_type(response.headers)
    # As GraphQL servers answer, if asked to
    in_parts = kind in ("text/event-stream", "multipart/mixed")
    if in_parts or streaming.is_series(response.headers):
        return sent.is_sure and exchange.flow.request.method not in SAFE_METHODS
    readable = is_text(kind) or kind.endswith(_ALSO_READ)
    if exchange.flow.request.method in SAFE_METHODS and exchange.stood:
        return readable and (sent.says_login or sent.says_refresh)  # `?token=` came with it
    return readable


def hand_out(exchange: "Api", response: http.Response) -> None:
    """Put stand-ins in the place of the tokens of an answer, and the tokens into cookies.

    Raises Refused: `login_unreadable` for what cannot be read, or no cookies can keep;
    `token_leak` for a page of another origin, or where `cookie_auth_leak` says so.
    """
    sent, settings, once = exchange.sent, exchange.settings, exchange.proxy.once
    assert sent
    answer = Answer.of(response)
    path, asked = told_place(exchange.flow), _asked(exchange)
    if answer.is_doubtful and exchange.browser_asks:
        if sent.is_sure:
            raise Refused(
                "login_unreadable",
                "The API's answer to this login cannot be read whole: it is in a Content-Encoding"
                " that is not known here, no JSON though it seems to be, too long, or too deep.",
            )
        said = "%s: an answer that cannot be read whole is not searched for tokens"
        once.warn(("unread", path), said, asked)
    known = exchange.tokens
    # What a stand-in stood for was not sent by the page: it may be handed out again.
    own = dataclasses.replace(sent, values=sent.values - set(known.values()))
    found = _distinct(candidates.find(answer, own, settings.token.exposed))
    if not sent.is_sure and exchange.flow.request.method in SAFE_METHODS:
        found = [one for one in found if one.place != "/"]  # any text may be one word
    for one in [one for one in found if one.bound]:
        said = "%s: %s is bound to a key of the page's (DPoP), so it is left alone"
        once.warn(("bound", path, one.told), said, asked, one.told)
    found = [one for one in found if not one.bound and len(one.value) >= _SHORTEST]
    new = [one for one in found if one.value not in known.values()]
    if found and not exchange.browser_asks:
        said = "%s handed out %s: to no browser, so as it is"
        once.info(("no browser", path), said, asked, _told(found))
        return
    if settings.token.leak == "stand-in" and found and not _is_ours(exchange):
        what = f"The API's answer to a page of another origin hands out {_told(found)}."
        raise Refused("token_leak", what)
    renews, aside = _renews(exchange, new), False
    if known and exchange.is_authenticated:
        passing = [] if exchange.switches else _passing(exchange, new, asked)
        new = [one for one in new if one not in passing]
    elif known and not _logs_in(exchange, sent, found):
        renews = aside = exchange.session.issued
    elif not renews:
        new = found  # also what the browser holds from an earlier login
    if not new:
        return
    if not renews:
        values = {one.value for one in new}
        new = [one for one in found if one.value in values or one.value in known.values()]
    if settings.token.leak != "stand-in":
        exchange.leak_alarm.notice_handed_out(_told(new), option_for(new[0]))
        return
    _give(exchange, response, answer, new, renews=renews, aside=aside)
    said = "%s handed out %s; the page got stand-ins%s"
    expose = [one.name for one in new if one.name and is_plain(one.name)]
    hint = f" (for pages to read it: --set cookie_auth_expose={expose[0]})" if expose else ""
    once.info(("handed out", path, _told(new)), said, asked, _told(new), hint)
    if not exchange.switches:
        hints.tell_login(exchange, new, renews=renews)


def _is_ours(exchange: "Api") -> bool:
    """Whether a page of ours asks, or a person who has followed a link to a login."""
    return bool(exchange.flow.metadata[notes.TRUSTED]) or own_cookies.comes_by_link(exchange)


def hand_out_captured(exchange: "Api", response: http.Response, captured: Captured) -> None:
    """The same for a listed login whose page wants stand-ins."""
    answer = Answer.of(response)
    found = candidates.find(answer, exchange.sent, exchange.settings.token.exposed)
    named = {one.value: one for one in found}
    main = Candidate(captured.token, "/", "", "access", 0, bound=False)
    new = [named.get(main.value, main)._replace(rank=0)]
    if refresh := captured.refresh_token:
        new.append(named.get(refresh, Candidate(refresh, "/", "", "refresh", 9, bound=False)))
    more, shown = {}, set()
    for slot, source, is_secret in exchange.settings.sought:
        if value := captured.more.get(slot):
            more[slot] = Candidate(value, source.text, source.name, "other", 9, bound=False)
            shown |= set() if is_secret else {value}
    kept = {*shown, *(one.value for one in more.values())}
    others = [one for one in found if not one.bound and len(one.value) >= _SHORTEST]
    found = _distinct([*new, *(one for one in others if one.value not in kept)])
    renews = exchange.switches and exchange.session.use != Use.LISTED
    _give(exchange, response, answer, found, renews=renews, aside=False, more=more, shown=shown)


def slide(exchange: "Api", response: http.Response) -> None:
    """Put stand-ins in the place of tokens that the headers of an ordinary answer renew.

    As devise_token_auth does with each answer, and Laravel's `jwt.refresh`.
    """
    session, wallet, old = exchange.session, exchange.wallet, exchange.tokens
    in_headers = [place for _, place in exchange.stood if " " not in place]
    used = exchange.header.name if exchange.flow.metadata.get(notes.INJECTED) else None

    def named(name: str) -> bool:
        return name_digest(wallet.notary, name) in map(session.name_of, old)

    found = candidates.sliding(response.headers, next(iter(in_headers), used), named, old)
    new = [one for one in _distinct(found) if len(one.value) >= _SHORTEST]
    if not new:
        return
    slots = _slots(new, old, session, wallet.notary, aside=False)
    tokens = {**old, **{slot: one.value for slot, one in slots.items()}}
    exchange.held = dataclasses.replace(exchange.held, tokens=tokens)
    replace_in_headers(response, exchange.leak_alarm.needles)
    exchange.flow.metadata[notes.STAND_INS] = list(dict.fromkeys(one.told for one in new))
    if not exchange.is_over:
        session = exchange.proxy.learned.with_use(session)
        exchange.new_cookies = wallet.give(session, tokens, exchange.brought)
        exchange.note_renewal(tokens.get(MAIN, ""))


def _asked(exchange: "Api") -> str:
    """`POST /auth/sign-in`, for the log."""
    return f"{exchange.flow.request.method} {told_place(exchange.flow)}"


def option_for(candidate: Candidate) -> str:
    """The options that would make this answer a listed login's."""
    told = candidate.told
    return f" --set cookie_auth_token={told}" if told == candidate.place else ""


def _distinct(found: Iterable[Candidate]) -> list[Candidate]:
    """One for each token: the first."""
    return list({one.value: one for one in reversed(list(found))}.values())[::-1]


def _told(found: Iterable[Candidate]) -> str:
    """`access_token and refresh_token`."""
    *others, last = dict.fromkeys(re.sub("^/(?=[^/]+$)", "", one.told) for one in found)
    return " and ".join(filter(None, [", ".join(others), last]))


def _passing(exchange: "Api", new: list[Candidate], asked: str) -> list[Candidate]:
    """Of what comes in answer to a request that had a token already, what does not replace that.

    An API key that its user has just made, or an invitation, is for the user to see.
    """
    sent, session, known, wallet = exchange.sent, exchange.session, exchange.tokens, exchange.wallet
    assert sent
    path, passing = exchange.flow.request.path, []
    for one in new:
        slot = REFRESH if one.role == "refresh" else MAIN
        digest = name_digest(wallet.notary, one.name)
        if candidates.takes_place_of(
            one,
            known.get(slot) or next(iter(known.values())),
            old_name_matches=digest in map(session.name_of, known)
            or (session.use == Use.LISTED and one.rank < _DOUBTFUL),
            same_place_seen=exchange.proxy.learned.hands_out(wallet.api, path, one.place),
            sent=sent,
        ):
            continue
        passing.append(one)
    _tell_left_alone(exchange, passing, asked)
    return passing


def _tell_left_alone(exchange: "Api", passing: list[Candidate], asked: str) -> None:
    for one in passing:
        exchange.proxy.once.warn(
            ("left alone", asked, one.told),
            "%s: %s looks like a new token for its user, so the page gets it as it is; if it is"
            " one of the login's, add the path to cookie_auth_switch",
            *(asked, one.told),
        )
        exchange.flow.metadata.setdefault(notes.LEFT_ALONE, []).append(one.told)


def _logs_in(exchange: "Api", sent: Sent, found: list[Candidate]) -> bool:
    """Whether the answer takes the place of a login that the browser has, and did not send.

    Any page asks for things with a code, and any link may have a token in it; what they get is not
    worth the login.
    """
    if exchange.flow.request.method in SAFE_METHODS:
        query = exchange.flow.request.path.partition("?")[2]
        ends = bool({name for name, _ in parse_qsl(query)} & {"code", "ticket"})
        return own_cookies.comes_by_link(exchange) and (ends or sent.says_login)
    named = any(one.rank < _DOUBTFUL for one in found)
    return sent.says_login or (sent.renews and sent.has_password and named)


def _give(
    exchange: "Api",
    response: http.Response,
    answer: Answer,
    new: list[Candidate],
    *,
    renews: bool,
    aside: bool,
    more: Mapping[str, Candidate] = MappingProxyType({}),
    shown: Collection[str] = (),
) -> None:
    """Give the page stand-ins for these tokens, and the browser the tokens.

    `more` are those whose slots are known, `shown` those of them that the page may see.
    `renews`: the login goes on, and keeps what is not replaced. `aside`: it keeps all that it has,
    since this is perhaps no login; what was handed out is kept beside it.
    """
    wallet, flow, learned = exchange.wallet, exchange.flow, exchange.proxy.learned
    assert exchange.sent
    old = exchange.session if renews else NO_SESSION
    tokens = dict(exchange.tokens) if renews else {}
    slots = _slots(new, tokens, old, wallet.notary, aside=aside, kept=more)
    tokens.update({slot: one.value for slot, one in slots.items()})
    if sum(map(len, tokens.values())) > _MOST_BYTES:
        raise _too_much(f"more than {_MOST_BYTES // 1024} KiB of tokens")
    digests = {slot: name_digest(wallet.notary, one.name) for slot, one in slots.items()}
    session = learned.with_use(_session(old, digests, wallet.notary))
    if not renews:
        session = session._replace(remembered=exchange.remembered)
    header = _header(exchange, answer, slots.get(MAIN))
    # Those of an earlier login may be repeated.
    before = further_tokens.secrets(exchange, exchange.tokens)
    earlier = {token: (exchange.session, slot) for slot, token in before.items()}
    now = {token: (session, slot) for slot, token in tokens.items() if token not in shown}
    slots = {slot: one for slot, one in slots.items() if one.value not in shown}
    given = {
        token: stand_in(wallet.notary, login, slot, token)
        for token, (login, slot) in {**earlier, **now}.items()
    }
    put_stand_ins(response, answer.body or b"", given)
    hide_secrets(response.headers, list(given))
    flow.metadata[notes.STAND_INS] = list(dict.fromkeys(one.told for one in slots.values()))
    if exchange.is_over if renews else exchange.was_superseded:
        exchange.api_cookies = ()
        return  # a logout, or a later login, came first and holds: nobody can use them
    main, login = tokens.get(MAIN, new[0].value), _listed_as(exchange)
    beside = schemes.beside(answer, slots[MAIN].place) if MAIN in slots else {}
    exchange.new_cookies = wallet.give(
        session,
        tokens,
        exchange.brought,
        beside=beside,
        api_cookies=own_cookies.of_login(exchange, renews=renews),
    )
    exchange.api_cookies = ()
    exchange.proxy.ends.note(main, beside)
    for slot, one in slots.items():
        name = one.name if is_plain(one.name) else ""
        given_for = Given(_asked(exchange), one.told, name, slot, login)
        learned.gave(wallet.api, session.id, slot, given_for)
        if exchange.sent.is_sure and not aside:
            learned.handed_out(wallet.api, flow.request.path, one.place)
    if header:
        learned.reads(session.id, header)
    if renews:
        exchange.note_renewal(main)
    else:
        exchange.note_login(main)


def _listed_as(exchange: "Api") -> str:
    """How `cookie_auth_login` would name this login; empty where that would not do the same.

    A listed login keeps no cookies of the API's own, is none that a link ends, and neither a
    refresh nor one method of many at its path. What in a path is not plain may be a secret, or
    somebody's name.
    """
    sent, request = exchange.sent, exchange.flow.request
    if not sent or not sent.is_sure or sent.json_rpc or exchange.api_cookies:
        return ""
    if request.method in SAFE_METHODS or sent.says_refresh or sent.renews > sent.has_password:
        return ""
    path = exchange.settings.api_path(request.path.partition("?")[0])
    steps = filter(None, path.split("/"))
    told = all(is_plain(step) or _VERSION.fullmatch(step) for step in steps)
    return path if told else ""


def _renews(exchange: "Api", new: list[Candidate]) -> bool:
    """Whether the new tokens go on with the same login, and do not begin a new one."""
    sent = exchange.sent
    assert sent
    if not exchange.is_authenticated or not exchange.session.issued:
        return False
    if exchange.switches:
        return True
    if not sent.has_password or exchange.session.use == Use.LISTED:
        return True  # a listed login begins at its own path only
    old = jwt.decode(exchange.tokens.get(MAIN, ""))
    subject = old.claims.get("sub") if old else None
    fresh = [found for one in new if (found := jwt.decode(one.value))]
    return subject is not None and any(one.claims.get("sub") == subject for one in fresh)


def _slots(
    new: Iterable[Candidate],
    held: Mapping[str, str],
    session: Session,
    notary: Notary,
    *,
    aside: bool,
    kept: Mapping[str, Candidate] = MappingProxyType({}),
) -> dict[str, Candidate]:
    """Where each of the new tokens is kept: in the place of its predecessor, or by its role; and
    those whose slots are known.

    Raises Refused for more than there are cookies for.
    """
    new = list(new)
    if MAIN not in held and all(one.role == "refresh" for one in new):
        new = [new[0]._replace(role="other"), *new[1:]]  # the only one is the main one
    slots = dict(kept)
    free_first = sorted(_OTHERS, key=held.__contains__)
    for one in new:
        digest = name_digest(notary, one.name)
        same = [slot for slot in held if session.name_of(slot) == digest]
        by_role = {"refresh": [REFRESH], "id": [MAIN, ID]}.get(one.role, [MAIN])
        if aside:
            same, by_role = [slot for slot in same if slot in _OTHERS], []
        slot = next((s for s in (*same, *by_role, *free_first) if s not in slots), None)
        if slot is None:
            raise _too_much("more tokens than there are cookies for")
        slots[slot] = one
    return slots


def _session(old: Session, digests: Mapping[str, str], notary: Notary) -> Session:
    """The login that the tokens belong to, with the names under which they were handed out."""
    if not old.issued:
        old = Session(notary.new_login(), issued=True, use=Use.GIVEN)
    return old.with_names(digests)


def _too_much(what: str) -> Refused:
    return Refused("login_unreadable", f"The API's answer to this login hands out {what}.")


def _header(exchange: "Api", answer: Answer, main: Candidate | None) -> HeaderSettings | None:
    """The header in which the API wants the token, if the login's answer says it.

    By giving it in one itself, or by its `token_type` (RFC 6749, 7.1). A page of another origin
    has no say in it.
    """
    trusted = exchange.flow.metadata[notes.TRUSTED]
    if main is None or not trusted or exchange.flow.request.method in SAFE_METHODS:
        return None
    told = schemes.header_told(answer, main.value, main.place)
    return header_of(*told) if told else None
