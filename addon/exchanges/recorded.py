"""What mitmproxy has recorded, for `profiles.learning`: with or without cookie-auth.

In a recording made through cookie-auth, requests hold tokens and answers stand-ins. Which stands
for which is read from the cookies that came with them.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from credentials.companion import is_companion
from credentials.cookies import decode_token
from credentials.stand_ins import MAIN, SUFFIXES, found_in
from mitmproxy import http
from origins.origin import Origin
from profiles.learning import Seen
from tokens.answer import Answer

from exchanges import notes
from exchanges.received import browser_path

_SAYS_NOTHING = frozenset(
    "frontend logout preflight refresh refused retry session speculation".split()
)
"""Kinds of which the API has seen nothing, or that are recorded a second time."""
_OWN = ("page-refresh", "renewal", "sign-out")
"""Those that are the proxy's own: no browser has asked for their path."""
_COMPANION = "-login"


def exchanges(flows: Iterable[http.HTTPFlow]) -> Iterator[tuple[str, Seen]]:
    """The exchanges with APIs, each with its API's origin."""
    tokens: dict[str, str] = {}
    for flow in flows:
        request, response = flow.request, flow.response
        if response is None or flow.metadata.get(notes.KIND) in _SAYS_NOTHING:
            continue
        issued = _issued(response.headers.get_all("set-cookie"))
        answer = _with_tokens(Answer.of(response), tokens, issued)
        place = flow.metadata.get(notes.PLACE)
        seen = Seen(
            method=request.method,
            target=request.path,
            headers=request.headers,
            body=request.get_content(strict=False) or b"",
            answer=answer,
            asked_as=_asked_as(flow),
            injected=bool(flow.metadata.get(notes.INJECTED)),
            captured=(issued[MAIN], place) if place and MAIN in issued else None,
        )
        with contextlib.suppress(ValueError):  # a host that is no name
            yield str(Origin.of(request.scheme, request.host, request.port)), seen


def _asked_as(flow: http.HTTPFlow) -> str:
    if notes.RECEIVED not in flow.metadata or flow.metadata.get(notes.KIND) in _OWN:
        return ""
    return browser_path(flow)


def _issued(set_cookies: Iterable[str]) -> Mapping[str, str]:
    """The tokens that an answer of cookie-auth's brings, by slot; none where they are sealed."""
    pairs = [field.partition(";")[0].partition("=")[::2] for field in set_cookies]
    values = {name.strip(): value for name, value in pairs if value}
    companions = [name for name, value in values.items() if is_companion(value)]
    auth_cookie = next((name.removesuffix(_COMPANION) for name in companions), None)
    issued = {}
    for slot, suffix in SUFFIXES.items() if auth_cookie else ():
        name = f"{auth_cookie}{suffix}"
        value = values.get(name) or _joined(values, name)
        if value:
            issued[slot] = decode_token(value).decode("utf-8", "replace")
    return issued


def _joined(values: Mapping[str, str], name: str) -> str:
    """One that was split into `auth-token.0`, `auth-token.1` and so on."""
    parts: list[str] = []
    while part := values.get(f"{name}.{len(parts)}"):
        parts.append(part)
    return "".join(parts)


def _with_tokens(answer: Answer, known: dict[str, str], issued: Mapping[str, str]) -> Answer:
    """The answer as the API gave it: tokens in the place of stand-ins, as far as they are known."""
    body = (answer.body or b"").decode("utf-8", "surrogateescape")
    fields = [(n, value.decode("utf-8", "surrogateescape")) for n, value in answer.headers.fields]
    texts = [body, *(value for _, value in fields)]
    found = {stand_in: slot for text in texts for stand_in, slot in found_in(text)}
    known.update({one: issued[slot] for one, slot in found.items() if slot in issued})
    for stand_in in found.keys() & known.keys():
        token = known[stand_in]
        in_body = json.dumps(token)[1:-1] if "json" in answer.content_type else token
        body = body.replace(stand_in, in_body)
        fields = [(name, value.replace(stand_in, token)) for name, value in fields]
    headers = http.Headers([(n, v.encode("utf-8", "surrogateescape")) for n, v in fields])
    return replace(answer, headers=headers, body=body.encode("utf-8", "surrogateescape"))
