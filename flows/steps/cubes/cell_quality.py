"""What a cell says of its quality, beside its pixels and never part of them: each sensor's share, and how far sensors agree."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flows.steps.cubes.strips import CellContent
from flows.steps.loading.coregistration import Coregistration
from flows.steps.loading.tile_block import in_written_order
from products.features import reflectance_terms
from products.pixel.agreement import Difference, differences, used_by_sensor
from products.scene import Scene
from products.scene_recipe import SceneRecipe

SHARE_DIGITS, REFLECTANCE_DIGITS = 4, 6


def quality_of(
    recipe: SceneRecipe, scenes: Sequence[Scene], content: CellContent, registered: Coregistration
) -> dict[str, Any]:
    """JSON-able: `sensors` by name, `same_day_pairs` by sensors and band, before and after adjustment, and `shifts` by scene where they were measured."""
    assert content.sums is not None
    ordered = in_written_order(scenes)
    before, after = (
        differences(
            ordered,
            content.sums,
            *reflectance_terms(ordered, recipe.used_bands, recipe.harmonise, recipe.brdf, is_adjusted=is_adjusted),
        )
        for is_adjusted in (False, True)
    )
    pairs = [
        {
            "sensors": [first, second],
            "band": recipe.used_bands[band],
            "n": raw.n,
            "before": _rounded(raw),
            "after": _rounded(after[first, second, band]),
        }
        for (first, second, band), raw in before.items()
    ]
    shifts = {"shifts": [shift.document() for shift in registered.shifts]} if registered.shifts else {}
    return {"sensors": _with_shares(used_by_sensor(ordered, content.sums)), "same_day_pairs": pairs, **shifts}


def shares_of(qualities: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The `sensors` of several cells together."""
    used: Counter[str] = Counter()
    for quality in qualities:
        used.update({name: said["used"] for name, said in quality["sensors"].items()})
    return _with_shares(dict(sorted(used.items())))


def _with_shares(used: Mapping[str, int]) -> dict[str, Any]:
    total = max(sum(used.values()), 1)
    return {name: {"used": n, "share": round(n / total, SHARE_DIGITS)} for name, n in used.items()}


def _rounded(difference: Difference) -> dict[str, float]:
    return {
        "bias": round(difference.bias, REFLECTANCE_DIGITS),
        "rmsd": round(difference.rmsd, REFLECTANCE_DIGITS),
    }
