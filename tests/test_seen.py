"""What one sees: mitmweb's list and search, how lines fit a laptop, and what is not made unseen."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from exchanges import notes
from exchanges.settings import OPTIONS, Settings
from inspection import mitmweb, onlookers, report, start, view
from inspection.inspector import Inspector
from mitmproxy import flowfilter, http, options, version
from mitmproxy.test import tflow
from mitmproxy.tools.dump import DumpMaster
from origins.origin import Origin
from playwright.sync_api import Browser, Page, expect
from support import ADDON, ROOT, Client, Upstream, answer, can_connect, eventually, free_port
from test_jar import SETTINGS, jwt
from test_properties import proxy_of

README = (ROOT / "README.md").read_text()
FILTERS = re.findall(r"^\| `([^`]*~[^`]*)` \|", README, re.MULTILINE)


def flow_of(kind: str, target: str = "/me", **noted: object) -> http.HTTPFlow:
    """A flow with an answer, of which this was noted."""
    flow = tflow.tflow(resp=True)
    received = {"method": "GET", "target": target, "authority": "", "gone": []}
    flow.metadata |= {notes.KIND: kind, notes.TRUSTED: True, notes.RECEIVED: received}
    flow.metadata |= noted
    return flow


# mitmweb, with a front end


@pytest.fixture
def seen(
    upstream: Upstream, tmp_path: Path, browser: Browser
) -> Iterator[tuple[Callable[[], str], Client, Page]]:
    """`run.sh --web` before an API and a front end: its log, the proxy, and a page at the address
    that mitmweb opens, with some flows in it.
    """
    frontend = Upstream("::1")
    frontend.answers("export {}", Content_Type="text/javascript")
    upstream.respond = lambda request: answer(
        json.dumps({"access_token": jwt({"sub": "1"})} if request.target == "/sign-in" else {})
    )
    # What mitmweb tries first, where there is a desktop; it notes the address.
    opened, opener = tmp_path / "opened", tmp_path / "bin" / "gio"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\nfor address; do :; done\necho "$address" >{opened}\n')
    opener.chmod(0o755)
    port, web_port = free_port(), free_port()
    arguments = f"--frontend http://[::1]:{frontend.port} -p {port} --web-port {web_port}"
    process = subprocess.Popen(
        [str(ROOT / "run.sh"), "--web", upstream.url, *arguments.split()],
        env={
            **os.environ,
            **{"VENV": sys.prefix, "HOME": str(tmp_path), "DISPLAY": ":0"},
            "PATH": f"{opener.parent}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines: list[str] = []

    def read() -> None:
        assert process.stdout
        lines.extend(iter(process.stdout.readline, ""))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert eventually(lambda: can_connect(port) and can_connect(web_port) and opened.exists())
        client = Client(port)
        for number in range(30):
            assert client.get(f"/src/module{number}.js").status == 200
        client.post(
            "/api/sign-in",
            body='{"password": "x"}',
            content_type="application/json",
            sec_fetch_site="same-origin",
        )
        client.get("/api/orders")
        with browser.new_context() as context:
            context.set_default_timeout(20_000)
            page = context.new_page()
            page.goto(opened.read_text().strip())
            yield lambda: "".join(lines), client, page
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(20)
        reader.join(20)
        frontend.close()


def test_mitmweb_opens_with_the_apis_flows_and_finds_the_browsers_paths(
    seen: tuple[Callable[[], str], Client, Page], upstream: Upstream
) -> None:
    log, client, page = seen
    line = rf"cookie-auth: open http://localhost:{client.port} for {upstream.url}; front end: http"
    assert re.search(line, log())
    assert f"mitmweb: {mitmweb.ONLY_THE_APIS} in Search" in log()
    rows = page.locator(".flow-table tbody tr:has(td.col-path)")
    search = page.get_by_placeholder("Search")
    expect(search).to_have_value(mitmweb.ONLY_THE_APIS)
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("/api/sign-in: login: token")
    expect(rows.nth(1)).to_contain_text("/api/orders: without a token")

    search.fill("~comment /api/orders")
    expect(rows).to_have_count(1)
    search.fill("")
    expect(rows).not_to_have_count(1)  # the list is as long as the screen
    if version.VERSION.startswith("11."):
        return  # it searches in the page
    search.fill("/api/orders")
    expect(rows).to_have_count(1)
    search.fill("/orders")
    expect(rows).to_have_count(1)
    search.fill("orders | ~c 404")
    expect(rows).to_have_count(1)


@pytest.mark.parametrize(
    ("typed", "searched"),
    [
        ("/api/me", '~u "/api/me" | ~comment "/api/me"'),
        ("refused", '~u "refused" | ~comment "refused"'),
        ("", ""),
        ("two words", "two words"),
        ("!/api", "!/api"),
        ("~c 404", "~c 404"),
        ("a|b", "a|b"),
        (r"me\d", r"me\d"),
        ('"', '"'),
    ],
)
def test_a_plain_word_is_searched_in_comments_too(typed: str, searched: str) -> None:
    assert mitmweb.with_comments(typed) == searched
    assert mitmweb.with_comments(searched) == searched


def test_a_plain_word_finds_the_flow_by_either_path() -> None:
    flow = flow_of("api", "/api/me")
    flow.request.path, flow.comment = "/v1/me", "/api/me: without a token: no auth cookie"
    for word in ("/api/me", "/v1/me", "without"):
        assert flowfilter.match(mitmweb.with_comments(word), flow)
    assert not flowfilter.match(mitmweb.with_comments("/orders"), flow)


@pytest.mark.parametrize(
    ("given", "shown"), [(None, mitmweb.COLUMNS), (["path", "status"], ["path", "status"])]
)
def test_the_list_has_comments_unless_its_columns_were_chosen(
    given: list[str] | None, shown: list[str]
) -> None:
    chosen = options.Options()
    mitmweb.show_comments(chosen)  # mitmdump has no such option
    chosen.add_option("web_columns", Sequence[str], ["path"], "")
    if given:
        chosen.update(web_columns=given)
    mitmweb.show_comments(chosen)
    assert chosen.web_columns == shown


def test_mitmwebs_functions_are_replaced_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class ClientConnection:
        def update_filter(self, name: str, expr: str) -> None:
            asked.append(f"{name} {expr}")

    def open_browser(url: str) -> bool:
        asked.append(url)
        return True

    webaddons, app = ModuleType("webaddons"), ModuleType("app")
    vars(webaddons)["open_browser"] = open_browser
    vars(app)["ClientConnection"] = ClientConnection
    monkeypatch.setitem(sys.modules, "mitmproxy.tools.web.webaddons", webaddons)
    monkeypatch.setitem(sys.modules, "mitmproxy.tools.web.app", app)
    first = iter([mitmweb.ONLY_THE_APIS, ""])
    withdrawals = [mitmweb.begin_with(lambda: next(first)), mitmweb.search_comments()]
    assert webaddons.open_browser("http://localhost:8081/?token=1")
    assert webaddons.open_browser("http://localhost:8081/")
    ClientConnection().update_filter("search", "/me")
    for withdraw in withdrawals:
        withdraw()
    assert webaddons.open_browser("http://localhost:8081/")
    ClientConnection().update_filter("search", "/me")
    assert asked == [
        "http://localhost:8081/?token=1#/flows?s=%21~comment%20%22front%20end%22",
        "http://localhost:8081/",
        'search ~u "/me" | ~comment "/me"',
        "http://localhost:8081/",
        "search /me",
    ]


def test_without_mitmweb_nothing_of_it_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("webaddons", "app"):
        monkeypatch.setitem(sys.modules, f"mitmproxy.tools.web.{name}", None)
    mitmweb.begin_with(str)()
    mitmweb.search_comments()()


# Comments and filters


@pytest.mark.parametrize(
    ("pattern", "comment"),
    [
        ('!~comment "front end"', "/api/me: without a token: no auth cookie"),
        ("~comment /api/me", "/api/me: without a token: no auth cookie"),
        ('~comment "login: token"', "/login: login: token (9 bytes) → cookie auth-token"),
        ("~comment refused", "/me: refused: cross_origin: A page of another origin may not do it"),
        ("~comment logout", "/x: logout by the page; stand-in → token in Authorization"),
        ('~comment "without a token"', "/me: without a token: from a page of another origin"),
        ('~comment "stand-ins given"', "/x: login: token (9 bytes); stand-ins given for /token"),
        ('~comment "token in"', "/me: stand-in → token in Authorization"),
        ('~comment "cookie .* header"', "/me: cookie auth-token → header Authorization"),
        ('~comment "kept back: .*theme"', "/me: x; 2 cookies kept back: _ga, theme"),
    ],
)
def test_the_readmes_filters_find_comments(pattern: str, comment: str) -> None:
    assert pattern in FILTERS
    flow = flow_of("api")
    flow.comment = comment
    assert flowfilter.match(pattern, flow)
    flow.comment = "/src/main.js: for the front end, as it came"
    assert not flowfilter.match(pattern, flow)


def test_the_readmes_filters_are_known_to_mitmwebs_search_box() -> None:
    # It knows no `~meta`, and in mitmweb 11 `~marker` looks at the emoji.
    assert len(FILTERS) == 10
    assert all("~comment" in pattern for pattern in FILTERS)


def test_a_front_end_that_is_down_is_not_among_the_apis_flows(
    seen_by: Callable[..., http.HTTPFlow],
) -> None:
    down = ["upstream_unreachable", "No answer from http://localhost:5173. Is it running?"]
    told = "refused: upstream_unreachable: No answer from http://localhost:5173"
    flow = seen_by("/ping", down)
    assert flow.comment == f"/ping: for the front end; {told}"
    assert not flowfilter.match(mitmweb.ONLY_THE_APIS, flow)
    assert seen_by("/api/me", down).comment == f"/api/me: {told}"
    assert "front end" not in seen_by("/ping", ["host_not_allowed", "x"]).comment


@pytest.fixture
def seen_by() -> Callable[..., http.HTTPFlow]:
    """A flow of this path that was refused so, with its comment, where there is a front end."""
    frontend = Origin.parse("http://localhost:5173")
    paths = replace(SETTINGS.paths, prefix="/api", frontend=frontend)

    def seen_by(path: str, refusal: list[str]) -> http.HTTPFlow:
        flow = flow_of("refused", path, **{notes.REFUSAL: refusal})
        flow.comment = report.comment(flow, replace(SETTINGS, paths=paths))
        return flow

    return seen_by


# The content view


def test_the_view_shows_what_the_page_got_and_no_long_value() -> None:
    flow = flow_of("api")
    standin = "stand-m" + "x" * 36
    body = {"access_token": standin, "ids": ["k" * 21, 7], "email": "a@example.com"}
    flow.response = http.Response.make(200, json.dumps(body), {"Content-Type": "application/json"})
    flow.response.headers.add("Set-Cookie", f"sid={'s' * 30}; Path=/; HttpOnly")
    lines = list(view.lines(flow, "what was done", "auth-token", None))
    at = lines.index("The page got")
    assert lines[at + 1] == "HTTP/1.1 200 OK"
    assert "Set-Cookie: sid=(30 bytes); Path=/; HttpOnly" in lines
    shown = json.loads("".join(lines[lines.index("{") :]))
    assert shown == {
        "access_token": "(stand-in, 43 bytes)",
        "ids": ["(21 bytes)", 7],
        "email": "a@example.com",
    }


@pytest.mark.parametrize(
    ("body", "kind", "last"),
    [
        (b"<p>" * 40, "text/html; charset=utf-8", "(120 bytes of text/html)"),
        (b"[1", "application/json", "(2 bytes of application/json)"),
        (b"[" * 9999, "application/json", "(9999 bytes of application/json)"),
        (b"\xff\x00", "", "(2 bytes)"),
        (b'"' + b"x" * 20_000 + b'"', "application/json", "(20002 bytes of application/json)"),
        (json.dumps(list(range(99))).encode(), "application/json", "…"),
        (b"", "application/json", "content-length: 0"),
    ],
)
def test_other_bodies_are_named_by_their_size(body: bytes, kind: str, last: str) -> None:
    flow = flow_of("api")
    flow.response = http.Response.make(200, body, {"Content-Type": kind})
    *_, shown = view.lines(flow, "", "auth-token", None)
    assert shown == last


def test_a_refusal_is_shown_whole() -> None:
    flow = flow_of("refused", cookie_auth_refusal=["bad_request", "x"])
    message = "This sentence is the proxy's own, and is longer than a value."
    flow.response = http.Response.make(400, json.dumps({"message": message}))
    text = " ".join(" ".join(view.lines(flow, "", "auth-token", None)).split())
    assert "| (nothing)" in text
    assert message in text


def test_the_view_fits_beside_the_list_on_a_laptop() -> None:
    flow = flow_of("api", "/api/" + "a" * 200)
    flow.server_conn.timestamp_start = 1.0
    for name in ("Referer", "User-Agent", "X-Long"):
        flow.request.headers[name] = "word " * 9 + "w" * 99
    flow.metadata[notes.RECEIVED]["gone"] = [("Cookie", "a=(9 bytes); " * 12), ("Host", "x" * 90)]
    flow.response = http.Response.make(200, json.dumps({"k" * 90: 1}), {"X": "y" * 200})
    token = jwt({"sub": "s" * 200})
    lines = list(view.lines(flow, "comment " * 30, "auth-token", token))
    assert max(map(len, lines)) <= view.WIDEST
    assert any(line.startswith("unchanged: ") for line in lines)


def test_the_view_tells_a_front_end_from_the_api() -> None:
    text = "\n".join(view.lines(flow_of("frontend"), "", "auth-token", None))
    assert "The front end got" in text
    assert "The API got" not in text


# What is not made when nobody looks


@pytest.mark.parametrize(
    ("given", "looks"),
    [
        ({}, False),
        ({"scripts": [str(ADDON), str(ADDON.with_name("fast_dispatch.py"))]}, False),
        ({"scripts": [str(ADDON), __file__]}, True),
        ({"scripts": []}, True),
        ({"save_stream_file": "flows"}, True),
        ({"hardump": "all.har"}, False),
        ({"dumper_filter": "~comment refused"}, True),
        ({"modify_headers": ["/~marked/x/y"]}, True),
        ({"dumper_filter": "~c 401"}, False),
    ],
)
def test_marks_and_comments_are_made_where_somebody_may_look(
    given: dict[str, Any], looks: bool
) -> None:
    chosen = options.Options()
    for name in ("scripts", "modify_headers"):
        chosen.add_option(name, Sequence[str], [], "")
    for name in ("save_stream_file", "hardump", "dumper_filter"):
        chosen.add_option(name, str, "", "")
    chosen.update(**{"scripts": [str(ADDON)], **given})
    mitmdump = DumpMaster.__new__(DumpMaster)
    assert onlookers.may_look(mitmdump, chosen) is looks
    assert onlookers.may_look(object(), chosen)  # mitmweb, the console, or a program of one's own


def test_what_nobody_sees_is_made_when_it_is_asked_for() -> None:
    inspector = Inspector(proxy_of(SETTINGS))
    flow = flow_of("frontend", "/main.js")
    inspector.is_watched = False
    inspector.requestheaders(flow)
    inspector.response(flow)
    assert (flow.marked, flow.comment) == ("", "")
    asked = "/main.js: for the front end, as it came"
    assert inspector.view_text(flow).startswith(asked)
    assert f"so: {asked}" in inspector.explain(flow)
    inspector.is_watched = True
    inspector.requestheaders(flow)
    assert flow.comment == asked


# Start-up


@pytest.mark.parametrize(
    ("frontend", "told"),
    [
        (None, "cookie-auth: open http://localhost:8080 for https://api.test"),
        (
            "http://localhost:5173",
            "cookie-auth: open http://localhost:8080 for https://api.test;"
            " front end: http://localhost:5173",
        ),
    ],
)
def test_start_up_names_the_front_end(frontend: str | None, told: str) -> None:
    paths = replace(SETTINGS.paths, frontend=Origin.parse(frontend) if frontend else None)
    listener = start.Listener("127.0.0.1", 8080, Origin.of("https", "api.test", 443))
    lines = start.summary(replace(SETTINGS, paths=paths), [listener])
    assert lines[0] == told


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (
            {},
            [
                'answers to /login: replaced by {"loggedIn": true}',
                "other answers with tokens: with stand-ins for them",
                "cookie: until the browser closes (30 days where the page holds stand-ins),"
                " SameSite=Lax, Secure on TLS, in clear",
                "recorded flows: with tokens",
            ],
        ),
        (
            {
                "cookie_auth_login": ["/a", "/b"],
                "cookie_auth_login_body": "stand-in",
                "cookie_auth_leak": "block",
                "cookie_auth_max_age": "60",
                "cookie_auth_redact": True,
            },
            [
                "answers to /a, /b: with stand-ins for their tokens",
                "other answers with tokens: refused",
                "cookie: for 60 s, SameSite=Lax, Secure on TLS, in clear",
                "recorded flows: without tokens",
            ],
        ),
    ],
)
def test_status_says_what_pages_get(given: dict[str, Any], lines: list[str]) -> None:
    values = {option.name: option.default for option in OPTIONS} | given
    settings = Settings.parse(values, {}, set(given))
    told = start.described(settings)
    assert set(lines) <= set(told)
