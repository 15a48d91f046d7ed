"""What the log says of the traffic, once each, against a real mitmdump."""

import json
import re
from collections.abc import Callable

import pytest
from browser_client import Browser
from exchanges import hints
from exchanges.proxy import Once
from exchanges.settings import OPTIONS, Settings
from messages.headers import IndexedHeaders
from support import Headers, Message, Mitmdump, Upstream, answer

Start = Callable[..., Mitmdump]

TOKEN = "t-5f0c9a7e31b84d26c0"
REFRESH = "r-80b1d3e5f7092a4c6e"
SAME = {"sec_fetch_site": "same-origin"}
JSON = {"content_type": "application/json", **SAME}
BEARER = "--set cookie_auth_header=Authorization --set 'cookie_auth_header_format=Bearer {token}'"


def with_options(*options: str) -> list[str]:
    return [part for option in options for part in ("--set", option)]


def log_in(mitmdump: Mitmdump, path: str = "/login") -> tuple[Browser, Message]:
    browser = Browser(mitmdump.client)
    got = browser.request("POST", path, json.dumps({"user": "ada", "password": "x"}), **JSON)
    assert browser.cookies
    return browser, got


def told(mitmdump: Mitmdump, *parts: str) -> list[str]:
    """The lines of the log that hold all of this, and no line that holds a token."""
    mitmdump.wait_for_log(re.escape(parts[0]))
    lines = mitmdump.log.splitlines()
    assert not [line for line in lines if TOKEN in line or REFRESH in line]
    return [line for line in lines if all(part in line for part in parts)]


# A token that is refused

REFUSALS: list[tuple[Headers, str, int, dict[str, object], str, str]] = [
    (
        [("WWW-Authenticate", 'Bearer realm="api"')],
        "",
        401,
        {},
        "its WWW-Authenticate asks for Bearer",
        BEARER,
    ),
    (
        [("WWW-Authenticate", "Token"), ("Access-Control-Allow-Headers", "X-Api-Key")],
        "",
        401,
        {},
        "its WWW-Authenticate asks for Token",
        BEARER.replace("Bearer", "Token"),
    ),
    ([], "", 403, {"token_type": "bearer"}, "its login's answer says so", BEARER),
    (
        [("Access-Control-Allow-Headers", "Content-Type, X-CSRF-Token, X-Access-Token")],
        "",
        403,
        {},
        "its Access-Control-Allow-Headers has X-Access-Token",
        "--set cookie_auth_header=X-Access-Token --set 'cookie_auth_header_format={token}'",
    ),
    (
        [],
        '{"error": "header x-api-key is missing"}',
        401,
        {},
        "its body names X-API-Key",
        "--set cookie_auth_header=X-API-Key --set 'cookie_auth_header_format={token}'",
    ),
    ([], "a bearer token is needed", 401, {}, "its body names Authorization", BEARER),
]


@pytest.mark.parametrize(("headers", "body", "status", "beside", "why", "options"), REFUSALS)
def test_a_refused_token_tells_once_what_is_likely_wrong(
    start: Start,
    upstream: Upstream,
    headers: Headers,
    body: str,
    status: int,
    beside: dict[str, object],
    why: str,
    options: str,
) -> None:
    def api(request: Message) -> bytes:
        if request.target == "/login":
            return answer(json.dumps({"authToken": TOKEN, **beside}))
        return answer(body, status, headers)

    upstream.respond = api
    mitmdump = start()
    browser, _ = log_in(mitmdump)
    for target in ("/me", "/me", "/things"):
        assert browser.request("GET", target, **SAME).status == status
    said = f'the API answered {status} to "auth-token: …" (GET /me); {why}: {options}'
    assert len(told(mitmdump, said)) == 1
    assert len(told(mitmdump, "the API answered")) == 1


def test_a_token_that_is_over_is_told_as_such(start: Start, upstream: Upstream) -> None:
    def api(request: Message) -> bytes:
        if request.target == "/login":
            return answer(json.dumps({"authToken": TOKEN}))
        return answer("{}", 401, WWW_Authenticate='Bearer error="invalid_token"')

    upstream.respond = api
    header = ("cookie_auth_header=Authorization", "cookie_auth_header_format=Bearer {token}")
    mitmdump = start(*with_options(*header))
    browser, _ = log_in(mitmdump)
    browser.request("GET", "/me", **SAME)
    said = 'the API answered 401 to "Authorization: Bearer …" (GET /me); says invalid_token'
    (line,) = told(mitmdump, "the API answered 401")
    assert said in line
    assert "--set" not in line


def test_what_was_not_put_in_is_no_cause_for_a_hint(start: Start, upstream: Upstream) -> None:
    upstream.answers("{}", 401, WWW_Authenticate="Bearer")
    mitmdump = start()
    client = mitmdump.client
    assert client.request("GET", "/me", sec_fetch_site="same-origin").status == 401
    assert client.request("GET", "/me", auth_token="my own").status == 401
    mitmdump.stop()
    assert "the API answered" not in mitmdump.log


# Logins at other paths, and what pages do


def api(request: Message) -> bytes:
    """It logs in at /auth/sign-in, renews, and logs out."""
    body = json.loads(request.body or b"{}")
    pair = {"access_token": TOKEN, "refresh_token": REFRESH}
    if request.target in ("/auth/sign-in", "/auth/refresh"):
        fresh = {name: f"{value[:-2]}{len(body)}9" for name, value in pair.items()}
        pair = fresh if "refresh_token" in body else pair
        return answer(json.dumps(pair), content_type="application/json")
    return answer("{}", content_type="application/json")


def test_a_listed_login_that_nobody_asks_for_is_told(start: Start, upstream: Upstream) -> None:
    upstream.respond = api
    mitmdump = start(*with_options("cookie_auth_login=/login"))
    log_in(mitmdump, "/auth/sign-in")
    log_in(mitmdump, "/auth/sign-in")
    (line,) = told(mitmdump, "no path of cookie_auth_login was asked for yet")
    assert "POST /auth/sign-in hands out a token" in line
    options = "--set cookie_auth_login=/auth/sign-in --set cookie_auth_token=/access_token"
    assert line.endswith(options)


def test_without_that_option_nothing_is_missed(start: Start, upstream: Upstream) -> None:
    upstream.respond = api
    mitmdump = start()
    log_in(mitmdump, "/auth/sign-in")
    told(mitmdump, "learned: POST /auth/sign-in")
    mitmdump.stop()
    assert "was asked for yet" not in mitmdump.log


def test_login_header_refresh_and_logout_are_told_as_the_page_uses_them(
    start: Start, upstream: Upstream
) -> None:
    upstream.respond = api
    mitmdump = start(*with_options("cookie_auth_base_path="))
    browser, got = log_in(mitmdump, "/auth/sign-in")
    mine = json.loads(got.body)
    sent = {"authorization": f"Bearer {mine['access_token']}"}
    for _ in range(2):
        assert browser.request("GET", "/me", **sent, **SAME).status == 200
    refresh = json.dumps({"refresh_token": mine["refresh_token"]})
    got = browser.request("POST", "/auth/refresh", refresh, **JSON)
    sent = {"authorization": f"Bearer {json.loads(got.body)['access_token']}"}
    browser.request("POST", "/auth/logout", **sent, **JSON)
    for said in [
        "POST /auth/sign-in answers /access_token: --set cookie_auth_login=/auth/sign-in"
        " --set cookie_auth_token=/access_token",
        f"a page sends the token in Authorization: {BEARER}",
        "POST /auth/refresh renews the token: --set cookie_auth_refresh=/auth/refresh"
        " --set cookie_auth_refresh_token=/refresh_token"
        """ --set 'cookie_auth_refresh_body={"refresh_token": "{refresh_token}"}'""",
        "POST /auth/logout logs out: --set cookie_auth_logout=/auth/logout"
        " --set cookie_auth_logout_upstream=true",
    ]:
        assert len(told(mitmdump, f"learned: {said}")) == 1


# A page that sends nothing, in so many words

SETTINGS = Settings.parse(
    {option.name: option.default for option in OPTIONS}
    | {"cookie_auth_header": "X-Token", "cookie_auth_header_format": "Key {token}"}
)


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ([("Authorization", "Bearer undefined")], []),
        ([("authorization", "bearer null")], []),
        ([("Authorization", "Bearer [object Object]")], []),
        ([("Authorization", "Bearer")], []),
        ([("Authorization", "Bearer ")], []),
        ([("Authorization", "")], []),
        ([("Authorization", "undefined")], []),
        ([("X-Token", "Key null")], []),
        ([("X-Token", "")], []),
        ([("X-Token", "null"), ("Authorization", "Bearer abc")], ["Authorization"]),
        ([("Authorization", "Bearer null"), ("Authorization", "Bearer null")], []),
        ([("Authorization", "Bearer null"), ("Authorization", "Bearer a")], ["Authorization"] * 2),
        ([("Authorization", "Bearer nullable")], ["Authorization"]),
        ([("Authorization", "Basic bnVsbA==")], ["Authorization"]),
        ([("X-Token", "token")], ["X-Token"]),
        ([("X-Other", "undefined")], ["X-Other"]),
    ],
)
def test_a_credential_that_says_nothing_counts_as_none(fields: Headers, left: list[str]) -> None:
    headers = IndexedHeaders([(name.encode(), value.encode()) for name, value in fields])
    hints.without_nothing(headers, SETTINGS, Once())
    assert [name.decode() for name, _ in headers.fields] == left


def test_a_page_that_sends_undefined_gets_the_token_and_is_told(
    start: Start, upstream: Upstream
) -> None:
    upstream.respond = api
    mitmdump = start()
    browser, _ = log_in(mitmdump, "/auth/sign-in")
    for _ in range(2):
        browser.request("GET", "/me", authorization="Bearer undefined", **SAME)
        assert upstream.last.one("authorization") is None
        assert upstream.last.one("auth-token") == TOKEN
    assert len(told(mitmdump, 'a page sends "Authorization: Bearer undefined"')) == 1


def test_a_page_that_has_forgotten_its_token_and_says_null_is_nobody(
    start: Start, upstream: Upstream
) -> None:
    upstream.respond = api
    mitmdump = start()
    browser, got = log_in(mitmdump, "/auth/sign-in")
    mine = json.loads(got.body)["access_token"]
    browser.request("GET", "/me", authorization=f"Bearer {mine}", **SAME)
    assert upstream.last.one("authorization") == f"Bearer {TOKEN}"
    browser.request("GET", "/me", authorization="Bearer null", **SAME)
    assert TOKEN not in str(upstream.last)
    assert upstream.last.one("authorization") is None


def test_a_foreign_page_gains_nothing_by_null(start: Start, upstream: Upstream) -> None:
    upstream.respond = api
    mitmdump = start()
    browser, _ = log_in(mitmdump, "/auth/sign-in")
    browser.request("GET", "/me", authorization="Bearer null", sec_fetch_site="same-site")
    assert TOKEN not in str(upstream.last)
