"""Invitations: a gateway makes its own key, and a code that holds once lets the clinic sign it.

The site makes an invitation (a file for the box) and a code (told another way). The file
holds a certificate that lets the box in to ask and to do nothing else; whoever has the
file without the code, or the code without the file, gets nothing. Renewal needs neither:
there the present certificate is who asks.
"""

import hmac
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devices.clock import DAY, Clock
from devices.durable import replace_file
from devices.ids import check_id
from ingest.errors import SecurityError
from ingest.lake.security import Authority, check_name, private_pem
from ingest.wire.certificates import JOINING, Invitation, Request, code_key, new_code, prove

#: Wrong codes after which an invitation is void.
MOST_TRIES: Final = 5


class Open(msgspec.Struct, frozen=True):
    """An invitation that was made: until when, with which code, and what became of it.

    `code` is the SHA-256 of the code; `used_by` that of the key it was used for, with the
    certificate that was given for it.
    """

    gateway: str
    code: str
    expires_utc: int
    tries: int = 0
    used_utc: int | None = None
    used_by: str = ""
    certificate: str = ""


class Invitations:
    """Invitations of an authority, in ``invitations.json`` of its folder.

    Parameters
    ----------
    authority : Authority
        Who signs.
    clock : Clock
        Microseconds UTC.
    """

    def __init__(self, authority: Authority, *, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock
        self._path = authority.folder / "invitations.json"

    def make(self, gateway: str, *, site: str, host: str, port: int, days: int) -> tuple[Path, str]:
        """Invitation and code of a gateway; an earlier invitation of it is void.

        Returns
        -------
        Path
            The file for the box.
        str
            The code; it is kept nowhere.

        Raises
        ------
        SecurityError
            When the name cannot be a gateway's.
        """
        check_name("gateway", gateway)
        check_id(site, "site")
        key = ec.generate_private_key(ec.SECP256R1())
        code = new_code()
        with self._authority.alone():
            certificate = self._authority.sign(JOINING + gateway, "invitation", key.public_key(), days=days)
            one = Open(gateway, code_key(code).hex(), self._clock() + days * DAY)
            self._save(one)
        invitation = Invitation(
            gateway=gateway,
            site=site,
            host=host,
            port=port,
            ca=self._authority.ca_pem(),
            certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            key=private_pem(key).decode(),
            expires_utc=one.expires_utc,
        )
        folder = self._authority.folder / "invitations"
        folder.mkdir(exist_ok=True, mode=0o700)
        path = folder / f"{gateway}.json"
        replace_file(path, msgspec.json.format(msgspec.json.encode(invitation)), mode=0o600)
        return path, code

    def redeem(self, gateway: str, request: Request) -> str:
        """Certificate (PEM) for an invited gateway; the same again where the same key asks again.

        Raises
        ------
        SecurityError
            With the reason, for the person at the box.
        """
        signing = read_request(request.csr, gateway)
        key = _key_digest(signing)
        with self._authority.alone():
            one = self._read().get(gateway)
            if one is None:
                raise SecurityError(f"{gateway} is not invited")
            if self._clock() >= one.expires_utc:
                raise SecurityError("the invitation has expired: ask for another")
            if one.tries >= MOST_TRIES:
                raise SecurityError("the invitation is void after too many wrong codes: ask for another")
            if not hmac.compare_digest(prove(bytes.fromhex(one.code), request.csr), request.mac):
                self._save(msgspec.structs.replace(one, tries=one.tries + 1))
                raise SecurityError("the code is wrong")
            if one.used_utc is not None and one.used_by != key:
                raise SecurityError(
                    "the code was used already, with another key: if that was not you, tell the clinic"
                )
            if one.used_utc is None:
                certificate = self._sign(gateway, signing)
                one = msgspec.structs.replace(
                    one, used_utc=self._clock(), used_by=key, certificate=certificate
                )
                self._save(one)
                self._authority.write_broker()
            return one.certificate

    def renew(self, gateway: str, request: Request) -> str:
        """Certificate (PEM) for a gateway that was let in with the one it has.

        Raises
        ------
        SecurityError
            When every certificate of it is revoked.
        """
        signing = read_request(request.csr, gateway)
        with self._authority.alone():
            mine = [one for one in self._authority.issued() if one.name == gateway]
            if not any(one.revoked_utc is None and one.role == "gateway" for one in mine):
                raise SecurityError(f"{gateway} has no certificate that is not revoked")
            return self._sign(gateway, signing)

    def withdraw(self, gateway: str) -> None:
        """An invitation of this gateway that is not used yet is void."""
        with self._authority.alone():
            one = self._read().get(gateway)
            if one is not None:
                self._save(msgspec.structs.replace(one, expires_utc=0))

    def _sign(self, gateway: str, signing: x509.CertificateSigningRequest) -> str:
        key = signing.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        certificate = self._authority.sign(gateway, "gateway", key)
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _read(self) -> dict[str, Open]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Open])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise SecurityError(f"{self._path}: {error}") from None

    def _save(self, one: Open) -> None:
        every = self._read() | {one.gateway: one}
        replace_file(self._path, msgspec.json.format(msgspec.json.encode(every)), mode=0o600)


def read_request(csr: str, gateway: str) -> x509.CertificateSigningRequest:
    """Signing request of a gateway.

    Raises
    ------
    SecurityError
        When it is none, not signed with its own key, of another name or another kind of key.
    """
    try:
        signing = x509.load_pem_x509_csr(csr.encode())
        is_signed = signing.is_signature_valid
        names = [each.value for each in signing.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except ValueError as error:
        raise SecurityError(f"not a signing request: {error}") from None
    key = signing.public_key()
    if not is_signed or not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise SecurityError("the signing request is not signed with a P-256 key of its own")
    if names != [gateway]:
        raise SecurityError(f"the signing request is of another name than {gateway}")
    return signing


def _key_digest(signing: x509.CertificateSigningRequest) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        signing.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return digest.finalize().hex()
