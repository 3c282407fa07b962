"""Readings that many wearables give the same way."""

from devices.codec import battery
from devices.drivers.session import Harvest, Rejected, Session, UnansweredError
from devices.errors import DecodeError
from devices.observations import Battery


async def read_battery(session: Session) -> Harvest:
    """Battery level of the Battery Service, or why there is none; empty where the wearable lacks it."""
    if not session.has(battery.LEVEL):
        return Harvest(())
    try:
        payload = await session.read(battery.LEVEL)
    except UnansweredError as error:
        # worth nothing beside what the wearable is there for
        return Harvest((Rejected(Battery.kind, f"battery not read: {error}", b""),))
    try:
        level = battery.decode(payload)
    except DecodeError as error:
        return Harvest((Rejected(Battery.kind, str(error), payload),))
    reading = Battery(device=session.device, start_utc=session.now(), source=battery.SOURCE, level_pct=level)
    return Harvest((reading,))
