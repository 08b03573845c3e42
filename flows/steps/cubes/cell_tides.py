"""The tides that the cells of a cube tell of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import xarray

from datacube_config.connection import Index
from flows.steps.cubes.cells import TIDES
from products.errors import RequestError


@dataclass(frozen=True, slots=True)
class ToldTides:
    """`neocube:tides` of a cell of features, with the labels of its tile and period."""

    tile: str
    period: str
    document: Mapping[str, Any]


def told_tides(index: Index, cube: xarray.Dataset) -> list[ToldTides]:
    """The tides under the passes over a cube's last period, by tile; RequestError where its cells tell none."""
    if "features" not in cube:
        raise RequestError("the tide range that was seen is told by cells of features: this cube has others")
    last = str(np.datetime_as_string(cube["period"].values[-1], "D"))
    rows = [index.dc.index.datasets.get(UUID(number)) for number in cube.attrs["neocube:cells"]]
    facts = [row.metadata_doc["properties"] for row in rows if row is not None]
    found = [
        ToldTides(each["neocube:tile"], each["neocube:period"], each[TIDES])
        for each in facts
        if each.get(TIDES) and str(each["dtr:start_datetime"])[:10] == last
    ]
    if not found:
        raise RequestError(
            f"no cell of {cube.attrs['neocube:product']} from {last} tells its tides: set NEOCUBE_TIDE_MODELS and NEOCUBE_TIDE_MODEL "
            "before it is built (docs/operations.md); inland there are none"
        )
    return sorted(found, key=lambda each: each.tile)
