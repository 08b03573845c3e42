"""Networks of each kind with random weights under which classes differ: what tests ask."""

from typing import Any

import numpy as np
import torch

from flows.steps.networks.chip_network import ChipNetwork
from flows.steps.networks.encoder_file import Encoder
from flows.steps.networks.network import Network
from flows.steps.networks.temporal_network import TemporalNetwork

FEATURES, CLASSES = ("red", "ndvi"), ("mangrove", "water", "other")
MEAN, STD = np.array([0.1, 0.5], np.float32), np.array([0.05, 0.2], np.float32)


def weights(module: Any, seed: int = 1) -> dict[str, Any]:
    """Random weights under which classes differ, and statistics of batches that are not those of nothing."""
    draw = torch.Generator().manual_seed(seed)
    state = module.state_dict()
    return {
        name: (value + 0.1 * torch.rand(value.shape, generator=draw)).numpy()
        if value.dtype.is_floating_point
        else value.numpy()
        for name, value in state.items()
    }


def over_time(kind: str = "tempcnn", seed: int = 1) -> TemporalNetwork:
    from flows.steps.networks.temporal_architecture import TemporalArchitecture, untrained_temporal

    sizes = {"filters": 4, "kernel": 3, "dense": 8} if kind == "tempcnn" else {"width": 8, "heads": 2, "key": 4}
    torch.manual_seed(seed)
    module = untrained_temporal(TemporalArchitecture(kind, sizes, 2, 4, 3))
    names = tuple(f"{name}_{step}" for step in range(1, 5) for name in FEATURES)
    return TemporalNetwork(names, CLASSES, kind, sizes, 4, mean=MEAN, std=STD, weights=weights(module, seed))


def of_patches(kind: str) -> Network:
    from flows.steps.networks.architecture import Architecture, untrained

    torch.manual_seed(1)
    module = untrained(Architecture(kind, "resnet18", 3, 3, 3))
    return Network(kind, "resnet18", 3, 32, 8, FEATURES, CLASSES, mean=MEAN, std=STD, weights=weights(module))


def of_chips() -> ChipNetwork:
    from flows.steps.networks.chip_architecture import ChipArchitecture, untrained_chips

    torch.manual_seed(1)
    module = untrained_chips(ChipArchitecture("resnet18", 4, 3, 3))
    return ChipNetwork("resnet18", 4, 32, "shares", FEATURES, CLASSES, mean=MEAN, std=STD, weights=weights(module))


def encoder() -> Encoder:
    from flows.steps.networks.architecture import Architecture, untrained

    torch.manual_seed(1)
    module: Any = untrained(Architecture("unet", "resnet18", 3, 3, 1)).encoder
    return Encoder("resnet18", 3, FEATURES, weights(module))
