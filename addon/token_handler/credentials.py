"""The credentials in a message: what each side may see of those of the other."""

from collections.abc import Iterable

from mitmproxy import http

from token_handler.answers import Refused
from token_handler.auth_cookie import cookie_pairs, forwarded_set_cookie
from token_handler.indexed_headers import IndexedHeaders
from token_handler.jar import Jar
from token_handler.redacted import real
from token_handler.settings import Settings
from token_handler.wallet import Held


def translate(
    headers: IndexedHeaders, held: Held, settings: Settings, *, inject: bool
) -> bytes | None:
    """Replace the browser's credentials by the API's, in place; return the token that went in.

    The Cookie fields go, but for the forwarded cookies. The token becomes the configured header,
    unless `inject` is false. A header that the browser itself sent under that name stays only
    without an auth cookie, so that server-side code and replays work; its repetitions, and
    spellings that differ in `_` and `-` (which CGI and WSGI servers take for the same), never do.

    Raises Refused for a cookie that does not say which token is meant; the headers are clean then.
    """
    token = None if held.problem or not inject else held.token
    changes: dict[bytes, bytes | None] = dict.fromkeys(_variants(headers.names, settings.header))
    changes[b"Cookie"] = held.forwarded.encode("utf-8", "surrogateescape") or None
    if token is not None:
        changes[settings.header.encode()] = settings.header_value(token)
    elif not held.has_token and (own := headers.raw(settings.header)):
        changes[settings.header.encode()] = settings.recorded(own[0], own[0])
    headers.change(changes)
    if inject and held.problem:
        raise Refused(*held.problem)
    return token


def redact_cookies(headers: http.Headers, settings: Settings) -> None:
    """Record the Cookie fields for the front end without our cookies' values, in place."""
    fields = headers.get_all("cookie")
    own = [
        value.encode("utf-8", "surrogateescape")
        for name, value in cookie_pairs(fields)
        if settings.forwarded.is_own(name)
    ]
    if own:
        whole = [field.encode("utf-8", "surrogateescape") for field in fields]
        headers.set_all("cookie", [settings.recorded(field, *own) for field in whole])


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
    kept = []
    for field in headers.get_all("set-cookie"):
        if replayed and jar.owns(field.partition("=")[0].strip()):
            kept.append(field)
        elif passed := forwarded_set_cookie(
            field, settings.forwarded, tls=tls, to_browser=settings.path_to_browser
        ):
            kept.append(passed)
    headers.set_all("set-cookie", kept)


def remove_header(headers: http.Headers, name: str) -> None:
    """Take out every field of this name, whether spelled with `-` or with `_`."""
    for found in _variants(list(headers), name):
        headers.pop(found, None)


def _variants(names: Iterable[str], name: str) -> list[bytes]:
    """Those of the names that a server may take for this one."""
    wanted = spelling(name)
    return [
        found.encode("utf-8", "surrogateescape") for found in names if spelling(found) == wanted
    ]


def spelling(name: str) -> str:
    """The same for all names that a server may take for one (see `translate`)."""
    return name.lower().replace("_", "-")
