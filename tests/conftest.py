from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support import ADDON, Client, Mitmdump, Upstream

# A busy machine is no failure.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast-dispatch",
        action="store_true",
        help="only the tests that run a mitmdump, with fast_dispatch.py in it",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    if config.getoption("--fast-dispatch"):
        Mitmdump.fast_dispatch = True
        items[:] = [item for item in items if {"upstream", "confdir"} & set(item.fixturenames)]


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
    for mitmdump in started.values():
        mitmdump.stop()


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
    for mitmdump in started:
        mitmdump.stop()
