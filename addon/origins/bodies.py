"""Bodies that name the API's own address: pages, scripts and discovery documents.

Whoever follows such an address goes past the proxy. In its place comes the proxy's.
"""

import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import islice, product
from typing import NamedTuple

from origins.origin import Origin

# A slash as it stands, as JSON and scripts escape it (RFC 8259, 7), and as templates escape it.
_SLASHES = (b"/", rb"\/", rb"\u002F", rb"\u002f", b"&#x2F;", b"&#x2f;", b"&#47;")
_SLASH = b"(?:" + b"|".join(map(re.escape, _SLASHES)) + b")"
_BEFORE = re.compile(
    rb"(?:(?<![\w+.-])(?P<scheme>https?|wss?):|(?<![\w:/\\+.-]))"
    rb"(?P<slash>" + _SLASH + rb")(?P=slash)\Z"
)
_LONGEST_BEFORE = len(b"https:") + 2 * max(map(len, _SLASHES))
# What would make it another host, port, user or path.
_GOES_ON = rb"(?![\w%@:~\x80-\xff-]|\.[\w/:.-])"

_MOST_LOOKED_AT = 100
"""Places that may be one, where it is only asked whether there is one."""

_KINDS = frozenset(
    (
        *("text/html", "application/xhtml+xml", "text/css", "application/json", "text/json"),
        *("text/javascript", "application/javascript", "application/x-javascript"),
    )
)


def may_name_addresses(kind: str) -> bool:
    """Whether a body of this media type is one that a browser takes addresses from."""
    return kind in _KINDS or kind.endswith("+json")


class ApiAddress:
    """The API's own address as bodies write it: its origin with the base path.

    With the scheme http, https, ws or wss (APIs behind a TLS terminator mistake their own), or with
    none, as in `//api.example.com`; with slashes escaped or not. What is outside the base path the
    proxy does not serve, so that stays.
    """

    def __init__(self, api: Origin, base_path: str) -> None:
        self._host = api.authority.encode()
        self._ports = (b"", b":443", b":80") if api.is_default_port else (b"",)
        self._base = base_path.encode()
        base = _SLASH.join(map(re.escape, self._base.split(b"/")))
        self._after = re.compile(b"(?:" + b"|".join(self._ports) + b")" + base + _GOES_ON)

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, api: Origin, base_path: str) -> "ApiAddress":
        return cls(api, base_path)

    def is_in(self, body: bytes) -> bool:
        """Whether it is there: of many places that are alike, only the first ones are looked at."""
        return self._host in body and any(
            before and after for before, after in islice(self._places(body), _MOST_LOOKED_AT)
        )

    def replaced(self, body: bytes, own: Origin, prefix: str) -> bytes:
        """The body with the proxy's origin and prefix instead; itself where there is none."""
        return self.replaced_in(body, own, prefix, 0, len(body))[0] if self._host in body else body

    def replaced_in(
        self, body: bytes, own: Origin, prefix: str, start: int, end: int
    ) -> tuple[bytes, int]:
        """The same of a part of the body, and where that ends: no address is cut."""
        new, done = bytearray(), start
        written: dict[tuple[bytes | None, bytes], bytes] = {}
        for before, after in self._places(body):
            if before and after and start <= before.start() < end:
                form = before["scheme"], before["slash"]
                instead = written.get(form) or written.setdefault(
                    form, _written(own, prefix, *form)
                )
                new += body[done : before.start()] + instead
                done = after.end()
        end = max(end, done)
        return bytes(new + body[done:end]) if new else body[start:end], end

    def _places(
        self, body: bytes
    ) -> Iterator[tuple[re.Match[bytes] | None, re.Match[bytes] | None]]:
        """What stands before and after the API's host, wherever that is."""
        at = body.find(self._host)
        while at >= 0:
            end = at + len(self._host)
            before = _BEFORE.search(body, max(0, at - _LONGEST_BEFORE), at)
            yield before, self._after.match(body, end)
            at = body.find(self._host, end)

    @cached_property
    def beginnings(self) -> frozenset[bytes]:
        """All that the end of a chunk can be of which only the next one tells what it is."""
        schemes = (b"", b"http:", b"https:", b"ws:", b"wss:")
        found: set[bytes] = set()
        for scheme, slash, port in product(schemes, _SLASHES, self._ports):
            base = self._base.replace(b"/", slash)
            whole = scheme + slash * 2 + self._host + port + base + b"."
            found.update(whole[:length] for length in range(1, len(whole) + 1))
        return frozenset(found)

    @cached_property
    def longest(self) -> int:
        return max(map(len, self.beginnings))


class AddressStream:
    """Replaces the address in a body that comes in chunks; as little is held back as can be."""

    def __init__(self, address: ApiAddress, own: Origin, prefix: str) -> None:
        self._address = address
        self._own = own
        self._prefix = prefix
        self._last = b""
        """The last byte that was passed on, which may tell that what follows is no address."""
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What may be passed on of the body so far."""
        held = self._held + chunk
        most, beginnings = min(len(held), self._address.longest), self._address.beginnings
        kept = next((n for n in range(most, 0, -1) if held[-n:] in beginnings), 0)
        return self._pass_on(held, len(held) - kept)

    def end(self) -> bytes:
        """What is left."""
        return self._pass_on(self._held, len(self._held))

    def _pass_on(self, held: bytes, up_to: int) -> bytes:
        data, start = self._last + held, len(self._last)
        passed, end = self._address.replaced_in(data, self._own, self._prefix, start, start + up_to)
        self._last, self._held = data[:end][-1:], data[end:]
        return passed


class AddressStreams(NamedTuple):
    """Several, one behind the other."""

    streams: tuple[AddressStream, ...]

    def feed(self, chunk: bytes) -> bytes:
        for one in self.streams:
            chunk = one.feed(chunk)
        return chunk

    def end(self) -> bytes:
        left = b""
        for one in self.streams:
            left = one.feed(left) + one.end()
        return left


def _written(own: Origin, prefix: str, scheme: bytes | None, slash: bytes) -> bytes:
    """The proxy's address with a scheme like this one, if there is one, and this for a slash."""
    text = f"//{own.authority}{prefix}".encode().replace(b"/", slash)
    if scheme is None:
        return text
    kind = b"ws" if scheme.startswith(b"ws") else b"http"
    return kind + (b"s:" if own.scheme == "https" else b":") + text
