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
    # `X-Container-Sync-Key`, `X-Goog-Channel-Token`: whom to send on to, and what to say there
    " container channel remote origin original backend downstream external relay source copy sync"
    " notification notifications notify subscription event fcm apns redirect url uri"
    # Of an object, its sorting or its encryption
    " public tag tags sort item name description data file upload blob bucket document collection"
    " shard hash ordering deduplication encryption kms trace tracking correlation"
    # `Access-Control-…`, which only browsers set
    " control".split()
)
# What may follow, as in `X-Session-ID`; base64 as openHAB's subprotocol has it
_MAY_FOLLOW = frozenset("id token key session user base 64".split())


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
    if not _NO_CREDENTIAL.isdisjoint(found):
        return False
    # `X-Auth-Token`, not `X-Token-Expiry`, which is about one
    while found and not _CREDENTIAL.fullmatch(found[-1]) and found[-1] in _MAY_FOLLOW:
        found.pop()
    return bool(found) and bool(_CREDENTIAL.fullmatch(found[-1]))


def is_credential_header(name: str) -> bool:
    """Whether a header of this name is for a credential (`X-Vault-Token`, not `X-CSRF-Token`)."""
    # Long names are not remembered: a foreign page could fill the memory with them.
    return len(name) <= 64 and name[:4].lower() != "sec-" and _remembered(name)
