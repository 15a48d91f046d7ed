"""Why a flow went the way it did, rule by rule, and how to repeat it by hand."""

import copy
from collections.abc import Iterator

from mitmproxy import exceptions, http
from mitmproxy.addons.export import curl_command
from token_handler import guard, received, route
from token_handler.answers import STATUS_OF, Refused
from token_handler.auth_cookie import cookie_pairs
from token_handler.decision import (
    COOKIES,
    INJECTED,
    KEPT_BACK,
    LEAK,
    REFUSAL,
    RENEWED,
    ROLE,
    SENT,
    TRUSTED,
)
from token_handler.settings import Settings

from inspection import phrases


def rules(flow: http.HTTPFlow, settings: Settings) -> Iterator[str]:
    """Each rule that was applied to the flow's request, by the options as they are now."""
    metadata = flow.metadata
    request = received.restored(flow, settings.header)
    if ROLE not in metadata or not request:
        yield "cookie-auth has not decided about this flow."
        return
    yield f"request: {request.method} {phrases.printable(request.path)}"
    try:
        own = guard.own_origin(
            request, tls=flow.client_conn.tls, allowed_hosts=settings.allowed_hosts
        )
        yield f"host: {own.authority} is localhost, an IP address or allowed"
        yield f"origin: {_origin(request, own, settings)}"
    except Refused as refused:
        yield f"host: {refused.message}"
    yield f"path: {_path(request.path, settings)}"
    if metadata.get(TRUSTED) is False:
        yield (
            "method: safe, so it goes on without the token"
            if request.method in guard.SAFE_METHODS
            else "method: not GET, HEAD or OPTIONS, so another origin may not use it"
        )
    if names := metadata.get(COOKIES):
        yield f"auth cookie: {', '.join(names)}"
    elif COOKIES in metadata:
        yield "auth cookie: none"
    if kept_back := metadata.get(KEPT_BACK):
        yield f"{phrases.cookies(tuple(kept_back), 'kept back')} (cookie_auth_forward_cookies)"
    if metadata.get(INJECTED):
        yield f"token: sent in the header {settings.header} ({phrases.token_size(metadata[SENT])})"
    elif settings.header in flow.request.headers:
        yield f"token: the header {settings.header} is the browser's own"
    elif INJECTED in metadata:
        yield "token: none was sent"
    if RENEWED in metadata:
        fresh = phrases.token_size(metadata[RENEWED])
        yield f"renewed: the token had ended; the fresh one has {fresh}"
    if LEAK in metadata:
        yield f"leak: {metadata[LEAK]}"
    if metadata[ROLE] == "refused":
        code, message = metadata[REFUSAL]
        yield f"refused: {STATUS_OF[code]} {code}: {message}"
    yield f"so: {flow.comment}"


def _origin(request: http.Request, own: guard.Origin, settings: Settings) -> str:
    headers = request.headers
    trusted = guard.is_trusted(headers, own, settings.allowed_origins)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if guard.allowed_origin(headers, settings.allowed_origins):
        why = f"Origin {origin} is in cookie_auth_allowed_origins"
    elif site is not None:
        why = f"Sec-Fetch-Site says {phrases.printable(site)}"
    elif origin is None:
        why = "there is neither Sec-Fetch-Site nor Origin, as from curl or a server"
    else:
        why = f"Origin {phrases.printable(origin)} is {'' if trusted else 'not '}the proxy's own"
    return f"{'trusted' if trusted else 'not trusted'}: {why}"


def _path(target: str, settings: Settings) -> str:
    api_target = route.strip_prefix(target, settings.prefix)
    if api_target is None:
        return f"outside {settings.prefix}, so it is the front end's"
    path = route.normalise(route.upstream_target(api_target, settings.base_path))
    kinds = {settings.logout_path: "logout", settings.refresh_path: "refresh"}
    kinds.update(dict.fromkeys(settings.login_paths, "login"))
    return f"the API's {phrases.printable(path)}" + (
        f", which is the {kinds[path]} path" if path in kinds else ""
    )


def curl(flow: http.HTTPFlow, settings: Settings) -> str:
    """A curl command that sends what the API got, with the token as `$TOKEN`.

    Raises CommandError for a request of the proxy's own, whose body holds the refresh token.
    """
    if flow.metadata.get(ROLE) == "renewal":
        raise exceptions.CommandError("This request of cookie-auth's own holds a refresh token.")
    flow = copy.copy(flow)
    flow.request = flow.request.copy()
    headers, place = flow.request.headers, "cookie-auth-token-place"
    if flow.metadata.get(INJECTED):
        headers[settings.header] = settings.header_format.value(place.encode())
    if fields := headers.get_all("cookie"):  # a front end gets the auth cookie as it is
        pairs = [
            (name, place if settings.forwarded.is_own(name) else value)
            for name, value in cookie_pairs(fields)
        ]
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in pairs)
    # The shell fills in a variable outside of single quotes only.
    return curl_command(flow).replace(place, "'\"$TOKEN\"'")
