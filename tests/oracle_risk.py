"""Flare risk of one patient in plain Python, day by day as the definitions read: slow and short."""

import math
from statistics import mean, median, stdev

STREAM = {
    "steps": "steps", "tst_min": "sleep", "waso_min": "sleep", "midpoint_h": "sleep",
    "resting_hr_bpm": "pulse", "rmssd_ms": "hrv", "nrs": None, "mood": None,
}  # fmt: skip
FLOOR = {"steps": 200, "rmssd_ms": 1}


class Oracle:
    """One patient: rows by day number from 0, segments by (stream, day), suspended days."""

    def __init__(self, rows, segments, suspended, model, within_sd):
        self.rows, self.segments, self.suspended = rows, segments, suspended
        self.model, self.within_sd = model, within_sd
        self.days = len(rows)
        self.in_force = {stream: self._carried(stream) for stream in set(STREAM.values()) - {None}}
        self.known = {}
        self.z = {name: [self.deviation(name, t)[3] for t in range(self.days)] for name in STREAM}
        self.exceeds = [self._exceeds(t) for t in range(self.days)]
        self.tapped = [bool(row.get("is_flare_reported")) for row in rows]

    def value(self, name, t):
        """Value on the scale of comparison, None where there is none."""
        raw = self.rows[t].get(name)
        if raw is None or (STREAM[name] and t in self.suspended):
            return None
        if name == "steps" and abs(self.rows[t].get("day_minutes", 1440) - 1440) > 60:
            return None
        return math.log(max(raw, FLOOR[name])) if name in FLOOR else raw

    def _carried(self, stream):
        """Segment of the last day on which the stream spoke."""
        found, last = [], None
        for t in range(self.days):
            last = self.segments.get((stream, t), last)
            found.append(last)
        return found

    def segment(self, name, t):
        return self.in_force[STREAM[name]][t] if STREAM[name] else "all"

    def deviation(self, name, t):
        """(count, center, scale, z); None where there is too little."""

        def days(newest):
            low = max(0, t - 35)
            same = [d for d in range(low, t - newest + 1) if self.segment(name, d) == self.segment(name, t)]
            return [v for d in same if (v := self.value(name, d)) is not None]

        window = days(8)
        if len(window) < 7:
            window = days(2)
        n, own = len(window), self.value(name, t)
        if n < 5:
            return n, None, None, None
        center = median(window)
        spread = 1.4826 * median(abs(v - center) for v in window)
        scale = math.sqrt((n * spread**2 + 7 * self.within_sd[name] ** 2) / (n + 7)) * math.sqrt(1 + 1.57 / n)
        return n, center, scale, None if own is None else max(-4, min(4, (own - center) / scale))

    def usual(self, t):
        def scores(newest):
            found = [self.rows[d].get("nrs") for d in range(max(0, t - 35), t - newest + 1)]
            return [v for v in found if v is not None]

        window = scores(8)
        if len(window) < 7:
            window = scores(2)
        return mean(window) if len(window) >= 5 else None

    def _exceeds(self, t):
        usual, own = self.usual(t), self.rows[t].get("nrs")
        if usual is None or own is None:
            return False
        return own - usual >= min(2, max(10 - usual - 0.5, 1)) - 1e-9

    def flare(self, t, known):
        """Whether t is a flare day, by what is known on day `known`."""
        near = [d for d in (t - 2, t - 1, t + 1, t + 2) if 0 <= d <= known]
        return self.tapped[t] or (self.exceeds[t] and any(self.exceeds[d] for d in near))

    def onsets(self, known):
        found, is_open, quiet_days, quiet_reports = [], False, 0, 0
        for t in range(known - 1):
            if self.flare(t, known):
                if not is_open:
                    found.append(t)
                is_open, quiet_days, quiet_reports = True, 0, 0
                continue
            quiet_days += 1
            quiet_reports += self.rows[t].get("nrs") is not None
            is_open = is_open and quiet_days < 7 and quiet_reports < 3
        return found

    def features(self, t):
        def z(name, days):
            found = [self.z[name][d] for d in range(max(0, t - days + 1), t + 1)]
            return [v for v in found if v is not None]

        def average(values, least=1):
            return mean(values) if len(values) >= least else None

        def minus(value):
            return None if value is None else -value

        steps = self.z["steps"]
        pairs = [(steps[d], steps[d - 1]) for d in range(max(1, t - 6), t + 1)]
        swing = average([abs(a - b) for a, b in pairs if a is not None and b is not None], 4)
        middle = average([v * v for v in z("midpoint_h", 7)], 3)
        pain = z("nrs", 14)
        flares = [d for d in range(t - 1) if self.flare(d, t)]
        found = {
            "tst_3": minus(average(z("tst_min", 3))),
            "waso_3": average(z("waso_min", 3)),
            "rhr_3": average(z("resting_hr_bpm", 3)),
            "rhr_7": average(z("resting_hr_bpm", 7), 3),
            "lnr_3": minus(average(z("rmssd_ms", 3))),
            "lnr_7": minus(average(z("rmssd_ms", 7), 3)),
            "over3": max([0, *z("steps", 3)]),
            "under3": max(0, minus(average(z("steps", 3))) or 0),
            "boombust": None if swing is None else swing - 1.1,
            "midirr": None if middle is None else math.log(max(math.sqrt(middle), 0.2)),
            "nrs_1": average(z("nrs", 2)),
            "nrs_3": average(z("nrs", 3)),
            "nrs_7": average(z("nrs", 7)),
            "mood_3": average(z("mood", 3)),
            "nrs_sd": stdev(pain) - 0.8 if len(pain) >= 5 else None,
            "recent": (math.exp(-(t - flares[-1]) / 10) if flares else 0) - 0.15,
        }
        return {name: value or 0.0 for name, value in found.items()}

    def hazard(self, x, ahead, history):
        model = self.model
        logit = model.intercepts[ahead - 1] + history
        logit += sum(
            x[name] * (weight + model.slopes.get(name, 0) * (ahead - 1) / 6)
            for name, weight in model.weights.items()
        )
        return 1 / (1 + math.exp(-logit))

    def day_ahead(self, t):
        if t not in self.known:
            self.known[t] = self.hazard(self.features(t), 1, 0.0)
        return self.known[t]

    def is_sufficient(self, t):
        if t in self.suspended:
            return False
        ready = 0
        for name in ("steps", "tst_min", "resting_hr_bpm", "rmssd_ms"):
            recent = [d for d in range(max(0, t - 3), t + 1) if self.value(name, d) is not None]
            ready += len(recent) >= 2 and self.deviation(name, t)[0] >= 7
        scored = [d for d in range(max(0, t - 27), t + 1) if self.rows[d].get("nrs") is not None]
        return ready >= 2 or (len(scored) >= 7 and scored[-1] > t - 4)

    def is_observed(self, t):
        return self.rows[t].get("nrs") is not None or self.rows[t].get("mood") is not None

    def is_at_risk(self, t):
        return not any(self.exceeds[d] or self.tapped[d] for d in range(max(0, t - 2), t + 1))

    def score(self, t):
        """Everything of one day."""
        counted = [
            d
            for d in range(1, t - 2)
            if self.is_at_risk(d - 1) and self.is_sufficient(d - 1) and self.is_observed(d)
        ]
        expected = sum(self.day_ahead(d - 1) for d in counted)
        onsets = len(set(self.onsets(t)) & set(counted))
        history = math.log((self.model.rate_prior + onsets) / (self.model.rate_prior + expected))
        x = self.features(t)
        none = [1 - self.hazard(x, ahead, history) for ahead in range(1, 8)]
        status = self.status(t)
        cells = [
            self.z[name][d] for name in ("steps", "tst_min", "rmssd_ms") for d in range(max(0, t - 2), t + 1)
        ]
        cells = [z for z in cells if z is not None]
        is_scored = status == "uncalibrated"
        is_spoken = self.monitored(t) >= 14 and t not in self.suspended
        return {
            "status": status,
            "risk_3d": 1 - math.prod(none[:3]) if is_scored else None,
            "risk_7d": 1 - math.prod(none) if is_scored else None,
            "onset_count": onsets,
            "onsets_expected": expected,
            "deviation": mean(cells) if len(cells) >= 5 and is_spoken else None,
            "cell_count": len(cells),
            "contributions": {
                name: x[name] * (weight + self.model.slopes.get(name, 0) / 6)
                for name, weight in self.model.weights.items()
                if x[name]
            }
            | ({"own_history": history} if history else {}),
        }

    def status(self, t):
        exceeding = sum(self.exceeds[max(0, t - 2) : t + 1])
        if exceeding > 1 or any(self.tapped[max(0, t - 2) : t + 1]):
            return "in_flare"
        if exceeding:
            return "possible_flare"
        if self.monitored(t) < 14:
            return "learning"
        return "uncalibrated" if self.is_sufficient(t) else "insufficient_data"

    def monitored(self, t):
        begun = [
            d for d in range(t + 1) if self.tapped[d] or any(self.rows[d].get(n) is not None for n in STREAM)
        ]
        return t - begun[0] + 1 if begun else 0
