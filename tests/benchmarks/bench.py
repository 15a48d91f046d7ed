"""What the proxy costs in transport: first byte, speed and memory of long bodies, and events.

`./run.sh bench` prints one table. The three proxies take turns, so that a busy moment of the
machine meets them all; each cell is the median of the rounds. No figure is asserted anywhere.
"""

import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from support import ADDON, Mitmdump, running

MEGABYTE = 1024 * 1024
SIZE = 300 * MEGABYTE
ROUNDS = 3

Measured = dict[str, float]


class Api:
    """Sends and takes long bodies and events as fast as a socket can."""

    def __init__(self) -> None:
        self.event_sent = 0.0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            head, _, body = read_head(connection)
            if head.startswith(b"GET /download"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
                part = bytes(MEGABYTE)
                for _ in range(SIZE // MEGABYTE):
                    connection.sendall(part)
            elif head.startswith(b"POST /upload"):
                left = SIZE - len(body)
                while left:
                    left -= len(connection.recv(MEGABYTE))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                time.sleep(0.2)
                self.event_sent = time.perf_counter()
                connection.sendall(b"data: x\n\n")


def read_head(connection: socket.socket) -> tuple[bytes, bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("closed before the end of the headers")
        data += chunk
    return data.partition(b"\r\n\r\n")


def request(port: int, line: str, *fields: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=120)
    head = "\r\n".join([line, f"Host: localhost:{port}", "Connection: close", *fields, "", ""])
    connection.sendall(head.encode())
    return connection


class Memory:
    """How much the resident memory of a process grows while this is open, at most, in MiB."""

    def __init__(self, pid: int) -> None:
        self.process = psutil.Process(pid)
        self.done = threading.Event()
        self.before = self.most = self.process.memory_info().rss

    def __enter__(self) -> "Memory":
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.01):
            self.most = max(self.most, self.process.memory_info().rss)

    @property
    def growth(self) -> float:
        return float(self.most - self.before) / MEGABYTE


def download(mitmdump: Mitmdump, api: Api) -> Measured:
    port = mitmdump.client.port
    with Memory(mitmdump.process.pid) as memory:
        start = time.perf_counter()
        with request(port, "GET /download HTTP/1.1") as connection:
            _, _, body = read_head(connection)
            first = time.perf_counter()
            got = len(body)
            while chunk := connection.recv(MEGABYTE):
                got += len(chunk)
            end = time.perf_counter()
        assert got == SIZE
    return {
        "download: first byte, ms": (first - start) * 1000,
        "download: MiB/s": SIZE / MEGABYTE / (end - start),
        "download: memory growth, MiB": memory.growth,
    }


def upload(mitmdump: Mitmdump, api: Api) -> Measured:
    part = bytes(MEGABYTE)
    port = mitmdump.client.port
    with Memory(mitmdump.process.pid) as memory:
        start = time.perf_counter()
        with request(port, "POST /upload HTTP/1.1", f"Content-Length: {SIZE}") as connection:
            for _ in range(SIZE // MEGABYTE):
                connection.sendall(part)
            read_head(connection)
        end = time.perf_counter()
    return {
        "upload: MiB/s": SIZE / MEGABYTE / (end - start),
        "upload: memory growth, MiB": memory.growth,
    }


def events(mitmdump: Mitmdump, api: Api) -> Measured:
    with request(mitmdump.client.port, "GET /events HTTP/1.1") as connection:
        _, _, body = read_head(connection)
        body = body or connection.recv(100)
        arrived = time.perf_counter()
    assert body == b"data: x\n\n"
    return {"event: from API to browser, ms": (arrived - api.event_sent) * 1000}


def main() -> None:
    api = Api()
    url = f"http://127.0.0.1:{api.port}"
    proxies = {
        "bare mitmdump": ((), ()),
        "bare, stream_large_bodies=1m": ((), ("--set", "stream_large_bodies=1m")),
        "with cookie-auth": ((ADDON,), ()),
    }
    # Events come first and warm the process up, so that memory is that of the bodies.
    measures: list[Callable[[Mitmdump, Api], Measured]] = [events, download, upload]
    figures: dict[str, dict[str, list[float]]] = {}
    for _ in range(ROUNDS):
        for name, (scripts, options) in proxies.items():
            # A process of its own for each round: memory that is held once is not given back.
            with ExitStack() as stack:
                confdir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                mitmdump = stack.enter_context(
                    running(Mitmdump(url, *options, confdir=confdir, scripts=scripts))
                )
                for measure in measures:
                    for label, figure in measure(mitmdump, api).items():
                        figures.setdefault(label, {}).setdefault(name, []).append(figure)
    print(f"\n300 MiB bodies, median of {ROUNDS} rounds (least to most)\n")
    print("| " + " | ".join(["", *proxies]) + " |")
    print("| " + " | ".join(["---", *("---:" for _ in proxies)]) + " |")
    for label, row in figures.items():
        cells = [
            f"{statistics.median(row[name]):.1f} ({min(row[name]):.1f} to {max(row[name]):.1f})"
            for name in proxies
        ]
        print("| " + " | ".join([label, *cells]) + " |")


if __name__ == "__main__":
    main()
