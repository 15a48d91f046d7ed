"""Answers that browsers take as they are: cookies, our own messages, and what is mended."""

import json
import socket
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest
from h11._receivebuffer import ReceiveBuffer
from messages import answers
from mitmproxy import http
from mitmproxy.net.http.http1 import read_response_head
from playwright.sync_api import BrowserContext
from support import Client, Message, Mitmdump, Upstream, answer, free_port, no_minutes
from upstream.mending import mend, mended

ProxyWith = Callable[..., Mitmdump]

# Cookies


CSRF_COOKIES = [
    "__Host-csrf=abc; Secure; Path=/; SameSite=Strict",
    "__HOST-csrf=abc; path=/; secure; Partitioned",
    "__Secure-csrf=abc; Secure; Path=/; SameSite=None",
    "XSRF-TOKEN=abc; Path=/; Secure; SameSite=None; Partitioned",
    "csrftoken=abc; Path=/; Max-Age=31449600; SameSite=Lax",
]


@pytest.mark.parametrize("cookie", CSRF_COOKIES, ids=lambda cookie: cookie.partition("=")[0])
def test_an_api_below_a_prefix_gets_its_csrf_cookie_and_the_page_reads_it(
    proxy_with: ProxyWith, upstream: Upstream, context: BrowserContext, cookie: str
) -> None:
    name = cookie.partition("=")[0]

    def api(request: Message) -> bytes:
        if request.target == "/csrf":
            return answer("{}", headers=[("Set-Cookie", cookie)])
        if request.method == "POST":
            given = request.one("x-csrf") or "none"
            fits = f"{name}={given}" in (request.one("cookie") or "").split("; ")
            return answer("{}", 200 if fits else 403)
        return answer("<!doctype html>", Content_Type="text/html")

    upstream.respond = api
    port = proxy_with(
        "cookie_auth_prefix=/api",
        f"cookie_auth_frontend={upstream.url}",
        "cookie_auth_forward_cookies=*",
    ).client.port
    page = context.new_page()
    page.goto(f"http://localhost:{port}/")
    status = page.evaluate(
        """async name => {
          await fetch('/api/csrf')
          const [, value] = document.cookie.match(name + '=([^;]*)') || []
          return (await fetch('/api/pay', {method: 'POST', headers: {'x-csrf': value}})).status
        }""",
        name,
    )
    assert status == 200


# Heads that are mended


@pytest.mark.parametrize(
    ("head", "seen"),
    [
        # Nothing to mend
        ("200|A: b|Content-Length: 2", "200|A: b|Content-Length: 2"),
        ("304|Content-Length: 2|ETag: x", "304|Content-Length: 2|ETag: x"),
        ("204|A: b", "204|A: b"),
        # Folded (RFC 9112, 5.2)
        ("200|A: b| c|\td|E: f", "200|A: b c d|E: f"),
        ("200|A:| b|Set-Cookie: c=d;| Path=/", "200|A: b|Set-Cookie: c=d; Path=/"),
        ("200|A: b| C: d", "200|A: b C: d"),
        ("200|Content-Length:| 2", "200|Content-Length: 2|Connection: close"),
        ("200|Transfer-Encoding:| chunked", "200|Transfer-Encoding: chunked|Connection: close"),
        # Blanks before the colon (RFC 9112, 5.1)
        ("200|A : b|C\t: d", "200|A: b|C: d"),
        ("200|Content-Length : 2", "200|Content-Length: 2|Connection: close"),
        # One length, several times (RFC 9110, 8.6)
        ("200|Content-Length: 2|A: b|content-length: 2", "200|A: b|Content-Length: 2"),
        ("200|Content-Length: 2, 2 ,2", "200|Content-Length: 2"),
        ("304|Content-Length: 2,2", "304|Content-Length: 2"),
        # What ends with its head (RFC 9112, 6.3)
        ("204|Content-Length: 0|A: b", "204|A: b"),
        ("204|Content-Length: 2", "204|Connection: close"),
        ("204|Content-Length: x, y", "204|Connection: close"),
        ("204|Transfer-Encoding: chunked|Connection: keep-alive", "204|Connection: close"),
        ("204|transfer-encoding: x|Transfer-Encoding: y", "204|Connection: close"),
        ("304|Transfer-Encoding: chunked|ETag: x", "304|ETag: x|Connection: close"),
        ("101|Connection: Upgrade|Content-Length: 2", "101|Connection: Upgrade"),
        ("101|Connection: Upgrade|Transfer-Encoding: x", "101|Connection: Upgrade"),
        # What is left for mitmproxy to refuse
        ("200|Content-Length: 2|Content-Length: 3", None),
        ("200|Content-Length: 2, 02", None),
        ("200|Content-Length: 2,", None),
        ("200|Content-Length: 2|Transfer-Encoding: chunked", None),
        ("200|Transfer-Encoding: chunked|Transfer-Encoding: chunked", None),
        ("200| A: b", None),
        ("200|A b", None),
        ("200|A: b|=c", None),
    ],
)
def test_a_head_is_mended_where_a_recipient_may(head: str, seen: str | None) -> None:
    lines = f"HTTP/1.1 {head}".encode().split(b"|")
    expected = lines if seen is None else f"HTTP/1.1 {seen}".encode().split(b"|")
    assert mended(lines) == expected
    assert mended(mended(lines)) == mended(lines)
    # The same, received; and what follows stays where it is
    received = ReceiveBuffer()
    received += b"\r\n".join((*lines, b"", b"rest"))
    mend(received)
    assert bytes(received) == b"\r\n".join((*expected, b"", b"rest"))


@pytest.mark.parametrize(
    "data", ["", "\r\n", "HTTP/1.1 204 x\r\nA: b\r\n", "x", "\n\n", "\r\n\r\n"]
)
def test_what_is_no_head_yet_is_left_alone(data: str) -> None:
    received = ReceiveBuffer()
    received += data.encode()
    mend(received)
    assert bytes(received) == data.encode()


def test_a_head_of_many_lines_is_mended_in_no_time() -> None:
    lines = [b"HTTP/1.1 200 OK", b"A: b", *[b" c"] * 200_000, *[b"D : e"] * 200_000]
    with no_minutes():
        assert len(mended(lines)) == 200_002


MENDED = {
    "204 with Transfer-Encoding": (
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"",
    ),
    "204 with Transfer-Encoding and no chunk": (
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"",
    ),
    "204 with a body": (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", b""),
    "204 that says 0": (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b""),
    "304 with Transfer-Encoding": (
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"",
    ),
    "a Content-Length twice": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"{}",
    ),
    "a list of one Content-Length": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
        b"{}",
    ),
    "a folded field": (
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
        b"{}",
    ),
    "a folded length": (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\n{}", b"{}"),
    "a blank before the colon": (
        b"HTTP/1.1 200 OK\r\nX-A : b c\r\nContent-Length : 2\r\n\r\n{}",
        b"{}",
    ),
}


@pytest.mark.parametrize(("sent", "body"), MENDED.values(), ids=MENDED.keys())
@pytest.mark.parametrize("target", ["/me", "/front"])
def test_what_may_be_mended_arrives_and_the_next_answer_is_the_next_ones(
    proxy_with: ProxyWith, upstream: Upstream, target: str, sent: bytes, body: bytes
) -> None:
    client = proxy_with("cookie_auth_prefix=/me", f"cookie_auth_frontend={upstream.url}").client
    upstream.respond = lambda request: answer("fine") if request.target == "/fine" else sent
    got = client.get(target)
    assert (got.status, got.body) == (int(sent[9:12]), body)
    assert got.one("x-a") in (None, "b c")
    assert got.one("transfer-encoding") is None
    assert got.all("content-length") == ([str(len(body))] if body else [])
    # On one connection, which ends where there is a doubt
    head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = "GET /me/fine HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    raw = client.raw((head + last).encode())
    first, _, rest = raw.partition(b"\r\n\r\n")
    assert rest.startswith(body)
    rest = rest.removeprefix(body)
    if b"connection: close" in first.lower():
        assert rest == b""
    else:
        assert rest.startswith(b"HTTP/1.1 200 ")
        assert rest.endswith(b"\r\n\r\nfine")


# Our own answers


def assert_clean(method: str, got: http.Response) -> None:
    """Whether it breaks no rule of RFC 9110 that a check by httplint (PyPI) has found broken."""
    headers = got.headers
    assert parsedate_to_datetime(headers["date"]).tzinfo  # 6.6.1
    if got.status_code == 204:  # 8.6
        assert not {"content-length", "transfer-encoding", "content-type"} & set(headers)
        assert not got.raw_content
        return
    assert headers["cache-control"] == "no-store"
    if got.status_code == 303:
        assert headers["content-length"] == "0"
        return
    assert headers["content-type"] in ("application/json", "text/html; charset=utf-8")
    assert int(headers["content-length"]) > 0
    if method == "HEAD":  # 9.3.2
        assert not got.raw_content
    else:
        assert len(got.raw_content or b"") == int(headers["content-length"])
    if got.status_code == 401:  # 15.5.2; a browser knows no dialog for it
        assert headers["www-authenticate"] == 'Cookie realm="cookie-auth"'


METHODS = ["GET", "HEAD", "POST"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("code", answers.STATUS_OF)
def test_a_refusal_is_clean(code: str, method: str) -> None:
    got = answers.refusal(method, code, "So it is.")
    assert got.status_code == answers.STATUS_OF[code]
    assert_clean(method, got)


BY_SCRIPT = ("Sec-Fetch-Mode: cors",)
BY_LINK = ("Sec-Fetch-Mode: navigate",)
FROM_3999 = ("Origin: http://localhost:3999",)
OWN_ANSWERS = {
    "login": ("/api/login", (), 200),
    "logout": ("/api/logout", BY_SCRIPT, 200),
    "logout by a link": ("/api/logout", BY_LINK, 303),
    "logout of an allowed origin": ("/api/logout", FROM_3999, 200),
    "logout of a foreign page": ("/api/logout", ("Sec-Fetch-Site: cross-site",), 403),
    "refresh": ("/api/refresh", ("Cookie: auth-token=t; auth-token-refresh=r",), 200),
    "refresh without a token": ("/api/refresh", (), 401),
    "prefetched logout": ("/api/logout", ("Sec-Purpose: prefetch",), 503),
    "no header line": ("/api/me", ("X",), 400),
    "no header name": ("/api/me", ("X Y: z",), 400),
    "a folded field": ("/api/me", ("X: y\r\n z",), 400),
    "outside the prefix": ("/elsewhere", (), 404),
    "another host": ("http://evil.test/api/me", ("Host: evil.test",), 403),
    "a malformed answer": ("/api/malformed", (), 502),
}


def sent(head: str, client: Client) -> http.Response:
    """The answer to a request with this head, read by the bytes until the connection closes."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as sock:
        sock.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
        got = b"".join(iter(lambda: sock.recv(65536), b""))
    lines, _, body = got.partition(b"\r\n\r\n")
    response = read_response_head(lines.split(b"\r\n"))
    response.raw_content = body
    return response


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("target", "fields", "status"), OWN_ANSWERS.values(), ids=OWN_ANSWERS.keys()
)
def test_an_answer_of_our_own_is_clean(
    proxy_with: ProxyWith,
    upstream: Upstream,
    method: str,
    target: str,
    fields: tuple[str, ...],
    status: int,
) -> None:
    def api(request: Message) -> bytes:
        if request.target == "/malformed":
            return b"HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n"
        body = json.dumps({"authToken": "t", "refreshToken": "r"})
        return answer("" if request.method == "HEAD" else body)

    if (method, target) == ("HEAD", "/api/login"):
        return  # which has no token, so it is the API's own
    upstream.respond = api
    client = proxy_with(
        "cookie_auth_prefix=/api",
        "cookie_auth_refresh=/refresh",
        "cookie_auth_allowed_origins=http://localhost:3999",
    ).client
    host = () if any(field.startswith("Host:") for field in fields) else ("Host: localhost",)
    got = sent("\r\n".join((f"{method} {target} HTTP/1.1", *host, *fields)), client)
    assert got.status_code == status
    assert_clean(method, got)


@pytest.mark.parametrize("more", [(), ("Access-Control-Request-Headers: x-a, x-b",)])
def test_a_preflight_is_clean(proxy_with: ProxyWith, more: tuple[str, ...]) -> None:
    client = proxy_with("cookie_auth_allowed_origins=http://localhost:3999").client
    asks = ("Host: localhost", *FROM_3999, "Access-Control-Request-Method: PUT", *more)
    got = sent("\r\n".join(("OPTIONS /me HTTP/1.1", *asks)), client)
    assert got.status_code == 204
    assert_clean("OPTIONS", got)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", ["navigate", "cors"])
def test_the_page_of_a_front_end_that_is_down_is_clean(
    start: Callable[..., Mitmdump], method: str, mode: str
) -> None:
    options = ("cookie_auth_prefix=/api", f"cookie_auth_frontend=http://localhost:{free_port()}")
    client = start(*(part for option in options for part in ("--set", option))).client
    got = sent(f"{method} / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Mode: {mode}", client)
    assert got.status_code == 502
    assert_clean(method, got)


def test_a_cookie_that_does_not_open_is_a_clean_401(proxy_with: ProxyWith) -> None:
    client = proxy_with("cookie_auth_secret=0123456789abcdef").client
    got = sent("GET /me HTTP/1.1\r\nHost: localhost\r\nCookie: auth-token=junk", client)
    assert got.status_code == 401
    assert_clean("GET", got)
