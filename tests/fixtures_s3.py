"""An S3 server from a package (moto): real HTTP on loopback, a new bucket for every test."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count

import pytest

from devices.clock import system_clock
from ingest.lake.broker import free_port
from ingest.lake.objects import S3Objects

PATIENCE_S = 60
ACCESS = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}
_BUCKETS = count(1)


@contextmanager
def s3_server() -> Generator[str]:
    """Address of a running server; its buckets are in memory."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    port = endpoint.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(endpoint):
            assert process.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(0.05)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=PATIENCE_S):
            return True
    except (urllib.error.URLError, OSError):
        return False


def new_bucket(endpoint: str) -> str:
    """Name of an empty bucket."""
    name = f"bucket-{next(_BUCKETS)}"
    with urllib.request.urlopen(
        urllib.request.Request(f"{endpoint}/{name}", method="PUT"), timeout=PATIENCE_S
    ):
        return name


def keep_versions(endpoint: str, bucket: str) -> None:
    """Let a bucket keep what is deleted or replaced."""
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    # of another type the server looks for an action in it
    headers = {"Content-Type": "application/xml"}
    request = urllib.request.Request(f"{endpoint}/{bucket}?versioning", body, headers, method="PUT")
    with urllib.request.urlopen(request, timeout=PATIENCE_S):
        pass


def use_s3(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> str:
    """Set the environment to a new bucket, whose name is returned; no place in it is set yet."""
    monkeypatch.setenv("FLARECAST_S3_ENDPOINT", endpoint)
    for name, value in ACCESS.items():
        monkeypatch.setenv(f"AWS_{name.upper().replace('REGION', 'DEFAULT_REGION')}", value)
    return new_bucket(endpoint)


def objects(endpoint: str, bucket: str, prefix: str = "lake") -> S3Objects:
    """Objects of a bucket, below a prefix."""
    return S3Objects(bucket, prefix, clock=system_clock, endpoint=endpoint, **ACCESS)
