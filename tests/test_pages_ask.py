"""In Chromium: what a page asks the proxy for, and what a page that may not learns of it."""

import json
from collections.abc import Callable, Iterator

import pytest
from browser_client import log_in
from conftest import CHROMIUM
from playwright.sync_api import Browser, BrowserContext, Frame
from support import Message, Mitmdump, Upstream, answer
from test_jar import jwt
from test_refresh import Accounts

ProxyWith = Callable[..., Mitmdump]

TRY = """async ([url, init]) => {
  try {
    const answer = await fetch(url, init)
    return [answer.status, await answer.text()]
  } catch (error) {
    return String(error)
  }
}"""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of another dev server of this machine."""
    server = Upstream()
    server.respond = lambda request: answer("<!doctype html>", Content_Type="text/html")
    yield f"http://localhost:{server.port}"
    server.close()


def test_a_page_learns_who_is_logged_in(
    proxy_with: ProxyWith, upstream: Upstream, context: BrowserContext
) -> None:
    options = "cookie_auth_session=/session", "cookie_auth_claims=sub"
    proxy = proxy_with(*options).client
    body = json.dumps({"authToken": jwt({"sub": "7"}), "expires_in": 900})

    def api(request: Message) -> bytes:
        is_login = request.target == "/login"
        return answer(body) if is_login else answer("<!doctype html>", Content_Type="text/html")

    upstream.respond = api
    page = context.new_page()
    page.goto(f"http://localhost:{proxy.port}/")
    ask = """async () => {
      const {loggedIn, expiresIn, sub} = await (await fetch('/session')).json()
      return [loggedIn, expiresIn > 0 && expiresIn <= 900, sub ?? null]
    }"""
    assert page.evaluate(ask) == [False, False, None]
    page.evaluate("fetch('/login', {method: 'POST'})")
    assert page.evaluate(ask) == [True, True, "7"]
    page.evaluate("fetch('/logout', {method: 'POST'})")
    assert page.evaluate(ask) == [False, False, None]


def test_a_page_that_is_almost_allowed_reads_why_it_is_refused(
    proxy_with: ProxyWith, upstream: Upstream, context: BrowserContext, elsewhere: str
) -> None:
    proxy = proxy_with("cookie_auth_allowed_origins=http://localhost:3998").client
    at = f"http://localhost:{proxy.port}"
    page = context.new_page()
    page.goto(elsewhere)
    headers = {"content-type": "application/json", "x-http-method-override": "DELETE"}
    for init in (
        {"method": "POST", "credentials": "include", "headers": headers, "body": "{}"},
        {"method": "POST", "body": "simple"},
        {"method": "DELETE"},
    ):
        status, body = page.evaluate(TRY, [f"{at}/me", init])
        assert status == 403
        assert f"--set cookie_auth_allowed_origins={elsewhere}" in body
    assert not upstream.received
    # What it was allowed to send with those, it may not send with what is not refused.
    for headers in ({}, {"x-http-method-override": "DELETE"}):
        assert "Failed to fetch" in page.evaluate(TRY, [f"{at}/me", {"headers": headers}])
    assert [request.method for request in upstream.received] == ["GET", "OPTIONS"]


def test_a_page_where_none_is_allowed_reads_nothing(
    proxy_with: ProxyWith, context: BrowserContext, elsewhere: str
) -> None:
    page = context.new_page()
    page.goto(elsewhere)
    at = f"http://localhost:{proxy_with().client.port}/me"
    assert "Failed to fetch" in page.evaluate(TRY, [at, {"method": "DELETE"}])


# In a frame of another site


@pytest.fixture
def strict_browser(browser: Browser) -> Iterator[Browser]:
    """Chromium with its third-party cookies blocked, as Safari and private windows have them."""
    strict = browser.browser_type.launch(
        executable_path=CHROMIUM, args=["--no-sandbox", "--test-third-party-cookie-phaseout"]
    )
    yield strict
    strict.close()


@pytest.mark.parametrize(
    ("same_site", "works"), [("lax", False), ("none", False), ("partitioned", True)]
)
def test_an_app_in_a_frame_of_another_site_stays_logged_in_by_partitioned_cookies(
    start: Callable[..., Mitmdump],
    upstream: Upstream,
    strict_browser: Browser,
    elsewhere: str,
    same_site: str,
    *,
    works: bool,
) -> None:
    outer = elsewhere.replace("localhost", "127.0.0.1")
    options = (
        f"cookie_auth_samesite={same_site}",
        f"cookie_auth_allowed_origins={outer}",
        "cookie_auth_session=/session",
        "cookie_auth_refresh=/refresh",
    )
    proxy = start(*(part for option in options for part in ("--set", option)))
    accounts = Accounts()

    def api(request: Message) -> bytes:
        if request.target == "/app":
            return answer("<!doctype html>app", Content_Type="text/html")
        return accounts(request)

    upstream.respond = api
    app = f"http://localhost:{proxy.client.port}/app"
    page = strict_browser.new_page()

    def framed() -> Frame:
        page.goto(outer)
        page.set_content(f'<iframe src="{app}"></iframe>')
        element = page.wait_for_selector("iframe")
        frame = element.content_frame() if element else None
        assert frame
        frame.wait_for_url(app)
        return frame

    def asked(frame: Frame, method: str, path: str) -> dict[str, object]:
        found = frame.evaluate(TRY, [path, {"method": method}])
        answered: dict[str, object] = json.loads(found[1])
        return answered

    assert asked(framed(), "POST", "/login") == {"loggedIn": True}
    frame = framed()
    assert asked(frame, "GET", "/session") == {"loggedIn": works}
    if not works:
        return
    accounts.token = "another"  # so that it is renewed, in the frame, too
    assert frame.evaluate(TRY, ["/me", {}])[0] == 200
    assert asked(frame, "GET", "/session") == {"loggedIn": True}
    names = {cookie["name"] for cookie in page.context.cookies()}
    assert names == {"auth-token", "auth-token-refresh", "auth-token-login"}
    assert all(cookie.get("partitionKey") for cookie in page.context.cookies())
    # The app in a tab of its own has a login of its own.
    page.goto(app)
    assert asked(page.main_frame, "GET", "/session") == {"loggedIn": False}
    assert asked(framed(), "POST", "/logout") == {"loggedIn": False}
    assert asked(framed(), "GET", "/session") == {"loggedIn": False}
    assert not page.context.cookies()


def test_cookies_of_before_or_planted_in_a_partition_cost_no_login(
    proxy_with: ProxyWith, upstream: Upstream, context: BrowserContext, elsewhere: str
) -> None:
    """For browsers, a cookie with Partitioned and one without are two, at the same Path."""
    proxy = proxy_with("cookie_auth_session=/session").client
    app = f"http://localhost:{proxy.port}/"
    theirs = dict(pair.split("=", 1) for pair in log_in(proxy, upstream, "theirs").split("; "))
    upstream.answers('{"authToken": "mine"}')
    mine = context.new_page()
    mine.goto(app)
    mine.evaluate("fetch('/login', {method: 'POST'})")
    other = context.new_page()
    other.goto(elsewhere)  # another port of the same host, whose scripts may set cookies there
    for name, value in theirs.items():
        field = f"{name}={value}; Path=/; Secure; SameSite=None; Partitioned"
        other.evaluate("field => { document.cookie = field }", field)
    assert len(context.cookies()) == 4
    status, body = mine.evaluate(TRY, ["/me", {}])
    assert (status, json.loads(body)["error"]) == (400, "bad_request")
    status, _ = mine.evaluate(TRY, ["/me", {}])
    assert status == 200
    assert upstream.last.one("auth-token") == "mine"
    assert len(context.cookies()) == 2
