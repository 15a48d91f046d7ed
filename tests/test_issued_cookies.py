"""Only what this proxy has issued for this API is a session, where a browser asks (laws 8, 20)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page import USER_AGENT, Page
from support import Message, Mitmdump, Upstream, answer, running

ProxyWith = Callable[..., Mitmdump]

LONG = "t" * 8999 + "s"


def api(request: Message) -> bytes:
    """Says who asks; logs in whom X-User names."""
    if request.target.endswith("/login"):
        return answer(json.dumps({"authToken": request.one("x-user") or "alice"}))
    # Backwards, since the page gets a stand-in for what repeats its token.
    return answer(json.dumps({"you": (request.one("auth-token") or "")[::-1] or None}))


@pytest.fixture
def page(proxy_with: ProxyWith, upstream: Upstream) -> Page:
    upstream.respond = api
    return Page(proxy_with().client)


def who(page: Page, target: str = "/me", **more: str) -> object:
    got = page.get(target, **more)
    assert got.status == 200, got
    backwards = json.loads(got.body)["you"]
    return backwards and backwards[::-1]


def test_a_page_that_logs_in_is_known_and_one_companion_says_so(page: Page) -> None:
    got = page.post("/login", x_user="alice")
    assert got.set_cookie == "auth-token=alice; Path=/; HttpOnly; SameSite=Lax"
    (companion,) = got.companions
    form = r"auth-token-login=2\.[\w-]{12}\.l\.\.[\w-]{32}; Path=/; HttpOnly; SameSite=Lax"
    assert re.fullmatch(form, companion)
    assert who(page) == "alice"


@pytest.mark.parametrize(
    "planted",
    [
        {("auth-token", "/"): "mallory"},
        {("auth-token", "/me"): "mallory"},
        {("auth-token", "/me/"): "mallory"},
        {("auth-token.0", "/"): "mallory"},
        {("auth-token.0", "/"): "m" * 4000, ("auth-token.1", "/"): "x"},
        {("auth-token-login", "/me"): "2.AAAAAAAAAAAA.l..AAAAAAAAAAAAAAAA"},
        {("auth-token-login", "/me"): "x", ("auth-token", "/me"): "mallory"},
        {("auth-token-refresh", "/"): "mallory"},
    ],
    ids=lambda planted: " ".join("@".join(key) for key in planted),
)
@pytest.mark.parametrize("token", ["alice", LONG], ids=["short", "long"])
def test_what_another_local_page_plants_is_no_session_and_takes_none_away(
    page: Page, planted: dict[tuple[str, str], str], token: str
) -> None:
    for name, path in planted:
        page.plant(name, planted[name, path], path)
    assert who(page, "/me/x") is None
    page.jar.clear()
    page.post("/login", x_user=token)
    mine = dict(page.jar)
    for key, value in planted.items():
        if key not in mine:  # a script cannot overwrite an HttpOnly cookie
            page.plant(key[0], value, key[1])
    assert who(page, "/me/x") == token
    page.post("/logout")
    assert who(page, "/me/x") is None
    page.post("/login", x_user="bob")
    assert who(page, "/me/x") == "bob"


def test_login_and_logout_expire_a_planted_name_wherever_it_may_stand(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    upstream.respond = api
    page = Page(proxy_with("cookie_auth_prefix=/api").client)
    for action in ("/api/auth/logout", "/api/login", "/api/logout"):
        page.jar.clear()
        for path in ("/", "/api", "/api/", "/api/auth", "/api/login", "/api/logout"):
            page.plant("auth-token", "mallory", path)
        page.post(action)
        left = {path for (name, path), value in page.jar.items() if value == "mallory"}
        if action != "/api/auth/logout":
            own = {"/api/login", "/api/logout", "/api/auth"} - {action}
            assert left == own, action


def test_the_cookies_of_two_logins_at_once_are_refused_but_not_at_login_and_logout(
    page: Page,
) -> None:
    page.post("/login", x_user="alice")
    alice = dict(page.jar)
    page.jar.clear()
    page.post("/login", x_user="bob")
    for (name, _), value in alice.items():
        page.plant(name, value, "/me")
    got = page.get("/me")
    assert (got.status, json.loads(got.body)["error"]) == (400, "bad_request")
    assert who(page, "/elsewhere") == "bob"
    for (name, _), value in alice.items():
        page.plant(name, value, "/logout")
    assert page.post("/logout").status == 200
    assert not [name for name, path in page.jar if path in ("/", "/logout")]
    assert page.post("/login", x_user="carol").status == 200


def test_clients_that_are_no_browsers_may_write_the_cookie_by_hand(page: Page) -> None:
    proxy = page.client
    node = {"user_agent": "node", "accept_language": "*", "sec_fetch_mode": "cors"}
    others: list[dict[str, Any]] = [{}, node]
    for headers in others:
        got = proxy.get("/me", cookie="auth-token=alice", **headers)
        assert json.loads(got.body) == {"you": "ecila"}
    browsers: list[dict[str, Any]] = [
        {"user_agent": USER_AGENT, "origin": f"http://localhost:{proxy.port}"},
        {"referer": f"http://localhost:{proxy.port}/page"},
        {"sec_fetch_site": "same-origin"},
    ]
    for headers in browsers:
        got = proxy.get("/me", cookie="auth-token=alice", **headers)
        assert json.loads(got.body) == {"you": None}


def test_server_code_may_pass_the_cookies_of_a_page_request_on(page: Page) -> None:
    page.post("/login", x_user="alice")
    cookie = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    passed_on: list[dict[str, Any]] = [
        {},
        {"user_agent": USER_AGENT, "sec_fetch_site": "same-origin"},
    ]
    for more in passed_on:
        got = page.client.get("/me", cookie=cookie, **more)
        assert json.loads(got.body) == {"you": "ecila"}


def test_a_token_goes_to_no_other_api_though_the_browser_sends_it_there(
    start: Callable[..., Mitmdump], upstream: Upstream, confdir: Path
) -> None:
    upstream.respond = api
    other = Upstream()
    other.respond = api
    options = ("--set", "cookie_auth_refresh=/refresh", "--set", "cookie_auth_forward_cookies=*")
    mine = Page(start(*options).client)
    mine.post("/login", x_user="alice")
    named = ("--set", "cookie_auth_cookie=mine")
    for more in ((), named):
        with running(Mitmdump(other.url, *options, *more, confdir=confdir)) as mitmdump:
            theirs = Page(mitmdump.client, dict(mine.jar))
            theirs.plant("theme", "dark")
            assert who(theirs) is None
            assert other.last.one("cookie") == "theme=dark"
            theirs.post("/refresh")
            theirs.post("/logout")
    assert "alice" not in str(other.received)
    other.close()


def test_a_restart_keeps_logins_and_another_key_does_not(
    upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    upstream.respond = api
    jar: dict[tuple[str, str], str] = {}
    for folder, expected in ((confdir, None), (confdir, "alice"), (tmp_path / "other", None)):
        with running(Mitmdump(upstream.url, confdir=folder)) as mitmdump:
            page = Page(mitmdump.client, jar)
            assert who(page) == expected
            if not jar:
                page.post("/login", x_user="alice")
    assert (confdir / "cookie-auth.key").stat().st_mode & 0o077 == 0


def test_proxies_that_share_a_secret_know_each_others_logins(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = api
    jar: dict[tuple[str, str], str] = {}
    first, second = "a" * 16, "b" * 16
    for secret, expected in ((first, None), (first, "alice"), (f"{second} {first}", "alice")):
        folder = tmp_path / str(len(jar)) / secret.replace(" ", "-")
        options = ("--set", f"cookie_auth_secret={secret}")
        with running(Mitmdump(upstream.url, *options, confdir=folder)) as mitmdump:
            page = Page(mitmdump.client, jar)
            assert who(page) == expected
            if not jar:
                page.post("/login", x_user="alice")


def test_a_key_that_cannot_be_kept_ends_start_up_and_says_where(
    start: Callable[..., Mitmdump], confdir: Path
) -> None:
    (confdir / "cookie-auth.key").write_text("no key")
    mitmdump = start()
    assert mitmdump.exit_code() == 1
    assert "cookie-auth.key" in mitmdump.log
    assert "Traceback" not in mitmdump.log


def test_a_login_takes_away_what_the_earlier_user_left(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    page = Page(proxy_with("cookie_auth_refresh=/refresh").client)
    upstream.answers(json.dumps({"authToken": LONG, "refreshToken": "of alice"}))
    page.post("/login")
    assert set(page.cookies) == {
        *("auth-token.0", "auth-token.1", "auth-token.2"),
        *("auth-token-refresh", "auth-token-login"),
    }
    upstream.answers('{"authToken": "bob"}')
    page.post("/login")
    assert set(page.cookies) == {"auth-token", "auth-token-login"}
