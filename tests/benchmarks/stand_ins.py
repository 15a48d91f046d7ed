"""What stand-ins cost: `./run.sh bench stand-ins [--reference PATH-OR-COMMIT] [--rounds 30]`.

Three tables, each of variants that are measured in turns: a request without a stand-in, on this
tree and on another one; a request with a stand-in beside one without, on the same proxy; and a
download in which a token lies across two chunks, beside a proxy that looks for nothing. A cell is
the median, and its ratio to the first column round by round (median, least to most). No figure is
asserted, but that the token was translated in requests and replaced in the download is.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import bench
from api import HALF, JWT, SIZE
from bench import MEGABYTE, Figures, Measured, Memory, Peer, answering, api, cell, mitmdump, note
from support import ADDON, FAST_DISPATCH, ROOT

Measure = Callable[[], Measured]
PASSWORD = {"email": "ada@example.com", "password": "correct horse"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.sh bench stand-ins")
    parser.add_argument("--reference", help="a checkout, or a commit, to compare this tree with")
    parser.add_argument("--rounds", type=int, default=30, help="of requests")
    parser.add_argument("--downloads", type=int, default=7, help="rounds of downloads")
    parser.add_argument("--seconds", type=int, default=1, help="of a round of requests")
    parser.add_argument("--no-fast", action="store_true", help="without fast dispatch")
    options = parser.parse_args()
    bench.SECONDS = options.seconds
    this = scripts(ADDON.parent, fast=not options.no_fast)
    with api() as upstream, ExitStack() as stack:
        url = f"http://127.0.0.1:{upstream.port}"

        def compare(title: str, rounds: int, variants: Mapping[str, Measure]) -> None:
            show(title, in_turns(variants, rounds), variants)

        proxy = stack.enter_context(mitmdump(url, *this))
        if options.reference:
            addon = stack.enter_context(checkout(options.reference)) / "addon"
            other = stack.enter_context(mitmdump(url, *scripts(addon, fast=not options.no_fast)))
            compare(
                "no stand-in, listed login",
                options.rounds,
                {"reference": listed_login(other), "this tree": listed_login(proxy)},
            )
        compare(
            "on the same proxy",
            options.rounds,
            {"listed login": listed_login(proxy), **unlisted_login(proxy)},
        )
        compare(
            "300 MiB down",
            options.downloads,
            {
                "cookie_auth_leak=off": lambda: download(url, this, "off"),
                "cookie_auth_leak=stand-in": lambda: download(url, this, "stand-in"),
            },
        )


def scripts(addon: Path, *, fast: bool) -> tuple[Path, ...]:
    script = addon / ADDON.name
    return (addon / FAST_DISPATCH.name, script) if fast else (script,)


@contextmanager
def checkout(reference: str) -> Iterator[Path]:
    """The folder that is named, or one with the files of a commit of ours."""
    if Path(reference).is_dir():
        yield Path(reference).resolve()
        return
    command = ["git", "-C", str(ROOT), "archive", reference, "addon"]
    files = subprocess.run(command, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(files)) as archive:
            archive.extractall(folder)
        yield Path(folder)


# Logging in as a page does


def log_in(peer: Peer, path: str) -> tuple[dict[str, str], dict[str, str]]:
    """The header fields of this login's later requests, with its cookies; and its answer."""
    fields = {
        **bench.HEADERS,
        "Content-Type": "application/json",
        "Origin": f"http://127.0.0.1:{peer.port}",
    }
    del fields["Cookie"]
    with connected(answering(peer)) as connection:
        connection.request("POST", path, json.dumps(PASSWORD), fields)
        response = connection.getresponse()
        answer: dict[str, str] = json.loads(response.read())
    assert response.status == 200, (response.status, answer)
    cookies = [field.partition(";")[0] for field in response.msg.get_all("Set-Cookie", [])]
    return {**bench.HEADERS, "Cookie": "; ".join(["theme=dark", *cookies])}, answer


def after_first_use(peer: Peer, fields: Mapping[str, str]) -> dict[str, str]:
    """The same with the companion that the answer to a first stand-in has set."""
    with connected(peer) as connection:
        connection.request("GET", "/me", headers=dict(fields))
        response = connection.getresponse()
        response.read()
    (companion,) = response.msg.get_all("Set-Cookie", [])
    name, _, value = companion.partition(";")[0].partition("=")
    cookies = [one for one in fields["Cookie"].split("; ") if not one.startswith(f"{name}=")]
    return {**fields, "Cookie": "; ".join([*cookies, f"{name}={value}"])}


def connected(peer: Peer) -> closing[HTTPConnection]:
    return closing(HTTPConnection("127.0.0.1", peer.port, timeout=120))


def requests(peer: Peer, fields: Mapping[str, str], token: str) -> Measure:
    """Small requests with these fields, with which this token comes to the API."""
    with connected(peer) as connection:
        connection.request("GET", "/me", headers=dict(fields))
        answer = json.loads(connection.getresponse().read())
    assert answer["token bytes"] == len(token), answer
    return lambda: bench.requests(peer, fields)


def listed_login(peer: Peer) -> Measure:
    fields, _ = log_in(peer, "/login")
    return requests(peer, fields, bench.TOKEN)


def unlisted_login(peer: Peer) -> dict[str, Measure]:
    """Requests of one login with its stand-in, and without it, which are nobody's from then on."""
    fields, answer = log_in(peer, "/auth/sign-in")
    fields["Authorization"] = f"Bearer {given(answer)}"
    fields = after_first_use(peer, fields)
    anonymous = {name: value for name, value in fields.items() if name != "Authorization"}
    return {"stand-in": requests(peer, fields, JWT), "anonymous": requests(peer, anonymous, "")}


def given(answer: Mapping[str, str]) -> str:
    token = answer["access_token"]
    if token == JWT:
        sys.exit("bench: POST /auth/sign-in gave the page the token itself, not a stand-in")
    return token


def download(url: str, addon: tuple[Path, ...], leak: str) -> Measured:
    """A long body, from a process that was just started: memory that is held once stays so."""
    with mitmdump(url, *addon, options=("--set", f"cookie_auth_leak={leak}")) as peer:
        fields, answer = log_in(peer, "/auth/sign-in")
        token = answer["access_token"] if leak == "off" else given(answer)
        fields["Authorization"] = f"Bearer {token}"
        with Memory(peer) as memory, connected(peer) as connection:
            used, start = peer.processor_time, time.perf_counter()
            connection.request("GET", "/export", headers=fields)
            response = connection.getresponse()
            got, there = 0, b""
            while chunk := response.read1(MEGABYTE):
                there += chunk[max(HALF - got, 0) : max(HALF + len(JWT) - got, 0)]
                got += len(chunk)
            took, used = time.perf_counter() - start, peer.processor_time - used
    assert got > SIZE - len(JWT), got
    # A stand-in that is longer than the token has no place in a body of known length.
    assert there.startswith(token.encode()) or there == b"*" * len(JWT), there
    assert leak == "off" or JWT.encode() != there
    return {
        "MB/s": got / took / 1e6,
        "processor time, s": used,
        "memory growth, MiB": memory.growth,
    }


# The tables


def in_turns(variants: Mapping[str, Measure], rounds: int) -> Figures:
    """Measure each once for warmth, then in turns, every other time from the last to the first."""
    figures: Figures = {}
    names = list(variants)
    for number in range(rounds + 1):
        for name in names:
            measured = variants[name]()
            if number:
                note(figures, name, measured)
        names.reverse()
    return figures


def show(title: str, figures: Figures, columns: Iterable[str]) -> None:
    columns = list(columns)
    print("| " + " | ".join([title, *columns]) + " |")
    print("| " + " | ".join(["---", *("---:" for _ in columns)]) + " |")
    for label, row in figures.items():
        cells = [cell(row[name], row[columns[0]]) for name in columns]
        print("| " + " | ".join([label, *cells]) + " |")
    print(flush=True)


if __name__ == "__main__":
    main()
