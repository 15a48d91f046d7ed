"""Where `localhost` is: dev servers listen on 127.0.0.1, on ::1, or on both, as they like.

The resolver may know only one of the two, and mitmproxy connects to what it knows.
"""

import asyncio
import contextlib

ADDRESSES = ("127.0.0.1", "::1")


class Loopback:
    """Remembers, for each port, the loopback address that answered."""

    def __init__(self) -> None:
        self._address_of: dict[int, str] = {}

    async def resolve(self, host: str, port: int) -> str:
        """The address to connect to: for `localhost` the one that accepts, else the host itself."""
        if host != "localhost":
            return host
        if port not in self._address_of:
            for address in ADDRESSES:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(address, port)
                    writer.close()
                    self._address_of[port] = address
                    break
        return self._address_of.get(port, host)

    def name_of(self, host: str, port: int) -> str:
        """`localhost` for an address that `resolve` gave for it; other hosts as they are."""
        return "localhost" if self._address_of.get(port) == host else host

    def forget(self, port: int) -> None:
        """Look again the next time, since a connection to this port has failed."""
        self._address_of.pop(port, None)
