"""The contract's answers and laws, against a real mitmdump and an upstream that records."""

import gzip
import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Client, Message, Mitmdump, Upstream, answer, free_port, running

ProxyWith = Callable[..., Mitmdump]

EXPIRED = (
    "auth-token=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
)
PARTITIONED_EXPIRED = EXPIRED.replace("Lax;", "None; Secure; Partitioned;")
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "get"]


def assert_refused(got: Message, status: int, code: str) -> None:
    assert got.status == status
    assert got.one("content-type") == "application/json"
    assert got.one("cache-control") == "no-store"
    payload = json.loads(got.body)
    assert list(payload) == ["error", "message"]
    assert payload["error"] == code
    assert payload["message"]


# Login


def test_a_captured_login_answers_logged_in_and_sets_the_cookie(
    proxy: Client, upstream: Upstream
) -> None:
    upstream.answers('{"authToken": "sekret", "user": "x"}', status=201, X_Request_Id="7")
    got = proxy.post("/login", body='{"password": "p"}')
    assert got.status == 201
    assert got.body == b'{"loggedIn": true}'
    assert got.one("content-type") == "application/json"
    assert got.one("content-length") == "18"
    assert got.one("cache-control") == "no-store"
    assert got.set_cookie == "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax"
    assert got.one("x-request-id") == "7"
    assert upstream.last.body == b'{"password": "p"}'


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "login"])
def test_a_login_may_come_with_any_method(proxy: Client, upstream: Upstream, method: str) -> None:
    upstream.answers('{"authToken": "sekret"}')
    got = proxy.request(method, "/login")
    assert got.set_cookie == "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax"


def test_options_decide_on_cookie_and_header(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with(
        "cookie_auth_cookie=sid",
        "cookie_auth_header=Authorization",
        "cookie_auth_header_format=Bearer {token}",
        "cookie_auth_login=/session",
        "cookie_auth_login=/users",
        "cookie_auth_token=data.x",
        "cookie_auth_token=/data/token",
        "cookie_auth_login_body=redact",
        "cookie_auth_samesite=strict",
        "cookie_auth_secure=always",
        "cookie_auth_max_age=60",
        "cookie_auth_logout=/session/end",
        "cookie_auth_logout_redirect=/bye",
    ).client
    upstream.answers('{"data": {"token": "sekret", "id": 7}}')
    for path in ("/session", "/users"):
        got = proxy.post(path)
        assert json.loads(got.body) == {"data": {"id": 7}}
        assert got.set_cookie == (
            "sid=sekret; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=60"
        )
    proxy.get("/me", cookie="sid=sekret")
    assert upstream.last.one("authorization") == "Bearer sekret"
    got = proxy.get("/session/end", accept="text/html")
    assert got.one("location") == "/bye"
    assert got.set_cookie == (
        "sid=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0;"
        " Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    )


@pytest.mark.parametrize("status", [400, 401, 403, 302, 500])
def test_a_login_that_the_api_refuses_passes_unchanged(
    proxy: Client, upstream: Upstream, status: int
) -> None:
    upstream.answers('{"error": "Invalid credentials"}', status=status, ETag='"1"')
    got = proxy.post("/login", cookie="auth-token=old")
    assert got.status == status
    assert got.body == b'{"error": "Invalid credentials"}'
    assert got.one("etag") == '"1"'
    assert got.set_cookie is None


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        ('{"authToken": "sekret"}', {}, 401, "login_unreadable"),
        ("<html>eyJhbGciOiJIUzI1NiJ9.eyJhIjoic2VrcmV0In0.sekret", {}, 200, "login_unreadable"),
        ('{"authToken": 7, "x": "sekret"}', {}, 200, "login_unreadable"),
        ('{"authToken": "sekret", "authToken": "x"}', {}, 200, "login_unreadable"),
        ('{"authToken": "sek\\r\\nret"}', {}, 200, "login_unreadable"),
        ('{"authToken": "sekret\\ud800"}', {}, 200, "login_unreadable"),
        ('{"authToken": "' + "sekret" * 5462 + '"}', {}, 200, "login_unreadable"),
        ("sekret", {"Content_Encoding": "unheard-of"}, 200, "login_unreadable"),
        ("sekret", {"Content_Encoding": "br"}, 200, "login_unreadable"),
        ("[" * 100_000 + "sekret", {}, 200, "login_unreadable"),
        ('{"token": "sekret"}', {}, 200, "token_not_found"),
        ("{}", {"X_Access_Token": "sekret"}, 200, "token_not_found"),
    ],
)
def test_a_login_answer_that_may_leak_is_refused_with_nothing_of_it(
    proxy_with: ProxyWith,
    upstream: Upstream,
    body: str,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    upstream.answers(body, status, X_Secret="sekret", Set_Cookie="t=sekret", **headers)
    got = proxy_with("cookie_auth_login=/login").client.post("/login")
    assert_refused(got, 502, code)
    assert "sekret" not in str(got)
    assert got.set_cookie is None


def test_a_cookie_of_exactly_the_size_that_browsers_keep_is_set(
    proxy: Client, upstream: Upstream
) -> None:
    token = "s" * (4096 - len("auth-token"))
    upstream.answers(json.dumps({"authToken": token}))
    assert proxy.post("/login").set_cookie == (
        f"auth-token={token}; Path=/; HttpOnly; SameSite=Lax"
    )


def test_a_login_answer_without_a_token_passes(proxy: Client, upstream: Upstream) -> None:
    upstream.answers('{"secondFactor": true}')
    got = proxy.post("/login")
    assert (got.status, got.body) == (200, b'{"secondFactor": true}')


def test_a_chunked_and_compressed_login_answer_is_captured(
    proxy: Client, upstream: Upstream
) -> None:
    body = gzip.compress(b'{"authToken": "sekret"}')
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    upstream.answers(chunks, Transfer_Encoding="chunked", Content_Encoding="gzip")
    got = proxy.post("/login")
    assert got.body == b'{"loggedIn": true}'
    assert got.one("content-length") == "18"
    assert got.one("transfer-encoding") is got.one("content-encoding") is None


def test_a_token_that_the_answer_repeats_is_taken_out_everywhere(
    proxy: Client, upstream: Upstream
) -> None:
    upstream.answers(
        '{"authToken": "sek;ret"}',
        Set_Cookie="session=sek%3Bret; Path=/",
        Authorization="Bearer sek;ret",
        Location="/welcome?token=sek%3Bret",
    )
    got = proxy.post("/login")
    assert got.set_cookies == ["auth-token=sek%3Bret; Path=/; HttpOnly; SameSite=Lax"]
    assert got.one("authorization") is got.one("location") is None


def test_a_login_request_carries_no_token_even_with_a_good_cookie(
    proxy: Client, upstream: Upstream
) -> None:
    for method in ("POST", "OPTIONS"):
        proxy.request(method, "/login", cookie="auth-token=old; a=b", body="{}")
        assert upstream.last.one("auth-token") is None
        assert upstream.last.one("cookie") is None
    proxy.post("/login", cookie="auth-token=old", content_type="application/json")
    assert upstream.last.one("auth-token") is None
    proxy.post("/login", cookie="auth-token=1; auth-token=2", content_type="application/json")
    assert upstream.last.one("auth-token") is None
    assert len(upstream.received) == 4


def test_on_a_graphql_endpoint_only_the_login_goes_without_the_token(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_login=/graphql", "cookie_auth_token=/data/login/token").client

    def send(query: str) -> Message:
        return proxy.post(
            "/graphql",
            body=json.dumps({"query": query}),
            content_type="application/json",
            cookie="auth-token=sekret",
        )

    upstream.answers('{"data": {"me": {"name": "x"}}}')
    got = send("{ me { name } }")
    assert upstream.last.one("auth-token") == "sekret"
    assert got.body == b'{"data": {"me": {"name": "x"}}}'
    upstream.answers('{"data": {"login": {"token": "new"}}}')
    got = send("mutation { login { token } }")
    assert upstream.last.one("auth-token") is None
    assert got.set_cookie == "auth-token=new; Path=/; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize(
    "target",
    ["//login", "/x/../login", "/%6cogin", "/LOGIN/", "/login;a=b", "/login?x=/y", "/.//login%2F"],
)
def test_every_spelling_of_a_login_path_is_a_login_and_goes_upstream_as_it_came(
    proxy: Client, upstream: Upstream, target: str
) -> None:
    upstream.answers('{"authToken": "sekret"}')
    got = proxy.post(target, cookie="auth-token=old")
    assert got.body == b'{"loggedIn": true}'
    assert upstream.last.target == target
    assert upstream.last.one("auth-token") is None


# Every request


@pytest.mark.parametrize("method", METHODS)
def test_the_cookie_becomes_the_header_and_no_cookie_goes_to_the_api(
    proxy: Client, upstream: Upstream, method: str
) -> None:
    cookies = [("Cookie", 'a="x; auth-token=sek%3Bret; theme=dark'), ("cookie", "_ga=1")]
    got = proxy.request(method, "/me?q=%20", cookies)
    assert got.status == 200
    assert upstream.last.start == (method, "/me?q=%20")
    assert upstream.last.one("auth-token") == "sek;ret"
    assert upstream.last.one("cookie") is None


def test_an_anonymous_request_carries_neither_cookie_nor_header(
    proxy: Client, upstream: Upstream
) -> None:
    proxy.get("/news", cookie="_ga=1; theme=dark; Auth-Token=not-ours; auth-token=")
    assert upstream.last.one("cookie") is None
    assert upstream.last.one("auth-token") is None


def test_a_token_comes_back_byte_for_byte(proxy: Client, upstream: Upstream) -> None:
    for token in ('a b\t;,"\\=%41%', "é€😀", "x; Domain=evil", "%"):
        upstream.answers(json.dumps({"authToken": token}))
        cookie = proxy.post("/login").set_cookie
        assert cookie is not None
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax")
        assert cookie.count(";") == 3
        proxy.get("/me", cookie=cookie.partition(";")[0])
        assert upstream.last.one("auth-token") == token


@pytest.mark.parametrize(
    ("sent", "cookie", "arrives"),
    [
        ([("auth-token", "own")], None, ["own"]),
        ([("AUTH-TOKEN", "own")], "theme=dark", ["own"]),
        ([("auth-token", "own"), ("Auth-Token", "second")], None, ["own"]),
        ([("auth-token", "own")], "auth-token=sekret", ["sekret"]),
        ([("auth-token", "own"), ("auth-token", "own2")], "auth-token=sekret", ["sekret"]),
    ],
)
def test_a_header_that_the_browser_sends_passes_only_without_a_cookie(
    proxy: Client,
    upstream: Upstream,
    sent: list[tuple[str, str]],
    cookie: str | None,
    arrives: list[str],
) -> None:
    proxy.get("/me", sent + ([("Cookie", cookie)] if cookie else []))
    assert upstream.last.all("auth-token") == arrives


@pytest.mark.parametrize("cookie", ["a=b", "auth-token=sekret"])
def test_underscore_variants_of_the_header_never_pass(
    proxy: Client, upstream: Upstream, cookie: str
) -> None:
    proxy.get("/me", [("auth_token", "x"), ("AUTH_TOKEN", "y")], cookie=cookie)
    assert upstream.last.one("auth_token") is None


@pytest.mark.parametrize(
    "cookie",
    ["auth-token=a; auth-token=b", "auth-token=a%0d%0aX-Evil:%201", "auth-token=%00"],
)
def test_a_cookie_that_cannot_be_trusted_is_a_bad_request(
    proxy: Client, upstream: Upstream, cookie: str
) -> None:
    assert_refused(proxy.get("/me", cookie=cookie), 400, "bad_request")
    assert not upstream.received


@pytest.mark.parametrize("size", [0, 100_000])
def test_an_upload_goes_without_cookies_and_with_the_token(
    proxy: Client, upstream: Upstream, size: int
) -> None:
    body = b"x" * size
    proxy.post("/files", body=body, cookie="auth-token=sekret; a=b")
    proxy.request(
        "PUT",
        "/files",
        body=body,
        cookie="auth-token=sekret; a=b",
        transfer_encoding="chunked",
    )
    for request in upstream.received:
        assert request.body == body
        assert request.one("auth-token") == "sekret"
        assert request.one("cookie") is None
    assert len(upstream.received) == 2


def test_an_upgrade_goes_without_cookies_and_with_the_token(
    proxy: Client, upstream: Upstream
) -> None:
    upstream.answers("no", status=400)
    proxy.get(
        "/socket",
        cookie="auth-token=sekret; a=b",
        connection="Upgrade",
        upgrade="websocket",
        sec_websocket_version="13",
        sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
    )
    assert upstream.last.one("upgrade") == "websocket"
    assert upstream.last.one("auth-token") == "sekret"
    assert upstream.last.one("cookie") is None


def test_the_apis_cookies_are_dropped_and_its_answer_passes(
    proxy: Client, upstream: Upstream
) -> None:
    upstream.respond = lambda request: answer(
        '{"token": "of another kind"}',
        headers=[("Set-Cookie", "a=b"), ("set-cookie", "auth-token=evil"), ("ETag", '"1"')],
    )
    got = proxy.get("/me", cookie="auth-token=sekret")
    assert got.body == b'{"token": "of another kind"}'
    assert re.fullmatch(r'"~[\w-]{8}~1"', got.one("etag") or "")  # see test_validators.py
    assert got.set_cookie is None


@pytest.mark.parametrize(
    "line",
    ["GET http://evil.example/me HTTP/1.1", "GET https://evil.example:1/me HTTP/1.1"],
)
def test_the_destination_is_fixed(proxy: Client, upstream: Upstream, line: str) -> None:
    head = f"{line}\r\nHost: localhost\r\nCookie: auth-token=sekret\r\nConnection: close\r\n\r\n"
    assert proxy.raw(head.encode()).startswith(b"HTTP/1.1 200")
    assert upstream.last.target == "/me"
    assert upstream.last.one("host") == f"127.0.0.1:{upstream.port}"
    assert upstream.last.one("auth-token") == "sekret"


def test_nothing_is_logged_that_holds_a_token(proxy_with: ProxyWith, upstream: Upstream) -> None:
    mitmdump = proxy_with("cookie_auth_login=/login")
    upstream.answers('{"token": "sekret-in-body"}')
    mitmdump.client.post("/login")
    mitmdump.client.get("/me", cookie="auth-token=sekret-1; auth-token=sekret-2")
    mitmdump.wait_for_log("GET /me refused: bad_request")
    assert "POST /login refused: token_not_found" in mitmdump.log
    assert "sekret" not in mitmdump.log


@pytest.mark.parametrize(
    "field",
    [
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Content-Length: -1",
        "Content-Length: 1\r\nb@d: x",
    ],
)
def test_a_malformed_request_is_refused_and_no_bug_of_ours(
    proxy_with: ProxyWith, upstream: Upstream, field: str
) -> None:
    mitmdump = proxy_with()
    head = f"POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{field}\r\n\r\nx"
    assert mitmdump.client.raw(head.encode()).startswith(b"HTTP/1.1 400 ")
    assert not upstream.received
    assert "internal" not in mitmdump.log


# Logout


@pytest.mark.parametrize("method", [*METHODS, "HEAD"])
def test_logout_is_answered_here_for_any_method(
    proxy: Client, upstream: Upstream, method: str
) -> None:
    got = proxy.request(method, "/logout", cookie="auth-token=sekret")
    assert got.status == 200
    assert got.body == (b"" if method == "HEAD" else b'{"loggedIn": false}')
    assert got.one("content-type") == "application/json"
    assert got.one("cache-control") == "no-store"
    assert got.set_cookie == EXPIRED
    assert not upstream.received


@pytest.mark.parametrize(
    "header", [("Sec-Fetch-Mode", "navigate"), ("Accept", "text/html,*/*;q=0.8")]
)
def test_a_navigation_to_the_logout_path_is_redirected(
    proxy: Client, header: tuple[str, str]
) -> None:
    got = proxy.get("/logout/?x", [header])
    assert (got.status, got.body) == (303, b"")
    assert got.one("location") == "/"
    assert got.set_cookie == EXPIRED


def test_logout_works_without_a_cookie_and_with_a_bad_one(proxy: Client) -> None:
    for cookie in ("a=b", "auth-token=%00"):
        assert proxy.post("/logout", cookie=cookie).set_cookie == EXPIRED


@pytest.mark.parametrize("target", ["/logout", "//LOGOUT/?x"])
def test_a_logout_deletes_a_doubtful_cookie_wherever_it_may_stand(
    proxy: Client, target: str
) -> None:
    got = proxy.post(target, cookie="auth-token=1; auth-token=2")
    path = target.strip("/").partition("/")[0]
    places = [f"Path={place};" for place in ("/", f"/{path}", f"/{path}/")]
    assert got.set_cookies == [
        *(PARTITIONED_EXPIRED.replace("Path=/;", place) for place in places),
        *(EXPIRED.replace("Path=/;", place) for place in places),
    ]


def test_a_login_leaves_no_doubtful_cookie_in_its_way(proxy: Client, upstream: Upstream) -> None:
    upstream.answers('{"authToken": "sekret"}')
    got = proxy.post("/login", cookie="auth-token=1; auth-token=2; auth-token.0=3; auth-token.1=4")
    # Before that which is set: a browser that knows no partitions takes one for the other.
    first = [field for field in got.set_cookies if "; Partitioned;" in field]
    assert first == got.set_cookies[:3]
    assert first[0] == PARTITIONED_EXPIRED
    assert got.set_cookies[3:] == [
        "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax",
        EXPIRED.replace("Path=/;", "Path=/login;"),
        EXPIRED.replace("Path=/;", "Path=/login/;"),
        EXPIRED.replace("auth-token", "auth-token.0"),
        EXPIRED.replace("auth-token", "auth-token.1"),
    ]
    (companion,) = got.companions
    assert re.fullmatch(
        r"auth-token-login=2\.[\w-]{12}\.l\.\.[\w-]{32}; Path=/; HttpOnly; SameSite=Lax", companion
    )


def test_a_head_answer_keeps_the_connection_usable(proxy: Client) -> None:
    head = b"HEAD /logout HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /logout HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    got = proxy.raw(head + last)
    first, _, second = got.partition(b"\r\n\r\n")
    assert b"content-length: 19" in first
    assert second.startswith(b"HTTP/1.1 200 OK")
    assert second.endswith(b'{"loggedIn": false}')


# Prefix and base path


def test_the_prefix_is_taken_off_and_the_base_path_put_on(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_prefix=/api", "cookie_auth_base_path=/v1").client
    upstream.answers('{"authToken": "sekret"}')
    assert proxy.post("/api/login").body == b'{"loggedIn": true}'
    assert upstream.last.target == "/v1/login"
    assert proxy.post("/api/logout").body == b'{"loggedIn": false}'
    for sent, arrives in [
        ("/api/a//b/../%2f;c?d=/api&e=%20", "/v1/a//b/../%2f;c?d=/api&e=%20"),
        ("/api", "/v1"),
        ("/api/", "/v1/"),
        ("/api?x", "/v1?x"),
    ]:
        proxy.get(sent, cookie="auth-token=sekret")
        assert upstream.last.target == arrives
        assert upstream.last.one("auth-token") == "sekret"


def test_a_path_that_climbs_back_to_the_login_is_a_login(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_prefix=/api", "cookie_auth_base_path=/v1").client
    upstream.answers('{"authToken": "sekret"}')
    assert proxy.post("/api/..%2fv1/login").body == b'{"loggedIn": true}'


@pytest.mark.parametrize("target", ["/", "/login", "/logout", "/apix", "/API/login", "/%61pi/x"])
def test_what_is_outside_the_prefix_is_not_found(
    proxy_with: ProxyWith, upstream: Upstream, target: str
) -> None:
    proxy = proxy_with("cookie_auth_prefix=/api").client
    got = proxy.get(target, cookie="auth-token=sekret")
    assert_refused(got, 404, "outside_prefix")
    assert not upstream.received


# The API is down


def test_logout_works_with_the_api_down(confdir: Path) -> None:
    mitmdump = Mitmdump(f"http://127.0.0.1:{free_port()}", confdir=confdir)
    with running(mitmdump):
        assert mitmdump.client.post("/logout").set_cookie == EXPIRED
        assert mitmdump.client.get("/me").status == 502


def test_a_silent_client_is_no_obstacle_to_others(proxy: Client) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as silent:
        silent.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
        time.sleep(0.1)
        assert proxy.get("/me").status == 200
