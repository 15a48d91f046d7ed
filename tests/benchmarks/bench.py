"""What the proxy costs, beside no proxy, bare mitmdump and the well-known Node design.

`./run.sh bench` prints one table. All proxies run at the same time and are measured in turns, so
that a busy moment of the machine meets them all. A cell is the median of its rounds, and its ratio
to bare mitmdump in the same round (median, least to most). No figure is asserted anywhere.

`./run.sh bench requests bodies` measures these groups only: see GROUPS. `./run.sh bench stand-ins`
is stand_ins.py.
"""

import asyncio
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import repeat
from pathlib import Path

import aiohttp
import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from api import MEGABYTE, SIZE, TOKEN  # noqa: E402
from support import ADDON, FAST_DISPATCH, Mitmdump, free_port, running  # noqa: E402

CACHE = HERE / ".cache"
HEADERS = {
    "Cookie": f"_ga=GA1.1.1; auth-token={TOKEN}; theme=dark",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
    "Accept": "application/json",
    "Accept-Language": "en",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "cors",
}
DIRECT, BARE = "direct", "bare mitmdump"
ROUNDS = 7
SECONDS = 2

Measured = dict[str, float]


@dataclass(frozen=True)
class Peer:
    """Something that answers requests: a proxy, or the API itself."""

    port: int
    pid: int
    prefix: str = ""

    @property
    def memory(self) -> float:
        """Resident memory of the process and those that it has started, in MiB."""
        return sum(int(one.memory_info().rss) for one in self._family()) / MEGABYTE

    @property
    def processor_time(self) -> float:
        """What they have used of the processor, in seconds."""
        times = [one.cpu_times() for one in self._family()]
        return sum(float(one.user + one.system) for one in times)

    def _family(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]


# Who takes part


@contextmanager
def api() -> Iterator[Peer]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "api.py")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        yield Peer(int(process.stdout.readline()), process.pid)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def mitmdump(url: str, *scripts: Path, options: tuple[str, ...] = ()) -> Iterator[Peer]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = ("-q", "--listen-port", str(port), *options)
        process = Mitmdump(url, *options, confdir=Path(folder), scripts=scripts)
        with running(process):
            yield Peer(port, process.process.pid)


@contextmanager
def node(url: str, *command: str, prefix: str = "") -> Iterator[Peer]:
    port = free_port()
    env = {**os.environ, "API_URL": url, "PORT": str(port), "NEXT_TELEMETRY_DISABLED": "1"}
    with (CACHE / "log").open("a") as log:
        process = subprocess.Popen(command, cwd=CACHE, env=env, stdout=log, stderr=log)
    try:
        yield Peer(port, process.pid, prefix)
    finally:
        for one in psutil.Process(process.pid).children(recursive=True):
            one.terminate()
        process.terminate()
        process.wait()


def install_node() -> bool:
    """Put the Node peers into the cache folder; False where there is no Node."""
    if not shutil.which("npm"):
        return False
    shutil.copytree(HERE / "node", CACHE, dirs_exist_ok=True)
    if not (CACHE / ".next" / "BUILD_ID").exists():
        print("bench: installing and building the Next.js peer; this happens once", file=sys.stderr)
        for command in (["npm", "install", "--no-fund", "--no-audit"], ["npx", "next", "build"]):
            subprocess.run(command, cwd=CACHE, check=True, stdout=subprocess.DEVNULL)
    return True


Start = Callable[[], AbstractContextManager[Peer]]


def proxies(url: str) -> dict[str, Start]:
    """How to start each proxy, by name."""
    starts: dict[str, Start] = {
        BARE: lambda: mitmdump(url),
        "idle addon": lambda: mitmdump(url, HERE / "idle_addon.py"),
        "cookie-auth": lambda: mitmdump(url, ADDON),
        "cookie-auth, fast dispatch": lambda: mitmdump(url, FAST_DISPATCH, ADDON),
    }
    if install_node():
        next_js = str(CACHE / "node_modules" / ".bin" / "next")
        starts["http-proxy"] = lambda: node(url, "node", "server.js")
        starts["Next.js, built"] = lambda: node(url, next_js, "start", prefix="/api")
        # Last: it would write over what was built.
        starts["Next.js, dev"] = lambda: node(url, next_js, "dev", prefix="/api")
    return starts


def answering(peer: Peer, seconds: float = 60) -> Peer:
    """The peer, once it answers as it should."""
    end = time.monotonic() + seconds
    while True:
        try:
            with request(peer, "GET", "/me", f"Cookie: auth-token={TOKEN}") as connection:
                head, _, body = read_head(connection)
                body = body or connection.recv(1000)
            assert head.startswith(b"HTTP/1.1 200"), head
            return peer
        except OSError:
            assert time.monotonic() < end, f"nothing answers on port {peer.port}"
            time.sleep(0.02)


# What is measured


def requests(peer: Peer, fields: Mapping[str, str] | None = None) -> Measured:
    """Small requests over kept-alive connections, by a browser that has logged in there.

    Processor time tells most where the neighbours of a rented machine are busy.
    """
    figures = {}
    fields = fields or signed_in(peer)
    for connections in (1, 16):
        load = wrk if shutil.which("wrk") else by_aiohttp
        before = peer.processor_time
        url = f"http://127.0.0.1:{peer.port}{peer.prefix}/me"
        rate, latency = load(url, connections, SECONDS, fields)
        figures[f"requests/s, connections: {connections}"] = rate
        figures[f"median latency, ms, connections: {connections}"] = latency
        used = (peer.processor_time - before) / (rate * SECONDS)
        figures[f"processor time per request, ms, connections: {connections}"] = used * 1000
    return figures


@lru_cache
def signed_in(peer: Peer) -> Mapping[str, str]:
    """The fields of a browser with the cookies of a login, or with one of its own, as long, where
    none are set. (From a browser, cookie-auth takes only what it has set itself.)
    """
    fields = [f"{name}: {value}" for name, value in HEADERS.items() if name != "Cookie"]
    with request(peer, "POST", "/login", *fields, "Content-Length: 0") as connection:
        head, _, _ = read_head(connection)
    cookies = re.findall(r"(?i)\r\nset-cookie: ([^;\r]+)", head.decode())
    if not cookies:
        return HEADERS
    return {**HEADERS, "Cookie": "; ".join(["_ga=GA1.1.1", *cookies, "theme=dark"])}


def wrk(
    url: str, connections: int, seconds: float, fields: Mapping[str, str]
) -> tuple[float, float]:
    headers = [part for name, value in fields.items() for part in ("-H", f"{name}: {value}")]
    options = ["-t1", f"-c{connections}", f"-d{seconds}", "--latency", *headers]
    out = subprocess.run(["wrk", *options, url], capture_output=True, text=True, check=True).stdout
    assert not re.search("Non-2xx|Socket errors", out), out
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    latency = re.search(r"50%\s+([\d.]+)(us|ms|s)\b", out)
    assert rate, out
    assert latency, out
    return float(rate[1]), float(latency[1]) * {"us": 0.001, "ms": 1, "s": 1000}[latency[2]]


def by_aiohttp(
    url: str, connections: int, seconds: float, fields: Mapping[str, str]
) -> tuple[float, float]:
    end = time.perf_counter() + seconds
    latencies = ask(url, connections, lambda: time.perf_counter() < end, fields)
    return len(latencies) / seconds, statistics.median(latencies)


def ask(
    url: str, connections: int, more: Callable[[], bool], fields: Mapping[str, str] = HEADERS
) -> list[float]:
    """Send requests as long as there are to be more; how long each took, in ms."""
    latencies: list[float] = []

    async def work(session: aiohttp.ClientSession) -> None:
        while more():
            start = time.perf_counter()
            async with session.get(url) as response:
                assert response.status == 200
                await response.read()
            latencies.append((time.perf_counter() - start) * 1000)

    async def run() -> None:
        connector = aiohttp.TCPConnector(limit=connections)
        async with aiohttp.ClientSession(connector=connector, headers=fields) as session:
            await asyncio.gather(*(work(session) for _ in range(connections)))

    asyncio.run(run())
    return latencies


def events(peer: Peer) -> Measured:
    """How long an event takes from the API to the browser."""
    with request(peer, "GET", "/events") as connection:
        _, _, body = read_head(connection)
        while not (sent := re.search(rb"data: (\d+)\n\n", body)):
            chunk = connection.recv(1000)
            assert chunk, f"closed after {body!r}"
            body += chunk
        arrived = time.perf_counter_ns()
    return {"event, ms": (arrived - int(sent[1])) / 1e6}


def bodies(peer: Peer) -> Measured:
    """300 MiB down and up: first byte, and how the memory of the process grows, at most."""
    answering(peer)
    with Memory(peer) as down:
        start = time.perf_counter()
        with request(peer, "GET", "/download") as connection:
            _, _, body = read_head(connection)
            first = time.perf_counter()
            got = len(body)
            while chunk := connection.recv(MEGABYTE):
                got += len(chunk)
        assert got >= SIZE, got  # chunked where the proxy takes the length away
    with Memory(peer) as up:
        with request(peer, "POST", "/upload", f"Content-Length: {SIZE}") as connection:
            part = bytes(MEGABYTE)
            for _ in range(SIZE // MEGABYTE):
                connection.sendall(part)
            head, _, _ = read_head(connection)
        assert head.startswith(b"HTTP/1.1 200"), head
    return {
        "300 MiB down: first byte, ms": (first - start) * 1000,
        "300 MiB down: memory, MiB": down.growth,
        "300 MiB up: memory, MiB": up.growth,
    }


def memory(peer: Peer) -> Measured:
    """How the memory of the process grows from the 2,000th to the 20,000th request."""
    url = f"http://127.0.0.1:{answering(peer).port}{peer.prefix}/me"
    sizes = []
    for number in (2_000, 18_000):
        ask(url, 8, partial(next, repeat(True, number), False))
        sizes.append(peer.memory)
    return {"memory growth, 18,000 requests, MiB": sizes[1] - sizes[0]}


class Memory:
    """How much the resident memory of a peer grows while this is open, at most, in MiB."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.done = threading.Event()
        self.before = self.most = peer.memory

    def __enter__(self) -> "Memory":
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.most = max(self.most, self.peer.memory)

    @property
    def growth(self) -> float:
        return self.most - self.before


def read_head(connection: socket.socket) -> tuple[bytes, bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("closed before the end of the headers")
        data += chunk
    return data.partition(b"\r\n\r\n")


def request(peer: Peer, method: str, path: str, *fields: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", peer.port), timeout=120)
    line = f"{method} {peer.prefix}{path} HTTP/1.1"
    head = "\r\n".join([line, f"Host: localhost:{peer.port}", "Connection: close", *fields, "", ""])
    connection.sendall(head.encode())
    return connection


# The table

Figures = dict[str, dict[str, list[float]]]
"""The rounds' figures, by label and by peer."""


def together(measure: Callable[[Peer], Measured], rounds: int) -> Callable[..., None]:
    """Measure all peers in turns, each of which runs all the time."""

    def run(direct: Peer, starts: dict[str, Start], figures: Figures) -> None:
        with ExitStack() as stack:
            peers = {name: stack.enter_context(start()) for name, start in starts.items()}
            for peer in peers.values():
                measure(answering(peer))  # warms it up
            for _ in range(rounds):
                for name, peer in {DIRECT: direct, **peers}.items():
                    note(figures, name, measure(peer))

    return run


def afresh(measure: Callable[[Peer], Measured], rounds: int) -> Callable[..., None]:
    """Measure processes that were just started: memory that is held once is not given back."""

    def run(direct: Peer, starts: dict[str, Start], figures: Figures) -> None:
        for _ in range(rounds):
            for name, start in starts.items():
                with start() as peer:
                    note(figures, name, measure(peer))

    return run


def start_up(direct: Peer, starts: dict[str, Start], figures: Figures) -> None:
    for _ in range(ROUNDS):
        for name, start in starts.items():
            begin = time.perf_counter()
            with start() as peer:
                answering(peer)
                note(figures, name, {"start-up, s": time.perf_counter() - begin})


def note(figures: Figures, name: str, measured: Measured) -> None:
    for label, figure in measured.items():
        figures.setdefault(label, {}).setdefault(name, []).append(figure)


GROUPS: dict[str, Callable[[Peer, dict[str, Start], Figures], None]] = {
    "requests": together(requests, ROUNDS),
    "events": together(events, ROUNDS),
    "bodies": afresh(bodies, 3),
    "start": start_up,
    "memory": afresh(memory, 1),
}


def cell(figures: list[float], bare: list[float]) -> str:
    """`577 (1.62x, 1.55 to 1.70)`: the median, and its ratio to bare mitmdump round by round."""
    middle = statistics.median(figures)
    shown = f"{middle:.3g}" if middle < 1000 else f"{middle:.0f}"
    if figures is bare or min(bare) <= 0:
        return f"{shown} ({min(figures):.3g} to {max(figures):.3g})"
    ratios = [figure / other for figure, other in zip(figures, bare, strict=True)]
    return f"{shown} ({statistics.median(ratios):.2f}x, {min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    groups = sys.argv[1:] or list(GROUPS)
    if unknown := set(groups) - GROUPS.keys():
        sys.exit(f"bench: {', '.join(unknown)}: no such group; there are {', '.join(GROUPS)}")
    with api() as direct:
        starts = proxies(f"http://127.0.0.1:{direct.port}")
        columns = [DIRECT, *starts]
        print("| " + " | ".join(["", *columns]) + " |")
        print("| " + " | ".join(["---", *("---:" for _ in columns)]) + " |", flush=True)
        for group in groups:
            figures: Figures = {}
            GROUPS[group](direct, starts, figures)
            for label, row in figures.items():
                cells = [cell(row[name], row[BARE]) if name in row else "" for name in columns]
                print("| " + " | ".join([label, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
