"""All options, and their values as one frozen, validated `Settings`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from credentials import options as credential_options
from credentials.options import CookieSettings, HeaderSettings
from messages import options as message_options
from messages.redacted import Redacted
from origins import options as origin_options
from origins.options import OriginSettings, PathSettings
from profiles import options as profile_options
from settings.option import Reader
from tokens import options as token_options
from tokens.options import TokenSettings
from upstream import options as upstream_options
from upstream.options import NetworkSettings

OPTIONS = (
    *origin_options.OPTIONS,
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

    @classmethod
    def parse(
        cls,
        values: Mapping[str, object],
        environ: Mapping[str, str] | None = None,
        given: Collection[str] = (),
    ) -> "Settings":
        """Settings from the options' values, by option name; `given` are those that were set.

        Raises InvalidOption.
        """
        read = Reader(values, given)
        paths = PathSettings.read(read)
        return cls(
            cookie=CookieSettings.read(read, environ or {}),
            header=HeaderSettings.read(read),
            token=TokenSettings.read(read, paths.refresh),
            paths=paths,
            origins=OriginSettings.read(read),
            network=NetworkSettings.read(read, environ or {}),
            redact=read.flag("cookie_auth_redact"),
            keep_frontend=read.flag("cookie_auth_keep_frontend"),
            lenient={"cookie_auth_login", "cookie_auth_token"}.isdisjoint(given),
            login_given="cookie_auth_login" in given,
        )

    def recorded(self, data: bytes, *secrets: bytes) -> bytes:
        """A header's value or a body; recorded without these secrets if flows are redacted."""
        return Redacted.of(data, secrets) if self.redact else data
