"""Connecting to a host: which addresses it has, and which of them answers.

mitmproxy asks the resolver for the addresses and tries one after the other, each for as long as the
system likes (two minutes). Here they are tried a moment apart, and the first that answers has it
(RFC 8305); after ten seconds it is over. What fails says so in words for a person.
"""

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

SECONDS_TO_CONNECT = 10
SECONDS_BETWEEN = 0.25
"""How long an address is waited for before the next one is tried beside it (RFC 8305, 8)."""

LOOPBACK = ("127.0.0.1", "::1")
"""Dev servers listen on either, or on both, and a resolver may know only one of the two."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

REFUSED = "nothing listens there"
UNKNOWN_NAME = "its name is not known"
NO_NAME_SERVER = "no name server answers"
NO_WAY = "there is no way there from this network"
TOO_SLOW = f"no connection within {SECONDS_TO_CONNECT} seconds"
OTHERWISE = "connecting failed: "
"""What goes before the system's own words."""

_TOLD_FIRST = (REFUSED, TOO_SLOW, UNKNOWN_NAME, NO_NAME_SERVER)
_WORDS = {
    errno.ECONNREFUSED: REFUSED,
    errno.ENETUNREACH: NO_WAY,
    errno.EHOSTUNREACH: NO_WAY,
    errno.EADDRNOTAVAIL: NO_WAY,
    errno.EAFNOSUPPORT: NO_WAY,
    errno.ETIMEDOUT: TOO_SLOW,
}


class NotConnected(OSError):
    """Why a host cannot be reached, in words; mitmproxy logs the text and passes it on."""

    @classmethod
    def of(cls, error: BaseException) -> "NotConnected":
        """From what the system says."""
        if isinstance(error, NotConnected):
            return error
        if isinstance(error, socket.gaierror):
            return cls(NO_NAME_SERVER if error.errno == socket.EAI_AGAIN else UNKNOWN_NAME)
        number = getattr(error, "errno", None)
        said = os.strerror(number) if number else type(error).__name__
        return cls(_WORDS.get(number or 0) or OTHERWISE + said)


def is_loopback(host: str) -> bool:
    """Whether a host, an IPv6 address with brackets or without, is this machine.

    So is every name under localhost (RFC 6761, 6.3), and the address that servers show when they
    listen on all of them.
    """
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


async def addresses(host: str, port: int) -> Sequence[str]:
    """The IP addresses of a host, in the order to try them: IPv6 and IPv4 by turns (RFC 8305, 4).

    Raises OSError.
    """
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        if is_loopback(host):
            return LOOPBACK
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or too long
        raise NotConnected(UNKNOWN_NAME) from None
    return by_turns([str(address[0]) for *_, address in found])


def by_turns(found: Sequence[str]) -> list[str]:
    """Addresses of both families by turns, beginning with that of the first."""
    of_first = [one for one in found if (":" in one) == (":" in found[0])]
    others = [one for one in found if one not in of_first]
    paired = chain.from_iterable(zip_longest(of_first, others))
    return list(dict.fromkeys(one for one in paired if one))


async def connect(host: str, port: int, **options: Any) -> Streams:
    """A connection to a host. The options are those of asyncio's `create_connection`.

    Raises NotConnected.
    """
    try:
        return await asyncio.wait_for(_connect(host, port, options), SECONDS_TO_CONNECT)
    except asyncio.TimeoutError:
        raise NotConnected(TOO_SLOW) from None
    except OSError as error:
        raise NotConnected.of(error) from None


async def _connect(host: str, port: int, options: dict[str, Any]) -> Streams:
    left = list(await addresses(host, port))
    if len(left) == 1:
        return await asyncio.open_connection(left[0], port, **options)
    begun: set[asyncio.Task[Streams]] = set()
    pending: set[asyncio.Task[Streams]] = set()
    failed: list[NotConnected] = []
    try:
        while left or pending:
            if left:
                attempt = asyncio.open_connection(left.pop(0), port, **options)
                pending.add(asyncio.ensure_future(attempt))
                begun |= pending
            done, pending = await asyncio.wait(
                pending,
                timeout=SECONDS_BETWEEN if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                if not (error := task.exception()):
                    begun.remove(task)
                    return task.result()
                failed.append(NotConnected.of(error))
    finally:
        for task in begun:
            task.cancel()
            task.add_done_callback(_let_go)
    raise min(failed, key=_importance)


def _importance(error: NotConnected) -> int:
    """Where one address refuses and the other has no route, the first says more."""
    text = str(error)
    return _TOLD_FIRST.index(text) if text in _TOLD_FIRST else len(_TOLD_FIRST)


def _let_go(task: "asyncio.Task[Streams]") -> None:
    if not task.cancelled() and not task.exception():
        task.result()[1].close()
