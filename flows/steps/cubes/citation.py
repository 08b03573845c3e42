"""How to cite a snapshot: a line of text, whom to credit, and metadata as DataCite wants them for a DOI."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import xarray

from datacube_config.connection import Index
from flows.steps.cubes.credits import credit_lines, sources_of
from flows.steps.cubes.cube_stac import ZARR_TYPE, georeferenced
from flows.steps.cubes.cube_times import span_of
from flows.steps.cubes.pinning import CONTENT
from products.antimeridian import as_geojson, outline
from products.scene_recipe import canonical_digest


@dataclass(frozen=True, slots=True)
class Maker:
    """Who a product was made for, by whom it is given out, and when."""

    name: str
    project: str
    publisher: str
    made: datetime


def citation_of(index: Index, cube: xarray.Dataset, maker: Maker) -> dict[str, Any]:
    """`citation`, `credits` and `datacite` of a snapshot as stored; RequestError if the index has lost a cell of it."""
    product, version, area = (cube.attrs[f"neocube:{name}"] for name in ("product", "version", "area"))
    title = f"{cube.attrs['title']} ({product} version {version}) over {area}"
    content = canonical_digest({name: cube.attrs[name] for name in CONTENT})
    credit = credit_lines(sources_of(index, [UUID(cell) for cell in cube.attrs["neocube:cells"]]))
    line = f"{maker.name} ({maker.made.year}): {title}. {maker.publisher}. Content {content[:16]}"
    return {"citation": line, "credits": credit, "datacite": _datacite(cube, title, content, credit, maker)}


def _datacite(cube: xarray.Dataset, title: str, content: str, credit: list[str], maker: Maker) -> dict[str, Any]:
    """The attributes of a DataCite DOI (DataCite Metadata Schema 4.5), to which whoever registers it adds the DOI and the landing page."""
    _, (west, south, east, north) = as_geojson(outline(georeferenced(cube)))
    first, last = (np.datetime_as_string(instant, unit="D") for instant in span_of(cube))
    box = {
        "westBoundLongitude": west, "eastBoundLongitude": east, "southBoundLatitude": south, "northBoundLatitude": north,
    }  # fmt: skip
    return {
        "schemaVersion": "http://datacite.org/schema/kernel-4",
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Zarr cube"},
        "titles": [{"title": title}],
        "creators": [{"name": maker.name, "affiliation": [{"name": maker.project}]}],
        "publisher": {"name": maker.publisher},
        "publicationYear": maker.made.year,
        "dates": [
            {"date": f"{first}/{last}", "dateType": "Collected"},
            {"date": maker.made.date().isoformat(), "dateType": "Created"},
        ],
        "version": str(cube.attrs["neocube:version"]),
        "formats": [ZARR_TYPE],
        "descriptions": [{"description": " ".join(credit), "descriptionType": "Other"}],
        "geoLocations": [{"geoLocationBox": box}],
        "alternateIdentifiers": [{"alternateIdentifier": content, "alternateIdentifierType": "neocube content"}],
    }
