"""What an API's answer may say to a browser, frames, and requests made in advance: tables."""

import pytest
from messages.answer_policy import (
    DROPPED,
    HIDDEN_PATHS,
    KEPT,
    apply,
    hides_a_path,
    without_dialogs,
)
from mitmproxy import http
from origins.framing import forbid_framing, framing_origin
from origins.speculation import is_speculative

Fields = list[tuple[bytes, bytes]]
NOSNIFF = (b"X-Content-Type-Options", b"nosniff")


def applied(*fields: tuple[bytes, bytes]) -> Fields:
    headers = http.Headers(fields)
    apply(headers)
    return list(headers.fields)


@pytest.mark.parametrize("name", DROPPED)
def test_a_header_that_reaches_beyond_its_answer_is_dropped(name: str) -> None:
    for spelling in (name, name.lower(), name.upper()):
        field = (spelling.encode(), b"value")
        assert applied(field, (b"A", b"b"), field) == [(b"A", b"b"), NOSNIFF]


@pytest.mark.parametrize("name", [*KEPT, "Set-Cookie", "ETag", "X-Anything", "Alt-Svc-Not"])
def test_any_other_header_passes_as_it_is(name: str) -> None:
    fields = [(name.encode(), b"a"), (b"B", b"c"), (name.encode(), b"\xe9 d")]
    assert applied(*fields) == [*fields, NOSNIFF]


def test_each_header_has_one_decision() -> None:
    names = [name.lower() for name in (*DROPPED, *KEPT)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("value", [b"nosniff", b"NoSniff", b" nosniff "])
def test_nosniff_is_there_once(value: bytes) -> None:
    assert applied((b"x-content-type-options", value)) == [(b"x-content-type-options", value)]


def test_another_value_in_its_place_is_replaced() -> None:
    assert applied((b"X-Content-Type-Options", b"none"), (b"A", b"b")) == [(b"A", b"b"), NOSNIFF]


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        (b"a\rSet-Cookie: auth-token=evil", b"a Set-Cookie: auth-token=evil"),
        (b"a\r\n folded", b"a   folded"),
        (b"a\nb", b"a b"),
        (b"a\0b", b"a b"),
    ],
)
def test_a_value_cannot_become_a_second_field(value: bytes, passed: bytes) -> None:
    assert applied((b"X-A", value))[0] == (b"X-A", passed)


@pytest.mark.parametrize("name", [b"X\rSet-Cookie", b"X\nY", b"X Y", b"", b"X:", b"\xe9"])
def test_a_name_that_is_no_token_is_dropped(name: bytes) -> None:
    assert applied((name, b"auth-token=evil")) == [NOSNIFF]


@pytest.mark.parametrize(
    ("challenges", "renamed"),
    [
        ("Basic", "x-Basic"),
        ('Basic realm="a"', 'x-Basic realm="a"'),
        ('bAsIc realm="a"', 'x-bAsIc realm="a"'),
        ('Digest realm="a", nonce="b", qop="auth"', 'x-Digest realm="a", nonce="b", qop="auth"'),
        ("NTLM", "x-NTLM"),
        ("NTLM TlRMTVNTUAAC==", "x-NTLM TlRMTVNTUAAC=="),
        ("Negotiate", "x-Negotiate"),
        ("Negotiate, NTLM", "x-Negotiate, x-NTLM"),
        ("Negotiate,NTLM,Basic", "x-Negotiate,x-NTLM,x-Basic"),
        ('Bearer realm="a", Basic realm="b"', 'Bearer realm="a", x-Basic realm="b"'),
        ('Basic realm="a", Bearer, Digest x=y', 'x-Basic realm="a", Bearer, x-Digest x=y'),
        (' , Basic realm="a"', ' , x-Basic realm="a"'),
        ("Basic\trealm=a", "x-Basic\trealm=a"),
        ("Basic =a", "x-Basic =a"),  # Chromium: the scheme is what stands before the first blank
        # What is no such challenge
        ("Bearer", "Bearer"),
        ('Bearer realm="Basic"', 'Bearer realm="Basic"'),
        ('Bearer realm="a, Basic realm=b"', 'Bearer realm="a, Basic realm=b"'),
        (r'Bearer realm="a\", Basic b"', r'Bearer realm="a\", Basic b"'),
        ('Hawk realm="a", digest="b", basic = c', 'Hawk realm="a", digest="b", basic = c'),
        ("Basically realm=a", "Basically realm=a"),
        ("x-Basic realm=a", "x-Basic realm=a"),
        ("Bearer Basic", "Bearer Basic"),
        ("", ""),
        # A quote that is left open hides nothing
        ('Bearer realm="a, Basic realm=b', 'Bearer realm="a, x-Basic realm=b'),
        (r'Bearer realm="a\", Basic realm=b', r'Bearer realm="a\", x-Basic realm=b'),
    ],
)
@pytest.mark.parametrize("name", ["WWW-Authenticate", "proxy-authenticate"])
def test_no_challenge_opens_the_browsers_own_dialog(
    name: str, challenges: str, renamed: str
) -> None:
    field = (name.encode(), challenges.encode())
    headers = http.Headers([field, (b"Basic", b"Basic"), field])
    without_dialogs(headers)
    expected = (name.encode(), renamed.encode())
    assert headers.fields == (expected, (b"Basic", b"Basic"), expected)
    without_dialogs(headers)
    assert headers.fields[0] == expected  # once is enough


@pytest.mark.parametrize("quotes", ['"\\', '"', '\\"', 'a"\\",', ",", " ,"])
def test_a_long_challenge_is_read_in_a_moment(quotes: str) -> None:
    headers = http.Headers([(b"WWW-Authenticate", b"Bearer " + quotes.encode() * 50_000)])
    without_dialogs(headers)
    assert len(headers["WWW-Authenticate"]) == 7 + 50_000 * len(quotes)


@pytest.mark.parametrize("name", sorted(HIDDEN_PATHS))
def test_a_path_in_a_header_is_known_in_each_spelling(name: str) -> None:
    assert name == name.lower()
    first_only = name.replace("-", "_", 1)
    for spelling in (name, name.title(), name.replace("-", "_").upper(), first_only):
        assert hides_a_path(spelling)


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-For", "X-Forwarded-Proto", "Referer", "URL"])
def test_other_headers_hide_no_path(name: str) -> None:
    assert not hides_a_path(name)


@pytest.mark.parametrize(
    ("name", "value", "speculative"),
    [
        ("Sec-Purpose", "prefetch", True),
        ("Sec-Purpose", "prefetch;prerender", True),
        ("Sec-Purpose", "prefetch;anonymous-client-ip", True),
        ("sec-purpose", " Prefetch ; prerender", True),
        ("Purpose", "prefetch", True),
        ("X-Purpose", "preview", True),
        ("X-Moz", "prefetch", True),
        ("X-Sec-Purpose", "prefetch", True),
        ("Next-Router-Prefetch", "1", True),
        ("Next-Router-Prefetch", "2", True),
        ("Next-Router-Segment-Prefetch", "/_tree", True),
        ("x-middleware-prefetch", "1", True),
        ("HX-Preloaded", "true", True),
        ("HX-Preloaded", "false", False),
        ("Sec-Purpose", "", False),
        ("Sec-Purpose", "fetch", False),
        ("Purpose", "prefetching", False),
        ("X-Purpose", "billing", False),
        ("RSC", "1", False),
        ("X-Livewire-Navigate", "1", False),
        ("Accept", "prefetch", False),
    ],
)
def test_a_request_in_advance_is_told_from_a_real_one(
    name: str, value: str, speculative: bool
) -> None:
    fields = [(b"Host", b"localhost"), (name.encode(), value.encode()), (b"Accept", b"*/*")]
    assert is_speculative(http.Headers(fields)) is speculative


ALLOWED = frozenset(("http://localhost:3000", "http://localhost:2999"))
OURS = "frame-ancestors 'self' http://localhost:2999 http://localhost:3000"


def policies(*fields: tuple[bytes, bytes]) -> list[str]:
    headers = http.Headers(fields)
    forbid_framing(headers, ALLOWED)
    return headers.get_all("content-security-policy")


@pytest.mark.parametrize(
    ("content_type", "framed"),
    [
        (b"text/html", OURS),
        (b"Text/HTML; charset=utf-8", OURS),
        (b"application/xhtml+xml", OURS),
        (b"image/svg+xml", OURS),
        (b"application/xml", OURS),
        (b"text/xml", OURS),
        (b"application/rss+xml;a=b", OURS),
        (b"application/pdf", OURS),
        (b"multipart/x-mixed-replace; boundary=a", OURS),
        (b"text/plain, text/html", OURS),
        (b"", OURS),
        (b"*/*", OURS),
        (b"application/json", None),
        (b"text/plain", None),
        (b"text/javascript", None),
        (b"text/css", None),
        (b"image/png", None),
        (b"text/event-stream", None),
        (b"application/octet-stream", None),
    ],
)
def test_a_document_is_framed_by_allowed_origins_only(
    content_type: bytes, framed: str | None
) -> None:
    assert policies((b"Content-Type", content_type)) == ([framed] if framed else [])


def test_an_answer_without_a_type_may_be_a_document() -> None:
    assert policies() == [OURS]


HTML = (b"Content-Type", b"text/html")


@pytest.mark.parametrize(
    "own", [b"default-src 'none'", b"frame-ancestors *", b"frame-ancestors 'none'"]
)
def test_the_apis_own_policy_stays_as_it_is(own: bytes) -> None:
    assert policies(HTML, (b"Content-Security-Policy", own)) == [own.decode(), OURS]


@pytest.mark.parametrize(
    ("options", "own", "ancestors"),
    [
        (b"DENY", b"default-src *", "'none'"),
        (b"deny, SAMEORIGIN", b"default-src *", "'none'"),
        (b"SAMEORIGIN", b"default-src *", "'self'"),
        (b"ALLOW-FROM http://a.example", b"default-src *", None),
        (b"DENY", b"frame-ancestors *", None),  # which switches it off
    ],
)
def test_what_x_frame_options_forbids_stays_forbidden(
    options: bytes, own: bytes, ancestors: str | None
) -> None:
    ours = f"frame-ancestors {ancestors}" if ancestors else OURS
    fields = [HTML, (b"X-Frame-Options", options), (b"Content-Security-Policy", own)]
    assert policies(*fields) == [own.decode(), ours]


@pytest.mark.parametrize(
    ("dest", "site", "referer", "origin"),
    [
        ("iframe", "same-site", "http://localhost:5173/", "http://localhost:5173"),
        ("frame", "cross-site", "https://evil.example/a?b", "https://evil.example"),
        ("embed", "same-site", "http://[::1]:3000/", "http://[::1]:3000"),
        ("object", "same-site", "http://127.0.0.1", "http://127.0.0.1"),
        ("iframe", "same-site", None, "another origin"),
        ("iframe", "same-site", "http://user:secret@localhost/", "another origin"),
        ("iframe", "same-site", "about:blank", "another origin"),
        ("iframe", "same-site", "http://a\nb/", "another origin"),
        ("iframe", "same-origin", "http://localhost:8080/", None),
        ("iframe", "none", None, None),
        ("iframe", None, None, None),
        ("document", "same-site", "http://localhost:5173/", None),
        ("empty", "same-site", "http://localhost:5173/", None),
        (None, "same-site", "http://localhost:5173/", None),
    ],
)
def test_the_origin_that_frames_is_named(
    dest: str | None, site: str | None, referer: str | None, origin: str | None
) -> None:
    sent = {"Sec-Fetch-Dest": dest, "Sec-Fetch-Site": site, "Referer": referer}
    fields = [(name.encode(), value.encode()) for name, value in sent.items() if value is not None]
    assert framing_origin(http.Headers(fields)) == origin
