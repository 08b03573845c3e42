"""Networks of whole chips: any encoder of segmentation-models-pytorch, and a head that joins its deepest features."""

from dataclasses import dataclass
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch.nn import AdaptiveAvgPool2d, Dropout, Flatten, Linear, Sequential

from flows.steps.networks.architecture import check_encoder, hasten_statistics
from products.errors import RequestError

PROBE_PX = 64


@dataclass(frozen=True, slots=True)
class ChipArchitecture:
    """What decides the shape of every array of a network."""

    encoder: str
    depth: int
    n_bands: int
    n_classes: int


class ChipNet(torch.nn.Module):
    """Bands (n, band, y, x) to logits (n, class); stages of its encoder can be frozen."""

    def __init__(self, architecture: ChipArchitecture, hub_weights: str | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        check_encoder(architecture.encoder)
        self.encoder: Any = smp.encoders.get_encoder(
            architecture.encoder, in_channels=architecture.n_bands, depth=architecture.depth, weights=hub_weights
        )
        hasten_statistics(self.encoder)
        width = self.encoder.out_channels[-1]
        self.head = Sequential(AdaptiveAvgPool2d(1), Flatten(), Dropout(dropout), Linear(width, architecture.n_classes))
        self.n_bands = architecture.n_bands
        self.still: list[torch.nn.Module] = []

    def forward(self, bands: torch.Tensor) -> torch.Tensor:
        """(n, class) logits."""
        found: torch.Tensor = self.head(self.encoder(bands)[-1])
        return found

    def freeze(self, n_stages: int) -> None:
        """Keep the weights of the first stages of the encoder, the statistics of their batch normalisation too; let all others learn."""
        frozen = self._weights_before(n_stages)
        for weight in self.parameters():
            weight.requires_grad_(id(weight) not in frozen)
        parts = [part for part in self.encoder.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
        self.still = [part for part in parts if all(id(weight) in frozen for weight in part.parameters())]
        self.train(self.training)

    def train(self, mode: bool = True) -> "ChipNet":
        """Frozen batch normalisation stays as it is asked, not as it learns."""
        super().train(mode)
        for part in self.still:
            part.eval()
        return self

    def _weights_before(self, n_stages: int) -> set[int]:
        """The ids of the weights that decide what a stage gives, those of earlier stages among them."""
        if n_stages == 0:
            return set()
        weights = list(self.encoder.parameters())
        for weight in weights:
            weight.requires_grad_(True)
        was, probe = self.training, torch.zeros(1, self.n_bands, PROBE_PX, PROBE_PX, device=weights[0].device)
        given = self.encoder.eval()(probe)[n_stages].sum()
        self.train(was)
        gradients = torch.autograd.grad(given, weights, allow_unused=True)
        return {id(weight) for weight, gradient in zip(weights, gradients, strict=True) if gradient is not None}


def untrained_chips(architecture: ChipArchitecture, hub_weights: str | None = None, dropout: float = 0.0) -> ChipNet:
    """The network with random weights, its encoder's perhaps from the hub; RequestError for an encoder that cannot have the depth."""
    try:
        return ChipNet(architecture, hub_weights, dropout)
    except (NotImplementedError, KeyError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(
            f"the encoder {architecture.encoder} cannot have {architecture.depth} stages: {error}; take a resnet"
        ) from error


def chip_shapes(architecture: ChipArchitecture) -> dict[str, tuple[int, ...]]:
    """The name and shape of every array of a network."""
    return {name: tuple(array.shape) for name, array in untrained_chips(architecture).state_dict().items()}
