"""Where credentials stand in a message: what each side may see of those of the other."""

from collections.abc import Callable, Iterable

from messages.answers import Refused
from messages.headers import IndexedHeaders, spelling
from messages.redacted import real
from mitmproxy import http

from credentials.api_cookies import ApiCookie
from credentials.cookies import belongs, cookie_pairs
from credentials.options import HeaderSettings
from credentials.wallet import Held

Recorded = Callable[..., bytes]
"""`Settings.recorded`: data, and the secrets in it that are not to be recorded."""


def translate(
    headers: IndexedHeaders,
    held: Held,
    header: HeaderSettings,
    recorded: Recorded,
    *,
    inject: bool,
    own_passes: bool = False,
    api_cookies: Iterable[ApiCookie] = (),
) -> bytes | None:
    """Replace the browser's credentials by the API's, in place; return the token that went in.

    The Cookie fields go, but for the forwarded cookies and the API's own. The token becomes the
    header, unless `inject` is false. One that the browser itself sent under that name stays only
    without an auth cookie, so that server-side code and replays work, or where `own_passes`; its
    repetitions, and spellings that differ in `_` and `-`, never do.

    Raises Refused for a cookie that does not say which token is meant; the headers are clean then.
    """
    token = None if held.problem or not inject else held.token
    changes: dict[bytes, bytes | None] = dict.fromkeys(_variants(headers.names, header.name))
    own_cookies = [(one.name, one.value or "") for one in api_cookies]
    cookies = "; ".join(filter(None, (held.forwarded, *map("=".join, own_cookies))))
    secrets = (value.encode("utf-8", "surrogateescape") for _, value in own_cookies)
    changes[b"Cookie"] = recorded(cookies.encode("utf-8", "surrogateescape"), *secrets) or None
    if token is not None:
        changes[header.name.encode()] = recorded(header.format.value(token), token)
    elif (own_passes or not held.has_token) and (own := headers.raw(header.name)):
        changes[header.name.encode()] = recorded(own[0], own[0])
    headers.change(changes)
    if inject and held.problem:
        raise Refused(*held.problem)
    return token


def keep_cookies_back(headers: http.Headers, kept_back: Callable[[str], bool]) -> None:
    """Take the cookies of these names out of the Cookie fields, in place."""
    fields = headers.get_all("cookie")
    if not any(kept_back(name) for name, _ in cookie_pairs(fields)):
        return
    left = "; ".join(f"{n}={v}" for n, v in cookie_pairs(fields) if not kept_back(n))
    headers.set_all("cookie", [left] if left else [])


def record_without(headers: http.Headers, auth_cookie: str, recorded: Recorded) -> None:
    """Record the Cookie fields for the front end without our cookies' values, in place."""
    fields = headers.get_all("cookie")
    own = [
        value.encode("utf-8", "surrogateescape")
        for name, value in cookie_pairs(fields)
        if belongs(name, auth_cookie)
    ]
    if own:
        whole = [field.encode("utf-8", "surrogateescape") for field in fields]
        headers.set_all("cookie", [recorded(field, *own) for field in whole])


def injected_token(headers: http.Headers, header: HeaderSettings) -> str:
    """The token in the API's header, as `translate` put it there."""
    value = real(next(iter(IndexedHeaders.of(headers).raw(header.name)), b""))
    return header.format.token(value).decode("utf-8", "replace")


def remove_header(headers: http.Headers, name: str) -> None:
    """Take out every field of this name, whether spelled with `-` or with `_`."""
    for found in _variants(list(headers), name):
        headers.pop(found, None)


def put_header(headers: IndexedHeaders, name: str, value: bytes | None) -> None:
    """One field in the place of all that a server may take for one of this name, in place; none
    where the value is None.
    """
    headers.change({**dict.fromkeys(_variants(headers.names, name)), name.encode(): value})


def _variants(names: Iterable[str], name: str) -> list[bytes]:
    """Those of the names that a server may take for this one."""
    wanted = spelling(name)
    return [
        found.encode("utf-8", "surrogateescape") for found in names if spelling(found) == wanted
    ]
