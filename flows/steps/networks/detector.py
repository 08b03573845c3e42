"""RetinaNets of torchvision on pictures of any number of bands: made, trained by the loop of the networks, kept as plain arrays."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torchvision.models import resnet
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from flows.steps.networks.lightning_module import PixelClassifier
from flows.steps.networks.training_loop import Tell, TrainingPlace, fit
from products.learning.box_recipe import RetinanetSpec
from products.learning.boxes import BoxedPicture, crop, turned
from products.learning.detection_scores import Detections

FORMAT = "neocube-detector-1"
KEY, MEAN, STD, PREFIX = "neocube", "normalise.mean", "normalise.std", "network."
LEVELS, PYRAMID_CHANNELS = 5, 128  # strides of 4, 8, 16, 32 and 64 pixels
RATIOS, OCTAVES = (0.5, 1.0, 2.0), (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
LEAST_CONFIDENCE = 0.05
Floats = NDArray[np.float32]
Target = dict[str, torch.Tensor]
BoxBatch = tuple[torch.Tensor, list[Target]]


def untrained_detector(spec: RetinanetSpec, n_bands: int, n_classes: int) -> RetinaNet:
    """The network with random weights: bands (band, y, x) in, boxes of classes 1 to `n_classes` out."""
    body = getattr(resnet, spec.encoder)(weights=None)
    body.conv1 = torch.nn.Conv2d(n_bands, 64, kernel_size=7, stride=2, padding=3, bias=False)
    deepest = body.inplanes
    layers = {f"layer{number + 1}": str(number) for number in range(4)}
    channels = [deepest // 8, deepest // 4, deepest // 2, deepest]
    pyramid = BackboneWithFPN(body, layers, channels, PYRAMID_CHANNELS, extra_blocks=LastLevelMaxPool())
    sides = tuple(tuple(spec.anchor_px * spec.zoom * 2**level * part for part in OCTAVES) for level in range(LEVELS))
    anchors = AnchorGenerator(sides, (RATIOS,) * LEVELS)
    return RetinaNet(
        pyramid, n_classes + 1, anchor_generator=anchors, image_mean=[0.0] * n_bands, image_std=[1.0] * n_bands,
        score_thresh=LEAST_CONFIDENCE, _skip_resize=True,
    )  # fmt: skip


def detection_loss(network: Any, bands: torch.Tensor, targets: list[Target]) -> torch.Tensor:  # noqa: ANN401
    """The focal loss of the classes and the distance of the boxes, whether or not the network is in training."""
    images, moved = network.transform(list(bands), targets)
    features = list(network.backbone(images.tensors).values())
    said = network.head(features)
    losses = network.compute_loss(moved, said, network.anchor_generator(images, features))
    return torch.stack(list(losses.values())).sum()


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
    """An epoch of crops of pictures, normalised and enlarged; `epoch` and `seed` decide where they lie, None those that say when to stop."""

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
            bands = np.stack([enlarged(normalised(each.bands, self.mean, self.std), self.spec.zoom) for each in crops])
            yield torch.from_numpy(bands), [_target(each, self.spec.zoom) for each in crops]

    def _crop(self, number: int) -> BoxedPicture:
        draw = np.random.default_rng([self.seed, 0 if self.epoch is None else self.epoch + 1, number])
        picture = self.pictures[int(draw.integers(len(self.pictures)))]
        cut = crop(picture, self.spec.patch_px, draw)
        if self.epoch is None:
            return cut
        return turned(cut, "flip" in self.spec.augment, "rotate" in self.spec.augment, draw)


@dataclass(frozen=True)
class Detector:
    """Weights by name, and what is needed to use them."""

    spec: RetinanetSpec
    class_names: tuple[str, ...]
    mean: Floats
    std: Floats
    weights: Mapping[str, NDArray[Any]]

    def to_bytes(self) -> bytes:
        """A safetensors file: arrays, and a JSON text under `neocube` in its metadata. The same bytes for the same detector."""
        said = {"format": FORMAT, "class_names": self.class_names, "retinanet": self.spec.model_dump(mode="json")}
        arrays = {f"{PREFIX}{name}": np.asarray(self.weights[name], order="C") for name in sorted(self.weights)}
        return save({MEAN: self.mean, STD: self.std} | arrays, {KEY: json.dumps(said)})

    def describe(self) -> str:
        """What it is, in words."""
        n = sum(array.size for array in self.weights.values())
        return f"a RetinaNet with {self.spec.encoder} ({n:,} weights), pictures enlarged {self.spec.zoom} times"

    def found(self, picture: BoxedPicture) -> tuple[Detections, NDArray[np.int64]]:
        """The boxes of a picture, true and found ones with their confidence, and the class codes of the found, (n,)."""
        bands = enlarged(normalised(picture.bands, self.mean, self.std), self.spec.zoom)
        with torch.inference_mode():
            (said,) = self._network([torch.from_numpy(bands)])
        boxes = said["boxes"].numpy().astype(np.float64) / self.spec.zoom
        confidence = said["scores"].numpy().astype(np.float64)
        return Detections(picture.boxes, boxes, confidence), said["labels"].numpy().astype(np.int64)

    @cached_property
    def _network(self) -> RetinaNet:
        network = untrained_detector(self.spec, len(self.mean), len(self.class_names))
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in self.weights.items()})
        return network.eval()


def train_detector(
    pictures: Sequence[BoxedPicture],
    spec: RetinanetSpec,
    class_names: tuple[str, ...],
    seed: int,
    place: TrainingPlace,
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
    fit(finder, place, tell)
    weights = {name: value.numpy() for name, value in finder.best.items()}
    return Detector(spec, class_names, mean, std, weights), {"epochs": len(finder.history), "losses": finder.history}


def normalised(bands: Floats, mean: Floats, std: Floats) -> Floats:
    """Bands (band, y, x) less mean and divided by standard deviation, 0 where missing."""
    return np.nan_to_num((bands - mean[:, None, None]) / std[:, None, None], nan=0.0).astype(np.float32)


def enlarged(bands: Floats, zoom: int) -> Floats:
    """Bands (band, y, x) with every pixel repeated `zoom` times in each direction."""
    return bands.repeat(zoom, axis=1).repeat(zoom, axis=2)


def _target(picture: BoxedPicture, zoom: int) -> Target:
    boxes = torch.from_numpy((picture.boxes * zoom).astype(np.float32)).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.from_numpy(picture.codes)}
