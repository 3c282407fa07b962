"""The MQTT 5 client both ends are made of: session kept, back-off jittered, TLS where asked."""

import random
import ssl
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from devices.clock import Clock
from ingest.errors import TlsFileError
from ingest.wire.address import BrokerAddress
from ingest.wire.bulk import Arrival, BulkClient

#: The broker keeps subscriptions and what was not delivered this long, seconds.
SESSION_EXPIRY_S: Final = 14 * 86_400
#: MQTT's largest; without it the default of 20 stalls a collector that acknowledges in batches.
RECEIVE_MAXIMUM: Final = 65_535
KEEPALIVE_S: Final = 30


def make_client(client_id: str, broker: BrokerAddress) -> Client:
    """Client that is not connected yet."""
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
    _introduce(client, broker)
    return client


def make_bulk_client(
    client_id: str, broker: BrokerAddress, on_arrivals: Callable[[list[Arrival]], None], *, clock: Clock
) -> BulkClient:
    """Client of a collector that is not connected yet; what it gets, it has to acknowledge."""
    client = BulkClient(client_id, on_arrivals, clock=clock)
    _introduce(client, broker)
    return client


def _introduce(client: Client, broker: BrokerAddress) -> None:
    client.suppress_exceptions = False
    if broker.user is not None:
        client.username_pw_set(broker.user)
    if broker.ca is not None:
        client.tls_set_context(_context(broker))


def _context(broker: BrokerAddress) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(broker.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if broker.certificate is not None:
            context.load_cert_chain(str(broker.certificate), str(broker.key) if broker.key else None)
    except OSError as error:
        # the system names no file
        files = ", ".join(str(path) for path in (broker.ca, broker.certificate, broker.key) if path)
        raise TlsFileError(f"cannot use {files} for TLS: {error.strerror or error}") from None
    return context


def start_client(
    client: Client,
    broker: BrokerAddress,
    *,
    min_delay_s: float,
    max_delay_s: float,
    receive_maximum: int = RECEIVE_MAXIMUM,
) -> None:
    """Connect in a thread of its own, and again whenever the connection is lost.

    The broker delivers at most `receive_maximum` messages that are not acknowledged.
    """
    spread_reconnects(client, min_delay_s=min_delay_s, max_delay_s=max_delay_s)
    connect: Any = Properties(PacketTypes.CONNECT)
    connect.SessionExpiryInterval = SESSION_EXPIRY_S
    connect.ReceiveMaximum = min(receive_maximum, RECEIVE_MAXIMUM)
    client.connect_async(
        broker.host, broker.port, keepalive=KEEPALIVE_S, clean_start=False, properties=connect
    )
    client.loop_start()


def spread_reconnects(client: Client, *, min_delay_s: float, max_delay_s: float) -> None:
    """Draw the next back-off: a fleet that lost its broker together must not return together.

    paho doubles the first delay up to the longest; both are drawn anew here.
    """
    # paho annotates whole seconds and computes with whatever number it gets
    delays: Any = [delay * random.uniform(0.5, 1.5) for delay in (min_delay_s, max_delay_s)]
    client.reconnect_delay_set(min_delay=delays[0], max_delay=delays[1])
