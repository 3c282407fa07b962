"""Errors of judgement and telling: rules, the journal, and messages that do not arrive."""


class AlertsError(Exception):
    """Root of every error raised by :mod:`alerts`."""


class RuleError(AlertsError):
    """A rule pack that cannot be used; names the file, the rule and the field."""


class JournalError(AlertsError):
    """A journal that cannot be used, or a change it does not allow."""


class StaleAlertError(JournalError):
    """Somebody else changed the alert since it was read; look again before acting."""


class ChannelError(AlertsError):
    """A channel that is set up wrongly."""
