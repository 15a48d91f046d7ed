"""Renewal by the proxy, beside pages that hold stand-ins or read what answers repeat."""

import json
import secrets
from collections.abc import Callable

import pytest
from browser_client import Browser
from support import Message, Mitmdump, Upstream, answer

ProxyWith = Callable[..., Mitmdump]

OPTIONS = (
    *("cookie_auth_login=/login", "cookie_auth_token=/access_token"),
    *("cookie_auth_header=Authorization", "cookie_auth_header_format=Bearer {token}"),
    *("cookie_auth_refresh=/refresh", "cookie_auth_refresh_token=/refresh_token"),
    'cookie_auth_refresh_body={"refresh_token": "{refresh_token}"}',
)
STAND_INS = (*OPTIONS, "cookie_auth_login_body=stand-in")


class Api:
    """It repeats the token that it was asked with, and takes each refresh token once."""

    def __init__(self) -> None:
        self.access, self.refresh, self.all = "", "", list[str]()

    def __call__(self, request: Message) -> bytes:
        body = json.loads(request.body or b"{}")
        if request.target == "/login" or (
            request.target == "/refresh" and body.get("refresh_token") == self.refresh
        ):
            self.access, self.refresh = f"a-{secrets.token_hex(12)}", f"r-{secrets.token_hex(12)}"
            self.all += [self.access, self.refresh]
            pair = {"access_token": self.access, "refresh_token": self.refresh}
            return answer(json.dumps(pair), content_type="application/json")
        if request.one("authorization") != f"Bearer {self.access}":
            return answer("{}", 401)
        return answer(json.dumps({"you sent": self.access}), content_type="application/json")


@pytest.fixture
def api(upstream: Upstream) -> Api:
    upstream.respond = api = Api()
    return api


def ask(browser: Browser, method: str, target: str, body: object = None, **more: str) -> Message:
    headers = {"sec_fetch_site": "same-origin", "content_type": "application/json", **more}
    return browser.request(method, target, json.dumps(body or {}), **headers)


@pytest.mark.parametrize("options", [OPTIONS, STAND_INS], ids=["replace", "stand-in"])
def test_an_answer_that_repeats_the_renewed_token_does_not_give_it_away(
    proxy_with: ProxyWith, api: Api, options: tuple[str, ...]
) -> None:
    browser = Browser(proxy_with(*options).client)
    ask(browser, "POST", "/login", {"password": "x"})
    api.access = "no more good"
    got = ask(browser, "GET", "/me")
    assert got.status == 200
    assert "stand-" in got.body.decode()
    assert not [token for token in api.all if token in got.body.decode()]
    del browser.cookies["auth-token"]
    got = ask(browser, "GET", "/me")
    assert not [token for token in api.all if token in got.body.decode()]


def test_a_page_that_has_forgotten_its_stand_in_is_nobody(proxy_with: ProxyWith, api: Api) -> None:
    browser = Browser(proxy_with(*STAND_INS).client)
    got = json.loads(ask(browser, "POST", "/login", {"password": "x"}).body)
    mine = {"authorization": f"Bearer {got['access_token']}"}
    assert ask(browser, "GET", "/me", **mine).status == 200
    assert ask(browser, "GET", "/me").status == 401
    assert len(api.all) == 2


def test_a_page_that_holds_stand_ins_renews_itself(proxy_with: ProxyWith, api: Api) -> None:
    browser = Browser(proxy_with(*STAND_INS).client)
    got = json.loads(ask(browser, "POST", "/login", {"password": "x"}).body)
    ask(browser, "GET", "/me", authorization=f"Bearer {got['access_token']}")
    api.access = "no more good"
    got = ask(browser, "POST", "/refresh", {"refresh_token": got["refresh_token"]})
    assert not [token for token in api.all if token in got.body.decode()]
    fresh = json.loads(got.body)
    assert fresh.keys() == {"access_token", "refresh_token"}
    got = ask(browser, "GET", "/me", authorization=f"Bearer {fresh['access_token']}")
    assert got.status == 200
    assert len(api.all) == 4
