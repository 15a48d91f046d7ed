"""Several upstreams behind one address: who gets what, with which header and cookies."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from browser_client import Browser
from exchanges import notes
from exchanges.settings import OPTIONS, Settings
from inspection import explain
from mitmproxy.http import HTTPFlow
from mitmproxy.io import FlowReader
from page import Page
from playwright.sync_api import BrowserContext
from support import (
    ADDON,
    SHORT_WAY,
    Message,
    Mitmdump,
    Upstream,
    answer,
    eventually,
    free_port,
    running,
)
from test_failing_closed import edit, own_addon  # noqa: F401
from test_networks import certified
from test_protocols import Http2Browser
from test_streams import socket_server  # noqa: F401
from token_api import BY_LINK, STAND_IN, opaque
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection
from websockets.typing import Origin

ProxyWith = Callable[..., Mitmdump]


@dataclass
class Hosts:
    """An API of three hosts that have one login, one of files, and a second API."""

    api: Upstream
    login: Upstream
    data: Upstream
    files: Upstream
    second: Upstream

    @property
    def all(self) -> tuple[Upstream, ...]:
        return self.api, self.login, self.data, self.files, self.second

    @property
    def options(self) -> tuple[str, ...]:
        return (
            "cookie_auth_prefix=/api",
            "cookie_auth_base_path=/v1",
            f"cookie_auth_upstream=/api/auth={self.login.url}/oauth token",
            f"cookie_auth_upstream=/data={self.data.url}/v2 token",
            f"cookie_auth_upstream=/api/files={self.files.url}",
            f"cookie_auth_upstream=/second={self.second.url}/x",
            "cookie_auth_login=/login",
            "cookie_auth_login=/auth/sign-in",
            "cookie_auth_forward_cookies=theme",
        )

    def received(self) -> dict[str, list[Message]]:
        """What each has received since the last call."""
        found = {name: list(one.received) for name, one in vars(self).items()}
        for one in self.all:
            one.received.clear()
        return {name: messages for name, messages in found.items() if messages}

    def only(self, name: str) -> Message:
        """What this one has received, which was one request, and the others none."""
        found = self.received()
        assert list(found) == [name], found
        (message,) = found[name]
        return message


@pytest.fixture(scope="module")
def _hosts(_upstream: Upstream) -> Iterator[Hosts]:
    hosts = Hosts(_upstream, *(Upstream() for _ in range(4)))
    yield hosts
    for one in hosts.all[1:]:
        one.close()


@pytest.fixture
def hosts(_hosts: Hosts, upstream: Upstream) -> Hosts:
    for one in _hosts.all[1:]:
        one.received.clear()
        one.answers("{}")
    return _hosts


@pytest.fixture
def page(hosts: Hosts, proxy_with: ProxyWith) -> Page:
    return Page(proxy_with(*hosts.options).client)


TOKENS = map("token-of-{}-for-the-tests".format, count())


def log_in(page: Page, upstream: Upstream, path: str = "/api/auth/sign-in") -> str:
    """A listed login there; the token that it gave."""
    token, respond = next(TOKENS), upstream.respond
    upstream.answers(json.dumps({"authToken": token}))
    got = page.post(path, content_type="application/json")
    assert got.body == b'{"loggedIn": true}'
    upstream.respond = respond
    return token


def test_a_login_at_another_host_serves_all_that_share_it_and_no_other(
    page: Page, hosts: Hosts
) -> None:
    own = f"http://localhost:{page.client.port}"
    token = log_in(page, hosts.login)
    asked = hosts.only("login")
    assert asked.start == ("POST", "/oauth/sign-in")
    assert asked.one("auth-token") is asked.one("cookie") is None
    for _ in range(3):  # what is alike is decided once
        for path, name, target in (
            ("/api/me?x=1", "api", "/v1/me?x=1"),
            ("/api/auth/me", "login", "/oauth/me"),
            ("/data/rows/%2Fa?x=/api", "data", "/v2/rows/%2Fa?x=/api"),
            ("/data", "data", "/v2"),
        ):
            got = page.get(path, origin=own, referer=f"{own}/app")
            assert got.status == 200
            asked, upstream = hosts.only(name), getattr(hosts, name)
            assert asked.start == ("GET", target)
            assert asked.one("auth-token") == token
            assert asked.one("cookie") is None
            assert asked.one("host") == f"127.0.0.1:{upstream.port}"
            assert asked.one("origin") == upstream.url
            assert asked.one("referer") == f"{upstream.url}/app"
        for path, name, target in (
            ("/api/files/a.png", "files", "/a.png"),
            ("/second/me", "second", "/x/me"),
        ):
            assert page.get(path, origin=own).status == 200
            asked, upstream = hosts.only(name), getattr(hosts, name)
            assert asked.start == ("GET", target)
            assert token not in str(asked)
            assert asked.one("auth-token") is asked.one("cookie") is None
            assert asked.one("host") == f"127.0.0.1:{upstream.port}"
            assert asked.one("origin") == upstream.url


def test_two_apis_have_a_token_each(page: Page, hosts: Hosts) -> None:
    first, second = log_in(page, hosts.login), log_in(page, hosts.second, "/second/login")
    assert page.cookies["auth-token"] == first
    assert page.cookies["auth-token~second"] == second
    assert {"auth-token-login", "auth-token~second-login"} < set(page.cookies)
    hosts.received()
    for path, name, token in (
        ("/api/me", "api", first),
        ("/data/rows", "data", first),
        ("/second/me", "second", second),
        ("/api/files/a", "files", None),
    ):
        page.get(path)
        asked = hosts.only(name)
        assert asked.one("auth-token") == token
        assert asked.one("cookie") is None
        others = {first, second} - {token}
        assert not any(other in str(asked) for other in others)


def test_an_api_of_its_own_may_have_a_profile_of_its_own(
    hosts: Hosts, confdir: Path, tmp_path: Path
) -> None:
    profile, flows = tmp_path / "second.yaml", tmp_path / "flows"
    lines = ("login: [/in]", "token: [/jwt]", "header: X-Second", "base_path: /v7")
    profile.write_text("\n".join((*lines, "refresh: /again", "refresh_token: /r", "")))
    options = (
        *("--set", "cookie_auth_header=Authorization"),
        *("--set", "cookie_auth_header_format=Bearer {token}", "-w", str(flows)),
        *("--set", f"cookie_auth_upstream=/second={hosts.second.url} profile={profile}"),
    )
    with running(Mitmdump(hosts.api.url, *options, confdir=confdir)) as mitmdump:
        mitmdump.wait_for_log(
            f"/second goes to {hosts.second.url}/v7: .*~second → header X-Second:"
        )
        page = Page(mitmdump.client)
        first = log_in(page, hosts.api, "/login")
        fresh = next(TOKENS)

        def respond(request: Message) -> bytes:
            if request.target == "/v7/in":
                return answer('{"jwt": "listed-there", "r": "to-renew-with"}')
            if request.target == "/v7/again":
                return answer(json.dumps({"jwt": fresh}))
            return answer("{}", 200 if request.one("x-second") == fresh else 401)

        hosts.second.respond = respond
        assert page.post("/second/in", content_type="application/json").status == 200
        hosts.received()
        page.get("/me", x_second="of the page")
        asked = hosts.only("api")
        assert asked.one("authorization") == f"Bearer {first}"
        assert asked.one("x-second") == "of the page"
        assert page.get("/second/me", x_second="of the page").status == 200
        asked, renewal, again = hosts.received()["second"]
        assert [asked.one("x-second"), again.one("x-second")] == ["listed-there", fresh]
        assert asked.one("authorization") is None
        assert renewal.target == "/v7/again"
        assert page.post("/second/logout").status == 200
        assert "auth-token" in page.cookies
    noted = [flow.metadata.get(notes.RECEIVED) for flow in read_flows(flows)]
    (told,) = [one for one in noted if one and one["target"] == "/second/me"]
    assert ("x-second", "(11 bytes)") in map(tuple, told["gone"])  # the page's own, not as it was


def read_flows(file: Path) -> list[HTTPFlow]:
    with file.open("rb") as stream:
        return [flow for flow in FlowReader(stream).stream() if isinstance(flow, HTTPFlow)]


def test_a_fixed_header_goes_to_hosts_of_one_login_only(
    hosts: Hosts, start: Callable[..., Mitmdump], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("key-of-the-first")
    profile = tmp_path / "first.yaml"
    profile.write_text(f"header:\n  fixed:\n  - name: X-Api-Key\n    file: {tmp_path / 'key'}\n")
    options = (*hosts.options, f"cookie_auth_profile={profile}")
    page = Page(start(*(part for one in options for part in ("--set", one))).client)
    for path, name, key in (
        ("/api/me", "api", "key-of-the-first"),
        ("/data/rows", "data", "key-of-the-first"),
        ("/second/me", "second", None),
        ("/api/files/a", "files", None),
    ):
        page.get(path)
        assert hosts.only(name).one("x-api-key") == key


def test_each_api_says_whether_somebody_is_logged_in(hosts: Hosts, proxy_with: ProxyWith) -> None:
    page = Page(proxy_with(*hosts.options, "cookie_auth_session=/session").client)
    log_in(page, hosts.second, "/second/login")
    hosts.received()
    for path, is_one in (("/second/session", True), ("/api/session", False)):
        assert json.loads(page.get(path).body) == {"loggedIn": is_one}
    assert not hosts.received()
    page.get("/data/session")
    assert hosts.only("data").target == "/v2/session"


def test_each_api_has_a_logout_of_its_own(page: Page, hosts: Hosts) -> None:
    first, second = log_in(page, hosts.login), log_in(page, hosts.second, "/second/login")
    hosts.received()
    assert page.post("/second/logout").body == b'{"loggedIn": false}'
    assert not [name for name in page.cookies if "second" in name]
    page.get("/second/me")
    assert hosts.only("second").one("auth-token") is None
    page.get("/data/rows")
    assert hosts.only("data").one("auth-token") == first

    second = log_in(page, hosts.second, "/second/login")
    hosts.received()
    assert page.post("/api/logout").body == b'{"loggedIn": false}'
    assert [name for name in page.cookies if "second" not in name] == []
    for path, name in (("/api/me", "api"), ("/data/rows", "data"), ("/api/auth/me", "login")):
        page.get(path)
        assert hosts.only(name).one("auth-token") is None
    page.get("/second/me")
    assert hosts.only("second").one("auth-token") == second


CROOKED = (
    *("/api/files/../../data/x", "/api/files/%2e%2e/me", "/api/%66iles/a", "/api/FILES/a"),
    *("//second/me", "/second//me", "/second/../api/me", "/second/..;/data/x", "/SECOND/me"),
    *("/api/auth/../files/a", "/data/../second/me", "/data\\..\\second/me", "/data%2f..%2fsecond"),
    *(
        "/second/login/../me",
        "/api//auth/sign-in",
        "/api/AUTH/sign-in",
        "/second;x/me",
        "/data?/second",
    ),
    *("http://127.0.0.1:{second}/data/x", "http://127.0.0.1:{api}/second/me", "http://x/api/me"),
    *(
        "http://else.test/second/me",
        "*",
        "/api/files/http://127.0.0.1:{data}/data/x",
        "/second#/data",
    ),
)


@pytest.mark.parametrize("target", CROOKED)
def test_no_target_takes_a_token_to_another_api(page: Page, hosts: Hosts, target: str) -> None:
    first, second = log_in(page, hosts.login), log_in(page, hosts.second, "/second/login")
    hosts.received()
    target = target.format(**{name: one.port for name, one in vars(hosts).items()})
    cookie = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    for method in ("GET", "POST", "OPTIONS"):
        lines = f"{method} {target} HTTP/1.1", f"Host: localhost:{page.client.port}"
        length = "" if method == "GET" else "Content-Length: 0\r\n"
        more = f"Cookie: {cookie}\r\n{length}Connection: close\r\n\r\n"
        assert b"HTTP/1.1 " in page.client.raw("\r\n".join((*lines, more)).encode())
    for name, messages in hosts.received().items():
        text = str(messages)
        assert first not in text or name in ("api", "login", "data")
        assert second not in text or name == "second"
        assert not any(one.one("cookie") for one in messages)
        upstream = getattr(hosts, name)
        assert {one.one("host") for one in messages} == {f"127.0.0.1:{upstream.port}"}


def unlisted(page: Page, upstream: Upstream, path: str) -> tuple[str, str]:
    """A login that no option names: its token, and what the page got in its place."""
    token = opaque(f"{path} {next(TOKENS)}")
    upstream.answers(json.dumps({"access_token": token}))
    got = page.post(path, '{"password": "x"}', content_type="application/json")
    upstream.answers("{}")
    stand_in = json.loads(got.body)["access_token"]
    assert re.fullmatch(STAND_IN, stand_in)
    return token, stand_in


def test_stand_ins_of_a_login_mean_its_token_where_that_is_shared_only(
    page: Page, hosts: Hosts
) -> None:
    token, stand_in = unlisted(page, hosts.login, "/api/auth/token")
    other, others = unlisted(page, hosts.second, "/second/token")
    hosts.received()
    for path, name, meant in (
        ("/api/me", "api", (token, others)),
        ("/data/rows", "data", (token, others)),
        ("/api/auth/me", "login", (token, others)),
        ("/second/me", "second", (stand_in, other)),
        ("/api/files/a", "files", (stand_in, others)),
    ):
        sent = []
        for written in (stand_in, others):
            page.get(path, authorization=f"Bearer {written}")
            sent.append(hosts.only(name).one("authorization"))
        assert sent == [f"Bearer {text}" for text in meant]


def test_what_a_host_repeats_of_its_login_s_token_is_a_stand_in(page: Page, hosts: Hosts) -> None:
    token, stand_in = unlisted(page, hosts.login, "/api/auth/token")
    hosts.data.answers(json.dumps({"by": token}), X_By=token)
    got = page.get("/data/rows", authorization=f"Bearer {stand_in}")
    assert token not in str(got)
    assert json.loads(got.body) == {"by": stand_in}


@pytest.mark.parametrize("path", ["/data/rows", "/second/rows", "/api/files/a"])
def test_pages_of_other_origins_act_nowhere(page: Page, hosts: Hosts, path: str) -> None:
    log_in(page, hosts.login)
    log_in(page, hosts.second, "/second/login")
    hosts.received()
    foreign = {"sec_fetch_site": "same-site", "origin": "http://localhost:1"}
    got = page.post(path, **foreign)
    assert (got.status, json.loads(got.body)["error"]) == (403, "cross_origin")
    assert page.post(path.replace("rows", "login"), **foreign).status == 403
    assert not hosts.received()
    assert page.get(path, **foreign).status == 200
    ((asked,),) = hosts.received().values()
    assert asked.one("auth-token") is asked.one("cookie") is None
    assert asked.one("origin") == "http://localhost:1"
    assert page.get("/second/logout", **foreign).status == 403
    assert b"host_not_allowed" in page.client.raw(
        f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    )
    assert not hosts.received()


@pytest.mark.parametrize(
    ("asked", "location", "seen"),
    [
        ("/api/me", "{api}/v1/x", "/api/x"),
        ("/api/me", "{files}/x?y", "/api/files/x?y"),
        ("/api/me", "{data}/v2/x", "/data/x"),
        ("/api/me", "{data}/v3/x", "{data}/v3/x"),
        ("/data/x", "/v2/y", "/data/y"),
        ("/data/x", "y", "y"),
        ("/data/x", "{api}/v1/y", "/api/y"),
        ("/data/x", "{login}/oauth/authorize?to=1", "/api/auth/authorize?to=1"),
        ("/second/x", "{api}/v1/y", "/api/y"),
        ("/second/x", "http://else.test/x/y", "http://else.test/x/y"),
    ],
)
def test_redirects_lead_through_the_proxy_from_each_host_to_each(
    page: Page, hosts: Hosts, asked: str, location: str, seen: str
) -> None:
    urls = {name: one.url for name, one in vars(hosts).items()}
    for one in hosts.all:
        one.answers(status=302, Location=location.format(**urls))
    assert page.get(asked).one("location") == seen.format(**urls)


def test_other_cookies_stay_with_the_hosts_of_one_login(page: Page, hosts: Hosts) -> None:
    page.plant("theme", "dark")
    for path, name, cookie in (
        ("/api/me", "api", "theme=dark"),
        ("/data/rows", "data", "theme=dark"),
        ("/second/me", "second", None),
        ("/api/files/a", "files", None),
    ):
        page.get(path)
        assert hosts.only(name).one("cookie") == cookie
    for one in hosts.all:
        one.answers("{}", Set_Cookie="theme=x; Path=/v2/deep; Domain=example.com")
    assert page.get("/data/x").set_cookie == "theme=x; Path=/data/deep"
    for path in ("/second/me", "/api/files/a"):
        assert page.get(path).set_cookie is None


def test_a_host_s_own_session_cookie_goes_back_to_it_alone(page: Page, hosts: Hosts) -> None:
    for upstream, path, cookie in (
        (hosts.api, "/api/sign-in", "sid=of-api; Path=/; HttpOnly"),
        (hosts.login, "/api/auth/token", "sid=of-login; Path=/; HttpOnly"),
    ):
        upstream.answers(json.dumps({"access_token": opaque(path)}), Set_Cookie=cookie)
        page.post(path, '{"password": "x"}', content_type="application/json")
        upstream.answers("{}")
        hosts.received()
    assert {at for name, at in page.jar if name == "auth-token-api-sid"} == {"/api", "/api/auth"}
    page.get("/api/auth/me")
    assert hosts.only("login").one("cookie") == "sid=of-login"
    for path, name in (("/api/me", "api"), ("/data/x", "data"), ("/api/files/a", "files")):
        page.get(path)
        assert hosts.only(name).one("cookie") is None  # that of the first login has ended with it


def test_an_api_s_own_session_cookie_is_not_the_other_hosts(page: Page, hosts: Hosts) -> None:
    hosts.api.answers(
        json.dumps({"access_token": opaque("sid")}), Set_Cookie="sid=of-api; Path=/; HttpOnly"
    )
    page.post("/api/sign-in", '{"password": "x"}', content_type="application/json")
    hosts.api.answers("{}")
    hosts.received()
    for path, name, cookie in (
        ("/api/me", "api", "sid=of-api"),
        ("/api/auth/me", "login", None),  # though its Path has the cookie come along
        ("/api/files/a", "files", None),
    ):
        page.get(path)
        assert hosts.only(name).one("cookie") == cookie


# The token is renewed, and ended, where it comes from


class Accounts:
    """A login host with refresh tokens that it takes once each, and what checks its tokens."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.issued = hosts, 0
        self.token = self.refresh_token = ""
        hosts.login.respond = self.log_in
        hosts.api.respond = hosts.data.respond = self.serve

    def log_in(self, request: Message) -> bytes:
        if request.target == "/oauth/renew" and self.refresh_token not in request.body.decode():
            return answer("{}", 400)
        if request.target not in ("/oauth/sign-in", "/oauth/renew"):
            return answer("{}")
        self.issued += 1
        name = f"{self.issued}-{next(TOKENS)}"
        self.token, self.refresh_token = f"access-{name}", f"refresh-{name}"
        return answer(json.dumps({"authToken": self.token, "refreshToken": self.refresh_token}))

    def serve(self, request: Message) -> bytes:
        good = request.one("auth-token") == self.token
        return answer(json.dumps({"body": request.body.decode()}), 200 if good else 401)


RENEWED = ("cookie_auth_refresh=/auth/renew",)


@pytest.mark.parametrize(("path", "name"), [("/api/me", "api"), ("/data/rows", "data")])
def test_a_token_is_renewed_at_the_login_s_host_and_the_request_sent_again_to_its_own(
    hosts: Hosts, proxy_with: ProxyWith, path: str, name: str
) -> None:
    page, accounts = Page(proxy_with(*hosts.options, *RENEWED).client), Accounts(hosts)
    own = f"http://localhost:{page.client.port}"
    page.post("/api/auth/sign-in", content_type="application/json")
    assert ("auth-token-refresh", "/") in page.jar
    hosts.received()
    old, accounts.token = accounts.token, "of another time"
    got = page.request("PUT", path, body="{1}", origin=own)
    assert (got.status, json.loads(got.body)) == (200, {"body": "{1}"})
    found = hosts.received()
    assert set(found) == {name, "login"}
    first, again = found[name]
    assert (first.one("auth-token"), again.one("auth-token")) == (old, accounts.token)
    assert first.start == again.start
    (renewal,) = found["login"]
    assert renewal.start == ("POST", "/oauth/renew")
    assert renewal.one("host") == f"127.0.0.1:{hosts.login.port}"
    assert renewal.one("origin") == hosts.login.url
    assert renewal.one("auth-token") is renewal.one("cookie") is None
    assert page.cookies["auth-token"] == accounts.token
    assert page.get("/data/rows").status == 200

    assert page.post("/api/auth/renew").body == b'{"loggedIn": true}'
    page.get("/second/me")
    found = hosts.received()
    assert [one.target for one in found["login"]] == ["/oauth/renew"]
    assert "access" not in str(found["second"])
    assert "refresh" not in str(found["second"])


def test_a_renewal_at_the_api_itself_goes_there_from_other_hosts(
    hosts: Hosts, proxy_with: ProxyWith
) -> None:
    page = Page(proxy_with(*hosts.options, "cookie_auth_refresh=/renew").client)
    accounts = Accounts(hosts)
    page.post("/api/auth/sign-in", content_type="application/json")
    hosts.received()
    fresh = next(TOKENS)

    def renew(request: Message) -> bytes:
        if request.target != "/v1/renew":
            return accounts.serve(request)
        accounts.token = fresh
        return answer(json.dumps({"authToken": fresh}))

    hosts.api.respond = renew
    accounts.token = "of another time"
    assert page.get("/data/rows").status == 200
    found = hosts.received()
    assert [one.target for one in found["api"]] == ["/v1/renew"]
    assert found["api"][0].one("host") == f"127.0.0.1:{hosts.api.port}"
    assert [one.one("auth-token") for one in found["data"]][1:] == [fresh]


def test_a_refresh_token_in_a_cookie_goes_to_the_login_s_host_from_others(
    hosts: Hosts, proxy_with: ProxyWith
) -> None:
    refresh = (*RENEWED, "cookie_auth_refresh_token=cookie:rt")
    page = Page(proxy_with(*hosts.options, *refresh).client)
    given = iter([("old", "r1"), (fresh := next(TOKENS), "r2")])

    def respond(request: Message) -> bytes:
        token, value = next(given)
        cookie = f"rt={value}; Path=/oauth; HttpOnly"
        return answer(json.dumps({"authToken": token}), Set_Cookie=cookie)

    hosts.login.respond = respond
    page.post("/api/auth/sign-in", content_type="application/json")
    hosts.received()
    hosts.data.respond = lambda request: answer(
        "{}", 200 if request.one("auth-token") == fresh else 401
    )
    assert page.get("/data/rows").status == 200
    found = hosts.received()
    (renewal,) = found["login"]
    assert (renewal.target, renewal.one("cookie")) == ("/oauth/renew", "rt=r1")
    assert not any(one.one("cookie") for one in found["data"])


def test_a_page_of_the_front_end_comes_with_a_token_that_the_login_s_host_has_renewed(
    hosts: Hosts, start: Callable[..., Mitmdump]
) -> None:
    frontend = Upstream()
    options = (*hosts.options, *RENEWED, f"cookie_auth_frontend={frontend.url}")
    page = Page(start(*(part for one in options for part in ("--set", one))).client)
    given = iter([("ended", 0), (fresh := next(TOKENS), 3600)])

    def respond(request: Message) -> bytes:
        token, life = next(given)
        pair = {"authToken": token, "refreshToken": f"r-{token}", "expires_in": life}
        return answer(json.dumps(pair))

    hosts.login.respond = respond
    page.post("/api/auth/sign-in", content_type="application/json")
    hosts.received()
    opened = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document", "sec_fetch_site": "none"}
    assert page.get("/shop", **opened).status == 200
    renewal = hosts.only("login")
    assert renewal.start == ("POST", "/oauth/renew")
    assert renewal.one("host") == f"127.0.0.1:{hosts.login.port}"
    assert b"r-ended" in renewal.body
    assert f"auth-token={fresh}" in str(frontend.last.one("cookie"))
    assert "refresh" not in str(frontend.last.one("cookie"))
    frontend.close()


def test_a_second_api_renews_its_token_itself(hosts: Hosts, proxy_with: ProxyWith) -> None:
    page = Page(proxy_with(*hosts.options, "cookie_auth_refresh=/renew").client)
    fresh = next(TOKENS)

    def respond(request: Message) -> bytes:
        if request.target == "/x/login":
            return answer('{"authToken": "old-one-of-second", "refreshToken": "r-of-second"}')
        if request.target == "/x/renew":
            return answer(json.dumps({"authToken": fresh}))
        return answer("{}", 200 if request.one("auth-token") == fresh else 401)

    hosts.second.respond = respond
    page.post("/second/login", content_type="application/json")
    assert ("auth-token~second-refresh", "/second") in page.jar
    assert page.get("/second/me").status == 200
    found = hosts.received()
    assert list(found) == ["second"]
    assert [one.target for one in found["second"]] == ["/x/login", "/x/me", "/x/renew", "/x/me"]
    assert b"r-of-second" in found["second"][2].body
    assert page.cookies["auth-token~second"] == fresh


@pytest.mark.parametrize(
    ("path", "name", "target"),
    [("/auth/revoke", "login", "/oauth/revoke"), ("/revoke", "api", "/v1/revoke")],
)
def test_the_api_is_told_of_a_logout_at_the_host_that_the_option_names(
    hosts: Hosts, proxy_with: ProxyWith, path: str, name: str, target: str
) -> None:
    told = ("cookie_auth_logout_upstream=true", f"cookie_auth_logout_upstream_path={path}")
    page = Page(proxy_with(*hosts.options, *told).client)
    page.plant("theme", "dark")
    token = log_in(page, hosts.login)
    hosts.received()
    got = page.post("/api/logout")
    assert json.loads(got.body) == {"loggedIn": False, "upstream": "done"}
    asked = hosts.only(name)
    assert asked.start == ("POST", target)
    assert asked.one("auth-token") == token
    assert asked.one("host") == f"127.0.0.1:{getattr(hosts, name).port}"
    assert "auth-token" not in page.cookies


def test_a_logout_may_be_at_the_login_s_host(hosts: Hosts, proxy_with: ProxyWith) -> None:
    page = Page(proxy_with(*hosts.options, "cookie_auth_logout=/auth/bye").client)
    log_in(page, hosts.login)
    hosts.received()
    assert page.post("/api/auth/bye").body == b'{"loggedIn": false}'
    assert not page.cookies
    assert not hosts.received()


def test_rules_hold_for_paths_at_other_hosts(hosts: Hosts, proxy_with: ProxyWith) -> None:
    rules = (
        "cookie_auth_login=POST /auth/token grant_type=password",
        "cookie_auth_login=POST /second/*/callback",
        "cookie_auth_refresh=POST /auth/token grant_type=refresh_token",
        "cookie_auth_refresh_body=grant_type=refresh_token&refresh_token={refresh_token}",
        "cookie_auth_logout=DELETE /auth/session",
    )
    others = [option for option in hosts.options if "auth_login" not in option]
    page = Page(proxy_with(*others, *rules).client)
    given = iter([("first", "r1"), ("second", "r2")])

    def respond(request: Message) -> bytes:
        token, refresh_token = next(given)
        return answer(json.dumps({"authToken": token, "refreshToken": refresh_token}))

    hosts.login.respond = respond
    form = {"content_type": "application/x-www-form-urlencoded"}
    got = page.post("/api/auth/token", "grant_type=password&password=x", **form)
    assert got.body == b'{"loggedIn": true}'
    assert page.cookies["auth-token"] == "first"
    assert hosts.only("login").target == "/oauth/token"
    hosts.data.respond = lambda request: answer(
        "{}", 200 if request.one("auth-token") == "second" else 401
    )
    assert page.get("/data/rows").status == 200
    renewal = hosts.received()["login"][0]
    assert renewal.start == ("POST", "/oauth/token")
    assert renewal.body == b"grant_type=refresh_token&refresh_token=r1"

    hosts.second.answers('{"authToken": "of second"}')
    assert page.post("/second/github/callback").body == b'{"loggedIn": true}'
    assert hosts.only("second").target == "/x/github/callback"
    page.get("/api/me")
    assert hosts.only("api").one("auth-token") == "second"
    page.request("DELETE", "/api/auth/session")
    assert "auth-token" not in page.cookies
    assert "auth-token~second" in page.cookies


def test_a_link_logs_in_at_another_host_where_the_rule_says_get(
    hosts: Hosts, proxy_with: ProxyWith
) -> None:
    page = Page(proxy_with(*hosts.options, "cookie_auth_login=GET /auth/magic").client)
    hosts.login.answers('{"authToken": "of-the-link"}')
    got = page.get("/api/auth/magic?key=1", **BY_LINK)
    assert (got.status, got.one("location")) == (303, "/")
    assert (got.set_cookie or "").startswith("auth-token=of-the-link;")
    assert hosts.only("login").target == "/oauth/magic?key=1"
    assert page.get("/api/auth/sign-in", **BY_LINK).status == 403


def test_what_is_learned_of_a_host_is_named_as_options_name_it(
    start: Callable[..., Mitmdump], hosts: Hosts
) -> None:
    arguments = [
        part for option in hosts.options if "auth_login" not in option for part in ("--set", option)
    ]
    mitmdump = start(*arguments)
    page = Page(mitmdump.client)
    _, stand_in = unlisted(page, hosts.login, "/api/auth/token")
    mitmdump.wait_for_log(
        "learned: POST /auth/token answers .* --set cookie_auth_login=/auth/token"
    )
    unlisted(page, hosts.second, "/second/token")
    mitmdump.wait_for_log("learned: POST /second/token answers .* cookie_auth_login=/second/token")
    page.get("/second/me", authorization=f"Bearer {page.jar['auth-token~second', '/']}")
    page.get("/data/rows", authorization=f"Bearer {stand_in}")
    mitmdump.wait_for_log("learned: a page sends the token in Authorization")


# What flows


def test_a_websocket_goes_to_its_host_with_the_token(
    hosts: Hosts,
    confdir: Path,
    socket_server: tuple[Server, list[ServerConnection]],  # noqa: F811
) -> None:
    server, connections = socket_server
    url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    options = (
        "--set",
        f"cookie_auth_upstream=/live={url} token",
        *("--set", f"cookie_auth_upstream=/other={url}"),
    )
    with running(Mitmdump(hosts.api.url, *options, confdir=confdir)) as mitmdump:
        port, browser = mitmdump.client.port, Browser(mitmdump.client)
        hosts.api.answers('{"authToken": "sekret"}')
        browser.request("POST", "/login")
        for path, token in (("/live/socket", "sekret"), ("/other/socket", None)):
            with connect(
                f"ws://localhost:{port}{path}",
                origin=Origin(f"http://localhost:{port}"),
                additional_headers={"Cookie": browser.cookie},
            ) as client:
                client.send("text é")
                assert client.recv(10) == "text é"
            request = connections[-1].request
            assert request
            assert request.path == "/socket"
            assert request.headers.get("auth-token") == token
            assert "cookie" not in request.headers
            assert request.headers["origin"] == url
        foreign = Origin("http://localhost:1")
        with pytest.raises(Exception, match="403"):
            connect(f"ws://localhost:{port}/live/socket", origin=foreign)


def test_an_upload_streams_to_its_host(page: Page, hosts: Hosts) -> None:
    token = log_in(page, hosts.login)
    hosts.received()
    size = 3 * 1024 * 1024
    got = page.request("PUT", "/data/long", body="x" * size)
    assert got.status == 200
    asked = hosts.only("data")
    assert len(asked.body) == size
    assert asked.one("auth-token") == token


def test_an_answer_streams_from_its_host(page: Page, hosts: Hosts) -> None:
    log_in(page, hosts.login)
    goes_on = threading.Event()

    def respond(request: Message) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
        assert goes_on.wait(30)
        yield b"data: 2\n\n"

    hosts.data.respond = respond
    with socket.create_connection(("127.0.0.1", page.client.port), timeout=30) as sock:
        host = f"localhost:{page.client.port}"
        sock.sendall(f"GET /data/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        got = b""
        while b"data: 1\n\n" not in got:
            got += sock.recv(65536)
        goes_on.set()
        while b"data: 2\n\n" not in got:
            got += sock.recv(65536)


def test_over_http2_and_tls_each_request_of_a_connection_goes_to_its_own_host(
    hosts: Hosts, confdir: Path, tmp_path: Path
) -> None:
    context, authority = certified("localhost")
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    secure = Upstream(tls=context)
    secure.answers('{"authToken": "of secure"}')
    options = (
        *("--set", f"cookie_auth_upstream=/data=https://localhost:{secure.port} token"),
        *("--set", f"cookie_auth_upstream=/files={hosts.files.url}"),
        *("--set", f"ssl_verify_upstream_trusted_ca={ca_file}"),
        *("--set", "cookie_auth_login=/data/login"),
    )
    with running(Mitmdump(hosts.api.url, *options, confdir=confdir)) as mitmdump:
        port = mitmdump.client.port
        with Http2Browser(port) as browser:
            own = f"localhost:{port}"
            got = browser.request("POST", "/data/login", [], b"{}", authority=own)
            assert got.body == b'{"loggedIn": true}'
            cookie = "; ".join(field.partition(";")[0] for field in got.all("set-cookie"))
            for _ in range(2):
                for path, upstream, token in (
                    ("/data/x", secure, "of secure"),
                    ("/me", hosts.api, "of secure"),
                    ("/files/a", hosts.files, None),
                ):
                    upstream.received.clear()
                    got = browser.request("GET", path, [("cookie", cookie)], authority=own)
                    assert got.status == 200
                    assert upstream.last.one("auth-token") == token
                    assert upstream.last.one("cookie") is None
                    name = "localhost" if upstream is secure else "127.0.0.1"
                    assert upstream.last.one("host") == f"{name}:{upstream.port}"
    secure.close()


IN_A_PAGE = """async () => {
    const post = path => fetch(path, {method: 'POST', headers: {'content-type': 'application/json'},
        body: JSON.stringify({password: 'x'})}).then(answer => answer.json())
    const said = [await post('/api/auth/sign-in'), await post('/second/login')]
    const {access_token} = await post('/second/token')
    await fetch('/second/me', {headers: {authorization: `Bearer ${access_token}`}})
    for (const path of ['/api/me', '/data/rows', '/api/files/a'])
        said.push((await fetch(path, {cache: 'no-store'})).status)
    const moved = await fetch('/api/moved')
    return [...said, moved.url, access_token, document.cookie]
}"""


def test_a_page_uses_all_of_them_in_a_browser(
    context: BrowserContext, page: Page, hosts: Hosts
) -> None:
    own = f"http://localhost:{page.client.port}"
    token = opaque("of second")

    def respond(request: Message) -> bytes:
        if request.target == "/x/token":
            return answer(json.dumps({"access_token": token}))
        return answer('{"authToken": "listed-of-second"}')

    hosts.login.answers('{"authToken": "of-the-login"}')
    hosts.second.respond = respond
    hosts.api.respond = lambda request: (
        answer("", 302, None, Location=f"{hosts.data.url}/v2/there")
        if request.target == "/v1/moved"
        else answer("<title>app</title>", Content_Type="text/html")
    )
    tab = context.new_page()
    tab.goto(f"{own}/api/")
    hosts.received()
    *said, moved, stand_in, readable = tab.evaluate(IN_A_PAGE)
    assert said == [{"loggedIn": True}, {"loggedIn": True}, 200, 200, 200]
    assert moved == f"{own}/data/there"
    assert re.fullmatch(STAND_IN, stand_in)
    assert readable == ""
    found = hosts.received()
    assert found["second"][-1].one("authorization") == f"Bearer {token}"
    assert [one.one("auth-token") for one in found["data"]] == ["of-the-login"] * 2
    assert [one.one("auth-token") for one in found["files"]] == [None]
    names = {cookie["name"] for cookie in context.cookies()}
    own_names = {"auth-token", "auth-token~second"}
    assert names == {*own_names, *(f"{name}-login" for name in own_names)}
    assert not any(one.one("cookie") for messages in found.values() for one in messages)


# The front end beside them


@pytest.mark.parametrize("scripts", [(ADDON,), (ADDON, SHORT_WAY)], ids=["alone", "short way"])
def test_the_front_end_gets_what_is_outside_of_all(
    hosts: Hosts, start: Callable[..., Mitmdump], scripts: tuple[Path, ...]
) -> None:
    frontend = Upstream()
    frontend.answers("<p>", Content_Type="text/html")
    options = (*hosts.options, f"cookie_auth_frontend={frontend.url}")
    arguments = [part for option in options for part in ("--set", option)]
    page = Page(start(*arguments, scripts=scripts).client)
    token = log_in(page, hosts.login)
    log_in(page, hosts.second, "/second/login")
    hosts.received()
    for path, name in (("/data/x", "data"), ("/second/x", "second"), ("/api/files/x", "files")):
        page.get(path)
        hosts.only(name)
    assert not frontend.received
    for path in ("/", "/database", "/app.js"):
        page.get(path)
    assert [one.target for one in frontend.received] == ["/", "/database", "/app.js"]
    assert not hosts.received()
    cookies = str(frontend.last.one("cookie"))
    assert f"auth-token={token}" in cookies
    assert "auth-token~second=" in cookies
    beside = ("auth-token~second-refresh", "auth-token~second-api-sid", "auth-token-refresh")
    for name in beside:
        page.plant(name, "x")
    page.get("/app.css")
    assert not re.search(r"-refresh|-api-", str(frontend.last.one("cookie")))
    page.post("/act", sec_fetch_site="same-site")
    assert frontend.last.one("cookie") is None
    frontend.close()


# What goes wrong, and what is seen


def test_a_host_that_is_down_is_named_with_its_option(hosts: Hosts, proxy_with: ProxyWith) -> None:
    port = free_port()
    down = f"cookie_auth_upstream=/down=http://127.0.0.1:{port}/x token"
    client = proxy_with(down).client
    got = client.get("/down/me")
    assert (got.status, json.loads(got.body)["error"]) == (502, "upstream_unreachable")
    message = json.loads(got.body)["message"]
    assert f"No answer from http://127.0.0.1:{port}: " in message
    assert "cookie_auth_upstream=/down=URL" in message
    assert client.get("/me").status == 200


def test_what_is_outside_of_all_without_a_front_end_is_not_served(page: Page, hosts: Hosts) -> None:
    got = page.get("/elsewhere")
    assert (got.status, json.loads(got.body)["error"]) == (404, "outside_prefix")
    assert not hosts.received()


def test_start_up_says_where_each_prefix_leads(hosts: Hosts, proxy_with: ProxyWith) -> None:
    proxy = proxy_with(*hosts.options)
    shared = "one login with the API, whose token it gets"
    for line in (
        f"/data goes to {hosts.data.url}/v2: {shared}",
        f"/api/files goes to {hosts.files.url}: an API of its own, cookie auth-token~api_files →"
        " header auth-token: {token}",
    ):
        proxy.wait_for_log(re.escape(line))


def test_a_wrong_entry_ends_start_up_with_one_line(
    start: Callable[..., Mitmdump], hosts: Hosts
) -> None:
    mitmdump = start("--set", "cookie_auth_upstream=/files=files.example.com")
    assert mitmdump.exit_code() == 1
    said = "cookie_auth_upstream: '/files=files.example.com' is wrong; it must be PREFIX=URL"
    assert said in mitmdump.log
    assert "Traceback" not in mitmdump.log


def test_a_login_s_host_without_the_word_is_told_at_start_up(
    start: Callable[..., Mitmdump], hosts: Hosts
) -> None:
    entry = f"cookie_auth_upstream=/auth={hosts.login.url}"
    mitmdump = start("--set", entry, "--set", "cookie_auth_login=/auth/sign-in")
    mitmdump.wait_for_log(
        r"is at an API of its own \(/auth\): .* put the word token behind its URL"
    )


def test_an_address_of_another_host_in_an_answer_is_told_once(
    start: Callable[..., Mitmdump], hosts: Hosts
) -> None:
    arguments = [part for option in hosts.options for part in ("--set", option)]
    mitmdump = start(*arguments)
    picture = json.dumps({"picture": f"{hosts.files.url}/a.png"})
    hosts.api.answers(picture, Content_Type="application/json")
    for _ in range(2):
        mitmdump.client.get("/api/me", sec_fetch_mode="cors")
    mitmdump.wait_for_log(
        f"GET /v1/me: the API's answer names the address, {hosts.files.url}, which"
    )
    assert mitmdump.log.count("leads past the proxy") == 1


def test_the_header_that_a_second_api_wants_is_no_option_of_the_first(
    start: Callable[..., Mitmdump], hosts: Hosts
) -> None:
    arguments = [part for option in hosts.options for part in ("--set", option)]
    mitmdump = start(*arguments)
    page = Page(mitmdump.client)
    for upstream, path in ((hosts.login, "/api/auth/sign-in"), (hosts.second, "/second/login")):
        log_in(page, upstream, path)
        upstream.answers("{}", 401, WWW_Authenticate="Bearer")
    page.get("/second/me")
    said = r"profile of its own can say so in cookie_auth_upstream \(header: Authorization, "
    mitmdump.wait_for_log(said)
    assert "--set cookie_auth_header=" not in mitmdump.log
    page.get("/api/auth/me")
    mitmdump.wait_for_log("asks for Bearer: --set cookie_auth_header=Authorization")


def test_a_host_that_misses_a_token_is_told_with_the_word_that_would_share_it(
    start: Callable[..., Mitmdump], hosts: Hosts
) -> None:
    entry = f"cookie_auth_upstream=/data={hosts.data.url}/v2"
    mitmdump = start("--set", entry, "--set", "cookie_auth_login=/login")
    page = Page(mitmdump.client)
    hosts.data.answers("{}", 401)
    page.get("/data/before")  # nobody has logged in anywhere
    log_in(page, hosts.api, "/login")
    for _ in range(2):
        assert page.get("/data/rows").status == 401
    mitmdump.wait_for_log(rf"{hosts.data.url}/v2 answered 401, .* --set '{entry} token'")
    assert mitmdump.log.count("gets no token but its own") == 1


def test_no_host_gets_the_tokens_of_several_apis(hosts: Hosts, confdir: Path) -> None:
    second = ("--mode", f"reverse:{hosts.second.url}@{free_port()}")
    for word, code in ((" token", 1), ("", None)):
        entry = f"cookie_auth_upstream=/data={hosts.data.url}{word}"
        mitmdump = Mitmdump(hosts.api.url, *second, "--set", entry, confdir=confdir)
        with running(mitmdump):
            if code is None:
                assert mitmdump.client.get("/data/rows").status == 200
            else:
                assert mitmdump.exit_code() == code
                assert "without the word token: there are several APIs" in mitmdump.log


def test_a_profile_has_them_as_a_list_and_that_is_told(
    start: Callable[..., Mitmdump], hosts: Hosts, tmp_path: Path
) -> None:
    profile = tmp_path / "shop.yaml"
    profile.write_text(f"upstream:\n- /data={hosts.data.url}/v2 token\n")
    mitmdump = start("--set", f"cookie_auth_profile={profile}")
    mitmdump.client.get("/data/rows")
    assert hosts.only("data").target == "/v2/rows"
    mitmdump.wait_for_log(r"shop\.yaml widens trust: upstream \(/data=")


def test_addresses_of_all_hosts_in_bodies_become_the_proxy_s(
    hosts: Hosts, proxy_with: ProxyWith
) -> None:
    client = proxy_with(*hosts.options, "cookie_auth_rewrite_bodies=true").client
    own = f"http://localhost:{client.port}"
    text = "{0}/v1/me {1}/v2/rows {2}/a.png"
    urls = hosts.api.url, hosts.data.url, hosts.files.url
    expected = text.format(own, own, own)
    expected = expected.replace("/v1", "/api").replace("/v2", "/data")
    expected = expected.replace("/a.png", "/api/files/a.png")
    for upstream, path in ((hosts.api, "/api/page"), (hosts.data, "/data/page")):
        upstream.answers(text.format(*urls), Content_Type="text/html")
        assert client.get(path).body.decode() == expected
    body = text.format(*urls).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, body[at : at + 1]) for at in range(len(body)))
    head = answer(b"", 200, None, Transfer_Encoding="chunked", Content_Type="text/html")
    hosts.api.respond = lambda request: head + chunks + b"0\r\n\r\n"
    assert client.get("/api/page").body.decode() == expected


# Replays and reloads


def test_a_replayed_flow_goes_where_it_went(hosts: Hosts, confdir: Path, tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    options = [part for option in hosts.options for part in ("--set", option)]
    recorder = Mitmdump(hosts.api.url, "-w", str(flows), *options, confdir=confdir)
    with running(recorder):
        page = Page(recorder.client)
        log_in(page, hosts.login)
        for path in ("/data/rows", "/api/files/a", "/second/me", "/api/me"):
            page.get(path)
    before = hosts.received()
    assert len(before) == 5
    with running(Mitmdump(hosts.api.url, "-C", str(flows), *options, confdir=confdir)):
        assert eventually(lambda: all(len(one.received) == 1 for one in hosts.all))
    assert hosts.received() == before

    recorded = {flow.request.path: flow for flow in read_flows(flows)}
    settings = Settings.parse(
        {
            **{option.name: option.default for option in OPTIONS},
            "cookie_auth_prefix": "/api",
            "cookie_auth_upstream": [f"/data={hosts.data.url}/v2 token"],
        }
    )
    data = recorded["/v2/rows"]
    assert data.comment.startswith("/data/rows: cookie auth-token → header auth-token (")
    rules = list(explain.rules(data, settings))
    assert f"path: /data is of {hosts.data.url}, whose /data/rows" in rules
    shown = [flow.comment for flow in recorded.values() if flow.comment.startswith("/second")]
    assert shown == ["/second/me: without a token: no auth cookie"]


def test_a_request_for_another_host_survives_a_reload(
    start: Callable[..., Mitmdump],
    hosts: Hosts,
    own_addon: Path,  # noqa: F811
) -> None:
    options = [part for option in hosts.options for part in ("--set", option)]
    mitmdump = start(*options, scripts=(own_addon,))
    page = Page(mitmdump.client)
    log_in(page, hosts.login)

    def respond(request: Message) -> bytes:
        edit(own_addon, own_addon.read_text())
        mitmdump.wait_for_log(r"(?s)(cookie-auth: open.*|Loading script.*){3}")
        assert eventually(lambda: page.client.get("/api/logout").status in (200, 303))
        return answer("{}", 302, None, Location=f"{hosts.data.url}/v2/next")

    hosts.data.respond = respond
    assert page.get("/data/rows").one("location") == "/data/next"
    hosts.data.answers("{}")
    hosts.received()
    page.get("/data/rows")
    assert hosts.only("data").one("auth-token") == page.cookies["auth-token"]


def test_redacted_recordings_show_no_token_of_any(
    hosts: Hosts, confdir: Path, tmp_path: Path
) -> None:
    flows = tmp_path / "flows"
    options = [part for option in hosts.options for part in ("--set", option)]
    arguments = ("-w", str(flows), "--set", "cookie_auth_redact=true", *options)
    recorder = Mitmdump(hosts.api.url, *arguments, confdir=confdir)
    with running(recorder):
        page = Page(recorder.client)
        tokens = log_in(page, hosts.login), log_in(page, hosts.second, "/second/login")
        hosts.received()
        for (path, name), token in zip(
            (("/data/rows", "data"), ("/second/me", "second")), tokens, strict=True
        ):
            page.get(path)
            assert hosts.only(name).one("auth-token") == token
    recorded = flows.read_bytes()
    assert not any(token.encode() in recorded for token in tokens)
    assert not any(token in recorder.log for token in tokens)
