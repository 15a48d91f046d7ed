"""The options about where tokens stand in answers, and what answers may not hold."""

from collections.abc import Sequence
from dataclasses import dataclass

from settings.option import Option, Reader, one_of

from tokens.capture import Source, parse_source
from tokens.graphql import login_keys
from tokens.json_pointer import JsonPointer
from tokens.refresh_request import RefreshRequest

OPTIONS = (
    Option(
        "cookie_auth_token",
        Sequence[str],
        ["/authToken"],
        "Where the token stands in a login answer: JSON Pointers, tried in this order. A name"
        " without a slash is that top-level key; / is the whole body; header:NAME is a header,"
        " location:NAME a parameter in the query or the fragment of a redirect.",
    ),
    Option(
        "cookie_auth_login_body",
        str,
        "replace",
        'What a login answers: "replace" gives {"loggedIn": true}, "redact" the API\'s own JSON'
        " without the token.",
    ),
    Option(
        "cookie_auth_refresh_token",
        str,
        "/refreshToken",
        "JSON Pointer to the refresh token in the answers to login and refresh.",
    ),
    Option(
        "cookie_auth_refresh_body",
        str,
        '{"refreshToken": "{refresh_token}"}',
        "Body of the request that renews the token, JSON or form, with {refresh_token} once.",
    ),
    Option(
        "cookie_auth_leak",
        str,
        "warn",
        "What to do with an API's answer, outside login, that repeats the token: warn (log and mark"
        " it), block (answer 502) or off.",
    ),
)


@dataclass(frozen=True)
class TokenSettings:
    """Where tokens stand in answers."""

    sources: tuple[Source, ...]
    redact_login: bool
    refresh_pointer: JsonPointer | None
    """None if tokens are not renewed."""
    refresh_request: RefreshRequest | None
    leak: str
    graphql_login_keys: frozenset[str]

    @classmethod
    def read(cls, read: Reader, refresh_path: str | None) -> "TokenSettings":
        """`refresh_path` is None if tokens are not renewed. Raises InvalidOption."""
        sources = tuple(read.each("cookie_auth_token", parse_source))
        pointer = read.text("cookie_auth_refresh_token", JsonPointer.parse)
        template = read.text("cookie_auth_refresh_body", RefreshRequest.parse_template)
        return cls(
            sources=sources,
            redact_login=read.text("cookie_auth_login_body", one_of("replace", "redact"))
            == "redact",
            refresh_pointer=pointer if refresh_path else None,
            refresh_request=RefreshRequest(refresh_path, template) if refresh_path else None,
            leak=read.text("cookie_auth_leak", one_of("warn", "block", "off")),
            graphql_login_keys=login_keys(s for s in sources if isinstance(s, JsonPointer)),
        )
