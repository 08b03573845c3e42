"""Real pictures with labelled clouds and shadows, in the form of the test files of ukis-csmask, and how a mask by model does on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.steps.loading.model_masks import Classify
from products.errors import RequestError
from products.pixel.mask_scores import TrueSky, count_fates, mask_scores
from products.pixel.model_mask import model_causes
from products.simulation.strata import fringe

BANDS = {"green": 1, "red": 2, "nir": 3}
SHADOW_LABEL, WATER_LABEL, LAND_LABEL, CLOUD_LABEL = 0, 1, 3, 4
SKY_OF_LABEL = {
    SHADOW_LABEL: TrueSky.CLOUD_SHADOW, WATER_LABEL: TrueSky.CLEAR, LAND_LABEL: TrueSky.CLEAR, CLOUD_LABEL: TrueSky.CLOUD,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chip:
    """Reflectance (red, green, nir; y, x) float32 and labels (y, x) uint8."""

    picture: NDArray[np.float32]
    labels: NDArray[np.uint8]


def read_chip(path: str) -> Chip:
    """The chip in an `.npz` file with `img` (y, x, band from blue) and `msk` (y, x, 1); RequestError for another file."""
    try:
        with np.load(Path(path), allow_pickle=False) as arrays:
            image, labels = arrays["img"], arrays["msk"]
    except (OSError, KeyError, ValueError) as error:
        raise RequestError(f"{path} is no labelled chip ({error}): expected an .npz file with img and msk") from error
    if image.ndim != 3 or image.shape[2] < 4 or labels.shape != (*image.shape[:2], 1):
        raise RequestError(
            f"{path}: expected img (y, x, blue green red nir …) and msk (y, x, 1), got {image.shape} and {labels.shape}"
        )
    picture = np.stack([image[..., BANDS[band]] for band in ("red", "green", "nir")]).astype(np.float32)
    return Chip(picture, labels[..., 0].astype(np.uint8))


def chip_scores(chip: Chip, classify: Classify, resolution_m: float) -> Mapping[str, dict[str, Any]]:
    """Scores of the classes that a model gives the picture: of all pixels, and of those labelled water, land, and the fringe of both.

    What lies under a cloud is not labelled: of water, land and fringe only clear pixels are known.
    """
    causes = model_causes(classify(chip.picture, 0))
    truth = np.full(chip.labels.shape, TrueSky.NO_DATA, np.uint8)
    for label, sky in SKY_OF_LABEL.items():
        truth[chip.labels == label] = sky
    water, land = chip.labels == WATER_LABEL, chip.labels == LAND_LABEL
    grounds = {
        "all": np.ones(truth.shape, np.bool_),
        "water": water,
        "land": land,
        "fringe": fringe(water, land, resolution_m),
    }
    return {name: mask_scores(count_fates(truth, causes, where)) for name, where in grounds.items()}
