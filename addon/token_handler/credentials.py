"""The credentials in a message: what each side may see of those of the other."""

from mitmproxy import http

from token_handler.answers import Refused
from token_handler.auth_cookie import cookie_pairs, forwarded_cookies, forwarded_set_cookie
from token_handler.jar import Jar
from token_handler.settings import Settings


def translate(
    headers: http.Headers, settings: Settings, jar: Jar, *, inject: bool, forward: bool
) -> bool:
    """Replace the browser's credentials by the API's, in place; return whether a token went in.

    Every Cookie field goes; with `forward`, those cookies stay that the settings let through. The
    token in the jar becomes the configured header, unless `inject` is false. A header that the
    browser itself sent under that name stays only without an auth cookie, so that server-side code
    and replays work; its repetitions, and spellings that differ in `_` and `-` (which CGI and WSGI
    servers take for the same), never do.

    Raises Refused for a cookie that does not say which token is meant; the headers are clean then.
    """
    fields = headers.get_all("cookie")
    has_cookie = any(value for name, value in cookie_pairs(fields) if jar.owns(name))
    headers.pop("cookie", None)
    if forward and (cookies := forwarded_cookies(fields, settings.forwarded)):
        headers["Cookie"] = cookies
    own_header = None if has_cookie else _first(headers, settings.header)
    remove_header_variants(headers, settings.header)
    if own_header is not None:
        headers.add(settings.header, own_header)
    if not inject:
        return False
    token = jar.read(fields)
    if token is None:
        return False
    if not settings.header_format.accepts(token):
        raise Refused(
            "bad_request",
            f"The cookie {jar.name} holds what no HTTP header can carry."
            " Delete it and log in again.",
        )
    headers[settings.header] = settings.header_format.value(token)
    return True


def injected_token(headers: http.Headers, settings: Settings) -> str:
    """The token in the API's header, as `translate` put it there."""
    before, after = settings.header_format.before, settings.header_format.after
    value: bytes = headers.get(settings.header, "").encode("utf-8", "surrogateescape")
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
    wanted = _spelling(name)
    for found in {field.decode("ascii", "replace") for field, _ in headers.fields}:
        if _spelling(found) == wanted:
            headers.pop(found, None)


def _first(headers: http.Headers, name: str) -> str | None:
    return next(iter(headers.get_all(name)), None)


def _spelling(name: str) -> str:
    return name.lower().replace("_", "-")
