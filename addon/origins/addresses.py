"""The address that the browser used: what a server behind the proxy is told of it."""

import re

from messages.headers import IndexedHeaders, spelling

from origins.origin import Origin
from origins.rules import is_local

_NEXTS_OWN = re.compile(r"[^?]*/(?:_next|__nextjs)")
_DATA_OF_REACT_ROUTER = re.compile(r"[^?]*\.data(?:\?|$)")


def is_forwarding(name: str) -> bool:
    """Whether a request header says which address was asked for, before some proxy.

    `Forwarded` (RFC 7239) and `X-Forwarded-*`; CGI, and what descends from it, reads `_` in a name
    as `-` (RFC 3875, 4.1.18).
    """
    if "forwarded" not in name.lower():
        return False  # as nearly all
    spelled = spelling(name)
    return spelled == "forwarded" or spelled.startswith("x-forwarded")


def forward(headers: IndexedHeaders, own: Origin | None, client: str | None) -> None:
    """Say that the browser at the address `client` asked for `own`, in place; None for neither.

    What the browser itself said of that goes in any case: any page's script may write it.
    """
    if gone := [name for name in headers.names if is_forwarding(name)]:
        headers.change({name.encode("utf-8", "surrogateescape"): None for name in gone})
    if own:
        headers.add("X-Forwarded-Host", own.authority)
        headers.add("X-Forwarded-Proto", own.scheme)
        if client:
            headers.add("X-Forwarded-For", client)


def host_for(frontend: Origin, own: Origin) -> str:
    """The Host that the front end gets: the browser's, where dev servers let any such pass.

    Names other than localhost and `*.localhost` they refuse, unless their settings have them
    (Vite's and webpack's `allowedHosts`): there it is the front end's own.
    """
    return own.authority if is_local(own.host) else frontend.authority


def origin_for(frontend: Origin, own: Origin, headers: IndexedHeaders, target: str) -> Origin:
    """What the front end is to read in Origin and Referer, where they name the proxy's own.

    It compares them with the address that it takes for its own: with Host, and the scheme that it
    is served by (SvelteKit, Astro). Where Host is not the browser's, that is the front end's own
    origin, but for what goes by X-Forwarded-Host: server actions of Next (`action-handler.ts`),
    and React Router's.
    """
    kind = kind_of(target)
    is_localhost = own.host == "localhost" or own.host.endswith(".localhost")
    if not is_localhost and kind == "next":
        # In development, Next gives its own files, and its HMR, to pages of localhost only
        # (`block-cross-site-dev.ts`).
        return Origin(frontend.scheme, "localhost", frontend.port)
    if is_local(own.host):
        return as_served(frontend, own)
    by_forwarded = "next-action" in headers or kind == "data of React Router"
    return own if by_forwarded else frontend


def kind_of(target: str) -> str:
    """All that matters of a request's target in `origin_for`."""
    if _NEXTS_OWN.match(target):
        return "next"
    return "data of React Router" if _DATA_OF_REACT_ROUTER.match(target) else ""


def as_served(frontend: Origin, own: Origin) -> Origin:
    """The proxy's origin as a front end writes it that knows Host, and no scheme but its own."""
    return Origin.parse(f"{frontend.scheme}://{own.authority}")
