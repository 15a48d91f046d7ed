"""An API's answer repeats a token where page scripts could read it: they get its stand-in."""

import contextlib
from collections.abc import Iterable, Mapping
from functools import partial

from messages import coding, streaming
from messages.answers import Refused
from messages.coding import Decoder
from messages.headers import without_digests
from messages.redacted import Redacted
from messages.streaming import Recorder
from messages.text import printable
from mitmproxy import http
from origins.bodies import AddressStreams
from tokens import capture
from tokens.search import Needle, Search, replaced
from tokens.suspicion import is_plain

from exchanges import notes
from exchanges.proxy import Once
from exchanges.received import told_path, told_place

_LONGEST_ENCODED = 256 * 1024
"""Bytes of a compressed body that is looked into: it may be a thousand times as long."""

_MOST_FROM_A_CHUNK = 64 * 1024 * 1024
"""Bytes that one chunk of a compressed stream may decode to."""

_LONGEST_REASON = 123
"""Bytes of a WebSocket's close reason (RFC 6455, 5.5)."""


class LeakAlarm:
    """Looks into the answer to one request for tokens that the browser holds.

    `mode` is the option's value. With `stand-in`, needles that have something to put in the token's
    place do so. Others mark the flow, and warn once for each place; they raise Refused
    (`token_leak`) where an answer that holds a token is to be blocked. In what has begun to stream,
    and in WebSocket messages, which cannot be refused any more, the token is blanked then.
    """

    def __init__(
        self, flow: http.HTTPFlow, mode: str, once: Once, needles: tuple[Needle, ...]
    ) -> None:
        self.flow = flow
        self.mode = mode
        self.once = once
        self.needles = needles if mode != "off" else ()
        self.replaces = any(needle.instead for needle in self.needles)

    def check_headers(self, response: http.Response) -> None:
        """Look for tokens in the headers as the page gets them."""
        if not self._holds(b"\n".join([value for _, value in response.headers.fields])):
            return
        for name, value in response.headers.fields:
            # A cookie that passes and holds it is HttpOnly (see `credentials.forwarded`).
            if name.lower() != b"set-cookie" and self._holds(value):
                text = name.decode("ascii", "replace")
                self._notice(f"header {text}" if is_plain(text) else "headers")
                break
        if self.replaces:
            replace_in_headers(response, self.needles)

    def wants_whole(self, response: http.Response) -> bool:
        """Whether the body must be here before the answer begins, since it may be refused.

        That is so for JSON that one document is; what comes as things happen is blanked.
        """
        if self.mode != "block" or not self.needles or "content-length" in response.headers:
            return False
        return streaming.is_json(response.headers) and not streaming.is_series(response.headers)

    def stream(self, response: http.Response, addresses: AddressStreams | None = None) -> None:
        """Let the body stream, and look for tokens as it passes; what is compressed, decoded.

        Behind the search, `addresses` replaces those of the API.
        """
        headers = response.headers
        coded = headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
        empty = response.status_code in (204, 205, 304) or self.flow.request.method == "HEAD"
        decoder = coding.decoder(headers.get("content-encoding", "")) if coded else None
        if not (self.needles or addresses) or empty:
            response.stream = Recorder()
        elif coded and (decoder is None or response.status_code == 206):
            if self.needles:
                path = told_place(self.flow)
                said = "%s: an answer that streams in this coding is not searched for tokens"
                self.once.warn(("unsearched", path), said, path)
            response.stream = Recorder()
        else:
            # The entity tag is the login's own (`messages.validators`), and one login always gets
            # the same. Pages name it in If-Match. What has no length cannot be asked for in parts.
            kept = None if "content-length" in headers else headers.get("etag")
            if decoder:
                self._say_decoded(response)
            if self.replaces or addresses:
                without_digests(headers)
            if kept is not None and not addresses:
                headers["ETag"] = kept
            search = Search(
                self.needles,
                watch=self.mode != "block" and not self.replaces,
                keep_length="content-length" in headers,
            )
            response.stream = Recorder(partial(self._pass_on, search, decoder, addresses))

    def _say_decoded(self, response: http.Response) -> None:
        headers = response.headers
        for name in ("content-encoding", "content-length"):
            headers.pop(name, None)
        without_digests(headers)
        if not (self.flow.request.is_http2 or self.flow.request.is_http3):
            headers["Transfer-Encoding"] = "chunked"

    def _pass_on(
        self,
        search: Search,
        decoder: Decoder | None,
        addresses: AddressStreams | None,
        chunk: bytes,
    ) -> bytes:
        passed = bytearray()
        try:
            if decoder and not chunk:
                decoder.end()
            for piece in decoder.feed(chunk) if decoder and chunk else [chunk]:
                passed += search.feed(piece) if piece else b""
                if len(passed) > _MOST_FROM_A_CHUNK:
                    raise ValueError("a bomb")
            if not chunk:
                passed += search.end()
        except ValueError:
            # It has begun, so it cannot be refused any more; and it must not seem to be whole.
            path = told_place(self.flow)
            self.once.warn(("corrupt", path), "%s: an answer is not what its coding says", path)
            if self.flow.killable:
                self.flow.kill()
            return b""
        if search.found and notes.LEAK not in self.flow.metadata:
            self._warn("body, which streams")
        if addresses:
            return addresses.feed(bytes(passed)) + (b"" if chunk else addresses.end())
        return bytes(passed)

    def check_body(self, response: http.Response) -> None:
        """Look for tokens in a body that was held back, unless that cannot be decoded."""
        if not self.needles or response.stream or not self._holds(body := decoded(response)):
            return
        self._notice("body")
        if self.replaces:
            replace_in_body(response, body, self.needles)

    def check_message(self) -> None:
        """Look for them in the last WebSocket message."""
        assert self.flow.websocket
        message = self.flow.websocket.messages[-1]
        if message.from_client or not self._holds(message.content):
            return
        self._warn("WebSocket message")
        if self.replaces:
            message.content = replaced(message.content, self.needles)
        elif self.mode == "block":
            for needle in self.needles:
                message.content = needle.blanked(message.content)

    def close_reason(self, reason: str) -> str:
        """A WebSocket's close reason as the page gets it."""
        data = reason.encode()
        if not self._holds(data):
            return reason
        self._warn("WebSocket close reason")
        if self.replaces:
            data = replaced(data, self.needles)
        elif self.mode == "block":
            for needle in self.needles:
                data = needle.blanked(data)
        return data.decode() if len(data) <= _LONGEST_REASON else ""

    def notice_handed_out(self, what: str, option: str) -> None:
        """A login that no option names hands out this."""
        path = printable(told_path(self.flow))
        self._notice(f"{what}: add it with --set cookie_auth_login={path}{option}")

    def _holds(self, data: bytes) -> bool:
        for needle in self.needles:  # noqa: SIM110 - each answer is asked about here
            if needle.found_in(data):
                return True
        return False

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
        path = told_place(self.flow)
        values = (self.flow.request.method, path, place)
        if self.replaces:
            told = self.flow.metadata.setdefault(notes.STAND_INS, [])
            text = f"what the {place} repeats"
            if text not in told:
                told.append(text)
            said = "%s %s: the API's answer repeats a token in its %s; the page gets a stand-in"
            self.once.info(("repeated", path, place), said, *values)
            return
        self.flow.metadata[notes.LEAK] = place
        self.once.warn(
            ("leak", path, place),
            "%s %s: the API's answer holds a token in its %s, where page scripts may read it",
            *values,
        )


def put_stand_ins(response: http.Response, body: bytes, given: Mapping[str, str]) -> None:
    """Put stand-ins in the place of these tokens, wherever they stand in an answer, in place.

    `body` is the answer's, decoded.
    """
    needles = [Needle.of(token, text) for token, text in given.items()]
    replace_in_headers(response, needles)
    replace_in_body(response, body, needles)
    response.trailers = None


def replace_in_body(response: http.Response, body: bytes, needles: Iterable[Needle]) -> None:
    """In the body, which is this, decoded, in place."""
    new = replaced(body, needles)
    if new is not body:
        response.content = new
        without_digests(response.headers)


def replace_in_headers(response: http.Response, needles: Iterable[Needle]) -> None:
    """In all but Set-Cookie, in place."""
    needles = list(needles)
    response.headers.fields = tuple(
        (name, value if name.lower() == b"set-cookie" else replaced(value, needles))
        for name, value in response.headers.fields
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
