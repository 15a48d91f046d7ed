"""What recordings tell of an API, as a profile: `./run.sh learn FILE…` calls this.

    python addon/learn.py FILE…

Files are recordings of mitmproxy (`-w`, or saved in its UI) or HAR files. The profile goes to the
standard output, with its evidence in comments; no token is ever in it.
"""

import json
import re
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, NoReturn

from exchanges import recorded
from messages.text import printable
from mitmproxy import exceptions, http
from mitmproxy.io import FlowReader
from profiles import har
from profiles.learning import Learnt, Seen, learn

SANITIZED = (
    "it has no credentials: in Chrome, take 'Export HAR (with sensitive data)'; the settings of its"
    " developer tools (Preferences, Network) allow that"
)
_PLAIN = re.compile(r"[A-Za-z/][\w/.-]*(?: [\w/.{}-]+)?", re.ASCII)
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
"""What YAML takes for no text."""


class Api(NamedTuple):
    """One of those in the recordings."""

    origin: str
    exchanges: list[Seen]
    learnt: Learnt

    @property
    def weight(self) -> tuple[bool, bool, int, int]:
        """The more, the likelier it is the one that is meant."""
        found = self.learnt.findings
        logs_in = any(one.option == "login" for one in found)
        return self.learnt.came_back, logs_in, len(found), len(self.exchanges)


def main(files: list[str]) -> None:
    if not files or files[0] in ("-h", "--help"):
        fail("learn needs recordings: ./run.sh learn FILE…, of mitmproxy (-w FILE) or HAR files")
    seen: dict[str, list[Seen]] = {}
    for file in files:
        for origin, one in read(file):
            seen.setdefault(origin, []).append(one)
    everything = [(origin, one) for origin, found in seen.items() for one in found]
    apis = [
        Api(origin, found, learn(found, (other for other in everything if other[0] != origin)))
        for origin, found in seen.items()
    ]
    if not apis:
        fail(f"{', '.join(files)}: there is no request with an answer in it")
    apis.sort(key=lambda api: api.weight, reverse=True)
    print("\n".join(profile(apis[0], apis[1:])))


def read(file: str) -> Iterator[tuple[str, Seen]]:
    """The exchanges in a file, each with its API's origin."""
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    if archive := har.read(data):
        if archive.is_sanitized:
            print(f"run.sh: {file}: {SANITIZED}", file=sys.stderr)
        yield from archive.exchanges
        return
    flows: list[http.HTTPFlow] = []
    try:
        for flow in FlowReader(BytesIO(data)).stream():
            if isinstance(flow, http.HTTPFlow):
                flows.append(flow)
    except Exception as error:  # of whatever kind: it is not our format
        newer = isinstance(error, exceptions.FlowReadException) and "version" in str(error)
        if newer:
            fail(f"{file}: recorded with a newer mitmproxy than the one here")
        if not flows:
            fail(f"{file}: neither a recording of mitmproxy's nor a HAR file")
        print(f"run.sh: {file}: it breaks off after {len(flows)} requests", file=sys.stderr)
    flows.sort(key=lambda flow: flow.request.timestamp_start)
    yield from recorded.exchanges(flows)


def profile(api: Api, others: list[Api]) -> Iterator[str]:
    """The lines of the file."""
    learnt = api.learnt
    yield f"# What {len(api.exchanges)} requests to {api.origin} tell of it."
    if not any(one.option == "login" for one in learnt.findings):
        yield "# No login was found that options could name."
    elif not learnt.came_back and any(one.asked_as for one in api.exchanges):
        options = "cookie_auth_secret or cookie_auth_redact"
        yield f"# No token came back; with {options}, a recording does not show them."
    said = ""
    told = learnt.options
    opened: set[str] = set()
    for name, value in told.items():
        evidence = [one.evidence for one in learnt.findings if one.option == name]
        comment = "\n".join(f"# {text}" for text in dict.fromkeys(evidence))
        if comment != said:
            yield comment
        said = comment
        key, _, member = name.partition(".")
        if member:
            if key not in opened:
                yield f"{key}:"
            yield f"  {member}: {written(value)}"
        elif any(other.startswith(f"{key}.") for other in told):
            yield f"{key}:"
            yield f"  rule: {written(value)}"
        else:
            yield f"{name}: {written(value)}"
        opened.add(key)
    for remark in learnt.remarks:
        yield f"# {remark}"
    for other in others:
        logins = [one for one in other.learnt.findings if one.option == "login"]
        if logins:
            yield f"# {other.origin}, too: {logins[0].evidence}"


def written(value: str | bool | list[str]) -> str:
    """A value in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return "'" + value.replace("'", "''") + "'" if value.isprintable() else json.dumps(value)


def fail(text: str) -> NoReturn:
    sys.exit(f"run.sh: {printable_line(text)}")


def printable_line(text: str) -> str:
    return " ".join(printable(word) if not word.isprintable() else word for word in text.split(" "))


if __name__ == "__main__":
    main(sys.argv[1:])
