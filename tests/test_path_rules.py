"""Which requests the options for login, logout and refresh mean: `[METHOD] PATTERN [MEMBER=…]`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from exchanges.settings import OPTIONS, Settings
from mitmproxy.test import tutils
from origins.path_rules import Meaning, PathRule
from origins.paths import normalise
from settings.option import InvalidOption
from support import Client, Message, Mitmdump, Upstream, answer
from tokens import login_like

ProxyWith = Callable[..., Mitmdump]


@pytest.mark.parametrize(
    ("rule", "method", "path", "takes"),
    [
        ("/login", "POST", "/login", True),
        ("/login", "GET", "/Log%69n/", True),
        ("/Login/", "PUT", "/login;jsessionid=1?x", True),
        ("/login", "POST", "/login/now", False),
        ("POST /login", "POST", "/login", True),
        ("POST /login", "post", "/login", True),
        ("POST /login", "GET", "/login", False),
        ("PUT /-/user/*", "PUT", "/-/user/org.couchdb.user:me", True),
        ("PUT /-/user/*", "PUT", "/-/user/me/-rev/1", False),
        ("PUT /-/user/*", "PUT", "/-/user/", False),
        ("PUT /-/user/*", "PUT", "/-/user/../user/me", True),
        ("POST /auth/*/callback", "POST", "/auth/github/callback", True),
        ("POST /auth/*/callback", "POST", "/auth/callback", False),
        ("/auth/**", "GET", "/auth", True),
        ("/auth/**", "GET", "/auth/", True),
        ("/auth/**", "GET", "/auth/a/b/c", True),
        ("/auth/**", "GET", "/author", False),
        ("/**", "GET", "/", True),
        ("/*", "GET", "/", False),
        ("/*", "GET", "/x", True),
        ("/", "GET", "/", True),
        ("/", "GET", "/x", False),
        ("/a%2Ab", "GET", "/a*b", True),
        ("/a%2Ab", "GET", "/axb", False),
        ("/%2A/x", "GET", "/y/x", False),
    ],
)
def test_a_rule_takes_a_method_and_a_path(rule: str, method: str, path: str, takes: bool) -> None:
    assert PathRule.parse(rule).takes(method, normalise(path)) is takes


def test_a_rule_stands_below_the_base_path() -> None:
    rule = PathRule.parse("POST /auth/*", "/v1")
    assert rule.takes("POST", "/v1/auth/x")
    assert not rule.takes("POST", "/auth/x")
    assert PathRule.parse("POST /a/B", "/v1").path == "/v1/a/B"
    assert rule.path == ""


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "login", "POST", "POST login", "post /login", "/a /b", "/login x", "/login =x"),
        *("/a*", "/a/*b/c", "/**/x", "/a/***", "/a?b", "POST /a b=c d", "é /a"),
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a path"):
        PathRule.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("/a", "/A/", True),
        ("/a", "/b", False),
        ("POST /session", "DELETE /session", False),
        ("POST /session", "/session", True),
        ("/auth/*", "/auth/login", True),
        ("/auth/*", "/auth", False),
        ("/auth/**", "/auth", True),
        ("/auth/**", "/auth/a/b", True),
        ("/*/login", "/auth/*", True),
        ("/*/login", "/auth/logout", False),
        ("/a/*/c", "/a/b/*/d", False),
        ("/token", "/token grant_type=refresh_token", False),
        ("/token grant_type=password", "/token grant_type=refresh_token", False),
        ("/token grant_type=password", "/token client=a", True),
        ("/token a=1", "/token a=1 b=2", True),
    ],
)
def test_rules_overlap_that_may_mean_one_request(one: str, other: str, overlap: bool) -> None:
    rules = PathRule.parse(one), PathRule.parse(other)
    assert rules[0].overlaps(rules[1]) is rules[1].overlaps(rules[0]) is overlap


DEFAULTS = {option.name: option.default for option in OPTIONS}


def parse(**changes: object) -> Settings:
    return Settings.parse(
        DEFAULTS | {f"cookie_auth_{name}": value for name, value in changes.items()},
        given={f"cookie_auth_{name}" for name in changes},
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"login": ["/session"], "logout": "DELETE /session"},
            "cookie_auth_logout: 'DELETE /session' is wrong; it must be for other requests than"
            " '/session' of cookie_auth_login",
        ),
        (
            {"login": ["POST /auth/**"], "refresh": "/auth/refresh"},
            "cookie_auth_refresh: '/auth/refresh' is wrong; it must be for other requests than"
            " 'POST /auth/**' of cookie_auth_login",
        ),
        (
            {"switch": ["POST /a", "POST /auth/*"], "login": ["/auth/login"]},
            "cookie_auth_switch: 'POST /auth/*' is wrong; it must be for other requests than"
            " '/auth/login' of cookie_auth_login",
        ),
        (
            {"logout.all": "/logout"},
            "cookie_auth_logout.all: '/logout' is wrong; it must be for other requests than"
            " '/logout' of cookie_auth_logout",
        ),
        ({"logout.all": "/a", "refresh": "/a"}, "than '/a' of cookie_auth_logout"),
        ({"switch": ["/*"]}, "than '/login' of cookie_auth_login"),
        ({"switch": ["/logout"]}, "than '/logout' of cookie_auth_logout"),
        ({"switch": ["/r"], "refresh": "/r"}, "than '/r' of cookie_auth_refresh"),
        ({"refresh": "/auth/*/refresh"}, "a path without *: the proxy asks there itself"),
        (
            {"logout": "/users/*/logout", "logout_upstream": True},
            "cookie_auth_logout_upstream_path: '' is wrong; it must be a path, since",
        ),
    ],
)
def test_rules_that_cannot_be_are_refused_both_named(options: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse(**options)
    assert told in str(caught.value)


def test_an_api_is_told_of_a_logout_as_the_rule_says() -> None:
    asked = {"logout": "DELETE /session", "login": ["POST /session"], "logout_upstream": True}
    assert parse(**asked).paths.logout_upstream == ("DELETE", "/session")
    told = parse(**asked, logout_upstream_method="POST").paths.logout_upstream
    assert told == ("POST", "/session")


def test_what_says_more_of_a_request_goes_first() -> None:
    rules = parse(login=["/token"], refresh="POST /token grant_type=refresh_token").paths.rules
    assert rules.meaning("GET", "/token") is Meaning.LOGIN
    assert rules.meaning("POST", "/token") is Meaning.IN_BODY
    assert rules.meaning("POST", "/token", {}) is Meaning.LOGIN
    assert rules.meaning("POST", "/token", {"grant_type": "refresh_token"}) is Meaning.REFRESH
    assert rules.meaning("POST", "/other", {"grant_type": "refresh_token"}) is Meaning.NONE


FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("kind", "body", "members"),
    [
        ("application/json", '{"a": "x", "n": 1, "deep": {"b": "y"}}', {"a": "x", "n": "1"}),
        ("", '{"a": "x"}', {"a": "x"}),
        ("application/json", '{"a": "x", "a": "y"}', {}),
        ("application/json", '[{"a": "x", "b": "y"}]', {}),
        ("application/json", '[["a", "x"]]', {}),
        ("application/json", "[" * 100_000, {}),
        (FORM, "a=x&b=%20y&empty=", {"a": "x", "b": " y", "empty": ""}),
        (FORM, "a=x&a=y", {}),
        (
            MULTIPART,
            '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--',
            {"a": "x"},
        ),
        ("text/plain", "", {}),
    ],
)
def test_members_of_a_body_are_read_where_no_server_can_read_others(
    kind: str, body: str, members: dict[str, str]
) -> None:
    request = tutils.treq(content=body.encode(), headers=[(b"content-type", kind.encode())])
    assert login_like.members(request) == members


# Against a real mitmdump


def oauth(request: Message) -> bytes:
    """OAuth 2.0's token endpoint, and a resource that shows the token."""
    body = request.body.decode()
    if request.target != "/oauth/token":
        return answer(json.dumps({"with": request.one("authorization")}))
    if "grant_type=password" in body:
        return answer('{"access_token": "first-token", "refresh_token": "once-more"}')
    if body == "grant_type=refresh_token&refresh_token=once-more":
        return answer('{"access_token": "second-token"}')
    return answer(json.dumps({"asked": body, "with": request.one("authorization")}), status=400)


OAUTH = (
    "cookie_auth_login=POST /oauth/token grant_type=password",
    "cookie_auth_token=/access_token",
    "cookie_auth_header=Authorization",
    "cookie_auth_header_format=Bearer {token}",
    "cookie_auth_refresh=POST /oauth/token grant_type=refresh_token",
    "cookie_auth_refresh_token=/refresh_token",
    "cookie_auth_refresh_body=grant_type=refresh_token&refresh_token={refresh_token}",
)


def test_login_and_refresh_on_one_path_are_told_apart_by_the_body(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.respond = oauth
    client = proxy_with(*OAUTH).client
    got = client.post(
        "/oauth/token", body="grant_type=password&username=a&password=b", content_type=FORM
    )
    assert got.body == b'{"loggedIn": true}'
    cookies = "; ".join(field.partition(";")[0] for field in got.set_cookies)
    assert b"Bearer first-token" in client.get("/me", cookie=cookies).body
    got = client.post(
        "/oauth/token", body="grant_type=refresh_token", cookie=cookies, content_type=FORM
    )
    assert (got.status, got.body) == (200, b'{"loggedIn": true}')
    cookies = "; ".join(field.partition(";")[0] for field in got.set_cookies)
    assert b"Bearer second-token" in client.get("/me", cookie=cookies).body
    # Another grant is a request like any other.
    got = client.post("/oauth/token", body="grant_type=other", cookie=cookies, content_type=FORM)
    assert json.loads(got.body) == {"asked": "grant_type=other", "with": "Bearer second-token"}


def test_a_foreign_page_cannot_refresh_or_log_in_by_a_body(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.respond = oauth
    client = proxy_with(*OAUTH).client
    for grant in ("password", "refresh_token"):
        got = client.post(
            "/oauth/token",
            body=f"grant_type={grant}",
            content_type=FORM,
            cookie="auth-token=x",
            sec_fetch_site="same-site",
        )
        assert got.status == 403
    assert upstream.received == []


def test_login_and_logout_on_one_path_are_told_apart_by_the_method(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    options = ("cookie_auth_login=POST /session", "cookie_auth_logout=DELETE /session")
    client = proxy_with(*options).client
    upstream.answers('{"authToken": "sekret"}')
    cookie = (client.post("/session").set_cookie or "").partition(";")[0]
    assert cookie == "auth-token=sekret"
    upstream.answers('{"user": "me"}')
    assert client.get("/session", cookie=cookie).body == b'{"user": "me"}'
    assert upstream.last.one("auth-token") == "sekret"
    upstream.received.clear()
    got = client.request("DELETE", "/session", headers=[("Cookie", cookie)])
    assert got.body == b'{"loggedIn": false}'
    assert "Max-Age=0" in (got.set_cookie or "")
    assert upstream.received == []


def test_any_user_logs_in_by_a_pattern(proxy_with: ProxyWith, upstream: Upstream) -> None:
    client: Client = proxy_with("cookie_auth_login=PUT /-/user/*").client
    upstream.answers('{"authToken": "sekret"}', status=201)
    got = client.request("PUT", "/-/user/org.couchdb.user:me", body="{}")
    assert (got.status, got.body) == (201, b'{"loggedIn": true}')


def test_a_body_that_is_too_long_to_tell_what_it_is_is_refused(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.respond = oauth
    client = proxy_with(*OAUTH).client
    got = client.post("/oauth/token", body="a" * (2 << 20), content_type=FORM)
    assert got.status == 400
    assert b"too long to be read" in got.body
    assert upstream.received == []


def test_of_a_body_that_breaks_off_no_cookie_is_recorded_if_flows_are_redacted(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    saved = tmp_path / "flows"
    options = [part for option in OAUTH for part in ("--set", option)]
    mitmdump = start(*options, "--set", "cookie_auth_redact=true", "-w", str(saved))
    client = mitmdump.client
    cookie = "auth-token=of-the-user; other=1"
    got = client.post("/oauth/token", body="a" * (2 << 20), content_type=FORM, cookie=cookie)
    assert got.status == 400
    upstream.answers("{}")
    assert client.post("/oauth/token", body="{}", cookie=cookie).body == b"{}"
    assert upstream.last.one("authorization") == "Bearer of-the-user"
    mitmdump.stop()
    assert b"/oauth/token" in saved.read_bytes()
    assert b"of-the-user" not in saved.read_bytes()
