"""mosquitto's files: its configuration, and who may write and read what.

Two listeners: one for gateways on every interface, one for collectors on loopback,
both with mutual TLS and the name taken from the certificate. Each has rules of its
own, so that a collector's certificate is worth nothing away from the broker's machine.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from devices.durable import replace_file
from ingest.wire.certificates import registrar_rules, revoked_rules
from ingest.wire.topics import collector_rules, gateway_rules

GATEWAY_PORT: Final = 8883
COLLECTOR_PORT: Final = 8884

#: Defaults of mosquitto drop silently from the 1,001st queued message on.
_CONF: Final = """\
# made by flarecast ca: changes here are lost
per_listener_settings true
persistence true
autosave_interval 60
max_inflight_messages 1000
max_queued_messages 2000000
max_queued_bytes 2147483648
max_packet_size 1048576
persistent_client_expiration 14d
set_tcp_nodelay true
{machine}"""

_LISTENER: Final = """
listener {where}
cafile {folder}/ca.crt
certfile {folder}/broker.crt
keyfile {folder}/broker.key
crlfile {folder}/crl.pem
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {folder}/{acl}
"""


def configuration(
    folder: Path,
    *,
    machine: str = "",
    gateway_port: int = GATEWAY_PORT,
    collector_port: int = COLLECTOR_PORT,
) -> str:
    """Text of ``mosquitto.conf`` for files in `folder`; `machine` adds lines of one machine."""
    gateways = _LISTENER.format(where=gateway_port, folder=folder, acl="gateways.acl")
    collectors = _LISTENER.format(where=f"{collector_port} 127.0.0.1", folder=folder, acl="collectors.acl")
    return _CONF.format(machine=machine) + gateways + collectors


def write_broker_files(
    folder: Path, *, installed: Path | None, collectors: Sequence[str], revoked: Sequence[str]
) -> None:
    """Write the rules, and at the first time the configuration, of the broker.

    Parameters
    ----------
    installed : Path, optional
        Where the broker will find the files; `folder` itself when absent.
    collectors
        Names of the collectors.
    revoked
        Names of which every certificate is revoked.
    """
    conf = folder / "mosquitto.conf"
    if not conf.exists():
        _replace(conf, configuration((installed or folder).absolute()))
    refused = [line for name in revoked for line in revoked_rules(name)]
    allowed = [line for name in collectors for line in collector_rules(name)]
    _replace(folder / "gateways.acl", _lines([*refused, *gateway_rules()]))
    _replace(folder / "collectors.acl", _lines([*allowed, *registrar_rules()]))


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _replace(path: Path, text: str) -> None:
    replace_file(path, text, mode=0o600)
