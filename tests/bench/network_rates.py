"""Mapping a window by a network with overlapping, blended patches, beside the forward passes of those patches alone; training, beside reading for it.

`python tests/bench/network_rates.py` prints the rows as JSON, in about a minute; it needs the extra `deep`.
"""

import json
import os
import sys
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rounds import row_of, take_turns

from flows.steps.networks.architecture import Architecture, untrained
from flows.steps.networks.network import BATCH, Network, bands_of
from products.learning.patches import PatchLattice

ROUNDS = 3
SIDE_PX, FEATURES, CLASSES = 512, 18, 3
PATCH_PX, OVERLAP_PX, DEPTH = 64, 16, 4
OURS = "ours"

Floats = NDArray[np.float32]


def rows() -> list[dict[str, Any]]:
    """The rows of the table."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network, features = random_network(), np.random.default_rng(1).normal(0.2, 0.1, (FEATURES, SIDE_PX, SIDE_PX))
    window = features.astype(np.float32)
    patches = patches_of(bands_of(window, network.mean, network.std), PatchLattice(PATCH_PX, OVERLAP_PX))
    peer = f"the forward passes of its {len(patches)} patches alone, in batches of {BATCH['cpu']}"
    ways = {OURS: partial(network.probabilities_of_window, window), peer: partial(forward_alone, network, patches)}
    for way in ways.values():
        way()
    name = f"U-Net resnet18 over {SIDE_PX} x {SIDE_PX} px, {FEATURES} features, patches of {PATCH_PX} px, {OVERLAP_PX} px overlap, blended"
    return [row_of(name, take_turns(ways, ROUNDS), OURS, peer)]


def random_network() -> Network:
    """A U-Net with random weights."""
    names = tuple(f"feature_{number}" for number in range(FEATURES))
    module = untrained(Architecture("unet", "resnet18", DEPTH, FEATURES + 1, CLASSES))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    mean, std = np.full(FEATURES, 0.2, np.float32), np.full(FEATURES, 0.1, np.float32)
    classes = tuple(f"class_{number}" for number in range(CLASSES))
    return Network("unet", "resnet18", DEPTH, PATCH_PX, OVERLAP_PX, names, classes, mean=mean, std=std, weights=weights)


def patches_of(bands: Floats, lattice: PatchLattice) -> Floats:
    """(n, band, y, x): the patches that the window is mapped by, what lies outside as zeros."""
    padded = np.pad(bands, ((0, 0), (lattice.margin_px,) * 2, (lattice.margin_px,) * 2))
    starts = [start + lattice.margin_px for start in lattice.starts(0, SIDE_PX)]
    side = lattice.patch_px
    return np.stack([padded[:, row : row + side, column : column + side] for row in starts for column in starts])


def forward_alone(network: Network, patches: Floats) -> None:
    """Nothing but the network."""
    batch = BATCH["cpu"]
    with torch.inference_mode():
        for start in range(0, len(patches), batch):
            network.module(torch.from_numpy(patches[start : start + batch]))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(rows(), indent=2) + "\n")
