"""Options: what each accepts, and what the one line says when it does not."""

from operator import attrgetter

import pytest
from credentials.cookies import CookieAttributes
from exchanges.settings import OPTIONS, Settings
from settings.option import InvalidOption

DEFAULTS = {option.name: option.default for option in OPTIONS}


def parse(**changes: object) -> Settings:
    return Settings.parse(
        DEFAULTS | {f"cookie_auth_{name}": value for name, value in changes.items()}
    )


def test_the_defaults_are_valid() -> None:
    settings = parse()
    assert settings.cookie.name == settings.header.name == "auth-token"
    assert [rule.text for rule in settings.paths.logins] == ["/login"]
    assert settings.cookie.attributes(tls=False) == CookieAttributes("lax", False, None)


@pytest.mark.parametrize(("text", "seconds"), [("", None), ("0", None), ("2.5", 2.5), ("30", 30)])
def test_an_answer_may_take_seconds_or_any_time(text: str, seconds: float | None) -> None:
    assert parse(answer_timeout=text).network.answer_timeout == seconds


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("cookie", "", "a name of letters"),
        ("cookie", "a b", "a name of letters"),
        ("cookie", "a;b", "a name of letters"),
        ("cookie", "a\n", "a name of letters"),
        ("header", "", "a name of letters"),
        ("header", "a:b", "a name of letters"),
        ("header", "Cookie", "such as Authorization"),
        ("header", "content-length", "such as Authorization"),
        ("header_format", "Bearer", "once"),
        ("header_format", "{token}{token}", "once"),
        ("header_format", "", "once"),
        ("header_format", "Bearer {token}\r\n", "visible ASCII"),
        ("header_format", " {token}", "visible ASCII"),
        ("header_format", "é{token}", "visible ASCII"),
        ("login", [], "at least one"),
        ("login", "/login", "a list"),
        ("login", ["login"], "begins with /"),
        ("login", ["/login", ""], "begins with /"),
        ("login", ["/login?x=1"], "no query"),
        ("login", ["/lo gin"], "begins with /"),
        ("token", [], "at least one"),
        ("token", [""], "a JSON Pointer"),
        ("token", ["/ok", "a/b"], "/a/b"),
        ("login_body", "remove", "replace, redact or stand-in"),
        ("answer_timeout", "soon", "a number of seconds"),
        ("answer_timeout", "-1", "a number of seconds"),
        ("answer_timeout", "1e3", "a number of seconds"),
        ("logout", "", "begins with /"),
        ("logout", "/Login/", "other requests than"),
        ("switch", ["impersonate"], "begins with /"),
        ("login_redirect", "javascript:x", "a path or an http"),
        ("logout_redirect", "", "a path or an http"),
        ("logout_redirect", "javascript:x", "a path or an http"),
        ("logout_redirect", "/a\r\nb", "a path or an http"),
        ("prefix", "api", "begins with /"),
        ("base_path", "/v1?x", "no query"),
        ("samesite", "sometimes", "lax, strict, none or partitioned"),
        ("samesite", "", "lax, strict, none or partitioned"),
        ("secure", "true", "auto, always or never"),
        ("max_age", "0", "400 days"),
        ("max_age", "-1", "400 days"),
        ("max_age", "1h", "or seconds"),
        ("max_age", "99999999", "400 days"),
        ("token", ["header:"], "header:X-Auth-Token"),
        ("token", ["header:Set-Cookie"], "header:X-Auth-Token"),
        ("token", ["header:a b"], "header:X-Auth-Token"),
        ("secret", "short", "16 characters or more"),
        ("secret", "long enough to be one short", "16 characters or more"),
        ("logout_upstream_method", "DE LETE", "a name of letters"),
        ("logout.body", "a={tokens}", "neither"),
        ("logout.headers", ["X-Token {token}"], "a header with its value"),
        ("login.remember", "a/b", "a JSON Pointer"),
        ("login.remember_age", "session", "seconds from 1"),
        ("logout_upstream_path", "logout", "begins with /"),
        ("frontend", "http://localhost:3000", "cookie_auth_prefix"),
        ("frontend", "localhost:3000", "an origin such as"),
        ("frontend", "http://localhost:3000/app", "an origin such as"),
        ("refresh", "/login", "other requests than '/login' of cookie_auth_login"),
        ("refresh", "refresh", "begins with /"),
        ("refresh_token", "a/b", "/a/b"),
        ("refresh_body", '{"a": 1}', "a body that holds {refresh_token}"),
        ("refresh_body", '{"a": "{tokn}"}', "{tokn} is neither"),
        ("refresh", "/refresh?t={tokn}", "{tokn} is neither"),
        ("refresh_body", '{"a": {refresh_token}}', "JSON, or a form"),
        ("forward_cookies", ["a b"], "a name of letters"),
        ("allowed_origins", ["localhost:3000"], "an origin such as"),
        ("allowed_origins", ["*"], "an origin such as"),
        ("allowed_hosts", ["shop.test:80"], "a host name without port"),
        ("allowed_hosts", ["*"], "a host name without port"),
        ("public_origin", "abc.ngrok.app", "an http(s) origin without a path"),
        ("public_origin", "https://abc.ngrok.app/x", "an http(s) origin without a path"),
        ("public_origin", "ftp://abc.ngrok.app", "an http(s) origin without a path"),
        ("max_age", "٣", "or seconds"),
    ],
)
def test_a_wrong_value_is_rejected_in_one_line_that_names_option_value_and_remedy(
    name: str, value: object, hint: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"cookie_auth_{name}: ")
    assert hint in text
    assert "\n" not in text


def test_a_value_in_a_list_is_named_itself() -> None:
    with pytest.raises(InvalidOption, match="'logout'"):
        parse(login=["/login", "logout"])


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"prefix": "/api/"}, "paths.prefix", "/api"),
        ({"prefix": "/"}, "paths.prefix", ""),
        ({"base_path": "/v1/"}, "paths.base_path", "/v1"),
        ({"samesite": "Strict"}, "cookie.same_site", "strict"),
        ({"samesite": "Partitioned"}, "cookie.same_site", "none"),
        ({"samesite": "none"}, "cookie.partitioned", False),
        ({"max_age": "3600"}, "cookie.max_age", 3600),
        ({"login_body": "redact"}, "token.login_body", "redact"),
        ({"logout_redirect": "https://example.com/bye"}, "paths.logout_redirect",
         "https://example.com/bye"),
    ],
)  # fmt: skip
def test_values_are_read(changes: dict[str, object], field: str, value: object) -> None:
    assert attrgetter(field)(parse(**changes)) == value


def test_the_header_format_surrounds_the_token() -> None:
    assert parse(header_format="Bearer {token}!").header.format.value(b"t") == b"Bearer t!"


@pytest.mark.parametrize(
    ("changes", "tls", "secure"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"secure": "always"}, False, True),
        ({"secure": "never"}, True, False),
        ({"samesite": "none"}, False, True),
        ({"cookie": "__Host-t"}, False, True),
        ({"cookie": "__secure-t"}, False, True),
        ({"cookie": "__Http-t"}, False, True),
        ({"cookie": "__Host-Http-t"}, False, True),
    ],
)
def test_the_cookie_is_secure_on_tls_and_wherever_browsers_demand_it(
    changes: dict[str, object], tls: bool, secure: bool
) -> None:
    assert parse(**changes).cookie.attributes(tls=tls).secure is secure


@pytest.mark.parametrize(
    "changes", [{"samesite": "none"}, {"samesite": "partitioned"}, {"cookie": "__Host-t"}]
)
def test_a_cookie_that_browsers_would_reject_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidOption, match="cookie_auth_secure: 'never'"):
        parse(secure="never", **changes)


def test_a_secret_is_never_shown_and_may_come_from_the_environment() -> None:
    with pytest.raises(InvalidOption) as caught:
        parse(secret="hunter2")
    assert "hunter2" not in str(caught.value)
    assert not parse().cookie.seal.active
    assert Settings.parse(DEFAULTS, {"COOKIE_AUTH_SECRET": "s" * 16}).cookie.seal.active
    assert len(parse(secret="n" * 16 + " " + "o" * 16).cookie.seal.keys) == 2
