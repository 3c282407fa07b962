"""A site's versions of the within-person spreads: one immutable file each, named by a model."""

from pathlib import Path

from analytics.risk.scales import DEFAULT_SCALES, Scales
from devices.durable import replace_file
from devices.errors import IdError
from devices.ids import check_id
from flows.clinic import Clinic
from flows.errors import UserError


def scales_of(clinic: Clinic, version: str) -> Scales:
    """The spreads of a version.

    Raises
    ------
    UserError
        When the site has no such version.
    """
    if version == DEFAULT_SCALES.version:
        return DEFAULT_SCALES
    path = _path(clinic, version)
    if not path.is_file():
        raise UserError(f"no spreads {version}: {', '.join(versions(clinic))}")
    try:
        return Scales.from_json(path.read_text())
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def versions(clinic: Clinic) -> list[str]:
    """Every version there is, the shipped one first."""
    return [DEFAULT_SCALES.version, *sorted(path.stem for path in _folder(clinic).glob("*.json"))]


def keep_scales(clinic: Clinic, scales: Scales) -> Path:
    """Keep a new version.

    Raises
    ------
    UserError
        When there is one of that name: what a model was fitted on is never changed.
    """
    path = _path(clinic, scales.version)
    if scales.version in versions(clinic):
        raise UserError(f"spreads {scales.version} are there already: a version is never changed")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, scales.to_json())
    return path


def _folder(clinic: Clinic) -> Path:
    return clinic.home / "scales"


def _path(clinic: Clinic, version: str) -> Path:
    try:
        return _folder(clinic) / f"{check_id(version, 'version')}.json"
    except IdError as error:
        raise UserError(str(error)) from None
