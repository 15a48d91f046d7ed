"""Further upstreams, without a process: the table, what options mean there, whose cookies are."""

from pathlib import Path
from types import MappingProxyType

import pytest
from credentials.companion import Notary
from credentials.cookies import belongs
from credentials.wallet import Wallet, Wallets
from exchanges.settings import OPTIONS, Settings
from messages.answers import Refused
from messages.headers import IndexedHeaders
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test.tflow import tclient_conn
from origins import references
from origins.origin import Origin
from origins.upstreams import _OF_ALL, _OF_EACH, Upstream, Upstreams
from settings.option import InvalidOption, Reader

DEFAULTS = MappingProxyType({option.name: option.default for option in OPTIONS})
FILES = "/files=https://files.example.com"


def parse(*entries: str, **changes: object) -> Settings:
    changes["upstream"] = list(entries)
    given = {f"cookie_auth_{name}": value for name, value in changes.items()}
    return Settings.parse({**DEFAULTS, **given}, given=given)


@pytest.mark.parametrize(
    ("text", "url", "shares"),
    [
        ("/files=https://files.example.com", "https://files.example.com", False),
        ("/files/=https://files.example.com/", "https://files.example.com", False),
        ("/files=https://files.example.com:8443/v2/ token", "https://files.example.com:8443/v2", 1),
        ("/a/b=http://LOCALHOST:3000/C=d", "http://localhost:3000/C=d", False),
        ("/a=http://[::1]:3000   token", "http://[::1]:3000", True),
        ("/a=https://h:443", "https://h", False),
    ],
)
def test_an_entry_says_where_a_prefix_leads(text: str, url: str, shares: bool) -> None:
    upstream = Upstream.parse(text)
    assert (upstream.url, upstream.shares_token) == (url, bool(shares))
    assert not upstream.prefix.endswith("/")


@pytest.mark.parametrize(
    ("entries", "more", "hint"),
    [
        (["/files"], {}, "PREFIX=URL, such as /files=https://files.example.com"),
        (["https://files.example.com"], {}, "PREFIX=URL, such as"),
        (["/files="], {}, "PREFIX=URL, such as"),
        (["/files=files.example.com"], {}, "PREFIX=URL, such as"),
        (["/files=wss://files.example.com"], {}, "PREFIX=URL, such as"),
        ([f"{FILES} tokens"], {}, "behind it nothing, or the word token"),
        ([f"{FILES} token token"], {}, "behind it nothing, or the word token"),
        ([f"{FILES} profile="], {}, "or profile=NAME for an API of its own"),
        ([f"{FILES} token profile=x"], {}, "or profile=NAME for an API of its own"),
        ([f"{FILES} profile=no-such"], {}, "one of the recipes: "),
        (["files=https://files.example.com"], {}, "PREFIX is a path below /"),
        (["/=https://files.example.com"], {}, "PREFIX is a path below /"),
        (["=https://files.example.com"], {}, "PREFIX is a path below /"),
        (["/a?b=https://files.example.com"], {}, "PREFIX=URL, such as"),
        (["/files=https://"], {}, "an http(s) origin"),
        (["/files=https://me:secret@files.example.com"], {}, "an http(s) origin"),
        (["/files=https://files.example.com:x"], {}, "an http(s) origin"),
        (["/files=https://files.example.com/?v=2"], {}, "without a query"),
        ([FILES, "/files=https://other.example.com token"], {}, "the only one of its PREFIX"),
        ([FILES], {"prefix": "/files"}, "another PREFIX than cookie_auth_prefix, /files"),
        (["/a-b=https://b", "/a/b=https://c"], {}, "differs from /a-b in letters or digits"),
    ],
)
def test_a_wrong_entry_is_told_in_one_line(
    entries: list[str], more: dict[str, object], hint: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse(*entries, **more)
    said = str(caught.value)
    assert said.startswith(f"cookie_auth_upstream: '{entries[-1]}' is wrong; it must be ")
    assert hint in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["logout", "refresh", "logout_upstream_path"])
def test_the_token_is_not_renewed_or_ended_at_another_api(name: str) -> None:
    with pytest.raises(InvalidOption, match="is an API of its own"):
        parse(FILES, **{name: "/files/x"})
    assert parse(f"{FILES} token", **{name: "/files/x"})


TABLE = (
    "/api/files=https://f",
    "/api/files/deep=https://d token",
    "/data=https://x",
    "/api=https://a",
)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/api/files", "/api/files"),
        ("/api/files/", "/api/files"),
        ("/api/files?x=1", "/api/files"),
        ("/api/files/a/b?c", "/api/files"),
        ("/api/files/deep/a", "/api/files/deep"),
        ("/api/files/deeper", "/api/files"),
        ("/api/filesystem", "/api"),
        ("/api/FILES", "/api"),
        ("/api/%66iles", "/api"),
        ("/api", "/api"),
        ("/api/v1/me", None),  # cookie_auth_prefix is longer
        ("/api/v1", None),
        ("/api/v12", "/api"),
        ("/data/x", "/data"),
        ("//data/x", None),
        ("/", None),
        ("*", None),
        ("/database", None),
    ],
)
def test_the_longest_prefix_has_a_request(target: str, found: str | None) -> None:
    upstream = parse(*TABLE, prefix="/api/v1").upstreams.find(target)
    assert (upstream.prefix if upstream else None) == found


@pytest.mark.parametrize(
    ("prefix", "entry", "named"),
    [
        ("", "/auth=https://l token", "/auth"),
        ("/api", "/api/auth=https://l token", "/auth"),
        ("/api", "/auth=https://l token", "/auth"),
        ("/api/v1", "/api=https://l token", "/api"),
    ],
)
def test_options_name_what_is_there_without_the_prefix(prefix: str, entry: str, named: str) -> None:
    settings = parse(entry, prefix=prefix, base_path="/v1", login=[f"{named}/login"])
    (there,) = settings.further.values()
    assert there.ruled_path("/login") == f"/v1{named}/login"
    assert there.api_path("/login?x") == f"{named}/login?x"
    assert settings.upstreams.of_option(f"POST {named}/*/x") == there.upstream
    assert settings.upstreams.of_option(f"{named}x") is None
    seen = f"POST {entry.partition('=')[0]}/*/x"
    assert settings.upstreams.to_browser(f"POST {named}/*/x") == seen
    assert settings.upstreams.to_browser("/me") == f"{prefix}/me"
    assert there.paths.to_browser("/login") == f"{entry.partition('=')[0]}/login"


def test_for_an_api_of_its_own_options_hold_as_for_a_proxy_of_its_own() -> None:
    values = {
        **DEFAULTS,
        "cookie_auth_upstream": ["/b=https://b/base", "/c=https://c", "/auth=https://l token"],
        "cookie_auth_login": ["/login", "/b/session", "POST /c/in x=/y", "/auth/login"],
        "cookie_auth_logout": "/auth/logout",
        "cookie_auth_switch": ["/switch", "/b/as"],
        "cookie_auth_header": "Authorization",
        "cookie_auth_samesite": "strict",
        "cookie_auth_refresh": "/auth/renew",
        "cookie_auth_forward_cookies": ["XSRF-TOKEN"],
    }
    upstreams = Upstreams.read(Reader(values), "")
    b, c, _ = upstreams.entries
    its = upstreams.options_of(c, values, DEFAULTS)
    assert its["cookie_auth_login"] == ["POST /in x=/y", "/login"]
    found = upstreams.options_of(b, values, DEFAULTS)
    assert found["cookie_auth_login"] == ["/session", "/login"]
    assert found["cookie_auth_switch"] == ["/as", "/switch"]
    assert found["cookie_auth_header"] == "Authorization"
    assert found["cookie_auth_logout"] == "/logout"
    assert found["cookie_auth_refresh"] == ""
    assert found["cookie_auth_forward_cookies"] == []
    assert found["cookie_auth_upstream"] == []
    assert found["cookie_auth_prefix"] == "/b"
    assert found["cookie_auth_base_path"] == "/base"

    profile = {"cookie_auth_login": ["/auth/in"], "cookie_auth_token": ["/jwt"]}
    found = upstreams.options_of(b, values, DEFAULTS, profile)
    assert found["cookie_auth_login"] == ["/session", "/auth/in"]
    assert found["cookie_auth_switch"] == ["/as"]
    assert found["cookie_auth_token"] == ["/jwt"]
    assert found["cookie_auth_header"] == "auth-token"
    assert found["cookie_auth_samesite"] == "strict"


def test_who_adds_an_option_says_whether_it_holds_for_an_api_beside_the_first() -> None:
    named = {*_OF_ALL, *_OF_EACH, "prefix", "base_path", "forward_cookies", "upstream", "profile"}
    flat = {option.name for option in OPTIONS if not option.is_key}
    assert {f"cookie_auth_{name}" for name in named} == flat


def test_what_is_neither_of_all_nor_known_to_hold_for_each_api_holds_for_none_beside() -> None:
    values: dict[str, object] = {name: f"of {name}" for name in DEFAULTS}
    values["cookie_auth_api_key"] = "sekret"
    values |= {"cookie_auth_login": ["/x"], "cookie_auth_switch": []}
    values |= {"cookie_auth_upstream": ["/b=https://b"]}
    upstreams = Upstreams.read(Reader(values), "")
    (b,) = upstreams.entries
    defaults = {**DEFAULTS, "cookie_auth_api_key": ""}
    assert upstreams.options_of(b, values, defaults)["cookie_auth_api_key"] == ""


def test_a_further_api_may_have_a_recipe_or_a_profile_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("login: [/in]\nheader: X-Shop\nexpose: [push]\nbase_path: /v3\n")
    settings = parse(
        *("/red=http://localhost:1880 profile=node-red", f"/shop=https://s  profile={file}"),
        header="Authorization",
        header_format="Bearer {token}",
        samesite="strict",
    )
    red, shop = settings.at("/red"), settings.at("/shop")
    assert red.header.name == "Authorization"
    assert [rule.text for rule in shop.paths.logins] == ["/in"]
    assert (shop.header.name, shop.header.given) == ("X-Shop", True)
    assert shop.header.format.value(b"T") == b"T"
    assert shop.paths.base_path == "/v3"
    assert shop.cookie.same_site == "strict"
    assert shop.widened == f"the profile {file} widens trust: expose (push)"
    assert settings.header.name == "Authorization"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("cookie: x\nallowed_origins: []\n", "cookie, allowed_origins in it is about all"),
        ("forward_cookies: [x]\n", "forward_cookies in it is about all"),
        ("upstream: []\n", "upstream in it is about all"),
        ("header: Cookie\n", "{file}:1: header: 'Cookie' is wrong; it must be"),
        ("heder: x\n", "{file}:1: 'heder': there is no such option"),
        (None, "a file that can be read"),
    ],
)
def test_a_wrong_profile_of_a_further_api_is_told_with_its_line(
    tmp_path: Path, text: str | None, hint: str
) -> None:
    file = tmp_path / "shop.yaml"
    if text:
        file.write_text(text)
    with pytest.raises(InvalidOption) as caught:
        parse(f"/shop=https://s profile={file}")
    assert hint.format(file=file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whose_settings_hold_where() -> None:
    settings = parse("/b=https://b/base", "/auth=https://l token", refresh="/renew")
    assert settings.at(None) is settings
    assert settings.at("/b").ruled_path("/session") == "/base/session"
    assert settings.at("/b").is_further_api
    assert not settings.at("/auth").is_further_api
    assert not settings.is_further_api
    with pytest.raises(Refused, match="cookie_auth_upstream has no /gone any more"):
        settings.at("/gone")


@pytest.mark.parametrize(
    ("prefix", "entries", "above"),
    [
        ("/api", (), "/api"),
        ("/api", ("/files=https://f",), "/api"),
        ("/api", ("/api/data=https://d token",), "/api"),
        ("/api", ("/auth=https://l token",), ""),
        ("/api/v1", ("/api/v2=https://d token",), "/api"),
        ("/api", ("/apis=https://d token",), ""),
        ("", ("/data=https://d token",), ""),
    ],
)
def test_cookies_beside_the_token_reach_all_that_share_it(
    prefix: str, entries: tuple[str, ...], above: str
) -> None:
    assert parse(*entries, prefix=prefix).upstreams.shared_prefix == above


def wallets_of(settings: Settings) -> dict[str, Wallet]:
    """By prefix; that of the API of `--mode` by an empty one."""
    wallets = Wallets(
        *(settings.cookie, settings.header, settings.upstreams.shared_prefix, (b"key",)),
        renews=True,
        several=False,
        further_apis={
            prefix: (one.cookie, one.header)
            for prefix, one in settings.further.items()
            if one.is_further_api
        },
    )
    client = tclient_conn()
    client.proxy_mode = ProxyMode.parse("reverse:https://api.example.com")
    found = {"": wallets.of(client)}
    for one in settings.upstreams.entries:
        found[one.prefix] = wallets.of(client, upstream=one)
    return found


def test_apis_have_wallets_of_their_own_and_hosts_that_share_a_token_have_one() -> None:
    entries = ("/a/b-refresh=https://b.example.com", "/data=https://data.example.com token")
    wallets = wallets_of(parse(*entries, prefix="/api", forward_cookies=["*"]))
    main, other, data = wallets.values()
    assert other.name == "auth-token~a_b_refresh"
    assert (other.api, other.prefix) == ("https://b.example.com", "/a/b-refresh")
    assert not other.cookie.forwarded.names
    assert (data.name, data.notary, data.jars) == (main.name, main.notary, main.jars)
    assert data.api_cookies.notary == Notary((b"key",), "https://data.example.com")
    assert main.api_cookies.notary == main.notary
    names = [jar.name for jar in other.jars.values()] + [other.companion]
    for name in names:
        assert other.owns(name)
        assert not main.owns(name)
        assert belongs(name, "auth-token")
        assert name not in main.cookie.forwarded
    passing = [name for name in names if not main.is_for_the_api_only(name)]
    assert passing == [other.name, other.companion]


def test_no_two_apis_have_a_cookie_name_in_common() -> None:
    prefixes = ("/b", "/b/refresh", "/b/login", "/refresh", "/login", "/b.0", "/0", "/api/x", "/id")
    wallets = wallets_of(parse(*(f"{prefix}=https://{n}.x" for n, prefix in enumerate(prefixes))))
    for one in wallets.values():
        names = [name for jar in one.jars.values() for name in (jar.name, f"{jar.name}.0")]
        for name in (*names, one.companion, f"{one.name}-api-sid"):
            assert [other for other in wallets.values() if other.owns(name)] == [one], name


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("/v2/x", "/data/x"),
        ("https://data.test/v2/x?y#z", "/data/x?y#z"),
        ("//data.test/v2/x", "/data/x"),
        ("http://files.test/a", "/files/a"),
        ("https://files.test", "/files/"),
        ("//files.test/a", "/files/a"),
        ("https://api.test/v1/me", "/api/me"),
        ("https://api.test/v3/me", "https://api.test/v3/me"),  # outside the base path
        ("https://api.test/v1/old/me", "/old/me"),  # the longest base path
        ("https://data.test/v3/x", "https://data.test/v3/x"),
        ("https://else.test/v2/x", "https://else.test/v2/x"),
        ("x/y", "x/y"),
        ("https://files.test//else.test", "/files//else.test"),
    ],
)
def test_a_redirect_leads_through_the_proxy_to_whichever_upstream(location: str, seen: str) -> None:
    headers = IndexedHeaders([(b"location", location.encode())])
    others = [
        (Origin.parse("https://api.test"), "/old", "/v1/old"),
        (Origin.parse("https://api.test"), "/api", "/v1"),
        (Origin.parse("https://files.test"), "/files", ""),
    ]
    references.rewrite_references(
        headers, Origin.parse("https://data.test"), "/data", "/v2", others
    )
    assert headers["location"] == seen


def test_the_table_is_empty_by_default() -> None:
    assert parse().upstreams == Upstreams()
    assert parse().further == {}
