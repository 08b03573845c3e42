"""A cell of features mapped by a network, whose patches reach into the neighbours."""

import numpy as np

from datacube_config.connection import Index
from flows.steps.cubes.cell_store import Arrays
from flows.steps.index.catalogue import published_cells
from flows.steps.learning.applicability_file import trust_layers
from flows.steps.learning.cell_windows import Cells, features_with_margin
from flows.steps.learning.feature_cells import FeatureCells
from flows.steps.learning.models import Model
from flows.steps.networks.chip_network import ChipNetwork
from flows.steps.networks.network import Network
from flows.steps.storage import Storage
from products.grid import PixelGrid
from products.identity import CellKey
from products.learning.learned import NO_PROBABILITY
from products.learning.maps import MAP_CLASS, PROBABILITY


def cells_to_read(index: Index, inputs: FeatureCells) -> Cells:
    """The published cells of the inputs' features in their periods, in and around their area."""
    return published_cells(index, inputs.recipe.name, inputs.recipe.version, inputs.periods)


def network_cell(
    storage: Storage, model: Model, network: Network | ChipNetwork, cells: Cells, grid: PixelGrid, key: CellKey,
    threads: int,
) -> Arrays:  # fmt: skip
    """`map_class` (1, y, x), `probability` (1, class, y, x) and how far to trust them, of a cell; nodata where a pixel lacks all features."""
    margin, side = network.margin_px, grid.tile_px
    window = features_with_margin(storage, cells, key.tile, key.period, side, margin, network.feature_names)
    shares = network.probabilities_of_window(window, margin, key.tile.row * side, key.tile.column * side)
    is_there = np.isfinite(shares[0])
    filled = np.where(is_there, shares, 0)
    codes = np.where(is_there, filled.argmax(axis=0) + 1, 0).astype(np.uint8)
    percent = np.where(is_there, np.rint(100 * filled), NO_PROBABILITY).astype(np.uint8)
    seen = network.looked_at(window, margin, key.tile.row * side, key.tile.column * side)
    trust = trust_layers(model.applicability, seen, percent[None], threads)
    return {MAP_CLASS: codes[None], PROBABILITY: percent[None]} | trust
