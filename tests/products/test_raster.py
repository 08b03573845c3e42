"""A raster that is not a scene belongs to the periods that it shares time with."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from odc.geo.geom import box

from products.period import parse_period
from products.raster import RasterFile
from products.window_spec import RasterInput

MICROSECOND = timedelta(microseconds=1)


def raster(begin: datetime, end: datetime) -> RasterFile:
    wanted = RasterInput("shore", "land", "nearest")
    return RasterFile(wanted, UUID(int=1), box(0, 0, 1, 1, "EPSG:4326"), "a.tif", 1, 1.0, 0.0, 0.0, begin, end)


def year(first: int, last: int, end: timedelta = MICROSECOND) -> RasterFile:
    return raster(datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC) - end)


@pytest.mark.parametrize("end", [MICROSECOND, timedelta(), timedelta(seconds=1)])
def test_a_year_belongs_to_that_year_and_to_what_holds_a_part_of_it(end: timedelta) -> None:
    of_2020 = year(2020, 2020, end)
    periods = ("2019", "2020", "2020-12", "2021", "2019-06-01/2020-01-01", "2020-12-31/2022-12-31")
    assert [of_2020.holds_in(parse_period(period)) for period in periods] == [False, True, True, False, True, True]


def test_an_instant_belongs_to_the_period_that_begins_with_it() -> None:
    midnight = datetime(2021, 1, 1, tzinfo=UTC)
    assert [raster(midnight, midnight).holds_in(parse_period(period)) for period in ("2020", "2021")] == [False, True]


def test_what_does_not_change_belongs_to_every_period() -> None:
    assert all(year(1900, 2099).holds_in(parse_period(period)) for period in ("1984", "2020-02-29", "2010/2030"))


def test_what_is_smoothed_of_degrees_says_so_in_what_a_cell_is_made_of() -> None:
    plain = year(2020, 2020)
    smooth = replace(plain, input=RasterInput("shore", "land", "bilinear"))
    assert (
        plain.key.rendition == replace(plain, is_upright=False).key.rendition == smooth.key.rendition == str(plain.id)
    )
    assert replace(smooth, is_upright=False).key.rendition == f"{plain.id} one scale"
