"""However a token is written, something else takes its place, and nothing of it stays."""

import base64
import html
import json
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import no_minutes
from test_search import (
    CASES,
    FILLER,
    FORMS,
    HOSTILE,
    JWT,
    KIB,
    PIECES,
    TOKENS,
    Writer,
    chunks_of,
    cut,
)
from tokens.search import Needle, Search, replaced

INSTEAD = "ca-standin.7Jq_x-93Kd~Zr41.Lw8"
SHORT = 16  # characters of a token from which on it is replaced wherever it stands


def streamed(chunks: Iterable[bytes], *needles: Needle, keep_length: bool = False) -> bytes:
    search = Search(needles, keep_length=keep_length)
    return b"".join([search.feed(chunk) for chunk in chunks]) + search.end()


def stars(data: bytes) -> bytes:
    return b"*" * len(data)


@pytest.mark.parametrize(("token", "written"), CASES)
def test_it_is_replaced_however_it_is_written(token: str, written: Writer) -> None:
    """Between quotes, where a short token is replaced, too."""
    name = next(name for name, write in FORMS.items() if write is written)
    form, needle = written(token).encode(), Needle.of(token, INSTEAD)
    data = b'{"a": "' + form + b'"}'
    out = needle.replaced(data)
    assert streamed(chunks_of(data, 1), needle) == out
    assert out.startswith(b'{"a": "')
    assert out.endswith(b'"}')
    encoded = name.startswith(("base64", "hex", "HEX"))
    if len(token) < SHORT and encoded:
        assert out is data
        return
    assert not Needle.of(token).found_in(out)
    if not encoded:
        assert out == b'{"a": "' + INSTEAD.encode() + b'"}'
    elif name.startswith("base64"):
        assert b"*" in out or Needle.of(INSTEAD).found_in(out)
    else:
        assert out == b'{"a": "' + written(INSTEAD).encode() + b'"}'


@pytest.mark.parametrize(("token", "written"), CASES)
def test_it_is_replaced_wherever_a_stream_is_cut(token: str, written: Writer) -> None:
    form, needle = written(token).encode(), Needle.of(token, INSTEAD)
    data = FILLER + form + FILLER
    for keep_length in (False, True):
        whole = streamed([data], needle, keep_length=keep_length)
        assert whole.startswith(FILLER)
        assert whole.endswith(FILLER)
        for at in range(len(FILLER) - keep_length, len(FILLER) + len(form) + 3, 4):
            assert streamed((data[:at], data[at:]), needle, keep_length=keep_length) == whole
        for size in (3, 131):
            chunks = chunks_of(data, size)
            assert streamed(chunks, needle, keep_length=keep_length) == whole
        assert not keep_length or len(whole) == len(data)


TOKEN = "q7+Hn/Zk2w-uU8.rT5=="
STAND_INS = ["stand-in", "stand-in.", "stand-in.a", "stand-in.ab~c"]


@pytest.mark.parametrize("instead", STAND_INS)
@pytest.mark.parametrize("token", [TOKEN, TOKEN + "x", TOKEN + "yz", JWT])
@pytest.mark.parametrize("name", ["", "x", "me", "ada", "_ken", "name:with:colons", "\xff\xff>?"])
@pytest.mark.parametrize("around", ["{}", "Basic {}", '"{}"', "?a={}&b=c", "{}\n", "{}\x00"])
def test_at_the_end_of_base64_all_of_it_is_written_anew(
    instead: str, token: str, name: str, around: str
) -> None:
    needle = Needle.of(token, instead)
    old, new = (
        f"{name}:{one}".encode("latin-1") if name else one.encode() for one in (token, instead)
    )
    data, expected = base64.b64encode(old).decode(), base64.b64encode(new).decode()
    assert needle.replaced(around.format(data).encode()) == around.format(expected).encode()
    if len(old) % 3:  # else nothing says that it is not padded
        data, expected = (base64.urlsafe_b64encode(one).decode().rstrip("=") for one in (old, new))
        changed = needle.replaced(around.format(data).encode())
        if b"+" in changed:  # the token's own part had neither + nor -
            expected = expected[:-3] + expected[-3:].replace("-", "+")
        assert changed == around.format(expected).encode()


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_keeps_its_alphabet(encode: Callable[[bytes], bytes]) -> None:
    needle = Needle.of("a~>?b~>?c~>?d?>~e", "s~~~~~~")
    for before in (b"", b"a:", b"ab:"):
        data, new = encode(before + b"a~>?b~>?c~>?d?>~e"), encode(before + b"s~~~~~~")
        assert needle.replaced(b'"' + data + b'"') == b'"' + new + b'"'


@pytest.mark.parametrize("instead", STAND_INS)
@pytest.mark.parametrize("token", [TOKEN, TOKEN + "x", TOKEN + "yz", JWT])
@pytest.mark.parametrize("before", [b"", b"a", b"ab", b'{"t": "', b"\xff\xfe"])
@pytest.mark.parametrize("after", [b'"}', b" and more", b"\xff", b"\xff\xfe\xfd\xfc"])
def test_within_base64_its_neighbours_stay_as_they_are(
    instead: str, token: str, before: bytes, after: bytes
) -> None:
    needle = Needle.of(token, instead)
    for encode, decode in (
        (base64.b64encode, base64.b64decode),
        (base64.urlsafe_b64encode, base64.urlsafe_b64decode),
    ):
        data = encode(before + token.encode() + after)
        new = decode(needle.replaced(b'"' + data + b'"')[1:-1])
        assert new.startswith(before + instead.encode())
        assert new.endswith(after)
        assert new[len(before + instead.encode()) : -len(after)].decode() in ("", "~", "~~")


@pytest.mark.parametrize(
    ("data", "new"),
    [
        (b"q7%2BHn/Zk2w-uU8.rT5%3d=&", b"stand-in&"),
        (rb'"q7\u002bHn\/Zk2w-uU8.rT5=="', b'"stand-in"'),
        (b"q7&#43;Hn&sol;Zk2w-uU8.rT5&equals;=", b"stand-in"),
        (TOKEN.encode().hex().encode(), b"stand-in".hex().encode()),
        (TOKEN.encode().hex().upper().encode(), b"stand-in".hex().upper().encode()),
        (2 * TOKEN.encode(), b"stand-instand-in"),
        (b"x" + TOKEN.encode() + b"x", b"xstand-inx"),
        (b"a=" + quote(base64.b64encode(TOKEN.encode())).encode(), b"a=c3RhbmQtaW4%3D"),
        (quote(base64.b64encode(b"a:" + TOKEN.encode() + b"!")).encode(), b"YTpzdGFuZC1pbiE%3D"),
    ],
)
def test_these_bytes_take_its_place(data: bytes, new: bytes) -> None:
    needle = Needle.of(TOKEN, "stand-in")
    assert needle.replaced(data) == new
    assert streamed(chunks_of(data, 1), needle) == new


@pytest.mark.parametrize(
    ("data", "new"),
    [
        (b'"abcd+efgh" abcd%2befgh', b'"stand-in" stand-in'),
        (b"abcd+efgh", b"stand-in"),
        (b"\xc3\xa9abcd+efgh.", b"\xc3\xa9stand-in."),
        (b"a=%22abcd%2befgh%22", b"a=%22stand-in%22"),
        (b"abcd+efgh-", None),
        (b"_abcd+efgh", None),
        (b"1abcd+efgh abcd+efghi", None),
        (b"%41abcd%2befgh", None),
        (b"abcd+efghabcd+efgh", None),
        (base64.b64encode(b"abcd+efgh"), None),
        (b"abcd+efgh".hex().encode(), None),
    ],
)
@pytest.mark.parametrize("filler", [b"", FILLER])
def test_a_short_token_is_replaced_only_where_it_stands_alone(
    data: bytes, new: bytes | None, filler: bytes
) -> None:
    needle = Needle.of("abcd+efgh", "stand-in")
    data = filler + data + filler
    expected = data if new is None else filler + new + filler
    assert needle.replaced(data) == expected
    assert needle.found_in(data) == (new is not None)
    for size in (1, 2, 3, 100):
        assert streamed(chunks_of(data, size), needle) == expected
    for at in range(len(data)):
        assert streamed((data[:at], data[at:]), needle) == expected


def test_without_a_stand_in_a_short_token_is_blanked_wherever_it_stands() -> None:
    assert Needle.of("abcd+efgh").replaced(b"xabcd+efghx") == b"x*********x"


FIRST, SECOND, LONG = "first-token-12345+1", "second-token-12345+2", "first-token-12345+1.and-more"
SEVERAL = [
    Needle.of(FIRST, "stand-in-1"),
    Needle.of(SECOND, "stand-in-2"),
    Needle.of(LONG, "stand-in-3"),
    Needle.of(SECOND[4:], "stand-in-4"),
]


@pytest.mark.parametrize(
    ("data", "new"),
    [
        (f"{FIRST} {SECOND}", "stand-in-1 stand-in-2"),
        (f"{FIRST}{SECOND}", "stand-in-1stand-in-2"),
        (f"{LONG}{FIRST}", "stand-in-3stand-in-1"),
        (LONG[:-1], "stand-in-1.and-mor"),
        (f"x{SECOND[4:]}", "xstand-in-4"),
        (quote_plus(LONG) + "&" + quote_plus(SECOND), "stand-in-3&stand-in-2"),
        (json.dumps({"a": LONG, "b": [FIRST]}), '{"a": "stand-in-3", "b": ["stand-in-1"]}'),
        (LONG.encode().hex(), b"stand-in-3".hex()),
        (base64.b64encode(LONG.encode()).decode(), base64.b64encode(b"stand-in-3").decode()),
        (html.escape("<" + SECOND + ">"), "&lt;stand-in-2&gt;"),
    ],
)
def test_several_are_replaced_at_once_and_the_longest_counts(data: str, new: str) -> None:
    for needles in (SEVERAL, SEVERAL[::-1]):
        assert replaced(data.encode(), needles) == new.encode()
        for size in (1, 2, 3, 7, 100):
            assert streamed(chunks_of(data.encode(), size), *needles) == new.encode()


def test_where_two_tokens_overlap_nothing_of_both_stays() -> None:
    one, other = Needle.of("0123456789abcdef+1", "one"), Needle.of("abcdef+1-0123456789", "other")
    data = b"<0123456789abcdef+1-0123456789>"
    assert replaced(data, [one, other]) == b"<" + stars(data[1:-1]) + b">"
    assert streamed(chunks_of(data, 1), one, other) == b"<" + stars(data[1:-1]) + b">"


def test_what_holds_no_token_is_the_same_object() -> None:
    for data in (b"", FILLER, LONG[:-10].encode()[:-5], b"%41%42"):
        assert replaced(data, SEVERAL) is data
        assert replaced(data, []) is data
        assert SEVERAL[0].replaced(data) is data


@pytest.mark.parametrize(
    ("data", "new"),
    [
        (TOKEN, "stand-in~~~~~~~~~~~~"),
        (quote(TOKEN, safe=""), "stand-in" + "~" * 20),
        (TOKEN.encode().hex(), "*" * 40),
        (base64.b64encode(TOKEN.encode()).decode(), "*" * 28),
    ],
)
def test_its_length_is_kept(data: str, new: str) -> None:
    needle = Needle.of(TOKEN, "stand-in")
    assert len(data) == len(new)
    for size in (1, 3, 100):
        chunks = chunks_of(f"<{data}>".encode(), size)
        assert streamed(chunks, needle, keep_length=True) == f"<{new}>".encode()


def test_where_the_length_cannot_be_kept_there_are_asterisks() -> None:
    needle = Needle.of(TOKEN, "s" * 21)
    assert streamed([TOKEN.encode()], needle, keep_length=True) == b"*" * 20
    assert streamed([quote(TOKEN).encode()], needle, keep_length=True) == b"s" * 21 + b"~" * 5


@pytest.mark.parametrize("instead", ["", "a b", 'a"b', "a%b", "a/b", "é", "a\n"])
def test_what_would_need_an_escape_takes_no_place(instead: str) -> None:
    with pytest.raises(ValueError, match="no escape"):
        Needle.of(TOKEN, instead)


def test_a_needle_is_prepared_once() -> None:
    assert Needle.of(JWT, INSTEAD) is Needle.of(JWT, INSTEAD)
    assert Needle.of(JWT, INSTEAD) != Needle.of(JWT)
    assert hash(Needle.of(JWT, INSTEAD)) == hash(Needle.of(JWT, INSTEAD))
    assert JWT not in repr(Needle.of(JWT, INSTEAD))


def test_a_needle_with_a_stand_in_still_blanks() -> None:
    assert Needle.of(JWT, INSTEAD).blanked(f"<{JWT}>".encode()) == f"<{'*' * len(JWT)}>".encode()


@pytest.mark.parametrize(
    ("tail", "held"),
    [
        (b" abcd+efgh-ijkl-mn", b"abcd+efgh-ijkl-mn"),
        (b" abcd+efgh-ijkl-mno", b""),  # replaced at once
        (b" ?", b""),
        (b"data: {}\n\n", b""),
        (b" " + base64.b64encode(b"abcd+efgh-ijkl-mno"), b"YWJjZCtlZmdoLWlqa2wtbW5v"),
    ],
)
@pytest.mark.parametrize("filler", [b"", FILLER])
def test_only_what_may_be_a_token_is_held_back(filler: bytes, tail: bytes, held: bytes) -> None:
    token = "abcd+efgh-ijkl-mno"
    search = Search([Needle.of(token, "stand-in")])
    passed = search.feed(filler + tail)
    assert passed == (filler + tail)[: len(filler + tail) - len(held)].replace(
        token.encode(), b"stand-in"
    )


ALPHABETS = {
    "JWT": st.binary(min_size=9, max_size=30).map(
        lambda b: "eyJh." + base64.urlsafe_b64encode(b).decode().rstrip("=") + ".Sf_-k"
    ),
    "hex": st.binary(min_size=8, max_size=20).map(bytes.hex),
    "UUID": st.uuids().map(str),
    "itsdangerous": st.binary(min_size=9, max_size=20).map(
        lambda b: '{"id": 7}.Zk2w.' + base64.urlsafe_b64encode(b).decode().rstrip("=")
    ),
    "base64": st.binary(min_size=12, max_size=20).map(lambda b: base64.b64encode(b).decode()),
    "anything": st.text(st.sampled_from("aB1/+=-&%\\\"'< é🔑"), min_size=8, max_size=24),
}
ANY_TOKEN = st.one_of(*ALPHABETS.values())


@st.composite
def hays(draw: st.DrawFn, *tokens: str) -> bytes:
    """Pieces of escapes and of these tokens, and the tokens themselves, however written."""
    writes = st.sampled_from(list(FORMS.values()))
    written = st.builds(lambda write, token: write(token).encode(), writes, st.sampled_from(tokens))
    parts = st.one_of(PIECES, written, written.map(lambda w: w[: len(w) // 2]), st.just(FILLER))
    return b"".join(draw(st.lists(parts, max_size=12)))


@given(data=st.data(), token=ANY_TOKEN, keep_length=st.booleans())
def test_chunks_make_no_difference(data: st.DataObject, token: str, keep_length: bool) -> None:
    hay = data.draw(hays(token))
    needle = Needle.of(token, INSTEAD)
    whole = streamed([hay], needle, keep_length=keep_length)
    assert streamed(data.draw(cut(hay)), needle, keep_length=keep_length) == whole
    assert streamed(chunks_of(hay, 1), needle, keep_length=keep_length) == whole
    if keep_length:
        assert len(whole) == len(hay)
    else:
        assert needle.replaced(hay) == whole
    if not needle.found_in(hay):
        assert whole == hay


@given(data=st.data(), tokens=st.lists(ANY_TOKEN, min_size=1, max_size=3), part=st.integers(1, 9))
def test_chunks_make_no_difference_for_several_tokens(
    data: st.DataObject, tokens: list[str], part: int
) -> None:
    tokens += [tokens[0][:-part], tokens[0][part:], tokens[-1] + tokens[0]]
    needles = [Needle.of(token, f"stand-in-{i}") for i, token in enumerate(tokens)]
    hay = data.draw(hays(*tokens))
    whole = replaced(hay, needles)
    assert streamed(data.draw(cut(hay)), *needles) == whole
    assert streamed(chunks_of(hay, 1), *needles) == whole


@given(
    data=st.data(),
    token=ANY_TOKEN.filter(lambda token: len(token) >= SHORT),
    before=st.binary(max_size=60),
    after=st.binary(max_size=60),
)
def test_nothing_of_it_stays_and_all_else_does(
    data: st.DataObject, token: str, before: bytes, after: bytes
) -> None:
    needle = Needle.of(token, INSTEAD)
    written = data.draw(st.sampled_from(list(FORMS.values())))(token).encode()
    hay = before + b'"' + written + b'"' + after
    out = streamed(data.draw(cut(hay)), needle)
    assert out.startswith(before + b'"')
    assert out.endswith(b'"' + after)
    assert not Needle.of(token).found_in(out)


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("written", FORMS.values(), ids=FORMS)
def test_another_token_passes(token: str, written: Writer) -> None:
    needle = Needle.of(token, INSTEAD)
    for at in range(0, len(token), 3):
        other = token[:at] + ("~" if token[at] != "~" else "!") + token[at + 1 :]
        data = FILLER + written(other).encode() + FILLER
        assert needle.replaced(data) is data
        assert streamed(chunks_of(data, 50), needle) == data


@pytest.mark.parametrize(("token", "hay"), HOSTILE, ids=str)
def test_hostile_bytes_take_no_time(token: str, hay: bytes) -> None:
    """They take some milliseconds; what is quadratic takes minutes."""
    needles = [Needle.of(token, INSTEAD), Needle.of(token[1:], INSTEAD), Needle.of(token[:9], "s")]
    with no_minutes():
        whole = replaced(hay, needles)
        assert streamed(chunks_of(hay, 16 * KIB), *needles) == whole


def test_tokens_that_overlap_without_end_are_not_held_back() -> None:
    needles = [Needle.of("a" * 16, "one"), Needle.of("a" * 17, "other")]
    search = Search(needles)
    passed = b"".join(search.feed(b"a" * 1000) for _ in range(100))
    assert passed == stars(passed)
    assert len(passed) > 100_000 - 100
    assert len(passed + search.end()) == 100_000
