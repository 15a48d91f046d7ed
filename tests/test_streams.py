"""What flows while it comes: events, long bodies, WebSockets; and what is held back."""

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import h11
import pytest
from browser_client import Browser
from messages import streaming
from mitmproxy import http, io
from page import Page
from support import Client, Message, Mitmdump, Upstream, answer, eventually, running
from websockets.http11 import Request, Response
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Origin

ProxyWith = Callable[..., Mitmdump]

MEGABYTE = 1024 * 1024
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "streams"),
    [
        ({"Content-Type": "text/event-stream; charset=utf-8", "Content-Length": "5"}, True),
        ({"Content-Length": "5"}, False),
        ({"Content-Length": str(MEGABYTE)}, False),
        ({"Content-Length": str(MEGABYTE + 1)}, True),
        ({"Content-Length": str(MEGABYTE + 1), "Content-Type": "application/json"}, True),
        ({"Content-Length": "5", "Content-Disposition": 'Attachment; filename="x"'}, True),
        ({"Content-Length": "5", "Content-Disposition": "inline"}, False),
        ({}, True),
        ({"Transfer-Encoding": "chunked"}, True),
        ({"Content-Type": "application/json"}, True),
        ({"Content-Type": "application/json", "Content-Length": "5"}, False),
        ({"Transfer-Encoding": "chunked", "Content-Type": "application/ld+json; x=y"}, True),
        ({"Transfer-Encoding": "chunked", "Content-Type": "application/x-ndjson"}, True),
        ({"Content-Length": "x"}, True),
    ],
)
def test_which_answers_stream(headers: dict[str, str], streams: bool) -> None:
    response = http.Response.make(200)
    response.headers = http.Headers([(k.encode(), v.encode()) for k, v in headers.items()])
    assert streaming.response_streams(response) is streams


@pytest.mark.parametrize(
    ("headers", "streams"),
    [
        ({}, False),
        ({"Content-Length": "5"}, False),
        ({"Content-Length": str(MEGABYTE + 1)}, True),
        ({"Transfer-Encoding": "chunked"}, True),
        ({"Transfer-Encoding": "chunked", "Content-Type": "application/json"}, False),
        ({"Transfer-Encoding": "chunked", "Content-Type": "application/x-ndjson"}, True),
        ({"Transfer-Encoding": "chunked", "Content-Type": "application/connect+json"}, True),
    ],
)
def test_which_uploads_stream(headers: dict[str, str], streams: bool) -> None:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = http.Request.make("POST", "http://x/")
    request.headers = http.Headers(fields)
    assert streaming.request_streams(request) is streams


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """What comes up to and with `end`; what follows stays in the socket."""
    got = b""
    while not got.endswith(end):
        byte = sock.recv(1)
        assert byte, f"closed after {got!r}"
        got += byte
    return got


def open_request(client: Client, head: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", client.port), timeout=10)
    sock.sendall(f"{head}\r\nHost: localhost\r\nCookie: auth-token=sekret\r\n\r\n".encode())
    return sock


def test_events_arrive_one_by_one(proxy: Client, upstream: Upstream) -> None:
    seen = threading.Semaphore(0)

    def events(request: Message) -> Iterator[bytes]:
        yield EVENTS
        for number in range(3):
            yield b"data: %d\n\n" % number
            assert seen.acquire(timeout=10)  # the next event is sent when this one has arrived

    upstream.respond = events
    with open_request(proxy, "GET /events HTTP/1.1") as sock:
        read_until(sock, b"\r\n\r\n")
        for number in range(3):
            assert read_until(sock, b"\n\n") == b"data: %d\n\n" % number
            seen.release()
        assert sock.recv(1) == b""
    assert upstream.last.one("auth-token") == "sekret"


def test_closing_on_either_side_closes_the_other(proxy: Client, upstream: Upstream) -> None:
    gone = threading.Event()

    def endless(request: Message) -> Iterator[bytes]:
        yield EVENTS
        try:
            while True:
                yield b"data: x\n\n"
                gone.wait(0.02)
        finally:
            gone.set()

    upstream.respond = endless
    with open_request(proxy, "GET /events HTTP/1.1") as sock:
        read_until(sock, b"data: x\n\n")
    assert gone.wait(10)


def test_an_answer_that_breaks_off_while_it_streams_is_not_taken_for_whole(
    proxy: Client, upstream: Upstream
) -> None:
    upstream.respond = lambda request: iter(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n", b"x" * 1000]
    )
    got = proxy.raw(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200")
    assert got.endswith(b"x" * 1000)


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
@pytest.mark.parametrize("chunked", [False, True])
def test_long_bodies_pass_intact_and_at_once(
    proxy: Client, upstream: Upstream, chunked: bool, kind: str
) -> None:
    parts = [bytes([number]) * MEGABYTE for number in range(30)]
    first_byte = threading.Event()

    def download(request: Message) -> Iterator[bytes]:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        yield b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n" % kind.encode() + framing + b"\r\n\r\n"
        for part in parts:
            yield b"%x\r\n%s\r\n" % (len(part), part) if chunked else part
            assert first_byte.wait(10)  # the rest is sent when the first part has arrived
        if chunked:
            yield b"0\r\n\r\n"

    body = b"".join(parts)
    upstream.respond = download
    with open_request(proxy, "GET /big HTTP/1.1") as sock:
        read_until(sock, b"\0")
    first_byte.set()
    assert proxy.get("/big").body == body

    upstream.answers("{}")
    headers = [("Transfer-Encoding", "chunked")] if chunked else []
    assert proxy.post("/big", headers, body, cookie="auth-token=sekret; a=b").status == 200
    assert upstream.last.body == body
    assert upstream.last.one("auth-token") == "sekret"
    assert upstream.last.one("cookie") is None


def test_an_upload_reaches_the_api_while_it_is_sent(confdir: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as api,
        running(Mitmdump(f"http://127.0.0.1:{api.getsockname()[1]}", confdir=confdir)) as mitmdump,
        socket.create_connection(("127.0.0.1", mitmdump.client.port), timeout=10) as browser,
    ):
        browser.sendall(
            b"POST /big HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n"
            b"Cookie: auth-token=sekret; a=b\r\n\r\nfirst"
        )
        api.settimeout(10)
        connection, _ = api.accept()
        with connection:
            connection.settimeout(10)
            head = read_until(connection, b"first").lower()
            assert b"\r\nauth-token: sekret\r\n" in head
            assert b"cookie" not in head
            browser.sendall(b"x" * 1_999_995)
            left = 1_999_995
            while left:
                left -= len(connection.recv(65536))
            connection.sendall(answer("{}"))
            assert read_until(browser, b"{}").startswith(b"HTTP/1.1 200")


def test_a_short_body_that_streamed_is_recorded_and_a_long_one_is_not(
    upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    flows = tmp_path / "flows"
    chunked = answer(b"5\r\nhello\r\n0\r\n\r\n", headers=[("Transfer-Encoding", "chunked")])
    upstream.respond = lambda request: (
        chunked if request.target == "/short" else answer(b"x" * 2 * MEGABYTE)
    )
    with running(Mitmdump(upstream.url, "-w", str(flows), confdir=confdir)) as mitmdump:
        more = [("Transfer-Encoding", "chunked")]
        assert mitmdump.client.post("/short", more, b"upload").body == b"hello"
        assert len(mitmdump.client.get("/long").body) == 2 * MEGABYTE
    short, long = io.read_flows_from_paths([flows])
    assert isinstance(short, http.HTTPFlow)
    assert isinstance(long, http.HTTPFlow)
    assert short.response
    assert long.response
    assert short.request.raw_content == b"upload"
    assert short.response.raw_content == b"hello"
    assert long.response.raw_content is None


@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
def test_a_login_answer_that_is_too_long_is_refused_before_it_ends(
    proxy: Client, upstream: Upstream, framing: str
) -> None:
    closed = threading.Event()

    def endless(request: Message) -> Iterator[bytes]:
        head = {
            "length": b"Content-Length: 900000000\r\n",
            "chunked": b"Transfer-Encoding: chunked\r\n",
            "until close": b"",
        }[framing]
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head + b"\r\n"
        part = b'"sekret",' * 1000
        try:
            while True:
                yield b"%x\r\n%s\r\n" % (len(part), part) if framing == "chunked" else part
        finally:
            closed.set()

    upstream.respond = endless
    got = proxy.post("/login")
    assert got.status == 502
    assert b"login_unreadable" in got.body
    assert b"sekret" not in got.body
    assert closed.wait(10)


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [("/me", 403, b"cross_origin"), ("/logout", 200, b'{"loggedIn": false}')],
)
def test_a_long_body_of_a_request_that_is_answered_here_is_not_waited_for(
    proxy: Client, upstream: Upstream, target: str, status: int, body: bytes
) -> None:
    site = "cross-site" if status == 403 else "same-origin"
    head = (
        f"POST {target} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: {site}\r\n"
        "Content-Length: 900000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as sock:
        sock.sendall(head.encode() + b"x" * 1_100_000)
        got = read_until(sock, b"}")
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert body in got
    assert not upstream.received


# WebSocket


@pytest.fixture
def socket_server() -> Iterator[tuple[Server, list[ServerConnection]]]:
    """A WebSocket API that logs in, echoes, and closes with 4001 when it is told to."""
    connections = []

    def echo(connection: ServerConnection) -> None:
        connections.append(connection)
        for message in connection:
            if message == "close":
                connection.close(4001, "as you wish")
                return
            connection.send([message[:1], message[1:]] if len(message) < 100 else message)

    def log_in(connection: ServerConnection, request: Request) -> Response | None:
        if request.path != "/login":
            return None
        return connection.respond(HTTPStatus.OK, '{"authToken": "sekret"}')

    with serve(echo, "127.0.0.1", 0, max_size=None, process_request=log_in) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server, connections
        server.shutdown()


def test_a_websocket_passes_both_ways_with_the_token(
    confdir: Path, socket_server: tuple[Server, list[ServerConnection]]
) -> None:
    server, connections = socket_server
    url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    with running(Mitmdump(url, confdir=confdir)) as mitmdump:
        port = mitmdump.client.port
        browser = Browser(mitmdump.client)
        browser.keep(mitmdump.client.get("/login"))
        with connect(
            f"ws://localhost:{port}/socket",
            origin=Origin(f"http://localhost:{port}"),
            additional_headers={"Cookie": f"{browser.cookie}; a=b"},
            max_size=None,
        ) as client:
            for message in ("text é", b"\0\xff", "x" * 3 * MEGABYTE, b"y" * 3 * MEGABYTE):
                client.send(message)
                assert client.recv(10) == message
            client.send(iter(["in ", "several ", "frames"]))
            assert client.recv(10) == "in several frames"
            assert client.ping().wait(10)
            client.send("close")
            with pytest.raises(Exception, match="4001"):
                client.recv(10)
        headers = connections[0].request.headers  # type: ignore[union-attr]
        assert headers["auth-token"] == "sekret"
        assert "cookie" not in headers
        assert headers["origin"] == url

        with connect(f"ws://localhost:{port}/socket") as client:
            client.send("hello")
            assert client.recv(10) == "hello"
        assert eventually(lambda: connections[-1].close_code == 1000)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_gets_none_though_it_names_a_coding(
    proxy_with: Callable[..., Mitmdump], upstream: Upstream, status: int
) -> None:
    """`0\r\n\r\n` behind it would be read as the next answer's beginning."""
    upstream.respond = lambda request: (
        answer(json.dumps({"access_token": "a-token-0123456789abcdef"}))
        if request.method == "POST"
        else answer(status=status, Content_Encoding="gzip")
    )
    page = Page(proxy_with().client)
    page.post("/signin", '{"password": "x"}', content_type="application/json")
    cookie = page._cookie("/x")
    port = page.client.port
    head = (
        f"GET /x HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: Mozilla/5.0\r\n"
        f"Sec-Fetch-Site: same-origin\r\nAccept-Encoding: gzip\r\nCookie: {cookie}\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(f"{head}\r\n{head}Connection: close\r\n\r\n".encode())
        got = b"".join(iter(lambda: connection.recv(65536), b""))
    assert got.count(b"HTTP/1.1 ") == 2
    assert all(b"\r\n" not in part.partition(b"\r\n\r\n")[2] for part in got.split(b"HTTP/1.1 "))


@pytest.mark.parametrize(
    "broken", [lambda body: body[:-12], lambda body: body[:60] + b"\xff" * 9 + body[69:]]
)
def test_a_broken_coded_stream_does_not_arrive_as_a_whole_one(
    proxy_with: Callable[..., Mitmdump], upstream: Upstream, broken: Callable[[bytes], bytes]
) -> None:
    body = broken(gzip.compress(bytes(range(256)) * 100))
    headers = [("Content-Encoding", "gzip"), ("Content-Disposition", "attachment")]
    upstream.respond = lambda request: (
        answer(json.dumps({"access_token": "a-token-0123456789abcdef"}))
        if request.method == "POST"
        else answer(body, headers=headers)
    )
    page = Page(proxy_with().client)
    page.post("/signin", '{"password": "x"}', content_type="application/json")
    with pytest.raises(h11.RemoteProtocolError):  # no last chunk
        page.get("/x")
