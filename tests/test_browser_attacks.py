"""A hostile page in Chromium, while the user of the proxy is logged in in another tab.

It gets no token and acts with none, changes nothing at the API in the user's name, and neither ends
nor replaces the user's session. (What the browser's cache hands to whom: test_browser_cache.py.)
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote

import pytest
from playwright.sync_api import BrowserContext, Page
from support import Message, Mitmdump, Upstream, answer

ProxyWith = Callable[..., Mitmdump]
Attack = Callable[[str], None]
"""Makes a request whose target holds this mark."""

TRIES, SECONDS, AT_ONCE = 5, 6, 12
"""An attack that has not arrived proves nothing: on a busy machine Chromium drops navigations of
tabs, so what has not come in so many seconds is made again; and few tabs are open at once.
"""

HELPERS = """<!doctype html><title>hostile</title><body><script>
const add = (tag, properties, parent = document.body) => {
  const element = Object.assign(document.createElement(tag), properties)
  parent.append(element)
  return element
}
const link = properties => add('link', properties, document.head)
const style = text => add('style', {textContent: text}, document.head)
const speculate = rules =>
  add('script', {type: 'speculationrules', textContent: JSON.stringify(rules)}, document.head)
const inside = (html, more = {}) => add('iframe', {srcdoc: html, ...more})
const blob = (text, type) => URL.createObjectURL(new Blob([text], {type}))
const frame = () => add('iframe', {name: crypto.randomUUID()}).name
const form = (action, method, more = {}) => {
  const made = add('form', {action, method, ...more})
  const {search} = new URL(action, location)
  if (method === 'get') add('input', {name: search.slice(1)}, made)  // its own query is dropped
  made.submit()
}
</script>"""


def hostile_server(request: Message) -> bytes:
    """Pages, and redirects to wherever the page wants."""
    path, _, query = request.target.partition("?")
    if path == "/to":
        return answer(status=302, Location=unquote(query))
    if path == "/to-again":
        return answer(status=307, Location=unquote(query))
    if path == "/set":
        fields = [("Set-Cookie", text) for text in json.loads(unquote(query))]
        return answer("{}", headers=fields)
    if path == "/reporting":
        policy = f"img-src 'none'; report-uri {unquote(query)}"
        return answer(
            HELPERS + "<img src=x>", Content_Type="text/html", Content_Security_Policy=policy
        )
    if path == "/refresh":
        return answer(HELPERS, Content_Type="text/html", Refresh=f"0; url={unquote(query)}")
    return answer(HELPERS, Content_Type="text/html", Cache_Control="no-store")


def api(request: Message) -> bytes:
    """Logs in whom the request names, by GET too, and tells everybody who asks."""
    path = request.target.partition("?")[0]
    if path.endswith("/login"):
        user = json.loads(request.body)["user"] if request.body.startswith(b"{") else "attacker"
        return answer(json.dumps({"authToken": f"token-of-{user}"}))
    if path.endswith(("/app", "/logout")):
        return answer("<!doctype html><title>app</title>", Content_Type="text/html")
    more: dict[str, Any] = {"Content_Disposition": "attachment"} if path.endswith("/file") else {}
    user = (request.one("auth-token") or "nobody").removeprefix("token-of-")
    text = f"window.seen = {json.dumps(user)}"
    return answer(text, Content_Type="text/javascript", Access_Control_Allow_Origin="*", **more)


def statuses_under(
    attacks: Mapping[Any, Attack], mitmdump: Mitmdump, clean_up: Callable[[], None] = lambda: None
) -> dict[Any, int]:
    """What becomes of each attack at the proxy: its status. It is made until it arrives."""
    missing, statuses = dict(attacks), {}
    for _ in range(TRIES):
        keys = list(missing)
        for begin in range(0, len(keys), AT_ONCE):
            marks = {key: marked() for key in keys[begin : begin + AT_ONCE]}
            for key, mark in marks.items():
                missing[key](mark)
            end = time.monotonic() + SECONDS
            for key, mark in marks.items():
                if status := _status(mitmdump, mark, end - time.monotonic()):
                    statuses[key] = status
            clean_up()
        missing = {key: attack for key, attack in missing.items() if key not in statuses}
    assert not missing, f"{TRIES} times no request has come of {list(missing)}"
    return statuses


def _status(mitmdump: Mitmdump, mark: str, seconds: float) -> int | None:
    """The status of the request with this mark, once it is over at the proxy."""
    try:
        over = mitmdump.wait_for_log(rf"{mark}.*\n\s+<< (?:HTTP\S+ )?(\d+)", seconds)
    except AssertionError:
        return None
    return int(over[1])


class HasContext(Protocol):
    context: BrowserContext


@dataclass
class Victim:
    """Somebody who uses the app on the proxy's own origin."""

    context: BrowserContext
    mitmdump: Mitmdump
    upstream: Upstream
    prefix: str = ""
    page: Page = field(init=False)

    def __post_init__(self) -> None:
        self.origin = f"http://localhost:{self.mitmdump.client.port}"
        self.page = self.context.new_page()
        self.page.goto(f"{self.origin}{self.prefix}/app")
        self.log_in()
        assert self.who() == "victim"
        self.upstream.received.clear()

    def fetch(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        call = (
            "([url, method, body]) => fetch(url, {method, body,"
            " headers: body ? {'content-type': 'application/json'} : {}})"
            ".then(async r => [r.status, await r.text()])"
        )
        status, text = self.page.evaluate(call, [self.prefix + path, method, body])
        return status, text

    def log_in(self) -> None:
        answered = self.fetch("POST", "/login", '{"user": "victim"}')
        assert answered == (200, '{"loggedIn": true}')

    def log_out(self) -> None:
        assert self.fetch("POST", "/logout") == (200, '{"loggedIn": false}')

    def who(self, path: str = "/me") -> str:
        status, text = self.fetch("GET", path)
        return text.split('"')[1] if status == 200 else f"{status} {text}"

    def assert_unharmed(self) -> None:
        """Nobody acted in the user's name, and the session goes on."""
        for request in self.upstream.received:
            assert request.one("auth-token") is None, request
            assert request.one("cookie") is None, request
            assert request.method in ("GET", "HEAD", "OPTIONS"), request
            assert request.one("upgrade") is None, request
        assert self.who() == "victim"

    def under(self, attacks: Mapping[Any, Attack], *tabs: Page) -> dict[Any, int]:
        """What becomes of each attack at the proxy: its status. All tabs but these are closed."""

        def close_tabs() -> None:
            for tab in self.context.pages:
                if tabs and tab not in (self.page, *tabs):
                    tab.close()

        return statuses_under(attacks, self.mitmdump, close_tabs)

    def under_one(self, attack: Attack) -> int:
        return self.under({"": attack})[""]


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


@pytest.fixture(scope="module")
def frontend() -> Iterator[Upstream]:
    server = Upstream()
    server.answers("<!doctype html><title>front end</title>", Content_Type="text/html")
    yield server
    server.close()


def hostile_page(victim: HasContext, hostile: Upstream, host: str = "localhost") -> Page:
    page = victim.context.new_page()
    page.goto(f"http://{host}:{hostile.port}/")
    return page


def attack(page: Page, script: str, url: str) -> None:
    """Begin it; what becomes of it is seen at the proxy."""
    page.evaluate("url => { " + script + "; return 0 }", url)


def attacking(page: Page, script: str, url: str) -> Attack:
    return lambda mark: attack(page, script, f"{url}?{mark}")


def in_a_tab(page: Page, script: str, url: str) -> Attack:
    """For what leaves the page."""
    return lambda mark: page.evaluate(IN_A_TAB, [script, f"{url}?{mark}"])


def marked() -> str:
    """Short: mitmproxy's log cuts addresses off."""
    return secrets.token_hex(4)


# The same site, but another origin; and two other sites.
HOSTS = ["localhost", "127.0.0.1", "evil.localhost"]

# `url` is what each asks for, from a page with the helpers above.
ASKING = {
    "fetch": "fetch(url, {credentials: 'include'})",
    "fetch no-cors": "fetch(url, {credentials: 'include', mode: 'no-cors'})",
    "fetch keepalive": "fetch(url, {credentials: 'include', mode: 'no-cors', keepalive: true})",
    "fetch from a worker": "new Worker(blob(`fetch('${url}',"
    " {credentials: 'include', mode: 'no-cors'})`, 'text/javascript'))",
    "importScripts": "new Worker(blob(`importScripts('${url}')`, 'text/javascript'))",
    "HEAD": "fetch(url, {credentials: 'include', mode: 'no-cors', method: 'HEAD'})",
    "XMLHttpRequest": "{const x = new XMLHttpRequest(); x.open('GET', url);"
    " x.withCredentials = true; x.send()}",
    "import": "import(url)",
    "script": "add('script', {src: url})",
    "module script": "add('script', {src: url, type: 'module', crossOrigin: 'use-credentials'})",
    "img": "new Image().src = url",
    "img with credentials": "add('img', {crossOrigin: 'use-credentials', src: url})",
    "input image": "add('input', {type: 'image', src: url})",
    "svg image": "add('div', {innerHTML: `<svg><image href='${url}'/></svg>`})",
    "video": "add('video', {src: url})",
    "track": "add('track', {src: url, default: true, kind: 'subtitles'},"
    " add('video', {crossOrigin: 'use-credentials'})).track.mode = 'showing'",
    "iframe": "add('iframe', {src: url})",
    "object": "add('object', {data: url})",
    "embed": "add('embed', {src: url})",
    "sandboxed iframe": "add('iframe', {sandbox: 'allow-scripts', src: url})",
    "iframe without credentials": "add('iframe', {credentialless: true, src: url})",
    "page in a sandbox": "inside(`<script src='${url}'></script>`, {sandbox: 'allow-scripts'})",
    "fetch in a sandbox": "inside(`<script>fetch('${url}', {credentials: 'include',"
    " mode: 'no-cors'})</script>`, {sandbox: 'allow-scripts'})",
    "data: URL": "add('iframe', {src: `data:text/html,<script src='${url}'></script>`})",
    "navigation by data: URL": "add('iframe', {src:"
    " `data:text/html,<script>location = '${url}'</script>`})",
    "blob: URL": "add('iframe', {src: blob(`<img src='${url}'>`, 'text/html')})",
    "about:blank": "add('iframe').contentDocument.write(`<img src='${url}'>`)",
    "stylesheet": "link({rel: 'stylesheet', href: url})",
    "css @import": "style(`@import '${url}'`)",
    "css url()": "add('p', {textContent: 'text'}).style.background = `url('${url}')`",
    "css font": "style(`@font-face { font-family: x; src: url('${url}') } body { font: 1px x }`),"
    " document.body.append('text')",
    "link prefetch": "link({rel: 'prefetch', href: url})",
    "link prefetch of a document": "link({rel: 'prefetch', as: 'document', href: url})",
    "link preload": "link({rel: 'preload', as: 'script', href: url})",
    "link preload of fetch": "link({rel: 'preload', as: 'fetch', crossOrigin: 'use-credentials',"
    " href: url})",
    "link modulepreload": "link({rel: 'modulepreload', crossOrigin: 'use-credentials', href: url})",
    "link icon": "link({rel: 'icon', href: url})",
    "EventSource": "new EventSource(url, {withCredentials: true})",
    "form in a frame": "form(url, 'get', {target: frame()})",
    "meta refresh in a frame": "inside(`<meta http-equiv=refresh content='0; url=${url}'>`)",
    "redirect of an image": "new Image().src = '/to?' + encodeURIComponent(url)",
    "redirect of fetch": "fetch('/to?' + encodeURIComponent(url), {mode: 'no-cors',"
    " credentials: 'include'})",
    "redirect of a frame": "add('iframe', {src: '/to?' + encodeURIComponent(url)})",
    "redirect to a redirect": "new Image().src = '/to?' + encodeURIComponent("
    "location.origin + '/to?' + encodeURIComponent(url))",
    "fetchLater": "fetchLater(url, {activateAfter: 0, credentials: 'include'})",
}
LEADING = {
    "location": "location = url",
    "link": "add('a', {href: url, textContent: 'click'}).click()",
    "download": "add('a', {href: url, download: 'x'}).click()",
    "form": "form(url, 'get')",
    "meta refresh": "document.head.innerHTML = `<meta http-equiv=refresh content='0; url=${url}'>`",
    "Refresh": "location = '/refresh?' + encodeURIComponent(url)",
    "redirect": "location = '/to?' + encodeURIComponent(url)",
}
OPENING = {
    "window.open": "open(url)",
    "window.open without opener": "open(url, '', 'noopener,noreferrer')",
    "link without referrer": "add('a', {href: url, rel: 'noreferrer', target: '_blank'}).click()",
    "form in a new tab": "form(url, 'get', {target: '_blank'})",
    "redirect in a popup": "open('/to?' + encodeURIComponent(url))",
    "opened blank": "open('').location = url",
    "opened by a data: URL": "add('iframe', {src:"
    " `data:text/html,<script>open('${url}')</script>`})",
}
# In a tab of its own, since it leaves the page.
IN_A_TAB = (
    "([script, url]) => { const tab = open('/');"
    " tab.onload = () => { tab.url = url; tab.eval(script) } }"
)

# Each would act at the API, as would a script of its own page.
ACTING = {
    "fetch": "fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include', body: '{}'})",
    "fetch keepalive": "fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include',"
    " body: '{}', keepalive: true})",
    "fetch of another method": "fetch(url, {method: 'DELETE', credentials: 'include'})",
    "fetch of JSON": "fetch(url, {method: 'POST', credentials: 'include', body: '{}',"
    " headers: {'content-type': 'application/json'}})",
    "fetch in a sandbox": "inside(`<script>fetch('${url}', {method: 'POST', mode: 'no-cors',"
    " credentials: 'include'})</script>`, {sandbox: 'allow-scripts'})",
    "XMLHttpRequest": "{const x = new XMLHttpRequest(); x.open('POST', url);"
    " x.withCredentials = true; x.send('{}')}",
    "sendBeacon": "navigator.sendBeacon(url, '{}')",
    "sendBeacon of a form": "navigator.sendBeacon(url, new FormData())",
    "fetchLater": "fetchLater(url, {method: 'POST', mode: 'no-cors', activateAfter: 0,"
    " credentials: 'include', body: '{}'})",
    "ping": "add('a', {ping: url, href: '#', textContent: 'click'}).click()",
    "form": "form(url, 'post', {target: frame()})",
    "form of text": "form(url, 'post', {target: frame(), enctype: 'text/plain'})",
    "form with files": "form(url, 'post', {target: frame(), enctype: 'multipart/form-data'})",
    "form in a new tab": "form(url, 'post', {target: '_blank'})",
    "form in a sandbox": "inside(`<form method=post action='${url}'></form>"
    "<script>document.forms[0].submit()</script>`, {sandbox: 'allow-scripts allow-forms'})",
    "form of a data: URL": "add('iframe', {src: `data:text/html,<form method=post action='${url}'>"
    "</form><script>document.forms[0].submit()</script>`})",
    "redirect of a form": "form('/to-again?' + encodeURIComponent(url), 'post', {target: frame()})",
    "redirect of fetch": "fetch('/to-again?' + encodeURIComponent(url), {method: 'POST',"
    " mode: 'no-cors', credentials: 'include'})",
    "report of a policy": "add('iframe', {src: '/reporting?' + encodeURIComponent(url)})",
    "WebSocket": "new WebSocket(url.replace('http', 'ws'))",
    "WebSocket in a sandbox": "inside(`<script>new WebSocket('${url.replace('http', 'ws')}')"
    "</script>`, {sandbox: 'allow-scripts'})",
}
REFUSED = (403, 503)  # another origin; a speculation

from_any_host = pytest.mark.parametrize("host", HOSTS)


# What a page asks for


@from_any_host
def test_what_a_foreign_page_asks_for_comes_without_token_and_ends_no_session(
    victim: Victim, hostile: Upstream, host: str
) -> None:
    page = hostile_page(victim, hostile, host)
    statuses = victim.under(
        {
            (name, path): attacking(page, script, f"{victim.origin}{path}")
            for name, script in ASKING.items()
            for path in ("/me", "/logout", "/login")
        }
    )
    for (name, path), status in statuses.items():
        harmless = path == "/me" or name == "HEAD"
        assert status in ((200, 304) if harmless and status < 400 else REFUSED), (name, path)
    victim.assert_unharmed()
    assert page.evaluate("window.seen ?? 'nobody'") == "nobody"


@from_any_host
def test_where_a_foreign_page_leads_comes_without_token_and_ends_no_session(
    victim: Victim, hostile: Upstream, host: str
) -> None:
    page = hostile_page(victim, hostile, host)
    statuses = victim.under(
        {
            (name, path): (in_a_tab if name in LEADING else attacking)(
                page, script, f"{victim.origin}{path}"
            )
            for name, script in {**LEADING, **OPENING}.items()
            for path in (("/me", "/logout", "/login") if host == "localhost" else ("/logout",))
        },
        page,
    )
    for (name, path), status in statuses.items():
        assert status in ((200,) if path == "/me" else REFUSED), (name, path)
    victim.assert_unharmed()


@from_any_host
def test_a_foreign_page_cannot_act(victim: Victim, hostile: Upstream, host: str) -> None:
    page = hostile_page(victim, hostile, host)
    statuses = victim.under(
        {
            (name, path): attacking(page, script, f"{victim.origin}{path}")
            for name, script in ACTING.items()
            for path in ("/act", "/logout", "/login")
        },
        page,
    )
    for (name, path), status in statuses.items():
        # A preflight goes to the API, whose answer is replaced.
        asks_first = name in ("fetch of another method", "fetch of JSON")
        assert status in REFUSED or asks_first, (name, path, status)
    victim.assert_unharmed()


@from_any_host
def test_what_a_foreign_page_sends_to_the_front_end_comes_without_our_cookies(
    context: BrowserContext,
    proxy_with: ProxyWith,
    upstream: Upstream,
    hostile: Upstream,
    frontend: Upstream,
    host: str,
) -> None:
    upstream.respond = api
    proxy = proxy_with("cookie_auth_prefix=/api", f"cookie_auth_frontend={frontend.url}")
    victim = Victim(context, proxy, upstream, "/api")
    frontend.received.clear()
    page = hostile_page(victim, hostile, host)
    url = f"{victim.origin}/action"
    victim.under({name: attacking(page, script, url) for name, script in ACTING.items()}, page)
    acted = [r for r in frontend.received if r.method not in ("GET", "HEAD", "OPTIONS")]
    assert len(acted) > 10
    upgrades = [r for r in frontend.received if r.one("upgrade")]
    assert len(upgrades) >= 2
    assert not [r for r in acted + upgrades if "auth-token" in (r.one("cookie") or "")]
    assert not upstream.received
    mark = marked()  # its own page's do
    victim.page.evaluate("url => fetch(url, {method: 'POST'}).then(() => 0)", f"/action?{mark}")
    assert "auth-token=token-of-victim" in (frontend.last.one("cookie") or "")
    victim.assert_unharmed()


# Detours


DETOURS = [ASKING["img"], ASKING["fetch no-cors"], "location = url"]


@from_any_host
def test_a_detour_of_our_own_page_over_another_origin_is_no_longer_its_own(
    victim: Victim, hostile: Upstream, host: str
) -> None:
    detour = f"http://{host}:{hostile.port}/to?{victim.origin}/logout"
    for script in DETOURS:
        assert victim.under_one(attacking(victim.page, script, detour)) == 403, script
    victim.page.wait_for_url("**/logout?*")
    assert victim.who() == "victim"


@from_any_host
def test_reload_back_and_forward_stay_the_foreign_pages(
    victim: Victim, hostile: Upstream, host: str
) -> None:
    for method, path in (("get", "/logout"), ("get", "/me"), ("post", "/act")):
        page = hostile_page(victim, hostile, host)
        mark = marked()
        with page.expect_navigation():
            attack(page, f"form(url, '{method}')", f"{victim.origin}{path}?{mark}")
        page.reload()
        page.go_back()
        if method == "get":  # Chromium asks its user before it sends a form anew
            page.go_forward()
        victim.mitmdump.wait_for_log(f"(?s)({mark}[^\\n]*\\n +<< .*){{2}}")
        # Favicons are the shown page's own, which is of our origin.
        of_page = [r for r in victim.upstream.received if mark in r.target]
        assert {r.one("auth-token") for r in of_page} <= {None}
    assert all(request.method == "GET" for request in victim.upstream.received)
    assert victim.who() == "victim"


def test_a_download_that_a_foreign_page_begins_is_nobodys(
    victim: Victim, hostile: Upstream
) -> None:
    for host in HOSTS:
        page = hostile_page(victim, hostile, host)
        with page.expect_download() as begun:
            attack(page, LEADING["download"], f"{victim.origin}/file")
        assert begun.value.path().read_text() == 'window.seen = "nobody"'
    with victim.page.expect_download() as begun:
        attack(victim.page, "location = url", f"{victim.origin}/file")
    assert begun.value.path().read_text() == 'window.seen = "victim"'


# Speculation

SPECULATE = (
    "([kind, url]) => { const rules = document.createElement('script');"
    " rules.type = 'speculationrules';"
    " rules.textContent = JSON.stringify("
    "{[kind]: [{source: 'list', urls: [url], eagerness: 'immediate'}]});"
    " document.head.append(rules) }"
)


def speculating(page: Page, kind: str, url: str) -> Attack:
    return lambda mark: page.evaluate(SPECULATE, [kind, f"{url}?{mark}"])


@pytest.mark.parametrize("kind", ["prefetch", "prerender"])
def test_speculation_rules_of_a_foreign_page_get_nothing(
    victim: Victim, hostile: Upstream, kind: str
) -> None:
    for host in reversed(HOSTS):
        page = hostile_page(victim, hostile, host)
        for path in ("/me", "/logout", "/login"):
            for detour in ("", "/to?"):
                speculate = speculating(page, kind, f"{detour}{victim.origin}{path}")
                if host == "localhost":
                    assert victim.under_one(speculate) == 503
                else:  # of another site Chromium asks nothing: there are cookies
                    speculate(marked())
    assert not victim.upstream.received
    victim.assert_unharmed()


@pytest.mark.parametrize("kind", ["prefetch", "prerender"])
def test_speculation_rules_of_our_own_page_do_not_log_out_and_a_click_does(
    victim: Victim, kind: str
) -> None:
    marks = []

    def speculate(mark: str) -> None:
        marks.append(mark)
        speculating(victim.page, kind, "/logout")(mark)

    assert victim.under_one(speculate) == 503
    assert victim.who() == "victim"
    with victim.page.expect_navigation():
        attack(victim.page, "location = url", f"{victim.origin}/logout?{marks[-1]}")
    assert victim.who() == "nobody"


# Frames

FRAMES = {
    "iframe": "url => new Promise(done => document.body.append(Object.assign("
    "document.createElement('iframe'), {src: url, onload: () => done(0)})))",
    "object": "url => new Promise(done => document.body.append(Object.assign("
    "document.createElement('object'), {data: url, onload: () => done(0),"
    " onerror: () => done(0)})))",
}


@pytest.mark.parametrize("path", ["/page", "/api/app"])
def test_only_own_and_allowed_pages_show_the_app_in_a_frame(
    context: BrowserContext,
    proxy_with: ProxyWith,
    upstream: Upstream,
    hostile: Upstream,
    frontend: Upstream,
    path: str,
) -> None:
    upstream.respond = api
    proxy = proxy_with(
        "cookie_auth_prefix=/api",
        f"cookie_auth_frontend={frontend.url}",
        f"cookie_auth_allowed_origins=http://localhost:{hostile.port}",
    )
    victim = Victim(context, proxy, upstream, "/api")
    url = f"{victim.origin}{path}"

    def shown(page: Page, how: str) -> bool:
        page.evaluate(how, url)
        titles = [frame.title() for frame in page.frames[1:] if frame.url == url]
        return titles in (["app"], ["front end"])

    for how in FRAMES.values():
        victim.page.goto(f"{victim.origin}/api/app")
        assert shown(victim.page, how)
        for host in HOSTS:
            page = hostile_page(victim, hostile, host)
            assert shown(page, how) is (host == "localhost")


# Cookies

FORWARDING = {
    "img": ASKING["img"],
    "iframe": ASKING["iframe"],
    "fetch": ASKING["fetch no-cors"],
    "form in a frame": ASKING["form in a frame"],
    "popup": OPENING["window.open"],
    "navigation": LEADING["location"],
}


@pytest.mark.parametrize("how", FORWARDING)
def test_a_foreign_page_does_not_replace_a_forwarded_cookie(
    context: BrowserContext,
    proxy_with: ProxyWith,
    upstream: Upstream,
    hostile: Upstream,
    how: str,
) -> None:
    upstream.respond = api
    victim = Victim(context, proxy_with("cookie_auth_forward_cookies=sid"), upstream)
    upstream.respond = lambda request: (
        answer("{}", Set_Cookie="sid=anonymous; Path=/")
        if "/me" in request.target and not request.one("cookie")
        else api(request)
    )
    for host in HOSTS:
        context.add_cookies([{"name": "sid", "value": "the-users", "url": victim.origin}])
        page = hostile_page(victim, hostile, host)
        victim.under_one(attacking(page, FORWARDING[how], f"{victim.origin}/me"))
        assert victim.who("/other") == "victim"
        assert upstream.last.one("cookie") == "sid=the-users", host


EVIL_COOKIES = [
    ("Set-Cookie", "=auth-token=token-of-attacker; Path=/me"),
    ("Set-Cookie", "auth-token=token-of-attacker; Path=/me"),
    ("Set-Cookie", "auth-token=token-of-attacker"),
    ("Set-Cookie", "auth-token.0=token-of-attacker"),
    ("Set-Cookie", "auth-token-login=1.AAAAAAAAAAAA.AAAAAAAAAAAAAAAA"),
    ("Set-Cookie", "x=1\rSet-Cookie: auth-token=token-of-attacker"),
    ("X-Any", "1\rSet-Cookie: auth-token=token-of-attacker; Path=/me"),
    ("Set-Cookie", "auth-token=token-of-attacker; Domain=localhost; Path=/"),
    ("Set-Cookie", '"auth-token"=token-of-attacker'),
    ("Set-Cookie", "\x0bauth-token=token-of-attacker"),
    ("Set-Cookie", "auth-token"),
    ("Set-Cookie", "AUTH-TOKEN=token-of-attacker"),
]


@pytest.mark.parametrize("how", ["own fetch", "img", "popup"])
def test_no_cookie_that_an_answer_sets_passes_for_ours(
    context: BrowserContext, proxy_with: ProxyWith, upstream: Upstream, hostile: Upstream, how: str
) -> None:
    upstream.respond = lambda request: (
        answer("{}", headers=EVIL_COOKIES) if "/evil" in request.target else api(request)
    )
    victim = Victim(context, proxy_with("cookie_auth_forward_cookies=*"), upstream)
    before = session(context, victim)
    if how == "own fetch":
        victim.fetch("GET", "/evil")
    else:
        page = hostile_page(victim, hostile)
        victim.under_one(attacking(page, FORWARDING[how], f"{victim.origin}/evil"))
    assert victim.who() == "victim"
    assert session(context, victim) == before
    assert all(c["name"] for c in context.cookies(victim.origin + "/me"))


def session(context: BrowserContext, victim: Victim) -> list[tuple[str, str, str]]:
    cookies = context.cookies(f"{victim.origin}/me")
    ours = [cookie for cookie in cookies if cookie["name"].startswith("auth-token")]
    return sorted((cookie["name"], cookie["path"], cookie["value"]) for cookie in ours)


# Planted cookies

PLANT = {
    "script": "text => { document.cookie = text }",
    "server": "text => fetch('/set?' + encodeURIComponent(JSON.stringify([text]))).then(() => 0)",
}
NAMES = {
    "auth-token": "token-of-attacker",
    "auth-token.0": "token-of-attacker",
    "auth-token-login": "2.AAAAAAAAAAAA.l..AAAAAAAAAAAAAAAA",
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", PLANT)
def test_a_planted_cookie_is_no_session_and_takes_none_away(
    victim: Victim, hostile: Upstream, how: str, when: str
) -> None:
    page = hostile_page(victim, hostile)
    for name, value in NAMES.items():
        for path in ("/", "/me"):
            victim.context.clear_cookies()
            if when == "after":
                victim.log_in()
            page.evaluate(PLANT[how], f"{name}={value}; Path={path}")
            if when == "before":
                assert victim.who() == "nobody", (name, path)
                victim.log_in()
            # Cookies have no port: another port's server can replace ours. A script cannot, since
            # they are HttpOnly.
            replaced = (how, when, path) == ("server", "after", "/") and name != "auth-token.0"
            assert victim.who() == ("nobody" if replaced else "victim"), (name, path)
            victim.log_out()
            assert victim.who() == "nobody", (name, path)
            victim.log_in()
            assert victim.who() == "victim", (name, path)
    tokens = {request.one("auth-token") for request in victim.upstream.received}
    assert tokens == {None, "token-of-victim"}


@pytest.mark.parametrize("host", HOSTS[1:])
def test_another_site_plants_nothing(victim: Victim, hostile: Upstream, host: str) -> None:
    before = session(victim.context, victim)
    page = hostile_page(victim, hostile, host)
    for how in PLANT.values():
        for domain in ("; Domain=localhost", "; Domain=.localhost", ""):
            page.evaluate(how, f"auth-token=token-of-attacker; Path=/me{domain}")
    assert session(victim.context, victim) == before
    assert victim.who() == "victim"


@pytest.fixture
def attackers_login(victim: Victim) -> list[str]:
    """The cookies of a login through this proxy: another local server may have an account, too."""
    got = victim.mitmdump.client.post("/login", body='{"user": "attacker"}')
    return [field.replace("; HttpOnly", "") for field in got.all("set-cookie")]


@pytest.mark.parametrize("path", ["/", "/me"])
def test_another_login_that_a_script_plants_beside_the_users_gets_no_request(
    victim: Victim, hostile: Upstream, attackers_login: list[str], path: str
) -> None:
    page = hostile_page(victim, hostile)
    for text in attackers_login:
        page.evaluate(PLANT["script"], text.replace("Path=/", f"Path={path}"))
    assert victim.who() == "victim" if path == "/" else victim.who().startswith("400 ")
    assert victim.who("/other") == "victim"
    tokens = {request.one("auth-token") for request in victim.upstream.received}
    assert "token-of-attacker" not in tokens


def test_a_login_ends_what_another_planted_login_has_broken(
    victim: Victim, hostile: Upstream, attackers_login: list[str]
) -> None:
    page = hostile_page(victim, hostile)
    for text in attackers_login:
        page.evaluate(PLANT["script"], text.replace("Path=/", "Path=/me"))
    victim.who()
    victim.log_in()
    assert victim.who() == "victim"


def test_a_page_that_fills_the_jar_ends_the_session_at_worst(
    victim: Victim, hostile: Upstream
) -> None:
    page = hostile_page(victim, hostile)
    page.evaluate("() => { for (let i = 0; i < 400; i++) document.cookie = `x${i}=1` }")
    page.evaluate(PLANT["script"], "auth-token=token-of-attacker; Path=/")
    assert victim.who() in ("nobody", "victim")
    victim.log_in()
    assert victim.who() == "victim"
