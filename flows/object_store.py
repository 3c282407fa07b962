"""Objects of the store the settings name."""

from functools import cache
from typing import TYPE_CHECKING

from devices.clock import system_clock
from flows.errors import UserError
from flows.settings import Place, s3_access

if TYPE_CHECKING:
    from ingest.lake.objects import S3Objects


@cache
def open_objects(place: Place) -> "S3Objects":
    """Objects below a place; credentials come from the usual AWS_* variables.

    Raises
    ------
    UserError
        Where the extra `scale` is not installed.
    """
    try:
        from ingest.lake.objects import S3Objects
    except ImportError:
        raise UserError(f"{place.url} needs the extra: pip install 'flarecast[scale]'") from None
    options = s3_access() | ({"endpoint": place.endpoint} if place.endpoint else {})
    return S3Objects(place.bucket, place.prefix, clock=system_clock, **options)
