"""What could make mitmproxy run on without the addon, or past it: nothing may leak then."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
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

ProxyWith = Callable[..., Mitmdump]


@pytest.fixture
def own_addon(tmp_path: Path) -> Path:
    """A copy of the script that a test may edit, beside the packages as they are."""
    folder = tmp_path / "addon"
    folder.mkdir()
    for package in ADDON.parent.iterdir():
        if (package / "__init__.py").exists():
            (folder / package.name).symlink_to(package)
    return Path(shutil.copy(ADDON, folder))


def own_package(own_addon: Path, name: str) -> Path:
    """A copy of the package that a test may edit, beside the copy of the script."""
    package = own_addon.parent / name
    package.unlink()
    return Path(shutil.copytree(ADDON.parent / name, package))


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("cookie_auth_samesite=sometimes", "cookie_auth_samesite: 'sometimes' is wrong; it must be"
         " lax, strict, none or partitioned"),
        ("cookie_auth_cookie=a b", "cookie_auth_cookie: 'a b' is wrong; it must be a name"),
        ("cookie_auth_max_age", "cookie_auth_max_age: [] is wrong; it must be one text"),
        ("cookie_auth_clear_on_401=maybe", "cookie_auth_clear_on_401: 'maybe' is wrong; it must be"
         " true or false"),
        ("cookie_auth_secret=hunter2", "cookie_auth_secret: … is wrong; it must be 16 characters"),
        ("cookie_auth_logn=/x", "cookie_auth_logn: there is no such option; is it"
         " cookie_auth_login?"),
        ("stream_large_bodies=1m", "stream_large_bodies: '1m' is wrong; it must be unset: it"
         " streams answers to the browser before their token can be taken out"),
    ],
)  # fmt: skip
def test_a_wrong_option_ends_start_up_with_one_plain_line(
    start: Callable[..., Mitmdump], setting: str, line: str
) -> None:
    mitmdump = start("--set", setting)
    assert mitmdump.exit_code() == 1
    assert line in mitmdump.log
    assert "Traceback" not in mitmdump.log


def test_a_wrong_type_in_the_configuration_file_ends_start_up(
    start: Callable[..., Mitmdump], confdir: Path
) -> None:
    (confdir / "config.yaml").write_text("cookie_auth_login: /login\n")
    mitmdump = start()
    assert mitmdump.exit_code() == 1
    assert "cookie_auth_login: '/login' is wrong; it must be a list of texts" in mitmdump.log
    assert "Traceback" not in mitmdump.log


def test_without_a_reverse_mode_start_up_ends(confdir: Path) -> None:
    with running(Mitmdump("", mode="regular", confdir=confdir)) as mitmdump:
        assert mitmdump.exit_code() == 1
        assert "add --mode reverse:URL" in mitmdump.log


def test_listening_on_all_interfaces_is_warned_of(start: Callable[..., Mitmdump]) -> None:
    start("--listen-host", "0.0.0.0").wait_for_log("listens on 0.0.0.0, so other machines")
    start("--listen-host", "").wait_for_log("listens on all interfaces, so other machines")
    quiet = start()
    assert quiet.client.get("/me").status == 200
    assert "other machines" not in quiet.log


def test_flows_of_other_modes_are_left_alone(
    start: Callable[..., Mitmdump], upstream: Upstream, own_addon: Path
) -> None:
    port = free_port()
    mitmdump = start("--mode", f"regular@{port}", scripts=(own_addon,))
    mitmdump.wait_for_log(rf"HTTP\(S\) proxy listening at 127\.0\.0\.1:{port}")
    upstream.answers('{"authToken": "x"}', Set_Cookie="a=b")

    def login() -> Message:
        return Client(port).post(f"{upstream.url}/login", cookie="auth-token=sekret; a=b")

    got = login()
    assert (got.body, got.set_cookie) == (b'{"authToken": "x"}', "a=b")
    assert upstream.last.one("cookie") == "auth-token=sekret; a=b"
    edit(own_addon, "def broken(:\n")
    assert eventually(lambda: mitmdump.client.get("/logout").status == 503)
    assert login().body == b'{"authToken": "x"}'


SET_OPTION = """
from mitmproxy import ctx, exceptions
def requestheaders(flow):
    if setting := flow.request.headers.pop("x-set", None):
        try:
            ctx.options.set(setting)
        except exceptions.OptionsError as error:
            flow.request.headers["x-error"] = str(error)
"""


def test_an_option_changed_while_running_is_validated_and_rolled_back(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    script = tmp_path / "set_option.py"
    script.write_text(SET_OPTION)
    client = start(scripts=(ADDON, script)).client
    for setting in (
        "cookie_auth_samesite=sometimes",
        "stream_large_bodies=1",
        "connection_strategy=eager",
    ):
        client.get("/me", x_set=setting)
        assert "is wrong; it must be" in (upstream.last.one("x-error") or "")
    client.get("/me", x_set="cookie_auth_header=x-token")
    assert upstream.last.one("x-error") is None
    client.get("/me", cookie="auth-token=sekret")
    assert upstream.last.one("x-token") == "sekret"


SABOTAGE = """
import {module} as module
def recurse(depth):
    return recurse(depth + 1)
def fail(*args, **kwargs):
    {statement}
module.{function} = fail
"""


@pytest.mark.parametrize(
    ("module", "function", "statement", "target", "reaches_api"),
    [
        ("credentials.carriers", "translate", "raise TypeError('sekret')", "/me", False),
        ("credentials.wallet", "Wallet.read", "raise ValueError('sekret')", "/me", False),
        ("credentials.wallet", "Wallet.issue", "raise ValueError('sekret')", "/login", True),
        ("credentials.wallet", "Wallet.expire", "raise ValueError('sekret')", "/logout", False),
        ("messages.validators", "own_validators", "raise ValueError('sekret')", "/me", False),
        ("messages.answer_policy", "apply", "raise ValueError('sekret')", "/login", True),
        ("origins.framing", "forbid_framing", "raise ValueError('sekret')", "/me", True),
        ("origins.paths", "normalise", "recurse(0)", "/me", False),
        ("exchanges.received", "differences", "raise ValueError('sekret')", "/me", False),
        ("exchanges.leaks", "LeakAlarm.check_headers", "raise ValueError('sekret')", "/me", True),
        ("exchanges.leaks", "LeakAlarm.check_body", "raise ValueError('sekret')", "/me", True),
        ("origins.rules", "judge", "raise ValueError('sekret')", "/me", False),
        ("messages.answers", "logged_out", "raise KeyError('sekret')", "/logout", False),
        ("tokens.graphql", "is_other_operation", "raise ValueError('sekret')", "/login", False),
        ("exchanges.api", "translate_set_cookies", "raise ValueError('sekret')", "/me", True),
        ("tokens.capture", "read_answer", "raise ValueError('sekret')", "/login", True),
        ("tokens.capture", "read_answer", "recurse(0)", "/login", True),
        ("tokens.capture", "replace_body", "raise TypeError('sekret')", "/login", True),
    ],
)
def test_an_exception_in_a_hook_is_an_internal_error_and_nothing_passes(
    start: Callable[..., Mitmdump],
    upstream: Upstream,
    tmp_path: Path,
    module: str,
    function: str,
    statement: str,
    target: str,
    reaches_api: bool,
) -> None:
    saboteur = tmp_path / "saboteur.py"
    saboteur.write_text(SABOTAGE.format(module=module, function=function, statement=statement))
    upstream.answers('{"authToken": "sekret"}', X_Secret="sekret", Set_Cookie="a=sekret")
    mitmdump = start(scripts=(ADDON, saboteur))
    got = mitmdump.client.post(
        target, cookie="auth-token=sekret", content_type="application/json", accept="*/*"
    )
    assert got.status == 500
    assert json.loads(got.body)["error"] == "internal"
    assert "sekret" not in str(got)
    assert bool(upstream.received) is reaches_api
    assert not any(request.one("cookie") for request in upstream.received)
    mitmdump.wait_for_log(r"Error in .*, line \d+")
    assert "sekret" not in mitmdump.log


@pytest.mark.parametrize(
    ("module", "function", "target", "origin"),
    [
        ("origins.cors", "answer_cors", "/login", None),
        ("origins.cors", "answer_cors", "/me", None),
        ("messages.answers", "refusal", "/me", "http://evil.test"),
    ],
)
def test_an_exception_in_the_answer_to_an_exception_lets_nothing_pass_either(
    start: Callable[..., Mitmdump],
    upstream: Upstream,
    tmp_path: Path,
    module: str,
    function: str,
    target: str,
    origin: str | None,
) -> None:
    saboteur = tmp_path / "saboteur.py"
    statement = "raise ValueError('sabotage')"
    saboteur.write_text(SABOTAGE.format(module=module, function=function, statement=statement))
    upstream.answers('{"authToken": "sekret"}', X_Secret="sekret", Set_Cookie="a=sekret")
    mitmdump = start(scripts=(ADDON, saboteur))
    headers = [("Origin", origin)] if origin else []
    got = mitmdump.client.post(target, headers, cookie="auth-token=sekret")
    assert got.status == 500
    assert "sekret" not in str(got)
    assert not (origin and upstream.received)


def edit(path: Path, text: str) -> None:
    """Write the file so that mitmproxy notices: it compares times, to the second on some disks."""
    path.write_text(text)
    later = path.stat().st_mtime + 2
    os.utime(path, (later, later))


@pytest.mark.parametrize(
    "broken",
    ["def broken(:\n", "import no_such_module\n", "raise SystemError\n", None],
)
def test_while_the_script_cannot_be_loaded_everything_is_answered_with_503(
    start: Callable[..., Mitmdump], upstream: Upstream, own_addon: Path, broken: str | None
) -> None:
    text = own_addon.read_text()
    mitmdump = start(scripts=(own_addon,))
    client = mitmdump.client
    upstream.answers('{"authToken": "sekret"}')
    assert client.post("/login").body == b'{"loggedIn": true}'
    upstream.received.clear()

    if broken is None:
        own_addon.unlink()
    else:
        edit(own_addon, broken)
    assert eventually(lambda: client.get("/logout").status == 503)
    for got in (
        client.post("/login", cookie="auth-token=sekret"),
        client.request("PUT", "/me", body="x" * 100_000, cookie="auth-token=sekret"),
    ):
        assert got.status == 503
        assert json.loads(got.body)["error"] == "addon_not_loaded"
        assert got.set_cookie is None
    assert not upstream.received

    if broken is not None:
        edit(own_addon, broken + "# still broken\n")
        mitmdump.wait_for_log(r"(?s)(Loading script.*){3}")
        assert client.post("/login").status == 503
        edit(own_addon, text)
        assert eventually(lambda: client.get("/logout").status == 200)
        assert client.post("/login").body == b'{"loggedIn": true}'


def test_an_answer_that_is_under_way_while_the_script_breaks_is_held_back(
    start: Callable[..., Mitmdump], upstream: Upstream, own_addon: Path
) -> None:
    client = start(scripts=(own_addon,)).client

    def respond(request: object) -> bytes:
        edit(own_addon, "def broken(:\n")
        assert eventually(lambda: client.get("/logout").status == 503)
        return answer('{"authToken": "sekret"}', Set_Cookie="a=sekret")

    upstream.respond = respond
    got = client.post("/login")
    assert got.status == 503
    assert "sekret" not in str(got)


def test_edits_to_the_modules_beside_the_script_take_effect_when_it_reloads(
    start: Callable[..., Mitmdump], upstream: Upstream, own_addon: Path
) -> None:
    mitmdump = start(scripts=(own_addon,))
    client = mitmdump.client
    upstream.answers('{"authToken": "sekret"}')
    assert client.post("/login").body == b'{"loggedIn": true}'
    module = own_package(own_addon, "tokens") / "capture.py"
    edit(module, module.read_text().replace('{"loggedIn": true}', '{"loggedIn": true, "new": 1}'))
    edit(own_addon, own_addon.read_text())
    mitmdump.wait_for_log(r"(?s)(Loading script.*){2}")
    assert eventually(lambda: client.post("/login").body == b'{"loggedIn": true, "new": 1}')


def test_a_reload_with_wrong_options_refuses_everything(
    start: Callable[..., Mitmdump], own_addon: Path
) -> None:
    mitmdump = start("--set", "cookie_auth_samesite=lax", scripts=(own_addon,))
    client = mitmdump.client
    assert client.get("/me").status == 200
    module = own_package(own_addon, "credentials") / "options.py"
    edit(module, module.read_text().replace('one_of("lax", "strict"', 'one_of("x", "strict"'))
    edit(own_addon, own_addon.read_text())
    mitmdump.wait_for_log("cookie_auth_samesite: 'lax' is wrong")
    assert client.get("/me").status == 503
    assert "Traceback" not in mitmdump.log
