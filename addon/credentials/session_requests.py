"""Requests about a session itself, told by their paths and GraphQL operations.

A path is an API path, with or without its query. Operations are the names that a GraphQL request
selects at its top, `refreshToken` in `mutation { refreshToken { token } }`.

Where stand-ins become tokens in bodies and paths, these functions are strict: a script chooses
names in a path too (an object `refresh` in a store, a tag `logout`), and what an API keeps or
sends on must not hold the token. So the request must be understood as a whole: the last segment
says it and nothing else, the one before it is of the kind that such an endpoint stands below, no
other is of a store, and no server may read another path, method or document than is read here.
A refresh that is not known costs a login; a token that is kept can be fetched.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from urllib.parse import parse_qsl, unquote

from origins import paths

from credentials.names import PARAMETERS, plain, words
from credentials.places import MARK

_LOGOUT = frozenset({"logout", "logoff", "signout", "signoff"})
_REVOKE = frozenset({"revoke", "revocation"})
_BLACKLIST = frozenset({"blacklist"})
_ABOUT_TOKENS = (
    frozenset(
        "refresh renew renewal introspect introspection refreshtoken revoketoken tokenrefresh"
        " renewtoken endsession logoutall".split()
    )
    | _LOGOUT
    | _REVOKE
)
# Of djangorestframework-simplejwt, `/token/verify`: nothing that only one of two words names
_ENDING = _LOGOUT | _REVOKE | {"revoketoken", "logoutall"}
_TOKEN = frozenset({"token", "jwt"})
_WITH_TOKEN = frozenset({"verify", "validate"}) | _BLACKLIST
_BESIDE = frozenset(
    "log sign out off end token tokens jwt jwts auth oauth access refresh session sessions"
    " cookie user users admin customer account login api id me my all other others current"
    " everywhere external bearer do new get perform request".split()
)
"""What may stand beside those words in a segment or an operation: `logoutUser`, no `logoutUrl`."""
_AFTER = frozenset("all current token tokens session sessions everywhere access now".split())
"""What may follow them as a segment: `/logout/all`."""
_ABOVE = frozenset(
    "auth oauth oauth2 openid connect oidc sso saml jwt token tokens session sessions login"
    " logins authentication authorization authenticate authorize identity identities id security"
    " uaa account accounts user users me my admin admins customer customers member members people"
    " person staff employee employees self service services api apis app apps web client clients"
    " server backend gateway mobile default protocol current rest dj parse wp jwts access".split()
)
"""The words of the segment before: `/users/logout`, `/protocol/openid-connect/token`."""
_STORES = frozenset(
    "collection collections object objects storage store stores bucket buckets file files upload"
    " uploads media asset assets attachment attachments kv blob blobs tag tags label labels hook"
    " hooks webhook webhooks callback callbacks key keys secret secrets variable variables item"
    " items document documents doc docs record records note notes message messages chat chats"
    " comment comments post posts project projects repo repos repository repositories gist gists"
    " snippet snippets paste pastes index indexes indices data database databases db table tables"
    " row rows entity entities query queries search profile profiles setting settings preference"
    " preferences config configs configuration metadata annotation annotations integration"
    " integrations datasource datasources connector connectors connection connections channel"
    " channels queue queues topic topics exchange exchanges stream streams event events"
    " subscription subscriptions notification notifications device devices push logs cache caches"
    " state states content contents page pages wiki issue issues proxy forward relay graphql gql"
    " graphiql dav webdav bookmark bookmarks link links shares share public function functions"
    " rpc job jobs task tasks workflow workflows template templates list lists set sets map maps"
    " hash hashes".split()
)
"""Words of paths below which an API keeps, or sends on, what it is given."""
_GRANTED = frozenset({"token", "oauth", "oauth2", "auth", "authorize", "connect", "login"})
"""Words of the last segments of token endpoints."""
_LOGINS = frozenset("login logon signin authenticate session sessions".split())
"""Last segments of logins, which some APIs refresh at as well."""
_GRANT = re.compile(
    "refresh_token|refresh|password|authorization_code|client_credentials|urn:ietf:params:oauth:.+"
)
_PEOPLE = frozenset("user users me my account accounts customer customers member members".split())
_DIRECTUS = ["graphql", "system"]
_GRAPHQL = frozenset({"", "graphql", "gql", "query", "api", "shopapi", "adminapi"})
_SAFE = ("GET", "HEAD")
_VERSION = re.compile(r"[vr]?\d[\d.]*(?:(?:alpha|beta|rc)\d*)?|index\.php", re.IGNORECASE)
# `/users/sign_out.json`
_EXTENSION = re.compile(r"\.(?:json|xml|html|php|aspx?|ashx|jsp|cgi|do|action)$", re.IGNORECASE)
_LONGEST = 4096


def says_what_it_does(names: Iterable[str], target: str) -> bool:
    """Whether no server may take this request for one of another method or path.

    Not with `X-HTTP-Method-Override` or `?_method=PUT` (Rails, Laravel, Spring, Express), with
    `X-Original-URL` (Symfony, IIS), or with a path of which some decode or leave out a part
    (`/hooks/a%2frefresh`, `/hooks;/refresh`). `names` are those of its headers.
    """
    path, _, query = target.partition("?")
    bare = path.removesuffix("/") or "/"
    if len(path) > _LONGEST or paths.normalise(path) != bare.casefold() or "#" in target:
        return False
    if any("method" in words(name) for name, _ in parse_qsl(query, keep_blank_values=True)):
        return False
    return not any(_redirects(name) for name in names)


def _redirects(header: str) -> bool:
    found = frozenset(words(header)) - {"x"}
    if header.lower() == "access-control-request-method":
        return False
    return not found.isdisjoint({"method", "override"}) or found in (
        {"original", "url"},
        {"rewrite", "url"},
    )


def may_have_credentials_in_body(
    method: str, path: str, *, operations: Collection[str] = (), has_grant: bool = False
) -> bool:
    """Whether this request refreshes, revokes, introspects or logs out.

    Its body has credentials then. Of several operations each must be such a one: else a script
    could put one beside another that stores the same variable. A grant (in the body or, as GoTrue
    has it, `/token?grant_type=refresh_token`) counts at a token endpoint only: elsewhere APIs
    ignore a member of that name, and keep the rest.
    """
    method, segments = method.upper(), _segments(path)
    if not _is_harmless(_above(segments)):
        return False
    query = parse_qsl(path.partition("?")[2], keep_blank_values=True)
    if operations:
        return (
            method == "POST"
            and _is_graphql(segments)
            and all(plain(name) in PARAMETERS for name, _ in query)
            and all(_says_it(words(name)) for name in operations)
        )
    if method not in ("POST", "PUT", "PATCH", "DELETE"):
        return False
    if _is_about_tokens(segments, _ENDING if method == "DELETE" else _ABOUT_TOKENS | _WITH_TOKEN):
        # In `PUT /logout` a name may be what is put
        return method in ("POST", "DELETE") or len(segments) > 1
    if method == "DELETE":
        return bool(segments) and segments[-1].lower() in ("session", "token")
    grants = [value for name, value in query if name == "grant_type"]
    has_grant = has_grant or (len(grants) == 1 and is_grant(grants[0]))
    return method == "POST" and has_grant and _is_token_endpoint(segments)


def path_names_session(method: str, path: str) -> bool:
    """Whether a segment of the path may be a token: in a DELETE, a logout or a revocation."""
    # Without the token itself, whose letters mean nothing
    segments = [name for name in _segments(path) if MARK not in name]
    if method.upper() == "DELETE":
        return _is_harmless(segments)
    return _is_harmless(_above(segments)) and _is_about_tokens(segments, _ENDING)


def is_grant(value: str) -> bool:
    """Whether a `grant_type` is one of RFC 6749 or its extensions."""
    return bool(_GRANT.fullmatch(value))


def is_logout(
    method: str, path: str, *, operations: Collection[str] = (), navigation: bool = False
) -> bool:
    """Whether this request ends the session it comes with, should the API agree.

    Not `/logout-others`, `DELETE /sessions/42`, `/tokens/5/revoke`.
    """
    method = method.upper()
    segments = _segments(path)
    if method == "DELETE" and (
        segments[-1:] == ["session"] or segments[-2:] == ["sessions", "current"]
    ):
        return True
    if method not in _SAFE and any(plain(name) in _LOGOUT for name in operations):
        return True
    last = _EXTENSION.sub("", segments[-1]) if segments else ""
    return plain(last) in _LOGOUT and (navigation if method in _SAFE else method != "OPTIONS")


def is_revoke(path: str) -> bool:
    """Whether tokens end that this request names in its body, query or path."""
    if any(not _REVOKE.isdisjoint(found) for found in _path_words(path)):
        return True
    return _is_about_tokens(_segments(path), _BLACKLIST)


def _is_about_tokens(segments: list[str], core: Collection[str]) -> bool:
    """Whether the last segment says it, or the one before `/all`, where such may stand."""
    if not segments:
        return False
    *above, last = segments
    last = _EXTENSION.sub("", last)
    if above and _AFTER.issuperset(words(last)) and _says_it(words(above[-1]), core):
        return _may_be_above(above[:-1])
    if _is_in_collection(segments):
        return _says_it(words(last), core) and _may_be_above(above[:-2])
    before = above[-1:] if above and _TOKEN.issuperset(words(above[-1])) else []
    return _says_it([*words("/".join(before)), *words(last)], core) and _may_be_above(above)


def _says_it(found: list[str], core: Collection[str] = _ABOUT_TOKENS | _WITH_TOKEN) -> bool:
    """Whether these words say it, each being one that has to do with it."""
    joined = frozenset(found).union(a + b for a, b in pairwise(found))
    said = joined.intersection(core)
    if said <= _WITH_TOKEN and _TOKEN.isdisjoint(joined):
        return False
    return bool(said) and all(word in _BESIDE or word in core or word.isdigit() for word in found)


def _may_be_above(segments: list[str]) -> bool:
    """Whether such an endpoint may stand below this, versions and numbers aside."""
    named = [name for name in segments if not _VERSION.fullmatch(name)]
    if not named:
        return True
    found = [word for word in words(named[-1]) if not word.isdigit()]
    # `/dj-rest-auth/logout`, but PostgREST has tables in `/rest/v1/refresh`
    return found != ["rest"] and bool(found) and _ABOVE.issuperset(found)


def _above(segments: list[str]) -> list[str]:
    """Those before the endpoint itself."""
    if _is_in_collection(segments):
        return segments[:-3]
    return segments[:-2] if segments[-2:] == _DIRECTUS else segments[:-1]


def _is_in_collection(segments: list[str]) -> bool:
    """As PocketBase has it, `/collections/users/auth-refresh`, with any name for the users."""
    return segments[-3:-2] == ["collections"] and words(segments[-1])[:1] == ["auth"]


def _is_harmless(segments: Iterable[str]) -> bool:
    """Whether none is of a store. The name of a realm or a tenant says nothing."""
    before = ""
    for segment in segments:
        if before not in ("realms", "tenants") and segment != "index.php":
            found = {*words(segment), *words(segment.lower())}
            if not found.isdisjoint(_STORES):
                return False
        before = segment.lower()
    return True


def _is_token_endpoint(segments: list[str]) -> bool:
    """RFC 6749, 3.2: `/token`, `/oauth/token`, `/access_token`, no `/users/5/token`."""
    if not segments:
        return False
    *above, last = segments
    last = _EXTENSION.sub("", last)
    found = words(last)
    named = [name for name in above if not _VERSION.fullmatch(name)]
    grants = not _GRANTED.isdisjoint(found) and all(
        word in _BESIDE or word in _GRANTED or word.isdigit() for word in found
    )
    return (
        (grants or plain(last) in _LOGINS)
        and _may_be_above(above)
        and _PEOPLE.isdisjoint(words("/".join(named[-1:])))
    )


def _is_graphql(segments: list[str]) -> bool:
    """Vendure has `/shop-api`; Apollo's server is at `/`, too."""
    if segments[-2:] == _DIRECTUS:
        return True
    return plain(segments[-1] if segments else "") in _GRAPHQL


def _path_words(path: str) -> Iterator[frozenset[str]]:
    """The words of each segment."""
    for segment in _segments(path):
        yield _words(segment)


def _words(name: str) -> frozenset[str]:
    """The words, and each two neighbours as one, for `sign-out`."""
    found = words(name)
    return frozenset(found).union(a + b for a, b in pairwise(found))


def _segments(path: str) -> list[str]:
    path = unquote(re.split("[?#]", path, maxsplit=1)[0])
    return [name for each in path.split("/") if (name := each.partition(";")[0])]
