"""A token that an API gives in a cookie, and wants in a header."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from browser_client import Browser
from page import Page
from support import Message, Mitmdump, Upstream, answer
from tokens.sources import given_cookies

ProxyWith = Callable[..., Mitmdump]
Start = Callable[..., Mitmdump]

OPTIONS = (
    "cookie_auth_token=cookie:access",
    "cookie_auth_header=Authorization",
    "cookie_auth_header_format=Bearer {token}",
)
PAST = "Thu, 01 Jan 1970 00:00:00 GMT"


class Api:
    """Sets its token as a cookie, and reads it in a header, as some do for phones; each write gets
    another one.
    """

    def __init__(self) -> None:
        self.number = 0

    @property
    def token(self) -> str:
        return f"a%20token-{self.number}-0123456789"

    def given(self, body: str = "{}", status: int = 200, **headers: str) -> bytes:
        self.number += 1
        fields = [
            ("Set-Cookie", f"access=; Path=/old; Expires={PAST}"),
            ("Set-Cookie", f"access={self.token}; Path=/; Domain=api.example.com; HttpOnly"),
            ("Set-Cookie", "theme=dark; Path=/"),
        ]
        return answer(body, status, fields + list(headers.items()))

    def __call__(self, request: Message) -> bytes:
        if request.target in ("/login", "/refresh"):
            body = {"user": "me", "again": f"{self.number + 1}", "refreshToken": "refresh-me-0123"}
            return self.given(json.dumps(body))
        if request.target == "/form":
            return self.given("", 307, Location="/home?theme=dark")
        if request.target == "/wrong":
            return self.given('{"error": "wrong"}', 401)
        if request.target == "/end":
            return answer("{}", headers=[("Set-Cookie", "access=gone; Max-Age=0")])
        good = request.one("authorization") == f"Bearer {self.token}"
        if good and request.method == "PUT":
            return self.given(json.dumps({"now": f"a%20token-{self.number + 1}-0123456789"}))
        return answer("{}", 200 if good else 401)


@pytest.fixture
def api(upstream: Upstream) -> Api:
    upstream.respond = api = Api()
    return api


def test_the_cookies_value_becomes_the_token_as_it_stands(
    proxy_with: ProxyWith, upstream: Upstream, api: Api
) -> None:
    client = proxy_with(*OPTIONS, "cookie_auth_forward_cookies=*").client
    page = Page(client)
    got = page.post("/login")
    assert got.body == b'{"loggedIn": true}'
    assert {field.partition("=")[0] for field in got.set_cookies} == {"auth-token", "theme"}
    assert page.cookies["auth-token"] == api.token.replace("%", "%25")
    assert page.get("/me").status == 200
    assert upstream.last.one("cookie") == "theme=dark"


def test_a_later_answer_renews_it_and_no_page_sees_that(
    proxy_with: ProxyWith, upstream: Upstream, api: Api
) -> None:
    page = Page(proxy_with(*OPTIONS, "cookie_auth_forward_cookies=*").client)
    page.post("/login")
    before = api.token
    got = page.request("PUT", "/me", body="{}")
    assert api.token != before
    assert not [field for field in got.set_cookies if field.startswith("access")]
    assert api.token not in got.body.decode()
    assert page.get("/me").status == 200
    # What deletes it, or comes in answer to a request without a token, captures nothing.
    assert page.get("/end").set_cookies == []
    assert page.get("/me").status == 200
    got = Page(page.client).request("PUT", "/me", body="{}")
    assert got.status == 401
    assert got.set_cookies == []


def test_a_login_by_form_goes_on_with_its_redirect(
    proxy_with: ProxyWith, upstream: Upstream, api: Api
) -> None:
    page = Page(proxy_with(*OPTIONS, "cookie_auth_login=/form").client)
    got = page.post("/form")
    assert (got.status, got.one("location"), got.body) == (303, "/home?theme=dark", b"")
    assert page.get("/me").status == 200


def test_one_that_is_refused_sets_none(proxy_with: ProxyWith, upstream: Upstream, api: Api) -> None:
    got = proxy_with(*OPTIONS, "cookie_auth_login=/wrong").client.post("/wrong")
    assert (got.status, got.body) == (401, b'{"error": "wrong"}')
    assert got.set_cookies == []


def test_what_the_body_repeats_is_taken_out(
    proxy_with: ProxyWith, upstream: Upstream, api: Api
) -> None:
    page = Page(proxy_with(*OPTIONS, "cookie_auth_login_body=redact").client)
    assert json.loads(page.post("/login").body) == {"user": "me", "again": "1"}
    upstream.respond = lambda request: api.given('{"user": "a%20token-2-0123456789"}')
    assert page.post("/login").body == b'{"loggedIn": true}'
    assert api.token == "a%20token-2-0123456789"


def test_a_refresh_may_give_it_and_nothing_of_it_is_recorded_with_redact(
    start: Start, upstream: Upstream, api: Api, tmp_path: Path
) -> None:
    settings = (*OPTIONS, "cookie_auth_refresh=/refresh", "cookie_auth_redact=true")
    arguments = [part for option in settings for part in ("--set", option)]
    flows = tmp_path / "flows"
    mitmdump = start(*arguments, "-w", str(flows))
    browser = Browser(mitmdump.client)
    browser.request("POST", "/login")
    api.number += 1  # what it gave before is good no more
    assert browser.request("GET", "/me").status == 200
    assert [request.target for request in upstream.received][1:] == ["/me", "/refresh", "/me"]
    mitmdump.stop()
    assert b"/refresh" in flows.read_bytes()
    assert b"a%20token" not in flows.read_bytes()
    assert b"a%2520token" not in flows.read_bytes()
    assert "token-" not in mitmdump.log


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("a=b", {"a": "b"}),
        ('a="b c"; Path=/', {"a": '"b c"'}),
        (" a = b=c ;HttpOnly", {"a": "b=c"}),
        ("a=b; Max-Age=60; Expires=" + PAST, {"a": "b"}),
        ("a=b; Max-Age=x", {"a": "b"}),
        ("a=b; Expires=never", {"a": "b"}),
        ("a=b; Expires=Fri, 31 Dec 9999 23:59:59 GMT", {"a": "b"}),
        ("a=", {}),
        ("a", {}),
        ("a=b; max-age=0", {}),
        ("a=b; Max-Age=-1", {}),
        ("a=b; Max-Age=00", {}),
        ("a=deleted; expires=" + PAST, {}),
        ("a=b; Expires=Thu, 01-Jan-1970 00:00:01 GMT", {}),
    ],
)
def test_what_a_field_gives(field: str, given: dict[str, str]) -> None:
    assert given_cookies([field]) == given
