"""Weights for a mask by a model that learned from simulated scenes only: they try the masks out where the published weights cannot be had."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.steps.loading.cloud_model import PACKAGE, VERSION, network_files
from flows.steps.networks.deep_packages import require_deep
from flows.steps.simulation.folder_errors import naming_folder_in_errors
from flows.steps.simulation.sky_pictures import SkyPicture, sky_pictures
from products.errors import RequestError
from products.learning.loop_spec import AugmentedSpec

if TYPE_CHECKING:
    from flows.steps.networks.mask_network import Picture

Tell = Callable[[str], None]
BANDS = ("red", "green", "nir")
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
    from flows.steps.networks.mask_network import MaskTrainingData, train_mask_network
    from flows.steps.networks.training_loop import TrainerOptions

    pictures = [_picture(seen) for seen in sky_pictures(archive, BANDS)]
    n_train = len(pictures) * 4 // 5
    data = MaskTrainingData(loop, patches, pictures[:n_train], pictures[n_train:], seed)
    told: dict[str, Any] = {}
    for name, encoder in encoders.items():
        with TemporaryDirectory() as place:
            content, told[name] = train_mask_network(encoder, data, TrainerOptions(Path(place)), SAID, tell)
        with naming_folder_in_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return told


def _picture(seen: SkyPicture) -> "Picture":
    """Integers and codes of the sky, cut to where the scene saw something."""
    rows, columns = (np.flatnonzero((seen.bands != 0).all(axis=0).any(axis=axis)) for axis in (1, 0))
    inner = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return seen.bands[:, *inner], CODES[seen.sky[inner]]
