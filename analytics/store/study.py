"""A study as its TOML file says it: what may be given out, of whom, and how disguised.

::

    [study]
    id = "sleep-and-pain-1"
    purpose = "Sleep and next-day pain, approved 2026-09-01"
    approved_by = "ethics board, 2026/117"
    consent_scope = "research"
    from = 2026-01-01
    to = 2026-06-30
    tables = ["patient_day", "night", "pro_scores"]
    min_cell = 5
    age_bands = [18, 30, 45, 65, 80]
"""

import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Final

import msgspec

from analytics.errors import StudyError
from devices.ids import ID_PATTERN

#: What can be given out; `patient_day` always is, it says which days there are.
TABLES: Final = (
    "patient_day",
    "night",
    "hrv_window",
    "baseline",
    "trend",
    "flare_risk",
    "pro_scores",
    "alerts",
)
#: Below this a cell names people (Statistics bodies use 5 to 10).
LEAST_CELL: Final = 3

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Study(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Definition of a study; `first` and `last` are local dates, inclusive."""

    id: Annotated[str, msgspec.Meta(pattern=f"^{ID_PATTERN.pattern}$")]
    purpose: Text
    approved_by: Text
    consent_scope: Text
    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")
    tables: tuple[str, ...] = ("patient_day",)
    min_cell: Annotated[int, msgspec.Meta(ge=LEAST_CELL)] = 5
    age_bands: Annotated[tuple[int, ...], msgspec.Meta(min_length=1)] = (18, 30, 45, 65, 80)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    study: Study


def read_study(path: Path) -> Study:
    """Read the definition of a study.

    Raises
    ------
    StudyError
        Naming the file and the field that is wrong.
    """
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File, strict=True).study
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise StudyError(f"{path}: {error}") from None
    unknown = [name for name in found.tables if name not in TABLES]
    if unknown:
        raise StudyError(f"{path}: tables: {', '.join(unknown)} cannot be given out; {', '.join(TABLES)} can")
    if found.first > found.last:
        raise StudyError(f"{path}: from {found.first} is after to {found.last}")
    if sorted(set(found.age_bands)) != [*found.age_bands]:
        raise StudyError(f"{path}: age_bands: lower ends must rise")
    return found
