"""JSON that does not say how long it is passes as it comes: watches, exports, what is in chunks.

What may hand out a token is held back all the same: a login's answer, a refresh's.
"""

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from messages import streaming
from mitmproxy import http, io
from page import Page
from support import Message, Mitmdump, Upstream, answer, running
from test_stand_in_answers import REFRESH, TOKEN, log_in, sign_in
from test_streams import MEGABYTE, read_until
from token_api import bearer, opaque, stand_ins

ProxyWith = Callable[..., Mitmdump]

NEW = opaque("another")
REPEATS = json.dumps({"you": TOKEN}).encode()


@pytest.fixture
def page(proxy_with: ProxyWith) -> Page:
    return Page(proxy_with().client)


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


def in_chunks(body: bytes | str, status: int = 200, **headers: str) -> bytes:
    """An answer in chunks of seven bytes."""
    data = body.encode() if isinstance(body, str) else body
    parts = [data[start : start + 7] for start in range(0, len(data), 7)]
    more = {"Content_Type": "application/json", "Transfer_Encoding": "chunked", **headers}
    fields = [(name.replace("_", "-"), value) for name, value in more.items()]
    return answer(chunked(*parts), status, fields)


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json;stream=watch",
        "application/stream+json",
        "application/connect+json",
        "application/x-ndjson",
        "application/json-seq",
    ],
)
def test_a_watch_arrives_as_things_happen_with_stand_ins(
    page: Page, upstream: Upstream, kind: str, coding: str
) -> None:
    given = sign_in(page, upstream)
    seen = threading.Semaphore(0)
    packer = zlib.compressobj(wbits=31)

    def watch(request: Message) -> Iterator[bytes]:
        yield f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Encoding: {coding}\r\n".encode()
        yield b"Transfer-Encoding: chunked\r\n\r\n"
        for number in range(3):
            part = b'{"n": %d, "t": "%s"}' % (number, TOKEN.encode())
            if coding == "gzip":
                part = packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
            yield b"%x\r\n%b\r\n" % (len(part), part)
            assert seen.acquire(timeout=10)  # the next event is sent when this one has arrived
        if coding == "gzip":
            part = packer.flush()
            yield b"%x\r\n%b\r\n" % (len(part), part)
        yield b"0\r\n\r\n"

    upstream.respond = watch
    head = (
        f"GET /watch HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n"
        f"Authorization: Bearer {given}\r\nCookie: {page._cookie('/watch')}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", page.client.port), timeout=10) as sock:
        sock.sendall(head.encode())
        read_until(sock, b"\r\n\r\n")
        for number in range(3):
            event = b'{"n": %d, "t": "%s"}' % (number, given.encode())
            assert read_until(sock, b"}\r\n") == b"%x\r\n%b\r\n" % (len(event), event)
            seen.release()
        assert read_until(sock, b"0\r\n\r\n") == b"0\r\n\r\n"
    assert upstream.last.one("authorization") == f"Bearer {TOKEN}"


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson", "text/plain"])
def test_a_login_in_chunks_is_held_back_whatever_its_type(
    page: Page, upstream: Upstream, kind: str, coding: str
) -> None:
    body = json.dumps({"token": NEW}).encode()
    body = gzip.compress(body) if coding == "gzip" else body
    upstream.respond = lambda request: in_chunks(body, Content_Type=kind, Content_Encoding=coding)
    got = log_in(page, "/somewhere")  # only the password in the request says what it is
    if got.one("content-encoding") == "gzip":
        got.body = gzip.decompress(got.body)
    assert NEW.encode() not in got.body
    assert len(stand_ins(got)) == 1
    assert got.set_cookies


def test_an_answer_to_a_refresh_token_is_held_back(page: Page, upstream: Upstream) -> None:
    upstream.answers(json.dumps({"token": TOKEN, "refresh_token": REFRESH}))
    given = json.loads(log_in(page).body)
    upstream.respond = lambda request: in_chunks(json.dumps({"token": NEW}))
    body = json.dumps({"refresh_token": given["refresh_token"]})
    got = page.post("/auth/refresh", body, content_type="application/json")
    assert json.loads(upstream.last.body) == {"refresh_token": REFRESH}
    assert NEW.encode() not in got.body
    upstream.answers("{}")
    bearer(page, stand_ins(got)[0])
    assert upstream.last.one("authorization") == f"Bearer {NEW}"


def test_a_login_that_is_sent_in_chunks_is_known_by_its_password(
    page: Page, upstream: Upstream
) -> None:
    upstream.respond = lambda request: in_chunks(json.dumps({"token": NEW}))
    more = {"transfer_encoding": "chunked", "content_type": "application/json"}
    got = page.post("/somewhere", '{"password": "x"}', **more)
    assert json.loads(upstream.last.body) == {"password": "x"}
    assert NEW.encode() not in got.body


@pytest.mark.parametrize(
    ("leak", "kind", "status", "seen"),
    [
        ("block", "application/json", 502, b"token_leak"),
        ("block", "application/hal+json", 502, b"token_leak"),
        ("block", "application/x-ndjson", 200, b'{"you": "******"}'),
        ("block", "application/json;stream=watch", 200, b'{"you": "******"}'),
        ("warn", "application/json", 200, b'{"you": "sekret"}'),
        ("off", "application/json", 200, b'{"you": "sekret"}'),
    ],
)
def test_the_other_modes_keep_their_promises(
    start: Callable[..., Mitmdump],
    upstream: Upstream,
    leak: str,
    kind: str,
    status: int,
    seen: bytes,
) -> None:
    """A document that is to be blocked is refused as a whole; what comes as it happens, blanked."""
    mitmdump = start("--set", f"cookie_auth_leak={leak}")
    upstream.respond = lambda request: in_chunks('{"you": "sekret"}', Content_Type=kind)
    got = mitmdump.client.get("/me", cookie="auth-token=sekret")
    assert got.status == status
    assert seen in got.body
    if leak == "off":
        assert "holds a token" not in mitmdump.log
    else:
        mitmdump.wait_for_log("/me: the API's answer holds a token in its body")


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_an_entity_tag_stays_for_the_cache_and_for_if_match(
    page: Page, upstream: Upstream, coding: str
) -> None:
    given = sign_in(page, upstream)
    body = gzip.compress(REPEATS) if coding == "gzip" else REPEATS
    upstream.respond = lambda request: in_chunks(
        body,
        Content_Encoding=coding,
        ETag='"33a6"',
        Repr_Digest="sha-256=:AAAA:",
        Accept_Ranges="bytes",
    )
    got = bearer(page, given)
    assert json.loads(got.body) == {"you": given}
    assert got.one("repr-digest") is got.one("accept-ranges") is None
    tag = got.one("etag") or ""
    assert tag.endswith('~33a6"')
    for name in ("if-none-match", "if-match"):
        page.request("GET", "/me", [(name, tag)], authorization=f"Bearer {given}")
        assert upstream.last.one(name) == '"33a6"'


def test_a_401_in_chunks_is_not_the_last_word(proxy_with: ProxyWith, upstream: Upstream) -> None:
    """The token is renewed, and the request sent again; the last answer arrives whole."""
    page = Page(proxy_with("cookie_auth_refresh=/refresh").client)
    token = "stale"

    def api(request: Message) -> bytes:
        nonlocal token
        if request.target == "/login":
            return answer(json.dumps({"authToken": "stale", "refreshToken": "r1"}))
        if request.target == "/refresh":
            return in_chunks(json.dumps({"authToken": "fresh", "refreshToken": "r2"}))
        fine = request.one("auth-token") == "fresh"
        return in_chunks('{"n": 1}' if fine else '{"error": 1}', 200 if fine else 401)

    upstream.respond = api
    page.post("/login")
    got = page.get("/me")
    assert (got.status, json.loads(got.body)) == (200, {"n": 1})
    page.post("/login")
    upstream.received.clear()
    # A watch would never end: it gets the 401 and the new cookies.
    got = page.get("/pods?watch=1")
    assert (got.status, json.loads(got.body)) == (401, {"error": 1})
    assert [request.target for request in upstream.received] == ["/pods?watch=1", "/refresh"]
    assert page.cookies["auth-token"] == "fresh"


@pytest.mark.parametrize(
    ("target", "headers", "live"),
    [
        ("/", {}, False),
        ("/watch", {}, False),
        ("/pods?watch=true&x", {}, True),
        ("/pods?a=b&watch", {}, True),
        ("/pods?watch=0", {}, False),
        ("/pods?watch=false", {}, False),
        ("/pods?stopwatch=1", {}, False),
        ("/?" + "?&" * 100_000, {}, False),
        ("/", {"Accept": "application/json, */*"}, False),
        ("/", {"Accept": "application/json;stream=watch, application/json"}, True),
        ("/", {"Accept": "application/x-ndjson"}, True),
        ("/", {"Accept": "application/Stream+JSON"}, True),
        ("/", {"Accept": "text/event-stream"}, True),
        ("/", {"Upgrade": "websocket"}, True),
    ],
)
def test_what_is_not_to_be_asked_for_twice(
    target: str, headers: dict[str, str], live: bool
) -> None:
    request = http.Request.make("GET", f"http://x{target}")
    request.headers.update(headers)
    assert streaming.is_live(request) is live


def test_what_has_streamed_is_recorded_as_the_page_got_it(
    upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    flows = tmp_path / "flows"
    long = json.dumps(["x" * 1000] * 1100).encode()
    options = ("-w", str(flows), "--set", "cookie_auth_redact=true")
    with running(Mitmdump(upstream.url, *options, confdir=confdir)) as mitmdump:
        page = Page(mitmdump.client)
        given = sign_in(page, upstream)
        upstream.respond = lambda request: in_chunks(long if request.target == "/long" else REPEATS)
        assert json.loads(bearer(page, given).body) == {"you": given}
        assert bearer(page, given, "/long").body == long
    assert TOKEN.encode() not in flows.read_bytes()
    seen = {
        flow.request.path: flow.response.raw_content
        for flow in io.read_flows_from_paths([flows])
        if isinstance(flow, http.HTTPFlow) and flow.response
    }
    assert json.loads(seen["/me"] or b"") == {"you": given}
    assert len(long) > MEGABYTE
    assert seen["/long"] is None


def test_a_front_ends_json_streams_too(proxy_with: ProxyWith, upstream: Upstream) -> None:
    options = ("cookie_auth_prefix=/api", f"cookie_auth_frontend={upstream.url}")
    seen = threading.Event()

    def data(request: Message) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[1"
        assert seen.wait(10)
        yield b"]"

    upstream.respond = data
    port = proxy_with(*options).client.port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"GET /_next/data.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        read_until(sock, b"[1")
        seen.set()
        assert read_until(sock, b"]") == b"]"


def test_the_log_has_no_line_for_each_answer_that_streams(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    mitmdump = start()
    upstream.respond = lambda request: in_chunks("{}")
    assert mitmdump.client.get("/items").body == b"{}"
    mitmdump.wait_for_log("client disconnect")
    assert "Streaming" not in mitmdump.log
