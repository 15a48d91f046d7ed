"""Bytes that are recorded as one thing and sent as another."""

from collections.abc import Iterable
from typing import TypeVar

from mitmproxy import http

Message = TypeVar("Message", http.Request, http.Response)


class Redacted(bytes):
    """A header's value, a target or a body as mitmproxy shows and saves it; `real` is in memory.

    Copies of a flow keep both, so it can be replayed while mitmproxy runs. `upstream.redaction`
    puts the real bytes onto the wire.
    """

    real: bytes

    @classmethod
    def of(cls, data: bytes, secrets: Iterable[bytes]) -> "Redacted":
        """These bytes, in which each of the secrets shows as so many asterisks."""
        shown = data
        for secret in filter(None, secrets):
            shown = shown.replace(secret, b"*" * len(secret))
        return cls.showing(shown, data)

    @classmethod
    def showing(cls, shown: bytes, data: bytes) -> "Redacted":
        """The data, of which this is shown."""
        redacted = cls(shown)
        redacted.real = real(data)
        return redacted


def real(data: bytes) -> bytes:
    """What these bytes stand for. After a reload of the script, their class may be an older one."""
    return getattr(data, "real", data)


def real_message(message: Message) -> Message:
    """The message as it goes onto the wire: itself if nothing in it is redacted, else a copy."""
    if not any(hasattr(data, "real") for data in (*_values(message), message.raw_content)):
        return message
    message = message.copy()
    if isinstance(message, http.Request):
        message.data.path = real(message.data.path)
    message.headers.fields = tuple((name, real(value)) for name, value in message.headers.fields)
    if message.raw_content is not None:
        message.raw_content = real(message.raw_content)
    return message


def _values(message: http.Message) -> list[bytes]:
    path = [message.data.path] if isinstance(message, http.Request) else []
    return [*path, *(value for _, value in message.headers.fields)]
