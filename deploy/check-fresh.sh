#!/bin/bash
# Proves the README's commands on a machine that has nothing: a new Debian 12 with
# python3, python3-venv, git, make and ca-certificates, a clone of the last commit,
# and then each target (default: demo test), with the time each took.
#
#   deploy/check-fresh.sh [TARGET...]     KEEP=1 keeps the system, its path is printed
#
# How this machine reaches its package sources (apt's mirrors, pip.conf, .npmrc, a
# proxy, certificates) is read when it runs and copied; the system gets nothing else. Mounts
# and processes live in namespaces of their own, so they end with the run whatever
# ends it.
set -euo pipefail

RELEASE=bookworm
PACKAGES=python3,python3-venv,git,make,ca-certificates
SOURCE=$(cd "$(dirname "$0")/.." && pwd)
DATA=$SOURCE/../shared/data

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }

apt_sources() { # "deb URI RELEASE main" of Debian proper, as apt is configured here
    apt-get indextargets --format '$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)' |
        awk -v release="$RELEASE" '$1 == "Packages" && $4 == "main" && $3 ~ "^" release "(-updates|-security)?$" \
            { print "deb", $2, $3, $4 }' | sort -u
}

pip_files() { # pip's configuration files, where there are any
    local file
    for file in /etc/pip.conf /root/.pip/pip.conf /root/.config/pip/pip.conf; do
        [ -f "$file" ] && printf '%s\n' "$file"
    done
    return 0
}

npm_files() { # npm's, the same
    [ ! -f /root/.npmrc ] || printf '%s\n' /root/.npmrc
}

network_variables() { # NAME=value of what pip, npm, apt and TLS need to reach their sources
    env | grep -iE '^((PIP|NPM_CONFIG)_[A-Z_]+|https?_proxy|no_proxy|(SSL|NODE)_[A-Z_]*CERTS?[A-Z_]*|REQUESTS_CA_BUNDLE)=' ||
        true
}

pip_folders() { # folders on this machine that pip's configuration names
    { pip_files | xargs -r cat; network_variables | grep '^PIP_'; } |
        grep -oE '(file://)?/[A-Za-z0-9._/-]+' |
        # an index of files at .../simple links to the files beside it
        sed -e 's|^file://||' -e 's|/simple/*$||' | sort -u |
        while read -r path; do [ -d "$path" ] && printf '%s\n' "$path"; done
    return 0
}

make_system() { # root folder
    local root=$1 sources mirror file
    sources=$(apt_sources)
    mirror=$(awk -v release="$RELEASE" '$3 == release { print $2; exit }' <<<"$sources")
    [ -n "$mirror" ] || { say "apt is not configured for Debian $RELEASE here"; exit 1; }
    debootstrap --variant=minbase --include="$PACKAGES" "$RELEASE" "$root" "$mirror" >"$root.log" 2>&1 ||
        { tail -n 20 "$root.log"; exit 1; }
    printf '%s\n' "$sources" >"$root/etc/apt/sources.list"
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/90as-here"
    # A daemon that a package starts would outlive the check's own test of it.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    for file in $(pip_files) $(npm_files); do
        install -D -m 644 "$file" "$root$file"
    done
}

bind_read_only() { # what, where
    mkdir -p "$2"
    mount --bind "$1" "$2"
    mount -o remount,ro,bind "$2"
}

mount_system() { # root folder
    local root=$1 folder
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sys "$root/sys"
    mount --rbind /dev "$root/dev"
    for folder in $(pip_folders); do
        bind_read_only "$folder" "$root$folder"
    done
    bind_read_only "$SOURCE" "$root/mnt"
    if [ -d "$DATA" ]; then
        bind_read_only "$DATA" "$root/root/work/shared/data"
    else
        say "no ../shared/data here: the real-recording tests will be skipped"
    fi
}

inside() { # root folder, command...
    local root=$1 variables
    shift
    mapfile -t variables < <(network_variables)
    env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "${variables[@]}" chroot "$root" "$@" </dev/null
}

run_targets() { # root folder, target...
    local root=$1 target began status=0
    shift
    mount_system "$root"
    inside "$root" sh -c 'git config --global --add safe.directory "*" &&
        mkdir -p /root/work && git clone --quiet /mnt /root/work/flarecast'
    say "clone of $(inside "$root" git -C /root/work/flarecast log -1 --format='%h %s')"
    say "$(inside "$root" python3 -V), pip $(inside "$root" python3 -c 'import ensurepip; print(ensurepip.version())')"
    for target in "$@"; do
        began=$SECONDS
        if inside "$root" make -C /root/work/flarecast "$target"; then
            say "fresh: make $target passed in $((SECONDS - began)) s"
        else
            say "fresh: make $target FAILED after $((SECONDS - began)) s"
            status=1
        fi
    done
    return $status
}

remove_system() { # folder of this run
    if [ -n "${KEEP:-}" ]; then
        say "kept: $1"
    else
        # no mount of the run is visible from here; --one-file-system makes sure of it
        rm -rf --one-file-system "$1"
    fi
}

main() {
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || { say "a new system needs root or passwordless sudo"; exit 1; }
        exec sudo -n --preserve-env=KEEP,PYTHON "$0" "$@"
    fi
    "$SOURCE/deploy/setup.sh" debian debootstrap
    local folder began=$SECONDS
    folder=$(mktemp -d /var/tmp/flarecast-fresh.XXXXXX)
    # shellcheck disable=SC2064  # the folder of now
    trap "remove_system '$folder'" EXIT
    mkdir "$folder/system"
    make_system "$folder/system"
    say "Debian $RELEASE with ${PACKAGES//,/, } made in $((SECONDS - began)) s"
    [ $# -gt 0 ] || set -- demo test
    unshare --mount --propagation private --pid --fork --kill-child \
        "$0" --inside "$folder/system" "$@"
    say "fresh: all passed in $((SECONDS - began)) s"
}

if [ "${1:-}" = --inside ]; then
    shift
    run_targets "$@"
else
    main "$@"
fi
