"""Names of headers, parameters and members under which credentials stand."""

import re
from functools import lru_cache

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

PARAMETERS = frozenset({"token", "accesstoken", "authtoken", "apikey"})
"""Names of query parameters, as `plain` gives them."""

# HTTP/2 has small letters only (RFC 9113, 8.2), so `X-AuthToken` comes as one word there.
_CREDENTIAL = re.compile(
    "(?:api|id|refresh)*(?:auth|authorization|authentication|token|jwt|key|session|sid|access)"
    "(?:auth|token|jwt|key|session|id)*"
)
_NO_CREDENTIAL = frozenset(
    # What an API keeps with an object, or sends on to somebody else
    "meta metadata idempotency csrf xsrf webhook webhooks hook callback forward forwarded"
    # `X-Target-Authorization` and the like, of APIs that fetch what they are told to
    " forwarding proxy target upstream destination"
    # Keys that are stored beside what they are the key of: queues, caches, object stores
    " routing partition message record cache surrogate object push"
    # `Access-Control-…`, which only browsers set
    " control".split()
)


def words(text: str) -> list[str]:
    """The words of a name, in small letters: split at what is no letter or digit, and camel case.

    `X-API-Key` and `xApiKey` give x, api, key.
    """
    return [word.lower() for word in _WORD.findall(text)]


def plain(name: str) -> str:
    """The same for `access_token`, `access-token` and `accessToken`."""
    return name.replace("_", "").replace("-", "").lower()


@lru_cache(maxsize=1024)
def _remembered(name: str) -> bool:
    found = words(name)
    return any(map(_CREDENTIAL.fullmatch, found)) and _NO_CREDENTIAL.isdisjoint(found)


def is_credential_header(name: str) -> bool:
    """Whether a header of this name is for a credential (`X-Vault-Token`, not `X-CSRF-Token`)."""
    # Long names are not remembered: a foreign page could fill the memory with them.
    return len(name) <= 64 and name[:4].lower() != "sec-" and _remembered(name)
