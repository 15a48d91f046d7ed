"""mitmdumps forked from a process that has imported mitmproxy: most of what a start costs.

Nothing of the addon or of the tests is in that process, and what differs from one mitmdump to the
next (arguments, environment, import path, coverage) begins after the fork.
"""

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import TimeoutExpired
from unittest.mock import patch

ROOT = Path(__file__).parent.parent

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["mitmproxy.tools.main", "mitmproxy.tools.dump", "coverage"])


class Forked:
    """A mitmdump, with what is needed of a `subprocess.Popen`; its output is in one pipe."""

    def __init__(self, arguments: list[str]) -> None:
        self._output, output = _context.Pipe(duplex=False)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        unmeasured = {k: v for k, v in environment.items() if not k.startswith("COVERAGE_")}
        with patch.dict(os.environ, unmeasured, clear=True):
            forkserver.ensure_running()
        self._process = _context.Process(
            target=run, args=(arguments, environment, output), daemon=True
        )
        self._process.start()
        output.close()
        assert self._process.pid
        self.pid = self._process.pid
        self.stdout = os.fdopen(self._output.fileno(), errors="replace", closefd=False)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired("mitmdump", timeout or 0)
        return self._process.exitcode

    def terminate(self) -> None:
        if self.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def run(arguments: list[str], environment: dict[str, str], output: Connection) -> None:
    """mitmdump's own `main`, in the forked process."""
    from coverage import process_startup
    from mitmproxy.tools.main import mitmdump

    os.environ.clear()
    os.environ.update(environment)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    script = str(Path(sys.executable).with_name("mitmdump"))
    sys.argv = [script, *arguments]
    ours = [path for path in sys.path if ROOT in (place := Path(path), *place.parents)]
    libraries = [path for path in sys.path if path not in ours or "site-packages" in path]
    sys.path[:] = [os.path.dirname(script), *filter(None, libraries)]
    measuring = process_startup()
    try:
        mitmdump(arguments)
    finally:
        if measuring:
            measuring.stop()
            measuring.save()
