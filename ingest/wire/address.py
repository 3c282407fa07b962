"""Where the broker is and how to be let in."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BrokerAddress:
    """Address of an MQTT 5 broker.

    Parameters
    ----------
    host, port
        Where it listens.
    ca, certificate, key : Path or None
        PEM files of mutual TLS; without `ca` the connection is plain (loopback only).
    user : str or None
        User name, where the broker does not take it from the certificate.
    """

    host: str
    port: int
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str | None = None

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.ca is not None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
