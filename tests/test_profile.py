"""Profiles: how they are read and written, what is wrong with one, and what goes first."""

import json
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from exchanges.learned import Given, Learned
from exchanges.settings import OPTIONS, Settings
from hypothesis import example, given
from hypothesis import strategies as st
from inspection import saving
from page import Page
from profiles import reading, writing
from profiles.reading import Profile, recipes
from settings.option import TABLES, InvalidOption, Option
from support import ADDON, Message, Mitmdump, Upstream, answer
from token_api import opaque, signed

DEFAULTS = {option.name: option.default for option in OPTIONS}

Start = Callable[..., Mitmdump]


def parse(text: str | bytes) -> Profile:
    data = text.encode() if isinstance(text, str) else text
    return Profile.parse("shop.yaml", data, OPTIONS)


# Read

WITH_KEYS = (
    *OPTIONS,
    Option("cookie_auth_refresh.times", Sequence[str], [], "A key of profiles only."),
    Option("cookie_auth_refresh.tables", TABLES, [], "Another."),
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("refresh: {rule: /a, body: b}\n", {"refresh": "/a", "refresh_body": "b"}),
        (
            "refresh:\n  rule: POST /a\n  times: [1, '2']\n",
            {"refresh": "POST /a", "refresh.times": ["1", "2"]},
        ),
        ("login: {rule: [/a], body: redact}\n", {"login": ["/a"], "login_body": "redact"}),
        (
            "logout:\n  upstream: true\n  upstream_method: PUT\n",
            {"logout_upstream": True, "logout_upstream_method": "PUT"},
        ),
        (
            "refresh:\n  tables:\n  - {a: b, n: 1}\n  - {}\n",
            {"refresh.tables": [{"a": "b", "n": "1"}, {}]},
        ),
        ("refresh: {}\n", {}),
    ],
)
def test_what_belongs_together_may_stand_in_a_mapping(text: str, values: dict[str, object]) -> None:
    found = Profile.parse("shop.yaml", text.encode(), WITH_KEYS).values
    assert found == {f"cookie_auth_{name}": value for name, value in values.items()}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("refresh: {times: 1}\n", "refresh.times: '1' is wrong; it must be a list of texts"),
        ("refresh: {tables: [a]}\n", "it must be a list of mappings, one name and one text"),
        ("refresh: {tables: [{a: [b]}]}\n", "it must be a list of mappings, one name and one text"),
        ("refresh.times: [1]\n", "'refresh.times' stands in a mapping: refresh: {times: …}"),
    ],
)
def test_a_key_that_is_wrong_is_told_by_its_group(text: str, told: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        Profile.parse("shop.yaml", text.encode(), WITH_KEYS)
    assert f"shop.yaml:1: {told}" in str(caught.value) or told in str(caught.value)


@pytest.mark.parametrize(
    ("before", "values", "after"),
    [
        ("refresh: {rule: /a}\n", {"refresh": "/b"}, "refresh: {rule: /b}\n"),
        (
            "refresh: # ours\n  rule: /a # here\n",
            {"refresh_body": "x", "refresh.times": ["1"]},
            "refresh: # ours\n  rule: /a # here\n  body: x\n  times: ['1']\n",
        ),
        ("refresh: /a\n", {"refresh.times": ["1"]}, "refresh:\n  rule: /a\n  times: ['1']\n"),
        ("header: x\n", {"refresh.times": ["1"]}, "header: x\nrefresh:\n  times: ['1']\n"),
        ("refresh: {times: ['1']}\n", {"refresh.times": ["1"]}, "refresh: {times: ['1']}\n"),
    ],
)
def test_what_stands_in_a_mapping_is_written_there(
    before: str, values: dict[str, object], after: str
) -> None:
    assert writing.merged(before, {f"cookie_auth_{k}": v for k, v in values.items()}) == after


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# only a comment\n", {}),
        ("login: [/auth/sign-in]\n", {"login": ["/auth/sign-in"]}),
        ("login:\n- /a\n- /b # why\n", {"login": ["/a", "/b"]}),
        ("max_age: 3600\n", {"max_age": "3600"}),
        ("clear_on_401: true\nredact: False\n", {"clear_on_401": True, "redact": False}),
        ("header_format: Bearer {token}\n", {"header_format": "Bearer {token}"}),
        ("header_format: '{token}'\n", {"header_format": "{token}"}),
        ("refresh: ''\n", {"refresh": ""}),
        ("login: &paths [/a]\nexpose: *paths\n", {"login": ["/a"], "expose": ["/a"]}),
        ("\ufefflogin: [/a]\r\n", {"login": ["/a"]}),
        ("---\nheader: x\n", {"header": "x"}),
    ],
)
def test_a_profile_is_options_without_their_prefix(text: str, values: dict[str, object]) -> None:
    assert parse(text).values == {f"cookie_auth_{name}": value for name, value in values.items()}


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("# c\n\nlogn: [/a]\n", 3, "'logn': there is no such option; is it login?"),
        ("cookie_auth_login: [/a]\n", 1, "names have no cookie_auth_ here; it must be login"),
        ("listen_port: 1\n", 1, "'listen_port': there is no such option; is it"),
        ("1: 2\n", 1, "there is no such option"),
        ("? [a]\n: 1\n", 1, "a list or mapping is no name of an option"),
        ("a: 1\n", 1, "there is no such option"),
        ("<<: {login: [/a]}\n", 1, "there is no such option"),
        ("header: x\nlogin: [/a]\nheader: y\n", 3, "header: is there already in line 1"),
        ("secret: hunter2\n", 1, "secret: does not belong here; a profile is for others to read"),
        ("cookie_auth_secret: hunter2\n", 1, "secret: does not belong here"),
        ("profile: strapi\n", 1, "profile: does not belong here"),
        ("login: /a\n", 1, "login: '/a' is wrong; it must be a list of texts, such as [/a]"),
        ("login:\nheader: x\n", 1, "login: nothing is wrong; it must be a list of texts in [ ]"),
        ("login: {a: b}\n", 1, "'login.a': there is no such option; is it "),
        ("refresh:\n  bdy: x\n", 2, "'refresh.bdy': there is no such option; is it body?"),
        ("refresh: {rule: [/a]}\n", 1, "refresh: a list is wrong; it must be one text"),
        ("refresh: /a\nrefresh_body: x\nrefresh:\n", 3, "there already in line 1"),
        ("refresh_body: x\nrefresh: {body: y}\n", 2, "refresh_body: is there already in line 1"),
        ("expose: {a: b}\n", 1, "expose: a mapping is wrong; it must be a list of texts in [ ]"),
        ("login: [[/a]]\n", 1, "login: a list is wrong; it must be a list of texts"),
        ("login: [/a, 1.5]\n", 1, "login: a list is wrong; it must be a list of texts"),
        ("header_format: {token}\n", 1, "it must be one text, in quotes where it begins with {"),
        ("header: [a]\n", 1, "header: a list is wrong; it must be one text"),
        ("header: true\n", 1, "header: 'true' is wrong; it must be one text"),
        ("header: ~\n", 1, "header: '~' is wrong; it must be one text"),
        ("header: !!python/name:os.system x\n", 1, "it must be one text"),
        ("redact: yes\n", 1, "redact: 'yes' is wrong; it must be true or false"),
        ("redact: 'true'\n", 1, "redact: 'true' is wrong; it must be true or false"),
        ("redact: !!bool maybe\n", 1, "redact: 'maybe' is wrong; it must be true or false"),
        ("redact: 1\n", 1, "redact: '1' is wrong; it must be true or false"),
        ("login: [/a\nheader: x\n", 2, "is wrong; it must be YAML: "),
        ("header: a: b\n", 1, "it must be YAML: mapping values are not allowed here"),
        ("header: x\n\theader: y\n", 2, "it must be YAML: "),
        ("header: x\nlogin: *nope\n", 2, "it must be YAML: found undefined alias"),
        ("header: x\n---\nheader: y\n", 2, "it must be YAML: but found another document"),
        ("header: x\nlogin: \x01\n", 2, "it must be YAML: a character that YAML does not allow"),
        (b"header: x\nlogin: \xff\n", 2, "it must be UTF-8"),
        ("- login\n", 1, "it must be lines like login: [/auth/sign-in]"),
        ("\nnonsense\n", 2, "it must be lines like login: [/auth/sign-in]"),
        ("login: " + "[" * 20_000, 1, "is wrong; it must be YAML"),
        ("login: &a [*a]\n", 1, "is wrong; it must be"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_file_line_and_what_would_be_right(
    text: str | bytes, line: int, told: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse(text)
    said = str(caught.value)
    assert said.startswith(f"shop.yaml:{line}: ")
    assert told in said
    assert "\n" not in said
    assert "hunter2" not in said


@given(st.binary(max_size=200) | st.text("abl og:[]{}'\"#&*!-|>?\n\t%@`,", max_size=60))
def test_whatever_a_file_holds_it_is_a_profile_or_is_refused_in_one_line(
    text: str | bytes,
) -> None:
    try:
        assert not parse(text).values
    except InvalidOption as error:
        assert re.match(r"shop\.yaml:\d+: ", str(error))
        assert "\n" not in str(error)


def resolved(text: str, **given: object) -> Settings:
    """The settings from a profile, and from what was set otherwise."""
    profile = parse(text)
    others = {f"cookie_auth_{name}": value for name, value in given.items()}
    options = profile.beneath(DEFAULTS | others, others)
    try:
        return Settings.parse(options.values, {}, options.given)
    except InvalidOption as error:
        raise profile.located(error, others) from None


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("# c\nlogin: [login]\n", 2, "login: 'login' is wrong; it must be a path that begins"),
        ("login:\n- /a\n- b\n", 3, "login: 'b' is wrong; it must be a path"),
        ("login: []\n", 1, "login: [] is wrong; it must be a list with at least one value"),
        ("header: x\nsamesite: sometimes\n", 2, "it must be lax, strict, none or partitioned"),
        ("frontend: http://localhost:1\n", 1, "used with cookie_auth_prefix"),
        ("max_age: -1\n", 1, "max_age: '-1' is wrong"),
    ],
)
def test_a_wrong_value_is_told_with_its_line(text: str, line: int, told: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        resolved(text)
    assert str(caught.value).startswith(f"shop.yaml:{line}: ")
    assert told in str(caught.value)


def test_what_is_set_goes_first_and_is_not_told_as_the_files() -> None:
    text = "header: x-from-file\nsamesite: strict\n"
    settings = resolved(text, header="x-set", login=["/set"])
    assert (settings.header.name, settings.cookie.same_site) == ("x-set", "strict")
    assert [rule.text for rule in settings.paths.logins] == ["/set"]
    with pytest.raises(InvalidOption, match=r"^cookie_auth_samesite: 'never' is wrong"):
        resolved(text, samesite="never")


def test_keys_of_a_profile_count_as_given() -> None:
    assert resolved("").lenient
    assert not resolved("login: [/login]\n").lenient
    assert not resolved("").header.given
    assert resolved("header: auth-token\n").header.given
    assert resolved("max_age: session\n").cookie.max_age_given


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("login: [/a]\nforward_cookies: [csrftoken]\n", ""),
        ("leak: block\n", ""),
        ("leak: stand-in\nexpose: []\n", ""),
        ("leak: 'Off'\n", "leak (Off)"),
        ("leak: warn\n", "leak (warn)"),
        ("public_origin: https://a.test\n", "public_origin (https://a.test)"),
        (
            "allowed_origins: ['http://localhost:3000']\nallowed_hosts: [.test]\n"
            "expose: [pushToken, id_token]\nfrontend: http://localhost:5173\n",
            "allowed_origins (http://localhost:3000), allowed_hosts (.test),"
            " expose (pushToken, id_token), frontend (http://localhost:5173)",
        ),
    ],
)
def test_what_of_a_profile_widens_trust_is_told(text: str, told: str) -> None:
    line = parse(text).beneath(DEFAULTS, ()).widened
    assert line == (f"the profile shop.yaml widens trust: {told}" if told else "")
    assert not parse(text).beneath(DEFAULTS, [option.name for option in OPTIONS]).widened


def test_a_profile_is_a_file_or_the_name_of_a_recipe(tmp_path: Path) -> None:
    assert Profile.named("", OPTIONS) == Profile()
    assert Profile.named("strapi", OPTIONS).values["cookie_auth_token"] == ["/jwt"]
    file = tmp_path / "strapi"
    file.write_text("header: x\n")
    assert Profile.named(str(file), OPTIONS).values == {"cookie_auth_header": "x"}
    with pytest.raises(InvalidOption, match=r"one of the recipes: .*directus, .*strapi"):
        Profile.named("strappy", OPTIONS)


def test_a_home_folder_and_the_working_directory_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.yaml").write_text("header: x\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Profile.named("~/shop.yaml", OPTIONS).values
    monkeypatch.chdir(tmp_path)
    assert Profile.named("shop.yaml", OPTIONS).values


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere/shop.yaml", "a file that can be read: No such file"),
        ("/", "a file that can be read: Is a directory"),
        ("~nobody-of-this-name/shop.yaml", "a file that can be read: "),
        ("a\0.yaml", "a file that can be read: "),
        ("/dev/zero", "of at most 64 KiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(name: str, told: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        Profile.named(name, OPTIONS)
    assert str(caught.value).startswith("cookie_auth_profile: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_says_where_it_was_driven_and_makes_settings(name: str) -> None:
    text = (reading.RECIPES / f"{name}.yaml").read_text()
    assert resolved(text).header.given
    assert not parse(text).beneath(DEFAULTS, ()).widened
    assert re.search(r"^# Driven: .*\d+\.\d+", text, re.MULTILINE)
    listed = (reading.RECIPES / "README.md").read_text()
    assert f"[{name}]({name}.yaml)" in listed


# Written

NEW = {"cookie_auth_login": ["/1", "/2", "/3"], "cookie_auth_header": "Z"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "login: [/1, /2, /3]\nheader: Z\n"),
        ("# why", "# why\nlogin: [/1, /2, /3]\nheader: Z\n"),
        ("# a\n---\n# b\nredact: true\n",
         "# a\n---\n# b\nredact: true\nlogin: [/1, /2, /3]\nheader: Z\n"),
        ("header: \"Y\"  # theirs\n# below\nredact: true\nlogin: ['/0']   # ours\n\n# end\n",
         "header: \"Z\"  # theirs\n# below\nredact: true\nlogin: ['/1', /2, /3] # ours\n\n# end\n"),
        ("login:\n  - /1  # one\n  - /y  # two\n# below\n\nredact: true\n",
         "login:\n  - /1  # one\n  - /2  # two\n  - /3\n# below\n\nredact: true\nheader: Z\n"),
        ("login:\n- /1\n- /2 # two\n- /3\n- /4 # four\n# below\nredact: true\n",
         "login:\n- /1\n- /2 # two\n- /3\n# below\nredact: true\nheader: Z\n"),
        ("login: [/x]\r\nredact: true\r\n",
         "login: [/1, /2, /3]\r\nredact: true\r\nheader: Z\r\n"),
        ("login: [/1,   /2, /3]\nheader: 'Z' # as it was\n",
         "login: [/1,   /2, /3]\nheader: 'Z' # as it was\n"),
    ],
)  # fmt: skip
def test_comments_order_and_other_keys_of_a_file_stay(before: str, after: str) -> None:
    got = writing.merged(before, NEW)
    assert "".join(got.split(" ")) == "".join(after.split(" "))  # a comment's column may differ
    assert writing.merged(got, NEW) == got
    assert parse(got).values.items() >= NEW.items()


def test_a_number_in_a_file_stays_one() -> None:
    text = "max_age: 3600 # an hour\n"
    assert writing.merged(text, {"max_age": "3600"}) == text
    assert parse(writing.merged(text, {"max_age": "60"})).values == {"cookie_auth_max_age": "60"}


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("- login\n", "does not hold options"),
        ("header: a: b\n", "no YAML, line 1"),
        ("header: hunter2\nheader: hunter2\n", "no YAML, line 2"),
        ("secret: hunter2\n", "secret does not belong there"),
        ("login: &a [/x]\nexpose: *a\n", "without a change to other options"),
        ("login: [\n  /x, # one\n  /y]\n", "comments within a list in brackets"),
        ("[" * 20_000, "no YAML"),
    ],
)
def test_a_file_that_cannot_be_kept_is_not_written(before: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(before)
    with pytest.raises(ValueError, match=told) as caught:
        writing.write(file, NEW)
    assert "hunter2" not in str(caught.value)
    assert file.read_text() == before
    assert os.listdir(tmp_path) == ["shop.yaml"]


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029\ufeff"))


@given(
    st.dictionaries(st.sampled_from(["header", "login_body", "logout", "max_age"]), TEXTS),
    st.dictionaries(st.sampled_from(["login", "token", "expose"]), st.lists(TEXTS, max_size=4)),
)
@example(texts={"header": "? x"}, lists={"token": ["?0"], "login": ["? x"]})
def test_whatever_is_written_is_read_as_the_same(
    texts: dict[str, str], lists: dict[str, list[str]]
) -> None:
    before = "header: x # theirs\nlogin:\n- /x # one\n- /y\n# below\nredact: true\n"
    values: dict[str, object] = {**texts, **lists}
    try:
        got = writing.merged(before, values)
    except ValueError:
        assert lists.get("login") == []
        return
    expected = {"header": "x", "login": ["/x", "/y"], "redact": True, **values}
    assert parse(got).values == {f"cookie_auth_{name}": v for name, v in expected.items()}
    assert "\n# below\n" in got


def test_a_file_is_replaced_whole_and_keeps_its_mode_and_its_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, link = tmp_path / "shop.yaml", tmp_path / "link.yaml"
    assert writing.write(file, NEW, "cookie-auth, http://localhost:1")
    assert file.read_text().startswith("# cookie-auth, http://localhost:1\nlogin: ")
    assert not writing.write(file, NEW, "cookie-auth")
    file.chmod(0o640)
    link.symlink_to("shop.yaml")
    assert writing.write(link, {"header": "other"})
    assert link.is_symlink()
    assert "header: other" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    text = file.read_text()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        writing.write(file, NEW)
    assert file.read_text() == text
    assert sorted(os.listdir(tmp_path)) == ["link.yaml", "shop.yaml"]


def test_lines_are_those_of_a_profile_and_hold_no_secret() -> None:
    values: dict[str, object] = {"cookie_auth_secret": "x" * 16, "cookie_auth_redact": True}
    values |= {"cookie_auth_header_format": "Bearer {token}", "cookie_auth_login": ["/a", "/b"]}
    assert writing.lines(values) == [
        "redact: true",
        "header_format: Bearer {token}",
        "login: [/a, /b]",
    ]


# Learned

API = "http://localhost:1"
SIGN_IN = Given("POST /auth/sign-in", "/access_token", "access_token", "m", "/auth/Sign-In")


def learned_from(*given: Given) -> dict[str, object]:
    learned = Learned()
    for one in given:
        learned.gave(API, "login", one.slot, one)
    found = saving.learned_values(learned, [API])
    return {name.removeprefix("cookie_auth_"): value for name, value in found.items()}


def test_a_login_is_learned_with_its_pointers() -> None:
    refresh = SIGN_IN._replace(told="/refresh_token", slot="r")
    other = SIGN_IN._replace(told="header:X-Token", asked="POST /join", login="/join")
    again = Given("POST /auth/refresh", "/access_token", "access_token", "m")
    assert learned_from(SIGN_IN, refresh, again, other) == {
        "login": ["/auth/Sign-In", "/join"],
        "token": ["/access_token", "header:X-Token"],
        "login_body": "stand-in",
        "refresh_token": "/refresh_token",
    }


@pytest.mark.parametrize(
    "given",
    [
        (SIGN_IN._replace(login=""),),
        (SIGN_IN._replace(told="the body"),),
        (SIGN_IN, SIGN_IN._replace(login="")),  # the same path refreshes
    ],
)
def test_a_login_that_options_cannot_say_is_not_learned(given: tuple[Given, ...]) -> None:
    assert learned_from(*given) == {}


def test_only_what_nobody_has_said_is_new() -> None:
    learned: dict[str, object] = {"cookie_auth_login": ["/a"], "cookie_auth_token": ["/t"]}
    learned |= {"cookie_auth_header": "Authorization", "cookie_auth_header_format": "T {token}"}
    options = parse("token: [/x]\n").beneath(DEFAULTS, {"cookie_auth_secret"})
    assert saving.as_settings(saving.unsaid(learned, options)) == (
        "--set cookie_auth_header=Authorization --set 'cookie_auth_header_format=T {token}'"
    )
    values = saving.profile(options, learned, OPTIONS)
    assert [name.removeprefix("cookie_auth_") for name in values] == [
        *("token", "header", "header_format"),
    ]


def test_a_clients_secret_is_not_saved() -> None:
    body = "grant_type=refresh_token&client_secret=x&refresh_token={refresh_token}"
    options = parse(f"refresh: /r\nrefresh_body: {body}\n").beneath(DEFAULTS, ())
    assert saving.profile(options, {}, OPTIONS) == {"cookie_auth_refresh": "/r"}


def test_an_option_and_a_key_of_its_mapping_are_written_together() -> None:
    values = {"cookie_auth_refresh": "/r", "cookie_auth_refresh.tables": [{"a": "b", "c": "d"}]}
    text = "refresh:\n  rule: /r\n  tables: [{a: b, c: d}]\n"
    assert writing.merged("", values) == text
    assert writing.merged("refresh: /r\n", values) == text
    assert writing.merged(text, values) == text


# With a real mitmdump

ASKING = """
from mitmproxy import ctx, exceptions

def requestheaders(flow):
    try:
        if setting := flow.request.headers.pop("x-set", None):
            ctx.options.set(setting)
        if ask := flow.request.headers.pop("x-ask", None):
            flow.request.headers["x-told"] = "|".join(ctx.master.commands.execute(ask))
    except (exceptions.OptionsError, exceptions.CommandError) as error:
        flow.request.headers["x-error"] = str(error)
"""

TOKEN, REFRESH = signed(n=1), opaque("refresh")


def api(request: Message) -> bytes:
    """Hands out tokens at `/auth/sign-in`, and is told of them by `Authorization: Bearer`."""
    if request.target == "/auth/sign-in":
        return answer(json.dumps({"access_token": TOKEN, "refresh_token": REFRESH}))
    good = request.one("authorization") == f"Bearer {TOKEN}"
    return answer("{}", 200 if good else 401)


def use_app(mitmdump: Mitmdump) -> Page:
    """Log in as an app does, and ask once with its stand-in."""
    page = Page(mitmdump.client)
    got = page.post("/auth/sign-in", '{"email": "a@example.com", "password": "x"}')
    stand_in = json.loads(got.body)["access_token"]
    assert stand_in != TOKEN
    assert page.get("/me", authorization=f"Bearer {stand_in}").status == 200
    return page


@pytest.fixture
def asking(tmp_path: Path) -> Path:
    script = tmp_path / "asking.py"
    script.write_text(ASKING)
    return script


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# c\nlogn: [/a]\n", "shop.yaml:2: 'logn': there is no such option; is it login?"),
        ("login: [a]\n", "shop.yaml:1: login: 'a' is wrong; it must be a path that begins"),
        ("secret: hunter2\n", "shop.yaml:1: secret: does not belong here"),
        ("login: [\n", "shop.yaml:2: is wrong; it must be YAML"),
        (None, "shop.yaml' is wrong; it must be a file that can be read: No such file"),
    ],
)
def test_a_wrong_profile_ends_start_up_with_one_plain_line(
    start: Start, tmp_path: Path, text: str | None, line: str
) -> None:
    file = tmp_path / "shop.yaml"
    if text is not None:
        file.write_text(text)
    mitmdump = start("--set", f"cookie_auth_profile={file}")
    assert mitmdump.exit_code() == 1
    assert line in mitmdump.log
    assert "hunter2" not in mitmdump.log
    assert "Traceback" not in mitmdump.log


def test_a_profile_is_taken_and_what_is_set_goes_first(
    start: Start, upstream: Upstream, tmp_path: Path, confdir: Path
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(
        "login: [/auth/sign-in]\ntoken: [/access_token]\nheader: X-File\nheader_format: F {token}\n"
        "cookie: from-file\nexpose: [pushToken]\nleak: warn\n"
    )
    (confdir / "config.yaml").write_text("cookie_auth_cookie: from-config\n")
    more = ("--set", "cookie_auth_header=X-Set", "--set", "cookie_auth_leak=stand-in")
    mitmdump = start("--set", f"cookie_auth_profile={file}", *more)
    upstream.respond = api
    page = Page(mitmdump.client)
    got = page.post("/auth/sign-in")
    assert got.body == b'{"loggedIn": true}'
    assert page.cookies["from-config"] == TOKEN
    page.get("/me")
    assert upstream.last.one("x-set") == f"F {TOKEN}"
    mitmdump.wait_for_log(r"login: /auth/sign-in; logout: /logout")
    mitmdump.wait_for_log(r"cookie from-config → header X-Set: F \{token\}")
    mitmdump.wait_for_log(r"the profile .*shop\.yaml widens trust: expose \(pushToken\)")


def test_a_profile_that_is_changed_while_running_is_taken_or_rolled_back(
    start: Start, upstream: Upstream, tmp_path: Path, asking: Path
) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("header: X-File\nallowed_hosts: [shop.test]\n")
    bad.write_text("header: X-Bad\nlogin: [a]\n")
    mitmdump = start(scripts=(ADDON, asking))
    client = mitmdump.client
    client.get("/", x_set=f"cookie_auth_profile={bad}")
    assert "bad.yaml:2: login: 'a' is wrong" in (upstream.last.one("x-error") or "")
    client.get("/", x_set=f"cookie_auth_profile={good}")
    assert upstream.last.one("x-error") is None
    client.get("/", cookie="auth-token=sekret")
    assert upstream.last.one("x-file") == "sekret"
    mitmdump.wait_for_log(r"good\.yaml widens trust: allowed_hosts \(shop\.test\)")
    client.get("/", x_ask="cookie_auth.status")
    assert "cookie auth-token → header X-File: {token}" in (upstream.last.one("x-told") or "")


def test_the_command_shows_and_saves_what_is_configured_and_learned(
    start: Start, upstream: Upstream, tmp_path: Path, asking: Path
) -> None:
    file = tmp_path / "shop.yaml"
    settings = ("--set", "cookie_auth_logout=/bye", "--set", f"cookie_auth_secret={'s' * 16}")
    mitmdump = start(*settings, scripts=(ADDON, asking))
    upstream.respond = api
    use_app(mitmdump)
    expected = [
        "logout: /bye",
        "login: [/auth/sign-in]",
        "token: [/access_token]",
        "login_body: stand-in",
        "refresh_token: /refresh_token",
        "header: Authorization",
        "header_format: Bearer {token}",
    ]

    def ask(command: str) -> str:
        mitmdump.client.get("/", x_ask=command)
        return upstream.last.one("x-told") or upstream.last.one("x-error") or ""

    assert ask("cookie_auth.profile").split("|") == expected
    assert ask("cookieauth.profile").split("|") == expected
    assert f"wrote logout, login, token, login_body, refresh_token, header, header_format; use it"\
        f" by --set cookie_auth_profile={file}" in ask(f"cookie_auth.profile {file}")  # fmt: skip
    text = file.read_text()
    assert text.splitlines() == [f"# cookie-auth, {upstream.url}", *expected]
    assert "has all of it already" in ask(f"cookie_auth.profile {file}")
    file.write_text("nonsense: 1\n")
    assert "shop.yaml:1: 'nonsense': there is no such option" in ask(f"cookie_auth.profile {file}")
    assert file.read_text() == "nonsense: 1\n"
    assert "would be the name of a recipe" in ask("cookie_auth.profile shop")
    assert "No such file" in ask(f"cookie_auth.profile {tmp_path}/nowhere/shop.yaml")
    for secret in (TOKEN, REFRESH, "s" * 16):
        assert secret not in text + mitmdump.log


def test_what_was_saved_does_the_same_for_the_app(
    start: Start, upstream: Upstream, tmp_path: Path
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(
        "login: [/auth/sign-in]\ntoken: [/access_token]\nlogin_body: stand-in\n"
        "refresh_token: /refresh_token\nheader: Authorization\nheader_format: Bearer {token}\n"
    )
    mitmdump = start("--set", f"cookie_auth_profile={file}")
    upstream.respond = api
    use_app(mitmdump)
    mitmdump.ask_to_stop()
    mitmdump.exit_code()
    assert "learned in this run" not in mitmdump.log


def test_the_end_of_a_run_tells_what_was_learned_as_lines_to_copy(
    start: Start, upstream: Upstream
) -> None:
    mitmdump = start()
    upstream.respond = api
    use_app(mitmdump)
    mitmdump.ask_to_stop()
    mitmdump.exit_code()
    assert (
        "learned in this run: --set cookie_auth_login=/auth/sign-in"
        " --set cookie_auth_token=/access_token"
        " --set cookie_auth_login_body=stand-in --set cookie_auth_refresh_token=/refresh_token"
        " --set cookie_auth_header=Authorization"
        " --set 'cookie_auth_header_format=Bearer {token}'\n"
    ) in mitmdump.log
    assert TOKEN not in mitmdump.log


def test_nothing_is_told_where_nothing_was_learned(start: Start) -> None:
    mitmdump = start()
    assert mitmdump.client.get("/me").status == 200
    mitmdump.ask_to_stop()
    mitmdump.exit_code()
    assert "learned in this run" not in mitmdump.log
