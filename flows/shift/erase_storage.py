"""What an erasure takes out of object storage: old versions of the lake, snapshots published there."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress

from analytics.store.snapshots import FOREVER
from flows import places, settings
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night import shared_snapshot
from flows.object_store import open_objects
from flows.settings import Place
from flows.shift.erase_receipt import Receipt
from ingest.errors import StoreUnreachableError
from ingest.lake import erasing as lake_erasing
from ingest.lake.erasing import Worn
from ingest.lake.remote import RemoteLake


def erase_in_storage(
    clinic: Clinic, receipt: Receipt, devices: Sequence[Worn], gateways: Sequence[Worn]
) -> None:
    """Old versions of the lake's objects, and every snapshot there but a new one with its old versions."""
    lake, place = clinic.lake, settings.snapshot_place()
    if isinstance(lake, RemoteLake):
        words = "copies of the lake on other machines: they go within a day where a collector runs, or by"
        receipt.outside.append(f"{words} `flarecast erase --sweep` there")
        receipt.outside.append(
            "the enrolment on other machines: bring the new enrolment.csv there; a collector then forgets "
            "the gateway within two days of its last word"
        )
        with _named_when_unknown(receipt, clinic.lake_place):
            receipt.object_versions = lake_erasing.erase_versions(lake.objects, devices, gateways)
    if place is not None:
        objects = open_objects(place)
        shared_snapshot.share_at(clinic, place)
        receipt.shared_snapshots = shared_snapshot.expire(objects, FOREVER)
        with _named_when_unknown(receipt, place.url):
            for old in list(objects.old_versions()):
                objects.delete_old(old)
    for former, last in places.used(clinic.home, "snapshots"):
        if former != place:
            _withdraw(clinic, receipt, former, last)
    for former, _ in places.used(clinic.home, "lake"):
        if former != settings.lake_place():
            receipt.outside.append(f"{former.url}, where the lake was before: delete what is kept there")
    for folder in places.backups(clinic.home):
        receipt.outside.append(f"backups in {folder}")


def _withdraw(clinic: Clinic, receipt: Receipt, place: Place, last: str | None) -> None:
    """Delete what we published at a place that the settings name no more; where we cannot, name it."""
    words = f"{place.url}, where snapshots were published before"
    try:
        objects = open_objects(place)
        count = shared_snapshot.withdraw(objects, last)
        if count is None:
            receipt.outside.append(f"{words}: somebody else publishes there now; have older ones deleted")
            return
        receipt.shared_snapshots += count
        for old in list(objects.old_versions()):
            objects.delete_old(old)
    except (StoreUnreachableError, UserError) as error:
        receipt.outside.append(f"{words} ({error}): delete what is kept there")
        return
    places.forget(clinic.home, "snapshots", place)


def search_in_storage(clinic: Clinic, devices: Sequence[Worn], gateways: Sequence[Worn]) -> list[str]:
    """Objects that are still there and should not be; files of derived tables are known by their names."""
    lake, place = clinic.lake, settings.snapshot_place()
    found: list[str] = []
    with suppress(StoreUnreachableError):
        if isinstance(lake, RemoteLake):
            keys = lake_erasing.versions_left(lake.objects, devices, gateways)
            found += [f"{clinic.lake_place}/{key}" for key in keys]
    if place is not None:
        objects = open_objects(place)
        keys = shared_snapshot.unnamed(objects, [clinic.current.resolve().stem])
        found += [f"{place.url}/{key}" for key in keys]
        with suppress(StoreUnreachableError):
            found += [f"{place.url}/{old.key}?versionId={old.version}" for old in objects.old_versions()]
    return found


@contextmanager
def _named_when_unknown(receipt: Receipt, where: str) -> Generator[None]:
    """A store that does not say which versions it keeps is one more place outside."""
    try:
        yield
    except StoreUnreachableError as error:
        receipt.outside.append(f"old versions of objects below {where} ({error}): delete them there")
