"""What Chromium's caches hand to whom: not to foreign pages, nor to the next user."""

import json

import pytest
from playwright.sync_api import BrowserContext, Page
from support import Client, Headers, Message, Upstream, answer

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"

# How the API lets its answers be cached, by the first segment of the path. Its validators tell
# versions apart, not users.
CACHING: dict[str, Headers] = {
    "fresh": [("Cache-Control", "max-age=600")],
    "version": [("Cache-Control", "no-cache"), ("ETag", '"7"')],
    "weak": [("Cache-Control", "no-cache"), ("ETag", 'W/"7"')],
    "fresh-version": [("Cache-Control", "max-age=600, immutable"), ("ETag", '"7"')],
    "date": [("Last-Modified", DATE)],
    "date-asked": [("Cache-Control", "no-cache"), ("Last-Modified", DATE)],
    "stale": [("Cache-Control", "max-age=0, stale-while-revalidate=600"), ("ETag", '"7"')],
}
WIDTHS = {"nobody": 10, "A": 20, "B": 30}


def api(request: Message) -> bytes:
    """Answers with who asked, as a script or an image, to whoever asks with whatever is current."""
    path = request.target.partition("?")[0]
    if path == "/login":
        return answer(json.dumps({"authToken": f"token-of-{json.loads(request.body)['user']}"}))
    caching, _, form = path[1:].partition("/")
    if caching not in CACHING:
        return answer("<!doctype html><body>", Content_Type="text/html", Cache_Control="no-store")
    headers = CACHING[caching]
    tag, date = request.one("if-none-match"), request.one("if-modified-since")
    if tag == dict(headers).get("ETag", "") or (tag is None and date == DATE):
        return answer(status=304, headers=headers)
    user = (request.one("auth-token") or "nobody").removeprefix("token-of-")
    if form == "img":
        body = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTHS[user]}" height="9"/>'
        return answer(body, headers=headers, Content_Type="image/svg+xml")
    return answer(f"window.seen = '{user}'", headers=headers, Content_Type="text/javascript")


# Each says whose answer the page has got.
ASK = {
    "js": "url => new Promise((done, fail) => { const script = document.createElement('script');"
    " script.onload = () => done(window.seen); script.onerror = fail; script.src = url;"
    " document.body.append(script) })",
    "img": "url => new Promise((done, fail) => { const image = new Image();"
    " image.onload = () => done(({10: 'nobody', 20: 'A', 30: 'B'})[image.naturalWidth]);"
    " image.onerror = fail; image.src = url })",
    "fetch": 'url => fetch(url).then(r => r.text()).then(text => text.split("\'")[1])',
}
NO_CORS = (
    "url => fetch(url, {mode: 'no-cors', credentials: 'include', cache: 'CACHE'}).then(() => 0)"
)


@pytest.fixture
def foreign() -> str:
    """A page on another port of localhost: same site, other origin."""
    server = Upstream()
    server.answers("<!doctype html><body>", Content_Type="text/html")
    return f"http://localhost:{server.port}/"


@pytest.fixture
def own(upstream: Upstream, proxy: Client) -> str:
    """The address of the proxy in front of the API above."""
    upstream.respond = api
    return f"http://localhost:{proxy.port}/"


@pytest.fixture
def page(context: BrowserContext, own: str) -> Page:
    """A page of the proxy's origin, in which A is logged in."""
    page = context.new_page()
    page.goto(own)
    log_in(page, "A")
    return page


def log_in(page: Page, user: str) -> None:
    body = json.dumps({"user": user})
    headers = {"content-type": "application/json"}
    call = (
        "([body, headers]) => fetch('/login', {method: 'POST', body, headers}).then(r => r.text())"
    )
    assert page.evaluate(call, [body, headers]) == '{"loggedIn": true}'


def log_out(page: Page) -> None:
    call = "() => fetch('/logout', {method: 'POST'}).then(r => r.text())"
    assert page.evaluate(call) == '{"loggedIn": false}'


def ask(page: Page, how: str, url: str) -> str:
    return str(page.evaluate(ASK[how], url))


by_all_means = pytest.mark.parametrize("how", ["js", "img"])
whatever_caching = pytest.mark.parametrize("caching", ["fresh", "version", "fresh-version", "date"])


@by_all_means
@whatever_caching
def test_a_page_on_another_port_gets_nothing_from_the_users_cache(
    context: BrowserContext, own: str, page: Page, foreign: str, caching: str, how: str
) -> None:
    url = f"{own}{caching}/{how}"
    assert ask(page, how, url) == "A"
    other = context.new_page()
    other.goto(foreign)
    assert ask(other, how, url) == "nobody"
    # In the tab that was the user's, so perhaps in the same process.
    log_in(page, "A")
    assert ask(page, how, url) == "A"
    page.goto(foreign)
    assert ask(page, how, url) == "nobody"


@pytest.mark.parametrize("cache", ["default", "force-cache"])
@whatever_caching
def test_a_fetch_without_cors_from_another_port_gets_nothing_either(
    context: BrowserContext, own: str, page: Page, foreign: str, caching: str, cache: str
) -> None:
    url = f"{own}{caching}/js"
    assert ask(page, "fetch", url) == "A"
    other = context.new_page()
    other.goto(foreign)
    with other.expect_response(url) as got:  # sees what the page itself cannot
        other.evaluate(NO_CORS.replace("CACHE", cache), url)
    assert got.value.text() == "window.seen = 'nobody'"


@by_all_means
@whatever_caching
def test_a_foreign_page_that_fills_the_cache_first_does_not_choose_what_the_user_sees(
    own: str, page: Page, foreign: str, caching: str, how: str
) -> None:
    url = f"{own}{caching}/{how}"
    page.goto(foreign)
    assert ask(page, how, url) == "nobody"
    other = page.context.new_page()
    other.goto(own)
    assert other.evaluate(ASK[how], url) == "A"
    assert other.evaluate(ASK["fetch"], url.replace("img", "js")) == "A"


@pytest.mark.parametrize("how", ["js", "img", "fetch"])
@whatever_caching
def test_after_logout_nobody_sees_the_last_users_answers(
    own: str, page: Page, caching: str, how: str
) -> None:
    url = f"{own}{caching}/{how}"
    assert ask(page, how, url) == "A"
    log_out(page)
    if how == "img":  # a document keeps its images, whatever HTTP says (HTML, 2.5 "available")
        page.goto(own + "?another-document")
    assert ask(page, how, url) == "nobody"
    log_in(page, "B")
    page.goto(own + "?of-B")
    assert ask(page, how, url) == "B"


@whatever_caching
def test_what_fetch_left_in_the_cache_is_not_the_next_users_script(
    own: str, page: Page, caching: str
) -> None:
    url = f"{own}{caching}/js"
    assert ask(page, "fetch", url) == "A"
    assert ask(page, "js", url) == "A"
    log_out(page)
    log_in(page, "B")
    page.goto(own + "?of-B")
    assert ask(page, "js", url) == "B"


@pytest.mark.parametrize(
    ("caching", "asks_again_with"),
    [
        ("fresh", None),
        ("fresh-version", None),
        ("date", None),
        ("version", ("if-none-match", '"7"')),
        ("weak", ("if-none-match", 'W/"7"')),
        ("date-asked", ("if-modified-since", DATE)),
    ],
)
def test_the_cache_goes_on_working_for_its_user(
    own: str, page: Page, upstream: Upstream, caching: str, asks_again_with: tuple[str, str] | None
) -> None:
    url = f"{own}{caching}/js"
    assert ask(page, "fetch", url) == "A"
    upstream.received.clear()
    assert ask(page, "fetch", url) == "A"
    if asks_again_with is None:
        assert upstream.received == []
    else:
        conditions = [field for field in upstream.last.headers if field[0].startswith("if-")]
        assert conditions == [asks_again_with]


def test_a_stale_answer_is_given_while_the_cache_asks_for_a_new_one(
    own: str, page: Page, upstream: Upstream
) -> None:
    url = f"{own}stale/js"
    assert ask(page, "fetch", url) == "A"
    # The cache asks in the background (RFC 5861 section 3), sooner or later, so only the answer
    # tells what was given: the API has another by now.
    upstream.respond = lambda request: answer("window.seen = 'A, later'", headers=CACHING["stale"])
    assert ask(page, "fetch", url) == "A"
    page.wait_for_function(f"() => ({ASK['fetch']})('{url}').then(seen => seen === 'A, later')")
