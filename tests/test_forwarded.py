"""Which of the API's cookies scripts must not read, by name and by value; names that deceive."""

import pytest
from credentials.forwarded import is_nameless, must_be_httponly, with_httponly

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"

SECRET_NAMES = {
    "PHPSESSID": "PHP",
    "JSESSIONID": "Servlets",
    "JSESSIONIDSSO": "Tomcat's single sign-on",
    "SESSION": "Spring Session",
    "remember-me": "Spring Security",
    "connect.sid": "express-session",
    "express:sess": "cookie-session",
    "express:sess.sig": "cookie-session",
    "koa.sess": "koa-session",
    "koa.sess.sig": "koa-session",
    "ASP.NET_SessionId": "ASP.NET",
    ".ASPXAUTH": "ASP.NET forms authentication",
    ".AspNetCore.Session": "ASP.NET Core",
    "ASPSESSIONIDQQBTRSCA": "classic ASP",
    "CFTOKEN": "ColdFusion",
    "laravel_session": "Laravel",
    "remember_web_59ba36addc2b2f9401580f014c7f58ea4e30989d": "Laravel",
    "ci_session": "CodeIgniter",
    "REMEMBERME": "Symfony",
    "sf_session": "symfony 1",
    "CAKESESSID": "CakePHP 2",
    "sessionid": "Django",
    "session": "Flask, Starlette",
    "remember_token": "Flask-Login, Clearance",
    "fastapiusersauth": "FastAPI Users",
    "_gitlab_session": "GitLab",
    "_myapp_session": "Rails",
    "rack.session": "Rack",
    "remember_user_token": "Devise",
    "_session_id": "Rails before 3",
    "sb-access-token": "Supabase",
    "sb-refresh-token": "Supabase",
    "sb-abcdefghijkl-auth-token.0": "Supabase SSR",
    "next-auth.session-token": "NextAuth",
    "__Secure-next-auth.session-token": "NextAuth",
    "__Secure-authjs.session-token": "Auth.js",
    "better-auth.session_token": "Better Auth",
    "better-auth.session_data": "Better Auth",
    "__session": "Clerk, Remix, Firebase Hosting",
    "auth_session": "Lucia",
    "appSession": "nextjs-auth0",
    "auth0": "Auth0",
    "KEYCLOAK_SESSION": "Keycloak",
    "AUTH_SESSION_ID": "Keycloak",
    "KEYCLOAK_REMEMBER_ME": "Keycloak",
    "_oauth2_proxy": "OAuth2 Proxy",
    "CF_Authorization": "Cloudflare Access",
    "ory_kratos_session": "Ory Kratos",
    "directus_session_token": "Directus",
    "directus_refresh_token": "Directus",
    "payload-token": "Payload",
    "pb_auth": "PocketBase",
    "grafana_session": "Grafana",
    "AuthSession": "CouchDB",
    "MoodleSession": "Moodle",
    "SSESS0123456789abcdef": "Drupal over https",
    "SESS0123456789abcdef": "Drupal",
    "authToken": "many hand-written APIs",
    "accessToken": "many hand-written APIs",
    "access_token_cookie": "Flask-JWT-Extended",
    "sid": "Frappe, Fastify",
    "SID": "qBittorrent",
    "__Secure-1PSIDTS": "Google",
    "saassession": "made up",
}

OTHER_NAMES = {
    "csrftoken": "Django",
    "XSRF-TOKEN": "Laravel, Spring, Angular",
    "_csrf_token": "Phoenix and others",
    "_csrf": "csurf",
    "csrf_access_token": "Flask-JWT-Extended",
    "csrf_refresh_token": "Flask-JWT-Extended",
    "__Host-next-auth.csrf-token": "NextAuth",
    "__Host-authjs.csrf-token": "Auth.js",
    "CSRF-TOKEN": "Mantis and others",
    "session_xsrf": "made up",
    "sidebar_state": "shadcn/ui",
    "sidebar:state": "shadcn/ui",
    "sidebarCollapsed": "many",
    "SIDEBAR": "many",
    "theme": "many",
    "locale": "many",
    "NEXT_LOCALE": "Next",
    "i18n_redirected": "Nuxt",
    "i18next": "i18next",
    "django_language": "Django",
    "messages": "Django",
    "flash": "many",
    "_ga": "Google Analytics",
    "cookieconsent_status": "Cookie Consent",
    "president": "no framework's",
    "author": "no framework's",
    "authored": "no framework's",
    "authority": "no framework's",
    "comment_author_59ba36": "WordPress",
    "inside": "no framework's",
    "resident": "no framework's",
    "outside_air": "no framework's",
    "possessions": "no framework's",
    "assessment": "no framework's",
    "tokenizer": "no framework's",
    "timezone": "many",
    "cart": "many",
    "": "none",
}


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_cookie_named_for_a_session_is_not_for_scripts(name: str) -> None:
    assert must_be_httponly(name, "1", ())


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_any_other_cookie_is(name: str) -> None:
    assert not must_be_httponly(name, "1", ("another secret",))


@pytest.mark.parametrize("name", ["theme", "XSRF-TOKEN"])
@pytest.mark.parametrize(
    "value",
    [
        "s3cr3t/+ key",
        "s3cr3t%2F%2B%20key",
        "s3cr3t%2f%2b%20key",
        "s3cr3t%252F%252B%2520key",
        "id.s3cr3t/+ key.sig",
        "%7B%22t%22%3A%22s3cr3t%2F%2B%20key%22%7D",
        "abc",
        JWT,
        f"Bearer {JWT}",
        f"s%3A{JWT}.sig",
        "%7B%22t%22%3A%22" + JWT + "%22%7D",
        JWT.replace(".", "%2E"),
        "eyJlbmMiOiJBMjU2R0NNIn0..iv.text.tag",
        "eyAiYWxnIjogIm5vbmUiIH0.eyJzdWIiOiIxIn0.",
    ],
)
def test_a_cookie_that_holds_a_token_is_not_for_scripts(name: str, value: str) -> None:
    assert must_be_httponly(name, value, ("", "s3cr3t/+ key", "abc"))


@pytest.mark.parametrize(
    "value", ["", "dark", "abcd", "xabc", "eyJ", "keyJa.b.c", "eyJhbGciOiJub25lIn0", "%FF%zz", "é"]
)
def test_a_value_that_is_no_token_says_nothing(value: str) -> None:
    assert not must_be_httponly("theme", value, ("", "s3cr3t/+ key", "abc"))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("a=b", "a=b; HttpOnly"),
        ("a=b; Path=/", "a=b; Path=/; HttpOnly"),
        ("a=HttpOnly", "a=HttpOnly; HttpOnly"),
        ("HttpOnly=a", "HttpOnly=a; HttpOnly"),
        ("a=b; X=HttpOnly", "a=b; X=HttpOnly; HttpOnly"),
        ("a=b; Http Only", "a=b; Http Only; HttpOnly"),
        ("a=b;\xa0HttpOnly", "a=b;\xa0HttpOnly; HttpOnly"),
        ("a=b; HttpOnly", "a=b; HttpOnly"),
        ("a=b;httponly;Path=/", "a=b;httponly;Path=/"),
        ("a=b;\tHTTPONLY\t", "a=b;\tHTTPONLY\t"),
        ("a=b; HttpOnly=false", "a=b; HttpOnly=false"),  # Chromium: the attribute is set
    ],
)
def test_httponly_is_there_once(field: str, expected: str) -> None:
    assert with_httponly(field) == expected
    assert with_httponly(expected) == expected


@pytest.mark.parametrize(
    "field",
    [
        "=auth-token=evil",
        " =x",
        "\t=auth-token=evil",
        "==auth-token=evil",
        "= auth-token=evil",
        "auth-token",
        "=auth-token",
        "auth-token; a=b",
        ";auth-token=evil",
        "=",
        "",
        "auth token=x",
        "auth\ttoken=x",
        "auth-token\xa0=x",
        "\ufeffauth-token=x",
        "\udca0auth-token=x",  # a byte that is no UTF-8, as mitmproxy gives it
        "auth-token\x00=x",
        "\x01auth-token=x",
        "a\x7f=x",
        "a=x\x00",
        "a=x\rSet-Cookie: auth-token=evil",  # which Chromium sets
        "a=x; Path=/\r\n auth-token=evil",
        "a=x; Path=/\r; HttpOnly",
    ],
)
def test_a_cookie_without_a_true_name_is_known(field: str) -> None:
    assert is_nameless(field)


@pytest.mark.parametrize(
    "field",
    [
        "a=b",
        "a=",
        " a = b ",
        "a=b=c",
        "sidebar:state=true; Path=/",
        "connect.sid=s%3Ax.y",
        '"quoted"=x',
        "a=é; Path=/",
        "a=b;\tPath=/",
        "__Host-a=b; Secure; Path=/",
    ],
)
def test_a_cookie_with_a_name_is_none(field: str) -> None:
    assert not is_nameless(field)
