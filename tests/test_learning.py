"""What recordings tell: as tables of exchanges, and from real recordings of a real mitmdump."""

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_client import Browser
from exchanges.settings import OPTIONS, Settings
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.io import tnetstring
from mitmproxy.test import tflow
from profiles.learning import Learnt, Seen, learn
from profiles.reading import Profile
from profiles.schemes import refresh_template
from ruamel.yaml import YAML
from support import ROOT, Message, Mitmdump, Upstream, answer
from test_jar import jwt
from tokens.answer import Answer

JWT = jwt({"sub": "ada", "exp": 2_000_000_000})
OPAQUE = "9f2c4be7a1d85e03c6b7"
OTHER = "77e1ab0c95d2f4480b1d"
REFRESH = "r-5d0e8a7c41f92b36d8e0"
SECRETS = (JWT, JWT.rpartition(".")[2], OPAQUE, OTHER, REFRESH, "hunter2-hunter2-77")


def seen(
    asked: str,
    sent: Any = None,
    got: Any = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
    answered: dict[str, str] | None = None,
    **more: Any,
) -> Seen:
    """An exchange: `POST /login`, what was sent and got (JSON, or a text as it is), headers."""
    method, _, target = asked.partition(" ")
    kind = "application/x-www-form-urlencoded" if isinstance(sent, str) else "application/json"
    body = b"" if sent is None else (sent if isinstance(sent, str) else json.dumps(sent)).encode()
    fields = {**({"content-type": kind} if body else {}), **(headers or {})}
    text = b"" if got is None else (got if isinstance(got, str) else json.dumps(got)).encode()
    of_answer = {
        "content-type": "text/plain" if isinstance(got, str) else "application/json",
        **(answered or {}),
    }
    kind = of_answer["content-type"]
    return Seen(
        *(method, target, _headers(fields), body),
        Answer(status, _headers(of_answer), text, kind),
        **more,
    )


def _headers(fields: dict[str, str]) -> http.Headers:
    return http.Headers([(name.encode(), value.encode()) for name, value in fields.items()])


def in_parts(path: str, sent: dict[str, str], got: Any = None) -> Seen:
    """A POST of a form of several parts."""
    part = 'Content-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = "".join("--x\r\n" + part.format(*pair) for pair in sent.items()) + "--x--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    return seen(f"POST {path}", body, got, headers=kind)


HOME = "http://localhost:8080/"
PASSWORD = {"user": "ada", "password": "hunter2-hunter2-77"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


BEARER: dict[str, object] = {"header": "Authorization", "header_format": "Bearer {token}"}
PAGE: dict[str, object] = {"login_body": "stand-in"}

TABLE: dict[str, tuple[list[Seen], dict[str, object]]] = {
    "a JWT as Bearer": (
        [
            seen("POST /auth/sign-in", PASSWORD, {"access_token": JWT}),
            seen("GET /me", headers=bearer(JWT)),
        ],
        {"login": ["/auth/sign-in"], "token": ["/access_token"], **BEARER, **PAGE},
    ),
    "an opaque one in a header of its own, in HTTP/2's letters": (
        [
            seen("POST /session", PASSWORD, {"data": {"sessionToken": OPAQUE}}),
            seen("GET /things?x=1", headers={"x-session-token": OPAQUE}),
        ],
        {
            "login": ["/session"],
            "token": ["/data/sessionToken"],
            "header": "x-session-token",
            "header_format": "{token}",
            **PAGE,
        },
    ),
    "the one that is sent is the main one, whatever the names say": (
        [
            seen("POST /login", PASSWORD, {"access_token": OPAQUE, "id_token": JWT}),
            seen("GET /me", headers=bearer(JWT)),
        ],
        {"login": ["/login"], "token": ["/id_token"], **BEARER, **PAGE},
    ),
    "in a header of the answer": (
        [
            seen("POST /login", PASSWORD, {"id": 7}, answered={"X-Auth-Token": OPAQUE}),
            seen("GET /me", headers={"X-Auth-Token": OPAQUE}),
        ],
        {
            "login": ["/login"],
            "token": ["header:X-Auth-Token"],
            "header": "X-Auth-Token",
            "header_format": "{token}",
            **PAGE,
        },
    ),
    "a scheme in the answer as well": (
        [
            seen("POST /login", PASSWORD, None, answered={"Authorization": f"Bearer {JWT}"}),
            seen("GET /me", headers=bearer(JWT)),
        ],
        {"login": ["/login"], "token": ["header:Authorization"], **BEARER, **PAGE},
    ),
    "in the fragment of a redirect": (
        [
            seen(
                "GET /callback?code=abcdefgh12345678",
                status=302,
                answered={"Location": f"/#access_token={OPAQUE}&state=x"},
            ),
            seen("GET /me", headers=bearer(OPAQUE)),
        ],
        {"login": ["/callback"], "token": ["location:access_token"], **BEARER, **PAGE},
    ),
    "an auth-param": (
        [
            seen("POST /Users/AuthenticateByName", PASSWORD, {"AccessToken": OPAQUE}),
            seen(
                "GET /Users/Me",
                headers={"Authorization": f'MediaBrowser Client="Web", Token="{OPAQUE}"'},
            ),
        ],
        {
            "login": ["/Users/AuthenticateByName"],
            "token": ["/AccessToken"],
            "header": "Authorization",
            "header_format": 'MediaBrowser Client="Web", Token="{token}"',
            **PAGE,
        },
    ),
    "nothing was asked after the login, but it says the type": (
        [seen("POST /token", PASSWORD, {"access_token": JWT, "token_type": "bearer"})],
        {"login": ["/token"], "token": ["/access_token"], **BEARER},
    ),
    "several logins at different paths, and places": (
        [
            seen("POST /register", PASSWORD, {"user": {"token": OTHER}}, 201),
            seen("POST /login", PASSWORD, {"token": OPAQUE}),
            seen("GET /me", headers={"Authorization": f"Token {OPAQUE}"}),
        ],
        {
            "login": ["/register", "/login"],
            "token": ["/user/token", "/token"],
            "header": "Authorization",
            "header_format": "Token {token}",
            **PAGE,
        },
    ),
    "refresh in JSON, and logout": (
        [
            seen("POST /api/token/", PASSWORD, {"access": JWT, "refresh": REFRESH}),
            seen("GET /me", headers=bearer(JWT)),
            seen("GET /me", headers=bearer(JWT), status=401),
            seen("POST /api/token/refresh/", {"refresh": REFRESH}, {"access": OTHER}),
            seen("GET /me", headers=bearer(OTHER)),
            seen("POST /api/logout/", {}, {}, headers=bearer(OTHER)),
        ],
        {
            "login": ["/api/token/"],
            "token": ["/access"],
            **BEARER,
            **PAGE,
            "refresh": "/api/token/refresh/",
            "refresh_token": "/refresh",
            "refresh_body": '{"refresh": "{refresh_token}"}',
            "logout": "/api/logout/",
            "logout_upstream": True,
        },
    ),
    "refresh by a form, to another path, by an answer of another form": (
        [
            seen("POST /login", PASSWORD, {"token": OPAQUE, "refresh_token": REFRESH}),
            seen("GET /me", headers=bearer(OPAQUE)),
            seen(
                "POST /oauth/token",
                f"grant_type=refresh_token&refresh_token={REFRESH}&client_id=web",
                {"access_token": OTHER, "refresh_token": "r-0000aaaa1111bbbb2222"},
            ),
            seen("GET /me", headers=bearer(OTHER)),
        ],
        {
            "login": ["/login"],
            "token": ["/token", "/access_token"],
            **BEARER,
            **PAGE,
            "refresh": "/oauth/token",
            "refresh_token": "/refresh_token",
            "refresh_body": "grant_type=refresh_token&refresh_token={refresh_token}&client_id=web",
        },
    ),
    "it began when somebody was logged in": (
        [
            seen("GET /me", headers=bearer(OPAQUE)),
            seen(
                "POST /refresh",
                {"refreshToken": REFRESH},
                {"token": OTHER, "refreshToken": "r-9" * 8},
            ),
            seen("GET /me", headers=bearer(OTHER)),
        ],
        {
            "token": ["/token"],
            **BEARER,
            "refresh": "/refresh",
            "refresh_token": "/refreshToken",
            "refresh_body": '{"refreshToken": "{refresh_token}"}',
        },
    ),
    "the user's name in the path": (
        [
            seen(
                "PUT /-/user/org.couchdb.user:adal",
                {"name": "adal", "password": "hunter2-hunter2-77"},
                {"ok": True, "token": OPAQUE},
            ),
            seen("GET /-/whoami", headers=bearer(OPAQUE)),
        ],
        {"login": ["PUT /-/user/*"], "token": ["/token"], **BEARER, **PAGE},
    ),
    "a user who is called like the path": (
        [
            seen("POST /auth/user", {"name": "user", "password": "x"}, {"token": OPAQUE}),
            seen("GET /me", headers=bearer(OPAQUE)),
        ],
        {"login": ["/auth/user"], "token": ["/token"], **BEARER, **PAGE},
    ),
    "refresh within a second, whose JWT is the same": (
        [
            seen("POST /auth/login", PASSWORD, {"access": JWT, "refresh": REFRESH}),
            seen("GET /me", headers=bearer(JWT)),
            seen(
                "POST /auth/refresh",
                {"refresh": REFRESH},
                {"access": JWT, "refresh": "r-0000aaaa1111bbbb2222"},
            ),
        ],
        {
            "login": ["/auth/login"],
            "token": ["/access"],
            **BEARER,
            "refresh": "/auth/refresh",
            "refresh_token": "/refresh",
            "refresh_body": '{"refresh": "{refresh_token}"}',
            **PAGE,
        },
    ),
    "refresh at the login's own path: by no option": (
        [
            seen(
                "POST /token?grant_type=password",
                PASSWORD,
                {"access_token": JWT, "refresh_token": REFRESH},
            ),
            seen("GET /user", headers=bearer(JWT)),
            seen(
                "POST /token?grant_type=refresh_token",
                {"refresh_token": REFRESH},
                {"access_token": OTHER, "refresh_token": "r-9" * 8},
            ),
        ],
        {"login": ["/token"], "token": ["/access_token"], **BEARER, **PAGE},
    ),
    "refresh at the login's own path, told apart by the grant": (
        [
            seen(
                "POST /oauth/token",
                "grant_type=password&username=ada&password=hunter2-hunter2-77&client_id=web",
                {"access_token": JWT, "refresh_token": REFRESH},
            ),
            seen("GET /user", headers=bearer(JWT)),
            seen(
                "POST /oauth/token",
                f"grant_type=refresh_token&refresh_token={REFRESH}&client_id=web",
                {"access_token": OTHER, "refresh_token": "r-9" * 8},
            ),
            seen("GET /user", headers=bearer(OTHER)),
        ],
        {
            "login": ["POST /oauth/token grant_type=password"],
            "token": ["/access_token"],
            **BEARER,
            "refresh": "POST /oauth/token grant_type=refresh_token",
            "refresh_token": "/refresh_token",
            "refresh_body": "grant_type=refresh_token&refresh_token={refresh_token}&client_id=web",
            **PAGE,
        },
    ),
    "several grants, in JSON": (
        [
            seen("POST /register", PASSWORD, {"access_token": OPAQUE}),
            seen(
                "POST /token",
                {"grantType": "password", **PASSWORD},
                {"access_token": JWT, "refresh_token": REFRESH},
            ),
            seen(
                "POST /token",
                {"grantType": "authorization_code", "code": "12ab34cd56"},
                {"access_token": OTHER, "refresh_token": "r-8" * 8},
            ),
            seen("GET /user", headers=bearer(JWT)),
            seen(
                "POST /token",
                {"grantType": "refresh_token", "refreshToken": REFRESH},
                {"access_token": "5e11aa90c7d24b3f8806", "refresh_token": "r-9" * 8},
            ),
        ],
        {
            "login": [
                "/register",
                "POST /token grantType=password",
                "POST /token grantType=authorization_code",
            ],
            "token": ["/access_token"],
            **BEARER,
            "refresh": "POST /token grantType=refresh_token",
            "refresh_token": "/refresh_token",
            "refresh_body": '{"grantType": "refresh_token", "refreshToken": "{refresh_token}"}',
            **PAGE,
        },
    ),
    "Home Assistant's own page: forms of several parts, and a refresh within the login's second": (
        [
            in_parts(
                "/auth/token",
                {"client_id": HOME, "code": "12ab34cd56", "grant_type": "authorization_code"},
                {"access_token": JWT, "refresh_token": REFRESH},
            ),
            seen("GET /api/config", headers=bearer(JWT)),
            in_parts(
                "/auth/token",
                {"client_id": HOME, "grant_type": "refresh_token", "refresh_token": REFRESH},
                {"access_token": JWT},
            ),
            in_parts("/auth/revoke", {"token": REFRESH}),
        ],
        {
            "login": ["POST /auth/token grant_type=authorization_code"],
            "token": ["/access_token"],
            **BEARER,
            "refresh": "POST /auth/token grant_type=refresh_token",
            "refresh_token": "/refresh_token",
            "refresh_body": "client_id=http%3A%2F%2Flocalhost%3A8080%2F&grant_type=refresh_token"
            "&refresh_token={refresh_token}",
            "logout.body": "token={refresh_token}",
            "logout_upstream_path": "/auth/revoke",
            **PAGE,
        },
    ),
    "the same word for login and refresh: by no option": (
        [
            seen(
                "POST /token",
                {"type": "web", **PASSWORD},
                {"access_token": JWT, "refresh_token": REFRESH},
            ),
            seen("GET /user", headers=bearer(JWT)),
            seen(
                "POST /token",
                {"type": "web", "refresh_token": REFRESH},
                {"access_token": OTHER, "refresh_token": "r-9" * 8},
            ),
        ],
        {"login": ["/token"], "token": ["/access_token"], **BEARER, **PAGE},
    ),
    "what differs is no kind of request: by no option": (
        [
            seen(
                "POST /session",
                {"tenant": "acme", "type": OPAQUE, **PASSWORD},
                {"access_token": JWT, "refresh_token": REFRESH},
            ),
            seen("GET /user", headers=bearer(JWT)),
            seen(
                "POST /session",
                {"tenant": "shop", "type": "again", "refresh_token": REFRESH},
                {"access_token": OTHER, "refresh_token": "r-9" * 8},
            ),
        ],
        {"login": ["/session"], "token": ["/access_token"], **BEARER, **PAGE},
    ),
    "Simple JWT's blacklist": (
        [
            seen("POST /api/token/", PASSWORD, {"access": JWT, "refresh": REFRESH}),
            seen("GET /me", headers=bearer(JWT)),
            seen("POST /api/token/blacklist/", {"refresh": REFRESH}, {}),
        ],
        {
            "login": ["/api/token/"],
            "token": ["/access"],
            **BEARER,
            "logout.body": '{"refresh": "{refresh_token}"}',
            "logout_upstream_path": "/api/token/blacklist/",
            **PAGE,
        },
    ),
    "a revocation with a secret beside the token, and one that was refused": (
        [
            seen("POST /login", PASSWORD, {"token": JWT, "refresh_token": REFRESH}),
            seen("GET /me", headers=bearer(JWT)),
            seen("POST /revoke", f"token={REFRESH}&client_secret=hunter2-hunter2-77"),
            seen("POST /oauth/revoke", f"token={REFRESH}", status=401),
        ],
        {"login": ["/login"], "token": ["/token"], **BEARER, **PAGE},
    ),
    "the refresh token in a header": (
        [
            seen("POST /login", PASSWORD, {"access_token": JWT, "refresh_token": REFRESH}),
            seen("GET /me", headers=bearer(JWT)),
            seen("POST /refresh", {}, {"access_token": OTHER}, headers=bearer(REFRESH)),
            seen("GET /me", headers=bearer(OTHER)),
        ],
        {
            "login": ["/login"],
            "token": ["/access_token"],
            **BEARER,
            "refresh": "/refresh",
            "refresh_token": "/refresh_token",
            "refresh.headers": ["Authorization: Bearer {refresh_token}"],
            **PAGE,
        },
    ),
    "a secret beside the refresh token is not written down": (
        [
            seen("POST /login", PASSWORD, {"access_token": JWT, "refresh_token": REFRESH}),
            seen("GET /me", headers=bearer(JWT)),
            seen(
                "POST /refresh",
                {"refresh_token": REFRESH, "client_secret": "hunter2-hunter2-77"},
                {"access_token": OTHER},
            ),
        ],
        {"login": ["/login"], "token": ["/access_token"], **BEARER, **PAGE},
    ),
    "a logout with the refresh token in its body": (
        [
            seen("POST /auth/login", PASSWORD, {"access_token": JWT, "refresh_token": REFRESH}),
            seen("GET /me", headers=bearer(JWT)),
            seen("POST /auth/logout", {"refresh_token": REFRESH, "mode": "json"}, status=204),
        ],
        {
            "login": ["/auth/login"],
            "token": ["/access_token"],
            **BEARER,
            "logout": "/auth/logout",
            "logout.body": '{"refresh_token": "{refresh_token}", "mode": "json"}',
            **PAGE,
        },
    ),
    "a logout at the login's path": (
        [
            seen("POST /session", PASSWORD, {"token": OPAQUE}),
            seen("GET /me", headers=bearer(OPAQUE)),
            seen("DELETE /session", None, None, 204, headers=bearer(OPAQUE)),
        ],
        {
            "login": ["/session"],
            "token": ["/token"],
            **BEARER,
            **PAGE,
            "logout_upstream": True,
            "logout_upstream_method": "DELETE",
            "logout_upstream_path": "/session",
        },
    ),
    "GraphQL": (
        [
            seen(
                "POST /graphql",
                {
                    "query": "mutation Login($p: String!) { login(password: $p) { token } }",
                    "variables": {"p": "x"},
                },
                {"data": {"login": {"token": JWT}}},
            ),
            seen("POST /graphql", {"query": "{ me { id } }"}, {"data": {}}, headers=bearer(JWT)),
        ],
        {"login": ["/graphql"], "token": ["/data/login/token"], **BEARER, **PAGE},
    ),
    "a key that the user has just made is no login's": (
        [
            seen("POST /login", PASSWORD, {"token": OPAQUE}),
            seen("GET /me", headers=bearer(OPAQUE)),
            seen("POST /api/tokens", {"name": "ci"}, {"token": OTHER}, headers=bearer(OPAQUE)),
        ],
        {"login": ["/login"], "token": ["/token"], **BEARER, **PAGE},
    ),
    "the same token from two paths": (
        [
            seen("POST /register", PASSWORD, {"token": OPAQUE}),
            seen("POST /login", PASSWORD, {"token": OPAQUE}),
            seen("GET /me", headers=bearer(OPAQUE)),
        ],
        {"login": ["/register", "/login"], "token": ["/token"], **BEARER, **PAGE},
    ),
    "a key for which the password was asked again is none": (
        [
            seen("POST /login", PASSWORD, {"token": OPAQUE}),
            seen("POST /-/npm/v1/tokens", PASSWORD, {"token": OTHER}, headers=bearer(OPAQUE)),
        ],
        {"login": ["/login"], "token": ["/token"], **BEARER, **PAGE},
    ),
    "bound to a key of the page's": (
        [seen("POST /token", PASSWORD, {"access_token": JWT, "token_type": "DPoP"})],
        {},
    ),
    "perhaps no login, and of no use": (
        [seen("GET /v2/auth", None, {"token": JWT}, headers={"Authorization": "Basic YTpi"})],
        {},
    ),
    "a login at a path that is a secret itself": (
        [
            seen("POST /login/5f0c9a7e31b84d26", PASSWORD, {"token": OPAQUE}),
            seen("GET /me", headers=bearer(OPAQUE)),
        ],
        BEARER,
    ),
    "a form of several parts": (
        [
            seen(
                "POST /login",
                '--x\r\nContent-Disposition: form-data; name="password"\r\n\r\nabc\r\n--x--\r\n',
                {"token": OPAQUE, "refresh_token": REFRESH},
                headers={"content-type": "multipart/form-data; boundary=x"},
            ),
            seen(
                "POST /auth/revoke",
                f'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n{OPAQUE}\r\n--x--\r\n',
                headers={"content-type": "multipart/form-data; boundary=x"},
            ),
        ],
        {"login": ["/login"], "token": ["/token"], **PAGE},
    ),
    "the proxy has sent it": (
        [
            seen("POST /login", PASSWORD, {"token": OPAQUE}),
            seen("GET /me", headers=bearer(OPAQUE), injected=True),
        ],
        {"login": ["/login"], "token": ["/token"], **BEARER},
    ),
    "prefix and base path of the proxy": (
        [
            seen("POST /v1/login", PASSWORD, {"token": OPAQUE}, asked_as="/api/login"),
            seen("GET /v1/me?x=1", headers=bearer(OPAQUE), asked_as="/api/me?x=1"),
        ],
        {
            "prefix": "/api",
            "base_path": "/v1",
            "login": ["/login"],
            "token": ["/token"],
            **BEARER,
            **PAGE,
        },
    ),
    "what only a stand-in can do": (
        [
            seen("POST /login", PASSWORD, {"token": OPAQUE}),
            seen("GET /me?auth=" + OPAQUE),
        ],
        {"login": ["/login"], "token": ["/token"], **PAGE},
    ),
    "a bare word as the answer: no option leads to it": (
        [seen("POST /token", PASSWORD, OPAQUE), seen("GET /me", headers=bearer(OPAQUE))],
        BEARER,
    ),
    "nothing": ([seen("GET /", got="<p>hello")], {}),
    "a login that failed": ([seen("POST /login", PASSWORD, {"error": "no"}, 401)], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_exchanges_tell_the_options(name: str) -> None:
    exchanges, wanted = TABLE[name]
    assert learn(exchanges).options == wanted


@pytest.mark.parametrize("name", TABLE)
def test_what_was_learnt_is_valid_and_holds_no_secret(name: str) -> None:
    learnt = learn(TABLE[name][0])
    values = {option.name: option.default for option in OPTIONS}
    values |= {f"cookie_auth_{key}": value for key, value in learnt.options.items()}
    Settings.parse(values)
    assert not [secret for secret in SECRETS if secret in repr(learnt)]


def learnt_of(name: str) -> Learnt:
    return learn(TABLE[name][0])


def evidence_of(name: str) -> dict[str, str]:
    return {one.option: one.evidence for one in learnt_of(name).findings}


def test_each_value_comes_with_the_request_that_showed_it() -> None:
    evidence = evidence_of("a JWT as Bearer")
    sent = "GET /me sent it as Authorization: Bearer"
    said = f"POST /auth/sign-in answered /access_token (a JWT); {sent}"
    assert evidence["login"] == evidence["token"] == said
    assert evidence["header"] == sent
    evidence = evidence_of("refresh in JSON, and logout")
    renewed = "POST /api/token/refresh/ renewed the token with the /refresh of POST /api/token/"
    assert evidence["refresh"] == f"{renewed} in its body"
    assert evidence["logout"] == "POST /api/logout/ logs out, with Authorization"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "the one that is sent is the main one, whatever the names say",
            "POST /login answered /access_token: never sent back",
        ),
        ("refresh at the login's own path: by no option", "its path is that of the login"),
        (
            "the same word for login and refresh: by no option",
            "no word in their bodies tells them apart",
        ),
        ("a secret beside the refresh token is not written down", "what else is in its body"),
        ("what only a stand-in can do", "GET /me sent it in query auth; no option says that"),
        ("bound to a key of the page's", "answered /access_token, bound to a key of the page's"),
        ("perhaps no login, and of no use", "it is not sure that this is a login"),
        ("a login at a path that is a secret itself", "POST /login/… answered /token"),
        ("a bare word as the answer: no option leads to it", "so its page needs stand-ins"),
    ],
)
def test_what_no_option_says_is_told(name: str, said: str) -> None:
    assert any(said in remark for remark in learnt_of(name).remarks), learnt_of(name).remarks


def test_a_token_in_basic_and_in_a_cookie_is_found() -> None:
    login = seen("POST /login", PASSWORD, {"token": OPAQUE})
    basic = {"Authorization": "Basic " + b64encode(f"ada:{OPAQUE}".encode()).decode()}
    (remark,) = learn([login, seen("GET /me", headers=basic)]).remarks
    assert remark.startswith("GET /me sent it in the password of Basic in Authorization")
    learnt = learn([login, seen("GET /me", headers={"Cookie": f"a=b; sid={OPAQUE}"})])
    assert "sent it in cookie sid" in repr(learnt)


FORM = "application/x-www-form-urlencoded"
LOGIN_SAYS = {"client_id": "web", "nested": {"scope": "a b", "minutes": 30, "keep": True}}


@pytest.mark.parametrize(
    ("kind", "body", "template"),
    [
        (FORM, "token=to%2Fken-7&scope=a+b", "token={refresh_token}&scope=a+b"),
        (FORM, "token=to%2Fken-7&again=to%2Fken-7", None),
        (FORM, "token=to%2Fken-7&code=12ab34cd56", None),
        (FORM, "other=1", None),
        ("application/json", {"t": "to/ken-7", **LOGIN_SAYS}, {"t": "{}", **LOGIN_SAYS}),
        ("application/json", ["to/ken-7"], ["{}"]),
        ("application/json", {"t": "to/ken-7", "pin": 123456}, None),
        ("application/json", {"t": "to/ken-7", "other": "9f2c4be7a1d8"}, None),
        ("application/json", {"t": "to/ken-7", "client_id": JWT}, None),
        ("application/json", {"t": "to/ken-7", "deep": [[[[[[[[["x"]]]]]]]]]}, None),
        ("application/json", {"query": 'mutation { r(t: "to/ken-7") { t } }'}, ...),
        ("application/json", {"query": 'mutation { r(t: "to/ken-7", p: "secretly") }'}, None),
        ("application/json", "{broken", None),
    ],
)
def test_a_refresh_is_told_if_nothing_else_in_it_may_be_a_secret(
    kind: str, body: object, template: object
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    found = refresh_template(kind, text.encode(), "to/ken-7")
    if template is ...:
        template = json.loads(text.replace("to/ken-7", "{}"))
    if isinstance(template, (dict, list)):
        assert found is not None
        assert json.loads(found.replace("{refresh_token}", "{}")) == template
    else:
        assert found == template


NAMES = st.sampled_from(
    "token access_token refreshToken refresh key id data Authorization X-Token sid code".split()
)
VALUES = st.sampled_from([JWT, OPAQUE, OTHER, REFRESH, "ada", 7, None, True])
JSONS = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4)
)
SEGMENTS = st.sampled_from(
    ["login", "refresh", "logout", "token", "sessions", "me", "graphql", JWT, OPAQUE, REFRESH]
)
HEADERS = st.dictionaries(
    NAMES | st.just("Cookie"),
    st.sampled_from(
        [
            f"Bearer {JWT}",
            OPAQUE,
            f'MediaBrowser Device="{OTHER}", Token="{OPAQUE}"',
            f"a={OPAQUE}; b={JWT}",
            "Basic " + b64encode(f"{OTHER}:{REFRESH}".encode()).decode(),
        ]
    ),
    max_size=3,
)


@st.composite
def exchanges(draw: st.DrawFn) -> Seen:
    path = "/".join(draw(st.lists(SEGMENTS, max_size=3)))
    query = draw(st.sampled_from(["", f"?token={OPAQUE}", f"?code={REFRESH}&x={JWT}"]))
    method = draw(st.sampled_from(["GET", "POST", "POST", "DELETE", "PUT"]))
    sent = draw(JSONS | st.just(f"grant_type=refresh_token&refresh_token={REFRESH}"))
    status = draw(st.sampled_from([200, 200, 201, 302, 401]))
    answered = {"Location": f"/x#access_token={OPAQUE}"} if status == 302 else draw(HEADERS)
    asked_as = draw(st.sampled_from(["", f"/api/{path}", f"/{OPAQUE}/{path}"]))
    seen_one = seen(f"{method} /{path}{query}", sent, draw(JSONS), status, draw(HEADERS), answered)
    return seen_one._replace(asked_as=asked_as, injected=draw(st.booleans()))


@given(st.lists(exchanges(), max_size=6))
def test_whatever_was_recorded_no_token_is_told(recorded: list[Seen]) -> None:
    learnt = learn(recorded, [("https://other.example.com", one) for one in recorded])
    assert not [secret for secret in SECRETS if secret in repr(learnt)]
    values = {option.name: option.default for option in OPTIONS}
    values |= {f"cookie_auth_{key}": value for key, value in learnt.options.items()}
    Settings.parse(values)


def test_a_path_that_holds_a_token_is_not_told() -> None:
    login = seen("POST /login", PASSWORD, {"token": OPAQUE})
    learnt = learn([login, seen(f"DELETE /sessions/{OPAQUE}", headers={"X-Token": OPAQUE})])
    assert OPAQUE not in repr(learnt)
    assert "DELETE /sessions/…" in repr(learnt)


# From files


def run_learn(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "addon" / "learn.py"), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def profile_of(*files: Path) -> dict[str, Any]:
    done = run_learn(*files)
    assert done.returncode == 0, done.stderr
    assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
    found: dict[str, Any] = YAML(typ="safe").load(done.stdout) or {}
    return found


def options_of(profile: dict[str, Any]) -> list[str]:
    """The same behind `--set`."""
    found: list[str] = []
    for name, value in profile.items():
        for one in value if isinstance(value, list) else [value]:
            text = str(one).lower() if isinstance(one, bool) else one
            found += ["--set", f"cookie_auth_{name}={text}"]
    return found


def api(request: Message) -> bytes:
    """It logs in, renews, answers who asks, and logs out."""
    body = json.loads(request.body or b"{}")
    if request.target == "/v1/auth/sign-in" and body.get("password"):
        return answer(json.dumps({"access_token": JWT, "refresh_token": REFRESH}))
    if request.target == "/v1/auth/refresh" and body == {"refresh_token": REFRESH}:
        return answer(json.dumps({"access_token": OPAQUE, "refresh_token": OTHER}))
    if request.target == "/v1/auth/logout":
        return answer(status=204)
    allowed = request.one("authorization") in (f"Bearer {JWT}", f"Bearer {OPAQUE}")
    return answer('{"me": 1}' if allowed else "{}", 200 if allowed else 401)


def visit(browser: Browser, at: str) -> str:
    """What a page does that reads and sends tokens itself; the first one that it got."""

    def send(target: str, payload: object, token: str = "") -> Message:
        headers = bearer(token) if token else {}
        headers |= {"content_type": "application/json", "sec_fetch_site": "same-origin"}
        return browser.request("POST", at + target, json.dumps(payload), **headers)

    def me(token: str) -> Message:
        return browser.request("GET", f"{at}/me", sec_fetch_site="same-origin", **bearer(token))

    got = json.loads(send("/auth/sign-in", PASSWORD).body)
    first, refresh = got["access_token"], got["refresh_token"]
    assert me(first).status == 200
    access = json.loads(send("/auth/refresh", {"refresh_token": refresh}).body)["access_token"]
    assert me(access).status == 200
    assert send("/auth/logout", {}, access).status == 204
    return str(first)


LEARNT: dict[str, object] = {
    "token": ["/access_token"],
    "login_body": "stand-in",
    **BEARER,
    "refresh_token": "/refresh_token",
    "refresh_body": '{"refresh_token": "{refresh_token}"}',
    "logout_upstream": True,
}


def test_a_recording_made_through_cookie_auth_gives_the_same_profile(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = api
    plain, own = tmp_path / "plain.flow", tmp_path / "own.flow"
    mitmdump = start("-w", str(plain), scripts=())
    assert visit(Browser(mitmdump.client), "/v1") == JWT
    mitmdump.stop()
    paths = ["cookie_auth_prefix=/api", "cookie_auth_base_path=/v1"]
    mitmdump = start("-w", str(own), *(part for one in paths for part in ("--set", one)))
    assert "stand-" in visit(Browser(mitmdump.client), "/api")
    mitmdump.stop()
    assert profile_of(plain) == {
        **LEARNT,
        "login": ["/v1/auth/sign-in"],
        "refresh": "/v1/auth/refresh",
        "logout": "/v1/auth/logout",
    }
    profile = profile_of(own)
    assert profile == {
        **LEARNT,
        "prefix": "/api",
        "base_path": "/v1",
        "login": ["/auth/sign-in"],
        "refresh": "/auth/refresh",
        "logout": "/auth/logout",
    }
    # The page that was recorded goes on working with it, and so does one that sends nothing.
    mitmdump = start(*options_of(profile))
    assert "stand-" in visit(Browser(mitmdump.client), "/api")
    browser, headers = Browser(mitmdump.client), {"sec_fetch_site": "same-origin"}
    body, kind = json.dumps(PASSWORD), "application/json"
    browser.request("POST", "/api/auth/sign-in", body, content_type=kind, **headers)
    assert browser.request("GET", "/api/me", **headers).status == 200
    assert browser.request("POST", "/api/auth/refresh", **headers).body == b'{"loggedIn": true}'
    assert browser.request("GET", "/api/me", **headers).status == 200
    browser.request("POST", "/api/auth/logout", **headers)
    assert browser.request("GET", "/api/me", **headers).status == 401


@pytest.mark.parametrize("token", [JWT, OPAQUE * 300], ids=["short", "split"])
def test_a_listed_login_is_read_from_what_was_noted(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path, token: str
) -> None:
    upstream.answers(json.dumps({"access_token": token}))
    file = tmp_path / "own.flow"
    options = [
        *("cookie_auth_login=/v1/auth/sign-in", "cookie_auth_token=/access_token"),
        *("cookie_auth_header=Authorization", "cookie_auth_header_format=Bearer {token}"),
    ]
    mitmdump = start("-w", str(file), *(part for one in options for part in ("--set", one)))
    browser = Browser(mitmdump.client)
    browser.request(
        "POST", "/v1/auth/sign-in", json.dumps(PASSWORD), content_type="application/json"
    )
    assert browser.request("GET", "/v1/me").status == 200
    mitmdump.stop()
    wanted = {"login": ["/v1/auth/sign-in"], "token": ["/access_token"], **BEARER}
    assert profile_of(file) == wanted


def har(exchanges: list[Seen], creator: str = "WebInspector", keep: bool = True) -> dict[str, Any]:
    """As Chrome writes it, with sensitive data or without."""

    def headers(fields: http.Headers) -> list[dict[str, str]]:
        hidden = () if keep else ("authorization", "cookie", "set-cookie")
        return [
            {"name": name, "value": value}
            for name, value in fields.items(multi=True)
            if name.lower() not in hidden
        ]

    entries = [
        {
            "startedDateTime": "2026-11-29T10:00:00.000Z",
            "request": {
                "method": one.method,
                "url": f"https://api.example.com{one.target}",
                "headers": [{"name": ":method", "value": one.method}, *headers(one.headers)],
                **({"postData": {"mimeType": "", "text": one.body.decode()}} if one.body else {}),
            },
            "response": {
                "status": one.answer.status,
                "headers": [
                    *headers(one.answer.headers),
                    {"name": "content-encoding", "value": "br"},
                ],
                "content": {"text": (one.answer.body or b"").decode()},
            },
        }
        for one in exchanges
    ]
    return {"log": {"version": "1.2", "creator": {"name": creator}, "entries": entries}}


@pytest.mark.parametrize(
    "name", ["Simple JWT's blacklist", "a logout with the refresh token in its body"]
)
def test_what_is_printed_is_the_profile(name: str, tmp_path: Path) -> None:
    (file := tmp_path / "app.har").write_text(json.dumps(har(TABLE[name][0])))
    printed = run_learn(file).stdout.encode()
    wanted = {f"cookie_auth_{option}": value for option, value in TABLE[name][1].items()}
    assert Profile.parse("printed", printed, OPTIONS).values == wanted


def test_a_har_file_may_have_bodies_in_base64_and_forms_as_fields(tmp_path: Path) -> None:
    document = har(TABLE["a JWT as Bearer"][0])
    login = document["log"]["entries"][0]
    params = [{"name": "user", "value": "ada"}, {"name": "password", "value": "hunter2"}]
    login["request"]["postData"] = {"mimeType": FORM, "params": params}
    login["request"]["headers"] = [{"name": "Content-Type", "value": FORM}]
    text = b64encode(login["response"]["content"]["text"].encode()).decode()
    login["response"]["content"] = {"text": text, "encoding": "base64"}
    broken = json.loads(json.dumps(login))
    broken["response"]["content"]["text"] = "no base64!"
    document["log"]["entries"].append(broken)
    file = tmp_path / "app.har"
    file.write_text(json.dumps(document))
    assert profile_of(file) == TABLE["a JWT as Bearer"][1]


def test_a_har_file_is_read_although_an_entry_of_it_cannot_be(tmp_path: Path) -> None:
    exchanges, wanted = TABLE["refresh in JSON, and logout"]
    document = har(exchanges)
    document["log"]["entries"].insert(
        0, {"request": {"url": "data:x"}, "response": {"status": 200}}
    )
    document["log"]["entries"].insert(1, {"request": None})
    file = tmp_path / "app.har"
    file.write_text("\ufeff" + json.dumps(document))
    assert profile_of(file) == wanted
    assert "https://api.example.com" in run_learn(file).stdout


def test_of_several_apis_the_one_is_told_whose_token_came_back(tmp_path: Path) -> None:
    document = har(TABLE["a JWT as Bearer"][0])
    other = har([seen("POST /oauth/token", PASSWORD, {"access_token": OPAQUE})])
    asset = har([seen("GET /logo.svg", got="<svg/>"), seen("GET /api/x", headers=bearer(OPAQUE))])
    for found, host in ((other, "auth.example.com"), (asset, "cdn.example.com")):
        for entry in found["log"]["entries"]:
            entry["request"]["url"] = entry["request"]["url"].replace("api.example.com", host)
        document["log"]["entries"][:0] = found["log"]["entries"]
    file = tmp_path / "app.har"
    file.write_text(json.dumps(document))
    assert profile_of(file) == TABLE["a JWT as Bearer"][1]
    said = "# https://auth.example.com, too: POST /oauth/token answered /access_token"
    assert said in run_learn(file).stdout


def test_a_token_that_is_for_another_api_is_told(tmp_path: Path) -> None:
    login, me = TABLE["a JWT as Bearer"][0]
    learnt = learn([login], [("https://api.example.com", me)])
    assert not learnt.came_back
    assert "https://api.example.com was sent its token (GET /me)" in learnt.remarks[0]


def test_a_recording_without_tokens_says_so(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = api
    file = tmp_path / "own.flow"
    mitmdump = start("-w", str(file), "--set", "cookie_auth_redact=true")
    visit(Browser(mitmdump.client), "/v1")
    mitmdump.stop()
    assert "No token came back; with cookie_auth_secret" in run_learn(file).stdout


def test_a_har_without_credentials_says_how_to_get_one_with(tmp_path: Path) -> None:
    file = tmp_path / "app.har"
    file.write_text(json.dumps(har(TABLE["a JWT as Bearer"][0], keep=False)))
    done = run_learn(file)
    assert "Export HAR (with sensitive data)" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "no request has sent it" in done.stdout
    file.write_text(json.dumps(har(TABLE["a JWT as Bearer"][0])))
    assert run_learn(file).stderr == ""


NEWER = tnetstring.dumps(tflow.tflow().get_state() | {"version": 9999})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"hello", "neither a recording of mitmproxy's nor a HAR file"),
        (b'{"log": 1}', "neither a recording of mitmproxy's nor a HAR file"),
        (b"", "there is no request with an answer in it"),
        (b'{"log": {"entries": 1}}', "neither a recording of mitmproxy's nor a HAR file"),
        (NEWER, "recorded with a newer mitmproxy than the one here"),
        (b'{"log": {"entries": []}}', "there is no request with an answer in it"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    done = run_learn(file)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(rf"run\.sh: .*{re.escape(said)}\n", done.stderr)


def test_a_recording_that_breaks_off_is_read_so_far(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    upstream.respond = api
    file = tmp_path / "plain.flow"
    mitmdump = start("-w", str(file), scripts=())
    assert visit(Browser(mitmdump.client), "/v1") == JWT
    mitmdump.stop()
    file.write_bytes(file.read_bytes()[:-100])
    done = run_learn(file)
    assert done.returncode == 0
    assert "it breaks off after 4 requests" in done.stderr
    assert "login: [/v1/auth/sign-in]" in done.stdout


def test_run_sh_learns(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "run.sh"), "learn"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "VENV": str(Path(sys.executable).parent.parent)},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("run.sh: learn needs recordings")
