"""Logout is final, and so is a login (law 17); what a renewal gives, and to whom."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from page import Page
from support import Message, Mitmdump, Upstream, answer
from test_jar import jwt

ProxyWith = Callable[..., Mitmdump]


class Api:
    """Keeps answers back on demand; tokens are good until it is told otherwise."""

    def __init__(self) -> None:
        self.good: set[str] = set()
        self.refreshes: list[str] = []
        self.rotates = True
        self.number = 0
        self.make: Callable[[int], str] = "token-{}".format
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self.slow = ""
        self.refresh_answer: bytes | None = None

    def pair(self, user: str) -> bytes:
        self.number += 1
        token = self.make(self.number)
        self.good.add(token)
        refresh = f"{user}-r{self.number if self.rotates else ''}"
        return answer(json.dumps({"authToken": token, "refreshToken": refresh, "user": user}))

    def __call__(self, request: Message) -> bytes:
        if self.slow and request.target.startswith(self.slow):
            self.slow = ""
            self.asked.set()
            assert self.go_on.wait(20)
        if request.target.startswith("/login"):
            return self.pair(request.one("x-user") or "alice")
        if request.target == "/refresh":
            self.refreshes.append(json.loads(request.body)["refreshToken"])
            return self.refresh_answer or self.pair(self.refreshes[-1].partition("-")[0])
        token = request.one("auth-token")
        return answer(json.dumps({"token": token}), 200 if token in self.good else 401)


@pytest.fixture
def api(upstream: Upstream) -> Api:
    api = Api()
    upstream.respond = api
    return api


@pytest.fixture
def page(start: Callable[..., Mitmdump], api: Api) -> Page:
    page = Page(start("--set", "cookie_auth_refresh=/refresh").client)
    page.post("/login")
    return page


@pytest.fixture
def later() -> Iterator[Callable[..., Future[Message]]]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def late(page: Page, api: Api, slow: str) -> Page:
    """A second request of the same browser, as its cookies are now, that is answered slowly."""
    api.slow = slow
    return Page(page.client, dict(page.jar))


@pytest.mark.parametrize("slow", ["/refresh", "/me"])
@pytest.mark.parametrize("next_step", ["logout", "login"])
def test_a_renewal_that_ends_after_the_login_did_changes_no_cookie(
    page: Page, api: Api, later: Callable[..., Future[Message]], slow: str, next_step: str
) -> None:
    api.good.clear()
    other = late(page, api, "/refresh")
    waiting = later(other.get, "/me")
    assert api.asked.wait(10)
    if slow == "/me":  # the renewal is over, and the answer that is to bring its cookies is late
        api.slow = "/me"
        api.asked.clear()
        api.go_on.set()
        api.go_on.clear()
        assert api.asked.wait(10)
    page.post(f"/{next_step}", x_user="bob")
    held = dict(page.jar)
    api.go_on.set()
    got = waiting.result(20)
    assert not got.all("set-cookie")
    page.keep(got)
    assert page.jar == held
    if next_step == "logout":
        assert page.get("/me").status == 401


def test_old_cookies_get_nothing_from_memory_after_a_logout(page: Page, api: Api) -> None:
    old = dict(page.jar)
    api.good.clear()
    assert page.get("/me").status == 200
    page.post("/logout")
    for target in ("/me", "/refresh"):
        late_page = Page(page.client, dict(old))
        got = late_page.post(target)
        assert got.status in (401, 502)
        assert not [f for f in got.all("set-cookie") if "Max-Age=0" not in f]
    assert api.refreshes == ["alice-r1"]


def test_a_login_that_was_asked_for_earlier_does_not_undo_a_later_one(
    page: Page, api: Api, later: Callable[..., Future[Message]]
) -> None:
    other = late(page, api, "/login")
    waiting = later(other.post, "/login", x_user="alice")
    assert api.asked.wait(10)
    page.post("/login", x_user="bob")
    api.go_on.set()
    got = waiting.result(20)
    assert got.body == b'{"loggedIn": false}'
    assert not got.all("set-cookie")


def test_of_two_logins_the_one_that_was_asked_for_later_holds(
    page: Page, api: Api, later: Callable[..., Future[Message]]
) -> None:
    first = Page(page.client, dict(page.jar))
    other = late(page, api, "/login?second")
    api.slow = "/login?second"
    # The second begins while the first has not been asked for yet, or is over: it holds.
    first.post("/login", x_user="bob")
    waiting = later(other.post, "/login?second", x_user="carol")
    assert api.asked.wait(10)
    api.go_on.set()
    assert waiting.result(20).body == b'{"loggedIn": true}'


def test_a_login_after_a_logout_works_with_the_old_cookies(page: Page, api: Api) -> None:
    old = dict(page.jar)
    page.post("/logout")
    page.jar.update(old)  # its answer got lost
    assert page.post("/login", x_user="bob").body == b'{"loggedIn": true}'
    assert page.get("/me").status == 200


def test_an_answer_that_brings_older_tokens_comes_too_late(
    page: Page, api: Api, later: Callable[..., Future[Message]]
) -> None:
    del page.jar["auth-token", "/"]  # its cookie has ended
    other = late(page, api, "/slow")
    waiting = later(other.get, "/slow")
    assert api.asked.wait(10)
    assert page.get("/me").status == 200  # renewed by the first of them, and remembered
    api.good.clear()
    assert page.get("/me").status == 200  # renewed once more
    assert len(api.refreshes) == 2
    api.go_on.set()
    assert not waiting.result(20).all("set-cookie")


def test_a_remembered_token_is_for_requests_that_came_with_the_one_it_replaced(
    page: Page, api: Api
) -> None:
    api.rotates = False
    page.post("/login")
    api.refreshes.clear()
    api.good.clear()
    old = dict(page.jar)
    assert page.get("/me").status == 200
    assert Page(page.client, dict(old)).get("/me").status == 200
    assert len(api.refreshes) == 1
    api.good.clear()  # now the fresh one has ended, too
    assert page.get("/me").status == 200
    assert len(api.refreshes) == 2


def test_a_remembered_token_that_is_over_is_not_handed_out(page: Page, api: Api) -> None:
    api.rotates = False
    api.make = lambda n: jwt({"n": n, "iat": time.time() - 5, "exp": time.time() + 1.5})
    page.post("/login")
    api.refreshes.clear()
    del page.jar["auth-token", "/"]
    assert Page(page.client, dict(page.jar)).get("/me").status == 200
    time.sleep(1.6)
    assert Page(page.client, dict(page.jar)).get("/me").status == 200
    assert len(api.refreshes) == 2


@pytest.mark.parametrize("claims", [{}, {"iat": 0}], ids=["bare", "iat"])
def test_tokens_that_live_shortly_are_not_renewed_for_each_request(
    page: Page, api: Api, claims: dict[str, float]
) -> None:
    def make(n: int) -> str:
        now = time.time()
        return jwt({"n": n, "exp": now + 20} | dict.fromkeys(claims, now))

    api.make = make
    page.post("/login")
    api.refreshes.clear()
    for _ in range(4):
        assert page.get("/me").status == 200
    assert len(api.refreshes) == (0 if claims else 1)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_the_apis_word_that_a_refresh_token_is_no_good_ends_the_login(
    page: Page, api: Api, status: int
) -> None:
    api.refresh_answer = answer('{"error": "invalid_grant"}', status)
    api.good.clear()
    assert page.get("/me").status == 401
    assert not page.jar


@pytest.mark.parametrize(
    "wrong",
    [
        answer("{}", 404),
        answer("{}", 408),
        answer("{}", 425),
        answer("{}", 429),
        answer("{}", 500),
        answer("", 302, Location="https://portal.example.test/"),
        answer("<html>Please log in to the network</html>", Content_Type="text/html"),
        answer("{}"),
        answer('{"errors": [{"message": "busy"}]}'),
    ],
    ids=["404", "408", "425", "429", "500", "302", "portal", "empty", "graphql"],
)
def test_another_answer_to_the_refresh_logs_nobody_out_and_is_told(
    start: Callable[..., Mitmdump], api: Api, wrong: bytes
) -> None:
    mitmdump = start("--set", "cookie_auth_refresh=/refresh")
    page = Page(mitmdump.client)
    page.post("/login")
    held = dict(page.jar)
    api.refresh_answer = wrong
    api.good.clear()
    assert page.get("/me").status == 401
    assert page.jar == held
    mitmdump.wait_for_log("the API's answer to the refresh cannot be used: ")
    got = page.post("/refresh")
    assert (got.status, json.loads(got.body)["error"]) == (502, "upstream_unreachable")
    api.refresh_answer = None
    assert page.get("/me").status == 200


def test_a_late_401_deletes_no_cookie_of_the_next_login(
    start: Callable[..., Mitmdump], api: Api, later: Callable[..., Future[Message]]
) -> None:
    page = Page(start("--set", "cookie_auth_clear_on_401=true").client)
    page.post("/login")
    api.good.clear()
    other = late(page, api, "/me")
    waiting = later(other.get, "/me")
    assert api.asked.wait(10)
    page.post("/login", x_user="bob")
    api.go_on.set()
    assert not waiting.result(20).all("set-cookie")
