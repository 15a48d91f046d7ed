"""Which address each side is told: the front end, the API, and a page that the API wrote."""

import gzip
import json
import random
from collections.abc import Callable, Iterator

import pytest
from browser_client import log_in
from messages.answers import Refused
from messages.headers import IndexedHeaders
from mitmproxy import http
from origins import addresses, rules
from origins.bodies import AddressStream, ApiAddress
from origins.origin import Origin
from page import Page
from support import Client, Headers, Mitmdump, Upstream, answer
from token_api import opaque

ProxyWith = Callable[..., Mitmdump]
Start = Callable[..., Mitmdump]

OWN = Origin.parse("http://localhost:8080")
FRONTEND = Origin.parse("http://localhost:5173")
TUNNEL = Origin.parse("https://abc.ngrok.test")

# What a script of any page may write.
FORGED: Headers = [
    ("Forwarded", "for=6.6.6.6;host=evil.test;proto=https"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Host", "worse.test"),
    ("x-forwarded-proto", "https"),
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Port", "666"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X_Forwarded_Host", "evil.test"),
    ("X-Forwarded_Server", "evil.test"),
    ("X-Forwarded", "evil.test"),
]


def forwarded(headers: Headers) -> dict[str, str]:
    """The fields that say which address was asked for; none may be there twice."""
    fields = [(name, value) for name, value in headers if "forwarded" in name]
    assert len(dict(fields)) == len(fields)
    return dict(fields)


@pytest.fixture(scope="module")
def frontend() -> Iterator[Upstream]:
    """On another address than the API, so that nothing of one reaches the other."""
    frontend = Upstream("::1")
    yield frontend
    frontend.close()


@pytest.fixture
def behind(proxy_with: ProxyWith, frontend: Upstream) -> Callable[..., Client]:
    """A proxy before the front end."""
    frontend.received.clear()
    url = f"http://[::1]:{frontend.port}"

    def behind(*options: str) -> Client:
        more = (f"cookie_auth_frontend={url}", "cookie_auth_prefix=/api", *options)
        return proxy_with(*more).client

    return behind


# The front end


@pytest.mark.parametrize(
    "host", ["localhost", "shop.localhost", "127.0.0.1", "192.168.0.7", "[::1]"]
)
def test_the_front_end_gets_the_browsers_host(
    behind: Callable[..., Client], frontend: Upstream, host: str
) -> None:
    client = behind()
    address = f"{host}:{client.port}"
    page: Headers = [("Origin", f"http://{address}"), ("Referer", f"http://{address}/x")]
    send(client, address, "POST", page + FORGED)
    got = frontend.last
    assert got.one("host") == address
    assert (got.one("origin"), got.one("referer")) == (page[0][1], page[1][1])
    assert forwarded(got.headers) == {
        "x-forwarded-host": address,
        "x-forwarded-proto": "http",
        "x-forwarded-for": "127.0.0.1",
    }


def send(client: Client, host: str, method: str, headers: Headers, target: str = "/x") -> bytes:
    """Send a request for another Host; the answer."""
    fields = [("Host", host), ("Connection", "close"), ("Content-Length", "0"), *headers]
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return client.raw("\r\n".join([*lines, "", ""]).encode())


def test_a_name_that_dev_servers_may_refuse_is_only_forwarded(
    behind: Callable[..., Client], frontend: Upstream
) -> None:
    client = behind("cookie_auth_allowed_hosts=shop.test")
    page: Headers = [("Origin", "http://shop.test"), ("Referer", "http://shop.test/x")]
    send(client, "shop.test", "POST", page)
    got = frontend.last
    url = f"http://[::1]:{frontend.port}"
    assert (got.one("host"), got.one("origin")) == (url[7:], url)
    assert got.one("referer") == f"{url}/x"
    assert forwarded(got.headers)["x-forwarded-host"] == "shop.test"


def test_a_foreign_page_names_itself(behind: Callable[..., Client], frontend: Upstream) -> None:
    client = behind()
    client.post("/x", [("Origin", "http://localhost:3999"), ("Sec-Fetch-Site", "same-site")])
    assert frontend.last.one("origin") == "http://localhost:3999"
    assert frontend.last.one("host") == f"localhost:{client.port}"


@pytest.mark.parametrize(
    ("own", "target", "headers", "named"),
    [
        ("http://localhost:8080", "/x", {}, "http://localhost:8080"),
        ("http://a.localhost:8080", "/_next/webpack-hmr", {}, "http://a.localhost:8080"),
        ("http://127.0.0.1:8080", "/x", {}, "http://127.0.0.1:8080"),
        # Next lets pages of localhost only have these.
        ("http://127.0.0.1:8080", "/_next/webpack-hmr?id=1", {}, "http://localhost:5173"),
        ("http://shop.test", "/docs/__nextjs_font/x", {}, "http://localhost:5173"),
        # The scheme is that which the front end is served by.
        ("https://localhost:8080", "/x", {}, "http://localhost:8080"),
        ("https://localhost", "/x", {}, "http://localhost"),
        # Host is the front end's own here; these look at X-Forwarded-Host.
        ("http://shop.test", "/x", {}, "http://localhost:5173"),
        ("http://shop.test", "/x", {"Next-Action": "7f"}, "http://shop.test"),
        ("http://shop.test", "/cart.data?index", {}, "http://shop.test"),
        ("http://shop.test", "/cart?x=.data", {}, "http://localhost:5173"),
        ("https://abc.ngrok.test", "/x", {"Next-Action": "7f"}, "https://abc.ngrok.test"),
    ],
)
def test_what_the_front_end_takes_for_its_own_origin(
    own: str, target: str, headers: dict[str, str], named: str
) -> None:
    fields = tuple((name.encode(), value.encode()) for name, value in headers.items())
    with_index = IndexedHeaders.with_fields(fields)
    origin = addresses.origin_for(FRONTEND, Origin.parse(own), with_index, target)
    assert str(origin) == named


def test_a_front_end_that_is_down_is_named_by_its_own_address(proxy_with: ProxyWith) -> None:
    url = "http://localhost:9"
    client = proxy_with(f"cookie_auth_frontend={url}", "cookie_auth_prefix=/api").client
    got = client.get("/x", accept="*/*")
    assert got.status == 502
    assert f"No answer from {url}: " in json.loads(got.body)["message"]
    assert url in client.get("/x", sec_fetch_mode="navigate").body.decode()


@pytest.mark.parametrize(
    ("prefix", "of_angular"),
    [
        ("/a", "/@ng/component?c=src%2Fapp.ts%40App"),
        ("/b", "/@fs/app/.angular/cache/21.2.24/app/vite/deps/@angular_core.js?v=1"),
    ],
)
def test_angulars_server_is_not_told_the_browsers_address(
    proxy_with: ProxyWith, frontend: Upstream, prefix: str, of_angular: str
) -> None:
    # It would leave the rendering to the browser.
    url = f"http://[::1]:{frontend.port}"
    client = proxy_with(f"cookie_auth_frontend={url}", f"cookie_auth_prefix={prefix}").client
    client.get("/")
    assert "x-forwarded-for" in forwarded(frontend.last.headers)
    client.get(of_angular)
    client.get("/")
    assert forwarded(frontend.last.headers).keys() == {"x-forwarded-host", "x-forwarded-proto"}


# The API


def test_the_api_is_not_told_unless_that_is_wanted(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy, told = proxy_with().client, proxy_with("cookie_auth_forwarded=true").client
    for client in (proxy, told, proxy, told):  # decided once, and remembered
        own = f"http://localhost:{client.port}"
        client.post("/me", [("Origin", own), *FORGED])
        got = upstream.last
        assert got.one("host") == f"127.0.0.1:{upstream.port}"
        if client is proxy:
            assert forwarded(got.headers) == {}
            assert got.one("origin") == upstream.url
        else:
            assert forwarded(got.headers) == {
                "x-forwarded-host": own[7:],
                "x-forwarded-proto": "http",
                "x-forwarded-for": "127.0.0.1",
            }
            assert got.one("origin") == own


def test_a_login_and_a_logout_are_forwarded_alike(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    client = proxy_with("cookie_auth_forwarded=true", "cookie_auth_logout_upstream=true").client
    upstream.answers('{"authToken": "sekret"}')
    cookie = log_in(client, upstream)
    client.post("/login", FORGED)
    assert forwarded(upstream.last.headers)["x-forwarded-host"] == f"localhost:{client.port}"
    client.post("/logout", [*FORGED, ("Cookie", cookie)])
    assert upstream.last.one("auth-token") == "sekret"
    assert forwarded(upstream.last.headers)["x-forwarded-host"] == f"localhost:{client.port}"


# A tunnel in front


@pytest.mark.parametrize(
    ("host", "forwarded", "own"),
    [
        ("localhost:8080", None, "http://localhost:8080"),
        ("abc.ngrok.test", None, "https://abc.ngrok.test"),
        ("ABC.ngrok.test:443", None, "https://abc.ngrok.test"),
        ("abc.ngrok.test", "evil.test", "https://abc.ngrok.test"),
        ("localhost:8080", "abc.ngrok.test", "https://abc.ngrok.test"),
        ("127.0.0.1:8080", "abc.ngrok.test, proxy.test", "https://abc.ngrok.test"),
        ("localhost:8080", "evil.test", "http://localhost:8080"),
        ("localhost:8080", "", "http://localhost:8080"),
        ("localhost:8080", "abc.ngrok.test/", "http://localhost:8080"),
        # A page whose name was made to resolve to this machine writes any header.
        ("evil.test:8080", "abc.ngrok.test", None),
        ("abc.ngrok.test:8080", None, None),
        ("x.abc.ngrok.test", None, None),
        ("abc.ngrok.test.evil.test", None, None),
    ],
)
def test_which_requests_came_by_the_tunnel(
    host: str, forwarded: str | None, own: str | None
) -> None:
    request = http.Request.make("GET", "http://upstream/")
    request.headers = http.Headers([(b"Host", host.encode())])
    if forwarded is not None:
        request.headers["X-Forwarded-Host"] = forwarded

    def asked_for() -> str:
        return str(rules.own_origin(request, tls=False, allowed_hosts=(), public=TUNNEL))

    if own is None:
        with pytest.raises(Refused):
            asked_for()
    else:
        assert asked_for() == own


@pytest.mark.parametrize(
    "by_tunnel",
    [
        {"host": "abc.ngrok.test", "origin": str(TUNNEL)},
        # Codespaces writes its own Host and Origin.
        {"host": "", "x-forwarded-host": "abc.ngrok.test", "origin": "http://localhost:8080",
         "sec-fetch-site": "same-origin"},
    ],
)  # fmt: skip
def test_cookies_and_origins_follow_the_tunnel(
    behind: Callable[..., Client],
    upstream: Upstream,
    frontend: Upstream,
    by_tunnel: dict[str, str],
) -> None:
    options = f"cookie_auth_public_origin={TUNNEL}", "cookie_auth_forward_cookies=theme"
    client = behind(*options)
    local = f"localhost:{client.port}"
    upstream.respond = lambda request: answer(
        '{"authToken": "sekret"}', headers=[("Set-Cookie", "theme=1; Secure; SameSite=None")]
    )
    headers = list(by_tunnel.items())[1:]
    host = by_tunnel["host"] or local
    got = send(client, host, "POST", headers, "/api/login").decode()
    assert '{"loggedIn": true}' in got
    assert "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax; Secure" in ordered(got)
    assert "theme=1; Secure; SameSite=None" in got
    assert upstream.last.one("origin") == upstream.url

    send(client, host, "POST", [*headers, ("Next-Action", "7f")])
    got_by_frontend = frontend.last
    assert got_by_frontend.one("host") == f"[::1]:{frontend.port}"
    assert got_by_frontend.one("origin") == str(TUNNEL)
    assert forwarded(got_by_frontend.headers) == {
        "x-forwarded-host": "abc.ngrok.test",
        "x-forwarded-proto": "https",
        "x-forwarded-for": "127.0.0.1",
    }

    # Whatever scheme the front end takes its address to have, a redirect stays at the tunnel's.
    for origin in (f"http://[::1]:{frontend.port}", f"http://{TUNNEL.authority}"):
        frontend.answers("", status=302, Location=f"{origin}/next")
        assert "\nlocation: /next\r" in send(client, host, "GET", headers).decode().lower()
    frontend.answers("{}")

    # localhost works beside it
    got = send(client, local, "POST", [("Origin", f"http://{local}")], "/api/login").decode()
    assert "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax\r\n" in got
    assert "theme=1\r\n" in got
    # and neither page may act at the other's address
    for at, origin in ((local, str(TUNNEL)), (TUNNEL.host, f"http://{local}")):
        assert b"cross_origin" in send(client, at, "POST", [("Origin", origin)], "/api/login")


def ordered(text: str) -> str:
    """Secure last, wherever it stands."""
    return text.replace("; Secure; SameSite=Lax", "; SameSite=Lax; Secure")


def test_start_up_names_the_tunnel(start: Start) -> None:
    proxy = start("--set", f"cookie_auth_public_origin={TUNNEL}/")
    proxy.wait_for_log(rf"open http://localhost:\d+ or, trusted as well, {TUNNEL} ")


# Bodies that name the API's own address

API = Origin.parse("https://api.example.com")


@pytest.mark.parametrize(
    ("body", "instead"),
    [
        ("https://api.example.com/v1/me", "http://localhost:8080/api/me"),
        ("'https://api.example.com/v1'", "'http://localhost:8080/api'"),
        ("see https://api.example.com/v1.", "see http://localhost:8080/api."),
        ("url(https://api.example.com/v1/a.png)", "url(http://localhost:8080/api/a.png)"),
        ("https://api.example.com/v1?a=1#x", "http://localhost:8080/api?a=1#x"),
        # Behind a TLS terminator, an API mistakes its scheme; and a port may be written.
        ("http://api.example.com/v1/me", "http://localhost:8080/api/me"),
        ("https://api.example.com:443/v1/me", "http://localhost:8080/api/me"),
        ("http://api.example.com:80/v1/me", "http://localhost:8080/api/me"),
        ("wss://api.example.com/v1/ws", "ws://localhost:8080/api/ws"),
        ('"//api.example.com/v1/me"', '"//localhost:8080/api/me"'),
        # Escaped slashes
        (r"https:\/\/api.example.com\/v1\/me", r"http:\/\/localhost:8080\/api\/me"),
        (r"https:\u002F\u002Fapi.example.com\u002Fv1", r"http:\u002F\u002Flocalhost:8080\u002Fapi"),
        ("https:&#x2F;&#x2F;api.example.com&#x2F;v1", "http:&#x2F;&#x2F;localhost:8080&#x2F;api"),
        (
            "<a href=https://api.example.com/v1/a><a href=https://api.example.com/v1/b>",
            "<a href=http://localhost:8080/api/a><a href=http://localhost:8080/api/b>",
        ),
        # Within another URL's query, as it stands
        ("/x?to=https://api.example.com/v1/me", "/x?to=http://localhost:8080/api/me"),
    ],
)
def test_the_apis_address_becomes_the_proxys(body: str, instead: str) -> None:
    address = ApiAddress.of(API, "/v1")
    assert address.is_in(body.encode())
    assert address.replaced(body.encode(), OWN, "/api").decode() == instead
    streamed(address, f"é {body} ü".encode(), f"é {instead} ü".encode())


@pytest.mark.parametrize(
    "body",
    [
        "https://api.example.com/v2/me",
        "https://api.example.com/v1x",
        "https://api.example.com",
        "https://api.example.com:8443/v1",
        "https://api.example.com.evil.test/v1",
        "https://api.example.com@evil.test/v1",
        "https://user@api.example.com/v1",
        "https://my-api.example.com/v1",
        "https://my.api.example.com/v1",
        "ftp://api.example.com/v1",
        "git+https://api.example.com/v1",
        "file:///api.example.com/v1",
        "https:/api.example.com/v1",
        "ada@api.example.com/v1",
        "api.example.com/v1",
        "https%3A%2F%2Fapi.example.com%2Fv1",
        r"https:\//api.example.com/v1",
    ],
)
def test_other_addresses_stay(body: str) -> None:
    address = ApiAddress.of(API, "/v1")
    assert not address.is_in(body.encode())
    assert address.replaced(body.encode(), OWN, "/api") == body.encode()
    streamed(address, body.encode(), body.encode())


def test_an_address_without_base_path_and_with_a_port() -> None:
    address = ApiAddress.of(Origin.parse("http://127.0.0.1:3000"), "")
    body = b'["http://127.0.0.1:3000", "//127.0.0.1:3000/a", "http://127.0.0.1:30001/"]'
    got = b'["https://abc.ngrok.test", "//abc.ngrok.test/a", "http://127.0.0.1:30001/"]'
    assert address.replaced(body, TUNNEL, "") == got
    streamed(address, body, got, TUNNEL, "")


def streamed(
    address: ApiAddress, body: bytes, instead: bytes, own: Origin = OWN, prefix: str = "/api"
) -> None:
    """However it is cut, it comes out the same."""
    cuts = [list(range(len(body))), *([cut] for cut in range(len(body)))]
    cuts += [sorted(random.Random(n).sample(range(len(body)), k=5)) for n in range(20)]
    for places in cuts:
        stream = AddressStream(address, own, prefix)
        ends = [*places, len(body)]
        parts = [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        assert b"".join(map(stream.feed, parts)) + stream.end() == instead


def test_what_cannot_be_the_beginning_of_an_address_is_not_held_back() -> None:
    stream = AddressStream(ApiAddress.of(API, ""), OWN, "")
    for event in (b'{"a": 1}\n', b'{"to": "https://api.example.com/x"}\n'):
        passed = stream.feed(event)
        assert passed.endswith(b"}\n")
    assert stream.end() == b""


REWRITES = "cookie_auth_rewrite_bodies=true"


@pytest.fixture
def rewriting(proxy_with: ProxyWith) -> Client:
    return proxy_with(REWRITES, "cookie_auth_prefix=/api").client


def naming(upstream: Upstream) -> bytes:
    """A JSON document that names the API's own address."""
    return json.dumps({"endpoint": f"{upstream.url}/v1"}).encode()


@pytest.mark.parametrize(
    "kind",
    [
        "text/html; charset=utf-8",
        "application/json",
        "application/problem+json",
        "text/javascript",
        "application/javascript",
        "text/css",
    ],
)
def test_bodies_that_name_the_api_lead_to_the_proxy(
    rewriting: Client, upstream: Upstream, kind: str
) -> None:
    digests = {"ETag": '"1"', "Content-MD5": "x", "Digest": "x", "Accept-Ranges": "bytes"}
    coded = {"Content-Type": kind, "Content-Encoding": "gzip", **digests}
    for headers, body in (
        ({"Content-Type": kind, **digests}, naming(upstream)),
        (coded, gzip.compress(naming(upstream))),
    ):
        upstream.respond = lambda request, b=body, h=headers: answer(b, headers=list(h.items()))  # type: ignore[misc]
        got = rewriting.get("/api/x", accept_encoding="gzip")
        text = gzip.decompress(got.body) if got.one("content-encoding") else got.body
        assert json.loads(text) == {"endpoint": f"http://localhost:{rewriting.port}/api/v1"}
        assert got.one("content-length") == str(len(got.body))
        for name in digests:
            assert got.one(name.lower()) is None


@pytest.mark.parametrize("coded", [False, True])
def test_a_page_of_unknown_length_is_rewritten_as_it_passes(
    rewriting: Client, upstream: Upstream, coded: bool
) -> None:
    page = b"<a href='" + upstream.url.encode() + b"/x'>" + b" " * 3_000_000 + naming(upstream)
    body = gzip.compress(page) if coded else page
    coding = b"Content-Encoding: gzip\r\n" if coded else b""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + coding + b"\r\n"
    parts = [body[at : at + 7001] for at in range(0, len(body), 7001)]
    upstream.respond = lambda request: iter([head, *parts])
    got = rewriting.get("/api/x")
    own = f"http://localhost:{rewriting.port}/api".encode()
    assert got.one("content-encoding") is None
    assert got.body == page.replace(upstream.url.encode(), own)


@pytest.mark.parametrize(
    ("kind", "more", "status"),
    [
        ("text/plain", {}, 200),
        ("application/octet-stream", {}, 200),
        ("text/event-stream", {}, 200),
        ("text/html", {"Content-Disposition": "attachment"}, 200),
        ("text/html", {"Content-Range": "bytes 0-9/10"}, 206),
    ],
)
def test_what_is_no_page_or_document_stays(
    rewriting: Client, upstream: Upstream, kind: str, more: dict[str, str], status: int
) -> None:
    fields = [("Content-Type", kind), *more.items()]
    upstream.respond = lambda request: answer(naming(upstream), status, fields)
    assert rewriting.get("/api/x").body == naming(upstream)


def test_a_long_page_stays(rewriting: Client, upstream: Upstream) -> None:
    body = naming(upstream) + b" " * (1024 * 1024)
    upstream.answers(body, Content_Type="text/html")
    assert rewriting.get("/api/x").body == body


def test_tokens_are_looked_for_before_addresses(proxy_with: ProxyWith, upstream: Upstream) -> None:
    client = proxy_with(REWRITES).client
    page = Page(client)
    token = opaque("a")
    kind = [("Content-Type", "application/json")]
    body = json.dumps({"access_token": token, "me": f"{upstream.url}/me"})
    upstream.respond = lambda request: answer(body, headers=kind)
    given = json.loads(page.post("/auth/sign-in", '{"password": "x"}').body)
    assert given["me"] == f"http://localhost:{client.port}/me"
    repeats = f'<a href="{upstream.url}/{token}">'
    html = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    for respond in (
        lambda request: answer(repeats, headers=[("Content-Type", "text/html")]),
        lambda request: iter([html, repeats[:9].encode(), repeats[9:].encode()]),
    ):
        upstream.respond = respond
        got = page.get("/x", authorization=f"Bearer {given['access_token']}")
        assert upstream.last.one("authorization") == f"Bearer {token}"
        wanted = f'<a href="http://localhost:{client.port}/{given["access_token"]}">'
        assert got.body.decode() == wanted


def test_the_first_answer_that_leads_past_the_proxy_is_told_with_the_option(
    start: Start, upstream: Upstream
) -> None:
    proxy = start()
    client = proxy.client
    for kind, body in (
        ("application/json", json.dumps({"mail": f"ada@127.0.0.1:{upstream.port}"})),
        ("text/plain", naming(upstream).decode()),
    ):
        upstream.answers(body, Content_Type=kind)
        assert client.get("/not-this").body.decode() == body
    upstream.answers(gzip.compress(naming(upstream)), Content_Type="text/html",
                     Content_Encoding="gzip")  # fmt: skip
    for _ in range(2):
        client.get("/page?secret=1")
    upstream.answers(naming(upstream), Content_Type="application/json")
    assert client.get("/signalk").body == naming(upstream)
    line = rf"GET /page: the API's answer names its own address, {upstream.url}, .*"
    assert "--set cookie_auth_rewrite_bodies=true" in proxy.wait_for_log(line)[0]
    proxy.ask_to_stop()
    proxy.exit_code()
    assert proxy.log.count("rewrite_bodies") == 1
    assert "/not-this: " not in proxy.log
