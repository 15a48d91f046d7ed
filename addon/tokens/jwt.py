"""A JSON Web Token (RFC 7519), read but not verified: that is for the API to do."""

import base64
import json
from typing import NamedTuple


class Jwt(NamedTuple):
    header: dict[str, object]
    claims: dict[str, object]


def decode(token: str) -> Jwt | None:
    """Header and claims; None for another kind of token. Nothing of the signature."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    header, claims = map(_object, parts[:2])
    return None if header is None or claims is None else Jwt(header, claims)


def _object(part: str) -> dict[str, object] | None:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
