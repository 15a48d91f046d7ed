"""The credentials in a message: what each side may see of those of the other."""

from mitmproxy import http

from token_handler.answers import Refused
from token_handler.auth_cookie import Pairs, cookie_pairs, forwarded_cookies, forwarded_set_cookie
from token_handler.indexed_headers import IndexedHeaders
from token_handler.jar import Jar
from token_handler.redacted import real
from token_handler.settings import Settings


def translate(
    headers: http.Headers,
    cookies: Pairs,
    settings: Settings,
    jar: Jar,
    *,
    inject: bool,
    forward: bool,
) -> bytes | None:
    """Replace the browser's credentials by the API's, in place; return the token that went in.

    `cookies` is what the Cookie fields hold. The fields go; with `forward`, those cookies stay that
    the settings let through. The token in the jar becomes the configured header, unless `inject` is
    false. A header that the browser itself sent under that name stays only without an auth cookie,
    so that server-side code and replays work; its repetitions, and spellings that differ in `_` and
    `-` (which CGI and WSGI servers take for the same), never do.

    Raises Refused for a cookie that does not say which token is meant; the headers are clean then.
    """
    has_cookie = any(value for name, value in cookies if jar.owns(name))
    headers.pop("cookie", None)
    if forward and (forwarded := forwarded_cookies(cookies, settings.forwarded)):
        headers["Cookie"] = forwarded
    own_header = None if has_cookie else _first(headers, settings.header)
    remove_header_variants(headers, settings.header)
    if own_header is not None:
        headers.add(settings.header, own_header)
    token = jar.read(cookies) if inject else None
    if token is None:
        return None
    if not settings.header_format.accepts(token):
        raise Refused(
            "bad_request",
            f"The cookie {jar.name} holds what no HTTP header can carry."
            " Delete it and log in again.",
        )
    headers[settings.header] = settings.header_value(token)
    return token


def redact_cookies(headers: http.Headers, settings: Settings) -> None:
    """Record the Cookie fields for the front end without our cookies' values, in place."""
    fields = headers.get_all("cookie")
    own = [value for name, value in cookie_pairs(fields) if settings.forwarded.is_own(name)]
    if own:
        headers.set_all("cookie", [settings.recorded(field, own) for field in fields])


def injected_token(headers: http.Headers, settings: Settings) -> str:
    """The token in the API's header, as `translate` put it there."""
    before, after = settings.header_format.before, settings.header_format.after
    value = real(next(iter(IndexedHeaders.of(headers).raw(settings.header)), b""))
    return value[len(before) : len(value) - len(after)].decode("utf-8", "replace")


def translate_set_cookies(
    headers: http.Headers, settings: Settings, jar: Jar, *, tls: bool, replayed: bool
) -> None:
    """Take the API's cookies out but for the forwarded ones, in place.

    In an answer that mitmproxy replays from a file (`replayed`), the auth cookie is our own.
    """
    fields = headers.get_all("set-cookie")
    if not fields:
        return
    kept = []
    for field in fields:
        if replayed and jar.owns(field.partition("=")[0].strip()):
            kept.append(field)
        elif passed := forwarded_set_cookie(
            field, settings.forwarded, tls=tls, to_browser=settings.path_to_browser
        ):
            kept.append(passed)
    headers.set_all("set-cookie", kept)


def remove_header_variants(headers: http.Headers, name: str) -> None:
    """Take out every field of this name, whether spelled with `-` or with `_`."""
    wanted = _spelling(name.encode())
    for found in [field for field, _ in headers.fields if _spelling(field) == wanted]:
        headers.pop(found, None)


def _first(headers: http.Headers, name: str) -> str | None:
    return next(iter(headers.get_all(name)), None)


def _spelling(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")
