"""Finding tokens: in the answers of real APIs (tests/answers), and rule by rule."""

import base64
import json
from pathlib import Path

import pytest
from answers.figures import PARTS, Row, figures, literal, ours, rows, verdict
from mitmproxy import http
from support import no_minutes
from tokens.answer import Answer
from tokens.candidates import Candidate, find, sliding, takes_place_of
from tokens.login_like import Sent, is_none, read_request
from tokens.suspicion import kind_of


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def jwt(**claims: object) -> str:
    return f"{encoded({'alg': 'HS256'})}.{encoded(claims)}.c2lnbmF0dXJl"


JWT = jwt(sub="1")
OPAQUE = "mF9B5f41JqM0z7TqLr8wYc2d"
OTHER = "7c1Kx0vWq9ZtR3uE5nH2aPb8"
UUID = "1ee712d0-fad4-4b0e-9b1c-2f8f5c0a7d11"

# The real answers

WRONG = {
    "PocketBase file token": "a short-lived token for downloads, at a path that says token: passes",
    "OctoPrint app key granted": "a GET without a credential is no login, whatever it answers",
    "Salt login": "header and body hold two tokens, of which either does",
}
"""Rows that are known to be judged otherwise than their label says."""


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_the_tokens_of_a_real_answer_are_found_and_nothing_else(
    row: Row, request: pytest.FixtureRequest
) -> None:
    if row.name in WRONG:
        request.applymarker(pytest.mark.xfail(reason=WRONG[row.name], strict=True))
    found = verdict(row, ours(row))
    assert found.missed == []
    assert found.wrong == []
    assert found.main


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_no_real_request_that_is_login_like_is_taken_for_a_plain_one_at_a_glance(row: Row) -> None:
    assert not (row.sent.why and is_none(*row.asked))


def test_the_table_is_large_enough_and_names_its_sources() -> None:
    table = rows()
    assert len([row for row in table if row.fields["checked"] == "read"]) >= 80
    assert len({row.name for row in table}) == len(table)
    assert all(row.fields["source"] for row in table)
    assert sum(row.part != "tune" for row in table) > len(table) / 3
    for row in table:
        tokens, others = row.fields["tokens"], row.fields["not_tokens"]
        assert set(tokens).isdisjoint(others)
        assert all(len(row.value(place)) >= 8 for place in tokens)
        assert all(isinstance(row.value(place), str) for place in others)


@pytest.mark.parametrize(("title", "judge"), [("section 6", literal), ("ours", ours)])
def test_the_figures_that_are_told_are_those_that_are_measured(title: str, judge: object) -> None:
    told = (Path(__file__).parent / "answers" / "README.md").read_text()
    measured = figures(judge)  # type: ignore[arg-type]
    for part in PARTS:
        columns = ("rows", "right", "missed", "wrongly hidden", "wrong main")
        numbers = " | ".join(str(measured[part][column]) for column in columns)
        assert f"| {title} | {part} | {numbers} |" in told


# What a request says


def sent(method: str = "POST", target: str = "/login", body: object = None, **headers: str) -> Sent:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {} if isinstance(body, bytes) else {"content_type": "application/json"}
    fields = http.Headers((), **(kind | headers))
    asked = method, target, fields, None if body is None else data
    found = read_request(*asked)
    assert not (found.why and is_none(*asked))
    return found


LOGIN = sent(body={"password": "x"})
BASIC = "Basic YWRhOnNlY3JldA=="
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (sent("POST", "/x", {"password": "x"}), "a password in its body"),
        (sent("POST", "/x", {"Username": "a", "Pw": "x"}), "a password in its body"),
        (sent("POST", "/x", {"a": [{"PASSWORD": "x"}]}), "a password in its body"),
        (sent("PUT", "/x", b"user[password]=x", content_type=FORM), "a password in its body"),
        (sent("POST", "/x", {"identity": "a", "secret": "x"}), "a password in its body"),
        (sent("POST", "/x", {"otp": 123456}), "a code in its body"),
        (sent("POST", "/x", {"SAMLResponse": "x"}), "an assertion in its body"),
        (sent("POST", "/x", b"grant_type=password", content_type=FORM), "a grant in its body"),
        (sent("POST", "/x", {"refresh_token": OPAQUE}), "a refresh token in its body"),
        (
            sent("POST", "/x", b'--b\r\nContent-Disposition: form-data; name="code"\r\n\r\n1'
                 b"\r\n--b--\r\n", content_type=MULTIPART),
            "a code in its body",
        ),
        (sent("POST", "/x", {"query": 'mutation { a(password: "x") { b } }'}),
         "a password in its body"),
        (sent("POST", "/x", {"query": "{ a }", "variables": {"password": "x"}}),
         "a password in its body"),
        (sent("POST", "/api/signIn"), "the path segment signin"),
        (sent("POST", "/Users/AuthenticateByName"), "the path segment authenticate"),
        (sent("POST", "/log-in"), "the path segment login"),
        (sent("POST", "/%6cogin/"), "the path segment login"),
        (sent("POST", "/x/token"), "the path segment token"),
        (sent("POST", "/getToken"), "the path segment token"),
        (sent("POST", "/graphql", {"query": "mutation { a: tokenCreate(x: 1) { t } }"}),
         "the operation token"),
        (sent("POST", "/graphql", {"operationName": "Login"}), "the operation login"),
        (sent("POST", "/rpc", {"jsonrpc": "2.0", "method": "user.login"}), "the operation login"),
        (sent("POST", "/auth/noauth"), "the path segment auth"),
        (sent("POST", "/client", authorization=BASIC), "Basic credentials"),
        (sent("GET", "/v2/token", authorization=BASIC), "Basic credentials"),
        (sent("GET", "/cb?code=x"), "a code in its query"),
        (sent("GET", "/cb?ticket=x"), "a ticket in its query"),
        (sent("GET", "/auth.cgi?account=a&passwd=x"), "a password in its query"),
        (sent("GET", "/auth/refresh", authorization=f"Bearer {JWT}"), "the path segment refresh"),
    ],
)  # fmt: skip
def test_a_request_that_is_like_a_login_says_why(request_: Sent, why: str) -> None:
    assert request_.why == why


@pytest.mark.parametrize(
    "request_",
    [
        sent("GET", "/login"),
        sent("GET", "/me", authorization=BASIC),
        sent("POST", "/todos", {"text": "my password"}),
        sent("POST", "/todos", {"code": ""}),
        sent("POST", "/csrf-token"),
        sent("POST", "/requestToken"),
        sent("POST", "/getExpoPushToken"),
        sent("POST", "/blogin"),
        sent("POST", "/oauth/revoke"),
        sent("POST", "/api/tokens", {"name": "ci"}, authorization=f"Bearer {JWT}"),
        sent("POST", "/graphql", {"query": "{ me { lastLogin sessions { id } } }"}),
        sent("POST", "/graphql", {"query": 'mutation { add(text: "login {") { id } }'}),
        sent("POST", "/x", b"\xff\x00"),
        sent("POST", "/x", b"[" * 200_000),
        sent("POST", "/x", b'{"password":"' + b"x" * (1 << 20) + b'"}'),
        sent("POST", "/x", None),
    ],
)
def test_other_requests_are_not_like_a_login(request_: Sent) -> None:
    assert request_.why == ""


def test_what_a_request_brings_and_says_is_told_apart() -> None:
    refresh = sent("POST", "/auth/refresh", {"refreshToken": OPAQUE})
    assert (refresh.renews, refresh.has_password, refresh.says_refresh) == (True, False, True)
    grant = sent("POST", "/t", b"grant_type=refresh_token&refresh_token=x", content_type=FORM)
    assert (grant.renews, grant.has_password) == (True, False)
    assert (LOGIN.renews, LOGIN.has_password, LOGIN.says_login) == (True, True, True)
    basic = sent("POST", "/client", authorization=BASIC)
    assert (basic.renews, basic.has_password) == (False, False)


def test_all_that_a_request_sent_is_known() -> None:
    request = sent(
        "POST",
        "/login/path-token?q=query-token",
        {"a": [{"b": "body-token"}], "query": '{ x(t: "text-token") }', "short": "short"},
        authorization="Bearer header-token",
        cookie="a=cookie-token",
    )
    expected = {"path-token", "query-token", "body-token", "text-token", "header-token"}
    assert expected | {"cookie-token"} <= request.values
    assert "short" not in request.values
    assert "some-secret" in sent(authorization="Basic YWRhOnNvbWUtc2VjcmV0").values


# Names


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("access", "access_token accessToken AccessToken access access-token X-Access-Token"),
        ("auth", "authToken auth_token X-Auth-Token authentication_token refreshedToken auth"),
        ("session", "session Session sessionId session_id sid sessionToken"),
        ("token", "token jwt JWT bearer X-Subject-Token privatetoken tokens appPassword"),
        ("id", "id_token idToken IdToken"),
        ("refresh", "refresh refresh_token refreshToken RefreshToken"),
        ("key", "key apikey api_key apiKey X-API-Key accessKey password"),
        (
            "never",
            "csrfToken XSRF-TOKEN csrfmiddlewaretoken nextPageToken continuationToken pushToken"
            " mfaToken challenge_token stateToken emailVerificationToken resetToken inviteToken"
            " logout_token session_state requestToken deviceToken sync_token",
        ),
        (
            "",
            "accessor access_expiration AuthenticationProviderId auth_service sessionType"
            " authorization_endpoint SessionInfo token_last_eight token_policies token_address"
            " tokenName tokenType refreshTokenId refresh_token_expires_in factorType expires_in"
            " sharedKey publishableKey id result",
        ),
    ],
)
def test_whole_words_of_a_name_and_the_last_one_decide(kind: str, names: str) -> None:
    assert {name: kind_of(name) for name in names.split()} == dict.fromkeys(names.split(), kind)


# Places


def answered(body: object = b"", kind: str = "application/json", **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(200, http.Headers((), **headers), data, kind)


def places(answer: Answer, request: Sent | None = LOGIN, *exposed: str) -> dict[str, str]:
    return {one.place: one.value for one in find(answer, request, frozenset(exposed))}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (answered({"data": [{"a/b": {"token": OPAQUE}}]}), {"/data/0/a~1b/token": OPAQUE}),
        (answered({"token": f"Bearer {OPAQUE}"}), {"/token": OPAQUE}),
        (answered({"tokens": [OPAQUE]}), {"/tokens/0": OPAQUE}),
        (answered({"token": {"value": OPAQUE}}), {"/token/value": OPAQUE}),
        (answered({"accessToken": {"tokenValue": OPAQUE}}), {"/accessToken/tokenValue": OPAQUE}),
        (answered({"x": json.dumps({"token": OPAQUE})}), {"/x": OPAQUE}),
        (answered({"x": json.dumps(json.dumps([{"token": OPAQUE}]))}), {"/x": OPAQUE}),
        (answered({"user": JWT}), {"/user": JWT}),
        (answered({"text": f"Use {JWT}."}), {"/text": JWT}),
        (answered({"go": f"http://a/#access_token={OPAQUE}"}), {"/go": OPAQUE}),
        (answered({"next": f"http://a/?t={JWT}"}), {"/next": JWT}),
        (answered(b'{"token": NaN, "jwt": "%s", "n": 1e999}' % JWT.encode()), {"/jwt": JWT}),
        (answered(b"\xef\xbb\xbf" + json.dumps({"jwt": JWT}).encode()), {"/jwt": JWT}),
        (answered(b'{"n": %s, "jwt": "%s"}' % (b"9" * 5000, JWT.encode())), {"/jwt": JWT}),
        (answered(OPAQUE), {"/": OPAQUE}),
        (answered(JWT.encode(), "text/plain"), {"/": JWT}),
        (answered(f"18|{OPAQUE}".encode(), "text/html"), {"/": f"18|{OPAQUE}"}),
        (answered(f"access_token={OPAQUE}&scope=a".encode(), FORM), {"/access_token": OPAQUE}),
        (answered(f"<p>{JWT}</p>".encode(), "text/html"), {"html": JWT}),
        (answered(f"<a><token> {OPAQUE} </token></a>".encode(), "text/xml"), {"html": OPAQUE}),
        (answered(b"{" + JWT.encode()), {"html": JWT}),
        (answered(Authorization=f"Bearer {OPAQUE}"), {"header:Authorization": OPAQUE}),
        (answered(access_token=OPAQUE), {"header:access-token": OPAQUE}),
        (answered(X_Thing=JWT), {"header:X-Thing": JWT}),
        (answered(X_Fallback_Cookies=json.dumps({"a": OPAQUE})),
         {"header:X-Fallback-Cookies": OPAQUE}),
        (answered(Location=f"/?token={OPAQUE}&x=1"), {"location:token": OPAQUE}),
        (answered(Location=f"/app#/a?id_token={JWT}"), {"location:id_token": JWT}),
        (answered(Location=f"/a?next=%2Fb%3Ftoken%3D{OPAQUE}"), {"location:token": OPAQUE}),
        (answered(Location=f"/a/{JWT}"), {"header:Location": JWT}),
        (answered(Refresh=f"0; url=/#access_token={OPAQUE}"), {"header:Refresh": OPAQUE}),
    ],
)  # fmt: skip
def test_tokens_are_found_wherever_an_answer_has_them(
    answer: Answer, found: dict[str, str]
) -> None:
    assert places(answer) == found


@pytest.mark.parametrize(
    "answer",
    [
        answered({"token": "short"}),
        answered({"token": "has some blanks"}),
        answered({"token": "x" * 32_769}),
        answered({"token": "https://example.com/"}),
        answered({"session": "2026-01-01T10:00:00Z"}),
        answered({"access": "read-only", "session": "authenticated-user"}),
        answered({"key": UUID, "sid": "PLUGIN_ACTION_COMMAND", "password": "too short"}),
        answered({"id": OPAQUE, "name": "Ada"}),
        answered({"result": OPAQUE}),
        answered({"csrf": {"token": OPAQUE}, "push_token": JWT, "cursor": JWT}),
        answered("Created"),
        answered("authentication-succeeded"),
        answered(f'0{{"sid":"{UUID}","pingInterval":25000}}'.encode(), "text/plain"),
        answered(f"{OPAQUE},{OTHER}".encode(), "text/plain"),
        answered(b"<p>token=%s</p>" % OPAQUE.encode(), "text/html"),
        answered(X_CSRF_Token=JWT, X_RateLimit_Limit_Tokens="150000000", ETag=f'"{JWT}"'),
        answered(Set_Cookie=f"token={OPAQUE}"),
        answered(Location="/?code=SplxlOBeZQQYbYS6WxSbIA&state=af0ifjsldkjaf0ifjsldkj"),
        answered({"a.b.Users.DefaultAuthenticationProviderName": "x.y.Users.DefaultAuth" * 3}),
    ],
)
def test_what_is_no_token_is_left_alone(answer: Answer) -> None:
    assert places(answer) == {}


def test_keys_and_ids_count_where_nothing_else_is_a_token() -> None:
    assert places(answered({"key": OPAQUE})) == {"/key": OPAQUE}
    assert places(answered({"id": OPAQUE, "ttl": 1209600})) == {"/id": OPAQUE}
    assert places(answered({"id": UUID})) == {"/id": UUID}
    assert places(answered({"result": OPAQUE, "jsonrpc": "2.0"})) == {"/result": OPAQUE}
    assert places(answered({"key": OTHER, "access_token": OPAQUE})) == {"/access_token": OPAQUE}


@pytest.mark.parametrize("path", ["/users", "/signup", "/auth/register", "/x", "/accounts/login"])
def test_the_id_of_a_new_user_is_no_token(path: str) -> None:
    request = sent("POST", path, {"email": "ann@example.com", "password": "x"})
    assert places(answered({"id": "64b7f0c2a1d3e4f5a6b7c8d9"}), request) == {}
    assert places(answered({"id": OPAQUE, "ttl": 1209600}), request) == {"/id": OPAQUE}


def test_of_a_request_that_is_hardly_a_login_only_named_tokens_and_jwts_count() -> None:
    weak = sent("POST", "/keys", authorization=BASIC)
    assert weak.weak
    assert places(answered({"sid": OPAQUE, "password": OTHER, "apikey": OTHER}), weak) == {
        "/sid": OPAQUE
    }
    assert places(answered(OPAQUE), weak) == {}
    assert places(answered({"token": OPAQUE, "x": JWT}), weak) == {"/token": OPAQUE, "/x": JWT}


def test_of_a_member_that_stands_there_twice_both_values_count() -> None:
    body = f'{{"token": "{OPAQUE}", "token": "{OTHER}"}}'.encode()
    found = find(answered(body), LOGIN, frozenset())
    assert {one.value for one in found} == {OPAQUE, OTHER}


def test_graphql_aliases_hide_no_token() -> None:
    query = (
        "mutation { a: renewSession(x: 1) { ...F } } fragment F on S { b: token c: csrfToken id }"
    )
    request = sent("POST", "/graphql", {"query": query, "variables": {"password": "x"}})
    body = {"data": {"a": {"b": OPAQUE, "c": OTHER, "id": "7"}}}
    (found,) = find(answered(body), request, frozenset())
    assert (found.place, found.name, found.value) == ("/data/a/b", "b", OPAQUE)


def test_what_the_request_sent_is_no_token_of_the_answer() -> None:
    request = sent("POST", "/login", {"password": "x", "refresh_token": OTHER})
    answer = answered({"token": OPAQUE, "refresh_token": OTHER})
    assert places(answer, request) == {"/token": OPAQUE}


@pytest.mark.parametrize("name", ["webhook", "TOKEN", "data"])
def test_what_pages_may_read_is_left_alone_in_any_case(name: str) -> None:
    answer = answered({"data": {"WebHook": {"Token": OPAQUE}}})
    assert places(answer, LOGIN, name) == {}
    assert places(answer, LOGIN, "other") == {"/data/WebHook/Token": OPAQUE}


def test_headers_and_parameters_may_be_for_pages_too() -> None:
    answer = answered(X_Auth_Token=OPAQUE, Location=f"/?token={OTHER}")
    assert places(answer, LOGIN, "x-auth-token", "TOKEN") == {}


@pytest.mark.parametrize(
    "body",
    [
        {"ChallengeName": "SMS_MFA", "Session": OPAQUE},
        {"requires_2fa": True, "token": JWT},
        {"mfaRequired": True, "token": OPAQUE},
        {"twoFactorRequired": 1, "session": OPAQUE},
        {"status": "MFA_REQUIRED", "token": OPAQUE},
        {"publicKey": {"challenge": "x" * 43}, "sessionId": UUID},
        {"data": {"login": {"mustUseMfa": True, "mfa_required": True, "token": OPAQUE}}},
        {"poll": {"token": OPAQUE, "endpoint": "https://cloud.example.com/poll"}},
        {"mfaToken": JWT},
    ],
)
def test_a_step_of_a_login_hands_out_no_token(body: object) -> None:
    assert places(answered(body)) == {}


@pytest.mark.parametrize(
    "body",
    [
        {"token": OPAQUE, "mfaRequired": False},
        {"token": OPAQUE, "challenge": None},
        {"token": OPAQUE, "mfa_required": "false"},
        {"token": OPAQUE, "user": {"mfaEnabled": True, "factors": ["password"]}},
        {"access_token": OPAQUE, "ChallengeParameters": {}},
        {"token": OPAQUE, "user": {"mfaRequired": True, "challenge": "run a mile"}},
        {"state": {"token": OPAQUE}},
    ],
)
def test_an_answer_that_speaks_of_factors_and_wants_none_does(body: object) -> None:
    assert list(places(answered(body)).values()) == [OPAQUE]


def test_the_main_token_comes_first() -> None:
    order = {
        "access_token": "access", "authToken": "access", "sessionToken": "access",
        "token": "access", "id_token": "id", "profile": "other", "apikey": "access",
        "refresh_token": "refresh",
    }  # fmt: skip
    body = {name: jwt(n=name) for name in reversed(order)} | {"apikey": OPAQUE}
    found = find(answered(body), LOGIN, frozenset())
    assert {one.name: one.role for one in found} == order
    assert [one.name for one in found] == list(order)


def test_of_two_of_a_kind_the_one_less_deep_comes_first_and_the_body_before_headers() -> None:
    answer = answered({"user": {"access_token": OTHER}, "access_token": OPAQUE}, X_Access_Token=JWT)
    found = [one.place for one in find(answer, LOGIN, frozenset())]
    assert found == ["/access_token", "header:X-Access-Token", "/user/access_token"]


def test_tokens_that_are_bound_to_a_key_of_the_pages_are_told() -> None:
    bound = jwt(cnf={"jkt": "x"})
    for body in ({"access_token": bound}, {"access_token": OPAQUE, "token_type": "DPoP"}):
        (found,) = find(answered(body), LOGIN, frozenset())
        assert found.bound
    (found,) = find(answered({"access_token": JWT, "token_type": "Bearer"}), LOGIN, frozenset())
    assert not found.bound


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("/data/0/token", "/data/0/token"),
        ("/", "the body"),
        ("html", "the body"),
        ("/f7Qx9dK2m41/token", "the body"),
        ("header:X-Auth-Token", "header:X-Auth-Token"),
        ("header:f7Qx9dK2m41", "a header"),
        ("location:token", "location:token"),
        ("location:f7Qx9dK2m41", "the address"),
    ],
)
def test_a_place_is_told_without_what_may_be_a_secret(place: str, told: str) -> None:
    assert Candidate(OPAQUE, place, "", "access", 1, False).told == told


@pytest.mark.parametrize(
    ("doubtful", "answer"),
    [
        (False, answered({"a": 1})),
        (False, answered(b"")),
        (False, answered(b"<p>{", "text/html")),
        (False, answered(b"Created")),
        (False, answered(b"\xff", "text/plain")),
        (False, answered(b'{"a": 1}\n{"a": 2}\n', "application/x-ndjson")),
        (False, answered(b'\x1e{"a": 1}\n\x1e{"a": 2}\n', "application/json-seq")),
        (False, answered(b')]}\',\n{"a": 1}')),
        (False, answered(b'{"name": "J\xfcrgen"}')),
        (False, answered(b'{"a": 1}<br>Warning: {', "text/html")),
        (False, answered(b"[info] logged in", "text/plain")),
        (False, answered(b"[" * 101 + b"]" * 101 + b" ")),
        (True, answered(b'{"a": 1,}')),
        (True, answered(b'{"a": 1,}', "text/html")),
        (True, answered(b'{"a": 1}\n{"a": 2,}\n')),
        (True, answered(b"[" * 200_000)),
        (True, answered(b"[" * 150 + b"1" + b"]" * 150)),
        (True, answered(json.dumps({"a": 1}).encode("utf-16"))),
        (True, answered(json.dumps({"a": 1}).encode("utf-16-le"), "text/plain")),
        (True, answered({"list": ["a string"] * 10_001})),
        (True, answered({"x": json.dumps(["a string"] * 10_001)})),
        (True, answered({"pad": "x" * (1 << 20)})),
        (True, answered(b"x" * ((1 << 20) + 1), "text/plain")),
        (True, answered(b"\x81\xa1a\x01", "application/msgpack")),
        (True, Answer(200, http.Headers(), None, "")),
    ],
)
def test_an_answer_says_whether_all_of_it_could_be_looked_into(
    doubtful: bool, answer: Answer
) -> None:
    assert answer.is_doubtful is doubtful
    assert places(answer) == {}


def test_a_compressed_answer_is_decoded_and_one_that_cannot_be_is_doubtful() -> None:
    response = http.Response.make(200, b"", {"content-encoding": "gzip"})
    response.content = json.dumps({"token": OPAQUE}).encode()
    assert places(Answer.of(response)) == {"/token": OPAQUE}
    response.raw_content = b"not gzip"
    assert Answer.of(response).is_doubtful
    response.headers["content-encoding"] = "rot13"
    assert Answer.of(response).is_doubtful


ESCAPED = OPAQUE[:8] + r"\/" + OPAQUE[8:]
SLASHED = OPAQUE[:8] + "/" + OPAQUE[8:]
STREAM = "text/event-stream"
DEFER = "multipart/mixed; boundary=-"
PHP = "text/html; charset=utf-8"
SCRIPT = "text/javascript"
MEMBER = f'"access_token": "{OPAQUE}"'


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        (PHP, f"{{{MEMBER}}}", {"/access_token": OPAQUE}),
        (PHP, f"{{{MEMBER}}}<br>Warning: no", {"html": OPAQUE}),
        (PHP, f"<script>go({{accessToken: '{OPAQUE}'}})</script>", {"html": OPAQUE}),
        (PHP, f"<script>window.state = {{{MEMBER}}}</script>", {"html": OPAQUE}),
        (PHP, f"<script>a = '{{\\\"token\\\":\\\"{OPAQUE}\\\"}}'</script>", {"html": OPAQUE}),
        ("application/json", f")]}}',\n{{{MEMBER}}}", {"/access_token": OPAQUE}),
        ("application/json", f"for(;;);{{{MEMBER}}}", {"/access_token": OPAQUE}),
        ("application/json", f"\ufeff{{{MEMBER}}}", {"/access_token": OPAQUE}),
        ("application/json", f"{{{MEMBER},}}", {"html": OPAQUE}),
        ("application/json", f'{{"token":"{ESCAPED}",}}', {"html": SLASHED}),
        ("application/json", f"[{'[' * 120}{{{MEMBER}}}", {"html": OPAQUE}),
        ("application/x-ndjson", f'{{"a": 1}}\n{{{MEMBER}}}\n', {"html": OPAQUE}),
        ("text/plain", f'{{"a": 1}}\n{{{MEMBER}}}\n', {"html": OPAQUE}),
        (STREAM, f"event: next\ndata: {{{MEMBER}}}\n\n", {"html": OPAQUE}),
        (STREAM, f'data: {{"token":\ndata: "{OPAQUE}"}}\n\n', {"html": OPAQUE}),
        (STREAM, f"data: access_token={OPAQUE}\n\n", {"html": OPAQUE}),
        (DEFER, f"---\r\nContent-Type: application/json\r\n\r\n{{{MEMBER}}}\r\n-----",
         {"html": OPAQUE}),
        (SCRIPT, f"/**/cb({{{MEMBER}}});", {"html": OPAQUE}),
        (SCRIPT, f"/**/cb({{{MEMBER},}});", {"html": OPAQUE}),
        (SCRIPT, f"cb({{{MEMBER.replace(' ', '')}}})", {"html": OPAQUE}),
        ("application/yaml", f"access_token: {OPAQUE}\nexpires_in: 3600\n", {"html": OPAQUE}),
        ("application/yaml", f"access:\n  token: {OPAQUE}\n", {"html": OPAQUE}),
        ("application/yaml", f"token: >-\n  {OPAQUE}\na: 1", {"html": OPAQUE}),
        ("application/yaml", f"token: Bearer {OPAQUE}\na: 1", {"html": OPAQUE}),
        ("text/csv", f"id,access_token\r\n1,{OPAQUE}\r\n", {"html": OPAQUE}),
        ("text/plain", f"Your token = {OPAQUE}.", {"html": OPAQUE}),
        ("text/plain", f"token: a\njwt: {JWT}", {"html": JWT}),
    ],
)  # fmt: skip
def test_tokens_are_found_in_what_is_no_document_of_one_kind(
    kind: str, text: str, found: dict[str, str]
) -> None:
    assert places(answered(text.encode(), kind)) == found


@pytest.mark.parametrize("coding", ["latin-1", "utf-8", "shift_jis", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("told", [True, False])
def test_tokens_are_found_in_whatever_an_answer_is_coded(coding: str, told: bool) -> None:
    letter = "\u30bd" if coding == "shift_jis" else "\xfc"  # has a backslash as its second byte
    body = json.dumps({"token": OPAQUE, "name": letter}, ensure_ascii=False).encode(coding)
    kind = "application/json" + (f"; charset={coding}" if told else "").replace(
        "latin-", "iso-8859-"
    )
    found = list(places(answered(body, kind)).values())
    assert found == [OPAQUE]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (PHP, f'<meta name="csrf-token" content="{OPAQUE}">'),
        (PHP, f'<input name="authenticity_token" value="{OPAQUE}">'),
        (PHP, f'<script>authenticity_token = "{OPAQUE}"</script>'),
        (PHP, f"<p>token: {OPAQUE}</p>"),
        (PHP, '<script>a = {token: "a-word-for-it"}</script>'),
        (SCRIPT, f'var csrfToken = "{OPAQUE}";'),
        (SCRIPT, "var token = a.b12345678.c;"),
        ("text/plain", "the token: something-is-wrong"),
        ("text/plain", "session: 2026-01-01T10:00:00Z, x"),
        ("text/plain", f"id = {OPAQUE}, name = x"),
        (STREAM, 'event: token\ndata: {"text": "hello everybody"}\n\n'),
        (STREAM, f'data: {{"csrfToken": "{OPAQUE}"}}\n\n'),
        ("text/csv", f"id,name\r\n{OPAQUE},token\r\n"),
    ],
)
def test_what_is_no_token_in_such_an_answer_is_left_alone(kind: str, text: str) -> None:
    assert places(answered(text.encode(), kind)) == {}


def test_names_for_pages_and_aliases_hold_in_lines_too() -> None:
    body = f'{{"webhook": {{{MEMBER}}}}}\nx: y\naccess_token: {OTHER}\n'.encode()
    assert places(answered(body, "text/plain"), LOGIN, "webhook") == {"html": OTHER}
    assert places(answered(body, "text/plain"), LOGIN, "access_token") == {}


def test_in_a_body_of_more_than_a_mebibyte_only_jwts_are_found() -> None:
    body = {"pad": "x" * (1 << 20), "token": OPAQUE, "jwt": JWT}
    assert places(answered(body)) == {"html": JWT}
    strict = find(answered(body), LOGIN, frozenset(), strict=True)
    assert {one.place for one in strict} == {"/token", "/jwt"}


def test_among_more_than_ten_thousand_strings_only_jwts_are_found() -> None:
    body = {"token": OPAQUE, "jwt": JWT, "list": ["a string"] * 10_000}
    assert places(answered(body)) == {"/jwt": JWT}


def test_strictly_whatever_stands_under_a_name_for_tokens_is_one() -> None:
    body = {"token": "abc", "my_token_here": "x y", "tokens": {"a": {"b": "c"}}, "mfaToken": "d"}
    found = find(answered(body | {"token_type": "Bearer"}), None, frozenset(), strict=True)
    assert {one.place for one in found} == {"/token", "/my_token_here", "/tokens/a/b"}


# Adversaries

HALF = 1 << 19


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/xml", b"<" + b"a" * HALF),
        ("application/xml", b"<" + b"a." * HALF),
        ("application/json", b'{"%s": "%s"}' % (b"x_" * (HALF // 2), OPAQUE.encode())),
        ("application/json", b'{"%s": [%s1]}' % (b"k" * HALF, b'"abcdefgh",' * 9_000)),
        (
            "application/json",
            b'{"tokens": {"%s": [%s1]}}' % (b"kA" * 2**18, b'"abcdefgh",' * 9_000),
        ),
        ("application/json", b'{"token%s!": "%s"}' % (b"expir" * 2**16, OPAQUE.encode())),
        ("application/json", b'{\n"' * (HALF // 3)),
        ("text/html", b"data:{\n" * (HALF // 7)),
        ("text/html", b'{"' * (HALF // 2)),
        ("text/plain", b"{} " * (HALF // 3)),
        ("text/plain", b'{"token":"abcdefgh12"}\n' * (HALF // 23)),
        ("text/plain", b"token=" * (HALF // 6)),
        ("text/plain", b"token=http://" * (HALF // 13)),
        ("text/plain", b"a" * HALF + b" token=x"),
        ("text/csv", b"token,b\n" * (HALF // 8)),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_no_answer_keeps_the_proxy_busy(kind: str, body: bytes, strict: bool) -> None:
    with no_minutes():
        find(answered(body, kind), LOGIN, frozenset(("exposed",)), strict=strict)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, b"query={a}&" * 50_000),
        ("application/json", b"[%s1]" % (b'{"query":"{"},' * 50_000)),
        ("application/json", b"[%s1]" % (b'{"operationName":"a"},' * 45_000)),
        ("application/json", b"[%s1]" % (b'{"jsonrpc":1,"method":"a"},' * 38_000)),
    ],
    ids=["form", "batch", "operations", "methods"],
)
def test_no_request_keeps_the_proxy_busy(kind: str, body: bytes) -> None:
    with no_minutes():
        sent("POST", "/login", body, content_type=kind)


# What takes an old token's place

REFRESH = sent("POST", "/session/refresh", authorization=f"Bearer {JWT}")
KEY = sent("POST", "/api/tokens", {"name": "ci", "password": "x"})
PLAIN = sent("POST", "/x")
ISSUED = {"iss": "app", "aud": ["app"], "sub": "1", "exp": 1}


@pytest.mark.parametrize(
    ("expected", "old", "value", "name", "matches", "seen", "request_"),
    [
        (True, OPAQUE, OTHER, "x", False, True, PLAIN),
        (False, OPAQUE, OTHER, "token", True, False, PLAIN),
        (True, OPAQUE, OTHER, "x", False, False, sent("POST", "/x", {"refreshToken": OPAQUE})),
        (True, OPAQUE, OTHER, "x", False, False, LOGIN),
        (True, OPAQUE, OTHER, "token", True, False, sent("POST", "/x", {"password": "x"})),
        (False, OPAQUE, OTHER, "x", False, False, sent("POST", "/x", {"password": "x"})),
        (False, OPAQUE, OTHER, "token", True, False, KEY),
        (False, OPAQUE, OTHER, "token", True, False, sent("POST", "/x", authorization=BASIC)),
        (True, JWT, jwt(sub="2"), "x", False, False, REFRESH),
        (True, OPAQUE, OTHER, "refreshedToken", False, False, REFRESH),
        (False, OPAQUE, OTHER, "x", False, False, REFRESH),
        (True, jwt(**ISSUED), jwt(**ISSUED | {"exp": 2}), "x", False, False, PLAIN),
        (False, jwt(**ISSUED), jwt(**ISSUED | {"sub": "2"}), "x", False, False, PLAIN),
        (False, jwt(**ISSUED), jwt(**ISSUED, api=1), "x", False, False, PLAIN),
        (False, jwt(**ISSUED), jwt(**ISSUED | {"aud": "b"}), "x", False, False, PLAIN),
        (False, jwt(sub="1"), jwt(sub="1"), "x", False, False, PLAIN),
        (False, jwt(iss=None, aud=None), jwt(iss=None, aud=None), "x", False, False, PLAIN),
    ],
)
def test_a_new_token_takes_an_old_ones_place_only_for_a_reason(
    expected: bool, old: str, value: str, name: str, matches: bool, seen: bool, request_: Sent
) -> None:
    candidate = Candidate(value, f"/{name}", name, "access", 4, False)
    assert takes_place_of(candidate, old, matches, seen, request_) is expected


# Ordinary answers


def test_an_answer_to_head_hands_out_what_is_in_its_headers() -> None:
    answer = answered(b"", X_Auth_Token=OPAQUE)
    (found,) = find(answer, LOGIN, frozenset())
    assert (found.place, found.value) == ("header:X-Auth-Token", OPAQUE)
    assert find(answer, LOGIN, frozenset(("x-auth-token",))) == []


HELD = {"": OPAQUE, "refresh": jwt(**ISSUED)}
SUCCESSOR = jwt(**ISSUED | {"exp": 2})


@pytest.mark.parametrize(
    ("used", "headers", "found"),
    [
        ("access-token", {"access_token": OTHER}, {"header:access-token": OTHER}),
        ("Access-Token", {"access_token": OTHER}, {"header:access-token": OTHER}),
        ("Authorization", {"authorization": f"Bearer {OTHER}"}, {"header:authorization": OTHER}),
        ("Authorization", {"authorization": f"Knox {OTHER}"}, {"header:authorization": OTHER}),
        (None, {"X_Named": OTHER}, {"header:X-Named": OTHER}),
        (None, {"X_New": SUCCESSOR}, {"header:X-New": SUCCESSOR}),
        (None, {"X_New": f"Bearer {SUCCESSOR}"}, {"header:X-New": SUCCESSOR}),
        (None, {"X_New": jwt(**ISSUED | {"sub": "2"})}, {}),
        (None, {"X_New": JWT}, {}),
        (None, {"access_token": OTHER}, {}),
        ("access-token", {"access_token": OPAQUE}, {}),
        ("access-token", {"access_token": ""}, {}),
        ("access-token", {"access_token": "required"}, {}),
        ("Authorization", {"authorization": f'Digest realm="a", nonce="{OTHER}"'}, {}),
        (None, {"Location": SUCCESSOR, "Set_Cookie": SUCCESSOR}, {}),
    ],
)
def test_a_token_that_slides_is_found_in_any_answer(
    used: str | None, headers: dict[str, str], found: dict[str, str]
) -> None:
    fields = http.Headers((), **headers)
    candidates = sliding(fields, used, lambda name: name == "X-Named", HELD)
    assert {one.place: one.value for one in candidates} == found


def test_a_token_that_slides_has_the_role_that_its_name_says() -> None:
    fields = http.Headers((), X_Refresh_Token=SUCCESSOR, access_token=OTHER)
    roles = [one.role for one in sliding(fields, "access-token", lambda _: True, HELD)]
    assert roles == ["access", "refresh"]
