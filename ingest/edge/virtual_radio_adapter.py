"""The adapter of the virtual radio: a central of bumble's on a simulated air."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager

from bleak.exc import BleakError
from bumble import hci
from bumble.device import Device
from bumble.host import Host
from bumble.keys import MemoryKeyStore
from bumble.transport.common import AsyncPipeSink

from ingest.edge.virtual_radio_air import Air, SimController
from ingest.edge.virtual_radio_quirks import Quirks


class VirtualAdapter:
    """A central on the air, shared by any number of scanners and clients, with what BlueZ would keep."""

    def __init__(self, air: Air, controller: SimController, device: Device, quirks: Quirks) -> None:
        self.device = device
        self.quirks = quirks
        #: Sessions that BlueZ keeps for lost clients, by address.
        self.leaks: Counter[str] = Counter()
        self.stuck: set[str] = set()
        self.has_agent = False
        #: Addresses that the agent agrees to pair with; all when ``None``.
        self.expected: Collection[str] | None = None
        #: How often the adapter was restarted, and devices removed.
        self.restarts = 0
        self.removed: list[str] = []
        #: The adapter scans and hears nothing.
        self.is_deaf = False
        self._is_present = True
        self._air = air
        self._controller = controller
        self._scanners = 0
        self._scanning = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, air: Air, address: str = "C0:FF:EE:00:00:01", *, quirks: Quirks | None = None
    ) -> AsyncGenerator["VirtualAdapter"]:
        """Adapter that is on for the time of the context."""
        controller = SimController("gateway", link=air)
        host = Host(controller, AsyncPipeSink(controller))
        device = Device(name="gateway", address=hci.Address(address), host=host)
        device.keystore = MemoryKeyStore()
        await device.power_on()
        try:
            yield cls(air, controller, device, quirks or Quirks())
        finally:
            await device.power_off()
            air.remove_controller(controller)

    async def set_present(self, is_present: bool) -> None:
        """Pull the adapter out, with every link it holds, or put it back."""
        self._is_present = is_present
        self._air.set_in_range(self._controller, is_present)

    def check_present(self) -> None:
        """Raise as bleak does when there is no adapter."""
        if not self._is_present:
            raise BleakError("No Bluetooth adapters found.")

    async def prepare(self) -> None:
        """Register an agent (:class:`ingest.edge.radio.RadioHost`)."""
        self.check_present()
        self.has_agent = True

    def agrees_to(self, address: str) -> bool:
        """Whether an agent is there and agrees to pair with this address."""
        return self.has_agent and (self.expected is None or address in self.expected)

    async def forget_device(self, address: str) -> None:
        """Remove what is remembered of a device."""
        self.removed.append(address)
        self.stuck.discard(address)
        self.leaks.pop(address, None)

    async def restart_adapter(self) -> None:
        """Switch off and on: hears again."""
        self.restarts += 1
        self.is_deaf = False

    async def scan(self, is_on: bool, is_active: bool) -> None:
        """Count scanners; the controller scans while there is one."""
        async with self._scanning:
            self._scanners += 1 if is_on else -1
            if is_on and self._scanners == 1:
                await self.device.start_scanning(active=is_active, legacy=True)
            elif not is_on and self._scanners == 0:
                await self.device.stop_scanning(legacy=True)
