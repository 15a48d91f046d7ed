"""An origin: scheme, host and port of a URL."""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from mitmproxy.proxy.mode_specs import ReverseMode

_LONGEST_NAME = 253  # RFC 1035, 3.1, as text; what is longer is no name, and would fill the caches
_HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
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
        known = separator and scheme in _DEFAULT_PORT
        if not known or not match or len(match["name"]) > _LONGEST_NAME:
            raise ValueError("an origin such as http://localhost:3000")
        port = int(match["port"] or _DEFAULT_PORT[scheme])
        if not 0 < port < 65536:
            raise ValueError("an origin whose port is 1 to 65535")
        return cls(scheme, match["name"], port)

    @classmethod
    def of_url(cls, url: str) -> "Origin":
        """That of an http(s) URL, as a Referer gives it. Raises ValueError."""
        scheme, separator, rest = url.partition("://")
        return cls.parse(scheme + separator + re.split(r"[/?#]", rest, maxsplit=1)[0])

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
