"""Upstreams that are down, break off or cannot be trusted: an answer that says so, no silence."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import h11
import pytest
import trustme
from support import Client, Message, Mitmdump, Upstream, answer, free_port, running
from test_protocols import Http2Browser, request_over_http2
from upstream.reasons import describe, without_quotations

ProxyWith = Callable[..., Mitmdump]


def assert_unreachable(got: Message, *hints: str) -> None:
    assert got.status == 502
    payload = json.loads(got.body)
    assert payload["error"] == "upstream_unreachable"
    for hint in hints:
        assert hint in payload["message"]
    assert "sekret" not in str(got)


def broken(*parts: bytes) -> Callable[[Message], Iterator[bytes]]:
    """An answer that ends with these bytes and a closed connection."""
    return lambda request: iter(parts)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("server closed connection: sekret", "what it sent is no HTTP answer"),
        ("OpenSSL Error(sekret)", "what it sent is no HTTP answer"),
        ("unexpected server response: b'sekret'", "what it sent is no HTTP answer"),
        ("Cannot parse HTTP response: sekret connection", "what it sent is no HTTP answer"),
    ],
)  # fmt: skip
def test_a_reason_never_quotes_the_answer(message: str, reason: str) -> None:
    assert describe(message) == reason


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ("Unexpected data from server: b'sekret'", "Unexpected data from server: (left out)"),
        ("""chunk header: bytearray(b"it's sekret")""", "chunk header: bytearray((left out))"),
        ("a: b'sekret\\'\"', b: b'sekret'.", "a: (left out), b: (left out)."),
        (
            "[Errno 111] Connect call failed ('::1', 1)",
            "[Errno 111] Connect call failed ('::1', 1)",
        ),
    ],
)
def test_no_message_quotes_what_came_over_the_wire(message: str, left: str) -> None:
    assert without_quotations(message) == left


UNREADABLE_ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}sekret",
    b"HTTP/1.1 200 OK\r\nsekret\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: sekret\r\n\r\n",
    b"HTTP/1.1 sekret\r\n\r\n",
    b"sekret",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nsekret\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\nsekret\r\n",
)


@pytest.mark.parametrize("target", ["/login", "/me"])
def test_an_answer_that_cannot_be_read_is_not_quoted_in_the_log(
    start: Callable[..., Mitmdump], upstream: Upstream, target: str
) -> None:
    mitmdump = start()
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0"
    for sent in UNREADABLE_ANSWERS:
        upstream.respond = broken(sent)
        assert b"sekret" not in mitmdump.client.raw(f"{head}\r\n\r\n".encode())
    assert len(upstream.received) == len(UNREADABLE_ANSWERS)
    mitmdump.wait_for_log("(?s)(client disconnect.*){7}")
    assert "sekret" not in mitmdump.log


def test_a_request_that_cannot_be_read_is_not_quoted_in_the_log(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    mitmdump = start()
    for sent in (
        b"GET /me HTTP/1.1\r\nCookie: auth-token=sekret\r\n",
        b"GET /me HTTP/1.1\r\nCookie auth-token=sekret\r\n\r\n",
        b"POST /me HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nsekret\r\n",
    ):
        with socket.create_connection(("127.0.0.1", mitmdump.client.port)) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65536)
    mitmdump.wait_for_log("(?s)(client disconnect.*){3}")
    assert "sekret" not in mitmdump.log


def test_an_api_that_is_down_is_named_and_may_come_back(confdir: Path) -> None:
    port = free_port()
    with running(Mitmdump(f"http://127.0.0.1:{port}", confdir=confdir)) as mitmdump:
        client = mitmdump.client
        for target in ("/me", "/login"):
            got = client.post(target, cookie="auth-token=sekret")
            assert_unreachable(got, f"http://127.0.0.1:{port}", "nothing listens there")
        body = b"x" * 3_000_000
        assert_unreachable(client.post("/upload", body=body), "nothing listens there")
        got = client.get("/socket", connection="Upgrade", upgrade="websocket")
        assert_unreachable(got)
        assert client.request("HEAD", "/me").status == 502
        got = request_over_http2(client.port, "GET", "/me", [])
        assert_unreachable(got, "nothing listens there")
        assert "sekret" not in mitmdump.log


def test_a_browser_that_stays_connected_reaches_an_api_that_comes_back(confdir: Path) -> None:
    port = free_port()
    with (
        running(Mitmdump(f"http://127.0.0.1:{port}", confdir=confdir)) as mitmdump,
        Http2Browser(mitmdump.client.port) as browser,
    ):
        assert browser.request("GET", "/me", []).status == 502
        api = Upstream(port=port)
        assert browser.request("GET", "/me", []).status == 200
        api.close()


def test_a_failure_leaves_the_browsers_connection_usable(proxy: Client, upstream: Upstream) -> None:
    upstream.respond = lambda request: iter(()) if request.target == "/broken" else answer("ok")
    heads = [
        f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"
        for method, target, more in [
            ("GET", "/broken", ""),
            ("HEAD", "/broken", ""),
            ("GET", "/me", "Connection: close\r\n"),
        ]
    ]
    got = proxy.raw("".join(heads).encode())
    assert got.count(b"HTTP/1.1 502 ") == 2
    assert got.count(b"upstream_unreachable") == 1  # the answer to HEAD has no body
    assert got.endswith(b"\r\n\r\nok")


def test_a_name_that_does_not_resolve_is_named(confdir: Path) -> None:
    with running(Mitmdump("http://no-such-host.invalid", confdir=confdir)) as mitmdump:
        assert_unreachable(mitmdump.client.get("/me"), "http://no-such-host.invalid")


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"HTTP/1.1 200 OK\r\nX-Secret: sekret\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b'{"authToken": "sekret"'),
        (b"sekret\r\n\r\n",),
        (b"HTTP/1.1 sekret\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nsekret\r\n\r\n",),
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["/login", "/me"])
def test_an_answer_that_breaks_off_is_no_answer(
    proxy_with: ProxyWith, upstream: Upstream, target: str, parts: tuple[bytes, ...]
) -> None:
    mitmdump = proxy_with()
    upstream.respond = broken(*parts)
    assert_unreachable(mitmdump.client.post(target), upstream.url)
    assert "sekret" not in mitmdump.log


@pytest.mark.parametrize("target", ["/login", "/me"])
def test_json_in_chunks_that_breaks_off_is_not_taken_for_whole(
    proxy_with: ProxyWith, upstream: Upstream, target: str
) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    upstream.respond = broken(head, b'17\r\n{"authToken": "sekret"}\r\n')
    client = proxy_with().client
    if target == "/login":
        assert_unreachable(client.post(target), upstream.url)
    else:  # it has begun
        with pytest.raises(h11.RemoteProtocolError):
            client.post(target)
    assert "sekret" not in proxy_with().log


def test_failures_are_readable_for_an_allowed_origin(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_allowed_origins=http://localhost:3999").client
    upstream.respond = broken()
    got = proxy.get("/me", origin="http://localhost:3999")
    assert_unreachable(got)
    assert got.one("access-control-allow-origin") == "http://localhost:3999"


def test_a_front_end_that_is_down_has_a_page_that_tries_again(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    url = f"http://localhost:{free_port()}"
    proxy = proxy_with("cookie_auth_prefix=/api", f"cookie_auth_frontend={url}").client
    got = proxy.get("/", accept="text/html")
    assert got.status == 502
    assert (got.one("content-type") or "").startswith("text/html")
    assert url.encode() in got.body
    assert b"npm run dev" in got.body
    assert b'http-equiv="refresh"' in got.body
    assert_unreachable(proxy.get("/main.js", accept="*/*"), url)
    assert proxy.get("/api/me").status == 200


def only_on(host: str) -> Upstream:
    """An upstream whose port nobody listens to on the other loopback address."""
    (other,) = {"127.0.0.1", "::1"} - {host}
    while True:
        upstream = Upstream(host)
        try:
            socket.create_connection((other, upstream.port)).close()
        except OSError:
            return upstream
        upstream.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_localhost_is_wherever_the_server_listens(confdir: Path, host: str) -> None:
    api, frontend = only_on(host), only_on(host)
    options = ["cookie_auth_prefix=/api", f"cookie_auth_frontend=http://localhost:{frontend.port}"]
    arguments = [part for option in options for part in ("--set", option)]
    url = f"http://localhost:{api.port}"
    with running(Mitmdump(url, *arguments, confdir=confdir)) as mitmdump:
        for _ in range(2):
            assert mitmdump.client.get("/api/me").status == 200
            assert mitmdump.client.get("/page").status == 200
        assert api.last.one("host") == f"localhost:{api.port}"
        assert frontend.last.one("host") == f"localhost:{mitmdump.client.port}"
        api.close()


def tls_upstream(tmp_path: Path, *names: str) -> tuple[Upstream, Path, list[str | None]]:
    """An API over TLS with a certificate for these names; its CA file, and the names asked for."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    asked: list[str | None] = []

    def remember(sock: object, name: str | None, context: object) -> None:
        asked.append(name)

    context.sni_callback = remember
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return Upstream(tls=context), ca_file, asked


def test_an_api_over_tls_is_trusted_by_its_ca_and_called_by_its_own_name(
    tmp_path: Path, confdir: Path
) -> None:
    api, ca_file, asked = tls_upstream(tmp_path, "localhost")
    api.answers('{"authToken": "sekret"}', Location=f"https://localhost:{api.port}/x")
    url = f"https://localhost:{api.port}"
    trust = f"ssl_verify_upstream_trusted_ca={ca_file}"
    with running(Mitmdump(url, "--set", trust, confdir=confdir)) as mitmdump:
        got = mitmdump.client.post("/login")
        assert got.body == b'{"loggedIn": true}'
        # Also when the browser's own TLS connection named another host.
        got = request_over_http2(
            mitmdump.client.port, "POST", "/other", [], server_name="shop.localhost"
        )
        assert got.status == 200
        assert dict(got.headers)["location"] == "/x"
        assert api.last.one("host") == f"localhost:{api.port}"
    assert set(asked) == {"localhost"}


def test_an_api_with_an_unknown_certificate_needs_ssl_insecure(
    tmp_path: Path, confdir: Path
) -> None:
    api, _, _ = tls_upstream(tmp_path, "localhost")
    url = f"https://localhost:{api.port}"
    with running(Mitmdump(url, confdir=confdir)) as mitmdump:
        assert_unreachable(mitmdump.client.get("/me"), url, "its certificate is not trusted")
        assert not api.received
    with running(Mitmdump(url, "--ssl-insecure", confdir=confdir)) as mitmdump:
        assert mitmdump.client.get("/me").status == 200


def test_plain_http_on_a_tls_address_is_a_tls_failure(upstream: Upstream, confdir: Path) -> None:
    url = f"https://127.0.0.1:{upstream.port}"
    with running(Mitmdump(url, confdir=confdir)) as mitmdump:
        assert_unreachable(mitmdump.client.get("/me"), url)


def test_an_expectation_is_met(proxy: Client, upstream: Upstream) -> None:
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n"
    got = proxy.raw(head + b"Expect: 100-continue\r\n\r\nok")
    assert got.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 200 " in got
    assert upstream.last.body == b"ok"


@pytest.mark.parametrize("interim", [b"100 Continue", b"103 Early Hints"])
def test_an_interim_answer_is_not_the_answer(
    proxy: Client, upstream: Upstream, interim: bytes
) -> None:
    upstream.respond = lambda request: b"HTTP/1.1 %s\r\n\r\n%s" % (interim, answer('{"a": 1}'))
    got = proxy.raw(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert got.endswith(b'{"a": 1}')


def test_trailers_are_discarded(proxy: Client, upstream: Upstream) -> None:
    body = b"2\r\n{}\r\n0\r\nX-Trailer: sekret\r\nCookie: a=b\r\n\r\n"
    upstream.respond = lambda request: answer(body, headers=[("Transfer-Encoding", "chunked")])
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    got = proxy.raw(head + b"Connection: close\r\n\r\n" + body)
    assert got.startswith(b"HTTP/1.1 200")
    assert got.endswith(b"2\r\n{}\r\n0\r\n\r\n")
    assert upstream.last.body == b"{}"
    assert b"sekret" not in got
