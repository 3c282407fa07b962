"""Schemas of the derived tables: grain, unit and meaning of every column.

SQL comments of the published snapshot and the data dictionary are made from
these. NULL means not worn or too little data (the reason stands beside it);
0 means worn and still.
"""

import pyarrow as pa

from devices import units
from devices.tables import UTC, field

#: Bumped with every change of any schema below.
SCHEMA_VERSION = 1

_DAY = (
    field("patient", pa.string(), units.NONE, "patient id"),
    field("local_date", pa.date32(), units.NONE, "local date; a night belongs to the date it ends on"),
)


def _real(name: str, unit: str, doc: str) -> pa.Field:
    return field(name, pa.float64(), unit, doc, nullable=True)


def _text(name: str, doc: str) -> pa.Field:
    return field(name, pa.string(), units.NONE, doc, nullable=True)


def _count(name: str, doc: str, unit: str = units.COUNT) -> pa.Field:
    return field(name, pa.int32(), unit, doc, nullable=True)


def _flag(name: str, doc: str) -> pa.Field:
    return field(name, pa.bool_(), units.NONE, doc, nullable=True)


def _date(name: str, doc: str) -> pa.Field:
    return field(name, pa.date32(), units.NONE, doc, nullable=True)


HRV_WINDOW = pa.schema(
    [
        *_DAY,
        field("device", pa.string(), units.NONE, "device the RR intervals came from"),
        field("window_start_utc", UTC, units.NONE, "start of the 300 s window on the wall clock (UTC)"),
        _count("rr_count", "RR intervals that end in the window"),
        _count("nn_count", "of them free of artifacts"),
        _real("coverage_pct", units.PERCENT, "share of the window covered by NN intervals"),
        _real("mean_nn_ms", units.MILLISECOND, "mean NN interval"),
        _real("sdnn_ms", units.MILLISECOND, "standard deviation of NN intervals, ddof 1"),
        _real("rmssd_ms", units.MILLISECOND, "root mean square of gap-aware successive differences"),
        _real("pnn50_pct", units.PERCENT, "share of successive differences above 50 ms"),
        _real("sd1_ms", units.MILLISECOND, "Poincare SD1"),
        _real("sd2_ms", units.MILLISECOND, "Poincare SD2"),
        field("sensor", pa.string(), units.NONE, "ecg, ppg or unknown"),
        _text("quality", "why the values are null; null when they stand"),
        _real("lf_ms2", "ms2", "power of 0.04-0.15 Hz (Welch); exploratory"),
        _real("hf_ms2", "ms2", "power of 0.15-0.4 Hz (Welch); exploratory"),
        _real("lf_hf", units.NONE, "lf_ms2 / hf_ms2; exploratory, no measure of sympathetic balance"),
        _text("spectral_quality", "why lf_ms2 and hf_ms2 are null; null when they stand"),
    ]
)

NIGHT = pa.schema(
    [
        *_DAY,
        _text("sleep_source", "recorded, assumed_night (00:00-06:00 local, no sleep believed) or null"),
        field("sleep_start_utc", UTC, units.NONE, "sleep onset of the main sleep (UTC)", nullable=True),
        field("sleep_end_utc", UTC, units.NONE, "final awakening of the main sleep (UTC)", nullable=True),
        _real("tst_min", units.MINUTE, "total sleep time of the main sleep"),
        _real("waso_min", units.MINUTE, "wake after sleep onset"),
        _real("efficiency_pct", units.PERCENT, "total sleep time / time in bed"),
        _real("midpoint_h", "h", "local clock time of mid-sleep, hours after midnight, -12 to 12"),
        _text("sleep_quality", "why the sleep values are null; null when they stand"),
        _count("rr_count", "RR intervals inside the sleep window"),
        _count("window_count", "five-minute windows that count"),
        _real("coverage_pct", units.PERCENT, "share of the sleep window covered by NN intervals"),
        _real("mean_nn_ms", units.MILLISECOND, "median over windows of mean NN"),
        _real("rmssd_ms", units.MILLISECOND, "median over windows of RMSSD"),
        _real("ln_rmssd", "{ln ms}", "natural logarithm of rmssd_ms"),
        _real("sdnn_ms", units.MILLISECOND, "median over windows of SDNN (5 min, not whole night)"),
        _real("pnn50_pct", units.PERCENT, "median over windows of pNN50"),
        _real("resting_hr_bpm", units.PER_MINUTE, "lowest 30-minute median heart rate in sleep"),
        _text("sensor", "ecg, ppg or unknown; HRV is never compared across sensors"),
        _text("hrv_quality", "why the HRV values are null; null when they stand"),
        _real("in_bed_min", units.MINUTE, "first to last epoch around the sleep; null when not told"),
        _real("latency_min", units.MINUTE, "from bed to sleep onset; null when going to bed was not seen"),
        _real("maintenance_efficiency_pct", units.PERCENT, "total sleep time / sleep episode"),
        _real("light_min", units.MINUTE, "light sleep of the main sleep"),
        _real("deep_min", units.MINUTE, "deep sleep of the main sleep"),
        _real("rem_min", units.MINUTE, "REM sleep of the main sleep"),
        _count("awakening_count", "times awake between sleep onset and final awakening"),
        _count("nap_count", "other sleep episodes that ended on the date; null without a sleep record"),
        _real("nap_min", units.MINUTE, "sleep in them; null without a sleep record"),
    ]
)

PATIENT_DAY = pa.schema(
    [
        *_DAY,
        field("zone", pa.string(), units.NONE, "IANA zone used for the date"),
        _count(
            "day_minutes", "length of the local date: 1380, 1440 or 1500; of a move up to 3000", units.MINUTE
        ),
        _real("steps", units.STEPS_PER_DAY, "steps of the local day; null when the day is not valid"),
        _real("wear_min", units.MINUTE, "minutes worn"),
        _flag("is_valid_day", "worn at least 10 h"),
        _text("quality", "why steps are null; null when they stand"),
        _real("nrs", units.SCORE, "pain intensity 0-10, mean of the day's answers"),
        _real("mood", units.SCORE, "mood 0-10, mean of the day's answers"),
        _flag("is_flare_reported", "the patient reported a flare on this date"),
        _real("tst_min", units.MINUTE, "total sleep time of the night that ended on this date"),
        _real("waso_min", units.MINUTE, "wake after sleep onset of that night"),
        _real("midpoint_h", "h", "mid-sleep of that night, hours after local midnight"),
        _real("resting_hr_bpm", units.PER_MINUTE, "resting heart rate of that night"),
        _real("rmssd_ms", units.MILLISECOND, "nightly median RMSSD"),
        _text(
            "device_segment", "wearables worn, for HRV the kind of sensor too; a change starts a new baseline"
        ),
        _real("not_worn_min", units.MINUTE, "minutes not worn; what remains of the day is unknown"),
        _real("cadence_0_min", units.MINUTE, "worn minutes of 0 steps/min, asleep or awake"),
        *(
            _real(f"cadence_{name}_min", units.MINUTE, f"worn minutes of {name.replace('_', '-')} steps/min")
            for name in ("1_19", "20_39", "40_59", "60_79", "80_99", "100_119")
        ),
        _real("cadence_120_min", units.MINUTE, "worn minutes of 120 steps/min and more"),
        _real("mvpa_min", units.MINUTE, "worn minutes of at least 100 steps/min, moderate to vigorous"),
        _real("sedentary_min", units.MINUTE, "worn minutes awake and without a step"),
        _count("sedentary_bout_count", "runs of such minutes"),
        _count("sedentary_long_bout_count", "runs of at least 30 such minutes"),
        _flag("is_harder_to_tolerate", "with a reported flare: harder to tolerate than usual?"),
        _flag("has_stopped_activities", "with a reported flare: stopped you doing things?"),
        _real("practice_min", units.MINUTE, "home practice logged, by the date it began"),
        _real(
            "vendor_difference_steps",
            units.STEPS,
            "a device's own daily total minus its minutes, where over 1 % off; reported, never counted",
        ),
        _text("cadence_quality", "why cadence, MVPA and sedentary values are null; null when they stand"),
    ]
)

DAY_CLOCK = pa.schema(
    [
        *_DAY,
        field(
            "hourly_steps",
            pa.list_(pa.float64()),
            "{steps}/h",
            "steps of the clock's hours 0 to 23; null with fewer than 30 minutes worn and counted",
        ),
        field(
            "asleep_min",
            pa.list_(pa.uint16()),
            units.MINUTE,
            "minutes after midnight by the clock at which sleep begins and ends, in turn",
        ),
        field(
            "awake_min",
            pa.list_(pa.uint16()),
            units.MINUTE,
            "minutes at which time worn and not asleep begins and ends, in turn; the rest is unknown",
        ),
    ]
)

RHYTHM = pa.schema(
    [
        *_DAY[:1],
        field("local_date", pa.date32(), units.NONE, "last of the 28 local dates looked at"),
        _real("interdaily_stability", "1", "IS: how alike the days are, 0 to 1"),
        _real("intradaily_variability", "1", "IV: how broken up the hours are; noise has 2"),
        _real("relative_amplitude", "1", "RA: (m10 - l5) / (m10 + l5)"),
        _real("l5", "{steps}/h", "mean of the 5 least active consecutive hours of the average day"),
        _real("m10", "{steps}/h", "mean of the 10 most active consecutive hours of the average day"),
        _real("l5_start_h", "h", "clock hour at which these 5 begin"),
        _real("m10_start_h", "h", "clock hour at which these 10 begin"),
        _count("rhythm_day_count", "days with at least 20 known hours"),
        _text("rhythm_quality", "why values before this one are null; null when all stand"),
        _real("sleep_regularity", units.SCORE, "SRI, -100 to 100; 100: asleep at the same minutes every day"),
        _count("sleep_pair_count", "pairs of consecutive days with at least 960 comparable minutes"),
        _text("sleep_regularity_quality", "why sleep_regularity is null; null when it stands"),
        _real("social_jetlag_h", "h", "mid-sleep on free days against the patient's own work days"),
        _text("social_jetlag_quality", "why social_jetlag_h is null; null when it stands"),
    ]
)

BASELINE = pa.schema(
    [
        *_DAY,
        field("metric", pa.string(), units.NONE, "metric id of analytics.metrics"),
        _real("value", units.NONE, "value of the day, on the metric's baseline scale"),
        _real("center", units.NONE, "median of the patient's own baseline days"),
        _real("scale", units.NONE, "shrunken robust spread of the patient's own baseline days"),
        _count("baseline_count", "baseline days used, all of the day's device segment"),
        _real("z", "{SD}", "deviation from the patient's own baseline, clipped to -4..4"),
        _text("quality", "why z is null; null when it stands"),
        field("scales_version", pa.string(), units.NONE, "version of the usual within-person spreads"),
    ]
)

_MESSAGE = (
    field("message", pa.string(), units.NONE, "id of the sentence; renders in several languages"),
    field("parameters", pa.string(), units.NONE, "JSON: what the sentence is made of"),
    field("sentence", pa.string(), units.NONE, "the sentence in English"),
)

TREND = pa.schema(
    [
        *_DAY,
        field("metric", pa.string(), units.NONE, "metric id of analytics.metrics"),
        _count("valid_day_count", "valid days in the look-back of 56"),
        _real("level", units.STEPS_PER_DAY, "median of these days"),
        _real("change_pct", units.PERCENT, "change per 4 weeks (Theil-Sen over 56 days, without weekends)"),
        _real("change_low_pct", units.PERCENT, "lower end of the 95 % interval"),
        _real("change_high_pct", units.PERCENT, "upper end of the 95 % interval"),
        _real("p_value", units.NONE, "Mann-Kendall, corrected for autocorrelation"),
        _date("shift_date", "first day of a new level; null: none"),
        _real("shift_pct", units.PERCENT, "change of level from that day on"),
        _real("shift_p_value", units.NONE, "Pettitt, corrected for autocorrelation; of the largest shift"),
        _real("variability", units.NONE, "pacing: SD of ln steps over 56 days"),
        _real("variability_before", units.NONE, "the same over the 84 days before"),
        _count("paired_day_count", "days with steps and pain of the day before"),
        _real("good_day_pct", units.PERCENT, "pacing: steps per point of less pain the day before"),
        _real("good_day_low_pct", units.PERCENT, "lower end of the 95 % interval"),
        _real("good_day_high_pct", units.PERCENT, "upper end of the 95 % interval"),
        _real("bad_day_pct", units.PERCENT, "pacing: steps per point of more pain the day before"),
        _real("bad_day_low_pct", units.PERCENT, "lower end of the 95 % interval"),
        _real("bad_day_high_pct", units.PERCENT, "upper end of the 95 % interval"),
        _count("high_day_count", "pacing: days of at least 1 SD more steps than usual"),
        _count("followed_count", "of them followed by a pain rise or a slump within 2 days"),
        _real("followed_by_chance", units.COUNT, "as many expected by chance (permutation within weekdays)"),
        _text("pacing_quality", "why the pacing numbers are null; null when they stand"),
        _count("wear_day_count", "wear-valid days of the last 28"),
        _count("night_count", "nights with sleep of the last 28"),
        _count("report_day_count", "days with a pain score of the last 28"),
        _count("practice_day_count", "days with practice of the last 7"),
        _count("longest_gap_days", "longest run of days of the last 28 without a valid one"),
        _text("gap_reason", "why that run was not valid, as far as known"),
        _text("quality", "why there is no trend; null when it stands"),
        *_MESSAGE,
    ]
)

_STATUSES = "insufficient_data, learning, in_flare, possible_flare, uncalibrated or ok"

FLARE_RISK = pa.schema(
    [
        *_DAY,
        field("status", pa.string(), units.NONE, _STATUSES),
        _text("reason", "why that status"),
        _real("risk_3d", units.NONE, "chance of a reported onset within 3 days; shadow if uncalibrated"),
        _real("risk_7d", units.NONE, "chance of a reported onset within 7 days; shadow if uncalibrated"),
        _text("band", "low, usual, raised or high by the site's own deciles; null: nobody has set them"),
        _flag(
            "would_alert", "risk_7d passes the version's own threshold; whom the rules told stands in alerts"
        ),
        _count("reference_per_100", "of 100 similar days at this site so many were followed by an onset"),
        _count("reference_day_count", "days behind it; null: nobody has counted"),
        _real("deviation", "{SD}", "combined three-day deviation from the patient's own baseline"),
        _count("cell_count", "cells of the nine (3 metrics x 3 days) present", units.COUNT),
        _text("drivers", "JSON: [[feature, contribution], ...], the three largest and own_history"),
        _text("contributions", "JSON: feature -> contribution to the log-odds, where not 0"),
        _count("monitored_days", "days since the first one with anything in it"),
        _real("onset_count", units.COUNT, "onsets known 3 days ago, of the personal rate"),
        _real("onsets_expected", units.COUNT, "onsets expected by then without the personal rate"),
        field(
            "hazard_pending",
            pa.list_(pa.float64()),
            units.NONE,
            "day-ahead chances given 3, 2, 1 and 0 days ago, not in onsets_expected yet; null: not counted",
        ),
        _date("last_flare_date", "last flare day known"),
        _date("last_onset_date", "onset of the last flare known"),
        _text("last_flare_source", "what made it a flare: tap, nrs, or nrs and tap"),
        _date("last_alert_date", "last day on which would_alert holds"),
        _real("usual_nrs", units.SCORE, "own recent mean pain, from which a flare is judged"),
        _text("label_quality", "why pain scores cannot tell a flare; null when they can"),
        field("model_version", pa.string(), units.NONE, "version of the risk model"),
        *_MESSAGE,
        _real(
            "alert_load_3d",
            "/wk",
            "alerts per 100 patients and week that a threshold at this risk_3d gave where the approved model "
            "was fitted; a risk rule alerts when it is within its budget. null: nobody may be told",
        ),
        _real(
            "alert_load_7d",
            "/wk",
            "alerts per 100 patients and week that a threshold at this risk_7d gave where the approved model "
            "was fitted; a risk rule alerts when it is within its budget. null: nobody may be told",
        ),
    ]
)

#: What a snapshot says of itself.
SNAPSHOT = pa.schema(
    [
        field("snapshot", pa.string(), units.NONE, "name of this snapshot"),
        field("made_utc", UTC, units.NONE, "when it was published (UTC)"),
        field("people", pa.string(), units.NONE, "patients, or SYNTHETIC where they are simulated"),
    ],
    metadata={"doc": "one row about this snapshot"},
)

#: Table name -> schema, in the order they are computed.
TABLES: dict[str, pa.Schema] = {
    "hrv_window": HRV_WINDOW,
    "night": NIGHT,
    "patient_day": PATIENT_DAY,
    "day_clock": DAY_CLOCK,
    "rhythm": RHYTHM,
    "baseline": BASELINE,
    "trend": TREND,
    "flare_risk": FLARE_RISK,
}
