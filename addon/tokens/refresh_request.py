"""The request that an API wants for a fresh token."""

import json
from dataclasses import dataclass
from urllib.parse import quote_plus

from mitmproxy import http

_PLACE = "{refresh_token}"

# What belongs to the browser's request only: its credentials, body, conditions and connection.
_NOT_COPIED = (
    "accept-encoding authorization connection content-encoding content-length content-type cookie"
    " expect if-match if-modified-since if-none-match if-range if-unmodified-since range te trailer"
    " transfer-encoding upgrade"
).split()


@dataclass(frozen=True)
class RefreshRequest:
    """How the API wants to be asked for a fresh token."""

    path: str
    """Upstream path, as it is sent."""
    template: str
    """The body that the API wants, JSON or form, with {refresh_token} once."""

    @classmethod
    def parse_template(cls, text: str) -> str:
        """Raises ValueError, saying what would be right."""
        if text.count(_PLACE) != 1:
            raise ValueError('a body that holds {refresh_token} once: {"token": "{refresh_token}"}')
        if text.lstrip().startswith(("{", "[")):
            try:
                json.loads(text)
            except ValueError:
                raise ValueError("JSON, or a form such as refresh_token={refresh_token}") from None
        return text

    def fill(self, request: http.Request, refresh_token: str, auth_header: str) -> None:
        """Make the browser's request one for a fresh token, in place."""
        for name in (*_NOT_COPIED, auth_header):
            request.headers.pop(name, None)
        request.method = "POST"
        request.path = self.path
        in_json, in_form = self.written(refresh_token)
        if self.template.lstrip().startswith(("{", "[")):
            kind, value = "application/json", in_json
        else:
            kind, value = "application/x-www-form-urlencoded", in_form
        request.headers["Content-Type"] = kind
        request.headers["Accept"] = "application/json"
        request.content = self.template.replace(_PLACE, value).encode()

    @staticmethod
    def written(refresh_token: str) -> tuple[str, str]:
        """The refresh token as it stands in JSON and in a form."""
        return json.dumps(refresh_token)[1:-1], quote_plus(refresh_token)
