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


class DeliveryFailure(AlertsError):
    """A message that did not arrive; the outbox decides what follows."""


class TransientFailure(DeliveryFailure):
    """Worth another attempt.

    Parameters
    ----------
    reason : str
        Short, without body, address or secret: it is stored and logged.
    retry_after_s : float, optional
        What the receiver asked for, in seconds.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class PermanentFailure(DeliveryFailure):
    """The same message will never be accepted by this channel."""
