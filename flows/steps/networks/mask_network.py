"""A network of the shape of OmniCloudMask's, learned from pictures whose sky is known, as a file that its package reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from omnicloudmask.model_utils import channel_norm
from safetensors.torch import save

from flows.steps.loading.cloud_model import OWN
from flows.steps.networks.architecture import hasten_statistics
from flows.steps.networks.lightning_module import PixelClassifier
from flows.steps.networks.patch_reader import Batch
from flows.steps.networks.training_loop import Tell, TrainerOptions, fit
from products.learning.augmentation import augmented
from products.learning.loop_spec import AugmentedSpec
from products.learning.patches import batches, epoch_order
from products.pixel.model_mask import MODEL_BANDS, MODEL_CAUSES

Picture = tuple[NDArray[np.uint16], NDArray[np.uint8]]
PATCH_PX, LEAST_PX = 192, 48
SHARE_OF_VALIDATION = 4  # an epoch's patches divided by the patches that validate it


@dataclass(frozen=True)
class MaskTrainingData:
    """What a network is to learn: pictures uint16 (red, green, nir; y, x), 0 where there is no data, and codes uint8 (y, x), class + 1, 0 where unknown."""

    spec: AugmentedSpec
    patches: int
    train: Sequence[Picture]
    validation: Sequence[Picture]
    seed: int


@dataclass(frozen=True)
class MaskReader:
    """Batches of an epoch: parts of the pictures of any size, normalised as the package does, no data around them, and their classes, -1 where unknown."""

    data: MaskTrainingData
    epoch: int | None

    def __len__(self) -> int:
        return self._patches // self.data.spec.batch

    @property
    def _patches(self) -> int:
        n = self.data.patches
        return n if self.epoch is not None else max(self.data.spec.batch, n // SHARE_OF_VALIDATION)

    def __iter__(self) -> Iterator[Batch]:
        pictures = self.data.validation if self.epoch is None else self.data.train
        order = epoch_order(len(pictures), self._patches, self.data.seed, 0 if self.epoch is None else self.epoch + 1)
        for number, chosen in enumerate(batches(order, self.data.spec.batch)):
            draw = np.random.default_rng([self.data.seed, 0 if self.epoch is None else self.epoch + 1, number])
            parts = [self._part(pictures[each], draw) for each in chosen]
            yield (
                torch.from_numpy(np.stack([bands for bands, _ in parts])),
                torch.from_numpy(np.stack([codes for _, codes in parts]).astype(np.int64) - 1),
            )

    def _part(self, whole: Picture, draw: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        picture, codes = whole
        where = []
        for length in codes.shape:
            most = min(length, PATCH_PX)
            size = int(draw.integers(min(LEAST_PX, most), most + 1))
            first = int(draw.integers(length - size + 1))
            where.append(slice(first, first + size))
        part, known = picture[:, *where].astype(np.float32), codes[*where]
        if self.epoch is not None:
            part, known = augmented(part, known, self.data.spec, draw)
        bands, numbers = np.zeros((len(part), PATCH_PX, PATCH_PX), np.float32), np.zeros((PATCH_PX, PATCH_PX), np.uint8)
        rows, columns = (slice(0, size) for size in known.shape)
        bands[:, rows, columns] = channel_norm(part, 0)
        numbers[rows, columns] = known
        return bands, numbers


def train_mask_network(
    encoder: str, data: MaskTrainingData, options: TrainerOptions, said: str, tell: Tell | None = None
) -> tuple[bytes, dict[str, Any]]:
    """A safetensors file of the weights of the lowest validation loss, with what is `said` of them in its metadata; and how they came to be."""
    torch.manual_seed(data.seed)
    network = smp.Unet(
        encoder_name=encoder, encoder_weights=None, in_channels=len(MODEL_BANDS), classes=len(MODEL_CAUSES)
    )
    hasten_statistics(network)
    classifier = PixelClassifier(
        network,
        data.spec,
        lambda epoch, *_: MaskReader(data, epoch),
        torch.ones(len(MODEL_CAUSES)),
        data.seed,
        said,
    )
    fit(classifier, options, tell)
    state = {name: value.contiguous() for name, value in classifier.best.items()}
    return save(state, {OWN: said}), classifier.told()
