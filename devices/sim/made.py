"""What the simulator made, counted at creation and before any codec."""

from collections import Counter

from devices.observations import KINDS, Observation


class Made:
    """Counts of samples (one RR, one minute of steps, one epoch, one answer) per kind."""

    def __init__(self) -> None:
        self._samples: Counter[str] = Counter()

    def add(self, observation: Observation) -> None:
        """Count the samples of one observation."""
        self._samples[observation.kind] += observation.sample_count

    def add_samples(self, kind: str, count: int) -> None:
        """Count samples a simulated wearable made itself, such as a battery level it was asked for."""
        self._samples[kind] += count

    def by_kind(self) -> dict[str, int]:
        """Samples per kind, zero for kinds not made, in the order of the registry."""
        return {kind: self._samples[kind] for kind in KINDS}

    def total(self) -> int:
        """Samples of all kinds."""
        return self._samples.total()
