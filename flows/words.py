"""Words that every command says alike."""


def counted(count: int, noun: str) -> str:
    """A number and what it counts: "1 patient", "2 patients"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
