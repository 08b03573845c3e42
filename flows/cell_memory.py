"""The memory that a cell takes, whole or in strips of rows. Pure."""

from products.pixel.causes import ACCOUNT_NAMES
from products.pixel.rows import ROWS_PER_TASK
from products.source_spec import COREGISTER_WINDOW_PX
from products.spec import FeaturesRecipe

# resident set of a process with all libraries loaded and kernels compiled, before it reads a pixel (Linux, Python 3.11), and GDAL's block cache
PROCESS_BYTES = 520_000_000
TRANSFORMS = 16  # complex images that phase correlation holds at once
SOURCE_RESOLUTION_M = {"landsat-c2-l2": 30.0, "sentinel-2-l2a": 10.0}


def cell_bytes(recipe: FeaturesRecipe, n_scenes: int, threads: int, strip_px: int | None = None) -> int:
    """Peak resident bytes of a process that builds one cell, in strips of `strip_px` rows or undivided.

    The integer block and the causes with and without halo per scene; one mask and one source window per reading thread; the
    features once as computed and once in the order of the recipe; the accounts; the process itself. With strips, the features and
    accounts of the whole cell beside them; when these are read back they are there twice, and the features' shard.
    """
    side = recipe.grid.tile_px
    rows = min(strip_px or side, side)
    pixels = (rows + 2 * recipe.margin_px) * (side + 2 * recipe.margin_px)
    wide = (rows + 2 * recipe.reach_px) * (side + 2 * recipe.reach_px)
    per_scene = 2 * len(recipe.used_bands) * pixels + pixels + wide
    finest = min(SOURCE_RESOLUTION_M[source.family] for source in recipe.sources)
    per_thread = 2 * wide + 2 * int(wide * max(1.0, recipe.grid.resolution_m / finest) ** 2)
    made = (8 * len(recipe.feature_names) + 2 * len(ACCOUNT_NAMES) + 8 * len(recipe.rasters)) * pixels
    working = max(n_scenes * per_scene + threads * per_thread + made, _measuring_bytes(recipe, n_scenes, threads))
    features = 4 * len(recipe.feature_names) * side**2
    kept = features + 2 * len(ACCOUNT_NAMES) * side**2
    return PROCESS_BYTES + max(working + (kept if rows < side else 0), 2 * kept + features)


def _measuring_bytes(recipe: FeaturesRecipe, n_scenes: int, threads: int) -> int:
    """Peak bytes of measuring the shifts of scenes: one band and the causes with and without halo per scene, transforms of one image per thread."""
    if recipe.coregister is None:
        return 0
    side = min(recipe.grid.tile_px, COREGISTER_WINDOW_PX)
    return n_scenes * (5 * side**2 + (side + 2 * recipe.halo_px) ** 2) + threads * TRANSFORMS * 16 * side**2


def fitting_strip_px(recipe: FeaturesRecipe, n_scenes: int, threads: int, budget_bytes: int) -> int:
    """The rows of the fewest and most equal strips whose peak is within the budget: the whole side, or a multiple of 16; 16 where none is."""
    side = recipe.grid.tile_px
    if cell_bytes(recipe, n_scenes, threads) <= budget_bytes:
        return side
    for n_strips in range(2, -(-side // ROWS_PER_TASK) + 1):
        rows = whole_tasks(-(-side // n_strips))
        if cell_bytes(recipe, n_scenes, threads, rows) <= budget_bytes:
            return rows
    return ROWS_PER_TASK


def whole_tasks(rows: int) -> int:
    """The next multiple of 16 rows."""
    return -(-rows // ROWS_PER_TASK) * ROWS_PER_TASK
