"""Who may use the proxy: the Host rule and the origin rule.

On localhost every port is the same *site*, so SameSite does not keep one dev server's pages from
sending our cookie. The origin rule does, as Go's `net/http.CrossOriginProtection` does it, but with
no exception for same-site requests. The Host rule keeps out pages whose name was made to resolve to
this machine (DNS rebinding): for the browser they are of the proxy's own origin.
"""

import ipaddress
from functools import lru_cache
from typing import NamedTuple

from messages.answers import Refused
from mitmproxy import http

from origins.origin import Origin

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that a page of another origin may use; they are forwarded without the token."""


class Verdict(NamedTuple):
    """What the origin rule says of a request, and which of its lines says so."""

    trusted: bool
    why: str


SILENT_BROWSER = (
    "a browser that says neither where it asks from nor for what (plain http on an address that is"
    " not localhost, or an old one)"
)


def own_origin(
    request: http.Request,
    *,
    tls: bool,
    allowed_hosts: tuple[str, ...],
    public: Origin | None = None,
) -> Origin:
    """The origin that the browser addressed.

    `allowed_hosts` are further names than localhost, `*.localhost` and IP addresses; one that
    begins with a dot covers its subdomains. `public` is the origin of a tunnel in front of the
    proxy, whatever its own connection is: the tunnel's Host is that one's, or else one of those,
    with the tunnel's in X-Forwarded-Host.

    Raises Refused when Host is missing, malformed, doubled or not allowed.
    """
    hosts = request.headers.get_all("host")
    if request.authority and (request.is_http2 or request.is_http3):
        hosts.append(request.authority)
    if len({host.lower() for host in hosts}) != 1:
        raise Refused("host_not_allowed", "The request must carry one Host header.")
    try:
        origin = Origin.parse(f"{'https' if tls else 'http'}://{hosts[0]}")
    except ValueError:
        raise Refused("host_not_allowed", "The request's Host header is malformed.") from None
    if public and _names(public, hosts[0]):
        return public
    if not (is_local(origin.host) or _is_listed(origin.host, allowed_hosts)):
        raise Refused(
            "host_not_allowed",
            f"The host {origin.host} is not allowed here. If it is yours:"
            f" --set cookie_auth_allowed_hosts={origin.host}",
        )
    # Only now: a page whose name was made to resolve to this machine could write the header, too.
    forwarded = request.headers.get("x-forwarded-host", "") if public else ""
    if public and _names(public, forwarded.partition(",")[0].strip()):
        return public
    return origin


def judge(headers: http.Headers, own: Origin, allowed_origins: frozenset[Origin]) -> Verdict:
    """Whether a request comes from the proxy's own origin, an allowed one, or from no page at all.

    1. `Sec-Fetch-Site` says same-origin, or none (the address bar), or Origin is allowed: yes.
    2. It says anything else: no.
    3. It is absent, as with old browsers, and with all on plain http but for localhost:
       - Origin is there: yes if it is our own, no with another one, `null` included;
       - else Referer is there: the same of its origin;
       - else a client that is no browser (curl, server-side code): yes. A browser that says
         nothing may be asking for a page of anyone's: no.
    """
    site, origin, referer = map(headers.get, ("sec-fetch-site", "origin", "referer"))
    if allowed_origin(headers, allowed_origins):
        return Verdict(True, f"Origin {origin} is in cookie_auth_allowed_origins")
    if site is not None:
        return Verdict(site in ("same-origin", "none"), f"Sec-Fetch-Site says {site}")
    if origin is not None:
        own_page = origin.lower() == str(own)
        return Verdict(own_page, f"Origin {origin} is {'' if own_page else 'not '}the proxy's own")
    if referer is not None:
        own_page = _is_of(referer, own)
        return Verdict(own_page, f"Referer is {'' if own_page else 'not '}of the proxy's origin")
    if is_browser(headers):
        return Verdict(False, SILENT_BROWSER)
    return Verdict(True, "it is from no browser: curl, or a server")


def is_browser(headers: http.Headers) -> bool:
    """Whether the client shows a sign of being a browser, so that some page may be behind it.

    Fetch in Node.js and Deno sends `Sec-Fetch-Mode: cors` and `Accept-Language: *` (undici,
    `lib/web/fetch`), which no browser sends alone.
    """
    return (
        any(name in headers for name in ("sec-fetch-site", "sec-fetch-dest", "origin", "referer"))
        or "mozilla/" in headers.get("user-agent", "").lower()
        or headers.get("accept-language", "*").strip() != "*"
    )


def is_trustworthy(own: Origin) -> bool:
    """Whether a browser takes this origin of ours for trustworthy (Secure Contexts, 3.1)."""
    host = own.host.strip("[]")
    if own.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return True
    return host == "::1" or (is_local(host) and host.startswith("127."))


def is_top_level_navigation(headers: http.Headers) -> bool:
    """Whether a person follows a link to see the answer in a tab (Fetch Metadata, 2.1 and 2.2)."""
    return (
        headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )


def allowed_origin(headers: http.Headers, allowed_origins: frozenset[Origin]) -> str | None:
    """The request's Origin as it stands, when it is one of these."""
    text = headers.get("origin")
    if text is None or not allowed_origins:
        return None
    try:
        return text if Origin.parse(text) in allowed_origins else None
    except ValueError:
        return None


def page_origin(headers: http.Headers) -> Origin | None:
    """The origin of the page that asks; None where it says none, or none that has a name."""
    try:
        return Origin.parse(headers.get("origin", ""))
    except ValueError:
        return None


def told_why(headers: http.Headers, allowed_origins: frozenset[Origin]) -> str | None:
    """The request's Origin as it stands, when its page may read why it is refused: an allowed one,
    or one that its developer has likely meant to allow.
    """
    origin = page_origin(headers)
    near = is_near(origin, allowed_origins) or origin in allowed_origins
    return headers["origin"] if near else None


def is_near(origin: Origin | None, allowed_origins: frozenset[Origin]) -> bool:
    """Whether a page of this origin, which is not allowed, was likely meant to be.

    Some are allowed, and it is of this machine, or of a host of theirs by another scheme or port:
    Vite takes 5174 where 5173 is taken, and 127.0.0.1 is not localhost. No other page learns that
    there is a proxy here.
    """
    if origin is None or not allowed_origins:
        return False
    return is_local(origin.host) or origin.host in {one.host for one in allowed_origins}


def name_upstream(headers: http.Headers, own: Origin, upstream: Origin) -> None:
    """Put this origin of the upstream where Origin and Referer name the proxy's, in place.

    Servers that check where a request comes from know their own origin, not ours.
    """
    origin = headers.get("origin", "")
    # A tunnel may have put another name into it.
    if origin.lower() == str(own) or (origin and headers.get("sec-fetch-site") == "same-origin"):
        headers["origin"] = str(upstream)
    referer = headers.get("referer", "")
    if (referer.lower() + "/").startswith(f"{own}/"):
        headers["referer"] = str(upstream) + referer[len(str(own)) :]


def _is_of(url: str, own: Origin) -> bool:
    try:
        return Origin.of_url(url) == own
    except ValueError:
        return False


def _names(origin: Origin, host: str) -> bool:
    """Whether a Host header's value, with or without a default port, is this origin's."""
    try:
        return Origin.parse(f"{origin.scheme}://{host}") == origin
    except ValueError:
        return False


@lru_cache(maxsize=256)
def is_local(host: str) -> bool:
    """Whether it is localhost, `*.localhost` or an IP address: no name that anybody else has."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_listed(host: str, allowed_hosts: tuple[str, ...]) -> bool:
    return any(
        host == allowed or (allowed.startswith(".") and host.endswith(allowed))
        for allowed in allowed_hosts
    )
