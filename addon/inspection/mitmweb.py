"""mitmweb as cookie-auth shows it: comments in the list, and the API's flows before all others."""

import re
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from mitmproxy import optmanager
from upstream import patches

ONLY_THE_APIS = '!~comment "front end"'
"""What leaves the API's flows in mitmweb's list. Its search box knows `~comment` and no `~meta`, in
both generations (11.0.2, 12.3.1)."""

COLUMNS = ["icon", "path", "comment", "method", "status", "size", "time"]

_WORD = re.compile(r"""[^\s~!&|()"'\\]+""")


def show_comments(options: optmanager.OptManager) -> None:
    """Put the comment into mitmweb's list, unless its columns were chosen already."""
    if "web_columns" in options and not options.has_changed("web_columns"):
        options.update(web_columns=COLUMNS)


def begin_with(search: Callable[[], str]) -> Callable[[], None]:
    """Have mitmweb open its page with this in the search box, where a click takes it out again.

    The page takes it from its address, where it also puts it. Returns what undoes it.
    """
    webaddons: Any = sys.modules.get("mitmproxy.tools.web.webaddons")
    opener = patches.Function(webaddons, "open_browser", ("url",))
    if webaddons is None or patches.unknown([opener]):
        return lambda: None
    opens = webaddons.open_browser

    def open_browser(url: str) -> Any:
        first = search()
        return opens(f"{url}#/flows?s={quote(first)}" if first else url)

    return patches.replace({opener: open_browser})


def search_comments() -> Callable[[], None]:
    """Have a plain word in mitmweb's search box find comments as well as addresses.

    So does the path that the browser asked for. mitmweb 11 searches in the page, where this does
    not reach; `~comment` finds it there. Returns what undoes it.
    """
    connection: Any = getattr(sys.modules.get("mitmproxy.tools.web.app"), "ClientConnection", None)
    update = patches.Function(connection, "update_filter", ("self", "name", "expr"))
    if connection is None or patches.unknown([update]):
        return lambda: None
    updates = connection.update_filter

    def update_filter(self: Any, name: str, expr: str) -> None:
        updates(self, name, with_comments(expr))

    return patches.replace({update: update_filter})


def with_comments(expression: str) -> str:
    """What a plain word of a filter stands for: in the address, or in the comment."""
    if not _WORD.fullmatch(expression):
        return expression
    return f'~u "{expression}" | ~comment "{expression}"'
