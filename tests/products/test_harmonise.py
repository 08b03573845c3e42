"""Band-pass coefficients are the published ones, in the published direction."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from odc.geo.geom import box

from products.features import reflectance_terms
from products.period import parse_period
from products.pixel.harmonise import oli_adjustment, stand_in_notes
from products.scene import BandFile, Scene
from products.source_spec import HarmoniseSpec

LANDSAT_BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
MSI_BANDS = ("coastal", "blue", "green", "red", "nir_narrow", "swir1", "swir2")


@pytest.fixture
def published(shared_data: Path) -> Any:
    return json.loads((shared_data / "reference" / "facts" / "bandpass_coefficients.json").read_text())


@pytest.mark.parametrize("platform", ["landsat-4", "landsat-5", "landsat-7"])
def test_tm_and_etm_take_the_reduced_major_axis_of_roy_2016(published: Any, platform: str) -> None:
    table = published["roy2016"]["OLI_from_ETM+_RMA"]

    assert [oli_adjustment(platform, band) for band in LANDSAT_BANDS] == [
        pytest.approx(line) for line in zip(table["slope"], table["intercept"], strict=True)
    ]


@pytest.mark.parametrize(
    ("platform", "column"), [("sentinel-2a", "S2A"), ("sentinel-2b", "S2B"), ("sentinel-2c", "S2A")]
)
def test_msi_takes_the_hls_lines(published: Any, platform: str, column: str) -> None:
    table = published["hls"][column]

    assert [oli_adjustment(platform, band) for band in MSI_BANDS] == [
        pytest.approx(line) for line in zip(table["slope"], table["intercept"], strict=True)
    ]


@pytest.mark.parametrize("band", [*MSI_BANDS, "nir", "rededge1"])
@pytest.mark.parametrize("platform", ["sentinel-2c", "sentinel-2d"])
def test_what_no_published_table_covers_takes_the_lines_of_sentinel_2a(platform: str, band: str) -> None:
    assert oli_adjustment(platform, band) == oli_adjustment("sentinel-2a", band)


def test_the_slopes_of_sentinel_2a_and_2b_differ_by_less_than_two_percent() -> None:
    ratios = [oli_adjustment("sentinel-2a", band)[0] / oli_adjustment("sentinel-2b", band)[0] for band in MSI_BANDS]
    assert max(abs(ratio - 1) for ratio in ratios) == pytest.approx(0.0165, abs=1e-4)


def test_scenes_that_take_the_lines_of_another_platform_are_noted() -> None:
    said = stand_in_notes(["sentinel-2c", "sentinel-2a", "sentinel-2c", "landsat-8"])
    assert said == ["2 scenes of sentinel-2c are harmonised as sentinel-2a: no published table covers them"]
    assert stand_in_notes(["sentinel-2b", "landsat-9"]) == []


def test_the_near_infrared_of_msi_takes_the_line_of_b8a() -> None:
    assert oli_adjustment("sentinel-2a", "nir") == oli_adjustment("sentinel-2a", "nir_narrow") != (1.0, 0.0)


@pytest.mark.parametrize(
    ("platform", "band"),
    [("landsat-8", "red"), ("landsat-9", "nir"), ("sentinel-2a", "rededge1"), ("landsat-7", "coastal")],
)
def test_what_the_tables_lack_stays_as_it_is(platform: str, band: str) -> None:
    assert oli_adjustment(platform, band) == (1.0, 0.0)


def scene(sensor: str, platform: str, scale: float, offset: float) -> Scene:
    bands = {band: BandFile("nowhere.tif", scale, offset, 0) for band in ("red", "nir", "nir_narrow")}
    acquired = parse_period("2020").start
    return Scene(
        UUID(int=1), "item", "product", "collection", sensor, platform, acquired, "a", "r", "p", box(0, 0, 1, 1, "EPSG:4326"), bands
    )  # fmt: skip


def test_scale_offset_and_adjustment_become_one_line() -> None:
    scenes = [
        scene("etm", "landsat-7", 2.75e-5, -0.2),
        scene("oli", "landsat-8", 2.75e-5, -0.2),
        scene("msi", "sentinel-2b", 1e-4, -0.1),
    ]
    gain, bias = reflectance_terms(scenes, ("red", "nir"), HarmoniseSpec())
    dn = 12_345

    assert gain.dtype == bias.dtype == np.float32
    assert dn * gain[0, 0] + bias[0, 0] == pytest.approx(0.9825 * (dn * 2.75e-5 - 0.2) - 0.0022, abs=1e-6)
    assert dn * gain[1, 1] + bias[1, 1] == pytest.approx(dn * 2.75e-5 - 0.2, abs=1e-6)
    assert dn * gain[2, 1] + bias[2, 1] == pytest.approx(0.9966 * (dn * 1e-4 - 0.1), abs=1e-6)


def test_without_harmonising_reflectance_is_scale_and_offset() -> None:
    for harmonise in (None, HarmoniseSpec(tm_etm="none", msi="none")):
        gain, bias = reflectance_terms([scene("etm", "landsat-7", 2.75e-5, -0.2)], ("red",), harmonise)
        assert (gain[0, 0], bias[0, 0]) == (np.float32(2.75e-5), np.float32(-0.2))
