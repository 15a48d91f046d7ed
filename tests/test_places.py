"""Where a stand-in is translated back, and where not (DESIGN, section 6; law 19)."""

import base64
import json

import pytest
from credentials.bodies import asks_for_a_grant, translate_body
from credentials.places import Meant, Places, Reader, translate_headers, translate_target
from credentials.session_requests import (
    is_logout,
    is_revoke,
    may_have_credentials_in_body,
    path_names_session,
    says_what_it_does,
)
from credentials.socket_messages import is_polling, translate_message, translate_polling
from tokens.graphql import operations

MAIN = "stand-m" + "L" * 12 + "S" * 8 + "M" * 16
REFRESH = "stand-r" + "L" * 12 + "S" * 8 + "M" * 16
ID = "stand-i" + "L" * 12 + "S" * 8 + "M" * 16
PADDED = MAIN + "~~~"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9." + MAIN
OTHER = "stand-m" + "X" * 36
"""Of an earlier login, or made up."""

REAL = {MAIN: "main token", REFRESH: "refresh token", ID: "id token", PADDED: "main token"}
REAL[JWT] = "eyJ.real.jwt"
NAMES = {"m": "authSecret", "r": "renewalTicket", "i": "id_token"}


def plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def reader(token: str | None = None) -> Reader:
    """Reads the stand-ins above; each means its own token, or this one."""

    def read(text: str) -> Meant | None:
        if text not in REAL:
            return None
        slot = text.rpartition(".")[2][6]
        return Meant(
            REAL[text] if token is None else token,
            slot,
            lambda name: plain(name) == plain(NAMES[slot]),
        )

    return read


READ = reader()


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def b64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def in_header(
    name: str, value: str, read: Reader = READ, configured: str = "auth-token"
) -> tuple[str, Places]:
    fields = ((b"Host", b"api.test"), (name.encode(), value.encode()), (b"Accept", b"*/*"))
    translated, places = translate_headers(fields, configured, read)
    if not places:
        assert translated is fields
    assert (translated[0], translated[2]) == (fields[0], fields[2])
    assert translated[1][0] == fields[1][0]
    return translated[1][1].decode(), places


@pytest.mark.parametrize(
    "name",
    "Authorization authorization auth-token X-Auth-Token X-API-Key X-ApiKey x-apikey apikey"
    " X-Emby-Token X-Emby-Authorization X-MediaBrowser-Token X-Parse-Session-Token X-Vault-Token"
    " PRIVATE-TOKEN Access-Token X-Access-Token X-Session-ID sid X-JWT JWT X-Refresh-Token"
    " X-Authentication X-AuthToken x-authtoken OAuth-Token X-Subject-Token X-Devpi-Auth"
    " Auth_Token x-goog-api-key X-Amz-Security-Token"
    " X-Token-Id X-Auth-Key X-Service-Token X-User-Token X-Client-Session-Id".split(),
)
def test_these_headers_are_for_credentials(name: str) -> None:
    told = "Authorization" if name.lower() == "authorization" else name
    assert in_header(name, MAIN) == ("main token", (("m", told),))
    assert in_header(name, REFRESH) == ("refresh token", (("r", told),))


@pytest.mark.parametrize(
    "name",
    "User-Agent Referer Origin X-Request-Id X-Correlation-Id Cookie Host From Accept Via Range"
    " Content-Type Content-Disposition X-Title X-File-Name Link If-Match Prefer X-User"
    " X-Meta-Token X-Amz-Meta-Api-Key X-Object-Meta-Token x-ms-meta-session X-Metadata-Key"
    " Upload-Metadata Idempotency-Key X-Idempotency-Token X-CSRF-Token X-CSRFToken x-csrftoken"
    " X-XSRF-TOKEN X-Webhook-Token X-Forwarded-Access-Token X-Forward-Authorization"
    " X-Target-Authorization Proxy-Authorization X-Routing-Key X-Cache-Key Surrogate-Key"
    " Sec-WebSocket-Key Sec-Session-Id Access-Control-Request-Headers X-Keyword X-Author"
    " X-Tokenizer X-Monkey X-Accessibility X-Push-Token X-Container-Sync-Key"
    " X-Goog-Channel-Token X-Remote-Token X-Origin-Authorization X-Backend-Authorization"
    " X-Original-Authorization X-Relay-Authorization X-Source-Authorization X-Notification-Token"
    " X-Public-Key X-Tag-Key X-Sort-Key X-Item-Key X-Key-Name X-Session-Name X-Session-Data"
    " X-Token-Description X-Auth-Redirect X-Auth-Callback X-Token-Type X-Key-Label X-Session-Title"
    " X-Access-Level X-Auth-Note X-File-Key X-Copy-Source-Token x-fcm-token X-ID X-User X-User-Id"
    " X-Subscription-Key-Url X-Event-Key X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id".split(),
)
def test_no_other_header_is(name: str) -> None:
    assert in_header(name, MAIN) == (MAIN, ())
    assert in_header(name, f"Bearer {MAIN}") == (f"Bearer {MAIN}", ())


def test_the_configured_header_is_whatever_its_name() -> None:
    assert in_header("X_Who", MAIN, configured="x-who") == ("main token", (("m", "X_Who"),))


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (MAIN, "main token"),
        (PADDED, "main token"),
        (JWT, "eyJ.real.jwt"),
        (REFRESH, "refresh token"),
        (f"Bearer {MAIN}", "Bearer main token"),
        (f"bearer  {JWT}", "bearer  eyJ.real.jwt"),
        (f"Token {MAIN}", "Token main token"),
        (f"JWT {JWT}", "JWT eyJ.real.jwt"),
        (f"Basic {MAIN}", "Basic main token"),
        # auth-params: Rails, Jellyfin, Emby, Snowflake, FCM, Google, OAuth 1
        (f'Token token="{MAIN}"', 'Token token="main token"'),
        (f"Token token={MAIN}", 'Token token="main token"'),
        (f"Token token={JWT}, nonce=x", "Token token=eyJ.real.jwt, nonce=x"),
        (
            f'MediaBrowser Client="Web, 2", Device="A \\" b", Token="{MAIN}", Version="1"',
            'MediaBrowser Client="Web, 2", Device="A \\" b", Token="main token", Version="1"',
        ),
        (f'Emby UserId="42",Token="{JWT}"', 'Emby UserId="42",Token="eyJ.real.jwt"'),
        (f"key={JWT}", "key=eyJ.real.jwt"),
        (f"GoogleLogin auth={JWT}", "GoogleLogin auth=eyJ.real.jwt"),
        (f'OAuth oauth_token="{JWT}"', 'OAuth oauth_token="eyJ.real.jwt"'),
        (f'Custom authSecret="{MAIN}"', 'Custom authSecret="main token"'),
        # user or password
        ("Basic " + b64(f"ann:{MAIN}"), "Basic " + b64("ann:main token")),
        ("basic " + b64(f"{MAIN}:"), "basic " + b64("main token:")),
        ("Basic " + b64(f"{JWT}:x-oauth-basic"), "Basic " + b64("eyJ.real.jwt:x-oauth-basic")),
        ("Basic " + b64(f"üser:{JWT}"), "Basic " + b64("üser:eyJ.real.jwt")),
        ("Basic " + b64(f":{MAIN}"), "Basic " + b64(":main token")),
        (b64(f"root:{MAIN}"), b64("root:main token")),
        (b64(f"xx:{MAIN}"), b64("xx:main token")),
        (b64(f"xxx:{MAIN}").rstrip("="), b64("xxx:main token")),
    ],
)
def test_a_credential_in_a_header_is_the_whole_of_it(value: str, sent: str) -> None:
    assert in_header("Authorization", value)[0] == sent
    assert in_header("X-Auth", value)[0] == sent


@pytest.mark.parametrize(
    "value",
    [
        OTHER,
        MAIN[:-1],
        MAIN + "x",
        "x" + MAIN,
        MAIN.upper(),
        f"{MAIN} {MAIN}",
        f"{MAIN},{MAIN}",
        f"{MAIN} x",
        f"Bearer {MAIN} x",
        f"Bearer {MAIN}, Bearer x",
        f"Bearer x {MAIN}",
        f"Bearer: {MAIN}",
        f"Bearer {MAIN}x",
        f'Bearer "{MAIN}"',
        f"https://evil.test/{MAIN}",
        f"/{MAIN}",
        f"note:{MAIN}",
        f'{{"token":"{MAIN}"}}',
        b64(json.dumps({"token": MAIN})),
        "Bearer " + b64(json.dumps({"token": MAIN})),
        "Bearer " + b64(f"ann:{MAIN}"),
        b64(MAIN),
        "Basic " + b64(MAIN),
        "Basic " + b64(f"{MAIN}:{MAIN}"),
        "Basic " + b64(f"ann:x{MAIN}"),
        "Basic " + b64(f"ann:{MAIN}:x"),
        "Basic " + b64(f"ann:{MAIN}\n"),
        "Basic " + b64(f"ann:{MAIN}") + " x",
        "Basic !" + b64(f"ann:{MAIN}"),
        f'MediaBrowser Client="{MAIN}", Device="x"',
        f'MediaBrowser Token="{MAIN}", Client="{MAIN}"',
        f'MediaBrowser Token="x{MAIN}"',
        f'MediaBrowser Token="{MAIN}", Client',
        f'MediaBrowser Token="{MAIN}',
        f'Digest username="{MAIN}", nonce="x"',
        f'Digest username="x", uri="{MAIN}"',
        f'Token csrf_token="{MAIN}"',
        f'Token token="Bearer {MAIN}"',
        f"a b c token={MAIN}",
    ],
)
def test_inside_other_text_of_a_header_nothing_is_translated(value: str) -> None:
    assert in_header("Authorization", value) == (value, ())
    assert in_header("X-Auth-Token", value) == (value, ())


@pytest.mark.parametrize(
    ("value", "token", "sent"),
    [
        (MAIN, "tökén", "tökén"),
        (MAIN, "a\r\nX-Evil: 1", None),
        (MAIN, "a\0", None),
        (MAIN, " a", None),
        (MAIN, "a ", None),
        (MAIN, "", None),
        (MAIN, "\ud800", None),
        (f"Bearer {MAIN}", "a\nb", None),
        (f'Token token="{MAIN}"', 'a"\\b', 'Token token="a\\"\\\\b"'),
        (f"Token token={MAIN}", 'a"\\b', 'Token token="a\\"\\\\b"'),
        (f"Token token={MAIN}", "a/b+c==", "Token token=a/b+c=="),
        (f"Token token={MAIN}", "a\nb", None),
        ("Basic " + b64(f"ann:{MAIN}"), "a:ü", "Basic " + b64("ann:a:ü")),
        ("Basic " + b64(f"ann:{MAIN}"), "a\tb", None),
        ("Basic " + b64(f"{MAIN}:x"), "a:b", None),
    ],
)
def test_a_token_arrives_in_a_header_as_it_is_or_not_at_all(
    value: str, token: str, sent: str | None
) -> None:
    assert in_header("Authorization", value, reader(token))[0] == (value if sent is None else sent)


@pytest.mark.parametrize(
    ("value", "token", "sent"),
    [
        (MAIN, "a.b-c", "a.b-c"),
        (f"access_token, {JWT}", "a.b-c", "access_token, a.b-c"),
        (f"graphql-ws,{MAIN}", "a.b-c", "graphql-ws,a.b-c"),
        (
            f"realtime, openai-insecure-api-key.{MAIN}, v1",
            "a",
            "realtime, openai-insecure-api-key.a, v1",
        ),
        (f"jwt-{JWT}", "a.b", "jwt-a.b"),
        (f"authorization_bearer_{JWT}", "a.b", "authorization_bearer_a.b"),
        (
            f"v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{b64url(JWT)}",
            "a.b",
            f"v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{b64url('a.b')}",
        ),
        (
            f"org.openhab.ws.accessToken.base64.{b64(JWT).rstrip('=')}",
            "a?",
            "org.openhab.ws.accessToken.base64.YT8",
        ),
        (f"org.openhab.ws.accessToken.base64.{b64(JWT).rstrip('=')}", "???", None),
        (f"org.openhab.ws.accessToken.base64.{b64(JWT).rstrip('=')}", "\ud800", None),
        (f"org.openhab.ws.accessToken.base64.{b64('x' + JWT).rstrip('=')}", "a", None),
        # Browsers refuse such a protocol, so the page must have encoded it
        (MAIN, "a/b=", "a%2Fb%3D"),
        (f"{MAIN}, {MAIN}", "a", None),
        (f"chat {MAIN}", "a", None),
        (f"Bearer -{MAIN}", "a", None),
        (f"chat.{MAIN}", "a", None),
        (f"token.x{MAIN}", "a", None),
        (f"{MAIN}.x", "a", None),
        (f"{'a-' * 9}token-{MAIN}", "a", None),
        (b64url(JWT), "a", None),
        (f"header-{b64url(json.dumps({'Authorization': JWT}))}", "a", None),
    ],
)
def test_a_subprotocol_may_be_a_credential(value: str, token: str, sent: str | None) -> None:
    given, places = in_header("Sec-WebSocket-Protocol", value, reader(token))
    assert given == (value if sent is None else sent)
    assert places == (() if sent is None else (("m", "Sec-WebSocket-Protocol"),))


@pytest.mark.parametrize(
    ("query", "sent", "place"),
    [
        (f"token={MAIN}", "token=main%20token", "token"),
        (f"a=%20&access_token={MAIN}&b=+", "a=%20&access_token=main%20token&b=+", "access_token"),
        (f"accessToken={JWT}", "accessToken=eyJ.real.jwt", "accessToken"),
        (f"auth-token={MAIN}", "auth-token=main%20token", "auth-token"),
        (f"ApiKey={MAIN}", "ApiKey=main%20token", "ApiKey"),
        (f"apikey={MAIN}&&=&x", "apikey=main%20token&&=&x", "apikey"),
        (f"API_KEY={MAIN}", "API_KEY=main%20token", "API_KEY"),
        (f"auth_secret={MAIN}", "auth_secret=main%20token", "auth_secret"),
        (f"id_token={ID}", "id_token=id%20token", "id_token"),
        (f"id_token_hint={ID}", "id_token_hint=id%20token", "id_token_hint"),
        (f"token={MAIN}%7E%7E%7E", "token=main%20token", "token"),
        (
            f"EIO=4&transport=websocket&token={MAIN}",
            "EIO=4&transport=websocket&token=main%20token",
            "token",
        ),
        *(
            (query, query, None)
            for query in [
                f"q={MAIN}",
                f"search={MAIN}",
                f"url=https%3A%2F%2Fevil.test%2F{MAIN}",
                f"filter=token%3D{MAIN}",
                f"tag={MAIN}",
                f"name={MAIN}",
                f"callback={MAIN}",
                f"redirect_uri={MAIN}",
                f"state={MAIN}",
                f"csrf_token={MAIN}",
                f"push_token={MAIN}",
                f"webhook_token={MAIN}",
                f"id_token_hint={MAIN}",
                f"token={REFRESH}",
                f"refresh_token={REFRESH}",
                f"renewalTicket={REFRESH}",
                f"access_token={REFRESH}",
                f"token={OTHER}",
                f"token={MAIN}x",
                f"token=x{MAIN}",
                f"token={MAIN}+{MAIN}",
                f"token={MAIN}&token={MAIN}",
                f"token=mine&token={MAIN}",
                f"tok%65n=mine&token={MAIN}",
                f"token=Bearer%20{MAIN}",
                f"token=Bearer+{MAIN}",
                f"token[]={MAIN}",
                f"a[token]={MAIN}",
                f"{MAIN}",
                f"{MAIN}=token",
                f"token={MAIN};x",
                f"token==%3D{MAIN}",
                f"token={MAIN.replace('-', '%2D')}",
            ]
        ),
    ],
)
@pytest.mark.parametrize("path_too", [False, True])
def test_in_the_query(query: str, sent: str, place: str | None, path_too: bool) -> None:
    target = "/a%20b?" + query
    translated, places = translate_target(target, path_too=path_too, read=READ)
    assert translated == "/a%20b?" + sent
    assert [told for _, told in places] == ([f"query {place}"] if place else [])
    assert place or translated is target


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (f"/sessions/{MAIN}", "/sessions/main%20token"),
        (f"/sessions/{REFRESH}", "/sessions/refresh%20token"),
        (f"/sessions/{MAIN}/?a={MAIN}", f"/sessions/main%20token/?a={MAIN}"),
        (f"/a/{PADDED.replace('~', '%7E')}", "/a/main%20token"),
        (f"/a/{MAIN}?token={MAIN}", "/a/main%20token?token=main%20token"),
        *(
            (target, target)
            for target in [
                f"/a/x{MAIN}",
                f"/a/{MAIN}.png",
                f"/a/{MAIN};v=1",
                f"/a/{MAIN}/b/{MAIN}",
                f"/a/token={MAIN}",
                f"http://{MAIN}/",
                f"{MAIN}",
                f"/a/{OTHER}",
                f"/a/u:{MAIN}",
            ]
        ),
    ],
)
def test_in_the_path_of_a_logout(target: str, sent: str) -> None:
    assert translate_target(target, path_too=True, read=READ)[0] == sent
    if "?token" not in target:
        assert translate_target(target, path_too=False, read=READ) == (target, ())


@pytest.mark.parametrize(
    ("token", "sent"),
    [("a/../b?c#d", "/a/a%2F..%2Fb%3Fc%23d"), ("ü", "/a/%C3%BC"), ("..", None), ("\udc80", None)],
)
def test_no_token_changes_where_a_path_leads(token: str, sent: str | None) -> None:
    target = f"/a/{MAIN}"
    read = reader(token)
    assert translate_target(target, path_too=True, read=read)[0] == (sent or target)


JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def multipart(*parts: str, end: str = "--b--\r\n") -> str:
    return "".join(f"--b\r\n{part}\r\n" for part in parts) + end


def field(name: str, value: str, more: str = "", head: str = "") -> str:
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n{head}\r\n{value}'


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (f'{{"token":"{MAIN}"}}', '{"token":"main token"}'),
        (f'{{"token":"{REFRESH}"}}', '{"token":"refresh token"}'),
        (f'{{"refreshToken":"{REFRESH}"}}', '{"refreshToken":"refresh token"}'),
        (f'{{"refresh_token":"{REFRESH}"}}', '{"refresh_token":"refresh token"}'),
        (f'{{"renewal_ticket":"{REFRESH}"}}', '{"renewal_ticket":"refresh token"}'),
        (f'{{"access_token":"{MAIN}"}}', '{"access_token":"main token"}'),
        (f'{{"authSecret":"{MAIN}"}}', '{"authSecret":"main token"}'),
        (
            f'{{ "z" : 1e400 , "variables" : {{"token":\t"{JWT}", "n": 12345678901234567}} }}\n',
            '{ "z" : 1e400 , "variables" : {"token":\t"eyJ.real.jwt", "n": 12345678901234567} }\n',
        ),
        (f'{{"a":[1,{{"b":2}}],"ü\\"":"\\u00fc","token":"{MAIN}"}}', None),
        (f'{{"token":"{MAIN}","refresh_token":"{REFRESH}"}}', None),
        (f'{{"\\u0074oken":"{MAIN}"}}', '{"\\u0074oken":"main token"}'),
        (
            f'{{"token":"{MAIN.replace("-", chr(92) + "u002d")}"}}',
            f'{{"token":"{MAIN.replace("-", chr(92) + "u002d")}"}}',
        ),
        (f'{{"note":"{MAIN}","token":"{MAIN}"}}', f'{{"note":"{MAIN}","token":"main token"}}'),
        *(
            (body, body)
            for body in [
                f'{{"note":"{MAIN}"}}',
                f'{{"url":"https://evil.test/{MAIN}"}}',
                f'{{"webhook":{{"url":"{MAIN}"}}}}',
                f'{{"name":"{MAIN}","bio":"{MAIN}","tags":["{MAIN}"]}}',
                f'{{"push_token":"{MAIN}"}}',
                f'{{"refreshToken":"{MAIN}"}}',
                f'{{"access_token":"{REFRESH}"}}',
                f'{{"{MAIN}":"token"}}',
                f'{{"token":"x{MAIN}"}}',
                f'{{"token":"{MAIN} "}}',
                f'{{"token":"Bearer {MAIN}"}}',
                f'{{"token":"{MAIN}{MAIN}"}}',
                f'{{"token":["{MAIN}"]}}',
                f'{{"token":{{"value":"{MAIN}"}}}}',
                f'{{"a":{{"b":{{"token":"{MAIN}"}}}}}}',
                f'{{"a":[{{"token":"{MAIN}"}}]}}',
                f'[{{"token":"{MAIN}"}}]',
                f'"{MAIN}"',
                f'["token","{MAIN}"]',
                json.dumps({"token": json.dumps({"token": MAIN})}),
                f'{{"token":"a","token":"{MAIN}"}}',
                f'{{"token":"{MAIN}","tok\\u0065n":1}}',
                f'{{"a":{{"token":"{MAIN}"}},"a":1}}',
                f'{{"token":"{MAIN}"',
                f'{{"token":"{MAIN}"}} x',
                f'{{"token":"{MAIN}"}}{{"token":"{MAIN}"}}',
                f"{{'token':'{MAIN}'}}",
                f'{{"token":"{MAIN}",}}',
                f'/* {MAIN} */{{"a":1}}',
                f'{{"a":1}} // {MAIN}',
                f'{{"query":"mutation {{ logout(token: \\"{MAIN}\\") }}"}}',
                "[" * 100_000 + MAIN,
            ]
        ),
    ],
)
@pytest.mark.parametrize(
    "content_type",
    [
        JSON,
        "application/json; charset=UTF-8",
        "application/vnd.api+json",
        "text/plain",
        "text/json",
    ],
)
def test_in_json(body: str, sent: str | None, content_type: str) -> None:
    if sent is None:
        sent = body.replace(MAIN, "main token").replace(REFRESH, "refresh token")
    data = body.encode()
    translated, places = translate_body(content_type, data, READ)
    assert translated == sent.encode()
    assert (translated is data) == (not places)


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (f"token={MAIN}", "token=main%20token"),
        (
            f"grant_type=refresh_token&refresh_token={REFRESH}&a=%41",
            "grant_type=refresh_token&refresh_token=refresh%20token&a=%41",
        ),
        (
            f"token={REFRESH}&token_type_hint=refresh_token",
            "token=refresh%20token&token_type_hint=refresh_token",
        ),
        (f"session%5Btoken%5D={MAIN}", "session%5Btoken%5D=main%20token"),
        (f"session[token]={MAIN}", "session[token]=main%20token"),
        *(
            (body, body)
            for body in [
                f"note={MAIN}",
                f"a[b][token]={MAIN}",
                f"token[]={MAIN}",
                f"token=x{MAIN}",
                f"token=Bearer+{MAIN}",
                f"token={MAIN}&token=x",
                f"access_token={REFRESH}",
                f"{MAIN}=token",
            ]
        ),
    ],
)
def test_in_a_form(body: str, sent: str) -> None:
    data = body.encode()
    translated, places = translate_body(FORM, data, READ)
    assert translated == sent.encode()
    assert (translated is data) == (not places)
    assert translate_body("text/plain", data, READ) == (data, ())


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (multipart(field("token", MAIN)), multipart(field("token", "main token"))),
        (
            multipart(
                field("grant_type", "refresh_token"),
                field("refresh_token", REFRESH),
                field("client_id", "http://x/"),
            ),
            multipart(
                field("grant_type", "refresh_token"),
                field("refresh_token", "refresh token"),
                field("client_id", "http://x/"),
            ),
        ),
        (
            multipart(
                field("token", MAIN, head="Content-Type: text/plain; charset=utf-8\r\n"),
                end="--b--",
            ),
            multipart(
                field("token", "main token", head="Content-Type: text/plain; charset=utf-8\r\n"),
                end="--b--",
            ),
        ),
        *(
            (body, body)
            for body in [
                multipart(field("note", MAIN)),
                multipart(field("token", MAIN, more='; filename="a.txt"')),
                multipart(field("token", MAIN, more="; filename*=UTF-8''a")),
                multipart(field("token", "x", more=f'; filename="{MAIN}"')),
                multipart(field(MAIN, "token")),
                multipart(field("token", MAIN, head="X-Meta-Token: 1\r\n")),
                multipart(field("token", "x", head=f"X-Token: {MAIN}\r\n")),
                multipart(field("token", "x", head=f"Content-Type: text/plain; token={MAIN}\r\n")),
                multipart(field("token", MAIN, head="Content-Type: application/json\r\n")),
                multipart(field("token", MAIN, head="Content-Transfer-Encoding: 8bit\r\n")),
                multipart(field("token", MAIN + "\r\n")),
                multipart(field("token", "x" + MAIN)),
                multipart(field("token", MAIN), field("token", "x")),
                multipart(field("a", f"x\r\n--bc\r\n\r\n{MAIN}")),
                multipart(field("token", MAIN), end=""),
                multipart(field("token", MAIN), end=f"--b--\r\n{MAIN}"),
                "preamble\r\n" + multipart(field("token", MAIN)),
                multipart(field("token", MAIN)).replace("\r\n", "\n"),
                f"--b\r\ntoken\r\n{MAIN}\r\n--b--\r\n",
                f"--b--{MAIN}",
            ]
        ),
    ],
)
def test_in_a_multipart_form(body: str, sent: str) -> None:
    data = body.encode()
    for content_type in ("multipart/form-data; boundary=b", 'Multipart/Form-Data; boundary="b"'):
        translated, places = translate_body(content_type, data, READ)
        assert translated == sent.encode()
        assert (translated is data) == (not places)
    assert translate_body("multipart/form-data", data, READ) == (data, ())


@pytest.mark.parametrize(
    ("content_type", "body", "token", "sent"),
    [
        (JSON, f'{{"token":"{MAIN}"}}', 'a"\\\n\ud800ü', '{"token":"a\\"\\\\\\n\\ud800\\u00fc"}'),
        (FORM, f"token={MAIN}", "a&b=c+ü", "token=a%26b%3Dc%2B%C3%BC"),
        (FORM, f"token={MAIN}", "\ud800", f"token={MAIN}"),
        (
            "multipart/form-data; boundary=b",
            multipart(field("token", MAIN)),
            "ü--b",
            multipart(field("token", "ü--b")),
        ),
        (
            "multipart/form-data; boundary=b",
            multipart(field("token", MAIN)),
            "a\r\n--b--",
            multipart(field("token", MAIN)),
        ),
        (
            "multipart/form-data; boundary=b",
            multipart(field("token", MAIN)),
            "a\nb",
            multipart(field("token", MAIN)),
        ),
        (
            "multipart/form-data; boundary=b",
            multipart(field("token", MAIN)),
            "a\rb",
            multipart(field("token", MAIN)),
        ),
        (
            "multipart/form-data; boundary=b",
            multipart(field("token", MAIN)),
            "\ud800",
            multipart(field("token", MAIN)),
        ),
    ],
)
def test_a_token_arrives_in_a_body_as_it_is(
    content_type: str, body: str, token: str, sent: str
) -> None:
    assert translate_body(content_type, body.encode(), reader(token))[0] == sent.encode()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", f'{{"token":"{MAIN}"}}'.encode()),
        ("image/png", f'{{"token":"{MAIN}"}}'.encode()),
        ("text/html", f'{{"token":"{MAIN}"}}'.encode()),
        ("application/xml", f"<token>{MAIN}</token>".encode()),
        ("application/json; charset=utf-16", f'{{"token":"{MAIN}"}}'.encode()),
        ("application/json; charset=shift_jis", f'{{"token":"{MAIN}"}}'.encode()),
        (JSON, f'{{"a":"\xff","token":"{MAIN}"}}'.encode("latin-1")),
        (JSON, f'{{"token":"{MAIN}","a":"{"x" * (1 << 20)}"}}'.encode()),
    ],
)
def test_what_is_no_such_body_stays(content_type: str, body: bytes) -> None:
    translated, places = translate_body(content_type, body, READ)
    assert translated is body
    assert places == ()


def test_what_is_told_of_a_body_is_the_slot_and_the_member() -> None:
    body = f'{{"data":{{"token":"{MAIN}"}},"refreshToken":"{REFRESH}"}}'.encode()
    assert translate_body(JSON, body, READ)[1] == (
        ("m", "body token"),
        ("r", "body refreshToken"),
    )


@pytest.mark.parametrize(
    ("message", "names"),
    [
        # Home Assistant, Directus, Node-RED, Parse LiveQuery, OctoPrint
        ({"type": "auth", "access_token": MAIN}, ["access_token"]),
        ({"type": "auth", "renewal_ticket": REFRESH}, ["renewal_ticket"]),
        ({"type": "auth", "refresh_token": REFRESH}, ["refresh_token"]),
        ({"auth": MAIN}, ["auth"]),
        ({"op": "connect", "applicationId": "a", "authSecret": MAIN}, ["authSecret"]),
        ({"op": "subscribe", "requestId": 1, "authSecret": MAIN}, ["authSecret"]),
        ({"auth": f"ann@example.test:{MAIN}"}, ["auth"]),
        # graphql-transport-ws
        ({"type": "connection_init", "payload": {"authToken": JWT}}, ["authToken"]),
        (
            {"type": "connection_init", "payload": {"Authorization": f"Bearer {JWT}"}},
            ["Authorization"],
        ),
        (
            {"type": "connection_init", "payload": {"headers": {"Authorization": f"Bearer {JWT}"}}},
            ["Authorization"],
        ),
        ({"type": "connection_init", "payload": {"headers": {"X-Api-Key": MAIN}}}, ["X-Api-Key"]),
        # SocketCluster, Phoenix and Supabase
        ({"event": "#handshakeConnect", "data": {"authToken": JWT}, "cid": 1}, ["authToken"]),
        (["1", "1", "room:1", "phx_join", {"token": MAIN}], ["token"]),
        ([None, "1", "room:1", "phx_join", {"access_token": MAIN}], ["access_token"]),
        ({"topic": "a", "event": "phx_join", "payload": {"access_token": JWT}}, ["access_token"]),
        (
            {"topic": "a", "event": "access_token", "payload": {"access_token": JWT}},
            ["access_token"],
        ),
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_in_messages_that_say_they_connect(message: object, names: list[str], before: bool) -> None:
    text = json.dumps(message)
    translated, places = translate_message(text, translated_before=before, read=READ)
    sent = text.replace(JWT, "eyJ.real.jwt").replace(MAIN, "main token")
    assert translated == sent.replace(REFRESH, "refresh token")
    assert [told for _, told in places] == [f"message {name}" for name in names]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (f'40{{"token":"{MAIN}"}}', '40{"token":"main token"}'),
        (f'40/admin,{{"token":"{MAIN}"}}', '40/admin,{"token":"main token"}'),
        (f'42["authenticate",{{"token":"{MAIN}"}}]', '42["authenticate",{"token":"main token"}]'),
        (f'42/admin,17["auth",{{"token":"{MAIN}"}}]', '42/admin,17["auth",{"token":"main token"}]'),
        (f'3probe\x1e40{{"token":"{MAIN}"}}', '3probe\x1e40{"token":"main token"}'),
        (f'{{"type":"auth","token":"{MAIN}"}}\x1e', '{"type":"auth","token":"main token"}\x1e'),
        (
            json.dumps([json.dumps({"auth": f"ann:{MAIN}"})]),
            json.dumps([json.dumps({"auth": "ann:main token"})]),
        ),
        (
            f"CONNECT\naccept-version:1.2\nAuthorization:Bearer {MAIN}\n\n\0",
            "CONNECT\naccept-version:1.2\nAuthorization:Bearer main token\n\n\0",
        ),
        (f"STOMP\r\npasscode:{MAIN}\r\n\r\n\0", "STOMP\r\npasscode:main token\r\n\r\n\0"),
        (
            json.dumps([f"CONNECT\nX-Auth-Token:{MAIN}\n\n\0"]),
            json.dumps(["CONNECT\nX-Auth-Token:main token\n\n\0"]),
        ),
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_in_the_framing_of_messages(text: str, sent: str, before: bool) -> None:
    assert translate_message(text, translated_before=before, read=READ)[0] == sent


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (f'{{"id":1,"token":"{MAIN}"}}', '{"id":1,"token":"main token"}'),
        (f'{{"connect":{{"token":"{MAIN}"}},"id":1}}', '{"connect":{"token":"main token"},"id":1}'),
        (f'42["hello",{{"token":"{MAIN}"}}]', '42["hello",{"token":"main token"}]'),
        (f'42["login",{{"token":"{MAIN}"}}]', '42["login",{"token":"main token"}]'),
        (f'{{"type":"login","token":"{MAIN}"}}', '{"type":"login","token":"main token"}'),
        (f'{{"op":2,"d":{{"token":"{MAIN}"}}}}', '{"op":2,"d":{"token":"main token"}}'),
        (f'{{"a":1,"headers":{{"X-Auth-Token":"{MAIN}"}}}}', None),
        (f'{{"auth":{{"token":"{MAIN}"}}}}', None),
        (f'{{"t":1700000000,"id":{"9" * 5000},"token":"{MAIN}"}}', None),
        (f'{{"action":"sign-in","token":"{MAIN}"}}', None),
    ],
)
def test_the_first_message_need_not_say_so(text: str, sent: str | None) -> None:
    sent = sent or text.replace(MAIN, "main token")
    assert translate_message(text, translated_before=False, read=READ)[0] == sent
    assert translate_message(text, translated_before=True, read=READ) == (text, ())


def test_in_one_frame_too_the_first_message_is_the_first() -> None:
    text = f'{{"token":"{MAIN}"}}\x1e{{"token":"{MAIN}"}}'
    translated, places = translate_message(text, translated_before=False, read=READ)
    assert translated == f'{{"token":"main token"}}\x1e{{"token":"{MAIN}"}}'
    assert len(places) == 1


@pytest.mark.parametrize(
    "text",
    [
        MAIN,
        f"token={MAIN}",
        f"Bearer {MAIN}",
        f'"{MAIN}"',
        f'["{MAIN}"]',
        f'{{"type":"auth","text":"{MAIN}"}}',
        f'{{"type":"auth","token":"say {MAIN} x"}}',
        f'{{"type":"auth","token":"x{MAIN}"}}',
        f'{{"type":"auth","{MAIN}":"token"}}',
        f'{{"type":"auth","token":["{MAIN}"]}}',
        f'{{"type":"auth","list":[{{"token":"{MAIN}"}}]}}',
        f'[{{"token":"{MAIN}"}}]',
        f'{{"type":"auth","a":{{"b":{{"c":{{"token":"{MAIN}"}}}}}}}}',
        json.dumps({"type": "auth", "text": json.dumps({"token": MAIN})}),
        json.dumps(["a", {"b": json.dumps({"auth": MAIN})}]),
        json.dumps([json.dumps([json.dumps({"auth": MAIN})])]),
        f'{{"type":"auth","token":"{OTHER}"}}',
        f'{{"type":"auth","token":"{REFRESH}"}}',
        f'{{"type":"auth","token":"a","token":"{MAIN}"}}',
        f'{{"type":"auth","token":"{MAIN}"',
        f'40{{"text":"{MAIN}"}}',
        f'40["token","{MAIN}"]',
        f'42["message","{MAIN}"]',
        f'451-["token",{{"token":"{MAIN}"}}]',
        f"SEND\ndestination:/a\nAuthorization:{MAIN}\n\n{MAIN}\0",
        f"CONNECT\nhost:{MAIN}\n\n\0",
        json.dumps({"type": "auth", "auth": f"{'x' * 129}:{MAIN}"}),
        json.dumps({"type": "auth", "auth": f"ann:x:{MAIN}"}),
        json.dumps({"type": "auth", "auth": f"ann b:{MAIN}"}),
        f"CONNECT\nlogin:x\n\nAuthorization:{MAIN}\n\0",
        f"CONNECT\nAuthorization:x\nAuthorization:{MAIN}\n\n\0",
        f'{{"type":"auth","payload":{{"headers":{{"X-CSRF-Token":"{MAIN}"}}}}}}',
    ],
)
def test_in_no_other_text_of_a_message(text: str) -> None:
    for before in (False, True):
        translated, places = translate_message(text, translated_before=before, read=READ)
        assert translated is text
        assert places == ()


@pytest.mark.parametrize(
    "text",
    [
        f'{{"type":"chat","to":"x","data":{{"payload":{{"token":"{MAIN}"}}}}}}',
        f'{{"type":"chat","token":"{MAIN}"}}',
        f'{{"Type":"chat","token":"{MAIN}"}}',
        f'{{"type":"chat","type":"auth","token":"{MAIN}"}}',
        f'{{"type":"auth","event":"chat","token":"{MAIN}"}}',
        f'{{"action":"sendMessage","token":"{MAIN}"}}',
        f'{{"type":7,"token":"{MAIN}"}}',
        f'{{"type":{"9" * 5000},"token":"{MAIN}"}}',
        f'{{"type":2,"token":"{MAIN}"}}',
        f'{{"type":"start","payload":{{"variables":{{"token":"{MAIN}"}}}}}}',
        f' ["a",{{"token":"{MAIN}"}}]',
        f'{{"op":true,"token":"{MAIN}"}}',
        f'{{"type":"x","msg":"please connect","token":"{MAIN}"}}',
        f'{{"msg":"please connect","token":"{MAIN}"}}',
        f'{{"msg":"connect!  now","token":"{MAIN}"}}',
        f'{{"event":"user-connection-webhook","token":"{MAIN}"}}',
        f'{{"event":"webhook-auth","token":"{MAIN}"}}',
        f'{{"event":"chat:auth","token":"{MAIN}"}}',
        f'{{"type":"{"auth" + "-" * 40}","token":"{MAIN}"}}',
        f'{{"type":"auth","to":"x","token":"{MAIN}"}}',
        f'{{"type":"auth","room":1,"token":"{MAIN}"}}',
        f'{{"type":"auth","data":{{"target":"x","token":"{MAIN}"}}}}',
        f'{{"to":"x","token":"{MAIN}"}}',
        f'{{"token":"{MAIN}","text":"hello"}}',
        f'{{"data":{{"payload":{{"token":"{MAIN}"}}}}}}',
        f'{{"data":{{"token":"{MAIN}"}}}}',
        f'{{"topic":"a","event":"phx_join","room":1,"payload":{{"token":"{MAIN}"}}}}',
        f'42["chat",{{"token":"{MAIN}"}}]',
        f'42["chat",{{"type":"auth","token":"{MAIN}"}}]',
        f'["1","1","auth","new_msg",{{"token":"{MAIN}"}}]',
        json.dumps([json.dumps({"type": "chat", "token": MAIN})]),
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_a_message_that_says_something_else_or_is_sent_on_is_none(text: str, before: bool) -> None:
    translated, places = translate_message(text, translated_before=before, read=READ)
    assert translated is text
    assert places == ()


@pytest.mark.parametrize(
    "text",
    [
        f'{{"type":"chat","token":"{MAIN}"}}',
        f'{{"type":"login","token":"{MAIN}"}}',
        f'{{"type":"hello","token":"{MAIN}"}}',
        f'{{"op":2,"d":{{"token":"{MAIN}"}}}}',
        f'{{"type":"author","token":"{MAIN}"}}',
        f'{{"type":"disconnect","token":"{MAIN}"}}',
        f'{{"text":"auth","token":"{MAIN}"}}',
        f'{{"a":{{"type":"auth"}},"token":"{MAIN}"}}',
        f'{{"auth":"{MAIN}","text":"hello"}}',
        f'{{"op":"subscribe","query":{{"token":"{MAIN}"}}}}',
        f'{{"type":"subscribe","payload":{{"variables":{{"token":"{MAIN}"}}}}}}',
        f'42["chat",{{"token":"{MAIN}"}}]',
        f'42["chat",{{"type":"auth","token":"{MAIN}"}}]',
        f'42[["auth"],{{"token":"{MAIN}"}}]',
        f'["1","1","auth","new_msg",{{"token":"{MAIN}"}}]',
        json.dumps([json.dumps({"type": "chat", "token": MAIN})]),
    ],
)
def test_a_later_message_must_say_that_it_connects(text: str) -> None:
    translated, places = translate_message(text, translated_before=True, read=READ)
    assert translated is text
    assert places == ()


def test_a_stomp_header_holds_no_line_break() -> None:
    text = f"CONNECT\nAuthorization:{MAIN}\n\n\0"
    assert translate_message(text, translated_before=False, read=reader("a\nb")) == (text, ())


@pytest.mark.parametrize(
    ("method", "target", "polls"),
    [
        ("POST", "/socket.io/?EIO=4&transport=polling&t=abc&sid=x", True),
        ("POST", "/engine.io?transport=polling&EIO=4", True),
        ("POST", "/sockjs/000/abcdefgh/xhr_send", True),
        ("POST", "/sockjs/000/abcdefgh/xhr_send?t=1", True),
        ("GET", "/socket.io/?EIO=4&transport=polling&t=abc", False),
        ("POST", "/socket.io/?EIO=3&transport=polling", False),
        ("POST", "/socket.io/?EIO=4&transport=websocket", False),
        ("POST", "/socket.io/", False),
        ("POST", "/chats", False),
        ("POST", "/chats?q=EIO=4&transport=pollings", False),
    ],
)
def test_polling_is_known_by_its_address(method: str, target: str, polls: bool) -> None:
    assert is_polling(method, target) == polls


def test_polling_carries_messages_that_connect() -> None:
    body = f'40{{"token":"{MAIN}"}}\x1e42["chat",{{"token":"{MAIN}"}}]'.encode()
    translated, places = translate_polling(body, READ)
    assert translated == f'40{{"token":"main token"}}\x1e42["chat",{{"token":"{MAIN}"}}]'.encode()
    assert places == (("m", "message token"),)


@pytest.mark.parametrize("body", [b"42[]", b"\xff" + MAIN.encode(), f'42["a","{MAIN}"]'.encode()])
def test_other_polling_stays(body: bytes) -> None:
    translated, places = translate_polling(body, READ)
    assert translated is body
    assert places == ()


@pytest.mark.parametrize(
    "path",
    "/auth/refresh /auth/refresh?x=1 /refresh-token /refreshToken /refreshtoken /refresh"
    " /api/token/refresh/ /oauth/revoke /oauth2/revocation /oauth/revoke_token /oauth2/introspect"
    " /logout /users/log-out /users/sign_out.json /logoff /signOut /connect/endsession /auth/renew"
    " /api/token/verify /api/token/verify/ /api/token/blacklist/ /auth/jwt/verify/"
    # Home Assistant, GoTrue, Keycloak, djoser, Directus, Medusa, Payload, FusionAuth, PocketBase
    " /auth/revoke /auth/v1/logout /realms/shop/protocol/openid-connect/logout"
    " /realms/my-projects/protocol/openid-connect/revoke /auth/jwt/refresh /auth/logout"
    " /auth/token/refresh /api/users/refresh-token /api/jwt/refresh"
    " /api/collections/users/auth-refresh /api/collections/notes/auth-refresh /api/auth/refresh"
    " /wp-json/jwt-auth/v1/token/validate /api/account/refresh-token /api/user/token-refresh/"
    " /api-token-refresh/ /oauth2/default/v1/revoke /oauth/v2/revoke /identity/refresh"
    " /_matrix/client/v3/refresh /api/auth/revoke-other-sessions /dj-rest-auth/logout/"
    " /rest/auth/1/logout /api/auth/logoutall/ /auth/logout/all /auth/refresh/token"
    " /v1/refresh /myapp/api/v2/auth/refresh /index.php/logout /users/1/logout".split(),
)
def test_whose_bodies_may_have_credentials(path: str) -> None:
    assert may_have_credentials_in_body("POST", path)
    assert says_what_it_does(["Accept"], path)


@pytest.mark.parametrize(
    "path",
    "/ /login /webhooks /datasources /users/me /chats/42/messages /refreshments"
    " /blog/outlook /emails/verify /search?q=refresh"
    " /verify /auth/verify /token/verify/email"
    # A page chooses names in stores, tags and keys
    " /storage/v1/object/public/refresh /storage/v1/object/auth/refresh /tags/logout /kv/a/logout"
    " /v1/kv/auth/refresh /v1/secret/data/auth/refresh /buckets/a/refresh /objects/refresh"
    " /objects/v1/refresh /OBJECTS/auth/refresh /oBJECTs/auth/refresh /rest/v1/refresh"
    " /gists/logout /collections/users/refresh /api/collections/users/records/refresh"
    " /repos/a/auth/refresh /api/anything/refresh /hooks/refresh /hooks/1/refresh /files/logout"
    " /projects/1/auth/refresh /documents/refresh/token /notes/logout/all /graphql/logout"
    " /tags/auth-refresh /settings/auth/refresh"
    # Not the whole of the last segment, or not the last
    " /hooks/on_logout /on_logout /auth/on-logout /hooks/refresh-webhook /refresh-webhook"
    " /users/1/logoutUrl /auth/refresh-url /token/verify/hooks /logout/hooks /refresh/items"
    " /auth/refresh.hooks /auth/refresh/42 /auth/revoked /auth/logouts"
    " /projects/1/hooks?grant_type=refresh_token /hooks?grant_type=x".split(),
)
def test_whose_bodies_have_none(path: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert not may_have_credentials_in_body(method, path)


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("post", "/auth/refresh", True),
        ("DELETE", "/auth/logout", True),
        ("DELETE", "/session", True),
        ("DELETE", "/auth/token", True),
        ("PUT", "/auth/logout", True),
        ("PATCH", "/auth/revoke", True),
        ("PUT", "/logout", False),
        ("PUT", "/auth/refresh", True),
        ("PUT", "/auth/session", False),
        ("DELETE", "/objects/session", False),
        ("DELETE", "/objects/1", False),
        ("GET", "/auth/refresh", False),
        ("QUERY", "/auth/refresh", False),
    ],
)
def test_a_method_that_may_put_something_somewhere_has_none(
    method: str, path: str, may: bool
) -> None:
    assert may_have_credentials_in_body(method, path) == may


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/token", True),
        ("/auth/token", True),
        ("/oauth/token", True),
        ("/oauth/access_token", True),
        ("/v1/token?key=a", True),
        ("/auth/v1/token", True),
        ("/api/token/", True),
        ("/realms/shop/protocol/openid-connect/token", True),
        ("/shop/oauth2/v2.0/token", True),
        ("/identity/connect/token", True),
        ("/login", True),
        ("/", False),
        ("/hooks", False),
        ("/projects/1/hooks", False),
        ("/users/5/token", False),
        ("/me/token", False),
        ("/devices/token", False),
        ("/push/token", False),
        ("/tokens", False),
        ("/token/hooks", False),
        ("/objects/token", False),
        ("/storage/v1/object/oauth/token", False),
        ("/webhook-token", False),
        ("/tokenUrl", False),
    ],
)
def test_a_grant_counts_at_a_token_endpoint(path: str, may: bool) -> None:
    assert may_have_credentials_in_body("POST", path, has_grant=True) == may
    assert not may_have_credentials_in_body("PUT", path, has_grant=True)
    assert not may_have_credentials_in_body("POST", path)
    path += "&" if "?" in path else "?"
    assert may_have_credentials_in_body("POST", path + "grant_type=refresh_token") == may
    assert may_have_credentials_in_body("POST", path + "a=b&grant_type=password") == may
    for query in (
        "grant_type=x",
        "grant_type=password&grant_type=x",
        "Grant_type=password",
        "grant_type=",
        "a=grant_type=password",
        "xgrant_type=password",
    ):
        assert not may_have_credentials_in_body("POST", path + query)


@pytest.mark.parametrize(
    ("names", "target", "does"),
    [
        (["Accept", "Access-Control-Request-Method", "Origin"], "/auth/Refresh/?a=b", True),
        (["X-Forwarded-Host", "X-Original-Host"], "/", True),
        (["X-HTTP-Method-Override"], "/auth/refresh", False),
        (["accept", "x-http-method"], "/auth/refresh", False),
        (["X_METHOD_OVERRIDE"], "/auth/refresh", False),
        (["X-Original-URL"], "/auth/refresh", False),
        (["X-Rewrite-URL"], "/auth/refresh", False),
        *(
            ([], target, False)
            for target in [
                "/objects/x?_method=PUT",
                "/objects/x?a=b&%5Fmethod=PUT",
                "/objects/x?x-http-method-override=PUT",
                "/hooks/a%2frefresh",
                "/hooks/a%252frefresh",
                "/hooks/%72efresh",
                "/hooks;/refresh",
                "/hooks/;/refresh",
                "/hooks/refresh;x",
                "/refresh/..%2fhooks",
                "/refresh/../hooks",
                "/./refresh",
                "/hooks\\refresh",
                "/hooks//refresh",
                "/auth/refresh#x",
                "/auth/refresh//",
                "/auth/refresh%20",
                "auth/refresh",
                "*",
                "/" + "a" * 5000,
            ]
        ),
    ],
)
def test_nothing_is_translated_where_servers_may_read_another_request(
    names: list[str], target: str, does: bool
) -> None:
    assert says_what_it_does(names, target) == does


@pytest.mark.parametrize(
    ("names", "may"),
    [
        *(
            ([name], True)
            for name in (
                "refreshToken tokenRefresh auth_refresh auth_logout logout verifyToken signOut"
                " refreshJwtAuthToken externalRefresh externalLogout revokeCustomerToken"
                " refreshAccessToken userLogout logoutUser renewToken revokeToken"
            ).split()
        ),
        (["revokeToken", "logout"], True),
        (["createWebhook"], False),
        (["logout", "createWebhook"], False),
        (["logout", ""], False),
        ([""], False),
        (["setLogoutUrl"], False),
        (["createRefreshHook"], False),
        (["refreshFeed"], False),
        (["onLogout"], False),
        (["verifyEmail"], False),
        (["token"], False),
    ],
)
def test_of_a_graphql_request_every_operation_must_be_about_tokens(
    names: list[str], may: bool
) -> None:
    for path in ("/graphql", "/api/graphql", "/v1/graphql/", "/graphql/system", "/", "/shop-api"):
        assert may_have_credentials_in_body("POST", path, operations=names) == may
        assert may_have_credentials_in_body("POST", f"{path}?api_key=x", operations=names) == (may)
    for path in ("/hooks", "/objects/graphql", "/auth/refresh", "/graphql/logout", "/graphql/x"):
        assert not may_have_credentials_in_body("POST", path, operations=names)
    # express-graphql and others take these before those of the body
    for query in ("query=mutation%7Ba%7D", "qu%65ry=", "Query=", "id=1", "extensions={}"):
        target = f"/graphql?{query}"
        assert not may_have_credentials_in_body("POST", target, operations=names)
    assert not may_have_credentials_in_body("PUT", "/graphql", operations=names)


CREATE = "createHook(token: $t) { id }"


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ("mutation { logout }", ["logout"]),
        ('mutation R($t: String! = "a") { a: refreshToken(token: $t) { x } }', ["refreshToken"]),
        ("mutation($t: [T!]) @a(b: {c: -1.5}) { # x\n logout @skip(if: false) }", ["logout"]),
        ("mutation { refreshToken { ...F } } fragment F on T { access }", ["refreshToken"]),
        ("mutation { logout } query { me }", ["logout", "me"]),
        ("mutation { logout: createHook(token: $t) { id } }", ["createHook"]),
        *(
            (document % CREATE, ["logout", "createHook"])
            for document in [
                "mutation { logout %s }",
                "mutation { logout ...on Mutation { %s } }",
                "mutation { logout ... { %s } }",
                "mutation { logout ... @include(if: true) { %s } }",
                "mutation { logout ... @#\ninclude(if: true) { %s } }",
                "mutation { logout ... on Mutation @a { ... { %s } } }",
                "mutation { logout ...F } fragment F on Mutation { %s }",
                "mutation { logout ...F } fragment F on M { ...G } fragment G on M { %s }",
                "mutation { logout ...F } fragment F on M { %s } fragment F on M { logout }",
                "mutation { logout #\r%s\n }",
                'mutation { logout(a: "}") %s }',
            ]
        ),
        ('mutation { logout(a: """\\\\""") }', ["logout", ""]),
        ('mutation { logout(a: "\r") }', ["logout", ""]),
        ("mutation { logout ; }", ["logout", ""]),
        ("mutation { logout \u00a0 }", ["logout", ""]),
        ("", [""]),
        ("fragment F on M { logout }", [""]),
    ],
)
def test_which_operations_a_graphql_document_asks_for(document: str, names: list[str]) -> None:
    body = json.dumps({"query": document, "variables": {"t": MAIN}}).encode()
    assert set(operations(body)) == set(names)


ASK = '"query":"mutation{logout}"'


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (f'{{{ASK},"operationName":"A","variables":{{}},"extensions":null}}', ["logout"]),
        (f'{{{ASK},"extensions":{{"clientLibrary":{{"name":"a"}}}}}}', ["logout"]),
        (f"[{{{ASK}}},{{{ASK}}}]", ["logout", "logout"]),
        ('{"a":"query"}', []),
        (f'{{"a":{{{ASK}}}}}', []),
        ("[]", []),
        ("query=mutation{logout}", []),
        (f"{{{ASK},{ASK}}}", ["logout", "logout", ""]),
        (f'{{{ASK},"Query":"mutation{{createHook}}"}}', ["logout", "createHook", ""]),
        (f'{{{ASK},"QUERY":1}}', ["logout", ""]),
        (f'{{{ASK},"variables":{{}},"variables":{{}}}}', ["logout", ""]),
        (f'{{{ASK},"doc_id":"1"}}', ["logout", ""]),
        (f'{{{ASK},"id":"1"}}', ["logout", ""]),
        (f'{{{ASK},"token":"1"}}', ["logout", ""]),
        (f'{{{ASK},"extensions":{{"persistedQuery":{{"sha256Hash":"a"}}}}}}', ["logout", ""]),
        (f'{{{ASK},"extensions":"persistedQuery"}}', ["logout", ""]),
        (f'[{{{ASK}}},{{"id":"1"}}]', ["logout", ""]),
        (f"[{{{ASK}}},1]", ["logout", ""]),
        ('{"qu\\u0065ry":"mutation{createHook}","token":"a"}', ["createHook", ""]),
        ('{"Query":"mutation{logout}"}', ["logout", ""]),
        ('{"query":1}', [""]),
        (f'{{{ASK},"n":{"9" * 5000}}}', ["logout", ""]),
        ('{"query":null,"id":"a"}', [""]),
    ],
)
def test_one_operation_more_where_servers_may_run_another(body: str, names: list[str]) -> None:
    assert list(operations(body.encode())) == names


@pytest.mark.parametrize(
    ("body", "translates"),
    [
        (f'{{{ASK},"variables":{{"token":"{MAIN}"}}}}', True),
        (f'{{{ASK},"token":"{MAIN}"}}', False),
        (f'{{{ASK},"extensions":{{"token":"{MAIN}"}}}}', False),
    ],
)
def test_of_a_graphql_request_its_variables_are_translated(body: str, translates: bool) -> None:
    translated = translate_body(JSON, body.encode(), READ, is_graphql=True)[0].decode()
    assert translated == (body.replace(MAIN, "main token") if translates else body)


def test_a_graphql_request_is_json() -> None:
    body = f"token={MAIN}".encode()
    assert translate_body(FORM, body, READ, is_graphql=True)[0] is body


@pytest.mark.parametrize(
    ("content_type", "body", "asks"),
    [
        (FORM, "grant_type=refresh_token&a=b", True),
        (FORM, "a=b&grant_type=password", True),
        (FORM, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange", True),
        (FORM, "action=revoke&token=x", True),
        (JSON, '{"grant_type":"refresh_token"}', True),
        ("multipart/form-data; boundary=b", multipart(field("grant_type", "refresh_token")), True),
        ("multipart/form-data; boundary=b", multipart(field("action", "revoke")), True),
        (FORM, "grant_type=", False),
        (FORM, "grant_type=x", False),
        (FORM, "grant_type=x&action=revoke", False),
        (FORM, "grant_type=password&grant_type=x", False),
        (JSON, '{"grant_type":"x"}', False),
        (JSON, '{"grant_type":"password","grant_type":"refresh_token"}', False),
        (FORM, "a=grant_type", False),
        (FORM, "action=revoked", False),
        (FORM, "reaction=revoke", False),
        (JSON, '{"a":{"grant_type":"refresh_token"}}', False),
        (JSON, '{"grant_type":1}', False),
        (JSON, "grant_type", False),
        (JSON, '["grant_type"]', False),
        ("image/png", "grant_type=password", False),
        ("application/json; charset=utf-16", '{"grant_type":"password"}', False),
        ("multipart/form-data; boundary=b", multipart(field("a", "grant_type")), False),
        ("multipart/form-data", multipart(field("grant_type", "refresh_token")), False),
    ],
)
def test_which_bodies_ask_for_a_grant(content_type: str, body: str, asks: bool) -> None:
    assert asks_for_a_grant(content_type, body.encode()) == asks


@pytest.mark.parametrize(
    ("method", "path", "names"),
    [
        ("DELETE", f"/tokens/{MAIN}", True),
        ("delete", f"/auth/sessions/{JWT}", True),
        ("POST", f"/logout/{MAIN}", True),
        ("GET", f"/sign-out/{MAIN}", True),
        ("POST", f"/tokens/{MAIN}/revoke", True),
        ("POST", f"/tokens/{MAIN}/logout", True),
        ("POST", f"/revokeToken/{MAIN}", True),
        ("POST", f"/auth/revoke/{MAIN}", True),
        ("POST", f"/tokens/{MAIN}", False),
        ("GET", f"/files/{MAIN}", False),
        ("PUT", f"/profiles/{MAIN}?logout", False),
        ("POST", f"/refresh/{MAIN}", False),
        ("PUT", f"/objects/{MAIN}/logout", False),
        ("PUT", f"/logout/objects/{MAIN}", False),
        ("PUT", f"/objects/logout/{MAIN}", False),
        ("POST", f"/on_logout/{MAIN}", False),
        ("DELETE", f"/objects/{MAIN}", False),
        ("DELETE", f"/storage/v1/object/a/{MAIN}", False),
    ],
)
def test_whose_path_may_name_a_session(method: str, path: str, names: bool) -> None:
    assert path_names_session(method, path) == names


@pytest.mark.parametrize(
    ("method", "path", "navigation", "ends"),
    [
        ("POST", "/logout", False, True),
        ("POST", "/auth/log-out/", False, True),
        ("POST", "/signout?all=1", False, True),
        ("POST", "/sign_out", False, True),
        ("POST", "/signOut", False, True),
        ("PUT", "/logoff", False, True),
        ("DELETE", "/users/sign_out.json", False, True),
        ("DELETE", "/session", False, True),
        ("DELETE", "/v1/account/sessions/current", False, True),
        ("GET", "/logout", True, True),
        ("GET", "/logout", False, False),
        ("HEAD", "/logout", False, False),
        ("OPTIONS", "/logout", True, False),
        ("POST", "/logout-others", False, False),
        ("POST", "/logout/others", False, False),
        ("POST", "/sessions/logout-all", False, False),
        ("DELETE", "/sessions/42", False, False),
        ("DELETE", "/sessions", False, False),
        ("DELETE", "/current", False, False),
        ("POST", "/tokens/5/revoke", False, False),
        ("DELETE", "/tokens/5", False, False),
        ("POST", "/session", False, False),
        ("GET", "/session", True, False),
        ("POST", "/posts/how-to-logout", False, False),
        ("POST", "/", False, False),
        ("POST", "/graphql?logout", False, False),
    ],
)
def test_what_logs_out(method: str, path: str, navigation: bool, ends: bool) -> None:
    assert is_logout(method, path, navigation=navigation) == ends


@pytest.mark.parametrize(
    ("names", "ends"),
    [(["logout"], True), (["signOut"], True), (["logoutOthers"], False), (["me"], False)],
)
def test_which_operation_logs_out(names: list[str], ends: bool) -> None:
    assert is_logout("POST", "/graphql", operations=names) == ends


@pytest.mark.parametrize(
    ("path", "revokes"),
    [
        ("/oauth/revoke", True),
        ("/oauth2/revocation", True),
        ("/tokens/x/revoke", True),
        ("/revoke/x", True),
        ("/api/token/blacklist/", True),
        ("/users/5/blacklist", False),
        ("/blacklist/tokens", False),
        ("/revoked", False),
        ("/logout", False),
    ],
)
def test_what_revokes(path: str, revokes: bool) -> None:
    assert is_revoke(path) == revokes
