"""The API and page that `./run.sh` shows, as a mitmproxy addon.

They are served from mitmproxy's own event loop, so that the demo is one process that ends at once.
cookie-auth treats the API like any other: it listens where `--mode reverse:` points.
"""

import asyncio
import contextlib
import itertools
import json
import secrets
from pathlib import Path

from mitmproxy import ctx
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode
from tornado import httpserver, iostream, web, websocket

USER = "admin@example.com"
PAGE = Path(__file__).with_name("index.html")


class Page(web.RequestHandler):
    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.write(PAGE.read_bytes())


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


def make_app() -> web.Application:
    handlers = {
        "/": Page,
        "/login": Login,
        "/me": Me,
        "/headers": Headers,
        "/events": Events,
        "/echo": Echo,
    }
    return web.Application(list(handlers.items()), tokens=set())


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
