"""Who may use the proxy: the Host rule and the origin rule.

On localhost every port is the same *site*, so SameSite does not keep one dev server's pages from
sending our cookie. The origin rule does, as Go's `net/http.CrossOriginProtection` does it, but with
no exception for same-site requests. The Host rule keeps out pages whose name was made to resolve to
this machine (DNS rebinding): for the browser they are of the proxy's own origin.
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from mitmproxy import http
from mitmproxy.proxy.mode_specs import ReverseMode

from token_handler.answers import Refused

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that a page of another origin may use; they are forwarded without the token."""

_HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_IS_CORS = re.compile(rb"access-control-", re.IGNORECASE).match
_DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port of a URL (RFC 6454, 4), in lower case, the port always given."""

    scheme: str
    host: str
    port: int

    @classmethod
    @lru_cache(maxsize=256)
    def parse(cls, text: str) -> "Origin":
        """Read `scheme://host[:port]`. Raises ValueError for anything else, `null` included."""
        scheme, separator, authority = text.lower().partition("://")
        match = _HOST.fullmatch(authority)
        if not separator or scheme not in _DEFAULT_PORT or not match:
            raise ValueError("an origin such as http://localhost:3000")
        port = int(match["port"] or _DEFAULT_PORT[scheme])
        if not 0 < port < 65536:
            raise ValueError("an origin whose port is 1 to 65535")
        return cls(scheme, match["name"], port)

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, scheme: str, host: str, port: int) -> "Origin":
        """From the parts of an address; an IPv6 host without brackets, a name in any alphabet."""
        name = f"[{host}]" if ":" in host else host.encode("idna").decode().lower()
        return cls(scheme, name, port)

    @classmethod
    def served_by(cls, mode: ReverseMode) -> "Origin":
        """That of the API behind a `--mode reverse:URL`."""
        return cls.of("http" if mode.scheme == "http" else "https", *mode.address)

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @cached_property
    def authority(self) -> str:
        """Host and port as a Host header gives them: without the scheme's default port."""
        return self.host if self.is_default_port else f"{self.host}:{self.port}"

    @property
    def is_default_port(self) -> bool:
        return self.port == _DEFAULT_PORT[self.scheme]


def own_origin(request: http.Request, *, tls: bool, allowed_hosts: tuple[str, ...]) -> Origin:
    """The origin that the browser addressed.

    `allowed_hosts` are further names than localhost, `*.localhost` and IP addresses; one that
    begins with a dot covers its subdomains.

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
    if not (_is_local(origin.host) or _is_listed(origin.host, allowed_hosts)):
        raise Refused(
            "host_not_allowed",
            f"The host {origin.host} is not allowed here. If it is yours:"
            f" --set cookie_auth_allowed_hosts={origin.host}",
        )
    return origin


def is_trusted(headers: http.Headers, own: Origin, allowed_origins: frozenset[Origin]) -> bool:
    """Whether a request comes from the proxy's own origin, an allowed one, or from no page at all.

    1. `Sec-Fetch-Site` says same-origin, or none (the address bar), or Origin is allowed: yes.
    2. It says anything else: no.
    3. A client that does not send it: yes without an Origin (curl, server-side code) or with our
       own; no with another one, `null` included.
    """
    site = headers.get("sec-fetch-site")
    if site in ("same-origin", "none") or allowed_origin(headers, allowed_origins):
        return True
    if site is not None:
        return False
    return "origin" not in headers or headers["origin"].lower() == str(own)


def allowed_origin(headers: http.Headers, allowed_origins: frozenset[Origin]) -> str | None:
    """The request's Origin as it stands, when it is one of these."""
    text = headers.get("origin")
    if text is None or not allowed_origins:
        return None
    try:
        return text if Origin.parse(text) in allowed_origins else None
    except ValueError:
        return None


def is_preflight(request: http.Request) -> bool:
    """Whether this is a CORS-preflight request (Fetch, 4.8)."""
    headers = request.headers
    return request.method == "OPTIONS" and "access-control-request-method" in headers


def name_upstream(headers: http.Headers, own: Origin, upstream: Origin) -> None:
    """Put the upstream's origin where Origin and Referer name the proxy's, in place.

    APIs that check where a request comes from know their own origin, not ours.
    """
    if headers.get("origin", "").lower() == str(own):
        headers["origin"] = str(upstream)
    referer = headers.get("referer", "")
    if (referer.lower() + "/").startswith(f"{own}/"):
        headers["referer"] = str(upstream) + referer[len(str(own)) :]


def answer_cors(response: http.Response, origin: str | None, *, varies: bool) -> None:
    """Replace the API's CORS headers by our own, in place: `origin` (if any) may read the answer.

    `varies` adds `Vary: Origin`, which an answer needs once it depends on who asks.
    """
    exposed = response.headers.get("access-control-expose-headers", "")
    for name in [name for name, _ in response.headers.fields if _IS_CORS(name)]:
        response.headers.pop(name, None)
    if varies and "origin" not in response.headers.get("vary", "").lower():
        response.headers.add("Vary", "Origin")
    if origin:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        if exposed and "*" not in exposed:
            response.headers["Access-Control-Expose-Headers"] = exposed


def preflight_answer(request: http.Request, origin: str) -> http.Response:
    """Allow an allowed origin what it asks for (Fetch, 4.8).

    With credentials, `*` has no meaning in these headers (Fetch, 3.3.4), so they echo the request.
    """
    response = http.Response.make(204)
    answer_cors(response, origin, varies=True)
    asked, granted = request.headers, response.headers
    granted["Access-Control-Max-Age"] = "600"
    granted["Access-Control-Allow-Methods"] = asked["access-control-request-method"]
    if "access-control-request-headers" in asked:
        granted["Access-Control-Allow-Headers"] = asked["access-control-request-headers"]
    if asked.get("access-control-request-private-network") == "true":
        granted["Access-Control-Allow-Private-Network"] = "true"
    return response


@lru_cache(maxsize=256)
def _is_local(host: str) -> bool:
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
