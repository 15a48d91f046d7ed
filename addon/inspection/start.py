"""What is said at start-up: where to go, what is set, and what may be wrong with it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from credentials.cookies import HeaderFormat
from credentials.options import LASTING
from exchanges.settings import Settings
from origins.origin import Origin
from upstream.proxies import Proxies

MITMWEB_WITH_LOGIN = (11, 1, 2)
"""Before, every local page could read mitmweb's flows (CVE-2025-23217)."""


class Listener(NamedTuple):
    """One reverse mode: where it listens (no host: everywhere), and its API."""

    host: str
    port: int
    api: Origin

    @property
    def address(self) -> str:
        host = "localhost" if not self.host or _is_loopback(self.host) else self.host
        return f"http://{host.replace('0.0.0.0', 'localhost')}:{self.port}"


def summary(settings: Settings, listeners: Sequence[Listener]) -> list[str]:
    """Three lines: addresses, paths, cookie and header."""
    paths, by_proxy = settings.paths, settings.network.proxies
    public = settings.origins.public
    tunnel = f" or, trusted as well, {public} (cookie_auth_public_origin)" if public else ""
    addresses = (
        f"open {one.address}{tunnel} for {one.api}{paths.base_path}{_by_proxy(one.api, by_proxy)}"
        for one in listeners
    )
    frontend = f"; front end: {paths.frontend}" if paths.frontend else ""
    frontend += _by_proxy(paths.frontend, by_proxy)
    return [
        f"cookie-auth: {', '.join(addresses)}{frontend}",
        *essentials(settings),
    ]


def _by_proxy(upstream: Origin | None, proxies: Proxies) -> str:
    if upstream is None:
        return ""
    proxy = proxies.on_the_way_to(upstream.scheme, upstream.host.strip("[]"), upstream.port)
    return f" by the proxy {proxy}" if proxy else ""


def essentials(settings: Settings) -> list[str]:
    """What every user sets: the paths as the browser knows them, cookie and header."""
    paths, seen = settings.paths, settings.upstreams.to_browser
    logins = ", ".join(seen(rule.text) for rule in paths.logins)
    header = _value(settings.header.format)
    return [
        f"login: {logins}; logout: {seen(paths.logout.text)}"
        + (f"; session: {seen(paths.session)}" if paths.session else ""),
        f"cookie {settings.cookie.name} → header {settings.header.name}: {header}",
        *(
            f"{one.further.source.text} → header {one.header}: {_value(one.format)}"
            for one in settings.more
        ),
        *(f"{one.source} → header {one.name}" for one in settings.fixed),
    ]


def _value(form: HeaderFormat) -> str:
    return form.value(b"{token}").decode()


_LOGIN_BODIES = {
    "replace": 'replaced by {"loggedIn": true}',
    "redact": "without their tokens",
    "stand-in": "with stand-ins for their tokens",
}
_OTHER_BODIES = {
    "stand-in": "with stand-ins for them",
    "warn": "as they are, marked and logged",
    "block": "refused",
    "off": "as they are, unsearched",
}


def described(settings: Settings) -> list[str]:
    """The settings in words."""
    secure = {"auto": "Secure on TLS", "always": "Secure", "never": "not Secure"}[
        settings.cookie.secure
    ]
    paths, frontend = settings.paths, settings.paths.frontend
    logins = ", ".join(rule.text for rule in paths.logins)
    age = "as long as the token" if settings.cookie.max_age_of_token else "until the browser closes"
    if settings.cookie.max_age:
        age = f"for {settings.cookie.max_age} s"
    if not settings.cookie.max_age_given:
        age += f" ({LASTING // 86400} days where the page holds stand-ins)"
    return [
        f"front end: {frontend or 'none'}{_by_proxy(frontend, settings.network.proxies)}",
        f"answers to {logins}: {_LOGIN_BODIES[settings.token.login_body]}",
        f"token in them: {', '.join(source.text for source in settings.token.sources)}",
        f"other answers with tokens: {_OTHER_BODIES[settings.token.leak]}",
        f"renewal: {paths.refresh_rule.text if paths.refresh_rule else 'none'}",
        *(f"switch: {rule.text}" for rule in paths.switches),
        f"claims that pages are told: {', '.join(settings.token.claims) or 'none'}",
        f"cookie: {age}, SameSite={settings.cookie.same_site.capitalize()}, {secure},"
        f"{' Partitioned,' if settings.cookie.partitioned else ''}"
        f" {'encrypted' if settings.cookie.seal.active else 'in clear'}",
        f"recorded flows: {'without' if settings.redact else 'with'} tokens",
        *essentials(settings),
    ]


def warnings(
    listeners: Sequence[Listener], frontend: Origin | None, web_version: str | None
) -> list[str]:
    """What may be a danger. `web_version` is that of a mitmweb, None for other tools."""
    found = [
        f"cookie-auth listens on {one.host or 'all interfaces'}, so other machines can reach the"
        " API through it: add --listen-host 127.0.0.1"
        for one in listeners
        if not _is_loopback(one.host)
    ]
    found += [
        f"the token goes to {one.api} in clear text: is there no https?"
        for one in listeners
        if one.api.scheme == "http" and not _is_loopback(one.api.host.strip("[]"))
    ]
    found += [
        f"front end and API are both {one.api}: what a page calls there outside the prefix gets the"
        " token in the cookie, and its login is not captured; call the API under the prefix only"
        for one in listeners
        if frontend and _is_same_server(one.api, frontend)
    ]
    if web_version and _numbers(web_version) < MITMWEB_WITH_LOGIN:
        found.append(
            f"mitmweb {web_version} lets every local page read its flows, tokens included"
            " (CVE-2025-23217): use 11.1.2 or newer"
        )
    return found


def further(settings: Settings) -> Iterator[str]:
    """One line for each of `cookie_auth_upstream`: where it goes, and whose token it gets."""
    for one in settings.upstreams.entries:
        at, way = settings.at(one.prefix), _by_proxy(one.origin, settings.network.proxies)
        header = f"{at.header.name}: {at.header.format.value(b'{token}').decode()}"
        own = f"an API of its own, cookie {at.cookie.name}{one.cookie} → header {header}"
        whose = "one login with the API, whose token it gets" if one.shares_token else own
        yield f"{one.prefix} goes to {one.origin}{at.paths.base_path}{way}: {whose}"


def warnings_of_further(settings: Settings) -> list[str]:
    """What may be a danger of those, or a mistake."""
    found = [
        f"the token goes to {one.origin} in clear text: is there no https?"
        for one in settings.upstreams.entries
        if one.origin.scheme == "http" and not _is_loopback(one.origin.host.strip("[]"))
    ]
    owners = [settings.upstreams.of_option(rule.text) for rule in settings.paths.logins]
    own = dict.fromkeys(one.prefix for one in owners if one and not one.shares_token)
    if all(one and not one.shares_token for one in owners):
        found.append(
            f"every login of cookie_auth_login is at an API of its own ({', '.join(own)}): if its"
            " token is for the API of --mode, put the word token behind its URL"
        )
    return found


def _is_same_server(one: Origin, other: Origin) -> bool:
    if one.scheme != other.scheme or one.port != other.port:
        return False
    hosts = one.host.strip("[]"), other.host.strip("[]")
    return hosts[0] == hosts[1] or all(map(_is_loopback, hosts))


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
