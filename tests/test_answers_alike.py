"""An answer whose head is as one before, but for the date, is translated as that was."""

import gzip
import json
from collections.abc import Callable

import pytest
from exchanges.answer_heads import AnswerHeads
from mitmproxy import http
from page import Page
from support import Client, Mitmdump, Upstream, answer
from test_stand_in_answers import TOKEN, sign_in
from token_api import bearer

FIRST = "Sun, 29 Nov 2026 10:00:00 GMT"
BROWSER = [
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Dest", "empty"),
]
LATER = "Mon, 30 Nov 2026 11:11:11 GMT"


def response(date: str | bytes, **more: str) -> http.Response:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in more.items()]
    date = date if isinstance(date, bytes) else date.encode()
    return http.Response.make(200, b"", http.Headers([(b"Date", date), *fields]))


def seen(heads: AnswerHeads, *responses: http.Response, only: bool = True) -> list[str]:
    """The dates of those that were not translated as one before."""
    anew = []

    def translate(one: http.Response) -> bool:
        anew.append(one.headers["date"])
        one.headers["x-translated"] = "yes"
        return only

    for one in responses:
        heads.translate(one, translate, lambda _: None)
        assert one.headers["x-translated"] == "yes"
    return anew


def test_one_that_differs_in_its_date_is_translated_as_the_first_and_keeps_its_own() -> None:
    first, later = response(FIRST), response(LATER)
    assert seen(AnswerHeads(), first, later) == [FIRST]
    assert (first.headers["date"], later.headers["date"]) == (FIRST, LATER)


def test_a_field_without_a_value_does_not_get_the_date() -> None:
    first, later = response(FIRST, empty=""), response(LATER, empty="")
    assert seen(AnswerHeads(), first, later) == [FIRST]
    assert later.headers["empty"] == ""


@pytest.mark.parametrize(
    "date", [b"eyJhbGciOiJub25lIn0", b"sun, 29 nov 2026 10:00:00 gmt", FIRST.encode() + b"\r"]
)
def test_what_is_no_date_is_not_left_out_of_the_comparison(date: bytes) -> None:
    heads = AnswerHeads()
    assert len(seen(heads, response(FIRST), response(date))) == 2


def test_any_other_field_makes_it_another_head() -> None:
    heads = AnswerHeads()
    assert len(seen(heads, response(FIRST), response(FIRST, etag='"a"'), response(FIRST))) == 2


def test_what_did_more_than_change_the_head_is_done_each_time() -> None:
    assert seen(AnswerHeads(), response(FIRST), response(LATER), only=False) == [FIRST, LATER]


def test_long_heads_are_not_remembered_and_of_others_only_a_few() -> None:
    heads = AnswerHeads()
    assert len(seen(heads, *(response(FIRST, x="y" * 9000) for _ in range(2)))) == 2
    assert len(seen(heads, *(response(FIRST, x=str(n)) for n in range(5)))) == 5
    assert len(seen(heads, response(FIRST, x="4"), response(FIRST, x="0"))) == 1


@pytest.fixture
def page(proxy_with: Callable[..., Mitmdump]) -> Page:
    return Page(proxy_with().client)


@pytest.fixture
def ask(proxy_with: Callable[..., Mitmdump], upstream: Upstream) -> Callable[..., list[str]]:
    """Ask thrice for the same, and get this field of the answers."""
    client: Client = proxy_with().client
    upstream.answers('{"authToken": "token-of-ada-0123456789"}')
    cookies = [field.partition(";")[0] for field in client.post("/login").all("set-cookie")]

    def ask(name: str, *answers: bytes) -> list[str]:
        waiting = list(answers)
        upstream.respond = lambda request: waiting.pop(0)
        got = [client.get("/me", BROWSER, Cookie="; ".join(cookies)) for _ in answers]
        assert [m.all("auth-token") for m in upstream.received[-len(answers) :]] == [
            ["token-of-ada-0123456789"]
        ] * len(answers)
        return [", ".join(message.all(name)) for message in got]

    return ask


def test_each_answer_has_the_date_that_the_api_gave_it(ask: Callable[..., list[str]]) -> None:
    assert ask("date", *(answer("{}", Date=date) for date in (FIRST, LATER, FIRST))) == [
        FIRST,
        LATER,
        FIRST,
    ]


def test_entity_tags_are_the_logins_own_each_time(ask: Callable[..., list[str]]) -> None:
    first, *others = ask("etag", *(answer("{}", Date=d, ETag='"a"') for d in (FIRST, LATER, LATER)))
    assert first.startswith('"~')
    assert others == [first, first]


def test_a_token_in_a_head_that_was_fine_before_is_found(ask: Callable[..., list[str]]) -> None:
    plain, leaking = answer("{}", X="y"), answer("{}", X="token-of-ada-0123456789")
    got = ask("x", plain, leaking, leaking)
    assert got[0] == "y"
    assert not any("token-of-ada" in value for value in got)


def test_what_streams_streams_each_time(page: Page, upstream: Upstream) -> None:
    """And has its stand-ins, and a head as the first had."""
    given = sign_in(page, upstream)
    body = b'{"you": "%s"}' % TOKEN.encode()
    packed = gzip.compress(body)
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    upstream.respond = lambda request: answer(
        chunks,
        Content_Type="application/json",
        Content_Encoding="gzip",
        Transfer_Encoding="chunked",
        ETag='"a"',
    )
    first, *others = (bearer(page, given) for _ in range(4))
    assert json.loads(first.body) == {"you": given}
    for other in others:
        assert other.body == first.body
        assert other.one("etag") == first.one("etag")
        assert other.one("content-encoding") is None
    # One that does not stream, in between
    upstream.answers(body)
    assert json.loads(bearer(page, given).body) == {"you": given}


def test_a_logout_is_one_though_its_answer_streams_as_others_did(
    page: Page, upstream: Upstream
) -> None:
    given = sign_in(page, upstream)
    upstream.respond = lambda request: answer(
        b"2\r\n{}\r\n0\r\n\r\n", Content_Type="application/json", Transfer_Encoding="chunked"
    )
    for _ in range(2):
        assert page.get("/logout-all", authorization=f"Bearer {given}").set_cookies == []
        assert bearer(page, given, "/me").status == 200
    page.post("/auth/logout", authorization=f"Bearer {given}")
    assert not page.cookies
