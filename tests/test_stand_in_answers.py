"""Stand-ins beyond the login: pages that send nothing, answers that repeat a token, clients that
are no browsers, what the options change, and what is recorded (DESIGN.md, 6).
"""

import gzip
import json
import re
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from mitmproxy import http, io
from page import Page
from support import Message, Mitmdump, Upstream, answer, eventually, running
from test_streams import MEGABYTE
from token_api import (
    OPAQUE_STAND_IN,
    STAND_IN,
    bearer,
    opaque,
    readable,
    signed,
    translated,
)
from websockets.datastructures import Headers as WebSocketHeaders
from websockets.http11 import Request, Response
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Origin

ProxyWith = Callable[..., Mitmdump]
Start = Callable[..., Mitmdump]

TOKEN, REFRESH, JWT = opaque("token"), opaque("refresh"), signed(exp=4_000_000_000)
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.fixture
def page(proxy_with: ProxyWith) -> Page:
    return Page(proxy_with().client)


def log_in(page: Page, target: str = "/auth/sign-in", **headers: str) -> Message:
    return page.post(target, '{"password": "x"}', content_type="application/json", **headers)


def sign_in(page: Page, upstream: Upstream, token: str = TOKEN, **more: object) -> str:
    """The stand-in of the token; the API answers 200 from then on."""
    upstream.answers(json.dumps({"token": token, **more}))
    given = str(json.loads(log_in(page).body)["token"])
    assert re.fullmatch(STAND_IN, given)
    upstream.answers("{}")
    return given


# A page that sends nothing


class Reads:
    """An API that takes the token in one header only."""

    def __init__(
        self, name: str, value: str, challenge: str = "", login: Any = None, refuses: int = 401
    ) -> None:
        self.name, self.value, self.challenge = name.lower(), value, challenge
        self.refuses = refuses
        self.login = login or {"body": json.dumps({"token": TOKEN})}

    def __call__(self, request: Message) -> bytes:
        if request.target == "/auth/sign-in":
            return answer(**self.login)
        if request.one(self.name) == self.value:
            return answer('{"you": "ann"}')
        fields = [("WWW-Authenticate", self.challenge)] if self.challenge else []
        return answer('{"you": null}', self.refuses, fields)


def told(**members: str) -> dict[str, Any]:
    return {"body": json.dumps({"token": TOKEN, **members})}


# How the API takes the token; how many requests a page's first one costs there
LEARNED: dict[str, tuple[Reads, int]] = {
    "by default": (Reads("auth-token", TOKEN), 1),
    "token_type": (Reads("Authorization", f"Bearer {TOKEN}", login=told(token_type="bearer")), 1),
    "token_type, another": (
        Reads("Authorization", f"JWT {TOKEN}", login=told(token_type="JWT")),
        1,
    ),
    "a header of the answer": (
        Reads("X-Auth", TOKEN, login={"body": "{}", "headers": [("X-Auth", TOKEN)]}),
        1,
    ),
    "a header of the answer, with a scheme": (
        Reads(
            "Authorization",
            f"Token {TOKEN}",
            login={"body": "{}", "headers": [("Authorization", f"Token {TOKEN}")]},
        ),
        1,
    ),
    "WWW-Authenticate": (Reads("Authorization", f"Token {TOKEN}", "Token realm=api"), 2),
    "else Bearer": (Reads("Authorization", f"Bearer {TOKEN}"), 2),
    "else Bearer, after a 403": (Reads("Authorization", f"Bearer {TOKEN}", refuses=403), 2),
}


@pytest.mark.parametrize(("api", "first"), LEARNED.values(), ids=list(LEARNED))
def test_a_page_that_sends_nothing_gets_the_header_that_the_api_reads(
    start: Start, upstream: Upstream, api: Reads, first: int
) -> None:
    page = Page(start().client)
    upstream.respond = api
    log_in(page)
    for asked in (first, 1, 1):
        upstream.received.clear()
        assert json.loads(page.get("/me").body) == {"you": "ann"}
        assert len(upstream.received) == asked
    assert page.post("/things").status == 200
    assert upstream.last.one(api.name) == api.value


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("GET /auth/me", True),
        ("GET /dj-rest-auth/user/", True),
        ("GET /session", True),
        ("DELETE /session", True),
        ("POST /auth/logout", True),
        ("PATCH /auth/users/me/", True),
        ("PUT /auth/refresh", False),
        ("POST /session", False),
        ("POST /auth/otp", False),
        ("GET /auth/login", False),
        ("GET /auth/callback?code=1", False),
    ],
)
def test_for_a_page_that_sends_nothing_a_token_goes_to_what_is_no_login(
    page: Page, upstream: Upstream, asked: str, sent: bool
) -> None:
    sign_in(page, upstream)
    method, target = asked.split()
    page.request(method, target)
    assert (upstream.last.one("auth-token") == TOKEN) is sent


@pytest.mark.xfail(reason="what was learned is in memory only", strict=True)
def test_the_header_that_was_learned_is_known_after_a_restart(
    start: Start, upstream: Upstream
) -> None:
    upstream.respond = LEARNED["a header of the answer"][0]
    page = Page(start().client)
    log_in(page)
    assert page.get("/me").status == 200
    assert Page(start().client, page.jar).get("/me").status == 200


@pytest.mark.parametrize("status", [401, 403])
def test_another_header_is_tried_once_for_each_login_and_for_nothing_but_a_get(
    start: Start, upstream: Upstream, status: int
) -> None:
    page = Page(start().client)
    upstream.respond = lambda request: (
        answer(json.dumps({"token": TOKEN}))
        if request.target == "/auth/sign-in"
        else answer("no", status)
    )
    log_in(page)
    upstream.received.clear()
    for method, body in [("POST", "{}"), ("POST", None), ("DELETE", None), ("PUT", "{}")]:
        assert page.request(method, "/me", body=body).status == status
    assert len(upstream.received) == 4
    for times in (2, 1, 1):
        upstream.received.clear()
        assert (got := page.get("/me")).status == status
        assert got.body == b"no"
        assert len(upstream.received) == times
    log_in(page)
    upstream.received.clear()
    page.get("/me")
    assert len(upstream.received) == 2


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_after_a_stand_in_came_a_request_without_one_is_anonymous(
    start: Start, upstream: Upstream, restarted: bool
) -> None:
    page = Page(start().client)
    given = sign_in(page, upstream)
    page.get("/me")
    assert upstream.last.one("auth-token") == TOKEN
    assert translated(page, upstream, given) == TOKEN
    if restarted:
        page = Page(start().client, page.jar)
    for _ in range(2):
        page.get("/me")
        assert upstream.last.one("auth-token") is None
        assert upstream.last.one("authorization") is None
    assert translated(page, upstream, given) == TOKEN  # a tab that has not forgotten


def test_a_new_login_begins_with_the_rule_again(page: Page, upstream: Upstream) -> None:
    given = sign_in(page, upstream)
    assert translated(page, upstream, given) == TOKEN
    sign_in(page, upstream, opaque("next"))
    page.get("/me")
    assert upstream.last.one("auth-token") == opaque("next")


def test_the_configured_header_is_the_one(proxy_with: ProxyWith, upstream: Upstream) -> None:
    options = ("cookie_auth_header=X-Api", "cookie_auth_header_format=T {token}")
    page = Page(proxy_with(*options).client)
    sign_in(page, upstream, token_type="bearer")
    upstream.answers("no", 401)
    upstream.received.clear()
    page.get("/me")
    assert [request.one("x-api") for request in upstream.received] == [f"T {TOKEN}"]
    assert upstream.last.one("authorization") is None


# Answers that repeat a token

FORMS: dict[str, Callable[[str], str]] = {
    "JSON": lambda token: json.dumps({"user": {"name": "ann", "sessionToken": token}}),
    "JSON in a string": lambda token: json.dumps({"state": json.dumps({"t": token})}),
    "HTML": lambda token: f"<p data-token='{token}'>{token}</p>",
    "text": lambda token: f"{token}\n{token}",
    "percent-encoded": lambda token: f"/x?token={token.replace('_', '%5F')}",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("token", [TOKEN, JWT], ids=["opaque", "JWT"])
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_an_answer_that_repeats_a_token_has_its_stand_in(
    page: Page, upstream: Upstream, form: Callable[[str], str], token: str, coding: str
) -> None:
    given = sign_in(page, upstream, token)
    body = form(token).encode()
    more: dict[str, Any] = (
        {"Content_Encoding": coding, "ETag": '"x"', "Digest": "sha-256=x"} if coding else {}
    )
    upstream.answers(gzip.compress(body) if coding else body, **more)
    got = bearer(page, given, "/users/me")
    text = gzip.decompress(got.body) if got.one("content-encoding") else got.body
    assert unquote(text.decode()) == unquote(form(given))
    assert got.one("content-length") == str(len(got.body))
    assert got.one("digest") is None


def test_headers_and_addresses_that_repeat_a_token_have_its_stand_in(
    page: Page, upstream: Upstream
) -> None:
    given = sign_in(page, upstream)
    fields = [("X-Session", TOKEN), ("Location", f"/files/1?token={TOKEN}&x=1")]
    upstream.respond = lambda request: answer("", 302, fields)
    got = bearer(page, given)
    assert got.one("x-session") == given
    assert got.one("location") == f"/files/1?token={given}&x=1"


def test_events_hold_the_stand_in(page: Page, upstream: Upstream) -> None:
    given = sign_in(page, upstream)

    def events(request: Message) -> Iterator[bytes]:
        yield EVENTS
        text = b'data: {"a": 1}\n\ndata: {"token": "%s"}\n\ndata: end\n\n' % TOKEN.encode()
        for start in range(0, len(text), 7):
            yield text[start : start + 7]

    upstream.respond = events
    got = page.client.raw(
        f"GET /events?token={given} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n"
        f"Accept: text/event-stream\r\nCookie: {page._cookie('/events')}\r\n\r\n".encode()
    )
    assert upstream.last.target == f"/events?token={TOKEN}"
    assert TOKEN.encode() not in got
    assert b'data: {"token": "%s"}\n\n' % given.encode() in got
    assert b"data: end\n\n" in got


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "Content-Length"])
@pytest.mark.parametrize(
    "token", [TOKEN, opaque("long", 60), signed(x="y" * 2000)], ids=["short", "opaque", "JWT"]
)
def test_a_long_download_holds_the_stand_in_wherever_the_token_is_cut(
    page: Page, upstream: Upstream, chunked: bool, token: str
) -> None:
    given = sign_in(page, upstream, token)
    found = token.encode()
    cuts = [1, 2, len(found) // 2, len(found) - 1, len(found)]
    parts = [part for cut in cuts for part in (b"x" * MEGABYTE + found[:cut], found[cut:] + b"-y-")]
    whole = b"".join(parts)

    def download(request: Message) -> Iterator[bytes]:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(whole)}"
        yield f"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n{framing}\r\n\r\n".encode()
        for part in parts:
            yield b"%x\r\n%b\r\n" % (len(part), part) if chunked else part
        if chunked:
            yield b"0\r\n\r\n"

    upstream.respond = download
    got = bearer(page, given, "/export")
    if chunked:
        assert got.body == whole.replace(found, given.encode())
        return
    # A stand-in that is shorter is padded; what is longer has no place there.
    fits = len(given) <= len(token)
    padded = given.ljust(len(token), "~") if fits else "*" * len(token)
    assert got.body == whole.replace(found, padded.encode())
    if fits:
        upstream.answers("{}")
        assert translated(page, upstream, padded) == token


def test_a_long_download_that_is_compressed_holds_the_stand_in(
    page: Page, upstream: Upstream
) -> None:
    given = sign_in(page, upstream)
    text = b"".join(b"%d %s\n" % (n, TOKEN.encode()) for n in range(60_000))
    body = gzip.compress(text)

    def download(request: Message) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Encoding: gzip\r\n"
        yield b"Transfer-Encoding: chunked\r\n\r\n"
        for start in range(0, len(body), 10_007):
            part = body[start : start + 10_007]
            yield b"%x\r\n%b\r\n" % (len(part), part)
        yield b"0\r\n\r\n"

    upstream.respond = download
    got = bearer(page, given, "/export")
    is_gzip = got.one("content-encoding") == "gzip"
    seen = gzip.decompress(got.body) if is_gzip else got.body
    assert seen == text.replace(TOKEN.encode(), given.encode())


@pytest.mark.parametrize(
    ("accept", "asked_for"),
    [
        ("gzip, deflate, br, zstd", {"gzip"}),
        ("compress, gzip;q=0.5", {"gzip"}),
        ("dcb, dcz", set()),
    ],
)
def test_with_a_token_only_codings_are_asked_for_that_can_be_decoded_here(
    page: Page, upstream: Upstream, accept: str, asked_for: set[str]
) -> None:
    page.get("/me", accept_encoding=accept)
    assert upstream.last.one("accept-encoding") == accept
    given = sign_in(page, upstream)
    page.get("/me", authorization=f"Bearer {given}", accept_encoding=accept)
    sent = upstream.last.one("accept-encoding") or "identity"
    codings = {coding.partition(";")[0].strip() for coding in sent.split(",")}
    assert asked_for <= codings
    assert codings <= {"gzip", "deflate", "br", "zstd", "identity"}
    events = {"accept": "text/event-stream", "accept_encoding": accept}
    page.get("/events", authorization=f"Bearer {given}", **events)
    assert upstream.last.one("accept-encoding") in (None, "identity")


def login_over_http(connection: ServerConnection, request: Request) -> Response | None:
    """What a WebSocket server's port answers to anything else."""
    if request.path != "/auth/refresh":
        return None
    body = json.dumps({"access_token": TOKEN}).encode()
    headers = WebSocketHeaders({"Content-Length": str(len(body)), "Connection": "close"})
    return Response(HTTPStatus.OK, "OK", headers, body)


@pytest.fixture
def talker() -> Iterator[tuple[str, list[str]]]:
    """An API that hands out a token, and says over a WebSocket all that it hears; what it heard."""
    heard: list[str] = []

    def talk(connection: ServerConnection) -> None:
        assert connection.request
        heard.append(connection.request.path)
        for message in connection:
            heard.append(str(message))
            connection.send(message)
            connection.send(str(message).encode())

    with serve(talk, "127.0.0.1", 0, process_request=login_over_http) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}", heard
        server.shutdown()


def test_websocket_messages_bring_tokens_there_and_stand_ins_back(
    confdir: Path, talker: tuple[str, list[str]]
) -> None:
    url, heard = talker
    with running(Mitmdump(url, confdir=confdir)) as proxy:
        page = Page(proxy.client)
        given = json.loads(page.get("/auth/refresh").body)["access_token"]
        origin = f"http://localhost:{page.client.port}"
        headers = {"Cookie": page._cookie("/ws"), "Sec-Fetch-Site": "same-origin"}
        with connect(
            f"ws://localhost:{page.client.port}/ws?access_token={given}",
            origin=Origin(origin),
            additional_headers=headers,
            user_agent_header="Mozilla/5.0",
        ) as socket:
            says = json.dumps({"type": "auth", "token": given})
            for text, is_heard in [
                (says, says.replace(given, TOKEN)),
                (json.dumps({"type": "chat", "token": given}), ""),
                (json.dumps({"type": "auth", "text": given}), ""),
            ]:
                socket.send(text)
                assert socket.recv(20) == text
                assert socket.recv(20) == text.encode()
                assert heard[-1] == (is_heard or text)
        assert heard[0] == f"/ws?access_token={TOKEN}"


# Clients that are no browsers


def test_what_is_no_browser_gets_an_unlisted_login_s_answer_as_it_is(
    start: Start, upstream: Upstream
) -> None:
    proxy = start()
    body = json.dumps({"access_token": TOKEN, "refresh_token": REFRESH})
    upstream.answers(body, Digest="x", Content_Type="application/json")
    for _ in range(2):
        got = proxy.client.post("/auth/sign-in", body='{"password": "x"}', user_agent="curl/8.5")
        assert (got.body.decode(), got.one("digest")) == (body, "x")
        assert not got.all("set-cookie")
    proxy.wait_for_log("POST /auth/sign-in handed out .*: to no browser, so as it is")
    proxy.client.get("/me", authorization=f"Bearer {TOKEN}")
    assert upstream.last.one("authorization") == f"Bearer {TOKEN}"
    proxy.stop()
    assert proxy.log.count("to no browser") == 1


# Options


@pytest.mark.parametrize("mode", ["warn", "block", "off"])
def test_leak_says_what_becomes_of_a_token_in_an_unlisted_login_s_answer(
    start: Start, upstream: Upstream, mode: str
) -> None:
    proxy = start("--set", f"cookie_auth_leak={mode}")
    page = Page(proxy.client)
    body = json.dumps({"access_token": TOKEN, "refresh_token": REFRESH})
    for target in ("/auth/sign-in", "/auth/sign-in", "/auth/token"):
        upstream.answers(body, Content_Type="application/json")
        got = log_in(page, target)
        assert not page.jar
        if mode == "block":
            assert (got.status, json.loads(got.body)["error"]) == (502, "token_leak")
            assert "cookie_auth_login=/auth/" in json.loads(got.body)["message"]
            assert TOKEN not in readable(got)
        else:
            assert got.body.decode() == body
    page.get("/end")
    proxy.stop()
    options = "cookie_auth_login=/auth/sign-in --set cookie_auth_token=/access_token"
    assert (options in proxy.log) == (mode != "off")
    if mode == "warn":
        assert proxy.log.count(options) == 1
    assert TOKEN not in proxy.log


def test_a_first_login_is_told_in_one_line_without_the_token(
    start: Start, upstream: Upstream
) -> None:
    proxy = start()
    page = Page(proxy.client)
    for number in range(3):
        upstream.answers(json.dumps({"access_token": f"{TOKEN}{number}", "refresh_token": REFRESH}))
        log_in(page, f"/auth/sign-in?x={number}")
    line = "POST /auth/sign-in handed out access_token and refresh_token; the page got stand-ins"
    proxy.wait_for_log(re.escape(line))
    proxy.stop()
    assert proxy.log.count("handed out") == 1
    assert TOKEN not in proxy.log
    assert "stand-m" not in proxy.log


def test_what_is_exposed_is_the_page_s(proxy_with: ProxyWith, upstream: Upstream) -> None:
    page = Page(proxy_with("cookie_auth_expose=chat_token", "cookie_auth_expose=id_token").client)
    members = {"chat_token": opaque("chat"), "id_token": JWT, "refresh_token": REFRESH}
    upstream.answers(json.dumps({"access_token": TOKEN, **members}))
    given = json.loads(log_in(page).body)
    assert (given["chat_token"], given["id_token"]) == (opaque("chat"), JWT)
    for name in ("access_token", "refresh_token"):
        assert re.fullmatch(OPAQUE_STAND_IN, given[name])
    assert {name for name, _ in page.jar} == {
        "auth-token",
        "auth-token-refresh",
        "auth-token-login",
    }


def test_a_listed_login_may_hand_out_stand_ins(proxy_with: ProxyWith, upstream: Upstream) -> None:
    page = Page(
        proxy_with(
            "cookie_auth_login=/in", "cookie_auth_token=/data/t", "cookie_auth_login_body=stand-in"
        ).client
    )
    body = '{"data": {"t": "%s", "name": "\\u00d8"}, "refresh_token": "%s"}'
    upstream.answers(body % (TOKEN, REFRESH), Content_Type="application/json")
    got = log_in(page, "/in")
    given = json.loads(got.body)
    main, renewing = given["data"]["t"], given["refresh_token"]
    assert got.body.decode() == body % (main, renewing)
    upstream.answers("{}")
    assert translated(page, upstream, main) == TOKEN
    assert translated(page, upstream, renewing) == REFRESH


def test_an_api_key_that_its_user_just_made_is_shown_told_once_and_the_session_goes_on(
    start: Start, upstream: Upstream
) -> None:
    proxy = start()
    page = Page(proxy.client)
    given = sign_in(page, upstream)
    for number in range(2):
        key = opaque(f"key {number}")
        upstream.answers(json.dumps({"id": 5, "token": key}), 201)
        got = bearer(page, given, "/user/tokens", "POST")
        assert json.loads(got.body) == {"id": 5, "token": key}
    upstream.answers("{}")
    assert translated(page, upstream, given) == TOKEN
    upstream.answers(json.dumps({"token": opaque("other")}))
    got = page.post("/auth/register-device", authorization=f"Bearer {given}")
    assert json.loads(got.body) == {"token": opaque("other")}
    proxy.wait_for_log("looks like a new token for its user, so the page gets it as it is")
    proxy.stop()
    assert proxy.log.count("/user/tokens: /token looks like") <= 1
    assert "key" not in {name for name, _ in page.jar}


BOUND = {
    "token_type": {"access_token": TOKEN, "token_type": "DPoP"},
    "cnf": {"access_token": signed(cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})},
}


@pytest.mark.parametrize("members", BOUND.values(), ids=list(BOUND))
def test_tokens_that_are_bound_to_a_key_of_the_page_s_are_left_alone_and_told_once(
    start: Start, upstream: Upstream, members: dict[str, str]
) -> None:
    proxy = start()
    page = Page(proxy.client)
    body = json.dumps(members)
    for _ in range(2):
        upstream.answers(body)
        assert log_in(page, dpop="proof").body.decode() == body
    token = members["access_token"]
    page.get("/me", authorization=f"DPoP {token}", dpop="proof")
    assert upstream.last.one("authorization") == f"DPoP {token}"
    proxy.wait_for_log("is bound to a key of the page's")
    proxy.stop()
    assert proxy.log.count("is bound to a key") == 1
    assert token not in proxy.log


# What is recorded


def recorded(file: Path) -> list[http.HTTPFlow]:
    with file.open("rb") as stream:
        return [flow for flow in io.FlowReader(stream).stream() if isinstance(flow, http.HTTPFlow)]


def test_flows_hold_stand_ins_in_answers_tokens_in_requests_and_say_so(
    start: Start, upstream: Upstream, tmp_path: Path
) -> None:
    file = tmp_path / "flows"
    proxy = start("-w", str(file))
    page = Page(proxy.client)
    given = sign_in(page, upstream)
    bearer(page, given)
    page.get(f"/file?token={given}")
    upstream.answers(json.dumps({"id": 5, "token": opaque("key")}), 201)
    bearer(page, given, "/user/session", "POST")
    page.post("/things", json.dumps({"text": given}), content_type="application/json")
    proxy.stop()
    login, header, query, key, text = recorded(file)
    assert given in ((login.response and login.response.text) or "")
    assert header.request.headers["authorization"] == f"Bearer {TOKEN}"
    assert query.request.path == f"/file?token={TOKEN}"
    assert given in (text.request.text or "")
    assert TOKEN not in (text.request.text or "")
    assert {flow.marked for flow in (header, query)} == {":lock:"}
    comments = [flow.comment for flow in (login, header, query, key, text)]
    assert "stand-ins given for /token" in comments[0]
    assert "stand-in → token in Authorization" in comments[1]
    assert "stand-in → token in query token" in comments[2]
    assert "left alone: /token" in comments[3]
    assert not [comment for comment in comments if TOKEN in comment or "stand-m" in comment]


def test_a_replay_is_not_translated_again(
    upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "flows"
    with running(Mitmdump(upstream.url, "-w", str(file), confdir=confdir)) as proxy:
        page = Page(proxy.client)
        given = sign_in(page, upstream)
        bearer(page, given, f"/me?token={given}")
        body = json.dumps({"token": given})
        page.post("/auth/revoke", body, content_type="application/json")
    before = upstream.received.copy()
    upstream.received.clear()
    with running(Mitmdump(upstream.url, "-C", str(file), confdir=confdir)):
        assert eventually(lambda: len(upstream.received) == len(before))
    assert upstream.received == before
    assert upstream.received[1].one("authorization") == f"Bearer {TOKEN}"
    assert upstream.received[1].target == f"/me?token={TOKEN}"
    assert json.loads(upstream.received[2].body) == {"token": TOKEN}


def test_redacted_no_token_is_in_a_saved_file(
    start: Start, upstream: Upstream, tmp_path: Path
) -> None:
    file = tmp_path / "flows"
    proxy = start("-w", str(file), "--set", "cookie_auth_redact=true")
    page = Page(proxy.client)
    tokens = {"access_token": JWT, "refresh_token": REFRESH, "token": TOKEN}
    fields = [("X-Auth", TOKEN), ("Set-Cookie", "sid=own-session-0123456789; HttpOnly; Path=/")]
    upstream.respond = lambda request: answer(json.dumps(tokens), headers=fields)
    given = json.loads(log_in(page).body)
    upstream.answers(json.dumps({"again": tokens}))
    for stand_in in given.values():
        bearer(page, stand_in, f"/me?token={stand_in}")
    for name, stand_in in given.items():
        form = f"token={stand_in}"
        page.post("/oauth/introspect", form, content_type="application/x-www-form-urlencoded")
        assert upstream.last.body == f"token={tokens[name]}".encode()
    fresh = {"access_token": signed(n=2), "refresh_token": opaque("fresh")}
    upstream.answers(json.dumps(fresh))
    body = json.dumps({"refresh_token": given["refresh_token"]})
    page.post("/auth/refresh", body, content_type="application/json")
    assert json.loads(upstream.last.body) == {"refresh_token": REFRESH}
    page.request("DELETE", f"/tokens/{given['token']}", authorization=f"Bearer {given['token']}")
    assert upstream.last.target == f"/tokens/{TOKEN}"
    proxy.stop()
    saved = file.read_bytes()
    assert len(recorded(file)) >= 8
    secrets = [*tokens.values(), *fresh.values(), "own-session-0123456789"]
    for secret in secrets:
        assert secret.rpartition(".")[2].encode() not in saved, secret
