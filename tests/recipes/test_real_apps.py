"""User interfaces that nobody here wrote, unchanged and with no option, in Chromium.

Each is opened at the proxy's address, logs in with its own form, works, survives a reload and logs
out. After each step no real token is where a script of the page could get it. The real ones are
what a recorder between the proxy and the server saw it hand out (`recorder.py`).

Not part of the default run, since they are downloaded: `./run.sh test -m recipes`.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from apps.watch import Watch, is_stand_in
from playwright.sync_api import BrowserContext, Page, expect
from recipes.servers import HERE, PASSWORD, home_assistant, node_red, npm, pip
from support import Mitmdump, can_connect, eventually, free_port, running

pytestmark = pytest.mark.recipes

MAIL = "ada@example.com"


class Recorded:
    """What a server answered so far, as the recorder wrote it down."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def answers(self) -> list[dict[str, object]]:
        text = self.file.read_text() if self.file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def tokens(self) -> set[str]:
        """The access and refresh tokens that it handed out, and the values of HttpOnly cookies.

        Not those of a GET: FastAPI Users has an example of a token in its openapi.json.
        """
        found: set[str] = set()
        for got in self.answers():
            if str(got["request"]).startswith("GET "):
                continue
            found |= set(re.findall(r'"(?:access|refresh)_token" *: *"([^"]+)"', str(got["body"])))
            assert isinstance(got["headers"], list)
            for name, value in got["headers"]:
                if name.lower() == "set-cookie" and "; httponly" in value.lower():
                    found.add(value.partition(";")[0].partition("=")[2])
        return {token for token in found if len(token) >= 16}


class RealApp:
    """A server behind the recorder and the proxy, and a page of a browser."""

    def __init__(self, context: BrowserContext, address: str, recorded: Recorded) -> None:
        self.context = context
        self.address = address
        self.recorded = recorded
        self.watch = Watch(context, recorded.tokens)
        self.page: Page = context.new_page()
        self._messages: list[str] = []
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._message))

    def _message(self, frame: str | bytes) -> None:
        self._messages.append(str(frame))

    def hears(self, text: str) -> bool:
        """Whether a WebSocket message holds this that came since the last one that did."""

        def heard() -> bool:
            self.page.evaluate("0")  # Playwright tells what came while it is asked something
            return any(text in message for message in self._messages)

        found = eventually(heard)
        self._messages.clear()
        return found

    def check(self, after: str) -> None:
        """No real token is in reach, nor came by; and cookies of ours are HttpOnly."""
        assert self.watch.places_of_tokens(self.page) == [], f"after {after}"
        assert all(cookie["httpOnly"] for cookie in self.context.cookies()), f"after {after}"

    def status(self, path: str, authorization: str) -> int:
        """What a script of the page gets with this."""
        fetched = (
            "([path, authorization]) =>"
            " fetch(path, {headers: {authorization}}).then(answer => answer.status)"
        )
        status: int = self.page.evaluate(fetched, [path, authorization])
        return status

    def stored(self, pattern: str) -> list[str]:
        """What this pattern finds in the page's storage."""
        found = self.watch.reachable(self.page)
        places = ("localStorage", "sessionStorage", "IndexedDB")
        return [text for place in places for text in re.findall(pattern, found.get(place, ""))]


Open = Callable[..., RealApp]


@pytest.fixture
def open_app(
    context: BrowserContext, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Open]:
    """Start a server, the recorder, and the proxy without options."""
    context.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    with ExitStack() as stack:

        def open_app(port: int, *command: str | Path, env: dict[str, str] | None = None) -> RealApp:
            log = stack.enter_context((tmp_path / "server.log").open("w"))
            parts = [str(part) for part in command]
            server = subprocess.Popen(parts, cwd=tmp_path, env=env, stdout=log, stderr=log)
            stack.callback(server.wait)
            stack.callback(server.terminate)
            assert eventually(lambda: can_connect(port), 120), (tmp_path / "server.log").read_text()
            recorded = tmp_path / "recorded"
            recorder = Mitmdump(
                f"http://127.0.0.1:{port}",
                *("--set", f"recorded={recorded}", "--set", "keep_host_header=true"),
                confdir=tmp_path_factory.mktemp("recorder"),
                scripts=(HERE / "recorder.py",),
            )
            upstream = f"http://127.0.0.1:{stack.enter_context(running(recorder)).client.port}"
            proxy = Mitmdump(upstream, confdir=tmp_path_factory.mktemp("proxy"))
            address = f"http://localhost:{stack.enter_context(running(proxy)).client.port}"
            return RealApp(context, address, Recorded(recorded))

        yield open_app
    expect.set_options(timeout=5_000)


def test_node_reds_editor(open_app: Open, tmp_path: Path) -> None:
    port = free_port()
    quiet = {"telemetry": {"enabled": False}, "editorTheme": {"tours": False}}
    app = open_app(port, *node_red(tmp_path, port, **quiet))
    page = app.page

    def works() -> None:
        """Flows are loaded, and the WebSocket has accepted the token."""
        expect(page.locator("#red-ui-palette .red-ui-palette-node").first).to_be_visible()
        expect(page.locator("#red-ui-workspace-tabs")).to_contain_text("Flow 1")
        assert app.hears('{"auth":"ok"}')

    def stored() -> list[str]:
        return app.stored(r'"access_token":"([^"]+)"')

    page.goto(app.address)
    page.locator("#node-dialog-login-username").fill("ada")
    page.locator("#node-dialog-login-password").fill(PASSWORD)
    page.keyboard.press("Enter")
    works()
    app.check("login")
    first = stored()
    assert len(first) == 1
    assert is_stand_in(first[0])

    page.reload()
    works()
    app.check("reload")
    assert stored() == first

    page.locator("#red-ui-header-button-user").click()
    page.get_by_text("Logout").or_(page.get_by_text("Log out")).first.click()
    expect(page.locator("#node-dialog-login-username")).to_be_visible()
    app.check("logout")
    assert stored() == []
    assert app.status("/flows", f"Bearer {first[0]}") == 401


def test_swagger_ui_of_a_fastapi_app(open_app: Open, tmp_path: Path) -> None:
    port = free_port()
    python = pip("fastapi", "fastapi-users[sqlalchemy]", "uvicorn", "aiosqlite")
    assets = npm("swagger-ui", "swagger-ui-dist").parent / "swagger-ui-dist"
    app = open_app(port, python, HERE / "fastapi_project.py", tmp_path / "db", str(port), assets)
    page = app.page
    page.goto(f"{app.address}/docs")
    body = {"email": MAIL, "password": PASSWORD}
    page.evaluate(
        "body => fetch('/auth/register', {method: 'POST', body: JSON.stringify(body),"
        " headers: {'content-type': 'application/json'}})",
        body,
    )

    def dialog(button: str) -> None:
        page.locator(".schemes .authorize").click()
        if button == ".authorize":
            page.locator("#oauth_username").fill(MAIL)
            page.locator("#oauth_password").fill(PASSWORD)
        page.locator(f".auth-btn-wrapper {button}").click()

    def users_me() -> str:
        """What `GET /users/me` answers when it is tried out: status and body."""
        page.goto("about:blank")
        page.goto(f"{app.address}/docs#/default/users_current_user_users_me_get")
        operation = page.locator("#operations-default-users_current_user_users_me_get")
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        return operation.locator(".live-responses-table tbody").inner_text()

    def stored() -> list[str]:
        return app.stored(r'"access_token":"([^"]+)"')

    assert users_me().startswith("401")
    dialog(".authorize")
    expect(page.locator(".auth-btn-wrapper")).to_contain_text("Logout")
    app.check("login")
    first = stored()
    assert len(first) == 1
    assert is_stand_in(first[0])

    page.reload()
    assert MAIL in users_me()
    app.check("reload")

    dialog("button:has-text('Logout')")
    assert stored() == []
    # It only forgets; who sends nothing is nobody.
    assert users_me().startswith("401")
    app.check("logout")


# Newer ones want newer Pythons. What is named beside it keeps pip from building all their versions.
def test_home_assistants_own_pages(open_app: Open, tmp_path: Path) -> None:
    port = free_port()
    app = open_app(port, *home_assistant(tmp_path, port))
    page = app.page

    def works() -> None:
        expect(page).to_have_title(re.compile("Overview"))
        expect(page.get_by_text("Welcome Home")).to_be_visible()
        assert app.hears('"auth_ok"')

    def stored() -> dict[str, str]:
        text = page.evaluate("localStorage.hassTokens") or "{}"
        return {name: value for name, value in json.loads(text).items() if name.endswith("_token")}

    page.goto(app.address)
    page.locator("input[name=username]").fill("ada")
    page.locator("input[name=password]").fill(PASSWORD)
    page.keyboard.press("Enter")
    works()
    app.check("login")
    first = stored()
    assert first.keys() == {"access_token", "refresh_token"}
    assert all(map(is_stand_in, first.values()))

    # As if the token's time was over: the page renews it with a multipart form.
    page.evaluate(
        "localStorage.hassTokens ="
        " JSON.stringify({...JSON.parse(localStorage.hassTokens), expires: 1})"
    )
    page.reload()
    works()
    app.check("refresh")
    second = stored()
    assert second.keys() == first.keys()
    assert all(map(is_stand_in, second.values()))
    assert second["access_token"] != first["access_token"]

    page.goto(f"{app.address}/profile")
    page.get_by_role("button", name="Log out").click()
    page.locator("dialog-box").get_by_role("button", name="Log out").click()
    expect(page.locator("input[name=username]")).to_be_visible()
    assert stored() == {}
    app.check("logout")
    for old in (first, second):
        assert app.status("/api/config", f"Bearer {old['access_token']}") == 401
