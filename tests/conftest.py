import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from support import ADDON, ROOT, Client, Mitmdump, Upstream, stop_all

# A busy machine is no failure. CI tries the same examples each time; who runs the tests, others.
settings.register_profile("no deadline", deadline=None)
settings.register_profile("CI", deadline=None, derandomize=True)
settings.load_profile("CI" if os.environ.get("CI") == "true" else "no deadline")

Mitmdump.preloaded = True

# What fast dispatch can change, and so is tested with and without it: who is called at an event, in
# which order, and what becomes of an error. What a header, a cookie or a page may hold, it cannot;
# neither do the demo and run.sh, which load it anyway. (test_fast_dispatch.py belongs here itself.)
FAST_DISPATCH = {
    "test_failing_closed",  # start-up, options, reloads, and errors in hooks
    "test_failing_upstream",  # the error hook, and refusals after it
    "test_inspection",  # what mitmproxy's own addons save after ours, commands, shutdown
    "test_laws",  # every kind of refusal and answer of our own
    "test_mended",  # messages of WebSockets, reloads, answers that are given up
    "test_protocols",  # HTTP/2
    "test_refresh",  # requests of our own, among those of others
    "test_replay",  # flows that mitmproxy's replay plays
    "test_streams",  # streaming and WebSockets
}

# The fixtures that start a process, or are for tests that do.
PROCESSES = {"_proxies", "upstream", "confdir", "start", "serve", "browser", "vite", "api", "pair"}

# Tables and properties of thousands of cases, which take their time.
EXHAUSTIVE = {"test_search", "test_fast_dispatch", "test_short_way_fuzz"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast-dispatch",
        action="store_true",
        help="with fast_dispatch.py in each mitmdump, and only the tests that it can change",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    for item in items:
        slow = PROCESSES.intersection(item.fixturenames) or item.get_closest_marker("recipes")
        if not slow and item.path.stem not in EXHAUSTIVE:
            item.add_marker("quick")
        elif os.environ.get("CI") == "true":
            # Sockets and Chromium on a busy machine: what fails there once in thousands of tests
            # is asked twice more, and the summary names it. A fault of ours fails three times.
            item.add_marker(pytest.mark.flaky(reruns=2))
    if config.getoption("--fast-dispatch"):
        Mitmdump.fast_dispatch = True
        kept = list(filter(is_about_dispatch, items))
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """No bytes of an archive, token or moment in a test's name: each worker makes others."""
    if isinstance(val, (bytes, str)):
        differs = len(val) > 60 or (isinstance(val, bytes) and not val.isascii())
    else:
        differs = isinstance(val, (int, float)) and val > 1e9
    return argname if differs else None


def is_about_dispatch(item: pytest.Function) -> bool:
    name = item.path.stem
    runs_mitmdump = not item.get_closest_marker("quick")
    return name == "test_fast_dispatch" or (runs_mitmdump and name in FAST_DISPATCH)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means: most tests wait, so there are more workers than processors."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session")
def _upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
def upstream(_upstream: Upstream) -> Upstream:
    """The API: records what arrives; each test begins with an empty record."""
    _upstream.received.clear()
    _upstream.answers("{}")
    return _upstream


@pytest.fixture(scope="session")
def _proxies(
    _upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Mitmdump]]:
    started: dict[tuple[str, ...], Mitmdump] = {}

    def proxy(*options: str) -> Mitmdump:
        if options not in started:
            confdir = tmp_path_factory.mktemp("confdir")
            arguments = [part for option in options for part in ("--set", option)]
            started[options] = Mitmdump(_upstream.url, *arguments, confdir=confdir)
        return started[options]

    yield proxy
    stop_all(started.values())


@pytest.fixture
def proxy_with(_proxies: Callable[..., Mitmdump], upstream: Upstream) -> Callable[..., Mitmdump]:
    """A running mitmdump with these options, e.g. `proxy_with("cookie_auth_prefix=/api")`.

    It is started once per set of options and serves all the tests that ask for it.
    """
    return _proxies


@pytest.fixture
def proxy(proxy_with: Callable[..., Mitmdump]) -> Client:
    """A client of a proxy that has no options set."""
    return proxy_with().client


@pytest.fixture
def confdir(tmp_path: Path) -> Path:
    """mitmproxy's certificates and configuration, kept away from the developer's own."""
    path = tmp_path / "confdir"
    path.mkdir()
    return path


@pytest.fixture
def start(upstream: Upstream, confdir: Path) -> Iterator[Callable[..., Mitmdump]]:
    """Start a mitmdump for this test alone."""
    started: list[Mitmdump] = []

    def start(*arguments: str, scripts: tuple[Path, ...] = (ADDON,)) -> Mitmdump:
        started.append(Mitmdump(upstream.url, *arguments, confdir=confdir, scripts=scripts))
        return started[-1]

    yield start
    stop_all(started)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; one for all, since Playwright's sync API runs once in a process."""
    if not CHROMIUM and os.environ.get("CI") != "true":
        pytest.skip("no Chromium on the PATH (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--no-first-run", *QUIET]
        )
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser's profile, new for each test: no cookies, an empty cache."""
    with browser.new_context() as context:
        context.set_default_timeout(10_000)
        yield context


@pytest.fixture(scope="session")
def vite() -> Path:
    """Vite, installed once under the project's cache folder."""
    npm = shutil.which("npm") or ""
    if not npm and os.environ.get("CI") != "true":
        pytest.skip("no npm on the PATH")
    folder = ROOT / ".cache" / "vite"
    folder.mkdir(parents=True, exist_ok=True)
    binary = folder / "node_modules" / ".bin" / "vite"
    with (folder / "lock").open("w") as lock:  # other workers want it, too
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "vite"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
    return binary
