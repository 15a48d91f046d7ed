"""Which API path a request asks for, and where it goes upstream."""

import re
from functools import lru_cache
from urllib.parse import unquote

_PATH_END = re.compile(r"[?#\0]")
_LONGEST_REMEMBERED = 512
_MAX_DECODINGS = 3  # a front server, the application and one more; a bound keeps it linear


def strip_prefix(target: str, prefix: str) -> str | None:
    """The request target (path and query) without the prefix, byte for byte; None if outside it.

    A prefix ends at a segment's end: `/api` covers `/api`, `/api/x` and `/api?x`, not `/apix`.
    """
    rest = target.removeprefix(prefix)
    if len(rest) + len(prefix) != len(target) or (prefix and rest[:1] not in ("", "/", "?")):
        return None
    return rest


def upstream_target(api_target: str, base_path: str) -> str:
    """What the API is asked for: its base path, then the target as it came.

    The one addition is the slash that a target must begin with (RFC 9112, 3.2.1); `*` (3.2.4)
    stays as it is.
    """
    if api_target == "*":
        return api_target
    target = base_path + api_target
    return target if target.startswith("/") else "/" + target


def normalise(target: str) -> str:
    """The path that the most lenient server would see in this target, for comparison only.

    Servers differ in what they decode and fold before they route. A path that any of them might
    take for the login must be treated as one, so everything is undone that some server undoes:
    percent-encoding (also repeated), backslashes, empty segments, `;params`, `.` and `..`
    segments (RFC 3986, 5.2.4), letter case. The query takes no part.
    """
    # Long targets are not remembered: a foreign page could fill the memory with them.
    return _normalised(target) if len(target) > _LONGEST_REMEMBERED else _remembered(target)


def _normalised(target: str) -> str:
    path = _PATH_END.split(target, maxsplit=1)[0]
    for _ in range(_MAX_DECODINGS):
        path = unquote(path, errors="replace")
    path = _PATH_END.split(path, maxsplit=1)[0].replace("\\", "/")
    segments: list[str] = []
    for segment in path.split("/"):
        name = segment.partition(";")[0].strip().casefold()
        if name == "..":
            del segments[-1:]
        elif name not in ("", "."):
            segments.append(name)
    return "/" + "/".join(segments)


_remembered = lru_cache(maxsize=1024)(_normalised)
