"""Which logins of this process are over, so that nothing late revives them.

An answer that was asked for by an earlier login may come after its logout, or after the next login.
It sets no cookie then. The same holds for a renewed token of which a later one is out already.
"""

from collections import OrderedDict

from credentials.companion import Session

_MOST = 4096


class Logins:
    """Time is counted in events here, from 1 on."""

    def __init__(self) -> None:
        self._now = 0
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._renewed: OrderedDict[str, int] = OrderedDict()
        self._switched: OrderedDict[str, int] = OrderedDict()

    def moment(self) -> int:
        """A moment later than all before."""
        self._now += 1
        return self._now

    def end(self, session: Session, began: int) -> None:
        """A logout or a login, whose request came at that moment, has ended this session."""
        if session.id:
            _note(self._ended, session.id, began)

    def is_over(self, session: Session, began: int) -> bool:
        """Whether the session has ended since a request of it began, or before.

        Cookies that were written by hand may come again after a logout; those of a login may not.
        """
        ended = self._ended.get(session.id, 0)
        return ended > began or (session.issued and ended > 0)

    def was_superseded(self, session: Session, began: int) -> bool:
        """Whether a logout or a login that began later has ended the session which a login that
        began then was to replace.
        """
        return self._ended.get(session.id, 0) > began

    def renewed(self, session: Session) -> int:
        """Note that the session's tokens were renewed; returns the moment."""
        moment = self.moment()
        if session.id:
            _note(self._renewed, session.id, moment)
        return moment

    def switched(self, session: Session) -> int:
        """Note that another's token has taken the place of the session's; returns the moment."""
        moment = self.moment()
        if session.id:
            _note(self._switched, session.id, moment)
        return moment

    def was_switched(self, session: Session, began: int) -> bool:
        """Whether that has happened since a request of the session began."""
        return self._switched.get(session.id, 0) > began

    def is_latest(self, session: Session, renewed: int) -> bool:
        """Whether what was renewed at that moment is the session's newest."""
        return self._renewed.get(session.id, 0) <= renewed


def _note(moments: OrderedDict[str, int], session: str, moment: int) -> None:
    moments[session] = max(moment, moments.get(session, 0))
    moments.move_to_end(session)
    if len(moments) > _MOST:
        moments.popitem(last=False)
