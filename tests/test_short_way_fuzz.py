"""Whatever a browser sends, both ways to the front end do the same with it.

mitmproxy's own layers and the addon run here without sockets: what comes next, from the browser or
from a server, is drawn, so that every order comes up that a network can bring about.
"""

import asyncio
import logging
import re
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import short_way
from front_end import get, unchunked
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from mitmproxy import ctx
from mitmproxy.addons import next_layer, proxyserver, script, tlsconfig
from mitmproxy.connection import Client, Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events, mode_specs
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import modes
from mitmproxy.test import taddons
from support import ADDON

SHARE = 1 if sys.gettrace() is None else 10
"""Under a tracer, as coverage is measured, each example takes some thirty times as long."""
API, FRONT_END = ("127.0.0.1", 1001), ("127.0.0.1", 1002)
MODE = mode_specs.ProxyMode.parse(f"reverse:http://{API[0]}:{API[1]}")
OPTIONS = {
    "mode": [f"reverse:http://{API[0]}:{API[1]}"],
    "cookie_auth_prefix": "/api",
    "cookie_auth_frontend": f"http://{FRONT_END[0]}:{FRONT_END[1]}",
    "cookie_auth_allowed_origins": ["http://shop.test"],
}

Respond = Callable[[bytes, Random], list[bytes] | None]
"""The pieces in which a server answers a request's head; None where it hangs up instead."""


class Seen(NamedTuple):
    answers: bytes
    """What the browser got."""
    requests: list[tuple[str, bytes]]
    """What the servers got, in order: whose it was, and head and body."""
    closed: bool
    crashed: str
    """In which function a layer failed, if one did; mitmproxy logs that and goes on
    (`ConnectionHandler.server_event`)."""


class World:
    """One browser's connection to the proxy, and the servers behind it."""

    def __init__(self, pieces: Sequence[bytes], respond: Respond, random: Random) -> None:
        self.client = Client(
            peername=("127.0.0.1", 50_000),
            sockname=("127.0.0.1", 8080),
            timestamp_start=0,
            state=ConnectionState.OPEN,
            proxy_mode=MODE,
        )
        self.layer = modes.ReverseProxy(Context(self.client, ctx.options))
        self.respond, self.random = respond, random
        self.got = b""
        self.crashed = ""
        self.requests: list[tuple[str, bytes]] = []
        self.unread: dict[Connection, bytes] = {}
        # What may happen next: one event of any of these queues
        self.done: deque[events.Event] = deque()
        self.coming: dict[Connection, deque[bytes | None]] = {self.client: deque(pieces)}

    async def run(self) -> Seen:
        await self.tell(events.Start())
        haste = self.random.choice((0, 0.05, 0.5))  # of the browser
        while True:
            sources: list[object] = [*self.done, *filter(self.coming.get, self.coming)][:20]
            if len(sources) > 1 and self.random.random() >= haste:
                sources = [one for one in sources if one is not self.client]
            if not sources:
                break
            connection = self.random.choice(sources)
            if not isinstance(connection, Connection):
                await self.tell(self.done.popleft())
            elif (data := self.coming[connection].popleft()) is not None:
                await self.tell(events.DataReceived(connection, data))
            else:
                self.coming[connection].clear()
                connection.state &= ~ConnectionState.CAN_READ
                await self.tell(events.ConnectionClosed(connection))
        closed = self.client.state is ConnectionState.CLOSED
        return Seen(self.got, self.requests, closed, self.crashed)

    async def tell(self, event: events.Event) -> None:
        try:
            for command in self.layer.handle_event(event):
                await self.do(command)
        except Exception as error:
            self.crashed = traceback.extract_tb(error.__traceback__)[-1].name

    async def do(self, command: commands.Command) -> None:
        if isinstance(command, commands.OpenConnection):
            server = command.connection
            assert server not in self.coming
            server.state = ConnectionState.OPEN
            server.peername = server.address
            self.coming[server] = deque()
            self.done.append(events.OpenConnectionCompleted(command, None))
        elif isinstance(command, commands.RequestWakeup):
            if self.random.random() < 0.1:  # a connection is long in coming
                self.done.append(events.Wakeup(command))
        elif isinstance(command, commands.StartHook):
            await ctx.master.addons.handle_lifecycle(command)
            if command.blocking:
                self.done.append(events.HookCompleted(command))
        elif isinstance(command, commands.CloseConnection):
            connection = command.connection
            if connection.state is not ConnectionState.CLOSED:
                told = not connection.state & ConnectionState.CAN_READ
                connection.state = ConnectionState.CLOSED
                self.coming[connection].clear()
                if not told:
                    self.done.append(events.ConnectionClosed(connection))
        elif isinstance(command, commands.SendData):
            connection = command.connection
            if connection is self.client and connection.state & ConnectionState.CAN_WRITE:
                self.got += re.sub(rb"(?i)\r\ndate: [^\r]*", b"", command.data)
            elif connection.state & ConnectionState.CAN_WRITE:
                self.arrive(connection, command.data)

    def arrive(self, server: Connection, data: bytes) -> None:
        assert isinstance(server, Server)
        data = self.unread.pop(server, b"") + data
        while b"\r\n\r\n" in data:
            head, end, rest = data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            size = int(length[1]) if length else 0
            is_chunked = re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head)
            if is_chunked:
                size = rest.find(b"0\r\n\r\n") + 5  # none has this within
                if size < 5:
                    break
            if len(rest) < size:
                break
            body, data = rest[:size], rest[size:]
            if is_chunked:  # pieces that have come one by one go on as chunks of their own
                body = unchunked(body)[0] or b""
            whose = "front end" if server.address == FRONT_END else "API"
            self.requests.append((whose, head + end + body))
            pieces = self.respond(head, self.random)
            self.coming[server] += [None] if pieces is None else pieces
        self.unread[server] = data


class Both:
    """The addon in this process, with and without the short way."""

    def __init__(self, confdir: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.call(self.load(confdir))

    def call(self, awaitable: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(60)

    async def load(self, confdir: Path) -> None:
        context = taddons.context()
        addons = context.master.addons
        scripts = script.ScriptLoader()
        addons.add(proxyserver.Proxyserver(), scripts, tlsconfig.TlsConfig())
        with patch.dict(sys.modules):  # it takes our packages out, which other tests have
            import cookie_auth

            self.cookie_auth = cookie_auth.CookieAuth()
        self.short_way = short_way.ShortWay()
        ours: Any = SimpleNamespace(name="ours", path="", fullpath=str(ADDON), ns=None)
        ours.addons = [self.cookie_auth, self.short_way]
        scripts.addons.append(ours)
        addons.register(ours)
        addons.add(next_layer.NextLayer())
        context.options.update(confdir=str(confdir), **OPTIONS)
        assert self.short_way.known

    def run(self, short: bool, pieces: Sequence[bytes], respond: Respond, seed: int) -> Seen:
        self.short_way.loaded = short
        world = World(pieces, respond, Random(seed))
        seen: Seen = self.call(world.run())
        return seen

    def close(self) -> None:
        async def done() -> None:
            ctx.master.should_exit.set()
            self.cookie_auth.done()

        self.call(done())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    logging.disable(logging.ERROR)  # of what is refused
    both = Both(tmp_path_factory.mktemp("confdir"))
    yield both
    both.close()
    logging.disable(logging.NOTSET)


# What a browser sends

HIDDEN = get("/api/hidden", "Cookie: auth-token=hidden")
TARGETS = ["/", "/a", "/src/main.js?t=1", "/api/me", "/api", "/apix", "//api/me", "/a/../api/me"]
TARGETS += ["*", "http://localhost/a", "http://localhost/api/me", "/a#b", "/a b", "/%61pi/me", ""]
LINES = [
    "Host: localhost:8080",
    "Host: evil.test",
    "host:127.0.0.1",
    "Cookie: auth-token=T; theme=dark",
    "Cookie: auth-token-refresh=R",
    "Origin: http://localhost:8080",
    "Origin: http://evil.test",
    "Origin: http://shop.test",
    "Referer: http://localhost:8080/x",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Site: cross-site",
    "User-Agent: Mozilla/5.0",
    "Accept: */*",
    "If-None-Match: W/\"1\"",
    "Connection: keep-alive",
    "Connection: close",
    "Connection: Close",
    "Connection: keep-alive, close",
    "Connection: upgrade",
    "Upgrade: h2c",
    "Content-Length: 0",
    "Content-Length: 3",
    f"Content-Length: {len(HIDDEN)}",
    "Content-Length : 3",
    "Content-Length: +3",
    "Content_Length: 3",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding:\x0bchunked",
    "TE: trailers",
    "Trailer: X-A",
    "Expect: 100-continue",
    "X-A: b\r\n Content-Length: 3",
    "X-A: b\rContent-Length: 3",
    "X-A: b\nContent-Length: 3",
    "X-A: é",
    "X-A:",
    "X-A: \t b \t ",
    "X A: b",
    ": b",
    "X-A",
    "\x00: b",
]  # fmt: skip
BODIES = [b"", b"", b"", b"a=b", HIDDEN, b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"\r\n", b"\n"]

plain_lines = st.lists(st.sampled_from(LINES[3:15]), max_size=4, unique=True)
plain_requests = st.builds(
    lambda method, target, lines: get(target, *lines, method=method),
    st.sampled_from(["GET", "GET", "GET", "HEAD"]),
    st.sampled_from(TARGETS[:8]),
    plain_lines,
)
posts = st.sampled_from(
    [get(target, "Content-Length: 3", method="POST") + b"a=b" for target in ("/a", "/api/a")]
    + [
        get("/api/b", "Transfer-Encoding: chunked", method="PUT") + b"3\r\nabc\r\n0\r\n\r\n",
        get("/c", "Connection: keep-alive", method="OPTIONS"),
    ]
)

nearly_plain_requests = st.builds(
    lambda target, odd, lines, body: get(target, *odd, *lines) + body,
    st.sampled_from(["/a", "/b", "/api/c"]),
    st.lists(st.sampled_from(LINES), min_size=1, max_size=2),
    plain_lines,
    st.sampled_from(BODIES[2:]),
)


@st.composite
def odd_requests(draw: st.DrawFn) -> bytes:
    """Most of it is as it should be, since one thing that is not is enough."""

    def mostly(usual: str, *others: str) -> str:
        return draw(st.sampled_from([usual] * 4 + list(others)))

    method = mostly("GET", "HEAD", "POST", "OPTIONS", "get", "G ET", "PRI", "")
    version = draw(st.sampled_from(["HTTP/1.1"] * 9 + ["HTTP/1.0", "HTTP/1.2", "http/1.1", ""]))
    target = mostly("/a", *TARGETS)
    lines = [*draw(plain_lines), *draw(st.lists(st.sampled_from(LINES), max_size=2))]
    if draw(st.integers(0, 5)):
        lines.insert(0, LINES[0])
    end = draw(st.sampled_from(["\r\n"] * 9 + ["\n", "\r", "\r\r\n"]))
    between = draw(st.sampled_from([" "] * 9 + ["  ", "\t"]))
    first = between.join((method, target, version))
    return (end.join([first, *lines]) + end * 2).encode() + draw(st.sampled_from(BODIES))


@st.composite
def streams(draw: st.DrawFn, *kinds: st.SearchStrategy[bytes]) -> list[bytes]:
    """Requests, one after the other, perhaps damaged, in pieces."""
    data = b"".join(draw(st.lists(st.one_of(*kinds), min_size=1, max_size=5)))
    if draw(st.integers(0, 3)) == 0:
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(data)))
            data = data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 2)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    ends = [*cuts, len(data)]
    return [piece for a, b in zip([0, *cuts], ends, strict=True) if (piece := data[a:b])]


# What a server answers


def answer(head: bytes, random: Random) -> list[bytes]:
    """Something well-formed, which the request alone decides, in any pieces."""
    kind = sum(head) % 7
    method, target, *_ = [*head.split(None, 2), b"", b""]
    body = b"answer to " + target[:200]
    fields = [b"X-Method: " + method]
    if kind == 0 and method != b"HEAD":
        fields.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n3\r\nend\r\n0\r\n\r\n" % (len(body), body)
    elif kind == 1:
        body = b""
    else:
        fields.append(b"Content-Length: %d" % len(body))
    status = b"204 No Content" if kind == 1 else b"200 OK"
    if kind == 2:
        fields.append(b"Content-Type: text/html")
    if kind == 3:
        fields.append(b"Location: http://127.0.0.1:1002/next")
    whole = b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", b""])
    if method != b"HEAD":
        whole += body
    if kind == 4:
        whole = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + whole
    at = random.randint(0, len(whole))
    return [piece for piece in (whole[:at], whole[at:]) if piece]


def answers_in(data: bytes) -> list[tuple[bytes, bytes]]:
    """Heads and bodies, a chunked one put together; what is left over as the last head."""
    found = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if b"X-Method: HEAD" in head or b" 204 " in head[:14]:
            body, data = b"", rest
        elif b"\r\nTransfer-Encoding: chunked" in head:
            body, data = b"", rest
            while data and (match := re.match(rb"([0-9a-f]+)\r\n", data)):
                size = int(match[1], 16)
                data = data[match.end() :]
                body += data[:size]
                data = data[size + 2 :]
                if not size:
                    break
        elif length:
            body, data = rest[: int(length[1])], rest[int(length[1]) :]
        else:
            body, data = b"", rest
        found.append((head + end, body))
    return found


def check_what_is_kept_back(seen: Seen) -> None:
    for whose, request in seen.requests:
        if whose == "API":
            assert not re.search(rb"(?i)\ncookie:", request.partition(b"\r\n\r\n")[0])
        else:
            head = request.partition(b"\r\n\r\n")[0]
            assert not re.search(rb"(?i)\ncookie:[^\r\n]*auth-token-refresh=", head)


def went_short(both: Both, run: Callable[[], Seen]) -> tuple[Seen, int]:
    before = both.cookie_auth.proxy.short_ways
    seen = run()
    return seen, both.cookie_auth.proxy.short_ways - before


COUNTS: Counter[str] = Counter()


def check_the_same(both: Both, pieces: list[bytes], seed: int) -> None:
    """Whether the short way does what the long one would do, in one order of events or another.

    For that alone matters to mitmproxy, too: of a request that comes together with an empty line
    before it, it takes note when more comes.
    """
    got, short = went_short(both, lambda: both.run(True, pieces, answer, seed))
    COUNTS.update(examples=1, requests=len(got.requests), short=short)
    event(f"requests that went the short way: {min(short, 3)}")
    check_what_is_kept_back(got)
    for another in range(200):
        expected = both.run(False, pieces, answer, seed + another)
        if is_same(got, expected):
            return
    assert is_same(got, expected), (got, expected)


def is_same(one: Seen, other: Seen) -> bool:
    if one.requests != other.requests or one[2:] != other[2:]:
        return False
    return one.answers == other.answers or answers_in(one.answers) == answers_in(other.answers)


@settings(max_examples=1000 // SHARE)
@given(
    st.one_of(
        streams(plain_requests, posts),
        streams(nearly_plain_requests),
        streams(nearly_plain_requests, plain_requests, posts),
        streams(odd_requests(), plain_requests, posts),
    ),
    st.integers(0, 1 << 30),
)
def test_servers_and_browser_see_the_same_on_both_ways(
    both: Both, pieces: list[bytes], seed: int
) -> None:
    check_the_same(both, pieces, seed)


@settings(max_examples=200 // SHARE)
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4), st.integers(0, 9))
def test_raw_bytes_go_the_same_way(both: Both, pieces: list[bytes], seed: int) -> None:
    check_the_same(both, [get("/a"), *pieces], seed)


# Servers that are broken, and browsers that leave

EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
Damage = Callable[[bytes, Random], list[Any] | None]
DAMAGES: list[Damage] = [
    lambda whole, random: None,
    lambda whole, random: [whole[: random.randint(0, len(whole))], None],
    lambda whole, random: [whole, EVIL],
    lambda whole, random: [whole + EVIL],
    lambda whole, random: [whole + EVIL[:10], EVIL[10:]],
    lambda whole, random: [whole, None],
    lambda whole, random: [random.randbytes(random.randint(1, 40))],
    lambda whole, random: [with_line(whole, b"Content-Length: 3"), None],
    lambda whole, random: [with_line(whole, b"Transfer-Encoding: chunked"), None],
    lambda whole, random: [whole.replace(b"\r\n", b"\n"), None],
]


def with_line(message: bytes, line: bytes) -> bytes:
    return message.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n", 1)


def broken_answer(head: bytes, random: Random) -> list[bytes] | None:
    whole = b"".join(answer(head, random))
    return random.choice(DAMAGES)(whole, random) if random.random() < 0.4 else [whole]


@settings(max_examples=1000 // SHARE)
@given(
    streams(plain_requests, posts),
    st.booleans(),
    st.integers(0, 1 << 30),
)
def test_nothing_else_is_asked_for_and_no_answer_is_anothers_when_servers_are_broken(
    both: Both, pieces: list[bytes], leaves: bool, seed: int
) -> None:
    expected = both.run(False, pieces, answer, seed)
    coming: list[Any] = [*pieces, *([None] if leaves else [])]
    got, short = went_short(both, lambda: both.run(True, coming, broken_answer, seed))
    COUNTS.update(examples=1, requests=len(got.requests), short=short)
    # `Http1Server.send` fails on the long way, too, where an answer and an error come together.
    assert got.crashed in ("", "send")
    # The same requests in the same order, up to where it ended. Some are sent again, some never:
    # where a kept connection has just ended, mitmproxy gives up.
    wanted = iter(expected.requests)
    last = None
    for request in got.requests:
        if request != last:
            last = next((one for one in wanted if one == request), None)
            assert last
    check_what_is_kept_back(got)
    # Each answer is to the next request, or one of the proxy's own.
    targets = iter([request.split(None, 2)[1] for _, request in expected.requests])
    for _, body in answers_in(got.answers):
        if body.startswith(b"answer to "):
            target = body.removeprefix(b"answer to ").removesuffix(b"end")
            assert any(target.startswith(one) or one.startswith(target) for one in targets)


# What is remembered of heads

URLS = ["http://localhost:8080", "http://127.0.0.1", "http://evil.test", "about:", "http://a@b"]
tags = st.sampled_from(['W/"1"', '"%s", "b"', "a b", "", " ", "a ", "\ta", "é", "x : y", "\x0b"])
lengths = st.sampled_from(["0", "1", "12", "12", "007", "+1", "1, 1", "9" * 30])
referers = st.builds(
    "{}{}".format, st.sampled_from(URLS), st.sampled_from(["/x", "/x", "/%d?a b", "?", ""])
)
IN_REQUESTS = {"If-None-Match": tags, "if-modified-since": tags, "Referer": referers}
IN_ANSWERS = {
    **dict.fromkeys(("Content-Length", "content-length"), lengths),
    **dict.fromkeys(("ETag", "date", "Last-Modified", "X-A"), tags),
    "Location": referers,
}
HOSTS = ["Host: localhost:8080", "host:127.0.0.1", "Host: 127.0.0.1"]
ORIGINS = ["Origin: http://127.0.0.1", "X-A: %", *LINES[3:15]]
ANSWER_LINES = ["Content-Type: text/html", "Transfer-Encoding: chunked", "Connection: close"]
ANSWER_LINES += ["X-Frame-Options: DENY", "Set-Cookie: a=b", 'Alt-Svc: h3=":1"', "X-B: 50%"]


@st.composite
def alike(
    draw: st.DrawFn,
    starts: st.SearchStrategy[str],
    lines: st.SearchStrategy[list[str]],
    fields: dict[str, st.SearchStrategy[str]],
) -> list[bytes]:
    """Heads that differ in a few values only."""
    fixed = draw(lines)
    names = draw(st.lists(st.sampled_from(list(fields)), max_size=3))
    place = draw(st.integers(0, len(fixed)))
    heads = []
    for _ in range(5):
        drawn = [f"{name}: {draw(fields[name])}" for name in names]
        all_lines = [draw(starts), *fixed[:place], *drawn, *fixed[place:], "", ""]
        heads.append("\r\n".join(all_lines).encode())
    return heads


class Otherwise(NamedTuple):
    """What a decision ended in."""

    error: str


def decided(decide: Callable[..., Any], *arguments: object) -> Any:
    try:
        return decide(*arguments)
    except Exception as error:
        return Otherwise(f"{type(error).__name__} {error}")


@settings(max_examples=1000 // SHARE)
@given(
    alike(
        st.builds("{} {} HTTP/1.1\r\n{}".format, st.sampled_from(["GET", "GET", "HEAD"]),
                  st.sampled_from(["/", "/a?%s", "/_next/a", "/a.data", "/a.crl", "/api"]),
                  st.sampled_from(HOSTS)),
        st.lists(st.sampled_from(ORIGINS), max_size=3, unique=True),
        IN_REQUESTS,
    ),
    alike(
        st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.1 304 X", "HTTP/1.0 200 OK", "HTTP/1.1 204 X"]),
        st.lists(st.sampled_from(ANSWER_LINES), max_size=2, unique=True),
        IN_ANSWERS,
    ),
)  # fmt: skip
@example(
    [get("/")],
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Length: 1, 1\r\n\r\n" % length
        for length in (1, 12)
    ],
)
def test_what_was_decided_about_heads_of_the_same_shape_is_what_would_be_decided_anew(
    both: Both, requests: list[bytes], answers: list[bytes]
) -> None:
    remembering = both.cookie_auth.heads
    client = World([], answer, Random(0)).client
    askers = []

    def forgetful() -> Any:
        return type(remembering)(remembering.proxy)

    for head in requests:
        expected = decided(forgetful().to_front_end, head, client)
        assert decided(remembering.to_front_end, head, client) == expected
        if expected and not isinstance(expected, Otherwise):
            askers.append(expected.about)
    for head in answers:
        for asker in askers:
            expected = decided(forgetful().to_browser, head, asker)
            assert decided(remembering.to_browser, head, asker) == expected
    event(f"requests for the front end: {len(askers)}")


def test_enough_of_them_went_the_short_way() -> None:
    """Else the tests above would show nothing."""
    print(f"both ways: {dict(COUNTS)}")
    assert COUNTS["short"] * 10 > COUNTS["requests"]
