"""The request as the browser sent it, kept in the flow's metadata: what was changed, no secrets."""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from credentials.cookies import cookie_pairs
from messages.headers import is_broken, spelling
from messages.text import printable
from mitmproxy import http
from origins import addresses
from origins.paths import normalise
from profiles import schemes

from exchanges.notes import ADDED, ASKED_BY, INJECTED, RECEIVED, TRANSLATED

_SECRET = ("authorization", "proxy-authorization")


class Head(NamedTuple):
    """A request but for its body, at one moment."""

    fields: tuple[tuple[bytes, bytes], ...]
    method: bytes
    path: bytes
    authority: bytes
    http_version: bytes
    scheme: bytes
    host: str
    port: int

    @property
    def size(self) -> int:
        """Bytes, more or less."""
        return len(self.path) + sum(len(name) + len(value) for name, value in self.fields)

    @classmethod
    def of(cls, request: http.Request) -> "Head":
        data = request.data
        return cls(
            data.headers.fields,
            data.method,
            data.path,
            data.authority,
            data.http_version,
            data.scheme,
            data.host,
            data.port,
        )


def differences(before: Head, request: http.Request, secret: Iterable[str]) -> dict[str, Any]:
    """What of the browser's request is no more in the one for the API, for `restored`.

    The values of the headers with `secret` names and those of cookies are left out: only their
    length is told, since metadata is saved with the flow.
    """
    spellings = {spelling(name) for name in (*secret, *_SECRET)}
    kept = set(request.headers.fields)
    return {
        "method": _native(before.method),
        "target": _native(before.path),
        "authority": _native(before.authority),
        "gone": [_shown(*field, spellings) for field in before.fields if field not in kept],
    }


def restored(flow: http.HTTPFlow, header: str) -> http.Request | None:
    """The flow's request as the browser sent it, with lengths where the secrets were.

    `header` is the one that carries the token. None for a flow that the addon has not decided on.
    """
    difference = flow.metadata.get(RECEIVED)
    if not difference:
        return None
    added = header if flow.metadata.get(INJECTED) else ""
    received: http.Request = flow.request.copy()
    received.method = difference["method"]
    received.path = difference["target"]
    received.authority = difference["authority"]
    # Those of the browser's own are gone.
    told = [name for name in received.headers if addresses.is_forwarding(name)]
    more = flow.metadata.get(ADDED, ())
    for name in (added, *more, *told, *(name for name, _ in difference["gone"])):
        received.headers.pop(name, None)
    for name, value in difference["gone"]:
        received.headers.add(name, value)
    return received


def told_path(flow: http.HTTPFlow) -> str:
    """The flow's path for the log: without the query, which may hold secrets, and without tokens.

    Where one has taken a stand-in's place, or a template has put it there, it is the browser's.
    """
    metadata = flow.metadata
    if RECEIVED not in metadata:  # of our own
        return schemes.told_path(flow.request.path)
    holds_tokens = ASKED_BY in metadata or "path" in metadata.get(TRANSLATED, ())
    path = browser_path(flow) if holds_tokens else flow.request.path
    return path.partition("?")[0]


def told_place(flow: http.HTTPFlow) -> str:
    """The same, normalised and printable: what is told once for each place."""
    return printable(normalise(told_path(flow)))


def browser_path(flow: http.HTTPFlow) -> str:
    """The target that the browser asked for."""
    difference = flow.metadata.get(RECEIVED)
    return difference["target"] if difference else flow.request.path


def _native(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _shown(name: bytes, value: bytes, secret: Collection[str]) -> tuple[str, str]:
    text = value.decode("utf-8", "replace")
    shown_name = name.decode("utf-8", "replace")
    spelled = spelling(shown_name)
    if spelled == "cookie":
        text = "; ".join([f"{name}=({len(value)} bytes)" for name, value in cookie_pairs([text])])
    elif spelled in secret or is_broken(value):
        text = f"({len(value)} bytes)"
    return shown_name, text
