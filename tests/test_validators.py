"""Entity tags that are a login's own, and Vary, without a proxy."""

import pytest
from messages.headers import IndexedHeaders
from messages.validators import NOBODY, keep_apart, own_validators
from mitmproxy import http

MINE, OTHER = "k3JdQ0aZ", "Yp-_81xB"
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
DATED = "Wed,_21_Oct_2015_07:28:00_GMT"
NO_MATCH = '"tag-of-another-login"'

Fields = list[tuple[str, str]]


def fields(*lines: str) -> http.Headers:
    pairs = [line.split(": ", 1) for line in lines]
    return http.Headers(
        [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in pairs]
    )


def lines(headers: http.Headers) -> list[str]:
    return [f"{name}: {value}" for name, value in headers.items(multi=True)]


REQUESTS: list[tuple[str, list[str], list[str]]] = [
    ("nothing to do", ["Accept: */*"], ["Accept: */*"]),
    ("own", [f'If-None-Match: "~{MINE}~v1"'], ['If-None-Match: "v1"']),
    ("own, weak", [f'If-None-Match: W/"~{MINE}~v1"'], ['If-None-Match: W/"v1"']),
    ("own, empty", [f'If-None-Match: "~{MINE}~"'], ['If-None-Match: ""']),
    ("own, no quotes", [f"If-None-Match: ~{MINE}~v1"], ["If-None-Match: v1"]),
    ("own, weak, no quotes", [f"If-None-Match: W/~{MINE}~v1"], ["If-None-Match: W/v1"]),
    ("own, odd characters", [f'If-None-Match: "~{MINE}~a, b~é"'], ['If-None-Match: "a, b~é"']),
    ("own, looks like ours", [f'If-None-Match: "~{MINE}~~{OTHER}~v1"'],
     [f'If-None-Match: "~{OTHER}~v1"']),
    ("own, beside a date", [f'If-None-Match: "~{MINE}~v1"', f"If-Modified-Since: {DATE}"],
     ['If-None-Match: "v1"', f"If-Modified-Since: {DATE}"]),
    ("other's", [f'If-None-Match: "~{OTHER}~v1"', "Accept: */*"], ["Accept: */*"]),
    ("other's, weak", [f'If-None-Match: W/"~{OTHER}~v1"'], []),
    ("other's, no quotes", [f"If-None-Match: ~{OTHER}~v1"], []),
    ("nobody's", [f'If-None-Match: "~{NOBODY}~v1"'], []),
    ("other's, beside a date", [f'If-None-Match: "~{OTHER}~v1"', f"If-Modified-Since: {DATE}"], []),
    ("list", [f'If-None-Match: "~{OTHER}~a,b" ,W/"~{MINE}~c,d","e"'],
     ['If-None-Match: W/"c,d", "e"']),
    ("several fields", [f'If-None-Match: "~{OTHER}~a"', f'if-none-match: "~{MINE}~b"', "A: b"],
     ['If-None-Match: "b"', "A: b"]),
    ("several fields without a mark", ['If-None-Match: "a"', 'If-None-Match:  W/"b" , "c"'],
     ['If-None-Match: "a"', 'If-None-Match:  W/"b" , "c"']),
    ("star", ["If-None-Match: *"], ["If-None-Match: *"]),
    ("without a mark (OData)", ['If-None-Match: W/"\'20\'"', f"If-Modified-Since: {DATE}"],
     ['If-None-Match: W/"\'20\'"', f"If-Modified-Since: {DATE}"]),
    ("without a mark (a short one)", ['If-None-Match: "~tilde~v1"'],
     ['If-None-Match: "~tilde~v1"']),
    ("empty", ["If-None-Match: "], ["If-None-Match: "]),
    ("malformed", ['If-None-Match: "v1'], ['If-None-Match: "v1']),
    ("malformed, other's", [f'If-None-Match: "~{OTHER}~v1'], []),
    ("date alone, from a script", [f"If-Modified-Since: {DATE}"], [f"If-Modified-Since: {DATE}"]),
    ("own date", [f'If-None-Match: W/"~{MINE}@{DATED}"'], [f"If-Modified-Since: {DATE}"]),
    ("own date, twice", [f'If-None-Match: W/"~{MINE}@{DATED}"', f"If-Modified-Since: {DATE}"],
     [f"If-Modified-Since: {DATE}"]),
    ("other's date", [f'If-None-Match: W/"~{OTHER}@{DATED}"', f"If-Modified-Since: {DATE}"], []),
    ("own date and a tag", [f'If-None-Match: W/"~{MINE}@{DATED}", "~{MINE}~v1"'],
     ['If-None-Match: "v1"']),
    ("own date, forged", [f'If-None-Match: W/"~{MINE}@x\r\nA: b"', f"If-Modified-Since: {DATE}"],
     []),
    # If-Match
    ("edit", [f'If-Match: "~{MINE}~v1"'], ['If-Match: "v1"']),
    ("edit, whatever there is", ["If-Match: *"], ["If-Match: *"]),
    ("edit, without a mark (CouchDB)", ["If-Match: 1-967a"], ["If-Match: 1-967a"]),
    ("edit, other's", [f'If-Match: "~{OTHER}~v1"'], [f"If-Match: {NO_MATCH}"]),
    ("edit, others'", [f'If-Match: "~{OTHER}~v1", W/"~{NOBODY}~v1"'], [f"If-Match: {NO_MATCH}"]),
    ("edit, other's date", [f'If-Match: W/"~{OTHER}@{DATED}"'], [f"If-Match: {NO_MATCH}"]),
    ("edit, list", [f'If-Match: "~{OTHER}~v1", "~{MINE}~v2"'], ['If-Match: "v2"']),
    ("edit, own date", [f'If-Match: W/"~{MINE}@{DATED}"'], [f"If-Unmodified-Since: {DATE}"]),
    ("edit, by date", [f"If-Unmodified-Since: {DATE}"], [f"If-Unmodified-Since: {DATE}"]),
    # If-Range
    ("rest of a file", ["Range: bytes=9-", f'If-Range: "~{MINE}~v1"'],
     ["Range: bytes=9-", 'If-Range: "v1"']),
    ("rest of a file, no condition", ["Range: bytes=9-"], ["Range: bytes=9-"]),
    ("rest of a file, without a mark", ["Range: bytes=9-", 'If-Range: "v1"'],
     ["Range: bytes=9-", 'If-Range: "v1"']),
    ("rest of a file, other's", ["Range: bytes=9-", f'If-Range: "~{OTHER}~v1"'], []),
    ("rest of a file, own date", ["Range: bytes=9-", f'If-Range: W/"~{MINE}@{DATED}"'], []),
    ("rest of a file, a date", ["Range: bytes=9-", f"If-Range: {DATE}"], []),
    ("rest of a file, a date in one word", ["Range: bytes=9-", "If-Range: 2015-10-21"], []),
    ("rest of a file, two conditions",
     ["Range: bytes=9-", f'If-Range: "~{MINE}~v1"', f'If-Range: "~{OTHER}~v1"',
      f'If-None-Match: "~{OTHER}~v1"'],
     ["Range: bytes=9-", 'If-Range: "v1"']),
]  # fmt: skip


@pytest.mark.parametrize("kind", [http.Headers, IndexedHeaders])
@pytest.mark.parametrize(
    ("sent", "arrives"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS]
)
def test_the_api_gets_its_own_validators_of_this_login_only(
    kind: type[http.Headers], sent: list[str], arrives: list[str]
) -> None:
    headers = kind(fields(*sent).fields)
    own_validators(headers, MINE)
    assert lines(headers) == arrives


VARY = "Vary: Cookie, Sec-Fetch-Site, Sec-Fetch-Dest"
FETCHED = fields("Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: empty")
ANSWERS: list[tuple[str, list[str], list[str]]] = [
    ("no validator", ["A: b"], ["A: b", VARY]),
    ("strong", ['ETag: "v1"'], [f'ETag: "~{MINE}~v1"', VARY]),
    ("weak", ['etag: W/"v1"'], [f'etag: W/"~{MINE}~v1"', VARY]),
    ("empty tag", ['ETag: ""'], [f'ETag: "~{MINE}~"', VARY]),
    ("no quotes", ["ETag: v1"], [f"ETag: ~{MINE}~v1", VARY]),
    ("weak, no quotes", ["ETag: W/v1"], [f"ETag: W/~{MINE}~v1", VARY]),
    ("odd characters", ['ETag: "a, b~é"'], [f'ETag: "~{MINE}~a, b~é"', VARY]),
    ("looks like ours", [f'ETag: "~{OTHER}~v1"'], [f'ETag: "~{MINE}~~{OTHER}~v1"', VARY]),
    ("tag and date", ['ETag: "v1"', f"Last-Modified: {DATE}"],
     [f'ETag: "~{MINE}~v1"', f"Last-Modified: {DATE}", VARY]),
    ("date alone", [f"Last-Modified: {DATE}"],
     [f"Last-Modified: {DATE}", VARY, f'ETag: W/"~{MINE}@{DATED}"']),
    ("date of another form", ["Last-Modified: 2015-10-21T07:28:00+02:00"],
     ["Last-Modified: 2015-10-21T07:28:00+02:00", VARY,
      f'ETag: W/"~{MINE}@2015-10-21T07:28:00+02:00"']),
    ("no date at all", ["Last-Modified: last_week"], [VARY]),
    ("empty date", ["Last-Modified: "], [VARY]),
    ("date with a line end", ["Last-Modified: x\r\nA: b"], [VARY]),
    ("star for a tag", ["ETag: *"], [VARY]),
    ("empty field", ["ETag: "], [VARY]),
    ("malformed", ['ETag: "v1'], [VARY]),
    ("malformed, with a date", ['ETag: "v"1"', f"Last-Modified: {DATE}"],
     [f'ETag: W/"~{MINE}@{DATED}"', f"Last-Modified: {DATE}", VARY]),
    ("two tags", ['ETag: "v1"', 'ETag: "v2"'], [VARY]),
    ("vary by something else", ["Vary: Accept-Encoding"], ["Vary: Accept-Encoding", VARY]),
    ("vary by part of it", ["Vary: cookie,Origin"],
     ["Vary: cookie,Origin", "Vary: Sec-Fetch-Site, Sec-Fetch-Dest"]),
    ("vary by all of it", ["Vary: sec-fetch-site", "Vary: A, COOKIE,Sec-Fetch-Dest"],
     ["Vary: sec-fetch-site", "Vary: A, COOKIE,Sec-Fetch-Dest"]),
    ("vary by everything", ["Vary: *"], ["Vary: *"]),
    ("vary by everything and more", ["Vary: A, *"], ["Vary: A, *"]),
]  # fmt: skip


@pytest.mark.parametrize("kind", [http.Headers, IndexedHeaders])
@pytest.mark.parametrize(
    ("given", "seen"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_the_browser_gets_validators_of_this_login_and_what_the_answer_depends_on(
    kind: type[http.Headers], given: list[str], seen: list[str]
) -> None:
    headers = kind(fields(*given).fields)
    keep_apart(headers, MINE, FETCHED, is_browser=True)
    assert sorted(lines(headers)) == sorted(seen)


@pytest.mark.parametrize(
    "validator",
    ['ETag: "v1"', 'ETag: W/"v1"', 'ETag: "a,b \\"', "ETag: v1", "ETag: W/v1", "ETag: ~x~",
     f"Last-Modified: {DATE}", "Last-Modified: Sunday, 06-Nov-94 08:49:37 GMT",
     "Last-Modified: Sun Nov  6 08:49:37 1994"],
)  # fmt: skip
@pytest.mark.parametrize("login", [MINE, OTHER, NOBODY])
def test_a_validator_comes_back_byte_for_byte_to_the_login_that_got_it(
    validator: str, login: str
) -> None:
    name, value = validator.split(": ", 1)
    answer = fields(validator)
    keep_apart(answer, login, FETCHED, is_browser=True)
    for whose in (MINE, OTHER, NOBODY):
        request = fields(f"If-None-Match: {answer['etag']}")
        own_validators(request, whose)
        back = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}[name]
        assert lines(request) == ([f"{back}: {value}"] if whose == login else [])


@pytest.mark.parametrize(
    ("asked", "vary", "cache_control"),
    [
        (["Sec-Fetch-Dest: empty", "Sec-Fetch-Site: none"], VARY, "max-age=9"),
        (["Sec-Fetch-Dest: image", "Sec-Fetch-Site: none"], VARY, "max-age=9, no-cache"),
        (["Sec-Fetch-Dest: script", "Sec-Fetch-Site: none"], VARY, "max-age=9, no-cache"),
        # A browser that does not say: the origin rule goes by Origin and Referer.
        (["Referer: http://192.168.1.9:8080/"], f"{VARY}, Origin, Referer", "max-age=9, no-cache"),
        ([], VARY, "max-age=9"),
    ],
)  # fmt: skip
def test_it_depends_on_what_decided_and_what_is_not_for_fetch_is_asked_for_each_time(
    asked: list[str], vary: str, cache_control: str
) -> None:
    headers = fields("Cache-Control: max-age=9")
    keep_apart(headers, MINE, fields(*asked), is_browser=bool(asked))
    assert lines(headers) == [f"Cache-Control: {cache_control}", vary]
    bare = fields()
    keep_apart(bare, MINE, fields(*asked), is_browser=bool(asked))
    assert bare.get("cache-control") == (None if "no-cache" not in cache_control else "no-cache")
