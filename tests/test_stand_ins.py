"""Stand-ins: what they are, what they mean, and for how long (DESIGN.md, 6)."""

import json
import re
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from page import Page
from support import Message, Mitmdump, Upstream, answer, running
from token_api import OPAQUE_STAND_IN, STAND_IN, bearer, encoded, opaque, signed, translated
from tokens import jwt

ProxyWith = Callable[..., Mitmdump]


class Api:
    """Logs in whom the body names; tells whose token a request has; tokens can be refreshed."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.refreshes: list[str] = []
        self.number = 0
        self.name = secrets.token_hex(8)  # what one has said of a token, another has not
        self.ends: dict[str, str] = {}
        self.rotates = True
        self.seen: list[str | None] = []
        self.hold = threading.Event()
        self.hold.set()
        self.asked = threading.Event()
        self.make: Callable[[str, int], str] = lambda user, n: signed(user=user, n=n)

    def pair(self, user: str, *, refresh: bool = True) -> dict[str, object]:
        self.number += 1
        pair: dict[str, object] = {"access_token": self.make(user, self.number)}
        self.users[str(pair["access_token"])] = user
        if refresh:
            kept = f"{user}{self.number if self.rotates else ''}"
            pair["refresh_token"] = opaque(f"{self.name}, refresh of {kept}")
            self.users[str(pair["refresh_token"])] = user
        return pair

    def __call__(self, request: Message) -> bytes:
        path = request.target.partition("?")[0]
        authorization = request.one("authorization") or ""
        token = authorization.removeprefix("Bearer ")
        body = request.body.decode()
        if path in ("/auth/refresh", "/auth/renew") or "grant_type=refresh_token" in body:
            self.asked.set()
            assert self.hold.wait(20)
            given = next((token for token in self.users if token in body), token)
            self.refreshes.append(given)
            if given not in self.users:
                return answer('{"error": "invalid_grant"}', 401)
            if self.rotates:
                return answer(json.dumps(self.pair(self.users.pop(given))))
            return answer(json.dumps(self.pair(self.users[given], refresh=False)))
        if path == "/auth/login":
            return answer(json.dumps(self.pair(json.loads(body)["user"])))
        if path in self.ends:
            return answer(self.ends[path])
        self.seen.append(authorization or None)
        user = self.users.get(token)
        return answer(json.dumps({"you": user}), 200 if user else 401)


@pytest.fixture
def api(upstream: Upstream) -> Api:
    upstream.respond = api = Api()
    return api


@pytest.fixture
def page(proxy_with: ProxyWith) -> Page:
    return Page(proxy_with().client)


def sign_in(page: Page, user: str = "ann") -> dict[str, str]:
    """Stand-ins by name."""
    got = post_json(page, "/auth/login", user=user, password="x")
    assert got.status == 200
    given = json.loads(got.body)
    assert all(re.fullmatch(STAND_IN, text) for text in given.values())
    return dict(given)


def post_json(page: Page, target: str, **members: str) -> Message:
    return page.post(target, json.dumps(members), content_type="application/json")


def who(page: Page, stand_in: str) -> object:
    return json.loads(bearer(page, stand_in).body)["you"]


def hand_out(page: Page, upstream: Upstream, token: str, name: str = "token") -> str:
    """Log in, and get the stand-in of this token."""
    upstream.answers(json.dumps({name: token}))
    got = post_json(page, "/auth/login", password="x")
    return str(json.loads(got.body)[name])


# Their form

TOKENS = {
    "opaque": opaque("x"),
    "JWT": signed(exp=4_000_000_000),
    "numbers": "1234567890123456",
    "short": "s3cr3t-8",
}


# What is shorter is not looked for where an answer repeats it.
@pytest.mark.parametrize("token", [token for token in TOKENS.values() if len(token) >= 16])
def test_the_same_token_of_the_same_login_has_the_same_stand_in_also_after_a_restart(
    start: Callable[..., Mitmdump], upstream: Upstream, token: str
) -> None:
    page = Page(start().client)
    first = hand_out(page, upstream, token)
    upstream.answers(json.dumps({"me": {"token": token}}))
    repeated = json.loads(bearer(page, first).body)["me"]["token"]
    again = Page(start().client, page.jar)
    after = json.loads(bearer(again, first).body)["me"]["token"]
    assert first == repeated == after
    assert translated(again, upstream, first) == token


@pytest.mark.parametrize("token", TOKENS.values(), ids=list(TOKENS))
def test_the_same_token_of_another_login_has_another_stand_in(
    page: Page, upstream: Upstream, token: str
) -> None:
    assert hand_out(page, upstream, token) != hand_out(Page(page.client), upstream, token)


def test_another_token_of_the_same_login_has_another_stand_in_and_either_means_the_current(
    page: Page, upstream: Upstream, api: Api
) -> None:
    old = sign_in(page)
    got = refresh(page, old)
    new = json.loads(got.body)
    assert new.keys() == old.keys()
    assert not set(new.values()) & set(old.values())
    current = next(token for token, _ in list(api.users.items())[::-1] if "." in token)
    for stand_in in (new["access_token"], old["access_token"]):
        assert translated(page, upstream, stand_in) == current


def test_a_signed_jwt_keeps_what_pages_read_and_gets_another_signature(
    page: Page, upstream: Upstream
) -> None:
    token = signed(exp=4_000_000_000, name="Ann Øre", roles=["a"], nested={"x": 1}, token_use="id")
    given = hand_out(page, upstream, token)
    head, _, signature = given.rpartition(".")
    assert head == token.rpartition(".")[0]
    assert re.fullmatch(OPAQUE_STAND_IN, signature)


def test_claims_that_are_named_like_credentials_are_hidden_in_it(
    page: Page, upstream: Upstream
) -> None:
    hidden = {
        name: opaque(name)
        for name in ("refresh_token", "accessToken", "api_key", "client_secret", "password")
    }
    token = signed(exp=4_000_000_000, email="a@b.test", **hidden)
    decoded = jwt.decode(hand_out(page, upstream, token))
    assert decoded
    assert (decoded.claims["exp"], decoded.claims["email"]) == (4_000_000_000, "a@b.test")
    for name, value in hidden.items():
        assert decoded.claims[name] not in ("", value)
        assert value not in json.dumps(decoded.claims)


def unsigned(algorithm: object, signature: str) -> str:
    head, claims = (
        encoded(json.dumps(part).encode()) for part in ({"alg": algorithm}, {"sub": "7", "x": 1})
    )
    return f"{head}.{claims}.{signature}"


ODD = {
    "alg none": unsigned("none", "c2ln"),
    "alg None": unsigned("None", "c2ln"),
    "no alg": unsigned("", "c2lnbmF0dXJl"),
    "without a signature": unsigned("HS256", ""),
    "alg none, without a signature": unsigned("none", ""),
    "five parts": ".".join(
        [encoded(b'{"alg":"dir","enc":"A256GCM"}'), *(opaque(p) for p in "abcd")]
    ),
    "four parts": signed() + ".x",
}


@pytest.mark.parametrize("token", ODD.values(), ids=list(ODD))
def test_what_is_no_signed_jwt_becomes_opaque(page: Page, upstream: Upstream, token: str) -> None:
    given = hand_out(page, upstream, token)
    assert re.fullmatch(OPAQUE_STAND_IN, given)
    assert translated(page, upstream, given) == token


AGAIN = {
    "the refresh token": ("a2", "r1"),
    "the access token": ("a1", "r2"),
    "both": ("a1", "r1"),
    "crosswise": ("r1", "a1"),
}


@pytest.mark.parametrize(("access", "renewing"), AGAIN.values(), ids=list(AGAIN))
@pytest.mark.parametrize("logged_in", [False, True], ids=["alone", "with the old one"])
def test_a_login_that_gives_a_token_of_before_again_hands_out_no_real_one(
    page: Page, upstream: Upstream, access: str, renewing: str, logged_in: bool
) -> None:
    pair = {"access_token": opaque("a1"), "refresh_token": opaque("r1")}
    upstream.answers(json.dumps(pair))
    old = json.loads(post_json(page, "/auth/login", password="x").body)
    pair = {"access_token": opaque(access), "refresh_token": opaque(renewing)}
    upstream.answers(json.dumps(pair))
    authorization = f"Bearer {old['access_token']}" if logged_in else ""
    got = page.post("/auth/login", '{"password": "x"}', authorization=authorization)
    given = json.loads(got.body)
    assert given.keys() == pair.keys()
    for name, stand_in in given.items():
        assert re.fullmatch(STAND_IN, stand_in)
        assert translated(page, upstream, stand_in) == pair[name]


# What is no stand-in of this login

Change = Callable[[str], str]


def other(letter: str) -> str:
    return "A" if letter != "A" else "B"


def changed(at: int) -> Change:
    return lambda text: text[:at] + other(text[at]) + text[at + 1 :]


# Of `stand-<slot><login><variant><mac>`, from its end
BAD: dict[str, Change] = {
    "slot, of another token": lambda text: text.replace("stand-m", "stand-r"),
    "slot, of none": lambda text: text.replace("stand-m", "stand-i"),
    "slot, unknown": lambda text: text.replace("stand-m", "stand-z"),
    "login": changed(-30),
    "variant": changed(-20),
    "mac": changed(-1),
    "mac, first letter": changed(-16),
    "cut at its end": lambda text: text[:-1],
    "cut at its beginning": lambda text: text[1:],
    "longer": lambda text: text + "A",
    "twice": lambda text: text + text,
    "with more before": lambda text: "x" + text,
    "quoted": lambda text: f'"{text}"',
    "another scheme within": lambda text: f"Token {text}",
    "in capitals": lambda text: text.upper(),
    "crafted": lambda text: "stand-m" + "A" * 36,
    "mark only": lambda text: "stand-",
    "not ASCII": lambda text: text[:-1] + "é",
}


@pytest.mark.parametrize("change", BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("kind", ["opaque", "JWT"])
def test_what_is_not_wholly_a_stand_in_of_this_login_goes_as_it_is(
    page: Page, upstream: Upstream, change: Change, kind: str
) -> None:
    token = TOKENS[kind]
    upstream.answers(json.dumps({"access_token": token, "refresh_token": opaque("r")}))
    good = json.loads(post_json(page, "/auth/login", password="x").body)["access_token"]
    assert translated(page, upstream, good) == token
    bad = change(good)
    assert bad != good
    upstream.received.clear()
    assert bearer(page, bad).status == 200
    assert upstream.last.one("authorization") == f"Bearer {bad}"
    assert upstream.last.one("auth-token") is None


@pytest.mark.parametrize("part", [0, 1])
def test_header_and_claims_of_a_jwt_belong_to_its_stand_in(
    page: Page, upstream: Upstream, part: int
) -> None:
    given = hand_out(page, upstream, signed(admin=False)).split(".")
    given[part] = encoded(json.dumps({"alg": "HS256", "admin": True}).encode())
    forged = ".".join(given)
    assert translated(page, upstream, forged) == forged
    bare = given[2]
    assert translated(page, upstream, bare) == bare


def test_those_of_an_earlier_login_of_another_browser_and_of_none_are_not_translated(
    page: Page, upstream: Upstream
) -> None:
    token = opaque("x")
    earlier = hand_out(page, upstream, opaque("earlier"))
    current = hand_out(page, upstream, token)
    elsewhere = hand_out(Page(page.client), upstream, token)
    assert translated(page, upstream, current) == token
    for stand_in in (earlier, elsewhere):
        assert translated(page, upstream, stand_in) == stand_in
    assert translated(Page(page.client), upstream, current) == current


def test_those_of_another_proxy_s_key_or_of_another_api_are_not_translated(
    page: Page, upstream: Upstream, start: Callable[..., Mitmdump], confdir: Path
) -> None:
    given = hand_out(page, upstream, opaque("x"))
    mine = Page(start().client)
    assert translated(Page(mine.client, page.jar), upstream, given) == given
    given = hand_out(mine, upstream, opaque("x"))
    other_api = Upstream()
    try:
        with running(Mitmdump(other_api.url, confdir=confdir)) as proxy:
            assert translated(Page(proxy.client, mine.jar), other_api, given) == given
    finally:
        other_api.close()
    assert translated(mine, upstream, given) == opaque("x")


# Refresh by the page

REFRESHES: dict[str, Callable[[Page, str], Message]] = {
    "JSON": lambda page, token: post_json(page, "/auth/refresh", refresh_token=token),
    "JSON, camel case": lambda page, token: post_json(page, "/auth/refresh", refreshToken=token),
    "form": lambda page, token: page.post(
        "/oauth/token",
        f"grant_type=refresh_token&refresh_token={token}",
        content_type="application/x-www-form-urlencoded",
    ),
    "header": lambda page, token: page.post("/auth/refresh", authorization=f"Bearer {token}"),
    "header, GET": lambda page, token: page.get("/auth/refresh", authorization=f"Bearer {token}"),
    "PUT, header": lambda page, token: page.request(
        "PUT", "/auth/renew", authorization=f"Bearer {token}"
    ),
    "the login's own path": lambda page, token: page.post(
        "/auth/login?grant_type=refresh_token",
        f"grant_type=refresh_token&refresh_token={token}",
        content_type="application/x-www-form-urlencoded",
    ),
}


@pytest.mark.parametrize("ask", REFRESHES.values(), ids=list(REFRESHES))
@pytest.mark.parametrize("rotates", [True, False], ids=["rotating", "not rotating"])
def test_a_page_refreshes_its_tokens_again_and_again(
    page: Page, api: Api, ask: Callable[[Page, str], Message], rotates: bool
) -> None:
    api.rotates = rotates
    given = sign_in(page)
    first = given["access_token"]
    for _ in range(3):
        refresh = next(token for token in api.users if "." not in token)
        api.users = {refresh: "ann"}  # the access token is over
        assert bearer(page, given["access_token"]).status == 401
        got = ask(page, given["refresh_token"])
        assert got.status == 200
        assert api.refreshes[-1] == refresh
        fresh = json.loads(got.body)
        assert all(re.fullmatch(STAND_IN, text) for text in fresh.values())
        assert ("refresh_token" in fresh) is rotates
        assert not [token for token in api.users if token in got.body.decode()]
        given |= fresh
        assert who(page, given["access_token"]) == "ann"
        assert who(page, first) == "ann"  # an older tab's
    assert len(api.refreshes) == 3


def many(page: Page, ask: Callable[[Page], Message], api: Api, times: int = 10) -> list[Message]:
    """So many requests of tabs of one browser at once; the API answers when all are there."""
    api.hold.clear()
    api.asked.clear()
    tabs = [Page(page.client, dict(page.jar)) for _ in range(times)]
    with ThreadPoolExecutor(times) as pool:
        waiting = [pool.submit(ask, tab) for tab in tabs]
        assert api.asked.wait(10)
        api.hold.set()
        return [each.result(30) for each in waiting]


def refresh(page: Page, given: dict[str, str]) -> Message:
    return post_json(page, "/auth/refresh", refresh_token=given["refresh_token"])


def test_ten_refreshes_at_once_ask_the_api_once_and_get_the_same_answer(
    page: Page, api: Api
) -> None:
    given = sign_in(page)
    answers = many(page, lambda tab: refresh(tab, given), api)
    assert len(api.refreshes) == 1
    assert {got.status for got in answers} == {200}
    assert len({got.body for got in answers}) == 1
    for got in answers:  # whichever comes last to the browser
        page.keep(got)
        assert who(page, json.loads(got.body)["access_token"]) == "ann"


def test_a_tab_that_refreshes_a_moment_later_gets_the_same_answer(page: Page, api: Api) -> None:
    given = sign_in(page)
    late = Page(page.client, dict(page.jar))  # its request has left with the cookies as they were
    first, second = refresh(page, given), refresh(late, given)
    assert len(api.refreshes) == 1
    assert (first.status, first.body) == (second.status, second.body)
    page.keep(second)
    assert who(page, json.loads(second.body)["access_token"]) == "ann"


def test_a_refused_refresh_is_passed_on_and_costs_no_token(page: Page, api: Api) -> None:
    given = sign_in(page)
    users, api.users = api.users, {}
    names = page.jar.keys()
    got = refresh(page, given)
    assert (got.status, json.loads(got.body)) == (401, {"error": "invalid_grant"})
    assert page.jar.keys() == names
    api.users = users
    assert who(page, given["access_token"]) == "ann"


@pytest.mark.parametrize("ends", ["/auth/logout", "/logout", "/auth/login"])
def test_a_refresh_that_is_answered_after_the_login_is_over_sets_no_cookie(
    page: Page, api: Api, ends: str
) -> None:
    given = sign_in(page)
    api.ends = {"/auth/logout": "{}", "/logout": "{}"}
    api.hold.clear()
    api.asked.clear()
    late = Page(page.client, dict(page.jar))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(refresh, late, given)
        assert api.asked.wait(10)
        if ends == "/auth/login":
            sign_in(page, "bob")
        else:
            page.post(ends, authorization=f"Bearer {given['access_token']}")
        held = dict(page.jar)
        api.hold.set()
        got = waiting.result(20)
    assert not got.all("set-cookie")
    assert not [token for token in api.users if token in got.body.decode()]
    page.keep(got)
    assert page.jar == held
    for stand_in in re.findall(STAND_IN, got.body.decode()):
        assert who(page, stand_in) is None


def test_nothing_is_remembered_of_a_refresh_after_the_logout(page: Page, api: Api) -> None:
    given = sign_in(page)
    old = Page(page.client, dict(page.jar))
    assert refresh(page, given).status == 200
    api.ends = {"/auth/logout": "{}"}
    page.post("/auth/logout", authorization=f"Bearer {given['access_token']}")
    got = refresh(old, given)
    assert got.status == 401
    assert not got.all("set-cookie")


def test_a_page_refreshes_after_a_restart(start: Callable[..., Mitmdump], api: Api) -> None:
    page = Page(start().client)
    given = sign_in(page)
    again = Page(start().client, page.jar)
    assert who(again, given["access_token"]) == "ann"
    fresh = json.loads(refresh(again, given).body)
    assert who(again, fresh["access_token"]) == who(again, given["access_token"]) == "ann"
    assert len(api.refreshes) == 1


# Logout

LOGOUTS: dict[str, tuple[str, Callable[[Page, dict[str, str]], Message]]] = {
    "logout path, header": (
        "access_token",
        lambda page, given: page.post("/logout", authorization=f"Bearer {given['access_token']}"),
    ),
    "logout path, body": (
        "access_token",
        lambda page, given: post_json(page, "/logout", token=given["access_token"]),
    ),
    "logout path, query": (
        "access_token",
        lambda page, given: page.post(f"/logout?token={given['access_token']}"),
    ),
    "logout path, refresh token in the body": (
        "refresh_token",
        lambda page, given: post_json(page, "/logout", refresh_token=given["refresh_token"]),
    ),
    "elsewhere, header": (
        "access_token",
        lambda page, given: page.post(
            "/auth/logout", authorization=f"Bearer {given['access_token']}"
        ),
    ),
    "elsewhere, body": (
        "refresh_token",
        lambda page, given: post_json(page, "/auth/sign-out", refresh_token=given["refresh_token"]),
    ),
    "elsewhere, with an extension": (
        "access_token",
        lambda page, given: page.request(
            "DELETE", "/users/sign_out.json", authorization=f"Bearer {given['access_token']}"
        ),
    ),
    "logoff": (
        "access_token",
        lambda page, given: page.post(
            "/api/Logoff", authorization=f"Bearer {given['access_token']}"
        ),
    ),
    "DELETE session": (
        "access_token",
        lambda page, given: page.request(
            "DELETE", "/session", authorization=f"Bearer {given['access_token']}"
        ),
    ),
    "DELETE sessions/current": (
        "access_token",
        lambda page, given: page.request(
            "DELETE", "/v1/sessions/current", x_auth_token=given["access_token"]
        ),
    ),
    "path": (
        "access_token",
        lambda page, given: page.request("DELETE", f"/tokens/{given['access_token']}/logout"),
    ),
    "GraphQL": (
        "access_token",
        lambda page, given: page.post(
            "/graphql",
            json.dumps({"query": "mutation { logout { ok } }"}),
            content_type="application/json",
            authorization=f"Bearer {given['access_token']}",
        ),
    ),
    "a navigation": (
        "access_token",
        lambda page, given: page.get(
            f"/oidc/logout?token={given['access_token']}",
            sec_fetch_mode="navigate",
            sec_fetch_dest="document",
        ),
    ),
}


@pytest.mark.parametrize(("named", "log_out"), LOGOUTS.values(), ids=list(LOGOUTS))
@pytest.mark.parametrize("status", [200, 204, 302])
def test_a_logout_of_the_page_s_own_is_the_api_s_and_takes_all_cookies(
    page: Page,
    upstream: Upstream,
    api: Api,
    named: str,
    log_out: Callable[[Page, dict[str, str]], Message],
    status: int,
) -> None:
    given = sign_in(page)
    token = next(t for t in api.users if ("." in t) == (named == "access_token"))
    upstream.respond = lambda request: answer("", status, [("X-Own", "1"), ("Location", "/bye")])
    got = log_out(page, given)
    assert (got.status, got.one("x-own")) == (status, "1")
    said = [
        upstream.last.target,
        *(v for _, v in upstream.last.headers),
        upstream.last.body.decode(),
    ]
    assert [text for text in said if token in text]
    assert upstream.last.one("cookie") is None
    assert not page.jar
    assert translated(page, upstream, given["access_token"]) == given["access_token"]


@pytest.mark.parametrize(
    "log_out",
    [ask for name, (_, ask) in LOGOUTS.items() if name.startswith("logout path")],
    ids=[name for name in LOGOUTS if name.startswith("logout path")],
)
@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_at_the_logout_path_cookies_go_whatever_the_api_answers(
    page: Page,
    upstream: Upstream,
    api: Api,
    log_out: Callable[[Page, dict[str, str]], Message],
    status: int,
) -> None:
    given = sign_in(page)
    upstream.answers("no", status)
    assert log_out(page, given).status == status
    assert len(upstream.received) == 2
    assert not page.jar


def test_at_the_logout_path_cookies_go_while_the_api_is_down(confdir: Path, tmp_path: Path) -> None:
    own = Upstream()
    own.respond = Api()
    with running(Mitmdump(own.url, confdir=confdir)) as proxy:
        page = Page(proxy.client)
        given = sign_in(page)
        own.close()
        own.respond = lambda request: iter(())  # what is open already ends, too
        got = page.post("/logout", authorization=f"Bearer {given['access_token']}")
        assert (got.status, json.loads(got.body)) == (200, {"loggedIn": False})
        assert not page.jar


@pytest.mark.parametrize("status", [401, 404, 500])
def test_elsewhere_a_logout_that_the_api_refuses_changes_nothing(
    page: Page, upstream: Upstream, api: Api, status: int
) -> None:
    given = sign_in(page)
    upstream.answers("no", status)
    assert bearer(page, given["access_token"], "/auth/logout", "POST").status == status
    upstream.respond = api
    assert who(page, given["access_token"]) == "ann"


NO_LOGOUTS = {
    "others": ("POST", "/logout-others"),
    "all others": ("POST", "/auth/logout/others"),
    "another session": ("DELETE", "/sessions/42"),
    "another session, by its id": ("DELETE", "/session/9f8e7d6c"),
    "another token": ("POST", "/tokens/5/revoke"),
    "another token, deleted": ("DELETE", "/tokens/5"),
    "a page about it": ("GET", "/docs/logout"),
    "a prefetch": ("GET", "/auth/logout"),
    "HEAD": ("HEAD", "/auth/logout"),
    "OPTIONS": ("OPTIONS", "/auth/logout"),
    "a word in it": ("POST", "/logouts/report"),
}


@pytest.mark.parametrize(("method", "target"), NO_LOGOUTS.values(), ids=list(NO_LOGOUTS))
def test_what_ends_other_sessions_or_none_logs_nobody_out(
    page: Page, api: Api, method: str, target: str
) -> None:
    given = sign_in(page)
    api.ends[target] = "{}"
    before = dict(page.jar)
    assert bearer(page, given["access_token"], target, method).status == 200
    assert page.jar.keys() == before.keys()
    assert who(page, given["access_token"]) == "ann"


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/oauth/revoke", ""),
        ("/oauth/revoke", "&token_type_hint=refresh_token"),
        ("/api/token/blacklist/", ""),  # Simple JWT's
    ],
)
def test_revoking_the_refresh_token_ends_that_and_leaves_the_other(
    page: Page, api: Api, path: str, more: str
) -> None:
    given = sign_in(page)
    api.ends[path] = ""
    form = "application/x-www-form-urlencoded"
    page.post(path, f"token={given['refresh_token']}{more}", content_type=form)
    assert {name for name, _ in page.jar} == {"auth-token", "auth-token-login"}
    assert who(page, given["access_token"]) == "ann"


@pytest.mark.parametrize(
    "order", [("refresh_token", "access_token"), ("access_token",)], ids=" ".join
)
def test_revoking_the_access_token_ends_the_login(
    page: Page, upstream: Upstream, api: Api, order: tuple[str, ...]
) -> None:
    given = sign_in(page)
    api.ends["/oauth/revoke"] = ""
    form = "application/x-www-form-urlencoded"
    for name in order:
        page.post("/oauth/revoke", f"token={given[name]}", content_type=form)
        assert upstream.last.body.decode().removeprefix("token=") in api.users
    assert not [name for name, _ in page.jar if name == "auth-token"]


def test_two_accounts_one_after_the_other_are_two_logins(
    page: Page, upstream: Upstream, api: Api
) -> None:
    ann = sign_in(page, "ann")
    bob = sign_in(page, "bob")
    assert who(page, bob["access_token"]) == "bob"
    assert who(page, ann["access_token"]) is None
    tab = Page(page.client, page.jar)  # the one that shows Ann still, with the cookies of Bob
    assert refresh(tab, ann).status == 401
    assert who(page, bob["access_token"]) == "bob"
    api.ends["/auth/logout"] = "{}"
    bearer(tab, ann["access_token"], "/auth/logout", "POST")
    assert who(page, bob["access_token"]) == "bob"
    bearer(page, bob["access_token"], "/auth/logout", "POST")
    assert not page.jar


def test_a_login_as_another_drops_what_only_the_earlier_one_had(
    page: Page, upstream: Upstream
) -> None:
    three = {"id_token": signed(x=1), "access_token": opaque("a"), "refresh_token": opaque("r")}
    upstream.answers(json.dumps(three))
    post_json(page, "/auth/login", password="x")
    assert len(page.jar) == 4
    given = hand_out(page, upstream, opaque("b"))
    assert {name for name, _ in page.jar} == {"auth-token", "auth-token-login"}
    assert translated(page, upstream, given) == opaque("b")
