"""No input makes the pure parts raise anything but a refusal, or lets a token through."""

import json
import string
from collections.abc import Callable
from typing import Any

from credentials import carriers
from credentials.cookies import cookie_pairs
from credentials.jar import Jar
from credentials.seal import Seal
from credentials.wallet import Brought, Wallets
from exchanges import router
from exchanges.exchange import Exchange
from exchanges.notes import RECEIVED, SESSION
from exchanges.proxy import Configuration, Proxy
from exchanges.router import Router
from exchanges.settings import OPTIONS, Settings
from hypothesis import example, given
from hypothesis import strategies as st
from messages import answers
from messages.answers import Refused
from messages.headers import IndexedHeaders
from mitmproxy import http, options
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow
from origins import paths
from test_jar import SETTINGS, wallet_of
from tokens import capture, graphql
from tokens.capture import Captured
from tokens.json_pointer import JsonPointer

JARS = [Jar("auth-token", "http://api", Seal.of(keys)) for keys in ((), ("s" * 16,))]
POINTERS = tuple(JsonPointer.parse(text) for text in ("/authToken", "/data/0/token"))
COOKIE_OCTETS = set(string.ascii_letters + string.digits + "!#$%&'()*+-./:<=>?@[]^_`{|}~")

header_text = st.text(st.characters(codec="utf-8") | st.sampled_from(';=, \t"auth-token'))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("authToken"), inner),
    max_leaves=20,
)


header_names = st.sampled_from(["a", "A", "b-c", "B-C", "d", "é"])
header_changes = st.one_of(
    st.tuples(st.just("set_all"), header_names, st.lists(header_text, max_size=3)),
    st.tuples(st.just("add"), header_names, header_text),
    st.tuples(st.just("__setitem__"), header_names, header_text),
    st.tuples(st.just("pop"), header_names, st.just(None)),
)


def translate(headers: IndexedHeaders, jar: Jar) -> bool:
    fields = tuple(headers.get_all("cookie"))
    held = wallet_of(jar).read(fields, trusted=True, browser=False)
    token = carriers.translate(headers, held, SETTINGS.header, SETTINGS.recorded, inject=True)
    return token is not None


@given(st.lists(header_changes))
def test_indexed_headers_do_as_those_of_mitmproxy(
    changes: list[tuple[str, str, object]],
) -> None:
    plain = http.Headers([(b"a", b"1"), (b"B-c", b"2"), (b"A", b"\xff")])
    indexed = IndexedHeaders.of(plain)
    for change, name, value in changes:
        for headers in (plain, indexed):
            copied = list(value) if isinstance(value, list) else value
            getattr(headers, change)(name, copied)
        assert indexed.fields == plain.fields
        assert indexed.names == {name.lower() for name in plain}
        for name in ("a", "b-C", "d", "É".lower(), "x"):
            assert indexed.get_all(name) == plain.get_all(name)
            assert indexed.get(name) == plain.get(name)
            assert (name in indexed) is (name in plain)
    for name in plain:
        del plain[name], indexed[name.swapcase() if name.isascii() else name]
    assert indexed.fields == plain.fields == ()
    assert not indexed.get_all("a")


@given(
    st.dictionaries(
        st.sampled_from([b"a", b"b-c", b"d", b"Cookie"]), st.none() | st.binary(max_size=3)
    ),
    st.lists(st.tuples(st.sampled_from([b"a", b"A", b"B-c", b"D", b"x"]), st.binary(max_size=3))),
)
def test_headers_change_at_once_as_they_do_one_after_the_other(
    changes: dict[bytes, bytes | None], fields: list[tuple[bytes, bytes]]
) -> None:
    plain = http.Headers(fields)
    indexed = IndexedHeaders.of(plain)
    indexed.change(changes)
    for name, value in changes.items():
        if value is None:
            plain.pop(name, None)
        else:
            plain[name] = value
    assert indexed.fields == plain.fields
    assert indexed.names == {name.lower() for name in plain}


REQUEST_SETTINGS = Settings.parse(
    {option.name: option.default for option in OPTIONS}
    | {
        "cookie_auth_allowed_origins": ["http://friend.test"],
        "cookie_auth_base_path": "/v1",
        "cookie_auth_forward_cookies": ["theme"],
        "cookie_auth_refresh": "/refresh",
    }
)
MODE = ProxyMode.parse("reverse:http://api")


def proxy_of(settings: Settings) -> Proxy:
    """The addon, as far as routing needs it."""
    wallets = Wallets(
        settings.cookie,
        settings.header,
        settings.paths.prefix,
        (b"key",),
        renews=settings.paths.refresh is not None,
        several=False,
    )
    return Proxy(options.Options(), Configuration(settings, wallets))


def reverse_flow() -> http.HTTPFlow:
    """A flow with the API of `MODE`."""
    flow = tflow.tflow()
    flow.client_conn.proxy_mode = MODE
    return flow


def issued_cookies() -> bytes:
    """The Cookie field of a browser that has logged in."""
    wallet = proxy_of(REQUEST_SETTINGS).configured.wallets.of(reverse_flow().client_conn)
    fields = wallet.issue(Captured("issued", b"", {}, "issued-too"), Brought())
    return "; ".join(field.partition(";")[0] for field in fields).encode()


request_fields = st.lists(
    st.sampled_from(
        [
            (b"Host", b"localhost:8080"),
            (b"Host", b"evil.test"),
            (b"Cookie", b"auth-token=one; theme=dark; _ga=1"),
            (b"cookie", b"auth-token=two; auth-token-refresh=three"),
            (b"Cookie", issued_cookies()),
            (b"Auth-Token", b"own"),
            (b"auth_token", b"own"),
            (b"Origin", b"http://friend.test"),
            (b"Origin", b"http://localhost:8080"),
            (b"Sec-Fetch-Site", b"cross-site"),
            (b"User-Agent", b"Mozilla/5.0"),
            (b"If-None-Match", b'"1"'),
            (b"Content-Type", b"application/json"),
        ]
    ),
    max_size=5,
)


Route = Callable[[http.HTTPFlow, Proxy], Exchange]


def routed(route: Route, proxy: Proxy, method: str, target: str, fields: Any) -> object:
    """What became of a request: all that was changed, noted and remembered, or the refusal."""
    flow, foreign = reverse_flow(), object()
    flow.request.headers = http.Headers([(b"Host", b"localhost:8080"), *fields])
    flow.request.method, flow.request.path = method, target
    flow.metadata["of another addon"] = foreign
    try:
        exchange = route(flow, proxy)
    except Refused as refused:
        return str(refused)
    assert proxy.exchanges[flow] is exchange
    assert flow.metadata.pop("of another addon") is foreign
    flow.metadata.pop(RECEIVED, None)
    if session := flow.metadata.pop(SESSION, None):  # when it began is each request's own
        assert session[:2] == [exchange.session.id, exchange.began]
    data = flow.request.data
    return (
        *(data.headers.fields, data.path, data.authority, data.method, flow.metadata),
        *(type(exchange), exchange.session, exchange.token, exchange.refresh_token),
        exchange.new_cookies,
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["GET", "POST"]),
            st.sampled_from(["/me", "/me?x", "/login", "/logout", "/refresh"]),
            request_fields,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_requests_that_are_alike_are_decided_alike(requests: list[Any]) -> None:
    proxy, remembering = proxy_of(REQUEST_SETTINGS), Router()
    for request in requests * 2:
        afresh = routed(router.route, proxy, *request)
        assert routed(remembering.route, proxy, *request) == afresh


def test_what_is_remembered_of_requests_is_bounded() -> None:
    proxy, remembering = proxy_of(REQUEST_SETTINGS), Router()
    for number in range(1000):
        routed(remembering.route, proxy, "GET", f"/me?{number}", [])
    assert 0 < len(remembering._made) <= 256
    for long in (("/" + "x" * 300_000, []), ("/me", [(b"X", b"x" * 300_000)])):
        before = len(remembering._made)
        routed(remembering.route, proxy, "GET", *long)
        assert len(remembering._made) == before


@given(st.lists(header_text))
def test_cookie_parsing_never_raises_and_invents_no_value(fields: list[str]) -> None:
    for _, value in cookie_pairs(fields):
        assert any(value in field for field in fields)


@given(st.binary(), st.sampled_from(JARS))
def test_any_bytes_in_a_cookie_header_are_translated_or_refused(raw: bytes, jar: Jar) -> None:
    fields = [(b"Cookie", b"auth-token=" + raw), (b"auth_token", b"x")]
    headers = IndexedHeaders.of(http.Headers(fields))
    try:
        translate(headers, jar)
    except Refused as refused:
        assert refused.code in ("bad_request", "bad_cookie")
        assert "auth-token" not in headers
    assert "cookie" not in headers
    assert "auth_token" not in headers
    for value in headers.get_all("auth-token"):
        assert not set("\r\n\0") & set(value)


@given(st.text(min_size=1), st.integers(1, 4000), st.sampled_from(JARS))
@example("\ud800", 1, JARS[0])
@example("x" * 4086, 1, JARS[0])
@example("x" * 4087, 1, JARS[0])
@example("x" * 4083, 2, JARS[0])
@example("x" * 4083, 3, JARS[1])
def test_a_token_comes_back_byte_for_byte_or_is_refused(text: str, times: int, jar: Jar) -> None:
    token = text * times
    try:
        cookies = wallet_of(jar).issue(Captured(token, b"", {}), Brought())
    except Refused as refused:
        assert refused.code == "login_unreadable"
        assert len(token) < 20 or token not in refused.message
        return
    pairs = []
    for cookie in cookies:
        pair, _, attributes = cookie.partition("; ")
        pairs.append(pair)
        name, _, value = pair.partition("=")
        assert attributes == "Path=/; HttpOnly; SameSite=Lax"
        assert set(value) <= COOKIE_OCTETS
        assert len(name) + len(value) <= 4096
    headers = IndexedHeaders.of(http.Headers(Cookie="; ".join(["a=b", *pairs, "c=d"])))
    assert translate(headers, jar)
    assert dict(headers.fields) == {b"auth-token": token.encode()}


@given(st.data(), st.sampled_from(JARS))
def test_a_set_of_pieces_that_is_not_whole_is_never_a_token(data: st.DataObject, jar: Jar) -> None:
    first, second = (jar.cookies(letter * data.draw(st.integers(4000, 16000))) for letter in "ab")
    names = data.draw(st.sets(st.sampled_from(sorted(first.keys() | second.keys()))))
    mixed = {name: data.draw(st.sampled_from([first, second])).get(name, "") for name in names}
    try:
        token = jar.read(list(mixed.items()))
    except Refused as refused:
        assert refused.code == "bad_cookie"
        return
    # Without a secret, pieces of two tokens can be of the right lengths; sealed, they never open.
    assert token is None or len(set(token)) == 1 or not jar.seal.active


@given(
    st.binary() | json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([200, 201, 204, 302, 401, 500]),
    st.sampled_from(["POST", "OPTIONS", "HEAD"]),
    st.sampled_from(["", "gzip", "deflate", "br", "zstd", "hex", "utf-8", "gzip, br"]),
    st.booleans(),
)
def test_any_login_answer_is_captured_passed_or_refused(
    body: bytes, status: int, method: str, coding: str, redact: bool
) -> None:
    response = http.Response.make(status)
    response.headers = http.Headers(Content_Encoding=coding) if coding else http.Headers()
    response.raw_content = body
    try:
        captured = capture.read_answer(method, response, POINTERS, redact=redact)
    except Refused as refused:
        assert refused.code in ("login_unreadable", "token_not_found")
    else:
        assert captured is None or captured.token


@given(st.text(min_size=1), json_values, st.text())
def test_a_captured_token_is_nowhere_in_what_the_browser_gets(
    token: str, rest: object, header: str
) -> None:
    body = {"x": rest, "authToken": token}
    value = (header + token + header).encode("utf-8", "surrogatepass")
    response = http.Response.make(200)
    response.headers = http.Headers([(b"X-Echo", value)])
    response.raw_content = json.dumps(body).encode()
    try:
        captured = capture.read_answer("POST", response, POINTERS, redact=True)
    except Refused:
        return
    assert captured is not None
    capture.replace_body(response, captured)
    assert "x-echo" not in response.headers or "\ud800" <= token <= "\udfff"
    document = json.loads(response.content or b"")
    if document != {"loggedIn": True}:
        assert token not in json.dumps(document, ensure_ascii=False)


@given(st.text())
def test_normalising_settles(target: str) -> None:
    path = paths.normalise(target)
    assert path.startswith("/")
    assert "//" not in path


@given(st.binary() | st.text().map(lambda text: json.dumps({"query": text}).encode()))
def test_any_body_is_or_is_not_a_graphql_operation(body: bytes) -> None:
    graphql.is_other_operation(body, graphql.login_keys(POINTERS))


@given(header_text)
def test_any_accept_header_can_be_read(accept: str) -> None:
    answers.is_navigation(http.Headers(accept=accept))


@given(st.sampled_from(OPTIONS), st.text() | st.lists(st.text()))
def test_any_option_value_is_read_or_rejected_in_one_line(option: object, value: object) -> None:
    defaults: dict[str, object] = {option.name: option.default for option in OPTIONS}
    name = option.name  # type: ignore[attr-defined]
    try:
        Settings.parse(defaults | {name: value})
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
