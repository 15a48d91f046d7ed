"""APIs that differ from the one the addon was made for, against a real mitmdump."""

import json
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from browser_client import Browser
from support import (
    Client,
    Message,
    Mitmdump,
    Upstream,
    answer,
    can_connect,
    eventually,
    free_port,
    running,
)
from test_jar import jwt

ProxyWith = Callable[..., Mitmdump]

SECRET = "cookie_auth_secret=a secret of some length".replace(" ", "-")


def accounts(request: Message) -> bytes:
    """An API whose token is the user's name, from the X-User header, some of them very long."""
    if request.target == "/login":
        user = request.one("x-user") or ""
        return answer(json.dumps({"authToken": user * (400 if user.endswith("7") else 1)}))
    return answer(json.dumps({"you": request.one("auth-token")}))


# Lifetime


def test_the_cookie_lives_as_long_as_the_token(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with("cookie_auth_max_age=token").client
    for body, age in [
        ({"authToken": "t", "expires_in": 60}, "; Max-Age=60"),
        ({"authToken": "t", "expires_in": 10**9}, "; Max-Age=34560000"),
        ({"authToken": "t"}, "SameSite=Lax"),
    ]:
        upstream.answers(json.dumps(body))
        assert (proxy.post("/login").set_cookie or "").endswith(age)
    upstream.answers(json.dumps({"authToken": jwt({"exp": time.time() + 100})}))
    left = int((proxy.post("/login").set_cookie or "").rpartition("=")[2])
    assert 90 <= left <= 100


@pytest.mark.parametrize(
    "body", [{"authToken": "t", "expires_in": 0}, {"authToken": jwt({"exp": 1_000_000_000})}]
)
def test_a_token_that_is_over_is_refused(
    proxy_with: ProxyWith, upstream: Upstream, body: dict[str, object]
) -> None:
    proxy = proxy_with("cookie_auth_max_age=token").client
    upstream.answers(json.dumps(body))
    got = proxy.post("/login")
    assert got.status == 502
    assert "is over already" in json.loads(got.body)["message"]
    assert got.set_cookie is None


# Long tokens


@pytest.mark.parametrize("options", [(), (SECRET,)], ids=["plain", "sealed"])
def test_a_long_token_is_split_and_joined_and_leaves_nothing_stale(
    proxy_with: ProxyWith, upstream: Upstream, options: tuple[str, ...]
) -> None:
    browser = Browser(proxy_with(*options).client)
    for size in (4_000, 16_000, 40, 9_000, 5_000):
        token = jwt({"sub": "x" * size})
        upstream.answers(json.dumps({"authToken": token}))
        assert browser.request("POST", "/login").body == b'{"loggedIn": true}'
        browser.request("GET", "/me")
        assert upstream.last.one("auth-token") == token
        assert upstream.last.one("cookie") is None
    assert len(browser.tokens) > 1
    browser.request("POST", "/logout")
    assert not browser.cookies


def test_a_missing_piece_is_a_bad_cookie_that_is_deleted(proxy: Client, upstream: Upstream) -> None:
    browser = Browser(proxy)
    upstream.answers(json.dumps({"authToken": "t" * 10_000}))
    browser.request("POST", "/login")
    del browser.cookies["auth-token.1"]
    upstream.received.clear()
    got = browser.request("GET", "/me")
    assert got.status == 401
    assert json.loads(got.body)["error"] == "bad_cookie"
    assert not upstream.received
    assert not browser.cookies


def test_a_token_of_more_than_32_kilobytes_is_refused(proxy: Client, upstream: Upstream) -> None:
    upstream.answers(json.dumps({"authToken": "t" * 33_000}))
    got = proxy.post("/login")
    assert got.status == 502
    assert json.loads(got.body)["error"] == "login_unreadable"


# Sealed cookies


def test_a_sealed_cookie_shows_nothing_and_opens_for_its_api(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    browser = Browser(proxy_with(SECRET).client)
    upstream.answers('{"authToken": "the-token"}')
    browser.request("POST", "/login")
    assert "the-token" not in str(browser.cookies)
    browser.request("GET", "/me")
    assert upstream.last.one("auth-token") == "the-token"
    upstream.received.clear()
    browser.cookies["auth-token"] = browser.cookies["auth-token"][:-2] + "AA"
    got = browser.request("GET", "/me")
    assert (got.status, json.loads(got.body)["error"]) == (401, "bad_cookie")
    assert not browser.cookies
    assert not upstream.received
    # A good login is not hindered by a bad cookie.
    browser.cookies["auth-token"] = "never sealed"
    assert browser.request("POST", "/login").body == b'{"loggedIn": true}'


def test_the_secret_may_stand_in_the_environment(
    upstream: Upstream, confdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COOKIE_AUTH_SECRET", "a-secret-in-the-environment")
    with running(Mitmdump(upstream.url, confdir=confdir)) as mitmdump:
        upstream.answers('{"authToken": "the-token"}')
        cookie = mitmdump.client.post("/login").set_cookie or ""
        assert cookie.startswith("auth-token=v1.")


@pytest.mark.parametrize("options", [(), (SECRET,)], ids=["plain", "sealed"])
def test_many_users_at_once_are_never_mixed_up(
    proxy_with: ProxyWith, upstream: Upstream, options: tuple[str, ...]
) -> None:
    client = proxy_with(*options).client
    upstream.respond = accounts

    def live(number: int) -> None:
        browser, chance = Browser(client), random.Random(number)
        token = None
        for _ in range(30):
            action = chance.choice(["login", "me", "me", "me", "logout"])
            if action == "login":
                user = f"user{number}-{chance.randrange(10)}"
                browser.request("POST", "/login", x_user=user)
                token = user * (400 if user.endswith("7") else 1)
            elif action == "logout":
                browser.request("POST", "/logout")
                token = None
            else:
                assert json.loads(browser.request("GET", "/me").body) == {"you": token}

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(live, range(16)))


NGINX = shutil.which("nginx") or ""

NGINX_CONF = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream proxies {{ server 127.0.0.1:{first}; server 127.0.0.1:{second}; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://proxies; proxy_set_header Host $http_host; }}
  }}
}}
"""


@pytest.mark.skipif(not NGINX and os.environ.get("CI") != "true", reason="no nginx on the PATH")
def test_proxies_that_share_a_secret_serve_one_user_behind_nginx(
    upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    upstream.respond = accounts
    port = free_port()
    options = ["--set", SECRET]
    with (
        running(Mitmdump(upstream.url, *options, confdir=confdir)) as first,
        running(Mitmdump(upstream.url, *options, confdir=confdir)) as second,
    ):
        conf = tmp_path / "nginx.conf"
        conf.write_text(
            NGINX_CONF.format(
                folder=tmp_path, first=first.client.port, second=second.client.port, port=port
            )
        )
        nginx = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(conf)])
        try:
            browser = Browser(Client(port))
            assert eventually(lambda: can_connect(port))
            for user in ("ada", "user-7", "bob"):  # the second one's token is long
                browser.request("POST", "/login", x_user=user)
                for _ in range(4):
                    got = json.loads(browser.request("GET", "/me").body)
                    assert got == {"you": user * (400 if user.endswith("7") else 1)}
            for mitmdump in (first, second):
                assert "GET " in mitmdump.log
        finally:
            nginx.terminate()
            nginx.wait(10)


# Several APIs


def test_several_apis_in_one_proxy_share_no_token(upstream: Upstream, confdir: Path) -> None:
    second, port = Upstream(), free_port()
    arguments = ["--mode", f"reverse:{second.url}@{port}"]
    arguments += ["--set", "cookie_auth_forward_cookies=*"]
    with running(Mitmdump(upstream.url, *arguments, confdir=confdir)) as mitmdump:
        first = Client(int(mitmdump.wait_for_log(rf"{upstream.url} listening at \S+:(\d+)")[1]))
        mitmdump.wait_for_log(rf"{second.url} listening")
        clients = [first, Client(port)]
        browser = Browser(*clients)
        for client, api, token in zip(clients, (upstream, second), ("one", "two"), strict=True):
            api.answers(json.dumps({"authToken": token}))
            browser.clients = (client,)
            browser.request("POST", "/login")
        assert browser.tokens == {f"auth-token-{first.port}": "one", f"auth-token-{port}": "two"}
        browser.cookies["theme"] = "dark"
        for client, api, token in zip(clients, (upstream, second), ("one", "two"), strict=True):
            browser.clients = (client,)
            browser.request("GET", "/me")
            assert api.last.one("auth-token") == token
            assert api.last.one("cookie") == "theme=dark"
        browser.request("POST", "/logout")
        assert f"auth-token-{first.port}" in browser.cookies
        assert f"auth-token-{port}" not in browser.cookies


# Other places for a token


def test_a_token_in_a_response_header_is_captured(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_token=header:X-Auth-Token").client
    upstream.answers("<html>", X_Auth_Token="the-token", Content_Type="text/html")
    got = proxy.post("/login")
    assert got.body == b'{"loggedIn": true}'
    assert got.one("x-auth-token") is None
    assert got.set_cookie == "auth-token=the-token; Path=/; HttpOnly; SameSite=Lax"
    upstream.answers(b"", status=204, X_Auth_Token="the-token")
    got = proxy.post("/login")
    assert (got.status, got.body) == (204, b"")
    assert got.set_cookie == "auth-token=the-token; Path=/; HttpOnly; SameSite=Lax"
    assert "the-token" not in str([field for field in got.headers if field[0] != "set-cookie"])


def test_a_bare_json_string_is_captured(proxy_with: ProxyWith, upstream: Upstream) -> None:
    proxy = proxy_with("cookie_auth_token=/").client
    upstream.answers('"the-token"')
    assert (proxy.post("/login").set_cookie or "").startswith("auth-token=the-token;")


# GraphQL


def test_a_batch_of_graphql_operations_is_captured_and_redacted(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with(
        "cookie_auth_login=/graphql",
        "cookie_auth_token=/data/login/token",
        "cookie_auth_token=/0/data/login/token",
        "cookie_auth_login_body=redact",
    ).client

    def send(body: object) -> Message:
        return proxy.post(
            "/graphql",
            body=json.dumps(body),
            content_type="application/json",
            cookie="auth-token=old",
        )

    login = {"query": 'mutation { login(name: "x") { token user { name } } }'}
    upstream.answers('[{"data": {"login": {"token": "new", "user": {"name": "x"}}}}]')
    got = send([login])
    assert json.loads(got.body) == [{"data": {"login": {"user": {"name": "x"}}}}]
    assert (got.set_cookie or "").startswith("auth-token=new;")
    assert upstream.last.one("auth-token") is None
    errors = '{"data": {"login": null}, "errors": [{"message": "wrong password"}]}'
    upstream.answers(errors)
    got = send(login)
    assert got.body.decode() == errors
    assert got.set_cookie is None
    send([{"query": "{ me { name } }"}])
    assert upstream.last.one("auth-token") == "old"


# Signing out


def test_a_401_deletes_the_cookie_where_that_is_wanted(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with("cookie_auth_clear_on_401=true").client
    upstream.answers('{"error": "expired"}', status=401)
    got = proxy.get("/me", cookie="auth-token=old; auth-token.5=x")
    assert got.status == 401  # a piece that belongs to nothing
    got = proxy.get("/me", cookie="auth-token=old")
    assert (got.status, got.body) == (401, b'{"error": "expired"}')
    assert (got.set_cookie or "").startswith("auth-token=; Path=/;")
    assert proxy.get("/me").set_cookie is None
    upstream.answers("{}", status=403)
    assert proxy.get("/me", cookie="auth-token=old").set_cookie is None


def test_by_default_a_401_passes(proxy: Client, upstream: Upstream) -> None:
    upstream.answers("{}", status=401)
    assert proxy.get("/me", cookie="auth-token=old").set_cookie is None


def test_the_api_is_told_of_a_logout_where_that_is_wanted(
    proxy_with: ProxyWith, upstream: Upstream
) -> None:
    proxy = proxy_with(
        "cookie_auth_logout_upstream=true",
        "cookie_auth_logout_upstream_method=delete",
        "cookie_auth_logout_upstream_path=/session",
        "cookie_auth_base_path=/v1",
    ).client
    for status, told in ((204, "done"), (401, "failed"), (500, "failed")):
        upstream.answers("", status=status, Set_Cookie="a=b")
        got = proxy.post("/logout", cookie="auth-token=t; a=b", body='{"all": true}')
        assert upstream.last.start == ("DELETE", "/v1/session")
        assert upstream.last.one("auth-token") == "t"
        assert upstream.last.one("cookie") is None
        assert upstream.last.body == b""
        assert json.loads(got.body) == {"loggedIn": False, "upstream": told}
        assert got.status == 200
        assert (got.set_cookie or "").startswith("auth-token=; Path=/;")
    upstream.received.clear()
    upstream.respond = lambda request: iter(())
    got = proxy.post("/logout", cookie="auth-token=t")
    assert json.loads(got.body) == {"loggedIn": False, "upstream": "failed"}
    assert got.set_cookie
    got = proxy.get("/logout", cookie="auth-token=t", accept="text/html")
    assert (got.status, got.one("location")) == (303, "/")
    assert proxy.request("HEAD", "/logout", [("Cookie", "auth-token=t")]).body == b""
    upstream.received.clear()
    assert json.loads(proxy.post("/logout").body) == {"loggedIn": False}
    got = proxy.post("/logout", cookie="auth-token=t", sec_fetch_site="same-site")
    assert got.status == 403
    assert not upstream.received


def test_logins_wait_for_nobody(proxy: Client, upstream: Upstream) -> None:
    slow, done = threading.Event(), threading.Event()

    def respond(request: Message) -> bytes:
        if request.target == "/slow":
            slow.set()
            assert done.wait(10)
        return answer('{"authToken": "t"}')

    upstream.respond = respond
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(proxy.get, "/slow")
        assert slow.wait(10)
        assert proxy.post("/login").status == 200
        done.set()
        assert waiting.result(10).status == 200
