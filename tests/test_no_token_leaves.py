"""Tokens in redirects, rotating headers, streams, messages, recordings: the page gets none."""

import base64
import gzip
import html
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from mitmproxy.io import FlowReader
from page import Page
from support import Message, Mitmdump, Upstream, answer, running
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

ProxyWith = Callable[..., Mitmdump]

TOKEN = "sek/ret+of=alice-0123456789"


# Logins that answer by redirect


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/app#access_token=sekret", "/app"),
        ("/app?access_token=sekret", "/app"),
        ("/app?a=1&access_token=sekret&b=%2F#c", "/app?a=1&b=%2F#c"),
        ("/app#/route?access_token=sekret&x=1", "/app#/route?x=1"),
        ("/app?x=1#access_token=sekret&refresh_token=r&id_token=i&state=s", "/app?x=1#state=s"),
        ("https://app.example.test/#access_token=sekret", "https://app.example.test/"),
        ("/app?access_token=sekret&copy=sekret", "/app"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_in_a_redirect_becomes_the_cookie_and_the_redirect_stays(
    proxy_with: ProxyWith, upstream: Upstream, status: int, location: str, leads_to: str
) -> None:
    proxy = proxy_with("cookie_auth_token=location:access_token").client
    upstream.answers("<a href>sekret</a>", status, Location=location, Content_Type="text/html")
    got = proxy.post("/login")
    assert got.status == (status if status < 304 else 303)
    assert got.one("location") == leads_to
    assert got.set_cookie == "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax"
    assert (got.body, got.one("cache-control")) == (b"", "no-store")
    assert got.one("content-length") == "0"
    assert got.one("referrer-policy") == "no-referrer"
    assert "sekret" not in str([field for field in got.headers if field[0] != "set-cookie"])


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/app#access_token=sekret", "cookie_auth_token=location:access_token"),
        ("/app?token=sekret&x=1", "cookie_auth_token=location:token"),
        ("/app?x=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "cookie_auth_token=location:x"),
        ("/app?q8Zk2Lw9token=sekret", "under a name that is not told"),
    ],
)
def test_a_redirect_with_a_token_that_no_option_names_is_refused_and_the_option_named(
    proxy_with: ProxyWith, upstream: Upstream, location: str, message: str
) -> None:
    upstream.answers("", 302, Location=location)
    got = proxy_with("cookie_auth_login=/login").client.post("/login")
    assert got.status == 502
    assert json.loads(got.body)["error"] == "token_not_found"
    assert message in json.loads(got.body)["message"]
    assert "sekret" not in str(got)
    assert "q8Zk2Lw9" not in str(got)
    assert got.one("location") is None


@pytest.mark.parametrize("location", ["/app?error=denied&next=%2Ftoken", "/app#state=1", "/"])
def test_a_redirect_without_a_token_passes(
    proxy_with: ProxyWith, upstream: Upstream, location: str
) -> None:
    upstream.answers("", 302, Location=location)
    got = proxy_with("cookie_auth_token=location:access_token").client.post("/login")
    assert (got.status, got.one("location")) == (302, location)
    assert got.set_cookie is None


# Tokens in headers of any answer


@pytest.mark.parametrize("status", [200, 204, 401, 404, 500])
def test_a_fresh_token_in_a_configured_header_becomes_the_cookie_on_any_answer(
    proxy_with: ProxyWith, upstream: Upstream, status: int
) -> None:
    page = Page(proxy_with("cookie_auth_token=header:X-Auth").client)
    upstream.answers("{}", X_Auth="token-1")
    page.post("/login")
    upstream.answers("" if status == 204 else "{}", status, X_Auth="token-2")
    login = page.cookies["auth-token-login"].split(".")[1]
    got = page.get("/me")
    assert got.one("x-auth") is None
    assert page.cookies["auth-token"] == "token-2"
    assert page.cookies["auth-token-login"].split(".")[1] == login
    upstream.answers("{}")
    page.get("/me")
    assert upstream.last.one("auth-token") == "token-2"


@pytest.mark.parametrize(
    ("source", "status", "headers"),
    [
        ("header:X-Auth", 200, {"X_Auth": "tk-5Jq0vWq9ZtR3uE5n"}),
        ("location:token", 302, {"Location": "/#token=tk-5Jq0vWq9ZtR3uE5n"}),
    ],
)
def test_a_login_that_gives_the_token_of_before_in_its_head_keeps_it(
    proxy_with: ProxyWith, upstream: Upstream, source: str, status: int, headers: dict[str, str]
) -> None:
    """It was taken for a repetition, and the cookie got what stands for one."""
    page = Page(proxy_with(f"cookie_auth_token={source}").client)
    upstream.answers("", status, **headers)
    for _ in range(2):
        page.post("/login")
        assert page.cookies["auth-token"] == "tk-5Jq0vWq9ZtR3uE5n"


def test_a_configured_header_reaches_no_page_also_without_a_token_or_while_it_streams(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_token=header:X-Auth").client
    upstream.answers("{}", X_Auth="sekret")
    got = proxy.get("/public")
    assert (got.one("x-auth"), got.set_cookie) == (None, None)
    upstream.answers("data: 1\n\n", X_Auth="sekret", Content_Type="text/event-stream")
    got = proxy.get("/events", cookie="auth-token=old")
    assert got.one("x-auth") is None
    assert got.set_cookie == "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax"
    got = proxy.get("/events", cookie="auth-token=sekret")
    assert got.set_cookie is None


def test_a_scheme_before_a_token_in_a_header_is_taken_off_when_the_format_has_it(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with(
        "cookie_auth_token=header:Authorization",
        "cookie_auth_header=Authorization",
        "cookie_auth_header_format=Bearer {token}",
    ).client
    upstream.answers("{}", Authorization="Bearer sekret")
    got = proxy.post("/login")
    assert got.set_cookie == "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax"
    proxy.get("/me", cookie="auth-token=sekret")
    assert upstream.last.one("authorization") == "Bearer sekret"


# Leaks


WRITTEN = {
    "plain": TOKEN,
    "percent": quote(TOKEN, safe=""),
    "lower percent": quote(TOKEN, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "json": TOKEN.replace("/", "\\/"),
    "unicode": TOKEN.replace("+", "\\u002B").replace("/", "\\u002f"),
    "html": html.escape(TOKEN).replace("/", "&#x2F;").replace("=", "&#61;"),
    "base64": base64.b64encode(b"x" + TOKEN.encode()).decode(),
    "hex": TOKEN.encode().hex(),
}


@pytest.mark.parametrize("form", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("kind", ["body", "stream", "header"])
def test_a_repeated_token_is_blocked_however_it_is_written(
    proxy_with: ProxyWith, upstream: Upstream, form: str, kind: str
) -> None:
    proxy = proxy_with("cookie_auth_leak=block").client
    body = f'{{"a": "{form}"}}'
    if kind == "header":
        upstream.answers("{}", X_Echo=form)
    elif kind == "body":
        upstream.answers(body)
    else:
        upstream.answers(body, Content_Type="text/event-stream")
    got = proxy.get("/me", cookie=f"auth-token={quote(TOKEN, safe='')}")
    assert form not in got.body.decode()
    if kind == "stream":
        assert got.body.startswith(b'{"a": "')
        assert len(got.body) == len(body)
        assert b"***" in got.body
    else:
        assert json.loads(got.body)["error"] == "token_leak"


def test_a_token_across_two_chunks_of_a_stream_is_blanked_and_nothing_else_waits(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    def events(request: Message) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        yield b"data: 1\n\ndata: sek"
        yield b"ret\n\n"

    upstream.respond = events
    got = proxy_with("cookie_auth_leak=block").client.get("/events", cookie="auth-token=sekret")
    assert got.body == b"data: 1\n\ndata: ******\n\n"


def test_a_stream_that_is_compressed_is_decoded_and_searched(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    mitmdump = start("--set", "cookie_auth_leak=block")
    body = gzip.compress(b"data: sekret\n\n")
    upstream.answers(body, Content_Type="text/event-stream", Content_Encoding="gzip")
    got = mitmdump.client.get("/events", cookie="auth-token=sekret")
    assert (got.body, got.one("content-encoding")) == (b"data: ******\n\n", None)
    upstream.answers(body, Content_Type="text/event-stream", Content_Encoding="x-unknown")
    for _ in range(2):
        assert mitmdump.client.get("/events", cookie="auth-token=sekret").body == body
    mitmdump.wait_for_log("/events: an answer that streams in this coding is not searched")
    assert mitmdump.log.count("in this coding") == 1


def test_a_cookie_that_does_not_pass_is_no_leak(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    mitmdump = start("--set", "cookie_auth_leak=block")
    upstream.answers("{}", Set_Cookie="session=sekret")
    assert mitmdump.client.get("/me", cookie="auth-token=sekret").status == 200
    assert "holds a token" not in mitmdump.log


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a WebSocket API that greets with the token, and echoes."""

    def greet(connection: ServerConnection) -> None:
        assert connection.request
        connection.send(f"you: {connection.request.headers['auth-token']}")
        for message in connection:
            connection.send(message)

    with serve(greet, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()


COOKIE = {"Cookie": "auth-token=sekret"}


@pytest.mark.parametrize(("leak", "seen"), [("block", "you: ******"), ("warn", "you: sekret")])
def test_a_websocket_message_that_repeats_the_token_is_told_and_blanked(
    confdir: Path, echo: str, leak: str, seen: str
) -> None:
    options = ("--set", f"cookie_auth_leak={leak}")
    with running(Mitmdump(echo, *options, confdir=confdir)) as mitmdump:
        address = f"ws://localhost:{mitmdump.client.port}/socket"
        with connect(address, additional_headers=COOKIE) as client:
            assert client.recv(10) == seen
            client.send("the page's own word: sekret, ö")
            assert client.recv(10) == "the page's own word: " + seen[5:] + ", ö"
        mitmdump.wait_for_log(
            "GET /socket: the API's answer holds a token in its WebSocket message"
        )


def test_a_redacted_recording_has_no_token_in_its_websocket_messages(
    confdir: Path, echo: str, tmp_path: Path
) -> None:
    file = tmp_path / "flows"
    options = ("--set", "cookie_auth_redact=true", "-w", str(file))
    with running(Mitmdump(echo, *options, confdir=confdir)) as mitmdump:
        with connect(
            f"ws://localhost:{mitmdump.client.port}/socket", additional_headers=COOKIE
        ) as client:
            assert client.recv(10) == "you: sekret"
            client.send("x")
            assert client.recv(10) == "x"
        mitmdump.wait_for_log("client disconnect")
    assert b"you: ******" in file.read_bytes()
    assert b"sekret" not in file.read_bytes()


# Messages and recordings


@pytest.mark.parametrize(
    "document",
    [
        {"tokens": {"Zk29sLqP0aXw": {"expires": 1, "value": "x"}}},
        {"Zk29sLqP0aXw_token": "value"},
        {"a": {"token of Zk29sLqP0aXw": "value"}},
    ],
)
def test_a_name_that_the_api_chose_is_not_quoted(
    start: Callable[..., Mitmdump], upstream: Upstream, document: object
) -> None:
    mitmdump = start("--set", "cookie_auth_login=/login")
    upstream.answers(json.dumps(document))
    got = mitmdump.client.post("/login")
    assert json.loads(got.body)["error"] == "token_not_found"
    mitmdump.wait_for_log("refused: token_not_found")
    upstream.answers("{}", headers_token_Zk29sLqP0aXw="x")
    mitmdump.client.post("/login")
    assert "Zk29sLqP0aXw" not in str(got) + mitmdump.log


def test_nothing_of_a_method_breaks_the_log(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    mitmdump = start()
    got = mitmdump.client.raw(
        b"GET\x1b[31m /me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert b" 400 " in got
    mitmdump.wait_for_log("refused: bad_request")
    assert "\x1b[31m /me" not in mitmdump.log
    assert not upstream.received


def test_a_redacted_recording_has_no_echo_of_a_token_in_clear(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    frontend = Upstream()
    frontend.respond = lambda request: answer(f"<p>{request.one('cookie')}")
    upstream.respond = lambda request: answer(json.dumps({"you": request.one("auth-token")}))
    file = tmp_path / "flows"
    options = (
        *("cookie_auth_redact=true", "cookie_auth_prefix=/api"),
        f"cookie_auth_frontend={frontend.url}",
    )
    mitmdump = start("-w", str(file), *(p for option in options for p in ("--set", option)))
    got = mitmdump.client.get("/page", cookie="auth-token=sekret-of-the-page")
    assert b"sekret-of-the-page" in got.body
    got = mitmdump.client.get("/api/me", auth_token="sekret-of-its-own")
    assert b"sekret-of-its-own" in got.body
    mitmdump.stop()
    assert b"sekret" not in file.read_bytes()
    with file.open("rb") as stream:
        assert len(list(FlowReader(stream).stream())) == 2
    frontend.close()
