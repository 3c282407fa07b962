#!/bin/bash
# Runs in the guest after init.sh: D-Bus, bluetoothd, the scenarios, then off.
ROOT=$1
# the run's folder on the host
export RUN=/run/flarecast
UNPACKED=$ROOT/.cache/bluez-vm/unpacked
# bleak asks bluetoothctl for the version of BlueZ
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$UNPACKED/usr/bin
export HOME=/root PYTHONDONTWRITEBYTECODE=1
export BLUETOOTHD=$UNPACKED/usr/libexec/bluetooth/bluetoothd

uptime_s() { cut -d' ' -f1 /proc/uptime; }

start_services() {
    mkdir -p /run/dbus /var/lib/bluetooth /etc/bluetooth /etc/dbus-1/system.d
    # bonds of the host's own adapters are no business of the guest
    mount -t tmpfs bonds /var/lib/bluetooth
    cp "$UNPACKED/etc/bluetooth/main.conf" /etc/bluetooth/
    cp "$UNPACKED/etc/dbus-1/system.d/bluetooth.conf" /etc/dbus-1/system.d/
    dbus-daemon --system --fork --nopidfile 2>$RUN/dbus.log
    "$BLUETOOTHD" --nodetach >>$RUN/bluetoothd.log 2>&1 &
    "$UNPACKED/usr/bin/btmon" --write $RUN/hci.btsnoop >/dev/null 2>&1 &
    # a scenario kills bluetoothd; bash need not comment on it
    disown -a
}

run_scenarios() {
    cd "$ROOT" || return 1
    printf 'guest: Linux %s, up after %s s\n' "$(uname -r)" "$(uptime_s)"
    sed 's/^/guest: Debian /' $RUN/packages
    mapfile -t names < <(grep . $RUN/scenarios)
    .venv/bin/python -X faulthandler -m tests.bluez "${names[@]}"
}

exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw 2>/dev/null
start_services
run_scenarios
echo $? >$RUN/status
printf 'guest: down after %s s\n' "$(uptime_s)"
sync
echo o >/proc/sysrq-trigger
sleep 9
