"""An API's answer names its own address: whoever follows that goes past the proxy."""

from typing import TYPE_CHECKING

from messages import streaming
from messages.headers import without_digests
from messages.text import media_type
from mitmproxy import http
from origins.bodies import AddressStream, ApiAddress, may_name_addresses
from origins.origin import Origin

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
    new = _address(exchange).replaced(body, own, exchange.settings.paths.prefix)
    if new is not body:
        response.content = new
        without_digests(response.headers)


def stream(exchange: "Api", response: http.Response) -> AddressStream | None:
    """What does so in a body that streams; None for one that is long, or is to be saved."""
    if not _wants_it(exchange, response) or not (own := exchange.own):
        return None
    headers = response.headers
    if (
        "content-length" in headers
        or "attachment" in headers.get("content-disposition", "").lower()
    ):
        return None
    return AddressStream(_address(exchange), own, exchange.settings.paths.prefix)


def tell(exchange: "Api", response: http.Response) -> None:
    """Tell once, of each API, where it names its own address and that is passed on."""
    once, about = exchange.proxy.once, ("own address", exchange.wallet.api)
    if once.has_told(about) or exchange.settings.origins.rewrites_bodies:
        return
    kind, request = media_type(response.headers), exchange.flow.request
    if kind != "text/html" and not kind.endswith("json"):
        return
    # A page or a discovery document (RFC 8615) is worth decoding; what is asked for all the time
    # is looked at as it stands.
    worth = kind == "text/html" or "/.well-known/" in request.path
    body = decoded(response) if worth else response.raw_content or b""
    if _address(exchange).is_in(body):
        said = (
            "%s %s: the API's answer names its own address, %s, which leads past the proxy; to put"
            " the proxy's there: --set cookie_auth_rewrite_bodies=true"
        )
        once.warn(about, said, request.method, printable_path(request), exchange.wallet.api)


def _wants_it(exchange: "Api", response: http.Response) -> bool:
    # The bytes of a part (206) are counted by those of the whole.
    return (
        exchange.settings.origins.rewrites_bodies
        and response.status_code != 206
        and may_name_addresses(media_type(response.headers))
    )


def _address(exchange: "Api") -> ApiAddress:
    return ApiAddress.of(Origin.parse(exchange.wallet.api), exchange.settings.paths.base_path)
