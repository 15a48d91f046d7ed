"""A login's user says whether to stay logged in: `login: {remember: …}` in a profile."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from credentials.companion import Companion, Notary, Session
from mitmproxy.test import tutils
from page import Page
from support import Message, Mitmdump, Upstream, answer
from token_api import stand_ins
from tokens import login_like
from tokens.json_pointer import JsonPointer

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
PARTS = '--b\r\nContent-Disposition: form-data; name="me"\r\n\r\n1\r\n--b--'


@pytest.mark.parametrize(
    ("member", "kind", "body", "says"),
    [
        ("me", "application/json", '{"me": true}', True),
        ("me", "application/json", '{"me": "true"}', True),
        ("me", "", '{"me": 1}', True),
        ("me", "application/json", '{"me": "on"}', True),
        ("me", "application/json", '{"me": false}', False),
        ("me", "application/json", '{"me": "False"}', False),
        ("me", "application/json", '{"me": 0}', False),
        ("me", "application/json", '{"me": null}', False),
        ("me", "application/json", '{"me": ["on"]}', False),
        ("me", "application/json", "{}", False),
        ("me", "application/json", "[" * 100_000, False),
        ("me", "application/json", "", False),
        ("/user/me", "application/json", '{"user": {"me": 1}}', True),
        ("/user/me", "application/json", '{"me": 1}', False),
        ("me", FORM, "a=b&me=on", True),
        ("me", FORM, "me=forever", True),
        ("me", FORM, "me=", False),
        ("me", FORM, "a=b", False),
        ("user[me]", FORM, "user[me]=0&user[me]=1", True),
        ("user[me]", FORM, "user[me]=0", False),
        (
            "me",
            MULTIPART,
            '--b\r\nContent-Disposition: form-data; name="me"\r\n\r\n1\r\n--b--',
            True,
        ),
    ],
)
def test_a_member_says_yes_if_it_is_there_and_no_word_for_no(
    member: str, kind: str, body: str, says: bool
) -> None:
    request = tutils.treq(content=body.encode(), headers=[(b"content-type", kind.encode())])
    assert login_like.says_yes(request, JsonPointer.parse(member)) is says


@pytest.mark.parametrize("remembered", [None, True, False])
def test_the_companion_keeps_it_and_nobody_else_can_say_it(remembered: bool | None) -> None:
    notary = Notary((b"k" * 32,), "https://api.example.com")
    session = Session("abcdefghijkl", issued=True, remembered=remembered)
    value = notary.companion(session, {})
    read = Companion.read(value)
    assert read
    assert read.session == session
    assert notary.issued(read)
    for age in {"", "r", "s"} - {value.split(".")[2][1:]}:
        changed = Companion.read(re.sub(r"\.l[rs]?\.", f".l{age}.", value))
        assert changed
        assert not notary.issued(changed)


# Against a real mitmdump

PROFILE = """
login: {{rule: [/login], remember: rememberMe, remember_age: 1000, body: {body}}}
refresh: {{rule: /refresh}}
token: [/authToken, "header:X-Auth"]
switch: [/switch]
"""


class Api:
    def __init__(self) -> None:
        self.number = 0
        self.good = ""

    def __call__(self, request: Message) -> bytes:
        if request.target in ("/login", "/refresh", "/switch"):
            self.number += 1
            self.good = f"tk-{self.number}-9Kq0vWq9ZtR3"
            return answer(
                json.dumps({"authToken": self.good, "refreshToken": f"rf-{self.number}-uE5nH2aPb8"})
            )
        if request.target == "/slides":
            self.good += "x"
            return answer("{}", X_Auth=self.good)
        return answer("{}", 200 if request.one("auth-token") == self.good else 401)


def ages(got: Message) -> set[str | None]:
    """Max-Age of the cookies that an answer sets."""
    fields = [field for field in got.all("set-cookie") if "Max-Age=0" not in field]
    assert any(field.startswith("auth-token=") for field in fields)
    assert any(field.startswith("auth-token-login=") for field in fields)
    found = [re.search(r"Max-Age=(\d+)", field) for field in fields]
    return {match[1] if match else None for match in found}


@pytest.fixture
def api(upstream: Upstream) -> Api:
    upstream.respond = api = Api()
    return api


@pytest.fixture
def begin(start: Callable[..., Mitmdump], tmp_path: Path) -> Callable[..., Mitmdump]:
    """Start a mitmdump with the profile."""

    def begin(body: str = "replace", *options: str) -> Mitmdump:
        file = tmp_path / "shop.yaml"
        file.write_text(PROFILE.format(body=body))
        given = [f"cookie_auth_profile={file}", *options]
        return start(*(part for option in given for part in ("--set", option)))

    return begin


@pytest.mark.parametrize(("body", "age"), [('{"rememberMe": true}', "1000"), ("{}", None)])
def test_it_survives_renewals_and_switches_and_another_process(
    begin: Callable[..., Mitmdump], api: Api, body: str, age: str | None
) -> None:
    proxy = begin()
    page = Page(proxy.client)
    assert ages(page.post("/login", body, content_type="application/json")) == {age}
    assert ages(page.get("/slides")) == {age}
    api.good = "over"
    assert ages(page.get("/me")) == {age}
    assert ages(page.post("/refresh")) == {age}
    assert ages(page.post("/switch")) == {age}
    proxy.stop()
    page = Page(begin().client, page.jar)
    api.good = "over"
    got = page.get("/me")
    assert (got.status, ages(got)) == (200, {age})
    # The next login says it anew.
    other = "{}" if age else '{"rememberMe": "on"}'
    assert ages(page.post("/login", other)) == {None if age else "1000"}


def test_so_does_that_of_a_page_with_stand_ins(begin: Callable[..., Mitmdump], api: Api) -> None:
    page = Page(begin("stand-in", "cookie_auth_max_age=token").client)
    for body, age in (("{}", None), ('{"rememberMe": 1}', "1000")):
        got = page.post("/login", body, content_type="application/json")
        assert ages(got) == {age}
        access, refresh = stand_ins(got)
        page.get("/me", auth_token=access)
        got = page.post(
            "/refresh",
            json.dumps({"refreshToken": refresh}),
            content_type="application/json",
            auth_token=access,
        )
        assert ages(got) == {age}


def test_without_the_key_all_is_as_ever(
    proxy_with: Callable[..., Mitmdump], upstream: Upstream
) -> None:
    upstream.answers('{"authToken": "tk-9Kq0vWq9ZtR3"}')
    page = Page(proxy_with("cookie_auth_max_age=77").client)
    assert ages(page.post("/login", '{"rememberMe": true}')) == {"77"}
    assert page.cookies["auth-token-login"].split(".")[2] == "l"
