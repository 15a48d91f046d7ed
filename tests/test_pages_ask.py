"""In Chromium: what a page asks the proxy for, and what a page that may not learns of it."""

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext
from support import Message, Mitmdump, Upstream, answer
from test_jar import jwt

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
