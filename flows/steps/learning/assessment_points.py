"""The sample of an assessment as files: points for interpretation, and the design beside them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas
import numpy as np

from flows.steps.vector_files import read_vector_file
from products.errors import RequestError
from products.learning.card_cells import first_of
from products.scene_recipe import canonical_digest

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON"}
COLUMNS = ("id", "stratum", "design", "reference")
NEAR_M = 0.01


def design_path(sample: Path) -> Path:
    """Where the design of a sample lies."""
    return sample.with_name(f"{sample.stem}.design.json")


def check_sample_path(sample: Path) -> None:
    """RequestError unless a sample may be written there: what was interpreted is never overwritten."""
    if sample.suffix.lower() not in DRIVERS:
        raise RequestError(f"expected --out as a file {' or '.join(DRIVERS)}, got {sample}")
    for path in (sample, design_path(sample)):
        if path.exists():
            raise RequestError(f"{path} is there already, and may hold interpreted points: choose another --out")


def write_sample(sample: Path, design: Mapping[str, Any]) -> None:
    """Points in the CRS of the map with an empty `reference`; then the design."""
    numbers, strata, x, y = zip(*design["points"], strict=True)
    columns = {"id": numbers, "stratum": strata, "design": design["digest"][:16], "reference": ""}
    table = geopandas.GeoDataFrame(columns, geometry=geopandas.points_from_xy(x, y), crs=design["crs"])
    sample.parent.mkdir(parents=True, exist_ok=True)
    table.to_file(sample, driver=DRIVERS[sample.suffix.lower()], engine="pyogrio")
    design_path(sample).write_text(json.dumps(design, indent=1))


def read_design(sample: Path) -> dict[str, Any]:
    """The design of a sample; RequestError if it is not there or was changed."""
    path = design_path(sample)
    if not sample.is_file():
        raise RequestError(f"no sample at {sample}: expected the file of `neocube assess design`, interpreted")
    if not path.is_file():
        raise RequestError(
            f"no design at {path}: expected the file that `neocube assess design` wrote beside the sample"
        )
    try:
        design: dict[str, Any] = json.loads(path.read_text())
        said = design.pop("digest")
    except (ValueError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise RequestError(f"the design {path} cannot be read: {error}; draw the sample again") from error
    if canonical_digest(design) != said:
        raise RequestError(
            f"the design {path} was changed since the sample was drawn: estimates from it would be wrong"
        )
    return design | {"digest": said}


def read_references(sample: Path, design: Mapping[str, Any]) -> dict[int, str]:
    """The reference class of each point; RequestError for points of another design, moved points, and missing or unknown classes."""
    table = _table(sample)
    drawn = {number: (stratum, x, y) for number, stratum, x, y in design["points"]}
    if set(table["design"]) != {design["digest"][:16]} or sorted(table["id"]) != sorted(drawn):
        raise RequestError(
            f"{sample} is no whole sample of the design beside it: expected its {len(drawn)} points, each once"
        )
    if table.crs != geopandas.GeoSeries([], crs=design["crs"]).crs:
        raise RequestError(f"{sample} is in {table.crs}: expected {design['crs']}, as it was drawn")
    moved = [
        number
        for number, stratum, point in zip(table["id"], table["stratum"], table.geometry, strict=True)
        if stratum != drawn[number][0] or np.hypot(point.x - drawn[number][1], point.y - drawn[number][2]) > NEAR_M
    ]
    if moved:
        raise RequestError(
            f"{sample}: {_named(moved)} moved or changed stratum: expected the points as they were drawn"
        )
    said = {int(n): _word(value) for n, value in zip(table["id"], table["reference"], strict=True)}
    missing = sorted(number for number, value in said.items() if not value)
    if missing:
        raise RequestError(f"{sample}: {_named(missing)} without a reference class: interpret every point")
    names = [each["name"] for each in design["strata"]]
    unknown = sorted({value for value in said.values() if value not in names})
    if unknown:
        raise RequestError(
            f"{sample}: unknown reference {', '.join(map(repr, unknown))}: expected one of {', '.join(names)}"
        )
    return said


def _table(sample: Path) -> geopandas.GeoDataFrame:
    try:
        table = read_vector_file(sample)
    except (OSError, ValueError, RuntimeError) as error:
        raise RequestError(f"the sample {sample} cannot be read: {error}") from error
    lacks = [name for name in COLUMNS if name not in table.columns]
    if lacks:
        raise RequestError(f"{sample} has no column {', '.join(lacks)}: expected the file of `neocube assess design`")
    return table


def _word(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _named(numbers: list[int]) -> str:
    return f"point{'s' if len(numbers) > 1 else ''} {first_of(numbers)}"
