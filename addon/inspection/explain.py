"""Why a flow went the way it did, rule by rule, and how to repeat it by hand."""

import copy
import re
from collections.abc import Iterator

from credentials.cookies import cookie_pairs
from exchanges import notes, received
from exchanges.settings import Settings
from messages.answers import STATUS_OF, Refused
from mitmproxy import exceptions, http
from mitmproxy.addons.export import curl_command
from origins import paths
from origins import rules as origin_rules
from origins.origin import Origin
from origins.path_rules import Meaning
from tokens import login_like

from inspection import phrases, report


def rules(flow: http.HTTPFlow, settings: Settings) -> Iterator[str]:
    """Each rule that was applied to the flow's request, by the options as they are now."""
    metadata, of_all = flow.metadata, settings
    settings = of_all.further.get(metadata.get(notes.UPSTREAM, ""), of_all)
    request = received.restored(flow, metadata.get(notes.HEADER, settings.header.name))
    if notes.KIND not in metadata or not request:
        yield "cookie-auth has not decided about this flow."
        return
    yield f"request: {request.method} {phrases.printable(request.path)}"
    try:
        own = origin_rules.own_origin(
            request,
            tls=flow.client_conn.tls,
            allowed_hosts=settings.origins.allowed_hosts,
            public=settings.origins.public,
        )
        yield f"host: {own.authority} is localhost, an IP address or allowed"
        yield f"origin: {_origin(request, own, settings)}"
    except Refused as refused:
        yield f"host: {refused.message}"
    yield f"path: {_path(request, of_all)}"
    if metadata.get(notes.TRUSTED) is False:
        yield (
            "method: safe, so it goes on without the token"
            if request.method in origin_rules.SAFE_METHODS
            else "method: not GET, HEAD or OPTIONS, so another origin may not use it"
        )
    if names := metadata.get(notes.COOKIES):
        yield f"auth cookie: {', '.join(names)}"
    elif notes.COOKIES in metadata:
        yield "auth cookie: none"
    if kept_back := metadata.get(notes.KEPT_BACK):
        yield f"{phrases.cookies(tuple(kept_back), 'kept back')} (cookie_auth_forward_cookies)"
    if metadata.get(notes.INJECTED):
        size = phrases.token_size(metadata[notes.SENT])
        header = metadata.get(notes.HEADER, settings.header.name)
        yield f"token: sent in the header {header} ({size})"
    elif places := metadata.get(notes.TRANSLATED):
        yield f"token: in the place of a stand-in ({', '.join(map(phrases.printable, places))})"
    elif settings.header.name in flow.request.headers:
        yield f"token: the header {settings.header.name} is the browser's own"
    elif notes.INJECTED in metadata:
        yield "token: none was sent"
    if added := metadata.get(notes.ADDED):
        yield f"further headers: {', '.join(map(phrases.printable, added))}"
    if notes.RENEWED in metadata:
        fresh = phrases.token_size(metadata[notes.RENEWED])
        yield f"renewed: the token had ended; the fresh one has {fresh}"
    if given := metadata.get(notes.STAND_INS):
        yield f"stand-ins: given for {', '.join(map(phrases.printable, given))}"
    if left := metadata.get(notes.LEFT_ALONE):
        yield f"left alone: {', '.join(map(phrases.printable, left))} (cookie_auth_switch hides it)"
    if notes.LOGGED_OUT in metadata:
        yield "logout: the page has logged out at the API, so the cookies were deleted"
    if notes.LEAK in metadata:
        yield f"leak: {metadata[notes.LEAK]}"
    if metadata[notes.KIND] == "refused":
        code, message = metadata[notes.REFUSAL]
        yield f"refused: {STATUS_OF[code]} {code}: {message}"
    yield f"so: {report.comment(flow, settings)}"


def _origin(request: http.Request, own: Origin, settings: Settings) -> str:
    verdict = origin_rules.judge(request.headers, own, settings.origins.allowed)
    trusted = "trusted" if verdict.trusted else "not trusted"
    return f"{trusted}: {phrases.printable(verdict.why)}"


def _path(request: http.Request, settings: Settings) -> str:
    upstream = settings.upstreams.find(request.path)
    settings = settings.at(upstream.prefix if upstream else None)
    api_target = paths.strip_prefix(request.path, settings.paths.prefix)
    if api_target is None:
        return f"outside {settings.paths.prefix}, so it is the front end's"
    path = paths.normalise(settings.ruled_path(api_target))
    whose = f"{upstream.prefix} is of {upstream.origin}, whose" if upstream else "the API's"
    means = settings.paths.rules.meaning(request.method, path, login_like.members(request))
    said = "" if means is Meaning.NONE else f", which is the {means.value} path"
    return f"{whose} {phrases.printable(path)}{said}"


def curl(flow: http.HTTPFlow, settings: Settings) -> str:
    """A curl command that sends what the API got, with the token as `$TOKEN`.

    What else is secret is a variable, too: `$COOKIE` for an API's own cookies, and such as
    `$X_API_KEY` for the other headers that were put in.

    Raises CommandError for a request whose body holds a token, such as the refresh token in a
    request of the proxy's own.
    """
    if flow.metadata.get(notes.KIND) in ("renewal", "page-refresh"):
        raise exceptions.CommandError("This request of cookie-auth's own holds a refresh token.")
    told = settings.token.logout
    if flow.metadata.get(notes.KIND) == "sign-out" and told and told.needs:
        raise exceptions.CommandError("This request of cookie-auth's own holds a token.")
    places = phrases.Places(flow)
    if places.in_body:
        raise exceptions.CommandError("The body of this request holds a token.")
    flow = copy.copy(flow)
    flow.request = flow.request.copy()
    headers, place = flow.request.headers, "cookie-auth-token-place"
    cookie_place = "cookie-auth-cookie-place"
    if flow.metadata.get(notes.INJECTED):
        header = flow.metadata.get(notes.HEADER, settings.header.name)
        # Of a header that was learned, the scheme before the token is as it stands there.
        value = settings.header.format.value(place.encode()).decode()
        named = header == settings.header.name
        headers[header] = value if named else _after_scheme(headers.get(header, ""), place)
    for name in [name for name in headers if places.in_header(name)]:
        headers[name] = _after_scheme(headers[name], place)
    others = {}
    for name in flow.metadata.get(notes.ADDED, ()):
        others[f"cookie-auth-place-of-{name}."] = re.sub(r"\W", "_", name).upper()
        headers[name] = _after_scheme(headers.get(name, ""), f"cookie-auth-place-of-{name}.")
    flow.request.path = places.without_tokens(flow.request.path, lambda _: place)
    if fields := headers.get_all("cookie"):  # a front end gets the auth cookie as it is
        pairs = []
        for name, value in cookie_pairs(fields):
            if settings.cookie.forwarded.is_own(name):
                value = place
            elif flow.metadata[notes.KIND] != "frontend" and name not in settings.cookie.forwarded:
                value = cookie_place
            pairs.append((name, value))
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in pairs)
    # The shell fills in a variable outside of single quotes only.
    command = curl_command(flow).replace(cookie_place, "'\"$COOKIE\"'")
    for added, variable in others.items():
        command = command.replace(added, f"'\"${variable}\"'")
    return command.replace(place, "'\"$TOKEN\"'")


def _after_scheme(value: str, place: str) -> str:
    scheme = re.match(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} +(?=\S)", value)
    return (scheme[0] if scheme else "") + place
