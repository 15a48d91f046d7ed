"""The options about where tokens stand in answers, and what answers may not hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from settings.option import InvalidOption, Option, Reader, one_of

from tokens.graphql import login_keys
from tokens.json_pointer import JsonPointer
from tokens.refreshing import RefreshSettings
from tokens.request_template import RequestTemplate
from tokens.sources import Source, parse_source

OPTIONS = (
    Option(
        "cookie_auth_token",
        Sequence[str],
        ["/authToken"],
        "Where the token stands in a login answer: JSON Pointers, tried in this order. A name"
        " without a slash is that top-level key; / is the whole body; header:NAME is a header,"
        " cookie:NAME a cookie that the API sets, location:NAME a parameter in the query or the"
        " fragment of a redirect.",
    ),
    Option(
        "cookie_auth_login_body",
        str,
        "replace",
        'What a login answers: "replace" gives {"loggedIn": true}, "redact" the API\'s own JSON'
        ' without its tokens, "stand-in" the same with stand-ins in their place.',
    ),
    Option(
        "cookie_auth_refresh_token",
        str,
        "/refreshToken",
        "JSON Pointer to the refresh token in the answers to login and refresh; or header:NAME, or"
        " cookie:NAME for one of the API's own cookies.",
    ),
    Option(
        "cookie_auth_refresh_body",
        str,
        '{"refreshToken": "{refresh_token}"}',
        "Body of the request that renews the token, JSON or form, with {refresh_token} in it, or"
        " {token} for the one that has ended; none where headers or path have them, or if empty.",
    ),
    Option(
        "cookie_auth_refresh.headers",
        Sequence[str],
        [],
        "Headers of the request that renews the token: 'Authorization: Bearer {refresh_token}'.",
    ),
    Option(
        "cookie_auth_refresh.answer",
        Sequence[str],
        [],
        "Where the token stands in the answers to that, unless it is where cookie_auth_token says.",
    ),
    Option(
        "cookie_auth_refresh.next",
        str,
        "",
        "Where the next refresh token stands there, unless it is where that of the login stands.",
    ),
    Option(
        "cookie_auth_refresh.expired",
        Sequence[str],
        [],
        "What tells, beside 401, that the token has ended: statuses, and POINTER=VALUE in JSON.",
    ),
    Option(
        "cookie_auth_logout.body",
        str,
        "",
        "Body of the request that tells the API of a logout, JSON or form, with {token} or"
        " {refresh_token} in it: 'token={refresh_token}&action=revoke'.",
    ),
    Option(
        "cookie_auth_logout.headers",
        Sequence[str],
        [],
        "Headers of that request: 'X-Refresh-Token: {refresh_token}'.",
    ),
    Option(
        "cookie_auth_leak",
        str,
        "stand-in",
        "What becomes of a token in an answer of the API's that is no login of cookie_auth_login's:"
        " stand-in (the page gets one in its place), warn (it passes, marked and logged), block"
        " (answer 502) or off (nothing is looked for).",
    ),
    Option(
        "cookie_auth_expose",
        Sequence[str],
        [],
        "Names of members that pages may read though they look like tokens, e.g. pushToken.",
    ),
    Option(
        "cookie_auth_claims",
        Sequence[str],
        [],
        "Claims of the JWT that pages may read at cookie_auth_session and in the answer to a login,"
        " e.g. sub,roles,exp.",
    ),
)


@dataclass(frozen=True)
class TokenSettings:
    """Where tokens stand in answers."""

    sources: tuple[Source, ...]
    login_body: str
    refresh: RefreshSettings | None
    """None if tokens are not renewed."""
    logout: RequestTemplate | None
    """How the API is told of a logout; None if it is not."""
    leak: str
    exposed: frozenset[str]
    claims: tuple[str, ...]
    """The names of those in a JWT that pages are told."""
    graphql_login_keys: frozenset[str]

    @classmethod
    def read(
        cls,
        read: Reader,
        refresh: tuple[str, str] | None,
        logout: tuple[str, str] | None = None,
    ) -> "TokenSettings":
        """`refresh` is by which method and where tokens are renewed, if they are; `logout` where
        the API is told of one.

        Raises InvalidOption.
        """
        sources = tuple(read.each("cookie_auth_token", parse_source))
        return cls(
            sources=sources,
            login_body=read.text("cookie_auth_login_body", one_of("replace", "redact", "stand-in")),
            refresh=RefreshSettings.read(read, refresh, sources),
            logout=_logout_request(read, logout),
            leak=read.text("cookie_auth_leak", one_of("stand-in", "warn", "block", "off")),
            exposed=frozenset(read.each("cookie_auth_expose", _member, or_none=True)),
            claims=tuple(
                dict.fromkeys(chain(*read.each("cookie_auth_claims", _claims, or_none=True)))
            ),
            graphql_login_keys=login_keys(s for s in sources if isinstance(s, JsonPointer)),
        )


def _logout_request(read: Reader, told: tuple[str, str] | None) -> RequestTemplate | None:
    """Raises InvalidOption."""
    body = read.text("cookie_auth_logout.body", RequestTemplate.parse_body)
    headers = read.each("cookie_auth_logout.headers", RequestTemplate.parse_header, or_none=True)
    if told is None:
        return None
    method, target = told
    try:
        RequestTemplate.parse_target(target)
    except ValueError as error:
        name = "cookie_auth_logout_upstream_path"
        raise InvalidOption(name, target, str(error)) from None
    return RequestTemplate(method, target, body, tuple(headers))


def _member(text: str) -> str:
    """A parser for the name of a member; in lower case, since letter case does not count."""
    if not text.strip() or "/" in text:
        raise ValueError("the name of a member, such as pushToken")
    return text.strip().lower()


def _claims(text: str) -> list[str]:
    """A parser for claims' names, one or several with commas between; letter case counts."""
    names = [name.strip() for name in text.split(",")]
    for own in {"loggedIn", "expiresIn"}.intersection(names):
        raise ValueError(f"names of claims, such as sub; {own} is what the proxy says itself")
    if "" in names:
        raise ValueError("names of claims, such as sub or sub,roles,exp")
    return names
