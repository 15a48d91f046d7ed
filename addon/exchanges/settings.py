"""All options, and their values as one frozen, validated `Settings`."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from credentials import fixed_headers, more_tokens
from credentials import options as credential_options
from credentials.fixed_headers import FixedHeader
from credentials.more_tokens import MoreToken
from credentials.options import CookieSettings, HeaderSettings
from messages import options as message_options
from messages.answers import Refused
from messages.headers import spelling
from messages.redacted import Redacted
from origins import options as origin_options
from origins import upstreams
from origins.options import OriginSettings, PathSettings
from origins.paths import upstream_target
from origins.upstreams import NO_UPSTREAMS, Upstream, Upstreams
from profiles import options as profile_options
from profiles.reading import Profile
from settings.option import InvalidOption, Reader
from tokens import options as token_options
from tokens.options import TokenSettings
from tokens.search import Needle
from tokens.sources import Further
from upstream import options as upstream_options
from upstream.options import NetworkSettings

OPTIONS = (
    *origin_options.OPTIONS,
    *upstreams.OPTIONS,
    *token_options.OPTIONS,
    *credential_options.OPTIONS,
    *upstream_options.OPTIONS,
    *message_options.OPTIONS,
    *profile_options.OPTIONS,
)
"""All, the keys of profiles among them."""

MITMPROXY_OPTIONS = tuple(option for option in OPTIONS if not option.is_key)
"""Those that are given by `--set`, too."""


@dataclass(frozen=True)
class Settings:
    """All options, read once; the hooks look nothing up."""

    cookie: CookieSettings
    header: HeaderSettings
    fixed: tuple[FixedHeader, ...]
    """Headers that the API gets with each trusted request."""
    more: tuple[MoreToken, ...]
    """Tokens beside the main one."""
    token: TokenSettings
    paths: PathSettings
    origins: OriginSettings
    network: NetworkSettings
    redact: bool
    keep_frontend: bool
    """Whether all that is for the front end is recorded, too."""
    lenient: bool
    """Whether nobody has said where a login is, nor where its token stands: a login that is not as
    expected counts as unlisted then."""
    login_given: bool
    upstreams: Upstreams = NO_UPSTREAMS
    upstream: Upstream | None = None
    """The one that these settings hold for; None for the API of `--mode`."""
    named_under: str | None = None
    """What stands before a target where options name it, if that is not the base path."""
    widened: str = ""
    """What the profile of a further API widens, in one line; empty for nothing."""
    further: Mapping[str, "Settings"] = field(default_factory=dict, repr=False, compare=False)
    """Those for the other upstreams, by their prefix."""

    @classmethod
    def parse(
        cls,
        values: Mapping[str, object],
        environ: Mapping[str, str] | None = None,
        given: Collection[str] = (),
        profile_named: Callable[[str], Profile] = lambda name: Profile.named(name, OPTIONS),
    ) -> "Settings":
        """Settings from the options' values, by option name; `given` are those that were set, and
        `profile_named` reads the profiles of further APIs.

        Raises InvalidOption.
        """
        read = Reader(values, given)
        paths = PathSettings.read(read)
        cookie = CookieSettings.read(read, environ or {})
        token = TokenSettings.read(read, paths.refresh, paths.logout_upstream)
        if cookie.max_age_of_token and token.refresh and "token" in token.refresh.request.needs:
            what = "session, or seconds, since the refresh needs the token when that has ended"
            raise InvalidOption("cookie_auth_max_age", "token", what)
        header = HeaderSettings.read(read)
        taken = {spelling(header.name): "that of cookie_auth_header"}
        more = more_tokens.read_all(read, taken)
        taken |= {spelling(one.header): "one of token.more" for one in more}
        templates = {"refresh": token.refresh and token.refresh.request, "logout": token.logout}
        for said, template in templates.items():
            for name, _ in template.headers if template else ():
                taken.setdefault(spelling(name), f"one of {said}.headers")
        found = cls(
            cookie=cookie,
            header=header,
            more=more,
            fixed=fixed_headers.read_all(read, environ or {}, taken),
            token=token,
            paths=paths,
            origins=OriginSettings.read(read),
            network=NetworkSettings.read(read, environ or {}),
            redact=read.flag("cookie_auth_redact"),
            keep_frontend=read.flag("cookie_auth_keep_frontend"),
            lenient={"cookie_auth_login", "cookie_auth_token"}.isdisjoint(given),
            login_given="cookie_auth_login" in given,
            upstreams=Upstreams.read(read, paths.prefix),
        )
        further = {}
        for one in found.upstreams.entries:
            if one.shares_token:
                named_under = paths.base_path + found.upstreams.places[one.prefix]
                at_its = replace(paths, prefix=one.prefix, base_path=one.base_path)
                at = replace(found, paths=at_its, named_under=named_under)
            else:
                try:
                    profile = profile_named(one.profile) if one.profile else None
                    at = found._for_further_api(one, values, environ, given, profile)
                except InvalidOption as error:
                    what = f"one with which the other options are right: {error}"
                    raise InvalidOption(upstreams.NAME, one.text, what) from None
            further[one.prefix] = replace(at, upstreams=found.upstreams, upstream=one)
        return replace(found, further=further)

    def _for_further_api(
        self,
        one: Upstream,
        values: Mapping[str, object],
        environ: Mapping[str, str] | None,
        given: Collection[str],
        profile: Profile | None,
    ) -> "Settings":
        """Those for an API of its own. Raises InvalidOption."""
        defaults = {option.name: option.default for option in OPTIONS}
        if profile and (names := upstreams.unfit(profile.values)):
            what = f"the profile of one API, and {', '.join(names)} in it is about all"
            raise InvalidOption("cookie_auth_profile", one.profile, what)
        own = self.upstreams.options_of(one, values, defaults, profile and profile.values)
        try:
            found = Settings.parse(own, environ, given if profile is None else profile.values)
        except InvalidOption as error:
            raise (profile.located(error, ()) if profile else error) from None
        widened = profile.beneath({}, ()).widened if profile else ""
        return replace(found, widened=widened)

    def at(self, prefix: str | None) -> "Settings":
        """Those for the upstream behind this prefix; None for the API of `--mode`.

        Raises Refused.
        """
        if prefix is None:
            return self
        if found := self.further.get(prefix):
            return found
        raise Refused("addon_not_loaded", f"cookie_auth_upstream has no {prefix} any more.")

    def ruled_path(self, target: str) -> str:
        """In which the paths of options are looked for, from the target without the prefix.

        What a host that shares the token is asked for is named as if it were the API's itself.
        """
        at = self.paths.base_path if self.named_under is None else self.named_under
        return upstream_target(target, at)

    def api_path(self, target: str) -> str:
        """How options name what the upstream is asked for: without prefix and base path."""
        rest = target.removeprefix(self.paths.base_path) or "/"
        return self.upstreams.api_path(self.upstream, rest)

    @property
    def is_further_api(self) -> bool:
        """Whether they hold for an API beside that of `--mode`, with a token of its own."""
        return self.upstream is not None and not self.upstream.shares_token

    @cached_property
    def fixed_needles(self) -> tuple[Needle, ...]:
        """What finds the values of fixed headers in answers; none where nothing is looked for."""
        if self.token.leak == "off":
            return ()
        return tuple(one.needle(replaces=self.token.leak == "stand-in") for one in self.fixed)

    def fixes(self, name: str) -> bool:
        """Whether a server may take the header of this name for one that is fixed."""
        return spelling(name) in {spelling(one.name) for one in self.fixed}

    @property
    def secret_headers(self) -> tuple[str, ...]:
        """Names of request headers whose values are not told."""
        more = (one.header for one in self.more)
        return (self.header.name, *more, *(one.name for one in self.fixed))

    @property
    def sought(self) -> list[Further]:
        """What is looked for in answers beside the token."""
        return [one.further for one in self.more]

    def recorded(self, data: bytes, *secrets: bytes) -> bytes:
        """A header's value or a body; recorded without these secrets if flows are redacted."""
        return Redacted.of(data, secrets) if self.redact else data
