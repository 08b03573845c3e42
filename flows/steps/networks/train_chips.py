"""A network of whole chips learned from chips: an encoder that may have learned something else before, and a new head."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flows.steps.networks.chip_architecture import ChipArchitecture, ChipNet, untrained_chips
from flows.steps.networks.chip_network import ChipNetwork
from flows.steps.networks.lightning_module import PixelClassifier
from flows.steps.networks.network import bands_of
from flows.steps.networks.patch_reader import Batch
from flows.steps.networks.start_weights import begun_with
from flows.steps.networks.training_loop import Tell, TrainerOptions, fit
from products.errors import RequestError
from products.learning.augmentation import augmented
from products.learning.band_statistics import class_weights, mean_and_std
from products.learning.chip_spec import ChipSpec
from products.learning.patches import share_of

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]
Rows = NDArray[np.int64]
ReadChips = Callable[[Rows], Floats]
AT_ONCE = 64  # chips read for means


@dataclass(frozen=True)
class ChipTrainingData:
    """What a network is to learn: `read(numbers)` gives chips (n, feature, y, x), `shares` (n, class) what each is; numbers to train on and validate with."""

    spec: ChipSpec
    size_px: int
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    read: ReadChips
    shares: Floats
    train: Rows
    validation: Rows
    seed: int


@dataclass(frozen=True)
class ChipReader:
    """Batches of an epoch, bands (n, band, y, x) and what each chip is; of training what fills no batch is left out, and chips are turned by seed and epoch."""

    data: ChipTrainingData
    order: Rows
    targets: torch.Tensor
    mean: Floats
    std: Floats
    epoch: int | None

    def __len__(self) -> int:
        whole, rest = divmod(self.order.size, self.data.spec.batch)
        return whole + (self.epoch is None and rest > 0)

    def __iter__(self) -> Iterator[Batch]:
        size = self.data.spec.batch
        for number in range(len(self)):
            chosen = self.order[number * size : (number + 1) * size]
            chips = self.data.read(chosen)
            if self.epoch is not None:
                chips = np.stack([self._turned(chip, int(n)) for chip, n in zip(chips, chosen, strict=True)])
            yield torch.from_numpy(bands_of(chips, self.mean, self.std)), self.targets[torch.from_numpy(chosen)]

    def _turned(self, chip: Floats, number: int) -> Floats:
        draw = np.random.default_rng([self.data.seed, self.epoch or 0, number])
        return augmented(chip, np.zeros(chip.shape[1:], np.uint8), self.data.spec, draw)[0]


class ChipClassifier(PixelClassifier):
    """The training loop on whole chips; frozen stages keep their weights until they thaw."""

    spec: ChipSpec
    network: ChipNet

    def on_train_epoch_start(self) -> None:
        """Freezes and thaws by the number of the epoch, so that no state has to survive."""
        super().on_train_epoch_start()
        self.network.freeze(self.spec.frozen_stages(self.current_epoch))


def train_chips(
    data: ChipTrainingData, options: TrainerOptions, training_id: str, tell: Tell | None = None
) -> tuple[ChipNetwork, dict[str, Any]]:
    """The network of the lowest validation loss, and how it came to be: losses by epoch."""
    spec, n_classes = data.spec, len(data.class_names)
    if data.train.size < spec.batch * options.devices * options.nodes or data.validation.size == 0:
        raise RequestError(
            f"there are {data.train.size} chips to train on and {data.validation.size} to validate with: expected a batch of {spec.batch} "
            "or more for each device, and some; lower batch, block_m or buffer_m, or draw more chips"
        )
    mean, std = mean_and_std(_parts(data), data.feature_names)
    main = (data.shares.argmax(axis=1) + 1).astype(np.uint8)
    is_classes = spec.head == "classes"
    weights = class_weights([main[data.train]], data.class_names) if is_classes else np.ones(n_classes, np.float32)
    targets = torch.from_numpy(main.astype(np.int64) - 1 if is_classes else data.shares)
    shape = ChipArchitecture(spec.encoder, spec.depth, len(data.feature_names) + 1, n_classes)
    module = begun_with(lambda name: untrained_chips(shape, name, spec.dropout), spec.encoder, spec.weights, data.seed)

    def reader(epoch: int | None, rank: int, world: int) -> ChipReader:
        rows = data.validation if epoch is None else np.random.default_rng([data.seed, epoch]).permutation(data.train)
        return ChipReader(data, share_of(rows, rank, world), targets, mean, std, epoch)

    classifier = ChipClassifier(module, spec, reader, torch.from_numpy(weights), data.seed, training_id)
    fit(classifier, options, tell)
    best = {name: value.numpy() for name, value in classifier.best.items()}
    network = ChipNetwork(
        spec.encoder, spec.depth, data.size_px, spec.head, data.feature_names, data.class_names,
        mean=mean, std=std, weights=best,
    )  # fmt: skip
    return network, classifier.told()


def _parts(data: ChipTrainingData) -> Iterator[tuple[Floats, NDArray[np.bool_]]]:
    """The chips to train on as pixels side by side."""
    for start in range(0, data.train.size, AT_ONCE):
        chips = data.read(np.sort(data.train[start : start + AT_ONCE]))
        flat = chips.transpose(1, 0, 2, 3).reshape(chips.shape[1], len(chips), -1)
        yield flat, np.ones(flat.shape[1:], np.bool_)
