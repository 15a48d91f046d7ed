"""What of mitmproxy's own functions is replaced, and what happens where they are others."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mitmproxy.proxy.layers.http import HttpStream
from support import ADDON, Mitmdump, Upstream
from upstream import connections, gaps, redaction
from upstream.patches import Function, replace, unknown


def test_this_mitmproxy_has_all_functions_as_they_are_known() -> None:
    assert unknown((*gaps.REPLACED, *connections.RELIED_ON, *redaction.REPLACED)) == []


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (Function(HttpStream, "check_invalid", ("self", "request")), []),
        (Function(HttpStream, "check_invalid", ("self",)), ["HttpStream.check_invalid"]),
        (Function(HttpStream, "check_anything", ("self",)), ["HttpStream.check_anything"]),
        (Function(HttpStream, "__doc__", ("self",)), ["HttpStream.__doc__"]),
    ],
)
def test_a_function_is_known_by_its_parameters(function: Function, names: list[str]) -> None:
    assert unknown([function]) == names


def test_what_was_replaced_is_put_back() -> None:
    before = HttpStream.check_invalid
    undo = replace({gaps.REPLACED[2]: lambda self, request: None})
    assert HttpStream.check_invalid is not before
    undo()
    assert HttpStream.check_invalid is before


UNKNOWN = """
from mitmproxy.proxy.layers.{module} import {owner}
{owner}.{name} = lambda self, another, one: None
"""


def test_a_mitmproxy_of_another_shape_is_left_as_it_is_and_start_up_says_so(
    start: Callable[..., Mitmdump], upstream: Upstream, tmp_path: Path
) -> None:
    script = tmp_path / "another.py"
    script.write_text(UNKNOWN.format(module="websocket", owner="Fragmentizer", name="__call__"))
    mitmdump = start(scripts=(script, ADDON))
    mitmdump.wait_for_log(r"does not know mitmproxy [\d.]+: it leaves Fragmentizer.__call__ as")
    assert mitmdump.client.get("/me", cookie="auth-token=sekret").status == 200
    refused = start("--set", "cookie_auth_redact=true", scripts=(script, ADDON))
    assert refused.exit_code() == 1
    assert "cookie_auth_redact: True is wrong; it must be false with this" in refused.log
