"""What the traffic has told about APIs and their pages; kept while mitmproxy runs."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from credentials.companion import Session, Use
from credentials.options import HeaderSettings
from origins.paths import normalise
from profiles.learning import Finding

_MOST = 4096


class Given(NamedTuple):
    """What pages got stand-ins for."""

    asked: str
    """`POST /auth/sign-in`."""
    told: str
    """Where it stood in the answer, without what may be a secret."""
    name: str
    """For `cookie_auth_expose`; empty for one that may be a secret itself."""
    slot: str
    login: str = ""
    """The API path, for `cookie_auth_login`; empty for one that must not be named there."""


class Learned:
    """Names of places, headers and logins: never a token."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, Given], None] = OrderedDict()
        self._users = _Bounded()
        self._places = _Bounded()
        self._headers: OrderedDict[str, HeaderSettings] = OrderedDict()
        self._tried = _Bounded()
        self._refusing = _Bounded()
        self._heard = _Bounded()
        self._given: OrderedDict[tuple[str, str], tuple[str, Given]] = OrderedDict()
        self._came_back = _Bounded()
        self._findings: OrderedDict[tuple[str, Finding], None] = OrderedDict()
        self._wanted: dict[str, HeaderSettings] = {}
        self._hit: set[str] = set()

    def sends_stand_ins(self, login: str) -> None:
        """The page of this login has sent a stand-in: from now on it says what it wants."""
        self._users.add(login)

    def is_user(self, login: str) -> bool:
        return login in self._users

    def with_use(self, session: Session) -> Session:
        """The login, with what is known of who sends its tokens."""
        return session._replace(use=Use.USED) if self.is_user(session.id) else session

    def has_refused(self, login: str, asked: str) -> None:
        """The API has refused this request of a login for another reason than its token."""
        self._refusing.add((login, asked))

    def refuses(self, login: str, asked: str) -> bool:
        return (login, asked) in self._refusing

    def handed_out(self, api: str, path: str, place: str) -> None:
        """A token of a login stood at this place of an answer of this path."""
        self._places.add((api, normalise(path), place))

    def hands_out(self, api: str, path: str, place: str) -> bool:
        return (api, normalise(path), place) in self._places

    def gave(self, api: str, login: str, slot: str, given: Given) -> None:
        """A page got a stand-in for a token of this login."""
        if len(self._seen) < _MOST:
            self._seen[api, given] = None
        self._given[login, slot] = api, given
        self._given.move_to_end((login, slot))
        if len(self._given) > _MOST:
            self._given.popitem(last=False)

    def came_back(self, login: str, slots: Iterable[str]) -> None:
        """Its page has sent those of these slots."""
        for slot in slots:
            if given := self._given.get((login, slot)):
                self._came_back.add(given)

    def seen(self, api: str) -> list[Given]:
        """All that this API's pages ever got stand-ins for, the first first."""
        return [given for one, given in self._seen if one == api]

    def given(self, api: str) -> dict[Given, bool]:
        """What this API's pages got stand-ins for, and whether one of them has come back."""
        found = [one for one in self._given.values() if one[0] == api]
        return {one[1]: one in self._came_back for one in found}

    def told_of(self, login: str, slot: str) -> str:
        """Where a login's token stood, as it may be told; empty where that is not known."""
        given = self._given.get((login, slot))
        return given[1].told if given else ""

    def found(self, api: str, finding: Finding) -> None:
        """What options could say of this API."""
        if len(self._findings) < _MOST:
            self._findings.setdefault((api, finding))

    def findings(self, api: str) -> list[Finding]:
        """All that was found, the first first."""
        return [finding for one, finding in self._findings if one == api]

    def logins(self, api: str) -> list[str]:
        """The paths that were seen to log in."""
        return [str(one.value) for one in self.findings(api) if one.option == "login"]

    def wants(self, api: str, header: HeaderSettings) -> None:
        """The answer to a listed login says in which header its token goes."""
        self._wanted[api] = header

    def wanted(self, api: str) -> HeaderSettings | None:
        return self._wanted.get(api)

    def hit(self, api: str) -> None:
        """A path of `cookie_auth_login` was asked for."""
        self._hit.add(api)

    def was_hit(self, api: str) -> bool:
        return api in self._hit

    def headers(self, api: str) -> list[HeaderSettings]:
        """Those in which this API was seen to take tokens."""
        logins = dict.fromkeys(login for (login, _), (one, _) in self._given.items() if one == api)
        found = (self._headers.get(login) for login in logins)
        return list(dict.fromkeys(one for one in found if one))

    def reads(self, login: str, header: HeaderSettings) -> None:
        """The API takes this login's token in this header."""
        self._headers[login] = header
        if len(self._headers) > _MOST:
            self._headers.popitem(last=False)

    def header(self, login: str) -> HeaderSettings | None:
        """The one in which the API takes this login's token, if that was seen."""
        return self._headers.get(login)

    def heard(self, login: str) -> None:
        """The page of this login has sent its token in a header, and the API has taken it."""
        self._heard.add(login)

    def is_heard(self, login: str) -> bool:
        return login in self._heard

    def tries(self, login: str, status: int) -> None:
        """Another header is tried with this login's token, after an answer with this status."""
        self._tried.add((login, status))

    def was_tried(self, login: str, status: int) -> bool:
        return (login, status) in self._tried


class _Bounded:
    """A set that forgets the oldest."""

    def __init__(self) -> None:
        self._members: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, member: Hashable) -> bool:
        return member in self._members

    def add(self, member: Hashable) -> None:
        self._members[member] = None
        self._members.move_to_end(member)
        if len(self._members) > _MOST:
            self._members.popitem(last=False)
