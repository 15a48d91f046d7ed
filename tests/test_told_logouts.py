"""A logout of which the API is told, as it wants to be: `logout: {…}` in a profile."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from page import Page
from support import ADDON, Message, Mitmdump, Upstream, answer
from token_api import opaque, signed

TOKEN, REFRESH = opaque("told/access=", 32), opaque("told/refresh", 32)
ODD = "a/b+c d=é"
"""What no path, form or JSON document takes as it is."""

REFRESHES = """
refresh:
  rule: /token/refresh
  body: '{"refresh": "{refresh_token}"}'
  token: /refresh
token: [/access]
login: [/login]
"""
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class Api:
    """It gives tokens, takes each refresh token once, and knows which are good."""

    def __init__(self) -> None:
        self.first = TOKEN, REFRESH
        self.number = 0
        self.good: set[str] = set()
        self.told: list[Message] = []
        self.rejects = False

    def pair(self, access: str, refresh: str) -> bytes:
        self.good = {access, refresh}
        return answer(json.dumps({"access": access, "refresh": refresh}), Content_Type=JSON)

    def __call__(self, request: Message) -> bytes:
        if request.target == "/login":
            return self.pair(*self.first)
        if request.target == "/token/refresh":
            if json.loads(request.body)["refresh"] not in self.good:
                return answer("{}", 401)
            self.number += 1
            return self.pair(f"fresh-access-{self.number}", f"fresh-refresh-{self.number}")
        self.told.append(request)
        good = request.one("auth-token") in self.good
        return answer("{}", 401 if self.rejects and not good else 204)


@pytest.fixture
def api(upstream: Upstream) -> Api:
    upstream.respond = api = Api()
    return api


@pytest.fixture
def begin(start: Callable[..., Mitmdump], tmp_path: Path) -> Callable[..., Mitmdump]:
    """Start a mitmdump with the profile."""

    def begin(logout: str, *arguments: str, **more: Any) -> Mitmdump:
        file = tmp_path / "api.yaml"
        file.write_text(REFRESHES + logout)
        return start("--set", f"cookie_auth_profile={file}", *arguments, **more)

    return begin


def log_out(page: Page, target: str = "/logout") -> dict[str, object]:
    got = page.post(target)
    assert got.status == 200
    assert not page.jar
    said: dict[str, object] = json.loads(got.body)
    return said


DONE = {"loggedIn": False, "upstream": "done"}
FAILED = {"loggedIn": False, "upstream": "failed"}

WAYS = {
    "Directus": (
        """logout: {rule: /auth/logout, body: '{"refresh_token": "{refresh_token}"}'}""",
        *("/auth/logout", "POST /auth/logout"),
        *(JSON, json.dumps({"refresh_token": REFRESH})),
    ),
    "Simple JWT's blacklist": (
        """logout: {upstream_path: /token/blacklist/, body: '{"refresh": "{refresh_token}"}'}""",
        *("/logout", "POST /token/blacklist/"),
        *(JSON, json.dumps({"refresh": REFRESH})),
    ),
    "Home Assistant's revoke": (
        "logout: {upstream_path: /auth/revoke, body: 'token={refresh_token}&action=revoke'}",
        *("/logout", "POST /auth/revoke"),
        *(FORM, f"token={REFRESH}&action=revoke"),
    ),
    "Keycloak": (
        "logout: {upstream_path: /oidc/logout, body: 'client_id=w&refresh_token={refresh_token}'}",
        *("/logout", "POST /oidc/logout"),
        *(FORM, f"client_id=w&refresh_token={REFRESH}"),
    ),
    "Node-RED": (
        """logout: {rule: /auth/revoke, body: '{"token": "{token}"}'}""",
        *("/auth/revoke", "POST /auth/revoke"),
        *(JSON, json.dumps({"token": TOKEN})),
    ),
    "Verdaccio": (
        "logout: {upstream: true, upstream_method: DELETE, upstream_path: '/-/user/token/{token}'}",
        *("/logout", f"DELETE /-/user/token/{TOKEN}"),
        *(None, ""),
    ),
    "in a query": (
        "logout: {upstream: true, upstream_method: GET, upstream_path: '/end?rt={refresh_token}'}",
        *("/logout", f"GET /end?rt={REFRESH}"),
        *(None, ""),
    ),
    "in a header": (
        "logout: {headers: ['X-Refresh: {refresh_token}']}",
        *("/logout", "POST /logout"),
        *(None, ""),
    ),
}


@pytest.mark.parametrize(
    ("profile", "target", "told", "kind", "body"), WAYS.values(), ids=list(WAYS)
)
def test_the_api_is_told_as_it_wants_to_be(
    begin: Callable[..., Mitmdump],
    api: Api,
    profile: str,
    target: str,
    told: str,
    kind: str | None,
    body: str,
) -> None:
    page = Page(begin(profile).client)
    page.post("/login")
    assert log_out(page, target) == DONE
    (request,) = api.told
    assert " ".join(request.start) == told
    assert request.one("content-type") == kind
    assert request.body.decode() == body
    assert request.one("auth-token") == TOKEN
    assert request.one("cookie") is None
    if "X-Refresh" in profile:
        assert request.one("x-refresh") == REFRESH


def test_a_token_is_written_as_its_place_wants_it(begin: Callable[..., Mitmdump], api: Api) -> None:
    api.first = "access-1234", ODD
    profile = "logout: {upstream_path: '/end/{refresh_token}', body: 'a={refresh_token}'}"
    page = Page(begin(profile).client)
    page.post("/login")
    assert log_out(page) == DONE
    assert api.told[0].target == f"/end/{quote(ODD, safe='')}"
    assert api.told[0].body.decode() == f"a={quote(ODD, safe='').replace('%20', '+')}"


def test_a_token_that_has_ended_is_renewed_first(begin: Callable[..., Mitmdump], api: Api) -> None:
    api.first = signed(exp=time.time() - 60), REFRESH
    page = Page(begin(WAYS["Directus"][0]).client)
    page.post("/login")
    assert log_out(page, "/auth/logout") == DONE
    (request,) = api.told
    assert request.one("auth-token") == "fresh-access-1"
    assert json.loads(request.body) == {"refresh_token": "fresh-refresh-1"}


def test_so_is_one_whose_cookie_is_gone(begin: Callable[..., Mitmdump], api: Api) -> None:
    page = Page(begin(WAYS["Node-RED"][0]).client)
    page.post("/login")
    del page.jar["auth-token", "/"]
    assert log_out(page, "/auth/revoke") == DONE
    assert json.loads(api.told[0].body) == {"token": "fresh-access-1"}


def test_one_that_the_api_refuses_is_renewed_and_it_is_told_again(
    begin: Callable[..., Mitmdump], api: Api
) -> None:
    api.rejects = True
    page = Page(begin(WAYS["Directus"][0]).client)
    page.post("/login")
    api.good = {REFRESH}
    old = dict(page.jar)
    assert log_out(page, "/auth/logout") == DONE
    assert [request.one("auth-token") for request in api.told] == [TOKEN, "fresh-access-1"]
    assert json.loads(api.told[1].body) == {"refresh_token": "fresh-refresh-1"}
    # Whoever has kept the cookies gets nothing of it.
    got = Page(page.client, old).get("/me")
    assert not [one for one in got.all("set-cookie") if "Max-Age=0" not in one]
    assert api.told[-1].one("auth-token") == TOKEN


def test_the_user_is_logged_out_whatever_the_api_says(
    begin: Callable[..., Mitmdump], api: Api
) -> None:
    api.rejects = True
    page = Page(begin(WAYS["Directus"][0]).client)
    page.post("/login")
    api.good = set()
    assert log_out(page, "/auth/logout") == FAILED


def test_without_what_the_api_wants_it_is_not_told_and_the_log_says_why(
    begin: Callable[..., Mitmdump], api: Api
) -> None:
    proxy = begin(WAYS["Directus"][0])
    page = Page(proxy.client)
    page.post("/login")
    del page.jar["auth-token-refresh", "/"]
    assert log_out(page, "/auth/logout") == FAILED
    assert not api.told
    proxy.wait_for_log("the API is not told of a logout: the login has no refresh_token")


@pytest.mark.parametrize(
    "headers", [{"sec_fetch_mode": "navigate"}, {"sec_fetch_mode": "", "accept": "text/html"}]
)
def test_a_person_who_follows_the_link_sees_a_page(
    begin: Callable[..., Mitmdump], api: Api, headers: dict[str, str]
) -> None:
    page = Page(begin(WAYS["Directus"][0]).client)
    page.post("/login")
    got = page.get("/auth/logout", **headers)
    assert (got.status, got.one("location")) == (303, "/")
    assert json.loads(api.told[0].body) == {"refresh_token": REFRESH}


def test_nobody_is_logged_out_at_the_api_without_a_login(
    begin: Callable[..., Mitmdump], api: Api
) -> None:
    page = Page(begin(WAYS["Directus"][0]).client)
    assert log_out(page, "/auth/logout") == {"loggedIn": False}
    assert not api.told


def test_all_devices_are_logged_out_by_a_request_of_the_pages_own(
    begin: Callable[..., Mitmdump], api: Api
) -> None:
    page = Page(begin("logout: {rule: /logout, all: POST /logoutall}").client)
    page.post("/login")
    assert page.get("/logoutall").status == 204  # no logout: another method
    assert page.jar
    foreign = page.post("/logoutall", sec_fetch_site="same-site")
    assert foreign.status == 403
    api.told.clear()
    got = page.post("/logoutall", '{"why": "stolen"}', content_type=JSON)
    assert json.loads(got.body) == DONE
    assert not page.jar
    (request,) = api.told
    assert (request.start, request.body) == (("POST", "/logoutall"), b'{"why": "stolen"}')
    assert request.one("auth-token") == TOKEN
    # The other logout tells the API nothing.
    page.post("/login")
    api.told.clear()
    assert log_out(page) == {"loggedIn": False}
    assert not api.told


def test_a_page_that_holds_stand_ins_and_sends_none_is_logged_out_there_too(
    begin: Callable[..., Mitmdump], api: Api
) -> None:
    proxy = begin(WAYS["Directus"][0], "--set", "cookie_auth_login_body=stand-in")
    page = Page(proxy.client)
    page.post("/login")
    assert log_out(page, "/auth/logout") == DONE
    assert json.loads(api.told[0].body) == {"refresh_token": REFRESH}


def test_nothing_of_it_is_recorded_if_flows_are_redacted(
    begin: Callable[..., Mitmdump], api: Api, tmp_path: Path
) -> None:
    saved = tmp_path / "flows"
    profile = "logout: {upstream_path: '/end/{token}', body: 'a={refresh_token}'}"
    proxy = begin(profile, "--set", "cookie_auth_redact=true", "-w", str(saved))
    page = Page(proxy.client)
    page.post("/login")
    assert log_out(page) == DONE
    (request,) = api.told
    assert (request.target, request.body) == (f"/end/{TOKEN}", f"a={REFRESH}".encode())
    assert request.one("auth-token") == TOKEN
    proxy.stop()
    for secret in (TOKEN, REFRESH):
        assert secret.encode() not in saved.read_bytes()
        assert secret not in proxy.log


BREAKS = """
from exchanges.logout import SignOut
from exchanges.renewal import Renewal

async def fails(self):
    raise ValueError

SignOut.answer = Renewal.answer = fails
addons = []
"""


def test_no_token_in_a_path_is_logged_when_something_fails(
    begin: Callable[..., Mitmdump], api: Api, tmp_path: Path
) -> None:
    script = tmp_path / "breaks.py"
    script.write_text(BREAKS)
    profile = "logout: {upstream_path: '/end/{token}', body: 'a={refresh_token}'}"
    profile = profile.replace("upstream_path", "rule: /out, upstream_path")
    proxy = begin(profile, "--set", "flow_detail=0", scripts=(ADDON, script))
    page = Page(proxy.client)
    page.post("/login")
    assert page.post("/out").status == 500
    assert api.told[0].target == f"/end/{TOKEN}"
    proxy.wait_for_log("POST /out refused: internal")
    assert TOKEN not in proxy.log


def test_what_cannot_be_told_ends_the_start(begin: Callable[..., Mitmdump]) -> None:
    proxy = begin("logout: {upstream: true, upstream_path: '/end/{tokens}'}")
    assert proxy.exit_code() == 1
    assert "api.yaml:" in proxy.log
    assert "{tokens} is neither" in proxy.log
