"""Which of several upstreams a request goes to (see `origins.upstreams`)."""

from typing import TYPE_CHECKING

from messages.answers import Refused
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ReverseMode
from origins import paths, rules
from origins.origin import Origin
from origins.references import Place
from origins.upstreams import Upstream

from exchanges import notes

if TYPE_CHECKING:
    from exchanges.exchange import Exchange


def lead(request: http.Request, origin: Origin) -> None:
    """Have a request go to the host of this origin, in place."""
    request.scheme = origin.scheme
    request.data.host = origin.host.strip("[]")
    request.data.port = origin.port
    request.host_header = origin.authority


def lead_to(flow: http.HTTPFlow, upstream: Upstream) -> None:
    """Have a flow's request go to a further upstream, and note it."""
    flow.metadata[notes.UPSTREAM] = upstream.prefix
    lead(flow.request, upstream.origin)


def main_origin(flow: http.HTTPFlow) -> Origin:
    """That of the API of `--mode`."""
    mode = flow.client_conn.proxy_mode
    assert isinstance(mode, ReverseMode)
    return Origin.served_by(mode)


def places(exchange: "Exchange") -> list[Place]:
    """Where upstreams are: first the one that is asked, then the others, the longest base path
    first.
    """
    main, asked = exchange.proxy.settings, exchange.settings
    if not main.further:
        return [(main_origin(exchange.flow), main.paths.prefix, main.paths.base_path)]
    found = [
        (
            one.upstream.origin if one.upstream else main_origin(exchange.flow),
            one.paths.prefix,
            one.paths.base_path,
        )
        for one in (main, *main.further.values())
    ]
    return sorted(found, key=lambda place: (place[1] != asked.paths.prefix, -len(place[2])))


def send_home(exchange: "Exchange") -> bool:
    """Send a request of the proxy's own where a page's for the same API path would go, in place;
    whether that is another host.

    Its path is as an option says it, with the base path of the API of `--mode`. What renews a token
    may be on another host than what it was needed for; never on that of another API.
    """
    main, flow = exchange.proxy.settings, exchange.flow
    if not main.further or exchange.settings.is_further_api:
        return False
    request = flow.request
    before = Origin.of(request.scheme, request.host, request.port)
    path = request.path.removeprefix(main.paths.base_path)
    upstream = main.upstreams.of_option(path)
    if upstream and not upstream.shares_token:  # no option may say so
        raise Refused("internal", f"{upstream.prefix} is an API of its own.")
    if upstream:
        rest = path.removeprefix(main.upstreams.places[upstream.prefix])
        request.path = paths.upstream_target(rest, upstream.base_path)
        lead_to(flow, upstream)
        home = upstream.origin
    else:
        flow.metadata.pop(notes.UPSTREAM, None)
        home = main_origin(flow)
        lead(request, home)
    if home != before and not main.origins.forwarded:
        rules.name_upstream(request.headers, before, home)
    return home != before
