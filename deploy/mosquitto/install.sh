#!/bin/sh
# Copy what `flarecast ca` wrote beside mosquitto and let it read it: rules, certificates and revocations are
# read again while it runs, only another mosquitto.conf starts it anew. Run as root on the broker's machine.
#   deploy/mosquitto/install.sh HOME/ca/broker
# The authority must have been made with --installed /etc/mosquitto/flarecast.
set -eu
from=${1:?"usage: $0 HOME/ca/broker"}
etc=${MOSQUITTO_ETC:-/etc/mosquitto}
owner=${MOSQUITTO_OWNER:-mosquitto}
restart=${MOSQUITTO_RESTART:-systemctl restart mosquitto}
reload=${MOSQUITTO_RELOAD:-systemctl reload-or-restart mosquitto}

install -d -m 0750 -o "$owner" "$etc/flarecast"
for name in ca.crt broker.crt broker.key crl.pem gateways.acl collectors.acl; do
    install -m 0600 -o "$owner" "$from/$name" "$etc/flarecast/$name"
done
# Debian's mosquitto.conf includes this folder, and says where queues and log lie
install -d -m 0755 "$etc/conf.d"
if cmp -s "$from/mosquitto.conf" "$etc/conf.d/flarecast.conf"; then
    $reload
else
    install -m 0644 "$from/mosquitto.conf" "$etc/conf.d/flarecast.conf"
    $restart
fi
