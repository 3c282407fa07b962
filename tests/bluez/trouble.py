"""Trouble beneath bleak: echoes, reads that never answer, adapters and daemons that go away."""

import asyncio
import os
import signal
import time
from pathlib import Path

from devices.codec import battery
from devices.ids import DeviceId
from devices.sim.wearable import Characteristic, Property, Service, Wearable
from ingest.edge import bluez
from ingest.edge.errors import LinkTimeoutError
from ingest.edge.gateway import PairedDevice
from ingest.edge.session import Timing
from ingest.edge.virtual_radio_air import ReadFault
from tests.bluez.bench import COPY_S, TIMING, Bench, scenario, until

# BlueZ holds a link for two seconds after it was told to disconnect, in case somebody wants it again
QUICK = Timing(scan_s=8, connect_s=8, operation_s=4, backoff_first_s=0.1, backoff_most_s=0.5, silence_s=5)
STEPS = "00030001-78fc-48fe-8e23-433b3a1942d0"


@scenario
async def echoed_reads(bench: Bench) -> str:
    """BlueZ says a value that was read as a notification too: the stream must have what was notified."""
    address = bench.next_address()
    counter = Characteristic(STEPS, Property.READ | Property.NOTIFY, read=lambda: b"\x39\x30\x00\x00")
    watch = Wearable("watch", address, (Service("00030000" + STEPS[8:], (counter,)),), ())
    await bench.put_on_air(watch)
    paired = PairedDevice(DeviceId("watch-1"), address, "hr_strap")
    async with bench.session(paired) as session, session.notifications(STEPS) as stream:
        for count in range(5):
            assert await session.read(STEPS) == b"\x39\x30\x00\x00"
            await watch.notify(STEPS, bytes([count, 0, 0, 0]))
        await asyncio.sleep(COPY_S)
        payloads = [notification.payload for notification in await stream.take(1)]
    sent = [bytes([count, 0, 0, 0]) for count in range(5)]
    assert [payload for payload in payloads if payload in sent] == sent, payloads
    assert payloads == sent, f"{len(payloads) - 5} of 5 reads echoed into the stream"
    return "5 reads and 5 notifications: 5 in the stream"


@scenario
async def adapter_switched_off(bench: Bench) -> str:
    """Somebody switches the adapter off: the gateway switches it on and streams again."""
    strap, _, paired = await bench.strap()
    bench.open_gateway(paired, timing=QUICK)
    async with bench.streaming():
        await bench.listening(paired)
        await bench.play(paired, strap, [800, 810])
        began = time.monotonic()
        await switch_off()
        await bench.deaf(paired)
        bench.clock.now += 30_000_000
        await bench.listening(paired)
        took_s = time.monotonic() - began
        await bench.play(paired, strap, [820, 830])
    assert bench.spool.beats() == [800, 810, 820, 830], bench.spool.beats()
    assert bench.losses[:1] == [bluez.AdapterState.OFF.value], bench.losses
    return f"streaming again after {took_s:.1f} s"


async def switch_off() -> None:
    process = await asyncio.create_subprocess_exec(
        "dbus-send",
        "--system",
        "--print-reply=literal",
        "--dest=org.bluez",
        "/org/bluez/hci0",
        "org.freedesktop.DBus.Properties.Set",
        "string:org.bluez.Adapter1",
        "string:Powered",
        "variant:boolean:false",
    )
    assert await process.wait() == 0


@scenario
async def adapter_pulled_out(bench: Bench) -> str:
    """The adapter is pulled out and put in again."""
    strap, _, paired = await bench.strap()
    bench.open_gateway(paired, timing=QUICK)
    async with bench.streaming():
        await bench.listening(paired)
        await bench.play(paired, strap, [800, 810])
        await bench.adapter.unplug()
        await bench.deaf(paired)
        assert await bluez.adapter_state() is bluez.AdapterState.ABSENT
        await asyncio.sleep(2)
        began = time.monotonic()
        await bench.adapter.plug()
        bench.clock.now += 30_000_000
        await bench.listening(paired)
        took_s = time.monotonic() - began
        await bench.play(paired, strap, [820, 830])
    assert bench.spool.beats() == [800, 810, 820, 830], bench.spool.beats()
    assert bluez.AdapterState.ABSENT.value in bench.losses, bench.losses
    return f"streaming again {took_s:.1f} s after it was back"


@scenario
async def read_never_answered(bench: Bench) -> str:
    """A read that is never answered ends in time; the next connection works."""
    strap, hosted, paired = await bench.strap()
    hosted.read_faults[battery.LEVEL] = ReadFault.NEVER_ANSWERS
    began = time.monotonic()
    try:
        async with bench.session(paired, timing=QUICK) as session:
            await session.read(battery.LEVEL)
        raise AssertionError("it answered")
    except LinkTimeoutError:
        took_s = time.monotonic() - began
    hosted.read_faults.clear()
    bench.open_gateway(paired, timing=TIMING)
    async with bench.streaming():
        await bench.listening(paired)
        await bench.play(paired, strap, [800, 810])
    assert bench.spool.beats() == [800, 810]
    return f"given up after {took_s:.1f} s with the connection, streaming after it"


@scenario
async def bluetoothd_killed(bench: Bench) -> str:
    """bluetoothd dies without a word and is started again, as systemd would."""
    strap, _, paired = await bench.strap()
    bench.open_gateway(paired, timing=QUICK)
    async with bench.streaming():
        await bench.listening(paired)
        await bench.play(paired, strap, [800, 810])
        began = time.monotonic()
        os.kill(daemon_pid(), signal.SIGKILL)
        await until(lambda: bluez.AdapterState.NO_SERVICE.value in bench.losses)
        noticed_s = time.monotonic() - began
        assert await bluez.adapter_state() is bluez.AdapterState.NO_SERVICE
        with (Path(os.environ["RUN"]) / "bluetoothd.log").open("ab") as log:
            await asyncio.create_subprocess_exec(
                os.environ["BLUETOOTHD"], "--nodetach", stdout=log, stderr=log
            )
        await bench.deaf(paired)
        bench.clock.now += 30_000_000
        await bench.listening(paired)
        took_s = time.monotonic() - began
        await bench.play(paired, strap, [820, 830])
    assert bench.spool.beats() == [800, 810, 820, 830], bench.spool.beats()
    return f"noticed after {noticed_s:.1f} s, streaming again after {took_s:.1f} s"


def daemon_pid() -> int:
    """Process id of the guest's one bluetoothd."""
    for folder in Path("/proc").glob("[0-9]*"):
        if (folder / "comm").read_text().strip() == "bluetoothd":
            return int(folder.name)
    raise AssertionError("no bluetoothd")
