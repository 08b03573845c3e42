"""A network learned from cells and their ground: what the loop is given, and what it gives."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flows.steps.networks.architecture import Architecture
from flows.steps.networks.lightning_module import PixelClassifier
from flows.steps.networks.network import Network
from flows.steps.networks.patch_reader import CellsHeld, PatchPlaces, PatchReader, ReadingTime
from flows.steps.networks.start_weights import begun
from flows.steps.networks.training_loop import Tell, TrainerOptions, fit
from products.learning.band_statistics import class_weights, mean_and_std
from products.learning.network_spec import Kind, NetworkSpec
from products.learning.patches import epoch_order
from products.learning.training_ground import CellGround

Floats = NDArray[np.float32]
SHARE_OF_VALIDATION = 4  # an epoch's patches divided by the patches that validate it


@dataclass(frozen=True)
class TrainingData:
    """What a network is to learn: from `read(number)`, the features of a cell (feature, y, x), on the `ground` of each."""

    kind: Kind
    spec: NetworkSpec
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    read: Callable[[int], Floats]
    ground: Sequence[CellGround]
    seed: int


def train_network(
    data: TrainingData, options: TrainerOptions, training_id: str, tell: Tell | None = None
) -> tuple[Network, dict[str, Any]]:
    """The network of the lowest validation loss, and how it came to be: losses by epoch, patches a second, the reader's own rate."""
    spec, started = data.spec, time.perf_counter()
    told = ReadingTime()
    mean, std = mean_and_std(((data.read(n), each.is_free) for n, each in enumerate(data.ground)), data.feature_names)
    weights = class_weights((each.train.codes for each in data.ground), data.class_names)
    shape = Architecture(data.kind, spec.encoder, spec.depth, len(data.feature_names) + 1, len(data.class_names))
    reader_of = _readers(data, mean, std, told)
    classifier = PixelClassifier(
        begun(shape, spec, data.seed), spec, reader_of, torch.from_numpy(weights), data.seed, training_id
    )
    fit(classifier, options, tell)
    best = {name: value.numpy() for name, value in classifier.best.items()}
    network = Network(
        data.kind, spec.encoder, spec.depth, spec.patch_px, spec.overlap_px, data.feature_names, data.class_names,
        mean=mean, std=std, weights=best,
    )  # fmt: skip
    return network, _told(classifier, told, time.perf_counter() - started)


def _readers(
    data: TrainingData, mean: Floats, std: Floats, told: ReadingTime
) -> Callable[[int | None, int, int], PatchReader]:
    """By epoch (None: validation), rank and number of processes."""
    cells, spec = CellsHeld(data.read), data.spec
    parts = {
        is_train: [each.train if is_train else each.validation for each in data.ground] for is_train in (True, False)
    }
    places = {is_train: PatchPlaces.of([part.places for part in part_of]) for is_train, part_of in parts.items()}

    def reader(epoch: int | None, rank: int, world: int) -> PatchReader:
        is_train = epoch is not None
        wanted = spec.patches if is_train else max(spec.batch * world, spec.patches // SHARE_OF_VALIDATION)
        order = epoch_order(places[is_train].size, wanted, data.seed, 0 if epoch is None else epoch + 1)
        codes = [part.codes for part in parts[is_train]]
        return PatchReader(cells, codes, places[is_train], order, spec, mean, std, data.seed, epoch, told, rank, world)

    return reader


def _told(classifier: PixelClassifier, told: ReadingTime, seconds: float) -> dict[str, Any]:
    """JSON-able; a rate is None where a resumed training had nothing left to do."""
    return {
        **classifier.told(),
        "patches_per_s": round(told.patches / seconds, 1) if told.patches else None,
        "reader_patches_per_s": told.patches_per_s,
    }
