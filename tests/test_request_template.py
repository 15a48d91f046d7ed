"""Requests of the proxy's own that carry tokens: where those stand, and what is no template."""

import re

import pytest
from mitmproxy import http
from tokens.request_template import RequestTemplate

TOKENS = {"token": 'a"b/c d', "refresh_token": "r&r=é\\"}


def filled(method: str = "POST", target: str = "/x", body: str = "", *headers: str) -> http.Request:
    template = RequestTemplate(
        method,
        RequestTemplate.parse_target(target),
        RequestTemplate.parse_body(body),
        tuple(map(RequestTemplate.parse_header, headers)),
    )
    request = http.Request.make(
        "PATCH",
        "http://api.test/items?a=b",
        '{"mine": 1}',
        http.Headers(
            auth_token="mine",
            authorization="mine",
            content_type="text/mine",
            cookie="mine",
            x_tenant="7",
        ),
    )
    template.fill(request, TOKENS, "auth-token")
    assert "mine" not in str(request.headers) + (request.text or "")
    assert request.headers["x-tenant"] == "7"
    return request


@pytest.mark.parametrize(
    ("template", "kind", "body"),
    [
        ('{"t": "{refresh_token}"}', "json", r'{"t": "r&r=\u00e9\\"}'),
        (
            '{"accessToken": "{token}", "a": [{"b": "{refresh_token}", "n": 1}]}',
            "json",
            r'{"accessToken": "a\"b/c d", "a": [{"b": "r&r=\u00e9\\", "n": 1}]}',
        ),
        ('"{token}"', "json", r'"a\"b/c d"'),
        ('{"t": "Bearer {token}{token}"}', "json", r'{"t": "Bearer a\"b/c da\"b/c d"}'),
        # In a query of GraphQL, braces without quotes are what is selected.
        (
            r'{"query": "mutation{refresh(t:\"{refresh_token}\"){token}}", "variables": {}}',
            "json",
            r'{"query": "mutation{refresh(t:\"r&r=\\u00e9\\\\\"){token}}", "variables": {}}',
        ),
        ("a=b&t={refresh_token}", "x-www-form-urlencoded", "a=b&t=r%26r%3D%C3%A9%5C"),
        ("t={token}&r={token}", "x-www-form-urlencoded", "t=a%22b%2Fc+d&r=a%22b%2Fc+d"),
    ],
)  # fmt: skip
def test_a_body_gets_the_tokens_as_its_form_writes_them(
    template: str, kind: str, body: str
) -> None:
    request = filled(body=template)
    assert request.headers["content-type"] == f"application/{kind}"
    assert request.text == body
    assert request.headers["content-length"] == str(len(request.raw_content or b""))


def test_a_target_gets_them_percent_encoded() -> None:
    request = filled("DELETE", "/token/{token}?r={refresh_token}&x=y")
    assert request.method == "DELETE"
    assert request.path == "/token/a%22b%2Fc%20d?r=r%26r%3D%C3%A9%5C&x=y"
    assert "content-type" not in request.headers
    assert request.headers["content-length"] == "0"
    assert "content-length" not in filled("GET", "/token/{token}").headers


def test_headers_get_them_as_they_are() -> None:
    request = filled(
        *("POST", "/x", "", "Authorization: Bearer {refresh_token}", "Accept: */*"),
        *("Cookie: r={refresh_token}", "Cookie: t={token}"),
    )
    assert request.headers["authorization"] == "Bearer r&r=é\\"
    assert request.headers["accept"] == "*/*"
    assert request.headers.get_all("cookie") == ["r=r&r=é\\", 't=a"b/c d']
    assert filled().headers["accept"] == "application/json"


def test_a_token_that_no_header_can_carry_is_refused_and_not_told() -> None:
    template = RequestTemplate("GET", "/x", "", (("Authorization", "Bearer {token}"),))
    request = http.Request.make("GET", "http://api.test/")
    with pytest.raises(ValueError, match="it holds what no header can carry") as caught:
        template.fill(request, {"token": "sekret\r\nX: y"}, "auth-token")
    assert "sekret" not in str(caught.value)


def test_a_template_tells_which_tokens_it_needs() -> None:
    of = RequestTemplate
    assert of("POST", "/x", '{"token": 1}').needs == set()
    assert of("POST", "/x", "t={token}").needs == {"token"}
    assert of("POST", "/x?t={token}", '{"a": "{refresh_token}"}').needs == {
        "token",
        "refresh_token",
    }
    assert of("POST", "/x", "", (("A", "{token}"),)).needs == {"token"}


@pytest.mark.parametrize("token", list(TOKENS.values()))
def test_all_forms_of_a_token_are_known(token: str) -> None:
    body = r'{"a": "{token}", "query": "a(b: \"{token}\")"}'
    template = RequestTemplate("POST", "/{token}", body, (("A", "{token}"),))
    request = http.Request.make("GET", "http://api.test/")
    template.fill(request, {"token": token}, "auth-token")
    said = f"{request.path} {request.headers['a']} {request.text}"
    for form in RequestTemplate.written(token):
        said = said.replace(form, "*")
    assert said == r'/* * {"a": "*", "query": "a(b: \"*\")"}'


@pytest.mark.parametrize(
    ("parse", "text", "told"),
    [
        (RequestTemplate.parse_body, '{"a": {refresh_token}}', "JSON, or a form such as"),
        (RequestTemplate.parse_body, '{"a": "{tokn}"}', "{token} or {refresh_token} in it; {tokn}"),
        (RequestTemplate.parse_body, "a={tokn}", "{tokn} is neither"),
        (RequestTemplate.parse_body, "[" * 100_000, "JSON, or a form"),
        (RequestTemplate.parse_target, "/x/{tokn}", "{tokn} is neither"),
        (RequestTemplate.parse_target, "/x y", "a path, perhaps with a query"),
        (RequestTemplate.parse_header, "Authorization", "a header with its value"),
        (RequestTemplate.parse_header, "A: b\r\nC: d", "a header with its value"),
        (RequestTemplate.parse_header, "A B: c", "a name of letters"),
        (RequestTemplate.parse_header, "Content-Length: 3", "a header that is free for a token"),
        (RequestTemplate.parse_header, "A: {tokn}", "{tokn} is neither"),
    ],
)
def test_what_is_no_template_is_refused(parse: object, text: str, told: str) -> None:
    assert callable(parse)
    with pytest.raises(ValueError, match=re.escape(told)):
        parse(text)


@pytest.mark.parametrize(
    "name", ["X-Original-URL", "x_rewrite_url", "X-HTTP-Method-Override", "Auth_Token", "x-key"]
)
def test_nothing_of_the_browser_s_says_another_method_path_or_credential(name: str) -> None:
    headers = http.Headers([(name.encode(), b"mine"), (b"X-Tenant", b"7")])
    request = http.Request.make("POST", "http://api.test/refresh", "", headers)
    template = RequestTemplate("POST", "/refresh", "t={token}", (("X_Key", "own"),))
    template.fill(request, TOKENS, "auth-token")
    assert "mine" not in str(request.headers)
    assert request.headers["x-tenant"] == "7"
