"""An encoder learned without labels, from patches whose masked squares it fills in."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flows.steps.networks.architecture import Architecture, untrained
from flows.steps.networks.encoder_file import Encoder
from flows.steps.networks.lightning_module import PixelClassifier
from flows.steps.networks.network import bands_of
from flows.steps.networks.patch_reader import Batch, CellsHeld, PatchPlaces, by_groups_of_cells
from flows.steps.networks.training_loop import Tell, TrainerOptions, fit
from products.errors import RequestError
from products.learning.augmentation import augmented
from products.learning.band_statistics import mean_and_std
from products.learning.masked_spec import MaskedSpec
from products.learning.masking import drawn_mask
from products.learning.patches import batches, epoch_order, share_of

Floats = NDArray[np.float32]
Places = NDArray[np.int32]
SHARE_OF_VALIDATION = 4  # an epoch's patches divided by the patches that validate it


@dataclass(frozen=True)
class MaskedTrainingData:
    """What an encoder is to learn: `read(number)` gives the features of a cell (feature, y, x); places of patches by cell."""

    spec: MaskedSpec
    feature_names: tuple[str, ...]
    read: Callable[[int], Floats]
    train: Sequence[Places]
    validation: Sequence[Places]
    seed: int


@dataclass(frozen=True)
class MaskedReader:
    """Batches of an epoch: bands (n, band, y, x) that lack what is masked, and normalised features (n, feature, y, x) that are to be told, NaN elsewhere."""

    cells: CellsHeld
    places: PatchPlaces
    order: NDArray[np.int64]
    data: MaskedTrainingData
    mean: Floats
    std: Floats
    epoch: int | None

    def __len__(self) -> int:
        return self.order.size // self.data.spec.batch

    def __iter__(self) -> Iterator[Batch]:
        order = by_groups_of_cells(self.order, self.places.cell, self.data.seed, self.epoch or 0)
        for chosen in batches(order, self.data.spec.batch):
            patches = [self._patch(int(number)) for number in chosen]
            given = np.stack([features for features, _ in patches])
            hidden = np.stack([mask for _, mask in patches])[:, None]
            bands = bands_of(np.where(hidden, np.float32(np.nan), given), self.mean, self.std)
            told = np.where(hidden, (given - self.mean[:, None, None]) / self.std[:, None, None], np.float32(np.nan))
            yield torch.from_numpy(bands), torch.from_numpy(told.astype(np.float32))

    def _patch(self, number: int) -> tuple[Floats, NDArray[np.bool_]]:
        spec, side = self.data.spec, self.data.spec.patch_px
        row, column = int(self.places.row[number]), int(self.places.column[number])
        features = self.cells[int(self.places.cell[number])][:, row : row + side, column : column + side]
        draw = np.random.default_rng([self.data.seed, 0 if self.epoch is None else self.epoch + 1, number])
        if self.epoch is not None:
            features = augmented(features, np.zeros((side, side), np.uint8), spec, draw)[0]
        return features, drawn_mask(spec, draw)


class MaskedFiller(PixelClassifier):
    """The training loop with the mean absolute error of hidden values as its loss."""

    def _loss(self, batch: Batch, part: str) -> torch.Tensor:
        bands, told = batch
        is_asked = torch.isfinite(told)
        error = (self.network(bands).float() - torch.where(is_asked, told, 0)).abs() * is_asked
        n = is_asked.sum().clamp(min=1)
        loss = error.sum() / n
        self._sums[part][0] += float(loss.detach()) * float(n)
        self._sums[part][1] += float(n)
        return loss


def pretrain(
    data: MaskedTrainingData, options: TrainerOptions, training_id: str, tell: Tell | None = None
) -> tuple[Encoder, dict[str, Any]]:
    """The encoder of the lowest validation loss, and how it came to be: losses in standard deviations, and that of filling in the mean."""
    spec, cells = data.spec, CellsHeld(data.read)
    for name, of_cells in (("learn from", data.train), ("validate with", data.validation)):
        if sum(map(len, of_cells)) == 0:
            raise RequestError(
                f"no patch of {spec.patch_px} px to {name} fits between the blocks of {spec.block_m:g} m: change block_m or seed, lower patch_px, or "
                "take a wider area"
            )
    mean, std = mean_and_std(
        ((values, np.ones(values.shape[1:], np.bool_)) for values in map(data.read, range(len(data.train)))),
        data.feature_names,
    )
    n_bands = len(data.feature_names) + 1
    torch.manual_seed(data.seed)
    module: Any = untrained(Architecture("unet", spec.encoder, spec.depth, n_bands, n_bands - 1))
    places = {is_train: PatchPlaces.of(data.train if is_train else data.validation) for is_train in (True, False)}

    def reader(epoch: int | None, rank: int, world: int) -> MaskedReader:
        is_train = epoch is not None
        wanted = spec.patches if is_train else max(spec.batch * world, spec.patches // SHARE_OF_VALIDATION)
        order = epoch_order(places[is_train].size, wanted, data.seed, 0 if epoch is None else epoch + 1)
        return MaskedReader(cells, places[is_train], share_of(order, rank, world), data, mean, std, epoch)

    filler = MaskedFiller(module, spec, reader, torch.ones(1), data.seed, training_id)
    fit(filler, options, tell)
    weights = {
        name.removeprefix("encoder."): value.numpy()
        for name, value in filler.best.items()
        if name.startswith("encoder.")
    }
    return Encoder(spec.encoder, spec.depth, data.feature_names, weights), {
        **filler.told(),
        "validation": min(each["validation"] for each in filler.history),
        "by_mean": round(_error_of_mean(reader(None, 0, 1)), 6),
    }


def _error_of_mean(batches_of: MaskedReader) -> float:
    """The mean absolute error of filling in the mean, which is 0 as features are normalised."""
    told = torch.cat([told[torch.isfinite(told)].abs() for _, told in batches_of])
    return float(told.double().mean())
