"""Root of the errors raised by :mod:`alerts`."""


class AlertsError(Exception):
    """A rule, channel or command was refused; the message is one clear line."""
