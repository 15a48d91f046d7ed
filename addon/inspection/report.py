"""One mark and one line for each flow, from what was decided about it."""

from collections.abc import Mapping
from typing import Any

from mitmproxy import http
from token_handler.decision import (
    CAPTURED,
    COOKIES,
    CORS,
    INJECTED,
    KEPT_BACK,
    LEAK,
    REFUSAL,
    RENEWED,
    ROLE,
    SENT,
    TRUSTED,
)
from token_handler.settings import Settings

from inspection.phrases import cookies, printable, token_size

MARKS = {
    "captured": ":key:",
    "translated": ":lock:",
    "anonymous": ":bust_in_silhouette:",
    "refused": ":no_entry:",
    "logged out": ":door:",
    "refreshed": ":arrows_counterclockwise:",
    "leak": ":rotating_light:",
}
"""Names from mitmproxy's `utils/emoji.py`."""


def mark(metadata: Mapping[str, Any]) -> str:
    """The marker of a flow with these decisions; empty for one that is none of the addon's."""
    role = metadata.get(ROLE)
    if LEAK in metadata:
        return MARKS["leak"]
    if role == "refused":
        return MARKS["refused"]
    if role in ("logout", "sign-out"):
        return MARKS["logged out"]
    if role in ("refresh", "renewal", "retry") or RENEWED in metadata:
        return MARKS["refreshed"]
    if CAPTURED in metadata:
        return MARKS["captured"]
    if role in ("api", "login"):
        return MARKS["translated" if metadata.get(INJECTED) else "anonymous"]
    return ""


def comment(flow: http.HTTPFlow, settings: Settings) -> str:
    """What the addon did with a flow, so far, on one line."""
    metadata = flow.metadata
    told = [_outcome(flow, settings)]
    if RENEWED in metadata:
        told.append(f"fresh token ({token_size(metadata[RENEWED])})")
    if kept_back := metadata.get(KEPT_BACK):
        told.append(cookies(tuple(kept_back), "kept back"))
    if LEAK in metadata:
        told.append(f"LEAK: {metadata[LEAK]}")
    return "; ".join(told)


_BY_ROLE = {
    "logout": "logout, answered here",
    "sign-out": "logout, of which the API is told",
    "refresh": "refresh, asked for by the page",
    "frontend": "for the front end, as it came",
    "renewal": "cookie-auth asks for a fresh token",
    "retry": "cookie-auth asks again with the fresh token",
}


def _outcome(flow: http.HTTPFlow, settings: Settings) -> str:
    metadata = flow.metadata
    role = metadata[ROLE]
    if role in _BY_ROLE:
        return _BY_ROLE[role]
    if role == "refused":
        return f"refused: {metadata[REFUSAL][0]}"
    if role == "preflight":
        return f"CORS preflight of {printable(metadata[CORS])}, answered here"
    if CAPTURED in metadata:
        return f"login: token ({token_size(metadata[CAPTURED])}) → cookie {settings.cookie}"
    if metadata.get(INJECTED):
        names = ", ".join(name for name in metadata[COOKIES] if not name.endswith("-refresh"))
        return f"cookie {names} → header {settings.header} ({token_size(metadata[SENT])})"
    if role == "login":
        status = flow.response.status_code if flow.response else None
        answer = f": the API answers {status}, and no token" if status else ""
        return f"login, without a token{answer}"
    if settings.header in flow.request.headers:
        return f"header {settings.header} as the browser sent it"
    if not metadata[TRUSTED]:
        return "from a page of another origin: without a token"
    return "no auth cookie: without a token"
