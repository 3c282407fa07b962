#!/bin/sh
# Writes requirements.lock (everything: clinic, home box, development) and
# requirements-gateway.lock (the home box) from pyproject.toml.
#
# Why uv and not pip-compile: it reads no pip.conf, so nothing of this machine's
# package sources can get into the file, and it can resolve for a machine that is
# not this one. Both locks must come out the same for x86_64 and aarch64; where they
# don't, this fails and the lock has to be split (docs/adr/0008-lock-with-hashes.md).
set -eu
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
# The oldest Python we promise: Debian 12's. 3.11.2 needs a package 3.11.3 does not.
PYTHON_VERSION=3.11.2
TOOL=.cache/lock-$UV_VERSION

if [ ! -x "$TOOL/bin/uv" ]; then
    "${PYTHON:-python3}" -m venv "$TOOL"
    "$TOOL/bin/python" -m pip install --quiet "uv==$UV_VERSION"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The build backend travels with the lock: installs run with --no-build-isolation.
"$TOOL/bin/python" -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["build-system"]["requires"], sep="\n")' >"$work/build.in"

resolve() { # machine, lock file, extras...
    machine=$1 target=$2
    shift 2
    printf '# Made by "make lock" from pyproject.toml; not edited by hand.\n' >"$work/$machine-$target"
    "$TOOL/bin/uv" pip compile --no-config --quiet ${UPGRADE:+--upgrade} \
        --python-version "$PYTHON_VERSION" --python-platform "$machine-manylinux_2_36" \
        --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
        "$@" pyproject.toml "$work/build.in" --output-file "$work/$target" >/dev/null
    sed "s|$work/build.in|build-system|" "$work/$target" >>"$work/$machine-$target"
}

lock() { # lock file, extras...
    target=$1
    for machine in x86_64 aarch64; do
        rm -f "$work/$target"
        # uv keeps the versions of the existing file unless UPGRADE=1
        [ -f "$target" ] && cp "$target" "$work/$target"
        resolve "$machine" "$@"
    done
    cmp "$work/x86_64-$target" "$work/aarch64-$target"
    cp "$work/x86_64-$target" "$target"
    echo "$target: $(grep -c '==' "$target") releases"
}

lock requirements.lock --extra full --extra scale --extra analyst --extra dev
lock requirements-gateway.lock --extra gateway
