"""The proxy that a company's network may want: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.

They are read as curl and Python's urllib read them.
"""

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from mitmproxy.net.server_spec import ServerSpec

from upstream.addresses import is_loopback

_DEFAULT_PORT: Mapping[Literal["http", "https"], int] = {"http": 80, "https": 443}


class ProxyServer(NamedTuple):
    """A proxy on the way to an upstream."""

    variable: str
    """The environment variable that names it."""
    via: ServerSpec
    authorization: str | None
    """The value of Proxy-Authorization. Secret: it goes into no flow and no log."""

    def __str__(self) -> str:
        scheme, (host, port) = self.via
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port} ({self.variable})"

    @classmethod
    def parse(cls, variable: str, url: str) -> "ProxyServer":
        """Read `[http[s]://][user[:password]@]host[:port]`. Raises ValueError."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        scheme: Literal["http", "https"]
        if parts.scheme == "http":
            scheme = "http"
        elif parts.scheme == "https":
            scheme = "https"
        else:
            raise ValueError(parts.scheme)
        if not parts.hostname:
            raise ValueError("no host")
        via: ServerSpec = (scheme, (parts.hostname, parts.port or _DEFAULT_PORT[scheme]))
        if parts.username is None:
            return cls(variable, via, None)
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"  # RFC 7617, 2
        return cls(variable, via, f"Basic {base64.b64encode(pair.encode()).decode()}")


@dataclass(frozen=True)
class Proxies:
    """What the environment says. Its methods are pure."""

    http: ProxyServer | None = None
    https: ProxyServer | None = None
    bypassed: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    """Variables that name no HTTP proxy."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Proxies":
        """Lower case goes before upper case, and an empty value means none."""
        servers: dict[str, ProxyServer] = {}
        unfit = []
        for scheme in _DEFAULT_PORT:
            lower, upper = f"{scheme}_proxy", f"{scheme}_proxy".upper()
            name = lower if lower in environ else upper
            # In a CGI program, HTTP_PROXY is the Proxy header of whoever asks (CVE-2016-5385).
            if not environ.get(name) or (name == "HTTP_PROXY" and "REQUEST_METHOD" in environ):
                continue
            try:
                servers[scheme] = ProxyServer.parse(name, environ[name])
            except ValueError:
                unfit.append(name)
        bypassed = environ.get("no_proxy", environ.get("NO_PROXY", ""))
        return cls(
            servers.get("http"),
            servers.get("https"),
            tuple(bypassed.lower().replace(",", " ").split()),
            tuple(unfit),
        )

    def on_the_way_to(self, scheme: str, host: str, port: int) -> ProxyServer | None:
        """The proxy for an upstream; None where it is reached without one, as on this machine."""
        if not (self.http or self.https):
            return None
        return _chosen(self, scheme, host, port)

    def authorization(self, via: ServerSpec) -> str | None:
        """The value of Proxy-Authorization for a proxy of these."""
        known = (server for server in (self.http, self.https) if server)
        return next((server.authorization for server in known if server.via == via), None)


NO_PROXIES = Proxies()


@lru_cache(maxsize=64)
def _chosen(proxies: Proxies, scheme: str, host: str, port: int) -> ProxyServer | None:
    server = proxies.https if scheme == "https" else proxies.http
    if is_loopback(host) or any(is_meant(entry, host, port) for entry in proxies.bypassed):
        return None
    return server


def is_meant(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY names this host.

    It is `*`, a name (with all under it, a dot or `*.` in front or not), an address, or a network
    as 10.0.0.0/8; a name may have a port.
    """
    host = host.strip("[]").rstrip(".").lower()
    if entry == "*":
        return True
    try:
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    else:
        try:
            return ipaddress.ip_address(host) in network
        except ValueError:
            return False
    name, _, its_port = entry.partition(":")
    name = name.removeprefix("*").strip(".")
    if not name or (its_port and its_port != str(port)):
        return False
    return host == name or host.endswith(f".{name}")
