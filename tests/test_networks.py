"""The networks that people are on: company proxies, several addresses, silence, HTTP/2, and what
is said when an API or front end cannot be reached."""

import asyncio
import base64
import contextlib
import json
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h11
import pytest
import trustme
from support import (
    Client,
    Message,
    Mitmdump,
    Upstream,
    answer,
    eventually,
    free_port,
    in_a_loop,
    read_message,
    running,
    stop_all,
)
from test_failing_closed import edit, own_addon
from test_protocols import Http2Browser, Http2Upstream, request_over_http2
from upstream import addresses, reasons
from upstream.proxies import Proxies, is_meant

__all__ = ["own_addon"]  # a fixture

ProxyWith = Callable[..., Mitmdump]
Start = Callable[..., Mitmdump]


class CompanyProxy:
    """A forward proxy on a socket, the only one who knows where names lead.

    CONNECT opens a tunnel, a whole URL is fetched (RFC 9112, 3.2.2). Heads are recorded.
    """

    def __init__(self, names: dict[str, int], tls: ssl.SSLContext | None = None) -> None:
        self.names = names
        self.tls = tls
        self.password = ""
        self.silent = False
        self.heads: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.socket.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), self._secured(sock) as sock:
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = sock.recv(65536)
                    if not more:
                        return
                    head += more
                head, _, body = head.partition(b"\r\n\r\n")
                self.heads.append(head)
                if self.silent:
                    sock.recv(1)
                    return
                line, *fields = head.split(b"\r\n")
                method, target, _ = line.split(b" ")
                expected = f"Basic {base64.b64encode(self.password.encode()).decode()}".encode()
                if self.password and b"Proxy-Authorization: " + expected not in fields:
                    refused = [b"HTTP/1.1 407 Who?", b'Proxy-Authenticate: Basic realm="x"']
                    sock.sendall(b"\r\n".join([*refused, b"Content-Length: 0", b"", b""]))
                    continue
                if method == b"CONNECT":
                    port = self.names[target.decode()]
                    with socket.create_connection(("127.0.0.1", port)) as other:
                        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                        pump(sock, other)
                    return
                match = re.fullmatch(rb"http://([^/]+)(.*)", target)
                assert match
                if length := re.search(rb"(?i)content-length: (\d+)", head):
                    while len(body) < int(length[1]):
                        body += sock.recv(65536)
                passed = [field for field in fields if not field.lower().startswith(b"proxy-")]
                with socket.create_connection(
                    ("127.0.0.1", self.names[match[1].decode()])
                ) as other:
                    line = b"%b %b HTTP/1.1" % (method, match[2])
                    other.sendall(b"\r\n".join([line, *passed, b"", body]))
                    got = read_message(_waiting(), other)
                    assert got
                    sock.sendall(answer(got.body, got.status))

    def _secured(self, sock: socket.socket) -> socket.socket:
        return self.tls.wrap_socket(sock, server_side=True) if self.tls else sock

    @property
    def targets(self) -> list[str]:
        return [head.split(b"\r\n")[0].decode() for head in self.heads]


def _waiting() -> h11.Connection:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    return connection


def pump(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes both ways until either has closed."""
    while True:
        for ready in select.select([one, other], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            (other if ready is one else one).sendall(data)


@pytest.fixture
def company(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Iterator[CompanyProxy]:
    """A network with a proxy, on which api.test is known to that only."""
    proxy = CompanyProxy({"api.test": upstream.port, "api.test:80": upstream.port})
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv(name.lower(), raising=False)
    yield proxy
    proxy.socket.close()


@pytest.fixture
def serve(confdir: Path) -> Iterator[Callable[..., Mitmdump]]:
    """Start a mitmdump in front of a URL."""
    started: list[Mitmdump] = []

    def serve(url: str, *options: str) -> Mitmdump:
        started.append(Mitmdump(url, *with_set(options), confdir=confdir))
        return started[-1]

    yield serve
    stop_all(started)


def with_set(options: tuple[str, ...]) -> list[str]:
    return [part for option in options for part in ("--set", option)]


def certified(*names: str) -> tuple[ssl.SSLContext, trustme.CA]:
    """TLS for a server of these names, and whom to trust for it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context, authority


def trusting(authority: trustme.CA, confdir: Path) -> str:
    """The option that trusts an authority."""
    file = confdir / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return f"ssl_verify_upstream_trusted_ca={file}"


def error_of(got: Message) -> tuple[int, str, str]:
    payload = json.loads(got.body)
    return got.status, payload["error"], payload["message"]


# A company's proxy


def test_an_http_api_is_asked_for_by_its_whole_url(
    company: CompanyProxy, serve: Start, upstream: Upstream
) -> None:
    upstream.answers('{"authToken": "sekret"}')
    mitmdump = serve("http://api.test")
    got = mitmdump.client.post("/login")
    assert got.body == b'{"loggedIn": true}'
    got = mitmdump.client.get("/me?a=b", cookie="auth-token=sekret")
    assert got.status == 200
    assert company.targets == [
        "POST http://api.test/login HTTP/1.1",
        "GET http://api.test/me?a=b HTTP/1.1",
    ]
    assert upstream.last.one("auth-token") == "sekret"
    assert upstream.last.one("host") == "api.test"
    mitmdump.wait_for_log(rf"for http://api.test by the proxy {company.url} \(HTTP_PROXY\)")


def test_http2_browsers_go_by_the_proxy_too(company: CompanyProxy, serve: Start) -> None:
    client = serve("http://api.test").client
    assert request_over_http2(client.port, "POST", "/me", [], b"{}").status == 200
    assert company.targets == ["POST http://api.test/me HTTP/1.1"]


def test_an_https_api_is_reached_through_a_tunnel(
    company: CompanyProxy, serve: Start, confdir: Path
) -> None:
    context, authority = certified("api.test")
    api = Upstream(tls=context)
    company.names["api.test:443"] = api.port
    client = serve("https://api.test", trusting(authority, confdir)).client
    request = f"GET /me HTTP/1.1\r\nHost: localhost:{client.port}\r\n"
    got = client.raw(f"{request}\r\n{request}Connection: close\r\n\r\n".encode())
    assert got.count(b"HTTP/1.1 200") == 2
    assert [message.target for message in api.received] == ["/me", "/me"]
    assert api.last.one("host") == "api.test"
    assert set(company.targets) == {"CONNECT api.test:443 HTTP/1.1"}
    assert b"\r\nHost: api.test:443" in company.heads[0]
    api.close()


def test_user_and_password_go_to_the_proxy_and_nowhere_else(
    company: CompanyProxy,
    serve: Start,
    upstream: Upstream,
    confdir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context, authority = certified("api.test")
    api = Upstream(tls=context)
    company.names["api.test:443"] = api.port
    company.password = "jo:pass word"
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, company.url.replace("http://", "http://jo:pass%20word@"))
    basic = base64.b64encode(company.password.encode()).decode()
    flows = tmp_path / "flows"
    for url, its in (("http://api.test", upstream), ("https://api.test", api)):
        mitmdump = serve(url, trusting(authority, confdir), f"save_stream_file={flows}")
        assert mitmdump.client.get("/me").status == 200
        assert "Proxy-Authorization" not in str(its.last).title()
        mitmdump.stop()
        assert not re.search(f"pass.{{0,3}}word|{basic}", mitmdump.log)
        assert basic.encode() not in flows.read_bytes()
    assert sum(basic.encode() in head for head in company.heads) >= 2
    api.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_is_named_with_what_to_set(
    company: CompanyProxy, serve: Start, scheme: str
) -> None:
    company.password = "jo:sekret"
    got = serve(f"{scheme}://api.test").client.get("/me")
    status, code, message = error_of(got)
    assert (status, code) == (502, "upstream_unreachable")
    assert f"{scheme.upper()}_PROXY=http://USER:PASSWORD@HOST:PORT" in message
    assert "(407)" in message
    assert "127.0.0.1" in message
    assert got.one("proxy-authenticate") is None


def test_a_websocket_goes_through_a_tunnel_on_a_connection_used_before(
    company: CompanyProxy, serve: Start, upstream: Upstream
) -> None:
    switching = b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"
    upstream.respond = lambda request: (
        iter([switching]) if "websocket" in str(request.headers) else answer("{}")
    )
    client = serve("http://api.test").client
    head = f"GET /{{}} HTTP/1.1\r\nHost: localhost:{client.port}\r\n"
    handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    handshake += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as sock:
        sock.sendall((head.format("me") + "\r\n").encode())
        assert read(sock, b"{}").startswith(b"HTTP/1.1 200")
        sock.sendall((head.format("socket") + handshake).encode())
        read(sock, b"hi")
    assert company.targets == [
        "GET http://api.test/me HTTP/1.1",
        "CONNECT api.test:80 HTTP/1.1",
    ]


def test_the_proxys_own_requests_go_the_same_way(
    company: CompanyProxy, serve: Start, upstream: Upstream
) -> None:
    options = ("cookie_auth_refresh=/refresh", "cookie_auth_token=/access")
    client = serve("http://api.test", *options).client
    upstream.answers('{"access": "old", "refreshToken": "again"}')
    cookies = "; ".join(
        field.partition(";")[0] for field in client.post("/login").all("set-cookie")
    )
    upstream.respond = lambda request: (
        answer('{"access": "new", "refreshToken": "more"}')
        if request.target == "/refresh"
        else answer("{}" if request.one("auth-token") == "new" else "", 200)
        if request.one("auth-token") == "new"
        else answer("", 401)
    )
    assert client.get("/me", cookie=cookies).status == 200
    assert [target.split()[1] for target in company.targets] == [
        "http://api.test/login",
        *("http://api.test/me", "http://api.test/refresh", "http://api.test/me"),
    ]


def test_this_machine_is_never_reached_by_the_proxy(
    company: CompanyProxy, serve: Start, upstream: Upstream
) -> None:
    frontend = Upstream()
    options = ("cookie_auth_prefix=/api", f"cookie_auth_frontend=http://localhost:{frontend.port}")
    client = serve(upstream.url, *options).client
    assert client.get("/api/me").status == client.get("/page").status == 200
    assert not company.heads
    frontend.close()


def test_the_api_may_need_a_proxy_and_the_front_end_none(
    company: CompanyProxy, serve: Start
) -> None:
    """On one HTTP/2 connection, too: which way one request goes is nothing to the other."""
    frontend = Upstream()
    options = ("cookie_auth_prefix=/api", f"cookie_auth_frontend=http://localhost:{frontend.port}")
    client = serve("http://api.test", *options).client
    with Http2Browser(client.port) as browser:
        for target in ("/api/me", "/page", "/api/me"):
            assert browser.request("GET", target, []).status == 200
    assert [message.target for message in frontend.received] == ["/page"]
    assert company.targets == ["GET http://api.test/me HTTP/1.1"] * 2
    frontend.close()


def test_after_a_reload_of_the_script_nothing_for_the_proxy_goes_through_a_tunnel(
    company: CompanyProxy,
    upstream: Upstream,
    confdir: Path,
    own_addon: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    company.password = "jo:sekret"
    monkeypatch.setenv("HTTP_PROXY", company.url.replace("http://", "http://jo:sekret@"))
    with running(Mitmdump("http://api.test", confdir=confdir, scripts=(own_addon,))) as mitmdump:
        port = mitmdump.client.port
        head = f"GET /{{}} HTTP/1.1\r\nHost: localhost:{port}\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            # A WebSocket that the API refuses leaves a tunnel behind.
            sock.sendall((head.format("socket") + "Upgrade: websocket\r\n\r\n").encode())
            read(sock, b"{}")
            edit(own_addon, own_addon.read_text() + "\n# edited\n")
            mitmdump.wait_for_log("(?s)(Loading script.*){2}")
            assert eventually(lambda: mitmdump.client.get("/ready").status == 200)
            for path in ("one", "two"):
                sock.sendall((head.format(path) + "\r\n").encode())
                assert read(sock, b"{}").startswith(b"HTTP/1.1 200")
    assert "sekret" not in str(upstream.received)
    assert "proxy-authorization" not in str(upstream.received).lower()
    assert [target.split()[1] for target in company.targets if "ready" not in target] == [
        *("api.test:80", "http://api.test/one", "http://api.test/two"),
    ]


def test_a_proxy_may_be_spoken_to_in_tls(
    serve: Start, upstream: Upstream, confdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certified("localhost")
    company = CompanyProxy({"api.test": upstream.port}, context)
    company.password = "jo:sekret"
    url = company.url.replace("http://127.0.0.1", "https://jo:sekret@localhost")
    monkeypatch.setenv("HTTP_PROXY", url)
    client = serve("http://api.test", trusting(authority, confdir)).client
    assert client.get("/me").status == 200
    assert company.targets == ["GET http://api.test/me HTTP/1.1"]
    company.socket.close()


def test_a_front_end_elsewhere_goes_by_the_proxy_too(
    company: CompanyProxy, serve: Start, upstream: Upstream
) -> None:
    company.names["web.test"] = upstream.port
    options = ("cookie_auth_prefix=/api", "cookie_auth_frontend=http://web.test")
    mitmdump = serve(upstream.url, *options)
    assert mitmdump.client.get("/page").status == 200
    assert company.targets == ["GET http://web.test/page HTTP/1.1"]
    mitmdump.wait_for_log("front end: http://web.test by the proxy")


def test_a_proxy_that_is_down_is_named(serve: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://jo:sekret@localhost:{free_port()}")
    _, _, message = error_of(serve("https://api.test").client.get("/me"))
    assert "the proxy localhost:" in message
    assert "(HTTPS_PROXY): nothing listens there" in message
    assert "sekret" not in message


def test_a_variable_that_names_no_http_proxy_is_told(
    serve: Start, monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://jo:sekret@localhost:1080")
    mitmdump = serve(upstream.url)
    mitmdump.wait_for_log("HTTPS_PROXY names no http proxy")
    assert "sekret" not in mitmdump.log


CORP = "http://proxy.corp:3128"


@pytest.mark.parametrize(
    ("environ", "url", "variable"),
    [
        ({}, "https://a.test:443", None),
        ({"HTTPS_PROXY": CORP}, "https://a.test:443", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": CORP}, "http://a.test:80", None),
        ({"HTTP_PROXY": CORP}, "http://a.test:80", "HTTP_PROXY"),
        ({"HTTP_PROXY": CORP, "REQUEST_METHOD": "GET"}, "http://a.test:80", None),
        ({"http_proxy": CORP, "REQUEST_METHOD": "GET"}, "http://a.test:80", "http_proxy"),
        ({"https_proxy": CORP, "HTTPS_PROXY": "http://x"}, "https://a.test:443", "https_proxy"),
        ({"https_proxy": "", "HTTPS_PROXY": CORP}, "https://a.test:443", None),
        ({"HTTPS_PROXY": "proxy.corp"}, "https://a.test:443", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "socks5://proxy.corp"}, "https://a.test:443", None),
        ({"HTTPS_PROXY": "http://proxy.corp:no"}, "https://a.test:443", None),
        ({"HTTPS_PROXY": CORP, "NO_PROXY": "b.test,a.test"}, "https://a.test:443", None),
        ({"HTTPS_PROXY": CORP, "no_proxy": "b.test"}, "https://a.test:443", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": CORP, "no_proxy": "", "NO_PROXY": "*"}, "https://a.test:443",
         "HTTPS_PROXY"),
        ({"HTTPS_PROXY": CORP}, "https://localhost:443", None),
        ({"HTTPS_PROXY": CORP}, "https://api.localhost:443", None),
        ({"HTTPS_PROXY": CORP}, "https://127.0.0.9:443", None),
    ],
)  # fmt: skip
def test_the_environment_is_read_as_curl_and_python_read_it(
    environ: dict[str, str], url: str, variable: str | None
) -> None:
    scheme, host, port = re.split("://|:", url)
    chosen = Proxies.read(environ).on_the_way_to(scheme, host, int(port))
    assert (chosen.variable if chosen else None) == variable


@pytest.mark.parametrize(
    ("entry", "host", "is_it"),
    [
        ("*", "a.test", True),
        ("a.test", "a.test", True),
        ("a.test", "A.test.", True),
        ("a.test", "x.a.test", True),
        (".a.test", "x.a.test", True),
        (".a.test", "a.test", True),
        ("*.a.test", "x.a.test", True),
        ("a.test", "aa.test", False),
        ("a.test:443", "a.test", True),
        ("a.test:80", "a.test", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "a.test", False),
        ("fd00::/8", "[fd00::1]", True),
        ("[fd00::1]", "fd00::1", True),
        ("", "a.test", False),
        (".", "a.test", False),
    ],
)
def test_no_proxy_names_hosts_networks_and_all_under_a_name(
    entry: str, host: str, is_it: bool
) -> None:
    assert is_meant(entry, host, 443) is is_it


def test_a_password_is_decoded_and_told_to_nobody() -> None:
    proxies = Proxies.read({"HTTPS_PROXY": "https://j%40o:p%3A@[fd00::1]"})
    assert proxies.https
    assert proxies.https.via == ("https", ("fd00::1", 443))
    assert proxies.https.authorization == "Basic " + base64.b64encode(b"j@o:p:").decode()
    assert str(proxies.https) == "https://[fd00::1]:443 (HTTPS_PROXY)"
    assert proxies.authorization(("https", ("fd00::1", 443))) == proxies.https.authorization
    assert proxies.authorization(("https", ("fd00::2", 443))) is None


# Addresses


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("localhost.test", False),
        ("mylocalhost", False),
        ("10.0.0.1", False),
    ],
)
def test_what_is_this_machine(host: str, is_it: bool) -> None:
    assert addresses.is_loopback(host) is is_it


@pytest.mark.parametrize(
    ("found", "order"),
    [
        (["1.1.1.1"], ["1.1.1.1"]),
        (["::1", "::2", "1.1.1.1", "::3", "2.2.2.2"], ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"]),
        (["1.1.1.1", "::1", "1.1.1.1"], ["1.1.1.1", "::1"]),
    ],
)
def test_addresses_of_both_families_are_tried_by_turns(found: list[str], order: list[str]) -> None:
    assert addresses.by_turns(found) == order


class Nowhere:
    """A port to which nobody gets through: its backlog is full, so that no SYN is answered."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family, backlog=0)
        self.port = self.listener.getsockname()[1]
        self.waiting: list[socket.socket] = []
        while True:
            sock = socket.socket(family)
            self.waiting.append(sock)
            sock.settimeout(1)
            try:
                sock.connect((host, self.port))
            except TimeoutError:
                break

    def close(self) -> None:
        for sock in (*self.waiting, self.listener):
            sock.close()


def test_a_dead_address_beside_a_good_one_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead = Nowhere("127.0.0.1")
    alive = Upstream("::1", dead.port)

    async def resolve(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        assert host == "api.test"
        return [(None, None, None, "", (address, port)) for address in ("127.0.0.1", "::1")]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)

    async def connect() -> str:
        _, writer = await addresses.connect("api.test", dead.port)
        writer.close()
        return str(writer.get_extra_info("peername")[0])

    assert in_a_loop(connect()) == "::1"
    alive.close()
    dead.close()


def test_localhost_is_reached_though_one_of_its_addresses_is_dead(serve: Start) -> None:
    dead = Nowhere("127.0.0.1")
    alive = Upstream("::1", dead.port)
    assert serve(f"http://localhost:{dead.port}").client.get("/me").status == 200
    alive.close()
    dead.close()


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        ({"1.1.1.1": ConnectionRefusedError(111, "x"), "::1": OSError(101, "x")},
         addresses.REFUSED),
        ({"::1": OSError(101, "x")}, addresses.NO_WAY),
        ({"::1": OSError(113, "x"), "1.1.1.1": TimeoutError(110, "x")}, addresses.TOO_SLOW),
        ({"::1": OSError(24, "x")}, "connecting failed: Too many open files"),
        ({"::1": OSError("x")}, "connecting failed: OSError"),
    ],
)  # fmt: skip
def test_of_several_failures_the_one_is_told_that_says_most(
    outcomes: dict[str, OSError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(host: str, port: int) -> list[str]:
        return list(outcomes)

    async def fail(host: str, port: int) -> None:
        raise outcomes[host]

    monkeypatch.setattr(addresses, "addresses", found)
    monkeypatch.setattr(asyncio, "open_connection", fail)
    with pytest.raises(addresses.NotConnected) as failure:
        in_a_loop(addresses.connect("api.test", 1))
    assert str(failure.value) == words


def test_names_that_do_not_resolve_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, words in (
        (socket.EAI_NONAME, addresses.UNKNOWN_NAME),
        (socket.EAI_AGAIN, addresses.NO_NAME_SERVER),
    ):

        async def resolve(*_: Any, number: int = number, **__: Any) -> None:
            raise socket.gaierror(number, "x")

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
        with pytest.raises(addresses.NotConnected, match=words):
            in_a_loop(addresses.connect("api.test", 1))
    monkeypatch.undo()
    with pytest.raises(addresses.NotConnected, match=addresses.UNKNOWN_NAME):
        in_a_loop(addresses.connect("a" * 64 + ".test", 1))


def test_names_under_localhost_are_this_machine_though_nobody_resolves_them(
    confdir: Path, serve: Start
) -> None:
    api, frontend = Upstream("127.0.0.1"), Upstream("::1")
    options = (
        "cookie_auth_prefix=/api",
        f"cookie_auth_frontend=http://web.no-such.localhost:{frontend.port}",
    )
    client = serve(f"http://api.no-such.localhost:{api.port}", *options).client
    for _ in range(2):
        assert client.get("/api/me").status == client.get("/page").status == 200
    assert api.last.one("host") == f"api.no-such.localhost:{api.port}"
    assert [message.target for message in frontend.received] == ["/page", "/page"]
    api.close()
    frontend.close()


# Silence


def test_an_upstream_that_cannot_be_connected_to_is_given_up_after_ten_seconds(
    serve: Start,
) -> None:
    """The front end's host answers no SYN, the API takes connections and says nothing in TLS."""
    frontend, api = Nowhere(), socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{frontend.port}"
    client = serve(
        f"https://127.0.0.1:{api.getsockname()[1]}",
        *("cookie_auth_prefix=/api", f"cookie_auth_frontend={url}"),
    ).client
    got: dict[str, Message] = {}

    def get(path: str) -> None:
        got[path] = client.get(path, accept="*/*")

    paths = ("/api/me", "/api/other", "/page")
    threads = [threading.Thread(target=get, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for path in ("/api/me", "/api/other"):
        status, code, message = error_of(got[path])
        assert (status, code) == (504, "upstream_timeout")
        assert "silent for 10 seconds" in message
        assert "--mode reverse:URL" in message
    status, code, message = error_of(got["/page"])
    assert (status, code) == (504, "upstream_timeout")
    assert "no connection within 10 seconds" in message
    assert "cookie_auth_frontend=URL" in message
    page = client.get("/page", accept="text/html")
    assert page.status == 504
    assert b"no connection within 10 seconds" in page.body
    frontend.close()
    api.close()


def test_a_silent_company_proxy_is_given_up_too(company: CompanyProxy, serve: Start) -> None:
    company.silent = True
    status, code, message = error_of(serve("https://api.test").client.get("/me"))
    assert (status, code) == (504, "upstream_timeout")
    assert "silent for 10 seconds" in message


def test_an_answer_may_take_no_longer_than_the_option_says(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    release = threading.Event()

    def respond(request: Message) -> bytes:
        if request.target == "/slow":
            release.wait(60)
        return answer("{}")

    upstream.respond = respond
    client = proxy_with("cookie_auth_answer_timeout=0.5").client
    head = f"Host: localhost:{client.port}\r\n"
    slow = f"GET /slow HTTP/1.1\r\n{head}\r\n"
    got = client.raw(f"{slow}GET /me HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
    assert got.startswith(b"HTTP/1.1 504 ")
    assert b"upstream_timeout" in got
    assert b"cookie_auth_answer_timeout" in got
    assert b"HTTP/1.1 200 " in got  # the browser's connection stays usable
    with Http2Browser(client.port) as browser:
        assert browser.request("POST", "/slow", []).status == 504
        assert browser.request("POST", "/me", []).status == 200
    release.set()


def test_the_limit_is_over_once_an_answer_has_begun(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    mitmdump = proxy_with("cookie_auth_answer_timeout=0.5")
    go_on = threading.Event()

    def events(request: Message) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
        go_on.wait(60)
        yield b"data: 2\n\n"

    def sockets(request: Message) -> Iterator[bytes]:
        yield b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        go_on.wait(60)
        yield b"\x81\x02hi"

    upstream.respond = lambda request: (
        sockets(request) if request.one("upgrade") else events(request)
    )
    head = f"GET /x HTTP/1.1\r\nHost: localhost:{mitmdump.client.port}\r\n"
    handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    handshake += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    streams = []
    for more in ("", handshake):
        sock = socket.create_connection(("127.0.0.1", mitmdump.client.port), timeout=20)
        sock.sendall(f"{head}{more}\r\n".encode())
        assert sock.recv(65536).startswith((b"HTTP/1.1 200", b"HTTP/1.1 101"))
        streams.append(sock)
    # Another request runs into the limit that theirs would have run into before.
    upstream.respond = lambda request: (go_on.wait(60) and answer("")) or b""
    assert mitmdump.client.get("/slow").status == 504
    go_on.set()
    for sock, awaited in zip(streams, (b"data: 2", b"hi"), strict=True):
        read(sock, awaited)
        sock.close()
    assert "crashed" not in mitmdump.log


def test_a_limit_holds_over_a_reload_of_the_script(
    start: Start, upstream: Upstream, own_addon: Path
) -> None:
    asked, release = threading.Event(), threading.Event()

    def respond(request: Message) -> bytes:
        asked.set()
        release.wait(60)
        return answer("{}")

    upstream.respond = respond
    options = ("--set", "cookie_auth_answer_timeout=5")
    mitmdump = start(*options, scripts=(own_addon,))
    client = mitmdump.client
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get, "/slow")
        assert asked.wait(20)
        edit(own_addon, own_addon.read_text() + "\n# edited\n")
        assert waiting.result(60).status == 504
    release.set()
    assert mitmdump.log.count("Loading script") == 2
    assert "crashed" not in mitmdump.log


# HTTP/2


def test_an_http1_browser_reaches_an_api_that_speaks_http2_only(
    serve: Start, confdir: Path
) -> None:
    context, authority = certified("localhost")
    api = Http2Upstream(context)
    client = serve(f"https://localhost:{api.port}", trusting(authority, confdir)).client
    got = client.post("/login", cookie="a=b", connection="keep-alive")
    assert (got.status, got.body) == (200, b'{"loggedIn": true}')
    assert (got.set_cookie or "").startswith("auth-token=sekret; ")
    head = f"Host: localhost:{client.port}\r\nCookie: auth-token=sekret\r\n"
    raw = client.raw(
        f"POST /me HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        f"GET /me HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()
    )
    assert raw.count(b"HTTP/1.1 200 OK") == 2  # the end of the first one is told
    assert b"x-trailer" not in raw.lower()
    login, me, _ = map(dict, api.received)
    assert login[":authority"] == me[":authority"] == f"localhost:{api.port}"
    assert not {"host", "connection", "transfer-encoding", "cookie"} & {*login, *me}
    assert me["auth-token"] == "sekret"
    assert api.bodies == [b"{}", b"body", b""]


def test_a_websocket_of_an_api_that_speaks_http2_only_is_told_off(
    serve: Start, confdir: Path
) -> None:
    context, authority = certified("localhost")
    api = Http2Upstream(context)
    client = serve(f"https://localhost:{api.port}", trusting(authority, confdir)).client
    host = f"Host: localhost:{client.port}\r\n"
    upgrade = f"GET /s HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert b"passes no WebSocket" in client.raw(upgrade.encode())
    both = client.raw(f"GET /me HTTP/1.1\r\n{host}\r\n{upgrade}".encode())
    assert both.startswith(b"HTTP/1.1 200")
    assert b"passes no WebSocket" in both


def test_an_api_that_refuses_http1_is_spoken_to_in_http2(serve: Start, confdir: Path) -> None:
    """Node's servers refuse with an alert, where Python's go on without a protocol."""
    authority = trustme.CA()
    certificate = confdir / "server.pem"
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with node_http2(certificate) as port:
        client = serve(f"https://localhost:{port}", trusting(authority, confdir)).client
        for method in ("GET", "POST"):
            got = client.request(method, "/me", body="{}" if method == "POST" else None)
            assert (got.status, got.body) == (200, b"2.0")


NODE = """
const fs = require('fs'), pem = fs.readFileSync(process.argv[1])
const server = require('http2').createSecureServer({ key: pem, cert: pem })
server.on('request', (request, response) => {
  request.resume()
  request.on('end', () => response.end(request.httpVersion))
})
server.listen(0, 'localhost', () => console.log(server.address().port))
"""


@contextlib.contextmanager
def node_http2(certificate: Path) -> Iterator[int]:
    import shutil
    import subprocess

    node = shutil.which("node")
    if not node:
        pytest.skip("no node on the PATH")
    process = subprocess.Popen(
        [node, "-e", NODE, str(certificate)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def test_an_api_that_speaks_both_is_spoken_to_in_http1(serve: Start, confdir: Path) -> None:
    context, authority = certified("localhost")
    context.set_alpn_protocols(["h2", "http/1.1"])
    api = Upstream(tls=context)
    client = serve(f"https://localhost:{api.port}", trusting(authority, confdir)).client
    for _ in range(2):
        assert client.get("/me").status == 200
    api.close()


# A kept connection that is closed


class Closing:
    """An API that answers a first request on a connection, and closes it upon the next.

    That is how a server looks whose keep-alive ends as the next request is on its way.
    """

    def __init__(self, *, first: bytes = b"", always: bool = False) -> None:
        self.first = first
        self.always = always
        self.received: list[Message] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.socket.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError, h11.RemoteProtocolError):
            for number in range(2):
                request = read_message(h11.Connection(h11.SERVER), sock)
                if not request:
                    return
                self.received.append(request)
                if number == 1 or (self.always and len(self.received) > 1):
                    sock.sendall(self.first)
                    return
                sock.sendall(answer("{}"))


def read(sock: socket.socket, awaited: bytes) -> bytes:
    """What comes, up to these bytes at least."""
    got = b""
    while awaited not in got:
        more = sock.recv(65536)
        assert more, got
        got += more
    return got


def twice(client: Client, method: str, body: str = "") -> bytes:
    """A GET, and a request on the same connection."""
    host = f"Host: localhost:{client.port}\r\n"
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as sock:
        sock.sendall(f"GET /1 HTTP/1.1\r\n{host}\r\n".encode())
        assert read(sock, b"{}").startswith(b"HTTP/1.1 200")
        sock.sendall(f"{method} /2 HTTP/1.1\r\n{host}{length}\r\n{body}".encode())
        return read(sock, b"\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [("GET", "", 200), ("HEAD", "", 200), ("PUT", "x=y", 200), ("POST", "x=y", 502),
     ("DELETE", "", 502), ("PATCH", "x=y", 502)],
)  # fmt: skip
def test_what_is_safe_to_repeat_is_sent_once_more_when_a_kept_connection_is_closed(
    serve: Start, method: str, body: str, status: int
) -> None:
    api = Closing()
    client = serve(f"http://127.0.0.1:{api.port}").client
    assert twice(client, method, body).startswith(b"HTTP/1.1 %d " % status)
    sent = [(message.method, message.body.decode()) for message in api.received]
    assert sent == [("GET", ""), *[(method, body)] * (2 if status == 200 else 1)]
    api.socket.close()


def test_it_is_sent_once_more_and_no_oftener(serve: Start) -> None:
    api = Closing(always=True)
    client = serve(f"http://127.0.0.1:{api.port}").client
    assert twice(client, "GET").startswith(b"HTTP/1.1 502 ")
    assert len(api.received) == 3
    api.socket.close()


@pytest.mark.parametrize("first", [b"H", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_nothing_is_sent_again_once_a_byte_of_an_answer_has_come(
    serve: Start, first: bytes
) -> None:
    api = Closing(first=first)
    client = serve(f"http://127.0.0.1:{api.port}").client
    assert twice(client, "GET").startswith(b"HTTP/1.1 502 ")
    assert len(api.received) == 2
    api.socket.close()


def test_a_body_that_streamed_is_not_sent_again(serve: Start) -> None:
    api = Closing()
    client = serve(f"http://127.0.0.1:{api.port}").client
    assert twice(client, "PUT", "x" * 3_000_000).startswith(b"HTTP/1.1 502 ")
    assert len(api.received) == 2
    api.socket.close()


# What is said


def test_http_for_an_https_port_and_the_reverse_are_told(
    serve: Start, upstream: Upstream, confdir: Path
) -> None:
    context, authority = certified("localhost")
    secure = Upstream(tls=context)
    trust = trusting(authority, confdir)
    _, _, message = error_of(serve(f"http://localhost:{secure.port}", trust).client.get("/me"))
    # Some servers say so in TLS, this one just closes.
    said = f"it speaks https, not http; say --mode reverse:https://localhost:{secure.port}"
    assert said in message
    assert not secure.received
    options = (
        "cookie_auth_prefix=/api",
        f"cookie_auth_frontend=https://localhost:{upstream.port}",
    )
    client = serve(f"https://localhost:{upstream.port}", trust).client
    _, _, message = error_of(client.get("/me"))
    said = f"if it speaks http, say --mode reverse:http://localhost:{upstream.port}"
    assert said in message
    client = serve(f"https://localhost:{secure.port}", trust, *options).client
    _, _, message = error_of(client.get("/page", accept="*/*"))
    said = f"if it speaks http, say cookie_auth_frontend=http://localhost:{upstream.port}"
    assert said in message
    secure.close()


def test_a_server_that_closes_and_then_is_silent_keeps_nobody_waiting_long(serve: Start) -> None:
    """Whether it speaks TLS is looked for, once; here nobody says."""
    listener = socket.create_server(("127.0.0.1", 0))

    def close_the_first() -> None:
        sock, _ = listener.accept()
        sock.recv(65536)
        sock.close()

    threading.Thread(target=close_the_first, daemon=True).start()
    got = serve(f"http://127.0.0.1:{listener.getsockname()[1]}").client.get("/me")
    assert error_of(got)[2].endswith("it closed the connection without an answer.")
    listener.close()


HTTP_API = reasons.Upstream("http", "api.test:80", "--mode reverse:", "")
API = reasons.Upstream("https", "api.test:443", "--mode reverse:", "")
BEHIND = API._replace(proxy="the proxy p.test:3128 (HTTPS_PROXY)")


@pytest.mark.parametrize(
    ("message", "upstream", "words"),
    [
        (addresses.REFUSED, API, "start it, or correct its address: --mode reverse:URL"),
        (addresses.REFUSED, BEHIND, "the proxy p.test:3128 (HTTPS_PROXY): nothing listens there"),
        ("connecting failed: Too many open files", API, "connecting failed: Too many open files"),
        (addresses.UNKNOWN_NAME, API, "wants a proxy (HTTPS_PROXY)"),
        ("Upstream proxy p.test:3128 refused HTTP CONNECT request: 403 sekret", BEHIND,
         "the proxy p.test:3128 (HTTPS_PROXY): it refused to connect (403)"),
        ("Certificate verify failed: hostname mismatch", API, "is for another name"),
        ("Certificate verify failed: certificate has expired", API, "(certificate has expired)"),
        ("The remote server does not speak TLS.", API, "say --mode reverse:http://api.test:443"),
        ("OpenSSL Error([('SSL routines', '', 'wrong version number')])", API, "not https"),
        ("OpenSSL Error([('SSL routines', '', 'tlsv13 alert certificate required')])", API,
         "client_certs=FILE"),
        ("OpenSSL Error([('SSL routines', '', 'sslv3 alert handshake failure')])", API,
         "TLS with it failed (sslv3 alert handshake failure)"),
        (r"unexpected server response: b'\x15\x03\x01\x00'", HTTP_API,
         "say --mode reverse:https://api.test:80"),
        (r"unexpected server response: b'\x00\x00\x12\x04\x00'", HTTP_API, "speaks HTTP/2"),
        ("server closed connection", API, "closed the connection without an answer"),
        ("HTTP/1 protocol error: peer closed connection without sending sekret", API,
         "in the middle of its answer"),
    ],
)  # fmt: skip
def test_a_failure_is_told_in_words_with_what_to_do(
    message: str, upstream: reasons.Upstream, words: str
) -> None:
    told = reasons.describe(message, upstream=upstream)
    assert words in told
    assert "sekret" not in told
    assert not re.search(r"Errno|\('|\{|\}|[.?]$", told)


@pytest.mark.parametrize("message", [addresses.TOO_SLOW, reasons.NO_ANSWER, reasons.NO_HANDSHAKE])
def test_what_took_too_long_has_a_code_of_its_own(message: str) -> None:
    assert reasons.code_of(message, reasons.UNREACHABLE) == reasons.TOO_LATE
    assert reasons.code_of(message, reasons.BAD_REQUEST) == reasons.BAD_REQUEST


def test_a_front_end_that_is_down_is_told_of_without_an_errno(serve: Start) -> None:
    url = f"http://localhost:{free_port()}"
    options = ("cookie_auth_prefix=/api", f"cookie_auth_frontend={url}")
    mitmdump = serve(url, *options)
    page = mitmdump.client.get("/", accept="text/html").body.decode()
    assert "nothing listens there" in page
    assert "Errno" not in page + mitmdump.log
    assert eventually(lambda: "nothing listens there" in mitmdump.log)
