"""What an API's answer may do to the origin that it is shown under: the proxy's.

Some headers outlive the answer that they come with, or reach beyond it: to every path of the origin
(the front end's too), to every port of the host (all local servers are one *site*), or to the
browser itself. An API may say such things of its own origin; through the proxy they would be said
of ours. The two tables below are the specification.
"""

import re
from functools import lru_cache
from typing import Literal

from mitmproxy import http

DROPPED = {
    # These reach every port of the host
    "Strict-Transport-Security": "has no port: https for all of localhost (RFC 6797, 8.3)",
    "Public-Key-Pins": "pins the host's keys, whatever the port (RFC 7469, 2.2)",
    "Expect-CT": "asks for Certificate Transparency of the host (RFC 9163)",
    "Clear-Site-Data": "logs out of every local server, not this API alone (Clear Site Data, 4)",
    "Set-Cookie2": "sets cookies past our rules for them (RFC 2965, obsolete)",
    # These reach every path of the origin, and later requests
    "Alt-Svc": "sends the origin's later requests past the proxy (RFC 7838, 2.1)",
    "Service-Worker-Allowed": "lets a worker take over the front end (Service Workers, 7)",
    "Origin-Agent-Cluster": "the first answer decides for all pages of the origin (HTML, 7.1.2)",
    "Accept-CH": "asks for hints in the origin's later requests (RFC 8942, 3.1)",
    "Accept-CH-Lifetime": "says for how long (drafts of RFC 8942)",
    "Critical-CH": "has a request made twice (Client Hint Reliability)",
    "NEL": "reports failed requests to the origin elsewhere (Network Error Logging)",
    "Report-To": "names who gets such reports (MDN)",
    "Reporting-Endpoints": "names who gets reports (Reporting API, 3)",
    "No-Vary-Search": "hands the answer to requests with another query (MDN)",
    "Use-As-Dictionary": "compresses later answers with this one's bytes (RFC 9842, 2.1)",
    # These reach what the browser keeps or does for the origin
    "Set-Login": "tells the browser who is logged in at the origin (FedCM; MDN)",
    "IdP-SignIn-Status": "is the older name of Set-Login (FedCM)",
    "Secure-Session-Registration": "binds the origin's cookies to a key (Device Bound Sessions)",
    "Secure-Session-Challenge": "has the browser sign for such a session",
    "Sec-Session-Registration": "is the older name of Secure-Session-Registration",
    "Sec-Session-Challenge": "is the older name of Secure-Session-Challenge",
    "Activate-Storage-Access": "gives cookies to frames in foreign pages (MDN)",
    "Speculation-Rules": "has pages requested in advance, with cookies (MDN)",
    "Supports-Loading-Mode": "lets another port's page prerender ours with cookies (MDN)",
    "Attribution-Reporting-Register-Source": "registers clicks on advertisements (MDN)",
    "Attribution-Reporting-Register-Trigger": "registers what came of them (MDN)",
    "Attribution-Reporting-Register-OS-Source": "does so with the operating system",
    "Attribution-Reporting-Register-OS-Trigger": "does so with the operating system",
    "Observe-Browsing-Topics": "counts the visit among the user's interests (Topics; MDN)",
    "Shared-Storage-Write": "writes to the origin's shared storage (Shared Storage)",
}
"""Why no browser gets these."""

KEPT = {
    "Refresh": "is a redirect, and is rewritten as one elsewhere",
    "WWW-Authenticate": "says what the API asks for (see without_dialogs)",
    "Proxy-Authenticate": "says what a proxy asks for (see without_dialogs)",
    "Content-Security-Policy": "binds its own page; ours goes beside it",
    "Content-Security-Policy-Report-Only": "binds nothing",
    "Permissions-Policy": "binds its own page",
    "Referrer-Policy": "binds its own page",
    "X-DNS-Prefetch-Control": "binds its own page",
    "Cross-Origin-Opener-Policy": "binds its own page",
    "Cross-Origin-Embedder-Policy": "binds its own page",
    "Cross-Origin-Resource-Policy": "keeps other origins from embedding the answer",
    "X-Frame-Options": "keeps its own page out of frames",
    "Timing-Allow-Origin": "shows how long this answer took; others get it without the token",
    "Link": "asks for what its own page needs",
    "SourceMap": "is read by developer tools only",
    "Origin-Trial": "its token is signed for the API's own origin",
}
"""Why these pass, as all others do: they say something of this answer only."""

HIDDEN_PATHS = frozenset(
    (
        "x-original-url",  # IIS URL Rewrite; Symfony (CVE-2018-14773), Laminas, WordPress
        "x-rewrite-url",  # ISAPI_Rewrite; the same, and Yii
        "x-original-uri",  # nginx's auth_request; Rack and PHP applications behind it
        "x-original-pathname",  # PHP shims behind rewriting hosts
        "x-forwarded-uri",  # forward auth of Traefik and Caddy; Express and Flask shims on Vercel
        "x-forwarded-url",  # OpenWhisk actions; Flask shims on Vercel
        "x-forwarded-path",  # Flask applications and shims
        "x-envoy-original-path",  # Envoy and Higress: plugins and services behind them
        "x-waws-unencoded-url",  # Azure App Service; ASP.NET Core and Express middleware
        "x-ms-original-url",  # Azure Static Web Apps; SvelteKit's adapter
        "x-matched-path",  # Next in minimal mode (base-server.ts); Go and Python shims on Vercel
        "x-now-route-matches",  # Next in minimal mode, Nitro on Vercel
        "x-vercel-path",  # Flask shims on Vercel
        "x-vercel-original-path",  # the same
        "x-invoke-path",  # Next 13, between its router and its workers; Flask shims on Vercel
        "script-name",  # gunicorn: what it takes off the path (forwarder_headers)
        "path-info",  # gunicorn: the same option
    )
)
"""Request headers that some framework takes for the path, in lower case.

With one of them a page would ask the API for its login, and the proxy for anything else.
"""

_DROPPED = frozenset(name.lower().encode() for name in DROPPED)
_NOSNIFF = b"x-content-type-options"
_NOSNIFF_FIELD = (b"X-Content-Type-Options", b"nosniff")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_BREAKS = re.compile(rb"[\r\n\0]")

_CHALLENGES = frozenset((b"www-authenticate", b"proxy-authenticate"))
# RFC 9110, 5.6.4; the group is empty where the closing quote is missing
_QUOTED = rb'"(?:[^"\\]|\\.)*("?)'
# A scheme is the word at the start of a field, or after a comma where no `=` follows (11.3)
_SCHEME = rb"(?:^[ \t,]*|(?<=,)[ \t]*(?=\w+[ \t]*(?:,|$)|\w+[ \t]+[^ \t=]))"
_DIALOG = rb"(?P<scheme>(?:basic|digest|ntlm|negotiate)(?=[ \t,]|$))"
_FLAGS = re.IGNORECASE | re.DOTALL
_STRINGS = re.compile(_QUOTED, _FLAGS)
_DIALOGS = re.compile(rb"(?P<before>" + _SCHEME + rb")" + _DIALOG, _FLAGS)
_DIALOGS_OR_STRINGS = re.compile(_QUOTED + rb"|" + _DIALOGS.pattern, _FLAGS)


def apply(headers: http.Headers) -> None:
    """Take out what DROPPED names, and have types taken as they are given, in place.

    CR, LF and NUL in a value become blanks (RFC 9110, 5.5): mitmproxy passes a bare CR on, and
    Chromium takes what follows it for the next field, a Set-Cookie for instance.
    """
    if {"kept"}.issuperset([_fate(name) for name, _ in headers.fields]):
        headers.add(*_NOSNIFF_FIELD)
    else:
        headers.fields = tuple(field for field in headers.fields if _is_kept(*field))
        if "x-content-type-options" not in headers:
            headers.add(*_NOSNIFF_FIELD)
    without_line_breaks(headers)


def without_line_breaks(headers: http.Headers) -> None:
    """Put a blank in the place of each CR, LF and NUL in a value, in place."""
    fields = headers.fields
    if _BREAKS.search(b"".join([value for _, value in fields])):
        headers.fields = tuple((name, _BREAKS.sub(b" ", value)) for name, value in fields)


def without_dialogs(headers: http.Headers) -> None:
    """Rename the schemes that make a browser ask for a password itself, in place: `x-Basic`.

    Scripts still read what the API asks for, and a 401 has its challenge (RFC 9110, 11.6.1). For
    NTLM and Negotiate a browser may even answer without asking.
    """
    headers.fields = tuple(
        (name, _renamed(value) if name.lower() in _CHALLENGES else value)
        for name, value in headers.fields
    )


def hides_a_path(name: str) -> bool:
    """Whether some framework takes this request header for the path.

    CGI, and what descends from it, reads `_` and `-` in names alike (RFC 3875, 4.1.18).
    """
    return name.lower().replace("_", "-") in HIDDEN_PATHS


def _is_kept(name: bytes, value: bytes) -> bool:
    fate = _fate(name)
    return fate == "kept" or (fate == "nosniff" and value.strip().lower() == b"nosniff")


@lru_cache(maxsize=1024)
def _fate(name: bytes) -> Literal["dropped", "nosniff", "kept"]:
    key = name.lower()
    if key in _DROPPED or not _TOKEN.fullmatch(name):
        return "dropped"
    return "nosniff" if key == _NOSNIFF else "kept"


def _renamed(field: bytes) -> bytes:
    """The challenges of one field. Where a quote is left open, no quote counts."""
    whole = all(_STRINGS.findall(field))
    return (_DIALOGS_OR_STRINGS if whole else _DIALOGS).sub(_rename, field)


def _rename(match: re.Match[bytes]) -> bytes:
    scheme = match["scheme"]
    return match["before"] + b"x-" + scheme if scheme else match[0]
