"""The demo, foreign pages and hot reload in a real browser: Debian's Chromium."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect
from support import ADDON, SHORT_WAY, Client, Mitmdump, Upstream, answer, free_port, running


@pytest.fixture
def demo(confdir: Path) -> Iterator[str]:
    """The address of the running demo."""
    scripts = (ADDON, ADDON.parent / "demo" / "demo_api.py")
    with running(
        Mitmdump(f"http://127.0.0.1:{free_port()}", confdir=confdir, scripts=scripts)
    ) as mitmdump:
        yield f"http://localhost:{mitmdump.client.port}/"


def test_a_visit_leaves_no_error_in_the_console_and_cuts_no_text(
    context: BrowserContext, demo: str
) -> None:
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    for path in ("", "app.html"):
        page.goto(demo + path)
        expect(page.locator("#status")).to_have_text("Not logged in")
        expect(page.locator("#story")).to_contain_text("Nobody is logged in yet")
        cut = "[...document.querySelectorAll('pre')].filter(e => e.scrollWidth > e.clientWidth)"
        assert page.evaluate(f"{cut}.length") == 0
    assert told == []


STORAGE = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"


def test_the_demo_logs_in_stays_logged_in_and_logs_out(context: BrowserContext, demo: str) -> None:
    page = context.new_page()
    page.goto(demo)
    status = page.locator("#status")
    expect(status).to_have_text("Not logged in")
    page.get_by_role("button", name="Echo").click()
    expect(page.locator("#echoed")).to_have_text("refused")

    page.get_by_label("E-mail").fill("eve@example.com")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#answer")).to_contain_text("Invalid credentials")
    expect(status).to_have_text("Not logged in")

    page.get_by_label("E-mail").fill("admin@example.com")
    page.keyboard.press("Enter")
    expect(status).to_have_text("Logged in as admin@example.com")
    expect(page.locator("#cookie")).to_have_text("(empty)")
    expect(page.locator("#received")).to_contain_text("Auth-Token: (43 characters)")
    expect(page.locator("#received")).to_contain_text("Cookie: (none)")
    cookie, companion = sorted(context.cookies(), key=lambda cookie: cookie["name"])
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("auth-token", True, "Lax")
    assert (companion["name"], companion["httpOnly"]) == ("auth-token-login", True)
    assert json.loads(page.evaluate(STORAGE)) == [{}, {}, ""]
    assert cookie["value"] not in page.content()

    expect(page.locator("#events")).to_have_text("event 2")
    page.get_by_role("button", name="Echo").click()
    expect(page.locator("#echoed")).to_have_text("hello")

    page.reload()
    expect(status).to_have_text("Logged in as admin@example.com")
    second = context.new_page()
    second.goto(demo)
    expect(second.locator("#status")).to_have_text("Logged in as admin@example.com")
    second.get_by_role("button", name="Log out").click()
    expect(second.locator("#status")).to_have_text("Not logged in")
    page.get_by_role("button", name="Who am I?").click()
    expect(status).to_have_text("Not logged in")
    assert context.cookies() == []


def test_a_link_to_the_logout_path_logs_out_and_leads_back(
    context: BrowserContext, demo: str
) -> None:
    page = context.new_page()
    page.goto(demo)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#status")).to_contain_text("Logged in")
    page.evaluate("location.href = '/logout'")
    expect(page.locator("#status")).to_have_text("Not logged in")
    assert page.url == demo
    assert context.cookies() == []


def test_the_demos_app_that_knows_no_proxy_holds_stand_ins(
    context: BrowserContext, demo: str
) -> None:
    page = context.new_page()
    page.goto(demo)
    page.get_by_role("link", name="see one").click()
    status, stored = page.locator("#status"), page.locator("#stored")
    expect(status).to_have_text("Not logged in")
    page.get_by_label("E-mail").fill("eve@example.com")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#story")).to_contain_text("The API refused the login")
    page.get_by_label("E-mail").fill("admin@example.com")
    page.get_by_role("button", name="Log in").click()
    expect(status).to_have_text("Logged in as admin@example.com")
    expect(page.locator("#received")).to_contain_text("characters, signed by this API")
    expect(page.locator("#claims")).to_contain_text('"name": "Ada Admin"')
    expect(page.locator("#stored mark")).to_contain_text(["stand-", "stand-"])
    held = json.loads(page.evaluate("localStorage['demo-app.tokens']"))
    secrets = [held["access_token"].rpartition(".")[2], held["refresh_token"]]
    assert [len(secret) for secret in secrets] == [43, 43]
    first = stored.inner_text()

    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("#story")).to_contain_text("two new stand-ins")
    assert stored.inner_text() != first
    page.reload()
    expect(page.locator("#story")).to_contain_text("You were still logged in")
    page.get_by_role("button", name="Log out").click()
    expect(status).to_have_text("Not logged in")
    expect(stored).to_have_text("(empty)")
    assert context.cookies() == []


# Each gives the attacker's page something to see, or the text "blocked".
ATTACKS = {
    "fetch": "fetch(api + 'me', {credentials: 'include'}).then(r => r.text())",
    "fetch no-cors": "fetch(api + 'me', {credentials: 'include', mode: 'no-cors'})"
    ".then(r => r.text())",
    "fetch POST": "fetch(api + 'act', {method: 'POST', credentials: 'include', mode: 'no-cors'})"
    ".then(r => r.text())",
    "fetch PUT": "fetch(api + 'act', {method: 'PUT', credentials: 'include'}).then(r => r.text())",
    "logout": "fetch(api + 'logout', {credentials: 'include', mode: 'no-cors'})"
    ".then(r => r.text())",
    "login": "fetch(api + 'login', {credentials: 'include', mode: 'no-cors'}).then(r => r.text())",
    "script": "element('script', api + 'me').then(() => window.leaked || '')",
    "img": "element('img', api + 'logout').then(() => '')",
    "iframe": "element('iframe', api + 'me').then(frame => frame.contentDocument.body.innerText)",
    "form": "new Promise(done => { const frame = add('iframe', {name: 'target'});"
    " const form = add('form', {action: api + 'act', method: 'post', target: 'target'});"
    " frame.onload = () => done(frame.contentDocument?.body?.innerText || '');"
    " form.submit() })",
    "websocket": "new Promise((done, fail) => {"
    " const s = new WebSocket(api.replace('http', 'ws') + 'socket');"
    " s.onopen = () => done('open'); s.onerror = fail })",
    "events": "new Promise((done, fail) => {"
    " const s = new EventSource(api + 'me', {withCredentials: true});"
    " s.onmessage = e => done(e.data); s.onerror = fail })",
}

ATTACKER_PAGE = """<!doctype html><body><script>
const add = (tag, properties) => {
  const element = Object.assign(document.createElement(tag), properties)
  document.body.append(element)
  return element
}
const element = (tag, src) => new Promise((done, fail) => {
  const made = document.createElement(tag)
  made.onload = () => done(made)
  made.onerror = () => done(made)
  made.src = src
  document.body.append(made)
})
</script>"""


def log_in(context: BrowserContext, upstream: Upstream, url: str) -> None:
    """As a page of the proxy's own would."""
    respond = upstream.respond
    upstream.answers('{"authToken": "sekret"}')
    context.request.post(url, headers={"Sec-Fetch-Site": "same-origin"})
    upstream.respond = respond
    upstream.received.clear()


@pytest.fixture
def attacker() -> Upstream:
    """A page on another port of localhost: same site, other origin."""
    server = Upstream()
    server.answers(ATTACKER_PAGE, Content_Type="text/html")
    return server


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_page_on_another_port_gets_nothing_and_changes_nothing(
    context: BrowserContext, upstream: Upstream, proxy: Client, attacker: Upstream, attack: str
) -> None:
    api = f"http://localhost:{proxy.port}/"
    log_in(context, upstream, api + "login")
    secret = "window.leaked = 'data of the user'"
    upstream.respond = lambda request: (
        answer('{"authToken": "attackers"}', Access_Control_Allow_Origin="*")
        if request.target == "/login"
        else answer(
            secret if request.one("auth-token") == "sekret" else "'nobody'",
            Content_Type="text/javascript",
            Access_Control_Allow_Origin="*",
        )
    )
    page = context.new_page()
    page.goto(f"http://localhost:{attacker.port}/")
    assert page.evaluate("location.origin") != api.rstrip("/")
    attempt = "async api => { try { return await %s } catch { return 'blocked' } }"
    seen = page.evaluate(attempt % ATTACKS[attack], api)
    assert seen in ("", "blocked") or "data of the user" not in seen
    page.wait_for_timeout(200)
    assert page.evaluate("window.leaked") is None
    assert all(request.one("auth-token") is None for request in upstream.received)
    assert all(request.method in ("GET", "OPTIONS") for request in upstream.received)
    assert all("upgrade" not in dict(request.headers) for request in upstream.received)
    assert "sekret" in [cookie["value"] for cookie in context.cookies(api)]
    # The same page of the proxy's own origin is answered: the attack failed for the right reason.
    own = context.new_page()
    own.goto(api + "me")
    assert "data of the user" in own.content()


def test_an_allowed_page_on_another_port_may_do_all_that(
    context: BrowserContext,
    upstream: Upstream,
    proxy_with: Callable[..., Mitmdump],
    attacker: Upstream,
) -> None:
    origin = f"http://localhost:{attacker.port}"
    proxy = proxy_with(f"cookie_auth_allowed_origins={origin}").client
    page = context.new_page()
    page.goto(origin)
    upstream.answers('{"authToken": "sekret"}')
    call = (
        "([url, method]) => fetch(url, {method, credentials: 'include',"
        " headers: {'content-type': 'application/json'}}).then(r => r.json())"
    )
    api = f"http://localhost:{proxy.port}"
    assert page.evaluate(call, [f"{api}/login", "POST"]) == {"loggedIn": True}
    upstream.answers('{"email": "x"}')
    assert page.evaluate(call, [f"{api}/me", "PUT"]) == {"email": "x"}
    assert upstream.last.one("auth-token") == "sekret"
    assert page.evaluate(call, [f"{api}/logout", "POST"]) == {"loggedIn": False}
    assert context.cookies() == []


# Hot reload


@pytest.mark.parametrize("scripts", [(ADDON,), (ADDON, SHORT_WAY)], ids=["long way", "short way"])
def test_a_vite_front_end_updates_through_the_proxy_when_a_source_is_edited(
    context: BrowserContext,
    upstream: Upstream,
    confdir: Path,
    tmp_path: Path,
    vite: Path,
    scripts: tuple[Path, ...],
) -> None:
    (tmp_path / "index.html").write_text(
        "<h1></h1><p></p><script type=module src=/main.js></script>"
    )
    source = tmp_path / "main.js"
    program = (
        "document.querySelector('h1').textContent = 'first'\n"
        "fetch('/api/me').then(r => r.json())"
        ".then(me => { document.querySelector('p').textContent = me.name })\n"
    )
    source.write_text(program)
    upstream.respond = lambda request: answer(
        json.dumps({"name": request.one("auth-token") or "nobody"})
    )
    port = free_port()
    options = ["cookie_auth_prefix=/api", f"cookie_auth_frontend=http://localhost:{port}"]
    arguments = [part for option in options for part in ("--set", option)]
    dev_server = subprocess.Popen(
        [str(vite), "--port", str(port), "--strictPort"], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        with running(
            Mitmdump(upstream.url, *arguments, confdir=confdir, scripts=scripts)
        ) as mitmdump:
            address = f"http://localhost:{mitmdump.client.port}/"
            log_in(context, upstream, f"{address}api/login")
            page = context.new_page()
            # Until Vite is up, the proxy's own page tries again by itself.
            page.goto(address)
            expect(page.locator("h1")).to_have_text("first", timeout=30_000)
            expect(page.locator("p")).to_have_text("sekret")
            with page.expect_websocket() as hot_reload:
                page.reload()
            assert hot_reload.value.url.startswith(address.replace("http", "ws"))
            hot_reload.value.wait_for_event("framereceived")  # Vite says that it is connected
            source.write_text(program.replace("'first'", "'second'"))
            expect(page.locator("h1")).to_have_text("second", timeout=20_000)
            shown = re.search(rf"GET http://\S+:{port}/main.js", mitmdump.log)
            assert bool(shown) == (SHORT_WAY not in scripts)
    finally:
        dev_server.terminate()
        dev_server.wait(10)


def test_the_waiting_page_goes_away_when_the_front_end_comes(
    context: BrowserContext, proxy_with: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    port = free_port()
    proxy = proxy_with(
        "cookie_auth_prefix=/api", f"cookie_auth_frontend=http://localhost:{port}"
    ).client
    page = context.new_page()
    page.goto(f"http://localhost:{proxy.port}/")
    expect(page.locator("h1")).to_have_text("Waiting for the front end")
    frontend = Upstream(port=port)
    frontend.answers("<h1>Here I am</h1>", Content_Type="text/html")
    expect(page.locator("h1")).to_have_text("Here I am")
