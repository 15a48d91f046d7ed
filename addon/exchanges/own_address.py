"""An API's answer names its own address: whoever follows that goes past the proxy."""

from typing import TYPE_CHECKING

from messages import streaming
from messages.headers import without_digests
from messages.text import media_type
from mitmproxy import http
from origins.bodies import AddressStream, AddressStreams, ApiAddress, may_name_addresses

from exchanges import upstreams
from exchanges.exchange import printable_path
from exchanges.leaks import decoded

if TYPE_CHECKING:
    from exchanges.api import Api


def replace(exchange: "Api", response: http.Response) -> None:
    """Put the proxy's address into a body that was held back, in place, where that is wanted."""
    if not _wants_it(exchange, response) or response.stream or not (own := exchange.own):
        return
    body = decoded(response)
    if len(body) > streaming.STREAM_ABOVE:
        return
    new = body
    for address, prefix in _addresses(exchange):
        new = address.replaced(new, own, prefix)
    if new is not body:
        response.content = new
        without_digests(response.headers)


def stream(exchange: "Api", response: http.Response) -> AddressStreams | None:
    """What does so in a body that streams; None for one that is long, or is to be saved."""
    if not _wants_it(exchange, response) or not (own := exchange.own):
        return None
    headers = response.headers
    if (
        "content-length" in headers
        or "attachment" in headers.get("content-disposition", "").lower()
    ):
        return None
    found = (AddressStream(address, own, prefix) for address, prefix in _addresses(exchange))
    return AddressStreams(tuple(found))


def tell(exchange: "Api", response: http.Response) -> None:
    """Tell once, of each API, where it names its own address and that is passed on."""
    once, about = exchange.proxy.once, ("own address", exchange.upstream)
    if once.has_told(about) or exchange.settings.origins.rewrites_bodies:
        return
    kind, request = media_type(response.headers), exchange.flow.request
    if kind != "text/html" and not kind.endswith("json"):
        return
    # A page or a discovery document (RFC 8615) is worth decoding; what is asked for all the time
    # is looked at as it stands.
    worth = kind == "text/html" or "/.well-known/" in request.path
    body = decoded(response) if worth else response.raw_content or b""
    for origin, _, base_path in upstreams.places(exchange):
        if ApiAddress.of(origin, base_path).is_in(body):
            whose = "its own address" if str(origin) == exchange.upstream else "the address"
            said = (
                "%s %s: the API's answer names %s, %s, which leads past the proxy; to put the"
                " proxy's there: --set cookie_auth_rewrite_bodies=true"
            )
            asked = request.method, printable_path(exchange.flow)
            once.warn(about, said, *asked, whose, origin)
            return


def _wants_it(exchange: "Api", response: http.Response) -> bool:
    # The bytes of a part (206) are counted by those of the whole.
    return (
        exchange.settings.origins.rewrites_bodies
        and response.status_code != 206
        and may_name_addresses(media_type(response.headers))
    )


def _addresses(exchange: "Api") -> list[tuple[ApiAddress, str]]:
    """Of the upstream that is asked and of the others, each with its prefix."""
    return [
        (ApiAddress.of(origin, base_path), prefix)
        for origin, prefix, base_path in upstreams.places(exchange)
    ]
