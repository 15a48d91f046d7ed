"""Messages whose parts have the right types pass at once, all others as mitmproxy says."""

import dataclasses
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from upstream import part_types

SLOW: Any = http.MessageData.__post_init__
NAMES = [field.name for field in dataclasses.fields(http.ResponseData)]
RIGHT: list[Any] = [b"HTTP/1.1", http.Headers(), None, None, 1.0, None, 200, b"OK"]


@pytest.fixture(scope="module")
def fast() -> Iterator[Any]:
    undo = part_types.install()
    yield http.MessageData.__post_init__
    undo()
    assert http.MessageData.__post_init__ is SLOW


@given(
    st.lists(
        st.sampled_from([b"x", "x", 1, 1.5, True, None, http.Headers(), [], b""]),
        min_size=6,
        max_size=8,
    )
)
def test_a_message_of_wrong_types_is_refused_as_mitmproxy_refuses_it(
    fast: Any, parts: list[Any]
) -> None:
    def outcome(check: Callable[[Any], None]) -> str:
        message = http.ResponseData.__new__(http.ResponseData)
        vars(message).update(zip(NAMES, RIGHT, strict=True))
        vars(message).update(zip(NAMES, parts, strict=False))
        try:
            check(message)
        except TypeError as error:
            return str(error)
        return "accepted"

    assert outcome(fast) == outcome(SLOW)


def test_a_message_that_was_made_leaves_nothing_to_the_garbage_collector(fast: Any) -> None:
    class Secret:
        pass

    def make() -> weakref.ref[Secret]:
        secret = Secret()
        http.ResponseData(*RIGHT)
        return weakref.ref(secret)

    gc.disable()
    try:
        assert make()() is None
    finally:
        gc.enable()


def test_without_debug_checks_there_is_nothing_to_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(http.MessageData, "__post_init__")
    undo = part_types.install()
    assert not hasattr(http.MessageData, "__post_init__")
    undo()
