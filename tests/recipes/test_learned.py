"""What `./run.sh learn` reads from recordings of real servers, made without cookie-auth.

A client does what the server's documentation tells an app to do. Not part of the default run, since
the servers are downloaded: `./run.sh test -m recipes`.
"""

import json
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from recipes.test_recipes import DJANGO, HERE, PASSWORD, node_red, npm, pip
from support import Client, Message, Mitmdump, can_connect, eventually, free_port, running
from test_learning import profile_of

pytestmark = pytest.mark.recipes

MAIL = "ada@example.com"
BEARER = {"header": "Authorization", "header_format": "Bearer {token}"}


class App:
    """An app's requests, with the token where it belongs."""

    def __init__(self, client: Client, file: Path, mitmdump: Mitmdump) -> None:
        self.client, self.file, self.mitmdump = client, file, mitmdump

    def send(
        self, asked: str, body: object = None, authorization: str = "", **more: str
    ) -> dict[str, Any]:
        """JSON, or a form where that is a text; the answer's JSON."""
        got = self.ask(asked, body, authorization, **more)
        assert got.status < 300, (asked, got)
        found = json.loads(got.body or b"{}")
        return found if isinstance(found, dict) else {}

    def ask(self, asked: str, body: object = None, authorization: str = "", **more: str) -> Message:
        method, _, target = asked.partition(" ")
        is_form = isinstance(body, str)
        kind = "application/x-www-form-urlencoded" if is_form else "application/json"
        headers = {"content_type": kind, **more} if body is not None else more
        headers |= {"authorization": authorization} if authorization else {}
        text = body if isinstance(body, str) else None if body is None else json.dumps(body)
        return self.client.request(method, target, None, text, **headers)

    def learnt(self) -> dict[str, Any]:
        """What the recording tells, without the line that is for the recorded app itself."""
        self.mitmdump.stop()
        profile = profile_of(self.file)
        assert profile.pop("login_body") == "stand-in"
        return profile


Record = Callable[..., App]


@pytest.fixture
def record(tmp_path: Path, confdir: Path) -> Iterator[Record]:
    """Start a server, and a mitmdump that records what it is asked."""
    with ExitStack() as stack:

        def record(port: int, *command: str | Path) -> App:
            log = stack.enter_context((tmp_path / "server.log").open("w"))
            parts = [str(part) for part in command]
            server = subprocess.Popen(parts, cwd=tmp_path, stdout=log, stderr=log)
            stack.callback(server.wait)
            stack.callback(server.terminate)
            assert eventually(lambda: can_connect(port), 120), (tmp_path / "server.log").read_text()
            file = tmp_path / "recorded.flow"
            upstream = f"http://127.0.0.1:{port}"
            mitmdump = Mitmdump(upstream, "-w", str(file), confdir=confdir, scripts=())
            stack.enter_context(running(mitmdump))
            return App(mitmdump.client, file, mitmdump)

        yield record


@pytest.fixture
def django(record: Record, tmp_path: Path) -> App:
    port = free_port()
    address = f"127.0.0.1:{port}"
    python = pip("django", *DJANGO)
    return record(port, python, HERE / "django_project.py", tmp_path / "db.sqlite", address)


USER = {"username": "ada", "password": PASSWORD}


def test_django_rest_framework_tokens(django: App) -> None:
    token = django.send("POST /api-token-auth/", USER)["token"]
    django.send("GET /me/", authorization=f"Token {token}")
    assert django.learnt() == {
        "login": ["/api-token-auth/"],
        "token": ["/token"],
        "header": "Authorization",
        "header_format": "Token {token}",
    }


def test_simple_jwt(django: App) -> None:
    got = django.send("POST /api/token/", USER)
    django.send("GET /me/", authorization=f"Bearer {got['access']}")
    got = django.send("POST /api/token/refresh/", {"refresh": got["refresh"]})
    django.send("GET /me/", authorization=f"Bearer {got['access']}")
    assert django.learnt() == {
        "login": ["/api/token/"],
        "token": ["/access"],
        **BEARER,
        "refresh": "/api/token/refresh/",
        "refresh_token": "/refresh",
        "refresh_body": '{"refresh": "{refresh_token}"}',
    }


def test_django_graphql_jwt(django: App) -> None:
    query = (
        "mutation TokenAuth($username: String!, $password: String!)"
        " { tokenAuth(username: $username, password: $password) { token } }"
    )
    got = django.send("POST /graphql", {"query": query, "variables": USER})
    token = got["data"]["tokenAuth"]["token"]
    django.send("POST /graphql", {"query": "{ me }"}, f"JWT {token}")
    assert django.learnt() == {
        "login": ["/graphql"],
        "token": ["/data/tokenAuth/token"],
        "header": "Authorization",
        "header_format": "JWT {token}",
    }


def test_fastapi_users(record: Record, tmp_path: Path) -> None:
    port = free_port()
    python = pip("fastapi", "fastapi-users[sqlalchemy]", "uvicorn", "aiosqlite")
    app = record(port, python, HERE / "fastapi_project.py", tmp_path / "db", str(port))
    app.send("POST /auth/register", {"email": MAIL, "password": PASSWORD})
    form = urlencode({"username": MAIL, "password": PASSWORD})
    token = app.send("POST /auth/jwt/login", form)["access_token"]
    app.send("GET /users/me", authorization=f"Bearer {token}")
    app.send("POST /auth/jwt/logout", {}, f"Bearer {token}")
    assert app.learnt() == {
        "login": ["/auth/jwt/login"],
        "token": ["/access_token"],
        **BEARER,
        "logout": "/auth/jwt/logout",
        "logout_upstream": True,
    }


def test_json_server_auth(record: Record, tmp_path: Path) -> None:
    port = free_port()
    programs = npm("json-server-auth", "json-server@0.17.4", "json-server-auth")
    (tmp_path / "db.json").write_text('{"users": [], "notes": [{"id": 1}]}')
    app = record(port, programs / "json-server-auth", "db.json", "--port", str(port))
    user = {"email": MAIL, "password": PASSWORD}
    app.send("POST /register", user)
    token = app.send("POST /login", user)["accessToken"]
    app.send("GET /660/notes", authorization=f"Bearer {token}")
    learnt = app.learnt()
    assert learnt == {"login": ["/register", "/login"], "token": ["/accessToken"], **BEARER}


def test_node_red(record: Record, tmp_path: Path) -> None:
    port = free_port()
    app = record(port, *node_red(tmp_path, port))
    assert eventually(lambda: app.ask("GET /flows").status == 401, 60)
    grant = {"client_id": "node-red-editor", "grant_type": "password", "scope": "*"}
    token = app.send("POST /auth/token", grant | USER)["access_token"]
    app.send("GET /settings", authorization=f"Bearer {token}")
    app.ask("POST /auth/revoke", {"token": token}, f"Bearer {token}")
    assert app.learnt() == {"login": ["/auth/token"], "token": ["/access_token"], **BEARER}


def test_verdaccio(record: Record, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "config.yaml").write_text(
        "storage: ./storage\n"
        "auth: {htpasswd: {file: ./htpasswd}}\n"
        "packages: {'**': {access: $all, publish: $authenticated}}\n"
        "log: {type: stdout, level: warn}\n"
    )
    program = npm("verdaccio", "verdaccio", **{"node-fetch": "^2.7.0"}) / "verdaccio"
    app = record(port, program, "--config", "config.yaml", "--listen", f"127.0.0.1:{port}")
    target, user = "PUT /-/user/org.couchdb.user:ada", {"name": "ada", "password": PASSWORD}
    app.send(target, user)
    basic = b64encode(f"ada:{PASSWORD}".encode()).decode()
    token = app.send(target, user, f"Basic {basic}")["token"]
    app.send("GET /-/whoami", authorization=f"Bearer {token}")
    learnt = app.learnt()
    assert learnt == {"login": ["/-/user/org.couchdb.user:ada"], "token": ["/token"], **BEARER}


def test_synapse(record: Record, tmp_path: Path) -> None:
    port = free_port()
    python = pip("synapse", "matrix-synapse")
    config = tmp_path / "homeserver.yaml"
    config.write_text(
        "server_name: localhost\n"
        "report_stats: false\n"
        "enable_registration: false\n"
        "registration_shared_secret: only-for-this-test\n"
        "macaroon_secret_key: only-for-this-test\n"
        "refreshable_access_token_lifetime: 60s\n"
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
    app = record(port, *synapse)
    register = [python.parent / "register_new_matrix_user", "-c", config, "--no-admin"]
    register += ["-u", "ada", "-p", PASSWORD, f"http://127.0.0.1:{port}"]
    subprocess.run([str(part) for part in register], check=True)
    at = "/_matrix/client/v3"
    who = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "ada"}}
    got = app.send(f"POST {at}/login", {**who, "password": PASSWORD, "refresh_token": True})
    app.send(f"GET {at}/account/whoami", authorization=f"Bearer {got['access_token']}")
    got = app.send(f"POST {at}/refresh", {"refresh_token": got["refresh_token"]})
    app.send(f"GET {at}/account/whoami", authorization=f"Bearer {got['access_token']}")
    app.send(f"POST {at}/logout", {}, f"Bearer {got['access_token']}")
    assert app.learnt() == {
        "login": [f"{at}/login"],
        "token": ["/access_token"],
        **BEARER,
        "refresh": f"{at}/refresh",
        "refresh_token": "/refresh_token",
        "refresh_body": '{"refresh_token": "{refresh_token}"}',
        "logout": f"{at}/logout",
        "logout_upstream": True,
    }
