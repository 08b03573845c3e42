"""A trained network of whole chips as a file of plain arrays, and what it says of chips side by side in a window."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flows.steps.networks.blending import Forward, blended
from flows.steps.networks.network import bands_of, with_margin
from flows.steps.networks.weights_file import (
    MEAN,
    STD,
    Arrays,
    SavedNetwork,
    check_shapes,
    unreadable,
    weights_of,
)
from products.errors import RequestError
from products.learning.chip_means import chip_means
from products.learning.chip_spec import Head
from products.learning.learned import Shape
from products.learning.patches import PatchLattice

KIND = "chips"
BATCH = 32  # every batch has this size, zeros fill the last: what a chip is given does not depend on how many are asked
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ChipNetwork(SavedNetwork):
    """Weights by name, and what is needed to use them. A map of it has squares of `size_px` on one lattice over the plane."""

    HEADER: ClassVar[tuple[str, ...]] = (
        "kind",
        "encoder",
        "depth",
        "size_px",
        "head",
        "feature_names",
        "class_names",
    )
    kind: ClassVar[str] = KIND
    encoder: str
    depth: int
    size_px: int
    head: Head
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]

    def probabilities(self, chips: Floats) -> Floats:
        """(n, class) probability of each class, or where the head learned shares the share of each, of chips (n, feature, y, x)."""
        if chips.shape[1] != len(self.feature_names):
            raise RequestError(f"the network needs {len(self.feature_names)} features, got {chips.shape[1]}")
        bands = bands_of(chips, self.mean, self.std)
        found, batch = (
            np.empty((len(chips), len(self.class_names)), np.float32),
            np.zeros_like(bands[:1]).repeat(BATCH, 0),
        )
        for start in range(0, len(chips), BATCH):
            part = bands[start : start + BATCH]
            batch[: len(part)], batch[len(part) :] = part, 0
            found[start : start + len(part)] = self.shares(batch)[: len(part)]
        return found

    @property
    def margin_px(self) -> int:
        """How far around a window its chips reach."""
        return self._lattice.margin_px

    def probabilities_of_window(self, features: Floats, margin_px: int = 0, row: int = 0, column: int = 0) -> Floats:
        """(class, y, x) of a window (feature, y, x) with a margin around it: each pixel has what its chip is given; NaN where it lacks all features."""
        if features.shape[0] != len(self.feature_names):
            raise RequestError(f"the network needs {len(self.feature_names)} features, got {features.shape[0]}")
        bands = bands_of(with_margin(features, margin_px, self.margin_px), self.mean, self.std)

        def forward(chips: Floats) -> Floats:
            return self.shares(chips)[:, :, None, None]

        return blended(bands, (row, column), self._lattice, forward, len(self.class_names), BATCH)

    def looked_at(self, features: Floats, margin_px: int, row: int, column: int) -> Floats:
        """(feature, y, x) means of the chip of each pixel of a window: what tells whether its chips are like those that were trained on."""
        whole = with_margin(features, margin_px, self.margin_px)
        has_any = np.isfinite(whole).any(axis=0, keepdims=True).astype(np.float32)
        forward: Forward = lambda chips: chip_means(chips[:, :-1])[:, :, None, None]  # noqa: E731
        return blended(np.concatenate([whole, has_any]), (row, column), self._lattice, forward, len(whole), BATCH)

    def describe(self) -> str:
        """What it is, in words."""
        says = "the most frequent class" if self.head == "classes" else "the share of each class"
        return f"a {self.encoder} ({self.n_weights:,} weights) that says {says} of chips of {self.size_px} px"

    def shape(self) -> Shape:
        """Chips of features in, chips by classes out."""
        side = {"height": self.size_px, "width": self.size_px}
        inputs = {"batch": -1, "channel": len(self.feature_names), **side}
        task = "scene-classification" if self.head == "classes" else "regression"
        return Shape(self.encoder, task, inputs, {"batch": -1, "class": len(self.class_names)})

    def untrained(self) -> Any:  # noqa: ANN401
        """A torch module of its architecture, with any weights, on the CPU."""
        from flows.steps.networks.chip_architecture import ChipArchitecture, untrained_chips

        shape = ChipArchitecture(self.encoder, self.depth, len(self.feature_names) + 1, len(self.class_names))
        return untrained_chips(shape)

    @property
    def _lattice(self) -> PatchLattice:
        return PatchLattice(self.size_px, 0)


def chip_network_of(header: Mapping[str, Any], arrays: Arrays, origin: str) -> ChipNetwork:
    """The network of what was read of a file, the name and shape of each array checked; RequestError for anything else."""
    from flows.steps.networks.chip_architecture import ChipArchitecture, chip_shapes

    try:
        encoder, depth, size_px, head = str(header["encoder"]), header["depth"], header["size_px"], header["head"]
        features, classes = tuple(header["feature_names"]), tuple(header["class_names"])
        if not (depth in (3, 4, 5) and isinstance(size_px, int) and size_px > 0 and head in ("classes", "shares")):
            raise ValueError(f"depth {depth}, size_px {size_px} and head {head} are no network of chips")
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(origin, error) from error
    n, weights = len(features), weights_of(arrays)
    expected = chip_shapes(ChipArchitecture(encoder, depth, n + 1, len(classes))) | {MEAN: (n,), STD: (n,)}
    own = {MEAN: arrays[MEAN], STD: arrays[STD]}
    check_shapes({**weights, **own}, expected, f"network of chips with {encoder}", origin)
    return ChipNetwork(
        encoder, depth, size_px, head, features, classes, mean=arrays[MEAN], std=arrays[STD], weights=weights
    )
