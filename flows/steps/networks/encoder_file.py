"""The file of an encoder that learned without labels: plain arrays by the names of segmentation-models-pytorch, which other trainers read as well."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.steps.networks.weights_file import Arrays, filled, header_and_arrays, unreadable, written
from products.learning.array_file import arrays_digest

ENCODER_FORMAT = "neocube-encoder-1"
HEADER = ("encoder", "depth", "feature_names")


@dataclass(frozen=True)
class Encoder:
    """Weights by name; its first layer takes the features in their order, normalised, and the share of features that a pixel has."""

    encoder: str
    depth: int
    feature_names: tuple[str, ...]
    weights: Mapping[str, NDArray[Any]]

    def describe(self) -> str:
        """What it is, in words."""
        n_weights = sum(array.size for array in self.weights.values())
        return f"the encoder {self.encoder} ({n_weights:,} weights, {self.depth} stages) of {len(self.feature_names)} features"

    def digest(self) -> str:
        """SHA-256 of names, architecture and arrays."""
        return arrays_digest([ENCODER_FORMAT, *self._header.values()], self._arrays)

    def to_bytes(self) -> bytes:
        """A safetensors file; the same bytes for the same encoder."""
        return written({"format": ENCODER_FORMAT, **self._header}, self._arrays)

    @cached_property
    def module(self) -> Any:  # noqa: ANN401
        """The encoder, ready to be asked, on the CPU; bands (n, band, y, x) to the features of each stage, the bands first."""
        from flows.steps.networks.architecture import Architecture, untrained

        shape = Architecture("unet", self.encoder, self.depth, len(self.feature_names) + 1, 1)
        return filled(lambda: untrained(shape).encoder, self.weights)

    @property
    def _header(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in HEADER}

    @property
    def _arrays(self) -> Arrays:
        return {name: np.asarray(self.weights[name], order="C") for name in sorted(self.weights)}


def encoder_from_bytes(content: bytes, origin: str) -> Encoder:
    """The encoder of a file; RequestError for anything else. Whether its arrays fit is seen where a network begins with them."""
    header, arrays = header_and_arrays(content, origin, ENCODER_FORMAT)
    try:
        return Encoder(str(header["encoder"]), int(header["depth"]), tuple(header["feature_names"]), arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(origin, error) from error
