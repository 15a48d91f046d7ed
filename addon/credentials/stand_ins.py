"""Stand-ins: what a page gets in a token's place, and what it means when it comes back.

A stand-in is 43 characters that are safe in a header, an address, JSON and a form, as many as the
signature of most JWTs has:

    stand-<slot><login><variant><mac>

`slot` is the token's place among those of its login, `login` the login's name, `variant` eight
characters of a keyed digest of the token, so that the same token has the same stand-in and another
one a different one, and `mac` shows that this proxy made it, for this API. Nothing is stored: what
it means is the token that the browser's cookies hold in that slot.

A signed JWT keeps its header and its claims, which pages read, and gets a stand-in for its
signature; what stands before that is under the MAC, too.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tokens import jwt

from credentials.companion import Notary, Session
from credentials.places import Meant

MAIN, REFRESH, ID = "m", "r", "i"
SUFFIXES = {MAIN: "", REFRESH: "-refresh", ID: "-id", "1": "-t1", "2": "-t2", "3": "-t3"}
"""The slots: the token itself, the refresh token, the id token and others; and what their cookies'
names end in."""

# base64url has four characters for three bytes.
_VARIANT_BYTES, _MAC_BYTES, _NAME_BYTES = 6, 12, 3
_STAND_IN = re.compile(
    r"((?:[\w-]+\.[\w-]+\.)?)stand-([mri123])([\w-]{12})([\w-]{8})([\w-]{16})~*", re.ASCII
)
_UNSIGNED = ("", "none")
_CREDENTIAL = re.compile(r"tokens?$|secret|passw|api_?key|session_?key|credential", re.IGNORECASE)


def stand_in(notary: Notary, session: Session, slot: str, token: str) -> str:
    """What the page gets for this token; the same for the same login, slot and token."""
    head = _head_of_jwt(token)
    variant = notary.digest(_VARIANT_BYTES, "stand-in for", session.id, slot, token)
    mac = notary.digest(_MAC_BYTES, "stand-in", session.id, slot, variant, head)
    return f"{head}stand-{slot}{session.id}{variant}{mac}"


def found_in(text: str) -> Iterator[tuple[str, str]]:
    """What has the form of a stand-in in a text, whoever made it, and its slot."""
    for match in _STAND_IN.finditer(text):
        yield match[0], match[2]


def name_digest(notary: Notary, name: str) -> str:
    """Four characters that tell, in the companion, under which name a token was handed out."""
    return notary.digest(_NAME_BYTES, "name", _normalised(name))


def is_named(notary: Notary, session: Session, slot: str, name: str) -> bool:
    """Whether the token in a login's slot was handed out under this name."""
    digest = session.name_of(slot)
    return digest is not None and notary.knows(digest, "name", _normalised(name))


@dataclass(frozen=True)
class StandIns:
    """Reads the stand-ins of one login."""

    notary: Notary
    session: Session
    tokens: Mapping[str, str]
    """Those of the login, by slot."""

    def __call__(self, text: str) -> Meant | None:
        """What a text means; None unless all of it is a stand-in of this login."""
        if not (match := _STAND_IN.fullmatch(text)):
            return None
        head, slot, login, variant, mac = match.groups()
        token = self.tokens.get(slot)
        if token is None or login != self.session.id:
            return None
        if not self.notary.knows(mac, "stand-in", login, slot, variant, head):
            return None

        def was_named(name: str) -> bool:
            return is_named(self.notary, self.session, slot, name)

        return Meant(token, slot, was_named)


def _normalised(name: str) -> str:
    """The same for `accessToken`, `access_token` and `Access-Token`."""
    return re.sub(r"[\W_]", "", name).lower()


def _head_of_jwt(token: str) -> str:
    """Header and claims of a signed JWT, with a dot behind each; empty for any other token."""
    decoded = jwt.decode(token)
    head, _, signature = token.rpartition(".")
    signed = decoded and str(decoded.header.get("alg", "")).lower() not in _UNSIGNED
    if not decoded or not signed or not re.fullmatch(r"[\w-]+", signature, re.ASCII):
        return ""
    claims = _without_credentials(decoded.claims)
    if claims == decoded.claims:
        return f"{head}."
    text = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
    encoded = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
    return f"{head.partition('.')[0]}.{encoded}."


def _without_credentials(claims: object, *, is_one: bool = False) -> object:
    """Claims in which no string stands under a credential's name, however deep."""
    if isinstance(claims, dict):
        return {
            name: _without_credentials(value, is_one=is_one or _CREDENTIAL.search(name) is not None)
            for name, value in claims.items()
        }
    if isinstance(claims, list):
        return [_without_credentials(value, is_one=is_one) for value in claims]
    return "stand-in" if is_one and isinstance(claims, str) else claims
