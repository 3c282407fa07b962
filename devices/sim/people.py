"""SYNTHETIC people with chronic pain: who they are, where they live, what they wear.

Nobody here is real. Personal medians are drawn from the ranges in
:data:`RANGES`; what happens on a given day is decided in
:mod:`devices.sim.cohort_path` (the latent course) and
:mod:`devices.sim.cohort_days` (the day itself).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from devices.clock import from_utc
from devices.ids import DeviceId, GatewayId, PatientId, SiteId
from devices.sim.physiology import Rng, rng_of

#: Zones of the synthetic sites: northern and southern summer time, none, and a
#: half-hour offset.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Asia/Tokyo",
    "Europe/London",
    "Australia/Sydney",
    "Asia/Kolkata",
    "America/Phoenix",
    "Europe/Lisbon",
)
SITES = ("harbour-clinic", "north-clinic", "valley-programme")

#: Personal medians are uniform (steps: log-uniform) in these ranges.
RANGES: dict[str, tuple[float, float]] = {
    "steps": (1500, 9000),  # per day
    "tst_min": (340, 470),  # total sleep time
    "waso_min": (22, 65),  # wake after sleep onset
    "onset_min": (-110, 45),  # sleep onset, minutes after local midnight
    "rr_ms": (860, 1090),  # light sleep: 55-70 beats per minute
    "rmssd_ms": (18, 58),
    "breath_hz": (0.20, 0.29),
    "nrs": (2.5, 6.5),  # usual pain, 0-10
    "mood": (2.0, 6.0),  # low mood, 0 none - 10 worst
    "off_pct": (10, 21),  # days with the band off for most or all of it; outages come on top
    "strap_pct": (80, 94),  # nights with the strap
    "missed_pct": (5, 22),  # evening answers missed on an ordinary day
    "tap_recall_pct": (40, 75),  # flare days on which the patient taps
}

#: Share of people whose flares nothing measurable announces.
UNPREDICTABLE_SHARE = 0.4
#: Mean chance of a flare starting on a day out of flare; people differ as a Gamma of shape 2.
FLARE_HAZARD = 0.035
#: One person in this many travels (their zone stays the enrolled one, see cohort_days).
TRAVELLER_EVERY = 40
TRAVELLER_OFFSET = 5

# streams of the person's random numbers; see physiology.rng_of
_WHO, _NAMES = 1, 2


@dataclass(frozen=True)
class Person:
    """One synthetic person: identifiers, home zone, devices and personal medians."""

    number: int
    patient: PatientId
    site: SiteId
    zone: str
    gateway: GatewayId
    strap: DeviceId
    band: DeviceId
    diary: DeviceId
    steps: float
    tst_min: float
    waso_min: float
    onset_min: float
    rr_ms: float
    rmssd_ms: float
    breath_hz: float
    nrs: float
    mood: float
    off_pct: float
    strap_pct: float
    missed_pct: float
    tap_recall_pct: float
    flare_hazard: float
    is_predictable: bool
    is_traveller: bool

    @property
    def devices(self) -> tuple[DeviceId, DeviceId, DeviceId]:
        """Strap, band and diary."""
        return self.strap, self.band, self.diary


def make_people(count: int, *, seed: int) -> list[Person]:
    """Synthetic people 1..`count`; person k is the same whatever `count` is."""
    return [_make_person(number, seed) for number in range(1, count + 1)]


def _make_person(number: int, seed: int) -> Person:
    rng = rng_of(seed, _WHO, number)
    names = rng_of(seed, _NAMES, number)
    median = {name: float(rng.uniform(low, high)) for name, (low, high) in RANGES.items()}
    low, high = np.log(RANGES["steps"])
    median["steps"] = float(np.exp(rng.uniform(low, high)))
    return Person(
        number=number,
        patient=PatientId(f"patient-{number:05d}"),
        site=SiteId(SITES[number % len(SITES)]),
        zone=ZONES[(number - 1) % len(ZONES)],
        gateway=GatewayId(_pseudonym("gw", names)),
        strap=DeviceId(_pseudonym("strap", names)),
        band=DeviceId(_pseudonym("band", names)),
        diary=DeviceId(_pseudonym("diary", names)),
        flare_hazard=float(min(FLARE_HAZARD * rng.gamma(2.0, 0.5), 0.12)),
        is_predictable=bool(rng.random() >= UNPREDICTABLE_SHARE),
        is_traveller=number % TRAVELLER_EVERY == TRAVELLER_OFFSET,
        **median,
    )


def _pseudonym(role: str, rng: Rng) -> str:
    # 48 random bits: two devices among a million share a name once in 560 draws of the million
    return f"{role}-{int(rng.integers(0, 1 << 48)):012x}"


def enrolment_rows(people: Iterable[Person], *, valid_from_utc: int) -> list[dict[str, str]]:
    """Rows of the enrolment file, one per device, valid from an instant and still open.

    Parameters
    ----------
    people : iterable of Person
    valid_from_utc : int
        Microseconds UTC; written as ISO 8601. `valid_to_utc` is empty: the row still holds.
    """
    since = from_utc(valid_from_utc).isoformat()
    return [
        {
            "patient": person.patient,
            "site": person.site,
            "zone": person.zone,
            "gateway": person.gateway,
            "device": device,
            "valid_from_utc": since,
            "valid_to_utc": "",
        }
        for person in people
        for device in person.devices
    ]
