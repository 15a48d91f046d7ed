"""The API's own cookies that pass to the browser, since the user named them: what they may be."""

import re
from collections.abc import Callable, Collection, Iterable
from urllib.parse import unquote

from mitmproxy import http
from tokens.suspicion import JWT

from credentials.cookies import SECURE_PREFIXES, Forwarded, is_name

_SHORTEST = 4
"""Characters of a secret that is looked for within a value; a shorter one must be all of it."""


# Words that hold a telling one by chance. `author`, but not `authorization`.
_HARMLESS = re.compile(r"possess|obsess|assess(?!ion)|author(?!i[sz])|tokeni[sz]", re.IGNORECASE)
# `sess` also for PHPSESSID; `sid` ends a word, but for Google's SIDTS and SIDCC: no `sidebar`
_TELLING = re.compile(r"sess|sid(?:ts|cc)?(?![a-z])|auth|token|remember", re.IGNORECASE)
_FORGERY = re.compile(r"[cx]srf", re.IGNORECASE)

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def translate_set_cookies(
    headers: http.Headers,
    forwarded: Forwarded | None,
    secrets: Iterable[str],
    *,
    tls: bool,
    to_browser: Callable[[str], str],
    spared: Collection[str],
    own: Callable[[str], bool] | None,
) -> None:
    """Take the API's cookies out but for the forwarded ones, in place; None for none of them.

    What may hold one of the `secrets` is for no script to read. `spared` are names of the browser's
    cookies that are not to be replaced. `own` tells our own cookies, which are there in an answer
    that mitmproxy replays from a file.
    """
    kept = []
    for field in headers.get_all("set-cookie"):
        name = field.partition("=")[0].strip()
        if own and own(name):
            kept.append(field)
        elif name in spared:
            continue
        elif forwarded and (
            passed := forwarded_set_cookie(field, forwarded, tls=tls, to_browser=to_browser)
        ):
            kept.append(passed)
    headers.set_all("set-cookie", kept)
    hide_secrets(headers, secrets)


def hide_secrets(headers: http.Headers, secrets: Iterable[str]) -> None:
    """Make HttpOnly what `must_be_httponly` names among the Set-Cookie fields, in place.

    One that holds a secret in an attribute goes: scripts may read Path, of any cookie but those.
    """
    fields, known = headers.get_all("set-cookie"), list(secrets)
    if not fields:
        return
    fields = [
        field
        for field in fields
        if not any(_holds(field.partition(";")[2], secret) for secret in known)
    ]
    pairs = [field.partition(";")[0].partition("=")[::2] for field in fields]
    headers.set_all(
        "set-cookie",
        [
            with_httponly(field) if must_be_httponly(name, value, known) else field
            for field, (name, value) in zip(fields, pairs, strict=True)
        ],
    )


def forwarded_set_cookie(
    field: str, forwarded: Forwarded, *, tls: bool, to_browser: Callable[[str], str]
) -> str | None:
    """The API's Set-Cookie field as the browser gets it; None for a cookie that does not pass.

    Domain goes, so that the cookie is the proxy's; `to_browser` translates Path. A browser on
    plain HTTP would drop a Secure cookie, and SameSite=None and Partitioned (CHIPS, 2.1) need
    Secure; they go as well there, but for the prefixed names that must be Secure (RFC 6265bis,
    4.1.3) and work on localhost. `Path=/` stays where a page beside the prefix is to read the
    cookie; by its name, since what deletes it may say nothing else of it.
    """
    pair, *attributes = field.split(";")
    name = pair.partition("=")[0].strip()
    if is_nameless(field) or name not in forwarded:
        return None
    plain = not tls and not name.lower().startswith(SECURE_PREFIXES)
    kept = [pair.strip()]
    for attribute in attributes:
        key, _, value = (part.strip() for part in attribute.partition("="))
        key = key.lower()
        insecure = plain and (
            key in ("secure", "partitioned") or (key, value.lower()) == ("samesite", "none")
        )
        if key == "path" and value.startswith("/"):
            # A `__Host-` cookie must have `/` (RFC 6265bis, 4.1.3.2).
            stays = name.lower().startswith("__host-") or (value == "/" and not _is_telling(name))
            kept.append(f"Path={value if stays else to_browser(value)}")
        elif key and key != "domain" and not insecure:
            kept.append(attribute.strip())
    return "; ".join(kept)


def must_be_httponly(name: str, value: str, secrets: Iterable[str]) -> bool:
    """Whether scripts must not read this cookie: it holds a token, or its name says so.

    `secrets` are the tokens known here. What is named for XSRF is for scripts to read and send
    back, unless it is a token nevertheless.
    """
    once = unquote(value, errors="surrogateescape")
    forms = {value, once, unquote(once, errors="surrogateescape")}
    if any(JWT.search(form) for form in forms):
        return True
    if any(_holds(form, secret) for secret in secrets for form in forms):
        return True
    return _is_telling(name)


def _is_telling(name: str) -> bool:
    return not _FORGERY.search(name) and _TELLING.search(_HARMLESS.sub("", name)) is not None


def with_httponly(field: str) -> str:
    """The Set-Cookie field with HttpOnly, once. A value given to it means nothing (RFC 6265bis,
    5.6.7)."""
    attributes = field.split(";")[1:]
    names = (attribute.partition("=")[0].strip(" \t").lower() for attribute in attributes)
    return field if "httponly" in names else f"{field}; HttpOnly"


def is_nameless(field: str) -> bool:
    """Whether a Set-Cookie field's cookie would have no name, or one that is not what it seems.

    A browser sends a nameless cookie as its bare value (RFC 6265bis, 5.8.3), and that may read
    `auth-token=evil`. One with control characters it must refuse (5.6); Chromium takes a CR for the
    end of the field, and what follows for the next one.
    """
    name, separator, _ = field.partition(";")[0].partition("=")
    named = separator and is_name(name.strip(" \t"))
    return not named or _CONTROLS.search(field) is not None


def _holds(text: str, secret: str) -> bool:
    return bool(secret) and (text == secret or (len(secret) >= _SHORTEST and secret in text))
