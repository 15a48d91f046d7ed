"""Heads of one shape: what is cut out of them, and what is made of them by form."""

import pytest
from messages import shapes

PLAIN = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "values"),
    [
        (PLAIN, [b"/a"]),
        (b"HEAD /%s?%d HTTP/1.1\r\n\r\n", [b"/%s?%d"]),
        (b'GET / HTTP/1.1\r\nIf-None-Match: W/"1", "2"\r\n\r\n', [b"/", b'W/"1", "2"']),
        (b"GET / HTTP/1.1\r\nif-modified-since: a\r\nX: b\r\n\r\n", [b"/", b"a"]),
        (b"GET / HTTP/1.1\r\nReferer: http://x:1/a?b\r\n\r\n", [b"/", b"/a?b"]),
        # What is not surely the same to everybody stays
        (b"GET / HTTP/1.1\r\nReferer: http://x:1\r\n\r\n", [b"/"]),
        (b"GET / HTTP/1.1\r\nReferer: http://x?/\r\n\r\n", [b"/"]),
        (b"GET / HTTP/1.1\r\nReferer: http://a@x/\r\n\r\n", [b"/"]),
        (b"GET / HTTP/1.1\r\nIf-None-Match: a \r\n\r\n", [b"/"]),
        (b"GET / HTTP/1.1\r\nIf-None-Match:a\r\n\r\n", [b"/"]),
        (b"GET / HTTP/1.1\r\nIf-None-Match:  a\r\n\r\n", [b"/"]),
        (b"GET / HTTP/1.1\r\nIf-None-Match: \r\n\r\n", [b"/"]),
        (b"GET / HTTP/1.1\r\nIf-None-Match: a\tb\r\n\r\n", [b"/"]),
        (b"GET / HTTP/1.1\r\nIf-None-Match: \xe9\r\n\r\n", [b"/"]),
        (b"GET / HTTP/1.1\r\nIf-None-Match: a\rb\r\n\r\n", [b"/"]),
        (b"GET / HTTP/1.1\r\nX-If-None-Match: a\r\n\r\n", [b"/"]),
        (b"POST / HTTP/1.1\r\n\r\n", None),
        (b"GET /a b HTTP/1.1\r\n\r\n", None),
        (b"GET /a#b HTTP/1.1\r\n\r\n", None),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", None),
        (b"GET / HTTP/1.0\r\n\r\n", None),
    ],
)
def test_the_values_of_a_request_that_nothing_looks_at(
    head: bytes, values: list[bytes] | None
) -> None:
    apart = shapes.request(head)
    assert (apart and list(apart.values)) == values


@pytest.mark.parametrize(
    ("fields", "values", "lengths"),
    [
        (b'ETag: "1"\r\nDate: now\r\nContent-Length: 12', [b'"1"', b"now", b"12"], [2]),
        (b"content-length: 0\r\nlast-modified: x y", [b"0", b"x y"], [0]),
        (b"Content-Length: 1\r\nContent-Length: 1", [b"1", b"1"], [0, 1]),
        (b"Content-Length: 01", [], []),
        (b"Content-Length: +1", [], []),
        (b"Content-Length: 1, 1", [], []),
        (b"Content-Length:1", [], []),
        (b"Content-Length: 9999999999999999", [], []),
        (b"X: b\r\nLocation: http://x/", [], []),
    ],
)
def test_the_values_of_an_answer_that_nothing_looks_at(
    fields: bytes, values: list[bytes], lengths: list[int]
) -> None:
    apart = shapes.answer(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n")
    assert list(apart.values) == values
    assert apart.lengths == lengths


def test_a_form_gives_the_head_for_other_values() -> None:
    came = shapes.request(b"GET /%a HTTP/1.1\r\nX: 50%\r\nIf-None-Match: 1\r\nY: z\r\n\r\n")
    goes = shapes.request(b"GET /%a HTTP/1.1\r\nZ: 50%\r\nIf-None-Match: 1\r\n\r\n")
    other = shapes.request(b"GET /b HTTP/1.1\r\nX: 50%\r\nIf-None-Match: %s\r\nY: z\r\n\r\n")
    assert came
    assert goes
    assert other
    assert came.shape == other.shape
    form = shapes.form(came, goes)
    assert form
    made = b"GET /b HTTP/1.1\r\nZ: 50%\r\nIf-None-Match: %s\r\n\r\n"
    assert form % other.values == made


def test_there_is_no_form_where_a_value_was_changed_or_left_out() -> None:
    came = shapes.answer(b'HTTP/1.1 204 X\r\nETag: "1"\r\nContent-Length: 1\r\n\r\n')
    for goes in (b'ETag: "1"\r\n\r\n', b'ETag: "1"\r\nContent-Length: 2\r\n\r\n'):
        assert shapes.form(came, shapes.answer(b"HTTP/1.1 204 X\r\n" + goes)) is None
    assert shapes.form(came, None) is None


def test_what_is_remembered_is_bounded() -> None:
    memory: shapes.Memory[int] = shapes.Memory()
    for number in range(10_000):
        memory.put((number,), PLAIN, number)
    assert memory.get((9_999,)) == 9_999
    assert sum(memory.get((number,)) is not None for number in range(10_000)) <= 256
    memory.put(("long",), b"x" * 10_000, 1)
    assert memory.get(("long",)) is None
