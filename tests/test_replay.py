"""Flows that are saved and replayed (law 11), by mitmproxy's own client and server replay."""

from pathlib import Path

from support import ADDON, Message, Mitmdump, Upstream, eventually, running

OPTIONS = ["--set", "cookie_auth_prefix=/api", "--set", "cookie_auth_base_path=/v1"]


def record(
    upstream: Upstream, confdir: Path, flows: Path, scripts: tuple[Path, ...]
) -> tuple[list[Message], list[Message]]:
    """Save a login and a request; what the API received, and what the browser got."""
    options = OPTIONS if scripts else []
    recorder = Mitmdump(upstream.url, "-w", str(flows), *options, confdir=confdir, scripts=scripts)
    upstream.answers('{"authToken": "sekret"}')
    with running(recorder):
        got = [
            recorder.client.post("/api/login", body="{}", cookie="a=b"),
            recorder.client.get("/api/me?x=1", cookie="auth-token=sekret; a=b"),
        ]
    received = upstream.received.copy()
    upstream.received.clear()
    return received, got


def test_a_replayed_flow_gives_the_same_request_again(
    upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    flows = tmp_path / "flows"
    received, _ = record(upstream, confdir, flows, (ADDON,))
    assert [request.target for request in received] == ["/v1/login", "/v1/me?x=1"]
    with running(Mitmdump(upstream.url, "-C", str(flows), *OPTIONS, confdir=confdir)):
        assert eventually(lambda: len(upstream.received) == 2)
    assert upstream.received == received
    assert upstream.last.one("auth-token") == "sekret"


def test_a_flow_recorded_without_the_addon_is_translated_when_it_is_replayed(
    upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    flows = tmp_path / "flows"
    received, _ = record(upstream, confdir, flows, ())
    assert received[1].one("cookie") == "auth-token=sekret; a=b"
    with running(Mitmdump(upstream.url, "-C", str(flows), *OPTIONS, confdir=confdir)):
        assert eventually(lambda: len(upstream.received) == 2)
    assert [request.target for request in upstream.received] == ["/v1/login", "/v1/me?x=1"]
    assert upstream.last.one("auth-token") == "sekret"
    assert upstream.last.one("cookie") is None


def test_a_login_that_mitmproxy_answers_from_a_file_sets_the_cookie(
    upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    flows = tmp_path / "flows"
    _, recorded = record(upstream, confdir, flows, (ADDON,))
    with running(Mitmdump(upstream.url, "-S", str(flows), *OPTIONS, confdir=confdir)) as replay:
        got = replay.client.post("/api/login", body="{}")
    assert not upstream.received
    assert got.body == recorded[0].body == b'{"loggedIn": true}'
    assert got.set_cookie == "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax"


def test_a_login_that_was_recorded_without_the_addon_is_captured_when_answered_from_a_file(
    upstream: Upstream, confdir: Path, tmp_path: Path
) -> None:
    flows = tmp_path / "flows"
    record(upstream, confdir, flows, ())
    options = ["--set", "cookie_auth_login=/api/login"]
    with running(Mitmdump(upstream.url, "-S", str(flows), *options, confdir=confdir)) as replay:
        got = replay.client.post("/api/login", body="{}")
    assert not upstream.received
    assert got.body == b'{"loggedIn": true}'
    assert got.set_cookie == "auth-token=sekret; Path=/; HttpOnly; SameSite=Lax"
