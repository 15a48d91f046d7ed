"""The API and pages that `./run.sh` shows, as a mitmproxy addon.

They are served from mitmproxy's own event loop, so that the demo is one process that ends at once.
cookie-auth treats the API like any other: it listens where `--mode reverse:` points.
"""

import asyncio
import base64
import contextlib
import hmac
import itertools
import json
import secrets
import time
from pathlib import Path

from mitmproxy import ctx
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode
from tornado import httpserver, iostream, web, websocket

USER = "admin@example.com"
HERE = Path(__file__).parent
KEY = secrets.token_bytes(32)


class Page(web.RequestHandler):
    def initialize(self, file: str) -> None:
        self.file = HERE / file

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", f"text/{self.file.suffix[1:]}; charset=UTF-8")
        self.write(self.file.read_bytes())


class Login(web.RequestHandler):
    """Any password will do for the one user; each login gets a token of its own."""

    def post(self) -> None:
        try:
            email = json.loads(self.request.body)["email"]
        except (ValueError, TypeError, KeyError):
            email = None
        if email == USER:
            token = secrets.token_urlsafe(32)
            self.settings["tokens"].add(token)
            self.write({"authToken": token})
        else:
            self.set_status(400)
            self.write({"error": "Invalid credentials"})


class Me(web.RequestHandler):
    def get(self) -> None:
        token = self.request.headers.get("auth-token")
        if token is None:
            self.set_status(401)
            self.write({"error": "Not logged in"})
        elif token not in self.settings["tokens"]:
            self.set_status(403)
            self.write({"error": "Unknown token"})
        else:
            self.write({"email": USER})


class Events(web.RequestHandler):
    """Server-sent events, one a second, for whoever is logged in."""

    async def get(self) -> None:
        if self.request.headers.get("auth-token") not in self.settings["tokens"]:
            self.set_status(401)
            return
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        with contextlib.suppress(iostream.StreamClosedError):
            for number in itertools.count(1):
                self.write(f"data: {number}\n\n")
                await self.flush()
                await asyncio.sleep(1)


class Echo(websocket.WebSocketHandler):
    """Says back what it hears, to whoever is logged in."""

    def prepare(self) -> None:
        if self.request.headers.get("auth-token") not in self.settings["tokens"]:
            self.set_status(401)
            self.finish()

    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message, binary=isinstance(message, bytes))


class Headers(web.RequestHandler):
    """What arrived here; of the token, only its length."""

    def get(self) -> None:
        fields = dict(self.request.headers)
        if token := fields.get("Auth-Token"):
            fields["Auth-Token"] = f"({len(token)} characters)"
        self.write(fields)


# The same API as most are, for the page that knows of no proxy


def jwt(claims: dict[str, str | int]) -> str:
    """A JSON Web Token signed with HS256 (RFC 7519)."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(KEY, signed, "sha256")).rstrip(b"=")
    return f"{signed.decode()}.{signature.decode()}"


class Bearer(web.RequestHandler):
    """What the handlers with bearer tokens share; `sessions` is access tokens by refresh token."""

    @property
    def sessions(self) -> dict[str, str]:
        sessions: dict[str, str] = self.settings["sessions"]
        return sessions

    @property
    def token(self) -> str:
        """The access token of the request, if it is a good one."""
        token = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        return token if token in self.sessions.values() else ""

    def sent(self, name: str) -> str:
        """This member of the JSON that was sent."""
        with contextlib.suppress(ValueError):
            body = json.loads(self.request.body)
            if isinstance(body, dict):
                return str(body.get(name))
        return ""

    def refuse(self, error: str) -> None:
        self.set_status(401)
        self.write({"error": error})

    def hand_out(self) -> None:
        now = int(time.time())
        claims: dict[str, str | int] = {"sub": USER, "name": "Ada Admin", "iat": now}
        access = jwt(claims | {"exp": now + 3600, "jti": secrets.token_hex(8)})
        refresh = secrets.token_urlsafe(32)
        self.sessions[refresh] = access
        tokens = {"access_token": access, "refresh_token": refresh}
        self.write(tokens | {"token_type": "bearer", "expires_in": 3600})


class SignIn(Bearer):
    def post(self) -> None:
        if self.sent("email") == USER:
            self.hand_out()
        else:
            self.refuse("Invalid credentials")


class Refresh(Bearer):
    def post(self) -> None:
        if self.sessions.pop(self.sent("refresh_token"), None):
            self.hand_out()
        else:
            self.refuse("Unknown refresh token")


class Account(Bearer):
    def get(self) -> None:
        if self.token:
            token = f"({len(self.token)} characters, signed by this API)"
            self.write({"email": USER, "token": token})
        else:
            self.refuse("Not logged in")


class SignOut(Bearer):
    def post(self) -> None:
        ended = [refresh for refresh, access in self.sessions.items() if access == self.token]
        for refresh in ended:
            del self.sessions[refresh]
        self.set_status(204)


def make_app() -> web.Application:
    pages = {"/": "index.html", "/app.html": "app.html", "/style.css": "style.css"}
    handlers = {
        "/login": Login,
        "/me": Me,
        "/headers": Headers,
        "/events": Events,
        "/echo": Echo,
        "/auth/sign-in": SignIn,
        "/auth/refresh": Refresh,
        "/auth/account": Account,
        "/auth/logout": SignOut,
    }
    app = web.Application(
        list(handlers.items()), tokens=set(), sessions={}, log_function=lambda handler: None
    )
    app.add_handlers(".*", [(path, Page, {"file": file}) for path, file in pages.items()])
    return app


class DemoApi:
    """Serves the demo on the address that `--mode reverse:` names."""

    server: httpserver.HTTPServer | None = None

    def running(self) -> None:
        mode = ProxyMode.parse(ctx.options.mode[0])
        assert isinstance(mode, ReverseMode)
        host, port = mode.address
        self.server = make_app().listen(port, host)

    def done(self) -> None:
        if self.server:
            self.server.stop()


addons = [DemoApi()]
