"""What a cell's store looks like: arrays, dimensions, chunks and coordinates, before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from products.layer_units import feature_attributes, reflectance_attributes, series_attributes
from products.observations_spec import ObservationsRecipe
from products.pixel.causes import ACCOUNT_NAMES, NOT_EXPECTED, Cause
from products.series_spec import SeriesRecipe
from products.spec import FeaturesRecipe
from products.time_steps import Steps
from products.window.overviews import Method, level_sides

CELL_KIND = "neocube_cell"  # the ODC metadata type of what is derived
CHUNK_PX = 512
FILL_VALUE = "_FillValue"  # of an array of integers: the one that xarray and CF readers take for missing


@dataclass(frozen=True, slots=True)
class ArrayTemplate:
    """One array of a cell, a single shard over the whole tile: `dims` begin with period or time and end with y, x; `layer_dim` is the one between.

    `layer_attributes` are what is said of each layer by itself, by its name: `units` and `long_name`.
    `overview` is how its overviews are made, `fill_value` what they take for missing (of counts nothing is).
    """

    name: str
    layer_dim: str | None
    layers: tuple[str, ...]
    dtype: str
    fill_value: float | int
    attributes: Mapping[str, str | float | list[int]] = field(default_factory=dict)
    time_dim: str = "period"
    n_times: int = 1
    overview: Method = "mean"
    layer_attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def dims(self) -> tuple[str, ...]:
        """period or time, [layer], y, x."""
        return (self.time_dim, self.layer_dim, "y", "x") if self.layer_dim else (self.time_dim, "y", "x")

    def shape(self, tile_px: int) -> tuple[int, ...]:
        """The shape of one cell's array."""
        layers = (len(self.layers),) if self.layer_dim else ()
        return (self.n_times, *layers, tile_px, tile_px)

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
    """The arrays of a cell of one product; `steps` are those of arrays with several times. `measurements` maps ODC measurements to (array name, layer)."""

    product: str
    version: int
    title: str
    arrays: tuple[ArrayTemplate, ...]
    steps: Steps | None = None

    @property
    def layer_attributes(self) -> dict[str, Mapping[str, str]]:
        """What is said of each layer of its arrays by itself, by name."""
        return {name: said for array in self.arrays for name, said in array.layer_attributes.items()}

    @property
    def measurements(self) -> dict[str, tuple[str, int]]:
        """Measurement name -> (array, layer); of arrays with several times `ndvi_1`, `ndvi_2`, …, their layers counted time after time."""
        found: dict[str, tuple[str, int]] = {}
        for array in self.arrays:
            if array.layer_dim == "cause":
                continue
            names = array.layers or (array.name,)
            for number in range(array.n_times):
                ending = f"_{number + 1}" if array.n_times > 1 else ""
                first = number * len(names)
                found |= {f"{name}{ending}": (array.name, first + place) for place, name in enumerate(names)}
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
        "features", "feature", recipe.feature_names, "float32", float("nan"), _precision(recipe.precision_bits),
        layer_attributes=feature_attributes(recipe.features),
    )  # fmt: skip
    return CellTemplate(recipe.name, recipe.version, recipe.title, (features, _accounts()))


def observations_template(recipe: ObservationsRecipe) -> CellTemplate:
    """`reflectance(time, band, y, x)` float32 with NaN where there is no data, and `cause(time, y, x)` uint8: 0 is clear, 255 not observed."""
    reflectance = ArrayTemplate(
        "reflectance", "band", recipe.used_bands, "float32", float("nan"), _precision(recipe.precision_bits), "time",
        layer_attributes=reflectance_attributes(recipe.used_bands),
    )  # fmt: skip
    flags: dict[str, str | float | list[int]] = {
        "long_name": "why an observation is not used",
        "flag_values": [*map(int, Cause), NOT_EXPECTED],
        "flag_meanings": " ".join([*(cause.name.lower() for cause in Cause), "not_expected"]),
    }
    cause = ArrayTemplate("cause", None, (), "uint8", NOT_EXPECTED, flags, "time", overview="mode")
    return CellTemplate(recipe.name, recipe.version, recipe.title, (reflectance, cause))


def series_template(recipe: SeriesRecipe) -> CellTemplate:
    """`series(time, feature, y, x)` float32, `observed(time, y, x)` uint16, 0 where a step is filled, and `accounts(period, cause, y, x)` uint16."""
    n_steps, precision = recipe.steps.n_steps, _precision(recipe.precision_bits)
    series = ArrayTemplate(
        "series", "feature", recipe.layer_names, "float32", float("nan"), precision, "time", n_steps,
        layer_attributes=series_attributes(recipe),
    )  # fmt: skip
    counted: dict[str, str | float | list[int]] = {"units": "1", "long_name": "observations used in the step"}
    observed = ArrayTemplate("observed", None, (), "uint16", 0, counted, "time", n_steps, "mean_count")
    return CellTemplate(recipe.name, recipe.version, recipe.title, (series, observed, _accounts()), recipe.steps)


def _accounts() -> ArrayTemplate:
    counted: dict[str, str | float | list[int]] = {"units": "1", "long_name": "observations by fate"}
    return ArrayTemplate("accounts", "cause", ACCOUNT_NAMES, "uint16", 0, counted, overview="mean_count")


def _precision(bits: int | None) -> dict[str, str | float | list[int]]:
    """What the attributes of features say of rounding."""
    if bits is None:
        return {}
    return {"precision_bits": bits, "comment": f"rounded to {bits} mantissa bits, ties to even (BitRound)"}


def odc_product_definition(template: CellTemplate) -> dict[str, object]:
    """The ODC product document of a template: one measurement per feature or layer."""
    arrays = {array.name: array for array in template.arrays}
    measurements = []
    for name, (array_name, place) in template.measurements.items():
        array = arrays[array_name]
        layer = array.layers[place % len(array.layers)] if array.layers else ""
        units = array.layer_attributes.get(layer, array.attributes).get("units", "1")
        nodata: float | int | str = array.fill_value
        if isinstance(nodata, float) and np.isnan(nodata):
            nodata = "NaN"
        measurements.append({"name": name, "dtype": array.dtype, "nodata": nodata, "units": str(units)})
    return {
        "name": template.product,
        "description": template.title or template.product,
        "metadata_type": CELL_KIND,
        "metadata": {"product": {"name": template.product}},
        "measurements": measurements,
    }
