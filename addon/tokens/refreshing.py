"""How tokens are renewed: what is asked, where its answer has them, what tells of a token's end."""

import json
from dataclasses import dataclass, replace
from typing import NamedTuple

from messages.streaming import is_json
from mitmproxy import http
from settings.option import InvalidOption, Reader

from tokens.json_pointer import Absent, JsonPointer
from tokens.request_template import RequestTemplate
from tokens.sources import (
    RefreshSource,
    Source,
    TokenCookie,
    parse_refresh_source,
    parse_source,
)

LONGEST_TELLING = 64 * 1024
"""Bytes of an answer that is read to see whether it says that the token has ended."""


class Member(NamedTuple):
    """A value in an answer's JSON."""

    pointer: JsonPointer
    value: str


@dataclass(frozen=True)
class Expired:
    """What an API answers to a token that has ended."""

    statuses: frozenset[int]
    members: tuple[Member, ...] = ()
    """For those that say it in a 200, as GraphQL servers do."""

    @classmethod
    def read(cls, read: Reader) -> "Expired":
        """Raises InvalidOption."""
        said = read.each("cookie_auth_refresh.expired", _parse, or_none=True)
        return cls(
            frozenset((401, *(one for one in said if isinstance(one, int)))),
            tuple(one for one in said if isinstance(one, Member)),
        )

    def may_say(self, response: http.Response) -> bool:
        """Whether an answer with this head may say so, once its body is here."""
        if response.status_code in self.statuses:
            return True
        length = response.headers.get("content-length", "")
        return (
            bool(self.members)
            and is_json(response.headers)
            and length.isdecimal()
            and int(length) <= LONGEST_TELLING
        )

    def says(self, response: http.Response) -> bool:
        """Whether this answer does."""
        if response.status_code in self.statuses:
            return True
        if not self.may_say(response) or not response.raw_content:
            return False
        try:
            content = response.content or b""
            document = json.loads(content) if len(content) <= LONGEST_TELLING else None
        except (ValueError, TypeError, RecursionError):
            return False
        return any(_holds(document, *member) for member in self.members)


@dataclass(frozen=True)
class RefreshSettings:
    """How tokens are renewed."""

    request: RequestTemplate
    source: RefreshSource | None
    """Where the answers to logins have the refresh token; None where tokens renew themselves."""
    answer: tuple[Source, ...]
    """Where the answers to the refresh have the fresh token."""
    next: RefreshSource | None
    """Where they may have the next refresh token."""
    expired: Expired

    @classmethod
    def read(
        cls, read: Reader, asked: tuple[str, str] | None, sources: tuple[Source, ...]
    ) -> "RefreshSettings | None":
        """`asked`: by which method and where; None if tokens are not renewed.

        `sources`: where the answers to logins have the token. Raises InvalidOption.
        """
        source = read.text("cookie_auth_refresh_token", parse_refresh_source)
        answer = read.each("cookie_auth_refresh.answer", parse_source, or_none=True)
        other = read.text(
            "cookie_auth_refresh.next", lambda text: parse_refresh_source(text) if text else None
        )
        expired = Expired.read(read)
        request = _request(read, asked or ("POST", "/"), source)
        if not asked:
            return None
        renews_itself = "refresh_token" not in request.needs
        return cls(
            request,
            source=None if renews_itself else source,
            answer=tuple(answer) or sources,
            next=None if renews_itself else other or source,
            expired=expired,
        )


def _request(read: Reader, asked: tuple[str, str], source: RefreshSource) -> RequestTemplate:
    """Raises InvalidOption."""
    method, target = asked
    in_body = "cookie_auth_refresh_body"
    body = read.text(in_body, RequestTemplate.parse_body)
    headers = read.each("cookie_auth_refresh.headers", RequestTemplate.parse_header, or_none=True)
    try:
        RequestTemplate.parse_target(target)
    except ValueError as error:
        raise InvalidOption("cookie_auth_refresh", target, str(error)) from None
    request = RequestTemplate(method, target, "", tuple(headers))
    if in_body in read.given:
        request = replace(request, body=body)
    if isinstance(source, TokenCookie) and "refresh_token" not in request.needs:
        cookie = "Cookie", f"{source.name}={{refresh_token}}"  # as a browser would bring it back
        request = replace(request, headers=(*request.headers, cookie))
    if not request.needs:
        request = replace(request, body=body)
    if not request.needs:
        what = 'a body that holds {refresh_token}: {"token": "{refresh_token}"}'
        raise InvalidOption(in_body, body, what)
    return request


def _parse(text: str) -> int | Member:
    if text.isascii() and text.isdecimal() and 400 <= int(text) <= 599:
        return int(text)
    pointer, separator, value = text.partition("=")
    if not separator or not pointer.startswith("/"):
        raise ValueError(
            "a status such as 419, or what JSON says: /errors/0/extensions/code=UNAUTHENTICATED"
        )
    return Member(JsonPointer.parse(pointer), value)


def _holds(document: object, pointer: JsonPointer, value: str) -> bool:
    try:
        found = pointer.find(document)
    except Absent:
        return False
    return (found if isinstance(found, str) else json.dumps(found)) == value
