#!/usr/bin/env bash
# Sets up .venv on the first call, then runs the demo, a proxy for your API, or the tests.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${VENV:-$root/.venv}

usage() {
    cat <<'HELP'
usage: ./run.sh [--web] [--no-fast] [mitmproxy options]        the demo: a small API and a page
       ./run.sh [--web] [--no-fast] URL [mitmproxy options]    a proxy for the API at URL
       ./run.sh URL --frontend URL [mitmproxy options]         the same, for your app as it is
       ./run.sh URL --save-profile FILE [mitmproxy options]    … and keep what was learned
       ./run.sh learn FILE…                                    a profile from recordings or HAR files
       ./run.sh test [pytest arguments]                        linters, type check, tests, coverage
       ./run.sh bench [group …]                                what the proxy costs, beside others
       ./run.sh bench stand-ins [--reference COMMIT]           what stand-ins cost
       ./run.sh bench page-load [--rounds 5]                   what a page load costs
       ./run.sh --version                                      versions, for a report

The proxy listens on http://localhost:8080; another port: --listen-port 9000.
A path in URL becomes cookie_auth_base_path. All options of the addon go behind --set:
  ./run.sh https://api.example.com/v1 --set cookie_auth_login=/session --set cookie_auth_prefix=/api

With --frontend, open the proxy's address instead of your dev server's: it passes on the pages of
the dev server, and what is under /api goes to the API. Nothing in the app changes but the API's
address, which is /api now; what it takes for tokens are stand-ins. Another prefix:
--set cookie_auth_prefix=/backend
  ./run.sh https://api.example.com/v1 --frontend http://localhost:5173

With --save-profile, what is set and what was learned is written to a file when the proxy ends (FILE
has a / in it or ends in .yaml); --set cookie_auth_profile=FILE takes it, or the name of a recipe in
addon/recipes:
  ./run.sh https://api.example.com --set cookie_auth_profile=strapi

  --web         mitmweb instead of mitmdump, to look at the traffic in a browser; its list begins with
                the API's part of it

The options used most (the README has all, grouped by need):
  cookie_auth_login=/login          API path whose answer carries the token
  cookie_auth_token=/authToken      where it stands there: a JSON Pointer, or header:NAME
  cookie_auth_header=auth-token     request header that the API reads
  cookie_auth_header_format={token} its value, e.g. 'Bearer {token}'
  cookie_auth_prefix=               where the browser finds the API, e.g. /api

  --no-fast     without addon/fast_dispatch.py, which makes mitmproxy's own part faster, and
                addon/short_way.py, which passes what is for the front end by it
  API_URL=URL   the same as giving URL
  PYTHON=...    the Python to set up .venv with (3.10 or newer; default: the newest on the PATH)
HELP
}

# Sets up nothing: who asks may be about to report that just this fails.
versions() {
    sed -n 's/^version = "\(.*\)"$/cookie-auth \1/p' "$root/pyproject.toml"
    if suitable "$venv/bin/python"; then
        "$venv/bin/python" - <<'PY'
import platform
from importlib import metadata

print("Python", platform.python_version())
try:
    print("mitmproxy", metadata.version("mitmproxy"))
except metadata.PackageNotFoundError:
    print("mitmproxy is not installed yet")
PY
    else
        echo "Python and mitmproxy are not set up yet; ./run.sh does that"
    fi
}

die() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

suitable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then # install has found it suitable
        echo "$PYTHON"
        return
    fi
    # A name on the PATH may be a stub that only tells how to get that version, so each is tried.
    local minor name
    for minor in 15 14 13 12 11 10; do
        name=python3.$minor
        if suitable "$name"; then
            echo "$name"
            return
        fi
    done
    for name in python3 python; do
        if suitable "$name"; then
            echo "$name"
            return
        fi
    done
    die "found no Python 3.10 or newer on the PATH; install one, or name it: PYTHON=/path/to/python3 ./run.sh"
}

version_of() { "$1" -c 'import sys; print(*sys.version_info[:3], sep=".")' 2>/dev/null; }

# install [test]: make .venv and put the project's dependencies, or also those of its tests, there.
install() {
    local extra=${1:-} stamp python
    stamp="$venv/.installed-$(cksum <"$root/pyproject.toml" | tr ' ' -)"
    if [ -n "${PYTHON:-}" ]; then
        suitable "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.10 or newer"
        [ "$(version_of "$venv/bin/python")" = "$(version_of "$PYTHON")" ] || rm -rf "$venv"
    fi
    if [ -e "$stamp$extra" ] && [ -x "$venv/bin/python" ]; then
        return
    fi
    if ! suitable "$venv/bin/python"; then
        python=$(find_python)
        rm -rf "$venv"
        echo "run.sh: setting up $venv with Python $(version_of "$python"); this happens once" >&2
        if command -v uv >/dev/null; then
            uv venv --quiet --python "$python" "$venv"
        else
            "$python" -m venv "$venv" || die "$python cannot make a venv (on Debian: apt install python3-venv)"
        fi
    fi
    if command -v uv >/dev/null; then
        uv pip install --quiet --python "$venv/bin/python" -r "$root/pyproject.toml" ${extra:+--extra "$extra"} ||
            die "could not install the dependencies"
    else
        dependencies "$extra" | xargs "$venv/bin/python" -m pip install --disable-pip-version-check -qq ||
            die "could not install the dependencies"
    fi
    touch "$stamp$extra"
}

# pip cannot install a project's dependencies without the project, and this one is no package.
dependencies() {
    "$venv/bin/python" - "$root/pyproject.toml" "$1" <<'PY'
import sys
try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib
with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
extra = sys.argv[2]
for name in project["dependencies"] + (project["optional-dependencies"][extra] if extra else []):
    print(f'"{name}"')
PY
}

run_tests() {
    install test
    cd "$root"
    echo "run.sh: $("$venv/bin/python" --version), mitmproxy $("$venv/bin/python" -c 'import mitmproxy.version as v; print(v.VERSION)')"
    "$venv/bin/ruff" check .
    "$venv/bin/ruff" format --check .
    "$venv/bin/mypy"
    if [ "${1:-}" = --no-coverage ]; then
        "$venv/bin/pytest" -n auto --dist loadfile
        "$venv/bin/pytest" -n auto --dist loadfile --fast-dispatch
        return
    fi
    "$venv/bin/coverage" erase
    # With arguments it is a part of the tests that is wanted, as it was asked for.
    if [ $# != 0 ]; then
        "$venv/bin/coverage" run -m pytest "$@"
    else
        "$venv/bin/coverage" run -m pytest -n auto --dist loadfile
        "$venv/bin/coverage" run -m pytest -n auto --dist loadfile --fast-dispatch
    fi
    "$venv/bin/coverage" combine --quiet
    # Part of the tests covers part of the code.
    "$venv/bin/coverage" report $([ $# = 0 ] || echo --fail-under=0)
}

# check PORT [URL]: print the upstream and its base path, or say in one line what cannot work.
# Without URL, the upstream is a free port for the demo.
check() {
    PYTHONPATH="$root/addon" "$venv/bin/python" - "$@" <<'PY'
import asyncio
import os
import socket
import sys
from urllib.parse import urlsplit

from upstream.addresses import NotConnected, connect
from upstream.proxies import Proxies

def fail(text):
    sys.exit(f"run.sh: {text}")

port, *url = sys.argv[1:]
try:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(port)))
except (ValueError, OverflowError):
    fail(f"{port!r} is no port number")
except OSError as error:
    fail(f"cannot listen on port {port}: {error.strerror}; choose another one with --listen-port")
if not url:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        print("http://127.0.0.1:%d" % free.getsockname()[1])
    sys.exit()
try:
    parts = urlsplit(url[0])
    address = parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError
except (KeyError, ValueError):
    fail(f"{url[0]!r} is no API address; it must look like https://api.example.com/v1")
proxy = Proxies.read(os.environ).on_the_way_to(parts.scheme, *address)
try:
    asyncio.run(connect(*(proxy.via[1] if proxy else address)))
except NotConnected as error:
    what = f"the proxy {proxy}" if proxy else f"the API at {url[0]}"
    fail(f"cannot reach {what}: {error}; is it running?")
print(f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/"))
PY
}

# proxy TOOL URL [--frontend URL] [--save-profile FILE] [mitmproxy options]: an empty URL stands for
# the demo.
proxy() {
    local tool=$1 url=$2 port=8080 frontend="" prefix=/api profile="" saved="" previous="" left argument checked
    local upstream base_path
    shift 2
    for ((left = $#; left; left--)); do # what is mitmproxy's goes back to the end
        argument=$1
        shift
        case $previous in
        -p | --listen-port) port=$argument ;;
        --frontend) frontend=${argument:-nothing} ;;
        --save-profile) saved=${argument:-nothing} ;;
        esac
        case $argument in
        --listen-port=*) port=${argument#*=} ;;
        -p?*) port=${argument#-p} ;;
        --frontend) frontend=nothing ;; # so far
        --frontend=*) frontend=${argument#*=} ;;
        --save-profile) saved=nothing ;;
        --save-profile=*) saved=${argument#*=} ;;
        cookie_auth_profile=* | --set=cookie_auth_profile=*) profile=${argument##*_profile=} ;;
        cookie_auth_prefix=* | --set=cookie_auth_prefix=*) prefix="" ;;
        esac
        case $previous:$argument in
        --frontend:* | *:--frontend | *:--frontend=*) ;;
        --save-profile:* | *:--save-profile | *:--save-profile=*) ;;
        *) set -- "$@" "$argument" ;;
        esac
        previous=$argument
    done
    if [ -n "$frontend" ]; then
        [ -n "$url" ] || die "--frontend needs the API's address before it: ./run.sh URL --frontend $frontend"
        case $frontend in
        http://?* | https://?*) ;;
        *) die "--frontend needs an address like http://localhost:5173, not $frontend" ;;
        esac
        # What is set goes before what a profile says.
        case $profile in
        "" | */* | *.yaml) ;;
        *) profile=$root/addon/recipes/$profile.yaml ;;
        esac
        if [ -n "$profile" ] && grep -qs '^prefix:' "${profile/#\~\//$HOME/}"; then prefix=""; fi
        set -- --set "cookie_auth_frontend=$frontend" ${prefix:+--set "cookie_auth_prefix=$prefix"} "$@"
    fi
    if [ -n "$saved" ]; then
        case $saved in
        */* | *.yaml) ;;
        *) die "--save-profile needs a file such as shop.yaml, not $saved" ;;
        esac
        [ -d "$(dirname "$saved")" ] || die "--save-profile: there is no folder $(dirname "$saved")"
        export COOKIE_AUTH_SAVE_PROFILE=$saved
    fi
    install
    checked=$(check "$port" ${url:+"$url"})
    read -r upstream base_path <<<"$checked"
    echo "Open http://localhost:$port (Ctrl-C ends it)"
    if [ -z "$url" ]; then
        set -- -s "$root/addon/demo/demo_api.py" "$@"
    elif [ -n "$base_path" ]; then
        set -- --set "cookie_auth_base_path=$base_path" "$@"
    fi
    exec "$venv/bin/$tool" ${fast:+-s "$fast"} -s "$root/addon/cookie_auth.py" ${short:+-s "$short"} \
        --mode "reverse:$upstream" --listen-host 127.0.0.1 --listen-port "$port" "$@"
}

tool=mitmdump
fast=$root/addon/fast_dispatch.py
short=$root/addon/short_way.py
while :; do
    case ${1:-} in
    --web) tool=mitmweb ;;
    --no-fast) fast='' short='' ;;
    *) break ;;
    esac
    shift
done
case ${1:-} in
-h | --help) usage ;;
--version) versions ;;
test)
    shift
    run_tests "$@"
    ;;
bench)
    install test
    shift
    script=bench.py
    case ${1:-} in
    stand-ins) script=stand_ins.py ;;
    page-load) script=page_load.py ;;
    esac
    [ "$script" = bench.py ] || shift
    exec "$venv/bin/python" "$root/tests/benchmarks/$script" "$@"
    ;;
learn)
    install
    shift
    exec "$venv/bin/python" "$root/addon/learn.py" "$@"
    ;;
http://* | https://*) proxy "$tool" "$@" ;;
"" | -*) proxy "$tool" "${API_URL:-}" "$@" ;;
*) die "'$1' is neither an http(s) URL nor a command; see ./run.sh --help" ;;
esac
