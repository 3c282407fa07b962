"""Objects by key: what a lake needs of S3-compatible storage, over obstore.

Four promises carry everything else: an object is there whole or not at all, a key is made only
once (`create`), a pointer is changed only by who has seen its present state (`swap`), and what
`create` has returned from is durable. All four are conditional writes that S3 has since 2024.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from devices.clock import Clock
from ingest.errors import StoreUnreachableError
from ingest.lake.object_versions import Old, Versions

#: Objects deleted with one request (S3 allows 1,000).
BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """Content of a pointer and the tag it had."""

    content: bytes
    tag: str


class Objects(Protocol):
    """Objects by key, below one prefix."""

    def create(self, key: str, content: bytes) -> bool:
        """Make an object; False when there is one of that key already."""
        ...

    def replace(self, key: str, content: bytes) -> None:
        """Make an object, or put it in the place of another."""
        ...

    def swap(self, key: str, content: bytes, tag: str | None) -> str | None:
        """Change a pointer that still has `tag` (None: not there yet); its new tag, None when it has not."""
        ...

    def read(self, key: str) -> Seen | None:
        """Content and tag; None when there is none of that key."""
        ...

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys below a prefix and their sizes (bytes)."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no fault."""
        ...

    def old_versions(self) -> Iterator[Old]:
        """What a bucket that keeps versions still has of objects that were deleted or replaced."""
        ...

    def read_old(self, old: Old) -> bytes:
        """Content of such a version."""
        ...

    def delete_old(self, old: Old) -> None:
        """Delete such a version for good."""
        ...


class S3Objects:
    """Objects of an S3-compatible store.

    Parameters
    ----------
    bucket, prefix : str
        Where; nothing outside the prefix is read or written.
    options : str by name
        What obstore's S3 takes (`endpoint`, `access_key_id`, `secret_access_key`, `region`);
        AWS_* variables of the environment fill in what is absent.
    clock : Clock
        Dates requests that are signed here (:mod:`ingest.lake.object_versions`).
    """

    def __init__(self, bucket: str, prefix: str, *, clock: Clock, **options: Any) -> None:
        # without TLS only where somebody wrote so: a test, or a store on the same machine
        has_http = str(options.get("endpoint", "")).startswith("http://")
        client: Any = {"allow_http": True} if has_http else {}
        self._versions = Versions(bucket, prefix, options, clock)
        self._store = S3Store(bucket, prefix=prefix or None, client_options=client, **options)

    def create(self, key: str, content: bytes) -> bool:
        try:
            self._put(key, content, "create")
        except AlreadyExistsError:
            return False
        return True

    def replace(self, key: str, content: bytes) -> None:
        self._put(key, content, "overwrite")

    def swap(self, key: str, content: bytes, tag: str | None) -> str | None:
        try:
            return self._put(key, content, "create" if tag is None else {"e_tag": tag})
        except (AlreadyExistsError, PreconditionError):
            return None

    def read(self, key: str) -> Seen | None:
        try:
            found = obstore.get(self._store, key)
            return Seen(bytes(found.bytes()), str(found.meta["e_tag"]))
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _unreachable(key, error) from None

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        try:
            for page in obstore.list(self._store, prefix=prefix):
                for one in page:
                    yield one["path"], one["size"]
        except (BaseError, OSError) as error:
            raise _unreachable(prefix, error) from None

    def delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)
        try:
            for first in range(0, len(doomed), BATCH):
                obstore.delete(self._store, doomed[first : first + BATCH])
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as error:
            raise _unreachable(doomed[0], error) from None

    def old_versions(self) -> Iterator[Old]:
        return self._versions.old()

    def read_old(self, old: Old) -> bytes:
        return self._versions.read(old)

    def delete_old(self, old: Old) -> None:
        self._versions.delete(old)

    def _put(self, key: str, content: bytes, mode: Any) -> str:
        try:
            return str(obstore.put(self._store, key, content, mode=mode)["e_tag"])
        except (AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, OSError) as error:
            raise _unreachable(key, error) from None


def _unreachable(key: str, error: Exception) -> StoreUnreachableError:
    lines = str(error).splitlines()
    return StoreUnreachableError(f"object storage: {key}: {lines[0] if lines else type(error).__name__}")
