"""Weights for a mask by a model that learned from simulated scenes only: they try the masks out where the published weights cannot be had."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.loading.cloud_model import PACKAGE, VERSION, network_files
from flows.steps.loading.reading import UnreadBand, read_band
from flows.steps.networks.deep_packages import require_deep
from flows.steps.simulation.mask_truth import MaskTruth, read_truth
from products.errors import RequestError
from products.learning.loop_spec import AugmentedSpec
from products.scene import BandFile
from products.source_spec import SourceSpec

Picture = tuple[NDArray[np.uint16], NDArray[np.uint8]]
Tell = Callable[[str], None]
# of both collections; `nir08` of Sentinel-2 is the narrow one
ASSETS = {"red": "red", "green": "green", "nir": "nir08"}
CODES = np.array([0, 1, 2, 4, 3], np.uint8)  # by TrueSky: the class of the model + 1, 0 where nothing is known
SAID = "learned from scenes made by neocube simulate; not the weights that the package publishes"
# scenes are not turned: the side on which a shadow lies is part of what there is to learn
LOOP = AugmentedSpec(batch=4, epochs=8, learning_rate=2e-3, schedule="one_cycle", patience=8, augment=())
PATCHES = 100  # of an epoch


def write_mask_weights(
    folder: Path, archive: Path, seed: int, loop: AugmentedSpec = LOOP, patches: int = PATCHES, tell: Tell | None = None
) -> dict[str, Any]:
    """Train both networks of OmniCloudMask's shape on a simulated archive, and write them into a folder that NEOCUBE_MASK_WEIGHTS takes.

    The last fifth of its dates validates. Returns the losses by file; RequestError where the packages, the truth or the room for the files are lacking, or
    where a file of that name is there already.
    """
    require_deep(PACKAGE)
    encoders = network_files(VERSION)
    if held := [name for name in encoders if (folder / name).exists()]:
        raise RequestError(f"{folder} holds {held[0]} already, which may be published weights: choose another folder")
    from flows.steps.networks.mask_network import MaskLesson, train_mask_network
    from flows.steps.networks.training_loop import TrainingPlace

    pictures = _pictures(archive)
    n_train = len(pictures) * 4 // 5
    lesson = MaskLesson(loop, patches, pictures[:n_train], pictures[n_train:], seed)
    told: dict[str, Any] = {}
    for name, encoder in encoders.items():
        with TemporaryDirectory() as place:
            content, told[name] = train_mask_network(encoder, lesson, TrainingPlace(Path(place)), SAID, tell)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        except OSError as error:
            raise RequestError(f"cannot write to {folder}: {error.strerror or error}; choose another folder") from error
    return told


def _pictures(archive: Path) -> list[Picture]:
    """Red, green, near infrared and codes of the sky of each scene on the 30 m pixels of the landscape, by date."""
    truth = read_truth(str(archive / "truth"))
    try:
        items = json.loads((archive / "items.json").read_text(encoding="utf-8"))["features"]
        with rasterio.open(truth.folder / "classes.tif") as file:
            grid = GeoBox.from_rio(file)
        by_date = sorted(items, key=lambda item: item["properties"]["datetime"])
        return [_picture(archive, item, truth, grid) for item in by_date]
    except (OSError, KeyError, UnreadBand, rasterio.errors.RasterioError) as error:
        raise RequestError(
            f"{archive} cannot be learned from ({error}): expected an archive that `neocube simulate` wrote, with --faults none"
        ) from error


def _picture(archive: Path, item: dict[str, Any], truth: MaskTruth, grid: GeoBox) -> Picture:
    bands, sky = np.empty((len(ASSETS), *grid.shape), np.uint16), np.empty(grid.shape, np.uint16)
    for (name, asset), band in zip(ASSETS.items(), bands, strict=True):
        method = SourceSpec(collection=item["collection"]).resampling_of(name)
        read_band(BandFile(str(archive / item["assets"][asset]["href"]), 1.0, 0.0, 0), grid, method, band)
    raster = truth.acquisitions[item["id"]]["sky_raster"]
    read_band(BandFile(str(truth.folder / raster), 1.0, 0.0, 0), grid, "nearest", sky)
    rows, columns = (np.flatnonzero((bands != 0).all(axis=0).any(axis=axis)) for axis in (1, 0))
    inner = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return bands[:, *inner], CODES[sky[inner]]
