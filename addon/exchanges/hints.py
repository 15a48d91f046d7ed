"""What the traffic shows to be wrong, and how the API is: told once each, with options that help.

Only of answers that hand out tokens, that refuse one, or that are the first to take one; so this
costs other requests nothing. No message holds a token, nor anything of a body but a name of ours.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from credentials.names import is_credential_header
from credentials.options import HeaderSettings, header_of
from credentials.stand_ins import MAIN, REFRESH
from messages.headers import IndexedHeaders
from messages.redacted import real
from messages.text import printable
from mitmproxy import http
from origins.paths import normalise
from profiles import schemes
from profiles.carried import spelled
from profiles.learning import Finding
from tokens import graphql
from tokens.candidates import Candidate
from tokens.suspicion import is_plain

from exchanges import notes
from exchanges.proxy import Once
from exchanges.received import told_path
from exchanges.settings import Settings

if TYPE_CHECKING:
    from exchanges.api import Api

REFUSED = (401, 403)

# What JavaScript makes of a token that is not there.
_NOTHING = re.compile(
    rb"(?:(?:bearer|token|jwt)[ \t]+)?(?:undefined|null|NaN|\[object \w{1,20}\])", re.IGNORECASE
)
_NO_TOKEN = re.compile(rb"(?:bearer|token|jwt)?", re.IGNORECASE)
_PROBLEM = re.compile(r'error="?(invalid_token|insufficient_scope)\b')  # RFC 6750, 3.1
_LONGEST_ERROR = 16 * 1024
# Headers that errors name. Nothing else of a body is told.
_NAMED = {
    name.lower(): name
    for name in (
        "Authorization X-Auth-Token X-Access-Token X-API-Key X-Api-Token X-Token X-Session-Token"
        " X-Session-Id X-JWT-Token X-Authorization Api-Key Access-Token"
    ).split()
}
_NAMED_IN_TEXT = re.compile(
    rf"(?<![\w-])({'|'.join(sorted(_NAMED, key=len, reverse=True))})(?![\w-])", re.IGNORECASE
)
_BEARER_IN_TEXT = re.compile(r"(?<![\w-])bearer(?![\w-])", re.IGNORECASE)


class Wish(NamedTuple):
    """A header in which an API seems to want its token, and what says so."""

    header: HeaderSettings
    why: str


# Before the request


def without_nothing(headers: IndexedHeaders, settings: Settings, once: Once) -> None:
    """Take out, in place, a credential that a page sends though it has none: `Bearer undefined`."""
    own = settings.header.name
    for name in dict.fromkeys((own.lower(), "authorization")):
        if name not in headers.names:
            continue
        values = [real(value).strip() for value in headers.raw(name)]
        if not all(_is_nothing(value, name, settings.header) for value in values):
            continue
        del headers[name]
        said = re.sub("[^ -~]", "", values[0].decode("ascii", "replace"))
        once.info(
            ("nothing", name),
            'a page sends "%s: %s": it has no token, so it counts as sending none',
            *(spelled(name), said),
        )


def _is_nothing(value: bytes, name: str, header: HeaderSettings) -> bool:
    if name == "authorization" and _NO_TOKEN.fullmatch(value):
        return True
    bare = header.format.token(value) if name == header.name.lower() else value
    return not value or any(map(_NOTHING.fullmatch, (value, bare)))


# A token that is refused


def wishes_of(response: http.Response) -> list[Wish]:
    """The headers in which an API says that it wants its token, by its answer's own headers."""
    return list(_wishes(response.headers))


def tell_refusal(exchange: "Api", response: http.Response, wishes: Iterable[Wish]) -> None:
    """What is likely wrong where the API has refused a request with a token that was put in."""
    if not exchange.flow.metadata.get(notes.INJECTED):
        _tell_unshared(exchange, response)
        return
    learned, api, used = exchange.proxy.learned, exchange.wallet.api, exchange.header
    by_login = learned.wanted(api)
    said = [one for one in wishes if "Access-Control" not in one.why]
    allowed = [one for one in wishes if one not in said]
    if by_login:
        said.append(Wish(by_login, "its login's answer says so"))
    problem = _PROBLEM.search(", ".join(response.headers.get_all("www-authenticate")))
    for wish in (*said, *_in_body(response), *allowed):
        if _is_same(wish.header, used):
            if problem:
                _warn(exchange, response, used, f"says {problem[1]}", ())
            return  # it is the right one, and the token is no good
        options = ("header", wish.header.name), ("header_format", _written(wish.header))
        _warn(exchange, response, used, wish.why, options)
        return


def _tell_unshared(exchange: "Api", response: http.Response) -> None:
    """A host is an API of its own, and wants a token, though nobody has logged in there."""
    upstream, proxy = exchange.settings.upstream, exchange.proxy
    if upstream is None or upstream.shares_token or not proxy.last_login or exchange.stood:
        return
    api = exchange.wallet.api
    if not proxy.learned.was_hit(api) and not proxy.learned.seen(api):
        proxy.once.info(
            ("unshared", upstream.prefix),
            "%s answered %s, and gets no token but its own; if it has one login with the API of"
            " --mode: --set %s",
            *(upstream.url, response.status_code),
            shlex.quote(f"cookie_auth_upstream={upstream.prefix}={upstream.url} token"),
        )


def _warn(
    exchange: "Api",
    response: http.Response,
    used: HeaderSettings,
    why: str,
    options: Iterable[tuple[str, str]],
) -> None:
    shown = used.format.value("…".encode()).decode("utf-8", "replace")
    asked = f"{printable(exchange.flow.request.method)} {schemes.told_path(_path(exchange))}"
    line = f'the API answered {response.status_code} to "{used.name}: {shown}" ({asked}); {why}'
    if options and exchange.settings.is_further_api:  # for the other API it may be right
        written = ", ".join(f"{name}: {value}" for name, value in options)
        line += f"; a profile of its own can say so in cookie_auth_upstream ({written})"
    elif options:
        line += f": {_as_set(options)}"
    about = ("refused", exchange.wallet.api, used.name, shown, why)
    exchange.proxy.once.warn(about, "%s", line)


def _wishes(headers: http.Headers) -> Iterator[Wish]:
    for challenge in headers.get_all("www-authenticate"):
        scheme = re.match("[A-Za-z]+", challenge.removeprefix("x-").strip())
        known = schemes.TYPES.get(scheme[0].lower(), "") if scheme else ""
        if known and (header := header_of("Authorization", f"{known} ")):
            yield Wish(header, f"its WWW-Authenticate asks for {known}")
    allowed = ", ".join(headers.get_all("access-control-allow-headers"))
    for name in map(str.strip, allowed.split(",")):
        if is_plain(name) and is_credential_header(name) and (header := _usual(name)):
            yield Wish(header, f"its Access-Control-Allow-Headers has {header.name}")


def _in_body(response: http.Response) -> Iterator[Wish]:
    """What an error names: only names of a list of ours are looked for."""
    body = response.raw_content or b""
    if len(body) > _LONGEST_ERROR:
        return
    try:
        text = (response.content or b"").decode("utf-8", "replace")
    except ValueError:
        return
    names = dict.fromkeys(_NAMED[name.lower()] for name in _NAMED_IN_TEXT.findall(text))
    if not names and _BEARER_IN_TEXT.search(text):
        names = {"Authorization": None}
    for name in names:
        if header := _usual(name):
            yield Wish(header, f"its body names {name}")


def _usual(name: str) -> HeaderSettings | None:
    name = spelled(name)
    return header_of(name, "Bearer " if name == "Authorization" else "")


def _is_same(one: HeaderSettings, other: HeaderSettings) -> bool:
    return one.name.lower() == other.name.lower() and (
        one.format.before.lower() == other.format.before.lower()
    )


# How the API is


def note_type(exchange: "Api", beside: Mapping[str, object]) -> None:
    """What a listed login's answer says of the header (RFC 6749, 7.1)."""
    kind = schemes.TYPES.get(str(beside.get("token_type", "")).lower())
    if kind and (header := header_of("Authorization", f"{kind} ")):
        exchange.proxy.learned.wants(exchange.wallet.api, header)


def tell_login(exchange: "Api", new: list[Candidate], *, renews: bool) -> None:
    """Where an answer hands out tokens, and how they were renewed."""
    sent, path = exchange.sent, _path(exchange)
    main = next((one for one in new if one.role != "refresh"), new[0])
    if not sent or not schemes.can_be_named(path) or main.told != main.place:
        return
    asked = schemes.asked_of(exchange.flow.request.method, path, _body(exchange))
    if not renews:
        options = [("login", path), ("token", main.place)]
        if sent.is_sure:
            _tell(exchange, f"{asked} answers {main.told}", options)
            _tell_missed(exchange, asked, options)
    elif sent.renews and not sent.has_password:
        _tell_refresh(exchange, asked, path)


def _tell_missed(exchange: "Api", asked: str, options: list[tuple[str, str]]) -> None:
    """`cookie_auth_login` was given, and nobody asks for that path."""
    if exchange.settings.is_further_api:
        return
    if exchange.settings.login_given and not exchange.proxy.learned.was_hit(exchange.wallet.api):
        exchange.proxy.once.warn(
            ("missed", exchange.wallet.api, asked),
            "%s hands out a token, and no path of cookie_auth_login was asked for yet: %s",
            *(asked, _as_set(options)),
        )


def _tell_refresh(exchange: "Api", asked: str, path: str) -> None:
    request, wallet = exchange.flow.request, exchange.wallet
    token = exchange.held.tokens.get(REFRESH)
    given = exchange.proxy.learned.told_of(exchange.session.id, REFRESH)
    if not token or not given or given[0] != "/" or request.method != "POST":
        return
    if normalise(path) in map(normalise, exchange.proxy.learned.logins(wallet.api)):
        return  # a recording may tell the two apart
    kind = request.headers.get("content-type", "")
    template = schemes.refresh_template(kind, _body(exchange), token)
    if template:
        options = [("refresh", path), ("refresh_token", given), ("refresh_body", template)]
        _tell(exchange, f"{asked} renews the token", options)


def tell_header(exchange: "Api", response: http.Response) -> None:
    """In which header a page sends its token, once the API has taken it there."""
    learned, login = exchange.proxy.learned, exchange.session.id
    if not 200 <= response.status_code <= 299 or learned.is_heard(login):
        return
    token = exchange.tokens.get(MAIN)
    for slot, place in exchange.stood:
        value = exchange.flow.request.headers.get(place, "")
        if slot != MAIN or not token or not is_credential_header(place):
            continue
        before, found, after = value.partition(token)
        if found and (header := header_of(place, before, after)):
            words = schemes.words_of(f"{before} {after}")
            learned.heard(login)
            if not any(map(schemes.may_be_secret, words)):
                learned.reads(login, header)
                options = [("header", place), ("header_format", _written(header))]
                _tell(exchange, f"a page sends the token in {place}", options)
            return


def tell_logout(exchange: "Api") -> None:
    """What has logged out, as the API agreed."""
    request, path = exchange.flow.request, _path(exchange)
    if graphql.operations(_body(exchange)) or not schemes.can_be_named(path):
        return
    logins = exchange.proxy.learned.logins(exchange.wallet.api)
    alone = request.method != "DELETE" and normalise(path) not in map(normalise, logins)
    asked = schemes.asked_of(request.method, path, b"")
    options = [
        (name, str(value).lower() if isinstance(value, bool) else value)
        for name, value in schemes.logout_options(request.method, path, alone=alone)
    ]
    _tell(exchange, f"{asked} logs out", options)


def _tell(exchange: "Api", evidence: str, options: list[tuple[str, str]]) -> None:
    """One line with the options that say the same; and it is kept for the profile.

    Of an API beside that of `--mode` only where its login is: other options hold for both.
    """
    if exchange.settings.is_further_api and options[0][0] != "login":
        return
    learned, api = exchange.proxy.learned, exchange.wallet.api
    for name, value in options:
        learned.found(api, Finding(name, value, evidence))
    about = ("learned", api, evidence)
    exchange.proxy.once.info(about, "learned: %s: %s", evidence, _as_set(options))


def _as_set(options: Iterable[tuple[str, str]]) -> str:
    return " ".join(
        f"--set {shlex.quote(f'cookie_auth_{name}={value}')}" for name, value in options
    )


def _written(header: HeaderSettings) -> str:
    return header.format.value(b"{token}").decode()


def _path(exchange: "Api") -> str:
    return exchange.settings.api_path(told_path(exchange.flow))


def _body(exchange: "Api") -> bytes:
    return real(exchange.flow.request.raw_content or b"")
