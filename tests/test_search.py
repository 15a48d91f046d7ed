"""A token is found in bytes however it is written, also across chunks, and nothing else is."""

import base64
import html
import json
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import no_minutes
from tokens.search import Needle, Search

JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsIm5hbWUiOiJBZGEifQ"
    ".SflKxwRJSMeKKF2QT4fwpMeJf36POk6y-V_adQssw5c"
)
TOKENS = {
    "jwt": JWT,
    "opaque": "q7+Hn/Zk2w==",
    "uuid": "9b2f6c1e-0d4a-4f7e-8a51-c3d2e1f0a9b8",
    "signed": '{"id": 7}:1rXyZ<3>:Ab&Cd\'Ef',
    "not ASCII": "schlüssel-🔑-straße",
    "blanks": "open sesame now",
    "percent": "s%3Ak2Jd9.x%2Fy+z",
    "backslash": "dom\\nick\\user:pass",
    "all digits": "00112233445566",
    "no letters": "+/=+-_.~",
    "short": "k3y!",
    "- and _ in base64url": "a~>?b~>?c~>?d?>~e",
}

Writer = Callable[[str], str]


def percent(token: str) -> str:
    return "".join(f"%{byte:02X}" for byte in token.encode())


def script(token: str, letter: str = "u") -> str:
    """Each character as JavaScript's \\uXXXX, in UTF-16."""
    data = token.encode("utf-16-be")
    return "".join(f"\\u{data[i]:02x}{data[i + 1]:02x}" for i in range(0, len(data), 2))


def specials(token: str, written: Writer) -> str:
    return "".join(c if c.isalnum() and c.isascii() else written(c) for c in token)


def turns(token: str, *writers: Writer) -> str:
    return "".join(writers[i % len(writers)](c) for i, c in enumerate(token))


def in_base64(prefix: str, token: str, suffix: str, *, url: bool = False) -> str:
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    return encode((prefix + token + suffix).encode()).decode()


FORMS: dict[str, Writer] = {
    "plain": lambda t: t,
    "JSON": lambda t: json.dumps(t)[1:-1],
    "JSON, UTF-8": lambda t: json.dumps(t, ensure_ascii=False)[1:-1],
    "JSON with \\/": lambda t: json.dumps(t)[1:-1].replace("/", "\\/"),
    "JSON, capitals": lambda t: specials(t, lambda c: script(c).upper().replace("\\U", "\\u")),
    "JSON, specials": lambda t: specials(t, script),
    "JSON, every character": script,
    "JSON in JSON": lambda t: json.dumps(json.dumps(t)[1:-1].replace("/", "\\/"))[1:-1],
    "JSON with \\u in JSON": lambda t: json.dumps(specials(t, script))[1:-1],
    "JavaScript's \\x": lambda t: specials(
        t, lambda c: f"\\x{ord(c):02x}" if ord(c) < 256 else script(c)
    ),
    "URL": lambda t: quote(t, safe=""),
    "URL, lower case": lambda t: specials(t, lambda c: percent(c).lower()),
    "URL, slashes left": quote,
    "form": quote_plus,
    "URL, every character": percent,
    "URL, every character, lower case": lambda t: percent(t).lower(),
    "URL in URL": lambda t: quote(quote(t, safe=""), safe=""),
    "URL in URL in URL": lambda t: quote(quote(quote(t, safe=""), safe=""), safe=""),
    "JSON with \\/ in URL": lambda t: quote(json.dumps(t)[1:-1].replace("/", "\\/"), safe=""),
    "HTML": html.escape,
    "HTML, hex": lambda t: specials(t, lambda c: f"&#x{ord(c):x};"),
    "HTML, HEX": lambda t: specials(t, lambda c: f"&#X{ord(c):04X};"),
    "HTML, decimal": lambda t: specials(t, lambda c: f"&#{ord(c)};"),
    "HTML, decimal, zeros": lambda t: specials(t, lambda c: f"&#{ord(c):04};"),
    "HTML, every character": lambda t: "".join(f"&#x{ord(c):x};" for c in t),
    "HTML, names": lambda t: (
        t.replace("&", "&amp;")
        .replace("/", "&sol;")
        .replace("+", "&plus;")
        .replace("=", "&equals;")
    ),
    "HTML in HTML": lambda t: html.escape(html.escape(t)),
    "HTML in Go's JSON": lambda t: json.dumps(html.escape(t), ensure_ascii=False)[1:-1].replace(
        "&", "\\u0026"
    ),
    "JSON in HTML": lambda t: html.escape(json.dumps(t)[1:-1].replace("/", "\\/")),
    "all mixed": lambda t: turns(
        t, percent, script, lambda c: f"&#{ord(c)};", lambda c: json.dumps(c)[1:-1]
    ),
    "base64": lambda t: in_base64("", t, ""),
    "base64, one before": lambda t: in_base64("x", t, ""),
    "base64, two before": lambda t: in_base64("xy", t, ""),
    "base64, one around": lambda t: in_base64("\x00", t, "\x00"),
    "base64 of Basic": lambda t: in_base64("user:", t, ""),
    "base64 of Bearer": lambda t: in_base64("Bearer ", t, "\n"),
    "base64url": lambda t: in_base64("", t, "", url=True).rstrip("="),
    "base64url, one before": lambda t: in_base64("?", t, "?", url=True).rstrip("="),
    "base64url, two before": lambda t: in_base64("~~", t, "~", url=True).rstrip("="),
    "base64 in a URL": lambda t: quote(in_base64("~", t, ""), safe=""),
    "base64 in JSON with \\/": lambda t: in_base64("~?", t, "?").replace("/", "\\/"),
    "base64, every character": lambda t: percent(in_base64("a", t, "b")),
    "hex": lambda t: t.encode().hex(),
    "HEX": lambda t: t.encode().hex().upper(),
}

CASES = [
    pytest.param(token, written, id=f"{name} {form}")
    for name, token in TOKENS.items()
    for form, written in FORMS.items()
    if (name, form) != ("backslash", "all mixed")  # \n of its own, half escaped: a line break too
]
FILLER = b'{"name": "C:\\\\Temp", "url": "/a?b=%20c&d=1"}, <b>&nbsp;</b> ' * 3


def streamed(chunks: Iterable[bytes], *tokens: str) -> bytes:
    search = Search(map(Needle.of, tokens))
    return b"".join([search.feed(chunk) for chunk in chunks]) + search.end()


def watched(chunks: Iterable[bytes], *tokens: str) -> bool:
    search = Search(map(Needle.of, tokens), watch=True)
    for chunk in chunks:
        assert search.feed(chunk) is chunk
    assert search.end() == b""
    return search.found


def chunks_of(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize(("token", "written"), CASES)
def test_a_token_is_found_and_blanked(token: str, written: Writer) -> None:
    form = written(token).encode()
    needle = Needle.of(token)
    is_base64 = written in (write for name, write in FORMS.items() if name.startswith("base64"))
    for before, after in ((b"", b""), (b"<p>", b""), (b"", b"\n"), (b'{"a": "', b'"}')):
        data = before + form + after
        blanked = needle.blanked(data)
        assert needle.found_in(data)
        assert not needle.found_in(blanked)
        assert len(blanked) == len(data)
        assert blanked.startswith(before)
        assert blanked.endswith(after)
        if is_base64:  # what stands beside the token is in it too
            assert blanked.count(b"*") * 6 >= len(token.encode()) * 8
        else:
            assert blanked == before + b"*" * len(form) + after


@pytest.mark.parametrize(("token", "written"), CASES)
def test_it_is_blanked_wherever_a_stream_is_cut(token: str, written: Writer) -> None:
    form = written(token).encode()
    data = FILLER + form + FILLER
    blanked = Needle.of(token).blanked(data)
    assert blanked.startswith(FILLER)
    assert blanked.endswith(FILLER)
    for at in range(len(FILLER) - 1, len(FILLER) + len(form) + 2):
        assert streamed((data[:at], data[at:]), token) == blanked
    assert streamed(chunks_of(data, 1), token) == blanked
    assert streamed(chunks_of(data, 131), token) == blanked


@pytest.mark.parametrize(("token", "written"), CASES)
def test_it_is_seen_wherever_a_watched_stream_is_cut(token: str, written: Writer) -> None:
    form = written(token).encode()
    data = FILLER + form + FILLER
    for at in range(len(FILLER), len(FILLER) + len(form), 5):
        assert watched((data[:at], data[at:]), token)
    assert watched(chunks_of(data, 1), token)
    assert watched(chunks_of(data, 200), token)


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("written", FORMS.values(), ids=FORMS)
def test_another_token_passes(token: str, written: Writer) -> None:
    """One that differs in a single character, wherever that is; its core is there all the same."""
    needle = Needle.of(token)
    for at in range(len(token)):
        other = token[:at] + ("~" if token[at] != "~" else "!") + token[at + 1 :]
        data = FILLER + written(other).encode() + FILLER
        assert not needle.found_in(data)
        assert needle.blanked(data) == data


@pytest.mark.parametrize(
    ("token", "data"),
    [
        ("abcd", b"abc abc d ABCD abcD"),
        ("abcd", b"%61%62%63 &#97;bc; \\u0061bc%64e"[:-4]),
        ("abcdefgh", b"abcdefg\nh"),
        ("abcd/efgh", b"abcd//efgh abcd%2f/efgh abcdefgh abcd%2efgh"),
        ("abcd/efgh", b"abcd&#x2f efgh abcd&sol efgh"),
        ("a/b/c/d", b"a/b/c\\\\\\\\\\/d"),
        ("a&b&c", b"a&b;&c a&amp;amp;amp;amp;b&c"),
        ("abc", b"abc"),
        ("", b""),
    ],
)
def test_what_is_no_token_passes(token: str, data: bytes) -> None:
    assert Needle.of(token).blanked(data) == data
    assert streamed(chunks_of(data, 1), token) == data
    assert not Needle.of(token).found_in(data)


@pytest.mark.parametrize(
    ("token", "data", "blanked"),
    [
        ("abcd", b"abcdabcd", b"********"),
        ("abab", b"xabababx", b"x****abx"),
        ("aaaa", b"a" * 9, b"*" * 8 + b"a"),
        ("deadbeef", b"100%deadbeef", b"100%********"),
        ("nabc/def", b"C:\\nabc/def", b"C:\\********"),
        ("ab/cd", b"&amp;ab&#x2f;cd;", b"&amp;**********;"),
        ("a/b/c", rb"a\\\/b\/c", b"*" * 9),
        ("ab cd", b"ab+cd ab%20cd", b"***** *******"),
        ("ab+cd", b"ab cd ab%2bcd", b"ab cd *******"),
        ("s%3Aab/cd", b"s:ab/cd s%3Aab/cd s%253Aab%2Fcd", b"******* ********* *************"),
        ("caf\udce9-token", b"caf\xe9-token", b"**********"),
        ("caf\ud800-token", b'"caf\\ud800-token"', b'"' + b"*" * 15 + b'"'),
    ],
)
def test_these_bytes_are_blanked(token: str, data: bytes, blanked: bytes) -> None:
    assert Needle.of(token).blanked(data) == blanked
    assert streamed(chunks_of(data, 1), token) == blanked


@pytest.mark.parametrize(
    ("data", "blanked"),
    [
        (b"first-token+1 second-token+2", b"************* **************"),
        (b"first-token+1second-token+2", b"*" * 27),
        (b"second%2dtoken%2b2 neither-token", b"*" * 18 + b" neither-token"),
    ],
)
def test_several_tokens_are_looked_for_at_once(data: bytes, blanked: bytes) -> None:
    tokens = "first-token+1", "second-token+2"
    assert streamed([data], *tokens) == blanked
    assert streamed(chunks_of(data, 1), *tokens) == blanked


def test_one_token_within_another_leaves_nothing_of_both() -> None:
    for size in (1, 2, 3, 5, 100):
        chunks = chunks_of(b"-abcd+efgh-cd+efgh/ijkl-", size)
        assert streamed(chunks, "abcd+efgh", "cd+efgh") == b"-*********-*******/ijkl-"


@pytest.mark.parametrize(
    "event",
    [
        b"data: {}\n\n",
        b'{"a": 1}\n',
        b"100 % of it. ",
        "wörter".encode(),
        b"a & b ",
        b"&nbsp;",
        b"%20",
    ],
)
@pytest.mark.parametrize("filler", [b"", FILLER])
def test_an_event_passes_at_once(event: bytes, filler: bytes) -> None:
    search = Search([Needle.of("q7+Hn/Zk2w==")])
    for _ in range(3):
        assert search.feed(filler + event) == filler + event
    assert search.end() == b""


@pytest.mark.parametrize(
    ("tail", "held"),
    [
        (b" q7", b"q7"),
        (b" q7%2", b"q7%2"),
        (b" q7%2bHn", b"q7%2bHn"),
        (b" q8", b""),
        (b" q7q7", b"q7"),
        (b" \\u00", b"\\u00"),
        (b" \\", b"\\"),
        (b" &am", b"&am"),
        (b" %", b"%"),
        (b" cTcr", b"cTcr"),  # base64
        (b" 71372", b"71372"),  # hex
    ],
)
@pytest.mark.parametrize("filler", [b"", FILLER])
def test_only_the_beginning_of_a_token_is_held_back(
    filler: bytes, tail: bytes, held: bytes
) -> None:
    search = Search([Needle.of("q7+Hn/Zk2w==")])
    data = filler + tail
    assert search.feed(data) == data[: len(data) - len(held)]
    assert search.feed(b"!") == held + b"!"
    assert not search.found


def test_a_watched_stream_is_not_touched_before_nor_after_a_token() -> None:
    assert watched([b"a", JWT[:20].encode(), JWT[20:].encode(), b"", JWT.encode()], JWT)


def test_a_search_for_nothing_passes_all() -> None:
    for needles in ([], [Needle.of("abc")]):
        search = Search(needles)
        assert search.feed(b"%") == b"%"
        assert search.end() == b""
        assert not search.found


def test_a_needle_does_not_show_its_token() -> None:
    assert JWT not in repr(Needle.of(JWT))
    assert JWT not in str([Needle.of(JWT)])


ALPHABET = st.sampled_from("aB1/+=-&%\\\"'< é🔑")
TEXTS = st.text(ALPHABET, min_size=4, max_size=12)
PIECES = st.sampled_from(
    rb"% 25 2 41 %5C \ \\ u0026 u00 u x2f & amp; #x # 47; 2f; ud83d \udd11 a B 1 / + YQ =".split()
)


@st.composite
def hays(draw: st.DrawFn, token: str) -> bytes:
    """Pieces of escapes and of this token, and the token itself."""
    written = st.sampled_from(list(FORMS.values())).map(lambda write: write(token).encode())
    parts = st.one_of(PIECES, written, written.map(lambda w: w[: len(w) // 2]), st.just(FILLER))
    return b"".join(draw(st.lists(parts, max_size=12)))


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    at = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@given(data=st.data(), token=TEXTS)
def test_chunks_make_no_difference(data: st.DataObject, token: str) -> None:
    hay = data.draw(hays(token))
    needle = Needle.of(token)
    whole = needle.blanked(hay)
    assert len(whole) == len(hay)
    assert streamed(data.draw(cut(hay)), token) == whole
    assert streamed(chunks_of(hay, 1), token) == whole
    assert watched(data.draw(cut(hay)), token) == needle.found_in(hay)
    if not needle.found_in(hay):
        assert whole == hay


@given(data=st.data(), tokens=st.lists(TEXTS, max_size=3))
def test_chunks_make_no_difference_for_several_tokens(
    data: st.DataObject, tokens: list[str]
) -> None:
    hay = b"".join([data.draw(hays(token)) for token in tokens])
    assert streamed(data.draw(cut(hay)), *tokens) == streamed([hay], *tokens)


@given(
    data=st.data(),
    token=st.text(st.sampled_from("aB1/+=-._~:é🔑"), min_size=4, max_size=12),
    around=st.tuples(st.binary(max_size=300), st.binary(max_size=300)),
)
def test_a_token_of_which_each_character_is_written_somehow_is_found(
    data: st.DataObject, token: str, around: tuple[bytes, bytes]
) -> None:
    writers: list[Writer] = [
        lambda c: c,
        percent,
        script,
        lambda c: percent(c).lower().replace("%", "%25"),
        lambda c: script(c).replace("\\", "\\\\\\"),
        lambda c: f"&amp;#{ord(c)};",
        lambda c: f"\\u0026#x{ord(c):x};",
    ]
    form = "".join(data.draw(st.sampled_from(writers))(c) for c in token).encode()
    before, after = around
    hay = before + b'"' + form + b'"' + after
    assert Needle.of(token).found_in(hay)
    assert b"*" * len(form) in streamed(data.draw(cut(hay)), token)


@given(
    token=st.binary(min_size=4, max_size=9),
    before=st.binary(max_size=5),
    after=st.binary(max_size=5),
)
def test_base64_is_found_in_whatever_it_stands(token: bytes, before: bytes, after: bytes) -> None:
    needle = Needle.of(token.decode("utf-8", "surrogateescape"))
    if len(token.decode("utf-8", "surrogateescape")) >= 4:
        assert needle.found_in(b"'" + base64.b64encode(before + token + after) + b"'")
        assert needle.found_in(b"'" + base64.urlsafe_b64encode(before + token + after) + b"'")


@given(
    token=st.text("ab\0", min_size=4, max_size=5),
    text=st.text("Y?WFhAGJi/", min_size=8, max_size=24),
)
def test_base64_is_read_from_each_of_its_characters_on(token: str, text: str) -> None:
    """Nothing says where it begins. Found is what is there, and nothing else."""
    readings = [
        base64.b64decode(part[start : start + (len(part) - start) // 4 * 4])
        for part in text.split("?")
        for start in range(4)
        for part in [part + "A" * 3]
    ]
    in_base64 = [form for form in Needle.of(token).forms if form.view == "base64"]
    found = any(list(form.occurrences(text.encode(), 0)) for form in in_base64)
    if any(token.encode() in reading for reading in readings) != found:
        # only where its last bits would come of the padding
        assert not found


KIB = 1024


HOSTILE = [
    ("abcdefgh+/ijkl", b"abcdefgh" * 8 * KIB),
    ("abcdefgh+/ijkl", b"abcdefgh%2b" * 6 * KIB),
    ("a" * 32 * KIB, b"a" * 64 * KIB),
    ("a" * 32 * KIB, (b"a" * 30_000 + b"b") * 2),
    ("a" * 32 * KIB, b"%61" * 21 * KIB),
    ("a/" * 16 * KIB + "b", b"a/" * 32 * KIB),
    ("a/" * 16 * KIB + "b", b"a%2f" * 16 * KIB),
    ("+/" * 16 * KIB, b"+/" * 32 * KIB),
    ("q" + "a" * 32 * KIB, base64.b64encode(b"a" * 48 * KIB)),
    (JWT, b"\\" * 64 * KIB),
    (JWT, b"%25" * 21 * KIB),
    (JWT, b"&amp;" * 12 * KIB),
    (JWT, b"&#65;" * 12 * KIB),
    (JWT, b"&#0" * 21 * KIB),
]


@pytest.mark.parametrize(("token", "hay"), HOSTILE, ids=str)
def test_hostile_bytes_take_no_time(token: str, hay: bytes) -> None:
    """They take some milliseconds; what is quadratic takes minutes."""
    needle = Needle.of(token)
    with no_minutes():
        needle.blanked(hay)
        streamed(chunks_of(hay, 16 * KIB), token)
