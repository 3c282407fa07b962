"""What lies in the spool is encrypted: a stolen home box gives no health data away.

AES-256-GCM of the `cryptography` package with one key per gateway and a random
nonce per row; the row's name (kind, or number of the message) is authenticated with
it, so that rows cannot be exchanged. A row begins with a zero byte, which no
MessagePack array does: rows of a spool that was begun without a key stay readable.
"""

import secrets
from pathlib import Path
from typing import Final

from devices.durable import replace_file
from ingest.errors import SpoolError

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MARK: Final = b"\x00"


class Cipher:
    """Encrypts and decrypts the payloads of one gateway.

    Parameters
    ----------
    key : bytes or None
        Of :data:`KEY_BYTES`; without one new payloads stay as they are.
    """

    def __init__(self, key: bytes | None) -> None:
        if key is None:
            self._aead = None
            return
        if len(key) != KEY_BYTES:
            raise SpoolError(f"the spool's key has {len(key)} bytes, not {KEY_BYTES}")
        # only here: a spool without a key needs no cryptography
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(key)

    def seal(self, payload: bytes, name: str) -> bytes:
        """Payload as it is stored under `name`."""
        if self._aead is None:
            return payload
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _MARK + nonce + self._aead.encrypt(nonce, payload, name.encode())

    def open(self, stored: bytes, name: str) -> bytes | None:
        """Payload of what is stored under `name`; ``None`` when it was altered or the key is another."""
        if stored[:1] != _MARK:
            return stored
        if self._aead is None:
            return None
        from cryptography.exceptions import InvalidTag

        nonce, sealed = stored[1 : 1 + _NONCE_BYTES], stored[1 + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, sealed, name.encode())
        except (InvalidTag, ValueError):
            return None


def load_key(path: Path) -> bytes:
    """Key of a file; made at random, readable by its owner only, where there is none.

    Raises
    ------
    SpoolError
        When the file is not a key, or not its owner's alone.
    """
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return _make_key(path)
    except OSError as error:
        raise SpoolError(f"{path}: {error.strerror}") from None
    if path.stat().st_mode & 0o077:
        raise SpoolError(f"{path} can be read by others than its owner: chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise SpoolError(f"{path} is not a key of {KEY_BYTES} bytes")
    return key


def _make_key(path: Path) -> bytes:
    # whole and on the disk before the first row needs it: a lost key is a lost spool
    key = secrets.token_bytes(KEY_BYTES)
    replace_file(path, key, mode=0o600)
    return key
