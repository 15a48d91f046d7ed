"""What pages of other origins, and APIs that speak to browsers, can not do through the proxy."""

import base64
import json
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from page import Page
from support import Mitmdump, Upstream

ProxyWith = Callable[..., Mitmdump]

CROSS: dict[str, Any] = {
    "sec_fetch_site": "same-site",
    "sec_fetch_mode": "no-cors",
    "sec_fetch_dest": "script",
}
NAVIGATION: dict[str, Any] = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


def logged_in(mitmdump: Mitmdump, upstream: Upstream, prefix: str = "") -> Page:
    page = Page(mitmdump.client)
    upstream.answers('{"authToken": "sekret"}')
    page.post(f"{prefix}/login")
    upstream.answers("{}")
    upstream.received.clear()
    return page


# Browsers without fetch metadata


def test_a_browser_that_says_nothing_gets_no_token_and_logs_nobody_out(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    mitmdump = start()
    page = logged_in(mitmdump, upstream)
    silent = {"sec_fetch_site": "", "sec_fetch_mode": ""}
    assert page.get("/me", **silent).status == 200
    assert upstream.last.one("auth-token") is None
    mitmdump.wait_for_log("a request gets no token: it is from a browser that says neither")
    assert page.get("/logout", **silent).status == 403
    assert page.get("/me", user_agent="", accept_language="en-GB", **silent).status == 200
    assert upstream.last.one("auth-token") is None
    own = f"http://localhost:{page.client.port}/page?x"
    page.get("/me", referer=own, **silent)
    assert upstream.last.one("auth-token") == "sekret"
    page.get("/me", referer="http://localhost:1/page", **silent)
    assert upstream.last.one("auth-token") is None
    assert mitmdump.log.count("says neither") == 1


# Speculation


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_purpose": "prefetch"},
        {"sec_purpose": "prefetch;prerender"},
        {"purpose": "prefetch"},
        {"x_moz": "prefetch"},
        {"next_router_prefetch": "1"},
        {"x_sec_purpose": "prefetch"},
    ],
    ids=str,
)
def test_looking_ahead_logs_nobody_out(
    proxy_with: ProxyWith, upstream: Upstream, headers: dict[str, str]
) -> None:
    page = logged_in(proxy_with(), upstream)
    got = page.get("/logout", **NAVIGATION, **headers)
    assert (got.status, got.one("cache-control")) == (503, "no-store")
    assert not got.all("set-cookie")
    page.get("/me")
    assert upstream.last.one("auth-token") == "sekret"
    assert page.get("/logout", **NAVIGATION).status == 303
    assert not page.jar


def test_what_a_page_has_a_browser_ask_in_advance_brings_no_token(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    page = logged_in(proxy_with("cookie_auth_login=/login", "cookie_auth_login=/magic"), upstream)
    for target in ("/me", "/act", "/magic"):
        # Chromium says "none" of the speculation rules of whatever page.
        got = page.get(target, **NAVIGATION, sec_fetch_site="none", sec_purpose="prefetch")
        assert got.status == 503
    assert not upstream.received
    page.get("/me", sec_purpose="prefetch")
    assert upstream.last.one("auth-token") == "sekret"


# The front end


@pytest.fixture
def frontend() -> Upstream:
    frontend = Upstream()
    frontend.answers("<p>front end", Content_Type="text/html")
    return frontend


@pytest.mark.parametrize(
    ("method", "more", "keeps"),
    [
        ("GET", {}, True),
        ("POST", {}, True),
        ("GET", CROSS, True),
        ("GET", {**NAVIGATION, "sec_fetch_site": "cross-site"}, True),
        ("POST", {"sec_fetch_site": "cross-site", "origin": "http://evil.test"}, False),
        ("POST", {**CROSS, "origin": "null"}, False),
        ("DELETE", {**CROSS, "origin": "http://localhost:1"}, False),
        ("GET", {**CROSS, "upgrade": "websocket", "connection": "Upgrade"}, False),
    ],
)
def test_server_code_of_the_front_end_acts_for_no_foreign_page(
    start: Callable[..., Mitmdump],
    upstream: Upstream,
    frontend: Upstream,
    method: str,
    more: dict[str, Any],
    keeps: bool,
) -> None:
    options = ("cookie_auth_prefix=/api", f"cookie_auth_frontend={frontend.url}")
    mitmdump = start(*(part for option in options for part in ("--set", option)))
    page = logged_in(mitmdump, upstream, "/api")
    page.plant("theme", "dark")
    page.request(method, "/action", body="{}", **more)
    cookie = frontend.last.one("cookie") or ""
    assert ("auth-token=sekret" in cookie) is keeps
    assert "theme=dark" in cookie
    assert not upstream.received


def test_the_refresh_token_stays_off_the_front_end_also_with_a_host_prefix(
    start: Callable[..., Mitmdump], upstream: Upstream, frontend: Upstream
) -> None:
    options = (
        *("cookie_auth_prefix=/api", f"cookie_auth_frontend={frontend.url}"),
        *("cookie_auth_refresh=/refresh", "cookie_auth_cookie=__Host-t"),
    )
    page = Page(start(*(part for option in options for part in ("--set", option))).client)
    upstream.answers('{"authToken": "sekret", "refreshToken": "long-lived"}')
    page.post("/api/login")
    page.get("/page")
    assert "__Host-t=sekret" in (frontend.last.one("cookie") or "")
    assert "long-lived" not in str(frontend.last)


def test_one_server_for_both_is_warned_of(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    same = f"cookie_auth_frontend=http://localhost:{upstream.port}"
    mitmdump = start("--set", "cookie_auth_prefix=/api", "--set", same)
    mitmdump.wait_for_log("front end and API are both http://127.0.0.1")


# Frames


def test_documents_are_framed_by_our_own_pages_and_allowed_ones_only(
    start: Callable[..., Mitmdump], upstream: Upstream, frontend: Upstream
) -> None:
    options = (
        *("cookie_auth_prefix=/api", f"cookie_auth_frontend={frontend.url}"),
        "cookie_auth_allowed_origins=http://localhost:3000",
    )
    mitmdump = start(*(part for option in options for part in ("--set", option)))
    page = Page(mitmdump.client)
    ours = "frame-ancestors 'self' http://localhost:3000"
    assert page.get("/").all("content-security-policy") == [ours]
    upstream.answers("<p>api", Content_Type="text/html", Content_Security_Policy="default-src *")
    assert page.get("/api/page").all("content-security-policy") == ["default-src *", ours]
    upstream.answers("{}", Content_Type="application/json")
    assert page.get("/api/me").one("content-security-policy") is None
    framed = {"sec_fetch_site": "same-site", "sec_fetch_mode": "navigate"}
    page.get("/", sec_fetch_dest="iframe", referer="http://localhost:4000/x", **framed)
    mitmdump.wait_for_log("a page of http://localhost:4000 shows the app in a frame")


# Cookies of the API


def test_answers_to_untrusted_requests_set_no_cookie_but_for_a_navigation(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_forward_cookies=sid").client
    upstream.answers("{}", Set_Cookie="sid=anonymous; Path=/")
    page = Page(proxy)
    assert not page.get("/me", **CROSS).all("set-cookie")
    assert not page.get("/me", sec_fetch_site="cross-site", origin="http://evil.test").all(
        "set-cookie"
    )
    expected = ["sid=anonymous; Path=/; HttpOnly"]
    link = {**NAVIGATION, "sec_fetch_site": "cross-site"}
    assert page.get("/callback", **link).all("set-cookie") == expected
    assert not page.get("/me", **link).all("set-cookie")  # it has one, which did not go along
    assert page.get("/me").all("set-cookie") == expected
    assert proxy.get("/me").all("set-cookie") == expected


@pytest.mark.parametrize(
    ("field", "passed"),
    [
        ("=auth-token=evil", None),
        ("auth-token=evil", None),
        (" =auth-token=evil", None),
        ("auth-token", None),
        ("auth-token =evil", None),
        ("auth-token-login=1.AAAAAAAAAAAA.AAAAAAAAAAAAAAAA", None),
        ("auth-token-refresh=x", None),
        ("a\rSet-Cookie: auth-token=evil", None),
        ("theme=dark", "theme=dark"),
        ("XSRF-TOKEN=x", "XSRF-TOKEN=x"),
        ("laravel_session=x; Path=/", "laravel_session=x; Path=/; HttpOnly"),
        ("PHPSESSID=x; HttpOnly", "PHPSESSID=x; HttpOnly"),
        ("x=sekret", "x=sekret; HttpOnly"),
        ("x=a%3Asekret", "x=a%3Asekret; HttpOnly"),
    ],
)
def test_no_cookie_of_the_api_passes_for_ours_and_scripts_read_no_token_in_one(
    proxy_with: ProxyWith, upstream: Upstream, field: str, passed: str | None
) -> None:
    proxy = proxy_with("cookie_auth_forward_cookies=*").client
    upstream.answers("{}", Set_Cookie=field)
    got = proxy.get("/me", cookie="auth-token=sekret")
    assert got.all("set-cookie") == ([] if passed is None else [passed])


def test_a_forwarded_cookie_that_is_the_captured_token_passes_as_httponly(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_forward_cookies=restore").client
    upstream.answers('{"authToken": "sekret"}', Set_Cookie="restore=sekret; Path=/")
    got = proxy.post("/login")
    assert "restore=sekret; Path=/; HttpOnly" in got.set_cookies
    assert got.body == b'{"loggedIn": true}'


# What an answer may do to the proxy's origin


def test_an_answer_speaks_for_itself_only(proxy_with: ProxyWith, upstream: Upstream) -> None:
    upstream.answers(
        "{}",
        Strict_Transport_Security="max-age=1",
        Clear_Site_Data='"*"',
        Alt_Svc='h2=":443"',
        Service_Worker_Allowed="/",
        X_Other="kept",
        Content_Type="application/json",
    )
    got = proxy_with().client.get("/me")
    names = {name for name, _ in got.headers}
    assert names == {"content-length", "content-type", "x-other", "x-content-type-options", "vary"}


def test_a_line_break_in_a_header_begins_no_other(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.answers("{}", X_A="a\rSet-Cookie: auth-token=evil")
    got = proxy_with().client.raw(b"GET /me HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"X-A: a Set-Cookie: auth-token=evil\r\n" in got


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v1/\t/evil.example", "/v1//evil.example"),
        ("/v1/\r/evil.example", "/v1//evil.example"),
        ("/v1\t//evil.example", "/v1//evil.example"),
        ("/v1/\\evil.example", "/v1/\\evil.example"),
        (" /v1/me", "/me"),
        ("/v1/me", "/me"),
    ],
)
def test_a_redirect_within_the_api_leads_to_no_other_host(
    proxy_with: ProxyWith, upstream: Upstream, location: str, expected: str
) -> None:
    upstream.answers("", 302, Location=location)
    got = proxy_with("cookie_auth_base_path=/v1").client.get("/me")
    assert got.one("location") == expected


@pytest.mark.parametrize("name", ["X-Original-URL", "x_rewrite_url", "X-Forwarded-Uri"])
def test_no_header_hides_another_path(proxy_with: ProxyWith, upstream: Upstream, name: str) -> None:
    proxy_with().client.get("/me", [(name, "/login")])
    assert "/login" not in str(upstream.last)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}, 'x-Basic realm="a"'),
        ({"origin": "http://evil.test"}, 'x-Basic realm="a"'),
        ({"sec_fetch_site": "same-origin", "sec_fetch_mode": "navigate"}, 'Basic realm="a"'),
        ({}, 'Basic realm="a"'),
    ],
)
def test_no_dialog_of_the_browsers_own_opens_over_the_app(
    proxy_with: ProxyWith, upstream: Upstream, more: dict[str, Any], expected: str
) -> None:
    upstream.answers("{}", 401, WWW_Authenticate='Basic realm="a"')
    assert proxy_with().client.get("/me", **more).one("www-authenticate") == expected


@pytest.mark.parametrize("option", ["stickyauth=.*", "stickycookie=.*"])
def test_options_of_mitmproxy_that_give_tokens_to_foreign_pages_are_refused(
    start: Callable[..., Mitmdump], option: str
) -> None:
    mitmdump = start("--set", option)
    assert mitmdump.exit_code() == 1
    name = option.partition("=")[0]
    assert f"{name}: '.*' is wrong; it must be unset: it puts" in mitmdump.log


# The page's own credentials


def test_credentials_for_the_login_itself_pass_next_to_an_old_cookie(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with(
        "cookie_auth_header=Authorization", "cookie_auth_header_format=Bearer {token}"
    ).client
    upstream.answers('{"authToken": "sekret"}')
    basic = "Basic " + base64.b64encode(b"user:password").decode()
    for kind in ("application/json", "text/plain"):
        got = proxy.post("/login", authorization=basic, cookie="auth-token=old", content_type=kind)
        assert upstream.last.one("authorization") == basic
        assert got.body == b'{"loggedIn": true}'
    proxy.get("/me", authorization=basic, cookie="auth-token=old")
    assert upstream.last.one("authorization") == "Bearer old"


def test_a_credential_that_the_proxy_did_not_hand_out_is_told_once_with_its_issuer(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    parts = ({"alg": "none"}, {"iss": "https://issuer.example.test/realm", "sub": "sekret"})
    coded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts]
    mitmdump = start(
        *("--set", "cookie_auth_header=Authorization"),
        *("--set", "cookie_auth_header_format=Bearer {token}"),
    )
    page = Page(mitmdump.client)
    for _ in range(2):
        page.get("/me", authorization=f"Bearer {'.'.join(coded)}.sig")
        assert (upstream.last.one("authorization") or "").startswith("Bearer ey")
    mitmdump.wait_for_log(
        r"a page sends a credential of its own in Authorization \(a token of issuer\.example\.test"
    )
    assert mitmdump.log.count("of its own") == 1
    assert coded[1] not in mitmdump.log


def test_an_api_that_is_told_of_a_logout_gets_no_empty_json_document(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_logout_upstream=true").client
    proxy.post("/logout", cookie="auth-token=sekret", content_type="application/json")
    assert upstream.last.one("content-type") is None
    assert upstream.last.one("content-length") == "0"
    assert upstream.last.body == b""


# Load


def test_long_targets_of_a_foreign_page_are_not_remembered(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    mitmdump = start("--flow-detail", "0")
    client = mitmdump.client
    process = psutil.Process(mitmdump.process.pid)
    for number in range(5):
        client.get(f"/x?{number}" + "y" * 200_000, **CROSS)
    before = process.memory_info().rss
    for number in range(60):
        client.get(f"/{number}" + "y" * 200_000, **CROSS)
        upstream.received.clear()
    # What is remembered of them all would be 24 MiB or more.
    assert process.memory_info().rss - before < 10 * 2**20


# What a browser has kept


@pytest.mark.parametrize(
    ("host", "trustworthy"),
    [
        ("localhost", True),
        ("shop.localhost:8080", True),
        ("127.0.0.1", True),
        ("127.1.2.3:80", True),
        ("[::1]:8080", True),
        ("192.168.0.7", False),
        ("10.0.0.1:8080", False),
    ],
)
def test_a_logout_clears_the_cache_where_the_browser_would_do_so(
    proxy_with: ProxyWith, host: str, trustworthy: bool
) -> None:
    request = f"POST /logout HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
    got = proxy_with().client.raw(request.encode())
    assert got.startswith(b"HTTP/1.1 200 ")
    assert (b'\r\nClear-Site-Data: "cache"\r\n' in got) is trustworthy


@pytest.mark.parametrize(
    ("dest", "kept"), [("document", "no-store"), ("iframe", "no-store"), ("empty", "max-age=60")]
)
def test_a_page_that_was_given_with_the_token_is_not_shown_by_the_back_button_after_a_logout(
    proxy_with: ProxyWith, upstream: Upstream, dest: str, kept: str
) -> None:
    page = logged_in(proxy_with(), upstream)
    upstream.answers("<p>", Cache_Control="max-age=60", Content_Type="text/html")
    got = page.get("/account", sec_fetch_mode="navigate", sec_fetch_dest=dest)
    assert got.one("cache-control") == kept
