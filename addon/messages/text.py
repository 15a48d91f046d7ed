"""Which bodies are text; and text from the traffic, made fit for a log line or a screen."""

from mitmproxy import http
from mitmproxy.utils import strutils

_TEXT_TYPES = ("json", "xml", "javascript", "x-www-form-urlencoded", "yaml")


def media_type(headers: http.Headers) -> str:
    """Of a message's Content-Type, in lower case, without parameters; empty for none."""
    kind: str = headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower()


def is_text(kind: str) -> bool:
    """Whether a body of this media type can be read as text; one of none may be."""
    return not kind or kind.startswith("text/") or kind.endswith(_TEXT_TYPES)


def printable(text: str, longest: int = 60) -> str:
    """On one line and short enough to read."""
    if len(text) <= longest and text.isascii() and text.isprintable():
        return text
    text = text[:200].encode("utf-8", "replace").decode()  # lone surrogates
    text = strutils.escape_control_characters(text, keep_spacing=False)
    return text if len(text) <= longest else text[: longest - 1] + "…"
