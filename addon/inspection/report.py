"""One mark and one line for each flow, from what was decided about it."""

import re
from collections.abc import Mapping
from typing import Any

from exchanges import notes
from exchanges.received import browser_path
from exchanges.settings import Settings
from mitmproxy import http
from origins import paths
from upstream import reasons

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


LONGEST_PATH = 120


def mark(metadata: Mapping[str, Any]) -> str:
    """The marker of a flow with these decisions; empty for one that is none of the addon's."""
    role = metadata.get(notes.KIND)
    if notes.LEAK in metadata:
        return MARKS["leak"]
    if role == "refused":
        return MARKS["refused"]
    if role in ("logout", "sign-out", "own-logout") or notes.LOGGED_OUT in metadata:
        return MARKS["logged out"]
    if role in ("refresh", "renewal", "retry", "page-refresh") or notes.RENEWED in metadata:
        return MARKS["refreshed"]
    if notes.CAPTURED in metadata:
        return MARKS["captured"]
    if role in ("api", "login", "switch"):
        has_token = metadata.get(notes.INJECTED) or metadata.get(notes.TRANSLATED)
        return MARKS["translated" if has_token else "anonymous"]
    return ""


def comment(flow: http.HTTPFlow, settings: Settings) -> str:
    """What the addon did with a flow, so far, on one line.

    It begins with the path that the browser asked for, since mitmproxy's list shows the API's, and
    a search has to find the one that stands in the page's code. Then comes what the mark says,
    which is an empty box where no font has it.
    """
    metadata = flow.metadata
    told = []
    if notes.LEAK in metadata:
        told.append(f"LEAK: {metadata[notes.LEAK]}")
    if notes.LOGGED_OUT in metadata:
        told.append("logout by the page")
    if notes.RENEWED in metadata:
        told.append(f"fresh token ({token_size(metadata[notes.RENEWED])})")
    told.append(_outcome(flow, settings))
    if given := metadata.get(notes.STAND_INS):
        told.append(f"stand-ins given for {', '.join(map(printable, given))}")
    if left := metadata.get(notes.LEFT_ALONE):
        told.append(f"left alone: {', '.join(map(printable, left))}")
    if kept_back := metadata.get(notes.KEPT_BACK):
        told.append(cookies(tuple(kept_back), "kept back"))
    asked = browser_path(flow).partition("?")[0]
    return f"{printable(asked, LONGEST_PATH)}: {'; '.join(told)}"


_BY_ROLE = {
    "logout": "logout, answered here",
    "sign-out": "logout, of which the API is told",
    "refresh": "refresh, asked for by the page",
    "session": "session, answered here",
    "frontend": "for the front end, as it came",
    "renewal": "cookie-auth asks for a fresh token",
    "retry": "cookie-auth asks again with the fresh token",
    "own-logout": "logout, as the page asked the API for it",
    "page-refresh": "cookie-auth asks for the page's fresh tokens, once for all",
}


def _outcome(flow: http.HTTPFlow, settings: Settings) -> str:
    metadata = flow.metadata
    role = metadata[notes.KIND]
    if role in _BY_ROLE:
        return _BY_ROLE[role]
    if role == "refused":
        code, message = metadata[notes.REFUSAL]
        told = f"refused: {code}: {message.partition('. ')[0].rstrip('.')}"
        # A page whose dev server is down asks for it again and again.
        down = code in reasons.NO_ANSWERS and _is_the_front_ends(flow, settings)
        return f"for the front end; {told}" if down else told
    if role == "preflight":
        known = "" if notes.CORS in metadata else ", which is not allowed"
        origin = printable(flow.request.headers.get("origin", ""))
        return f"CORS preflight of {origin}{known}, answered here"
    if notes.CAPTURED in metadata:
        size = token_size(metadata[notes.CAPTURED])
        what = "switch" if role == "switch" else "login"
        return f"{what}: token ({size}) → cookie {settings.cookie.name}"
    if metadata.get(notes.INJECTED):
        main = re.compile(re.escape(settings.cookie.name) + r"(-\d+)?(~\w*)?(\.\d+)?")
        names = [name for name in metadata[notes.COOKIES] if main.fullmatch(name)]
        size = token_size(metadata[notes.SENT])
        header = metadata.get(notes.HEADER, settings.header.name)
        return f"cookie {', '.join(names)} → header {header} ({size})"
    if places := metadata.get(notes.TRANSLATED):
        return f"stand-in → token in {', '.join(map(printable, places))}"
    if role == "login":
        status = flow.response.status_code if flow.response else None
        answer = f": the API answers {status}, and no token" if status else ""
        return f"login without a token{answer}"
    if settings.header.name in flow.request.headers:
        return f"header {settings.header.name} as the browser sent it"
    if not metadata[notes.TRUSTED]:
        return "without a token: from a page of another origin"
    return "without a token: no auth cookie"


def _is_the_front_ends(flow: http.HTTPFlow, settings: Settings) -> bool:
    outside = paths.strip_prefix(browser_path(flow), settings.paths.prefix) is None
    return outside and settings.paths.frontend is not None and notes.UPSTREAM not in flow.metadata
