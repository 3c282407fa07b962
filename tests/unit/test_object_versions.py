"""Requests that list and delete old versions of objects: signed as others sign them."""

from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ingest.errors import StoreUnreachableError
from ingest.lake import object_versions
from ingest.lake.object_versions import Old, Versions, sign
from tests.fixtures_ingest import clock

AT = datetime(2013, 5, 24, tzinfo=UTC)
#: Of the example "GET Bucket (List Objects)" in the S3 API reference.
ACCESS, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def signed(method: str, url: str, query: dict[str, str], token: str | None = None) -> dict[str, str]:
    return sign(method, url, query, access=ACCESS, secret=SECRET, token=token, region="us-east-1", now=AT)


def test_the_published_example() -> None:
    found = signed("GET", "https://examplebucket.s3.amazonaws.com/", {"max-keys": "2", "prefix": "J"})
    assert found["Authorization"].endswith(
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


@pytest.mark.parametrize("token", [None, "IQoJb3JpZ2luX2VjE//=="])
@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/bucket/", {"versions": "", "prefix": "north/lake/", "key-marker": "a b+c/ä~_.-"}),
        ("DELETE", "/bucket/lake/dt%3D2026-05-01/1.parquet", {"versionId": "a1/+="}),
    ],
)
def test_as_botocore_signs_it(
    method: str, path: str, query: dict[str, str], token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:9000{path}"
    request = AWSRequest(method, f"{url}?{object_versions._canonical(query)}")
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *a, **k: AT.replace(tzinfo=None))
    oracle = S3SigV4Auth(Credentials(ACCESS, SECRET, token), "s3", "us-east-1")
    oracle.add_auth(request)
    wanted = request.headers["Authorization"]
    assert signed(method, url, query, token)["Authorization"] == wanted


def page(more: str, *rows: str) -> bytes:
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    return f"<ListVersionsResult {space}>{''.join(rows)}{more}</ListVersionsResult>".encode()


def row(tag: str, key: str, version: str, is_latest: str) -> str:
    return f"<{tag}><Key>{key}</Key><VersionId>{version}</VersionId><IsLatest>{is_latest}</IsLatest></{tag}>"


def test_every_page_is_read_and_the_present_version_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    more = (
        "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
        "<NextVersionIdMarker>v</NextVersionIdMarker>"
    )
    pages = [
        page(more, row("Version", "lake/a", "1", "true"), row("Version", "lake/a", "0", "false")),
        page("<IsTruncated>false</IsTruncated>", row("DeleteMarker", "lake/b", "2", "true")),
    ]
    asked: list[dict[str, str]] = []

    def answer(self: Versions, method: str, key: str, query: dict[str, str]) -> bytes:
        asked.append(query)
        return pages[len(asked) - 1]

    monkeypatch.setattr(Versions, "_ask", answer)
    found = list(Versions("bucket", "lake", {}, clock).old())
    assert found == [Old("a", "0", is_mark=False), Old("b", "2", is_mark=True)]
    assert asked[1]["key-marker"] == "k"


def test_without_keys_it_is_said() -> None:
    with pytest.raises(StoreUnreachableError, match="AWS_ACCESS_KEY_ID"):
        list(Versions("bucket", "lake", {"endpoint": "http://127.0.0.1:1"}, clock).old())
