"""The drivers there are. Adding one is a module and a line here."""

from devices.drivers.activity_monitor import ActivityMonitor
from devices.drivers.bangle import Bangle
from devices.drivers.colmi_ring import ColmiRing
from devices.drivers.hr_strap import HrStrap
from devices.drivers.infinitime_watch import InfiniTime
from devices.drivers.polar_ppi import PolarPpi
from devices.drivers.session import Driver
from devices.errors import DevicesError


class UnknownDriverError(DevicesError):
    """A driver name that is not registered."""


#: Registry name -> driver. A driver keeps no state between connections.
DRIVERS: dict[str, Driver] = {
    driver.name: driver
    for driver in (HrStrap(), ColmiRing(), PolarPpi(), InfiniTime(), Bangle(), ActivityMonitor())
}


def find_driver(name: str) -> Driver:
    """Driver of a registry name.

    Raises
    ------
    UnknownDriverError
        When there is none; the message lists those there are.
    """
    if name not in DRIVERS:
        raise UnknownDriverError(f"no driver {name!r}; there are {', '.join(sorted(DRIVERS))}")
    return DRIVERS[name]
