"""The grid and the calendar that a recipe asks for."""

from typing import Any

import pytest
from odc.geo.geom import box

from products.grid import PixelGrid
from products.grid_spec import GridSpec, PeriodSpec
from products.period import Calendar, Duration

AREA = box(100.6, 4.8, 100.7, 4.9, "EPSG:4326")
YEAR, HALF = Duration(1, "Y"), Duration(6, "M")


@pytest.mark.parametrize(
    ("said", "grid"),
    [
        ({}, PixelGrid("EPSG:32647", 30.0, 1024, 0.0)),
        ({"anchor": "landsat", "tile_px": 256}, PixelGrid("EPSG:32647", 30.0, 256, 15.0)),
        ({"crs": "EPSG:3035"}, PixelGrid("EPSG:3035", 30.0, 1024, 0.0)),
    ],
)
def test_a_grid_has_the_zone_of_the_area_or_its_own_crs_and_landsats_edges_on_request(
    said: dict[str, Any], grid: PixelGrid
) -> None:
    assert GridSpec(resolution_m=30.0, **said).pixel_grid(AREA) == grid


@pytest.mark.parametrize("side", [8, 100, 8200])
def test_tiles_have_sides_of_whole_eights_within_limits(side: int) -> None:
    with pytest.raises(ValueError, match="tile_px"):
        GridSpec(resolution_m=30.0, tile_px=side)


@pytest.mark.parametrize(
    ("said", "calendar"),
    [
        ("P1Y", Calendar(YEAR, YEAR)),
        ({"length": "P1Y", "step": "P6M"}, Calendar(YEAR, HALF)),
        ({"length": "P6M", "start": "12-28"}, Calendar(HALF, HALF, 12, 28)),
    ],
)
def test_cells_start_every_step_which_is_their_length_by_default(said: Any, calendar: Calendar) -> None:
    assert PeriodSpec.model_validate(said).calendar == calendar


@pytest.mark.parametrize("start", ["13-01", "00-01", "12-29", "12-00", "1-1", "12-01 "])
def test_a_start_is_a_month_and_a_day_that_every_month_has(start: str) -> None:
    with pytest.raises(ValueError, match=f"expected start as MM-DD with a day up to 28, got '{start}'"):
        PeriodSpec(length="P1Y", start=start)
