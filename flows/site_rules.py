"""The rules in force at a site: its own pack where there is one, and whether somebody always answers."""

from pathlib import Path

from alerts.delivery.channels.settings import NAME, read_channels
from alerts.rules.pack import RulePack, load_pack
from flows.clinic import Clinic

RULES = "rules.toml"


def site_pack(clinic: Clinic) -> RulePack:
    """HOME/rules.toml, else the default pack; rules that need an answer at all hours only where one is given.

    Raises
    ------
    RuleError, ChannelError
        When a file has a fault.
    """
    own, channels = clinic.home / RULES, clinic.home / NAME
    return load_pack(_existing(own), is_staffed=_is_staffed(channels))


def _is_staffed(path: Path) -> bool:
    return path.exists() and read_channels(path).staffed_response is not None


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None
