"""The copy of the rules in the folder of a site, and whether somebody always answers.

Which rules are in force is another question: :mod:`flows.care.rules_in_force`.
"""

from alerts.delivery.channels.settings import NAME, read_channels
from alerts.rules.pack import read_text
from flows.clinic import Clinic

RULES = "rules.toml"


def staffed(clinic: Clinic) -> bool:
    """Whether channels.toml says that somebody answers at all hours.

    Raises
    ------
    ChannelError
        When the file has a fault.
    """
    path = clinic.home / NAME
    return path.exists() and read_channels(path).staffed_response is not None


def own_text(clinic: Clinic) -> str | None:
    """Text of HOME/rules.toml; None without one.

    Raises
    ------
    RuleError
        When it cannot be read.
    """
    own = clinic.home / RULES
    return read_text(own)[1] if own.exists() else None
