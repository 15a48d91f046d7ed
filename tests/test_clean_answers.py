"""Answers that browsers take as they are: cookies, our own messages, and what is mended."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext
from support import Message, Mitmdump, Upstream, answer

ProxyWith = Callable[..., Mitmdump]

# Cookies


CSRF_COOKIES = [
    "__Host-csrf=abc; Secure; Path=/; SameSite=Strict",
    "__HOST-csrf=abc; path=/; secure; Partitioned",
    "__Secure-csrf=abc; Secure; Path=/; SameSite=None",
    "XSRF-TOKEN=abc; Path=/; Secure; SameSite=None; Partitioned",
    "csrftoken=abc; Path=/; Max-Age=31449600; SameSite=Lax",
]


@pytest.mark.parametrize("cookie", CSRF_COOKIES, ids=lambda cookie: cookie.partition("=")[0])
def test_an_api_below_a_prefix_gets_its_csrf_cookie_and_the_page_reads_it(
    proxy_with: ProxyWith, upstream: Upstream, context: BrowserContext, cookie: str
) -> None:
    name = cookie.partition("=")[0]

    def api(request: Message) -> bytes:
        if request.target == "/csrf":
            return answer("{}", headers=[("Set-Cookie", cookie)])
        if request.method == "POST":
            given = request.one("x-csrf") or "none"
            fits = f"{name}={given}" in (request.one("cookie") or "").split("; ")
            return answer("{}", 200 if fits else 403)
        return answer("<!doctype html>", Content_Type="text/html")

    upstream.respond = api
    port = proxy_with(
        "cookie_auth_prefix=/api",
        f"cookie_auth_frontend={upstream.url}",
        "cookie_auth_forward_cookies=*",
    ).client.port
    page = context.new_page()
    page.goto(f"http://localhost:{port}/")
    status = page.evaluate(
        """async name => {
          await fetch('/api/csrf')
          const [, value] = document.cookie.match(name + '=([^;]*)') || []
          return (await fetch('/api/pay', {method: 'POST', headers: {'x-csrf': value}})).status
        }""",
        name,
    )
    assert status == 200
