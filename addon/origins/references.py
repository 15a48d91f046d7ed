"""References in an upstream's answer, which the browser must follow through the proxy."""

import re
from collections.abc import Iterable

from mitmproxy import http

from origins.origin import Origin
from origins.paths import strip_prefix, upstream_target

# RFC 3986, 4.1, for http(s): an origin, if there is one, and all that follows.
_REFERENCE = re.compile(
    r"(?:(?:(?P<scheme>https?):)?//(?P<authority>[^/?#\\]*))?(?P<target>.*)", re.IGNORECASE
)
_AUTHORITY = re.compile(r"(?:https?:)?//", re.IGNORECASE)
# What URL parsers drop, wherever it stands and at the ends (WHATWG URL, 4.4).
_DROPPED = re.compile(r"[\t\r\n]|^[\x00-\x20]+|[\x00-\x20]+$")
# HTML, 4.2.5.3, shared declarative refresh steps: `url=` may be missing.
_REFRESH = re.compile(
    r"(\s*[\d.]+(?:\s*[;,]|\s)\s*(?:url\s*=\s*)?[\"']?)([^\"']*)([\"']?.*)",
    re.IGNORECASE | re.DOTALL,
)
_LINK = re.compile(r"<([^>]*)>")  # RFC 8288, 3
REFERENCES = frozenset(("location", "content-location", "refresh", "link"))
"""The response headers that refer to other resources."""


def to_browser(reference: str, upstream: Origin, prefix: str, base_path: str) -> str:
    """A URL reference from an upstream's answer, as the browser must follow it through the proxy.

    A reference to the upstream's own origin becomes relative to the proxy, with the base path
    taken off and the prefix put back; any other, and a path-relative one, stays as it is.
    """
    reference = _DROPPED.sub("", reference)
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


Place = tuple[Origin, str, str]
"""An upstream, the prefix behind which it is, and its base path."""


def rewrite_references(
    headers: http.Headers,
    upstream: Origin,
    prefix: str,
    base_path: str,
    others: Iterable[Place] = (),
) -> None:
    """Apply `to_browser` to the fields named in REFERENCES, in place.

    `others` are upstreams to which an absolute reference leads through the proxy, too.
    """

    def translate(reference: str) -> str:
        found = to_browser(reference, upstream, prefix, base_path)
        for other in others:
            if not _AUTHORITY.match(found):
                break
            found = to_browser(found, *other)
        return found

    for name in ("location", "content-location"):
        if name in headers:
            headers.set_all(name, list(map(translate, headers.get_all(name))))
    if match := _REFRESH.fullmatch(headers.get("refresh", "")):
        headers["refresh"] = match[1] + translate(match[2]) + match[3]
    if "link" in headers:
        links = headers.get_all("link")
        headers.set_all(
            "link",
            [_LINK.sub(lambda match: f"<{translate(match[1])}>", link) for link in links],
        )


def _is_same_host(match: re.Match[str], upstream: Origin) -> bool:
    """Whether it names the upstream; behind a TLS terminator, APIs mistake their own scheme.

    So the port decides, and two that are their schemes' own are one. Nobody else answers there.
    """
    try:
        named = Origin.parse(f"{match['scheme'] or upstream.scheme}://{match['authority']}")
    except ValueError:
        return False
    both_default = named.is_default_port and upstream.is_default_port
    return named.host == upstream.host and (named.port == upstream.port or both_default)
