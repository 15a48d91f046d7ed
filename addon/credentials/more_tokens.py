"""Tokens beside the main one, each with its place in the answers and its header.

Such as an id token, the `client` and `uid` of devise_token_auth, or a tenant's id. They are in the
slots of a login's tokens, and share its life.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from messages.headers import spelling
from settings.option import Reader
from tokens.sources import Further, parse_source

from credentials.companion import Notary, Session
from credentials.cookies import HeaderFormat
from credentials.options import header_format, header_name
from credentials.stand_ins import ID, is_named

OPTION = "cookie_auth_token.more"

_SLOTS = ("1", "2", "3", ID)
_KEYS = {"from", "header", "format", "secret"}
_FORM = "{from: /id_token, header: X-Id-Token}, with format: 'Bearer {token}' or secret: false"


class MoreToken(NamedTuple):
    """One of them."""

    further: Further
    header: str
    format: HeaderFormat

    @property
    def slot(self) -> str:
        return self.further.slot


def read_all(read: Reader, taken: Mapping[str, str]) -> tuple[MoreToken, ...]:
    """Those that the option names. `taken` says of a header's spelling what else is in it.

    Raises InvalidOption.
    """
    known = dict(taken)
    free = list(_SLOTS)

    def parse(table: Mapping[str, str]) -> MoreToken:
        if not {"from", "header"} <= table.keys() <= _KEYS:
            raise ValueError(_FORM)
        if (secret := table.get("secret", "true")).lower() not in ("true", "false"):
            raise ValueError("one with secret: true or secret: false")
        if not free:
            raise ValueError(f"one of {len(_SLOTS)} at most")
        name = header_name(table["header"])
        if other := known.get(spelling(name)):
            raise ValueError(f"one with another header: {name} is {other}")
        known[spelling(name)] = "there already"
        source = parse_source(table["from"])
        further = Further(free.pop(0), source, secret.lower() == "true")
        return MoreToken(further, name, header_format(table.get("format", "{token}")))

    return tuple(read.tables(OPTION, parse))


def of_login(more: Iterable[MoreToken], session: Session, notary: Notary) -> tuple[MoreToken, ...]:
    """Those whose slot holds them in this login: pages that hold stand-ins have others there.

    A client that wrote its cookies by hand means what is configured.
    """
    return tuple(
        one
        for one in more
        if not session.issued or is_named(notary, session, one.slot, one.further.name)
    )
