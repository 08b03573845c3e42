"""The U-Net that comes with neocube, learned on the simulated coast: how well it knows blocks that it never saw."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from datacube_config.settings import Settings
from flows.build_here import build
from flows.map_here import make_map
from flows.train_here import TRAINING, train

REASON = "the packages of the extra deep are not installed"
pytest.importorskip("lightning", reason=REASON)
pytest.importorskip("segmentation_models_pytorch", reason=REASON)
MANGROVE, LEAST_F1 = 1, 0.92
LEAST_F1_OF_MIXED = 0.85  # of every pixel of the map, those that two classes share too, as the forest is held to
# codes of truth/classes.json -> classes of the model: mangrove 1, water 2, other 3
TO_MODEL = np.array([0, 1, 2, 3, 3, 3], np.uint8)


@pytest.mark.full
def test_a_unet_knows_the_mangroves_of_blocks_never_trained_on(
    ingested_settings: Settings, small_archive: Path
) -> None:
    assert build("mangrove_features", "demo", "2020")["failed"] == []
    model = train("mangrove_unet", "demo", "2020", str(small_archive / "truth" / "labels.geojson"))
    holdout = model.card["metrics"]["holdout"]
    assert model.card["score"] == "regression score" and holdout["pixels"] > 300
    assert holdout["per_class"]["mangrove"]["f1"] >= LEAST_F1
    assert not any((ingested_settings.home / TRAINING).iterdir())
    mapped = xr.open_zarr(make_map("mangrove_unet", "demo", "2020").document()["cube"]).map_class.isel(period=0).load()
    with rasterio.open(small_archive / "truth" / "classes.tif") as file:
        truth = TO_MODEL[file.read(1)]
        x = file.transform.c + (np.arange(file.width) + 0.5) * file.transform.a
        y = file.transform.f + (np.arange(file.height) + 0.5) * file.transform.e
    inside = np.isin(y, mapped.y.values)
    found, truth = mapped.sel(x=x, y=y[inside]).values, truth[inside]
    both = int(((truth == MANGROVE) & (found == MANGROVE)).sum())
    assert 2 * both / int((truth == MANGROVE).sum() + (found == MANGROVE).sum()) >= LEAST_F1_OF_MIXED
