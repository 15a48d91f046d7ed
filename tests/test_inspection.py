"""What mitmproxy's user sees: marks, comments, the view, alarms, redacted flows, commands."""

import gzip
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h11
import pytest
from browser_client import Browser
from exchanges import notes
from exchanges.proxy import Proxy
from inspection import explain, phrases, start, view
from inspection.inspector import Inspector
from mitmproxy import exceptions, http, io, options
from mitmproxy.test import tflow
from origins.origin import Origin
from page import Page
from support import ADDON, Message, Mitmdump, Upstream, answer
from test_any_api import SECRET
from test_dev_proxy import frontend  # noqa: F401
from test_failing_closed import edit, own_addon  # noqa: F401
from test_jar import SETTINGS, jwt
from test_properties import proxy_of
from test_refresh import Accounts

ProxyWith = Callable[..., Mitmdump]
Start = Callable[..., Mitmdump]

CLAIMS = {"sub": "42", "exp": int(time.time()) + 84 * 3600}
TOKEN = jwt(CLAIMS)
BEARER = ("cookie_auth_header=Authorization", "cookie_auth_header_format=Bearer {token}")

# Asks mitmproxy, in its own process, what its user would ask, about a flow with the header X-Ask.
ASKING = """
import json
from mitmproxy import contentviews, ctx

def view(flow):
    if hasattr(contentviews, "prettify_message"):
        return contentviews.prettify_message(flow.request, flow, "cookie-auth").text
    _, lines, error = contentviews.get_message_content_view("cookie-auth", flow.request, flow)
    assert error is None, error
    return "\\n".join("".join(text for _, text in line) for line in lines)

def response(flow):
    if flow.request.headers.get("x-ask"):
        call = ctx.master.commands.call
        told = {
            "view": view(flow),
            "status": call("cookie_auth.status"),
            "explain": call("cookie_auth.explain", flow),
            "curl": call("cookie_auth.curl", flow),
        }
        call("save.har", [flow], __file__ + ".har")
        with open(__file__ + ".json", "w") as file:
            json.dump(told, file)
"""


@pytest.fixture
def start_with(upstream: Upstream, confdir: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a mitmdump for this test alone, with these options, that saves what it sees."""
    started: list[Mitmdump] = []
    asking = tmp_path / "asking.py"
    asking.write_text(ASKING)

    def start(*options: str, script: Path = ADDON) -> Mitmdump:
        arguments = [part for option in options for part in ("--set", option)]
        arguments += ["-w", str(tmp_path / "flows"), "--set", f"hardump={tmp_path / 'all.har'}"]
        scripts = (script, asking)
        started.append(Mitmdump(upstream.url, *arguments, confdir=confdir, scripts=scripts))
        return started[-1]

    yield start
    for mitmdump in started:
        mitmdump.stop()


def saved(tmp_path: Path) -> list[http.HTTPFlow]:
    with (tmp_path / "flows").open("rb") as file:
        flows = [flow for flow in io.FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]
    return sorted(flows, key=lambda flow: flow.timestamp_created)


def told(tmp_path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((tmp_path / "asking.py.json").read_text())
    return told


def log_in(request: Message) -> bytes:
    """An API whose login issues TOKEN, and which repeats what it is told to repeat."""
    token = (request.one("authorization") or "").removeprefix("Bearer ")
    match request.target:
        case "/login" if b"wrong" in request.body:
            return answer('{"error": "wrong password"}', 401)
        case "/login":
            return answer(json.dumps({"authToken": TOKEN}))
        case "/echo":
            return answer(json.dumps({"headers": dict(request.headers)}))
        case "/echo/gzip":
            return answer(gzip.compress(token.encode()), Content_Encoding="gzip")
        case "/echo/location":
            return answer(status=302, Location=f"/x?token={token}")
        case "/echo/cookie":
            return answer(Set_Cookie=f"sid={token}")
    return answer("{}")


# Marks and comments


def test_each_flow_has_a_mark_and_a_line_that_say_what_was_done(
    start_with: Start, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = log_in
    mitmdump = start_with(*BEARER, "cookie_auth_forward_cookies=xsrf", "cookie_auth_prefix=/api")
    client = mitmdump.client
    cookie = f"_ga=1; auth-token={TOKEN}; theme=2; xsrf=3; sid=4"
    client.post("/api/login", cookie="sid=1")
    client.post("/api/login", body="wrong")
    client.get("/api/me?q=a-secret", cookie=cookie)
    client.get("/api/me", sec_fetch_site="cross-site", cookie=cookie)
    client.get("/api/me")
    client.get("/api/me", authorization="Basic x")
    client.post("/api/me", sec_fetch_site="cross-site", cookie=cookie)
    client.post("/api/logout", cookie=cookie)
    client.get("/elsewhere")
    mitmdump.stop()
    size = f"{len(TOKEN)} bytes, expires in 3 days"
    assert [(flow.marked, flow.comment) for flow in saved(tmp_path)] == [
        (
            ":key:",
            f"/api/login: login: token ({size}) → cookie auth-token; 1 cookie kept back: sid",
        ),
        (
            ":bust_in_silhouette:",
            "/api/login: login without a token: the API answers 401, and no token",
        ),
        (
            ":lock:",
            f"/api/me: cookie auth-token → header Authorization ({size});"
            " 3 cookies kept back: _ga, theme, sid",
        ),
        (
            ":bust_in_silhouette:",
            "/api/me: without a token: from a page of another origin;"
            " 4 cookies kept back: _ga, theme, xsrf, sid",
        ),
        (":bust_in_silhouette:", "/api/me: without a token: no auth cookie"),
        (":bust_in_silhouette:", "/api/me: header Authorization as the browser sent it"),
        (
            ":no_entry:",
            "/api/me: refused: cross_origin: A page of another origin may not do this",
        ),
        (":door:", "/api/logout: logout, answered here; 3 cookies kept back: _ga, theme, sid"),
        (
            ":no_entry:",
            "/elsewhere: refused: outside_prefix: The API is served under /api only",
        ),
    ]
    for flow in saved(tmp_path):
        assert TOKEN not in str(flow.metadata) + flow.comment
        assert "a-secret" not in flow.comment


def test_a_renewed_token_marks_the_request_and_those_of_our_own(
    start_with: Start, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = accounts = Accounts()
    mitmdump = start_with("cookie_auth_refresh=/refresh")
    browser = Browser(mitmdump.client)
    browser.request("POST", "/login")
    accounts.token = "token of another time"
    browser.request("GET", "/me")
    mitmdump.stop()
    found = {flow.comment: flow.marked for flow in saved(tmp_path)}
    fresh = ":arrows_counterclockwise:"
    sent = "/me: fresh token (7 bytes); cookie auth-token → header auth-token (7 bytes)"
    assert found.pop(sent) == fresh
    assert found.pop("/refresh: cookie-auth asks for a fresh token") == fresh
    assert found.pop("/me: cookie-auth asks again with the fresh token") == fresh
    assert list(found.values()) == [":key:"]


def test_names_from_the_network_stay_on_one_line_and_short() -> None:
    names = [f"n{i}\r\n\x1b" + "x" * 100 for i in range(20)]
    text = phrases.cookies(tuple(names), "kept back")
    assert text.startswith("20 cookies kept back: n0")
    assert text.endswith(" and 12 more")
    assert text.isprintable()
    assert len(text) < 600


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "in 0 s"),
        (119, "in 119 s"),
        (14 * 60 + 59, "in 14 min"),
        (-7200, "2 h ago"),
        (3 * 86400, "in 3 days"),
    ],
)
def test_times_are_told_in_words(seconds: float, text: str) -> None:
    assert phrases.distance(seconds) == text


# The content view, and the commands


def test_the_view_shows_both_requests_and_the_tokens_claims(
    start_with: Start, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = log_in
    mitmdump = start_with(*BEARER, "cookie_auth_prefix=/api", "cookie_auth_base_path=/v1")
    cookie = f"auth-token={TOKEN}; theme=dark"
    mitmdump.client.get("/api/me?x=1", cookie=cookie, x_ask="1")
    text = told(tmp_path)["view"]
    rows = [[part.strip() for part in line.split(" |")] for line in text.splitlines()]
    assert ["The browser sent", "The API got"] in rows
    assert ["GET /api/me?x=1 HTTP/1.1", "GET /v1/me?x=1 HTTP/1.1"] in rows
    port = mitmdump.client.port
    fields = {row[0].partition(":")[0].lower(): row for row in rows if len(row) == 2}
    assert fields["host"][0].endswith(f": localhost:{port}")
    assert fields["host"][1].endswith(f": 127.0.0.1:{upstream.port}")
    sent = " ".join(row[0] for row in rows if len(row) == 2)
    assert f"cookie: auth-token=({len(TOKEN)} bytes); theme=(4 bytes)" in sent
    assert ["", f"Authorization: ({len(TOKEN) + len('Bearer ')} bytes)"] in rows
    assert '    sub: "42"' in text
    assert re.search(r"    exp: \d+  \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, in 3 days\)", text)
    assert TOKEN.rpartition(".")[2] not in text


def test_the_view_shows_long_and_hostile_lines_whole_and_in_their_columns() -> None:
    request = tflow.treq(path=b"/" + b"a" * 150)
    request.headers = http.Headers([(b"X", b"one\r\n\x1btwo " + b"three " * 30)])
    rows = list(view.beside(request, None, "auth-token"))
    assert all(len(row) <= view.WIDEST for row in rows)
    assert all(row.isprintable() for row in rows)
    left = "".join(row.partition(" |")[0].strip() for row in rows)
    assert "/" + "a" * 150 in left
    assert left.count("three") == 30


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("sub", {"a": "é"}, '{"a": "é"}'),
        ("exp", 1e30, "1e+30"),
        ("exp", "soon", '"soon"'),
    ],
)
def test_a_claim_that_is_no_moment_is_shown_as_it_is(name: str, value: object, text: str) -> None:
    flow = tflow.tflow()
    flow.metadata[notes.KIND] = "api"
    lines = list(view.lines(flow, "", "auth-token", jwt({name: value})))
    assert f"    {name}: {text}" in lines


def test_explain_goes_through_the_rules(
    start_with: Start, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = log_in
    mitmdump = start_with(*BEARER)
    cookie = f"auth-token={TOKEN}; theme=dark"
    mitmdump.client.get("/me", cookie=cookie, x_ask="1", sec_fetch_site="same-origin")
    lines = told(tmp_path)["explain"]
    assert lines[:4] == [
        "request: GET /me",
        f"host: localhost:{mitmdump.client.port} is localhost, an IP address or allowed",
        "origin: trusted: Sec-Fetch-Site says same-origin",
        "path: the API's /me",
    ]
    assert "auth cookie: auth-token" in lines
    assert "1 cookie kept back: theme (cookie_auth_forward_cookies)" in lines
    mitmdump.client.post("/login", x_ask="1", origin="http://evil.example")
    lines = told(tmp_path)["explain"]
    assert "origin: not trusted: Origin http://evil.example is not the proxy's own" in lines
    assert "path: the API's /login, which is the login path" in lines
    assert "method: not GET, HEAD or OPTIONS, so another origin may not use it" in lines
    assert any(line.startswith("refused: 403 cross_origin: ") for line in lines)


def test_explain_names_the_rule_that_decided(
    start_with: Start,
    upstream: Upstream,
    tmp_path: Path,
    frontend: Upstream,  # noqa: F811
) -> None:
    upstream.respond = log_in
    mitmdump = start_with(
        *BEARER,
        "cookie_auth_prefix=/api",
        f"cookie_auth_frontend=http://[::1]:{frontend.port}",
        "cookie_auth_allowed_origins=http://friend.test",
    )
    cookie = f"auth-token={TOKEN}"
    cases: list[tuple[str, dict[str, str], str]] = [
        (
            "/api/me",
            {"origin": "http://friend.test"},
            "origin: trusted: Origin http://friend.test is in cookie_auth_allowed_origins",
        ),
        ("/api/me", {}, "origin: trusted: it is from no browser: curl, or a server"),
        ("/api/me", {}, "token: none was sent"),
        ("/api/me", {}, "auth cookie: none"),
        (
            "/api/me",
            {"sec_fetch_site": "cross-site", "cookie": cookie},
            "method: safe, so it goes on without the token",
        ),
        (
            "/api/me",
            {"authorization": "Basic x"},
            "token: the header Authorization is the browser's own",
        ),
        ("/api/echo", {"cookie": cookie}, "leak: body"),
        ("/page", {}, "path: outside /api, so it is the front end's"),
        ("/page", {}, "so: /page: for the front end, as it came"),
    ]
    for path, headers, line in cases:
        mitmdump.client.request("GET", path, None, None, x_ask="1", **headers)
        lines = told(tmp_path)["explain"]
        assert any(one.startswith(line) for one in lines), (line, lines)
    mitmdump.client.raw(b"GET /api/me HTTP/1.1\r\nHost: evil.test\r\nX-Ask: 1\r\n\r\n")
    assert told(tmp_path)["explain"][1].startswith("host: The host evil.test is not allowed here.")


def test_curl_for_the_front_end_names_the_cookies_token_by_the_variable_too(
    start_with: Start, tmp_path: Path
) -> None:
    frontend = Upstream()  # noqa: F811
    mitmdump = start_with("cookie_auth_prefix=/api", f"cookie_auth_frontend={frontend.url}")
    mitmdump.client.get("/page", cookie=f"a=1; auth-token={TOKEN}", x_ask="1")
    (curl,) = told(tmp_path)["curl"]
    assert TOKEN not in curl
    subprocess.run(["bash", "-c", curl], env={**os.environ, "TOKEN": TOKEN}, check=True)
    frontend.close()
    assert frontend.last.one("cookie") == f"a=1; auth-token={TOKEN}"


def test_commands_that_make_no_sense_say_why() -> None:
    renewal = tflow.tflow()
    renewal.metadata[notes.KIND] = "renewal"
    with pytest.raises(exceptions.CommandError, match="refresh token"):
        explain.curl(renewal, SETTINGS)
    assert list(explain.rules(tflow.tflow(), SETTINGS)) == [
        "cookie-auth has not decided about this flow."
    ]
    inspector = Inspector(Proxy(options.Options()))
    with pytest.raises(exceptions.CommandError, match="options are wrong"):
        inspector.explain(renewal)
    inspector.proxy.configuration = proxy_of(SETTINGS).configuration
    with pytest.raises(exceptions.CommandError, match="HTTP flows only"):
        inspector.explain(tflow.ttcpflow())


def test_curl_names_the_token_by_a_variable_that_the_shell_fills_in(
    start_with: Start, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = log_in
    mitmdump = start_with(*BEARER)
    mitmdump.client.post("/me?x=a'b", cookie=f"auth-token={TOKEN}", x_ask="1", body='{"a": 1}')
    (curl,) = told(tmp_path)["curl"]
    assert TOKEN not in curl
    subprocess.run(["bash", "-c", curl], env={**os.environ, "TOKEN": TOKEN}, check=True)
    by_proxy, by_hand = upstream.received
    assert by_hand.one("authorization") == by_proxy.one("authorization") == f"Bearer {TOKEN}"
    assert (by_hand.start, by_hand.body) == (by_proxy.start, by_proxy.body)


def test_status_tells_the_settings_and_the_last_login(
    start_with: Start, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = log_in
    mitmdump = start_with(
        *BEARER, "cookie_auth_token=header:X-Token", "cookie_auth_token=/authToken"
    )
    mitmdump.client.get("/me", x_ask="1")
    assert "last login: none yet" in told(tmp_path)["status"]
    assert "token in them: header:X-Token, /authToken" in told(tmp_path)["status"]
    mitmdump.client.post("/login", x_ask="1")
    status = "\n".join(told(tmp_path)["status"])
    assert f"proxy: reverse:{upstream.url}" in status
    assert re.search(r"last login: \d\d:\d\d:\d\d POST /login", status)


def test_view_and_commands_survive_a_reload(
    start_with: Start,
    upstream: Upstream,
    tmp_path: Path,
    own_addon: Path,  # noqa: F811
) -> None:
    upstream.respond = log_in
    mitmdump = start_with(*BEARER, script=own_addon)
    mitmdump.client.get("/me", cookie=f"auth-token={TOKEN}", x_ask="1")
    before = told(tmp_path)
    (tmp_path / "asking.py.json").unlink()
    edit(own_addon, own_addon.read_text() + "\n")
    mitmdump.wait_for_log(r"(?s)(Loading script \S*cookie_auth.py.*){2}cookie-auth: open")
    mitmdump.client.get("/me", cookie=f"auth-token={TOKEN}", x_ask="1")
    assert told(tmp_path)["curl"] == before["curl"]
    assert told(tmp_path)["view"].splitlines()[0] == before["view"].splitlines()[0]
    assert "Traceback" not in mitmdump.log


# Stand-ins

ACCESS = jwt({**CLAIMS, "sub": "ada"})
REFRESH, CHAT, KEY = (
    "refresh-0123456789abcdef",
    "chat-0123456789abcdefghi",
    "key-0123456789abcdefghij",
)


def unlisted(request: Message) -> bytes:
    """An API of which no option says anything."""
    match request.target.partition("?")[0]:
        case "/v1/auth/sign-in":
            tokens = {"access_token": ACCESS, "refresh_token": REFRESH, "chatToken": CHAT}
            return answer(
                json.dumps(tokens), Set_Cookie="sid=a-session-of-the-api; Path=/; HttpOnly"
            )
        case "/v1/token":
            return answer(json.dumps({"token": KEY}), 201)
        case "/v1/echo":
            return answer(json.dumps(dict(request.headers)))
    return answer("{}")


@pytest.fixture
def signed_in(start_with: Start, upstream: Upstream) -> tuple[Mitmdump, Page, dict[str, str]]:
    """A page that has signed in, and what it got."""
    upstream.respond = unlisted
    mitmdump = start_with("cookie_auth_prefix=/api", "cookie_auth_base_path=/v1")
    page = Page(mitmdump.client)
    login = {"content_type": "application/json", "x_ask": "1"}
    got = page.post("/api/auth/sign-in", '{"password": "x"}', **login)
    return mitmdump, page, json.loads(got.body)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_each_flow_says_what_became_of_stand_ins(
    signed_in: tuple[Mitmdump, Page, dict[str, str]], tmp_path: Path
) -> None:
    mitmdump, page, got = signed_in
    access = got["access_token"]
    page.get("/api/me", **bearer(access))
    page.get(f"/api/file?access_token={access}", x_api_key=access)
    page.post("/api/token", '{"name": "ci"}', content_type="application/json", **bearer(access))
    page.get("/api/echo", **bearer(access))
    page.get("/api/me")
    form = {"content_type": "application/json"}
    page.post("/api/auth/sign-in", '{"password": "x"}', sec_fetch_site="cross-site", **form)
    page.post("/api/auth/sign-out", json.dumps({"token": access}), **form)
    mitmdump.stop()
    size = f"{len(ACCESS)} bytes, expires in 3 days"
    assert [(flow.marked, flow.comment) for flow in saved(tmp_path)] == [
        (
            ":key:",
            f"/api/auth/sign-in: login: token ({size}) → cookie auth-token; stand-ins given for"
            " /access_token, /chatToken, /refresh_token",
        ),
        (":lock:", "/api/me: stand-in → token in Authorization"),
        (":lock:", "/api/file: stand-in → token in x-api-key, query access_token"),
        (":lock:", "/api/token: stand-in → token in Authorization; left alone: /token"),
        (
            ":lock:",
            "/api/echo: stand-in → token in Authorization;"
            " stand-ins given for what the body repeats",
        ),
        (":bust_in_silhouette:", "/api/me: without a token: no auth cookie"),
        (
            ":no_entry:",
            "/api/auth/sign-in: refused: cross_origin: A page of another origin may not do this",
        ),
        (":door:", "/api/auth/sign-out: logout by the page; stand-in → token in body token"),
    ]
    for flow in saved(tmp_path):
        for token in (ACCESS, REFRESH, CHAT, KEY):
            assert token not in str(flow.metadata) + flow.comment


def test_explain_tells_what_became_of_stand_ins(
    signed_in: tuple[Mitmdump, Page, dict[str, str]], tmp_path: Path
) -> None:
    _, page, got = signed_in
    lines = told(tmp_path)["explain"]
    assert "path: the API's /v1/auth/sign-in" in lines
    assert "stand-ins: given for /access_token, /chatToken, /refresh_token" in lines
    headers = {"content_type": "application/json", "x_ask": "1", **bearer(got["access_token"])}
    page.post("/api/token", "{}", **headers)
    lines = told(tmp_path)["explain"]
    assert "token: in the place of a stand-in (Authorization)" in lines
    assert "left alone: /token (cookie_auth_switch hides it)" in lines
    page.post("/api/auth/sign-out", **headers)
    lines = told(tmp_path)["explain"]
    assert "logout: the page has logged out at the API, so the cookies were deleted" in lines


def test_view_and_curl_show_where_stand_ins_stood_and_no_token(
    signed_in: tuple[Mitmdump, Page, dict[str, str]], upstream: Upstream, tmp_path: Path
) -> None:
    _, page, got = signed_in
    access = got["access_token"]
    headers = {**bearer(access), "x_api_key": access}
    page.get(f"/api/file?a=1&access_token={access}&b=2", **headers, x_ask="1")
    text = told(tmp_path)["view"]
    assert f"access_token=({len(ACCESS)}" in text
    rows = [[part.strip() for part in line.split(" |")] for line in text.splitlines()]
    given = f"(stand-in, {len('Bearer ') + len(access)} bytes)"
    sent = f"(token, {len('Bearer ') + len(ACCESS)} bytes)"
    assert [f"authorization: {given}", f"authorization: {sent}"] in rows
    given, sent = f"(stand-in, {len(access)} bytes)", f"(token, {len(ACCESS)} bytes)"
    assert [f"x-api-key: {given}", f"x-api-key: {sent}"] in rows
    assert (
        "The API got the token where the browser sent a stand-in: Authorization, x-api-key,"
        " query access_token"
    ) in " ".join(text.split())
    (curl,) = told(tmp_path)["curl"]
    for secret in (ACCESS.rpartition(".")[2], "a-session-of-the-api", REFRESH, CHAT):
        assert secret not in curl + text
    environment = {**os.environ, "TOKEN": ACCESS, "COOKIE": "a-session-of-the-api"}
    subprocess.run(["bash", "-c", curl], env=environment, check=True)
    by_proxy, by_hand = upstream.received[-2:]
    for name in ("authorization", "x-api-key", "cookie"):
        assert by_proxy.one(name) == by_hand.one(name)
        assert by_hand.one(name)
    assert by_proxy.start == by_hand.start


def test_curl_shows_no_body_that_holds_a_token() -> None:
    flow = tflow.tflow()
    flow.metadata |= {notes.KIND: "api", notes.TRANSLATED: ["body refresh_token"]}
    with pytest.raises(exceptions.CommandError, match="holds a token"):
        explain.curl(flow, SETTINGS)
    flow.metadata = {notes.KIND: "page-refresh"}
    with pytest.raises(exceptions.CommandError, match="refresh token"):
        explain.curl(flow, SETTINGS)


def test_status_tells_what_was_learned_and_which_stand_ins_never_came_back(
    signed_in: tuple[Mitmdump, Page, dict[str, str]], upstream: Upstream, tmp_path: Path
) -> None:
    _, page, got = signed_in
    page.get("/api/me", **bearer(got["access_token"]), x_ask="1")
    status = told(tmp_path)["status"]
    learned = [line for line in status if line.startswith(("learned", "never"))]
    of_login = "POST /v1/auth/sign-in"
    never = f"never came back: the stand-in for /{{}} of {of_login}"
    assert learned == [
        f"learned: {of_login} hands out /access_token, /chatToken, /refresh_token",
        f"learned: {upstream.url} takes a token in Authorization: Bearer {{token}}",
        f"{never.format('chatToken')}; if its page needs the token itself:"
        " --set cookie_auth_expose=chatToken",
        never.format("refresh_token"),
    ]
    for token in (*got.values(), ACCESS, REFRESH, CHAT):
        assert token not in str(status)


def test_status_names_the_header_that_was_learned(
    start_with: Start, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = lambda request: (
        answer(json.dumps({"access_token": ACCESS, "token_type": "bearer"}))
        if request.target == "/token"
        else answer("{}")
    )
    page = Page(start_with().client)
    page.post("/token", "grant_type=password&username=a&password=b")
    page.get("/me", x_ask="1")
    assert upstream.last.one("authorization") == f"Bearer {ACCESS}"
    line = f"learned: {upstream.url} takes a token in Authorization: Bearer {{token}}"
    assert line in told(tmp_path)["status"]
    assert ACCESS not in told(tmp_path)["curl"][0]
    assert "-H 'Authorization: Bearer '\"$TOKEN\"" in told(tmp_path)["curl"][0]


# The leak alarm


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/echo", "body"),
        ("/echo/gzip", "body"),
        ("/echo/location", "header Location"),
    ],
)
@pytest.mark.parametrize("leak", ["warn", "block", "off"])
def test_an_answer_that_repeats_the_token_raises_the_alarm(
    start_with: Start, upstream: Upstream, tmp_path: Path, path: str, place: str, leak: str
) -> None:
    upstream.respond = log_in
    mitmdump = start_with(*BEARER, f"cookie_auth_leak={leak}")
    got = [mitmdump.client.get(path, cookie=f"auth-token={TOKEN}") for _ in range(2)]
    assert mitmdump.client.get("/me", cookie=f"auth-token={TOKEN}").status == 200
    mitmdump.stop()
    for message in got:
        if leak == "block":
            assert message.status == 502
            assert json.loads(message.body)["error"] == "token_leak"
            assert TOKEN not in str(message)
        else:
            assert message.status in (200, 302)
    warning = f"GET {path}: the API's answer holds a token in its {place}"
    assert mitmdump.log.count(warning) == (0 if leak == "off" else 1)
    assert TOKEN not in mitmdump.log
    marks = [flow.marked for flow in saved(tmp_path)]
    alarm = ":lock:" if leak == "off" else ":rotating_light:"
    assert marks == [alarm, alarm, ":lock:"]


@pytest.mark.parametrize(
    ("forwarded", "seen"), [("other", []), ("sid", [f"sid={TOKEN}; HttpOnly"])]
)
def test_a_cookie_that_holds_the_token_reaches_no_script_and_raises_no_alarm(
    start_with: Start, upstream: Upstream, tmp_path: Path, forwarded: str, seen: list[str]
) -> None:
    upstream.respond = log_in
    mitmdump = start_with(
        *BEARER, "cookie_auth_leak=block", f"cookie_auth_forward_cookies={forwarded}"
    )
    got = mitmdump.client.get("/echo/cookie", cookie=f"auth-token={TOKEN}")
    assert (got.status, got.set_cookies) == (200, seen)
    mitmdump.stop()
    assert "holds a token" not in mitmdump.log
    assert [flow.marked for flow in saved(tmp_path)] == [":lock:"]


def test_a_graphql_answer_that_repeats_the_token_in_a_header_raises_the_alarm_as_well(
    start_with: Start, upstream: Upstream
) -> None:
    upstream.answers('{"data": {"me": 1}}', X_Echo="opaque-secret")
    mitmdump = start_with("cookie_auth_login=/graphql", "cookie_auth_token=/data/login/token")
    json_type = {"content_type": "application/json"}
    body = '{"query": "{ me }"}'
    cookie = "auth-token=opaque-secret"
    got = mitmdump.client.post("/graphql", None, body, cookie=cookie, **json_type)
    assert got.status == 200
    assert upstream.last.one("auth-token") == "opaque-secret"
    mitmdump.wait_for_log("POST /graphql: the API's answer holds a token in its header X-Echo")


@pytest.mark.parametrize(
    ("body", "headers", "alarm"),
    [
        ({"error": "locked", "refreshToken": "abc"}, {}, True),
        ({"error": f"old token {TOKEN}"}, {}, True),
        ({"error": "wrong"}, {"X_Auth_Token": "abc"}, True),
        ({"error": "wrong", "token": None}, {}, False),
        (f"<p>Your old token {TOKEN} is over", {}, True),
        ("<p>Your old token is over", {}, False),
    ],
)
def test_a_failed_login_that_seems_to_hold_a_token_raises_the_alarm(
    start_with: Start,
    upstream: Upstream,
    tmp_path: Path,
    body: object,
    headers: dict[str, str],
    alarm: bool,
) -> None:
    upstream.answers(body if isinstance(body, str) else json.dumps(body), 401, **headers)
    mitmdump = start_with()
    assert mitmdump.client.post("/login").status == 401
    mitmdump.stop()
    (flow,) = saved(tmp_path)
    assert (flow.marked == ":rotating_light:") is alarm
    assert ("holds a token" in mitmdump.log) is alarm


def test_an_answer_to_options_on_a_login_path_raises_the_alarm_as_well(
    start_with: Start, upstream: Upstream
) -> None:
    upstream.answers("{}", X_Auth_Token="abc")
    mitmdump = start_with()
    assert mitmdump.client.request("OPTIONS", "/login").status == 200
    mitmdump.wait_for_log(
        "OPTIONS /login: the API's answer holds a token in its header X-Auth-Token"
    )


# Redaction


@pytest.mark.parametrize("options", [(), (SECRET,)], ids=["plain", "sealed"])
def test_redacted_flows_hold_no_token_wherever_they_are_saved(
    start_with: Start,
    upstream: Upstream,
    tmp_path: Path,
    frontend: Upstream,  # noqa: F811
    options: tuple[str, ...],
) -> None:
    upstream.respond = accounts = Accounts(lambda n: f"token-number-{n}")
    refresh_tokens = []
    mitmdump = start_with(
        "cookie_auth_redact=true",
        "cookie_auth_refresh=/refresh",
        "cookie_auth_logout_upstream=true",
        "cookie_auth_prefix=/api",
        f"cookie_auth_frontend=http://[::1]:{frontend.port}",
        *options,
    )
    browser = Browser(mitmdump.client)
    assert browser.request("POST", "/api/login").body == b'{"loggedIn": true}'
    refresh_tokens.append(accounts.refresh_token)
    values = list(browser.cookies.values())
    assert browser.request("GET", "/api/me", x_ask="1").status == 200
    assert upstream.last.one("auth-token") == "token-number-1"
    accounts.token = "token of another time"
    assert browser.request("GET", "/api/me", x_ask="1").status == 200
    refresh_tokens.append(accounts.refresh_token)
    values += browser.cookies.values()
    assert upstream.last.one("auth-token") == "token-number-2"
    assert json.loads(accounts.refreshes[0].body) == {"refreshToken": refresh_tokens[0]}
    browser.request("GET", "/page")
    assert browser.cookies["auth-token"] in (frontend.last.one("cookie") or "")
    browser.request("POST", "/api/logout")
    mitmdump.stop()
    assert len(saved(tmp_path)) == 7
    secrets = {*values, *refresh_tokens, "token-number-1", "token-number-2"}
    for name in ("flows", "all.har", "asking.py.har", "asking.py.json"):
        data = (tmp_path / name).read_bytes()
        assert data
        for secret in secrets:
            for form in (secret, json.dumps(secret)[1:-1]):
                assert form.encode() not in data, name
    assert not [secret for secret in secrets if secret in mitmdump.log]


@pytest.mark.parametrize("path", ["/echo", "/echo/gzip", "/echo/location", "/echo/cookie"])
def test_an_answer_that_repeats_the_token_is_recorded_without_it(
    start_with: Start, upstream: Upstream, tmp_path: Path, path: str
) -> None:
    upstream.respond = log_in
    mitmdump = start_with(*BEARER, "cookie_auth_redact=true", "cookie_auth_forward_cookies=*")
    got = mitmdump.client.get(path, cookie=f"auth-token={TOKEN}")
    shown = gzip.decompress(got.body) if path == "/echo/gzip" else str(got).encode()
    assert TOKEN.encode() in shown
    mitmdump.stop()
    (flow,) = saved(tmp_path)
    assert flow.response
    recorded = (tmp_path / "flows").read_bytes()
    assert TOKEN.encode() not in recorded
    assert gzip.compress(TOKEN.encode())[10:] not in recorded
    assert len(flow.response.raw_content or b"") == len(got.body)


def test_a_token_that_the_page_sends_itself_is_recorded_redacted_too(
    start_with: Start, upstream: Upstream, tmp_path: Path
) -> None:
    mitmdump = start_with("cookie_auth_redact=true")
    for _ in range(2):
        assert mitmdump.client.get("/me", auth_token="a-secret-token", x_ask="1").status == 200
        assert upstream.last.one("auth-token") == "a-secret-token"
    mitmdump.stop()
    for name in ("flows", "all.har", "asking.py.har", "asking.py.json"):
        assert b"a-secret-token" not in (tmp_path / name).read_bytes(), name


def test_a_request_that_is_under_way_when_mitmproxy_ends_is_saved_redacted(
    start_with: Start, upstream: Upstream, tmp_path: Path
) -> None:
    mitmdump = start_with("cookie_auth_redact=true")
    client = mitmdump.client

    def respond(request: Message) -> bytes:
        mitmdump.stop()
        return answer("{}")

    upstream.respond = respond
    with pytest.raises((h11.RemoteProtocolError, AssertionError, OSError)):
        client.get("/me", cookie="auth-token=a-secret-token")
    assert upstream.last.one("auth-token") == "a-secret-token"
    assert b"a-secret-token" not in (tmp_path / "flows").read_bytes()


# Start-up


def test_start_up_is_told_in_five_lines_at_most(start_with: Start, upstream: Upstream) -> None:
    mitmdump = start_with(*BEARER, "cookie_auth_prefix=/api")
    port = mitmdump.client.port
    mitmdump.wait_for_log("Authorization: Bearer")
    lines = mitmdump.log.splitlines()
    ours = lines[next(i for i, line in enumerate(lines) if "listening at" in line) + 1 :]
    assert [re.sub(r"^\[[\d:.]+\] ", "", line) for line in ours] == [
        f"cookie-auth: open http://localhost:{port} for {upstream.url}",
        "login: /api/login; logout: /api/logout",
        "cookie auth-token → header Authorization: Bearer {token}",
    ]


@pytest.mark.parametrize(
    ("listener", "pages", "web", "expected"),
    [
        (("127.0.0.1", 8080, "https", "api.test", 443), None, None, []),
        (("", 8080, "https", "api.test", 443), None, None, ["listens on all interfaces"]),
        (("0.0.0.0", 8080, "http", "::1", 80), None, None, ["listens on 0.0.0.0"]),
        (("::1", 8080, "http", "api.test", 80), None, None, ["http://api.test in clear text"]),
        (("localhost", 8080, "http", "localhost", 80), None, "11.0.2", ["mitmweb 11.0.2"]),
        (("localhost", 8080, "http", "localhost", 80), None, "12.2.3", []),
        # Front end and API on one server
        (("::1", 8080, "http", "::1", 80), "http://localhost:3000", None, []),
        (("::1", 8080, "http", "::1", 80), "http://localhost", None, ["are both http://[::1]"]),
        (("::1", 8080, "https", "a.test", 443), "https://b.test", None, []),
        (
            ("::1", 8080, "https", "a.test", 443),
            "https://a.test",
            None,
            ["are both https://a.test"],
        ),
    ],
)
def test_what_may_be_a_danger_is_warned_of(
    listener: tuple[Any, ...], pages: str | None, web: str | None, expected: list[str]
) -> None:
    host, port, *api = listener
    frontend_origin = Origin.parse(pages) if pages else None
    found = start.warnings([start.Listener(host, port, Origin.of(*api))], frontend_origin, web)
    assert len(found) == len(expected)
    for text, part in zip(found, expected, strict=True):
        assert part in text


def test_flows_that_the_addon_has_not_seen_are_said_to_be_so() -> None:
    flow = tflow.tflow()
    assert list(view.lines(flow, "", "auth-token", None)) == ["cookie-auth has not seen this flow."]
