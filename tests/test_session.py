"""What pages ask for: whether somebody is logged in, who it is, and how long that holds."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_client import Browser, log_in
from exchanges.settings import Settings
from inspection import start
from page import Page
from settings.option import InvalidOption
from support import Client, Message, Mitmdump, Upstream, answer, free_port
from test_any_api import SECRET
from test_jar import jwt
from test_refresh import Accounts
from test_settings import DEFAULTS, parse
from tokens import claims
from tokens.lifetime import Ends

ProxyWith = Callable[..., Mitmdump]

SESSION = "cookie_auth_session=/session"
NOBODY = {"loggedIn": False}
ME = {"sub": "7", "roles": ["admin", "user"], "name": "Jo"}


def state(got: Message) -> dict[str, Any]:
    """What the proxy says to a page; without what it says in any case."""
    assert got.status == 200
    assert got.one("content-type") == "application/json"
    assert got.one("cache-control") == "no-store"
    found: dict[str, Any] = json.loads(got.body)
    return found


def of(page: Page | Browser, target: str = "/session", **headers: Any) -> dict[str, Any]:
    return state(page.request("GET", target, **headers))


def logged_in(client: Client, upstream: Upstream, token: str, **beside: object) -> Page:
    """A page that has logged in, the API being as it was."""
    respond = upstream.respond
    upstream.respond = lambda request: answer(json.dumps({"authToken": token, **beside}))
    page = Page(client)
    page.post("/login")
    upstream.respond = respond
    upstream.received.clear()
    return page


# Options


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"session": "session"}, "begins with /"),
        ({"session": "GET /session"}, "begins with /"),
        ({"session": "/Login/"}, "cookie_auth_session: '/Login/' is wrong"),
        ({"session": "/Login/"}, "for other requests than '/login' of cookie_auth_login"),
        ({"session": "/x", "logout": "GET /x"}, "'GET /x' of cookie_auth_logout"),
        ({"session": "/x", "refresh": "/x"}, "'/x' of cookie_auth_refresh"),
        ({"session": "/a/b", "login": ["/**"]}, "'/**' of cookie_auth_login"),
        ({"claims": "sub"}, "a list"),
        ({"claims": ["sub,,exp"]}, "sub,roles,exp"),
        ({"claims": [""]}, "sub,roles,exp"),
        ({"claims": ["sub", "loggedIn"]}, "loggedIn is what the proxy says"),
        ({"claims": ["sub,expiresIn"]}, "expiresIn is what the proxy says"),
    ],
)
def test_one_line_says_what_is_wrong(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(InvalidOption) as error:
        parse(**options)
    assert hint in str(error.value)
    assert "cookie_auth_" in str(error.value)


def test_claims_are_named_one_by_one_or_with_commas() -> None:
    named = ["sub, roles,exp", "https://example.com/tenant", "sub"]
    expected = ("sub", "roles", "exp", "https://example.com/tenant")
    assert parse(claims=named).token.claims == expected


def test_start_up_and_status_say_where_it_is() -> None:
    given: dict[str, object] = {
        "cookie_auth_session": "/session",
        "cookie_auth_prefix": "/api",
        "cookie_auth_base_path": "/v1",
        "cookie_auth_claims": ["sub,exp"],
    }
    told = start.described(Settings.parse(DEFAULTS | given))
    assert "login: /api/login; logout: /api/logout; session: /api/session" in told
    assert "claims that pages are told: sub, exp" in told


# Claims


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("7", True),
        (["admin"], True),
        ({"tenant": {"id": 3}}, True),
        (None, True),
        (1.5, True),
        ("é 😀", True),
        (math.nan, False),
        ("\ud800", False),
        (jwt({"sub": "8"}), False),
        ({"deep": [f"see {jwt({})}"]}, False),
        ("the other token: 0f3b6c91d2e84a77", False),
        ({"0f3b6c91d2e84a77": 1}, False),
        ({"access_token": "c2VrcmV0IG9mIHNvbWVib2R5"}, False),
        ({"api_key": "c2VrcmV0IG9mIHNvbWVib2R5"}, False),
    ],
)
def test_a_claim_that_is_or_holds_a_token_is_kept(value: object, *, told: bool) -> None:
    read = claims.read(jwt({"claim": value}), ["claim", "other"], ["0f3b6c91d2e84a77"], frozenset())
    assert read == (({"claim": value}, ()) if told else ({}, ("claim",)))


def test_what_pages_may_read_is_told_in_spite_of_its_name() -> None:
    token = jwt({"push_token": "c2VrcmV0IG9mIHNvbWVib2R5", "jwt": jwt({})})
    read = claims.read(token, ["push_token", "jwt"], [], frozenset({"jwt"}))
    assert dict(read.told).keys() == {"push_token", "jwt"}
    assert claims.read("opaque", ["sub"], [], frozenset()) == ({}, ())


def test_what_stood_beside_a_token_says_when_it_ends() -> None:
    ends = Ends()
    ends.note("opaque", {"expires_in": 60})
    ends.note("nothing said", {})
    left = (ends.of("opaque") or 0) - time.time()
    assert 0 < left <= 60
    assert ends.of("nothing said") is ends.of("another") is None


# The session path


@pytest.mark.parametrize("options", [(), (SECRET,)], ids=["plain", "sealed"])
def test_a_page_learns_whether_somebody_is_logged_in(
    proxy_with: ProxyWith, upstream: Upstream, options: tuple[str, ...]
) -> None:
    proxy = proxy_with(SESSION, "cookie_auth_claims=sub,roles,exp,missing", *options).client
    assert of(Page(proxy)) == NOBODY
    expires = int(time.time()) + 3600
    # Long enough for several cookies.
    page = logged_in(proxy, upstream, jwt({**ME, "exp": expires, "filler": "x" * 5000}))
    found = of(page, "/%73ession/?x=1")
    left = found.pop("expiresIn")
    assert found == {"loggedIn": True, "sub": "7", "roles": ["admin", "user"], "exp": expires}
    assert isinstance(left, int)
    assert 3000 < left <= 3600
    head = page.request("HEAD", "/session")
    assert (head.status, head.body) == (200, b"")
    assert int(head.one("content-length") or 0) > 50
    assert not upstream.received
    page.post("/logout")
    assert of(page) == NOBODY


def test_without_a_jwt_it_says_what_is_known(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with(SESSION, "cookie_auth_claims=sub").client
    assert of(logged_in(proxy, upstream, "an opaque one")) == {"loggedIn": True}
    page = logged_in(proxy, upstream, "another opaque one", expires_in=900)
    found = of(page)
    assert 0 < found.pop("expiresIn") <= 900
    assert found == {"loggedIn": True}


def test_nobody_else_is_told(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with(SESSION, "cookie_auth_claims=sub").client
    page = logged_in(proxy, upstream, jwt(ME))
    assert of(page) == {"loggedIn": True, "sub": "7"}
    assert of(page, sec_fetch_site="same-site", origin="http://localhost:3999") == NOBODY
    assert of(page, sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == NOBODY
    planted = Page(proxy)
    planted.plant("auth-token", jwt(ME))
    assert of(planted) == NOBODY
    by_hand = proxy.get("/session", [("Cookie", f"auth-token={jwt(ME)}")])
    assert state(by_hand) == NOBODY
    # The cookies of two logins: an API request with them is refused.
    cookie = log_in(proxy, upstream), log_in(proxy, upstream, "another")
    assert state(proxy.get("/session", [("Cookie", "; ".join(cookie))])) == NOBODY
    assert not upstream.received


def test_a_server_that_passes_the_cookies_on_is_told(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with(SESSION, "cookie_auth_claims=sub").client
    upstream.answers(json.dumps({"authToken": jwt(ME)}))
    browser = Browser(proxy)
    browser.request("POST", "/login")
    assert of(browser) == {"loggedIn": True, "sub": "7"}


def test_a_token_that_is_over_is_no_login(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with(SESSION, "cookie_auth_claims=sub").client
    page = logged_in(proxy, upstream, jwt({**ME, "exp": time.time() - 1}))
    assert of(page) == NOBODY
    page = logged_in(proxy, upstream, "opaque", expires_in=0)
    assert of(page) == NOBODY


def test_a_page_may_ask_for_an_error(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with(SESSION).client
    got = Page(proxy).get("/session?required")
    assert (got.status, json.loads(got.body)) == (401, NOBODY)
    assert got.one("www-authenticate") == 'Cookie realm="cookie-auth"'
    page = logged_in(proxy, upstream, "sekret")
    assert of(page, "/session?a=b&required=1") == {"loggedIn": True}


def test_other_methods_are_the_apis(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with(SESSION).client
    page = logged_in(proxy, upstream, "sekret")
    upstream.answers('{"deleted": 1}')
    for method in ("POST", "DELETE", "OPTIONS"):
        assert page.request(method, "/session").body == b'{"deleted": 1}'
    assert [one.one("auth-token") for one in upstream.received] == ["sekret"] * 3


def test_login_and_logout_may_have_the_same_path(proxy_with: ProxyWith, upstream: Upstream) -> None:
    options = SESSION, "cookie_auth_login=POST /session", "cookie_auth_logout=DELETE /session"
    page = Page(proxy_with(*options).client)
    upstream.answers('{"authToken": "sekret"}')
    page.post("/session")
    assert of(page) == {"loggedIn": True}
    page.request("DELETE", "/session")
    assert of(page) == NOBODY


def test_explain_names_the_path() -> None:
    rules = parse(session="/session", base_path="/v1").paths.rules
    assert rules.meaning("GET", "/v1/session").value == "session"
    assert rules.meaning("POST", "/v1/session").value == ""


def test_without_the_option_the_path_is_the_apis(proxy: Client, upstream: Upstream) -> None:
    upstream.answers('{"mine": true}')
    assert Page(proxy).get("/session").body == b'{"mine": true}'


def test_an_allowed_origin_may_read_it(proxy_with: ProxyWith, upstream: Upstream) -> None:
    origin = "http://localhost:3999"
    proxy = proxy_with(SESSION, f"cookie_auth_allowed_origins={origin}").client
    page = logged_in(proxy, upstream, "sekret")
    got = page.get("/session", sec_fetch_site="same-site", origin=origin)
    assert state(got) == {"loggedIn": True}
    assert got.one("access-control-allow-origin") == origin
    assert got.one("access-control-allow-credentials") == "true"
    assert got.one("vary") == "Origin"


def test_under_a_prefix_and_a_base_path(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with(SESSION, "cookie_auth_prefix=/api", "cookie_auth_base_path=/v1").client
    assert of(Page(proxy), "/api/session") == NOBODY
    assert not upstream.received


def test_each_api_has_logins_of_its_own(start: Callable[..., Mitmdump], upstream: Upstream) -> None:
    port = free_port()
    proxy = start("--mode", f"reverse:{upstream.url}@{port}", "--set", SESSION)
    proxy.wait_for_log(rf"listening at \S+:{port}")
    first = Client(int(proxy.wait_for_log(rf"{upstream.url} listening at \S+:(?!{port})(\d+)")[1]))
    second = Client(port)
    page = logged_in(first, upstream, "sekret")
    assert of(page) == {"loggedIn": True}
    assert of(Page(second, page.jar)) == NOBODY


def test_after_a_401_that_clears_nobody_is_logged_in(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with(SESSION, "cookie_auth_clear_on_401=true").client
    page = logged_in(proxy, upstream, "sekret")
    assert of(page) == {"loggedIn": True}
    upstream.answers("{}", 401)
    page.get("/me")
    assert of(page) == NOBODY


def test_what_is_answered_here_is_recorded_without_its_cookies(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    file = tmp_path / "flows"
    options = ("cookie_auth_redact=true", SESSION, "cookie_auth_refresh=/refresh")
    proxy = start("-w", str(file), *(part for one in options for part in ("--set", one)))
    upstream.respond = Accounts(lambda n: f"sekret-{n}-0123456789abcdef")
    page = Page(proxy.client)
    page.post("/login")
    for target in ("/session", "/refresh", "/logout"):
        method = "GET" if target == "/session" else "POST"
        assert page.request(method, target).status == 200
        assert page.get("/logout", sec_purpose="prefetch").status == 503
    proxy.stop()
    assert b"/logout" in file.read_bytes()
    assert b"sekret" not in file.read_bytes()


# Renewal


def test_a_token_that_is_due_is_renewed_first(proxy_with: ProxyWith, upstream: Upstream) -> None:
    accounts = Accounts(lambda n: jwt({"n": n, "exp": time.time() + (5 if n == 1 else 3600)}))
    upstream.respond = accounts
    options = SESSION, "cookie_auth_refresh=/refresh", "cookie_auth_claims=n"
    page = Page(proxy_with(*options).client)
    page.post("/login")
    upstream.received.clear()
    got = page.get("/session")
    found = state(got)
    assert found.pop("expiresIn") > 3000
    assert found == {"loggedIn": True, "n": 2}
    assert [one.target for one in upstream.received] == ["/refresh"]
    assert len(got.set_cookies) == 2
    # With the token's cookie gone, too, as the browser deletes it with `max_age=token`.
    del page.jar["auth-token", "/"]
    assert of(page)["n"] == 3
    page.get("/me")
    assert upstream.last.one("auth-token") == accounts.token


def test_a_login_that_the_api_does_not_renew_is_over(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.respond = accounts = Accounts(lambda n: jwt({"n": n, "exp": time.time() + 5}))
    page = Page(proxy_with(SESSION, "cookie_auth_refresh=/refresh").client)
    page.post("/login")
    accounts.refresh_token = "revoked"
    got = page.get("/session")
    assert state(got) == NOBODY
    assert not page.cookies


def test_a_renewal_without_an_answer_leaves_the_login(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.respond = Accounts(lambda n: jwt({"n": n, "exp": time.time() - 1}))
    page = Page(proxy_with(SESSION, "cookie_auth_refresh=/refresh").client)
    page.post("/login")
    upstream.answers("{}", 503)
    held = dict(page.cookies)
    assert of(page) == NOBODY
    assert page.cookies == held


# Pages that hold stand-ins


def test_a_page_that_holds_stand_ins_is_who_it_says(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with(SESSION, "cookie_auth_claims=sub").client
    upstream.answers(json.dumps({"access_token": jwt(ME), "expires_in": 60}))
    page = Page(proxy)
    got = page.post("/auth/sign-in", body='{"user": "jo", "password": "x"}')
    stand_in = json.loads(got.body)["access_token"]
    assert "stand-" in stand_in
    upstream.received.clear()
    found = of(page)  # it has sent no stand-in yet, so the proxy sends the token for it
    assert 0 < found.pop("expiresIn") <= 60
    assert found == {"loggedIn": True, "sub": "7"}
    assert of(page, authorization=f"Bearer {stand_in}")["sub"] == "7"
    # From now on it says itself who it is, and logs out by forgetting.
    assert of(page) == NOBODY
    assert of(page, authorization="Bearer stand-of-another-login") == NOBODY
    assert not upstream.received
    page.post("/logout", authorization=f"Bearer {stand_in}")
    assert of(page, authorization=f"Bearer {stand_in}") == NOBODY


# Answers to login and refresh


def test_the_replaced_login_answer_carries_the_claims(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    options = "cookie_auth_claims=sub,roles,evil", "cookie_auth_refresh=/refresh"
    proxy = proxy_with(*options, SESSION)
    token = jwt({**ME, "evil": jwt({})})
    upstream.answers(json.dumps({"authToken": token, "refreshToken": "r" * 20}))
    page = Page(proxy.client)
    expected = {"loggedIn": True, "sub": "7", "roles": ["admin", "user"]}
    assert json.loads(page.post("/login").body) == expected
    assert json.loads(page.post("/refresh").body) == expected
    proxy.wait_for_log("the claim evil seems to hold a token.*--set cookie_auth_expose=evil")
    assert jwt({}) not in proxy.log
    upstream.answers('{"authToken": "opaque"}')
    assert page.post("/login").body == b'{"loggedIn": true}'


def test_an_answer_of_the_apis_own_carries_none(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with("cookie_auth_claims=sub", "cookie_auth_login_body=redact").client
    upstream.answers(json.dumps({"authToken": jwt(ME), "user": 1}))
    assert json.loads(Page(proxy).post("/login").body) == {"user": 1}
