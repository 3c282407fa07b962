"""The account of each wearable: durable, equal to the spool, and limited in size."""

from pathlib import Path

import pytest

from devices.blobs import pack_u16
from devices.clock import MINUTE, SECOND
from devices.drivers.session import Gap
from devices.ids import DeviceId
from devices.observations import Battery, StepCount
from ingest.edge import ledger as module
from ingest.edge.ledger import DeviceAccount, Ledger, read_accounts
from ingest.edge.spool import DEFAULT_LIMITS, Spool
from ingest.edge.spool_cipher import Cipher
from ingest.edge.spool_reader import SpoolReader

NOW = 1_705_320_000 * SECOND
KEY = bytes(range(32))
ONE, TWO = DeviceId("one"), DeviceId("two")


class Books:
    """A spool, its ledger, and what they say."""

    def __init__(self, folder: Path) -> None:
        self.paths = (folder / "spool.db", folder / "ledger.db")
        self.open()

    def open(self) -> None:
        self.spool = Spool(self.paths[0], clock=lambda: NOW, key=KEY)
        self.ledger = Ledger(self.paths[1], self.spool, clock=lambda: NOW, key=KEY)

    def reopen(self) -> None:
        self.ledger.close()
        self.spool.close()
        self.open()

    def of(self, device: DeviceId) -> DeviceAccount:
        with SpoolReader(self.paths[0], clock=lambda: NOW, key=KEY, limits=DEFAULT_LIMITS) as reader:
            return read_accounts(reader.by_device(), self.paths[1], [ONE, TWO], latest=2)[device]

    def counts(self, device: DeviceId) -> tuple[int, int, int]:
        account = self.of(device)
        return account.kept, account.sent, account.confirmed


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def steps(device: DeviceId, count: int, start: int = NOW - 600 * MINUTE) -> StepCount:
    return StepCount(
        device=device, start_utc=start, source="test/1", period_s=60, counts=pack_u16([1] * count)
    )


def battery(device: DeviceId, level_pct: int = 50) -> Battery:
    return Battery(device=device, start_utc=NOW, source="test/1", level_pct=level_pct)


def test_kept_sent_and_confirmed_by_wearable(books: Books) -> None:
    """Through every state, with a reopened spool between: as many as the spool says in all."""
    books.ledger.append([steps(ONE, 100), battery(ONE), steps(TWO, 7)], cursors={"one/step_count": 5})
    assert books.ledger.cursor("one/step_count") == 5
    assert (books.counts(ONE), books.counts(TWO)) == ((101, 0, 0), (7, 0, 0))
    books.spool.seal(force=True)
    books.reopen()
    assert (books.counts(ONE), books.counts(TWO)) == ((101, 101, 0), (7, 7, 0))
    books.ledger.append([battery(TWO)])
    kinds = {message.sequence: message.kind for message in books.spool.pending()}
    books.spool.confirm([sequence for sequence, kind in kinds.items() if kind == "battery"])
    assert (books.counts(ONE), books.counts(TWO)) == ((101, 101, 1), (8, 7, 0))
    books.spool.confirm(kinds)
    assert (books.counts(ONE), books.counts(TWO)) == ((101, 101, 101), (8, 7, 7))
    total = books.spool.counts()
    assert (total.appended, total.sealed, total.confirmed) == (109, 108, 108)
    assert (books.of(ONE).heard_utc, books.of(ONE).clock) == (NOW, {})


def test_what_the_spool_refuses_is_not_kept(books: Books) -> None:
    kept = books.ledger.append([battery(ONE), battery(ONE, 101)])
    assert kept == 1
    assert books.counts(ONE) == (1, 0, 0)


def test_nothing_is_counted_that_was_not_stored(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(books.spool, "append", full)
        with pytest.raises(OSError, match="disk full"):
            books.ledger.append([battery(ONE)])
    assert books.counts(ONE) == (0, 0, 0)


def test_refused_frames_and_gaps_outlast_the_process(books: Books) -> None:
    books.ledger.on_rejected(ONE, "rr_interval", "half a frame", b"\x01")
    books.ledger.on_rejected(ONE, "rr_interval", "half a frame", b"\x02")
    books.ledger.on_rejected(TWO, "rr_interval", "empty", b"")
    for number in range(3):
        books.ledger.on_gap(ONE, Gap(NOW, NOW + number * SECOND, "link lost"))
    books.reopen()
    account = books.of(ONE)
    assert account.rejected == {"half a frame": 2}
    assert account.gaps == {"link lost": (3, 3.0)}
    assert [gap.end_utc - NOW for gap in account.latest_gaps] == [SECOND, 2 * SECOND]
    assert books.of(TWO).rejected == {"empty": 1}


def test_limits(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old frames and gaps make room; the count goes on."""
    monkeypatch.setattr(module, "FRAMES_KEPT", 5)
    monkeypatch.setattr(module, "GAPS_KEPT", 5)
    for number in range(20):
        books.ledger.on_rejected(ONE, "rr_interval", "copy", bytes([number]) * 1000)
        books.ledger.on_gap(ONE, Gap(NOW, NOW + 1, "silent"))
    frames = books.ledger._database.execute("select payload from frame order by id").fetchall()  # pyright: ignore[reportPrivateUsage]
    opened = [Cipher(KEY).open(payload, "rr_interval") or b"" for (payload,) in frames]
    assert [payload[0] for payload in opened] == [15, 16, 17, 18, 19]
    assert {len(payload) for payload in opened} == {512}
    assert books.ledger._database.execute("select count(*) from gap").fetchone() == (5,)  # pyright: ignore[reportPrivateUsage]
    assert books.of(ONE).rejected == {"copy": 20}
    assert books.of(ONE).gaps["silent"][0] == 20


def test_clock_of_a_wearable_and_a_gateway_that_refused_nothing(books: Books) -> None:
    books.ledger.append([battery(ONE)], cursors={"one/clock-offset-s": 3600, "one/step_count": 4})
    books.paths[1].unlink()
    assert books.of(ONE).clock == {"clock-offset-s": 3600}
    assert books.of(ONE).rejected == {}
