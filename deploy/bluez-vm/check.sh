#!/bin/bash
# The BLE edge against a real kernel, a real bluetoothd and bleak's own backend.
#
#   deploy/bluez-vm/check.sh [SCENARIO...]      scenarios of tests/bluez; all without a name
#
# qemu emulates a machine in software (no KVM). It boots Debian's kernel, sees this
# machine's root read-only under an overlay in memory, and runs tests/bluez there: the
# virtual air of the test suite becomes the kernel's Bluetooth adapter through
# /dev/vhci. Kernel, bluez and busybox are downloaded from Debian and unpacked into
# .cache/bluez-vm, never installed: no daemon runs on this machine, and nothing is
# left running. Logs of the last run stay in .cache/bluez-vm/run.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
CACHE=$ROOT/.cache/bluez-vm
RUN=$CACHE/run
# Modules of the initrd; modprobe brings what they need. Without drbg and its
# neighbours the kernel says "Unable to create ECDH crypto context" and cannot pair.
MODULES="virtio_pci 9p 9pnet_virtio overlay
    ctr sha512_generic sha3_generic jitterentropy_rng drbg cmac ecb algif_skcipher algif_hash
    bluetooth hci_vhci"
# A run takes one to two minutes on two cores; what takes so long hangs.
TIMEOUT_S=${TIMEOUT_S:-420}

say() { printf '%s\n' "$*" >&2; }
die() { say "check-bluez: $*"; exit 1; }

check_machine() {
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
        die "cannot run here: the guest shares this machine's Python, which has to be Linux on x86_64"
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        die "cannot run here: kernel and bluez come from Debian, and there is no apt-get"
    case $ROOT in *[[:space:]]*) die "cannot run in a folder with a space in its path: $ROOT" ;; esac
}

kernel_package() { # the newest of this Debian release
    apt-cache depends --important linux-image-amd64 2>/dev/null |
        awk '/Depends: linux-image/ { print $2; exit }'
}

refresh_lists() { # package lists of an image are often absent
    [ "$(id -u)" = 0 ] && apt-get update -qq && return
    sudo -n apt-get update -qq || die "no package lists; as root: apt-get update"
}

fetch() {
    [ -e "$CACHE/packages" ] && return
    [ -n "$(kernel_package)" ] || refresh_lists
    local kernel folder package
    kernel=$(kernel_package)
    [ -n "$kernel" ] || die "Debian's linux-image-amd64 is not in the package lists here"
    folder=$(mktemp -d "$CACHE/fetch.XXXXXX")
    say "check-bluez: downloading $kernel bluez busybox-static from Debian"
    # as root apt warns that it cannot drop its privileges in a folder of ours
    (cd "$folder" && apt-get download -qq "$kernel" bluez busybox-static 2>"$CACHE/fetch.log") || {
        # lists older than the mirror name releases that are gone
        refresh_lists
        (cd "$folder" && apt-get download -qq "$(kernel_package)" bluez busybox-static)
    } || die "download failed"
    rm -rf "$CACHE/unpacked"
    mkdir -p "$CACHE/unpacked"
    for package in "$folder"/*.deb; do
        dpkg-deb -x "$package" "$CACHE/unpacked"
    done
    for package in "$folder"/*.deb; do
        # shellcheck disable=SC2016  # a format of dpkg's
        dpkg-deb -W --showformat '${Package} ${Version}\n' "$package"
    done >"$CACHE/packages.new"
    rm -rf "$folder"
    mv "$CACHE/packages.new" "$CACHE/packages"
}

build_initrd() {
    local state version work busybox=$CACHE/unpacked/bin/busybox module file folder
    rm -rf "$CACHE"/initrd.??????
    state=$(cat "$0" "$HERE/init.sh" "$CACHE/packages" | sha256sum)
    [ "$(cat "$CACHE/initrd.state" 2>/dev/null)" = "$state" ] && return
    version=$(ls "$CACHE/unpacked/lib/modules")
    work=$(mktemp -d "$CACHE/initrd.XXXXXX")
    mkdir -p "$work"/{bin,sbin,proc,sys,dev,host,rw,new} "$work/lib/modules/$version"
    cp "$busybox" "$work/bin/busybox"
    sed "s/@MODULES@/$(echo $MODULES)/" "$HERE/init.sh" >"$work/init"
    chmod +x "$work/init"
    (
        cd "$CACHE/unpacked/lib/modules/$version"
        cp modules.builtin modules.order "$work/lib/modules/$version/"
        # whole folders, and depmod finds out what needs what; fscache is one of some releases only
        for folder in crypto arch/x86/crypto lib fs/9p fs/netfs fs/fscache fs/overlayfs net/9p net/bluetooth \
            net/rfkill drivers/virtio drivers/bluetooth drivers/char/hw_random drivers/hid; do
            [ ! -d "kernel/$folder" ] || find "kernel/$folder" -name '*.ko*'
        done | xargs cp --parents -t "$work/lib/modules/$version"
    )
    "$busybox" depmod -b "$work" "$version"
    for module in $MODULES; do
        file=$(find "$work/lib/modules" -name "$module.ko*")
        [ -n "$file" ] || grep -q "/$module.ko" "$work/lib/modules/$version/modules.builtin" ||
            die "Debian's kernel $version has no module $module"
    done
    (cd "$work" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$CACHE/initrd.gz"
    rm -rf "$work"
    printf '%s\n' "$state" >"$CACHE/initrd.state"
}

boot() { # scenario...
    rm -rf "$RUN"
    mkdir -p "$RUN"
    printf '%s\n' "$@" >"$RUN/scenarios"
    cp "$CACHE/packages" "$RUN/packages"
    # ttyS0: kernel and init; ttyS1: what the tests print. Entropy from the host, or pairing waits for it.
    timeout "$TIMEOUT_S" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 1024 -smp 2 \
        -display none -monitor none -no-reboot -net none -object rng-random,id=rng,filename=/dev/urandom \
        -device virtio-rng-pci,rng=rng -serial "file:$RUN/console.log" -serial stdio \
        -kernel "$CACHE"/unpacked/boot/vmlinuz-* -initrd "$CACHE/initrd.gz" \
        -append "console=ttyS0 loglevel=4 panic=-1 flarecast=$ROOT" \
        -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
        -virtfs "local,path=$RUN,mount_tag=run,security_model=none" \
        </dev/null 2>"$RUN/qemu.log"
}

report() { # what qemu ended with
    local status
    # a kernel that stumbled is a result too, whatever the scenarios say
    grep -hE 'BUG:|Oops|list_del corruption|Call Trace|NO9P|modprobe:' "$RUN/console.log" | head -n 5 >&2 || true
    if [ ! -e "$RUN/status" ]; then
        tail -n 20 "$RUN/console.log" "$RUN/qemu.log" >&2
        [ "$1" = 124 ] && die "not finished within $TIMEOUT_S s"
        die "the guest ended without a result; logs in $RUN"
    fi
    status=$(cat "$RUN/status")
    [ "$status" = 0 ] || say "check-bluez: failed; logs in $RUN"
    exit "$status"
}

check_machine
"$ROOT/deploy/setup.sh" debian qemu-system-x86_64=qemu-system-x86 dbus-daemon=dbus
mkdir -p "$CACHE"
# One run at a time: the logs have one place.
exec 9>"$CACHE/lock"
flock -n 9 || die "another run is under way"
fetch
build_initrd
ended=0
boot "$@" || ended=$?
report "$ended"
