"""The cookies of logins that no option names: the tokens', the companion, the API's own."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from page import Page
from support import Message, Mitmdump, Upstream, answer
from token_api import BY_LINK, STAND_IN, opaque, signed, translated

ProxyWith = Callable[..., Mitmdump]
Start = Callable[..., Mitmdump]

SECRET = "s" * 32
LASTING = "Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000"


@pytest.fixture
def page(proxy_with: ProxyWith) -> Page:
    return Page(proxy_with().client)


def sign_in(page: Page, upstream: Upstream, *cookies: str, **tokens: str) -> dict[str, str]:
    """Stand-ins by name."""
    fields = [("Set-Cookie", cookie) for cookie in cookies]
    upstream.respond = lambda request: answer(json.dumps(tokens), headers=fields)
    got = log_in(page)
    assert got.status == 200, got.body
    upstream.answers("{}")
    return dict(json.loads(got.body))


def log_in(page: Page, target: str = "/auth/sign-in") -> Message:
    return page.post(target, '{"password": "x"}', content_type="application/json")


def fields(message: Message) -> dict[str, str]:
    """Attributes of the cookies that an answer sets, by name."""
    found = {}
    for field in message.all("set-cookie"):
        pair, _, attributes = field.partition("; ")
        name = pair.partition("=")[0]
        assert name not in found, f"{name} twice"
        found[name] = attributes
    return found


# Those of the tokens

ACCESS, REFRESH, ID, OTHER = signed(a=1), opaque("refresh"), signed(i=1), opaque("other")

SLOTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "one": ({"token": OTHER}, {"auth-token": OTHER}),
    "pair": (
        {"refresh_token": REFRESH, "access_token": ACCESS},
        {"auth-token": ACCESS, "auth-token-refresh": REFRESH},
    ),
    "three": (
        {"id_token": ID, "refresh_token": REFRESH, "access_token": ACCESS},
        {"auth-token": ACCESS, "auth-token-refresh": REFRESH, "auth-token-id": ID},
    ),
    "id and refresh": (
        {"refreshToken": REFRESH, "idToken": ID},
        {"auth-token": ID, "auth-token-refresh": REFRESH},
    ),
    "refresh only": ({"refresh_token": REFRESH}, {"auth-token": REFRESH}),
    "six": (
        {
            "access_token": ACCESS,
            "refresh_token": REFRESH,
            "id_token": ID,
            "token": opaque("1"),
            "session_token": opaque("2"),
            "chat_token": opaque("3"),
        },
        {"auth-token": ACCESS, "auth-token-refresh": REFRESH, "auth-token-id": ID},
    ),
}


@pytest.mark.parametrize(("tokens", "kept"), SLOTS.values(), ids=list(SLOTS))
def test_the_tokens_are_in_httponly_cookies_for_30_days_beside_one_companion(
    page: Page, upstream: Upstream, tokens: dict[str, str], kept: dict[str, str]
) -> None:
    upstream.answers(json.dumps(tokens))
    got = log_in(page)
    found = fields(got)
    assert set(found.values()) == {LASTING}
    others = {f"auth-token-t{number + 1}" for number in range(len(tokens) - len(kept))}
    assert found.keys() == {*kept, *others, "auth-token-login"}
    assert {name: page.cookies[name] for name in kept} == kept
    assert sorted(page.cookies[name] for name in kept.keys() | others) == sorted(tokens.values())
    for name, stand_in in json.loads(got.body).items():
        assert translated(page, upstream, stand_in) == tokens[name]


@pytest.mark.parametrize(
    ("option", "attributes"),
    [
        ("max_age=3600", "Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"),
        ("max_age=session", "Path=/; HttpOnly; SameSite=Lax"),
        ("samesite=strict", "Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"),
        ("secure=always", "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=2592000"),
    ],
)
def test_their_attributes_are_as_configured(
    proxy_with: ProxyWith, upstream: Upstream, option: str, attributes: str
) -> None:
    page = Page(proxy_with(f"cookie_auth_{option}").client)
    upstream.answers(json.dumps({"access_token": ACCESS, "refresh_token": REFRESH}))
    found = fields(log_in(page))
    assert len(found) == 3
    assert {frozenset(each.split("; ")) for each in found.values()} == {
        frozenset(attributes.split("; "))
    }


def test_they_may_live_as_long_as_the_token(proxy_with: ProxyWith, upstream: Upstream) -> None:
    page = Page(proxy_with("cookie_auth_max_age=token").client)
    pair = {"access_token": ACCESS, "expires_in": 600, "refresh_token": REFRESH}
    upstream.answers(json.dumps(pair))
    found = fields(log_in(page))
    assert re.search("Max-Age=(600|59[0-9])$", found["auth-token"])
    # So that one may come back tomorrow.
    assert found["auth-token-refresh"].endswith("Max-Age=2592000")
    assert found["auth-token-login"].endswith("Max-Age=2592000")


def test_under_another_name_and_prefix(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with("cookie_auth_prefix=/api", "cookie_auth_cookie=sid")
    page = Page(proxy.client)
    upstream.answers(json.dumps({"access_token": ACCESS, "refresh_token": REFRESH}))
    got = log_in(page, "/api/auth/sign-in")
    assert set(page.jar) == {("sid", "/"), ("sid-refresh", "/api"), ("sid-login", "/")}
    upstream.received.clear()
    stand_in = json.loads(got.body)["refresh_token"]
    page.get("/api/me", authorization=f"Bearer {stand_in}")
    assert upstream.last.one("authorization") == f"Bearer {REFRESH}"


@pytest.mark.parametrize("secret", ["", SECRET], ids=["plain", "sealed"])
def test_long_tokens_are_split_and_their_pieces_go_with_the_next_login(
    proxy_with: ProxyWith, upstream: Upstream, secret: str
) -> None:
    page = Page(proxy_with(f"cookie_auth_secret={secret}").client)
    long = {"access_token": signed(x="a" * 6000), "refresh_token": opaque("long", 6000)}
    given = sign_in(page, upstream, **long)
    names = {name for name, _ in page.jar}
    assert {"auth-token.0", "auth-token.1", "auth-token-refresh.0"} <= names
    assert max(len(f"{name}={value}") for (name, _), value in page.jar.items()) <= 4096
    for name, stand_in in given.items():
        assert translated(page, upstream, stand_in) == long[name]
    sign_in(page, upstream, token=OTHER)
    assert {name for name, _ in page.jar} == {"auth-token", "auth-token-login"}


def test_sealed_no_cookie_holds_a_token(proxy_with: ProxyWith, upstream: Upstream) -> None:
    page = Page(proxy_with(f"cookie_auth_secret={SECRET}").client)
    pair = {"access_token": ACCESS, "refresh_token": REFRESH, "id_token": ID}
    cookie = f"session={OTHER}; HttpOnly; Path=/"
    given = sign_in(page, upstream, cookie, **pair)
    assert len(page.jar) == 5
    jar = "\n".join(page.jar.values())
    for token in (ACCESS, REFRESH, ID, OTHER):
        assert token not in jar
        assert token.rpartition(".")[2] not in jar
    for name, stand_in in given.items():
        assert translated(page, upstream, stand_in) == pair[name]
    assert upstream.last.one("cookie") == f"session={OTHER}"


def test_two_replicas_with_a_shared_secret_serve_the_same_login(
    upstream: Upstream, tmp_path: Path
) -> None:
    replicas = [
        Mitmdump(upstream.url, "--set", f"cookie_auth_secret={SECRET}", confdir=tmp_path / name)
        for name in ("one", "two")
    ]
    try:
        one, two = (Page(replica.client) for replica in replicas)
        two.jar = one.jar
        given = sign_in(one, upstream, "s=1; HttpOnly", access_token=ACCESS, refresh_token=REFRESH)
        assert translated(two, upstream, given["access_token"]) == ACCESS
        upstream.answers(json.dumps({"access_token": OTHER, "was": ACCESS}))
        body = json.dumps({"refresh_token": given["refresh_token"]})
        got = two.post("/auth/refresh", body, content_type="application/json")
        assert json.loads(upstream.last.body) == {"refresh_token": REFRESH}
        assert ACCESS not in got.body.decode()
        for page in (one, two):
            assert translated(page, upstream, given["access_token"]) == OTHER
            assert translated(page, upstream, given["refresh_token"]) == REFRESH
    finally:
        for replica in replicas:
            replica.stop()


TOO_MUCH = {
    "seven tokens": {f"{name}_token": opaque(name) for name in "access refresh id a b c d".split()},
    "24 KiB": {f"{name}_token": opaque(name, 8200) for name in ("access", "refresh", "id")},
    "one of 25 KB": {"token": opaque("x", 25_000)},
}


@pytest.mark.parametrize("tokens", TOO_MUCH.values(), ids=list(TOO_MUCH))
def test_more_than_cookies_can_hold_is_refused_and_says_why(
    page: Page, upstream: Upstream, tokens: dict[str, str]
) -> None:
    given = sign_in(page, upstream, token=OTHER)
    before = dict(page.jar)
    upstream.answers(json.dumps(tokens))
    got = log_in(page)
    refused = json.loads(got.body)
    assert (got.status, refused["error"]) == (502, "login_unreadable")
    assert re.search("more (than 24 KiB of )?tokens", refused["message"])
    assert not [token for token in tokens.values() if token in got.body.decode()]
    assert page.jar == before
    assert translated(page, upstream, given["token"]) == OTHER


def test_as_much_as_cookies_can_hold_comes_back(page: Page, upstream: Upstream) -> None:
    tokens = {f"{name}_token": opaque(name, 4000) for name in "access refresh id a b c".split()}
    given = sign_in(page, upstream, **tokens)
    for name, stand_in in given.items():
        assert translated(page, upstream, stand_in) == tokens[name]


@pytest.mark.parametrize("prefix", ["/api", "/v1/api"])
def test_the_front_end_gets_none_but_the_main_one(
    start: Start, upstream: Upstream, prefix: str
) -> None:
    front_end = Upstream()
    try:
        options = [f"cookie_auth_prefix={prefix}", f"cookie_auth_frontend={front_end.url}"]
        page = Page(start(*(part for o in options for part in ("--set", o))).client)
        fields = [("Set-Cookie", "session=own; HttpOnly; Path=/")]
        pair = {"access_token": ACCESS, "refresh_token": REFRESH, "id_token": ID}
        upstream.respond = lambda request: answer(json.dumps(pair), headers=fields)
        given = json.loads(log_in(page, f"{prefix}/auth/sign-in").body)
        assert len(page.jar) == 5
        # As a browser does that has the cookies at `/`, for whatever reason.
        jar = {(name, "/"): value for (name, _), value in page.jar.items()}
        for asked in (page, Page(page.client, jar)):
            asked.get("/app", authorization=f"Bearer {given['access_token']}")
            cookie = front_end.last.one("cookie") or ""
            names = {pair.partition("=")[0] for pair in cookie.split("; ")}
            assert names == {"auth-token", "auth-token-login"}
            assert front_end.last.one("authorization") == f"Bearer {given['access_token']}"
    finally:
        front_end.close()


# The API's own


class Own(Page):
    """A page that has logged in with a token and two cookies of the API's."""

    stand_in: str


@pytest.fixture
def own(page: Page, upstream: Upstream) -> Own:
    cookies = ("sid=s-1; HttpOnly; Path=/; SameSite=None; Secure", "rt=r 1; HttpOnly; Path=/auth")
    own = Own(page.client)
    own.stand_in = sign_in(own, upstream, *cookies, token=OTHER)["token"]
    return own


def cookie_at(page: Page, upstream: Upstream, target: str, **more: str) -> str | None:
    upstream.received.clear()
    page.get(target, **more)
    return upstream.last.one("cookie")


def test_they_pass_as_ours_and_go_back_under_their_own_names_where_they_belong(
    own: Own, upstream: Upstream
) -> None:
    assert set(own.jar) == {
        *(("auth-token", "/"), ("auth-token-login", "/")),
        *(("auth-token-api-sid", "/"), ("auth-token-api-rt", "/auth")),
    }
    assert cookie_at(own, upstream, "/me") == "sid=s-1"
    assert cookie_at(own, upstream, "/auth/refresh") in ("rt=r 1; sid=s-1", "sid=s-1; rt=r 1")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "no-cors"},
        {**BY_LINK},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
    ],
    ids=["cross-site", "same-site", "a link", "an iframe"],
)
def test_no_foreign_page_uses_them(own: Own, upstream: Upstream, headers: dict[str, str]) -> None:
    assert cookie_at(own, upstream, "/me", **headers) is None


def test_they_alone_are_a_login_too(page: Page, upstream: Upstream) -> None:
    fields = [("Set-Cookie", "sid=s-1; HttpOnly; Path=/")]
    upstream.respond = lambda request: answer('{"user": "ann"}', headers=fields)
    got = log_in(page)
    assert json.loads(got.body) == {"user": "ann"}
    assert {name for name, _ in page.jar} == {"auth-token-api-sid", "auth-token-login"}
    upstream.answers("{}")
    assert cookie_at(page, upstream, "/me") == "sid=s-1"
    page.post("/auth/logout")
    assert upstream.last.one("cookie") == "sid=s-1"
    assert not page.jar


def test_the_api_changes_and_deletes_them_in_any_answer(own: Own, upstream: Upstream) -> None:
    fields = [("Set-Cookie", "sid=s-2; HttpOnly; Path=/"), ("Set-Cookie", "new=1; HttpOnly")]
    upstream.respond = lambda request: answer("{}", headers=fields)
    own.get("/me")
    upstream.answers("{}")
    assert cookie_at(own, upstream, "/me") == "sid=s-2"  # a new one begins with a login only
    fields = [("Set-Cookie", "sid=; HttpOnly; Path=/; Max-Age=0")]
    upstream.respond = lambda request: answer("{}", headers=fields)
    own.get("/me")
    assert cookie_at(own, upstream, "/me") is None
    assert translated(own, upstream, own.stand_in) == OTHER


@pytest.mark.parametrize("how", ["another login", "logout", "logout path"])
def test_they_end_with_the_login(own: Own, upstream: Upstream, how: str) -> None:
    stand_in = own.stand_in
    before = dict(own.jar)
    upstream.answers("{}")
    if how == "another login":
        upstream.answers(json.dumps({"token": opaque("next")}))
        log_in(own)
    else:
        target = "/auth/logout" if how == "logout" else "/logout"
        own.post(target, authorization=f"Bearer {stand_in}")
        assert "sid=s-1" in (upstream.last.one("cookie") or "")
    left = {name for name, path in own.jar if "-api-" in name and path == "/"}
    assert not left
    assert cookie_at(own, upstream, "/auth/x") is None
    # Whoever has kept them has nothing.
    kept = {key: value for key, value in before.items() if "-api-" in key[0]}
    assert cookie_at(Page(own.client, {**kept, **own.jar}), upstream, "/auth/x") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value[:-1] + "x",
        lambda value: "A" + value[1:],
        lambda value: value.replace(".", ".A", 1),
        lambda value: "s-1",
        lambda value: "",
    ],
)
def test_a_planted_or_changed_one_does_not_go_to_the_api(
    own: Own, upstream: Upstream, change: Callable[[str], str]
) -> None:
    own.jar["auth-token-api-sid", "/"] = change(own.jar["auth-token-api-sid", "/"])
    own.plant("auth-token-api-evil", "x")
    assert cookie_at(own, upstream, "/me") is None


def test_the_state_of_an_oauth_login_comes_back_with_the_callback_from_another_site(
    page: Page, upstream: Upstream
) -> None:
    fields = [
        ("Location", "https://login.test/authorize?client_id=web&state=xyz"),
        ("Set-Cookie", "oauth_state=xyz; HttpOnly; SameSite=Lax; Path=/auth"),
        ("Set-Cookie", "theme=dark; Path=/"),
    ]
    upstream.respond = lambda request: answer("", 302, fields)
    navigation = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    got = page.get("/auth/github", **navigation)
    assert (got.status, got.one("location")) == (302, fields[0][1])
    assert set(page.jar) == {("auth-token-api-oauth_state", "/auth"), ("auth-token-login", "/")}

    upstream.respond = lambda request: answer(
        "", 302, [("Location", f"/app#token={ACCESS}"), ("Set-Cookie", "sid=1; HttpOnly; Path=/")]
    )
    upstream.received.clear()
    done = page.get("/auth/callback?code=abc&state=xyz", **BY_LINK)
    assert upstream.last.one("cookie") == "oauth_state=xyz"
    assert (done.status, ACCESS in str(done.headers[:3])) == (302, False)
    stand_in = (done.one("location") or "").partition("#token=")[2]
    assert re.fullmatch(STAND_IN, stand_in)
    upstream.answers("{}")
    assert translated(page, upstream, stand_in) == ACCESS
    assert upstream.last.one("cookie") == "sid=1"


@pytest.mark.parametrize(
    "location", ["/auth/start", "http://localhost/auth/start"], ids=["relative", "own"]
)
def test_a_redirect_within_the_api_begins_no_login(
    page: Page, upstream: Upstream, location: str
) -> None:
    own = location.replace("http://localhost", upstream.url)
    fields = [("Location", own), ("Set-Cookie", "visits=1; HttpOnly")]
    upstream.respond = lambda request: answer("", 302, fields)
    page.get("/start", sec_fetch_mode="navigate", sec_fetch_dest="document")
    assert not page.jar


def test_readable_ones_are_told_once_with_the_option_that_lets_them_pass(
    start: Start, upstream: Upstream
) -> None:
    proxy = start()
    page = Page(proxy.client)
    cookies = ("XSRF-TOKEN=x; Path=/", "sid=s-1; HttpOnly")
    for _ in range(2):
        sign_in(page, upstream, *cookies, token=OTHER)
    assert not [name for name, _ in page.jar if "XSRF" in name]
    proxy.wait_for_log("--set cookie_auth_forward_cookies=XSRF-TOKEN")
    proxy.stop()
    assert proxy.log.count("cookie_auth_forward_cookies") == 1


def test_a_listed_login_drops_them(proxy_with: ProxyWith, upstream: Upstream) -> None:
    page = Page(proxy_with("cookie_auth_login=/sign", "cookie_auth_token=/token").client)
    fields = [("Set-Cookie", "sid=s-1; HttpOnly; Path=/")]
    upstream.respond = lambda request: answer(json.dumps({"token": OTHER}), headers=fields)
    assert json.loads(log_in(page, "/sign").body) == {"loggedIn": True}
    assert {name for name, _ in page.jar} == {"auth-token", "auth-token-login"}
