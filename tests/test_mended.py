"""Faults that were found by reading and proved by trying; each failed before it was mended."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mitmproxy import http
from origins import cors, framing
from page import Page
from support import Message, Mitmdump, Upstream, answer, eventually, free_port, running
from test_failing_closed import edit, own_addon
from test_jar import jwt
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

ProxyWith = Callable[..., Mitmdump]

__all__ = ["own_addon"]  # a fixture

RENEWING = "cookie_auth_refresh=/refresh"


# Documents


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(None, []), ("script-src 'none'", ["script-src 'none'", "frame-ancestors 'self'"])],
)
def test_a_304_without_a_policy_takes_no_policy_away(
    policy: str | None, expected: list[str]
) -> None:
    headers = http.Headers()
    if policy:
        headers["Content-Security-Policy"] = policy
    framing.forbid_framing(headers, (), confirms=True)
    assert headers.get_all("content-security-policy") == expected


def test_a_304_passes_with_no_policy_of_ours(proxy_with: ProxyWith, upstream: Upstream) -> None:
    upstream.answers("", 304, ETag='"1"')
    got = proxy_with().client.get("/page", if_none_match='"1"')
    assert (got.status, got.one("content-security-policy")) == (304, None)


# Redirects


@pytest.mark.parametrize(
    "location",
    [
        "/app/sekret?access_token=sekret",
        "/app?next=/x/sekret&access_token=sekret",
        "/app?access_token=sekret#/route/sekret",
        "https://u:sekret@app.example.test/?access_token=sekret",
        "/app?state=1;access_token=sekret",
        "/app#/cb?a=1;access_token=sekret",
        "/app#/r?x=1#access_token=sekret",
        "/app?redirect=%2Fy%23access_token%3Dsekret",
        "/app?redirect=%252Fy%2523access_token%253Dsekret",
    ],
)
@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_a_redirect_whose_token_cannot_be_taken_out_is_refused(
    proxy_with: ProxyWith, upstream: Upstream, location: str, method: str
) -> None:
    proxy = proxy_with("cookie_auth_token=location:access_token").client
    upstream.answers("", 302, Location=location)
    got = proxy.request(method, "/login")
    assert got.status == 502
    assert "sekret" not in str(got)


def test_of_two_locations_none_is_followed(proxy_with: ProxyWith, upstream: Upstream) -> None:
    fields = [("Location", "/a?access_token=sekret"), ("Location", "/b")]
    upstream.respond = lambda request: answer("", 302, fields)
    got = proxy_with("cookie_auth_token=location:access_token").client.post("/login")
    assert (got.status, json.loads(got.body)["error"]) == (502, "login_unreadable")
    assert "sekret" not in str(got)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Refresh", "0; url=/app#access_token=sekret"),
        ("Link", "</x?access_token=sekret>; rel=next"),
    ],
)
def test_other_headers_that_lead_on_with_a_token_are_refused_too(
    proxy_with: ProxyWith, upstream: Upstream, name: str, value: str
) -> None:
    upstream.respond = lambda request: answer("{}", headers=[(name, value)])
    got = proxy_with("cookie_auth_login=/login").client.post("/login")
    assert (got.status, json.loads(got.body)["error"]) == (502, "token_not_found")
    assert "sekret" not in str(got)


# Renewal


def test_a_token_in_a_header_beside_a_renewal_keeps_the_refresh_token(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    def api(request: Message) -> bytes:
        tokens = {"authToken": jwt({"exp": time.time() + 3600}), "refreshToken": "r2"}
        if request.target == "/login":
            soon = jwt({"iat": time.time() - 3600, "exp": time.time() + 10})
            return answer(json.dumps({"authToken": soon, "refreshToken": "r1"}))
        if request.target == "/refresh":
            return answer(json.dumps(tokens))
        return answer("{}", X_Auth="rotated")

    upstream.respond = api
    options = ("cookie_auth_token=/authToken", "cookie_auth_token=header:X-Auth", RENEWING)
    page = Page(proxy_with(*options).client)
    page.post("/login")
    page.get("/me")
    assert page.cookies["auth-token"] == "rotated"
    assert page.cookies["auth-token-refresh"] == "r2"


def test_a_renewed_token_that_cannot_be_used_is_told_and_the_old_one_serves(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    mitmdump = start("--set", RENEWING)
    for unusable in ("a\\r\\nb", "t" * 40_000, "\\ud800"):
        soon = jwt({"iat": time.time() - 3600, "exp": time.time() + 10, "of": unusable[:3]})

        def api(request: Message, soon: str = soon, unusable: str = unusable) -> bytes:
            if request.target == "/login":
                return answer(json.dumps({"authToken": soon, "refreshToken": f"r{soon}"}))
            return answer(f'{{"authToken": "{unusable}"}}')

        upstream.respond = api
        page = Page(mitmdump.client)
        page.post("/login")
        assert page.get("/me").status == 200
        assert upstream.last.one("auth-token") == soon
        assert page.cookies["auth-token-refresh"]
    mitmdump.wait_for_log("a renewed token cannot be used: ")


def test_a_redacted_recording_of_a_repeated_request_has_no_token(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    def api(request: Message) -> bytes:
        if request.target == "/login":
            return answer('{"authToken": "sekret-1", "refreshToken": "sekret-r"}')
        if request.target == "/refresh":
            return answer('{"authToken": "sekret-2"}')
        if request.one("auth-token") == "sekret-1":
            return answer("{}", 401)
        return answer('{"you": "sekret-2"}', X_Auth="sekret-3")

    upstream.respond = api
    file = tmp_path / "flows"
    options = ("cookie_auth_redact=true", RENEWING, "cookie_auth_token=/authToken")
    more = ("cookie_auth_token=header:X-Auth",)
    settings = [part for option in (*options, *more) for part in ("--set", option)]
    mitmdump = start("-w", str(file), *settings)
    page = Page(mitmdump.client)
    page.post("/login")
    assert b"sekret-2" in page.get("/me").body
    assert page.cookies["auth-token"] == "sekret-3"
    mitmdump.stop()
    assert b"sekret" not in file.read_bytes()


# Framing


def test_no_answer_of_ours_to_a_head_request_has_a_body(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    upstream.answers('{"authToken": "t", "refreshToken": "r"}')
    down = f"cookie_auth_frontend=http://127.0.0.1:{free_port()}"
    options = ("cookie_auth_prefix=/api", down, RENEWING)
    port = start(*(part for option in options for part in ("--set", option))).client.port
    head = (
        "HEAD {} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n"
        "Cookie: auth-token=t; auth-token-refresh=r\r\n{}\r\n"
    )
    for target in ("/api/refresh", "/page"):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(head.format(target, "Connection: close\r\n").encode())
            got = b"".join(iter(lambda s=sock: s.recv(65536), b""))  # type: ignore[misc]
        assert got.startswith(b"HTTP/1.1 ")
        assert got.endswith(b"\r\n\r\n"), target


def test_a_refused_answer_that_streams_is_not_waited_for(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    sent = []

    def endless(request: Message) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Echo: sekret\r\n\r\n"
        for number in range(2000):
            sent.append(number)
            yield b"data: " + b"x" * 65536 + b"\n\n"
            time.sleep(0.01)

    upstream.respond = endless
    got = proxy_with("cookie_auth_leak=block").client.get("/events", cookie="auth-token=sekret")
    assert (got.status, json.loads(got.body)["error"]) == (502, "token_leak")
    assert len(sent) < 1000


def test_an_answer_in_a_coding_of_pythons_own_passes(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.answers("uryyb", Content_Encoding="rot13")
    got = proxy_with().client.get("/me", cookie="auth-token=sekret")
    assert (got.status, got.body) == (200, b"uryyb")


# Caches and cookies


def test_entity_tags_of_two_pages_with_credentials_of_their_own_differ_in_redacted_flows_too(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_redact=true").client
    upstream.answers("{}", ETag='"1"')
    tags = {proxy.get("/me", auth_token=token).one("etag") for token in ("alice", "bobby")}
    assert len(tags) == 2


def test_vary_by_a_header_that_is_named_like_origin_is_not_vary_by_origin() -> None:
    response = http.Response.make(200, b"", {"Vary": "X-Original-Host"})
    cors.answer_cors(response, None, varies=True)
    assert response.headers.get_all("vary") == ["X-Original-Host", "Origin"]


def test_a_host_cookie_keeps_the_path_that_browsers_demand(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_prefix=/api", "cookie_auth_forward_cookies=__Host-x").client
    upstream.answers("{}", Set_Cookie="__Host-x=1; Path=/; Secure")
    assert proxy.get("/api/me").all("set-cookie") == ["__Host-x=1; Path=/; Secure"]


def test_what_was_refused_tells_which_path_the_browser_asked_for(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.answers('{"authToken": "t"}')
    page = Page(proxy_with("cookie_auth_prefix=/api", "cookie_auth_base_path=/v1").client)
    jars = []
    for _ in range(2):
        page.jar.clear()
        page.post("/api/login")
        jars.append(dict(page.jar))
    for (name, _), value in jars[0].items():
        page.plant(name, value, "/api/me")
    got = page.get("/api/me")
    assert (got.status, json.loads(got.body)["error"]) == (400, "bad_request")
    assert not [name for name, path in page.jar if path == "/api/me"]
    assert page.get("/api/me").status == 200


# WebSockets, reloads


@pytest.fixture
def talker() -> Iterator[str]:
    """A WebSocket API that answers each message with the token."""

    def talk(connection: ServerConnection) -> None:
        assert connection.request
        for _ in connection:
            connection.send(f"you: {connection.request.headers['auth-token']}")

    with serve(talk, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()


SABOTAGE = """
from exchanges import leaks
def fail(*args):
    raise ValueError("sekret")
leaks.LeakAlarm.check_message = fail
"""


@pytest.mark.parametrize("how", ["sabotage", "syntax error"])
def test_no_websocket_message_passes_while_something_is_wrong(
    confdir: Path, tmp_path: Path, own_addon: Path, talker: str, how: str
) -> None:
    saboteur = tmp_path / "saboteur.py"
    saboteur.write_text(SABOTAGE if how == "sabotage" else "")
    options = ("--set", "cookie_auth_leak=block")
    scripts = (own_addon, saboteur)
    with running(Mitmdump(talker, *options, confdir=confdir, scripts=scripts)) as mitmdump:
        address = f"ws://localhost:{mitmdump.client.port}/socket"
        cookie = {"Cookie": "auth-token=sekret"}
        with connect(address, additional_headers=cookie) as client:
            if how == "syntax error":
                client.send("hello")
                assert client.recv(20) == "you: ******"
                edit(own_addon, "def broken(:\n")
                assert eventually(lambda: mitmdump.client.get("/logout").status == 503)
            client.send("hello")
            with pytest.raises(TimeoutError):
                client.recv(2)


def test_what_is_over_stays_over_when_the_script_is_reloaded(
    start: Callable[..., Mitmdump], upstream: Upstream, own_addon: Path
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def api(request: Message) -> bytes:
        if request.target == "/login?slow":
            asked.set()
            assert go_on.wait(30)
        return answer('{"authToken": "t"}')

    upstream.respond = api
    mitmdump = start(scripts=(own_addon,))
    page = Page(mitmdump.client)
    page.post("/login")
    other = Page(page.client, dict(page.jar))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.post, "/login?slow")
        assert asked.wait(20)
        edit(own_addon, own_addon.read_text() + "\n# edited\n")
        assert eventually(lambda: mitmdump.log.count("Loading script") > 1)
        assert eventually(lambda: page.post("/logout").status == 200)
        go_on.set()
        got = waiting.result(30)
    assert got.body == b'{"loggedIn": false}'
    assert not got.all("set-cookie")
