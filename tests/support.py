"""Real peers for the tests: an upstream that records what arrives, a mitmdump, and a plain client.

Both HTTP sides are h11 over sockets: it says what is on the wire, in order, and rejects what is
not well-formed.
"""

import asyncio
import contextlib
import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import h11
from preloaded import Forked

ROOT = Path(__file__).parent.parent
ADDON = ROOT / "addon" / "cookie_auth.py"
FAST_DISPATCH = ADDON.with_name("fast_dispatch.py")
SHORT_WAY = ADDON.with_name("short_way.py")
MITMDUMP = Path(sys.executable).with_name("mitmdump")

Headers = list[tuple[str, str]]
T = TypeVar("T")


@dataclass
class Message:
    """A request or an answer, as it was on the wire; header names are in lower case."""

    start: tuple[str, ...]
    """Method and target, or the status."""
    headers: Headers
    body: bytes

    @property
    def method(self) -> str:
        return self.start[0]

    @property
    def target(self) -> str:
        return self.start[1]

    @property
    def status(self) -> int:
        return int(self.start[0])

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name]

    def one(self, name: str) -> str | None:
        """The value of a header that may stand there once at most."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} more than once: {values}"
        return values[0] if values else None

    @property
    def set_cookie(self) -> str | None:
        """The one Set-Cookie field beside the companion, which comes with no other."""
        assert len(self.companions) <= 1
        assert len(self.set_cookies) <= 1, f"several cookies: {self.set_cookies}"
        if not self.set_cookies:
            assert not self.companions
            return None
        return self.set_cookies[0]

    @property
    def set_cookies(self) -> list[str]:
        """All Set-Cookie fields but the companion's."""
        return [field for field in self.all("set-cookie") if field not in self.companions]

    @property
    def companions(self) -> list[str]:
        """The Set-Cookie fields of companions: `auth-token-login` and the like."""
        fields = self.all("set-cookie")
        return [field for field in fields if re.match(r"[^=]*-login=(2\.|;)", field)]


def answer(
    body: bytes | str = b"", status: int = 200, headers: Headers | None = None, **more: str
) -> bytes:
    """An HTTP/1.1 response as bytes. Keyword arguments are headers, with `_` for `-`."""
    if isinstance(body, str):
        body = body.encode()
    fields = [(name.replace("_", "-"), value) for name, value in more.items()] + (headers or [])
    names = {name.lower() for name, _ in fields}
    if "transfer-encoding" not in names and status not in (204, 304):
        fields.append(("Content-Length", str(len(body))))
    lines = [f"HTTP/1.1 {status} Test"] + [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def read_message(connection: h11.Connection, sock: socket.socket) -> Message | None:
    """The next message from the socket; None when the other side has closed instead."""
    head: h11.Request | h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(sock.recv(65536))
        elif isinstance(event, (h11.Request, h11.Response)):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            start = (
                (head.method.decode(), head.target.decode("latin-1"))
                if isinstance(head, h11.Request)
                else (str(head.status_code),)
            )
            headers = [
                (name.decode(), value.decode("utf-8", "surrogateescape"))
                for name, value in head.headers
            ]
            return Message(start, headers, bytes(body))
        elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return None


class Upstream:
    """An API on a socket. `respond` says what it answers, as bytes on the wire.

    Where that is an iterator, each part is sent when it comes; after its end, or when the proxy
    has gone, the connection is closed.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.tls = tls
        self.received: list[Message] = []
        self.respond: Callable[[Message], bytes | Iterable[bytes]] = lambda request: answer("{}")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.create_server((host, port), family=family)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self) -> Message:
        return self.received[-1]

    def answers(self, body: bytes | str = b"", status: int = 200, **headers: str) -> None:
        """Answer everything with this. Keyword arguments are headers, with `_` for `-`."""
        self.respond = lambda request: answer(body, status, None, **headers)

    def close(self) -> None:
        self.socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.socket.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        connection = h11.Connection(h11.SERVER)
        with contextlib.suppress(OSError, h11.RemoteProtocolError), sock:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            while request := read_message(connection, sock):
                if request.target != "/favicon.ico":  # Chromium's own, perhaps of an earlier test
                    self.received.append(request)
                response = self.respond(request)
                if not isinstance(response, bytes):
                    try:
                        for part in response:
                            sock.sendall(part)
                    finally:  # a generator learns that it has ended
                        getattr(response, "close", lambda: None)()
                    break
                sock.sendall(response)
                # h11 did not see the answer, which may be malformed on purpose.
                left = connection.trailing_data[0]
                connection = h11.Connection(h11.SERVER)
                if left:
                    connection.receive_data(left)


@dataclass
class Client:
    """Talks to the proxy, with a connection of its own for each request."""

    port: int

    def request(
        self,
        method: str,
        target: str,
        headers: Headers | None = None,
        body: bytes | str | None = None,
        **more: str,
    ) -> Message:
        """Send one request. Keyword arguments are headers, with `_` for `-`."""
        if isinstance(body, str):
            body = body.encode()
        fields = [("Host", f"localhost:{self.port}"), *(headers or [])]
        fields += [(name.replace("_", "-"), value) for name, value in more.items()]
        if body is not None and not any(name.lower() == "transfer-encoding" for name, _ in fields):
            fields.append(("Content-Length", str(len(body))))
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(
            method=method,
            target=target.encode("latin-1"),
            headers=[
                (name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in fields
            ],
        )
        data = connection.send(request) or b""
        if body:
            data += connection.send(h11.Data(data=body)) or b""
        data += connection.send(h11.EndOfMessage()) or b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
            sock.sendall(data)
            message = read_message(connection, sock)
        assert message is not None, "the proxy closed the connection without an answer"
        return message

    def get(self, target: str, headers: Headers | None = None, **more: str) -> Message:
        return self.request("GET", target, headers, **more)

    def post(
        self, target: str, headers: Headers | None = None, body: bytes | str = "{}", **more: str
    ) -> Message:
        return self.request("POST", target, headers, body, **more)

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are; what came back until the proxy closed or fell silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as sock:
            sock.sendall(data)
            got = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                while chunk := sock.recv(65536):
                    got += chunk
            return got


class Mitmdump:
    """A mitmdump process with the addon (unless told otherwise) in front of an upstream."""

    fast_dispatch = False
    """Whether all of them load fast_dispatch.py as well; see conftest.py."""
    preloaded = False
    """Whether they are forked from one process, as in the tests, not in the benchmarks."""

    def __init__(
        self,
        upstream: str,
        *arguments: str,
        confdir: Path,
        scripts: tuple[Path, ...] = (ADDON,),
        mode: str = "reverse:",
        program: Path = MITMDUMP,
    ) -> None:
        if self.fast_dispatch:
            scripts = (FAST_DISPATCH, *scripts)
        arguments = (
            *(part for script in scripts for part in ("-s", str(script))),
            *("--mode", f"{mode}{upstream}", "--listen-host", "127.0.0.1"),
            *("--listen-port", "0", "--set", f"confdir={confdir}"),
            *arguments,
        )
        self.process: Forked | subprocess.Popen[str]
        if self.preloaded:
            self.process = Forked(list(arguments))
        else:
            self.process = subprocess.Popen(
                [str(program), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self.log = ""
        self._asked = False
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._more:
                self.log += line
                self._more.notify_all()

    def wait_for_log(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """The first match in the log so far, or in what follows."""
        with self._more:
            end = time.monotonic() + seconds
            while not (match := re.search(pattern, self.log)):
                left = end - time.monotonic()
                assert left > 0, f"no {pattern!r} in the log:\n{self.log}"
                self._more.wait(left)
            return match

    @property
    def client(self) -> Client:
        match = self.wait_for_log(r"reverse proxy to .* listening at \S+:(\d+)")
        return Client(int(match[1]))

    def exit_code(self, seconds: float = 60) -> int:
        """The exit code of a process that ends by itself; its log is complete then."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def ask_to_stop(self) -> None:
        """Once: a second signal would end it before its coverage is saved."""
        if not self._asked:
            self._asked = True
            self.process.terminate()

    def stop(self) -> None:
        self.ask_to_stop()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def stop_all(mitmdumps: Iterable[Mitmdump]) -> None:
    """Stop them at the same time: each needs a moment."""
    mitmdumps = list(mitmdumps)
    for mitmdump in mitmdumps:
        mitmdump.ask_to_stop()
    for mitmdump in mitmdumps:
        mitmdump.stop()


def free_port() -> int:
    """A port on which nobody listens, and which no other test is likely to get.

    The system itself gives out those from 32768 on, for connections and where 0 was asked for, and
    would give them to the next who asks (ip_local_port_range).
    """
    while True:
        port = 10_000 + secrets.randbelow(22_768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def can_connect(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port)):
        return True
    return False


def eventually(check: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether the check comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def running(mitmdump: Mitmdump) -> Iterator[Mitmdump]:
    try:
        yield mitmdump
    finally:
        mitmdump.stop()


def in_a_loop(awaitable: Coroutine[Any, Any, T]) -> T:
    """Its result, from a thread of its own: the browser tests leave a loop running in this one."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, awaitable).result()


@contextlib.contextmanager
def no_minutes() -> Iterator[None]:
    """Fails what keeps a processor busy for a minute, and ends it.

    That is no measure of time: what is linear takes moments, on any machine and under any tracer,
    and what is quadratic takes minutes.
    """

    def end(*_: object) -> None:
        raise AssertionError("it was busy for a minute, and was not done")

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, 60)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
