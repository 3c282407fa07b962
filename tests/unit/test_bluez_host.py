"""BlueZ's side of the radio, as far as it can be judged without one; the rest is `make check-bluez`."""

import pytest
from dbus_fast import ErrorType, Message, MessageType, Variant

from ingest.edge import bluez


class BleakLikeError(Exception):
    def __init__(self, dbus_error: str) -> None:
        self.dbus_error = dbus_error


def asked(member: str, path: str = "/org/flarecast/agent", device: str = "dev_F0_00_00_00_00_01") -> Message:
    return Message(
        path=path,
        interface="org.bluez.Agent1",
        member=member,
        sender=":1.5",
        serial=7,
        signature="o",
        body=[f"/org/bluez/hci0/{device}"],
    )


@pytest.mark.parametrize(
    ("expected", "member", "is_agreed"),
    [
        (None, "RequestAuthorization", True),
        ({"f0:00:00:00:00:01"}, "RequestAuthorization", True),
        ({"F0:00:00:00:00:01"}, "RequestConfirmation", True),
        ({"F0:00:00:00:00:02"}, "RequestAuthorization", False),
        (set(), "RequestConfirmation", False),
        (None, "RequestPasskey", False),
        (None, "AuthorizeService", False),
        (set(), "Release", True),
    ],
)
def test_agent_agrees_with_expected_wearables_only(
    expected: set[str] | None, member: str, is_agreed: bool
) -> None:
    agent = bluez._Agent(expected)
    reply = agent._answer(asked(member))
    assert reply is not None
    assert reply.message_type is (MessageType.METHOD_RETURN if is_agreed else MessageType.ERROR)
    assert agent.refusals == (not is_agreed)


def test_agent_answers_for_itself_only() -> None:
    assert bluez._Agent(None)._answer(asked("RequestAuthorization", path="/somebody/else")) is None


def signal(member: str, signature: str, *body: object, path: str = "/") -> Message:
    return Message(
        message_type=MessageType.SIGNAL,
        path=path,
        interface="org.example.Any",
        member=member,
        signature=signature,
        body=list(body),
    )


POWERED_OFF = {"Powered": Variant("b", False)}


@pytest.mark.parametrize(
    ("message", "losses"),
    [
        (signal("NameOwnerChanged", "sss", "org.bluez", ":1.3", ""), ["bluetoothd is not running"]),
        (signal("NameOwnerChanged", "sss", "org.bluez", "", ":1.4"), []),
        (signal("NameOwnerChanged", "sss", "org.other", ":1.3", ""), []),
        (signal("InterfacesRemoved", "oas", "/org/bluez/hci0", ["org.bluez.Adapter1"]), ["no such adapter"]),
        (signal("InterfacesRemoved", "oas", "/org/bluez/hci1", ["org.bluez.Adapter1"]), []),
        (signal("InterfacesRemoved", "oas", "/org/bluez/hci0/dev_1", ["org.bluez.Device1"]), []),
        (
            signal(
                "PropertiesChanged", "sa{sv}as", "org.bluez.Adapter1", POWERED_OFF, [], path="/org/bluez/hci0"
            ),
            ["adapter is switched off"],
        ),
        (
            signal(
                "PropertiesChanged", "sa{sv}as", "org.bluez.Adapter1", POWERED_OFF, [], path="/org/bluez/hci1"
            ),
            [],
        ),
        (
            signal(
                "PropertiesChanged",
                "sa{sv}as",
                "org.bluez.Adapter1",
                {"Powered": Variant("b", True)},
                [],
                path="/org/bluez/hci0",
            ),
            [],
        ),
    ],
)
def test_losses_are_told_in_words(message: Message, losses: list[str]) -> None:
    told: list[str] = []
    bluez.BluezHost(on_loss=told.append)._on_signal(message)
    assert told == losses


def test_in_progress_is_recognised_in_either_kind_of_error() -> None:
    assert bluez.is_in_progress(BleakLikeError("org.bluez.Error.InProgress"))
    assert bluez.is_in_progress(
        bluez.ReplyError("org.bluez.Error.InProgress", "Operation already in progress")
    )
    assert not bluez.is_in_progress(BleakLikeError("org.bluez.Error.Failed"))
    assert not bluez.is_in_progress(ValueError(ErrorType.FAILED.value))


async def test_elsewhere_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bluez, "IS_BLUEZ", False)
    monkeypatch.setattr(bluez, "MessageBus", None)
    host = bluez.BluezHost()
    await host.prepare()
    await host.forget_device("F0:00:00:00:00:01")
    await host.restart_adapter()
    await host.aclose()
    async with bluez.agent():
        assert await bluez.adapter_state() is bluez.AdapterState.ON
    assert not await bluez.remove_device("F0:00:00:00:00:01")
