"""A front end on a socket that keeps what it got as it was on the wire, and a browser as raw."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from support import answer

Respond = Callable[[bytes], bytes | Iterable[bytes]]
"""What is answered to a request's head; where that is an iterator, in parts, and the connection is
closed after them."""


class FrontEnd:
    """Answers one request after the other on each connection."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.received: list[bytes] = []
        """Heads and bodies."""
        self.connections = 0
        """That are open."""
        self.respond: Respond = lambda head: answer("page")
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.create_server((host, port), family=family)
        self.port = self.socket.getsockname()[1]
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def hang_up(self) -> None:
        """Close all connections, as a dev server does that is restarted."""
        with self.lock:
            for sock in self.open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.hang_up()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.socket.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with self.lock:
            self.connections += 1
            self.open.add(sock)
        try:
            with sock, contextlib.suppress(OSError):
                self._answer_all(sock)
        finally:
            with self.lock:
                self.connections -= 1
                self.open.discard(sock)

    def _answer_all(self, sock: socket.socket) -> None:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = sock.recv(65536)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            match = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            while len(data) < int(match[1] if match else 0):
                data += sock.recv(65536)
            size = int(match[1]) if match else 0
            if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
                while b"0\r\n\r\n" not in data:
                    data += sock.recv(65536)
                size = data.index(b"0\r\n\r\n") + 5
            body, data = data[:size], data[size:]
            self.received.append(head + b"\r\n\r\n" + body)
            response = self.respond(head)
            if isinstance(response, bytes):
                sock.sendall(response)
                continue
            try:
                for part in response:
                    sock.sendall(part)
            finally:
                getattr(response, "close", lambda: None)()
            return


def answers_in(data: bytes, methods: Sequence[str], *, ended: bool) -> list[tuple[bytes, bytes]]:
    """The whole answers at the beginning of these bytes, to requests of these methods.

    Head and body of each, a chunked one put together. `ended`: nothing more will come.
    """
    found: list[tuple[bytes, bytes]] = []
    while len(found) < len(methods):
        method = methods[len(found)]
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            break
        status = int(head.split(b" ", 2)[1])
        if status == 100:
            data = rest
            continue
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if status == 101:
            return [*found, (head, rest)]
        if method == "HEAD" or status in (204, 304):
            body: bytes | None = b""
            data = rest
        elif re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
            body, data = unchunked(rest)
        elif length:
            body, data = rest[: int(length[1])], rest[int(length[1]) :]
            if len(body) < int(length[1]):
                body = None
        else:
            body, data = (rest, b"") if ended else (None, rest)
        if body is None:
            break
        found.append((head, body))
    return found


def unchunked(data: bytes) -> tuple[bytes | None, bytes]:
    """A chunked body, None as long as it is not whole, and what follows."""
    body = b""
    while True:
        size, end, data = data.partition(b"\r\n")
        if not end:
            return None, b""
        length = int(size.partition(b";")[0], 16)
        if not length:
            return (body, data[2:]) if data.startswith(b"\r\n") else (None, b"")
        if len(data) < length + 2:
            return None, b""
        body, data = body + data[:length], data[length + 2 :]


class Browser:
    """One connection to the proxy."""

    def __init__(self, port: int, timeout: float = 60) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.got = b""
        self.ended = False

    def send(self, *parts: bytes) -> None:
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            self.socket.sendall(part)

    def more(self) -> None:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        self.got += data
        self.ended = self.ended or not data

    def answers(self, *methods: str) -> list[tuple[bytes, bytes]]:
        """The answers to requests of these methods, or what there is of them at the end."""
        while True:
            found = answers_in(self.got, methods, ended=self.ended)
            if len(found) == len(methods) or self.ended:
                return found
            self.more()

    def until_closed(self) -> bytes:
        while not self.ended:
            self.more()
        return self.got

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def get(target: str, *lines: str, method: str = "GET", host: str = "localhost") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode(
        "utf-8", "surrogateescape"
    )


def in_bytes(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))
