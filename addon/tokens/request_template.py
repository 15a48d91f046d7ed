"""Requests of the proxy's own that carry tokens: for fresh ones, or for a logout.

A template says how and where the API wants to be asked, and where in that the tokens stand:
`{token}` is the one that requests carry, `{refresh_token}` what renews it.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, quote_plus

from messages.answer_policy import hides_a_path
from messages.headers import spelling
from mitmproxy import http
from settings.option import token as field_name

PLACES = ("token", "refresh_token")
"""What may stand in braces."""

# What belongs to the browser's request only: its credentials, body, conditions and connection.
_NOT_COPIED = (
    "accept-encoding authorization connection content-encoding content-length content-type cookie"
    " expect if-match if-modified-since if-none-match if-range if-unmodified-since range te trailer"
    " transfer-encoding upgrade"
).split()
# What frames a message, and what names where it goes.
_NEVER_GIVEN = frozenset(
    "connection content-length expect host keep-alive te trailer transfer-encoding upgrade".split()
)

_METHOD = re.compile("method|override", re.IGNORECASE)
"""Names of headers that some framework takes for the method: `X-HTTP-Method-Override`."""

_PLACE = re.compile(r"\{(\w+)\}")
_IN_GRAPHQL = re.compile(r'(?<=")\{(\w+)\}(?=")')
"""Without quotes, it is what a query selects."""
_FIELD_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")  # RFC 9110, 5.5, in ASCII
_TOKEN = re.compile(r"[^\x00-\x1f\x7f]+")
"""What may stand in a field, in whatever alphabet."""
_TARGET = re.compile(r'/[!-"$-~]*')

Fill = Callable[[str], str]
"""What takes the place of a name in braces."""


@dataclass(frozen=True)
class RequestTemplate:
    """How the API wants to be asked."""

    method: str
    target: str
    """Upstream path with its query, as it is sent."""
    body: str = ""
    """JSON or a form; empty for none."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names and values."""

    @staticmethod
    def parse_target(text: str) -> str:
        """A path, perhaps with a query. Raises ValueError, as the next ones: what would be right"""
        if not _TARGET.fullmatch(text):
            raise ValueError("a path, perhaps with a query: /token?refresh_token={refresh_token}")
        _filled(text, _known)
        return text

    @staticmethod
    def parse_body(text: str) -> str:
        """JSON, or a form; empty for none."""
        _written(text, _known)
        return text

    @staticmethod
    def parse_header(text: str) -> tuple[str, str]:
        """`Name: value`."""
        name, separator, value = (part.strip() for part in text.partition(":"))
        if not separator or not _FIELD_VALUE.fullmatch(value):
            raise ValueError("a header with its value: 'Authorization: Bearer {refresh_token}'")
        if field_name(name).lower() in _NEVER_GIVEN:
            raise ValueError("a header that is free for a token, such as Authorization")
        _filled(value, _known)
        return name, value

    @cached_property
    def needs(self) -> frozenset[str]:
        """Which tokens it takes, by their names in PLACES."""
        found = set()

        def note(name: str) -> str:
            found.add(name)
            return ""

        for text in (self.target, *(value for _, value in self.headers)):
            _filled(text, note)
        _written(self.body, note)
        return frozenset(found)

    def fill(self, request: http.Request, tokens: Mapping[str, str], auth_header: str) -> None:
        """Make the browser's request this one, with these tokens by name, in place.

        `auth_header` is where the browser's request has its token. Raises ValueError for a token
        that cannot stand where it should.
        """
        headers = request.headers
        taken = {*_NOT_COPIED, *map(spelling, (auth_header, *(name for name, _ in self.headers)))}
        for name in list(headers):
            if spelling(name) in taken or hides_a_path(name) or _METHOD.search(name):
                headers.pop(name, None)
        request.method = self.method
        request.path = _filled(self.target, lambda name: quote(tokens[name], safe=""))
        body, kind = _written(self.body, tokens.__getitem__)
        request.content = body.encode("utf-8", "surrogatepass")
        request.trailers = None
        if body:
            headers["Content-Type"] = kind
        elif self.method in ("GET", "HEAD"):
            headers.pop("Content-Length", None)
        headers["Accept"] = "application/json"
        for name, value in self.headers:
            if name.lower() == "accept":
                del headers["accept"]
            headers.add(name, _filled(value, lambda name: _for_field(tokens[name])))

    @staticmethod
    def written(token: str) -> tuple[str, ...]:
        """The token as it may stand there: in JSON, in a form, in a target, in GraphQL, as it is.

        The longer ones first, which may hold others.
        """
        in_json = _in_json(token)
        return in_json, quote_plus(token), quote(token, safe=""), _in_json(in_json), token


def _for_field(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise ValueError("it holds what no header can carry")
    return token


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _known(name: str) -> str:
    """A name that has been checked. Raises ValueError."""
    if name not in PLACES:
        raise ValueError(f"with {{token}} or {{refresh_token}} in it; {{{name}}} is neither")
    return ""


def _filled(text: str, fill: Fill, places: re.Pattern[str] = _PLACE) -> str:
    return places.sub(lambda match: fill(match[1]), text)


def _written(body: str, fill: Fill) -> tuple[str, str]:
    """The body, and its media type. Raises ValueError for what is neither JSON nor a form."""
    if not body.lstrip().startswith(("{", "[", '"')):
        form = _filled(body, lambda name: quote_plus(fill(name)))
        return form, "application/x-www-form-urlencoded"
    try:
        document = json.loads(body)
        return json.dumps(_in_document("", document, fill)), "application/json"
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("JSON, or a form such as refresh_token={refresh_token}") from None


def _in_document(name: str, value: object, fill: Fill) -> object:
    """A JSON value that is the member `name`, with its strings filled."""
    if isinstance(value, dict):
        return {key: _in_document(key, one, fill) for key, one in value.items()}
    if isinstance(value, list):
        return [_in_document("", one, fill) for one in value]
    if not isinstance(value, str):
        return value
    if name == "query":
        return _filled(value, lambda name: _in_json(fill(name)), _IN_GRAPHQL)
    return _filled(value, fill)
