"""A network over time learned from the series of labelled pixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flows.steps.networks.lightning_module import PixelClassifier
from flows.steps.networks.patch_reader import Batch
from flows.steps.networks.temporal_architecture import TemporalArchitecture, untrained_temporal
from flows.steps.networks.temporal_network import TemporalNetwork, series_of
from flows.steps.networks.training_loop import Tell, TrainerOptions, fit
from products.errors import RequestError
from products.learning.band_statistics import class_weights, mean_and_std
from products.learning.patches import share_of
from products.learning.temporal_spec import TemporalKind, TemporalSpec

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]
Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class SeriesTrainingData:
    """What a network is to learn: `features` (n, step and layer), step after step, of class `code` (n,); `train` and `validation` rows."""

    kind: TemporalKind
    spec: TemporalSpec
    feature_names: tuple[str, ...]
    layer_names: tuple[str, ...]
    class_names: tuple[str, ...]
    features: Floats
    code: Codes
    train: Rows
    validation: Rows
    seed: int

    @property
    def n_steps(self) -> int:
        """Steps of a series."""
        return len(self.feature_names) // len(self.layer_names)


@dataclass(frozen=True)
class SeriesReader:
    """Batches of an epoch, series (n, layer, step) and class numbers from 0, in an order; what fills no batch is left out unless `is_whole`."""

    series: torch.Tensor
    numbers: torch.Tensor
    order: NDArray[np.int64]
    batch: int
    is_whole: bool

    def __len__(self) -> int:
        return -(-self.order.size // self.batch) if self.is_whole else self.order.size // self.batch

    def __iter__(self) -> Iterator[Batch]:
        for number in range(len(self)):
            chosen = torch.from_numpy(self.order[number * self.batch : (number + 1) * self.batch])
            yield self.series[chosen], self.numbers[chosen]


def train_temporal(
    data: SeriesTrainingData, options: TrainerOptions, training_id: str, tell: Tell | None = None
) -> tuple[TemporalNetwork, dict[str, Any]]:
    """The network of the lowest validation loss, and how it came to be: losses by epoch."""
    spec, n_steps, n_layers = data.spec, data.n_steps, len(data.layer_names)
    n_train = int(data.train.sum())
    if n_train < spec.batch * options.devices * options.nodes or not data.validation.any():
        raise RequestError(
            f"{data.kind} has {n_train} pixels to train on and {int(data.validation.sum())} to validate with: expected a batch of "
            f"{spec.batch} or more for each device, and some; lower batch, block_m or buffer_m, or label more places"
        )
    steps = data.features[data.train].reshape(-1, n_layers).T[:, None]
    mean, std = mean_and_std([(steps, np.ones(steps.shape[1:], np.bool_))], data.layer_names)
    weights = class_weights([data.code[data.train]], data.class_names)
    shape = TemporalArchitecture(data.kind, spec.sizes, n_layers, n_steps, len(data.class_names))
    torch.manual_seed(data.seed)
    series = torch.from_numpy(series_of(data.features, n_steps, mean, std))
    numbers = torch.from_numpy(data.code.astype(np.int64) - 1)

    def reader(epoch: int | None, rank: int, world: int) -> SeriesReader:
        rows = np.flatnonzero(data.validation if epoch is None else data.train)
        if epoch is not None:
            rows = np.random.default_rng([data.seed, epoch]).permutation(rows)
        return SeriesReader(series, numbers, share_of(rows, rank, world), spec.batch, is_whole=epoch is None)

    classifier = PixelClassifier(
        untrained_temporal(shape, spec.dropout), spec, reader, torch.from_numpy(weights), data.seed, training_id
    )
    fit(classifier, options, tell)
    best = {name: value.numpy() for name, value in classifier.best.items()}
    network = TemporalNetwork(
        data.feature_names, data.class_names, data.kind, spec.sizes, n_steps, mean=mean, std=std, weights=best
    )
    return network, classifier.told()
