"""Headers that the API gets with each request: its key, and the gate of a staging server."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from exchanges.settings import OPTIONS, Settings
from page import Page
from profiles.reading import Profile
from settings.option import InvalidOption
from support import (
    ADDON,
    Client,
    Message,
    Mitmdump,
    Upstream,
    answer,
    eventually,
    free_port,
    running,
)
from test_profile import ASKING

Start = Callable[..., Mitmdump]

KEY = "key-0123456789-abcdef"
BASIC = "c3RhZ2luZzpsZXQtbWUtaW4="
GATE = f"Basic {BASIC}"
TEXT = """
header:
  rule: X-Auth-Token
  fixed:
  - {name: X-Api-Key, env: SHOP_API_KEY}
  - {name: Authorization, file: GATE}
refresh: {rule: /refresh}
"""


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOP_API_KEY", f"{KEY}\n")
    (tmp_path / "gate").write_text(f"{GATE}\r\n")
    file = tmp_path / "shop.yaml"
    file.write_text(TEXT.replace("GATE", str(tmp_path / "gate")))
    return file


@pytest.fixture
def shop(start: Start, profile: Path) -> Callable[..., Mitmdump]:
    def shop(*options: str, more: tuple[str, ...] = (), **kwargs: Any) -> Mitmdump:
        options = (f"cookie_auth_profile={profile}", *options)
        settings = [part for option in options for part in ("--set", option)]
        return start(*settings, *more, **kwargs)

    return shop


def api(request: Message) -> bytes:
    """Behind a gate, for clients with a key; each answer tells what was asked with."""
    if request.one("authorization") != GATE or request.one("x-api-key") != KEY:
        return answer('{"error": "who asks?"}', 401)
    if request.target in ("/login", "/refresh"):
        pair = {"authToken": f"token-of{request.target}", "refreshToken": "refresh-0123456789"}
        return answer(json.dumps({**pair, "apiKey": KEY, "asked": dict(request.headers)}))
    if request.target == "/me" and request.one("x-auth-token") == "token-of/login":
        return answer("{}", 401)
    return answer(json.dumps({"asked": dict(request.headers)}), headers=[("X-Asked-With", KEY)])


def values(request: Message) -> tuple[list[str], list[str]]:
    return request.all("x-api-key"), request.all("authorization")


def test_every_request_of_a_trusted_page_has_them_and_none_of_another(
    shop: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    upstream.respond = api
    mitmdump = shop("cookie_auth_logout_upstream=true")
    page = Page(mitmdump.client)
    assert page.post("/login").body == b'{"loggedIn": true}'
    assert page.get("/me").status == 200  # renewed, and asked once more
    assert page.post("/upload", "x" * 2_000_000).status == 200
    own = {"X-Api-Key": "mine", "x_api_key": "mine", "authorization": "Bearer mine"}
    assert page.request("GET", "/own", list(own.items())).status == 200
    assert page.post("/refresh").status == 200  # answered by the proxy, which asks the API
    assert page.post("/logout").body == b'{"loggedIn": false, "upstream": "done"}'
    targets = [request.target for request in upstream.received]
    assert targets[:4] == ["/login", "/me", "/refresh", "/me"]
    assert targets[4:] == ["/upload", "/own", "/refresh", "/logout"]
    for request in upstream.received:
        assert values(request) == ([KEY], [GATE])
        assert request.all("x_api_key") == []
    page.request("GET", "/foreign", [*own.items()], sec_fetch_site="same-site")
    assert values(upstream.last) == ([], [])
    assert upstream.last.all("x_api_key") == []
    assert KEY not in mitmdump.log
    assert BASIC not in mitmdump.log
    mitmdump.wait_for_log(r"SHOP_API_KEY → header X-Api-Key")
    mitmdump.wait_for_log(r"widens trust: header\.fixed \(\{name: X-Api-Key, env: SHOP_API_KEY\}")


def test_a_login_with_a_bad_cookie_has_them(
    shop: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    upstream.respond = api
    client = shop().client
    got = client.post("/login", content_type="application/json", cookie="auth-token.1=x")
    assert got.body == b'{"loggedIn": true}'
    assert values(upstream.last) == ([KEY], [GATE])


def test_a_websocket_opens_with_them_and_hides_them_in_messages(
    shop: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    text = f"{KEY} {BASIC}".encode()
    head = b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    message = bytes([0x81, len(text)]) + text
    upstream.respond = lambda request: iter([head, message, b"\x88\x00"])
    client = shop().client
    got = client.raw(
        f"GET /socket HTTP/1.1\r\nHost: localhost:{client.port}\r\nConnection: Upgrade\r\n"
        f"Origin: http://localhost:{client.port}\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert values(upstream.last) == ([KEY], [GATE])
    assert got.endswith(b"... ...\x88\x00")


def streamed(request: Message) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
    yield f"<{KEY[:9]}".encode()
    yield f"{KEY[9:]}><{BASIC}>".encode()


@pytest.mark.parametrize("who", ["page", "script"])
def test_what_an_answer_repeats_of_them_no_page_sees(
    shop: Callable[..., Mitmdump], upstream: Upstream, who: str
) -> None:
    upstream.respond = api
    client = shop("cookie_auth_login_body=redact").client
    asks: Page | Client = Page(client) if who == "page" else client
    got = asks.post("/login", body='{"password": "x"}')
    asked = json.loads(got.body)["asked"]
    assert (asked["x-api-key"], asked["authorization"]) == ("...", "Basic ...")
    assert KEY not in str(got.headers)
    got = asks.get("/echo")
    asked = json.loads(got.body)["asked"]
    assert (asked["x-api-key"], asked["authorization"]) == ("...", "Basic ...")
    assert got.one("x-asked-with") == "..."
    # What takes itself for a login, and is none that is listed
    got = asks.post("/auth/sign-in", body='{"password": "x"}')
    assert json.loads(got.body)["asked"]["x-api-key"] == "..."
    assert KEY not in str(got)
    upstream.respond = streamed
    assert asks.get("/stream").body == b"<...><...>"


def test_with_block_the_answer_is_refused_and_with_warn_it_is_told(
    shop: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    upstream.respond = api
    page = Page(shop("cookie_auth_leak=block").client)
    for got in (page.get("/echo"), page.post("/login")):
        assert got.status == 502
        assert json.loads(got.body)["error"] == "token_leak"
        assert KEY not in str(got)
        assert "auth-token" not in page.cookies
    mitmdump = shop("cookie_auth_leak=warn")
    page = Page(mitmdump.client)
    assert json.loads(page.get("/echo").body)["asked"]["x-api-key"] == KEY
    mitmdump.wait_for_log(r"GET /echo: the API's answer holds a token in its header X-Asked-With")


def test_a_stand_in_under_the_same_name_is_told_of(
    shop: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    token = "an-access-token-0123456789"
    upstream.respond = lambda request: answer(json.dumps({"access_token": token}))
    mitmdump = shop()
    page = Page(mitmdump.client)
    stand_in = json.loads(page.post("/auth/sign-in", '{"password": "x"}').body)["access_token"]
    page.get("/me", authorization=f"Bearer {stand_in}")
    assert values(upstream.last) == ([KEY], [GATE])
    mitmdump.wait_for_log(r"a page sends its token in Authorization, and header\.fixed")


def test_nothing_of_them_is_recorded_with_redact_nor_shown_or_saved_without(
    shop: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = api
    script = tmp_path / "asking.py"
    script.write_text(ASKING)
    flows = tmp_path / "flows"
    mitmdump = shop("cookie_auth_redact=true", more=("-w", str(flows)))
    page = Page(mitmdump.client)
    page.post("/login")
    page.get("/me")
    page.get("/echo")
    page.post("/refresh")
    assert values(upstream.last) == ([KEY], [GATE])
    mitmdump.stop()
    recorded = flows.read_bytes()
    assert b"/echo" in recorded
    assert KEY.encode() not in recorded
    assert BASIC.encode() not in recorded

    mitmdump = shop(scripts=(ADDON, script))
    upstream.respond = lambda request: answer("{}")
    client = mitmdump.client
    client.get("/me", x_api_key="of the browser's own")
    client.get("/", x_ask="cookie_auth.profile")
    told = upstream.last.one("x-told") or ""
    assert "{name: X-Api-Key, env: SHOP_API_KEY}" in told
    file = tmp_path / "saved.yaml"
    client.get("/", x_ask=f"cookie_auth.profile {file}")
    assert "fixed:" in file.read_text()
    for text in (told, file.read_text(), mitmdump.log):
        assert KEY not in text
        assert BASIC not in text


ASKING_OF_FLOWS = """
from mitmproxy import ctx

class AsksOfFlows:
    def response(self, flow):
        for what in ("explain", "curl"):
            for line in ctx.master.commands.call(f"cookie_auth.{what}", flow):
                print(f"{what}: {line}", flush=True)
        view = ctx.master.addons.get("cookieauth").inspector.view_text(flow)
        print(f"view: {view!r}", flush=True)

addons = [AsksOfFlows()]
"""


def test_what_is_told_of_a_flow_names_them_only(
    shop: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    script = tmp_path / "asks.py"
    script.write_text(ASKING_OF_FLOWS)
    mitmdump = shop(scripts=(ADDON, script))
    mitmdump.client.get("/me", [("X-Api-Key", "of-the-browsers-own")])
    assert values(upstream.last) == ([KEY], [GATE])
    mitmdump.wait_for_log("explain: further headers: X-Api-Key, Authorization")
    mitmdump.wait_for_log(r"""curl: .*'X-Api-Key: '"\$X_API_KEY"''""")
    mitmdump.wait_for_log(r"""curl: .*'Authorization: Basic '"\$AUTHORIZATION"''""")
    mitmdump.wait_for_log(r"view: .*X-Api-Key: \(19 bytes\) .*\| X-Api-Key: \(21 bytes\)")
    for value in (KEY, BASIC, "of-the-browsers-own"):
        assert value not in mitmdump.log


# Start-up


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ("{name: X-Api-Key, env: NOT_SET}", "a variable that is set, and NOT_SET, for X-Api-Key"),
        ("{name: X-Api-Key, env: EMPTY}", "a variable that is set"),
        ("{name: X-Api-Key, file: nowhere}", "and nowhere, for X-Api-Key: No such file"),
        ("{name: X-Api-Key, file: .}", "Is a directory"),
        ("{name: X-Api-Key, env: TWO_LINES}", "one line of visible ASCII, and that in TWO_LINES"),
        ("{name: X-Api-Key, env: UMLAUT}", "one line of visible ASCII"),
        ("{name: X-Api-Key, env: BLANK}", "one line of visible ASCII"),
        ("{name: X-Api-Key, value: hunter2-sekret}", "{name: …, env: …} or {name: …, file: …}"),
        ("{name: X-Api-Key, env: GOOD, file: x}", "{name: …, env: …} or"),
        ("{name: Cookie, env: GOOD}", "a header that is free"),
        ("{name: a b, env: GOOD}", "a name of letters"),
        ("{name: Auth_Token, env: GOOD}", "another header: Auth_Token is that of cookie_auth_hea"),
    ],
)  # fmt: skip
def test_a_wrong_one_is_told_in_one_line_without_its_value(table: str, hint: str) -> None:
    environ = {"GOOD": "x", "EMPTY": "", "TWO_LINES": "hunter2\nsekret", "BLANK": " sekret"}
    environ["UMLAUT"] = "sekret-ü"
    with pytest.raises(InvalidOption) as caught:
        parse(table, environ)
    text = str(caught.value)
    assert text.startswith("shop.yaml:3: header.fixed: … is wrong; it must be ")
    assert hint in text
    assert "sekret" not in text
    assert "\n" not in text


def parse(table: str, environ: dict[str, str]) -> Settings:
    return parse_profile(f"header:\n  fixed:\n  - {table}\n", environ)


def parse_profile(text: str, environ: dict[str, str]) -> Settings:
    profile = Profile.parse("shop.yaml", text.encode(), OPTIONS)
    resolved = profile.beneath({option.name: option.default for option in OPTIONS}, ())
    try:
        return Settings.parse(resolved.values, environ, resolved.given)
    except InvalidOption as error:
        raise profile.located(error, ()) from None


def test_one_header_twice_is_refused() -> None:
    with pytest.raises(InvalidOption, match="another header: x_key is there already"):
        parse("{name: X-Key, env: A}\n  - {name: x_key, env: A}", {"A": "value"})


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("refresh: {rule: /r, headers: ['X_Key: {refresh_token}']}", "one of refresh.headers"),
        ("logout: {headers: ['x-key: {refresh_token}']}", "one of logout.headers"),
        ("token: {more: [{from: /id, header: X-Key}]}", "one of token.more"),
    ],
)
def test_one_that_a_token_has_is_refused(option: str, said: str) -> None:
    text = f"{option}\nheader: {{fixed: [{{name: X-Key, env: A}}]}}\n"
    with pytest.raises(InvalidOption, match=f"another header: X-Key is {said}"):
        parse_profile(text, {"A": "value"})


def test_a_value_that_is_not_there_ends_start_up_in_one_line(
    start: Start, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_API_KEY")
    mitmdump = start("--set", f"cookie_auth_profile={profile}")
    assert mitmdump.exit_code() == 1
    assert "shop.yaml:5: header.fixed: … is wrong; it must be a variable that is set" in (
        mitmdump.log
    )
    assert "Traceback" not in mitmdump.log


def test_two_apis_do_not_share_them(start: Start, profile: Path) -> None:
    more = ("--mode", f"reverse:http://other.test@{free_port()}")
    mitmdump = start("--set", f"cookie_auth_profile={profile}", *more)
    assert mitmdump.exit_code() == 1
    assert "header.fixed: … is wrong; it must be left out with several --mode" in mitmdump.log


def test_a_logout_that_is_told_in_another_form_passes_the_gate(
    start: Start, profile: Path, upstream: Upstream
) -> None:
    more = "logout: {upstream_path: /end, body: 'token={token}'}\n"
    profile.write_text(profile.read_text() + more)
    upstream.respond = api
    mitmdump = start("--set", f"cookie_auth_profile={profile}")
    page = Page(mitmdump.client)
    page.post("/login")
    assert page.post("/logout").body == b'{"loggedIn": false, "upstream": "done"}'
    assert upstream.last.target == "/end"
    assert values(upstream.last) == ([KEY], [GATE])


def test_what_was_recorded_with_another_api_is_replayed_without_them(
    shop: Callable[..., Mitmdump], upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    flows, other = tmp_path / "flows", Upstream()
    for one in (other, upstream):
        with running(Mitmdump(one.url, "-w", str(flows), confdir=confdir, scripts=())) as recorder:
            recorder.client.get("/me")
        one.received.clear()
        shop(more=("-C", str(flows)))
        assert eventually(partial(bool, one.received))
    assert values(other.last) == ([], [])
    assert values(upstream.last) == ([KEY], [GATE])
    other.close()


@pytest.mark.parametrize(
    "text",
    [
        "header: {fixed: 'X-Key: sekret'}",
        "header: {fixed: ['X-Key: sekret']}",
        "header: {fixed: {X-Key: sekret}}",
        "refresh: {rule: /r, headers: 'X-Key: sekret'}",
        "refresh: {rule: /r, headers: ['X-Key: sekret', 'X-Token: {tokn}']}",
        "refresh: {rule: /r, headers: ['Host: sekret']}",
        "refresh: {rule: /r, body: client_secret=sekret}",
        "logout: {headers: ['X-Key: sekret {tokn}']}",
        "logout: {body: 'client_secret=sekret&t={tokn}'}",
    ],
)
def test_what_may_be_a_secret_in_a_profile_is_not_told_where_it_is_wrong(text: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_profile(text, {})
    assert str(caught.value).startswith("shop.yaml:1: ")
    assert "sekret" not in str(caught.value)
