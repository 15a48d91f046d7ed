"""An app that was written against its API itself, unchanged but for the API's address.

`apps/notes` is a Vite app that keeps its tokens in localStorage, as many do; `apps/api.py` is its
API. Each test does all that the app can do, and looks for a real token wherever a script of the
page could get it (`apps/watch.py`).
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from apps.api import PASSWORD, USER, Api
from apps.watch import Watch, is_stand_in
from playwright.sync_api import BrowserContext, Error, Page, expect
from support import ROOT, Mitmdump, can_connect, eventually, free_port, running

APP = Path(__file__).parent / "apps" / "notes"
STORED = "localStorage.getItem('notes.session')"

DevServer = Callable[..., str]


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.close()


@pytest.fixture
def dev_server(vite: Path, tmp_path: Path) -> Iterator[DevServer]:
    """Start the app's own dev server; its address. The arguments are its environment."""
    with ExitStack() as stack:

        def dev_server(port: int | None = None, **env: str) -> str:
            port = port or free_port()
            app = shutil.copytree(APP, tmp_path / "notes")
            process = subprocess.Popen(
                [str(vite), "--port", str(port), "--strictPort"],
                cwd=app,
                env={**os.environ, **env},
                stdout=subprocess.DEVNULL,
            )
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
            assert eventually(lambda: can_connect(port, "localhost"), 30)
            return f"http://localhost:{port}"

        yield dev_server


@pytest.fixture
def proxy(api: Api, confdir: Path) -> Iterator[Callable[..., str]]:
    """Start the proxy before the API with these options; its address."""
    with ExitStack() as stack:

        def proxy(*options: str) -> str:
            arguments = [part for option in options for part in ("--set", option)]
            mitmdump = stack.enter_context(running(Mitmdump(api.url, *arguments, confdir=confdir)))
            return f"http://localhost:{mitmdump.client.port}"

        yield proxy


@pytest.fixture
def run_sh(api: Api, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start `./run.sh URL` for the API with these arguments; the proxy's address."""
    with ExitStack() as stack:

        def run_sh(*arguments: str) -> str:
            port = free_port()
            process = subprocess.Popen(
                [str(ROOT / "run.sh"), api.url, *arguments, "--listen-port", str(port)],
                env={**os.environ, "VENV": sys.prefix, "HOME": str(tmp_path)},
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(process.wait, 20)
            stack.callback(os.killpg, process.pid, signal.SIGINT)
            assert eventually(lambda: can_connect(port, "localhost"), 30)
            return f"http://localhost:{port}"

        yield run_sh


def sign_in(page: Page, password: str = PASSWORD) -> None:
    page.get_by_label("E-mail").fill(USER)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def opens(page: Page, address: str) -> bool:
    """Go there. A busy dev server was seen to refuse what it had accepted just before."""
    try:
        page.goto(address)
    except Error as error:
        if "ERR_CONNECTION_REFUSED" not in str(error):
            raise
        return False
    return True


def drive(page: Page, address: str, api: Api, step: Callable[[str], None]) -> None:
    """Do all that the app can do, from login to logout; `step` is called after each part."""
    who, notes, last = (page.locator(f"#{name}") for name in ("who", "notes", "last"))
    assert eventually(lambda: opens(page, address))
    expect(who).to_have_text("Not signed in")
    sign_in(page, "wrong")
    expect(who).to_have_text("Refused")
    sign_in(page)
    expect(who).to_have_text("Signed in as Ada")
    expect(notes).to_have_text("Buy milkWater the plants")
    step("login")

    page.reload()
    expect(who).to_have_text("Signed in as Ada")
    expect(notes).to_have_text("Buy milkWater the plants")
    step("reload")

    api.end_access_tokens()
    page.get_by_role("button", name="Load notes").click()
    expect(notes).to_have_text("Buy milkWater the plants")
    assert api.refreshes == [200]
    step("refresh")

    page.get_by_role("button", name="Upload").click()
    expect(last).to_have_text("the same", timeout=20_000)
    step("upload and download")

    page.get_by_role("button", name="Listen").click()
    expect(page.locator("#events")).to_contain_text("event 3")
    expect(page.locator("#live")).to_have_text("hello Ada")
    step("events and messages")

    stored = page.evaluate(STORED)
    assert api.logins == 1
    page.get_by_role("button", name="Sign out").click()
    expect(who).to_have_text("Not signed in")
    assert api.logins == 0
    step("logout")

    # Whoever kept what the page had stored gets nowhere with it.
    page.evaluate("stored => localStorage.setItem('notes.session', stored)", stored)
    page.reload()
    expect(last).to_have_text("401")
    expect(notes).to_be_empty()
    page.get_by_role("button", name="Listen").click()
    expect(page.locator("#live")).to_have_text("auth_invalid, closed")
    expect(page.locator("#events")).to_have_text("none")
    assert api.refreshes[1:] == [401]
    step("old tokens")


def check(context: BrowserContext, address: str, api: Api) -> None:
    """Drive the app through the proxy: it works, and holds no token at any time."""
    watch = Watch(context, lambda: api.issued)
    page = context.new_page()

    def step(name: str) -> None:
        assert watch.places_of_tokens(page) == [], f"after {name}"
        stored = page.evaluate(f"Object.values(JSON.parse({STORED} ?? '{{}}'))")
        assert len(stored) == (0 if name == "logout" else 2)
        assert all(map(is_stand_in, stored)), f"after {name}: {stored}"
        if name == "logout":
            assert context.cookies() == []

    drive(page, address, api, step)


def test_the_app_works_with_the_api_itself_and_holds_its_tokens(
    context: BrowserContext, api: Api, dev_server: DevServer
) -> None:
    """What the other tests would see if nothing was protected."""
    watch = Watch(context, lambda: api.issued)
    page = context.new_page()
    held: dict[str, list[str]] = {}

    def step(name: str) -> None:
        held[name] = watch.places_of_tokens(page)

    drive(page, dev_server(VITE_API=api.url), api, step)
    assert any(place.startswith("body of ") for places in held.values() for place in places)
    for places in (held["login"], held["reload"], held["old tokens"]):
        assert "localStorage" in places


def test_behind_the_proxy(
    context: BrowserContext, api: Api, dev_server: DevServer, proxy: Callable[..., str]
) -> None:
    frontend = dev_server(VITE_API="/api")
    address = proxy("cookie_auth_prefix=/api", f"cookie_auth_frontend={frontend}")
    check(context, address, api)


def test_behind_run_sh_with_a_frontend(
    context: BrowserContext, api: Api, dev_server: DevServer, run_sh: Callable[..., str]
) -> None:
    check(context, run_sh("--frontend", dev_server(VITE_API="/api")), api)


def test_with_its_dev_servers_own_proxy_pointed_at_us(
    context: BrowserContext, api: Api, dev_server: DevServer, proxy: Callable[..., str]
) -> None:
    check(context, dev_server(VITE_API="/api", PROXY=proxy()), api)


def test_from_an_allowed_origin_with_credentials(
    context: BrowserContext, api: Api, dev_server: DevServer, proxy: Callable[..., str]
) -> None:
    port = free_port()
    address = proxy(f"cookie_auth_allowed_origins=http://localhost:{port}")
    check(context, dev_server(port, VITE_API=address), api)


def test_with_what_a_run_has_told_at_its_end_it_works_as_without(
    context: BrowserContext, api: Api, dev_server: DevServer, confdir: Path
) -> None:
    frontend = dev_server(VITE_API="/api")
    options = ["--set", "cookie_auth_prefix=/api", "--set", f"cookie_auth_frontend={frontend}"]
    with running(Mitmdump(api.url, *options, confdir=confdir)) as mitmdump:
        check(context, f"http://localhost:{mitmdump.client.port}", api)
        mitmdump.ask_to_stop()
        mitmdump.exit_code()
    learned = shlex.split(mitmdump.wait_for_log("learned in this run: (.*)")[1])
    assert "cookie_auth_login_body=stand-in" in learned
    api.refreshes.clear()
    with running(Mitmdump(api.url, *options, *learned, confdir=confdir)) as mitmdump:
        check(context, f"http://localhost:{mitmdump.client.port}", api)
        mitmdump.ask_to_stop()
        mitmdump.exit_code()
    assert "learned in this run" not in mitmdump.log


def test_five_requests_that_are_refused_at_once_refresh_once(
    context: BrowserContext, api: Api, dev_server: DevServer, proxy: Callable[..., str]
) -> None:
    """Each of them refreshes; with the API itself, the second would have ended the login."""
    frontend = dev_server(VITE_API="/api")
    page = context.new_page()
    page.goto(proxy("cookie_auth_prefix=/api", f"cookie_auth_frontend={frontend}"))
    sign_in(page)
    last = page.locator("#last")
    expect(last).to_have_text("200")
    for number in (1, 2):
        api.end_access_tokens(at_once=5)
        page.get_by_role("button", name="Load five times").click()
        expect(last).to_have_text("200 200 200 200 200")
        assert api.refreshes == [200] * number


def test_a_request_of_the_app_that_sends_nothing_is_anonymous(
    context: BrowserContext, api: Api, dev_server: DevServer, proxy: Callable[..., str]
) -> None:
    frontend = dev_server(VITE_API="/api")
    page = context.new_page()
    page.goto(proxy("cookie_auth_prefix=/api", f"cookie_auth_frontend={frontend}"))
    sign_in(page)
    expect(page.locator("#last")).to_have_text("200")
    status = "headers => fetch('/api/notes', {headers}).then(answer => answer.status)"
    stored = page.evaluate(f"JSON.parse({STORED}).access_token")
    assert page.evaluate(status, {"authorization": f"Bearer {stored}"}) == 200
    assert page.evaluate(status, {}) == 401
