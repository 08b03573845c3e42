"""A trained network over time: a model of single pixels, asked with the series of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flows.steps.networks.weights_file import (
    MEAN,
    STD,
    Arrays,
    SavedNetwork,
    check_shapes,
    unreadable,
    weights_of,
)
from products.learning.learned import Float32, Float64, PixelModel, Shape
from products.learning.temporal_spec import TEMPORAL_SPECS, TemporalKind

BATCH = (
    4096  # every batch has this size, zeros fill the last: what a pixel is given does not depend on how many are asked
)
KIND_NAMES: dict[TemporalKind, str] = {"tempcnn": "TempCNN", "ltae": "L-TAE"}


@dataclass(frozen=True)
class TemporalNetwork(SavedNetwork, PixelModel):
    """Weights by name; `feature_names` are the layers of the first step, then those of the second, ….

    `mean` and `std` of each layer, over all steps: its course in time stays as it is. A pixel that lacks a value at a step has no class.
    """

    kind: TemporalKind
    sizes: Mapping[str, int]
    n_steps: int
    HEADER: ClassVar[tuple[str, ...]] = ("kind", "sizes", "n_steps", "feature_names", "class_names")
    ARCHITECTURE: ClassVar[str] = "network over time"
    USES_ALL_CORES: ClassVar[bool] = True

    def votes(self, features: Float32) -> tuple[Float64, float]:
        """(n, class) probabilities, which add up to one."""
        series = series_of(features.T, self.n_steps, self.mean, self.std)
        found = np.empty((len(series), len(self.class_names)))
        batch = np.zeros((BATCH, *series.shape[1:]), np.float32)
        for start in range(0, len(series), BATCH):
            part = series[start : start + BATCH]
            batch[: len(part)], batch[len(part) :] = part, 0
            found[start : start + len(part)] = self.shares(batch, "float64")[: len(part)]
        return found, 1.0

    def describe(self) -> str:
        """What it is, in words."""
        name, n_layers = KIND_NAMES[self.kind], self.mean.size
        return f"a {name} ({self.n_weights:,} weights) on series of {self.n_steps} steps of {n_layers} layers"

    def shape(self) -> Shape:
        """Series in, pixels by classes out."""
        inputs = {"batch": -1, "time": self.n_steps, "channel": self.mean.size}
        return Shape(KIND_NAMES[self.kind], "classification", inputs, {"batch": -1, "class": len(self.class_names)})

    def untrained(self) -> Any:  # noqa: ANN401
        """A torch module of its architecture, with any weights, on the CPU."""
        from flows.steps.networks.temporal_architecture import TemporalArchitecture, untrained_temporal

        shape = TemporalArchitecture(self.kind, self.sizes, self.mean.size, self.n_steps, len(self.class_names))
        return untrained_temporal(shape)

    @property
    def _header(self) -> dict[str, Any]:
        return super()._header | {"sizes": dict(sorted(self.sizes.items()))}


def series_of(features: Float32, n_steps: int, mean: Float32, std: Float32) -> Float32:
    """(n, layer, step) normalised, of features (n, step and layer)."""
    steps = features.reshape(len(features), n_steps, mean.size) - mean
    steps /= std
    return np.ascontiguousarray(steps.transpose(0, 2, 1), dtype=np.float32)


def temporal_of(header: Mapping[str, Any], arrays: Arrays, origin: str) -> TemporalNetwork:
    """The network of what was read of a file, the name and shape of each array checked; RequestError for anything else."""
    from flows.steps.networks.temporal_architecture import TemporalArchitecture, temporal_shapes

    try:
        kind, n_steps = header["kind"], int(header["n_steps"])
        sizes = TEMPORAL_SPECS[kind].model_validate(header["sizes"]).sizes
        features, classes = tuple(header["feature_names"]), tuple(header["class_names"])
        n_layers, rest = divmod(len(features), n_steps)
        if rest or not n_layers:
            raise ValueError(f"{len(features)} features are no series of {n_steps} steps")
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise unreadable(origin, error) from error
    weights, own = weights_of(arrays), {MEAN: arrays[MEAN], STD: arrays[STD]}
    shapes = temporal_shapes(TemporalArchitecture(kind, sizes, n_layers, n_steps, len(classes)))
    expected = shapes | {MEAN: (n_layers,), STD: (n_layers,)}
    check_shapes({**weights, **own}, expected, f"{kind} of {n_steps} steps", origin)
    return TemporalNetwork(features, classes, kind, sizes, n_steps, mean=arrays[MEAN], std=arrays[STD], weights=weights)
