"""Servers that nobody here wrote, installed from the registries and driven through the proxy.

Each with the options of its recipe in `addon/recipes/`, and then the row of three of the table
there: an app that does what the recipe says works unchanged and with no option; so does a page that
sends nothing; and what `./run.sh learn` reads from a recording of the app is the recipe.

Not part of the default run, since it downloads them: `./run.sh test -m recipes`.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote
from uuid import uuid4

import pytest
from apps.watch import is_stand_in
from browser_client import Browser
from exchanges.settings import OPTIONS
from page import Page
from profiles.reading import RECIPES, recipes
from recipes.servers import (
    BOUNDARY,
    LEARNT,
    NOTHING,
    PASSWORD,
    SERVERS,
    UNCHANGED,
    Ask,
    Server,
)
from ruamel.yaml import YAML
from support import ADDON, Client, Message, Mitmdump, can_connect, eventually, free_port, running
from test_learning import profile_of
from tokens.json_pointer import Absent, JsonPointer

NAMES = frozenset(option.name for option in OPTIONS)
CHOICES = ("login_body", "max_age")
"""Options that say what a user wants, not what the API is like: nothing that is sent tells them."""


def recipe_of(name: str) -> dict[str, Any]:
    return by_name(YAML(typ="safe").load((RECIPES / f"{name}.yaml").read_text()))


def by_name(profile: Mapping[str, Any]) -> dict[str, Any]:
    """Its options, by their names; what few servers need has a dot in that."""
    found = {}
    for name, value in profile.items():
        members = value if isinstance(value, dict) else {"rule": value}
        for member, one in members.items():
            option = name if member == "rule" else f"{name}_{member}"
            found[option if f"cookie_auth_{option}" in NAMES else f"{name}.{member}"] = one
    return found


def asking(request: Callable[..., Message], said: Mapping[str, str]) -> Ask:
    def ask(asked: str, body: object = None, **headers: str) -> Message:
        headers = {**said, **headers}
        method, _, target = asked.partition(" ")
        if body is None:
            return request(method, target, body=None, **headers)
        kind, text = "application/json", body if isinstance(body, str) else json.dumps(body)
        if isinstance(body, str):
            kind = "application/x-www-form-urlencoded"
        if text.startswith(BOUNDARY):
            kind = f"multipart/form-data; boundary={BOUNDARY.removeprefix('--')}"
        return request(method, target, body=text, content_type=kind, **headers)

    return ask


def asked_by(rule: str) -> str:
    """The method and path of a rule."""
    parts = rule.split()
    return " ".join(parts[:2]) if parts[0].isupper() else f"POST {parts[0]}"


class App:
    """Does what a recipe says: finds the tokens in answers, and sends them."""

    def __init__(self, server: Server, recipe: Mapping[str, Any], ask: Ask) -> None:
        self.server, self.recipe, self.ask = server, recipe, ask
        self.token = self.refresh_token = ""

    @property
    def authorization(self) -> dict[str, str]:
        value = self.recipe["header_format"].format(token=self.token)
        return {self.recipe["header"].replace("-", "_"): value}

    def send_password(self, password: str = PASSWORD) -> Message:
        if self.server.log_in:
            return self.server.log_in(self.ask, password)
        return self.ask(
            f"POST {self.recipe['login'][0]}", {**self.server.user, "password": password}
        )

    def log_in(self) -> None:
        self._read(self.send_password())

    def protected(self) -> int:
        return self.server.protected(self.ask, **self.authorization).status

    def refresh(self) -> None:
        if headers := self.recipe.get("refresh.headers"):
            pairs = (header.format(refresh_token=self.refresh_token) for header in headers)
            said = dict(pair.split(": ", 1) for pair in pairs)
            self._read(self.ask(asked_by(self.recipe["refresh"]), **said))
            return
        self._read(self.send_refresh_token())

    def send_refresh_token(self) -> Message:
        """A refresh that has it in its body."""
        body = self._filled(self.recipe["refresh_body"])
        return self.ask(asked_by(self.recipe["refresh"]), body)

    def log_out(self) -> Message:
        method = self.recipe.get("logout_upstream_method", "POST")
        path = self.recipe.get("logout_upstream_path") or self.recipe["logout"]
        body = self._filled(self.recipe.get("logout.body", ""))
        return self.ask(f"{method} {path}", body, **self.authorization)

    def _filled(self, template: str) -> Any:
        if template and template[0] != "{":
            return template.replace("{refresh_token}", quote_plus(self.refresh_token))
        token = json.dumps(self.refresh_token)[1:-1]
        return json.loads(template.replace("{refresh_token}", token)) if template else None

    def _read(self, got: Message) -> None:
        assert 200 <= got.status < 300, got
        self.token = self._found(got, self.recipe["token"])
        assert self.token, got
        fresh = self._found(got, [self.recipe.get("refresh_token", "")])
        self.refresh_token = fresh or self.refresh_token  # not all give a new one

    def _found(self, got: Message, places: list[str]) -> str:
        for place in filter(None, places):
            if place.startswith("header:"):
                return got.one(place.removeprefix("header:").lower()) or ""
            try:
                return str(JsonPointer.parse(place).find(json.loads(got.body)))
            except Absent:
                continue
        return ""


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started."""

    def is_over() -> bool:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        if not eventually(is_over):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Running:
    """A server that runs, with its recipe; proxies that are put before it."""

    def __init__(self, name: str, folder: Path, stack: ExitStack) -> None:
        self.name, self.server, self.recipe = name, SERVERS[name], recipe_of(name)
        self.folder, self.stack = folder, stack
        self.port = free_port()
        command = [str(part) for part in self.server.start(folder, self.port)]
        log = stack.enter_context((folder / "server.log").open("w"))
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        stack.callback(stop, process)
        itself = self.asking(Client(self.port))

        def is_up() -> bool:
            assert process.poll() is None, (folder / "server.log").read_text()
            if not can_connect(self.port):
                return False
            if self.server.sign_up:
                self.server.sign_up(itself)
            return self.anonymous(itself)

        assert eventually(is_up, 600), (folder / "server.log").read_text()

    def anonymous(self, ask: Ask) -> bool:
        return self.server.protected(ask).status == self.server.anonymous

    def proxy(self, *options: str, scripts: tuple[Path, ...] = (ADDON,)) -> Mitmdump:
        confdir = self.folder / uuid4().hex
        confdir.mkdir()
        upstream = f"http://127.0.0.1:{self.port}"
        mitmdump = Mitmdump(upstream, *options, confdir=confdir, scripts=scripts)
        return self.stack.enter_context(running(mitmdump))

    def app(self, client: Client | Browser | Page) -> App:
        return App(self.server, self.recipe, self.asking(client))

    @property
    def renewal(self) -> tuple[str, str | None]:
        """How a page asks the proxy for a fresh token: what the rule says of the body, no token."""
        rule = self.recipe["refresh"]
        members = [part for part in rule.split() if "=" in part]
        return asked_by(rule), "&".join(members) or None

    def asking(self, client: Client | Browser | Page) -> Ask:
        return asking(client.request, self.server.headers)


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    with ExitStack() as stack:
        yield Running(request.param, tmp_path_factory.mktemp(request.param), stack)


@pytest.mark.recipes
def test_the_recipe_is_for_a_page_that_holds_nothing(server: Running) -> None:
    """Wrong password, login, protected call, logout, and a login with an old cookie."""
    proxy = server.proxy("--set", f"cookie_auth_profile={server.name}")
    browser, about = Browser(proxy.client), server.server
    app = server.app(browser)

    def protected() -> int:
        return about.protected(app.ask).status

    def log_in() -> None:
        got = app.send_password()
        assert got.status == about.status
        if "login_body" not in server.recipe:
            assert got.body == b'{"loggedIn": true}'
        assert browser.cookies
        assert not [token for token in browser.tokens.values() if token.encode() in got.body]

    assert server.anonymous(app.ask)
    assert app.send_password("wrong").status == about.wrong
    assert not browser.cookies
    log_in()
    assert protected() == 200
    # Servers that refuse a login which comes with an old token would refuse this one.
    browser.cookies["auth-token"] = "expired"
    log_in()
    if about.seconds:
        first = dict(browser.tokens)
        time.sleep(about.seconds + 1)
        assert protected() == 200
        assert browser.tokens.keys() == first.keys()
        assert browser.tokens["auth-token"] != first["auth-token"]
    if "refresh" in server.recipe:
        got = app.ask(*server.renewal)
        assert (got.status, got.body) == (200, b'{"loggedIn": true}')
        assert protected() == 200
    last = dict(browser.cookies)
    got = app.ask(f"POST {server.recipe.get('logout', '/logout')}")
    is_told = not server.recipe.keys().isdisjoint(("logout_upstream", "logout.body"))
    told = {"upstream": "done"} if is_told else {}
    assert json.loads(got.body) == {"loggedIn": False, **told}
    assert not browser.cookies
    assert server.anonymous(app.ask)
    if about.forgets:
        browser.cookies = last
        assert server.anonymous(app.ask)
    if "logout.body" in server.recipe:
        itself = server.app(Client(server.port))
        itself.refresh_token = unquote(last["auth-token-refresh"])
        assert 400 <= itself.send_refresh_token().status < 500


def expect_failure(request: pytest.FixtureRequest, server: Running, column: str) -> None:
    """Where the table gives a reason, the test must fail."""
    if reason := server.server.fails.get(column):
        mark = pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError)
        request.applymarker(mark)


@pytest.mark.recipes
def test_an_app_works_unchanged(server: Running, request: pytest.FixtureRequest) -> None:
    expect_failure(request, server, UNCHANGED)
    page = Page(server.proxy().client)
    app = server.app(page)
    if server.server.also:
        server.server.also(app.ask)
    app.log_in()
    assert is_stand_in(app.token)
    assert app.protected() == 200
    if "refresh" in server.recipe:
        assert is_stand_in(app.refresh_token)
        app.refresh()
        assert is_stand_in(app.token)
        assert app.protected() == 200
    if "logout_upstream_path" in server.recipe:  # it ends the refresh token
        assert app.log_out().status < 300
        assert 400 <= app.send_refresh_token().status < 500
    if "logout" in server.recipe:
        assert app.log_out().status < 300
        assert not page.cookies
        assert 400 <= app.protected() < 500
    assert server.anonymous(app.ask)  # it has forgotten its token


@pytest.mark.recipes
def test_a_page_that_sends_nothing_works(server: Running, request: pytest.FixtureRequest) -> None:
    expect_failure(request, server, NOTHING)
    app = server.app(Page(server.proxy().client))
    assert app.send_password().status == server.server.status
    assert server.server.protected(app.ask).status == 200


@pytest.mark.recipes
def test_a_recording_of_the_app_tells_the_recipe(
    server: Running, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    expect_failure(request, server, LEARNT)
    file = tmp_path / "recorded.flow"
    mitmdump = server.proxy("-w", str(file), scripts=())
    app = server.app(mitmdump.client)
    if server.server.also:
        server.server.also(app.ask)
    app.log_in()
    assert app.protected() == 200
    if "refresh" in server.recipe:
        app.refresh()
        assert app.protected() == 200
    if not server.recipe.keys().isdisjoint(("logout", "logout_upstream_path")):
        app.log_out()
    mitmdump.stop()
    assert facts(profile_of(file)) == facts(server.recipe)


def facts(profile: Mapping[str, Any]) -> dict[str, Any]:
    """Its options, but for those that are choices; of several logins, in any order."""
    found = {name: one for name, one in by_name(profile).items() if name not in CHOICES}
    return found | {"login": sorted(found.get("login", ()))}


def test_the_table_says_how_each_recipe_does() -> None:
    assert set(SERVERS) == set(recipes())
    text = (RECIPES / "README.md").read_text()
    for name, server in SERVERS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| [{name}]"))
        *_, unchanged, nothing, learnt, _ = map(str.strip, row.split("|"))
        said = {UNCHANGED: unchanged, NOTHING: nothing, LEARNT: learnt}
        assert said == {column: server.fails.get(column, "yes") for column in said}
