"""Old versions of objects: what a bucket with versioning keeps of everything deleted or replaced.

obstore neither lists nor deletes them. Three requests of S3 do, signed here (AWS Signature
Version 4) with the keys that were given: credentials that a machine is lent (roles) are not known.
"""

import hashlib
import hmac
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from devices.clock import Clock, from_utc
from ingest.errors import StoreUnreachableError

_TIMEOUT_S: Final = 60
_NOTHING: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Old:
    """A version of an object (key below the prefix) that is not the present one, or a mark of deletion."""

    key: str
    version: str
    is_mark: bool


class Versions:
    """Old versions below a prefix of a bucket.

    Parameters
    ----------
    bucket, prefix : str
        Where.
    options : mapping of str
        As of :class:`ingest.lake.objects.S3Objects`; here both keys must be among them.
    clock : Clock
        Dates the signatures.
    """

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, Any], clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._region = str(options.get("region") or "us-east-1")
        endpoint = options.get("endpoint") or f"https://s3.{self._region}.amazonaws.com"
        self._bucket = f"{str(endpoint).rstrip('/')}/{quote(bucket)}"
        self._prefix = f"{prefix}/" if prefix else ""

    def old(self) -> Iterator[Old]:
        """Every old version.

        Raises
        ------
        StoreUnreachableError
            When they cannot be asked for; the text says why.
        """
        after: dict[str, str] = {}
        while True:
            answer = self._ask("GET", "", {"versions": "", "prefix": self._prefix, **after})
            page = ElementTree.fromstring(answer)
            # stores differ in whether they name the namespace
            space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
            for one in page:
                name = one.tag.removeprefix(space)
                is_version = name in ("Version", "DeleteMarker")
                if is_version and (name == "DeleteMarker" or one.findtext(f"{space}IsLatest") != "true"):
                    key, version = (one.findtext(f"{space}{of}") or "" for of in ("Key", "VersionId"))
                    yield Old(key.removeprefix(self._prefix), version, name == "DeleteMarker")
            if page.findtext(f"{space}IsTruncated") != "true":
                return
            after = {
                "key-marker": page.findtext(f"{space}NextKeyMarker") or "",
                "version-id-marker": page.findtext(f"{space}NextVersionIdMarker") or "",
            }

    def read(self, old: Old) -> bytes:
        """Content of a version."""
        return self._ask("GET", old.key, {"versionId": old.version})

    def delete(self, old: Old) -> None:
        """Delete a version for good."""
        self._ask("DELETE", old.key, {"versionId": old.version})

    def _ask(self, method: str, key: str, query: Mapping[str, str]) -> bytes:
        options = self._options
        names = ("access_key_id", "secret_access_key")
        if not all(options.get(name) for name in names):
            raise StoreUnreachableError(
                "object storage: old versions are asked for with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        path = f"/{quote(self._prefix + key, safe='/-_.~')}" if key else "/"
        url = self._bucket + path
        headers = sign(
            method,
            url,
            query,
            access=str(options["access_key_id"]),
            secret=str(options["secret_access_key"]),
            token=options.get("session_token"),
            region=self._region,
            now=from_utc(self._clock()),
        )
        request = urllib.request.Request(f"{url}?{_canonical(query)}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return answer.read()
        except (urllib.error.URLError, OSError) as error:
            raise StoreUnreachableError(f"object storage: {key or 'versions'}: {error}") from None


def sign(
    method: str,
    url: str,
    query: Mapping[str, str],
    *,
    access: str,
    secret: str,
    token: str | None,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """Headers of a request without a body, signed (AWS Signature Version 4).

    Parameters
    ----------
    url : str
        Without the query, its path encoded.
    token : str, optional
        Of a session.
    now : datetime
        In UTC.
    """
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    headers = {"host": parts.netloc, "x-amz-content-sha256": _NOTHING, "x-amz-date": stamp}
    if token:
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join([method, parts.path, _canonical(query), listed, names, _NOTHING])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, digest])
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={access}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers | {"Authorization": f"AWS4-HMAC-SHA256 {credential}"}


def _canonical(query: Mapping[str, str]) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)
