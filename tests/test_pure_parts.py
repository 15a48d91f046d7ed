"""Tables for the parts that need no proxy: pointers, paths, cookies, answers, GraphQL."""

import json

import pytest
from credentials import cookies
from credentials.cookies import CookieAttributes, HeaderFormat
from messages import answers
from mitmproxy import http
from origins import paths
from tokens import graphql
from tokens.json_pointer import Absent, JsonPointer, join, without

DOCUMENT = {
    "authToken": "t",
    "data": {"login": {"token": "deep"}},
    "list": ["a", {"b": "c"}],
    "a/b": 1,
    "m~n": 2,
    "": 3,
    "0": "zero",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/authToken", "t"),
        ("authToken", "t"),
        ("/data/login/token", "deep"),
        ("/list/0", "a"),
        ("/list/1/b", "c"),
        ("/a~1b", 1),
        ("/m~0n", 2),
        ("m~n", 2),
        ("/0", "zero"),
        ("//", Absent),
        ("/list/01", Absent),
        ("/list/-", Absent),
        ("/list/2", Absent),
        ("/list/-1", Absent),
        ("/list/99999999999999999999", Absent),
        ("/authToken/0", Absent),
        ("/nothing/here", Absent),
        ("/", DOCUMENT),
    ],
)
def test_a_pointer_leads_to_its_value(text: str, value: object) -> None:
    pointer = JsonPointer.parse(text)
    if value is Absent:
        with pytest.raises(Absent):
            pointer.find(DOCUMENT)
    else:
        assert pointer.find(DOCUMENT) == value


@pytest.mark.parametrize("text", ["", "a/b", "/a~", "/a~2"])
def test_a_text_that_is_no_pointer_is_rejected_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="JSON Pointer"):
        JsonPointer.parse(text)


@pytest.mark.parametrize("text", ["authToken", "m~n"])
def test_a_name_is_shown_as_the_pointer_it_means(text: str) -> None:
    pointer = JsonPointer.parse(text)
    assert JsonPointer.parse(pointer.text) == pointer


def test_join_writes_what_parse_reads() -> None:
    steps = ("a/b", "m~n", "", "0")
    assert JsonPointer.parse(join(steps)).steps == steps


@pytest.mark.parametrize(
    ("document", "removed", "rest"),
    [
        ({"a": 1, "b": 2}, ["/a"], {"b": 2}),
        ({"a": {"b": 1, "c": 2}}, ["/a/b"], {"a": {"c": 2}}),
        ([1, 2, 3, 4], ["/0", "/2"], [2, 4]),
        ([[1, {"t": "x"}]], ["/0/1/t"], [[1, {}]]),
        ({"a": {"b": 1}}, ["/a", "/a/b"], {}),
        ({"a": 1}, ["/x", "/a/b"], {"a": 1}),
    ],
)
def test_without_removes_exactly_what_is_named(
    document: object, removed: list[str], rest: object
) -> None:
    before = json.dumps(document)
    assert without(document, frozenset(JsonPointer.parse(text).steps for text in removed)) == rest
    assert json.dumps(document) == before


@pytest.mark.parametrize(
    ("target", "prefix", "rest"),
    [
        ("/api/login", "/api", "/login"),
        ("/api", "/api", ""),
        ("/api?x=1", "/api", "?x=1"),
        ("/api/", "/api", "/"),
        ("/api//a%2Fb?x=/api", "/api", "//a%2Fb?x=/api"),
        ("/apix", "/api", None),
        ("/API/login", "/api", None),
        ("/x/api/login", "/api", None),
        ("/", "/api", None),
        ("*", "/api", None),
        ("*", "", "*"),
        ("/login", "", "/login"),
    ],
)
def test_a_prefix_covers_whole_segments_only(target: str, prefix: str, rest: str | None) -> None:
    assert paths.strip_prefix(target, prefix) == rest


@pytest.mark.parametrize(
    ("api_target", "base_path", "target"),
    [
        ("/login", "", "/login"),
        ("/login", "/v1", "/v1/login"),
        ("", "/v1", "/v1"),
        ("", "", "/"),
        ("?x=1", "", "/?x=1"),
        ("?x=1", "/v1", "/v1?x=1"),
        ("//a/../b;c?d=%20", "/v1", "/v1//a/../b;c?d=%20"),
        ("*", "/v1", "*"),
    ],
)
def test_the_base_path_goes_in_front_byte_for_byte(
    api_target: str, base_path: str, target: str
) -> None:
    assert paths.upstream_target(api_target, base_path) == target


@pytest.mark.parametrize(
    "target",
    [
        "/login",
        "/login/",
        "//login",
        "/./login",
        "/x/../login",
        "/../login",
        "/LogIn",
        "/%6cogin",
        "/%6Cogin",
        "/%256cogin",
        "/%2Flogin",
        "/x%2f..%2flogin",
        "/x/%2e%2e/login",
        "/login;jsessionid=1",
        "/;a=b/login",
        "/x/..;/login",
        "/login%3Bx",
        "/login?next=/x",
        "/login%3Fx",
        "/login#x",
        "/login%00",
        "/login%20",
        "\\login",
        "/x%5c..%5clogin",
    ],
)
def test_what_a_server_may_take_for_the_login_path_normalises_to_it(target: str) -> None:
    assert paths.normalise(target) == "/login"


@pytest.mark.parametrize(
    "target", ["/", "/logins", "/login/x", "/x/login", "/log/in", "/x?/login", "*", "/lo%67"]
)
def test_other_paths_do_not_normalise_to_the_login_path(target: str) -> None:
    assert paths.normalise(target) != "/login"


def test_normalising_a_long_hostile_path_is_linear() -> None:
    paths.normalise("/%" + "25" * 200_000 + "41/" + "../" * 100_000)


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ([], []),
        (["auth-token=t"], ["t"]),
        (["a=1; auth-token=t; b=2"], ["t"]),
        (["a=1;auth-token=t;b=2"], ["t"]),
        (["a=1", "auth-token=t"], ["t"]),
        (['a="x; auth-token=t; b=y"'], ["t"]),
        (['auth-token="t"'], ['"t"']),
        (["auth-token=a=b=="], ["a=b=="]),
        (["auth-token = t "], ["t"]),
        (["auth-token=t; auth-token=u"], ["t", "u"]),
        (["auth-token=t", "auth-token=u"], ["t", "u"]),
        (["auth-token="], [""]),
        (["auth-token"], []),
        (["Auth-Token=t; xauth-token=u; auth-tokenx=v"], []),
        (["a=auth-token=t"], []),
        (["; ;=;==; =x"], []),
        (["a=1, auth-token=t"], []),
    ],
)
def test_cookies_are_split_at_semicolons_and_nothing_else(
    fields: list[str], values: list[str]
) -> None:
    pairs = cookies.cookie_pairs(fields)
    assert [value for name, value in pairs if name == "auth-token"] == values


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("abc.DEF-123_~", "abc.DEF-123_~"),
        ("a+b/c==", "a+b/c=="),
        ("a;b", "a%3Bb"),
        ("a,b", "a%2Cb"),
        ('a"b\\c', "a%22b%5Cc"),
        ("a b\tc", "a%20b%09c"),
        ("50%", "50%25"),
        ("%41", "%2541"),
        ("é€😀", "%C3%A9%E2%82%AC%F0%9F%98%80"),
        ("x; Path=/; Domain=evil", "x%3B%20Path=/%3B%20Domain=evil"),
        ("a\r\nSet-Cookie: b=c", "a%0D%0ASet-Cookie:%20b=c"),
    ],
)
def test_a_token_is_encoded_for_the_cookie_and_comes_back(token: str, value: str) -> None:
    assert cookies.encode_token(token) == value
    assert cookies.decode_token(value) == token.encode()


def test_a_cookie_that_is_not_utf8_keeps_its_bytes() -> None:
    assert cookies.decode_token(b"\xff%FE%zz".decode("utf-8", "surrogateescape")) == (
        b"\xff\xfe%zz"
    )


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        (CookieAttributes("lax", False, None), "; Path=/; HttpOnly; SameSite=Lax"),
        (
            CookieAttributes("none", True, 60),
            "; Path=/; HttpOnly; SameSite=None; Secure; Max-Age=60",
        ),
        (CookieAttributes("strict", False, None), "; Path=/; HttpOnly; SameSite=Strict"),
        (
            CookieAttributes("none", True, 60, "/api", partitioned=True),
            "; Path=/api; HttpOnly; SameSite=None; Secure; Partitioned; Max-Age=60",
        ),
        (
            CookieAttributes("none", True, None, partitioned=True).twin,
            "; Path=/; HttpOnly; SameSite=None; Secure",
        ),
        (
            CookieAttributes("lax", False, None, "/api").twin,
            "; Path=/api; HttpOnly; SameSite=None; Secure; Partitioned",
        ),
    ],
)
def test_set_cookie_carries_its_attributes(attributes: CookieAttributes, text: str) -> None:
    assert cookies.set_cookie("auth-token", "v", attributes) == "auth-token=v" + text


def test_an_expired_cookie_has_the_same_path_and_a_time_long_past() -> None:
    assert cookies.expire_cookie("t", CookieAttributes("lax", True, 60)) == (
        "t=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0;"
        " Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    )


@pytest.mark.parametrize(
    ("token", "fits"),
    [
        (b"abc", True),
        (b"a b\tc", True),
        ("é".encode(), True),
        (b"\xff", True),
        (b"a\r\nX: y", False),
        (b"a\0", False),
        (b"a\x7f", False),
        (b"a ", False),
        (b"", False),
    ],
)
def test_only_what_a_header_carries_as_it_is_may_become_one(token: bytes, fits: bool) -> None:
    assert HeaderFormat(b"", b"").accepts(token) is fits


@pytest.mark.parametrize(
    ("headers", "is_navigation"),
    [
        ({}, False),
        ({"accept": "*/*"}, False),
        ({"accept": "application/json"}, False),
        ({"accept": "text/html"}, True),
        ({"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, True),
        ({"accept": "text/html;q=0.5,application/json"}, False),
        ({"accept": "text/html;q=nonsense;;,,"}, False),
        ({"accept": "*/*", "sec-fetch-mode": "navigate"}, True),
        ({"accept": "*/*", "sec-fetch-mode": "cors"}, False),
    ],
)
def test_a_navigation_is_told_from_a_script(headers: dict[str, str], is_navigation: bool) -> None:
    assert answers.is_navigation(http.Headers((), **headers)) is is_navigation


LOGIN = 'mutation { login(password: "}{") { token } }'


KEYS = graphql.login_keys(map(JsonPointer.parse, ("/data/login/token", "/0/data/login/token")))


@pytest.mark.parametrize(
    ("body", "is_other"),
    [
        ({"query": LOGIN}, False),
        ({"query": "{ me { login } }"}, True),
        ({"query": "query Me { me { name } } # login"}, True),
        ({"query": 'query { search(text: "login") { id } }'}, True),
        ({"query": 'query { a(t: """ " { login } """) { id } }'}, True),
        ({"query": "mutation { x: login { token } }"}, False),
        ({"query": "mutation { login: signIn { token } }"}, False),
        ({"query": "mutation { ... on Mutation { login { token } } }"}, False),
        ({"query": "mutation { ... @include(if: true) { login { token } } }"}, False),
        ({"query": "mutation { ...F } fragment F on Mutation { login { token } }"}, False),
        (
            {"query": "mutation { ...F } fragment F on M { ...G } fragment G on M { login { t } }"},
            False,
        ),
        ({"query": "{ me { ...F } } fragment F on User { login }"}, True),
        ({"query": "{ ...F me { id } } fragment F on Query { you { login } }"}, True),
        ({"query": "query A { me { id } } mutation B { login { token } }"}, False),
        ({"query": "query($a: [In!] = {login: 1}) @d(x: 1) { me @skip(if: $a) { id } }"}, True),
        ([{"query": "{ me { id } }"}, {"query": "{ you { id } }"}], True),
        ([{"query": "{ me { id } }"}, {"query": LOGIN}], False),
        ([{"query": "{ me { id } }"}, 7], False),
        ([], False),
        ({"query": 7}, False),
        ({"query": "}}} {{{ ((("}, True),
        ({"user": "a", "password": "b"}, False),
        ("login", False),
        (None, False),
    ],
)
def test_a_graphql_operation_is_a_login_when_it_selects_what_the_pointer_names(
    body: object, is_other: bool
) -> None:
    assert graphql.is_other_operation(json.dumps(body).encode(), KEYS) is is_other


def test_a_body_that_is_not_json_is_no_graphql_operation() -> None:
    assert not graphql.is_other_operation(b"user=a", KEYS)
    assert not graphql.is_other_operation(b"[" * 100_000, KEYS)


def test_without_a_pointer_into_data_every_operation_is_a_login() -> None:
    body = json.dumps({"query": "{ me { id } }"}).encode()
    keys = graphql.login_keys([JsonPointer.parse("/authToken")])
    assert not keys
    assert not graphql.is_other_operation(body, keys)
