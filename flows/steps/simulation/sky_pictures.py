"""The scenes of a simulated archive as pictures whose sky is known, to learn clouds and shadows from."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.loading.reading import UnreadBand, read_band
from flows.steps.simulation.folder_errors import naming_folder_in_errors
from flows.steps.simulation.mask_truth import MaskTruth, read_truth
from products.errors import RequestError
from products.pixel.mask_scores import TrueSky
from products.scene import BandFile
from products.simulation.haze import air_reflectance
from products.source_spec import SourceSpec

Numbers = NDArray[np.uint16]
Codes = NDArray[np.uint8]
Reflectance = NDArray[np.float32]
# of both collections; `nir08` of Sentinel-2 is the narrow one
ASSETS = {"blue": "blue", "green": "green", "red": "red", "nir": "nir08", "swir1": "swir16", "swir2": "swir22"}
LABEL_OF_SKY = {TrueSky.CLOUD: 4, TrueSky.CLOUD_SHADOW: 0, TrueSky.CLEAR: 3}  # as ukis-csmask has them, water as land
HAZE = (0.75, 1.75)  # times the air without aerosol


@dataclass(frozen=True, slots=True)
class SkyPicture:
    """A scene on the 30 m pixels of the landscape: integers (band, y, x), 0 where it saw nothing, and sky (y, x) as TrueSky."""

    item: Mapping[str, Any]
    bands: Numbers
    sky: Numbers


def sky_pictures(archive: Path, bands: tuple[str, ...]) -> Iterator[SkyPicture]:
    """The pictures of an archive that `neocube simulate` wrote, by date; RequestError where it cannot be read."""
    truth = read_truth(str(archive / "truth"))
    try:
        items = json.loads((archive / "items.json").read_text(encoding="utf-8"))["features"]
        with rasterio.open(truth.folder / "classes.tif") as file:
            grid = GeoBox.from_rio(file)
        for item in sorted(items, key=lambda item: str(item["properties"]["datetime"])):
            yield _picture(archive, item, truth, grid, bands)
    except (OSError, KeyError, UnreadBand, rasterio.errors.RasterioError) as error:
        raise RequestError(
            f"{archive} cannot be learned from ({error}): expected an archive that `neocube simulate` wrote, with --faults none"
        ) from error


def write_labelled_pictures(folder: Path, archive: Path, seed: int) -> dict[str, dict[str, float]]:
    """Write the pictures of each collection, one below the other, as `COLLECTION.npz`, which `neocube train --table` takes; returns the shares of its labels.

    `img` (y, x, band) is float32 reflectance at the top of the atmosphere: the ground's, and that of air with as much haze as the seed draws for each scene.
    `msk` (y, x, 1) is 0 for shadow, 3 for clear and 4 for cloud. Thin cirrus and what no scene saw are NaN. RequestError where the folder holds such a
    file already, before the archive is read, or where one cannot be written.
    """
    if held := sorted(folder.glob("*.npz")):
        raise RequestError(f"{held[0]} is there already: choose another folder")
    random, parts = np.random.default_rng(seed), dict[str, list[tuple[Reflectance, Codes]]]()
    for picture in sky_pictures(archive, tuple(ASSETS)):
        haze = np.float32(random.uniform(*HAZE))
        parts.setdefault(str(picture.item["collection"]), []).append(_labelled(picture, haze))
    shares = {}
    for collection, pictures in parts.items():
        path, (images, labelled) = folder / f"{collection}.npz", zip(*pictures, strict=True)
        image, labels = np.concatenate(images), np.concatenate(labelled)
        with naming_folder_in_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, img=image, msk=labels[..., None])
        seen = np.isfinite(image[..., 0])
        shares[collection] = {
            sky.name.lower(): round(float((labels[seen] == label).mean()), 3) for sky, label in LABEL_OF_SKY.items()
        }
    return shares


def _picture(archive: Path, item: dict[str, Any], truth: MaskTruth, grid: GeoBox, names: tuple[str, ...]) -> SkyPicture:
    bands, sky = np.empty((len(names), *grid.shape), np.uint16), np.empty(grid.shape, np.uint16)
    for name, band in zip(names, bands, strict=True):
        method = SourceSpec(collection=item["collection"]).resampling_of(name)
        read_band(BandFile(str(archive / item["assets"][ASSETS[name]]["href"]), 1.0, 0.0, 0), grid, method, band)
    raster = truth.acquisitions[item["id"]]["sky_raster"]
    read_band(BandFile(str(truth.folder / raster), 1.0, 0.0, 0), grid, "nearest", sky)
    return SkyPicture(item, bands, sky)


def _labelled(picture: SkyPicture, haze: np.float32) -> tuple[Reflectance, Codes]:
    """Reflectance (y, x, band) at the top of the atmosphere and labels (y, x)."""
    image = np.empty(picture.bands.shape, np.float32)
    air = air_reflectance(tuple(ASSETS), float(picture.item["properties"]["view:sun_elevation"])) * haze
    for name, numbers, layer, added in zip(ASSETS, picture.bands, image, air, strict=True):
        said = picture.item["assets"][ASSETS[name]]["raster:bands"][0]
        layer[:] = numbers * np.float32(said["scale"]) + np.float32(said["offset"]) + added
    labels = np.full(picture.sky.shape, LABEL_OF_SKY[TrueSky.CLEAR], np.uint8)
    for sky, label in LABEL_OF_SKY.items():
        labels[picture.sky == sky] = label
    known = np.isin(picture.sky, list(LABEL_OF_SKY)) & (picture.bands != 0).all(axis=0)
    image[:, ~known] = np.nan
    return image.transpose(1, 2, 0), labels
