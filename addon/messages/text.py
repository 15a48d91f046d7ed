"""Text from the traffic, made fit for a log line or a screen."""

from mitmproxy.utils import strutils


def printable(text: str) -> str:
    """On one line and short enough to read."""
    if len(text) <= 60 and text.isascii() and text.isprintable():
        return text
    text = text[:200].encode("utf-8", "replace").decode()  # lone surrogates
    text = strutils.escape_control_characters(text, keep_spacing=False)
    return text if len(text) <= 60 else text[:59] + "…"
