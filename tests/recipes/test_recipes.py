"""Servers that nobody here wrote, installed from the registries and driven through the proxy.

Not part of the default run, since it downloads them: `./run.sh test -m recipes`. The options are
those of the recipe in `addon/recipes/` that is named.
"""

import base64
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest
from support import ROOT, Message, Mitmdump, can_connect, eventually, free_port, running
from test_any_api import Browser

pytestmark = pytest.mark.recipes

HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "recipes"
PASSWORD = "correct horse"


def pip(name: str, *packages: str) -> Path:
    """The Python of a virtual environment that has these packages."""
    python = CACHE / name / "bin" / "python"
    if not (CACHE / name / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-qq", *packages], check=True)
        (CACHE / name / "installed").touch()
    return python


def npm(name: str, *packages: str, **overrides: str) -> Path:
    """The folder with the programs of these packages; `overrides` as in package.json."""
    folder = CACHE / name
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps({"overrides": overrides}))
        program = shutil.which("npm")
        assert program, "npm is needed for this recipe"
        install = [program, "install", "--prefix", str(folder), "--no-audit", "--no-fund"]
        subprocess.run([*install, *packages], check=True, stdout=subprocess.DEVNULL)
        (folder / "installed").touch()
    return folder / "node_modules" / ".bin"


Serve = Callable[..., Browser]


@pytest.fixture
def serve(tmp_path: Path, confdir: Path) -> Iterator[Serve]:
    """Start a server, and the proxy before it with its recipe's options; a browser of the proxy."""
    with ExitStack() as stack:

        def serve(recipe: str, port: int, *command: str | Path) -> Browser:
            log = stack.enter_context((tmp_path / "server.log").open("w"))
            server = subprocess.Popen(
                [str(part) for part in command], cwd=tmp_path, stdout=log, stderr=log
            )
            stack.callback(server.wait)
            stack.callback(server.terminate)
            up = eventually(lambda: can_connect(port), 60)
            assert up, (tmp_path / "server.log").read_text()
            profile = ("--set", f"cookie_auth_profile={recipe}")
            mitmdump = Mitmdump(f"http://127.0.0.1:{port}", *profile, confdir=confdir)
            return Browser(stack.enter_context(running(mitmdump)).client)

        yield serve


def send(browser: Browser, target: str, body: object, method: str = "POST") -> Message:
    """Send JSON as a page does."""
    return browser.request(
        method, target, body=json.dumps(body), content_type="application/json", accept="*/*"
    )


def assert_logged_in(got: Message, browser: Browser, status: int = 200) -> None:
    assert (got.status, got.body) == (status, b'{"loggedIn": true}')
    assert browser.cookies


def drive(
    browser: Browser,
    login: Callable[[str], Message],
    protected: Callable[[], Message],
    *,
    wrong: int,
    anonymous: int,
    status: int = 200,
) -> Message:
    """Wrong password, login, protected call, logout; the protected call's answer."""
    assert protected().status == anonymous
    assert login("wrong").status == wrong
    assert not browser.cookies
    assert_logged_in(login(PASSWORD), browser, status)
    answer = protected()
    assert answer.status == 200
    # Servers that refuse a login which comes with an old token would refuse this one.
    browser.cookies["auth-token"] = "expired"
    assert_logged_in(login(PASSWORD), browser, status)
    assert json.loads(browser.request("POST", "/logout").body)["loggedIn"] is False
    assert not browser.cookies
    assert protected().status == anonymous
    return answer


DJANGO = ["djangorestframework", "djangorestframework-simplejwt", "graphene-django"]
DJANGO += ["django-graphql-jwt", "setuptools<81"]


@pytest.fixture
def django(tmp_path: Path) -> tuple[int, list[str | Path]]:
    port = free_port()
    database = tmp_path / "db.sqlite"
    python = pip("django", *DJANGO)
    return port, [python, HERE / "django_project.py", database, f"127.0.0.1:{port}"]


def test_django_rest_framework_tokens(serve: Serve, django: tuple[int, list[str | Path]]) -> None:
    browser = serve("drf-token", django[0], *django[1])
    got = drive(
        browser,
        lambda password: send(
            browser, "/api-token-auth/", {"username": "ada", "password": password}
        ),
        lambda: browser.request("GET", "/me/"),
        wrong=400,
        anonymous=401,
    )
    assert json.loads(got.body) == {"user": "ada"}


def test_simple_jwt_with_refresh(serve: Serve, django: tuple[int, list[str | Path]]) -> None:
    browser = serve("simple-jwt", django[0], *django[1])

    def login(password: str) -> Message:
        return send(browser, "/api/token/", {"username": "ada", "password": password})

    def me() -> Message:
        return browser.request("GET", "/me/")

    drive(browser, login, me, wrong=401, anonymous=401)
    login(PASSWORD)
    first = browser.cookies.copy()
    time.sleep(5)  # as long as the token is good
    assert me().status == 200
    assert browser.cookies.keys() == first.keys()
    assert not set(browser.cookies.values()) & set(first.values())


def test_django_graphql_jwt(serve: Serve, django: tuple[int, list[str | Path]]) -> None:
    browser = serve("graphql-jwt", django[0], *django[1])

    def login(password: str) -> Message:
        query = 'mutation Login($p: String!) { tokenAuth(username: "ada", password: $p) { token } }'
        return send(browser, "/graphql", {"query": query, "variables": {"p": password}})

    def me() -> Message:
        got = send(browser, "/graphql", {"query": "{ me }"})
        if json.loads(got.body)["data"] == {"me": "ada"}:
            return got
        return Message(("401",), got.headers, got.body)

    drive(browser, login, me, wrong=200, anonymous=401)


def test_fastapi_users(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    python = pip("fastapi", "fastapi-users[sqlalchemy]", "uvicorn", "aiosqlite")
    project = HERE / "fastapi_project.py"
    browser = serve("fastapi-users", port, python, project, tmp_path / "db", str(port))
    user = {"email": "ada@example.com", "password": PASSWORD}
    assert send(browser, "/auth/register", user).status == 201

    def login(password: str) -> Message:
        form = urlencode({"username": "ada@example.com", "password": password})
        kind = "application/x-www-form-urlencoded"
        return browser.request("POST", "/auth/jwt/login", body=form, content_type=kind)

    drive(browser, login, lambda: browser.request("GET", "/users/me"), wrong=400, anonymous=401)


def test_json_server_auth(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    programs = npm("json-server-auth", "json-server@0.17.4", "json-server-auth")
    (tmp_path / "db.json").write_text('{"users": [], "notes": [{"id": 1}]}')
    program = programs / "json-server-auth"
    browser = serve("json-server-auth", port, program, "db.json", "--port", str(port))
    user = {"email": "ada@example.com", "password": PASSWORD}
    assert_logged_in(send(browser, "/register", user), browser, 201)
    browser.request("POST", "/logout")
    drive(
        browser,
        lambda password: send(browser, "/login", user | {"password": password}),
        lambda: browser.request("GET", "/660/notes"),
        wrong=400,
        anonymous=401,
    )


def node_red(folder: Path, port: int, **more: object) -> list[str | Path]:
    """The command that runs it for one user; `more` are settings beside those."""
    programs = npm("node-red", "node-red")
    code = f"require('bcryptjs').hashSync('{PASSWORD}', 8)"
    hashed = subprocess.run(
        ["node", "-p", code], cwd=programs.parent, check=True, capture_output=True, text=True
    ).stdout.strip()
    users = [{"username": "ada", "password": hashed, "permissions": "*"}]
    auth = {"type": "credentials", "users": users}
    settings = {"adminAuth": auth, "uiHost": "127.0.0.1", **more}
    (folder / "settings.js").write_text(f"module.exports = {json.dumps(settings)}")
    options: list[str | Path] = ["--userDir", folder, "--settings", "settings.js"]
    return [programs / "node-red", *options, "--port", str(port)]


def test_node_red(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    browser = serve("node-red", port, *node_red(tmp_path, port))

    def login(password: str) -> Message:
        grant = {"client_id": "node-red-editor", "grant_type": "password", "scope": "*"}
        return send(browser, "/auth/token", grant | {"username": "ada", "password": password})

    def flows() -> Message:
        return browser.request("GET", "/flows")

    assert eventually(lambda: flows().status == 401, 30)
    drive(browser, login, flows, wrong=403, anonymous=401)


def test_verdaccio(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "config.yaml").write_text(
        "storage: ./storage\n"
        "auth: {htpasswd: {file: ./htpasswd}}\n"
        "packages: {'**': {access: $all, publish: $authenticated}}\n"
        "log: {type: stdout, level: warn}\n"
    )
    # It asks for a tag of node-fetch that not every registry has.
    program = npm("verdaccio", "verdaccio", **{"node-fetch": "^2.7.0"}) / "verdaccio"
    listen = f"127.0.0.1:{port}"
    browser = serve("verdaccio", port, program, "--config", "config.yaml", "--listen", listen)

    def login(password: str, **headers: str) -> Message:
        target = "/-/user/org.couchdb.user:ada"
        body = json.dumps({"name": "ada", "password": password})
        return browser.request("PUT", target, body, content_type="application/json", **headers)

    def basic(password: str) -> str:
        return "Basic " + base64.b64encode(f"ada:{password}".encode()).decode()

    def whoami() -> object:
        return json.loads(browser.request("GET", "/-/whoami").body).get("username")

    assert_logged_in(login(PASSWORD), browser, 201)  # the first one makes the account
    assert whoami() == "ada"
    browser.request("POST", "/logout")
    assert whoami() is None
    assert login("wrong", authorization=basic("wrong")).status == 401
    assert not browser.cookies
    assert_logged_in(login(PASSWORD, authorization=basic(PASSWORD)), browser, 201)
    assert whoami() == "ada"


def test_synapse_with_refresh_and_sign_out(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    python = pip("synapse", "matrix-synapse")
    config = tmp_path / "homeserver.yaml"
    config.write_text(
        "server_name: localhost\n"
        "report_stats: false\n"
        "enable_registration: false\n"
        "registration_shared_secret: only-for-this-test\n"
        "macaroon_secret_key: only-for-this-test\n"
        "refreshable_access_token_lifetime: 2s\n"
        f"signing_key_path: {tmp_path}/signing.key\n"
        f"media_store_path: {tmp_path}/media\n"
        f"database: {{name: sqlite3, args: {{database: '{tmp_path}/db'}}}}\n"
        "listeners:\n"
        f"- {{port: {port}, type: http, tls: false, bind_addresses: ['127.0.0.1'],"
        " resources: [{names: [client]}]}\n"
        "trusted_key_servers: []\n"
    )
    synapse = [python, "-m", "synapse.app.homeserver", "-c", config]
    subprocess.run([str(part) for part in [*synapse, "--generate-keys"]], check=True, cwd=tmp_path)
    browser = serve("synapse", port, *synapse)
    register = [python.parent / "register_new_matrix_user", "-c", config, "--no-admin"]
    register += ["-u", "ada", "-p", PASSWORD, f"http://127.0.0.1:{port}"]
    subprocess.run([str(part) for part in register], check=True)

    def login(password: str) -> Message:
        user = {"type": "m.id.user", "user": "ada"}
        body = {"type": "m.login.password", "identifier": user, "password": password}
        return send(browser, "/api/login", body | {"refresh_token": True})

    def whoami() -> Message:
        return browser.request("GET", "/api/account/whoami")

    assert whoami().status == 401
    assert login("wrong").status == 403
    assert_logged_in(login(PASSWORD), browser)
    first = browser.cookies.copy()
    assert json.loads(whoami().body)["user_id"] == "@ada:localhost"
    time.sleep(3)
    assert whoami().status == 200
    assert browser.cookies.keys() == first.keys()
    assert not set(browser.cookies.values()) & set(first.values())
    last = browser.cookies.copy()
    got = browser.request("POST", "/api/logout")
    assert json.loads(got.body) == {"loggedIn": False, "upstream": "done"}
    assert not browser.cookies
    browser.cookies = last  # the server has forgotten them as well
    assert whoami().status == 401


FLASK = ["flask", "flask-jwt-extended", "flask-security", "flask-sqlalchemy", "argon2-cffi"]


def flask(tmp_path: Path, package: str) -> tuple[int, list[str | Path]]:
    port = free_port()
    python = pip("flask", *FLASK, "setuptools<81")
    return port, [python, HERE / "flask_project.py", tmp_path / "db", str(port), package]


def test_flask_jwt_extended_with_refresh(serve: Serve, tmp_path: Path) -> None:
    port, command = flask(tmp_path, "jwt-extended")
    browser = serve("flask-jwt-extended", port, *command)

    def login(password: str) -> Message:
        return send(browser, "/login", {"username": "ada", "password": password})

    def protected() -> Message:
        return browser.request("GET", "/protected")

    drive(browser, login, protected, wrong=401, anonymous=401)
    login(PASSWORD)
    first = browser.cookies.copy()
    time.sleep(5)  # as long as the token is good
    assert json.loads(protected().body) == {"logged_in_as": "ada"}
    assert browser.cookies["auth-token"] != first["auth-token"]


def test_flask_security(serve: Serve, tmp_path: Path) -> None:
    port, command = flask(tmp_path, "security")
    browser = serve("flask-security", port, *command)

    def login(password: str) -> Message:
        body = json.dumps({"email": "ada@example.com", "password": password})
        kind = "application/json"
        target = "/login?include_auth_token"
        return browser.request("POST", target, body, content_type=kind, accept=kind)

    def protected() -> Message:
        return browser.request("GET", "/protected", accept="application/json")

    drive(browser, login, protected, wrong=400, anonymous=401)


ACCOUNTS = ["djangorestframework", "dj-rest-auth", "djoser", "djangorestframework-simplejwt"]


@pytest.mark.parametrize(
    ("recipe", "login_path", "user_path"),
    [
        ("djoser", "/auth/token/login/", "/auth/users/me/"),
        ("dj-rest-auth", "/dj-rest-auth/login/", "/dj-rest-auth/user/"),
    ],
)
def test_django_accounts(
    serve: Serve, tmp_path: Path, recipe: str, login_path: str, user_path: str
) -> None:
    port = free_port()
    python = pip("django-accounts", *ACCOUNTS, "setuptools<81")
    project = HERE / "django_accounts_project.py"
    browser = serve(recipe, port, python, project, tmp_path / "db", f"127.0.0.1:{port}")

    def login(password: str) -> Message:
        return send(browser, login_path, {"username": "ada", "password": password})

    def user() -> Message:
        return browser.request("GET", user_path)

    assert json.loads(drive(browser, login, user, wrong=400, anonymous=401).body)["username"]
    login(PASSWORD)
    last = browser.cookies.copy()
    assert json.loads(browser.request("POST", "/logout").body)["upstream"] == "done"
    browser.cookies = last  # the server has deleted the token as well
    assert user().status == 401


def test_flask_appbuilder(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    python = pip("fab", "flask-appbuilder", "setuptools<81")
    project = HERE / "appbuilder_project.py"
    browser = serve("flask-appbuilder", port, python, project, tmp_path / "db", str(port))

    def login(password: str) -> Message:
        who = {"username": "ada", "password": password, "provider": "db"}
        return send(browser, "/api/v1/security/login", who)

    def me() -> Message:
        return browser.request("GET", "/api/v1/me/")

    assert json.loads(drive(browser, login, me, wrong=401, anonymous=401).body) == {"user": "ada"}


HOME_ASSISTANT = """homeassistant==2024.3.3 home-assistant-frontend==20240307.0 josepy==1.15.0
    bluetooth-adapters==2.4.0 bluetooth-auto-recovery==1.6.4 bluetooth-data-tools==1.28.4
    bleak==3.1.0 bleak-retry-connector==4.7.1 dbus-fast==5.2.0 habluetooth==6.1.0""".split()


def home_assistant(folder: Path, port: int) -> list[str | Path]:
    """The command that runs it for one user, in this folder."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("this Home Assistant is for Python 3.11")
    python = pip("home-assistant", *HOME_ASSISTANT)
    (folder / "configuration.yaml").write_text(
        f"http: {{server_host: 127.0.0.1, server_port: {port}}}\n"
        "frontend:\nauth:\nwebsocket_api:\nconfig:\nonboarding:\napi:\n"
    )
    hass: list[str | Path] = [python.with_name("hass"), "-c", folder]
    add = [*hass, "--script", "auth", "-c", folder, "add", "ada", PASSWORD]
    subprocess.run([str(part) for part in add], check=True, stdout=subprocess.DEVNULL)
    done = {"done": ["user", "core_config", "analytics", "integration"]}
    onboarding = {"version": 4, "minor_version": 1, "key": "onboarding", "data": done}
    (folder / ".storage" / "onboarding").write_text(json.dumps(onboarding))
    return hass


def test_home_assistant(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    browser = serve("home-assistant", port, *home_assistant(tmp_path, port))
    page = "http://localhost/"

    def login(password: str) -> Message:
        asked = {"client_id": page, "handler": ["homeassistant", None], "redirect_uri": page}
        flow = json.loads(send(browser, "/auth/login_flow", asked).body)["flow_id"]
        given = {"client_id": page, "username": "ada", "password": password}
        got = send(browser, f"/auth/login_flow/{flow}", given)
        if not (code := json.loads(got.body).get("result")):
            return got
        grant = {"grant_type": "authorization_code", "code": code, "client_id": page}
        kind = "application/x-www-form-urlencoded"
        return browser.request("POST", "/auth/token", urlencode(grant), content_type=kind)

    def config() -> Message:
        return browser.request("GET", "/api/config")

    assert eventually(lambda: config().status == 401)
    assert json.loads(drive(browser, login, config, wrong=200, anonymous=401).body)["version"]


def test_directus_with_refresh(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    program = npm("directus", "directus", "sqlite3") / "directus"
    variables = {
        "DB_CLIENT": "sqlite3",
        "DB_FILENAME": str(tmp_path / "db"),
        "SECRET": "only for this test but long enough for an HMAC key",  # a comma makes a list
        "ADMIN_EMAIL": "ada@example.com",
        "ADMIN_PASSWORD": PASSWORD,
        "ACCESS_TOKEN_TTL": "5s",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "TELEMETRY": "false",
    }
    env: list[str | Path] = ["env", *(f"{name}={value}" for name, value in variables.items())]
    bootstrap = [str(part) for part in (*env, program, "bootstrap")]
    subprocess.run(bootstrap, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    browser = serve("directus", port, *env, program, "start")

    def login(password: str) -> Message:
        return send(browser, "/auth/login", {"email": "ada@example.com", "password": password})

    def me() -> Message:
        return browser.request("GET", "/users/me?fields=email")

    drive(browser, login, me, wrong=401, anonymous=401)
    login(PASSWORD)
    first = browser.cookies.copy()
    time.sleep(5)  # as long as the token is good
    assert json.loads(me().body) == {"data": {"email": "ada@example.com"}}
    assert browser.cookies.keys() == first.keys()
    assert not set(browser.cookies.values()) & set(first.values())
