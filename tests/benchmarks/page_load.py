"""What a page load costs through the proxy: `./run.sh bench page-load [--rounds 5]`.

A Vite app of 1,000 modules that nobody has bundled, which Vite serves one by one, loaded in
Chromium: directly, through bare mitmdump, through cookie-auth as `run.sh` starts it (also with
mitmweb, with everything for the front end recorded, and by HTTP/2 over TLS), and through
http-proxy. *Cold* is a new browser profile, *warm* a reload, for which Vite confirms each module
(304). All run at the same time and are measured in turns. A cell is the median, and its ratio to
direct (processor time: to bare mitmdump) in the same round, with the least and the most. No figure
is asserted.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import BARE, CACHE, DIRECT, HERE, Figures, Measured, Peer, api, cell, node, note
from playwright.sync_api import Browser, sync_playwright
from support import (
    ADDON,
    FAST_DISPATCH,
    MITMDUMP,
    SHORT_WAY,
    Mitmdump,
    can_connect,
    eventually,
    free_port,
    running,
)

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
OURS = (FAST_DISPATCH, ADDON, SHORT_WAY)
HTTP_2 = "cookie-auth, HTTP/2"
WAYS = {
    BARE: ((), ()),
    "cookie-auth": (OURS, ()),
    "cookie-auth --web": (OURS, ("--no-web-open-browser",)),
    "cookie-auth, all recorded": (OURS, ("--set", "cookie_auth_keep_frontend=true")),
    HTTP_2: (OURS, ()),
}
EACH_IMPORTS = 10
FILLER = "// A line of what a component of this size has.\n" * 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.sh bench page-load")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modules", type=int, default=1000)
    options = parser.parse_args()
    if not CHROMIUM or not shutil.which("npm"):
        sys.exit("bench page-load: it wants Chromium and npm on the PATH")
    install()
    figures: Figures = {}
    with ExitStack() as stack:
        upstream = stack.enter_context(api())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_app(folder, options.modules)
        direct = stack.enter_context(vite(folder))
        url = f"http://127.0.0.1:{direct.port}"
        peers = {DIRECT: direct}
        for name, (scripts, arguments) in WAYS.items():
            peers[name] = stack.enter_context(mitmproxy(upstream, url, scripts, arguments))
        peers["http-proxy"] = stack.enter_context(node(url, "node", "front_end_proxy.js"))
        browser = stack.enter_context(chromium())
        for number in range(options.rounds + 1):
            for name, peer in peers.items():
                measured = load(browser, peer, options.modules, tls=name == HTTP_2)
                if number:  # before, it warms up; Vite translates each module once
                    note(figures, name, measured)
    show(figures, list(peers))


def install() -> None:
    """Put Vite and http-proxy into the cache folder."""
    shutil.copytree(HERE / "node", CACHE, dirs_exist_ok=True)
    wanted = {"vite": "vite", "http-proxy": "http-proxy@1.18.1"}
    missing = [
        what for name, what in wanted.items() if not (CACHE / "node_modules" / name).exists()
    ]
    if missing:
        command = ["npm", "install", "--no-save", "--no-fund", "--no-audit", *missing]
        subprocess.run(command, cwd=CACHE, check=True, stdout=subprocess.DEVNULL)


def write_app(folder: Path, modules: int) -> None:
    """A page whose modules import each other as a tree, about a kilobyte each."""
    (folder / "index.html").write_text("<h1></h1><script type=module src=/src/m0.js></script>\n")
    (folder / "src").mkdir()
    for number in range(modules):
        children = range(number * EACH_IMPORTS + 1, (number + 1) * EACH_IMPORTS + 1)
        known = [child for child in children if child < modules]
        imports = "".join(f"import {{ sum as s{child} }} from './m{child}.js'\n" for child in known)
        total = " + ".join(["1", *(f"s{child}" for child in known)])
        filler = "".join(
            f"// Line {line} of what a component of this size has.\n" for line in range(18)
        )
        text = f"{imports}{filler}export const sum = {total}\n"
        if number == 0:  # runs when all the others have
            text += "document.querySelector('h1').textContent = sum\n"
            text += "window.loaded = performance.now()\n"
        (folder / "src" / f"m{number}.js").write_text(text)


@contextmanager
def vite(folder: Path) -> Iterator[Peer]:
    port = free_port()
    binary = CACHE / "node_modules" / ".bin" / "vite"
    command = [str(binary), "--port", str(port), "--strictPort", "--host", "127.0.0.1"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        assert eventually(lambda: can_connect(port))
        yield Peer(port, process.pid)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def mitmproxy(
    upstream: Peer, url: str, scripts: tuple[Path, ...], arguments: tuple[str, ...]
) -> Iterator[Peer]:
    port = free_port()
    api_url = f"http://127.0.0.1:{upstream.port}" if scripts else url
    if scripts:
        front_end = ("cookie_auth_prefix=/api", f"cookie_auth_frontend={url}")
        arguments = (*arguments, *(part for one in front_end for part in ("--set", one)))
    web = "--no-web-open-browser" in arguments
    quiet = ("--web-port", str(free_port())) if web else ("-q",)
    with tempfile.TemporaryDirectory() as confdir:
        process = Mitmdump(
            api_url,
            *("--listen-port", str(port), *quiet, *arguments),
            confdir=Path(confdir),
            scripts=scripts,
            program=MITMDUMP.with_name("mitmweb") if web else MITMDUMP,
        )
        with running(process):
            assert eventually(lambda: can_connect(port))
            yield Peer(port, process.process.pid)


@contextmanager
def chromium() -> Iterator[Browser]:
    quiet = ["--no-sandbox", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield browser
        browser.close()


def load(browser: Browser, peer: Peer, modules: int, *, tls: bool) -> Measured:
    """A cold and a warm page load: how long each took, and what the peer used for a request."""
    measured: Measured = {}
    with browser.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        for name in ("cold", "warm"):
            before = peer.processor_time
            if name == "cold":
                page.goto(f"http{'s' if tls else ''}://127.0.0.1:{peer.port}/")
                hop = page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")
                assert (hop == "h2") == tls
            else:
                page.reload()
            page.wait_for_function("window.loaded")
            measured[f"{name} load, ms"] = page.evaluate("window.loaded")
            assert page.locator("h1").text_content() == str(modules)
            used = (peer.processor_time - before) / (modules + 1)
            measured[f"{name}: processor time per request, ms"] = used * 1000
    return measured


def show(figures: Figures, columns: list[str]) -> None:
    print("| " + " | ".join(["", *columns]) + " |")
    print("| " + " | ".join(["---", *("---:" for _ in columns)]) + " |")
    for label, row in sorted(figures.items()):
        base = DIRECT if "load" in label else BARE
        cells = [cell(row[name], row[base]) for name in columns]
        print("| " + " | ".join([label, *cells]) + " |")


if __name__ == "__main__":
    main()
