"""Which API path a request asks for, and where it goes upstream."""

import re
from functools import lru_cache
from urllib.parse import unquote

from mitmproxy import http

from token_handler.guard import Origin

# RFC 3986, 4.1, for http(s): an origin, if there is one, and all that follows.
_REFERENCE = re.compile(
    r"(?:(?:(?P<scheme>https?):)?//(?P<authority>[^/?#\\]*))?(?P<target>.*)", re.IGNORECASE
)
_REFRESH = re.compile(r"(\s*[\d.]*\s*[;,]\s*url\s*=\s*[\"']?)([^\"']*)([\"']?.*)", re.IGNORECASE)
_LINK = re.compile(r"<([^>]*)>")  # RFC 8288, 3
REFERENCES = frozenset(("location", "content-location", "refresh", "link"))
"""The response headers that refer to other resources."""

_PATH_END = re.compile(r"[?#\0]")
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


@lru_cache(maxsize=1024)
def normalise(target: str) -> str:
    """The path that the most lenient server would see in this target, for comparison only.

    Servers differ in what they decode and fold before they route. A path that any of them might
    take for the login must be treated as one, so everything is undone that some server undoes:
    percent-encoding (also repeated), backslashes, empty segments, `;params`, `.` and `..`
    segments (RFC 3986, 5.2.4), letter case. The query takes no part.
    """
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


def to_browser(reference: str, upstream: Origin, prefix: str, base_path: str) -> str:
    """A URL reference from an upstream's answer, as the browser must follow it through the proxy.

    A reference to the upstream's own origin becomes relative to the proxy, with the base path
    taken off and the prefix put back; any other, and a path-relative one, stays as it is.
    """
    match = _REFERENCE.fullmatch(reference)
    if not match:
        return reference
    if match["authority"] is not None and not _is_same_host(match, upstream):
        return reference
    target = match["target"]
    if match["authority"] is None and not target.startswith("/"):
        return reference
    target = target or "/"
    rest = strip_prefix(target, base_path)
    if rest is None:  # outside what the proxy serves, so it must name its server
        return f"{upstream}{target}"
    seen = prefix + rest if prefix else upstream_target(rest, "")
    # A path that begins with two slashes would name another host.
    return reference if seen.startswith(("//", "/\\")) else seen


def rewrite_references(
    headers: http.Headers, upstream: Origin, prefix: str, base_path: str
) -> None:
    """Apply `to_browser` to the fields named in REFERENCES, in place."""

    def translate(reference: str) -> str:
        return to_browser(reference, upstream, prefix, base_path)

    for name in ("location", "content-location"):
        if name in headers:
            headers[name] = translate(headers[name])
    if "refresh" in headers:
        headers["refresh"] = _REFRESH.sub(
            lambda match: match[1] + translate(match[2]) + match[3], headers["refresh"]
        )
    if "link" in headers:
        links = headers.get_all("link")
        headers.set_all(
            "link",
            [_LINK.sub(lambda match: f"<{translate(match[1])}>", link) for link in links],
        )


def _is_same_host(match: re.Match[str], upstream: Origin) -> bool:
    """Whether it names the upstream; behind a TLS terminator, APIs mistake their own scheme."""
    try:
        named = Origin.parse(f"{match['scheme'] or upstream.scheme}://{match['authority']}")
    except ValueError:
        return False
    return named == upstream or (
        named.host == upstream.host and named.is_default_port and upstream.is_default_port
    )
