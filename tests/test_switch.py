"""Requests that carry the token and get another in its place: `cookie_auth_switch`."""

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.io import FlowReader
from page import Page
from support import Message, Mitmdump, Upstream, answer
from token_api import BY_LINK, readable, stand_ins

ProxyWith = Callable[..., Mitmdump]
Later = Callable[..., Future[Message]]

SWITCHES = (
    "cookie_auth_switch=POST /users/*/impersonate",
    "cookie_auth_switch=/impersonate/leave",
    "cookie_auth_switch=POST /graphql operationName=switchTenant",
)
HEADER = ("cookie_auth_header=Authorization", "cookie_auth_header_format=Bearer {token}")
LISTED = (
    *("cookie_auth_login=/login", "cookie_auth_token=/access_token", *HEADER, *SWITCHES),
    *("cookie_auth_refresh=/refresh", "cookie_auth_refresh_token=/refresh_token"),
    'cookie_auth_refresh_body={"refresh_token": "{refresh_token}"}',
)
UNLISTED = SWITCHES
NAVIGATION: dict[str, Any] = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


class Api:
    """It has an admin who may be other users, and refresh tokens for each."""

    def __init__(self) -> None:
        self.number = 0
        self.users: dict[str, str] = {}
        """Who each good token is."""
        self.refreshes: list[str] = []
        self.repeats = False
        """Whether a switch answers the token of before, too."""
        self.with_refresh = False
        """Whether it answers a refresh token as well."""
        self.mark = secrets.token_hex(6)
        self.slow = ""
        self.asked, self.go_on = threading.Event(), threading.Event()

    def token(self, user: str) -> str:
        self.number += 1
        token = f"tk-{self.number}-{user}-{self.mark}"
        self.users[token] = user
        return token

    def refresh(self, user: str) -> str:
        return f"rf-{user}-{self.mark}"

    def __call__(self, request: Message) -> bytes:
        if self.slow and request.target.startswith(self.slow):
            self.slow = ""
            self.asked.set()
            assert self.go_on.wait(20)
        old = (request.one("authorization") or "").removeprefix("Bearer ")
        user = self.users.get(old)
        given: dict[str, str] = {}
        match request.target.split("/")[1:]:
            case ["login"]:
                given = {
                    "access_token": self.token("admin"),
                    "refresh_token": self.refresh("admin"),
                }
            case ["refresh"]:
                self.refreshes.append(json.loads(request.body)["refresh_token"])
                given = {"access_token": self.token(self.refreshes[-1].split("-")[1])}
            case ["users", "root", "impersonate"] if user:
                return answer('{"error": "never"}', 403, Content_Type="application/json")
            case ["users", "later", "impersonate"] if user:
                return answer('{"asks": "a second factor"}', Content_Type="application/json")
            case ["users", other, "impersonate"] if user:
                given = {"access_token": self.token(other), "as": other}
            case ["impersonate", "leave"] if user:
                given = {"access_token": self.token("admin")}
            case ["graphql"] if user and b"switchTenant" in request.body:
                given = {"access_token": self.token("tenant")}
        if given and self.repeats:
            given["note"] = f"was {old}"
        if given and self.with_refresh:
            given["refresh_token"] = self.refresh(self.users[given["access_token"]])
        body = json.dumps(given or {"user": user})
        return answer(body, 200 if given or user else 401, Content_Type="application/json")


@pytest.fixture
def api(upstream: Upstream) -> Api:
    upstream.respond = api = Api()
    return api


class App(Page):
    """A page that has logged in, with the stand-ins that it got, if any."""

    def __init__(self, mitmdump: Mitmdump) -> None:
        super().__init__(mitmdump.client)
        got = self.post("/login", '{"password": "x"}')
        self.access, self.refresh = (*stand_ins(got), "", "")[:2]

    def uses(self, got: Message) -> None:
        """It sends the stand-in of this answer from now on, if there is one."""
        self.access = (*stand_ins(got), "")[0]

    @property
    def own(self) -> dict[str, Any]:
        """The header in which it sends its token itself."""
        return {"authorization": f"Bearer {self.access}"} if self.access else {}


@pytest.fixture
def page(proxy_with: ProxyWith, api: Api) -> App:
    return App(proxy_with(*LISTED))


@pytest.fixture
def later() -> Iterator[Later]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def who(page: Page, **more: str) -> str | None:
    user: str | None = json.loads(page.get("/me", **more).body)["user"]
    return user


def login_of(page: Page) -> str:
    return page.cookies["auth-token-login"].split(".")[1]


def test_the_answer_brings_the_token_that_takes_the_place_of_the_one_sent(
    page: Page, api: Api, upstream: Upstream
) -> None:
    assert who(page) == "admin"
    before = login_of(page)
    got = page.post("/users/eve/impersonate")
    assert (got.status, got.body) == (200, b'{"loggedIn": true}')
    assert (upstream.last.one("authorization") or "").startswith("Bearer tk-1-admin")
    assert login_of(page) != before
    assert who(page) == "eve"
    page.get("/impersonate/leave")
    assert who(page) == "admin"


def test_a_person_who_follows_a_link_of_the_apps_own_sees_a_page(page: Page, api: Api) -> None:
    page.post("/users/eve/impersonate")
    got = page.get("/impersonate/leave", **NAVIGATION)
    assert (got.status, got.one("location")) == (303, "/")
    assert who(page) == "admin"


def test_the_body_says_which_request_for_one_path_is_a_switch(page: Page, api: Api) -> None:
    got = page.post("/graphql", '{"query": "{me}", "operationName": "me"}')
    assert json.loads(got.body) == {"user": "admin"}
    page.post("/graphql", '{"query": "mutation {}", "operationName": "switchTenant"}')
    assert who(page) == "tenant"


@pytest.mark.parametrize(("whom", "status"), [("root", 403), ("later", 200)])
def test_an_answer_without_a_token_passes_and_nothing_changes(
    page: Page, api: Api, whom: str, status: int
) -> None:
    before = dict(page.jar)
    got = page.post(f"/users/{whom}/impersonate")
    assert got.status == status
    assert got.body in (b'{"error": "never"}', b'{"asks": "a second factor"}')
    assert page.jar == before
    assert who(page) == "admin"


def test_a_token_elsewhere_is_refused_as_a_logins_is(
    page: Page, api: Api, upstream: Upstream
) -> None:
    upstream.answers('{"token": "tk-other-9Kq0vWq9ZtR3"}')
    got = page.post("/users/eve/impersonate")
    assert (got.status, json.loads(got.body)["error"]) == (502, "token_not_found")
    upstream.respond = api
    assert who(page) == "admin"


@pytest.mark.parametrize("options", [LISTED, UNLISTED], ids=["listed", "unlisted"])
def test_no_foreign_page_switches(
    proxy_with: ProxyWith, api: Api, upstream: Upstream, options: tuple[str, ...]
) -> None:
    page = App(proxy_with(*options))
    upstream.received.clear()
    for got in (
        page.post("/users/eve/impersonate", sec_fetch_site="same-site"),
        page.post("/users/eve/impersonate", **{**BY_LINK}),
        page.get("/impersonate/leave", **BY_LINK),
        page.get("/impersonate/leave", sec_fetch_site="cross-site"),
        page.request("HEAD", "/impersonate/leave", sec_fetch_site="cross-site"),
        page.get("/impersonate/leave", **NAVIGATION, sec_purpose="prefetch"),
    ):
        assert got.status in (403, 503)
        assert not got.all("set-cookie")
    assert not upstream.received


def test_nobody_switches_without_a_login_and_what_comes_is_no_pages(
    page: Page, api: Api, upstream: Upstream
) -> None:
    other = Page(page.client)
    assert other.post("/users/eve/impersonate").status == 401
    upstream.answers('{"access_token": "tk-other-9Kq0vWq9ZtR3"}')
    got = other.post("/users/eve/impersonate")
    assert got.body == b'{"loggedIn": true}'
    assert "auth-token" in other.cookies


# What renews it


def test_what_renews_the_token_stays_unless_the_answer_has_another(page: Page, api: Api) -> None:
    page.post("/users/eve/impersonate")
    api.users.clear()
    assert who(page) == "admin"  # as the API says it of its refresh token
    assert api.refreshes == [api.refresh("admin")]
    api.with_refresh = True
    page.post("/users/eve/impersonate")
    api.users.clear()
    assert who(page) == "eve"
    assert api.refreshes[-1] == api.refresh("eve")


def test_a_token_that_is_over_is_renewed_first(page: Page, api: Api) -> None:
    api.users.clear()
    got = page.post("/users/eve/impersonate")
    assert got.body == b'{"loggedIn": true}'
    assert len(api.refreshes) == 1
    assert who(page) == "eve"


def test_one_that_is_refused_after_that_brings_the_renewed_token(page: Page, api: Api) -> None:
    api.users.clear()
    assert page.post("/users/root/impersonate").status == 403
    assert who(page) == "admin"
    assert len(api.refreshes) == 1


# Nothing earlier undoes it (law 17)


@pytest.mark.parametrize("options", [LISTED, UNLISTED], ids=["listed", "unlisted"])
def test_an_answer_that_was_asked_for_earlier_sets_no_cookie_after_it(
    proxy_with: ProxyWith,
    api: Api,
    upstream: Upstream,
    later: Later,
    options: tuple[str, ...],
) -> None:
    page = App(proxy_with(*options))
    slow = Page(page.client, dict(page.jar))

    def respond(request: Message) -> bytes:
        got = api(request)
        if request.target == "/slow":
            renewed = f"\r\nAuthorization: Bearer {api.token('admin')}\r\n"
            return got.replace(b"\r\n", renewed.encode(), 1)
        return got

    upstream.respond = respond
    api.slow = "/slow"
    waiting = later(slow.get, "/slow", **page.own)
    assert api.asked.wait(10)
    got = page.post("/users/eve/impersonate", **page.own)
    api.go_on.set()
    late = waiting.result(20)
    assert late.status == 200
    assert not late.all("set-cookie")
    page.keep(late)
    page.uses(got)
    assert who(page, **page.own) == "eve"


def test_a_renewal_that_ends_after_it_changes_nothing(page: Page, api: Api, later: Later) -> None:
    slow = Page(page.client, dict(page.jar))
    token = page.cookies["auth-token"]
    del api.users[token]
    api.slow = "/refresh"
    waiting = later(slow.get, "/me")
    assert api.asked.wait(10)
    api.users[token] = "admin"
    page.post("/users/eve/impersonate")
    api.go_on.set()
    assert not waiting.result(20).all("set-cookie")
    assert who(page) == "eve"


@pytest.mark.parametrize("options", [LISTED, UNLISTED], ids=["listed", "unlisted"])
def test_a_logout_before_its_answer_holds(
    proxy_with: ProxyWith, api: Api, later: Later, options: tuple[str, ...]
) -> None:
    page = App(proxy_with(*options))
    slow = Page(page.client, dict(page.jar))
    api.slow = "/users"
    waiting = later(slow.post, "/users/eve/impersonate", **page.own)
    assert api.asked.wait(10)
    page.post("/logout")
    api.go_on.set()
    got = waiting.result(20)
    assert "tk-" not in readable(got)
    assert not got.all("set-cookie")
    assert not page.jar


# Nothing of it reaches the page


@pytest.mark.parametrize("login_body", ["replace", "redact", "stand-in"])
def test_neither_the_new_token_nor_that_of_before_reaches_the_page(
    proxy_with: ProxyWith, api: Api, login_body: str
) -> None:
    api.repeats = True
    page = App(proxy_with(*LISTED, f"cookie_auth_login_body={login_body}"))
    got = page.post("/users/eve/impersonate", **page.own)
    assert "tk-" not in readable(got)
    assert ("eve" in readable(got)) is (login_body != "replace")
    page.uses(got)
    assert who(page, **page.own) == "eve"


# A page that holds stand-ins


@pytest.mark.parametrize(
    "options", [UNLISTED, (*LISTED, "cookie_auth_login_body=stand-in")], ids=["unlisted", "listed"]
)
def test_the_page_gets_a_stand_in_and_its_older_ones_mean_the_new_token(
    proxy_with: ProxyWith, api: Api, options: tuple[str, ...]
) -> None:
    page = App(proxy_with(*options))
    old = page.access
    before = login_of(page)
    assert who(page, authorization=f"Bearer {old}") == "admin"
    got = page.post("/users/eve/impersonate", authorization=f"Bearer {old}")
    assert json.loads(got.body)["as"] == "eve"
    (new,) = stand_ins(got)
    assert new != old
    assert login_of(page) == before
    for one in (new, old):
        assert who(page, authorization=f"Bearer {one}") == "eve"
    got = page.get("/impersonate/leave", authorization=f"Bearer {new}")
    assert who(page, authorization=f"Bearer {stand_ins(got)[0]}") == "admin"
    # The page's own refresh goes on.
    body = json.dumps({"refresh_token": page.refresh})
    got = page.post("/refresh", body, content_type="application/json")
    assert api.refreshes == [api.refresh("admin")]
    assert who(page, authorization=f"Bearer {stand_ins(got)[0]}") == "admin"


def test_a_page_that_sends_nothing_steps_up_with_a_password(
    proxy_with: ProxyWith, api: Api, upstream: Upstream
) -> None:
    """A login with a password goes without the token; this is none."""
    page = App(proxy_with("cookie_auth_switch=POST /auth/session/step-up", *HEADER))
    upstream.answers(
        json.dumps({"access_token": api.token("sudo")}), Content_Type="application/json"
    )
    got = page.post("/auth/session/step-up", '{"password": "x"}', content_type="application/json")
    assert (upstream.last.one("authorization") or "").startswith("Bearer tk-1-admin")
    assert "tk-" not in readable(got)
    upstream.respond = api
    assert who(page) == "sudo"


def test_the_list_says_what_it_was(
    start: Callable[..., Mitmdump], api: Api, tmp_path: Path
) -> None:
    saved = tmp_path / "flows"
    options = (part for option in LISTED for part in ("--set", option))
    proxy = start(*options, "-w", str(saved))
    page = App(proxy)
    page.post("/users/eve/impersonate")
    proxy.stop()
    with saved.open("rb") as file:
        flow = list(FlowReader(file).stream())[-1]
    assert flow.comment.startswith("/users/eve/impersonate: switch: token (")
    assert flow.marked == ":key:"
    assert "tk-" not in proxy.log
