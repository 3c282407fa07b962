"""The clinic's certificate authority: who may connect to the broker, and as whom.

The common name of a certificate is the user name at the broker, the client id and
the gateway's segment of its topics, so a name belongs to one party only. Keys are
P-256; the authority's own key never leaves its folder.
"""

import fcntl
import ipaddress
import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from devices.clock import DAY, MINUTE, Clock, from_utc
from devices.durable import replace_file
from devices.errors import IdError
from devices.ids import check_id
from ingest.errors import SecurityError
from ingest.lake.security_broker import write_broker_files
from ingest.wire.certificates import JOINING, REGISTRAR
from ingest.wire.topics import is_collector

CA_DAYS: Final = 10 * 365
#: Long enough for a home box that is rarely touched, short enough that a lost one ends.
CLIENT_DAYS: Final = 398
BROKER_NAME: Final = "broker"
#: Names the broker's certificate always has: collectors sit beside it.
LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1")
_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")

Role = Literal["gateway", "collector", "broker", "registrar", "invitation"]


class Issued(msgspec.Struct, frozen=True):
    """A certificate of the authority; instants in microseconds UTC, the serial as hexadecimal text."""

    name: str
    role: Role
    serial: str
    issued_utc: int
    expires_utc: int
    revoked_utc: int | None = None


class Authority:
    """Certificate authority in a folder of its own.

    ``ca.key`` and ``ca.crt``, ``issued.json``, ``clients/<name>/`` to be carried to each
    party, ``broker/`` to be copied beside mosquitto (certificates, list of revoked ones,
    configuration and rules).

    Parameters
    ----------
    folder : Path
        Where it is, made by `found`.
    clock : Clock
        Microseconds UTC.
    """

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock
        try:
            self._key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
            self._certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        except FileNotFoundError:
            raise SecurityError(f"no certificate authority in {folder}: flarecast ca init") from None
        except (OSError, ValueError) as error:
            raise SecurityError(f"{folder}: {error}") from None

    @classmethod
    def found(
        cls, folder: Path, *, hosts: Sequence[str], clock: Clock, installed: Path | None = None
    ) -> "Authority":
        """Make the authority and the broker's certificate for `hosts`.

        Parameters
        ----------
        hosts
            Names or addresses under which gateways reach the broker.
        installed : Path, optional
            Where the broker will find the files of ``broker/``; that folder itself when absent.

        Raises
        ------
        SecurityError
            When there is one already, or a host is neither a name nor an address.
        """
        if (folder / "ca.key").exists():
            raise SecurityError(f"{folder} holds a certificate authority already")
        for host in hosts:
            _host(host)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("flarecast certificate authority")
        builder = _builder(name, name, key.public_key(), clock(), CA_DAYS)
        usage = _usage(is_authority=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        certificate = builder.sign(key, hashes.SHA256())
        # the certificate first: an authority is there when its key is
        replace_file(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))
        replace_file(folder / "ca.key", private_pem(key), mode=0o600)
        authority = cls(folder, clock=clock)
        authority._save([])
        authority._issue_broker([*hosts, *LOOPBACK_HOSTS])
        write_broker_files(folder / "broker", installed=installed, collectors=[], revoked=[])
        return authority

    def issued(self) -> list[Issued]:
        """Every certificate ever issued, in order."""
        return read_issued(self.folder)

    def issue(self, role: Literal["gateway", "collector", "registrar"], name: str) -> Path:
        """Certificate and key, both made here; again for a name that has one, to renew it.

        A home box does better to make its own key (:mod:`ingest.lake.security_invitations`).

        Returns
        -------
        Path
            Folder with ``ca.crt``, ``client.crt`` and ``client.key``.

        Raises
        ------
        SecurityError
            When the name belongs to another role: a gateway called as a collector would be one.
        """
        check_name(role, name)
        with self.alone():
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self.sign(name, role, key.public_key())
            folder = self.folder / "clients" / name
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(
                folder / "client.crt", certificate.public_bytes(serialization.Encoding.PEM), mode=0o600
            )
            replace_file(folder / "client.key", private_pem(key), mode=0o600)
            replace_file(folder / "ca.crt", (self.folder / "ca.crt").read_bytes(), mode=0o600)
            self.write_broker()
        return folder

    def revoke(self, name: str) -> int:
        """Revoke every certificate of a gateway or collector; returns how many.

        The broker knows when it has been told to read its files again: the name's connections
        that are open may do nothing more then (``gateways.acl``), new ones are refused
        (``crl.pem``).

        Raises
        ------
        SecurityError
            When the name has no valid certificate.
        """
        now = self._clock()
        with self.alone():
            issued = self.issued()
            mine = [one for one in issued if one.name == name and one.revoked_utc is None and _is_client(one)]
            if not mine:
                raise SecurityError(f"{name} has no certificate that is not revoked already")
            serials = {one.serial for one in mine}
            self._save(
                [
                    msgspec.structs.replace(one, revoked_utc=now) if one.serial in serials else one
                    for one in issued
                ]
            )
            self.write_broker()
        return len(mine)

    def ca_pem(self) -> str:
        """The authority's own certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @contextmanager
    def alone(self) -> Generator[None]:
        """Context in which no other process issues or revokes."""
        with (self.folder / "lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _issue_broker(self, hosts: Iterable[str]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.sign(BROKER_NAME, "broker", key.public_key(), hosts=list(dict.fromkeys(hosts)))
        folder = self.folder / "broker"
        folder.mkdir(exist_ok=True, mode=0o700)
        replace_file(folder / "broker.crt", certificate.public_bytes(serialization.Encoding.PEM), mode=0o600)
        replace_file(folder / "broker.key", private_pem(key), mode=0o600)
        replace_file(folder / "ca.crt", (self.folder / "ca.crt").read_bytes(), mode=0o600)
        replace_file(folder / "crl.pem", self._revocations(), mode=0o600)

    def sign(
        self,
        name: str,
        role: Role,
        key: ec.EllipticCurvePublicKey,
        *,
        hosts: Sequence[str] = (),
        days: int | None = None,
    ) -> x509.Certificate:
        """Certificate of a key, noted as issued; the caller holds :meth:`alone`."""
        issuer = self._certificate.subject
        days = days or (CA_DAYS if role == "broker" else CLIENT_DAYS)
        builder = _builder(_name(name), issuer, key, self._clock(), days)
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if role == "broker" else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(is_authority=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        signer = self._signer()
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        certificate = builder.add_extension(authority, critical=False).sign(signer, hashes.SHA256())
        entry = Issued(
            name=name,
            role=role,
            serial=f"{certificate.serial_number:x}",
            issued_utc=self._clock(),
            expires_utc=self._clock() + days * DAY,
        )
        # noted before it is handed out: what is not noted cannot be revoked
        self._save([*self.issued(), entry])
        return certificate

    def _revocations(self) -> bytes:
        # valid as long as the authority: a list out of date would shut everybody out
        now = from_utc(self._clock())
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self._certificate.subject,
            last_update=now - timedelta(minutes=1),
            next_update=self._certificate.not_valid_after_utc,
        )
        for one in self.issued():
            if one.revoked_utc is not None:
                revoked = x509.RevokedCertificateBuilder(
                    serial_number=int(one.serial, 16), revocation_date=from_utc(one.revoked_utc)
                )
                builder = builder.add_revoked_certificate(revoked.build())
        listed = builder.sign(self._signer(), hashes.SHA256())
        return listed.public_bytes(serialization.Encoding.PEM)

    def write_broker(self) -> None:
        """Bring the broker's files up to date with what is issued and revoked."""
        replace_file(self.folder / "broker" / "crl.pem", self._revocations(), mode=0o600)
        issued = self.issued()
        valid = {one.name for one in issued if one.revoked_utc is None}
        write_broker_files(
            self.folder / "broker",
            installed=None,
            collectors=sorted({one.name for one in issued if one.role == "collector"} & valid),
            revoked=sorted({one.name for one in issued if _is_client(one)} - valid),
        )

    def _signer(self) -> ec.EllipticCurvePrivateKey:
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            raise SecurityError(f"{self.folder / 'ca.key'} is not a key of an elliptic curve")
        return self._key

    def _save(self, issued: Sequence[Issued]) -> None:
        replace_file(
            self.folder / "issued.json", msgspec.json.format(msgspec.json.encode(issued)), mode=0o600
        )


def read_issued(folder: Path) -> list[Issued]:
    """Every certificate ever issued by the authority of a folder; its key is not needed.

    Raises
    ------
    SecurityError
        When it cannot be read.
    """
    try:
        return msgspec.json.decode((folder / "issued.json").read_bytes(), type=list[Issued])
    except (OSError, msgspec.DecodeError) as error:
        raise SecurityError(f"{folder / 'issued.json'}: {error}") from None


def check_name(role: str, name: str) -> None:
    try:
        check_id(name, role)
    except IdError as error:
        raise SecurityError(str(error)) from None
    if role == "collector" and not is_collector(name):
        raise SecurityError(f"a collector is called collector-1, collector-2, ..., not {name}")
    is_taken = is_collector(name) or name in (BROKER_NAME, REGISTRAR) or name.startswith(JOINING)
    if role == "gateway" and is_taken:
        raise SecurityError(f"{name} cannot be the name of a gateway: it would have other rights")


def _is_client(one: Issued) -> bool:
    return one.role != "broker"


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        # a port or an umlaut would make a certificate that no gateway accepts
        if _HOST_NAME.fullmatch(host) is None:
            raise SecurityError(f"host {host!r} is neither a DNS name in ASCII nor an address") from None
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: int, days: int
) -> x509.CertificateBuilder:
    # a home box may be a few minutes behind
    start = from_utc(now - 10 * MINUTE)
    return (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
