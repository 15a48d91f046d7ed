"""The Host rule and the origin rule: this table is their specification."""

import json
import re
from collections.abc import Callable

import pytest
from browser_client import log_in
from messages.answers import Refused
from mitmproxy import http
from origins import rules
from origins.origin import Origin
from support import Client, Headers, Message, Mitmdump, Upstream

ProxyWith = Callable[..., Mitmdump]

OWN = Origin("http", "localhost", 8080)
ALLOWED = frozenset([Origin("http", "localhost", 3000)])


@pytest.mark.parametrize(
    ("headers", "trusted"),
    [
        # What the browser says of itself decides.
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none, cross-site"}, False),
        ({"Sec-Fetch-Site": ""}, False),
        ({"Sec-Fetch-Site": "Same-Origin"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8080"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8080"}, True),
        # An allowed origin is as good as our own.
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "HTTP://LOCALHOST:3000"}, True),
        ({"Origin": "http://localhost:3000"}, True),
        ({"Origin": "http://localhost:3001"}, False),
        ({"Origin": "https://localhost:3000"}, False),
        # Clients that do not send Sec-Fetch-Site.
        ({}, True),
        ({"Origin": "http://localhost:8080"}, True),
        ({"Origin": "http://LOCALHOST:8080"}, True),
        ({"Origin": "https://localhost:8080"}, False),
        ({"Origin": "http://localhost"}, False),
        ({"Origin": "http://localhost:8080.evil.test"}, False),
        ({"Origin": "http://localhost:8080/"}, False),
        ({"Origin": "http://127.0.0.1:8080"}, False),
        ({"Origin": "http://evil.test"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "nonsense"}, False),
        ({"Origin": "http://localhost:8080, http://localhost:8080"}, False),
        # Without Origin, Referer says whose page asks.
        ({"Referer": "http://localhost:8080/page?x=1"}, True),
        ({"Referer": "http://LOCALHOST:8080"}, True),
        ({"Referer": "http://localhost:8080/", "User-Agent": "Mozilla/5.0"}, True),
        ({"Referer": "http://localhost:3999/"}, False),
        ({"Referer": "https://localhost:8080/"}, False),
        ({"Referer": "http://localhost:8080.evil.test/"}, False),
        ({"Referer": "http://localhost:8080@evil.test/"}, False),
        ({"Referer": "http://localhost:3000/"}, False),  # an allowed one says so by Origin
        ({"Referer": "about:client"}, False),
        ({"Referer": ""}, False),
        ({"Origin": "http://localhost:8080", "Referer": "http://evil.test/"}, True),
        ({"Origin": "http://evil.test", "Referer": "http://localhost:8080/"}, False),
        ({"Sec-Fetch-Site": "same-site", "Referer": "http://localhost:8080/"}, False),
        # A browser that says none of these may be asking for anybody's page.
        ({"User-Agent": "Mozilla/5.0 (Macintosh) Safari/605.1.15"}, False),
        ({"User-Agent": "mozilla/4.0"}, False),
        ({"Accept-Language": "de"}, False),
        ({"Accept-Language": "*, de"}, False),
        ({"Sec-Fetch-Dest": "image"}, False),
        ({"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "same-origin"}, True),
        ({"User-Agent": "Mozilla/5.0", "Origin": "http://localhost:8080"}, True),
        # What is no browser is nobody's page.
        ({"User-Agent": "curl/8.5.0", "Accept": "*/*"}, True),
        ({"Accept-Language": "*", "Sec-Fetch-Mode": "cors", "User-Agent": "node"}, True),
    ],
)
def test_who_is_trusted(headers: dict[str, str], trusted: bool) -> None:
    fields = http.Headers([(name.encode(), value.encode()) for name, value in headers.items()])
    assert rules.judge(fields, OWN, ALLOWED).trusted is trusted


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        (["localhost"], "localhost"),
        (["localhost:8080"], "localhost"),
        (["LocalHost:8080"], "localhost"),
        (["shop.localhost:8080"], "shop.localhost"),
        (["127.0.0.1:8080"], "127.0.0.1"),
        (["192.168.0.7"], "192.168.0.7"),
        (["[::1]:8080"], "[::1]"),
        (["shop.test"], "shop.test"),
        (["a.example.test"], "a.example.test"),
        (["example.test"], None),
        (["badexample.test"], None),
        (["evil.test"], None),
        (["localhost.evil.test"], None),
        (["evillocalhost"], None),
        (["127.0.0.1.evil.test"], None),
        (["shop.test.evil.test"], None),
        (["[::1].evil.test"], None),
        ([], None),
        ([""], None),
        (["localhost", "evil.test"], None),
        (["localhost, evil.test"], None),
        (["evil.test@localhost"], None),
        (["localhost:x"], None),
        (["localhost:99999"], None),
        (["localhost:0"], None),
        (["local host"], None),
        (["localhost/"], None),
        (["[::1"], None),
        (["[zz]"], None),
        (["\udcff"], None),
    ],
)
def test_which_hosts_are_accepted(hosts: list[str], host: str | None) -> None:
    fields = [(b"Host", text.encode("utf-8", "surrogateescape")) for text in hosts]
    request = http.Request.make("GET", "http://upstream/", headers=http.Headers(fields))
    request.headers = http.Headers(fields)
    allowed = ("shop.test", ".example.test")
    if host is None:
        with pytest.raises(Refused) as caught:
            rules.own_origin(request, tls=False, allowed_hosts=allowed)
        assert caught.value.code == "host_not_allowed"
    else:
        assert rules.own_origin(request, tls=False, allowed_hosts=allowed).host == host


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://localhost", Origin("http", "localhost", 80)),
        ("https://API.example.com", Origin("https", "api.example.com", 443)),
        ("http://[::1]:3000", Origin("http", "[::1]", 3000)),
        ("null", None),
        ("ftp://localhost", None),
        ("http://localhost/", None),
        ("http://", None),
        ("localhost:3000", None),
    ],
)
def test_origins_are_read(text: str, origin: Origin | None) -> None:
    if origin is None:
        with pytest.raises(ValueError, match="origin"):
            Origin.parse(text)
    else:
        assert Origin.parse(text) == origin
        assert Origin.parse(str(origin)) == origin


EVIL: list[tuple[str, str]] = [
    ("Origin", "http://localhost:3999"),
    ("Sec-Fetch-Site", "same-site"),
    ("Cookie", "auth-token=sekret; a=b"),
]
UPGRADE: list[tuple[str, str]] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


@pytest.mark.parametrize(
    ("method", "target", "more"),
    [
        ("POST", "/me", []),
        ("PUT", "/me", []),
        ("DELETE", "/me", []),
        ("PROPFIND", "/me", []),
        ("GET", "/socket", UPGRADE),
        ("POST", "/login", []),
        ("GET", "/login", []),
        ("GET", "/%6cogin", []),
        ("GET", "/logout", []),
        ("HEAD", "/logout", []),
        ("OPTIONS", "/logout", []),
        ("POST", "/logout", []),
    ],
)
def test_a_foreign_page_changes_nothing(
    proxy: Client, upstream: Upstream, method: str, target: str, more: Headers
) -> None:
    got = proxy.request(method, target, EVIL + more)
    assert got.status == 403
    assert method == "HEAD" or json.loads(got.body)["error"] == "cross_origin"
    assert got.set_cookie is None
    assert not upstream.received


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_foreign_page_gets_only_what_anybody_gets(
    proxy: Client, upstream: Upstream, method: str
) -> None:
    upstream.respond = lambda request: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n"
        b"Access-Control-Allow-Origin: *\r\naccess-control-allow-credentials: true\r\n\r\n"
    )
    got = proxy.request(method, "/me", EVIL)
    assert got.status == 200
    assert upstream.last.one("auth-token") is upstream.last.one("cookie") is None
    assert upstream.last.one("origin") == "http://localhost:3999"
    assert got.set_cookie is None
    assert got.one("access-control-allow-origin") is None
    assert got.one("access-control-allow-credentials") is None


@pytest.mark.parametrize("host", ["evil.test", "evil.test:8080", ""])
def test_a_foreign_host_is_refused(proxy: Client, upstream: Upstream, host: str) -> None:
    for target in ("/me", "/logout", "/login"):
        raw = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        assert b"403" in proxy.raw(raw.encode()).split(b"\r\n")[0]
    assert not upstream.received


@pytest.mark.parametrize(
    "head",
    [
        b"GET /me HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /me HTTP/1.0\r\n\r\n",
        b"GET /me HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\nConnection: close\r\n\r\n",
        b"GET /me HTTP/1.1\r\nHost: \xff\xfe\r\nConnection: close\r\n\r\n",
    ],
)
def test_a_missing_doubled_or_malformed_host_is_refused(
    proxy: Client, upstream: Upstream, head: bytes
) -> None:
    assert proxy.raw(head).split(b" ")[1] in (b"400", b"403")
    assert not upstream.received


def test_a_browser_that_says_nothing_gets_what_anybody_gets(
    proxy: Client, upstream: Upstream
) -> None:
    cookie = log_in(proxy, upstream)
    silent = [("User-Agent", "Mozilla/5.0"), ("Cookie", cookie)]
    assert proxy.get("/me", silent).status == 200
    assert upstream.last.one("auth-token") is upstream.last.one("cookie") is None
    assert proxy.get("/logout", silent).status == 403
    assert proxy.get("/me", silent, referer=f"http://localhost:{proxy.port}/").status == 200
    assert upstream.last.one("auth-token") == "sekret"


def test_two_origins_are_none_of_ours(proxy: Client, upstream: Upstream) -> None:
    own = f"http://localhost:{proxy.port}"
    got = proxy.post("/me", [("Origin", own), ("Origin", "http://evil.test")])
    assert got.status == 403
    assert not upstream.received


def test_the_proxys_own_origin_becomes_the_apis(proxy: Client, upstream: Upstream) -> None:
    own = f"http://localhost:{proxy.port}"
    proxy.post("/me", [("Origin", own), ("Referer", f"{own}/page?x=1")])
    assert upstream.last.one("origin") == upstream.url
    assert upstream.last.one("referer") == f"{upstream.url}/page?x=1"
    proxy.get("/me", [("Origin", "http://evil.test"), ("Referer", f"{own}.evil.test/")])
    assert upstream.last.one("origin") == "http://evil.test"
    assert upstream.last.one("referer") == f"{own}.evil.test/"


def test_an_allowed_origin_may_act_and_read(proxy_with: ProxyWith, upstream: Upstream) -> None:
    origin = "http://localhost:3999"
    options = f"cookie_auth_allowed_origins={origin}", "cookie_auth_login=/login"
    proxy = proxy_with(*options).client
    upstream.respond = lambda request: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVary: Accept\r\n"
        b"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Total\r\n\r\n{}"
    )

    ours = [*EVIL[:2], ("Cookie", log_in(proxy, upstream))]

    def assert_readable(got_headers: Headers) -> None:
        fields = dict(got_headers)
        assert fields["access-control-allow-origin"] == origin
        assert fields["access-control-allow-credentials"] == "true"
        assert "Origin" in str([value for name, value in got_headers if name == "vary"])

    got = proxy.post("/me", ours)
    assert_readable(got.headers)
    assert got.one("access-control-expose-headers") == "X-Total"
    assert got.all("vary") == ["Accept", "Origin"]
    assert upstream.last.one("auth-token") == "sekret"

    two_logins = [*ours, ("Cookie", log_in(proxy, upstream))]
    for target, headers, status in (("/me", two_logins, 400), ("/logout", ours, 200)):
        got = proxy.post(target, headers)
        assert got.status == status
        assert_readable(got.headers)
    upstream.answers('{"token": "x"}')
    got = proxy.post("/login", ours)
    assert got.status == 502
    assert_readable(got.headers)
    upstream.answers('{"authToken": "x"}')
    got = proxy.post("/login", ours)
    assert got.set_cookie
    assert_readable(got.headers)

    # Nobody else may, and caches must know that it depends on who asks.
    upstream.answers("{}")
    got = proxy.get("/me", [("Origin", "http://localhost:4000")])
    assert got.one("access-control-allow-origin") is None
    varies = {name for field in got.all("vary") for name in field.split(", ")}
    assert varies == {"Origin", "Cookie", "Sec-Fetch-Site", "Sec-Fetch-Dest", "Referer"}


def test_the_preflight_of_an_allowed_origin_is_answered_here(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    origin = "http://localhost:3999"
    proxy = proxy_with(f"cookie_auth_allowed_origins={origin}").client
    asked = [
        ("Access-Control-Request-Method", "PATCH"),
        ("Access-Control-Request-Headers", "content-type, x-a"),
    ]
    for target in ("/me", "/login", "/logout"):
        got = proxy.request("OPTIONS", target, [("Origin", origin), *asked])
        assert (got.status, got.body) == (204, b"")
        assert got.one("access-control-allow-origin") == origin
        assert got.one("access-control-allow-credentials") == "true"
        assert got.one("access-control-allow-methods") == "PATCH"
        assert got.one("access-control-allow-headers") == "content-type, x-a"
        assert got.one("vary") == "Origin"
        assert got.one("access-control-allow-private-network") is None
    # A public page that reaches for a loopback address asks that, too (Private Network Access).
    asked.append(("Access-Control-Request-Private-Network", "true"))
    got = proxy.request("OPTIONS", "/me", [("Origin", origin), *asked])
    assert got.one("access-control-allow-private-network") == "true"
    assert not upstream.received
    got = proxy.request("OPTIONS", "/me", [("Origin", "http://evil.test"), *asked])
    assert got.one("access-control-allow-origin") is None
    assert got.one("access-control-allow-private-network") is None
    assert upstream.received


@pytest.mark.parametrize(
    ("origin", "allowed", "near"),
    [
        ("http://localhost:5174", ["http://localhost:5173"], True),
        ("http://127.0.0.1:5173", ["http://localhost:5173"], True),
        ("http://[::1]:5173", ["https://shop.test"], True),
        ("http://app.localhost", ["https://shop.test"], True),
        ("http://shop.test", ["https://shop.test"], True),
        ("https://shop.test:8443", ["https://shop.test"], True),
        ("https://evil.test", ["https://shop.test"], False),
        ("https://evil.shop.test", ["https://shop.test"], False),
        ("https://localhost.evil.test", ["http://localhost:5173"], False),
        ("http://localhost:5174", [], False),
        ("null", ["http://localhost:5173"], False),
        ("", ["http://localhost:5173"], False),
        ("http://localhost:1, http://localhost:2", ["http://localhost:5173"], False),
    ],
)
def test_who_was_likely_meant_to_be_allowed(origin: str, allowed: list[str], *, near: bool) -> None:
    origins = frozenset(map(Origin.parse, allowed))
    headers = http.Headers(origin=origin)
    assert rules.told_why(headers, origins) == (origin if near else None)


def test_the_page_of_an_origin_that_is_almost_allowed_reads_why_it_is_refused(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_allowed_origins=http://localhost:3998").client
    mine = log_in(proxy, upstream)
    for method, target in (("POST", "/me"), ("POST", "/login"), ("GET", "/logout")):
        got = proxy.request(method, target, [*EVIL[:2], ("Cookie", mine)])
        assert got.status == 403
        assert "cookie_auth_allowed_origins=http://localhost:3999" in got.body.decode()
        assert got.one("access-control-allow-origin") == "http://localhost:3999"
        assert got.one("access-control-allow-credentials") == "true"
        assert got.one("cache-control") == "no-store"
        assert got.one("vary") == "Origin"
        assert not got.all("set-cookie")
    assert not upstream.received
    # Nothing but the refusal, and no page from elsewhere learns of it.
    assert proxy.get("/me", EVIL).one("access-control-allow-origin") is None
    evil = [("Origin", "http://evil.test"), ("Sec-Fetch-Site", "cross-site")]
    got = proxy.post("/me", evil)
    assert got.status == 403
    assert got.one("access-control-allow-origin") is None


def test_its_preflight_lets_it_ask_for_what_is_refused_and_for_nothing_else(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_allowed_origins=http://localhost:3998").client
    asked = [
        ("Access-Control-Request-Headers", "content-type"),
        ("Access-Control-Request-Private-Network", "true"),
    ]

    def preflight(method: str, origin: str = "http://localhost:3999") -> Message:
        fields = [("Origin", origin), ("Access-Control-Request-Method", method), *asked]
        return proxy.request("OPTIONS", "/me", fields)

    for method in ("POST", "PUT", "DELETE", "patch"):
        got = preflight(method)
        assert (got.status, got.one("access-control-max-age")) == (204, "0")
        assert got.one("access-control-allow-origin") == "http://localhost:3999"
        assert got.one("access-control-allow-methods") == method
        assert got.one("access-control-allow-private-network") is None
        assert proxy.request(method, "/me", EVIL).status == 403
    assert not upstream.received
    others = [preflight(method) for method in ("GET", "HEAD", "get")]
    for got in (*others, preflight("POST", "http://evil.test")):
        assert got.one("access-control-allow-origin") is None
    assert len(upstream.received) == 4


def test_the_log_says_once_which_option_would_allow_a_page(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    proxy = start()
    for port in (3999, 4000, 3999):
        for method in ("GET", "POST"):
            origin = f"http://localhost:{port}"
            proxy.client.request(method, "/me", [("Origin", origin), EVIL[1]])
    proxy.client.post("/me", [("Origin", "null")])
    proxy.stop()
    for port in (3999, 4000):
        said = f"a page of http://localhost:{port} asks for the API .*"
        said += f"--set cookie_auth_allowed_origins=http://localhost:{port}"
        assert len(re.findall(said, proxy.log)) == 1
    assert "a page of null" not in proxy.log


def test_an_allowed_host_is_served(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with("cookie_auth_allowed_hosts=.shop.test").client
    head = b"GET /me HTTP/1.1\r\nHost: eu.shop.test\r\nConnection: close\r\n\r\n"
    assert proxy.raw(head).startswith(b"HTTP/1.1 200")
    assert upstream.last.one("host") == f"127.0.0.1:{upstream.port}"
