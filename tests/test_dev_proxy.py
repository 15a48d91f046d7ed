"""What people expect of a dev proxy, each behaviour as public dev proxies' own suites prove it.

Covered, by the name it has there (hpm: http-proxy-middleware `test/e2e`, httpxy: httpxy `test/`):

- hpm "should have proxied the uri-path and uri-query, but not the uri-hash", httpxy "should avoid
  normalize url", "preserves query string": `test_paths_and_queries_arrive_byte_for_byte`
- hpm "should send request header", httpxy "forwards custom headers":
  `test_headers_pass_both_ways`
- hpm "should proxy request body from form", "… from json", "should proxy QUERY request body",
  httpxy "should deliver the full POST body to the target server":
  `test_bodies_arrive_as_they_were_sent`
- hpm "should support double bytes characters", "… gzipped response":
  `test_compressed_and_multi_byte_answers_pass`
- hpm "should preserve 204 and not fail on empty gzip body", "should preserve 304 …", httpxy
  "handles 204 no content": `test_answers_without_a_body_leave_the_connection_usable`
- hpm "should rewrite body without trailer/content-length conflict": `test_trailers_are_discarded`
  in `tests/test_failing_upstream.py`
- httpxy "should pass all set-cookie headers to client", "preserves multiple cookie values":
  `test_several_cookies_pass_as_several_fields`
- hpm "should keep header mutation safe under keep-alive socket contention (#472)":
  `test_requests_on_one_connection_are_not_mixed_up`
- hpm "should handle errors when host is not reachable", "should handle ECONNRESET errors from the
  target server", "should handle closed connections from the target server", "with unreachable
  websocket target", httpxy "should close client socket if upstream is closed before upgrade":
  `tests/test_failing_upstream.py`
- httpxy "should proxy sse", "should close downstream SSE stream when upstream aborts", "should
  destroy upstream proxy request when client aborts": `tests/test_streams.py`
- hpm "option.ws", httpxy "should proxy the websockets stream", "should forward continuation frames
  with big payload", "should not crash when client socket errors before upstream upgrade":
  `tests/test_streams.py`
- hpm "should proxy to ipv6 target": `test_localhost_is_wherever_the_server_listens` in
  `tests/test_failing_upstream.py`
- hpm "E2E http2 to http1", httpxy "fetch proxy server over http2": `tests/test_protocols.py`
- hpm "should have removed path", "should proxy to target with the baseUrl", httpxy "joins addr base
  path with request subpath": `test_the_prefix_is_taken_off_and_the_base_path_put_on` in
  `tests/test_laws.py`
- httpxy "rewrites Host header to target address", "should not throw on empty http host header":
  `tests/test_origin.py`
- httpxy "should change/preserve" the redirect host: `test_references_to_the_api_lead_to_the_proxy`
"""

import gzip
import json
from collections.abc import Callable, Iterator

import pytest
from credentials.cookies import (
    Forwarded,
    cookie_pairs,
    forwarded_cookies,
)
from credentials.forwarded import forwarded_set_cookie
from mitmproxy import http
from origins import references
from origins.origin import Origin
from support import Client, Headers, Mitmdump, Upstream, answer

ProxyWith = Callable[..., Mitmdump]


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?",
        "/a/b?x=1&x=2&y=",
        "/a%20b/%2F/%C3%A9?q=%20+%26",
        "/a//b/./c/../d",
        "/~user/;v=1,2/(x)'*!@:$",
        "/[1]/{2}/|^`?a[]=1&b={}|",
        "/" + "long" * 4000,
    ],
)
def test_paths_and_queries_arrive_byte_for_byte(
    proxy: Client, upstream: Upstream, target: str
) -> None:
    assert proxy.get(target).status == 200
    assert upstream.last.target == target


def test_headers_pass_both_ways(proxy: Client, upstream: Upstream) -> None:
    upstream.answers("{}", X_Api="yes", Server="api", Cache_Control="max-age=60")
    page: Headers = [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Dest", "empty")]
    mine: Headers = [("X-Mine", "a"), ("X-Mine", "b")]
    got = proxy.get("/x", page + mine, user_agent="me", accept_language="de")
    assert upstream.last.all("x-mine") == ["a", "b"]
    assert upstream.last.one("user-agent") == "me"
    assert upstream.last.one("accept-language") == "de"
    assert (got.one("x-api"), got.one("server")) == ("yes", "api")
    assert got.one("cache-control") == "max-age=60"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", '{"a": "é"}'.encode()),
        ("application/x-www-form-urlencoded", b"a=1&b=%20"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: a\r\n\r\n\0\xff\r\n--x--",
        ),
        ("application/octet-stream", bytes(range(256)) * 100),
        ("text/plain", b""),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("method", ["POST", "QUERY", "DELETE"])
def test_bodies_arrive_as_they_were_sent(
    proxy: Client, upstream: Upstream, method: str, kind: str, body: bytes, chunked: bool
) -> None:
    more = [("Transfer-Encoding", "chunked")] if chunked else []
    got = proxy.request(method, "/x", [("Content-Type", kind), *more], body)
    assert got.status == 200
    assert upstream.last.body == body
    assert upstream.last.one("content-type") == kind


def test_compressed_and_multi_byte_answers_pass(proxy: Client, upstream: Upstream) -> None:
    body = gzip.compress("日本語 é 😀".encode())
    upstream.answers(body, Content_Encoding="gzip", Content_Type="text/plain; charset=utf-8")
    got = proxy.get("/x", accept_encoding="gzip")
    assert got.body == body
    assert got.one("content-encoding") == "gzip"


@pytest.mark.parametrize(
    ("method", "status", "head"),
    [
        ("GET", 204, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", 204, b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n"),
        ("GET", 304, b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 5\r\n\r\n'),
        ("HEAD", 200, b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n"),
        ("HEAD", 200, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
)
def test_answers_without_a_body_leave_the_connection_usable(
    proxy: Client, upstream: Upstream, method: str, status: int, head: bytes
) -> None:
    upstream.respond = lambda request: answer("{}") if request.target == "/next" else head
    got = proxy.raw(
        f"{method} /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
        "GET /next HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    first, _, second = got.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert second.startswith(b"HTTP/1.1 200 ")
    assert second.endswith(b"\r\n\r\n{}")


def test_requests_on_one_connection_are_not_mixed_up(proxy: Client, upstream: Upstream) -> None:
    upstream.respond = lambda request: answer(f"[{request.target}:{request.one('auth-token')}]")
    heads = "".join(
        f"GET /{user} HTTP/1.1\r\nHost: localhost\r\nCookie: auth-token=t{user}\r\n\r\n"
        for user in range(5)
    )
    last = "GET /anonymous HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    got = proxy.raw((heads + last).encode()).decode()
    bodies = [part.partition("HTTP/1.1")[0] for part in got.split("\r\n\r\n")[1:]]
    assert bodies == [f"[/{user}:t{user}]" for user in range(5)] + ["[/anonymous:None]"]


API = Origin("https", "api.example.com", 443)


@pytest.mark.parametrize(
    ("reference", "prefix", "base_path", "seen"),
    [
        ("https://api.example.com/items/7?x#y", "", "", "/items/7?x#y"),
        ("https://API.example.com:443/items", "/api", "", "/api/items"),
        ("http://api.example.com/items", "/api", "", "/api/items"),
        ("//api.example.com/items", "/api", "", "/api/items"),
        ("https://api.example.com", "/api", "", "/api/"),
        ("https://api.example.com?x", "/api", "", "/api?x"),
        ("https://api.example.com/v1/items", "/api", "/v1", "/api/items"),
        ("https://api.example.com/v1", "/api", "/v1", "/api"),
        ("https://api.example.com/v1", "", "/v1", "/"),
        ("https://api.example.com/v2/items", "/api", "/v1", "https://api.example.com/v2/items"),
        ("/v1/items", "/api", "/v1", "/api/items"),
        ("/v2/items", "/api", "/v1", "https://api.example.com/v2/items"),
        ("/items", "", "", "/items"),
        ("/items", "/api", "", "/api/items"),
        ("items/7", "/api", "", "items/7"),
        ("?page=2", "/api", "", "?page=2"),
        ("", "/api", "", ""),
        ("https://api.example.com:8443/items", "/api", "", "https://api.example.com:8443/items"),
        ("https://api.example.com.evil.test/", "/api", "", "https://api.example.com.evil.test/"),
        ("https://user@api.example.com/", "/api", "", "https://user@api.example.com/"),
        # Behind a TLS terminator the scheme is wrong, and the port may be the right one
        ("http://api.example.com:443/items", "/api", "", "/api/items"),
        ("http://api.example.com:80/items", "/api", "", "/api/items"),
        ("https://api.example.com:80/items", "/api", "", "https://api.example.com:80/items"),
        ("http://api.example.com:8443/items", "/api", "", "http://api.example.com:8443/items"),
        ("https://other.example.com/x", "/api", "", "https://other.example.com/x"),
        ("mailto:a@api.example.com", "/api", "", "mailto:a@api.example.com"),
        ("https://[", "/api", "", "https://["),
        # What URL parsers drop (WHATWG URL, 4.4)
        ("https://api.example.com/a\r\n b", "/api", "", "/api/a b"),
        ("/v1/\t/evil.test", "", "/v1", "/v1//evil.test"),
        ("/v1/\t\\evil.test", "", "/v1", "/v1/\\evil.test"),
        (" \0/v1/\r/evil.test ", "/api", "/v1", "/api//evil.test"),
        ("ht\ttps://api.example.com/items", "/api", "", "/api/items"),
        ("https://api.example.com//evil.test", "", "", "https://api.example.com//evil.test"),
        ("https://api.example.com/\\evil.test", "", "", "https://api.example.com/\\evil.test"),
        ("/v1//evil.test", "", "/v1", "/v1//evil.test"),
    ],
)
def test_references_to_the_api_lead_to_the_proxy(
    reference: str, prefix: str, base_path: str, seen: str
) -> None:
    assert references.to_browser(reference, API, prefix, base_path) == seen


@pytest.mark.parametrize(
    ("api", "reference", "stays"),
    [
        ("https://api.test:8443", "http://api.test:8443/x", True),
        ("https://api.test:8443", "https://API.test:8443/x", True),
        ("https://api.test:8443", "//api.test:8443/x", True),
        ("https://api.test:8443", "http://api.test/x", False),
        ("https://api.test:8443", "https://api.test/x", False),
        ("https://api.test:8443", "http://api.test:8444/x", False),
        ("https://api.test:8443", "http://other.test:8443/x", False),
        ("http://api.test:8080", "https://api.test:8080/x", True),
        ("http://[::1]:8080", "https://[::1]:8080/x", True),
        ("http://api.test", "https://api.test:443/x", True),
        ("https://api.test", "https://api.test:80/x", False),
    ],
)
def test_the_port_says_whose_a_reference_is_and_not_the_scheme(
    api: str, reference: str, stays: bool
) -> None:
    seen = references.to_browser(reference, Origin.parse(api), "/api", "")
    assert seen == ("/api/x" if stays else reference)


@pytest.mark.parametrize(
    ("refresh", "seen"),
    [
        ("5; url=https://api.test/x", "5; url=/api/x"),
        ("5,URL = 'https://api.test/x' more", "5,URL = '/api/x' more"),
        ('0.5;url="/x"', '0.5;url="/api/x"'),
        # Browsers need no `url=` (HTML, 4.2.5.3)
        ("0;https://api.test/x", "0;/api/x"),
        ("0 https://api.test/x", "0 /api/x"),
        ("0;  /x", "0;  /api/x"),
        ("5", "5"),
        ("5;", "5;"),
        ("5; url=https://other.test/x", "5; url=https://other.test/x"),
        ("soon; url=https://api.test/x", "soon; url=https://api.test/x"),  # is none
    ],
)
def test_a_refresh_leads_to_the_proxy(refresh: str, seen: str) -> None:
    headers = http.Headers(refresh=refresh)
    references.rewrite_references(headers, Origin.parse("https://api.test"), "/api", "")
    assert headers["refresh"] == seen


def test_redirects_and_links_stay_with_the_proxy(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with("cookie_auth_prefix=/api", "cookie_auth_base_path=/v1").client
    url = f"{upstream.url}/v1"
    upstream.answers(
        "",
        status=201,
        Location=f"{url}/items/7",
        Content_Location=f"{url}/items/7",
        Refresh=f"0; url={url}/items",
        Link=f'<{url}/items?page=2>; rel="next", <https://other.test/>; rel="x"',
    )
    got = proxy.post("/api/items")
    assert got.one("location") == got.one("content-location") == "/api/items/7"
    assert got.one("refresh") == "0; url=/api/items"
    assert got.one("link") == '</api/items?page=2>; rel="next", <https://other.test/>; rel="x"'


# Forwarded cookies


@pytest.mark.parametrize(
    ("names", "fields", "forwarded"),
    [
        ([], ["a=1"], ""),
        (["a"], ["a=1; b=2; auth-token=t"], "a=1"),
        (["a", "b"], ["b=2; a=1", "a=3"], "b=2; a=1; a=3"),
        (["*"], ["a=1; auth-token=t; b=x=y"], "a=1; b=x=y"),
        (["auth-token"], ["auth-token=t"], ""),
        (["A"], ["a=1"], ""),
        (["a"], ['a="x; auth-token=t"'], 'a="x'),
        (["*"], ["auth-token-login=t; auth-token-refresh.0=t; auth-token-8082-login=t"], ""),
        # Another proxy of our kind, whose cookie is called sid
        (["*"], ["sid=t; sid.0=t; sid-refresh=t; sid-login=t; sid-8082=t; sidx=u"], "sidx=u"),
        (["sid"], ["sid=t"], ""),
        # Nor does a nameless one pass, or one whose name some servers read otherwise: as it comes
        # back, so it is set (`is_nameless`)
        (["*"], ["a; =b; =auth-token=t; a b=c; a\tb=c; \xe9=d; e=f"], "e=f"),
        (["", "*"], ["=b"], ""),
    ],
)
def test_only_named_cookies_go_to_the_api(
    names: list[str], fields: list[str], forwarded: str
) -> None:
    passing = Forwarded(frozenset(names), "auth-token")
    assert forwarded_cookies(cookie_pairs(fields), passing, ["sid"]) == forwarded


@pytest.mark.parametrize(
    ("field", "tls", "seen"),
    [
        ("a=1; Path=/; HttpOnly", False, "a=1; Path=/; HttpOnly"),
        ("a=1; Domain=example.com; Max-Age=5", False, "a=1; Max-Age=5"),
        ("a=1; Secure; SameSite=None", False, "a=1"),
        ("a=1; Secure; SameSite=None", True, "a=1; Secure; SameSite=None"),
        ("a=1; secure;samesite=lax;; DOMAIN=x", False, "a=1; samesite=lax"),
        ("a=1; Path=/v1/x", False, "a=1; Path=/api/x"),
        ("a=1; Path=/other", False, "a=1; Path=/other"),
        ("a=x=y; Expires=Thu, 01 Jan 1970 00:00:00 GMT", False,
         "a=x=y; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
        ("__Host-a=1; Secure; Path=/", False, "__Host-a=1; Secure; Path=/"),
        # Browsers take these names, in any case of letters, with Secure, `__Host-` with `/` and no
        # Domain, and those with `Http-` with HttpOnly (RFC 6265bis, 4.1.3)
        ("__HOST-a=1; SECURE; PATH=/; domain=x", False, "__HOST-a=1; SECURE; Path=/"),
        ("__Host-a=1; Secure; Path=/; SameSite=None; Partitioned", False,
         "__Host-a=1; Secure; Path=/; SameSite=None; Partitioned"),
        ("__Host-a=1; Secure; Path=/v1/x", False, "__Host-a=1; Secure; Path=/v1/x"),
        ("__Host-a=1; Secure", False, "__Host-a=1; Secure"),  # which no browser takes of the API
        ("__Host-sid=1; Secure; Path=/", False, "__Host-sid=1; Secure; Path=/"),
        ("__Secure-a=1; Secure; Path=/v1/x", False, "__Secure-a=1; Secure; Path=/api/x"),
        ("__Http-a=1; Secure; HttpOnly; SameSite=None", False,
         "__Http-a=1; Secure; HttpOnly; SameSite=None"),
        ("__Host-Http-a=1; HttpOnly; Secure; Path=/; Max-Age=0; Expires=0", False,
         "__Host-Http-a=1; HttpOnly; Secure; Path=/; Max-Age=0; Expires=0"),
        # Without Secure browsers would refuse what needs it
        ("a=1; Secure; Partitioned; SameSite=None", False, "a=1"),
        ("a=1; partitioned ; secure", False, "a=1"),
        ("a=1; Secure; SAMESITE = NONE; Path=/v1", False, "a=1; Path=/api"),
        ("a=1; SameSite=Nonesuch; Partitioned=x", False, "a=1; SameSite=Nonesuch"),
        ("a=1; Secure; Partitioned", True, "a=1; Secure; Partitioned"),
        # What pages beside the prefix are to read they can; sessions stay below it
        ("a=1; Path=/", False, "a=1; Path=/"),
        ("sid=1; Path=/v1/; HttpOnly", False, "sid=1; Path=/api/; HttpOnly"),
        ("b=1", False, None),
        ("auth-token=1", False, None),
        ("a", False, None),
        ("", False, None),
    ],
)  # fmt: skip
def test_a_forwarded_cookie_is_made_the_proxys(field: str, tls: bool, seen: str | None) -> None:
    def to_browser(path: str) -> str:
        return references.to_browser(path, API, "/api", "/v1") if path.startswith("/v1") else path

    hosts = ("__Host-a", "__HOST-a", "__Host-sid", "__Secure-a", "__Http-a", "__Host-Http-a")
    forwarded = Forwarded(frozenset(["a", "sid", "auth-token", *hosts]), "auth-token")
    assert forwarded_set_cookie(field, forwarded, tls=tls, to_browser=to_browser) == seen


def test_several_cookies_pass_as_several_fields(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with(
        "cookie_auth_forward_cookies=XSRF-TOKEN", "cookie_auth_forward_cookies=session"
    ).client
    cookies = ["XSRF-TOKEN=1; Secure; Path=/", "session=2; Domain=x.test", "tracker=3"]
    cookies.append("auth-token=evil")
    upstream.respond = lambda request: answer(
        '{"authToken": "sekret"}',
        headers=[("Set-Cookie", cookie) for cookie in [*cookies, "session=sekret"]],
    )
    got = proxy.get("/form", cookie="XSRF-TOKEN=1; session=2; tracker=3; auth-token=sekret")
    # What is or may be a credential is for no script to read.
    passed = ["XSRF-TOKEN=1; Path=/", "session=2; HttpOnly", "session=sekret; HttpOnly"]
    assert got.set_cookies == passed
    assert upstream.last.one("cookie") == "XSRF-TOKEN=1; session=2"
    assert upstream.last.one("auth-token") == "sekret"
    got = proxy.post("/login", cookie="XSRF-TOKEN=1")
    assert upstream.last.one("cookie") == "XSRF-TOKEN=1"
    assert got.set_cookies == [*passed, "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax"]
    # A foreign page's request carries none of its visitor's cookies, and replaces none.
    got = proxy.get("/form", cookie="XSRF-TOKEN=1", sec_fetch_site="same-site")
    assert upstream.last.one("cookie") is None
    assert got.set_cookies == []


# The front end


@pytest.fixture
def frontend() -> Iterator[Upstream]:
    """On another address than the API, so that nothing of one reaches the other."""
    frontend = Upstream("::1")
    yield frontend
    frontend.close()


def test_what_is_outside_the_prefix_is_the_front_ends_as_it_is(
    proxy_with: ProxyWith, upstream: Upstream, frontend: Upstream
) -> None:
    url = f"http://[::1]:{frontend.port}"
    proxy = proxy_with("cookie_auth_prefix=/api", f"cookie_auth_frontend={url}/").client
    own = f"http://localhost:{proxy.port}"
    frontend.respond = lambda request: answer(
        "page",
        status=302,
        headers=[
            ("Set-Cookie", "a=1; Secure; Domain=localhost"),
            ("Set-Cookie", "b=2"),
            ("Location", f"{url}/next?x"),
        ],
    )
    cookies = 'auth-token=sekret; theme="dark'
    headers: Headers = [("Cookie", cookies), ("Origin", own), ("Referer", f"{own}/x")]
    got = proxy.post("/login?x=%20", headers, body="body")
    assert frontend.last.start == ("POST", "/login?x=%20")
    assert frontend.last.body == b"body"
    assert frontend.last.one("cookie") == cookies
    assert frontend.last.one("auth-token") is None
    assert frontend.last.one("host") == f"localhost:{proxy.port}"
    assert frontend.last.one("origin") == own
    assert frontend.last.one("referer") == f"{own}/x"
    assert got.set_cookies == ["a=1; Secure; Domain=localhost", "b=2"]
    assert got.one("location") == "/next?x"
    assert got.body == b"page"
    assert not upstream.received

    upstream.answers('{"authToken": "sekret"}')
    assert proxy.post("/api/login").body == b'{"loggedIn": true}'
    assert upstream.last.one("host") == f"127.0.0.1:{upstream.port}"
    assert proxy.post("/api/logout").body == b'{"loggedIn": false}'
    assert proxy.raw(b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n").startswith(b"HTTP/1.1 403")


def test_json_that_passes_is_not_touched(proxy: Client, upstream: Upstream) -> None:
    body = '{"b":1,  "a":[1.10,"\\u00e9"],\n"b":2}'
    upstream.answers(body, Content_Type="application/json")
    got = proxy.get("/x")
    assert got.body.decode() == body
    assert json.loads(got.body)["b"] == 2
