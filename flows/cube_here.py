"""The cube of a product over an area, for researchers: from the index of the settings, as a lazy xarray dataset."""

import xarray

from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from flows.arguments import AnyArea, AnyPeriod, area_text, period_text
from flows.steps.areas import find_area
from flows.steps.cubes.open_cube import (
    count_overviews,
    find_cube,
    known_recipe,
    open_variables,
    product_named,
    within,
)
from flows.steps.storage import s3_options
from products.errors import RequestError
from products.period import parse_period


def open_cube(
    name: str, area: AnyArea, period: AnyPeriod | None = None, crs: str | None = None, level: int = 0
) -> xarray.Dataset:
    """The newest version's cube, lazy: one variable (period, y, x) per feature, and `accounts` (period, cause, y, x); for passes (time, y, x) per band.

    `name` is a product's, or the path of its recipe. `area` is as on the command line, or four numbers; so is `period`, which keeps the passes that begin in
    it and the cells that `build` makes of it, or whose middle it holds; all by default. `crs` is needed where the area has several zones. `level` 1, 2, … is
    an overview: pixels 4, 16, … times as wide.
    """
    settings = get_settings()
    with open_index(settings) as index:
        pointer = find_cube(index, product_named(name), find_area(area_text(area)).name, crs)
    url, options = pointer.snapshot_url, s3_options(settings)
    held = count_overviews(url, options) if level else 0
    if not 0 <= level <= held:
        raise RequestError(f"expected a level from 0 to {held} of {name} over {area_text(area)}, got {level}")
    if period is None:
        return open_variables(url, options, level)
    asked, recipe = parse_period(period_text(period)), known_recipe(name, pointer.version)
    return open_variables(url, options, level, lambda cube: within(cube, asked, recipe))
