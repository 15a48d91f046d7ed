"""Chromium: an app that holds stand-ins, and a hostile page of another port of the same host.

The hostile page gets no token and acts with none, and neither ends nor replaces the session; and
what the app itself keeps is of no use to anybody. (Listed logins: test_browser_attacks.py. What a
script of the app's own origin tries: test_stand_in_attacks.py.)
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import BrowserContext, Page
from support import Message, Mitmdump, Upstream, answer
from test_browser_attacks import (
    ACTING,
    ASKING,
    HOSTS,
    IN_A_TAB,
    LEADING,
    OPENING,
    PLANT,
    SPECULATE,
    Attack,
    attack,
    hostile_page,
    hostile_server,
    in_a_tab,
    marked,
    statuses_under,
)

ProxyWith = Callable[..., Mitmdump]

APP = """<!doctype html><title>app</title><script>
const call = (method, path, body) => fetch(path, {method, body, headers: {
  ...(body && {'content-type': 'application/json'}),
  ...(localStorage.token && {authorization: `Bearer ${localStorage.token}`})}})
const logIn = async () => {
  const answered = await call('POST', '/auth/sign-in', '{"password": "x", "user": "victim"}')
  const {access_token, refresh_token} = await answered.json()
  Object.assign(localStorage, {token: access_token, refresh: refresh_token})
}
const who = async path => (await (await call('GET', path)).text()).split('"')[1]
</script>"""
OF = re.compile(r"tk-of-(\w+)-\d+-kQ8vLw2Zr7X")
_numbers = itertools.count(100)


def tokens_of(user: str) -> dict[str, str]:
    number = next(_numbers)
    return {
        "access_token": f"tk-of-{user}-{number}-kQ8vLw2Zr7X",
        "refresh_token": f"rf-of-{user}-{number}-uJ5sPd9Hf3G",
    }


def api(request: Message) -> bytes:
    """Logs in whom the request names, by GET too, and tells everybody who asks."""
    path = request.target.partition("?")[0]
    if path in ("/auth/sign-in", "/auth/refresh", "/auth/callback"):
        user = json.loads(request.body)["user"] if b'"user"' in request.body else "attacker"
        session = ("Set-Cookie", f"sid=sid-of-{user}-kQ8vLw2Zr7X; HttpOnly; Path=/")
        headers = [("Content-Type", "application/json"), session]
        return answer(json.dumps(tokens_of(user)), headers=headers)
    if path == "/app":
        return answer(APP, Content_Type="text/html")
    if path == "/worker.js":
        return answer(
            "onfetch = event => event.respondWith(fetch(event.request))",
            Content_Type="text/javascript",
        )
    found = OF.search(request.one("authorization") or "")
    text = f"window.seen = {json.dumps(found[1] if found else 'nobody')}"
    return answer(text, Content_Type="text/javascript")


def credentials_in(request: Message) -> list[str]:
    """What of somebody's stands in a request."""
    text = f"{request.start} {request.headers} {request.body!r}"
    return re.findall(r"(?:tk|rf|sid)-of-[\w-]+", text)


@dataclass
class Victim:
    """Somebody who uses the app on the proxy's own origin."""

    context: BrowserContext
    mitmdump: Mitmdump
    upstream: Upstream
    page: Page = field(init=False)

    def __post_init__(self) -> None:
        self.origin = f"http://localhost:{self.mitmdump.client.port}"
        self.page = self.context.new_page()
        self.page.goto(f"{self.origin}/app")
        self.page.evaluate("logIn()")
        assert self.who() == "victim"
        self.upstream.received.clear()

    def who(self, path: str = "/me") -> str:
        """Whose token goes to the API with what the app asks for."""
        said: str = self.page.evaluate("path => who(path)", path)
        return said

    def stored(self) -> str:
        """All that scripts can read."""
        text: str = self.page.evaluate(
            "JSON.stringify({...localStorage, ...sessionStorage}) + document.cookie"
        )
        return text

    def cookies(self) -> set[tuple[str, str, str]]:
        found = self.context.cookies(self.origin)
        return {(one["name"], one["path"], one["value"]) for one in found}

    def under(self, attack: Attack) -> int:
        """What becomes of an attack at the proxy: its status."""
        return statuses_under({"": attack}, self.mitmdump)[""]


@pytest.fixture
def victim(context: BrowserContext, proxy_with: ProxyWith, upstream: Upstream) -> Victim:
    upstream.respond = api
    return Victim(context, proxy_with(), upstream)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Upstream]:
    server = Upstream()
    server.respond = hostile_server
    yield server
    server.close()


def asks_for(page: Page, script: str, url: str, query: str = "x") -> Attack:
    return lambda mark: attack(page, script, f"{url}?{mark}&{query}")


from_any_host = pytest.mark.parametrize("host", HOSTS)
LOGIN_LIKE = {"/auth/callback": "code=1", "/auth/sign-in": "token=1", "/me": "ticket=1"}


def test_the_app_holds_no_token_and_no_script_can_read_one(victim: Victim) -> None:
    assert "stand-m" in victim.stored()
    assert "stand-r" in victim.stored()
    assert "-of-" not in victim.stored()
    assert victim.page.evaluate("document.cookie") == ""
    ours = [one for one in victim.context.cookies() if one["name"].startswith("auth-token")]
    assert len(ours) == 4
    assert all(one["httpOnly"] for one in ours)


@from_any_host
def test_what_a_foreign_page_asks_for_logs_nobody_in_and_brings_nothing(
    victim: Victim, hostile: Upstream, host: str
) -> None:
    page, before = hostile_page(victim, hostile, host), victim.cookies()
    for name, script in ASKING.items():
        for path, query in {**LOGIN_LIKE, "/auth/logout": "code=1"}.items():
            status = victim.under(asks_for(page, script, f"{victim.origin}{path}", query))
            # A HEAD has no body, and a form by GET takes the code out of its address.
            hands_out = path.startswith("/auth/") and path != "/auth/logout"
            refused = hands_out and name not in ("HEAD", "form in a frame")
            assert status in ((502, 503) if refused else (200, 304, 503)), (name, path)
    assert not [found for r in victim.upstream.received for found in credentials_in(r)]
    assert page.evaluate("window.seen ?? 'nobody'") == "nobody"
    assert victim.cookies() == before
    assert victim.who() == "victim"


@from_any_host
def test_where_a_foreign_page_leads_ends_no_session(
    victim: Victim, hostile: Upstream, host: str
) -> None:
    page, before = hostile_page(victim, hostile, host), victim.cookies()
    for script in {**LEADING, **OPENING}.values():
        for path in ("/auth/logout", "/logout", "/me"):
            victim.under(in_a_tab(page, script, f"{victim.origin}{path}"))
    assert not [found for r in victim.upstream.received for found in credentials_in(r)]
    assert victim.cookies() == before
    assert victim.who() == "victim"


@pytest.mark.parametrize(("path", "query"), [("/auth/logout", "code=1"), ("/me/delete", "token=1")])
def test_no_code_in_an_address_has_the_apis_own_cookies_act(
    victim: Victim, hostile: Upstream, path: str, query: str
) -> None:
    page, before = hostile_page(victim, hostile), victim.cookies()
    url = f"{victim.origin}{path}?{query}&x"
    victim.under(lambda mark: page.evaluate(IN_A_TAB, ["location = url", url + mark]))
    assert not [found for r in victim.upstream.received for found in credentials_in(r)]
    assert victim.cookies() == before


@from_any_host
def test_what_a_foreign_page_sends_to_logins_and_logouts_reaches_no_api(
    victim: Victim, hostile: Upstream, host: str
) -> None:
    page, before = hostile_page(victim, hostile, host), victim.cookies()
    for script in ACTING.values():
        for path in ("/auth/sign-in", "/auth/refresh", "/auth/logout"):
            attack(page, script, f"{victim.origin}{path}?{marked()}")
    assert victim.under(asks_for(page, ACTING["fetch"], f"{victim.origin}/auth/sign-in")) == 403
    assert {r.method for r in victim.upstream.received} <= {"OPTIONS"}
    assert victim.cookies() == before
    assert victim.who() == "victim"


@pytest.mark.parametrize("mode", ["cors", "no-cors"])
def test_another_port_reads_no_answer_of_a_login(
    victim: Victim, hostile: Upstream, mode: str
) -> None:
    script = (
        "([url, mode]) => fetch(url, {method: 'POST', credentials: 'include', mode,"
        " body: '{\"password\": \"x\"}'}).then(r => r.text()).catch(() => 'refused')"
    )
    said = hostile_page(victim, hostile).evaluate(script, [f"{victim.origin}/auth/sign-in", mode])
    assert said in ("", "refused")
    assert not victim.upstream.received


def test_a_popup_that_logs_in_tells_its_opener_nothing(victim: Victim, hostile: Upstream) -> None:
    page = hostile_page(victim, hostile)
    with page.expect_popup() as popup:
        page.evaluate("url => { window.tab = open(url) }", f"{victim.origin}/auth/callback?code=1")
    popup.value.wait_for_load_state()
    text = popup.value.content()
    assert "stand-m" in text
    assert "-of-" not in text
    said = page.evaluate("() => { try { return tab.document.body.innerText } catch { return '' } }")
    assert said == ""


@pytest.mark.parametrize("kind", ["prefetch", "prerender"])
def test_what_is_asked_for_in_advance_logs_nobody_in(
    victim: Victim, hostile: Upstream, kind: str
) -> None:
    before = victim.cookies()
    page, url = hostile_page(victim, hostile), f"{victim.origin}/auth/callback?code=1&x"
    assert victim.under(lambda mark: page.evaluate(SPECULATE, [kind, url + mark])) == 503
    assert not victim.upstream.received
    assert victim.cookies() == before


# Planted cookies

SUFFIXES = ("", ".0", "-refresh", "-refresh.0", "-id", "-t1", "-t2", "-t3", "-login", "-api-sid")


@pytest.mark.parametrize("path", ["/", "/me"])
@pytest.mark.parametrize("how", PLANT)
def test_a_planted_cookie_of_any_name_is_nobodys_token_and_takes_none_away(
    victim: Victim, hostile: Upstream, how: str, path: str
) -> None:
    page = hostile_page(victim, hostile)
    for suffix in SUFFIXES:
        before = victim.context.cookies()
        page.evaluate(PLANT[how], f"auth-token{suffix}=tk-of-attacker-1-kQ8vLw2Zr7X; Path={path}")
        said = victim.who()
        # Another port's server can replace ours; a script cannot, since they are HttpOnly.
        ends = how == "server" and path == "/" and suffix in ("", "-login")
        assert said == ("nobody" if ends else "victim"), suffix
        victim.context.clear_cookies()
        victim.context.add_cookies(before)  # type: ignore[arg-type]
    assert "attacker" not in str(
        [found for r in victim.upstream.received for found in credentials_in(r)]
    )


@pytest.fixture
def attackers_cookies(victim: Victim) -> list[str]:
    """Those of a login through this proxy: another local server may have an account, too."""
    body = '{"password": "x", "user": "attacker"}'
    got = victim.mitmdump.client.post(
        "/auth/sign-in", body=body, content_type="application/json", sec_fetch_site="same-origin"
    )
    fields = [field for field in got.all("set-cookie") if "Max-Age=0" not in field]
    assert len(fields) == 4
    victim.upstream.received.clear()
    return [field.replace("; HttpOnly", "") for field in fields]


@pytest.mark.parametrize("path", ["/", "/me"])
def test_all_cookies_of_another_login_beside_the_users_get_no_request(
    victim: Victim, hostile: Upstream, attackers_cookies: list[str], path: str
) -> None:
    page = hostile_page(victim, hostile)
    for text in attackers_cookies:
        page.evaluate(PLANT["script"], text.replace("Path=/", f"Path={path}"))
    status = victim.page.evaluate("call('GET', '/me').then(r => r.status)")
    assert status == (200 if path == "/" else 400)
    assert victim.who("/other") == "victim"
    said = [found for r in victim.upstream.received for found in credentials_in(r)]
    assert not [found for found in said if "attacker" in found]


@pytest.mark.parametrize("left_out", range(4))
def test_no_cookies_of_two_logins_make_one(
    victim: Victim, hostile: Upstream, attackers_cookies: list[str], left_out: int
) -> None:
    # Even a server, which can replace ours, gets no mixture through.
    page = hostile_page(victim, hostile)
    for index, text in enumerate(attackers_cookies):
        if index != left_out:
            page.evaluate(PLANT["server"], text)
    victim.page.evaluate("call('GET', '/me')")
    for request in victim.upstream.received:
        whose = {found.split("-")[2] for found in credentials_in(request)}
        assert len(whose) <= 1, request


# Afterwards


def test_a_page_that_forgets_its_token_is_nobody_and_stays_so(victim: Victim) -> None:
    victim.page.evaluate("localStorage.clear()")
    assert victim.who() == "nobody"
    victim.page.reload()
    assert victim.who() == "nobody"
    victim.page.goto("about:blank")
    victim.page.go_back()
    assert victim.who() == "nobody"
    other = victim.context.new_page()
    other.goto(f"{victim.origin}/app")
    assert other.evaluate("who('/me')") == "nobody"
    assert "tk-of-" not in str(
        [found for r in victim.upstream.received for found in credentials_in(r)]
    )


@pytest.mark.parametrize("path", ["/logout", "/auth/logout"])
def test_what_storage_still_holds_after_a_logout_means_nothing(victim: Victim, path: str) -> None:
    victim.page.evaluate("path => call('POST', path)", path)
    victim.upstream.received.clear()
    for _ in range(2):
        assert victim.who() == "nobody"
        victim.page.evaluate(
            "call('POST', '/auth/introspect', JSON.stringify({token: localStorage.refresh}))"
        )
    assert not [found for r in victim.upstream.received for found in credentials_in(r)]
    assert not [name for name, _, _ in victim.cookies() if name.startswith("auth-token")]


def test_an_earlier_logins_tab_acts_as_nobody(victim: Victim) -> None:
    earlier = victim.page.evaluate("localStorage.token")
    victim.page.evaluate("logIn()")
    assert victim.who() == "victim"
    victim.page.evaluate("token => { localStorage.token = token }", earlier)
    assert victim.who() == "nobody"


def test_a_service_worker_of_the_app_changes_nothing(victim: Victim, hostile: Upstream) -> None:
    victim.page.evaluate(
        "navigator.serviceWorker.register('/worker.js').then(() => navigator.serviceWorker.ready)"
        ".then(() => 0)"
    )
    victim.page.reload()
    assert victim.page.evaluate("navigator.serviceWorker.controller !== null")
    assert victim.who() == "victim"
    # What a foreign page leads to goes through the worker, too.
    page, before = hostile_page(victim, hostile), victim.cookies()
    victim.upstream.received.clear()
    victim.under(in_a_tab(page, "location = url", f"{victim.origin}/auth/logout"))
    assert not [found for r in victim.upstream.received for found in credentials_in(r)]
    assert victim.cookies() == before
    assert victim.who() == "victim"
