"""What the tests of stand-ins share: tokens as APIs make them, and what a page got instead."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping

from page import Page
from support import Message, Upstream

OPAQUE_STAND_IN = r"stand-[mri123][\w-]{36}"
STAND_IN = rf"(?:[\w-]+\.[\w-]+\.)?{OPAQUE_STAND_IN}"

# A person has followed a link, from a mail or from an OAuth server.
BY_LINK = {
    "sec_fetch_site": "cross-site",
    "sec_fetch_mode": "navigate",
    "sec_fetch_dest": "document",
}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(algorithm: str = "HS256", **claims: object) -> str:
    """A JWT with these claims, and a signature that nobody checks."""
    header, payload = ({"alg": algorithm, "typ": "JWT"}, {"sub": "7", **claims})
    head = ".".join(encoded(json.dumps(part).encode()) for part in (header, payload))
    return f"{head}.{encoded(hashlib.sha256(head.encode()).digest())}"


def opaque(name: str, length: int = 40) -> str:
    """Random characters, as far as can be told; the same for the same name."""
    data = hashlib.shake_256(name.encode()).digest(length)
    return encoded(data)[:length]


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with a value for each `<name>` in it."""
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


def read(text: str, template: str) -> dict[str, str] | None:
    """What stands for each `<name>` of the template, if all of it is a stand-in; None if anything
    else differs.
    """
    pattern = re.escape(template)
    for name in dict.fromkeys(re.findall(r"<([A-Z])>", template)):
        first, *_ = parts = pattern.split(f"<{name}>")
        again = f"(?P={name})".join(parts[1:])
        pattern = f"{first}(?P<{name}>{STAND_IN}){again}"
    found = re.fullmatch(pattern, text)
    return found.groupdict() if found else None


def stand_ins(message: Message) -> list[str]:
    """All stand-ins in a body, in its order."""
    return re.findall(STAND_IN, message.body.decode("utf-8", "replace"))


def readable(message: Message) -> str:
    """All that a page's scripts can read of an answer."""
    fields = [f"{name}: {value}" for name, value in message.headers if name != "set-cookie"]
    return "\n".join([*fields, message.body.decode("utf-8", "replace")])


def bearer(page: Page, stand_in: str, target: str = "/me", method: str = "GET") -> Message:
    """What the API says to a request with this as `Authorization: Bearer`."""
    return page.request(method, target, authorization=f"Bearer {stand_in}")


def translated(page: Page, upstream: Upstream, stand_in: str) -> str | None:
    """What reaches the API for this in `Authorization: Bearer`."""
    upstream.received.clear()
    bearer(page, stand_in, f"/translated?{secrets.token_hex(8)}")  # each is a new question
    value = upstream.last.one("authorization")
    return value and value.removeprefix("Bearer ")
