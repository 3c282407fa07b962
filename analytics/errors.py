"""Errors of the numbers: what a caller can do wrong. Too little data is not one of them."""


class AnalyticsError(Exception):
    """Root of every error raised by :mod:`analytics`; its message is one line for the user."""


class WarehouseError(AnalyticsError):
    """Lake files that do not follow the contract of their kind."""


class QueryError(AnalyticsError):
    """A question the published snapshot cannot answer: no snapshot yet, or faulty SQL."""


class SignalError(AnalyticsError):
    """Arrays that do not belong together, or are not in time order."""


class ScoringError(AnalyticsError):
    """A questionnaire nobody has a rule for, or a score table that cannot be used."""


class StudyError(AnalyticsError):
    """A study whose definition cannot be used, or that has too few people to be given out."""


class LedgerError(AnalyticsError):
    """The night shift's ledger cannot be opened."""


class PartError(AnalyticsError):
    """A file of a derived table is missing or damaged.

    Parameters
    ----------
    path : str
        The file, below the folder of derived tables.
    reason : str
        What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
