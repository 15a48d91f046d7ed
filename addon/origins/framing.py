"""Frames of other local pages: clickjacking, on a host where SameSite keeps no cookie back."""

import re
from collections.abc import Iterable
from functools import lru_cache

from mitmproxy import http

_DOCUMENTS = frozenset(
    (
        *("text/html", "application/xhtml+xml", "image/svg+xml", "application/pdf"),
        *("application/xml", "text/xml", "text/xsl", "multipart/x-mixed-replace"),
        # MIME Sniffing, 7: types that are looked into
        *("", "unknown/unknown", "application/unknown", "*/*"),
    )
)
_FRAMES = frozenset(("iframe", "frame", "embed", "object", "fencedframe"))
_ORIGIN = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(?=[/?#]|$)", re.ASCII)


def forbid_framing(
    headers: http.Headers, allowed_origins: Iterable[object], *, confirms: bool = False
) -> None:
    """Let only our own pages and those of `allowed_origins` frame an answer that is a document.

    In place. Policies add up (CSP 3, 8.1), so the API's own stays as it is, and ours beside it can
    only forbid more. But `frame-ancestors` switches X-Frame-Options off (CSP 3, 6.4.2.1): what
    that forbids, ours says too.
    """
    if not _is_document(headers.get("content-type", "")[:256]):
        return
    if confirms and "content-security-policy" not in headers:
        # A 304 without one: what the browser keeps has both, and a field of ours alone would take
        # their place (RFC 9111, 3.2; seen in Chromium).
        return
    ancestors = " ".join(("'self'", *sorted(map(str, allowed_origins))))
    if options := _frame_options(headers):
        ancestors = "'none'" if "deny" in options else "'self'"
    headers.add("Content-Security-Policy", f"frame-ancestors {ancestors}")


def framing_origin(headers: http.Headers) -> str | None:
    """For a log line: the other origin whose page loads this request into a frame, if one does."""
    if headers.get("sec-fetch-dest") not in _FRAMES:
        return None
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return None
    match = _ORIGIN.match(headers.get("referer", ""))
    return match[0] if match else "another origin"


@lru_cache(maxsize=256)
def _is_document(content_type: str) -> bool:
    """Whether a browser shows this answer as a page that may hold something to click on.

    Of several types the browser takes the last that it can read (Fetch, 3.5): any of them counts.
    """
    types = content_type.split(",")
    essences = [text.partition(";")[0].strip().lower() for text in types]
    return any(essence in _DOCUMENTS or essence.endswith("+xml") for essence in essences)


def _frame_options(headers: http.Headers) -> set[str]:
    """What X-Frame-Options forbids, when it counts; ALLOW-FROM counts nowhere any more."""
    if "frame-ancestors" in headers.get("content-security-policy", "").lower():
        return set()
    values = headers.get("x-frame-options", "").lower().split(",")
    return {value.strip() for value in values} & {"deny", "sameorigin"}
