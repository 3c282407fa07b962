"""A clock that stands still until it is told to advance."""


class SteppedClock:
    """Simulated time, microseconds UTC; advanced by whoever makes the events."""

    def __init__(self, utc: int) -> None:
        self.utc = utc

    def __call__(self) -> int:
        return self.utc

    def advance_ms(self, ms: int) -> None:
        """Let `ms` milliseconds pass."""
        self.utc += 1000 * ms
