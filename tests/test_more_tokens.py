"""Several tokens at once, each with its place in the answer and its header: `token.more`."""

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from exchanges.settings import OPTIONS, Settings
from page import Page
from profiles.reading import Profile
from settings.option import InvalidOption
from support import Message, Mitmdump, Upstream, answer

Shop = Callable[..., Mitmdump]

DEVISE = """
login: [POST /auth/sign_in]
token:
  rule: ['header:access-token']
  more:
  - {from: 'header:client', header: client}
  - {from: 'header:uid', header: uid, secret: false}
header: access-token
"""
SEVERAL = """
token:
  rule: [/access_token]
  more:
  - {from: /id_token, header: X-Id-Token, format: 'Id {token}'}
  - {from: /tenant/id, header: X-Tenant, secret: false}
header: {rule: Authorization, format: 'Bearer {token}'}
refresh: {rule: /refresh, token: /refresh_token}
"""


@pytest.fixture
def shop(start: Callable[..., Mitmdump], tmp_path: Path) -> Shop:
    def shop(text: str, *options: str, more: tuple[str, ...] = ()) -> Mitmdump:
        file = tmp_path / "shop.yaml"
        file.write_text(text)
        options = (f"cookie_auth_profile={file}", *options)
        return start(*(part for option in options for part in ("--set", option)), *more)

    return shop


class Devise:
    """An API as devise_token_auth makes one: each answer brings another access-token, but for those
    to requests that come at about the same time, which bring a blank one.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.number = 0
        self.client = "client-0123456789abcdef"
        self.rotates = True
        self.before = ""

    @property
    def token(self) -> str:
        return f"access-{self.number}-0123456789abcdef"

    def headers(self, token: str) -> list[tuple[str, str]]:
        fields = [("access-token", token), ("token-type", "Bearer"), ("client", self.client)]
        fields += [("expiry", "4102444800"), ("uid", "jo@shop.example.com")]
        if token.strip():
            whole = base64.b64encode(json.dumps(fields).encode()).decode()
            fields.append(("authorization", f"Bearer {whole}"))
        return fields

    def __call__(self, request: Message) -> bytes:
        with self.lock:
            if request.target == "/auth/sign_in":
                self.number += 1
                self.rotates = False
                user = {"data": {"uid": "jo@shop.example.com", "id": 1}}
                return answer(json.dumps(user), headers=self.headers(self.token))
            given = [request.one(name) for name in ("access-token", "client", "uid")]
            if given not in (
                [self.token, self.client, "jo@shop.example.com"],
                [self.before, self.client, "jo@shop.example.com"],
            ):
                return answer('{"errors": ["no"]}', 401)
            body = {"uid": "jo@shop.example.com", "asked": given[0]}
            if not self.rotates:
                return answer(json.dumps(body), headers=self.headers(" "))
            self.before, self.number, self.rotates = self.token, self.number + 1, False
            return answer(json.dumps(body), headers=self.headers(self.token))

    def later(self) -> None:
        """What was asked for at about the same time is over."""
        self.rotates, self.before = True, ""


def decoded(value: str) -> str:
    """What a header holds in base64, if it does."""
    text = value.rpartition(" ")[2]
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except ValueError:
        return ""


def test_the_three_of_devise_token_auth_go_along_and_rotate(shop: Shop, upstream: Upstream) -> None:
    upstream.respond = api = Devise()
    page = Page(shop(DEVISE).client)
    answers = [page.post("/auth/sign_in")]
    assert answers[0].body == b'{"loggedIn": true}'
    assert page.cookies["auth-token"] == api.token
    assert page.cookies["auth-token-t1"] == api.client
    assert page.cookies["auth-token-t2"] == "jo@shop.example.com"
    for _ in range(3):
        api.later()
        with ThreadPoolExecutor(8) as pool:
            asks = [pool.submit(Page(page.client, dict(page.jar)).get, "/me") for _ in range(8)]
            together = [ask.result() for ask in asks]
        assert [got.status for got in together] == [200] * 8
        changed = [got for got in together if got.set_cookies]
        assert len(changed) == 1
        page.keep(changed[0])
        assert page.cookies["auth-token"] == api.token
        answers += together
    api.later()
    assert page.get("/me").status == 200
    for request in upstream.received[1:]:
        assert len(request.all("client")) == len(request.all("uid")) == 1
    for got in answers:
        shown = [value for name, value in got.headers if name != "set-cookie"]
        texts = [got.body.decode(), *shown, *map(decoded, shown)]
        for text in texts:
            assert "0123456789abcdef" not in text
        assert got.one("uid") == "jo@shop.example.com"  # pages may read it
        assert got.one("client") is got.one("access-token") is None
    assert json.loads(answers[1].body)["uid"] == "jo@shop.example.com"


class Several:
    """It gives an id token beside the access token, and a tenant, and wants them all."""

    def __init__(self) -> None:
        self.number = 0
        self.id_token = ""
        self.gives_id_token = True

    @property
    def token(self) -> str:
        return f"access-{self.number}-0123456789abcdef"

    def given(self, target: str) -> bytes:
        self.number += 1
        body: dict[str, Any] = {"access_token": self.token, "refresh_token": f"r-{self.number:09}"}
        if self.gives_id_token:
            self.id_token = body["id_token"] = f"id-token-{self.number}-0123456789abcdef"
        body |= {"tenant": {"id": 42, "name": "Shop"}}
        return answer(json.dumps(body), headers=[("X-Again", self.id_token)] * (target == "/login"))

    def __call__(self, request: Message) -> bytes:
        if request.target in ("/login", "/refresh", "/auth/sign-in"):
            return self.given(request.target)
        good = f"Bearer {self.token}", f"Id {self.id_token}", "42"
        asked = tuple(map(request.one, ("authorization", "x-id-token", "x-tenant")))
        body = json.dumps({"id": asked[1], "tenant": asked[2]})
        return answer(body, 200 if asked == good else 401)


@pytest.fixture
def several(upstream: Upstream) -> Several:
    upstream.respond = several = Several()
    return several


def test_they_share_the_life_of_a_login(shop: Shop, upstream: Upstream, several: Several) -> None:
    secret = f"cookie_auth_secret={'s' * 16}"
    mitmdump = shop(SEVERAL, "cookie_auth_prefix=/api", secret)
    page = Page(mitmdump.client)
    got = page.post("/api/login")
    assert got.body == b'{"loggedIn": true}'
    assert got.one("x-again") is None
    at = {field.partition("=")[0]: field for field in got.set_cookies}
    assert at.keys() == {f"auth-token{end}" for end in ("", "-refresh", "-t1", "-t2")}
    assert all("HttpOnly" in field for field in got.set_cookies)
    assert all("Path=/api;" in at[f"auth-token-{end}"] for end in ("refresh", "t1", "t2"))
    assert several.id_token not in str(got)
    got = page.get("/api/me")
    assert got.status == 200
    assert several.id_token not in got.body.decode()  # it has a stand-in
    assert json.loads(got.body)["tenant"] == "42"
    # A foreign page's request has none of them, and what a page sends itself does not count.
    page.get("/api/me", sec_fetch_site="same-site", x_id_token="own", x_tenant="7")
    sent = upstream.last.headers
    assert not [name for name, _ in sent if name in ("authorization", "x-id-token", "x-tenant")]
    assert page.request("GET", "/api/me", [("X-Id-Token", "own"), ("x_tenant", "7")]).status == 200
    assert upstream.last.all("x_tenant") == []
    # Renewed together; what the answer has not, stays.
    several.number += 1
    assert page.get("/api/me").status == 200
    refreshed = [one for one in upstream.received if one.target == "/refresh"]
    assert (refreshed[0].one("x-tenant"), refreshed[0].one("x-id-token")) == ("42", None)
    several.gives_id_token = False
    several.number += 1
    assert page.get("/api/me").status == 200
    assert page.get("/api/me").status == 200
    # A login without one goes on, and the earlier login's is not sent.
    page.post("/api/login")
    page.get("/api/me")
    assert upstream.last.one("authorization") == f"Bearer {several.token}"
    assert upstream.last.one("x-id-token") is None
    mitmdump.wait_for_log(r"the answer to a login has no /id_token, which token\.more asks for")
    page.post("/api/logout")
    assert not [name for name in page.cookies if name.startswith("auth-token")]
    page.get("/api/me", x_id_token="own")
    assert upstream.last.one("x-id-token") == "own"
    assert "0123456789abcdef" not in mitmdump.log


def test_a_redacted_answer_keeps_what_pages_may_read(
    shop: Shop, upstream: Upstream, several: Several, tmp_path: Path
) -> None:
    flows = tmp_path / "flows"
    more = ("cookie_auth_login_body=redact", "cookie_auth_redact=true")
    mitmdump = shop(SEVERAL, *more, more=("-w", str(flows)))
    page = Page(mitmdump.client)
    assert json.loads(page.post("/login").body) == {"tenant": {"id": 42, "name": "Shop"}}
    assert page.get("/me").status == 200
    several.number += 1
    assert page.get("/me").status == 200
    mitmdump.stop()
    assert b"/refresh" in flows.read_bytes()
    assert b"0123456789abcdef" not in flows.read_bytes()


def test_a_page_with_stand_ins_sends_one_and_the_proxy_the_others(
    shop: Shop, upstream: Upstream, several: Several
) -> None:
    page = Page(shop(SEVERAL, "cookie_auth_login_body=stand-in").client)
    got = json.loads(page.post("/login").body)
    assert got["tenant"] == {"id": 42, "name": "Shop"}
    assert "stand-" in got["id_token"]
    assert page.get("/me").status == 200  # until it sends one itself
    headers = {"authorization": f"Bearer {got['access_token']}"}
    assert page.get("/me", **headers).status == 200
    headers["x_id_token"] = f"Id {got['id_token']}"
    assert page.get("/me", **headers).status == 200
    page.get("/me")
    assert upstream.last.one("x-id-token") is None


def test_a_login_that_is_not_listed_has_nothing_to_do_with_them(
    shop: Shop, upstream: Upstream, several: Several
) -> None:
    page = Page(shop(SEVERAL).client)
    several.number += 100
    got = json.loads(page.post("/auth/sign-in", '{"password": "x"}').body)
    assert got["tenant"] == {"id": 42, "name": "Shop"}
    page.get("/me", authorization=f"Bearer {got['access_token']}")
    assert upstream.last.one("authorization") == f"Bearer {several.token}"
    assert upstream.last.one("x-id-token") is upstream.last.one("x-tenant") is None


def test_the_fragment_of_a_redirect_may_have_several(shop: Shop, upstream: Upstream) -> None:
    text = (
        "login: [/callback]\nheader: Authorization\ntoken:\n  rule: ['location:access_token']\n"
        "  more: [{from: 'location:id_token', header: X-Id}, {from: 'cookie:sid', header: X-Sid}]\n"
    )
    place = "/home#access_token=access-0123456789&id_token=id-0123456789abcdef&state=1"
    cookies = [("Set-Cookie", "sid=sid-0123456789abcdef; Path=/; HttpOnly")]
    respond = answer("", 302, cookies, Location=place)
    upstream.respond = lambda request: respond if request.target == "/callback" else answer("{}")
    page = Page(shop(text).client)
    assert page.post("/callback").one("location") == "/home#state=1"
    page.get("/me")
    asked = [upstream.last.one(name) for name in ("authorization", "x-id", "x-sid")]
    assert asked == ["access-0123456789", "id-0123456789abcdef", "sid-0123456789abcdef"]


# The option


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ("{from: /a}", "{from: /id_token, header: X-Id-Token}"),
        ("{header: X-A}", "{from: /id_token, header: X-Id-Token}"),
        ("{from: /a, header: X-A, more: x}", "{from: /id_token, header: X-Id-Token}"),
        ("{from: a/b, header: X-A}", "/a/b"),
        ("{from: 'cookie:a b', header: X-A}", "cookie:token"),
        ("{from: /a, header: Host}", "a header that is free"),
        ("{from: /a, header: auth_token}", "auth_token is that of cookie_auth_header"),
        ("{from: /a, header: X-A, format: x}", "{token} once"),
        ("{from: /a, header: X-A, secret: maybe}", "secret: true or secret: false"),
    ],
)
def test_a_wrong_one_is_told(table: str, hint: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse(f"[{table}]")
    assert str(caught.value).startswith("shop.yaml:1: token.more: {")
    assert hint in str(caught.value)


def test_there_are_four_at_most_each_with_a_header_of_its_own() -> None:
    tables = [f"{{from: /a{n}, header: X-A{n}}}" for n in range(5)]
    assert [one.slot for one in parse(f"[{', '.join(tables[:4])}]").more] == ["1", "2", "3", "i"]
    with pytest.raises(InvalidOption, match="one of 4 at most"):
        parse(f"[{', '.join(tables)}]")
    with pytest.raises(InvalidOption, match="X-A0 is there already"):
        parse(f"[{tables[0]}, {tables[0]}]")


def parse(tables: str) -> Settings:
    profile = Profile.parse("shop.yaml", f"token: {{more: {tables}}}\n".encode(), OPTIONS)
    resolved = profile.beneath({option.name: option.default for option in OPTIONS}, ())
    try:
        return Settings.parse(resolved.values, {}, resolved.given)
    except InvalidOption as error:
        raise profile.located(error, ()) from None
