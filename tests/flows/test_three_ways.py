"""A cube that was really built is the same to neocube, to plain xarray and to the Open Data Cube, pixel for pixel."""

from pathlib import Path

import numpy as np
import xarray

import flows
from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from products.registry import features_recipe


def test_open_cube_xarray_and_datacube_load_give_the_same_pixels(
    ingested_settings: Settings, small_recipe: Path
) -> None:
    report = build(str(small_recipe), "demo", "2020")
    assert report["built"] >= 4 and report["failed"] == []
    names = list(features_recipe(str(small_recipe)).feature_names)
    plain = xarray.open_zarr(report["cube"]).load()
    ours = flows.open_cube("mangrove_features", area="demo").load()
    with open_index(ingested_settings) as index:
        loaded = index.dc.load(product="mangrove_features", measurements=names, like=ours.odc.geobox)
    assert list(plain.feature.values) == names
    assert loaded.odc.geobox == ours.odc.geobox and loaded.sizes["time"] == 1
    assert np.isfinite(plain.features.values).mean() > 0.05
    for layer, name in enumerate(names):
        expected = plain.features.isel(period=0, feature=layer).values
        np.testing.assert_array_equal(ours[name].isel(period=0).values, expected)
        np.testing.assert_array_equal(loaded[name].isel(time=0).values, expected)
        assert loaded[name].dtype == ours[name].dtype == np.float32
    np.testing.assert_array_equal(ours.accounts.values, plain.accounts.values)
