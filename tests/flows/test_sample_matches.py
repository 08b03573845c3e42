"""Measurements matched to what cells show there near that time: windows, clouds, the nearest in time, and honest refusals."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest

from flows.steps.sampling.drawing import DrawnSet, match_samples
from flows.steps.sampling.matches import _nearest, match_pixels, read_measurements
from flows.steps.sampling.sampled_cells import SampledCells
from products.errors import RequestError
from products.learning.label_spec import MatchSpec
from products.learning.samples_recipe import SamplesRecipe
from tests.flows.sampled_coast import MOSAIC, Coast, of

SPEC: dict[str, Any] = {"values": ["chl_ugl"], "time": "date", "within": "P2D", "crs": "EPSG:32647"}


def measurements(path: Path, rows: list[tuple[float, float, str, float | None]]) -> Path:
    """A table of (row, column, time, value)."""
    lines = []
    for row, column, time, value in rows:
        x, y = MOSAIC.affine * (column, row)
        lines.append({"x": x, "y": y, "date": time, "chl_ugl": value, "site": f"s{row:g}"})
    pd.DataFrame(lines).to_csv(path, index=False)
    return path


def matched(coast: Coast, path: Path, cells: SampledCells | None = None, **said: Any) -> DrawnSet:
    recipe = SamplesRecipe.model_validate(
        {"name": f"m_{path.stem}", "version": 1, "kind": "samples", "features": "coast_passes", "matches": SPEC | said}
    )
    return match_samples(coast.index, coast.storage, recipe, cells or coast.passes, of(path), 2)


def test_a_measurement_gets_the_nearest_pass_in_time_that_sees_its_place(coast: Coast, tmp_path: Path) -> None:
    path = measurements(
        tmp_path / "near.csv",
        [
            (40.5, 20.5, "2020-06-01T05:30Z", 1.0),  # two hours after the first pass
            (40.2, 21.5, "2020-06-08T03:30Z", 2.0),  # a day before the second
            (10.5, 20.5, "2020-06-09T03:30Z", 3.0),  # at the second, which is under cloud there
            (40.5, 20.5, "2020-06-04T03:30Z", 4.0),  # three days from the first, five from the second
            (500.5, 20.5, "2020-06-01T03:30Z", 5.0),
            (40.5, 22.5, "2020-06-01T03:30Z", None),
        ],
    )
    found = matched(coast, path)
    document = found.document()
    assert document["dropped"] == {"not_seen": 1, "nothing_in_time": 1, "outside": 1, "without_value": 1}
    assert document["rows"] == {"matched": 2}
    table = coast.table(found)
    assert table["chl_ugl"].tolist() == [1, 2]
    assert table["hours_apart"].tolist() == [2, 24]
    assert table["period"].tolist() == ["landsat-8/127/2020-06-01", "landsat-8/127/2020-06-09"]
    assert table["red"].tolist() == pytest.approx([coast.values[0, 40, 20], coast.values[0, 40, 21] + 1])
    assert (table.geometry.x == table["x"]).all()
    assert table["x"].iloc[0] == MOSAIC.affine.c + 20.5 * 30


def test_a_cloudy_pass_gives_way_to_a_clear_one_in_the_window(coast: Coast, tmp_path: Path) -> None:
    path = measurements(tmp_path / "cloudy.csv", [(10.5, 20.5, "2020-06-09T03:30Z", 3.0)])
    table = coast.table(matched(coast, path, within="P8D", keep=["site"]))
    assert table["hours_apart"].tolist() == [192]
    assert table["period"].tolist() == ["landsat-8/127/2020-06-01"]
    assert table["site"].tolist() == ["s10.5"]


def test_matching_again_is_the_same_bytes(coast: Coast, tmp_path: Path) -> None:
    path = measurements(tmp_path / "again.csv", [(40.5, 20.5, "2020-06-01", 1.0), (40.5, 20.6, "2020-06-01", 2.0)])
    first = matched(coast, path)
    content = Path(first.document()["path"]).read_bytes()
    assert not matched(coast, path).drawn
    for each in Path(first.document()["path"]).parent.iterdir():
        each.unlink()
    assert matched(coast, path).drawn
    assert Path(first.document()["path"]).read_bytes() == content
    assert first.document()["notes"] == ["1 measurements share pixel and time with another one"]


def test_a_period_holds_the_time_of_a_measurement(coast: Coast, tmp_path: Path) -> None:
    rows = [(40.5, 20.5, "2020-03-01", 1.0), (40.5, 21.5, "2021-01-02", 2.0), (40.5, 22.5, "2021-01-09", 2.0)]
    path = measurements(tmp_path / "periods.csv", [(r, c, t, v) for r, c, t, v in rows])
    measured = read_measurements(of(path), MatchSpec.model_validate(SPEC), "EPSG:32647")
    found = match_pixels(coast.storage, MatchSpec.model_validate(SPEC), coast.cells, measured, 1)
    assert found.table["hours_apart"].tolist() == [0, 24]
    assert found.dropped == {"nothing_in_time": 1}


def test_a_measurement_at_the_very_start_of_a_cell_belongs_to_it_and_not_to_the_cell_before() -> None:
    starts, ends = (
        np.array(days, "datetime64[us]") for days in (["2020-05-01", "2020-06-01"], ["2020-06-01", "2020-07-01"])
    )
    times = np.array(["2020-05-31T23:59", "2020-06-01", "2020-06-30T12:00", "2020-07-01"], "datetime64[us]")
    step, gap = _nearest(times, starts, ends)
    assert step.tolist() == [0, 1, 1, 1]
    assert gap.tolist() == [timedelta(0), timedelta(0), timedelta(0), timedelta(microseconds=1)]


def test_a_measurement_at_the_instant_of_a_pass_is_no_time_apart() -> None:
    instants = np.array(["2020-05-01", "2020-06-01"], "datetime64[us]")
    step, gap = _nearest(instants, instants, instants)
    assert (step.tolist(), gap.tolist()) == ([0, 1], [timedelta(0), timedelta(0)])


@pytest.mark.parametrize(
    ("change", "said", "words"),
    [
        ({"date": 2020.5}, {}, "1 rows of .* have no readable time in date: expected ISO 8601 with a day"),
        ({"date": 2020}, {}, "1 rows of .* have no readable time in date"),
        ({"date": "2020-06"}, {}, "1 rows of .* have no readable time in date"),
        ({"date": "noon"}, {}, "1 rows of .* have no readable time in date: expected ISO 8601"),
        ({"chl_ugl": "high"}, {}, "the column chl_ugl of .* holds text: expected numbers"),
        ({}, {"values": ["chl"]}, "has no field 'chl': expected one of x, y, date, chl_ugl, site"),
        ({}, {"crs": None}, "has coordinates in x and y, but no CRS"),
        ({"red": 2}, {"values": ["red"]}, "a column of measurements is called 'red', as one of the table of samples"),
        ({"date": "2011-01-01"}, {}, r"no measurement of .* is matched \(nothing_in_time: 1\): widen `within`"),
    ],
)
def test_measurements_that_cannot_be_meant_are_refused(
    change: dict[str, Any], said: dict[str, Any], words: str, coast: Coast, tmp_path: Path
) -> None:
    path = measurements(tmp_path / "wrong.csv", [(40.5, 20.5, "2020-06-01", 1.0)])
    pd.read_csv(path).assign(**change).to_csv(path, index=False)
    with pytest.raises(RequestError, match=words):
        matched(coast, path, **said)
    assert not Path(coast.storage.path("samples", "m_wrong")).is_dir() or not any(
        Path(coast.storage.path("samples", "m_wrong")).iterdir()
    )


def test_shapes_that_are_no_points_are_refused(coast: Coast, tmp_path: Path) -> None:
    table = geopandas.GeoDataFrame(
        {"date": ["2020-06-01"], "chl_ugl": [1.0]}, geometry=[MOSAIC.extent.geom], crs="EPSG:32647"
    )
    table.to_file(tmp_path / "areas.gpkg")
    with pytest.raises(RequestError, match="holds shapes that are no points"):
        matched(coast, tmp_path / "areas.gpkg")


def test_real_measurements_of_chlorophyll_are_read(shared_data: Path, tmp_path: Path) -> None:
    points = geopandas.read_file(shared_data / "labels/chl_a/harsha_points_open.geojson")
    points.assign(date="2020-06-01").to_file(tmp_path / "points.gpkg")
    spec = MatchSpec.model_validate({"values": ["Chl_ugL"], "time": "date", "within": "P1D", "keep": ["Site"]})
    measured = read_measurements(of(tmp_path / "points.gpkg"), spec, "EPSG:32616")
    assert len(measured.table) == 28
    assert (measured.table["Chl_ugL"].min(), measured.table["Chl_ugL"].max()) == pytest.approx((3.9, 10.3), abs=0.06)
    assert np.isfinite(measured.places).all()
