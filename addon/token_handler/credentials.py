"""The request side: the browser's cookies stay at the proxy, the token becomes the API's header."""

from mitmproxy import http

from token_handler.answers import Refused
from token_handler.auth_cookie import (
    cookie_values,
    decode_token,
    encode_token,
    forwarded_cookies,
    forwarded_set_cookie,
    set_cookie,
)
from token_handler.settings import Settings


def translate(headers: http.Headers, settings: Settings, *, inject: bool, forward: bool) -> bool:
    """Replace the browser's credentials by the API's, in place; return whether a token went in.

    Every Cookie field goes; with `forward`, those cookies stay that the settings let through. The
    token of the auth cookie becomes the configured header, unless `inject` is false. A header that
    the browser itself sent under that name stays only without an auth cookie, so that server-side
    code and replays work; its repetitions, and spellings that differ in `_` and `-` (which CGI and
    WSGI servers take for the same), never do.

    Raises Refused for a cookie that does not say which token is meant; the headers are clean then.
    """
    fields = headers.get_all("cookie")
    values = cookie_values(fields, settings.cookie)
    headers.pop("cookie", None)
    if forward and (cookies := forwarded_cookies(fields, settings.forwarded)):
        headers["Cookie"] = cookies
    own_header = None if values else _first(headers, settings.header)
    remove_header_variants(headers, settings.header)
    if own_header is not None:
        headers.add(settings.header, own_header)
    if not inject or not values:
        return False
    if len(values) > 1:
        raise Refused(
            "bad_request",
            f"The request carries different cookies named {settings.cookie}. Delete this site's"
            " cookies in the browser and log in again.",
        )
    token = decode_token(values.pop())
    if not settings.header_format.accepts(token):
        raise Refused(
            "bad_request",
            f"The cookie {settings.cookie} holds what no HTTP header can carry."
            " Delete it and log in again.",
        )
    headers[settings.header] = settings.header_format.value(token)
    return True


def issue_cookie(token: str, settings: Settings, *, tls: bool) -> str:
    """The Set-Cookie field value that gives a token to a browser whose connection has TLS or not.

    Raises Refused for a token that could not come back as it is.
    """
    try:
        value = encode_token(token)
        if not settings.header_format.accepts(token.encode()):
            raise ValueError("holds characters that no HTTP header can carry")
        return set_cookie(settings.cookie, value, settings.cookie_attributes(tls=tls))
    except UnicodeEncodeError:
        problem = "is not Unicode text"
    except ValueError as error:
        problem = str(error)
    raise Refused("login_unreadable", f"The token in the API's answer to this login {problem}.")


def translate_set_cookies(
    headers: http.Headers, settings: Settings, *, tls: bool, replayed: bool
) -> None:
    """Take the API's cookies out but for the forwarded ones, in place.

    In an answer that mitmproxy replays from a file (`replayed`), the auth cookie is our own.
    """
    fields = headers.get_all("set-cookie")
    if not fields:
        return
    kept = []
    for field in fields:
        if replayed and field.partition("=")[0].strip() == settings.cookie:
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
