"""What becomes of the API's answer on a login path, case by case."""

import gzip
import json
import zlib
from base64 import b64encode

import brotli
import pytest
from messages.answers import Refused
from mitmproxy import http
from mitmproxy.net.encoding import encode_zstd
from tokens import capture
from tokens.capture import Captured
from tokens.login_like import Sent, read_request
from tokens.sources import parse_source

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def read(
    body: object = None,
    *,
    raw: bytes | None = None,
    status: int = 200,
    method: str = "POST",
    pointers: tuple[str, ...] = ("/authToken",),
    redact: bool = False,
    sent: Sent | None = None,
    exposed: frozenset[str] = frozenset(),
    lenient: bool = False,
    **headers: str,
) -> Captured | None:
    response = http.Response.make(status)
    response.headers = http.Headers((), **headers)
    response.raw_content = json.dumps(body).encode() if raw is None else raw
    parsed = tuple(parse_source(text) for text in pointers)
    return capture.read_answer(
        method, response, parsed, redact=redact, sent=sent, exposed=exposed, lenient=lenient
    )


def code(*args: object, **kwargs: object) -> str | None:
    """The code of the refusal; None where the answer is not refused."""
    try:
        read(*args, **kwargs)  # type: ignore[arg-type]
    except Refused as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    ("body", "pointers", "token"),
    [
        ({"authToken": "t"}, ("/authToken",), "t"),
        ({"authToken": "t"}, ("authToken",), "t"),
        ({"b": "2", "a": "1"}, ("/a", "/b"), "1"),
        ({"a": "", "b": "2"}, ("/a", "/b"), "2"),
        ({"a": None, "b": "2"}, ("/a", "/b"), "2"),
        ({"a": 7, "b": "2"}, ("/a", "/b"), "2"),
        ({"data": [{"token": "t"}]}, ("/data/0/token",), "t"),
        ("bare", ("/",), "bare"),
        ({"authToken": "é\n"}, ("/authToken",), "é\n"),
    ],
)
def test_the_first_pointer_that_leads_to_a_non_empty_string_wins(
    body: object, pointers: tuple[str, ...], token: str
) -> None:
    captured = read(body, pointers=pointers)
    assert captured is not None
    assert (captured.token, captured.body) == (token, b'{"loggedIn": true}')


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 299])
def test_every_success_is_captured(status: int) -> None:
    assert read({"authToken": "t"}, status=status) is not None


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("zstd", encode_zstd),
        ("identity", bytes),
    ],
)
def test_compressed_answers_are_read(coding: str, encode: object) -> None:
    body = encode(b'{"authToken": "t"}')  # type: ignore[operator]
    captured = read(raw=body, content_encoding=coding)
    assert captured is not None
    assert captured.token == "t"


def test_a_byte_order_mark_is_no_obstacle() -> None:
    assert read(raw=b'\xef\xbb\xbf{"authToken": "t"}') is not None


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (b"", {}),
        (b"authToken=t", {}),
        (f"<html>{JWT}</html>".encode(), {}),
        (b'{"authToken": "t"', {}),
        (b'{"authToken": "t"} x', {}),
        ('{"authToken": "é"}'.encode("latin-1"), {}),
        ('{"authToken": "t"}'.encode("utf-16"), {}),
        (b'{"authToken": 7}', {}),
        (b'{"authToken": false}', {}),
        (b'{"authToken": ["t"]}', {}),
        (b'{"authToken": {"value": "t"}}', {}),
        (b'{"authToken": "t", "x": NaN}', {}),
        (b'{"authToken": "t", "x": -Infinity}', {}),
        (b'{"authToken": "t", "x": 1e999}', {}),
        (b'{"authToken": "t", "x": ' + b"9" * 5000 + b"}", {}),
        (b'{"authToken": "t", "authToken": "u"}', {}),
        (b'{"authToken": "t", "authToken": null}', {}),
        (b'{"accessToken": "t", "accessToken": "u"}', {}),
        (b'{"authToken": "t", "x": ' + b"[" * 200 + b"]" * 200 + b"}", {}),
        (b"[" * 200_000, {}),
        (b'{"a":' * 200_000, {}),
        (b'{"authToken": "t"}', {"content_encoding": "gzip"}),
        (b'{"authToken": "t"}', {"content_encoding": "dcb"}),
        (b'{"authToken": "t"}', {"content_encoding": "gzip, br"}),
        (b'{"authToken": "t"}'.hex().encode(), {"content_encoding": "hex"}),
        (gzip.compress(b'{"authToken": "t"}')[:20], {"content_encoding": "gzip"}),
        (gzip.compress(gzip.compress(b'{"authToken": "t"}')), {"content_encoding": "gzip"}),
    ],
)
def test_a_success_that_cannot_be_read_for_sure_is_refused(
    raw: bytes, headers: dict[str, str]
) -> None:
    assert code(raw=raw, **headers) == "login_unreadable"


@pytest.mark.parametrize(
    "body",
    [
        {"mfaRequired": True},
        {"authToken": None, "step": "second factor"},
        {"authToken": ""},
        {"data": {"login": None}, "errors": [{"message": "wrong password"}]},
        {"token_type": "Bearer", "tokenExpiresAt": "2026-11-23", "expires_in": 3},
        {"csrfToken": "made for scripts", "XSRF-TOKEN": "too"},
        {"message": "a token was sent by mail", "site": "eye.co.uk"},
        {"token": 7, "tokens": [], "jwt": {}},
        [],
        "welcome",
        7,
        None,
    ],
)
def test_a_success_without_a_token_passes(body: object) -> None:
    assert read(body) is None


@pytest.mark.parametrize("raw", [b"<html>hello</html>", b"Created", b"<form>csrf</form>"])
def test_a_page_or_a_word_without_a_token_passes(raw: bytes) -> None:
    assert read(raw=raw) is None


@pytest.mark.parametrize("status", [204, 205])
def test_a_success_that_has_no_body_by_definition_passes(status: int) -> None:
    assert read(raw=b"", status=status) is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"token": "abc"}, "/token"),
        ({"access_token": "abc"}, "/access_token"),
        ({"data": {"accessToken": "abc", "tokenType": "bearer"}}, "/data/accessToken"),
        ({"id": [1, {"JWT": "abc"}]}, "/id/1/JWT"),
        ({"token": {"type": "bearer", "value": "abcdefghi"}}, "/token/value"),
        ({"tokens": ["abc"]}, "/tokens/0"),
        ({"a_b": {"session": JWT}}, "/a_b/session"),
        ({"next": f"https://example.com/?t={JWT}"}, "/next"),
        (JWT, "/"),
    ],
)
def test_a_token_where_no_pointer_leads_is_refused_and_the_message_says_where(
    body: object, pointer: str
) -> None:
    with pytest.raises(Refused) as caught:
        read(body)
    assert caught.value.code == "token_not_found"
    name = next((part for part in reversed(pointer.split("/")) if not part.isdigit()), "")
    expose = f" or, if pages may read it: --set cookie_auth_expose={name}" if name else ""
    assert caught.value.message.endswith(f"cookie_auth_token={pointer}{expose}")
    assert "abc" not in caught.value.message
    assert JWT not in caught.value.message


SECRET = "f7Qx/9dK2m~41"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"tokens": {SECRET: {"scope": "all"}}}, {}),
        ({SECRET: {"session": JWT}}, {}),
        ({"a/b": {"session": JWT}}, {}),
        ({}, {f"X-Token-{SECRET}": "abc"}),
        ({}, {f"{SECRET}-Token": "abc"}),
    ],
)
def test_a_name_that_may_be_a_secret_itself_is_not_told(
    body: object, headers: dict[str, str]
) -> None:
    with pytest.raises(Refused) as caught:
        read(body, **headers)  # type: ignore[arg-type]
    assert caught.value.code == "token_not_found"
    assert caught.value.message.endswith("under a name that is not told here")
    assert SECRET not in caught.value.message


def test_a_token_in_a_header_is_refused() -> None:
    assert code({}, X_Auth_Token="abc") == "token_not_found"
    assert code({}, Location=f"/?t={JWT}") == "token_not_found"
    assert code({}, X_CSRF_Token="made for scripts") is None


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (400, b'{"error": "Invalid credentials"}'),
        (400, b'{"authToken": ["This field is required."], "x": NaN}'),
        (401, b""),
        (401, b"\xff\xfe not text"),
        (403, b'{"token": "abc"}'),
        (302, b"<html>"),
        (304, b""),
        (500, b"{"),
    ],
)
def test_a_refusal_by_the_api_passes(status: int, raw: bytes) -> None:
    assert read(raw=raw, status=status) is None


@pytest.mark.parametrize(
    "raw",
    [
        b'{"authToken": "t"}',
        b'{"authToken": "t", "x": Infinity}',
        b'{"authToken": "t", "authToken": ""}',
    ],
)
def test_a_refusal_by_the_api_that_holds_a_token_all_the_same_is_refused(raw: bytes) -> None:
    assert code(raw=raw, status=401) == "login_unreadable"
    assert code(raw=gzip.compress(raw), status=500, content_encoding="gzip") == "login_unreadable"


def test_a_refusal_by_the_api_that_nobody_can_decode_is_refused() -> None:
    assert code(raw=b"?", status=401, content_encoding="unheard-of") == "login_unreadable"


def test_head_and_options_log_nobody_in() -> None:
    assert read(raw=b"", method="HEAD") is None
    assert read(raw=b"POST, OPTIONS", method="OPTIONS") is None
    assert code({"authToken": "t"}, method="OPTIONS") == "login_unreadable"


@pytest.mark.parametrize(
    ("body", "pointers", "rest"),
    [
        ({"authToken": "t", "user": {"id": 1}}, ("/authToken",), {"user": {"id": 1}}),
        ({"a": "t", "b": "u", "c": "é"}, ("/a", "/b"), {"c": "é"}),
        ({"data": {"login": {"token": "abc", "x": 1.5}}}, ("/data/login/token",),
         {"data": {"login": {"x": 1.5}}}),
        ([{"t": "1x"}, {"t": "2x"}], ("/0/t", "/1/t"), [{}, {}]),
        ({"a": "t", "again": "is t"}, ("/a",), {"loggedIn": True}),
        ({"a": "t", "k": {"xtx": 1}}, ("/a",), {"loggedIn": True}),
        ({"a": "77", "number": 1771}, ("/a",), {"loggedIn": True}),
        ({"a": "x/y", "url": "/?t=x%2Fy"}, ("/a",), {"loggedIn": True}),
        ({"a": "x y", "url": "/?t=x+y"}, ("/a",), {"loggedIn": True}),
        ({"a": "\u00e9\"", "url": "\u00e9\"!"}, ("/a",), {"loggedIn": True}),
        ("t", ("/",), {"loggedIn": True}),
    ],
)  # fmt: skip
def test_redacting_removes_every_pointer_and_leaves_no_copy_of_the_token(
    body: object, pointers: tuple[str, ...], rest: object
) -> None:
    captured = read(body, pointers=pointers, redact=True)
    assert captured is not None
    assert json.loads(captured.body) == rest


def test_replacing_the_body_leaves_no_header_of_the_old_one_or_with_the_token() -> None:
    response = http.Response.make(
        201,
        b"{}",
        {
            "Content-Type": "text/plain",
            "ETag": '"1"',
            "Content-MD5": "x",
            "Digest": "x",
            "Repr-Digest": "x",
            "Content-Encoding": "gzip",
            "Transfer-Encoding": "chunked",
            "Trailer": "x",
            "Cache-Control": "public",
            "X-Token-Echo": "the a;b token",
            "Location": "/?t=a%3Bb",
            "X-Request-Id": "7",
        },
    )
    response.trailers = http.Headers(x="a;b")
    capture.replace_body(response, Captured("a;b", b'{"loggedIn": true}', {}))
    assert dict(response.headers) == {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Request-Id": "7",
        "content-length": "18",
    }
    assert response.content == b'{"loggedIn": true}'
    assert response.trailers is None


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"", 200, b'{"loggedIn": true}'),
        (b"<html>welcome</html>", 200, b'{"loggedIn": true}'),
        (b'{"user": 1}', 201, b'{"user": 1}'),
        (b"", 204, b""),
    ],
)
def test_a_token_in_a_header_is_captured_whatever_the_body(
    raw: bytes, status: int, body: bytes
) -> None:
    captured = read(
        raw=raw,
        status=status,
        pointers=("/authToken", "header:X-Auth-Token"),
        redact=True,
        x_auth_token="abc",
    )
    assert captured is not None
    assert (captured.token, captured.body) == ("abc", body)


def test_the_order_of_pointers_and_headers_decides() -> None:
    for pointers, token in (
        (("/t", "header:T"), "in body"),
        (("header:T", "/t"), "in header"),
        (("header:None", "/t"), "in body"),
    ):
        captured = read({"t": "in body"}, pointers=pointers, T="in header")
        assert captured is not None
        assert captured.token == token


def test_a_header_that_holds_a_token_on_a_refusal_or_twice_is_refused() -> None:
    assert code({}, status=401, pointers=("header:T",), T="abc") == "login_unreadable"
    response = http.Response.make(200)
    response.headers = http.Headers([(b"T", b"a"), (b"t", b"b")])
    with pytest.raises(Refused):
        capture.read_answer("POST", response, (parse_source("header:T"),), redact=False)


def test_what_stands_beside_the_token_is_known() -> None:
    captured = read({"data": [{"token": "t", "expires_in": 5}]}, pointers=("/data/0/token",))
    assert captured is not None
    assert captured.beside == {"token": "t", "expires_in": 5}


# Other credentials in the answer of a listed login

OTHER = "7c1Kx0vWq9ZtR3uE5nH2aPb8"


@pytest.mark.parametrize(
    ("body", "rest"),
    [
        ({"refresh_token": OTHER, "user": 1}, {"user": 1}),
        ({"user": {"jwt": JWT, "id": 7}}, {"user": {"id": 7}}),
        ({"session": OTHER, "a": [{"sessionId": OTHER}]}, {"a": [{}]}),
        ({"x": JWT, "y": "z"}, {"y": "z"}),
        ({"saved": json.dumps({"refreshToken": OTHER}), "y": "z"}, {"y": "z"}),
        ({"refreshToken": OTHER, "again": f"<{OTHER}>"}, {"loggedIn": True}),
        ({"refreshToken": "a/b+c/d+e/f+", "again": r"a\/b+c\/d+e\/f+"}, {"loggedIn": True}),
        ({"refreshToken": OTHER, "again": b64encode(f"a:{OTHER}".encode()).decode()},
         {"loggedIn": True}),
        ({"refreshToken": OTHER, "again": OTHER.encode().hex()}, {"loggedIn": True}),
        ({"refreshToken": OTHER, "k": {OTHER: 1}}, {"loggedIn": True}),
        ({"again": b64encode(b"the main one").decode()}, {"loggedIn": True}),
        ({"csrfToken": OTHER, "pushToken": OTHER[::-1]},
         {"csrfToken": OTHER, "pushToken": OTHER[::-1]}),
        ({"token": "abc", "note": "abcd"}, {"note": "abcd"}),
    ],
)  # fmt: skip
def test_a_redacted_answer_has_no_other_credential_and_no_copy_of_one(
    body: dict[str, object], rest: object
) -> None:
    captured = read({"authToken": "the main one"} | body, redact=True)
    assert captured is not None
    assert json.loads(captured.body) == rest


def test_what_pages_may_read_stays_in_a_redacted_answer() -> None:
    body = {"authToken": "the main one", "chat": {"token": OTHER}}
    captured = read(body, redact=True, exposed=frozenset({"chat"}))
    assert captured is not None
    assert json.loads(captured.body) == {"chat": {"token": OTHER}}


@pytest.mark.parametrize("redact", [True, False])
def test_headers_with_other_credentials_go(redact: bool) -> None:
    response = http.Response.make(200)
    response.headers = http.Headers(
        (),
        X_Refresh_Token=OTHER,
        X_Token="abc",
        X_Jwt=JWT,
        X_Echo=f"a {OTHER[::-1]}",
        X_Request_Id="abcdef",
    )
    response.raw_content = json.dumps({"authToken": "t", "session": OTHER[::-1]}).encode()
    sources = (parse_source("/authToken"),)
    captured = capture.read_answer("POST", response, sources, redact=redact)
    assert captured is not None
    capture.replace_body(response, captured)
    assert dict(response.headers) == {
        "X-Request-Id": "abcdef",
        "Cache-Control": "no-store",
        "Content-Type": "application/json",
        "content-length": str(len(captured.body)),
    }


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"key": OTHER}, "/key"),
        ({"id": OTHER, "ttl": 1}, "/id"),
        ({"apikey": OTHER}, "/apikey"),
        ({"a": {"password": OTHER}}, "/a/password"),
        ({"accessKey": OTHER}, "/accessKey"),
        ({"sessionId": OTHER}, "/sessionId"),
        ({"bearer": OTHER}, "/bearer"),
        ({"refresh_token": OTHER * 9, "access_token": OTHER}, "/access_token"),
        ({"refresh_token": OTHER * 9, "id_token": JWT}, "/id_token"),
        ({"refresh_token": OTHER}, "/refresh_token"),
    ],
)
def test_the_most_likely_token_is_suggested(body: object, place: str) -> None:
    with pytest.raises(Refused) as caught:
        read(body)
    assert caught.value.code == "token_not_found"
    assert f"--set cookie_auth_token={place} or, if pages" in caught.value.message


def test_for_a_header_its_option_is_suggested() -> None:
    with pytest.raises(Refused) as caught:
        read({}, X_Auth_Token="abc")
    assert "in a header: try --set cookie_auth_token=header:X-Auth-Token" in caught.value.message
    assert caught.value.message.endswith("--set cookie_auth_expose=X-Auth-Token")


def test_an_alias_in_the_request_hides_no_token() -> None:
    query = {"query": "mutation { a: renewSession { b: token } }"}
    sent = read_request("POST", "/graphql", http.Headers(), json.dumps(query).encode())
    body = {"data": {"a": {"b": OTHER}}}
    assert code(body) is None
    assert code(body, sent=sent) == "token_not_found"


@pytest.mark.parametrize(
    "body",
    [
        {"mfaRequired": True, "mfaToken": JWT},
        {"pushToken": OTHER, "registered": True},
        {"emailVerificationToken": OTHER, "id": 7},
        {"ChallengeName": "SMS_MFA", "Session": OTHER},
    ],
)
def test_a_second_factor_a_registration_a_device_pass(body: object) -> None:
    assert read(body) is None


def test_what_pages_may_read_passes() -> None:
    assert code({"chat": {"token": OTHER}}) == "token_not_found"
    assert read({"chat": {"token": OTHER}}, exposed=frozenset({"token"})) is None
    location = f"/#chat_token={OTHER}"
    assert code(raw=b"", status=302, Location=location) == "token_not_found"
    assert read(raw=b"", status=302, Location=location, exposed=frozenset({"Chat_Token"})) is None


def test_where_nobody_said_where_the_token_is_only_what_cannot_be_read_is_refused() -> None:
    assert read(raw=b"", lenient=True) is None
    assert read({"token": OTHER}, lenient=True) is None
    assert read(raw=f"<p>{JWT}".encode(), lenient=True) is None
    assert read(raw=b"", status=302, Location=f"/?token={OTHER}", lenient=True) is None
    assert code(raw=b"{", lenient=True) == "login_unreadable"
    assert code(raw=b"\xff", lenient=True) == "login_unreadable"
    assert code(raw=b"x", content_encoding="gzip", lenient=True) == "login_unreadable"
    assert code({"authToken": 7}, lenient=True) == "login_unreadable"
    captured = read({"authToken": "t"}, lenient=True)
    assert captured is not None
    assert captured.token == "t"
