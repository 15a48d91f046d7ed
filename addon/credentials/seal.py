"""The cookie's value under lock and key: AES-256-GCM, bound to the cookie's name and to its API.

All that is needed to open a sealed value is in the value and the secret, so any number of proxies
that share the secret serve one user.
"""

import base64
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = "v1."
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: 96 bits, random


@dataclass(frozen=True)
class Seal:
    """Seals with the first key and opens with any, so that secrets can be changed one by one."""

    keys: tuple[AESGCM, ...]

    @classmethod
    def of(cls, secrets: tuple[str, ...]) -> "Seal":
        """Keys derived from the secrets (RFC 5869); no secrets give a seal that is not `active`."""
        return cls(
            tuple(
                AESGCM(HKDF(SHA256(), 32, salt=None, info=b"cookie-auth v1").derive(s.encode()))
                for s in secrets
            )
        )

    @property
    def active(self) -> bool:
        return bool(self.keys)

    def close(self, token: str, context: str) -> str:
        """The sealed value, of cookie-octets only. `context` must be the same to open it."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self.keys[0].encrypt(nonce, token.encode(), _bound(context))
        return _VERSION + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, value: str, context: str) -> bytes:
        """The token. Raises ValueError for a value that was not sealed so, or was changed."""
        if not value.startswith(_VERSION) or not value.isascii():
            raise ValueError("was not sealed by this proxy")
        text = value.removeprefix(_VERSION)
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() != text:
            raise ValueError("has bits that mean nothing")
        for key in self.keys:
            try:
                return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(context))
            except InvalidTag:
                continue
        raise ValueError("does not open")


def _bound(context: str) -> bytes:
    return f"{_VERSION}\n{context}".encode()
