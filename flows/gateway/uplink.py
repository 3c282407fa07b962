"""A home box's way to the clinic: the forwarder, and the certificate it is let in with."""

import asyncio
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Final

from devices.clock import from_utc, system_clock
from devices.durable import replace_file
from devices.errors import DevicesError
from devices.ids import GatewayId, SiteId, check_id
from flows.errors import UserError
from flows.gateway.config import GatewayConfig, read_config, write_config
from ingest.edge.certificate import (
    RENEW_BEFORE,
    ask,
    check,
    expires_utc,
    make_key,
    make_request,
)
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.errors import IngestError, SecurityError
from ingest.wire.address import BrokerAddress
from ingest.wire.certificates import JOINING, Invitation, Request, decode_invitation

logger = logging.getLogger(__name__)

CERTIFICATE: Final = "gateway.pem"
AUTHORITY: Final = "ca.crt"
MAX_DELAY_S: Final = 600.0
#: How often the certificate's end is looked at.
LOOK_EVERY_S: Final = 86_400.0


class Uplink:
    """Forwards the spool; stops for seconds where the certificate has to be renewed.

    Parameters
    ----------
    config : GatewayConfig
        Settings of the box.
    spool : Spool
        What is to be forwarded.
    """

    def __init__(self, config: GatewayConfig, spool: Spool) -> None:
        self._config = config
        self._spool = spool
        self._changing = threading.Lock()
        self._is_stopped = False
        self._forwarder = self._make()

    def _make(self) -> Forwarder:
        config = self._config
        return Forwarder(
            self._spool,
            config.broker,
            site=config.site,
            gateway=config.gateway,
            min_delay_s=config.reconnect_s,
            max_delay_s=max(MAX_DELAY_S, config.reconnect_s),
        )

    def start(self) -> None:
        """Begin to send."""
        self._forwarder.start()

    def stop(self) -> None:
        """Say good-bye; what is not confirmed stays in the spool."""
        with self._changing:
            self._is_stopped = True
            self._forwarder.stop()

    async def keep_certificate(self) -> None:
        """Renew the certificate before it ends, for as long as this runs."""
        while True:
            if is_due(self._config):
                await asyncio.shield(asyncio.to_thread(self.renew))
            await asyncio.sleep(LOOK_EVERY_S)

    def renew(self) -> None:
        """Ask for the next certificate and go on with it; a refusal is logged and costs nothing."""
        with self._changing:
            if self._is_stopped:
                return
            # the broker knows us by our name: two connections would put each other out
            self._forwarder.stop()
            try:
                renew(self._config)
            except IngestError as error:
                logger.error("certificate_not_renewed reason=%s", error)
            finally:
                self._forwarder = self._make()
                self._forwarder.start()


def is_due(config: GatewayConfig) -> bool:
    """Whether the certificate ends soon, and its key is one that this box has made."""
    certificate = config.broker.certificate
    if certificate is None or config.broker.key is not None:
        return False
    try:
        return expires_utc(certificate) - system_clock() < RENEW_BEFORE
    except SecurityError as error:
        logger.error("certificate_not_read reason=%s", error)
        return False


def renew(config: GatewayConfig) -> int:
    """Replace the box's key and certificate; returns when the new one ends.

    Raises
    ------
    SecurityError
        When the clinic does not answer or refuses; what there is stays.
    """
    broker = config.broker
    if broker.certificate is None or broker.ca is None or broker.key is not None:
        raise UserError(f"{config.path}: the certificate was made at the clinic and is renewed there")
    key = make_key()
    certificate = ask(
        broker, site=config.site, user=config.gateway, request=make_request(config.gateway, key)
    )
    replace_file(
        broker.certificate, check(certificate, key, broker.ca.read_bytes(), config.gateway), mode=0o600
    )
    return expires_utc(broker.certificate)


def run_renew(path: Path) -> int:
    """Renew now, with the service stopped; returns the exit code."""
    print(f"certificate renewed, valid until {from_utc(renew(read_config(path))):%Y-%m-%d}")
    return 0


def join(path: Path, invitation: Path, *, code: str) -> int:
    """Get the box's first certificate and write it, and where the broker is, into its file.

    The key is made here and kept until the answer has come: asked again, the clinic knows it.
    """
    try:
        invited = decode_invitation(invitation.read_bytes())
        name = GatewayId(check_id(invited.gateway, "gateway"))
        site = SiteId(check_id(invited.site, "site"))
    except (OSError, IngestError, DevicesError) as error:
        raise UserError(f"{invitation}: {error}") from None
    config = _config(path, name, site, BrokerAddress(invited.host, invited.port))
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    pending = folder / ".joining.key"
    if not pending.exists():
        replace_file(pending, make_key(), mode=0o600)
    key = pending.read_bytes()
    certificate = _ask_invited(folder, invited, site, make_request(name, key, code=code))
    replace_file(folder / AUTHORITY, invited.ca.encode(), mode=0o600)
    replace_file(folder / CERTIFICATE, check(certificate, key, invited.ca.encode(), name), mode=0o600)
    write_config(config)
    pending.unlink()
    until = from_utc(expires_utc(folder / CERTIFICATE))
    print(f"{name} may connect to {invited.host}:{invited.port} until {until:%Y-%m-%d}; it renews by itself")
    print(f"delete {invitation}: it is worth nothing any more")
    return 0


def _config(path: Path, name: GatewayId, site: SiteId, broker: BrokerAddress) -> GatewayConfig:
    config = read_config(path) if path.exists() else GatewayConfig(path, name, site, broker)
    if config.gateway != name:
        raise UserError(f"{path} is the file of {config.gateway}; the invitation is for {name}")
    files = {"ca": path.parent / AUTHORITY, "certificate": path.parent / CERTIFICATE}
    return replace(config, site=site, broker=replace(broker, **files))


def _ask_invited(folder: Path, invited: Invitation, site: SiteId, request: Request) -> str:
    """Ask with the invitation's certificate, which lies on the disk only meanwhile."""
    ca, certificate = folder / ".joining.ca", folder / ".joining.pem"
    replace_file(ca, invited.ca.encode(), mode=0o600)
    replace_file(certificate, (invited.key + invited.certificate).encode(), mode=0o600)
    try:
        broker = BrokerAddress(invited.host, invited.port, ca, certificate)
        return ask(broker, site=site, user=JOINING + invited.gateway, request=request)
    finally:
        ca.unlink()
        certificate.unlink()
