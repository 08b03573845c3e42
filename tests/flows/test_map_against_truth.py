"""The map of the simulated coast against the landscape it was simulated from, on blocks without a training label."""

import json
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import xarray as xr

from datacube_config.settings import Settings
from flows.build_here import build
from flows.map_here import make_map
from flows.train_here import train
from products.learning.splits import block_ids

BLOCK_M = 480.0
# codes of truth/classes.json -> classes of the model: mangrove 1, water 2, other 3
TO_MODEL = np.array([0, 1, 2, 3, 3, 3], np.uint8)


def test_the_map_agrees_with_the_truth_on_blocks_never_trained_on(
    ingested_settings: Settings, small_archive: Path, tmp_path: Path
) -> None:
    labels = geopandas.read_file(small_archive / "truth" / "labels.geojson").to_crs("EPSG:32647")
    corners = labels.bounds
    block = block_ids(
        ((corners.minx + corners.maxx) / 2).to_numpy(), ((corners.miny + corners.maxy) / 2).to_numpy(), BLOCK_M
    )
    trained_on = labels[block % 2 == 0]
    path = tmp_path / "half.geojson"
    document = json.loads(trained_on.to_crs("EPSG:4326").to_json(drop_id=True))
    path.write_text(json.dumps({**document, "simulated": True}))
    assert build("mangrove_features", "demo", "2020")["failed"] == []
    model = train("mangrove_extent", "demo", "2020", str(path))
    assert model.card["score"] == "regression score"
    mapped = xr.open_zarr(make_map(str(model.id), "demo", "2020").document()["cube"]).map_class.isel(period=0).load()

    with rasterio.open(small_archive / "truth" / "classes.tif") as file:
        truth = TO_MODEL[file.read(1)]
        x = file.transform.c + (np.arange(file.width) + 0.5) * file.transform.a
        y = file.transform.f + (np.arange(file.height) + 0.5) * file.transform.e
    inside = np.isin(y, mapped.y.values)
    assert inside.mean() > 0.8
    y, truth = y[inside], truth[inside]
    found = mapped.sel(x=x, y=y).values
    rows, columns = np.meshgrid(y, x, indexing="ij")
    touched = {*block_ids(*_touched(trained_on), BLOCK_M)}
    never = ~np.isin(block_ids(columns.ravel(), rows.ravel(), BLOCK_M), list(touched)).reshape(truth.shape)
    assert 0.2 < never.mean() < 0.9
    expected, got = truth[never], found[never]
    assert (expected == got).mean() >= 0.90
    both = int(((expected == 1) & (got == 1)).sum())
    assert 2 * both / int((expected == 1).sum() + (got == 1).sum()) >= 0.85


def _touched(labels: geopandas.GeoDataFrame) -> tuple[np.ndarray, np.ndarray]:
    """All corners of the label polygons: x and y."""
    points = labels.geometry.get_coordinates()
    return points.x.to_numpy(), points.y.to_numpy()
