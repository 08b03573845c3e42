"""The loop that trains a detector: crops of pictures with their boxes, and the loss of a RetinaNet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flows.steps.networks.detector import Detector, normalised, rescaled, untrained_detector
from flows.steps.networks.lightning_module import PixelClassifier
from flows.steps.networks.training_loop import Tell, TrainerOptions, fit
from products.learning.box_recipe import RetinanetSpec
from products.learning.boxes import BoxedPicture, crop, turned

Floats = NDArray[np.float32]
Target = dict[str, torch.Tensor]
BoxBatch = tuple[torch.Tensor, list[Target]]
BOX_WEIGHT = 2.0


def detection_loss(network: Any, bands: torch.Tensor, targets: list[Target]) -> torch.Tensor:  # noqa: ANN401
    """The focal loss of the classes, and that of the boxes BOX_WEIGHT times, whether or not the network is in training."""
    images, moved = network.transform(list(bands), targets)
    features = list(network.backbone(images.tensors).values())
    said = network.head(features)
    losses = network.compute_loss(moved, said, network.anchor_generator(images, features))
    both: torch.Tensor = losses["classification"] + BOX_WEIGHT * losses["bbox_regression"]
    return both


class BoxFinder(PixelClassifier):
    """The loop of the networks with the loss of a detector."""

    def _loss(self, batch: Any, part: str) -> torch.Tensor:  # noqa: ANN401
        bands, targets = batch
        loss = detection_loss(self.network, bands, targets)
        self._sums[part][0] += float(loss.detach()) * len(targets)
        self._sums[part][1] += len(targets)
        return loss


@dataclass(frozen=True)
class CropReader:
    """An epoch of crops of pictures, enlarged or shrunk, and normalised; `epoch` and `seed` decide where they lie, None those that say when to stop."""

    pictures: Sequence[BoxedPicture]
    spec: RetinanetSpec
    mean: Floats
    std: Floats
    seed: int
    epoch: int | None
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        wanted = self.spec.patches if self.epoch is not None else max(self.spec.batch, self.spec.patches // 4)
        return max(1, wanted // self.world // self.spec.batch)

    def __iter__(self) -> Iterator[BoxBatch]:
        size = self.spec.batch
        for number in range(len(self)):
            first = (number * self.world + self.rank) * size
            crops = [self._crop(first + place) for place in range(size)]
            bands = np.stack([normalised(rescaled(each.bands, self.spec.zoom), self.mean, self.std) for each in crops])
            yield torch.from_numpy(bands), [_target(each, self.spec.zoom) for each in crops]

    def _crop(self, number: int) -> BoxedPicture:
        draw = np.random.default_rng([self.seed, 0 if self.epoch is None else self.epoch + 1, number])
        picture = self.pictures[int(draw.integers(len(self.pictures)))]
        cut = crop(picture, self.spec.patch_px, draw)
        if self.epoch is None:
            return cut
        return turned(cut, "flip" in self.spec.augment, "rotate" in self.spec.augment, draw)


def train_detector(
    pictures: Sequence[BoxedPicture],
    spec: RetinanetSpec,
    class_names: tuple[str, ...],
    seed: int,
    options: TrainerOptions,
    training_id: str,
    tell: Tell | None = None,
) -> tuple[Detector, dict[str, Any]]:
    """The detector of the lowest loss on unturned crops of the same pictures, and how it came to be: `epochs`, and `losses` by epoch."""
    values = [picture.bands.reshape(len(picture.bands), -1).astype(np.float64) for picture in pictures]
    joined = np.concatenate(values, axis=1)
    mean, std = np.nanmean(joined, axis=1).astype(np.float32), np.nanstd(joined, axis=1).astype(np.float32)
    std = np.where(std > 0, std, np.float32(1))
    torch.manual_seed(seed)
    network = untrained_detector(spec, len(mean), len(class_names))

    def reader(epoch: int | None, rank: int, world: int) -> Any:  # noqa: ANN401
        return CropReader(pictures, spec, mean, std, seed, epoch, rank, world)

    finder = BoxFinder(network, spec, reader, torch.ones(1), seed, training_id)
    fit(finder, options, tell)
    weights = {name: value.numpy() for name, value in finder.best.items()}
    return Detector(spec, class_names, mean, std, weights), {"epochs": len(finder.history), "losses": finder.history}


def _target(picture: BoxedPicture, zoom: float) -> Target:
    boxes = torch.from_numpy((picture.boxes * zoom).astype(np.float32)).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.from_numpy(picture.codes)}
