"""Where a request goes, and with which credentials.

Two moments: `decide` when its headers are here, `settle_login` when its body is. What is decided is
done to the request in place, and noted in the flow's metadata (see `decision`).
"""

import contextlib
from typing import Any, NamedTuple

from mitmproxy import http

from token_handler import credentials, graphql, guard, received, route
from token_handler.answers import Refused
from token_handler.decision import (
    ASKED_BY,
    COOKIES,
    CORS,
    INJECTED,
    KEPT_BACK,
    RECEIVED,
    ROLE,
    SENT,
    TRUSTED,
    Secrets,
)
from token_handler.guard import Origin
from token_handler.indexed_headers import IndexedHeaders
from token_handler.lifetime import size_and_expiry
from token_handler.received import Head
from token_handler.settings import Settings
from token_handler.wallet import Held, Wallet

_MOST_REMEMBERED = 256


class _Decision(NamedTuple):
    head: Head
    """The request as it goes to the API."""
    metadata: dict[str, Any]
    token: str | None
    refresh_token: str | None


class Decisions:
    """`decide`, done once for all requests to the API that are alike.

    A page asks for the same things with the same headers again and again, and what is decided
    about a request depends on nothing but its head, the API, and the settings, which hold as long
    as this object.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[object, _Decision] = {}

    def decide(self, flow: http.HTTPFlow, head: Head, wallet: Wallet, secrets: Secrets) -> None:
        """Route a request, and give it the API's credentials. Raises Refused.

        `head` is that of the request.
        """
        request, metadata = flow.request, flow.metadata
        key = head, flow.is_replay, wallet.name, wallet.api, wallet.tls
        made = self._made.get(key)
        if made:
            request.headers = IndexedHeaders.with_fields(made.head.fields)
            request.data.path, request.data.authority = made.head.path, made.head.authority
            metadata.update(made.metadata)
            secrets.token, secrets.refresh_token = made.token, made.refresh_token
            return
        decide(flow, self._settings, wallet, secrets)
        if metadata[ROLE] != "api":
            return
        metadata[RECEIVED] = received.differences(head, request, self._settings.header)
        if len(self._made) == _MOST_REMEMBERED:
            self._made.clear()
        ours = {name: value for name, value in metadata.items() if name.startswith(ROLE)}
        self._made[key] = _Decision(Head.of(request), ours, secrets.token, secrets.refresh_token)


def decide(flow: http.HTTPFlow, settings: Settings, wallet: Wallet, secrets: Secrets) -> None:
    """Route a request, and give it the API's credentials. Raises Refused."""
    request = flow.request
    headers = request.headers = IndexedHeaders.of(request.headers)
    if flow.is_replay == "request":
        # Recorded without this addon: nobody else's page has sent it, and Host is the API's.
        own, trusted = Origin.of(request.scheme, request.host, request.port), True
    else:
        own = guard.own_origin(
            request, tls=flow.client_conn.tls, allowed_hosts=settings.allowed_hosts
        )
        trusted = guard.is_trusted(headers, own, settings.allowed_origins)
    flow.metadata[TRUSTED] = trusted
    api_target = route.strip_prefix(request.path, settings.prefix)
    if api_target is not None:
        upstream = Origin.of(request.scheme, request.host, request.port)
        request.path = route.upstream_target(api_target, settings.base_path)
        _decide_for_api(flow, headers, settings, wallet, secrets)
    elif settings.frontend:
        upstream = settings.frontend
        flow.metadata[ROLE] = "frontend"
        request.scheme = upstream.scheme
        request.data.host = upstream.host.strip("[]")
        request.data.port = upstream.port
        if settings.redact:
            credentials.redact_cookies(headers, settings)
    else:
        raise Refused("outside_prefix", f"The API is served under {settings.prefix} only.")
    if trusted:
        guard.name_upstream(headers, own, upstream)
    request.host_header = upstream.authority
    if not (request.is_http2 or request.is_http3):
        # An absolute-form target (RFC 9112, 3.2.2) would go upstream with any host in it.
        request.authority = ""


def _decide_for_api(
    flow: http.HTTPFlow,
    headers: IndexedHeaders,
    settings: Settings,
    wallet: Wallet,
    secrets: Secrets,
) -> None:
    method, metadata, trusted = flow.request.method, flow.metadata, flow.metadata[TRUSTED]
    if origin := guard.allowed_origin(headers, settings.allowed_origins):
        metadata[CORS] = origin
        if guard.is_preflight(flow.request):
            metadata[ROLE] = "preflight"
            return
    path = route.normalise(flow.request.path)
    is_login, is_logout = path in settings.login_paths, path == settings.logout_path
    is_refresh = path == settings.refresh_path
    if not trusted:
        acts = method not in guard.SAFE_METHODS or "upgrade" in headers
        # A login by GET sets the cookie: a foreign page could log its visitor in as another.
        if acts or is_logout or is_refresh or (is_login and method == "GET"):
            raise Refused(
                "cross_origin",
                "A page of another origin may not do this. If it is yours:"
                " --set cookie_auth_allowed_origins=<its origin>",
            )
    held = wallet.read(tuple(headers.get_all("cookie")), trusted)
    metadata[COOKIES], metadata[KEPT_BACK] = held.names, held.kept_back
    if is_logout:
        _decide_about_logout(flow, headers, held, settings)
        return
    if settings.renewal and trusted and not is_login:
        secrets.refresh_token = held.refresh_token
    if is_refresh:
        metadata[ROLE] = "refresh"
    elif is_login:
        metadata[ROLE] = "login"
        # GraphQL operations other than the login need the token; `settle_login` knows the body.
        may_be_graphql = "json" in headers.get("content-type", "").lower()
        # A bad cookie must not keep its user from logging in; the headers are clean all the same.
        with contextlib.suppress(Refused):
            inject = trusted and may_be_graphql
            token = credentials.translate(headers, held, settings, inject=inject)
            note_token(flow, secrets, token)
    else:
        metadata[ROLE] = "api"
        note_token(flow, secrets, credentials.translate(headers, held, settings, inject=trusted))


def _decide_about_logout(
    flow: http.HTTPFlow, headers: IndexedHeaders, held: Held, settings: Settings
) -> None:
    """Answer here, or first tell the API, if that is wanted and there is a token to tell of."""
    request, metadata = flow.request, flow.metadata
    metadata[ROLE] = "logout"
    if not settings.logout_upstream:
        return
    with contextlib.suppress(Refused):
        if credentials.translate(headers, held, settings, inject=True):
            metadata[ROLE] = "sign-out"
            metadata[ASKED_BY] = request.method
            request.method, request.path = settings.logout_upstream


def settle_login(flow: http.HTTPFlow, settings: Settings, secrets: Secrets) -> None:
    """Take the token out again unless this is another operation on a GraphQL endpoint.

    Real servers refuse a login that comes with an old token.
    """
    if not flow.metadata.get(INJECTED):
        return
    body = flow.request.raw_content or b""
    if not graphql.is_other_operation(body, settings.graphql_login_keys):
        credentials.remove_header(flow.request.headers, settings.header)
        note_token(flow, secrets, None)


def note_token(flow: http.HTTPFlow, secrets: Secrets, token: bytes | None) -> None:
    """Remember which token the API gets, if any."""
    secrets.token = None if token is None else token.decode("utf-8", "replace")
    flow.metadata[INJECTED] = token is not None
    if secrets.token is not None:
        flow.metadata[SENT] = size_and_expiry(secrets.token)
