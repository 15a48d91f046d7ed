"""What the traffic has told about an API, in words: names of places, never a token."""

from collections.abc import Iterator

from credentials.stand_ins import MAIN, REFRESH
from exchanges.learned import Learned


def lines(learned: Learned, api: str) -> Iterator[str]:
    """Where it hands tokens out, in which headers it takes them, and which stand-ins are of no use
    to its pages, or are taken for what they stand for.
    """
    given = learned.given(api)
    by_request: dict[str, list[str]] = {}
    for one in given:
        by_request.setdefault(one.asked, []).append(one.told)
    for asked, told in by_request.items():
        yield f"learned: {asked} hands out {', '.join(dict.fromkeys(told))}"
    for header in learned.headers(api):
        value = header.format.value(b"{token}").decode()
        yield f"learned: {api} takes a token in {header.name}: {value}"
    for one, came_back in given.items():
        if not came_back:
            line = f"never came back: the stand-in for {one.told} of {one.asked}"
            # A page may have had no need yet of a refresh token, or may be one that sends nothing.
            needed = one.slot not in (MAIN, REFRESH)
            option = f"--set cookie_auth_expose={one.name or 'NAME'}"
            yield line + (f"; if its page needs the token itself: {option}" if needed else "")
