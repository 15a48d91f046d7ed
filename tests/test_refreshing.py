"""What tells that a token has ended, and what is refused in how it is renewed."""

import re

import pytest
from exchanges.settings import OPTIONS, Settings
from mitmproxy import http
from settings.option import InvalidOption, Reader
from tokens.refreshing import LONGEST_TELLING, Expired, RefreshSettings

DEFAULTS = {option.name: option.default for option in OPTIONS}
JSON = {"content-type": "application/graphql-response+json; charset=utf-8"}


def expired(*said: str) -> Expired:
    return Expired.read(Reader({"cookie_auth_refresh.expired": said}))


def settings(**values: object) -> RefreshSettings | None:
    given = {f"cookie_auth_refresh{name}": value for name, value in values.items()}
    given = {name.replace("__", "."): value for name, value in given.items()}
    return Settings.parse(DEFAULTS | given, {}, given).token.refresh


@pytest.mark.parametrize(
    ("said", "status", "body", "told"),
    [
        ((), 401, "", True),
        ((), 419, "", False),
        (("419", "440"), 419, "", True),
        (("419",), 401, "", True),
        (("/errors/0/code=X",), 200, '{"errors": [{"code": "X"}]}', True),
        (("/errors/0/code=X",), 400, '{"errors": [{"code": "X"}]}', True),
        (("/errors/0/code=X",), 200, '{"errors": [{"code": "Y"}]}', False),
        (("/errors/0/code=X",), 200, '{"errors": {}}', False),
        (("/errors/0/code=X",), 200, '{"errors": [{"code": "X"}]', False),
        (("/errors/0/code=X",), 200, "[" * 50_000, False),
        (("/errors/0/code=X",), 200, "", False),
        (("/ok=false",), 200, '{"ok": false}', True),
        (("/code=-9",), 200, '{"code": -9}', True),
        (("/a=b=c",), 200, '{"a": "b=c"}', True),
        (("/a=",), 200, '{"a": ""}', True),
        (("/a=b",), 200, '{"a": "b", "c": "' + "x" * LONGEST_TELLING + '"}', False),
    ],
)
def test_what_tells_that_a_token_has_ended(
    said: tuple[str, ...], status: int, body: str, told: bool
) -> None:
    response = http.Response.make(status, body, JSON)
    assert expired(*said).says(response) is told
    assert expired(*said).may_say(response) or not told


def test_a_body_is_read_where_its_head_says_that_it_is_short_json_only() -> None:
    body = '{"a": "b"}'
    table = expired("/a=b")
    assert table.says(http.Response.make(200, body, JSON))
    assert not table.says(http.Response.make(200, body, {"content-type": "text/plain"}))
    chunked = http.Response.make(200, body, JSON | {"transfer-encoding": "chunked"})
    chunked.headers.pop("content-length", None)
    assert not table.says(chunked)
    packed = http.Response.make(200, body, JSON)
    packed.encode("gzip")
    assert table.says(packed)
    packed.headers["content-encoding"] = "br"
    assert not table.says(packed)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"__expired": ["200"]}, "a status such as 419, or what JSON says: /errors/0/"),
        ({"__expired": ["code=X"]}, "a status such as 419, or what JSON says"),
        ({"__answer": ["a/b"]}, "/a/b"),
        ({"__next": "location:x"}, "a JSON Pointer such as /refreshToken, header:NAME, or"),
        ({"_token": "cookie:a b"}, "header:X-Auth-Token, cookie:token, or"),
        ({"_token": "location:x"}, "a JSON Pointer such as /refreshToken, header:NAME, or"),
        ({"__headers": ["X"]}, "a header with its value"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidOption, match=re.escape(told)):
        settings(**values)


def test_a_token_that_renews_itself_needs_no_refresh_token() -> None:
    found = settings(**{"": "/refresh", "_body": "t={token}"})
    assert found
    assert found.source is found.next is None


def test_where_the_next_refresh_token_is_follows_the_login_unless_it_is_said() -> None:
    found = settings(**{"": "/refresh", "_token": "header:X-Refresh"})
    assert found
    assert found.source == found.next
    assert [source.text for source in found.answer] == ["/authToken"]
    found = settings(**{"": "/refresh", "__next": "/next", "__answer": ["/new"]})
    assert found
    assert found.next
    assert (found.next.text, found.answer[0].text) == ("/next", "/new")
