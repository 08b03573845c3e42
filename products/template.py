"""What a cell's store looks like: arrays, dimensions, chunks and coordinates, before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from products.pixel.causes import ACCOUNT_NAMES
from products.spec import FeaturesRecipe
from products.window.overviews import Method, level_sides

CHUNK_PX = 512


@dataclass(frozen=True, slots=True)
class ArrayTemplate:
    """One array of a cell, a single shard over the whole tile: `dims` begin with period and end with y, x; `layer_dim` is the one between.

    `overview` is how its overviews are made, `fill_value` what they take for missing (of counts nothing is).
    """

    name: str
    layer_dim: str | None
    layers: tuple[str, ...]
    dtype: str
    fill_value: float | int
    attributes: Mapping[str, str | float] = field(default_factory=dict)
    overview: Method = "mean"

    @property
    def dims(self) -> tuple[str, ...]:
        """period, [layer], y, x."""
        return ("period", self.layer_dim, "y", "x") if self.layer_dim else ("period", "y", "x")

    def shape(self, tile_px: int) -> tuple[int, ...]:
        """The shape of one cell's array."""
        return (1, len(self.layers), tile_px, tile_px) if self.layer_dim else (1, tile_px, tile_px)

    def chunks(self, tile_px: int) -> tuple[int, ...]:
        """The inner chunks: one layer, at most 512 pixels square, dividing the tile."""
        side = next(size for size in range(min(CHUNK_PX, tile_px), 0, -1) if tile_px % size == 0)
        return (1, 1, side, side) if self.layer_dim else (1, side, side)

    def in_overview(self) -> "ArrayTemplate":
        """The array in an overview, which says in CF's words how it is made; the mean of counts is float32."""
        dtype = "float32" if self.overview == "mean_count" else self.dtype
        said = {"cell_methods": f"area: {self.overview.removesuffix('_count')}"}
        return replace(self, dtype=dtype, attributes={**self.attributes, **said})


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array of a cell where it lies in the cell's group: its path, the level (0 is the tile itself) and the side of the tile there."""

    path: str
    level: int
    template: ArrayTemplate
    tile_px: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one cell's array."""
        return self.template.shape(self.tile_px)


@dataclass(frozen=True, slots=True)
class CellTemplate:
    """The arrays of a cell of one product. `measurements` maps each ODC measurement to (array name, layer index)."""

    product: str
    version: int
    title: str
    arrays: tuple[ArrayTemplate, ...]

    @property
    def measurements(self) -> dict[str, tuple[str, int]]:
        """Measurement name -> (array, layer)."""
        found: dict[str, tuple[str, int]] = {}
        for array in self.arrays:
            if array.layer_dim is None:
                found[array.name] = (array.name, 0)
            elif array.layer_dim != "cause":
                found |= {layer: (array.name, position) for position, layer in enumerate(array.layers)}
        return found

    def stored(self, tile_px: int) -> list[StoredArray]:
        """Every array of a cell: those of the tile, then those of each overview, in groups named by their level."""
        found = [StoredArray(array.name, 0, array, tile_px) for array in self.arrays]
        for level, side in enumerate(level_sides(tile_px), start=1):
            found += [StoredArray(f"{level}/{array.name}", level, array.in_overview(), side) for array in self.arrays]
        return found


def features_template(recipe: FeaturesRecipe) -> CellTemplate:
    """`features(period, feature, y, x)` float32 with NaN as missing, and `accounts(period, cause, y, x)` uint16, number of observations."""
    features = ArrayTemplate(
        "features", "feature", recipe.feature_names, "float32", float("nan"), _precision(recipe.precision_bits)
    )
    accounts = ArrayTemplate(
        "accounts",
        "cause",
        ACCOUNT_NAMES,
        "uint16",
        0,
        {"units": "1", "long_name": "observations by fate"},
        "mean_count",
    )
    return CellTemplate(recipe.name, recipe.version, recipe.title, (features, accounts))


def _precision(bits: int | None) -> dict[str, str | float]:
    """What the attributes of features say of rounding."""
    if bits is None:
        return {}
    return {"precision_bits": bits, "comment": f"rounded to {bits} mantissa bits, ties to even (BitRound)"}


def odc_product_definition(template: CellTemplate) -> dict[str, object]:
    """The ODC product document of a template: one measurement per feature or layer."""
    arrays = {array.name: array for array in template.arrays}
    measurements = []
    for name, (array_name, _) in template.measurements.items():
        array = arrays[array_name]
        nodata: float | int | str = array.fill_value
        if isinstance(nodata, float) and np.isnan(nodata):
            nodata = "NaN"
        measurements.append(
            {"name": name, "dtype": array.dtype, "nodata": nodata, "units": str(array.attributes.get("units", "1"))}
        )
    return {
        "name": template.product,
        "description": template.title or template.product,
        "metadata_type": "neocube_cell",
        "metadata": {"product": {"name": template.product}},
        "measurements": measurements,
    }
