"""Patches of the hold-out in which a network shows what it looks at: of each class the one that it is surest of, and right."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.steps.learning.cell_windows import features_with_margin
from flows.steps.learning.drawn_chips import CHIP, DrawnChips
from flows.steps.learning.feature_cells import FeatureCells
from flows.steps.networks.chip_network import ChipNetwork
from flows.steps.networks.network import Network
from flows.steps.pictures.networks import attention_picture, stages_picture
from flows.steps.storage import Storage
from products.grid import PixelGrid, Tile
from products.learning.patch_look import PatchLook
from products.learning.samples import Samples

Rows = NDArray[np.int64]


def surest(code: Rows, shares: NDArray[np.float32], tested: NDArray[np.bool_]) -> list[int]:
    """For each class that some tested row is rightly given, the row of the largest share; the first where several have it."""
    found = []
    for number in range(shares.shape[1]):
        right = np.flatnonzero(tested & (code == number + 1) & (shares.argmax(axis=1) == number))
        if right.size:
            found.append(int(right[shares[right, number].argmax()]))
    return found


def patch_looks(
    storage: Storage, cells: FeatureCells, network: Network, samples: Samples, shares: NDArray[np.float32],
    rows: Sequence[int],
) -> list[PatchLook]:  # fmt: skip
    """What the network looks at in the patches around some rows of the samples, for the class that it gives each."""
    from flows.steps.networks.grad_cam import answer, attention, stage_maps

    x, y, days = (samples.column(name).astype(np.float64) for name in ("x", "y", "period"))
    grid, side, margin, looks = cells.grid, network.patch_px, network.margin_px, []
    for tile, period, _ in cells.placed:
        row, column, inside = pixels_in(grid, tile, x, y)
        here = [each for each in rows if inside[each] and days[each] == period.start.toordinal()]
        if not here:
            continue
        window = features_with_margin(storage, cells.cells, tile, period, grid.tile_px, margin, network.feature_names)
        for each in here:
            top, left = (int(place[each]) + margin - side // 2 for place in (row, column))
            patch = np.ascontiguousarray(window[:, top : top + side, left : left + side])
            number = int(shares[each].argmax())
            given = attention(network, patch, number), stage_maps(network, patch)
            said = network.class_names[number], float(shares[each, number]), float(x[each]), float(y[each])
            looks.append(PatchLook(*said, patch[0], answer(network, patch), *given))
    return sorted(looks, key=lambda look: network.class_names.index(look.class_name))


def chip_looks(
    chips: DrawnChips, network: ChipNetwork, samples: Samples, shares: NDArray[np.float32], rows: Sequence[int]
) -> list[PatchLook]:
    """What a network of whole chips looks at in the chips of some rows of the samples, for the class that it gives each."""
    from flows.steps.networks.grad_cam import attention, stage_maps

    x, y, chip = (samples.column(name) for name in ("x", "y", CHIP))
    looks = []
    for each in rows:
        pixels, number = chips.read(chip[each : each + 1].astype(np.int64))[0], int(shares[each].argmax())
        codes = np.full(pixels.shape[1:], number + 1, np.uint8)
        said = network.class_names[number], float(shares[each, number]), float(x[each]), float(y[each])
        given = attention(network, pixels, number), stage_maps(network, pixels)
        looks.append(PatchLook(*said, pixels[0], codes, *given))
    return looks


def looks_shown(
    looks: Sequence[PatchLook], network: Network | ChipNetwork
) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """What the metrics say of them, and the pictures in the card by file name; nothing where there are none."""
    if not looks:
        return {}, {}
    pictures = {
        "gradcam.png": attention_picture(looks, network.class_names, network.feature_names[0]),
        "feature_maps.png": stages_picture(looks[0]),
    }
    return {"looks": [look.document() for look in looks]}, pictures


def pixels_in(
    grid: PixelGrid, tile: Tile, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[Rows, Rows, NDArray[np.bool_]]:
    """Row and column in a tile of places in metres, (n,), and whether they lie in it."""
    box = grid.geobox(tile)
    column = np.floor((x - box.affine.c) / grid.resolution_m).astype(np.int64)
    row = np.floor((box.affine.f - y) / grid.resolution_m).astype(np.int64)
    return row, column, (column >= 0) & (column < grid.tile_px) & (row >= 0) & (row < grid.tile_px)
