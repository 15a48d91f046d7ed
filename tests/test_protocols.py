"""The laws on HTTP/2, from a browser that speaks TLS with mitmproxy's certificate."""

import contextlib
import json
import socket
import ssl
import threading
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import trustme
from support import Headers, Message, Mitmdump, Upstream, running


def request_over_http2(
    port: int,
    method: str,
    target: str,
    headers: Headers,
    body: bytes = b"",
    trailers: Headers | None = None,
    authority: str = "localhost",
    server_name: str = "localhost",
) -> Message:
    """One request on a connection of its own."""
    with Http2Browser(port, server_name) as browser:
        return browser.request(method, target, headers, body, trailers, authority)


class Http2Browser:
    """A TLS connection on which HTTP/2 was negotiated with ALPN, as browsers do."""

    def __init__(self, port: int, server_name: str = "localhost") -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket = context.wrap_socket(plain, server_hostname=server_name)
        assert self.socket.selected_alpn_protocol() == "h2"
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()

    def __enter__(self) -> "Http2Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def request(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes = b"",
        trailers: Headers | None = None,
        authority: str = "localhost",
    ) -> Message:
        connection, stream = self.connection, self.connection.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "https"), (":path", target)]
        connection.send_headers(stream, [*pseudo, (":authority", authority), *headers])
        connection.send_data(stream, body, end_stream=trailers is None)
        if trailers is not None:
            connection.send_headers(stream, trailers, end_stream=True)
        got = Message((), [], b"")
        while True:
            self.socket.sendall(connection.data_to_send())
            for event in connection.receive_data(self.socket.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    fields = [(str(name), str(value)) for name, value in event.headers]
                    got.start = (dict(fields)[":status"],)
                    got.headers = fields[1:]
                elif isinstance(event, h2.events.DataReceived):
                    got.body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return got
                assert not isinstance(event, h2.events.StreamReset)


def test_over_http2_the_laws_hold_and_the_cookie_is_secure(
    upstream: Upstream, confdir: Path
) -> None:
    with running(Mitmdump(upstream.url, confdir=confdir)) as mitmdump:
        port = mitmdump.client.port
        upstream.answers('{"authToken": "sekret"}', Set_Cookie="a=b")
        got = request_over_http2(port, "POST", "/login", [], b"{}")
        assert (got.status, got.body) == (200, b'{"loggedIn": true}')
        assert got.set_cookie == ("auth-token=sekret; Path=/; HttpOnly; SameSite=Lax; Secure")

        # Cookies may come in several fields (RFC 9113, 8.2.3), and anything in the trailers.
        cookies = [("cookie", "a=b"), ("cookie", "auth-token=sekret")]
        got = request_over_http2(
            port,
            "POST",
            "/me",
            [*cookies, ("auth-token", "evil"), ("auth_token", "evil")],
            b"body",
            trailers=[("cookie", "a=b"), ("auth-token", "evil")],
            authority=f"localhost:{port}",
        )
        assert got.status == 200
        assert upstream.last.body == b"body"
        assert upstream.last.one("auth-token") == "sekret"
        assert upstream.last.one("auth_token") is upstream.last.one("cookie") is None
        assert upstream.last.one("host") == f"127.0.0.1:{upstream.port}"

        got = request_over_http2(port, "POST", "/logout", cookies)
        assert got.body == b'{"loggedIn": false}'
        got = request_over_http2(port, "HEAD", "/logout", cookies)
        assert (got.status, got.body) == (200, b"")


class Http2Upstream:
    """An API that speaks HTTP/2 over TLS only, and ends each answer with a trailer."""

    def __init__(self, context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(["h2"])
        self.context = context
        self.received: list[Headers] = []
        self.bodies: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            plain, _ = self.socket.accept()
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        failures = (OSError, h2.exceptions.ProtocolError)
        with contextlib.suppress(*failures), self.context.wrap_socket(plain, True) as sock:
            while True:
                sock.sendall(connection.data_to_send())
                for event in connection.receive_data(sock.recv(65536)):
                    if isinstance(event, h2.events.RequestReceived):
                        self.received.append([(str(n), str(v)) for n, v in event.headers])
                        self.bodies.append(b"")
                    elif isinstance(event, h2.events.DataReceived):
                        self.bodies[-1] += event.data
                        connection.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                    elif isinstance(event, h2.events.StreamEnded):
                        self._answer(connection, event.stream_id)

    def _answer(self, connection: h2.connection.H2Connection, stream: int) -> None:
        connection.send_headers(stream, [(":status", "200"), ("set-cookie", "a=b")])
        connection.send_data(stream, b'{"authToken": "sekret"}')
        connection.send_headers(stream, [("x-trailer", "sekret")], end_stream=True)


def test_http2_passes_from_end_to_end(confdir: Path) -> None:
    """mitmproxy speaks HTTP/2 with a server when the browser speaks it with mitmproxy."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    ca_file = confdir / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    api = Http2Upstream(context)
    options = ["--set", f"ssl_verify_upstream_trusted_ca={ca_file}"]
    options += ["--set", "cookie_auth_cookie=__Host-t"]
    url = f"https://localhost:{api.port}"
    with running(Mitmdump(url, *options, confdir=confdir)) as mitmdump:
        port = mitmdump.client.port
        cookies = [("cookie", "a=b"), ("cookie", "__Host-t=sekret")]
        got = request_over_http2(port, "POST", "/login", cookies, b"{}")
        assert (got.status, got.body) == (200, b'{"loggedIn": true}')
        assert got.set_cookie == ("__Host-t=sekret; Path=/; HttpOnly; SameSite=Lax; Secure")
        got = request_over_http2(port, "POST", "/me", cookies, b"body")
        assert got.body == b'{"authToken": "sekret"}'
        assert got.set_cookie is None
    login, me = map(dict, api.received)
    assert login[":authority"] == me[":authority"] == f"localhost:{api.port}"
    assert "cookie" not in login
    assert "cookie" not in me
    assert "auth-token" not in login
    assert me["auth-token"] == "sekret"
    assert api.bodies == [b"{}", b"body"]


def test_redacted_flows_are_translated_over_http2_all_the_same(
    upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    flows = tmp_path / "flows"
    upstream.answers('{"authToken": "a-secret-token"}')
    options = ("-w", str(flows), "--set", "cookie_auth_redact=true")
    with running(Mitmdump(upstream.url, *options, confdir=confdir)) as mitmdump:
        port = mitmdump.client.port
        got = request_over_http2(port, "POST", "/login", [], b"{}")
        assert (got.set_cookie or "").startswith("auth-token=a-secret-token; ")
        request_over_http2(port, "GET", "/me", [("cookie", "auth-token=a-secret-token")])
        assert upstream.last.one("auth-token") == "a-secret-token"
    assert b"/me" in flows.read_bytes()
    assert b"a-secret-token" not in flows.read_bytes()


def test_a_blank_in_a_method_or_target_ends_no_request_line(confdir: Path) -> None:
    api = Upstream()
    with running(Mitmdump(api.url, confdir=confdir)) as mitmdump:
        port = mitmdump.client.port
        for method, target in (("GET", "/me HTTP/1.1"), ("GET", "/a\tb"), ("GET /x", "/me")):
            got = request_over_http2(port, method, target, [])
            assert got.status == 400, (method, target)
            assert json.loads(got.body)["error"] == "bad_request"
        assert not api.received
        assert request_over_http2(port, "GET", "/me", []).status == 200
    api.close()


def test_over_http2_no_line_is_logged_about_the_letter_case_of_names(confdir: Path) -> None:
    api = Upstream()
    with running(Mitmdump(api.url, confdir=confdir)) as mitmdump:
        port = mitmdump.client.port
        api.answers('{"authToken": "t"}')
        got = request_over_http2(port, "POST", "/login", [], b"{}")
        assert all(name.islower() for name, _ in got.headers)
        request_over_http2(port, "GET", "/me", [("cookie", "auth-token=t")])
        assert "Lowercased" not in mitmdump.log
    api.close()
