"""The receipt of an erasure: what went, what lies outside of this installation, what is still to come."""

from dataclasses import dataclass, field, replace
from typing import Final

#: Copies that no program here can reach.
OUTSIDE: Final = (
    "FHIR server: resources written by the alert channel `fhir`, if one is configured",
    "mail boxes, webhook receivers and push services: messages already sent (they name no patient)",
    "backups made before today: destroy them, or erase again after a restore",
    "extracts given to studies: pseudonymous, by the agreement of each study",
    "the broker's queue: a message on its way is taken out by the next sweep",
    "the broker's last word of a gateway that is gone: "
    "mosquitto_pub -r -n -t flarecast/v1/SITE/GATEWAY/state",
)


@dataclass
class Receipt:
    """What was erased, what is outside, and which gateways have still to be confirmed.

    The patient is not named in it: whoever asked knows by the reference.
    """

    reference: str
    erased_utc: str
    lake_rows: dict[str, int] = field(default_factory=dict[str, int])
    object_versions: int = 0
    derived_files: int = 0
    snapshots: int = 0
    shared_snapshots: int = 0
    store_rows: dict[str, int] = field(default_factory=dict[str, int])
    registry_rows: int = 0
    reports: int = 0
    is_chain_whole: bool = False
    left: list[str] = field(default_factory=list[str])
    gateways_pending: list[str] = field(default_factory=list[str])
    outside: list[str] = field(default_factory=lambda: list(OUTSIDE))
    models: list[str] = field(default_factory=list[str])


def added(receipt: Receipt, earlier: Receipt) -> Receipt:
    """A receipt with what an earlier run of the same erasure has taken out already."""

    def both(now: dict[str, int], then: dict[str, int]) -> dict[str, int]:
        return {name: now.get(name, 0) + then.get(name, 0) for name in [*then, *(set(now) - set(then))]}

    counts = ("object_versions", "derived_files", "snapshots", "shared_snapshots", "registry_rows", "reports")
    sums = {name: getattr(receipt, name) + getattr(earlier, name) for name in counts}
    return replace(
        receipt,
        lake_rows=both(receipt.lake_rows, earlier.lake_rows),
        store_rows=both(receipt.store_rows, earlier.store_rows),
        **sums,
    )


def in_words(receipt: Receipt) -> str:
    lines = [
        f"Erasure {receipt.reference}, {receipt.erased_utc}",
        f"  rows of the lake          {sum(receipt.lake_rows.values())} {receipt.lake_rows}",
        f"  old versions of objects   {receipt.object_versions}",
        f"  files of derived tables   {receipt.derived_files}",
        f"  snapshots deleted         {receipt.snapshots}, on storage {receipt.shared_snapshots}",
        f"  rows of the alert store   {sum(receipt.store_rows.values())}",
        f"  rows of the registry      {receipt.registry_rows}, reports mended {receipt.reports}",
        f"  audit chain               {'whole' if receipt.is_chain_whole else 'BROKEN'}, secret destroyed",
        f"  found by search           {', '.join(receipt.left) or 'nothing'}",
        *(["NOT DONE: see to what was found, and give the same command again"] * bool(receipt.left)),
        "Still to do, outside of this installation:",
        *(f"  - {text}" for text in receipt.outside),
    ]
    for gateway in receipt.gateways_pending:
        lines.append(
            f"  - the spool of {gateway}: empty it, then "
            f"flarecast erase --confirm {receipt.reference} --gateway {gateway}"
        )
    for model in receipt.models:
        lines.append(f"  - the model {model} may have been trained on the data: refit, or document why not")
    return "\n".join(lines)
