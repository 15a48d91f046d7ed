"""Logins that no option names: the page gets stand-ins, and the API the tokens (DESIGN.md, 6)."""

import json
from collections.abc import Callable, Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from page import Page
from support import Message, Mitmdump, Upstream, answer
from token_api import BY_LINK, bearer, filled, opaque, read, readable, signed

ProxyWith = Callable[..., Mitmdump]

ACCESS = signed(iss="https://api.test", exp=4_000_000_000, name="Ann Øre")
REFRESH = opaque("refresh")
ID = signed(iss="https://api.test", nonce="n-0S6_WzA2Mj", name="Ann")
OPAQUE = opaque("opaque")
LONG = signed(iss="https://api.test", groups=[f"group-{n}" for n in range(560)])
assert len(LONG) > 9000

NUMBERS = count()

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PASSWORD = json.dumps({"username": "ann", "password": "correct horse"})


class Ask(NamedTuple):
    """A request that logs in."""

    target: str = "/auth/sign-in"
    body: str | None = PASSWORD
    kind: str | None = JSON
    method: str = "POST"
    headers: Mapping[str, str] = MappingProxyType({})

    def of(self, page: Page) -> Message:
        fields: dict[str, Any] = {"content_type": self.kind or ""}
        fields.update(self.headers)
        return page.request(self.method, self.target, body=self.body, **fields)


class Answered(NamedTuple):
    """What the API says, with `<name>` in the place of each token."""

    body: str
    tokens: dict[str, str]
    kind: str = JSON
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()

    def wire(self, request: Message) -> bytes:
        fields = [(name, filled(value, self.tokens)) for name, value in self.headers]
        fields.append(("Content-Type", self.kind))
        return answer(filled(self.body, self.tokens), self.status, fields)


def multipart(**fields: str) -> str:
    parts = [
        f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return "".join([*parts, "--xx--\r\n"])


def graphql(query: str, **variables: str) -> str:
    return json.dumps({"query": query, "variables": variables})


PAIR = '{"access_token": "<A>", "token_type": "bearer", "expires_in": 3600, "refresh_token": "<R>"}'
TOKEN = '{"token":"<A>"}'
CODE = {"grant_type": "authorization_code", "code": "SplxlOBeZQQYbYS6WxSbIA", "client_id": "web"}

ASKS = {
    "JSON": Ask(),
    "form": Ask(body=urlencode({"email": "a@b.test", "password": "x y"}), kind=FORM),
    "PUT": Ask("/session", method="PUT"),
    "PATCH": Ask("/users/login", method="PATCH"),
    "multipart": Ask(
        "/auth/login_flow",
        body=multipart(username="ann", password="correct horse"),
        kind="multipart/form-data; boundary=xx",
    ),
    "OAuth password grant": Ask(
        "/oauth/token",
        body=urlencode({"grant_type": "password", "username": "ann", "password": "x"}),
        kind=FORM,
    ),
    "OAuth code grant": Ask("/oauth/token", body=urlencode(CODE), kind=FORM),
    "OAuth code grant with Basic": Ask(
        "/oauth2/token",
        body=urlencode(CODE),
        kind=FORM,
        headers={"authorization": "Basic d2ViOnNlY3JldA=="},
    ),
    "sign-up": Ask("/v1/sign-up", body='{"email": "a@b.test", "password": "x"}'),
    "one-time code": Ask("/mfa", body='{"otp": "123456"}'),
    "an earlier token": Ask(headers={"authorization": "Bearer of-an-earlier-login"}),
    "/login, where nobody has said what it answers": Ask("/login"),
}

ANSWERS = {
    "at the top": Answered(TOKEN, {"A": OPAQUE}),
    "nested": Answered(
        '{"ok": true,\n "data": {"user": {"id": 7, "name": "\\u00d8"}, "tokens": '
        '{"accessToken": "<A>", "expires": 3600}}, "n": 1.50}',
        {"A": ACCESS},
    ),
    "several": Answered(PAIR, {"A": OPAQUE, "R": REFRESH}),
    "with id_token": Answered(
        '{"id_token":"<I>","access_token":"<A>","refresh_token":"<R>"}',
        {"I": ID, "A": OPAQUE, "R": REFRESH},
    ),
    "JWT": Answered(TOKEN, {"A": ACCESS}),
    "9 KB": Answered(TOKEN, {"A": LONG}),
    "9 KB, opaque": Answered(TOKEN, {"A": opaque("long", 9000)}),
    "with characters of base64": Answered(TOKEN, {"A": OPAQUE[:30] + "+/=="}),
    "201": Answered('{"token": "<A>", "created": true}', {"A": OPAQUE}, status=201),
    "in an array": Answered('[{"user": "ann"}, {"token": "<A>"}]', {"A": OPAQUE}),
    "repeated": Answered(
        '{"token":"<A>","user":{"jwt":"<A>"}}',
        {"A": ACCESS},
        headers=(("X-Auth-Token", "<A>"),),
    ),
    "in a header": Answered('{"user": "ann"}', {"A": OPAQUE}, headers=(("X-Auth-Token", "<A>"),)),
    "in Authorization": Answered(
        '{"user": "ann"}', {"A": ACCESS}, headers=(("Authorization", "Bearer <A>"),)
    ),
    "a string of JSON": Answered('"<A>"', {"A": OPAQUE}),
    "a bare string": Answered("<A>", {"A": ACCESS}, kind="text/plain"),
    "a bare opaque string": Answered("<A>", {"A": OPAQUE}, kind="text/plain; charset=utf-8"),
    "a form": Answered(
        "access_token=<A>&scope=repo%2Cgist&token_type=bearer", {"A": OPAQUE}, kind=FORM
    ),
    "a vendor's JSON": Answered(
        '{"data": {"attributes": {"token": "<A>"}}}', {"A": OPAQUE}, kind="application/vnd.api+json"
    ),
    "text that is JSON": Answered(TOKEN, {"A": ACCESS}, kind="text/plain"),
    "a page that opened as popup": Answered(
        '<!doctype html><script>opener.postMessage({"token": "<A>"}, "*"); close()</script>',
        {"A": ACCESS},
        kind="text/html; charset=utf-8",
    ),
}

GRAPHQL = {
    "plain": (
        'mutation { login(email: "a@b.test", password: "x") { token } }',
        '{"data":{"login":{"token":"<A>"}}}',
    ),
    "aliased": (
        'mutation { a: login(email: "a@b.test", password: "x") { b: token } }',
        '{"data":{"a":{"b":"<A>"}}}',
    ),
    "with variables": (
        "mutation In($p: String!) { tokenCreate(email: $e, password: $p) { token } }",
        '{"data":{"tokenCreate":{"token":"<A>"}}}',
    ),
}

LINKS = {
    "query": "/app?lang=en&token=<A>",
    "fragment": "/app#access_token=<A>&token_type=bearer&state=xyz",
    "query and fragment": "/app?token=<R>#id_token=<A>",
    "another origin": "http://localhost:5173/done?x=%2F#access_token=<A>",
}


@pytest.fixture
def page(proxy_with: ProxyWith) -> Page:
    return Page(proxy_with().client)


def check(page: Page, upstream: Upstream, ask: Ask, answered: Answered) -> None:
    """The page gets all that the API has said, with stand-ins for the tokens; with each of them
    it asks for something, and the API gets the token.
    """
    upstream.respond = answered.wire
    got = ask.of(page)
    assert (got.status, got.one("content-type")) == (answered.status, answered.kind)
    assert got.one("content-length") == str(len(got.body))
    assert got.one("cache-control") == "no-store"
    seen = readable(got)
    assert not [token for token in answered.tokens.values() if token in seen]

    texts = [(got.body.decode(), answered.body)]
    texts += [(got.one(name.lower()) or "", value) for name, value in answered.headers]
    found: dict[str, str] = {}
    for text, template in texts:
        parts = read(text, template)
        assert parts is not None, (text, template)
        assert all(found.setdefault(name, value) == value for name, value in parts.items())
    assert found.keys() == answered.tokens.keys()

    upstream.answers('{"me": 1}')
    for name, stand_in in found.items():
        # Each at another address: what a refresh token has brought is remembered for a moment.
        assert bearer(page, stand_in, f"/me?{next(NUMBERS)}").status == 200
        assert upstream.last.one("authorization") == f"Bearer {answered.tokens[name]}"
        assert upstream.last.one("cookie") is None


@pytest.mark.parametrize("ask", ASKS.values(), ids=list(ASKS))
def test_however_a_page_logs_in_it_gets_stand_ins_and_the_api_the_tokens(
    page: Page, upstream: Upstream, ask: Ask
) -> None:
    check(page, upstream, ask, Answered(PAIR, {"A": ACCESS, "R": REFRESH}))
    login = upstream.received[0]
    assert (login.method, login.target) == (ask.method, ask.target)
    assert login.body == (ask.body or "").encode()
    assert login.one("authorization") == ask.headers.get("authorization")


@pytest.mark.parametrize("answered", ANSWERS.values(), ids=list(ANSWERS))
def test_wherever_tokens_stand_the_page_gets_stand_ins_and_all_else_as_it_is(
    page: Page, upstream: Upstream, answered: Answered
) -> None:
    check(page, upstream, Ask(), answered)


@pytest.mark.parametrize(("query", "body"), GRAPHQL.values(), ids=list(GRAPHQL))
@pytest.mark.parametrize("token", [ACCESS, OPAQUE], ids=["JWT", "opaque"])
def test_a_graphql_login_hands_out_stand_ins_under_whatever_alias(
    page: Page, upstream: Upstream, query: str, body: str, token: str
) -> None:
    ask = Ask("/graphql", body=graphql(query, e="a@b.test", p="x"))
    check(page, upstream, ask, Answered(body, {"A": token}))


@pytest.mark.parametrize("location", LINKS.values(), ids=list(LINKS))
@pytest.mark.parametrize(
    "target",
    ["/auth/callback?code=4%2F0AX&state=xyz", "/magic?token=one-time-0123456789"],
    ids=["callback", "magic link"],
)
def test_a_redirect_that_hands_out_tokens_does_it_for_the_navigation_from_another_site(
    page: Page, upstream: Upstream, location: str, target: str
) -> None:
    tokens = {"A": ACCESS, **({"R": OPAQUE} if "<R>" in location else {})}
    answered = Answered("", tokens, "text/plain", 302, (("Location", location),))
    check(page, upstream, Ask(target, None, None, "GET", BY_LINK), answered)


def test_a_popup_that_comes_back_from_another_site_holds_the_stand_in(
    page: Page, upstream: Upstream
) -> None:
    ask = Ask("/auth/callback?code=abc&state=x", None, None, "GET", BY_LINK)
    check(page, upstream, ask, ANSWERS["a page that opened as popup"])


FOREIGN: dict[str, dict[str, Any]] = {
    "a script": {"sec_fetch_mode": "cors", "sec_fetch_dest": "empty"},
    "no-cors": {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "script"},
    "an iframe": {"sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
    "an image": {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=list(FOREIGN))
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_no_other_request_of_a_foreign_page_logs_in_or_gets_a_token(
    page: Page, upstream: Upstream, headers: dict[str, Any], site: str
) -> None:
    answered = Answered("", {"A": ACCESS}, "text/plain", 302, (("Location", "/app#t=<A>"),))
    for target in ("/auth/callback?code=abc", "/auth/refresh"):
        upstream.respond = answered.wire
        got = page.get(target, **{**headers, "sec_fetch_site": site})
        if "code" in target:
            assert (got.status, json.loads(got.body)["error"]) == (502, "token_leak")
            assert not got.all("location")
        assert ACCESS not in readable(got)
        assert not page.jar


def test_a_foreign_page_cannot_post_a_login(page: Page, upstream: Upstream) -> None:
    upstream.respond = Answered(TOKEN, {"A": ACCESS}).wire
    got = page.post("/auth/login", sec_fetch_site="cross-site", sec_fetch_mode="navigate")
    assert (got.status, json.loads(got.body)["error"]) == (403, "cross_origin")
    assert not upstream.received
    assert not page.jar
