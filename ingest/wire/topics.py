"""Topics: the only place that knows how they are spelled.

``flarecast/v1/<site>/<gateway>/<kind>`` carries batches of one observation kind,
``.../ack`` what the collector has committed, ``.../state`` (retained, last will)
whether the gateway is there. Clients that are not ours write one level deeper and
name the wearable there: ``.../points/<device>`` JSON data points,
``.../theengs/<address>`` what Theengs Gateway has decoded. The site in a topic is
where the gateway believes to be; the registry knows better.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from devices.errors import IdError
from devices.ids import DeviceId, GatewayId, SiteId, check_id
from ingest.errors import TopicError

ROOT: Final = "flarecast/v1"
ACK: Final = "ack"
COMMAND: Final = "cmd"
STATE: Final = "state"
#: Leaves below which a wearable is named: what clients that are not ours send.
POINTS: Final = "points"
THEENGS: Final = "theengs"
FOREIGN: Final = (POINTS, THEENGS)
#: Everything any gateway sends, whatever kind: a kind this version does not know
#: must reach the quarantine, or its gateway would keep it for ever.
EVERYTHING: Final = f"{ROOT}/+/+/+"


@dataclass(frozen=True)
class Topic:
    """Topic of one gateway; `leaf` is an observation kind, ``ack``, ``state`` or one of `FOREIGN`.

    `device` is the wearable that a topic of `FOREIGN` names.
    """

    site: SiteId
    gateway: GatewayId
    leaf: str
    device: DeviceId | None = None

    def __str__(self) -> str:
        text = f"{ROOT}/{self.site}/{self.gateway}/{self.leaf}"
        return text if self.device is None else f"{text}/{self.device}"

    @property
    def is_observations(self) -> bool:
        """Whether batches travel here."""
        return self.leaf not in (ACK, STATE)


def data_topic(site: SiteId, gateway: GatewayId, kind: str) -> Topic:
    """Topic of the batches of one kind.

    A kind this version has forgotten is sent too: the quarantine keeps it, a spool would for ever.
    """
    return Topic(site, gateway, kind)


def ack_topic(site: SiteId, gateway: GatewayId) -> Topic:
    """Topic on which a gateway hears what is committed."""
    return Topic(site, gateway, ACK)


def state_topic(site: SiteId, gateway: GatewayId) -> Topic:
    """Topic on which a gateway says, and its last will denies, that it is there."""
    return Topic(site, gateway, STATE)


def points_topic(site: SiteId, gateway: GatewayId, device: DeviceId) -> Topic:
    """Topic of JSON data points of one wearable."""
    return Topic(site, gateway, POINTS, device)


def subscriptions(group: str | None = None) -> list[str]:
    """Filters of everything gateways send, for one collector or for a group that shares the work."""
    filters = [EVERYTHING, *(f"{ROOT}/+/+/{leaf}/+" for leaf in FOREIGN)]
    return filters if group is None else [f"$share/{check_id(group, 'group')}/{one}" for one in filters]


def live_subscriptions(kinds: Iterable[str]) -> list[str]:
    """Filters of some kinds only, and of foreign clients, whose kinds stand in the message."""
    return [f"{ROOT}/+/+/{one}" for one in (*sorted(kinds), *(f"{leaf}/+" for leaf in FOREIGN))]


@lru_cache(maxsize=65_536)
def parse(text: str) -> Topic:
    """Topic of its spelling; ``parse(str(t)) == t``.

    The leaf may be a kind unknown to this version.

    Raises
    ------
    TopicError
        When it is not one of ours.
    """
    parts = text.split("/")
    is_foreign = len(parts) == 6 and parts[4] in FOREIGN
    if not (len(parts) == 5 or is_foreign) or not text.startswith(f"{ROOT}/"):
        raise TopicError("topic is not flarecast/v1/<site>/<gateway>/<kind>")
    try:
        site, gateway = check_id(parts[2], "site"), check_id(parts[3], "gateway")
        device = DeviceId(check_id(_device(parts), "device")) if is_foreign else None
    except IdError as error:
        raise TopicError(f"topic: {error}") from None
    return Topic(SiteId(site), GatewayId(gateway), parts[4], device)


def _device(parts: list[str]) -> str:
    # Theengs Gateway writes Bluetooth addresses in capitals, which an id has not
    return parts[5].lower() if parts[4] == THEENGS else parts[5]


def is_collector(name: str) -> bool:
    """Whether a user of the broker is a collector by its name."""
    return re.fullmatch(r"collector-[0-9]+", name) is not None


def gateway_rules() -> list[str]:
    """mosquitto's rules for gateways: each writes below its own name and hears what is meant for it."""
    return [
        f"pattern write {ROOT}/+/%u/#",
        f"pattern read {ROOT}/+/%u/{ACK}",
        f"pattern read {ROOT}/+/%u/{COMMAND}/#",
    ]


def collector_rules(name: str) -> list[str]:
    """mosquitto's rules for one collector: it reads everything and writes acknowledgements."""
    return [f"user {name}", f"topic read {ROOT}/#", f"topic write {ROOT}/+/+/{ACK}"]
