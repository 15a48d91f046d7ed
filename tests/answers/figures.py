"""How well tokens are told from other strings in the answers of real APIs.

Run it from the project's root: `PYTHONPATH=addon:tests python tests/answers/figures.py [-v]`. With
`-v` it names what was judged wrong in the part `tune`, with `-vv` in the others too.
"""

import base64
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from mitmproxy import http
from tokens.answer import Answer
from tokens.candidates import find, takes_place_of
from tokens.login_like import Sent, read_request

PARTS = ("tune", "held", "fresh")
_TABLE = Path(__file__).with_name("answers.json")
_OLD = "authorization x-auth-token access-token x-api-key api-key".split()


@dataclass(frozen=True)
class Row:
    """A request and its answer, with what is a token in it; the fields are told in README.md."""

    fields: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.fields["name"])

    @property
    def part(self) -> str:
        return str(self.fields["part"])

    @property
    def carried(self) -> bool:
        return bool(self.fields["carried"])

    @property
    def asked(self) -> tuple[str, str, http.Headers, bytes]:
        """The request: method, target, headers, body."""
        request = self.fields["request"]
        headers = _headers(request["headers"].items())
        return request["method"], request["path"], headers, _body(request)

    @cached_property
    def sent(self) -> Sent:
        return read_request(*self.asked)

    @cached_property
    def answer(self) -> Answer:
        response = self.fields["response"]
        headers = _headers(response["headers"])
        kind = headers.get("content-type", "").lower()
        return Answer(response["status"], headers, _body(response), kind)

    @property
    def old(self) -> str:
        """The token that the request carried, if it did so in a header."""
        headers = {name.lower(): value for name, value in self.fields["request"]["headers"].items()}
        return str(next((headers[name].rpartition(" ")[2] for name in _OLD if name in headers), ""))

    @property
    def wanted(self) -> list[str]:
        """The tokens, but for those that the request sent: they are known already."""
        values = map(self.value, self.fields["tokens"])
        return [value for value in values if value not in self.sent.values]

    @property
    def main(self) -> str | None:
        main = self.fields["main"]
        return None if main is None else self.value(main)

    def value(self, place: str) -> str:
        """What stands at a place of the answer."""
        text = (self.answer.body or b"").decode()
        if place.startswith("header:"):
            value = str(self.answer.headers[place[7:]])
            return value.rpartition(" ")[2] if place == "header:Authorization" else value
        if place.startswith("location:"):
            target = urlsplit(str(self.answer.headers["location"]))
            return dict(parse_qsl(target.query) + parse_qsl(target.fragment))[place[9:]]
        if place.startswith("xml:"):
            path = "./" + "/".join(place.split("/")[2:])
            return str(ElementTree.fromstring(text).findtext(path))
        if "form" in self.answer.content_type:
            return dict(parse_qsl(text))[place[1:]]
        if "json" not in self.answer.content_type:
            return text
        document: Any = json.loads(text)
        for step in place.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            document = document[int(step)] if isinstance(document, list) else document[step]
        return str(document)


def rows() -> list[Row]:
    return [Row(fields) for fields in json.loads(_TABLE.read_text())]


def _headers(pairs: Any) -> http.Headers:
    return http.Headers([(name.encode(), value.encode()) for name, value in pairs])


def _body(message: dict[str, Any]) -> bytes:
    if "json" in message:
        return json.dumps(message["json"]).encode()
    return str(message.get("text", "")).encode()


Judged = list[str]
"""The tokens that were found, the main one first."""


def ours(row: Row) -> Judged:
    """What the addon finds: in answers to login-like requests, and only what takes an old
    token's place where the request carried one."""
    sent = row.sent
    if not sent.why or not 200 <= row.answer.status < 400:
        return []
    found = find(row.answer, sent, frozenset())
    if row.carried:
        held_as = row.fields.get("held_as", "token")
        found = [
            one for one in found if takes_place_of(one, row.old, one.name == held_as, False, sent)
        ]
    return [one.value for one in found]


class Verdict(NamedTuple):
    missed: list[str]
    wrong: list[str]
    main: bool
    """Whether the main one is the right one; so too where it is missed, which counts above."""

    @property
    def right(self) -> bool:
        return not self.missed and not self.wrong and self.main


def verdict(row: Row, judged: Judged) -> Verdict:
    wanted = row.wanted
    missed = [value for value in wanted if value not in judged]
    wrong = [value for value in judged if value not in wanted]
    main = row.main
    return Verdict(missed, wrong, not judged or main is None or bool(missed) or judged[0] == main)


# Before: section 6 of the contract as it was written, by names and shapes alone.

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_NEVER = set(
    "csrf xsrf page cursor next prev push fcm apns type expires expiry expiration nonce".split()
)
_SIGNED = re.compile(r".{4,}[.:][\w-]{5,7}[.:][\w-]{27,43}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def literal(row: Row) -> Judged:
    """What section 6 finds, read literally. Which answers are to be looked into, the row says."""
    request, found = row.fields["request"], {}
    if not 200 <= row.answer.status < 400 or not row.fields["login_like"]:
        return []
    sent = json.dumps(request)
    own = row.carried and row.fields["kind"] in ("own-key", "foreign", "invitation", "push")
    if own and not re.search(r"password|[cC]ode\b|Basic ", sent):
        return []
    text, kind = (row.answer.body or b"").decode(), row.answer.content_type
    if "json" in kind:
        for place, name, value, beside in _leaves(json.loads(text)):
            if value not in sent and _is_token(name, value, beside):
                found[place] = value
    elif "form" in kind:
        found.update({f"/{n}": value for n, value in parse_qsl(text) if _is_token(n, value, {})})
    elif re.fullmatch(r"\S{8,}", text) and not re.fullmatch("[A-Za-z]+", text):
        found[""] = text
    for name, value in row.answer.headers.items(multi=True):
        if name == "Location":
            target = urlsplit(value)
            for parameter, text in parse_qsl(target.query) + parse_qsl(target.fragment):
                if _is_token(parameter, text, {}):
                    found[f"location:{parameter}"] = text
        elif name in ("Set-Cookie", "Content-Type", "ETag", "Link"):
            continue
        elif _is_token(name, value.split()[-1], {}):
            found[f"header:{name}"] = value.split()[-1]
    return [found[place] for place in sorted(found, key=lambda place: _rank(place, found[place]))]


def _leaves(
    document: Any, place: str = "", name: str = "", beside: Any = ()
) -> Iterator[tuple[str, str, str, Any]]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _leaves(value, f"{place}/{key}", key, document)
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from _leaves(value, f"{place}/{index}", name, beside)
    elif isinstance(document, str):
        yield place, name, document, beside


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(text)]


def _is_jwt(value: str) -> bool:
    match = re.fullmatch(r"([\w-]+)\.([\w-]+)\.([\w-]*)", value)
    try:
        return bool(match) and "alg" in json.loads(
            base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4))  # type: ignore[index]
        )
    except ValueError:
        return False


def _is_token(name: str, value: str, beside: Any) -> bool:
    if set(_words(name)) & _NEVER:
        return False
    if _is_jwt(value) or _SIGNED.fullmatch(value):
        return True
    lower = name.lower()
    if lower in ("key", "apikey", "api_key", "sid", "password") or (
        name == "id" and "ttl" in beside
    ):
        words_only = re.fullmatch(r"[A-Za-z_ -]+", value)
        return (
            len(value) >= 16 and not _UUID.fullmatch(value) and not words_only and " " not in value
        )
    named = "token" in lower or "jwt" in lower or lower == "refresh"
    named = named or lower.startswith(("access", "auth", "session"))
    return named and 8 <= len(value) <= 32_768 and not re.search(r"\s", value)


def _rank(place: str, value: str) -> tuple[int, int]:
    words = _words(place.split("/")[-1].split(":")[-1])
    name = "".join(words)
    order = [
        name.startswith("access"),
        name.startswith(("auth", "session")),
        name in ("token", "jwt") or (words[-1:] == ["token"] and name != "idtoken"),
        _is_jwt(value) and name != "idtoken",
        name == "idtoken",
    ]
    rank = 9 if "refresh" in words else order.index(True) if True in order else 5
    return rank, place.count("/")


def figures(judge: Callable[[Row], Judged]) -> dict[str, Counter[str]]:
    """For each part: rows, rows that are wholly right, tokens missed and wrongly hidden, rows with
    another main one."""
    counted = {part: Counter[str]() for part in PARTS}
    for row in rows():
        found = verdict(row, judge(row))
        counted[row.part] += Counter(
            {
                "rows": 1,
                "right": int(found.right),
                "missed": len(found.missed),
                "wrongly hidden": len(found.wrong),
                "wrong main": int(not found.main),
            }
        )
    return counted


def main() -> None:
    for title, judge in (("section 6 read literally", literal), ("ours", ours)):
        print(title)
        for part, counted in figures(judge).items():
            said = ("rows", "right", "missed", "wrongly hidden", "wrong main")
            print(f"  {part}: " + ", ".join(f"{counted[name]} {name}" for name in said))
    for row in rows():
        found = verdict(row, ours(row))
        told = "-vv" in sys.argv or ("-v" in sys.argv and row.part == "tune")
        if told and not found.right:
            print(f"{row.name}: {found}")


if __name__ == "__main__":
    main()
