"""Content codings, decoded as they pass."""

import contextlib
import gzip
import importlib
import itertools
import random
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import coding
from mitmproxy.net import encoding


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def zstd(data: bytes) -> bytes:
    encoded = encoding.encode(data, "zstd")
    assert isinstance(encoded, bytes)
    return encoded


# Name of the coding, and how it is made
WAYS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-Gzip", gzip.compress),
    "gzip in two members": (
        "gzip",
        lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    ),
    "deflate": ("deflate", zlib.compress),
    "deflate, fast": ("deflate", lambda data: zlib.compress(data, 1)),
    "raw deflate": ("deflate", raw_deflate),
    "stored deflate": ("deflate", lambda data: zlib.compress(data, 0)),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd),
    "zstd in two frames": (
        "zstd",
        lambda data: zstd(data[: len(data) // 2]) + zstd(data[len(data) // 2 :]),
    ),
}
each_way = pytest.mark.parametrize("way", WAYS)
BODIES = {
    "text": b'{"token": "T"}' * 20,
    "long": bytes(random.Random(1).choices(b"abcdefgh ", k=400_000)),
    "hardly compressed": random.Random(2).randbytes(200_000),
    "one byte": b"x",
}


def chunks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def decoded(name: str, parts: list[bytes]) -> bytes:
    decoder = coding.decoder(name)
    assert decoder
    pieces = [piece for part in parts for piece in decoder.feed(part)]
    decoder.end()
    assert all(pieces)
    return b"".join(pieces)


# What comes out


@each_way
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("size", [1, 7, 1000, 1_000_000])
def test_a_body_comes_out_as_it_was_however_it_is_cut(way: str, body: str, size: int) -> None:
    name, encode = WAYS[way]
    encoded = encode(BODIES[body])
    size = 97 if size == 1 and len(encoded) > 20_000 else size
    assert decoded(name, chunks(encoded, size)) == BODIES[body]


@settings(max_examples=60, deadline=None)
@given(
    way=st.sampled_from(list(WAYS)),
    data=st.binary(max_size=2000) | st.text(max_size=300).map(str.encode),
    cuts=st.lists(st.integers(0, 2500), max_size=8),
)
def test_any_bytes_come_out_of_any_chunks(way: str, data: bytes, cuts: list[int]) -> None:
    name, encode = WAYS[way]
    encoded = encode(data)
    at = [0, *sorted(cut for cut in cuts if cut < len(encoded)), len(encoded)]
    parts = [encoded[one:other] for one, other in itertools.pairwise(at)]
    assert decoded(name, parts) == data


@pytest.mark.parametrize(
    ("name", "flushing"),
    [
        ("gzip", lambda: zlib.compressobj(wbits=31)),
        ("deflate", lambda: zlib.compressobj()),
        ("deflate", lambda: zlib.compressobj(wbits=-15)),
    ],
    ids=["gzip", "deflate", "raw deflate"],
)
def test_an_event_comes_out_as_soon_as_it_has_come_in(
    name: str, flushing: Callable[[], "zlib._Compress"]
) -> None:
    compressor, decoder = flushing(), coding.decoder(name)
    assert decoder
    for number in range(5):
        event = b"data: %d\n\n" % number
        sent = compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert b"".join(decoder.feed(sent)) == event


def test_an_event_comes_out_of_brotli_at_once_too() -> None:
    compressor, decoder = brotli.Compressor(), coding.decoder("br")
    assert decoder
    for number in range(5):
        event = b"data: %d\n\n" % number
        sent = compressor.process(event) + compressor.flush()
        assert b"".join(decoder.feed(sent)) == event


@each_way
def test_an_empty_body_is_one(way: str) -> None:
    assert decoded(WAYS[way][0], []) == b""
    assert decoded(WAYS[way][0], [b"", b""]) == b""


@pytest.mark.parametrize("way", [way for way in WAYS if way != "br"])
@pytest.mark.parametrize("size", [1, 1_000_000])
@pytest.mark.parametrize("behind", [b"\0" * 10, b"junk behind it", b"\x1f", b"\x28\xb5"])
def test_what_comes_behind_the_end_is_left_out(way: str, size: int, behind: bytes) -> None:
    name, encode = WAYS[way]
    assert decoded(name, chunks(encode(b"body") + behind, size)) == b"body"
    if len(behind) > 2:  # even if a frame comes behind that
        assert decoded(name, [encode(b"body"), behind, encode(b"more")]) == b"body"


def test_what_comes_behind_the_end_of_brotli_adds_nothing() -> None:
    decoder = coding.decoder("br")
    assert decoder
    assert b"".join(decoder.feed(brotli.compress(b"body"))) == b"body"
    assert b"".join(decoder.feed(b"x")) == b""
    decoder.end()
    with pytest.raises(ValueError, match="corrupt"):
        decoded("br", [brotli.compress(b"body") + b"junk behind it"])


# What does not


@each_way
def test_a_truncated_body_is_told_of_and_nothing_wrong_comes_out(way: str) -> None:
    name, encode = WAYS[way]
    body = BODIES["text"]
    encoded = encode(body)
    first = body[: len(body) // 2]
    member = {"gzip in two members": gzip.compress, "zstd in two frames": zstd}.get(way)
    complete = len(member(first)) if member else 0
    for length in range(1, len(encoded)):
        decoder = coding.decoder(name)
        assert decoder
        out = b"".join(decoder.feed(encoded[:length]))
        assert body.startswith(out)
        # A few bytes of another member's beginning are no member.
        if not complete <= length < complete + 4:
            with pytest.raises(ValueError, match="truncated"):
                decoder.end()


@settings(max_examples=200, deadline=None)
@given(
    way=st.sampled_from(list(WAYS)),
    at=st.integers(0, 10_000),
    bit=st.integers(0, 7),
    size=st.sampled_from([1, 5, 1000]),
)
def test_corrupt_bytes_raise_nothing_but_valueerror(way: str, at: int, bit: int, size: int) -> None:
    name, encode = WAYS[way]
    encoded = bytearray(encode(BODIES["text"]))
    encoded[at % len(encoded)] ^= 1 << bit
    with contextlib.suppress(ValueError):
        decoded(name, chunks(bytes(encoded), size))


@pytest.mark.parametrize("name", ["gzip", "br", "zstd", "deflate"])
def test_what_is_not_encoded_at_all_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"corrupt|truncated"):
        decoded(name, [b'<!doctype html>{"token": "T"}' * 10])


def test_a_zstd_frame_that_wants_more_memory_than_browsers_give_is_refused() -> None:
    with pytest.raises(ValueError, match="corrupt"):
        # A frame header with a window of 128 MiB (RFC 8878, 3.1.1.1)
        decoded("zstd", [b"\x28\xb5\x2f\xfd\x00" + bytes([17 << 3]) + b"\x01\x00\x00"])


@pytest.mark.parametrize(
    ("name", "bomb"),
    [
        ("gzip", lambda: gzip.compress(bytes(300_000_000), 9)),
        ("deflate", lambda: zlib.compress(bytes(300_000_000), 9)),
        ("br", lambda: brotli.compress(bytes(300_000_000), quality=5)),
        ("zstd", lambda: zstd(bytes(300_000_000))),
    ],
    ids=["gzip", "deflate", "br", "zstd"],
)
def test_a_bomb_comes_out_in_pieces(name: str, bomb: Callable[[], bytes]) -> None:
    encoded = bomb()
    decoder = coding.decoder(name)
    assert decoder
    tracemalloc.start()
    try:
        sizes = [len(piece) for piece in decoder.feed(encoded)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    decoder.end()
    assert sum(sizes) == 300_000_000
    assert max(sizes) < 64_000_000 if name == "br" else max(sizes) <= 4_000_000
    assert peak < 100_000_000


# Which


@pytest.mark.parametrize("name", ["", "identity", "compress", "dcb", "dcz", "gzip, br", "rot13"])
def test_other_codings_are_not_decoded(name: str) -> None:
    assert coding.decoder(name) is None


@pytest.mark.parametrize(
    ("accepted", "readable"),
    [
        ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
        ("gzip, deflate, br, zstd, dcb, dcz", "gzip, deflate, br, zstd"),
        ("GZIP;q=0.8,br;q=1.0 , compress", "GZIP;q=0.8, br;q=1.0"),
        ("br;q=0.1, gzip ; q=0.9", "br;q=0.1, gzip ; q=0.9"),
        ("*", "identity"),
        ("gzip, *;q=0", "gzip"),
        ("br;q=0, *", "identity"),
        ("identity;q=0.5, gzip;q=0", "identity"),
        ("identity;q=0, *", "identity"),
        ("identity, x-gzip", "identity, x-gzip"),
        ("gzip;q=0.000, zstd; q = 0.001", "gzip;q=0.000, zstd; q = 0.001"),
        ("compress, dcb", "identity"),
        ("", "identity"),
        (" , ,", "identity"),
    ],
)
def test_accept_encoding_names_only_what_can_be_decoded(accepted: str, readable: str) -> None:
    assert coding.readable_codings(accepted) == readable


@given(st.text("gzipbrstd-*;q=01., \t", max_size=40))
def test_whatever_is_accepted_what_is_left_is_readable_and_stays_so(accepted: str) -> None:
    readable = coding.readable_codings(accepted)
    assert readable
    assert coding.readable_codings(readable) == readable
    names = [member.partition(";")[0].strip().lower() for member in readable.split(",")]
    assert all(name == "identity" or coding.decoder(name) for name in names)


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_all_that_browsers_accept_and_mitmproxy_decodes_is_decoded(name: str) -> None:
    encoded = encoding.encode(b"body", name)
    assert isinstance(encoded, bytes)
    assert decoded(name, [encoded]) == b"body"
    importlib.reload(coding)  # as a reload of the script does
