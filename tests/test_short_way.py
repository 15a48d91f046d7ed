"""Both ways to the front end: one table of cases that runs over each, and must find no difference.

What the short way alone has to show (what passes by it, backpressure, leaks, reloads) comes after.
"""

import gzip
import json
import re
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import short_way
from front_end import Browser, FrontEnd, Respond, answers_in, get, in_bytes
from messages.http1 import ForFrontEnd
from mitmproxy.addons.intercept import Intercept
from mitmproxy.io import FlowWriter
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import NextLayerHook
from mitmproxy.test import taddons, tflow
from mitmproxy.test.tflow import tclient_conn
from short_way import OPTION_OF, OTHER_OPTIONS
from support import (
    ADDON,
    SHORT_WAY,
    Headers,
    Mitmdump,
    Upstream,
    answer,
    can_connect,
    eventually,
    free_port,
    stop_all,
)
from test_failing_closed import edit, own_addon  # noqa: F401
from upstream.short_way import ShortWayLayer

OPTIONS = ("--set", "cookie_auth_prefix=/api")


PAGE = answer("page", Content_Type="text/plain")


@dataclass
class Case:
    """What a browser sends, on one connection, and what the front end answers."""

    name: str
    sent: tuple[bytes, ...]
    answer: Respond | bytes = PAGE
    methods: tuple[str, ...] = ()
    """Of the requests that are answered; without, each part is a GET."""
    short: bool = True
    """Whether the request for `/CASE` goes the short way."""
    ends: bool = False
    """Whether the proxy closes the connection."""
    again: bool = False
    """Whether the short way fails, and the long one asks the front end again."""

    def __post_init__(self) -> None:
        self.methods = self.methods or ("GET",) * len(self.sent)


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n", **headers: str) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return answer(b"", 200, None, Transfer_Encoding="chunked", **headers) + body + end


def parts(*pieces: bytes) -> Respond:
    return lambda head: iter(pieces)


def framed(head: str, body: bytes = b"") -> bytes:
    return head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body


ONE = get("/CASE")
NEXT = get("/api/next")
COOKIES = "Cookie: auth-token=T; auth-token-refresh=R; auth-token-api-x=X; theme=dark"
FOREIGN = ("Origin: http://evil.test", "Referer: http://evil.test/x", "Sec-Fetch-Site: cross-site")
OWN = ("Origin: http://localhost", "Referer: http://localhost/x?y", "Sec-Fetch-Site: same-origin")
UPGRADE = (
    *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCHED = framed(
    "HTTP/1.1 101 Switching\nUpgrade: websocket\nConnection: Upgrade\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)
REFERENCES: Headers = [
    ("Location", "FRONT/next?x"),
    ("Content-Location", "http://other.test/"),
    ("Link", "<FRONT/a>; rel=x"),
    ("Refresh", "0; url=FRONT/b"),
]


def smuggled(*lines: str, body: bytes = b"") -> tuple[bytes, ...]:
    """A request with these lines, and in its body, by somebody's reading, one for the API."""
    return (get("/CASE", *lines) + body,)


WAIT = b""
"""What comes now is sent when all has been answered."""
HIDDEN = get("/api/hidden")
CASES = [
    # Framing of the answer
    Case("by its length", (ONE, get("/CASE"))),
    Case("empty", (ONE,), answer("", Content_Type="text/css")),
    Case("chunked", (ONE,), chunked(b"a" * 10, b"b" * 70_000, b"\r\n0\r\n\r\n")),
    Case("chunked with extensions", (ONE,), chunked(end=b"3;x=y\r\nabc\r\n0;z\r\n\r\n")),
    Case("chunked with trailers", (ONE,), chunked(b"abc", end=b"0\r\nX-Late: 1\r\n\r\n")),
    Case("chunked, in single bytes", (ONE,), lambda h: in_bytes(chunked(b"ab", b"c"))),
    Case("until the end", (ONE,), parts(framed("HTTP/1.1 200 OK\nX-A: b", b"a" * 9)), ends=True),
    Case("of HTTP/1.0", (ONE,), parts(framed("HTTP/1.0 200 OK\nContent-Length: 2", b"ok")),
         ends=True),
    Case("of HTTP/1.0, kept", (ONE, ONE), framed(
        "HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 2", b"ok")),
    Case("closing", (ONE,), answer("bye", Connection="close"), ends=True),
    Case("in single bytes", (ONE,), lambda h: in_bytes(answer("body", X_A="b"))),
    Case("long", (ONE,), answer(b"x" * 3_000_000)),
    Case("compressed", (get("/CASE", "Accept-Encoding: gzip"),), answer(
        gzip.compress(b"abc" * 99), Content_Encoding="gzip", Content_Type="text/html")),
    Case("HEAD", (get("/CASE", method="HEAD"), ONE), lambda head: framed(
        "HTTP/1.1 200 OK\nContent-Length: 4000") if head.startswith(b"HEAD") else answer("x"),
         methods=("HEAD", "GET")),
    Case("HEAD of a chunked one", (get("/CASE", method="HEAD"),), framed(
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked"), methods=("HEAD",)),
    Case("204", (ONE, ONE), framed("HTTP/1.1 204 No Content\nContent-Encoding: gzip"),
         methods=("GET", "GET")),
    Case("304", (get("/CASE", 'If-None-Match: "1"'), ONE), framed(
        'HTTP/1.1 304 Not Modified\nETag: "1"\nContent-Length: 5'), methods=("GET", "GET")),
    Case("no reason", (ONE,), framed("HTTP/1.1 200\nContent-Length: 1", b"x")),
    Case("404", (ONE,), answer("no", 404)),
    Case("500", (ONE,), answer("oh", 500)),
    Case("events", (ONE,), parts(framed(
        "HTTP/1.1 200 OK\nContent-Type: text/event-stream"), b"data: 1\n\n", b"data: 2\n\n"),
         ends=True),
    # Interim answers
    Case("100 before", (ONE,), framed("HTTP/1.1 100 Continue") + answer("x")),
    Case("103 twice", (ONE, ONE), framed("HTTP/1.1 103 Early Hints\nLink: </a>") * 2 + answer("x"),
         methods=("GET", "GET")),
    Case("103 in single bytes", (ONE,), lambda h: in_bytes(
        framed("HTTP/1.1 103 Early Hints\nLink: </a>") + answer("x"))),
    # What is no answer
    Case("no answer at all", (ONE,), parts(), again=True),
    Case("no HTTP", (ONE,), parts(b"hello there\r\n\r\n"), again=True),
    Case("length and coding", (ONE,), parts(framed(
        "HTTP/1.1 200 OK\nContent-Length: 9\nTransfer-Encoding: chunked", b"0\r\n\r\n")),
         again=True),
    Case("two lengths", (ONE,), parts(framed(
        "HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2", b"ab")), again=True),
    Case("a length that is none", (ONE,), parts(framed(
        "HTTP/1.1 200 OK\nContent-Length: +1", b"ab")), again=True),
    Case("a malformed name", (ONE,), parts(framed(
        "HTTP/1.1 200 OK\nX(A): 1\nContent-Length: 1", b"a")), again=True),
    Case("a head that breaks off", (ONE,), parts(b"HTTP/1.1 200 OK\r\nX-A"), again=True),
    # What mitmproxy understands, and this is too odd for
    Case("a folded line", (ONE,), framed("HTTP/1.1 200 OK\nX-A: b\n c\nContent-Length: 1", b"x"),
         again=True),
    Case("bare line feeds", (ONE,), b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", again=True),
    Case("a bare CR", (ONE,), framed(
        "HTTP/1.1 200 OK\nX-A: b\rSet-Cookie: auth-token=evil\nContent-Length: 1", b"x"),
         again=True),
    # Order
    Case("several at once", (ONE + get("/CASE?2") + get("/CASE?3", "Connection: close"),),
         lambda head: answer(head.split()[1]), methods=("GET",) * 3, ends=True),
    Case("mixed with the API's", (ONE + NEXT + get("/mixed") + NEXT,),
         lambda head: answer(head.split()[1]), methods=("GET",) * 4),
    Case("after the API's", (NEXT, WAIT, ONE), methods=("GET", "GET")),
    Case("after a body", (get("/post", "Content-Length: 3", method="POST"), b"a=b", WAIT, ONE),
         methods=("POST", "GET")),
    Case("before a body", (ONE, get("/post", "Content-Length: 3", method="POST") + b"a=b", NEXT),
         methods=("GET", "POST", "GET")),
    Case("in single bytes, twice", (*in_bytes(ONE * 2),), methods=("GET", "GET")),
    Case("broken in two", (ONE[:9], ONE[9:] + ONE[:30], ONE[30:]), methods=("GET", "GET")),
    # What is sent
    Case("cookies", (get("/CASE", COOKIES),)),
    Case("cookies in two fields", (get("/CASE", COOKIES, "Cookie: __Host-x=1"),)),
    Case("cookies for a foreign page", (get("/CASE", COOKIES, *FOREIGN),)),
    Case("a token in a header", (get("/CASE", "auth-token: T", "Authorization: Bearer T"),)),
    Case("from an own page", (get("/CASE", COOKIES, *OWN),)),
    Case("from an allowed page", (get("/CASE", COOKIES, "Origin: http://shop.test"),)),
    Case("from a silent browser", (get("/CASE", "User-Agent: Mozilla/5.0", COOKIES),)),
    Case("every octet", (get("/CASE?" + "".join(map(chr, range(36, 127)))),)),
    Case("what says who asks", (get("/CASE", "X-Forwarded-For: 192.0.2.1", "Forwarded: host=x",
                                    "X_Forwarded_Host: evil.test", *OWN),)),
    Case("odd headers", (get("/CASE", "X-Empty:", "X-Blank:  \t ", "x_y: é\udcff", "X-Empty: 2"),)),
    Case("no name of ours", (get("/CASE", host="127.0.0.1:1"),)),
    Case("an allowed name", (get("/CASE", host="app.test"),)),
    Case("a prefix that is none", (get("/apix/CASE"),)),
    Case("a login's path", (get("/CASE/login"), get("/logout")), methods=("GET", "GET")),
    Case("a path with dots", (get("/CASE/../api/me"),)),
    Case("a path with two slashes", (get("//evil.test/CASE"),)),
    Case("range", (get("/CASE", "Range: bytes=0-1"),),
         answer("ab", 206, Content_Range="bytes 0-1/9")),
    Case("speculation", (get("/CASE", "Sec-Purpose: prefetch", "Sec-Fetch-Site: none"),)),
    # What is answered
    Case("references", (ONE,), answer("", 302, REFERENCES)),
    Case("documents", (ONE,), answer("<p>", Content_Type="text/html", X_Frame_Options="DENY")),
    Case("policies", (ONE,), answer(
        "<p>", Content_Type="text/html", Content_Security_Policy="default-src 'self'")),
    Case("cookies set", (ONE,), answer("x", 200, [
        ("Set-Cookie", "a=1; Domain=x.test"), ("Set-Cookie", "auth-token=evil; Path=/")])),
    Case("another way to the origin", (ONE,), answer("x", Alt_Svc='h3="x.test:1"')),
    # What is refused
    Case("a foreign name", (get("/CASE", host="evil.test"),), short=False),
    Case("two hosts", (get("/CASE", "Host: evil.test"),), short=False),
    Case("no host", (b"GET /CASE HTTP/1.1\r\n\r\n",), short=False),
    # What may be read in two ways, or is no plain request
    Case("a length", smuggled(f"Content-Length: {len(HIDDEN)}", body=HIDDEN), short=False),
    Case("no length", smuggled("Content-Length: 0"), short=False),
    Case("a coding", smuggled("Transfer-Encoding: chunked", body=b"0\r\n\r\n"), short=False),
    Case("both", smuggled("Content-Length: 4", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
         short=False, ends=True),
    Case("a blank before the colon", smuggled(
        f"Content-Length : {len(HIDDEN)}", body=HIDDEN), short=False, ends=True),
    Case("a folded length", smuggled("X-A: b", f" Content-Length: {len(HIDDEN)}", body=NEXT),
         methods=("GET",), short=False, ends=True),
    Case("line feeds", (ONE.replace(b"\r\n", b"\n") + NEXT,), methods=("GET", "GET"), short=False),
    Case("a line feed too early", (b"GET /CASE HTTP/1.1\r\nHost: localhost\n\r\n" + NEXT,),
         methods=("GET", "GET"), short=False),
    Case("a bare CR in a header", (get("/CASE", "X-A: b\rContent-Length: 9"), NEXT),
         methods=("GET",), short=False, ends=True),
    Case("an absolute target", (get("http://evil.test/CASE"),), short=False),
    Case("an absolute target of the API", (get("http://localhost/api/CASE"),), short=False),
    Case("a target with a fragment", (get("/CASE#x"),), short=False),
    Case("a method in small letters", (get("/CASE", method="get"),), short=False),
    Case("HTTP/1.0", (b"GET /CASE HTTP/1.0\r\nHost: localhost\r\n\r\n",), short=False, ends=True),
    Case("another version", (b"GET /CASE HTTP/1.7\r\nHost: localhost\r\n\r\n",), short=False,
         ends=True),
    Case("a head that never ends", (b"GET /CASE HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000
         + b"\r\n\r\n",), short=False),
    Case("a body to a GET", (get("/CASE", "Content-Length: 3") + b"a=b",), short=False),
    Case("OPTIONS", (get("/CASE", method="OPTIONS"),), short=False),
    Case("DELETE from a foreign page", (get("/CASE", COOKIES, *FOREIGN, method="DELETE"),),
         short=False),
    Case("Expect", (get("/CASE", "Expect: 100-continue"),), short=False),
    Case("an upgrade", (get("/CASE", *UPGRADE),), lambda head: iter([SWITCHED, b"\x81\x02hi"]),
         short=False, ends=True),
    Case("an upgrade that is refused", (get("/CASE", *UPGRADE), ONE), answer("no", 400),
         methods=("GET", "GET"), short=False),
    Case("keep-alive", (get("/CASE", "Connection: keep-alive", "Keep-Alive: 5"), ONE),
         methods=("GET", "GET")),
    Case("close", (get("/CASE", "Connection: close"), ONE), methods=("GET",), ends=True),
    Case("close, HEAD", (get("/CASE", "Connection: close", method="HEAD"),), framed(
        "HTTP/1.1 200 OK\nContent-Length: 3"), methods=("HEAD",), ends=True),
    Case("a header named by Connection", (get("/CASE", "Connection: X-A", "X-A: 1"),), short=False),
    # Last, since the front end counts as Angular's from now on
    Case("Angular's", (get("/CASE/@ng/component"), get("/CASE/next")), methods=("GET", "GET")),
]  # fmt: skip


@dataclass
class Outcome:
    answers: list[tuple[bytes, bytes]]
    at_front_end: list[bytes]
    at_api: list[object]


class Pair:
    """Two proxies for the same API and front end, one of which knows the short way."""

    def __init__(self, api: Upstream, front_end: FrontEnd, confdir: Path) -> None:
        self.api, self.front_end = api, front_end
        options = (
            *OPTIONS,
            *("--set", f"cookie_auth_frontend={front_end.url}"),
            *("--set", "cookie_auth_allowed_hosts=app.test"),
            *("--set", "cookie_auth_allowed_origins=http://shop.test"),
        )
        self.long = Mitmdump(api.url, *options, confdir=confdir)
        self.short = Mitmdump(api.url, *options, confdir=confdir, scripts=(ADDON, SHORT_WAY))
        self.numbers = count()

    def run(self, mitmdump: Mitmdump, case: Case, slug: bytes) -> Outcome:
        self.front_end.received.clear()
        self.api.received.clear()
        self.front_end.respond = lambda head: self.answer(case, head)
        with Browser(mitmdump.client.port) as browser:
            for number, part in enumerate(case.sent):
                if part is WAIT:
                    heads = sum(b"HTTP/1.1\r\n" in one for one in case.sent[:number])
                    browser.answers(*case.methods[:heads])
                browser.send(part.replace(b"CASE", slug))
            if case.ends:
                browser.until_closed()
            answers = browser.answers(*case.methods)
        port = b":%d" % mitmdump.client.port  # in Alt-Svc
        answers = [(undated(head.replace(port, b":PORT")), body) for head, body in answers]
        received: list[object] = [(r.start, r.headers, r.body) for r in self.api.received]
        return Outcome(answers, list(self.front_end.received), received)

    def answer(self, case: Case, head: bytes) -> bytes | Iterable[bytes]:
        response = case.answer if isinstance(case.answer, bytes) else case.answer(head)
        if isinstance(response, bytes):
            response = response.replace(b"FRONT", self.front_end.url.encode())
        return response

    def shows(self, target: str) -> bool:
        """Whether mitmdump has shown a request for the front end with this in its target."""
        number = next(self.numbers)
        assert self.short.client.get(f"/api/sentinel-{number}-").status == 200
        self.short.wait_for_log(f"/sentinel-{number}-")
        port = self.front_end.port
        return bool(re.search(rf": \w+ http://127.0.0.1:{port}\S*{target}(\s|$)", self.short.log))


def undated(head: bytes) -> bytes:
    return re.sub(rb"(?i)\r\ndate: [^\r]*", b"", head)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    api, front_end = Upstream(), FrontEnd()
    pair = Pair(api, front_end, tmp_path_factory.mktemp("confdir"))
    yield pair
    stop_all([pair.long, pair.short])
    api.close()
    front_end.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_ways_give_the_same(pair: Pair, case: Case) -> None:
    slug = b"case-%d-" % CASES.index(case)
    expected = pair.run(pair.long, case, slug)
    got = pair.run(pair.short, case, slug)
    assert got.answers == expected.answers
    assert got.at_api == expected.at_api
    if case.again:
        assert expected.at_front_end == got.at_front_end[1:] == got.at_front_end[:1]
    else:
        assert got.at_front_end == expected.at_front_end
    assert len(got.answers) == len(case.methods)
    for head in got.at_front_end:
        if head.startswith(b"GET ") and slug in head:
            target = head.split()[1].decode()
            short = case.short and not case.again
            assert pair.shows(re.escape(target)) == (not short)


# What goes the short way, and what does not

# Answers with what an expression is in mitmproxy's own process; it has no HTTP hooks.
CONTROL = """
import asyncio, gc, json
from mitmproxy import ctx

async def answer(reader, writer):
    try:
        told = eval(await reader.readline())
    except Exception as error:
        told = repr(error)
    writer.write(json.dumps(told, default=str).encode())
    writer.close()

def tasks():
    return len(asyncio.all_tasks())

def layers():
    gc.collect()
    return sum(type(one).__name__ in ("ShortWay", "HttpLayer") for one in gc.get_objects())

def set_option(name, value):
    ctx.options.update(**{name: value})

async def running():
    server = await asyncio.start_server(answer, "127.0.0.1", PORT)
    globals()["server"] = server
"""

CONNECTIONS = "len(ctx.master.addons.get('proxyserver').connections)"


class Running:
    """A mitmdump with the short way, and what it tells of itself."""

    def __init__(self, mitmdump: Mitmdump, port: int) -> None:
        self.mitmdump, self.port = mitmdump, port

    def ask(self, expression: str) -> Any:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
            sock.sendall(expression.encode() + b"\n")
            with sock.makefile() as file:
                return json.loads(file.read())

    @property
    def short_ways(self) -> int:
        status = "\n".join(self.ask("ctx.master.commands.call('cookie_auth.status')"))
        match = re.search(r"requests that took the short way: (\d+)", status)
        assert match
        return int(match[1])

    @property
    def memory(self) -> float:
        """Resident, in MB."""
        return float(psutil.Process(self.mitmdump.process.pid).memory_info().rss) / 1e6

    def browser(self) -> Browser:
        return Browser(self.mitmdump.client.port)

    def goes_short(self, target: str = "/x", *lines: str) -> bool:
        """Whether a GET for this target is answered, and took the short way."""
        before = self.short_ways
        with self.browser() as browser:
            browser.send(get(target, *lines))
            assert browser.answers("GET")[0][0].startswith(b"HTTP/1.1 ")
        return self.short_ways > before


Begin = Callable[..., Running]


@pytest.fixture
def front_end() -> Iterator[FrontEnd]:
    front_end = FrontEnd()
    yield front_end
    front_end.close()


@pytest.fixture
def begin(start: Callable[..., Mitmdump], tmp_path: Path, front_end: FrontEnd) -> Begin:
    """Start a mitmdump with the short way to the front end, for this test alone."""

    def begin(
        *arguments: str,
        url: str = "",
        scripts: tuple[Path, ...] = (ADDON, SHORT_WAY),
    ) -> Running:
        port = free_port()
        control = tmp_path / "control.py"
        control.write_text(CONTROL.replace("PORT", str(port)))
        options = (*OPTIONS, "--set", f"cookie_auth_frontend={url or front_end.url}", *arguments)
        mitmdump = start(*options, scripts=(*scripts, control))
        mitmdump.wait_for_log("listening at")
        assert eventually(lambda: can_connect(port))
        return Running(mitmdump, port)

    return begin


LOOKING: dict[str, object] = {
    "allow_hosts": ["."],
    "anticache": True,
    "anticomp": True,
    "block_list": [":~u nothing:404"],
    "body_size_limit": "1g",
    "hardump": "FOLDER/all.har",
    "ignore_hosts": ["nothing.test"],
    "map_local": ["|nothing|FOLDER"],
    "map_remote": ["|nothing|something"],
    "modify_body": ["/nothing/something"],
    "modify_headers": ["/~u nothing/x/y"],
    "proxyauth": "any",
    "save_stream_file": "FOLDER/flows",
    "server_replay": ["FOLDER/recorded"],
    "tcp_hosts": ["nothing.test"],
    "upstream_auth": "a:b",
    "cookie_auth_keep_frontend": True,
}

OTHERWISE = {"stickyauth", "stickycookie"}  # are refused
OTHERWISE.add("intercept")  # is none of mitmdump's


def test_the_long_way_is_taken_while_somebody_looks_at_requests(
    begin: Begin, tmp_path: Path
) -> None:
    with (tmp_path / "recorded").open("wb") as file:
        FlowWriter(file).add(tflow.tflow(resp=True))
    running = begin()
    running.mitmdump.wait_for_log("requests for the front end take the short way, which does not")
    assert set(LOOKING) >= {*OPTION_OF.values(), *OTHER_OPTIONS} - OTHERWISE
    assert running.goes_short()
    for name, value in LOOKING.items():
        before = running.ask(f"ctx.options.{name}")
        value = json.loads(json.dumps(value).replace("FOLDER", str(tmp_path)))
        assert running.ask(f"set_option({name!r}, {value!r})") is None
        assert not running.goes_short(), name
        running.mitmdump.wait_for_log(f"take the long way: {name} is set")
        assert running.ask(f"set_option({name!r}, {before!r})") is None
        running.ask("ctx.master.addons.get('serverplayback').clear()")
        assert running.goes_short(), name
    playback = "setattr(ctx.master.addons.get('serverplayback'), 'flowmap', %s)"
    running.ask(playback % "{1: []}")
    assert not running.goes_short()
    running.ask(playback % "{}")
    assert running.goes_short()
    # Each time it changes is told once.
    lines = re.findall(
        "requests for the front end take the (?:long|short) way", running.mitmdump.log
    )
    assert len(lines) == 2 * len(LOOKING) + 1


def test_mitmwebs_intercept_is_one_of_them() -> None:
    addon = Intercept()
    with taddons.context(addon) as context:
        assert list(short_way.looked_at([addon])) == []
        context.configure(addon, intercept="~u x")
        assert list(short_way.looked_at([addon])) == ["intercept is set"]


LISTENERS = {
    "a function": "def response(flow): pass",
    "an addon": "class A:\n    async def requestheaders(self, flow): pass\naddons = [A()]",
    "a nested one": "class A:\n    def error(self, flow): pass\nclass B:\n    addons = [A()]\n"
    "addons = [B()]",
    "one that makes up hooks": "class A:\n    def __getattr__(self, name):\n"
    "        if name != 'request': raise AttributeError\n        return lambda *a: None\n"
    "addons = [A()]",
}


def test_the_long_way_is_taken_while_another_script_has_http_hooks(
    begin: Begin, tmp_path: Path
) -> None:
    running = begin()
    scripts = running.ask("list(ctx.options.scripts)")
    for number, text in enumerate(LISTENERS.values()):
        script = tmp_path / f"script{number}.py"
        script.write_text(text)
        running.ask(f"set_option('scripts', {[*scripts, str(script)]})")
        running.mitmdump.wait_for_log(f"Loading script {script}")
        assert not running.goes_short(), text
        running.mitmdump.wait_for_log(f"long way: {script} may want to see them")
        running.ask(f"set_option('scripts', {scripts})")
        assert running.goes_short(), text
    running.ask("ctx.master.addons.add(type('Mine', (), {'request': lambda self, flow: None})())")
    assert not running.goes_short()
    running.mitmdump.wait_for_log("long way: Mine may want to see them")


LATE = {
    "an addon": ("setattr({mine}, 'response', print)", "delattr({mine}, 'response')"),
    "its class": (
        "setattr(type({mine}), 'request', print)",
        "delattr(type({mine}), 'request')",
    ),
    "one within": (
        "{mine}.addons.append(type('Inner', (), {{'error': print}})())",
        "{mine}.addons.clear()",
    ),
    "a script": (
        "globals().update(responseheaders=lambda flow: None)",
        "globals().pop('responseheaders') and None",
    ),
}


def test_a_hook_that_comes_late_is_heard(begin: Begin) -> None:
    running = begin()
    running.ask("ctx.master.addons.add(type('Mine', (), {'addons': []})())")
    with running.browser() as browser:
        answered = 0

        def goes_short() -> bool:
            """On a connection that is there already."""
            nonlocal answered
            before, answered = running.short_ways, answered + 1
            browser.send(get("/x"))
            browser.answers(*["GET"] * answered)
            return running.short_ways > before

        assert goes_short()
        for name, (comes, goes) in LATE.items():
            assert running.ask(comes.format(mine="ctx.master.addons.get('mine')")) is None
            assert not goes_short(), name
            assert running.ask(goes.format(mine="ctx.master.addons.get('mine')")) is None
            assert goes_short(), name


def test_a_script_beside_cookie_auths_own_is_none_of_them(
    begin: Begin, own_scripts: tuple[Path, Path]
) -> None:
    script = own_scripts[0].with_name("mine.py")
    script.write_text("def request(flow): pass")
    assert not begin(scripts=(*own_scripts, script)).goes_short()


def test_another_way_to_the_origin_is_kept_where_mitmproxy_keeps_it(
    begin: Begin, front_end: FrontEnd
) -> None:
    running = begin("--set", "keep_alt_svc_header=true")
    front_end.respond = lambda head: answer("x", Alt_Svc='h3="x.test:1"')
    with running.browser() as browser:
        browser.send(get("/x"))
        assert b'Alt-Svc: h3="x.test:1"\r\n' in browser.answers("GET")[0][0]
    assert running.short_ways == 1


def test_a_script_that_begins_to_listen_when_it_is_edited_is_heard(
    begin: Begin, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("def client_connected(client): pass")
    running = begin(scripts=(ADDON, SHORT_WAY, script))
    with running.browser() as browser:
        browser.send(get("/x"))
        browser.answers("GET")
        assert running.short_ways == 1
        edit(script, "def request(flow): flow.request.headers['x-mine'] = '1'")
        running.mitmdump.wait_for_log(rf"(?s)(Loading script {script}.*){{2}}")
        browser.send(get("/y"))
        browser.answers("GET", "GET")
        assert running.short_ways == 1


@pytest.mark.parametrize(
    ("arguments", "url", "why"),
    [
        (("--set", "cookie_auth_keep_frontend=true"), "", "cookie_auth_keep_frontend is set"),
        (("--set", "save_stream_file=/dev/null"), "", "save_stream_file is set"),
        (("--set", "cookie_auth_answer_timeout=30"), "", "cookie_auth_answer_timeout is set"),
        ((), "https://127.0.0.1:1", "it is reached by https"),
    ],
)
def test_start_up_says_why_the_long_way_is_taken(
    begin: Begin, arguments: tuple[str, ...], url: str, why: str
) -> None:
    running = begin(*arguments, url=url)
    running.mitmdump.wait_for_log(f"requests for the front end take the long way: {why}")
    assert not running.goes_short()


def test_without_a_front_end_nothing_is_said(start: Callable[..., Mitmdump]) -> None:
    mitmdump = start(*OPTIONS, scripts=(ADDON, SHORT_WAY))
    assert mitmdump.client.get("/x").status == 404
    assert mitmdump.client.get("/api/x").status == 200
    assert "end take the" not in mitmdump.log


OTHER_MITMPROXY = """
from mitmproxy.proxy.layers.http import _http1
class Http1Server(_http1.Http1Server):
    "Another one."
_http1.Http1Server = Http1Server
"""


def test_a_mitmproxy_that_is_not_known_is_left_as_it_is(begin: Begin, tmp_path: Path) -> None:
    script = tmp_path / "other.py"
    script.write_text(OTHER_MITMPROXY)
    running = begin(scripts=(script, ADDON, SHORT_WAY))
    running.mitmdump.wait_for_log("short way: it does not know this mitmproxy")
    assert not running.goes_short()


def test_a_mitmproxy_without_source_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert short_way.fingerprint() in short_way.KNOWN
    monkeypatch.setattr(short_way, "COUNTED_ON", (len,))
    assert short_way.fingerprint() is None


def test_localhost_is_wherever_the_front_end_listens(begin: Begin, front_end: FrontEnd) -> None:
    front_end.close()
    one = FrontEnd("::1")
    running = begin(url=f"http://localhost:{one.port}")
    assert running.goes_short()
    assert one.received[-1].startswith(b"GET /x HTTP/1.1\r\nHost: localhost\r\n")
    one.close()
    with running.browser() as browser:
        browser.send(get("/x"))
        assert browser.answers("GET")[0][0].startswith(b"HTTP/1.1 502 ")
    other = FrontEnd("127.0.0.1", one.port)
    assert running.goes_short()
    assert len(other.received) == 1
    other.close()


def test_a_browser_over_tls_takes_the_long_way(begin: Begin) -> None:
    running = begin()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = running.mitmdump.client.port
    plain = socket.create_connection(("127.0.0.1", port), timeout=60)
    with context.wrap_socket(plain, server_hostname="localhost") as sock:
        sock.sendall(get("/x", "Connection: close"))
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
    assert running.short_ways == 0
    assert running.goes_short()


def test_what_is_redacted_in_records_arrives_as_it_is(begin: Begin, front_end: FrontEnd) -> None:
    running = begin("--set", "cookie_auth_redact=true")
    assert running.goes_short("/x", COOKIES)
    assert b"Cookie: auth-token=T; theme=dark\r\n" in front_end.received[-1]


# Connections


def test_one_connection_is_kept_for_each_of_the_browsers(begin: Begin, front_end: FrontEnd) -> None:
    running = begin()
    with running.browser() as one, running.browser() as other:
        for number in range(3):
            for browser in (one, other):
                browser.send(get(f"/{number}"))
                browser.answers(*["GET"] * (number + 1))
        assert front_end.connections == 2
    assert eventually(lambda: front_end.connections == 0)
    assert running.short_ways == 6


def test_a_kept_connection_that_the_front_end_closes_costs_nothing(
    begin: Begin, front_end: FrontEnd
) -> None:
    running = begin()
    closing = iter([False, True, False, False])

    def respond(head: bytes) -> bytes | Iterator[bytes]:
        return iter(()) if next(closing) else answer("page")

    front_end.respond = respond
    with running.browser() as browser:
        browser.send(get("/1"))
        browser.answers("GET")
        browser.send(get("/2"))  # the front end closes as this arrives
        browser.answers("GET", "GET")
        front_end.hang_up()  # and while nothing is under way
        assert eventually(lambda: front_end.connections == 0)
        browser.send(get("/3"))
        assert browser.answers("GET", "GET", "GET")[2] == browser.answers("GET")[0]
    assert running.short_ways == 2  # the second one went the long way then
    assert [head.split()[1] for head in front_end.received] == [b"/1", b"/2", b"/2", b"/3"]


def test_a_front_end_that_hangs_up_is_not_asked_by_each_way_over_old_and_new_connections(
    begin: Begin, front_end: FrontEnd
) -> None:
    running = begin()
    front_end.respond = lambda head: iter(()) if b"/die" in head else answer("page")
    with running.browser() as browser:
        browser.send(get("/1"))
        browser.answers("GET")
        post = b"POST /2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        browser.send(post)  # now the long way has a kept connection, too
        browser.answers("GET", "POST")
        browser.send(get("/die"))
        assert browser.answers("GET", "POST", "GET")[2][0].startswith(b"HTTP/1.1 502 ")
    asked = [head for head in front_end.received if b" /die " in head]
    assert len(asked) == 3  # the short way's connection, the long way's, and a new one


def test_a_connection_that_is_long_in_coming_is_left_to_the_long_way() -> None:
    context = Context(tclient_conn(), Options())
    sent = ForFrontEnd(b"", ("front-end.test", 80), False, None)
    layer = ShortWayLayer(context, SimpleNamespace(to_front_end=lambda head, client: sent))
    begun = list(layer.handle_event(events.DataReceived(context.client, get("/x"))))
    patience, opening = begun
    assert isinstance(patience, commands.RequestWakeup)
    assert isinstance(opening, commands.OpenConnection)
    then = list(layer.handle_event(events.Wakeup(patience)))
    assert [type(command) for command in then] == [commands.CloseConnection, NextLayerHook]
    assert layer.long_way
    assert layer.long_way.data_client() == get("/x")
    # What becomes of it meanwhile is nobody's affair, and the next request does not wait again.
    assert not list(layer.handle_event(events.OpenConnectionCompleted(opening, "too late")))
    assert layer.for_good


def test_the_front_end_may_go_and_come_back(begin: Begin, front_end: FrontEnd) -> None:
    running = begin()
    with running.browser() as browser:
        browser.send(get("/1"))
        browser.answers("GET")
        front_end.close()
        assert eventually(lambda: front_end.connections == 0)
        browser.send(get("/2", "Sec-Fetch-Mode: navigate"))
        head, page = browser.answers("GET", "GET")[1]
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"Waiting for the front end" in page
        again = FrontEnd(port=front_end.port)
        browser.send(get("/3"))
        assert browser.answers("GET", "GET", "GET")[2][1] == b"page"
        assert running.short_ways == 2
        again.close()


@pytest.mark.parametrize("when", ["before the answer", "in the answer", "half-closed"])
def test_a_browser_that_leaves_ends_the_request(
    begin: Begin, front_end: FrontEnd, when: str
) -> None:
    running = begin()
    go_on = threading.Event()

    def respond(head: bytes) -> Iterator[bytes]:
        if when == "in the answer":
            yield framed("HTTP/1.1 200 OK\nContent-Type: text/event-stream", b"data: 1\n\n")
        while not go_on.wait(0.02):
            if when == "in the answer":
                yield b"data: 2\n\n"
        yield b""

    front_end.respond = respond
    browser = running.browser()
    browser.send(get("/x"))
    assert eventually(lambda: len(front_end.received) == 1)
    if when == "in the answer":
        while b"data: 2" not in browser.got:
            browser.more()
        browser.close()
        assert eventually(lambda: front_end.connections == 0)
    else:
        if when == "half-closed":
            browser.socket.shutdown(socket.SHUT_WR)
        else:
            browser.close()
        assert eventually(
            lambda: running.ask("len(ctx.master.addons.get('proxyserver').connections)") == 0
        )
        go_on.set()
    go_on.set()
    assert eventually(lambda: front_end.connections == 0)
    assert running.short_ways == 0
    assert len(front_end.received) == 1
    browser.close()


def test_an_answer_that_breaks_off_ends_the_browsers_connection(
    begin: Begin, front_end: FrontEnd
) -> None:
    running = begin()
    for broken in (
        framed("HTTP/1.1 200 OK\nContent-Length: 9", b"part"),
        framed("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"4\r\npart\r\n"),
        framed("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"4\r\npartial\r\n0\r\n\r\n"),
    ):
        front_end.respond = lambda head, broken=broken: iter([broken])  # type: ignore[misc]
        with running.browser() as browser:
            browser.send(get("/x"))
            got = browser.until_closed()
            assert answers_in(got, ["GET"], ended=True) == []
            assert not got.endswith(b"0\r\n\r\n")
    assert eventually(lambda: front_end.connections == 0)


def test_bytes_that_nobody_asked_for_are_nobodys_answer(begin: Begin, front_end: FrontEnd) -> None:
    running = begin()
    evil = framed("HTTP/1.1 200 OK\nContent-Length: 4", b"evil")
    front_end.respond = lambda head: answer("page") + evil
    with running.browser() as browser:
        for number in range(5):
            browser.send(get(f"/{number}"))
            got = browser.answers(*["GET"] * (number + 1))
            assert [body for _, body in got] == [b"page"] * (number + 1)
    assert running.short_ways == 5


def test_a_long_download_to_a_slow_browser_is_not_held_in_memory(
    begin: Begin, front_end: FrontEnd
) -> None:
    running = begin()
    megabyte = b"x" * 1_000_000
    size = 300

    def respond(head: bytes) -> Iterator[bytes]:
        yield framed(f"HTTP/1.1 200 OK\nContent-Length: {size * len(megabyte)}")
        for number in range(size):
            sent.append(number)
            yield megabyte

    sent: list[int] = []
    assert running.goes_short()
    before = running.memory
    front_end.respond = respond
    with running.browser() as browser:
        browser.send(get("/x"))
        while len(browser.got) < 1_000_000:
            browser.more()
        # Until the front end waits, too: nothing more goes in.
        reached = -1
        while reached < (reached := sent[-1]):
            time.sleep(0.5)
        assert reached < 50
        assert running.memory - before < 10
        got = len(browser.got)
        most = 0.0
        while chunk := browser.socket.recv(1 << 20):
            got += len(chunk)
            if got % 64 == 0:
                most = max(most, running.memory - before)
            if got >= size * len(megabyte):
                break
        assert most < 10
    assert running.short_ways == 2


def test_a_hundred_page_loads_leave_nothing_behind(begin: Begin, front_end: FrontEnd) -> None:
    running = begin()

    def load(number: int) -> None:
        with running.browser() as one, running.browser() as other:
            for target in ("/", "/main.js", "/api/me", "/a.css"):
                for browser in (one, other):
                    browser.send(get(target))
            for browser in (one, other):
                browser.answers(*["GET"] * 4)
            one.send(get("/leaves"))
            if number % 2:
                other.send(get("/post", "Content-Length: 3", method="POST") + b"a=b")
                other.answers(*["GET"] * 4, "POST")

    def is_quiet() -> bool:
        return running.ask(CONNECTIONS) == 0 and front_end.connections == 0

    for number in range(10):
        load(number)
    assert eventually(is_quiet)
    tasks, memory = running.ask("tasks()"), running.memory
    for number in range(100):
        load(number)
    assert eventually(is_quiet)
    eventually(lambda: running.ask("tasks()") == tasks, 10)
    assert running.ask("tasks()") == tasks
    assert running.ask("layers()") <= 1  # what the last event left in a frame
    assert running.memory - memory < 10
    assert running.short_ways >= 110 * 4


# While something changes


@pytest.fixture
def own_scripts(own_addon: Path) -> tuple[Path, Path]:  # noqa: F811
    """Copies of both scripts that a test may edit."""
    return own_addon, Path(shutil.copy(SHORT_WAY, own_addon.parent))


def test_nothing_passes_while_cookie_auth_cannot_be_loaded(
    begin: Begin, front_end: FrontEnd, own_scripts: tuple[Path, Path]
) -> None:
    running = begin(scripts=own_scripts)
    script = own_scripts[0]
    text = script.read_text()

    def respond(head: bytes) -> bytes:
        if b"/edit" in head:
            edit(script, "def broken(:\n")
            running.mitmdump.wait_for_log("error in script")
        return answer("page")

    front_end.respond = respond
    with running.browser() as browser:
        browser.send(get("/x"))
        assert browser.answers("GET")[0][1] == b"page"
        browser.send(get("/edit"))  # it breaks while this is under way
        browser.send(get("/y"))
        got = browser.answers("GET", "GET", "GET")
        assert [head.split()[1] for head, _ in got] == [b"200", b"503", b"503"]
        edit(script, text)
        running.mitmdump.wait_for_log(r"(?s)(cookie-auth: open.*){2}")
    assert running.goes_short()


def test_requests_under_way_outlive_a_reload_of_either_script(
    begin: Begin, front_end: FrontEnd, own_scripts: tuple[Path, Path]
) -> None:
    running = begin(scripts=own_scripts)
    loads = 1

    def respond(head: bytes) -> bytes:
        nonlocal loads
        if b"/edit" in head:
            script = own_scripts[b"/edit1" in head]
            loads += 1
            edit(script, script.read_text())
            running.mitmdump.wait_for_log(rf"(?s)(Loading script \S+{script.name}.*){{2}}")
        return answer("page")

    front_end.respond = respond
    with running.browser() as browser:
        for number, target in enumerate(("/x", "/edit0", "/y", "/edit1", "/z")):
            browser.send(get(target))
            assert browser.answers(*["GET"] * (number + 1))[-1][1] == b"page"
    assert running.short_ways == 4  # all since cookie-auth was loaded anew
    assert running.goes_short()


def test_another_front_end_counts_from_the_next_request_on(
    begin: Begin, front_end: FrontEnd
) -> None:
    running = begin()
    other = FrontEnd()
    with running.browser() as browser:
        browser.send(get("/x"))
        browser.answers("GET")
        running.ask(f"set_option('cookie_auth_frontend', {other.url!r})")
        browser.send(get("/y"))
        browser.answers("GET", "GET")
        running.ask("set_option('cookie_auth_prefix', '/y')")
        browser.send(get("/y"))
        browser.answers("GET", "GET", "GET")
    assert [len(front_end.received), len(other.received)] == [1, 1]
    assert running.short_ways == 2
    other.close()
