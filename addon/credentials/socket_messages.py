"""Where a stand-in is translated back in the text that a page sends over a WebSocket.

In messages that say they are about that, and in the client's messages up to the first that had
one where they say nothing else, since that is how it logs in. In both only in members that are
named for it, at most three levels deep (`payload.headers.Authorization`).

What says something else, or to whom it goes, is none, not even the first: chats, relays and
signalling servers send it on, and a script listens at the other end with a client of its own.
"""

import json
import re
from urllib.parse import parse_qs

from messages.text import printable

from credentials.bodies import LONGEST, Member, members, replaced
from credentials.names import PARAMETERS, is_credential_header, plain, words
from credentials.places import MARK, Meant, Places, Reader, after_scheme

_LEVELS = 3
_SEPARATOR = "\x1e"  # of Engine.IO 4's polling and of SignalR
_NAMES = PARAMETERS | {"auth", "authorization"}
_SAYING = frozenset(
    "type event op msg action cmd command method kind eventname messagetype opcode".split()
)
_SAYS = frozenset(
    "auth authenticate authentication authorize authorization reauth reauthenticate"
    " connect connection".split()
)
_SAYS_BESIDE = frozenset("init request token jwt handshake re session access user".split())
"""What may stand beside it: `connection_init`, `#handshakeConnect`."""
_SAYS_FIRST = frozenset("login signin identify hello init handshake".split())
"""What a first message may say instead, of which a later one could mean anything."""
_SENT_ON = frozenset(
    "to target targets room rooms recipient recipients destination dest peer receiver channel"
    " channels broadcast chat text message body content webhook hook url".split()
)
"""Names of members beside which a token is somebody else's to read."""
_FIRST_ABOVE = frozenset({"connect", "auth", "authentication", "authorization", "headers"})
_CHANNEL = frozenset({"channel", "channels"})
_IDENTIFY = "2"  # the `op` with which Discord's clients, and many like it, log in
# Events of Phoenix and of Supabase, which joins each channel with the token and renews it there
_SAYS_WHOLE = frozenset({"phx_join", "access_token"})
# Engine.IO's `message`, Socket.IO's CONNECT or EVENT, a namespace, the number of an acknowledgement
_SOCKET_IO = re.compile(r"4([02])(?:/[^,]{0,255},)?[0-9]{0,10}(?=[\[{])")
_STOMP = re.compile(r"(?:CONNECT|STOMP)\r?\n")
_SAID = re.compile(r"[!-~]{1,40}")
_AFTER_NAME = re.compile(r"([^:\s]{1,128}:)(.+)", re.DOTALL)


def translate_message(text: str, *, translated_before: bool, read: Reader) -> tuple[str, Places]:
    """The message with the tokens in it; the same object when there are none.

    `translated_before` says whether a message of this connection was translated already.
    """
    if MARK not in text or len(text) > LONGEST:
        return text, ()
    packets = text.split(_SEPARATOR)
    places: list[tuple[str, str]] = []
    for index, packet in enumerate(packets):
        packets[index], found = _packet(packet, not (translated_before or places), read)
        places += found
    return (_SEPARATOR.join(packets), tuple(places)) if places else (text, ())


def is_polling(method: str, target: str) -> bool:
    """Whether the body of this request is what would else be messages of a WebSocket.

    Of Engine.IO 4's polling transport, which socket.io begins with, and SockJS's `xhr_send`.
    """
    path, _, query = target.partition("?")
    if method != "POST" or not ("EIO=4" in query or path.endswith("/xhr_send")):
        return False
    return path.endswith("/xhr_send") or parse_qs(query).get("transport") == ["polling"]


def translate_polling(body: bytes, read: Reader) -> tuple[bytes, Places]:
    """As `translate_message`, for a request for which `is_polling` holds.

    Which message is the first is not known here, so it must say that it connects.
    """
    if MARK.encode() not in body or len(body) > LONGEST:
        return body, ()
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body, ()
    text, places = translate_message(text, translated_before=True, read=read)
    return (text.encode(), places) if places else (body, ())


def _packet(text: str, is_first: bool, read: Reader) -> tuple[str, Places]:
    if MARK not in text:
        return text, ()
    found = members(text, 1) if text.startswith("[") else []
    if found and len(found) == _elements(text):
        return _sockjs(text, found, is_first, read)
    return _message(text, is_first, read)


def _elements(text: str) -> int:
    document = json.loads(text, parse_int=str, parse_float=str)
    return len(document)


def _sockjs(text: str, wrapped: list[Member], is_first: bool, read: Reader) -> tuple[str, Places]:
    """Messages as SockJS sends them, an array of strings."""
    values: list[tuple[int, int, str]] = []
    places: list[tuple[str, str]] = []
    for _, value, start, end in wrapped:
        inner, found = _message(value, is_first and not places, read)
        if found:
            values.append((start, end, json.dumps(inner)))
            places += found
    return replaced(text, values), tuple(places)


def _message(text: str, is_first: bool, read: Reader) -> tuple[str, Places]:
    if MARK not in text:
        return text, ()
    if _STOMP.match(text):
        return _stomp(text, read)
    packet = _SOCKET_IO.match(text)
    begin = packet.end() if packet else 0
    document = text[begin:]
    found = members(document, _LEVELS)
    levels = _levels(found, document, packet[1] if packet else "", is_first)
    below = _first_level(found, document, bool(packet))
    values, places = [], []
    for member in found:
        if MARK not in member.value or len(member.path) > levels:
            continue
        names = _names(member.path, below)
        filled = _value(member.value, read)
        if names and filled and _is_named(names, filled[1]):
            before, meant = filled
            values.append((member.start, member.end, json.dumps(before + meant.token)))
            places.append((meant.slot, f"message {printable(names[-1])}"))
    return (text[:begin] + replaced(document, values), tuple(places)) if places else (text, ())


def _levels(found: list[Member], document: str, packet: str, is_first: bool) -> int:
    """How deep in this message a token may stand; 0 for one that is not about that."""
    if not found or packet == "0":  # whose payload is for the server alone
        return _LEVELS
    parsed = json.loads(document, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
    if isinstance(parsed, _Pairs):
        return _levels_of_object(parsed, is_first)
    event = 0 if packet else 3
    return _LEVELS if any(_says(m.value, is_first) for m in found if m.path == (event,)) else 0


def _levels_of_object(document: "_Pairs", is_first: bool) -> int:
    said = [value for name, value in document.pairs if plain(name) in _SAYING]
    is_join = len(said) == 1 and isinstance(said[0], str) and said[0] in _SAYS_WHOLE
    if not document.names(_LEVELS).isdisjoint(_SENT_ON - _CHANNEL if is_join else _SENT_ON):
        return 0
    if said:
        if len(said) == 1 and ("op", "subscribe") in document.pairs:  # Parse LiveQuery
            return 1
        if is_first and len(said) == 1 and ("op", _IDENTIFY) in document.pairs:
            return 2
        return _LEVELS if all(_says(value, is_first) for value in said) else 0
    if not is_first:
        # As Node-RED and OctoPrint authenticate, again if they must
        return 1 if [name for name, _ in document.pairs] == ["auth"] else 0
    # Centrifugo has `{"connect": {"token": …}, "id": 1}`
    inner = [name for name, value in document.pairs if isinstance(value, _Pairs)]
    return 2 if inner and all(plain(name) in _FIRST_ABOVE for name in inner) else 1


def _says(value: object, is_first: bool) -> bool:
    """Whether a message that calls itself so is about authentication, and about nothing else."""
    if not isinstance(value, str) or not _SAID.fullmatch(value):
        return False
    if value in _SAYS_WHOLE:
        return True
    found = words(value)
    core = _SAYS | _SAYS_FIRST if is_first else _SAYS
    if len(found) > 2 or core.isdisjoint({*found, "".join(found)}):
        return False
    return "".join(found) in core or all(word in core or word in _SAYS_BESIDE for word in found)


class _Pairs:
    """A JSON object as it is written, repeated members and all."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = pairs

    def names(self, levels: int) -> frozenset[str]:
        found = {plain(name) for name, _ in self.pairs}
        if levels > 1:
            for _, value in self.pairs:
                found |= value.names(levels - 1) if isinstance(value, _Pairs) else set()
        return frozenset(found)


def _first_level(found: list[Member], document: str, is_packet: bool) -> int | None:
    """Where the names begin in the paths of this message, None if it holds none.

    In an event of socket.io after the index, `["authenticate", {…}]`; in Phoenix's array of five
    after that of the payload, `[ref, ref, topic, event, {…}]`.
    """
    if document.startswith("{"):
        return 0
    strings = {member.path for member in found}
    is_phoenix = not is_packet and {(2,), (3,)} <= strings
    return 1 if is_packet or is_phoenix else None


def _names(path: tuple[str | int, ...], below: int | None) -> list[str]:
    """The names that lead to a member, empty when an array stands where none may."""
    if below is None or len(path) <= below:
        return []
    names = [step for step in path[below:] if isinstance(step, str)]
    return names if len(names) == len(path) - below else []


def _value(value: str, read: Reader) -> tuple[str, Meant] | None:
    """What stands before the stand-in, a scheme word or `name:`, and what it means."""
    if filled := after_scheme(value, read):
        return filled
    found = _AFTER_NAME.fullmatch(value)
    return (found[1], meant) if found and (meant := read(found[2])) else None


def _is_named(names: list[str], meant: Meant) -> bool:
    *above, name = names
    if above[-1:] == ["headers"] and is_credential_header(name):
        return True
    if meant.slot == "r":
        return plain(name) == "refreshtoken" or meant.was_named(name)
    return plain(name) in _NAMES or meant.was_named(name)


def _stomp(text: str, read: Reader) -> tuple[str, Places]:
    """A CONNECT frame, whose headers are not escaped (STOMP 1.2, *Value Encoding*)."""
    lines = text.split("\n")
    places: list[tuple[str, str]] = []
    seen = set()
    for index, line in enumerate(lines):
        if line in ("", "\r"):  # what follows is the body
            break
        name, colon, value = line.partition(":")
        filled = _value(value.rstrip("\r"), read) if MARK in value else None
        # The first of a name counts, *Repeated Header Entries*
        if filled and name not in seen:
            before, meant = filled
            named = is_credential_header(name) or name == "passcode" or meant.was_named(name)
            if named and not re.search(r"[\r\n\0]", meant.token):
                end = value[len(value.rstrip("\r")) :]
                lines[index] = name + colon + before + meant.token + end
                places.append((meant.slot, f"message {printable(name)}"))
        seen.add(name)
    return ("\n".join(lines), tuple(places)) if places else (text, ())
