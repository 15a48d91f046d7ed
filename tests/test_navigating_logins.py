"""Listed logins that a person navigates to: OAuth callbacks, magic links, forms."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from page import Page
from playwright.sync_api import BrowserContext
from support import Message, Mitmdump, Upstream, answer
from token_api import BY_LINK, readable

ProxyWith = Callable[..., Mitmdump]

TOKEN = "tk-5Jq0vWq9ZtR3uE5n"
FORM = "application/x-www-form-urlencoded"
SUBMIT: dict[str, Any] = {
    "sec_fetch_mode": "navigate",
    "sec_fetch_dest": "document",
    "content_type": FORM,
}
CALLBACKS = ("cookie_auth_login=/login", "cookie_auth_login=GET /auth/*/callback")
TARGETS = ["/auth/github/callback?code=4%2F0AX&state=xyz", "/login?token=one-time"]


@pytest.fixture
def page(proxy_with: ProxyWith) -> Page:
    return Page(proxy_with(*CALLBACKS).client)


def check_logged_in(page: Page, upstream: Upstream, got: Message) -> None:
    assert TOKEN not in readable(got)
    assert got.one("cache-control") == "no-store"
    upstream.answers("{}")
    page.get("/me")
    assert upstream.last.one("auth-token") == TOKEN


@pytest.mark.parametrize("target", TARGETS)
def test_a_link_from_another_site_logs_in_and_leads_to_a_page(
    page: Page, upstream: Upstream, target: str
) -> None:
    upstream.answers(json.dumps({"authToken": TOKEN, "user": {"id": 1}}), ETag='"1"')
    got = page.get(target, **BY_LINK)
    assert (got.status, got.one("location"), got.body) == (303, "/", b"")
    assert got.one("content-length") == "0"
    assert not got.all("etag") + got.all("content-type")
    assert got.one("referrer-policy") == "no-referrer"
    check_logged_in(page, upstream, got)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_mode": "cors", "sec_fetch_dest": "empty"},
        {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"},
        {"sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
        {"sec_fetch_mode": "", "accept": "text/html"},
    ],
    ids=["a script", "an image", "an iframe", "an old browser"],
)
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_nothing_else_of_a_foreign_page_logs_in(
    page: Page, upstream: Upstream, target: str, headers: dict[str, Any], site: str
) -> None:
    upstream.answers(json.dumps({"authToken": TOKEN}))
    got = page.get(target, **headers, sec_fetch_site=site)
    assert (got.status, json.loads(got.body)["error"]) == (403, "cross_origin")
    assert not upstream.received
    assert not page.jar


def test_no_link_logs_in_that_has_no_grant_where_the_rule_does_not_say_get(
    page: Page, upstream: Upstream, proxy_with: ProxyWith
) -> None:
    upstream.answers(json.dumps({"authToken": TOKEN}))
    for target in ("/login", "/login?user=attacker&password=x", "/login?code="):
        got = page.get(target, **BY_LINK)
        assert (got.status, json.loads(got.body)["error"]) == (403, "cross_origin")
        assert not page.jar
    assert not upstream.received
    # Where nobody has said that it is a login, it may be a page.
    other = Page(proxy_with().client)
    assert other.get("/login", **BY_LINK).status == 403
    assert not other.jar
    upstream.answers("<form>", Content_Type="text/html")
    assert other.get("/login", **BY_LINK).body == b"<form>"


def test_a_form_of_a_foreign_page_does_not_log_in(page: Page, upstream: Upstream) -> None:
    got = page.post("/login", "user=attacker", **{**SUBMIT, "sec_fetch_site": "cross-site"})
    assert got.status == 403
    assert not upstream.received


def test_a_form_of_ones_own_leads_to_a_page_and_fetch_gets_json(
    page: Page, upstream: Upstream
) -> None:
    upstream.answers(json.dumps({"authToken": TOKEN}))
    got = page.post("/login", "user=me&password=x", **SUBMIT)
    assert (got.status, got.one("location")) == (303, "/")
    check_logged_in(page, upstream, got)
    upstream.answers(json.dumps({"authToken": TOKEN}))
    for accept in ("", "*/*", "application/json, text/plain, */*"):
        got = page.post("/login", accept=accept)
        assert (got.status, got.body) == (200, b'{"loggedIn": true}')


def test_a_browser_without_fetch_metadata_says_it_by_accept(page: Page, upstream: Upstream) -> None:
    """On plain http, but for localhost; and Turbo's forms, which are sent by fetch."""
    upstream.answers(json.dumps({"authToken": TOKEN}), 201)
    own = f"http://localhost:{page.client.port}"
    old = {"sec_fetch_site": "", "sec_fetch_mode": "", "origin": own}
    got = page.post("/login", "a=b", **old, accept="text/html,*/*;q=0.8")
    assert (got.status, got.one("location")) == (303, "/")
    check_logged_in(page, upstream, got)


def test_an_answer_without_a_body_leads_on_too(proxy_with: ProxyWith, upstream: Upstream) -> None:
    """A 204 would leave the person where they are (HTML, navigate)."""
    page = Page(proxy_with("cookie_auth_login=/login", "cookie_auth_token=header:X-Auth").client)
    upstream.answers("", 204, X_Auth=TOKEN)
    got = page.post("/login", "a=b", **SUBMIT)
    assert (got.status, got.one("location")) == (303, "/")
    check_logged_in(page, upstream, got)


@pytest.mark.parametrize("login_body", ["redact", "stand-in"])
def test_whatever_the_body_would_be_the_person_sees_a_page(
    proxy_with: ProxyWith, upstream: Upstream, login_body: str
) -> None:
    more = (f"cookie_auth_login_body={login_body}", "cookie_auth_login_redirect=/app?in#here")
    page = Page(proxy_with(*CALLBACKS, *more).client)
    upstream.answers(json.dumps({"authToken": TOKEN, "user": {"id": 1}}))
    got = page.get(TARGETS[0], **BY_LINK)
    assert (got.status, got.one("location"), got.body) == (303, "/app?in#here", b"")
    check_logged_in(page, upstream, got)


def test_a_page_of_the_apis_that_has_stand_ins_stays_one(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    options = ("cookie_auth_token=header:X-Auth", "cookie_auth_login_body=stand-in")
    page = Page(proxy_with(*CALLBACKS, *options).client)
    upstream.answers(f"<script>own('{TOKEN}')</script>", Content_Type="text/html", X_Auth=TOKEN)
    got = page.get(TARGETS[0], **BY_LINK)
    assert got.status == 200
    assert got.body.startswith(b"<script>own('stand-m")
    check_logged_in(page, upstream, got)


@pytest.mark.parametrize("status", [302, 303, 307])
@pytest.mark.parametrize(
    ("source", "body", "headers"),
    [
        ("header:X-Auth", "<a href=/welcome>Found</a>", {"X_Auth": TOKEN}),
        ("/authToken", json.dumps({"authToken": TOKEN}), {}),
    ],
)
def test_where_the_api_itself_leads_on_the_person_goes_there(
    proxy_with: ProxyWith,
    upstream: Upstream,
    status: int,
    source: str,
    body: str,
    headers: dict[str, str],
) -> None:
    options = ("cookie_auth_login=/login", f"cookie_auth_token={source}", "cookie_auth_prefix=/api")
    page = Page(proxy_with(*options).client)
    upstream.answers(body, status, Location=f"{upstream.url}/welcome?x=1", **headers)
    got = page.post("/api/login", "user=me&password=x", **SUBMIT)
    # A 307 would have the password sent once more.
    assert got.status == (303 if status == 307 else status)
    assert (got.one("location") or "").endswith("/api/welcome?x=1")
    assert got.body == b""
    assert TOKEN not in readable(got)
    upstream.answers("{}")
    page.get("/api/me")
    assert upstream.last.one("auth-token") == TOKEN


def test_a_redirect_that_repeats_the_captured_token_is_refused(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    page = Page(proxy_with("cookie_auth_login=/login", "cookie_auth_token=header:X-Auth").client)
    upstream.answers("", 302, Location=f"/welcome/{TOKEN}", X_Auth=TOKEN)
    got = page.post("/login", "a=b", **SUBMIT)
    assert (got.status, json.loads(got.body)["error"]) == (502, "login_unreadable")
    assert TOKEN not in str(got)
    assert not page.jar


def test_a_token_in_the_address_is_taken_out_of_it_and_the_rest_stays(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    page = Page(proxy_with(*CALLBACKS, "cookie_auth_token=location:access_token").client)
    upstream.answers("", 302, Location=f"/app?x=1#access_token={TOKEN}&state=2")
    got = page.get(TARGETS[0], **BY_LINK)
    assert (got.status, got.one("location")) == (302, "/app?x=1#state=2")
    check_logged_in(page, upstream, got)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ("<p>This link is over.", 410, "text/html"),
        ('{"error": "invalid_grant"}', 400, "application/json"),
        ("<form>What is your second factor?</form>", 200, "text/html"),
    ],
)
def test_a_login_that_fails_shows_what_the_api_says(
    page: Page, upstream: Upstream, body: str, status: int, kind: str
) -> None:
    upstream.answers(body, status, Content_Type=kind)
    for got in (page.get(TARGETS[0], **BY_LINK), page.post("/login", "a=b", **SUBMIT)):
        assert (got.status, got.body.decode()) == (status, body)
        assert not page.jar


def test_the_state_of_an_oauth_login_comes_back_also_while_an_earlier_login_is_there(
    page: Page, upstream: Upstream
) -> None:
    upstream.answers('{"authToken": "over-by-now-0123456789"}')
    page.post("/login")
    fields = [
        ("Location", "https://login.test/authorize?client_id=web&state=xyz"),
        ("Set-Cookie", "oauth_state=xyz; HttpOnly; SameSite=Lax; Path=/"),
    ]
    upstream.respond = lambda request: answer("", 302, fields)
    page.get("/auth/github", sec_fetch_mode="navigate", sec_fetch_dest="document")
    assert "auth-token-api-oauth_state" in page.cookies
    upstream.answers("{}")
    page.get("/me?code=1", **BY_LINK)  # no login
    assert upstream.last.one("cookie") is None
    upstream.answers(json.dumps({"authToken": TOKEN}))
    got = page.get(TARGETS[0], **BY_LINK)
    assert upstream.last.one("cookie") == "oauth_state=xyz"
    assert upstream.last.one("auth-token") is None
    assert got.status == 303
    assert set(page.cookies) == {"auth-token", "auth-token-login"}
    check_logged_in(page, upstream, got)


# In Chromium


def oauth_server(request: Message) -> bytes:
    """Somebody else's: its pages lead to the address in their query, by link or form."""
    to = request.target.partition("?")[2]
    page = f"<a href='{to}'>Log in</a><form method=post action='{to}'><button>Send</button></form>"
    return answer(page, Content_Type="text/html")


def api(request: Message) -> bytes:
    path = request.target.partition("?")[0]
    if path == "/auth/github/callback" or (path, request.method) == ("/login", "POST"):
        if b"wrong" in request.body:
            return answer("<p>Wrong password", 401, Content_Type="text/html")
        return answer(json.dumps({"authToken": TOKEN}), Content_Type="application/json")
    if path == "/me":
        return answer(json.dumps({"token": len(request.one("auth-token") or "")}))
    field = "<input name=password><button>Log in</button>"
    form = f"<title>app</title><form method=post action=/login>{field}</form>"
    return answer(form, Content_Type="text/html")


WHO = "async () => (await (await fetch('/me')).json()).token"


def test_chromium_comes_back_from_an_oauth_server_and_is_logged_in(
    context: BrowserContext, proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.respond = api
    own = f"http://localhost:{proxy_with(*CALLBACKS).client.port}"
    server = Upstream()
    server.respond = oauth_server
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/?{own}{TARGETS[0]}")
    page.get_by_role("link", name="Log in").click()
    page.wait_for_url(f"{own}/")
    assert page.title() == "app"
    assert page.evaluate(WHO) == len(TOKEN)
    assert page.evaluate("document.cookie") == ""
    # Its form logs nobody in.
    context.clear_cookies()
    page.goto(f"http://127.0.0.1:{server.port}/?{own}/login")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(f"{own}/login")
    assert "cross_origin" in page.content()
    assert context.cookies() == []
    server.close()


def test_chromium_sends_a_form_and_sees_the_app_or_what_is_wrong(
    context: BrowserContext, proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.respond = api
    own = f"http://localhost:{proxy_with(*CALLBACKS).client.port}"
    page = context.new_page()
    page.goto(own)
    page.locator("input").fill("wrong")
    page.get_by_role("button").click()
    page.wait_for_url(f"{own}/login")
    assert page.inner_text("body") == "Wrong password"
    assert context.cookies() == []
    page.go_back()
    page.locator("input").fill("right")
    page.get_by_role("button").click()
    page.wait_for_url(f"{own}/")
    assert page.evaluate(WHO) == len(TOKEN)
