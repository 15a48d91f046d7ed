"""What looks like a token, by its name and its form, and which names may be told in messages."""

import re
from functools import lru_cache
from typing import Literal

Kind = Literal["access", "auth", "session", "token", "id", "key", "refresh", "never", ""]
"""What a name says of its value: which kind of token it may be, surely none, or nothing."""

# RFC 7519: base64url of '{"…', a dot, claims, a dot, signature (which may be empty). Of the five
# parts of an encrypted one (RFC 7516) the second may be empty.
JWT = re.compile(r"(?<![\w-])ey[IJA][\w-]{8,}\.[\w-]*\.[\w-]*(?:\.[\w-]+\.[\w-]+)?", re.ASCII)

# As itsdangerous and Django sign: payload, time, signature. devpi's payload holds blanks.
_SIGNED = re.compile(r".{4,}[.:][\w-]{5,7}[.:][\w-]{27,43}", re.ASCII)

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# Words of names whose values are made for pages, or to be sent back in a body: guards against
# forgery, paging (Moralis: a JWT), push, the next step of a login, invitations.
_NEVER = frozenset(
    "csrf xsrf antiforgery nonce request cursor page paging pagination next prev previous"
    " continuation continue sync delta push fcm apns expo device mfa otp totp challenge state"
    " verification verify confirmation confirm reset recovery invite invitation logout poll"
    " unsubscribe captcha idempotency authenticity"
    " front".split()  # SuperTokens' front-token tells the page who
)
_WHOLE: dict[str, Kind] = {
    "access": "access",
    "auth": "auth",
    "authentication": "auth",
    "authorization": "auth",
    "bearer": "token",
    "session": "session",
    "sessionid": "session",
    "sessionkey": "session",
    "sid": "session",
    "refresh": "refresh",
    "key": "key",
    "apikey": "key",
    "accesskey": "key",
    "authkey": "key",
    "password": "key",
    "apppassword": "token",  # Nextcloud
    "sha1": "key",  # Gitea
}
# What stands before the word token, in the order in which it decides.
_BEFORE: tuple[tuple[str, Kind], ...] = (
    ("refreshed", "auth"),  # Payload: an access token
    ("refresh", "refresh"),
    ("access", "access"),
    ("auth", "auth"),
    ("client", "auth"),  # Vault
    ("session", "session"),
)
# Names about a token that do not hold one: token_type, tokenExpiresAt, …
_ABOUT_A_TOKEN = re.compile(
    r"(type|expir\w*|exp|ttl|lifetime|name|count|status|error|message|ur[il]|endpoint|At|In)s?$",
    re.IGNORECASE,
)
_SPEAKS_OF_A_TOKEN = re.compile("token|jwt", re.IGNORECASE)

SHORTEST, LONGEST = 8, 32_768
"""Characters of an opaque token."""

LONGEST_NAME = 256
"""Characters of a name that are looked at, the last ones: an API may name a member as it likes."""

_NO_TOKEN = re.compile(
    r"https?://.*|\d{4}-\d\d-\d\d(?:[T ].*)?|[^@\s]+@[^@\s]+\.[a-z]+|undefined", re.IGNORECASE
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_OF_WORDS = re.compile(r"[A-Za-z_. -]+")


def words(name: str) -> list[str]:
    """The words of a name, in lower case: access, token for accessToken and for access_token."""
    return [word.lower() for word in _WORDS.findall(name)]


@lru_cache(maxsize=1024)
def kind_of(name: str) -> Kind:
    """What a member, header or parameter of this name may hold.

    Whole words count, and the last one decides: `session_state` and `accessor` are no tokens.
    """
    parts = words(name[-LONGEST_NAME:])
    while parts[:1] in (["x"], ["http"]):
        del parts[0]
    if not _NEVER.isdisjoint(parts):
        return "never"
    text = "".join(parts)
    if kind := _WHOLE.get(text):
        return kind
    before, found, _ = text.rpartition("jwt" if text.endswith(("jwt", "jwts")) else "token")
    if not found or not text.endswith(("token", "tokens", "jwt", "jwts")):
        return ""
    if before in _NEVER or before.startswith(("csrf", "xsrf")):
        return "never"
    if before in ("id", "openid") or parts[-2:-1] == ["id"]:
        return "id"
    return next((kind for word, kind in _BEFORE if word in before), "token")


def is_about_token(name: str) -> bool:
    """Whether a name tells something about a token: its type, its end."""
    return _ABOUT_A_TOKEN.search(name[-LONGEST_NAME:]) is not None


def speaks_of_token(name: str) -> bool:
    """Whether a name has to do with tokens, and may hold one in an answer that must hold none.

    Wider than `kind_of`: where a mistake is a refusal with a hint, anything with the word counts.
    """
    spoken = _SPEAKS_OF_A_TOKEN.search(name) is not None and not is_about_token(name)
    return spoken and kind_of(name) != "never"


def may_be_token(name: str, value: str, *, strict: bool) -> bool:
    """Whether a parameter of an address holds a token; `strict` as in `speaks_of_token`."""
    kind = kind_of(name)
    if kind == "never" or not value:
        return False
    if JWT.search(value) or (strict and speaks_of_token(name)):
        return True
    if kind in ("", "key", "session"):
        return kind != "" and is_random(value)
    return is_opaque(value) and not is_of_words(value)


def is_formed(value: str) -> bool:
    """Whether its form alone says that it is a token: a JWT, or a signed value."""
    if JWT.fullmatch(value):
        return True
    return _SIGNED.fullmatch(value) is not None and not is_of_words(value)  # a dotted name


def is_opaque(value: str) -> bool:
    """Whether it has a token's length and no blanks, and is no address or date."""
    fits = SHORTEST <= len(value) <= LONGEST and not any(map(str.isspace, value))
    return fits and not _NO_TOKEN.fullmatch(value)


def is_random(value: str, *, uuid: bool = False) -> bool:
    """Whether it looks made by chance: longer, not of words alone, and no UUID unless that does."""
    return (
        is_opaque(value)
        and len(value) >= 2 * SHORTEST
        and not is_of_words(value)
        and (uuid or not _UUID.fullmatch(value))
    )


def is_of_words(value: str) -> bool:
    return _OF_WORDS.fullmatch(value) is not None


# A name as programmers give them. What the API chose freely may be a secret: an object whose keys
# are tokens, a header named after a session.
_WORD = r"(?:[A-Z]{0,3}[a-z]{1,15}(?:[A-Z]{1,3}[a-z]{1,15}){0,3}|[A-Z]{1,12})"
_PLAIN_NAME = re.compile(rf"_{{0,2}}{_WORD}(?:[_.-]{_WORD}){{0,4}}\d{{0,2}}|\d{{1,3}}")


def is_plain(name: str) -> bool:
    """Whether a name that an API chose may be told in a message."""
    return _PLAIN_NAME.fullmatch(name) is not None
