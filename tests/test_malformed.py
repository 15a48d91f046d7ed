"""Messages that mitmproxy refuses to read: JSON of the proxy's own, and nothing of them in it."""

import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import h2.connection
import pytest
import trustme
from mitmproxy.proxy.layers.http import HttpStream
from support import ADDON, Message, Mitmdump, Upstream, answer, eventually, free_port, running
from test_protocols import Http2Browser, Http2Upstream
from upstream import gaps, reasons
from upstream.patches import unknown

ProxyWith = Callable[..., Mitmdump]

# Everything in a flow is printed, so that a look at the log is one at the recorded flows as well.
IN_FULL = "flow_detail=3"

OK = b"HTTP/1.1 200 OK\r\n"
CLOSED = b"Connection: close\r\n\r\n"

MALFORMED_ANSWERS = {
    "a blank in a header's name": (
        OK + b"Set-Cookie sekret: x\r\nContent-Length: 2\r\n\r\n{}",
        "invalid header name",
    ),
    "= in a header's name": (
        OK + b"sid=sekret: x\r\nContent-Length: 2\r\n\r\n{}",
        "invalid header name",
    ),
    "a cookie before the colon (mitmproxy issue 7345)": (
        OK + b"sid=sekret; Path=/: x\r\nContent-Length: 2\r\n\r\n{}",
        "invalid header name",
    ),
    "Transfer-Encoding with Content-Length": (
        OK + b"X: sekret\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n"
        b"0\r\n\r\n",
        "message with both transfer-encoding and content-length headers",
    ),
    "Transfer-Encoding of HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nX: sekret\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "unexpected HTTP transfer-encoding for HTTP/1.0",
    ),
    "two Transfer-Encodings": (
        OK + b"Transfer-Encoding: sekret\r\nTransfer-Encoding: gzip\r\n\r\n",
        "unknown transfer-encoding header",
    ),
    "an unknown Transfer-Encoding": (
        OK + b"Transfer-Encoding: sekret\r\n\r\n",
        "unknown transfer-encoding header",
    ),
    "a header line without a colon": (
        OK + b"Set-Cookie sid=sekret\r\n\r\n",
        "Invalid header line",
    ),
    "a continued line without a first one": (OK + b" sekret\r\n\r\n", "Invalid headers"),
    "two different Content-Lengths": (
        OK + b"X: sekret\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "invalid content-length header",
    ),
    "a Content-Length that is no number": (
        OK + b"Content-Length: 'sekret\r\n\r\n",
        "invalid content-length header",
    ),
    "several Content-Lengths that are no numbers": (
        OK + b"Content-Length: sekret, sekret\r\n\r\n",
        "invalid content-length header",
    ),
    "two spellings of one Content-Length": (
        OK + b"X: sekret\r\nContent-Length: 2, 02\r\n\r\n{}",
        "invalid content-length header",
    ),
    "a folded Content-Length": (
        OK + b"X: sekret\r\nContent-Length: 2\r\n 3\r\n\r\n{}",
        "invalid content-length header",
    ),
    "chunked twice": (
        OK + b"X: sekret\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "unknown transfer-encoding header",
    ),
    "a status line that is none": (b"HTTP/1.1 sekret\r\n\r\n", "Bad HTTP response line"),
    "no HTTP": (b"\x00sekret\xff\r\n\r\n", "what it sent is no HTTP answer"),
}


def answers() -> pytest.MarkDecorator:
    rows = MALFORMED_ANSWERS.items()
    return pytest.mark.parametrize(
        ("sent", "rule"), [row for _, row in rows], ids=[name for name, _ in rows]
    )


def exchange(mitmdump: Mitmdump, data: bytes) -> bytes:
    """Send these bytes; all that comes back until the proxy closes, as it must."""
    with socket.create_connection(("127.0.0.1", mitmdump.client.port), timeout=10) as sock:
        sock.sendall(data)
        got = b""
        while chunk := sock.recv(65536):
            got += chunk
    return got


def assert_refusal(got: bytes | Message, status: int, code: str, rule: str = "") -> None:
    """Whether the answer is our JSON, and complete."""
    if isinstance(got, bytes):
        head, _, body = got.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        assert lines[0].split(" ")[1] == str(status)
        assert fields["content-length"] == str(len(body))
    else:
        fields, body = dict(got.headers), got.body
        assert got.status == status
    assert fields["content-type"] == "application/json"
    assert fields["cache-control"] == "no-store"
    payload = json.loads(body)
    assert payload["error"] == code
    assert rule in payload["message"]
    assert "sekret" not in str(got).lower()


class Log:
    """What the log says from here on."""

    def __init__(self, mitmdump: Mitmdump) -> None:
        self.mitmdump = mitmdump
        self.start = len(mitmdump.log)

    def assert_names(self, rule: str) -> None:
        assert eventually(lambda: rule in self.text), self.text
        assert "sekret" not in self.mitmdump.log.lower()

    @property
    def text(self) -> str:
        return self.mitmdump.log[self.start :]


@pytest.mark.parametrize("target", ["/me", "/login"])
@answers()
def test_an_answer_that_is_malformed_is_a_502_that_does_not_quote_it(
    proxy_with: ProxyWith, upstream: Upstream, target: str, sent: bytes, rule: str
) -> None:
    mitmdump = proxy_with(IN_FULL)
    log = Log(mitmdump)
    upstream.respond = lambda request: iter([sent])
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
    got = exchange(mitmdump, head.encode() + CLOSED + b"{}")
    assert_refusal(got, 502, "upstream_unreachable", rule)
    log.assert_names(rule)


@pytest.mark.parametrize("target", ["/me", "/login"])
def test_a_chunk_without_its_length_is_not_quoted_nor_the_end_of_an_answer(
    proxy_with: ProxyWith, upstream: Upstream, target: str
) -> None:
    mitmdump = proxy_with(IN_FULL)
    log = Log(mitmdump)
    chunked = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.respond = lambda request: iter([OK + chunked + b"2\r\n{}\r\nsekret\r\n"])
    got = exchange(mitmdump, f"POST {target} HTTP/1.1\r\nHost: localhost\r\n".encode() + CLOSED)
    if target == "/login":
        assert_refusal(got, 502, "upstream_unreachable", "illegal chunk header")
    else:  # it has begun
        assert got.endswith(b"\r\n\r\n2\r\n{}\r\n")
    log.assert_names("illegal chunk header")


@answers()
def test_after_a_malformed_answer_the_connection_goes_on(
    proxy_with: ProxyWith, upstream: Upstream, sent: bytes, rule: str
) -> None:
    mitmdump = proxy_with(IN_FULL)
    upstream.respond = lambda request: answer("fine") if request.target == "/fine" else sent
    host = b"Host: localhost\r\n"
    broken = b"GET /broken HTTP/1.1\r\n" + host + b"\r\n"
    got = exchange(mitmdump, broken + broken + b"GET /fine HTTP/1.1\r\n" + host + CLOSED)
    assert got.count(b"HTTP/1.1 502 ") == got.count(b'"upstream_unreachable"') == 2
    assert got.endswith(b"\r\n\r\nfine")
    assert b"sekret" not in got


def test_the_refusal_of_an_answer_to_head_has_no_body(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.respond = lambda request: (
        answer("fine") if request.target == "/fine" else OK + b"sid=sekret: x\r\n\r\n"
    )
    got = exchange(
        proxy_with(IN_FULL),
        b"HEAD /broken HTTP/1.1\r\nHost: localhost\r\n\r\n"
        b"GET /fine HTTP/1.1\r\nHost: localhost\r\n" + CLOSED,
    )
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"{" not in got
    assert got.endswith(b"\r\n\r\nfine")


def test_a_malformed_answer_over_http2_leaves_the_other_streams_alone(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    mitmdump = proxy_with(IN_FULL)
    with Http2Browser(mitmdump.client.port) as browser:
        for sent, rule in MALFORMED_ANSWERS.values():
            upstream.respond = lambda request, sent=sent: iter([sent])  # type: ignore[misc]
            got = browser.request("POST", "/me", [], b"{}")
            assert_refusal(got, 502, "upstream_unreachable", rule)
            upstream.answers("fine")
            assert browser.request("GET", "/me", []).body == b"fine"
    assert "sekret" not in mitmdump.log


def test_a_malformed_answer_of_an_http2_api_is_not_quoted(confdir: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    api = MalformedHttp2Upstream(context)
    url = f"https://localhost:{api.port}"
    with (
        running(Mitmdump(url, "--ssl-insecure", "--set", IN_FULL, confdir=confdir)) as mitmdump,
        Http2Browser(mitmdump.client.port) as browser,
    ):
        for _ in range(2):
            got = browser.request("GET", "/me", [])
            assert_refusal(got, 502, "upstream_unreachable", "invalid header name")
        assert "sekret" not in mitmdump.log


class MalformedHttp2Upstream(Http2Upstream):
    def _answer(self, connection: h2.connection.H2Connection, stream: int) -> None:
        connection.send_headers(stream, [(":status", "200"), ("sid=sekret", "x")])
        connection.send_data(stream, b"{}", end_stream=True)


def test_a_malformed_answer_ends_an_upload_that_is_under_way(confdir: Path) -> None:
    """The rest of the upload is not taken for the next request."""
    with (
        socket.create_server(("127.0.0.1", 0)) as api,
        running(Mitmdump(f"http://127.0.0.1:{api.getsockname()[1]}", confdir=confdir)) as mitmdump,
        socket.create_connection(("127.0.0.1", mitmdump.client.port), timeout=10) as browser,
    ):
        size = 3_000_000
        head = f"POST /me HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
        browser.sendall(head.encode() + b"x" * 1000)
        connection, _ = api.accept()
        with connection:
            connection.settimeout(10)
            connection.recv(65536)
            connection.sendall(OK + b"sid=sekret: x\r\n\r\n")
            got = b""
            while chunk := browser.recv(65536):
                got += chunk
    assert_refusal(got, 502, "upstream_unreachable", "invalid header name")
    assert b"\r\nconnection: close\r\n" in got.lower()
    assert "sekret" not in mitmdump.log


MALFORMED_REQUESTS = {
    "a cookie line without a colon": (
        b"GET /me HTTP/1.1\r\nHost: localhost\r\nCookie auth-token=sekret\r\n\r\n",
        "Invalid header line",
    ),
    "a cookie before the colon": (
        b"GET /me HTTP/1.1\r\nHost: localhost\r\nCookie auth-token=sekret: x\r\n\r\n",
        "invalid header name",
    ),
    "a malformed header beside a cookie": (
        b"GET /me HTTP/1.1\r\nHost: localhost\r\nCookie: auth-token=sekret\r\nA=b: x\r\n\r\n",
        "invalid header name",
    ),
    "a malformed header of a login": (
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nA=b: sekret\r\nContent-Length: 6\r\n\r\n"
        b"sekret",
        "invalid header name",
    ),
    "a continued line without a first one": (
        b"GET /me HTTP/1.1\r\n Cookie: auth-token=sekret\r\n\r\n",
        "Invalid headers",
    ),
    "a request line of four words": (
        b"GET /me?token=sekret more HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "Bad HTTP request line",
    ),
    "a request line of no HTTP": (b"sekret\r\n\r\n", "Bad HTTP request line"),
    "an unknown version": (
        b"GET /me sekret/1.1\r\nHost: localhost\r\n\r\n",
        "Bad HTTP request line",
    ),
    "an unknown scheme": (
        b"GET x://localhost:80/me HTTP/1.1\r\nCookie: auth-token=sekret\r\n\r\n",
        "Invalid request scheme",
    ),
    "CONNECT": (
        b"CONNECT x.test:443 HTTP/1.1\r\nCookie: auth-token=sekret\r\n\r\n",
        "received an HTTP CONNECT request",
    ),
    "Transfer-Encoding with Content-Length": (
        b"POST /me HTTP/1.1\r\nHost: localhost\r\nCookie: auth-token=sekret\r\n"
        b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        "message with both transfer-encoding and content-length headers",
    ),
    "an unknown Transfer-Encoding": (
        b"POST /me HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: sekret\r\n\r\n",
        "unknown transfer-encoding header",
    ),
    "two different Content-Lengths": (
        b"POST /me HTTP/1.1\r\nHost: localhost\r\nCookie: auth-token=sekret\r\n"
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "content-length header",
    ),
    "the same Content-Length twice": (
        b"POST /me HTTP/1.1\r\nHost: localhost\r\nCookie: auth-token=sekret\r\n"
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "content-length header",
    ),
    "a blank before the colon": (
        b"POST /me HTTP/1.1\r\nHost: localhost\r\nContent-Length : 2\r\n\r\n{}",
        "invalid header name",
    ),
    "a folded field": (
        b"POST /me HTTP/1.1\r\nHost: localhost\r\nX-A: sekret\r\n"
        b"\tTransfer-Encoding: chunked\r\n\r\n",
        "the field X-A has a line break or NUL in its value",
    ),
    "a bare CR": (
        b"GET /me HTTP/1.1\r\nHost: localhost\r\nX-A: sekret\rX-B: sekret\r\n\r\n",
        "the field X-A has a line break or NUL in its value",
    ),
    "NUL": (
        b"GET /me HTTP/1.1\r\nHost: localhost\r\nX-A: sekret\x00\r\n\r\n",
        "the field X-A has a line break or NUL in its value",
    ),
    "a Content-Length that is no number": (
        b"POST /me HTTP/1.1\r\nHost: localhost\r\nContent-Length: 'sekret\r\n\r\n",
        "invalid content-length header",
    ),
}


@pytest.mark.parametrize(
    ("sent", "rule"), MALFORMED_REQUESTS.values(), ids=MALFORMED_REQUESTS.keys()
)
def test_a_malformed_request_is_a_400_that_does_not_quote_it_and_the_last_one(
    proxy_with: ProxyWith, upstream: Upstream, sent: bytes, rule: str
) -> None:
    mitmdump = proxy_with(IN_FULL)
    log = Log(mitmdump)
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    got = exchange(mitmdump, sent + smuggled)
    assert_refusal(got, 400, "bad_request", rule)
    assert b"\r\nconnection: close\r\n" in got.lower()
    log.assert_names(rule)
    assert not upstream.received


def test_a_request_without_a_host_is_refused(proxy_with: ProxyWith, upstream: Upstream) -> None:
    mitmdump = proxy_with(IN_FULL)
    log = Log(mitmdump)
    got = exchange(mitmdump, b"GET /me HTTP/1.1\r\nCookie: auth-token=sekret\r\n" + CLOSED)
    assert_refusal(got, 403, "host_not_allowed", "Host")
    log.assert_names("host_not_allowed")
    assert not upstream.received


def test_a_malformed_request_over_http2_leaves_the_other_streams_alone(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    mitmdump = proxy_with(IN_FULL)
    log = Log(mitmdump)
    with Http2Browser(mitmdump.client.port) as browser:
        got = browser.request("GET", "/me", [("auth-token=sekret", "x")])
        assert_refusal(got, 400, "bad_request", "invalid header name")
        assert not upstream.received
        assert browser.request("GET", "/me", []).status == 200
    log.assert_names("invalid header name")


def test_mitmproxys_own_limit_is_told_as_json(proxy_with: ProxyWith, upstream: Upstream) -> None:
    mitmdump = proxy_with("body_size_limit=10")
    head = b"POST /me HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n"
    got = exchange(mitmdump, head + CLOSED + b"sekret" * 3 + b"{}")
    assert_refusal(got, 400, "bad_request", "body exceeds mitmproxy's body_size_limit")
    assert not upstream.received
    upstream.answers("sekret" * 4)
    got = exchange(mitmdump, b"GET /me HTTP/1.1\r\nHost: localhost\r\n" + CLOSED)
    assert_refusal(got, 502, "upstream_unreachable", "body exceeds mitmproxy's body_size_limit")


SET_OPTION = """
from mitmproxy import ctx
def requestheaders(flow):
    if setting := flow.request.headers.pop("x-set", None):
        ctx.options.set(setting)
"""


def test_mitmproxys_own_limit_counts_from_the_moment_on_that_it_is_set(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    script = tmp_path / "set_option.py"
    script.write_text(SET_OPTION)
    client = start(scripts=(ADDON, script)).client
    upstream.answers("sekret" * 4)
    assert client.get("/me").status == 200
    got = client.get("/me", x_set="body_size_limit=10")
    assert_refusal(got, 502, "upstream_unreachable", "body exceeds mitmproxy's body_size_limit")
    assert client.get("/me", x_set="body_size_limit=1m").status == 200


def test_what_mitmproxy_is_told_not_to_validate_passes(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    client = proxy_with("validate_inbound_headers=false").client
    upstream.respond = lambda request: iter([OK + b"a=b: c\r\nContent-Length: 2\r\n\r\n{}"])
    assert client.get("/me").body == b"{}"


def test_a_malformed_answer_to_a_repeated_request_is_not_passed_on(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    """The proxy's own requests (`upstream.refresh`) get no answer from mitmproxy's checks."""
    mitmdump = proxy_with("cookie_auth_refresh=/refresh", IN_FULL)
    pair = '{"authToken": "fresh", "refreshToken": "r2"}'
    upstream.respond = lambda request: {
        "/login": answer('{"authToken": "stale", "refreshToken": "r1"}'),
        "/refresh": answer(pair),
        "/me": OK + b"sid=sekret: x\r\nContent-Length: 2\r\n\r\n{}"
        if request.one("auth-token") == "fresh"
        else answer('{"error": "expired"}', 401),
    }[request.target]
    issued = [field.partition(";")[0] for field in mitmdump.client.post("/login").all("set-cookie")]
    got = mitmdump.client.get("/me", cookie="; ".join(issued))
    assert [request.target for request in upstream.received][-2:] == ["/refresh", "/me"]
    assert got.status == 401
    assert "sekret" not in str(got)
    assert "sekret" not in mitmdump.log


def test_what_is_recorded_does_not_quote_what_was_malformed(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    flows = tmp_path / "flows"
    mitmdump = start("-w", str(flows))
    for sent, _ in MALFORMED_ANSWERS.values():
        upstream.respond = lambda request, sent=sent: iter([sent])  # type: ignore[misc]
        exchange(mitmdump, b"GET /me HTTP/1.1\r\nHost: localhost\r\n" + CLOSED)
    for sent, _ in MALFORMED_REQUESTS.values():
        exchange(mitmdump, sent)
    mitmdump.stop()
    assert b"invalid header name" in flows.read_bytes()
    assert b"sekret" not in flows.read_bytes()


def test_other_modes_keep_mitmproxys_own_pages(start: Callable[..., Mitmdump]) -> None:
    port = free_port()
    mitmdump = start("--mode", f"regular@{port}")
    mitmdump.wait_for_log(rf"HTTP\(S\) proxy listening at \S+:{port}")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"GET http://localhost/ HTTP/1.1\r\nA=b: x\r\n\r\n")
        got = sock.recv(65536)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"<html>" in got
    assert b"A=b" in got


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ("Received invalid header name: b'sid=sekret' from server, refusing to prevent request"
         " smuggling attacks. Disable the validate_inbound_headers option to skip this security"
         " check.", "invalid header name"),
        ("Received multiple content-length headers: [b'sekret', b\"'sekret\"] from client",
         "multiple content-length headers"),
        ("Received unexpected HTTP transfer-encoding b'sekret' for response with status code 204"
         " from server", "unexpected HTTP transfer-encoding for response with status code 204"),
        ("Received unexpected HTTP transfer-encoding 'gzip' for request from client",
         "unexpected HTTP transfer-encoding for request"),
        ("invalid content-length header: 'sekret\\' sekret'", "invalid content-length header"),
        ("Invalid request scheme: sekret", "Invalid request scheme"),
        ("Invalid HTTP/2 request headers: Unknown pseudo headers: {b':sekret': b'sekret'}",
         "Invalid HTTP/2 request headers"),
        ("sekret", ""),
    ],
)  # fmt: skip
def test_a_rule_is_named_without_what_broke_it(message: str, rule: str) -> None:
    assert reasons.broken_rule(message) == rule
    if rule:
        assert "sekret" not in reasons.without_quotations(message)


@pytest.mark.parametrize("method", ["check_invalid", "check_body_size", "handle_protocol_error"])
def test_a_mitmproxy_that_lacks_what_is_replaced_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.delattr(HttpStream, method)
    before = dict(vars(HttpStream))
    undo = gaps.install(*(lambda *_: None,) * 3, lambda: True)  # type: ignore
    assert dict(vars(HttpStream)) == before
    assert unknown(gaps.REPLACED) == [f"HttpStream.{method}"]  # which start-up tells
    undo()
