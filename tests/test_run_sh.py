"""`./run.sh` as its user calls it, and the demo behind it."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page import Page
from support import ROOT, Client, Upstream, eventually, free_port
from token_api import signed

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start run.sh in a process group of its own, as a terminal does."""
    started: list[subprocess.Popen[str]] = []

    # What chooses the Python and the API is for each test to say.
    inherited = {name: os.environ[name] for name in os.environ.keys() - {"PYTHON", "API_URL"}}

    def start(*arguments: str, **env: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [str(ROOT / "run.sh"), *arguments],
            cwd=tmp_path,
            env={**inherited, "VENV": sys.prefix, "HOME": str(tmp_path), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def answers(port: int, target: str, status: int) -> Callable[[], bool]:
    def check() -> bool:
        try:
            return Client(port).get(target).status == status
        except OSError:
            return False

    return check


def test_help_tells_every_way_to_call_it(start: Start) -> None:
    out, _ = start("--help").communicate()
    for word in ("URL", "--frontend", "--save-profile", "test", "--web", "API_URL", "PYTHON"):
        assert word in out


def test_the_demo_logs_in_and_out_and_ctrl_c_ends_everything(start: Start) -> None:
    port = free_port()
    demo = start("--listen-port", str(port))
    assert demo.stdout
    assert demo.stdout.readline() == f"Open http://localhost:{port} (Ctrl-C ends it)\n"
    assert eventually(answers(port, "/", 200), 20)
    client = Client(port)

    assert b"cookie-auth demo" in client.get("/").body
    assert client.get("/me").status == 401
    for body in ('{"email": "x@example.com", "password": "x"}', "{}", "[]", "nonsense"):
        got = client.post("/login", body=body)
        assert (got.status, json.loads(got.body)) == (400, {"error": "Invalid credentials"})
    got = client.post("/login", body='{"email": "admin@example.com", "password": "x"}')
    assert (got.status, got.body) == (200, b'{"loggedIn": true}')
    cookie = (got.set_cookie or "").partition(";")[0]
    got = client.get("/me", cookie=cookie)
    assert (got.status, json.loads(got.body)) == (200, {"email": "admin@example.com"})
    assert client.get("/me", cookie="auth-token=wrong").status == 403
    received = json.loads(client.get("/headers", cookie=cookie + "; a=b").body)
    assert received["Auth-Token"] == "(43 characters)"
    assert "Cookie" not in received
    assert "Auth-Token" not in json.loads(client.get("/headers").body)
    assert client.post("/logout").body == b'{"loggedIn": false}'

    os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(10) in (0, 130, -signal.SIGINT)
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)
    assert not answers(port, "/", 200)()


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_an_api_is_proxied_with_its_path_as_the_base_path(
    start: Start, upstream: Upstream, by: str
) -> None:
    port = free_port()
    url = f"{upstream.url}/v1/"
    options = (f"--listen-port={port}", "--set", "cookie_auth_prefix=/api")
    if by == "argument":
        start(url, *options)
    else:
        start(*options, API_URL=url)
    assert eventually(answers(port, "/api/me?x", 200), 20)
    assert upstream.last.target == "/v1/me?x"
    assert answers(port, "/me", 404)()


@pytest.mark.parametrize(
    ("form", "given", "prefix"),
    [
        ("--frontend {}", "", "/api"),
        ("--frontend={}", "--set cookie_auth_samesite=strict", "/api"),
        ("--frontend {}", "--set cookie_auth_prefix=/backend", "/backend"),
        ("--frontend {}", "--set=cookie_auth_prefix=/backend", "/backend"),
    ],
)
def test_an_app_with_a_front_end_of_its_own_needs_only_its_address(
    start: Start, upstream: Upstream, form: str, given: str, prefix: str
) -> None:
    frontend = Upstream("::1")
    frontend.answers("the app")
    upstream.answers("the API")
    port = free_port()
    arguments = f"{form.format(f'http://[::1]:{frontend.port}')} {given} -p {port}".split()
    start(f"{upstream.url}/v1", *arguments)
    try:
        assert eventually(answers(port, "/", 200), 20)
        assert Client(port).get("/notes").body == b"the app"
        assert Client(port).get(f"{prefix}/notes").body == b"the API"
        assert upstream.last.target == "/v1/notes"
    finally:
        frontend.close()


@pytest.mark.parametrize("form", ["--save-profile {}", "--save-profile={}"])
def test_what_was_learned_is_saved_at_the_end_of_a_run(
    start: Start, upstream: Upstream, tmp_path: Path, form: str
) -> None:
    token = signed(n=1)
    upstream.answers(json.dumps({"access_token": token, "token_type": "bearer"}))
    port = free_port()
    arguments = [*form.format("shop.yaml").split(), "-p", str(port)]
    proxy = start(f"{upstream.url}/v1", *arguments)
    assert eventually(answers(port, "/me", 200), 20)
    Page(Client(port)).post("/auth/sign-in", '{"email": "a@example.com", "password": "x"}')
    os.killpg(proxy.pid, signal.SIGINT)
    out, _ = proxy.communicate(timeout=20)
    assert "shop.yaml: wrote base_path, login, token" in out
    assert token not in out
    assert (tmp_path / "shop.yaml").read_text() == (
        f"# cookie-auth, {upstream.url}\nbase_path: /v1\nlogin: [/auth/sign-in]\n"
        "token: [/access_token]\nlogin_body: stand-in\nheader: Authorization\n"
        "header_format: Bearer {token}\n"
    )
    again = start(upstream.url, "--set", "cookie_auth_profile=shop.yaml", "-p", str(port))
    assert eventually(answers(port, "/me", 200), 20)
    assert upstream.last.target == "/v1/me"
    os.killpg(again.pid, signal.SIGINT)
    out, _ = again.communicate(timeout=20)
    assert "learned in this run" not in out


def test_a_file_of_the_user_is_not_overwritten_at_the_end_of_a_run(
    start: Start, upstream: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "shop.yaml").write_text("services: {}\n")
    port = free_port()
    proxy = start(upstream.url, "--save-profile", "./shop.yaml", f"-p{port}")
    assert eventually(answers(port, "/me", 200), 20)
    page = Page(Client(port))
    upstream.answers(json.dumps({"access_token": signed(n=1)}))
    page.post("/auth/sign-in", '{"email": "a@example.com", "password": "x"}')
    os.killpg(proxy.pid, signal.SIGINT)
    out, _ = proxy.communicate(timeout=20)
    assert "no profile was written: ./shop.yaml:1: 'services': there is no such option" in out
    assert (tmp_path / "shop.yaml").read_text() == "services: {}\n"


@pytest.mark.parametrize(
    ("profile", "prefix"), [("prefix: /backend\n", "/backend"), ("logout: /bye\n", "/api")]
)
def test_a_profiles_prefix_is_that_of_the_api_before_a_front_end(
    start: Start, upstream: Upstream, tmp_path: Path, profile: str, prefix: str
) -> None:
    (tmp_path / "shop.yaml").write_text(profile)
    frontend = Upstream("::1")
    frontend.answers("the app")
    port = free_port()
    arguments = ["--frontend", f"http://[::1]:{frontend.port}", "-p", str(port)]
    start(upstream.url, *arguments, "--set", "cookie_auth_profile=~/shop.yaml")  # home is there
    try:
        assert eventually(answers(port, f"{prefix}/notes", 200), 20)
        assert upstream.last.target == "/notes"
        assert Client(port).get("/other/notes").body == b"the app"
    finally:
        frontend.close()


@pytest.mark.parametrize("option", [(), ("--no-fast",)])
def test_what_makes_it_faster_is_loaded_unless_it_is_not_wanted(
    start: Start, upstream: Upstream, option: tuple[str, ...]
) -> None:
    port = free_port()
    frontend = ("--frontend", "http://127.0.0.1:1")
    proxy = start(*option, upstream.url, *frontend, "-p", str(port))
    assert eventually(answers(port, "/api/me", 200), 20)
    os.killpg(proxy.pid, signal.SIGINT)
    out, _ = proxy.communicate(timeout=10)
    assert ("fast_dispatch.py" in out) is (option == ())
    assert ("the front end take the short way" in out) is (option == ())
    assert f"cookie-auth: open http://localhost:{port} for {upstream.url}" in out
    assert "does not know this mitmproxy" not in out


def test_web_starts_mitmweb(start: Start, upstream: Upstream) -> None:
    port, web_port = free_port(), free_port()
    options = ("--no-web-open-browser", "--web-port", str(web_port))
    start("--web", upstream.url, "-p", str(port), *options)
    assert eventually(answers(port, "/me", 200), 20)
    with socket.create_connection(("127.0.0.1", web_port)):
        pass


@pytest.mark.parametrize(
    ("arguments", "env", "line"),
    [
        (["http://127.0.0.1:1"], {}, "cannot reach the API at http://127.0.0.1:1"),
        (["http://no-such-host.invalid"], {}, "cannot reach the API"),
        (["http://api.no-such.localhost:1"], {}, "localhost:1: nothing listens there"),
        (
            ["https://api.test"],
            {"HTTPS_PROXY": "http://jo:secret@localhost:1"},
            "cannot reach the proxy http://localhost:1 (HTTPS_PROXY): nothing listens there",
        ),
        (["http://"], {}, "'http://' is no API address"),
        (["http://localhost:99999"], {}, "is no API address"),
        (["ftp://x"], {}, "'ftp://x' is neither an http(s) URL nor a command"),
        (["--listen-port", "x"], {}, "'x' is no port number"),
        (["--listen-port=99999"], {}, "'99999' is no port number"),
        (["http://127.0.0.1:1", "--save-profile"], {}, "file such as shop.yaml, not -p"),
        (["http://127.0.0.1:1", "--save-profile", "shop"], {}, "such as shop.yaml, not shop"),
        (["http://127.0.0.1:1", "--save-profile", "no/a.yaml"], {}, "there is no folder no"),
        (["http://127.0.0.1:1", "--frontend"], {}, "5173, not -p"),
        (["http://127.0.0.1:1", "--frontend", "80"], {}, "5173, not 80"),
        (["--frontend", "http://localhost:5173"], {}, "--frontend needs the API's address"),
        ([], {"PYTHON": "/no/python"}, "PYTHON=/no/python is not a Python 3.10 or newer"),
        ([], {"API_URL": "localhost:3000"}, "'localhost:3000' is no API address"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(
    start: Start, arguments: list[str], env: dict[str, str], line: str
) -> None:
    port = [] if any("port" in argument for argument in arguments) else ["-p", str(free_port())]
    out, err = start(*arguments, *port, **env).communicate(timeout=20)
    assert err.startswith("run.sh: ")
    assert line in err
    assert err.count("\n") == 1
    assert out == ""


def test_a_port_in_use_is_said_in_one_line(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(f"-p{port}")
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err == (
        f"run.sh: cannot listen on port {port}: Address already in use;"
        " choose another one with --listen-port\n"
    )


def test_without_a_python_one_line_says_so(start: Start, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "cat", "cksum", "dirname", "tr", "rm"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}" if tool != "bash" else "/bin/bash")
    stub = tools / "python3.13"
    stub.write_text("#!/bin/bash\necho 'stub: command not found' >&2; exit 127\n")
    stub.chmod(0o755)
    process = start(PATH=str(tools), VENV=str(tmp_path / "venv"))
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.startswith("run.sh: found no Python 3.10 or newer on the PATH")
    assert err.count("\n") == 1
