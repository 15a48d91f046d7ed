"""The alarm for an API's answer that repeats the token, where page scripts could read it."""

import json
import logging
from functools import lru_cache
from urllib.parse import quote

from mitmproxy import http

from token_handler import login, route
from token_handler.answers import Refused
from token_handler.decision import LEAK, ROLE
from token_handler.redacted import Redacted
from token_handler.settings import Settings

logger = logging.getLogger(__name__)

SHORTEST = 4
"""Characters of a token that is looked for; a shorter one would be found everywhere."""

_LONGEST_ENCODED = 256 * 1024
"""Bytes of a compressed body that is looked into: it may be a thousand times as long."""

_MOST_TOLD = 1000


class LeakAlarm:
    """Marks a flow whose answer holds a token, and warns once for each place.

    Its methods raise Refused (`token_leak`) if leaks are to be blocked.
    """

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def check_headers(
        self, flow: http.HTTPFlow, response: http.Response, settings: Settings, token: str | None
    ) -> None:
        """Look for the token in use in the API's headers as they came, also in what is dropped."""
        if not token or settings.leak == "off":
            return
        for form in _forms(token):
            for name, value in response.headers.fields:
                if form in value:
                    self._notice(flow, f"header {name.decode('ascii', 'replace')}", settings)
                    return

    def check_body(self, flow: http.HTTPFlow, settings: Settings, token: str | None) -> None:
        """Look for it in a body that was held back. One that cannot be decoded is left out."""
        response = flow.response
        if not token or settings.leak == "off" or not response or response.stream:
            return
        if flow.metadata[ROLE] == "refused":
            return
        body = _decoded(response)
        if any(form in body for form in _forms(token)):
            self._notice(flow, "body", settings)

    def check_failed_login(
        self, flow: http.HTTPFlow, response: http.Response, settings: Settings
    ) -> None:
        """Look for what seems to be a token in the answer to a login that passes as it is."""
        success = login.is_success(flow.request.method, response)
        if settings.leak == "off" or success:  # in a success it would have been refused
            return
        if place := login.place_that_looks_like_a_token(response):
            self._notice(flow, place, settings)

    def _notice(self, flow: http.HTTPFlow, place: str, settings: Settings) -> None:
        flow.metadata[LEAK] = place
        path = route.normalise(flow.request.path)
        if (path, place) not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add((path, place))
            logger.warning(
                "%s %s: the API's answer holds a token in its %s, where page scripts may read it",
                *(flow.request.method, path, place),
            )
        if settings.leak == "block":
            raise Refused(
                "token_leak",
                f"The API's answer holds a token in its {place}. To let it pass:"
                " --set cookie_auth_leak=warn",
            )


def redact(response: http.Response, token: str) -> None:
    """Record an answer that repeats the token without it, in place."""
    forms = _forms(token)

    def recorded(data: bytes) -> bytes:
        return Redacted.of(data, forms) if any(form in data for form in forms) else data

    fields = response.headers.fields
    response.headers.fields = tuple((name, recorded(value)) for name, value in fields)
    body, decoded = response.raw_content or b"", _decoded(response)
    if decoded is not body and any(form in decoded for form in forms):
        response.raw_content = Redacted.of(body, [body])  # what is compressed goes as a whole
    elif body:
        response.raw_content = recorded(body)


def _decoded(response: http.Response) -> bytes:
    """The body to look into; as it stands where it cannot be decoded or would be too long."""
    body = response.raw_content or b""
    if "content-encoding" in response.headers and len(body) <= _LONGEST_ENCODED:
        return response.get_content(strict=False) or b""
    return body


@lru_cache(maxsize=64)
def _forms(token: str) -> tuple[bytes, ...]:
    """The token as plain text, JSON or a URL would write it."""
    if len(token) < SHORTEST:
        return ()
    escaped = json.dumps(token)[1:-1]
    written = {token, escaped, escaped.replace("/", "\\/"), quote(token, safe="")}
    return tuple({form.encode("utf-8", "surrogateescape") for form in written})
