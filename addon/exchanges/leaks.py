"""The alarm for an API's answer that repeats a token, where page scripts could read it."""

import contextlib
from collections.abc import Iterable

from messages.answers import Refused
from messages.redacted import Redacted
from messages.streaming import Recorder
from messages.text import printable
from mitmproxy import http
from origins.paths import normalise
from tokens import capture
from tokens.search import Needle, Search
from tokens.suspicion import is_plain

from exchanges import notes
from exchanges.proxy import Once

_LONGEST_ENCODED = 256 * 1024
"""Bytes of a compressed body that is looked into: it may be a thousand times as long."""


class LeakAlarm:
    """Looks into the answer to one request; `mode` is the option's value.

    Marks the flow, and warns once for each place. Its methods raise Refused (`token_leak`) where an
    answer that holds a token is to be blocked. In what has begun to stream, and in WebSocket
    messages, which cannot be refused any more, the token is blanked then.
    """

    def __init__(self, flow: http.HTTPFlow, mode: str, once: Once, token: str | None) -> None:
        self.flow = flow
        self.mode = mode
        self.once = once
        self.needle = Needle.of(token) if token and mode != "off" else None

    def check_headers(self, response: http.Response) -> None:
        """Look for the token in the headers as the page gets them."""
        if not self.needle:
            return
        if not self.needle.found_in(b"\n".join([value for _, value in response.headers.fields])):
            return
        for name, value in response.headers.fields:
            # A cookie that passes and holds it is HttpOnly (see `credentials.forwarded`).
            if name.lower() != b"set-cookie" and self.needle.found_in(value):
                text = name.decode("ascii", "replace")
                self._notice(f"header {text}" if is_plain(text) else "headers")
                return

    def stream(self, response: http.Response) -> None:
        """Let the body stream, and look for the token as it passes."""
        if not self.needle:
            response.stream = Recorder()
        elif response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            path = printable(normalise(self.flow.request.path))
            said = "%s: an answer that streams compressed is not searched for the token"
            self.once.warn(("unsearched", path), said, path)
            response.stream = Recorder()
        else:
            search = Search([self.needle], watch=self.mode != "block")

            def pass_on(chunk: bytes) -> bytes:
                passed = search.feed(chunk) if chunk else search.end()
                if search.found and notes.LEAK not in self.flow.metadata:
                    self._warn("body, which streams")
                return passed

            response.stream = Recorder(pass_on)

    def check_body(self, response: http.Response) -> None:
        """Look for the token in a body that was held back, unless that cannot be decoded."""
        if self.needle and not response.stream and self.needle.found_in(decoded(response)):
            self._notice("body")

    def check_message(self) -> None:
        """Look for it in the last WebSocket message."""
        assert self.flow.websocket
        message = self.flow.websocket.messages[-1]
        if not self.needle or message.from_client or not self.needle.found_in(message.content):
            return
        self._warn("WebSocket message")
        if self.mode == "block":
            message.content = self.needle.blanked(message.content)

    def check_failed_login(self, response: http.Response) -> None:
        """Look for what seems to be a token in the answer to a login that passes as it is."""
        success = capture.is_success(self.flow.request.method, response)
        if self.mode == "off" or success:  # in a success it would have been refused
            return
        if place := capture.place_that_looks_like_a_token(response):
            self._notice(place)

    def _notice(self, place: str) -> None:
        self._warn(place)
        if self.mode == "block":
            raise Refused(
                "token_leak",
                f"The API's answer holds a token in its {place}. To let it pass:"
                " --set cookie_auth_leak=warn",
            )

    def _warn(self, place: str) -> None:
        self.flow.metadata[notes.LEAK] = place
        path = printable(normalise(self.flow.request.path))
        self.once.warn(
            ("leak", path, place),
            "%s %s: the API's answer holds a token in its %s, where page scripts may read it",
            *(self.flow.request.method, path, place),
        )


def record_without(response: http.Response, secrets: Iterable[str]) -> None:
    """Record an answer that repeats one of these secrets without it, in place."""
    needles = list(map(Needle.of, secrets))
    fields = response.headers.fields
    response.headers.fields = tuple((name, _shown(value, needles)) for name, value in fields)
    body = response.raw_content or b""
    readable = decoded(response)
    if readable is body:
        response.raw_content = _shown(body, needles) if body else response.raw_content
    elif _shown(readable, needles) is not readable:
        response.raw_content = Redacted.of(body, [body])  # what is compressed goes as a whole


def record_message_without(flow: http.HTTPFlow, secrets: Iterable[str]) -> None:
    """Record the last WebSocket message without these secrets, in place."""
    assert flow.websocket
    message = flow.websocket.messages[-1]
    message.content = _shown(message.content, list(map(Needle.of, secrets)))


def _shown(data: bytes, needles: Iterable[Needle]) -> bytes:
    """The data, recorded without what the needles find in it."""
    shown = data
    for needle in needles:
        if needle.found_in(shown):
            shown = needle.blanked(shown)
    return data if shown is data else Redacted.showing(shown, data)


def decoded(response: http.Response) -> bytes:
    """The body to look into; as it stands where it cannot be decoded or would be too long."""
    body = response.raw_content or b""
    if "content-encoding" in response.headers and len(body) <= _LONGEST_ENCODED:
        with contextlib.suppress(TypeError):  # a codec of Python's, such as rot13
            return response.get_content(strict=False) or b""
    return body
