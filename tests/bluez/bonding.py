"""Pairing and bonds: with our agent, without one, refused, removed."""

import asyncio
import dataclasses

from devices.codec import battery
from devices.observations import Battery
from ingest.edge import bluez
from ingest.edge.errors import PairingError
from ingest.edge.gateway import PairedDevice
from ingest.edge.radio import Radio
from tests.bluez.bench import Bench, scenario

ENCRYPTED = {battery.LEVEL}


def bonded(paired: PairedDevice) -> PairedDevice:
    """The same wearable, to be bonded."""
    return dataclasses.replace(paired, is_bonded=True)


@scenario
async def pairing_with_agent(bench: Bench) -> str:
    """Bonds, reads what only a bond may read, and after a drop again without pairing anew."""
    strap, hosted, paired = await bench.strap(encrypted=ENCRYPTED)
    paired = bonded(paired)
    bench.open_gateway(paired)
    async with bench.streaming():
        await bench.listening(paired)
        await bench.play(paired, strap, [800, 810])
        await hosted.drop()
        await bench.deaf(paired)
        await bench.listening(paired)
        await bench.play(paired, strap, [820, 830])
    assert bench.spool.beats() == [800, 810, 820, 830], bench.spool.beats()
    levels = [o.level_pct for o in bench.spool.observations if isinstance(o, Battery)]
    assert levels == [87, 87], levels
    return "encrypted battery read on both connections of one bond"


async def refusal(bench: Bench, paired: PairedDevice, radio: Radio) -> str:
    """Words of the error with which bonding ends."""
    try:
        async with bench.session(bonded(paired), radio=radio):
            raise AssertionError("it bonded")
    except PairingError as error:
        return str(error).removeprefix(f"{paired.device_id} ")


@scenario
async def pairing_without_agent(bench: Bench) -> str:
    """bleak alone cannot pair; the session says so and lets go."""
    _, hosted, paired = await bench.strap(encrypted=ENCRYPTED)
    await bench.host.aclose()
    words = await refusal(bench, paired, Radio())
    assert not hosted.is_connected
    return f"PairingError «{words}»"


@scenario
async def pairing_refused_by_wearable(bench: Bench) -> str:
    """The wearable says no."""
    _, hosted, paired = await bench.strap(encrypted=ENCRYPTED, is_willing_to_pair=False)
    words = await refusal(bench, paired, bench.radio)
    assert not hosted.is_connected
    return f"PairingError «{words}»"


@scenario
async def pairing_asked_by_wearable(bench: Bench) -> str:
    """Where the wearable asks for a bond, our agent agrees with expected ones only."""
    outcomes: list[bool] = []
    await bench.host.aclose()
    for is_expected in (False, True):
        _, hosted, paired = await bench.strap()
        expected = {paired.address if is_expected else "F0:00:00:00:FF:FF"}
        async with bluez.agent(expected=expected), bench.session(paired, radio=Radio()):
            assert hosted._connection is not None
            hosted._connection.request_pairing()
            await asyncio.sleep(4)
            outcomes.append(await is_bonded(paired.address))
    assert outcomes == [False, True], f"bonded: unexpected {outcomes[0]}, expected {outcomes[1]}"
    return "refused where unexpected, bonded where expected"


async def is_bonded(address: str) -> bool:
    """Whether BlueZ holds keys of a device."""
    async with bluez._Connection.open() as connection:
        path = await connection.find_device(bluez.ADAPTER, address)
        assert path is not None
        return await connection.get(path, "org.bluez.Device1", "Paired")


@scenario
async def removed_and_bonded_anew(bench: Bench) -> str:
    """RemoveDevice takes the bond; the next visit makes another."""
    _, _, paired = await bench.strap(encrypted=ENCRYPTED)
    for _ in range(2):
        async with bench.session(bonded(paired)) as session:
            assert await session.read(battery.LEVEL) == b"\x57"
        assert await bluez.remove_device(paired.address)
        assert not await bluez.remove_device(paired.address)
    return "bonded, removed, bonded, removed"


@scenario
async def private_address(bench: Bench) -> str:
    """A bond resolves the changing addresses of a wearable to its identity address."""
    strap, hosted, identity = await bench.strap(encrypted=ENCRYPTED, irk=bytes(range(16)))
    sightings = await bench.radio.discover(3)
    (first,) = [each.device.address for each in sightings if each.name == strap.name]
    assert first != identity.address
    async with bench.session(bonded(dataclasses.replace(identity, address=first))) as session:
        assert await session.read(battery.LEVEL) == b"\x57"
    await hosted.rotate_address()
    bench.open_gateway(bonded(identity))
    async with bench.streaming():
        await bench.listening(identity)
        await bench.play(identity, strap, [800, 810])
    assert bench.spool.beats() == [800, 810], bench.spool.beats()
    return "bonded under one private address, found under the next by its identity address"
