"""Fixed headers (`credentials.fixed_headers`) in the requests to the API, and in its answers."""

from typing import TYPE_CHECKING

from credentials import fixed_headers
from messages.headers import IndexedHeaders
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode
from origins.origin import Origin

from exchanges import notes
from exchanges.leaks import LeakAlarm

if TYPE_CHECKING:
    from exchanges.api import Api
    from exchanges.exchange import Exchange


def put(exchange: "Api") -> None:
    """Put them into a trusted request, in the place of what the browser has sent under their names.

    As with the token, no page of another origin asks with them.
    """
    request, settings = exchange.flow.request, exchange.settings
    if not settings.fixed:
        return
    request.headers = headers = IndexedHeaders.of(request.headers)
    if not exchange.flow.metadata.get(notes.TRUSTED) or _goes_elsewhere(exchange):
        fixed_headers.take_out(headers, settings.fixed)
        return
    _tell_replaced(exchange)
    put_anew(exchange)


def put_anew(exchange: "Exchange") -> None:
    """Put them into a request that was made what the API wants, in place."""
    request, settings = exchange.flow.request, exchange.settings
    request.headers = headers = IndexedHeaders.of(request.headers)
    fixed_headers.put_all(headers, settings.fixed, settings.recorded)
    exchange.note_added(one.name for one in settings.fixed)


def _goes_elsewhere(exchange: "Api") -> bool:
    """Whether a request is replayed that was recorded with another API: it goes there again."""
    if exchange.flow.is_replay != "request":
        return False
    request = exchange.flow.request
    modes = map(ProxyMode.parse, exchange.proxy.mitm_options.mode)
    ours = [Origin.served_by(mode) for mode in modes if isinstance(mode, ReverseMode)]
    ours += [one.origin for one in exchange.settings.upstreams.entries]
    return Origin.of(request.scheme, request.host, request.port) not in ours


def _tell_replaced(exchange: "Api") -> None:
    for _, place in exchange.stood:
        if exchange.settings.fixes(place):
            exchange.proxy.once.warn(
                ("fixed", place),
                "a page sends its token in %s, and header.fixed has another value for that: the"
                " token does not go to the API",
                place,
            )


def hide(exchange: "Api", response: http.Response) -> None:
    """Look for them in an answer that may hand out tokens, so that they are not taken for some.

    Raises Refused where `cookie_auth_leak` says so.
    """
    settings = exchange.settings
    needles = settings.fixed_needles
    alarm = LeakAlarm(exchange.flow, settings.token.leak, exchange.proxy.once, needles)
    alarm.check_body(response)
