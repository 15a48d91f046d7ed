"""Tokens that run out and are renewed, with an API that takes each refresh token only once."""

import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from browser_client import Browser
from front_end import FrontEnd
from support import (
    ADDON,
    SHORT_WAY,
    Client,
    Message,
    Mitmdump,
    Upstream,
    answer,
    free_port,
    running,
)
from test_any_api import SECRET
from test_jar import jwt

ProxyWith = Callable[..., Mitmdump]

OPTIONS = ("cookie_auth_refresh=/refresh",)


class Accounts:
    """An API whose refresh tokens rotate, as RFC 9700, 4.14 asks."""

    def __init__(self, make_token: Callable[[int], str] = "token-{}".format) -> None:
        self.lock = threading.Lock()
        self.make_token = make_token
        self.issued = 0
        self.token = self.refresh_token = ""
        self.refreshes: list[Message] = []

    def pair(self, status: int = 200) -> bytes:
        self.issued += 1
        self.token = self.make_token(self.issued)
        # The proxy remembers a refresh for a minute, so each test has its own.
        self.refresh_token = f'refresh "&{secrets.token_hex(4)}'
        pair = {"authToken": self.token, "refreshToken": self.refresh_token, "n": self.issued}
        return answer(json.dumps(pair), status)

    def __call__(self, request: Message) -> bytes:
        with self.lock:
            if request.target == "/login":
                return self.pair()
            if request.target == "/refresh":
                self.refreshes.append(request)
                if json.loads(request.body) == {"refreshToken": self.refresh_token}:
                    return self.pair(201)
                return answer('{"error": "reuse"}', 400)
            if request.one("auth-token") != self.token:
                return answer('{"error": "expired"}', 401, Location="/x", X_Denied="yes")
            body = {"path": request.target, "body": request.body.decode()}
            return answer(json.dumps(body), Set_Cookie="a=b")


@pytest.fixture
def accounts(upstream: Upstream) -> Accounts:
    accounts = Accounts()
    upstream.respond = accounts
    return accounts


def logged_in(proxy: Client) -> Browser:
    browser = Browser(proxy)
    assert browser.request("POST", "/login").body == b'{"loggedIn": true}'
    return browser


def test_a_login_keeps_both_tokens_out_of_reach(
    proxy_with: ProxyWith, upstream: Upstream, accounts: Accounts
) -> None:
    proxy = proxy_with(*OPTIONS, "cookie_auth_login_body=redact").client
    got = proxy.post("/login")
    assert json.loads(got.body) == {"n": 1}
    assert got.set_cookies == [
        "auth-token=token-1; Path=/; HttpOnly; SameSite=Lax",
        f"auth-token-refresh={quote(accounts.refresh_token, safe='&')}"
        "; Path=/; HttpOnly; SameSite=Lax",
    ]
    browser = logged_in(proxy_with(*OPTIONS, "cookie_auth_forward_cookies=*").client)
    browser.cookies["theme"] = "dark"
    browser.request("GET", "/me")
    assert upstream.last.one("cookie") == "theme=dark"
    assert "refresh" not in str(upstream.last)
    browser.request("POST", "/logout")
    assert not [name for name in browser.cookies if name.startswith("auth-token")]


def test_under_a_prefix_the_refresh_cookie_stays_off_the_front_end(
    proxy_with: ProxyWith, upstream: Upstream, accounts: Accounts
) -> None:
    proxy = proxy_with(*OPTIONS, "cookie_auth_prefix=/api").client
    got = proxy.post("/api/login")
    assert [field.partition("; ")[2].partition(";")[0] for field in got.set_cookies] == [
        "Path=/",
        "Path=/api",
    ]
    assert "Path=/api; " in proxy.post("/api/logout").set_cookies[1]


@pytest.mark.parametrize("options", [(), (SECRET,)], ids=["plain", "sealed"])
def test_a_refused_token_is_renewed_and_the_request_sent_again(
    proxy_with: ProxyWith, accounts: Accounts, options: tuple[str, ...]
) -> None:
    browser = logged_in(proxy_with(*OPTIONS, *options).client)
    accounts.token = "token of another time"
    got = browser.request("PATCH", "/items?x=1")
    assert got.status == 200
    assert json.loads(got.body) == {"path": "/items?x=1", "body": "{}"}
    assert len(got.set_cookies) == 2
    assert len(accounts.refreshes) == 1
    assert accounts.refreshes[0].one("cookie") is accounts.refreshes[0].one("auth-token") is None
    assert accounts.refreshes[0].one("content-type") == "application/json"
    assert browser.request("GET", "/me").status == 200
    assert len(accounts.refreshes) == 1


def test_ten_requests_at_once_cause_one_refresh(proxy_with: ProxyWith, accounts: Accounts) -> None:
    browser = logged_in(proxy_with(*OPTIONS).client)
    accounts.token = "token of another time"
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda n: browser.request("GET", f"/{n}").status, range(10)))
    assert results == [200] * 10
    assert len(accounts.refreshes) == 1
    assert browser.request("GET", "/me").status == 200


def test_a_token_that_is_about_to_end_is_renewed_before_it_is_used(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    now = time.time()
    accounts = Accounts(lambda n: jwt({"iat": now - 3600, "exp": now + (5 if n == 1 else 3600)}))
    upstream.respond = accounts
    browser = logged_in(proxy_with(*OPTIONS).client)
    upstream.received.clear()
    assert browser.request("GET", "/me").status == 200
    assert [request.target for request in upstream.received] == ["/refresh", "/me"]
    assert browser.request("GET", "/me").status == 200
    assert len(accounts.refreshes) == 1


def test_new_cookies_ride_on_whatever_answer_comes(
    proxy_with: ProxyWith, upstream: Upstream, accounts: Accounts
) -> None:
    browser = logged_in(proxy_with(*OPTIONS).client)
    del browser.cookies["auth-token"]
    upstream.respond = lambda request: (
        accounts(request) if request.target == "/refresh" else iter(())
    )
    assert browser.request("GET", "/me").status == 502
    assert browser.cookies["auth-token"] == accounts.token == "token-2"
    upstream.respond = accounts
    assert browser.request("GET", "/me").status == 200
    assert len(accounts.refreshes) == 1


def test_a_cookie_that_has_ended_is_replaced_by_a_fresh_one(
    proxy_with: ProxyWith, upstream: Upstream, accounts: Accounts
) -> None:
    browser = logged_in(proxy_with(*OPTIONS).client)
    del browser.cookies["auth-token"]
    upstream.received.clear()
    assert browser.request("GET", "/me").status == 200
    assert [request.target for request in upstream.received] == ["/refresh", "/me"]
    assert "auth-token" in browser.cookies


def test_a_front_end_may_renew_by_itself(
    proxy_with: ProxyWith, upstream: Upstream, accounts: Accounts
) -> None:
    browser = logged_in(proxy_with(*OPTIONS).client)
    got = browser.request("POST", "/refresh")
    assert (got.status, got.body) == (200, b'{"loggedIn": true}')
    assert browser.cookies["auth-token"] == accounts.token == "token-2"
    assert len(accounts.refreshes) == 1
    assert browser.request("GET", "/me").status == 200
    got = browser.clients[0].post("/refresh")
    assert (got.status, json.loads(got.body)["error"]) == (401, "bad_cookie")
    got = browser.request("POST", "/refresh", sec_fetch_site="same-site")
    assert got.status == 403
    assert len(accounts.refreshes) == 1


def test_a_refresh_that_fails_deletes_both_cookies_and_passes_the_401(
    proxy_with: ProxyWith, accounts: Accounts
) -> None:
    browser = logged_in(proxy_with(*OPTIONS).client)
    accounts.token, accounts.refresh_token = "another", "another"
    got = browser.request("GET", "/me")
    assert (got.status, got.body) == (401, b'{"error": "expired"}')
    assert got.one("x-denied") == "yes"
    assert got.one("location") == "/x"
    assert not browser.cookies


def test_an_answer_to_the_refresh_that_cannot_be_read_logs_nobody_out_and_says_so(
    start: Callable[..., Mitmdump], upstream: Upstream, accounts: Accounts
) -> None:
    mitmdump = start("--set", *OPTIONS)
    browser = logged_in(mitmdump.client)
    accounts.token = "another"
    upstream.respond = lambda request: (
        answer('{"authToken": 7, "secret": "sekret"}')
        if request.target == "/refresh"
        else accounts(request)
    )
    assert browser.request("GET", "/me").status == 401
    assert "auth-token-refresh" in browser.cookies
    mitmdump.wait_for_log("the API's answer to the refresh cannot be used: login_unreadable: ")
    assert "sekret" not in mitmdump.log


def test_an_api_that_does_not_answer_the_refresh_logs_nobody_out(
    proxy_with: ProxyWith, upstream: Upstream, accounts: Accounts
) -> None:
    browser = logged_in(proxy_with(*OPTIONS).client)
    held = browser.cookies.copy()
    accounts.token = "another"
    upstream.respond = lambda request: (
        iter(()) if request.target == "/refresh" else accounts(request)
    )
    assert browser.request("GET", "/me").status == 401
    assert browser.cookies == held
    got = browser.request("POST", "/refresh")
    assert (got.status, json.loads(got.body)["error"]) == (502, "upstream_unreachable")
    upstream.respond = accounts
    assert browser.request("GET", "/me").status == 200


def test_a_body_that_streamed_is_not_sent_again(
    proxy_with: ProxyWith, upstream: Upstream, accounts: Accounts
) -> None:
    browser = logged_in(proxy_with(*OPTIONS).client)
    accounts.token = "another"
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    upstream.received.clear()
    got = browser.clients[0].post("/upload", body=b"x" * 2_000_000, cookie=cookie)
    assert got.status == 401
    assert len(got.set_cookies) == 2
    assert [request.target for request in upstream.received] == ["/upload", "/refresh"]


def test_a_stream_that_answers_a_request_sent_again_arrives_whole(
    proxy_with: ProxyWith, upstream: Upstream, accounts: Accounts
) -> None:
    def respond(request: Message) -> bytes:
        if request.target == "/text" and request.one("auth-token") == accounts.token:
            chunks = "4\r\ntext\r\n0\r\n\r\n"
            return answer(chunks, Transfer_Encoding="chunked", Content_Type="text/plain")
        return accounts(request)

    upstream.respond = respond
    browser = logged_in(proxy_with(*OPTIONS).client)
    accounts.token = "token of another time"
    got = browser.request("GET", "/text")
    assert (got.status, got.body) == (200, b"text")
    assert len(got.set_cookies) == 2


def test_a_leak_that_is_blocked_takes_no_fresh_cookie_along(
    proxy_with: ProxyWith, accounts: Accounts
) -> None:
    browser = logged_in(proxy_with(*OPTIONS, "cookie_auth_leak=block").client)
    accounts.token = "token of another time"
    got = browser.request("GET", "/items?token-2")
    assert (got.status, json.loads(got.body)["error"]) == (502, "token_leak")
    assert browser.cookies["auth-token"] == "token-2"
    assert browser.request("GET", "/me").status == 200


def test_the_body_of_a_refresh_may_be_a_form(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with(
        "cookie_auth_refresh=/token",
        "cookie_auth_refresh_token=refresh_token",
        "cookie_auth_refresh_body=grant_type=refresh_token&refresh_token={refresh_token}",
        "cookie_auth_header=Authorization",
        "cookie_auth_header_format=Bearer {token}",
        "cookie_auth_token=access_token",
    ).client
    upstream.answers('{"access_token": "t", "refresh_token": "a b&c"}')
    browser = logged_in(proxy)
    upstream.respond = lambda request: (
        answer('{"access_token": "u"}')
        if request.target == "/token"
        else answer("{}", 200 if request.one("authorization") == "Bearer u" else 401)
    )
    assert browser.request("GET", "/me").status == 200
    refresh = upstream.received[-2]
    assert refresh.body == b"grant_type=refresh_token&refresh_token=a+b%26c"
    assert refresh.one("content-type") == "application/x-www-form-urlencoded"
    # An answer without a new refresh token leaves the old one in place.
    assert browser.cookies["auth-token-refresh"] == "a%20b&c"


def test_a_refresh_holds_up_nobody_else(
    proxy_with: ProxyWith, upstream: Upstream, accounts: Accounts
) -> None:
    proxy = proxy_with(*OPTIONS).client
    browser = logged_in(proxy)
    accounts.token = "another"
    asked, done = threading.Event(), threading.Event()

    def respond(request: Message) -> bytes:
        if request.target == "/refresh":
            asked.set()
            assert done.wait(10)
        return accounts(request)

    upstream.respond = respond
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(browser.request, "GET", "/me")
        assert asked.wait(10)
        assert proxy.get("/anonymous").status == 401
        done.set()
        assert waiting.result(10).status == 200


def test_no_token_is_logged(proxy_with: ProxyWith, accounts: Accounts) -> None:
    mitmdump = proxy_with(*OPTIONS)
    browser = logged_in(mitmdump.client)
    accounts.token = "another"
    browser.request("GET", "/me")
    assert "token-" not in mitmdump.log
    assert 'refresh "' not in mitmdump.log


def test_several_apis_keep_their_refresh_tokens_apart(
    upstream: Upstream, accounts: Accounts, confdir: Path
) -> None:
    arguments = ["--mode", f"reverse:{upstream.url}@{free_port()}", "--set", OPTIONS[0]]
    with running(Mitmdump(upstream.url, *arguments, confdir=confdir)) as mitmdump:
        client = mitmdump.client
        names = [field.partition("=")[0] for field in client.post("/login").set_cookies]
        assert names == [f"auth-token-{client.port}", f"auth-token-{client.port}-refresh"]


@pytest.mark.parametrize("options", [(), (SECRET,)], ids=["plain", "sealed"])
def test_many_users_who_log_in_renew_and_log_out_at_once_are_never_mixed_up(
    proxy_with: ProxyWith, upstream: Upstream, options: tuple[str, ...]
) -> None:
    def respond(request: Message) -> bytes:
        if request.target == "/login":
            user, token = request.one("x-user"), "old"
        elif request.target == "/refresh":
            user, token = json.loads(request.body)["refreshToken"].partition("~")[0], "new"
        else:
            user, _, token = (request.one("auth-token") or "").partition("~")
            return answer("{}", 401) if token == "old" else answer(json.dumps({"you": user}))
        pair = {"authToken": f"{user}~{token}", "refreshToken": f"{user}~{secrets.token_hex(4)}"}
        return answer(json.dumps(pair))

    upstream.respond = respond
    client = proxy_with(*OPTIONS, *options).client

    def live(number: int) -> None:
        browser, chance = Browser(client), random.Random(number)
        user = ""
        for _ in range(25):
            action = chance.choice(["login", "me", "me", "me", "refresh", "logout"])
            if action == "login":
                user = f"user{number}-{chance.randrange(10)}"
                browser.request("POST", "/login", x_user=user)
            elif action == "logout":
                browser.request("POST", "/logout")
                user = ""
            elif action == "refresh":
                assert browser.request("POST", "/refresh").status == (200 if user else 401)
            else:
                got = browser.request("GET", "/me")
                assert (got.status, json.loads(got.body)) == (200, {"you": user})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(live, range(16)))


# Requests for a fresh token, as APIs want them


class Renewing:
    """An API that renews for a request which `knows` says is right, by what it gets."""

    def __init__(self, knows: Callable[["Renewing", Message], bool], *, rotates: bool) -> None:
        self.knows = knows
        self.rotates = rotates
        self.number = 0
        self.token = self.refresh_token = ""
        self.refreshes: list[Message] = []

    def pair(self) -> bytes:
        self.number += 1
        self.token = f'access/{self.number}+"{secrets.token_hex(4)}'
        pair = {"authToken": self.token}
        if self.rotates:
            self.refresh_token = pair["refreshToken"] = f"r&{secrets.token_hex(8)}"
        return answer(json.dumps(pair))

    def __call__(self, request: Message) -> bytes:
        if request.target == "/login":
            return self.pair()
        if request.target.startswith("/refresh"):
            self.refreshes.append(request)
            good = self.knows(self, request)
            self.refreshes[-1].headers.append(("good", str(good)))
            return self.pair() if good else answer('{"error": "no"}', 401)
        good = request.one("auth-token") == self.token
        return answer(json.dumps({"ok": good}), 200 if good else 401)


BOTH = '{"accessToken": "{token}", "refreshToken": "{refresh_token}"}'


def in_query(api: Renewing, request: Message) -> bool:
    return request.target == f"/refresh?r={quote(api.refresh_token)}" and not request.body


WAYS: dict[str, tuple[str, Callable[[Renewing, str, Message], bool]]] = {
    "both in the body": (
        f"rule: /refresh, body: '{BOTH}'",
        lambda api, old, request: (
            json.loads(request.body) == {"accessToken": old, "refreshToken": api.refresh_token}
        ),
    ),
    "in a header": (
        "rule: /refresh, headers: ['Authorization: Bearer {refresh_token}']",
        lambda api, old, request: (
            request.one("authorization") == f"Bearer {api.refresh_token}" and not request.body
        ),
    ),
    "by PUT, with a body beside the header": (
        "rule: PUT /refresh, headers: ['X-Refresh: {refresh_token}'], body: '{\"a\": 1}'",
        lambda api, old, request: (
            (request.method, request.one("x-refresh"), request.body)
            == ("PUT", api.refresh_token, b'{"a": 1}')
        ),
    ),
    "by GET, in the query": (
        "rule: 'GET /refresh?r={refresh_token}'",
        lambda api, old, request: in_query(api, request) and request.method == "GET",
    ),
    "by the token that has ended, in a header": (
        "rule: /refresh, headers: ['Authorization: Bearer {token}']",
        lambda api, old, request: request.one("authorization") == f"Bearer {old}",
    ),
    "by the token that has ended, in the body": (
        "rule: /refresh, body: 'token={token}'",
        lambda api, old, request: request.body == f"token={quote(old, safe='')}".encode(),
    ),
}


def profile_with(tmp_path: Path, *lines: str) -> str:
    """The option that names a profile with these lines."""
    file = tmp_path / "api.yaml"
    file.write_text("\n".join([*lines, ""]))
    return f"cookie_auth_profile={file}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [(), ("--set", "cookie_auth_redact=true")], ids=["", "redact"])
def test_a_token_is_renewed_as_the_api_wants_to_be_asked(
    start: Callable[..., Mitmdump],
    upstream: Upstream,
    tmp_path: Path,
    way: str,
    options: tuple[str, ...],
) -> None:
    said, knows = WAYS[way]
    olds: list[str] = []
    api = Renewing(lambda api, request: knows(api, olds[-1], request), rotates="{refresh" in said)
    upstream.respond = api
    saved = tmp_path / "flows"
    profile = profile_with(tmp_path, f"refresh: {{{said}}}")
    mitmdump = start("--set", profile, "-w", str(saved), *options)
    browser = logged_in(mitmdump.client)
    for _ in range(2):  # what was given then renews, too
        olds.append(api.token)
        api.token = "another"
        with ThreadPoolExecutor(4) as pool:
            asked = pool.map(lambda n: browser.request("GET", f"/{n}").status, range(4))
            assert list(asked) == [200] * 4
    assert [request.one("good") for request in api.refreshes] == ["True", "True"]
    assert ("auth-token-refresh" in browser.cookies) == api.rotates
    olds.append(api.token)
    method = next((name for name in ("PUT", "GET") if name in said), "POST")
    assert browser.request(method, "/refresh").body == b'{"loggedIn": true}'
    mitmdump.stop()
    if options:
        for secret in (*olds, api.token, api.refresh_token):
            forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]} - {""}
            assert not [form for form in forms if form.encode() in saved.read_bytes()]


def test_an_api_that_does_not_renew_a_token_by_itself_logs_out(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    api = Renewing(lambda api, request: False, rotates=False)
    upstream.respond = api
    browser = logged_in(
        start(
            "--set", profile_with(tmp_path, "refresh: {rule: /refresh, body: 't={token}'}")
        ).client
    )
    api.token = "another"
    assert browser.request("GET", "/me").status == 401
    assert not browser.cookies
    assert len(api.refreshes) == 1
    got = browser.request("POST", "/refresh")
    assert (got.status, json.loads(got.body)["error"]) == (401, "bad_cookie")


def test_a_refresh_token_that_no_header_can_carry_is_told_and_logs_nobody_out(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    header = "headers: ['Authorization: Bearer {refresh_token}']"
    mitmdump = start("--set", profile_with(tmp_path, f"refresh: {{rule: /refresh, {header}}}"))
    upstream.answers(json.dumps({"authToken": "t", "refreshToken": "sekret\nX: y"}))
    browser = logged_in(mitmdump.client)
    upstream.answers("{}", 401)
    assert browser.request("GET", "/me").status == 401
    mitmdump.wait_for_log("a refresh token cannot be used: it holds what no header can carry")
    assert "auth-token-refresh" in browser.cookies
    assert "sekret" not in mitmdump.log


# Where the answers have the tokens


class Directus:
    """A GraphQL endpoint for everything, as Directus has it: answers of 200, errors in them."""

    def __init__(self) -> None:
        self.number = 0
        self.access = self.refresh = ""
        self.refreshes = 0

    def pair(self, field: str) -> bytes:
        self.number += 1
        self.access, self.refresh = f"access-{self.number}", f"r-{secrets.token_hex(8)}"
        pair = {"access_token": self.access, "refresh_token": self.refresh}
        return answer(json.dumps({"data": {field: pair}}), Content_Type="application/json")

    def __call__(self, request: Message) -> bytes:
        query = json.loads(request.body)["query"]
        if "auth_login" in query:
            assert request.one("authorization") is None
            return self.pair("auth_login")
        if "auth_refresh" in query:
            self.refreshes += 1
            if f'refresh_token: "{self.refresh}"' in query:
                return self.pair("auth_refresh")
            code = "INVALID_CREDENTIALS"
        elif request.one("authorization") == f"Bearer {self.access}":
            return answer('{"data": {"me": 7}}', Content_Type="application/json")
        else:
            code = "TOKEN_EXPIRED"
        error = {"data": None, "errors": [{"extensions": {"code": code}}]}
        return answer(json.dumps(error), Content_Type="application/json")


DIRECTUS = """
login: [/graphql]
token: [/data/auth_login/access_token]
header: Authorization
header_format: Bearer {token}
refresh:
  rule: POST /graphql operationName=refresh
  token: /data/auth_login/refresh_token
  body: >-
    {"query": "mutation {auth_refresh(refresh_token: \\"{refresh_token}\\"){access_token refresh_token}}"}
  answer: [/data/auth_refresh/access_token]
  next: /data/auth_refresh/refresh_token
  expired:
  - /errors/0/extensions/code=TOKEN_EXPIRED
  - /errors/0/extensions/code=INVALID_CREDENTIALS
"""  # noqa: E501


def asks(browser: Browser, query: str, **more: str) -> Message:
    body = json.dumps({"query": query, **more})
    return browser.request("POST", "/graphql", body, content_type="application/json")


def test_a_graphql_error_in_a_200_renews_by_an_answer_of_another_form(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    api = Directus()
    upstream.respond = api
    browser = Browser(start("--set", profile_with(tmp_path, DIRECTUS)).client)
    assert asks(browser, "mutation {auth_login(a: 1) {access_token}}").body == b'{"loggedIn": true}'
    assert json.loads(asks(browser, "{me}").body) == {"data": {"me": 7}}
    assert api.refreshes == 0
    for number in (1, 2):
        api.access = "another"
        assert json.loads(asks(browser, "{me}").body) == {"data": {"me": 7}}
        assert api.refreshes == number
    got = asks(browser, "mutation refresh {auth_refresh}", operationName="refresh")
    assert got.body == b'{"loggedIn": true}'
    assert api.refreshes == 3
    # What refuses the refresh token in a 200 ends the login.
    api.access = api.refresh = "another"
    assert "TOKEN_EXPIRED" in asks(browser, "{me}").body.decode()
    assert not browser.cookies


@pytest.mark.parametrize("status", [403, 419, 440, 498])
def test_another_status_may_tell_that_the_token_has_ended(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path, status: int
) -> None:
    accounts = Accounts()

    def respond(request: Message) -> bytes:
        got = accounts(request)
        # Of a length that it does not say, which else would stream.
        chunked = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        return f"HTTP/1.1 {status} No\r\n{chunked}".encode() if b" 401 " in got else got

    upstream.respond = respond
    profile = profile_with(tmp_path, f"refresh: {{rule: /refresh, expired: [{status}]}}")
    browser = logged_in(start("--set", profile).client)
    assert browser.request("GET", "/me").status == 200
    accounts.token = "another"
    assert browser.request("GET", "/me").status == 200
    assert len(accounts.refreshes) == 1
    accounts.token = accounts.refresh_token = "another"
    assert browser.request("GET", "/me").status == status
    assert not browser.cookies


@pytest.mark.parametrize("options", [(), ("--set", "cookie_auth_redact=true")], ids=["", "redact"])
def test_the_refresh_token_may_be_in_a_cookie_of_the_api_s(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path, options: tuple[str, ...]
) -> None:
    issued: list[str] = []
    tokens: list[str] = []

    def pair() -> bytes:
        issued.append(f"r+{secrets.token_hex(8)}=")
        tokens.append(f"access-{secrets.token_hex(8)}")
        gone = ("Set-Cookie", "refreshToken=deleted; Path=/old; Max-Age=0")
        set_cookie = ("Set-Cookie", f"refreshToken={issued[-1]}; Path=/auth; HttpOnly; Secure")
        other = ("Set-Cookie", "theme=dark")
        return answer(json.dumps({"authToken": tokens[-1]}), 200, [gone, set_cookie, other])

    def respond(request: Message) -> bytes:
        if request.target == "/login":
            return pair()
        if request.target == "/refresh":
            assert request.body == b""
            good = request.one("cookie") == f"refreshToken={issued[-1]}"
            return pair() if good else answer("{}", 401)
        assert request.one("cookie") is None
        return answer("{}", 200 if request.one("auth-token") == tokens[-1] else 401)

    upstream.respond = respond
    saved = tmp_path / "flows"
    profile = profile_with(tmp_path, "refresh: {rule: /refresh, token: 'cookie:refreshToken'}")
    mitmdump = start("--set", profile, "-w", str(saved), *options)
    browser = logged_in(mitmdump.client)
    assert sorted(browser.tokens) == ["auth-token", "auth-token-refresh"]
    for _ in range(2):
        tokens[-1] = "another"
        assert browser.request("GET", "/me").status == 200
    assert len(issued) == 3
    mitmdump.stop()
    if options:
        record = saved.read_bytes()
        assert not [one for one in (*issued, *tokens) if one.encode() in record]


# What tells that a token has ended, and what does not


@pytest.mark.parametrize("options", [(), ("cookie_auth_clear_on_401=true",)], ids=["", "clear"])
def test_a_401_for_another_reason_renews_once_and_logs_nobody_out(
    start: Callable[..., Mitmdump],
    upstream: Upstream,
    accounts: Accounts,
    options: tuple[str, ...],
) -> None:
    def respond(request: Message) -> bytes:
        got = accounts(request)
        wrong = request.target == "/change-password" and request.body == b"wrong"
        return answer('{"error": "wrong password"}', 401) if wrong else got

    upstream.respond = respond
    mitmdump = start(*(part for one in (*OPTIONS, *options) for part in ("--set", one)))
    browser = logged_in(mitmdump.client)
    for _ in range(3):
        got = browser.request("POST", "/change-password", "wrong")
        assert (got.status, got.body) == (401, b'{"error": "wrong password"}')
        assert len(accounts.refreshes) == 1
    mitmdump.wait_for_log("POST /change-password refuses a token that has just come")
    assert browser.request("GET", "/me").status == 200
    # Elsewhere, or once it is not new, it is renewed again.
    accounts.token = "another"
    assert browser.request("GET", "/me").status == 200
    assert len(accounts.refreshes) == 2
    assert browser.request("POST", "/change-password", "right").status == 200
    assert len(accounts.refreshes) == 2


def test_a_long_upload_is_renewed_before_it_starts_where_the_login_told_the_token_s_end(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.respond = lambda request: (
        answer('{"authToken": "old", "refreshToken": "r", "expires_in": 0}')
        if request.target == "/login"
        else answer('{"authToken": "new", "expires_in": 3600}')
        if request.target == "/refresh"
        else answer("{}", 200 if request.one("auth-token") == "new" else 401)
    )
    browser = logged_in(proxy_with(*OPTIONS).client)
    upstream.received.clear()
    for _ in range(2):
        got = browser.request("POST", "/upload", "x" * 2_000_000)
        assert got.status == 200
    assert [one.target for one in upstream.received] == ["/refresh", "/upload", "/upload"]


@pytest.mark.parametrize(
    ("beside", "age"),
    [({}, 30 * 24 * 3600), ({"refresh_expires_in": 7200}, 7200), ({"refresh_expires_in": 0}, None)],
)
def test_the_refresh_token_outlives_the_token(
    proxy_with: ProxyWith, upstream: Upstream, beside: dict[str, int], age: int | None
) -> None:
    pair = {"authToken": "t", "refreshToken": secrets.token_hex(8), "expires_in": 900, **beside}
    upstream.answers(json.dumps(pair))
    client = proxy_with(*OPTIONS, "cookie_auth_max_age=token").client
    browser = Browser(client)
    got = browser.request("POST", "/login")
    ages = {
        field.partition("=")[0]: int(field.rpartition("Max-Age=")[2])
        for field in got.all("set-cookie")
    }
    lasting = age or 30 * 24 * 3600
    assert ages == {
        "auth-token": 900,
        "auth-token-refresh": lasting,
        "auth-token-login": lasting,
    }
    # The next day, the token's cookie is gone, and the browser was closed.
    del browser.cookies["auth-token"]
    upstream.respond = lambda request: (
        answer('{"authToken": "new"}')
        if request.target == "/refresh"
        else answer("{}", 200 if request.one("auth-token") == "new" else 401)
    )
    assert browser.request("GET", "/me").status == 200
    assert browser.cookies["auth-token"] == "new"


def test_a_token_that_renews_itself_cannot_end_with_its_cookie(
    start: Callable[..., Mitmdump], tmp_path: Path
) -> None:
    profile = profile_with(tmp_path, "max_age: token", "refresh: {rule: /r, body: 't={token}'}")
    mitmdump = start("--set", profile)
    assert mitmdump.exit_code() == 1
    assert "'token' is wrong; it must be session, or seconds, since the refresh" in mitmdump.log


# Server-side rendering


class Rotating:
    """An API whose tokens live as long as their answers say, and whose refresh tokens rotate."""

    def __init__(self, *lives: int) -> None:
        self.lives = list(lives)
        self.token = self.refresh_token = ""
        self.refreshes: list[bytes] = []

    def pair(self) -> bytes:
        self.token, self.refresh_token = secrets.token_hex(8), secrets.token_hex(8)
        life = self.lives.pop(0) if len(self.lives) > 1 else self.lives[0]
        pair = {"authToken": self.token, "refreshToken": self.refresh_token, "expires_in": life}
        return answer(json.dumps(pair))

    def __call__(self, request: Message) -> bytes:
        if request.target == "/login":
            return self.pair()
        if request.target == "/refresh":
            self.refreshes.append(request.body)
            good = json.loads(request.body) == {"refreshToken": self.refresh_token}
            return self.pair() if good else answer("{}", 400)
        return answer("{}", 200 if request.one("auth-token") == self.token else 401)


def test_a_server_that_lets_fresh_cookies_drop_costs_nobody_the_login(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    api = Rotating(0)  # each token is over at once
    upstream.respond = api
    client = proxy_with(*OPTIONS).client
    browser = logged_in(client)
    old = browser.cookie
    for number in (1, 2, 3):
        assert client.get("/me", [("Cookie", old)]).status == 200
        assert len(api.refreshes) == number
    assert browser.request("GET", "/me").status == 200
    assert browser.cookies["auth-token"] == api.token
    assert len(set(api.refreshes)) == len(api.refreshes) == 4
    api.lives = [3600]
    assert client.get("/me", [("Cookie", old)]).status == 200
    before = len(api.refreshes)
    # The browser's is replaced once more; the one that holds is given without asking the API.
    assert browser.request("POST", "/refresh").status == 200
    assert browser.request("GET", "/me").status == 200
    assert len(api.refreshes) == before
    # A logout ends all of it, and so does the next login.
    assert browser.request("POST", "/logout").status == 200
    got = client.get("/me", [("Cookie", old)])
    assert got.status == 401
    assert not [field for field in got.all("set-cookie") if "Max-Age=0" not in field]
    assert len(api.refreshes) == before


def test_a_refusal_of_what_was_replaced_meanwhile_deletes_nothing(
    start: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    api = Rotating(3600)
    upstream.respond = api
    first = start("--set", *OPTIONS)
    browser = logged_in(first.client)
    old = browser.cookie
    assert browser.request("POST", "/refresh").status == 200
    first.stop()
    client = start("--set", *OPTIONS).client  # it knows nothing of what the other has renewed
    asked, done = threading.Event(), threading.Event()
    held = [*api.refreshes]

    def respond(request: Message) -> bytes:
        if request.target == "/refresh" and request.body in held:
            asked.set()
            assert done.wait(20)
        return api(request)

    upstream.respond = respond
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(client.get, "/me", [("Cookie", old)])
        assert asked.wait(20)
        browser.clients = (client,)
        assert browser.request("POST", "/refresh").status == 200
        done.set()
        got = late.result(20)
    assert (got.status, got.all("set-cookie")) == (401, [])


@pytest.fixture
def front_end() -> Iterator[FrontEnd]:
    front_end = FrontEnd()
    yield front_end
    front_end.close()


NAVIGATION = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document", "user_agent": "Mozilla/5"}
OWN = {**NAVIGATION, "sec_fetch_site": "none"}


@pytest.mark.parametrize("scripts", [(ADDON,), (ADDON, SHORT_WAY)], ids=["long way", "short way"])
@pytest.mark.parametrize("options", [(), ("cookie_auth_redact=true",), (SECRET,)])
def test_a_page_gets_to_the_front_end_with_a_fresh_token(
    start: Callable[..., Mitmdump],
    upstream: Upstream,
    front_end: FrontEnd,
    tmp_path: Path,
    scripts: tuple[Path, ...],
    options: tuple[str, ...],
) -> None:
    api = Rotating(0, 3600)
    upstream.respond = api
    saved = tmp_path / "flows"
    behind = ("cookie_auth_prefix=/api", f"cookie_auth_frontend={front_end.url}", *options)
    arguments = [part for one in (*OPTIONS, *behind) for part in ("--set", one)]
    mitmdump = start(*arguments, "-w", str(saved), scripts=scripts)
    browser = Browser(mitmdump.client)
    got = browser.request("POST", "/api/login")
    assert "; Path=/; " in got.set_cookies[1]  # so that it is there when a page is asked for
    browser.cookies["theme"] = "dark"
    old = browser.cookies.copy()
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npage\r\n0\r\n\r\n"
    front_end.respond = lambda head: chunked
    # A module is none of it, nor is a page in a frame of another site.
    assert browser.request("GET", "/main.js", "", sec_fetch_mode="no-cors").body == b"page"
    framed = {**NAVIGATION, "sec_fetch_dest": "iframe", "sec_fetch_site": "cross-site"}
    assert browser.request("GET", "/", "", **framed).body == b"page"
    assert not api.refreshes
    got = browser.request("GET", "/shop?a=b", "", **OWN, referer="http://localhost/x")
    assert got.body == b"page"
    assert got.one("cache-control") == "no-store"
    assert len(api.refreshes) == 1
    assert browser.cookies["auth-token"] != old["auth-token"]
    assert browser.cookies["auth-token-refresh"] != old["auth-token-refresh"]
    refresh = upstream.last
    assert (refresh.target, refresh.one("host")) == ("/refresh", f"127.0.0.1:{upstream.port}")
    assert not {"cookie", "referer", "x-forwarded-host"} & {name for name, _ in refresh.headers}
    sent = front_end.received[-1].decode()
    assert f"auth-token={browser.cookies['auth-token']}" in sent
    assert f"auth-token-login={browser.cookies['auth-token-login']}" in sent
    assert "theme=dark" in sent
    assert not [name for name in old if "theme" not in name and old[name] in sent]
    assert browser.cookies["auth-token-refresh"] not in sent
    # The next one needs no refresh, and the API takes what the browser has.
    assert browser.request("GET", "/", "", **OWN).body == b"page"
    assert browser.request("GET", "/api/me", "").status == 200
    assert len(api.refreshes) == 1
    mitmdump.stop()
    if "cookie_auth_redact=true" in options:
        record = saved.read_bytes()
        assert api.token.encode() not in record
        assert api.refresh_token.encode() not in record


@pytest.fixture
def shop(start: Callable[..., Mitmdump], upstream: Upstream, front_end: FrontEnd) -> Browser:
    """A browser that is logged in, with a token that has ended; pages are the front end's."""
    upstream.respond = Rotating(0, 3600)
    behind = ("cookie_auth_prefix=/api", f"cookie_auth_frontend={front_end.url}")
    arguments = [part for one in (*OPTIONS, *behind) for part in ("--set", one)]
    browser = Browser(start(*arguments).client)
    assert browser.request("POST", "/api/login").body == b'{"loggedIn": true}'
    return browser


def test_a_page_whose_refresh_is_refused_comes_without_a_token_and_its_cookies_go(
    shop: Browser, upstream: Upstream, front_end: FrontEnd
) -> None:
    upstream.answers("{}", 400)
    assert shop.request("GET", "/", "", **OWN).body == b"page"
    assert b"auth-token" not in front_end.received[-1]
    assert not shop.cookies


def test_a_page_comes_as_it_is_where_the_api_does_not_answer_the_refresh(
    shop: Browser, upstream: Upstream, front_end: FrontEnd
) -> None:
    held = shop.cookies.copy()
    upstream.respond = lambda request: iter(())
    assert shop.request("GET", "/", "", **OWN).body == b"page"
    assert shop.cookies == held
    assert f"auth-token={held['auth-token']}".encode() in front_end.received[-1]


def test_a_page_that_the_front_end_does_not_give_brings_the_fresh_cookies_all_the_same(
    shop: Browser, upstream: Upstream, front_end: FrontEnd
) -> None:
    front_end.close()
    got = shop.request("GET", "/", "", **OWN)
    assert got.status == 502
    assert isinstance(upstream.respond, Rotating)
    assert shop.cookies["auth-token"] == upstream.respond.token
    assert shop.request("GET", "/api/me", "").status == 200
    assert len(upstream.respond.refreshes) == 1


def test_a_logout_while_a_page_renews_holds(
    shop: Browser, upstream: Upstream, front_end: FrontEnd
) -> None:
    api = upstream.respond
    asked, done = threading.Event(), threading.Event()

    def respond(request: Message) -> bytes | Iterable[bytes]:
        if request.target == "/refresh":
            asked.set()
            assert done.wait(20)
        return api(request)

    upstream.respond = respond
    other = Browser(*shop.clients)
    other.cookies = shop.cookies.copy()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(shop.request, "GET", "/", "", **OWN)
        assert asked.wait(20)
        assert other.request("POST", "/api/logout").status == 200
        done.set()
        got = waiting.result(20)
    assert got.body == b"page"
    assert not got.all("set-cookie")
    assert isinstance(api, Rotating)
    assert api.token.encode() not in front_end.received[-1]


def test_both_tokens_may_be_in_headers_which_later_answers_renew(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    issued: list[tuple[str, str]] = []

    def pair(status: int = 200) -> bytes:
        issued.append((f"access-{secrets.token_hex(8)}", f"refresh-{secrets.token_hex(8)}"))
        return answer("{}", status, None, X_Token=issued[-1][0], X_Refresh=issued[-1][1])

    def respond(request: Message) -> bytes:
        if request.target == "/login":
            return pair()
        if request.target == "/refresh":
            good = json.loads(request.body) == {"refreshToken": issued[-1][1]}
            return pair() if good else answer("{}", 401)
        if request.one("auth-token") != issued[-1][0]:
            return answer("{}", 401)
        return pair() if request.target == "/slide" else answer("{}")

    upstream.respond = respond
    saved = tmp_path / "flows"
    options = (
        *OPTIONS,
        *("cookie_auth_token=header:X-Token", "cookie_auth_refresh_token=header:X-Refresh"),
        "cookie_auth_redact=true",
    )
    arguments = [part for one in options for part in ("--set", one)]
    mitmdump = start(*arguments, "-w", str(saved))
    browser = logged_in(mitmdump.client)
    for target, number in (("/me", 1), ("/slide", 2), ("/me", 2)):
        got = browser.request("GET", target)
        assert got.status == 200
        assert not {"x-token", "x-refresh"} & {name for name, _ in got.headers}
        assert len(issued) == number
        pair_held = browser.cookies["auth-token"], browser.cookies["auth-token-refresh"]
        assert pair_held == issued[-1]
    issued[-1] = ("another", issued[-1][1])
    assert browser.request("GET", "/me").status == 200
    assert browser.cookies["auth-token-refresh"] == issued[-1][1]
    mitmdump.stop()
    record = saved.read_bytes()
    assert not [
        one for pair in issued for one in pair if one != "another" and one.encode() in record
    ]


def test_a_script_cannot_turn_the_proxy_s_own_request_into_another(
    proxy_with: ProxyWith, accounts: Accounts
) -> None:
    browser = logged_in(proxy_with(*OPTIONS).client)
    hiding = {"x_original_url": "/notes", "x_http_method_override": "PUT"}
    got = browser.request("POST", "/refresh", **hiding)
    assert got.body == b'{"loggedIn": true}'
    (request,) = accounts.refreshes
    sent = {name for name, _ in request.headers}
    assert sent.isdisjoint({"x-original-url", "x-http-method-override"})


def test_of_a_request_sent_again_no_cookie_of_the_api_is_recorded_if_flows_are_redacted(
    start: Callable[..., Mitmdump], accounts: Accounts, upstream: Upstream, tmp_path: Path
) -> None:
    def respond(request: Message) -> bytes:
        got = accounts(request)
        return got.replace(b"Set-Cookie: a=b", b"Set-Cookie: sid=of-the-api; HttpOnly")

    upstream.respond = respond
    saved = tmp_path / "flows"
    options = [part for option in OPTIONS for part in ("--set", option)]
    proxy = start(*options, "--set", "cookie_auth_redact=true", "-w", str(saved))
    browser = logged_in(proxy.client)
    accounts.token = "of another time"
    assert browser.request("GET", "/me").status == 200
    proxy.stop()
    assert b"/me" in saved.read_bytes()
    assert b"of-the-api" not in saved.read_bytes()
