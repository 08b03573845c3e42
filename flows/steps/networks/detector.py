"""RetinaNets of torchvision on pictures of any number of bands, and their file of plain arrays."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torchvision.models import resnet
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from flows.steps.networks.weights_file import (
    KEY,
    MEAN,
    PREFIX,
    STD,
    check_shapes,
    filled,
    header_and_arrays,
    unreadable,
    weights_of,
)
from products.learning.array_file import arrays_digest
from products.learning.box_recipe import NOT_OF_BOXES, RetinanetSpec
from products.learning.boxes import BoxedPicture
from products.learning.detection_scores import Detections

FORMAT = "neocube-detector-2"
PYRAMID_CHANNELS = 64
ENCODER_LEVELS = 4  # strides of 4, 8, 16 and 32 pixels; a fifth, of 64, is the last one thinned
HEAD_CONVOLUTIONS = 2  # of 4 in torchvision: half the time of a step, and the sooner learned from random weights
HEAD_GROUPS = 8  # of channels, normalised together as in retinanet_resnet50_fpn_v2 of torchvision
RATIOS, OCTAVES = (1 / 3, 0.6, 1.0, 1 / 0.6, 3.0), (1.0, 2**0.5)  # height by width, and sizes of a level
LEAST_CONFIDENCE = 0.05
Floats = NDArray[np.float32]


class UnscaledTransform(GeneralizedRCNNTransform):
    """What torchvision does to pictures before and to boxes after, at one scale: its own skips resizing in training only."""

    def resize(
        self, image: torch.Tensor, target: dict[str, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor] | None]:
        """Both unchanged."""
        return image, target


def untrained_detector(spec: RetinanetSpec, n_bands: int, n_classes: int) -> RetinaNet:
    """The network with random weights: bands (band, y, x) in, boxes of classes 1 to `n_classes` out."""
    body = getattr(resnet, spec.encoder)(weights=None)
    body.conv1 = torch.nn.Conv2d(n_bands, 64, kernel_size=7, stride=2, padding=3, bias=False)
    deepest = body.inplanes
    used = range(min(spec.levels, ENCODER_LEVELS))
    layers = {f"layer{number + 1}": str(number) for number in used}
    channels = [deepest // 2 ** (ENCODER_LEVELS - 1 - number) for number in used]
    pyramid = BackboneWithFPN(body, layers, channels, PYRAMID_CHANNELS)
    if spec.levels <= ENCODER_LEVELS:
        pyramid.fpn.extra_blocks = None
    sides = tuple(
        tuple(spec.anchor_px * spec.zoom * 2**level * part for part in OCTAVES) for level in range(spec.levels)
    )
    anchors = AnchorGenerator(sides, (RATIOS,) * spec.levels)
    network = RetinaNet(
        pyramid, n_classes + 1, anchor_generator=anchors, head=_head(n_classes), score_thresh=LEAST_CONFIDENCE
    )
    network.transform = UnscaledTransform(0, 0, [0.0] * n_bands, [1.0] * n_bands)
    return network


def _head(n_classes: int) -> RetinaNetHead:
    """The head of torchvision, shorter, whose boxes are judged by their generalised intersection over union (Rezatofighi et al. 2019, CVPR, 658-666)."""
    norm = partial(torch.nn.GroupNorm, HEAD_GROUPS)
    head = RetinaNetHead(PYRAMID_CHANNELS, len(RATIOS) * len(OCTAVES), n_classes + 1, norm_layer=norm)
    for part in (head.classification_head, head.regression_head):
        part.conv = part.conv[:HEAD_CONVOLUTIONS]
        for layer in part.conv.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    head.regression_head._loss_type = "giou"  # as retinanet_resnet50_fpn_v2 of torchvision sets it
    return head


@dataclass(frozen=True)
class Detector:
    """Weights by name, and what is needed to use them."""

    spec: RetinanetSpec
    class_names: tuple[str, ...]
    mean: Floats
    std: Floats
    weights: Mapping[str, NDArray[Any]]

    def digest(self) -> str:
        """SHA-256 of architecture, classes and arrays."""
        return arrays_digest([self._header], self._arrays)

    def to_bytes(self) -> bytes:
        """A safetensors file: arrays, and a JSON text under `neocube` in its metadata. The same bytes for the same detector."""
        return save(self._arrays, {KEY: self._header})

    def describe(self) -> str:
        """What it is, in words."""
        n = sum(array.size for array in self.weights.values())
        zoom = self.spec.zoom
        scale = f"enlarged {zoom} times" if zoom >= 1 else f"shrunk {round(1 / zoom)} times"
        return f"a RetinaNet with {self.spec.encoder} ({n:,} weights), pictures {scale}"

    def found(self, picture: BoxedPicture) -> tuple[Detections, NDArray[np.int64]]:
        """The boxes of a picture, true and found ones with their confidence, and the class codes of the found, (n,)."""
        bands = normalised(rescaled(picture.bands, self.spec.zoom), self.mean, self.std)
        with torch.inference_mode():
            (said,) = self._network([torch.from_numpy(bands)])
        boxes = said["boxes"].numpy().astype(np.float64) / self.spec.zoom
        confidence = said["scores"].numpy().astype(np.float64)
        return Detections(picture.boxes, boxes, confidence), said["labels"].numpy().astype(np.int64)

    @property
    def _header(self) -> str:
        said = {
            "format": FORMAT,
            "class_names": self.class_names,
            "retinanet": self.spec.model_dump(mode="json", exclude=NOT_OF_BOXES),
        }
        return json.dumps(said)

    @property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        own = {MEAN: self.mean, STD: self.std}
        return own | {f"{PREFIX}{name}": np.asarray(self.weights[name], order="C") for name in sorted(self.weights)}

    @cached_property
    def _network(self) -> RetinaNet:
        return filled(partial(untrained_detector, self.spec, len(self.mean), len(self.class_names)), self.weights)


def detector_from_bytes(content: bytes, origin: str) -> Detector:
    """The detector of a file, the name and shape of each array checked; RequestError for anything else."""
    header, arrays = header_and_arrays(content, origin, FORMAT)
    try:
        spec, names = RetinanetSpec.model_validate(header["retinanet"]), tuple(header["class_names"])
        mean, std = arrays[MEAN], arrays[STD]
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(origin, error) from error
    weights, own = weights_of(arrays), untrained_detector(spec, len(mean), len(names)).state_dict()
    shapes = {name: tuple(each.shape) for name, each in own.items()} | {STD: mean.shape}
    check_shapes({**weights, STD: std}, shapes, spec.encoder, origin)
    return Detector(spec, names, mean, std, weights)


def normalised(bands: Floats, mean: Floats, std: Floats) -> Floats:
    """Bands (band, y, x) less mean and divided by standard deviation, 0 where missing."""
    return np.nan_to_num((bands - mean[:, None, None]) / std[:, None, None], nan=0.0).astype(np.float32)


def rescaled(bands: Floats, zoom: float) -> Floats:
    """Bands (band, y, x) with every pixel repeated `zoom` times in each direction; below 1, the mean of what is known of each square of 1 / `zoom` pixels.

    NaN where nothing is known. Squares at the right and lower edge may reach beyond the picture.
    """
    if zoom >= 1:
        return bands.repeat(int(zoom), axis=1).repeat(int(zoom), axis=2)
    side = round(1 / zoom)
    n, rows, columns = bands.shape
    padded = np.pad(bands, ((0, 0), (0, -rows % side), (0, -columns % side)), constant_values=np.nan)
    squares = padded.reshape(n, padded.shape[1] // side, side, padded.shape[2] // side, side)
    count = np.isfinite(squares).sum(axis=(2, 4))
    total = np.nansum(squares, axis=(2, 4), dtype=np.float64)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(np.float32)
