"""The memory that a cell takes, whole or in strips of rows. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from products.device_memory import cell_device_bytes, cell_pinned_bytes, window_bytes
from products.feature_program import composite_limits
from products.pixel.causes import ACCOUNT_NAMES
from products.pixel.gpu_strips import StripShape
from products.pixel.rows import ROWS_PER_TASK
from products.scene import REMOTE_WINDOW_BYTES, Scene, is_any_remote, reading_threads
from products.scene_recipe import SceneRecipe
from products.source_spec import COREGISTER_WINDOW_PX
from products.spec import FeaturesRecipe
from products.window.overviews import level_sides

# resident set of a process with all libraries loaded and kernels compiled, before it reads a pixel (Linux, Python 3.11), and GDAL's block cache
PROCESS_BYTES = 520_000_000
TRANSFORMS = 16  # complex images that phase correlation holds at once
SOURCE_RESOLUTION_M = {"landsat-c2-l2": 30.0, "sentinel-2-l2a": 10.0}


def cell_bytes(
    recipe: SceneRecipe, n_scenes: int, threads: int, strip_px: int | None = None, *, is_remote: bool = False
) -> int:
    """Peak resident bytes of a process that builds one cell, in strips of `strip_px` rows or undivided.

    The integer block and the causes with and without halo per scene; one mask, the probability of clouds, and one source window per reading thread; the
    features once as computed and once in the order of the recipe; the accounts; the process itself. From a network, the compressed
    window of each reading thread too. With strips, the features and accounts of the whole cell beside them; when these are read back
    they, and the overviews, are there twice, and the features' shard.
    """
    side = recipe.grid.tile_px
    rows = min(strip_px or side, side)
    pixels = (rows + 2 * recipe.margin_px) * (side + 2 * recipe.margin_px)
    wide = (rows + 2 * recipe.reach_px) * (side + 2 * recipe.reach_px)
    per_scene = 2 * len(recipe.used_bands) * pixels + pixels + wide * (1 + recipe.with_agreement)
    if isinstance(recipe, FeaturesRecipe) and composite_limits(recipe):
        per_scene += pixels  # the causes, once more, for the scenes of a limit
    finest = min(SOURCE_RESOLUTION_M[source.family] for source in recipe.sources)
    window = 2 * int(wide * max(1.0, recipe.grid.resolution_m / finest) ** 2)
    masks = 5 * wide if any(source.clear.cloud_probability for source in recipe.sources) else 2 * wide
    angles = 48 * pixels if recipe.brdf != "none" else 0  # of every pixel, and the bands that they adjust
    per_thread = masks + angles + window + (min(window, REMOTE_WINDOW_BYTES) if is_remote else 0)
    made = (8 * recipe.n_layers + 2 * len(ACCOUNT_NAMES) + 8 * len(recipe.rasters)) * pixels
    working = max(n_scenes * per_scene + threads * per_thread + made, _measuring_bytes(recipe, n_scenes, threads))
    features = 4 * recipe.n_layers * side**2
    kept = features + 2 * len(ACCOUNT_NAMES) * side**2
    overviews = 4 * (recipe.n_layers + len(ACCOUNT_NAMES)) * sum(level**2 for level in level_sides(side))
    return PROCESS_BYTES + max(working + (kept if rows < side else 0), 2 * (kept + overviews) + features)


def _measuring_bytes(recipe: SceneRecipe, n_scenes: int, threads: int) -> int:
    """Peak bytes of measuring the shifts of scenes: one band and the causes with and without halo per scene, transforms of one image per thread."""
    if not isinstance(recipe, FeaturesRecipe) or recipe.coregister is None:
        return 0
    side = min(recipe.grid.tile_px, COREGISTER_WINDOW_PX)
    return n_scenes * (5 * side**2 + (side + 2 * recipe.halo_px) ** 2) + threads * TRANSFORMS * 16 * side**2


def fitting_strip_px(
    recipe: SceneRecipe, n_scenes: int, threads: int, budget_bytes: int, *, is_remote: bool = False
) -> int:
    """The rows of the fewest and most equal strips whose peak is within the budget: the whole side, or a multiple of 16; 16 where none is."""
    side = recipe.grid.tile_px
    if cell_bytes(recipe, n_scenes, threads, is_remote=is_remote) <= budget_bytes:
        return side
    for n_strips in range(2, -(-side // ROWS_PER_TASK) + 1):
        rows = whole_tasks(-(-side // n_strips))
        if cell_bytes(recipe, n_scenes, threads, rows, is_remote=is_remote) <= budget_bytes:
            return rows
    return ROWS_PER_TASK


@dataclass(frozen=True, slots=True)
class CellMemory:
    """What a cell may take: of the host a budget, where there is one; on a GPU, the tile as it is sent there, and what is free, where that is known."""

    recipe: SceneRecipe
    threads: int
    remote_threads: int
    budget_bytes: int | None
    tile: StripShape | None
    device_free_bytes: int | None

    def strip_px(self, scenes: Sequence[Scene]) -> int:
        """Rows that fit the budget, beside the pinned memory that all rows would need."""
        side = self.recipe.grid.tile_px
        if self.budget_bytes is None:
            return side
        budget, threads = self.budget_bytes - self._on_device(len(scenes), side)[1], self._threads(scenes)
        return fitting_strip_px(self.recipe, len(scenes), threads, budget, is_remote=is_any_remote(scenes))

    def peaks(self, scenes: Sequence[Scene], rows: int) -> tuple[int, int]:
        """Bytes of the host, pinned memory among them, and of the device for strips of some rows."""
        (on_device, pinned), threads = self._on_device(len(scenes), rows), self._threads(scenes)
        on_host = cell_bytes(self.recipe, len(scenes), threads, rows, is_remote=is_any_remote(scenes))
        return on_host + pinned, on_device

    def _threads(self, scenes: Sequence[Scene]) -> int:
        return reading_threads(scenes, self.threads, self.remote_threads)

    def _on_device(self, n_scenes: int, rows: int) -> tuple[int, int]:
        """Bytes of the device, and of pinned memory."""
        if self.tile is None:
            return 0, 0
        strip = self.tile, n_scenes, rows + 2 * self.recipe.margin_px, self.device_free_bytes
        on_device = max(cell_device_bytes(*strip), window_bytes(self.recipe, rows))
        return on_device, cell_pinned_bytes(*strip)


def whole_tasks(rows: int) -> int:
    """The next multiple of 16 rows."""
    return -(-rows // ROWS_PER_TASK) * ROWS_PER_TASK
