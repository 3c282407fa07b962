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
