"""Networks over time by name: convolutions along a series, and lightweight temporal attention."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import BatchNorm1d, Conv1d, Dropout, Flatten, LayerNorm, Linear, ReLU, Sequential

from products.learning.temporal_spec import TemporalKind

LONGEST_WAVE = 1000.0  # of the encoding of positions: T of Garnot and Landrieu 2020


@dataclass(frozen=True, slots=True)
class TemporalArchitecture:
    """What decides the shape of every array of a network; `sizes` are those of its kind in the recipe."""

    kind: TemporalKind
    sizes: Mapping[str, int]
    n_bands: int
    n_steps: int
    n_classes: int


def untrained_temporal(architecture: TemporalArchitecture, dropout: float = 0.0) -> torch.nn.Module:
    """The network with random weights; series (n, band, step) to logits (n, class)."""
    return {"tempcnn": _TempCnn, "ltae": _Ltae}[architecture.kind](architecture, dropout)


def temporal_shapes(architecture: TemporalArchitecture) -> dict[str, tuple[int, ...]]:
    """The name and shape of every array of a network, none of which is made."""
    with torch.device("meta"):
        state = untrained_temporal(architecture).state_dict()
    return {name: tuple(array.shape) for name, array in state.items()}


class _TempCnn(torch.nn.Module):
    """Three convolutions along time and a dense layer, each normalised over the batch (Pelletier et al. 2019, figure 2)."""

    def __init__(self, architecture: TemporalArchitecture, dropout: float) -> None:
        super().__init__()
        filters, kernel, dense = (architecture.sizes[name] for name in ("filters", "kernel", "dense"))

        def convolution(n_in: int) -> list[torch.nn.Module]:
            return [
                Conv1d(n_in, filters, kernel, padding=kernel // 2),
                BatchNorm1d(filters),
                ReLU(),
                Dropout(dropout),
            ]

        self.layers = Sequential(
            *convolution(architecture.n_bands), *convolution(filters), *convolution(filters), Flatten(),
            Linear(filters * architecture.n_steps, dense), BatchNorm1d(dense), ReLU(), Dropout(dropout),
            Linear(dense, architecture.n_classes),
        )  # fmt: skip

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """(n, class) logits of (n, band, step)."""
        found: torch.Tensor = self.layers(series)
        return found


class _Ltae(torch.nn.Module):
    """Each head weighs the steps by one learned query and sums its own share of their values (Garnot and Landrieu 2020, section 3.2)."""

    def __init__(self, architecture: TemporalArchitecture, dropout: float) -> None:
        super().__init__()
        width, self.heads, self.key = (architecture.sizes[name] for name in ("width", "heads", "key"))
        self.embedding = Sequential(Linear(architecture.n_bands, width), LayerNorm(width))
        self.keys = Linear(width, self.heads * self.key)
        self.query = torch.nn.Parameter(torch.randn(self.heads, self.key) * (2.0 / self.key) ** 0.5)
        self.dropout = Dropout(dropout)
        self.summed = Sequential(Linear(width, width), BatchNorm1d(width), ReLU(), Dropout(dropout), LayerNorm(width))
        self.classes = Linear(width, architecture.n_classes)
        positions = _positions(architecture.n_steps, width // self.heads).repeat(1, self.heads)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """(n, class) logits of (n, band, step)."""
        steps = self.embedding(series.transpose(1, 2)) + self.positions
        n, n_steps, width = steps.shape
        keys = self.keys(steps).view(n, n_steps, self.heads, self.key)
        scores = torch.einsum("nshk,hk->nhs", keys, self.query) / self.key**0.5
        attention = self.dropout(torch.softmax(scores, dim=2))
        values = steps.view(n, n_steps, self.heads, width // self.heads)
        found: torch.Tensor = self.classes(
            self.summed(torch.einsum("nhs,nshv->nhv", attention, values).reshape(n, width))
        )
        return found


def _positions(n_steps: int, width: int) -> torch.Tensor:
    """(step, width): sines and cosines of the number of a step (Vaswani et al. 2017, NIPS, section 3.5, with waves of up to LONGEST_WAVE)."""
    place = torch.arange(width)
    angle = torch.arange(n_steps)[:, None] / LONGEST_WAVE ** (2 * (place // 2) / width)
    return torch.where(place % 2 == 0, torch.sin(angle), torch.cos(angle))
