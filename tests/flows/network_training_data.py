"""A coast in arrays that a small network can learn in seconds; run as a program, its training is killed at a stage."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from products.learning.network_spec import UnetSpec
from products.learning.splits import BlockSplit, split_blocks
from products.learning.training_ground import cell_ground

SIDE_PX, RESOLUTION_M, SEED = 96, 30.0, 1
X, Y = 500_015 + RESOLUTION_M * np.arange(SIDE_PX), 600_015 - RESOLUTION_M * np.arange(SIDE_PX)
FEATURES, CLASSES = ("red", "nir", "ndvi_p50"), ("mangrove", "water", "other")
LEVELS = np.array([[0, 0, 0], [0.03, 0.3, 0.8], [0.05, 0.02, -0.4], [0.2, 0.25, 0.1]])
SPEC: dict[str, Any] = {
    "depth": 3,
    "patch_px": 16,
    "overlap_px": 4,
    "batch": 4,
    "patches": 24,
    "epochs": 3,
    "patience": 9,
}
STAGES = ("after an epoch", "within an epoch", "before the checkpoint is moved to its place")


def truth() -> NDArray[np.uint8]:
    """Water, mangrove and other land from west to east, with a wavy coast, (y, x)."""
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    return np.digitize(columns + 6 * np.sin(rows / 7), (33, 64)).choose([2, 1, 3]).astype(np.uint8)


def features() -> NDArray[np.float32]:
    """(feature, y, x): each class has a level in each feature, with noise; some pixels lack one feature or all."""
    found = LEVELS[truth()].transpose(2, 0, 1) + np.random.default_rng(2).normal(0, 0.04, (3, SIDE_PX, SIDE_PX))
    found[:, 5:8, 5:8] = np.nan
    found[1, 40:43, 50:53] = np.nan
    return found.astype(np.float32)


def split() -> BlockSplit:
    """Every pixel in one of four folds of blocks."""
    columns, rows = (axis.ravel() for axis in np.meshgrid(X, Y))
    return split_blocks(columns, rows, truth().ravel().astype(np.int64), 720.0, 4, 30.0, SEED)


def training_data(**changed: Any) -> Any:
    """What `train_network` is given; `changed` of the recipe."""
    from flows.steps.networks.train_network import TrainingData

    spec = UnetSpec.model_validate(SPEC | changed)
    ground = [cell_ground(X, Y, truth(), split(), spec.patch_px)]
    return TrainingData("unet", spec, FEATURES, CLASSES, lambda _: features(), ground, SEED)


def trained(folder: Path, training_id: str = "coast", **changed: Any) -> tuple[Any, dict[str, Any]]:
    """The network and what is told of it."""
    from flows.steps.networks.train_network import train_network
    from flows.steps.networks.training_loop import TrainerOptions

    return train_network(training_data(**changed), TrainerOptions(folder), training_id)


def train_and_die(stage: str, folder: Path) -> None:
    """Train, and be killed with SIGKILL at a stage of the second epoch."""
    import lightning
    from fsspec.implementations.local import LocalFileOpener

    from flows.steps.networks.lightning_module import PixelClassifier

    places: dict[str, tuple[Any, str, int]] = {
        "after an epoch": (PixelClassifier, "train_dataloader", 3),
        "within an epoch": (PixelClassifier, "training_step", 9),
        "before the checkpoint is moved to its place": (LocalFileOpener, "commit", 2),
    }
    owner, name, call = places[stage]
    original, calls = getattr(owner, name), iter(range(1, 1_000_000))

    def dies(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owner, name, dies)
    assert lightning.__version__
    trained(folder)


if __name__ == "__main__":
    train_and_die(sys.argv[1], Path(sys.argv[2]))
