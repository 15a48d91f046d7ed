"""A small API as most are: JWT access tokens, rotating refresh tokens, and it speaks to any origin.

`Api` runs it in a thread. It knows every token that it handed out, ends access tokens when asked
to, and revokes a whole login when a refresh token comes a second time (RFC 9700, 4.14.2).
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

USER, PASSWORD = "ada@example.com", "correct horse"
_KEY = b"only for these tests"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(claims: dict[str, object]) -> str:
    """A JWT signed with HS256 (RFC 7515, A.1)."""
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_base64url(hmac.digest(_KEY, signed.encode(), 'sha256'))}"


class Api:
    """The API, serving on a free port until it is closed."""

    def __init__(self) -> None:
        self.issued: list[str] = []
        """All tokens ever handed out, which nobody but the proxy may hold."""
        self.refreshes: list[int] = []
        """The status of each answer to a refresh."""
        self._awaited = 0  # how many refused requests a refresh waits for
        self._access: dict[str, str] = {}  # each good access token's login
        self._refresh: dict[str, str] = {}  # each refresh token's login, also when it was used
        self._current: dict[str, str] = {}  # each login's one good refresh token
        self._notes = ["Buy milk", "Water the plants"]
        self._files: dict[str, bytes] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopped: asyncio.Event
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._run()])
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def logins(self) -> int:
        """How many there are that nobody ended."""
        return len(self._current)

    def end_access_tokens(self, at_once: int = 1) -> None:
        """As if their time were over; a refresh is answered when so many requests were refused."""
        self._awaited = at_once
        self._access.clear()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)
        self._loop.close()

    async def _run(self) -> None:
        self._stopped = asyncio.Event()
        app = web.Application(middlewares=[_preflight], client_max_size=64 << 20)
        app.on_response_prepare.append(_cors)
        app.add_routes(
            [
                web.post("/auth/sign-in", self._sign_in),
                web.post("/auth/refresh", self._renew),
                web.post("/auth/logout", self._log_out),
                web.get("/notes", self._list),
                web.post("/notes", self._add),
                web.post("/files", self._upload),
                web.get("/files/{id}", self._download),
                web.get("/events", self._events),
                web.get("/live", self._live),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopped.wait()
        await runner.cleanup()

    # Tokens

    def _hand_out(self, login: str) -> web.Response:
        now = int(time.time())
        claims = {"sub": "1", "name": "Ada", "iat": now, "exp": now + 3600}
        access = jwt(claims | {"jti": secrets.token_hex(8)})
        refresh = secrets.token_urlsafe(32)
        self.issued += [access, refresh]
        self._access[access] = self._refresh[refresh] = login
        self._current[login] = refresh
        tokens = {"access_token": access, "refresh_token": refresh, "token_type": "bearer"}
        return web.json_response(tokens | {"expires_in": 3600, "user": {"name": "Ada"}})

    def _login_of(self, token: str) -> str:
        """Whose access token this is; raises 401 when it is nobody's."""
        if token not in self._access:
            self._awaited -= 1
            raise _refused(401, "The access token is missing, over or unknown.")
        return self._access[token]

    def _bearer(self, request: web.Request) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return self._login_of(token if scheme == "Bearer" else "")

    def _end(self, login: str) -> None:
        self._current.pop(login, None)
        self._access = {token: of for token, of in self._access.items() if of != login}

    # Answers

    async def _sign_in(self, request: web.Request) -> web.Response:
        body = await request.json()
        if (body["email"], body["password"]) != (USER, PASSWORD):
            raise _refused(401, "Wrong address or password.")
        return self._hand_out(secrets.token_hex(8))

    async def _renew(self, request: web.Request) -> web.Response:
        given = (await request.json())["refresh_token"]
        while self._awaited > 0:
            await asyncio.sleep(0.01)
        login = self._refresh.get(given, "")
        if self._current.get(login) == given:
            self.refreshes.append(200)
            return self._hand_out(login)
        self._end(login)
        self.refreshes.append(401)
        raise _refused(401, "The refresh token was used before, or is unknown.")

    async def _log_out(self, request: web.Request) -> web.Response:
        login = self._bearer(request)
        if self._refresh.get((await request.json())["refresh_token"]) != login:
            raise _refused(400, "That is no refresh token of this login.")
        self._end(login)
        return web.Response(status=204)

    async def _list(self, request: web.Request) -> web.Response:
        self._bearer(request)
        return web.json_response(self._notes)

    async def _add(self, request: web.Request) -> web.Response:
        self._bearer(request)
        self._notes.append((await request.json())["text"])
        return web.json_response(self._notes, status=201)

    async def _upload(self, request: web.Request) -> web.Response:
        self._bearer(request)
        field = (await request.post())["file"]
        assert isinstance(field, web.FileField)
        data = field.file.read()
        name = hashlib.sha256(data).hexdigest()
        self._files[name] = data
        return web.json_response({"id": name, "size": len(data)}, status=201)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """In pieces of no known length in all, as files that are made on the way come."""
        self._bearer(request)
        data = self._files[request.match_info["id"]]
        answer = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        await answer.prepare(request)
        for start in range(0, len(data), 65536):
            await answer.write(data[start : start + 65536])
        return answer

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events; the token is in the query, since EventSource takes no header."""
        login = self._login_of(request.query.get("access_token", ""))
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for number in range(1, 10_000):
            if login not in self._current:
                break
            await answer.write(f"data: {number}\n\n".encode())
            await asyncio.sleep(0.1)
        return answer

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        """A WebSocket that wants the token in its first message, and says back all others."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                break
            said = json.loads(message.data)
            if said["type"] == "auth" and said["token"] in self._access:
                await socket.send_json({"type": "auth_ok", "name": "Ada"})
            elif said["type"] == "auth":
                await socket.send_json({"type": "auth_invalid"})
                break
            else:
                await socket.send_json(said)
        await socket.close()
        return socket


@web.middleware
async def _preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    return web.Response(status=204) if request.method == "OPTIONS" else await handler(request)


async def _cors(request: web.Request, answer: web.StreamResponse) -> None:
    """For pages of any origin, as APIs have it that take a bearer token."""
    answer.headers["Access-Control-Allow-Origin"] = request.headers.get("Origin", "*")
    answer.headers["Access-Control-Allow-Credentials"] = "true"
    answer.headers["Access-Control-Allow-Headers"] = "authorization, content-type"


def _refused(status: int, message: str) -> web.HTTPException:
    kind = {400: web.HTTPBadRequest, 401: web.HTTPUnauthorized}[status]
    body = json.dumps({"error": message})
    return kind(text=body, content_type="application/json")
