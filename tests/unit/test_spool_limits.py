"""A spool that fills, a disk that is full, a clock that jumps, a row that cannot be read, a stolen card."""

import sqlite3

import pytest

from devices.blobs import unpack_u16
from devices.clock import DAY, MINUTE
from ingest.edge.spool import Spool
from ingest.edge.spool_cipher import load_key
from ingest.edge.spool_limits import SpoolLimits
from ingest.edge.spool_reader import SpoolReader
from ingest.errors import SpoolError, SpoolFullError
from ingest.wire.messages import decode_batch
from tests.fixtures_ingest import T0, beats, hourly, one_of_each, steps

KEY = bytes(range(32))


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def fill(spool, states=None):
    """Hours until it refuses: how many it kept, and what it said."""
    for hour in range(2000):
        try:
            spool.append([hourly(hour)], cursors={"strap-1/rr": hour})
            if states is not None:
                spool.seal(force=True)
                states.append(spool.counts().state)
        except SpoolFullError as error:
            return hour, str(error)
    raise AssertionError("never full")


def test_it_warns_before_it_refuses_and_drops_nothing(tmp_path, clock, caplog):
    spool = Spool(tmp_path / "s.db", clock=clock, limits=SpoolLimits(most_bytes=400_000))
    states = []
    kept, said = fill(spool, states)
    assert said.endswith("limit of 400000 bytes; nothing new is kept")
    assert list(dict.fromkeys(states)) == ["ok", "alarm", "full"]
    assert (spool.cursor("strap-1/rr"), spool.counts().appended) == (kept - 1, 3600 * kept)
    assert "limit" in spool.counts().word
    assert [r.message.split()[0] for r in caplog.records] == ["spool_alarm", "spool_full"]
    numbers = [message.sequence for message in spool.pending()]
    assert len(numbers) == kept
    assert spool.confirm(numbers) == kept
    assert spool.counts().state == "ok"
    assert spool.append([hourly(kept)]) == 3600
    spool.close()


def test_it_leaves_the_disk_room_to_send_what_it_has(tmp_path, clock, monkeypatch):
    spool = Spool(tmp_path / "s.db", clock=clock)
    spool.append([hourly(0)])
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("ingest.edge.spool_limits.shutil.disk_usage", lambda _: usage)
    with pytest.raises(SpoolFullError, match="the disk has 10 bytes left"):
        spool.append([hourly(1)])
    assert spool.counts().state == "full"
    assert spool.seal(force=True) == 1
    assert spool.confirm([message.sequence for message in spool.pending()]) == 1
    spool.close()


def test_a_disk_that_is_full_all_the_same_keeps_what_it_had(tmp_path, clock):
    """SQLite's own SQLITE_FULL, in the middle of a transaction."""
    spool = Spool(tmp_path / "s.db", clock=clock)
    pages = spool._database.execute("pragma page_count").fetchone()[0]
    spool._database.execute(f"pragma max_page_count = {pages + 12}")
    kept, said = fill(spool)
    assert "disk is full" in said
    assert spool.counts().waiting == spool.counts().appended == 3600 * kept > 0
    assert spool.cursor("strap-1/rr") == kept - 1
    # sealing needs room too: it fails as a whole, and goes on when there is room
    with pytest.raises(SpoolFullError):
        spool.seal(force=True)
    assert spool.counts().waiting == 3600 * kept
    spool._database.execute("pragma max_page_count = 100000")
    spool.seal(force=True)
    messages = spool.pending()
    assert sum(len(decode_batch(m.payload, m.kind).batch.observations) for m in messages) == kept
    spool.close()


@pytest.mark.parametrize("is_sealed", [False, True])
def test_what_waits_too_long_is_said_not_refused(tmp_path, clock, is_sealed):
    spool = Spool(tmp_path / "s.db", clock=clock)
    spool.append([hourly(0)])
    if is_sealed:
        spool.seal(force=True)
    assert (spool.counts().state, spool.counts().oldest_utc) == ("ok", T0)
    clock.now += 8 * DAY
    assert spool.append([hourly(1)]) == 3600
    assert spool.counts().state == "alarm"
    assert "waited 8 days" in spool.counts().word
    spool.close()


@pytest.mark.parametrize("start", [0, T0 - 400 * DAY, T0 + 400 * DAY])
def test_a_clock_that_jumps_costs_nothing(tmp_path, clock, start):
    """A box without a battery wakes up in 1970; one set a year wrong is put right."""
    clock.now = start
    spool = Spool(tmp_path / "s.db", clock=clock)
    spool.append([beats(0, [800])])
    clock.now = T0
    spool.append([beats(1, [810], start_utc=T0 + 800_000)])
    spool.seal()
    clock.now = T0 - 60 * MINUTE
    spool.append([beats(2, [820], start_utc=T0 + 1_610_000)])
    spool.seal(force=True)
    messages = spool.pending()
    numbers = [message.sequence for message in messages]
    assert numbers == sorted(set(numbers))
    assert (
        sum(one.sample_count for m in messages for one in decode_batch(m.payload, m.kind).batch.observations)
        == 3
    )
    assert spool.counts().state in ("ok", "alarm")
    spool.close()


@pytest.mark.parametrize("hours", [-30, -3, 3, 30, 24 * 9])
def test_a_clock_set_between_two_batches_costs_nothing_and_frees_nothing(tmp_path, clock, hours):
    """Every batch before and after is sent once, in order; only the age that is said follows the clock."""
    spool = Spool(tmp_path / "s.db", clock=clock)
    made = []
    for batch in range(6):
        if batch == 3:
            clock.now += hours * 60 * MINUTE
        made.append(beats(batch, [800 + batch], start_utc=T0 + batch * 800_000))
        spool.append([made[-1]], cursors={"strap-1/rr": batch})
        spool.seal(force=batch % 2 == 1)
        clock.now += MINUTE
    # rows of before wait no longer than others: a run is closed at the latest after MAX_WAIT
    clock.now += 5 * MINUTE
    spool.seal()
    messages = spool.pending()
    numbers = [message.sequence for message in messages]
    assert numbers == sorted(set(numbers))
    starts = [
        one.start_utc + 1000 * sum(unpack_u16(one.rr_ms[: 2 * index]))
        for message in messages
        for one in decode_batch(message.payload, message.kind).batch.observations
        for index in range(one.sample_count)
    ]
    assert len(starts) == len(made) == spool.counts().sealed
    assert spool.cursor("strap-1/rr") == 5
    assert spool.counts().state == ("alarm" if hours >= 24 * 7 else "ok")
    assert spool.append([beats(9, [900], start_utc=T0 + 9_000_000)]) == 1
    assert spool.confirm(numbers) == len(numbers)
    assert spool.state().state == "ok"
    spool.close()


def put_row(spool, kind, payload, samples=4):
    """A waiting row as an earlier version wrote it."""
    spool._database.execute(
        "insert into observation (kind, device, appended_utc, samples, payload)"
        " values (?, 'ring-1', ?, ?, ?)",
        (kind, T0, samples, payload),
    )
    spool._count(spool._database, "appended", {kind: samples})


@pytest.mark.parametrize(
    ("kind", "payload"),
    [("step_count", b"\x93\x01\x02\x03"), ("step_count", b"\xc1 no MessagePack"), ("mood", b"\x91\x01")],
)
def test_a_row_that_is_invalid_now_goes_to_the_collector_and_stops_nothing(tmp_path, clock, kind, payload):
    spool = Spool(tmp_path / "s.db", clock=clock)
    spool.append([steps(T0, [1])])
    put_row(spool, kind, payload)
    spool.append([steps(T0 + MINUTE, [2])])
    spool.seal(force=True)
    good, bad = [], []
    for message in spool.pending():
        if message.kind == "mood":
            bad.append(message)
            continue
        decoded = decode_batch(message.payload, message.kind)
        good += decoded.batch.observations
        bad += decoded.rejected
    assert sum(one.sample_count for one in good) == 2
    assert len(bad) == 1
    counts = spool.counts()
    assert (counts.appended, counts.sealed, counts.waiting) == (6, 6, 0)
    spool.close()


def test_nothing_readable_lies_on_the_card(tmp_path, clock):
    spool = Spool(tmp_path / "s.db", clock=clock, key=KEY)
    sent = one_of_each()
    spool.append(sent)
    raw = [row[0] for row in spool._database.execute("select payload from observation")]
    spool.seal(force=True)
    raw += [row[0] for row in spool._database.execute("select payload from message")]
    assert len(raw) >= 2 * len(sent)
    assert all(payload[:1] == b"\x00" and b"ring-1" not in payload for payload in raw)
    read = [one for m in spool.pending() for one in decode_batch(m.payload, m.kind).batch.observations]
    assert sorted(read, key=lambda one: one.kind) == sorted(sent, key=lambda one: one.kind)
    spool.close()


def test_another_key_opens_nothing_and_says_so(tmp_path, clock):
    Spool(tmp_path / "s.db", clock=clock, key=KEY).close()
    for key in (bytes(32), None):
        with pytest.raises(SpoolError, match="written with another key"):
            Spool(tmp_path / "s.db", clock=clock, key=key)
    Spool(tmp_path / "s.db", clock=clock, key=KEY).close()


def test_a_row_altered_on_the_card_is_not_taken_for_another(tmp_path, clock):
    spool = Spool(tmp_path / "s.db", clock=clock, key=KEY)
    spool.append([steps(T0, [1]), steps(T0 + 9 * MINUTE, [2])])
    spool.seal(force=True)
    spool.append([steps(T0, [7])])
    spool.seal(force=True)
    spool._database.execute(
        "update message set payload = (select payload from message order by sequence limit 1)"
    )
    first, second = spool.pending()
    assert decode_batch(first.payload, "step_count").batch.sequence == first.sequence
    assert second.payload[:1] == b"\x00"
    spool.close()


def test_a_spool_begun_without_a_key_goes_on_with_one(tmp_path, clock):
    spool = Spool(tmp_path / "s.db", clock=clock)
    spool.append([steps(T0, [1])])
    spool.close()
    spool = Spool(tmp_path / "s.db", clock=clock, key=KEY)
    spool.append([steps(T0 + MINUTE, [2])])
    assert spool.seal(force=True) == 1
    (message,) = spool.pending()
    assert decode_batch(message.payload, "step_count").batch.observations[0].sample_count == 2
    spool.close()


def test_a_spool_of_the_first_version_is_taken_over(tmp_path, clock):
    database = sqlite3.connect(tmp_path / "s.db")
    database.execute(
        "create table message (sequence integer primary key, kind text, samples integer, payload blob)"
    )
    database.execute("insert into message values (5, 'wear', 1, x'91')")
    database.commit()
    database.close()
    spool = Spool(tmp_path / "s.db", clock=clock)
    assert [message.sequence for message in spool.pending()] == [5]
    assert spool.counts().oldest_utc is None
    spool.close()


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path):
    path = tmp_path / "box" / "spool.key"
    key = load_key(path)
    assert (len(key), load_key(path)) == (32, key)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(SpoolError, match="chmod 600"):
        load_key(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(SpoolError, match="not a key"):
        load_key(path)


def test_who_asks_does_not_disturb_who_writes(tmp_path, clock):
    """A status from another process, in the middle of a transaction of the gateway: as of before it."""
    spool = Spool(tmp_path / "s.db", clock=clock, key=KEY)
    spool.append([steps(T0, [1, 2])])
    spool.seal(force=True)
    spool.append([steps(T0 + 9 * MINUTE, [3])], cursors={"ring-1/steps": 7})
    with spool._transaction() as database:
        database.execute("delete from message")
        with SpoolReader(tmp_path / "s.db", clock=clock, key=KEY, limits=SpoolLimits()) as reader:
            counts, by_device = reader.counts(), reader.by_device()
    assert (counts.appended, counts.sealed, counts.messages) == (3, 2, 1)
    assert (by_device.waiting, by_device.unconfirmed) == ({"ring-1": 1}, {"ring-1": 2})
    assert by_device.cursors == {"ring-1/steps": 7}
    assert spool.pending() == []
    spool.close()


def test_an_unreadable_message_does_not_stop_a_status(tmp_path, clock):
    spool = Spool(tmp_path / "s.db", clock=clock, key=KEY)
    spool.append([steps(T0, [1])])
    put_row(spool, "mood", b"\x91\x01")
    spool.seal(force=True)
    with SpoolReader(tmp_path / "s.db", clock=clock, key=KEY, limits=SpoolLimits()) as reader:
        assert reader.by_device().unconfirmed == {"ring-1": 1}
    spool.close()
    with pytest.raises(SpoolError, match="another key"):
        SpoolReader(tmp_path / "s.db", clock=clock, key=None, limits=SpoolLimits())
