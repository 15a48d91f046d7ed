"""Whether anybody may see what is written to flows. A mitmdump that saves nothing shows none of it.

mitmdump's own lines have neither marks nor comments (`addons/dumper.py`), nor has a HAR file
(`addons/savehar.py`).
"""

from pathlib import Path
from typing import Any

from mitmproxy import optmanager
from mitmproxy.tools.dump import DumpMaster

OURS = Path(__file__).resolve().parent.parent
"""The folder of our scripts; another may read what is written to a flow."""

_FILTERS = ("~comment", "~mark")
"""`~marked` and `~marker`, too."""


def may_look(master: Any, options: optmanager.OptManager) -> bool:
    """False only where it is sure."""
    scripts = [Path(script).expanduser().resolve() for script in options.scripts]
    if type(master) is not DumpMaster or OURS / "cookie_auth.py" not in scripts:
        return True
    if options.save_stream_file or any(OURS not in script.parents for script in scripts):
        return True
    values = str([option.current() for _, option in options.items()])
    return any(filter_ in values for filter_ in _FILTERS)
