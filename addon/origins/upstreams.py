"""Further upstreams: an API that is several hosts, or several APIs, behind one address.

    cookie_auth_upstream=/files=https://files.example.com/v2
    cookie_auth_upstream=/data=https://data.example.com token
    cookie_auth_upstream=/red=http://localhost:1880 profile=node-red

An entry is the path as the page's code has it, as `cookie_auth_prefix` is, and where what stands
below it goes. With `token`, that host has one login with the API of `--mode`, and gets its token.
Without, it is an API of its own, with logins of its own, and perhaps a profile of its own.
"""

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from settings.option import InvalidOption, Option, Reader, path_or_empty

from origins.origin import Origin
from origins.paths import strip_prefix

NAME = "cookie_auth_upstream"
NOTED = "cookie_auth_upstream"
"""Under this key a flow's metadata has the prefix of the entry that its request goes to."""

SHARED = "token"
"""The word for one that gets the token."""

_FORM = "PREFIX=URL, such as /files=https://files.example.com"
PROFILE = "profile="
"""What stands before the name of a profile for an API of its own."""

_WORDS = (
    f"{_FORM}, behind it nothing, or the word {SHARED} if that host gets the API's token, or"
    f" {PROFILE}NAME for an API of its own"
)
_URL = re.compile(r"(https?://[^/?#]*)(.*)", re.IGNORECASE)
_PATH = re.compile(r"(?<!\S)/\S*")
_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9]+")

OPTIONS = (
    Option(
        NAME,
        Sequence[str],
        [],
        "Further hosts: PREFIX=URL, the path as the page's code has it and where it goes, e.g."
        " /files=https://files.example.com. Each is an API of its own, and never gets the token of"
        f" another; with {SHARED} behind the URL it shares that of --mode reverse:URL, with"
        f" {PROFILE}NAME it has that profile.",
    ),
)

_PREFIX = "cookie_auth_"
_OF_ALL = (
    *("cookie", "samesite", "secure", "secret", "leak", "redact", "keep_frontend", "frontend"),
    *("allowed_origins", "allowed_hosts", "public_origin", "forwarded", "rewrite_bodies"),
    *("answer_timeout",),
)
"""Options that are not about one API."""
_OF_EACH = (
    *("login", "token", "login_body", "expose", "header", "header_format", "max_age"),
    *("logout", "logout_redirect", "logout_upstream", "logout_upstream_method"),
    *("logout_upstream_path", "refresh", "refresh_token", "refresh_body", "clear_on_401"),
    *("session", "claims", "login_redirect", "switch"),
)
"""Those of the API of `--mode` that hold for one beside it, too, if that has no profile. No other
does: what is for one API must not be sent to another."""


@dataclass(frozen=True)
class Upstream:
    """One entry."""

    prefix: str
    """Of paths, as the browser has them."""
    origin: Origin
    base_path: str
    """What comes in the prefix's place."""
    shares_token: bool
    """Whether it has one login with the API of `--mode`; else it is an API of its own."""
    profile: str = ""
    """That of an API of its own; empty for none."""
    text: str = field(default="", compare=False)
    """As it was given."""

    @classmethod
    def parse(cls, text: str) -> "Upstream":
        """Raises ValueError, saying what would be right."""
        prefix, separator, rest = text.partition("=")
        url, *words = rest.split(maxsplit=1) or [""]
        word = "".join(words).strip()
        profile = word.removeprefix(PROFILE) if word.startswith(PROFILE) else ""
        match = _URL.fullmatch(url)
        if not separator or not match or not (profile or word in ("", SHARED)):
            raise ValueError(_WORDS if word else _FORM)
        try:
            prefix = path_or_empty(prefix)
        except ValueError:
            prefix = ""
        if not prefix:
            raise ValueError(f"{_FORM}, whose PREFIX is a path below /")
        try:
            base_path = path_or_empty(match[2])
            origin = Origin.parse(match[1])
            return cls(prefix, origin, base_path, word == SHARED, profile, text)
        except ValueError:
            what = "whose URL is an http(s) origin, with a path or none, and without a query"
            raise ValueError(f"{_FORM}, {what}") from None

    @property
    def url(self) -> str:
        return f"{self.origin}{self.base_path}"

    @cached_property
    def cookie(self) -> str:
        """What follows the auth cookie's name in those of an API of its own: `~files`."""
        return "~" + _NOT_OF_NAMES.sub("_", self.prefix).strip("_")


@dataclass(frozen=True)
class Upstreams:
    """All entries beside the API of `--mode`."""

    entries: tuple[Upstream, ...] = ()
    prefix: str = ""
    """`cookie_auth_prefix`, which is one among theirs."""
    places: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """How options name what stands below a prefix: without `cookie_auth_prefix`."""

    @classmethod
    def read(cls, read: Reader, prefix: str) -> "Upstreams":
        """Raises InvalidOption."""
        entries = read.each(NAME, Upstream.parse, or_none=True)
        places = {}
        for at, one in enumerate(entries):
            if one.prefix == prefix:
                what = f"of another PREFIX than cookie_auth_prefix, {prefix}"
                raise InvalidOption(NAME, one.text, what)
            for other in entries[:at]:
                if one.prefix == other.prefix:
                    raise InvalidOption(NAME, one.text, "the only one of its PREFIX")
                own = not (one.shares_token or other.shares_token)
                if own and one.cookie == other.cookie:  # their cookies have the same names
                    what = f"of a PREFIX that differs from {other.prefix} in letters or digits"
                    raise InvalidOption(NAME, one.text, what)
            places[one.prefix] = strip_prefix(one.prefix, prefix) or one.prefix
        found = cls(tuple(entries), prefix, places)
        found._refuse_what_would_be_elsewhere(read)
        return found

    def _refuse_what_would_be_elsewhere(self, read: Reader) -> None:
        """Raise InvalidOption for a path of the API's that leads to an API of its own: what goes
        there is the API's token.
        """
        names = ("cookie_auth_logout", "cookie_auth_refresh", "cookie_auth_logout_upstream_path")
        for name in names:
            text = read.values[name]
            found = self.of_option(text) if isinstance(text, str) else None
            if found and not found.shares_token:
                own = f"{NAME} {found.prefix}={found.url}"
                what = f"a path of the API's itself, and {own} is an API of its own"
                raise InvalidOption(name, text, f"{what} (without the word {SHARED})")

    def find(self, target: str) -> Upstream | None:
        """Where a request for this target goes; None for the API of `--mode`, or the front end."""
        covering = [one for one in self.entries if strip_prefix(target, one.prefix) is not None]
        if not covering:
            return None
        found = max(covering, key=lambda one: len(one.prefix))
        is_inner = len(self.prefix) > len(found.prefix)
        return None if is_inner and strip_prefix(target, self.prefix) is not None else found

    def of_option(self, text: str) -> Upstream | None:
        """Whose path an option names, or a rule with a method before it; None for the API's."""
        path = match[0] if (match := _PATH.search(text)) else ""
        places = ((self.places[one.prefix], one) for one in self.entries)
        covering = [(len(at), one) for at, one in places if strip_prefix(path, at) is not None]
        return max(covering, key=lambda found: found[0])[1] if covering else None

    def to_browser(self, text: str) -> str:
        """The path of an option, or its rule, as the browser has it."""
        owner = self.of_option(text)
        place, prefix = (self.places[owner.prefix], owner.prefix) if owner else ("", self.prefix)
        return _PATH.sub(lambda match: prefix + match[0][len(place) :], text, count=1)

    def options_of(
        self,
        own: Upstream,
        values: Mapping[str, object],
        defaults: Mapping[str, object],
        profile: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """The options' values for an API of its own: those of a proxy for it alone.

        `profile` is what its own says, if it has one; then only those that are not about one API
        hold beside that. Paths that name another upstream do not hold for it; a login that names
        it itself begins with its prefix. The browser's other cookies stay at the API's own.
        """
        holding = _OF_ALL if profile is not None else (*_OF_ALL, *_OF_EACH)
        found = {**defaults, **{_of(name): values[_of(name)] for name in holding}}
        if profile is None:
            for name in ("logout", "refresh", "logout_upstream_path", "session"):
                if self.of_option(str(values[_of(name)])):
                    found[_of(name)] = defaults[_of(name)]
        found.update(profile or {})
        for name in ("login", "switch"):
            its, common = self._rules(values[_of(name)], own), found[_of(name)]
            if profile is None:
                common = self._rules(common, None)
            assert isinstance(common, Sequence)
            found[_of(name)] = list(dict.fromkeys([*its, *common])) or defaults[_of(name)]
        return {
            **found,
            "cookie_auth_prefix": own.prefix,
            "cookie_auth_base_path": own.base_path or found["cookie_auth_base_path"],
        }

    def _rules(self, texts: object, owner: Upstream | None) -> list[str]:
        """Those for this one's paths, without its prefix; for None those that name no upstream."""
        assert isinstance(texts, Sequence)
        found = [text for text in map(str, texts) if self.of_option(text) is owner]
        return [self._there(text, owner) for text in found] if owner else found

    def _there(self, text: str, own: Upstream) -> str:
        """A rule for a path of this one's, without its prefix."""
        place = self.places[own.prefix]
        return _PATH.sub(lambda match: match[0][len(place) :] or "/", text, count=1)

    def api_path(self, upstream: Upstream | None, target: str) -> str:
        """How options name a target below an upstream's prefix."""
        return (self.places[upstream.prefix] if upstream else "") + target

    @property
    def shared_prefix(self) -> str:
        """The longest path above all that get the API's token; empty for none."""
        shared = [one.prefix for one in self.entries if one.shares_token]
        return posixpath.commonpath([text or "/" for text in (self.prefix, *shared)]).rstrip("/")


NO_UPSTREAMS = Upstreams()


def unfit(profile: Iterable[str]) -> list[str]:
    """Of the options that the profile of an API of its own has, those that are not about one."""
    names = {_of(name) for name in _OF_ALL} | {NAME, _of("forward_cookies")}
    return [name.removeprefix(_PREFIX) for name in profile if name in names]


def _of(name: str) -> str:
    return _PREFIX + name
