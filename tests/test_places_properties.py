"""No input makes the translation raise, or puts a token into other text."""

import base64
import json
import re
from typing import Any
from urllib.parse import parse_qsl

from credentials.bodies import translate_body
from credentials.places import MARK, Meant, Reader, translate_headers, translate_target
from credentials.session_requests import (
    is_logout,
    is_revoke,
    may_have_credentials_in_body,
    path_names_session,
    says_what_it_does,
)
from credentials.socket_messages import is_polling, translate_message, translate_polling
from hypothesis import assume, given
from hypothesis import strategies as st

STAND_IN = MARK + "m" + "a" * 36
REAL = "RealTokenOfTheApi"

NAMES = "token auth access_token apiKey Authorization text type op headers payload given".split()
VALUES = [STAND_IN, f"Bearer {STAND_IN}", f"ann:{STAND_IN}", STAND_IN + "x", "auth", "connect", "x"]


def reader(slot: str = "m") -> Reader:
    def read(text: str) -> Meant | None:
        return Meant(REAL, slot, lambda name: name == "given") if text == STAND_IN else None

    return read


READ = reader()


def mixed(*pieces: str) -> st.SearchStrategy[str]:
    """Text of these pieces, much of it well formed, some of it anything."""
    piece = st.sampled_from([STAND_IN, *pieces]) | st.text(max_size=3)
    return st.lists(piece, max_size=12).map("".join)


readers = st.sampled_from("mri1").map(reader)
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(VALUES)
documents = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
header_values = mixed(
    "Bearer ", "Basic ", "Token ", "token=", "Token=", '"', ", ", ",", "=", " ", "\\", "a", ":", "."
)
header_names = st.sampled_from(
    ["Authorization", "X-Api-Key", "sec-websocket-protocol", "User-Agent", "auth-token", ""]
)
queries = mixed("token=", "access_token=", "given=", "q=", "&", "=", ";", "%7E", "+", "?", "#", "/")


@given(st.lists(st.tuples(header_names, header_values), max_size=4), readers)
def test_headers(pairs: list[tuple[str, str]], read: Reader) -> None:
    fields = tuple((name.encode(), value.encode()) for name, value in pairs)
    translated, places = translate_headers(fields, "auth-token", read)
    if not places:
        assert translated is fields
    assert [name for name, _ in translated] == [name for name, _ in fields]
    changed = 0
    for (name, before), (_, after) in zip(fields, translated, strict=True):
        if before != after:
            changed += 1
            assert name != b"User-Agent"
            # The whole value, or all of it up to a delimiter on each side
            assert re.search(rb"(?:^|[ =\",._-])" + REAL.encode() + rb"(?:$|[\",; \t])", after)
            assert after.replace(REAL.encode(), STAND_IN.encode()) == before
    assert changed == len(places)


@given(st.text(max_size=8), st.text(max_size=8), st.booleans(), st.booleans(), st.booleans())
def test_basic(user: str, password: str, is_user: bool, in_both: bool, named: bool) -> None:
    assume(":" not in user)
    user = STAND_IN if is_user or in_both else user
    password = STAND_IN if not is_user or in_both else password
    value = base64.b64encode(f"{user}:{password}".encode())
    fields = ((b"Authorization", (b"Basic " if named else b"") + value),)
    translated, places = translate_headers(fields, "auth-token", READ)
    if in_both:
        assert translated is fields
    else:
        sent = base64.b64decode(translated[0][1].removeprefix(b"Basic ")).decode()
        assert sent == f"{user}:{password}".replace(STAND_IN, REAL)
        assert len(places) == 1


@given(queries, st.booleans(), readers)
def test_targets(query: str, path_too: bool, read: Reader) -> None:
    target = "/" + query
    translated, places = translate_target(target, path_too=path_too, read=read)
    if not places:
        assert translated is target
    assert translated.count(REAL) == len(places)
    path, _, rest = translated.partition("?")
    assert all(REAL not in segment or segment == REAL for segment in path.split("/"))
    assert REAL not in path or path_too
    for name, value in parse_qsl(rest, keep_blank_values=True):
        assert REAL not in name
        assert REAL not in value or (value == REAL and name in NAMES)
    if "%" not in target:
        assert translated.replace(REAL, STAND_IN) == target


def places_of(document: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where the real token is, if only as a part of a text."""
    if isinstance(document, dict):
        found = [places_of(value, (*at, key)) for key, value in document.items()]
    elif isinstance(document, list):
        found = [places_of(value, (*at, index)) for index, value in enumerate(document)]
    else:
        return [at] if REAL in str(document) else []
    return [place for each in found for place in each]


@given(documents, st.booleans(), readers)
def test_json_bodies(document: object, compact: bool, read: Reader) -> None:
    body = json.dumps(document, indent=None if compact else 1, ensure_ascii=compact).encode(
        "utf-8", "replace"
    )
    translated, places = translate_body("application/json", body, read)
    if not places:
        assert translated is body
    sent = json.loads(translated)
    found = places_of(sent)
    assert len(found) == len(places)
    for place in found:
        assert len(place) <= 2
        assert all(isinstance(step, str) for step in place)
        assert place[-1] in NAMES
    assert translated.replace(REAL.encode(), STAND_IN.encode()) == body


body_text = mixed(
    "token=", "token", '"token":"', '":"', '"', "{", "}", "[", "]", ",", ":", "&", "\r\n", "--b",
    "--b--\r\n", '--b\r\nContent-Disposition: form-data; name="token"\r\n\r\n', "\r\n--b--", "\\",
)  # fmt: skip


@given(
    body_text,
    st.sampled_from(
        [
            "application/json",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=b",
        ]
    ),
    readers,
)
def test_any_body(text: str, content_type: str, read: Reader) -> None:
    body = text.encode("utf-8", "replace")
    translated, places = translate_body(content_type, body, read)
    assert translated.count(REAL.encode()) == len(places)
    if places:
        assert translated.replace(REAL.encode(), STAND_IN.encode()) == body
    else:
        assert translated is body


@given(documents, st.sampled_from(["", "40", "42", "42/a,1", "3"]), st.booleans(), readers)
def test_json_messages(document: object, packet: str, before: bool, read: Reader) -> None:
    text = packet + json.dumps(document)
    translated, places = translate_message(text, translated_before=before, read=read)
    if not places:
        assert translated is text
        return
    assert translated.startswith(packet)
    assert translated.count(REAL) == len(places)
    for place in places_of(json.loads(translated.removeprefix(packet))):
        assert len(place) <= 3
        assert not any(isinstance(step, int) for step in place[1:])
    assert translated.replace(REAL, STAND_IN) == text


message_text = mixed(
    "CONNECT\n", "Authorization:", "\n", "\n\n", "\0", "\x1e", "40", "42", "[", '["', '"]', "{",
    '{"auth":"', '"}', '\\"', '{\\"auth\\":\\"', '\\"}', ",", ":", "/a,", '"', "Bearer ",
)  # fmt: skip


@given(message_text, st.booleans(), readers)
def test_any_message(text: str, before: bool, read: Reader) -> None:
    translated, places = translate_message(text, translated_before=before, read=read)
    assert translated.count(REAL) == len(places)
    if not places:
        assert translated is text
    body = text.encode("utf-8", "replace")
    polled, places = translate_polling(body, read)
    assert polled.count(REAL.encode()) == len(places)
    assert places or polled is body


@given(st.text(), st.text(), st.lists(st.text()))
def test_questions_about_any_request_are_answered(
    method: str, path: str, operations: list[str]
) -> None:
    answers = [
        is_logout(method, path, operations=operations),
        is_revoke(path),
        path_names_session(method, path),
        may_have_credentials_in_body(method, path, operations=operations),
        may_have_credentials_in_body("POST", path, operations=operations),
        says_what_it_does(operations, path),
        is_polling(method, path),
    ]
    assert {type(answer) for answer in answers} == {bool}
