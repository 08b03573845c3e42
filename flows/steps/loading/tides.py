"""Tides of the passes over a tile, from the files of a tide model: eo-tides (Bishop-Taylor et al. 2025, JOSS 10, 7786) over pyTMD."""

import contextlib
import importlib
import importlib.util
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from products.antimeridian import centre
from products.errors import RequestError
from products.formula import near
from products.passes import Pass
from products.period import Period
from products.scene import Scene
from products.scene_recipe import SceneRecipe
from products.spec import FeaturesRecipe
from products.tide import range_seen

MODELLED_STEP = "1h"
COAST_KM = 10.0  # the tide of a model's nearest water holds for a coast so far away


@dataclass(frozen=True, slots=True)
class TideModel:
    """A tide model by the name that pyTMD knows it by, which tells its version, and the folder of its files."""

    folder: Path
    name: str

    def heights_m(self, geobox: GeoBox, times: pd.DatetimeIndex) -> NDArray[np.float64]:
        """Metres above mean sea level at the centre of a tile, at some times (UTC); NaN where no water of the model is near."""
        longitude, latitude = centre(geobox.extent)
        box = geobox.extent.boundingbox
        reach_km = COAST_KM + np.hypot(box.span_x, box.span_y) / 2000
        with _quietly():
            table = importlib.import_module("eo_tides.model").model_tides(
                x=[longitude], y=[latitude], time=times.to_numpy(), model=self.name, directory=str(self.folder),
                extrapolate=True, cutoff=reach_km, parallel=False,
            )  # fmt: skip
        return table["tide_height"].to_numpy(np.float64, na_value=np.nan)


def needs_tides(recipe: SceneRecipe) -> bool:
    """Whether a feature of the recipe uses observations by their tide."""
    return isinstance(recipe, FeaturesRecipe) and any(step.at_tide() for step in recipe.features)


def tide_model_for(recipe: SceneRecipe, folder: Path | None, name: str | None) -> TideModel | None:
    """The configured tide model for a recipe that needs one; RequestError where it cannot be used."""
    if not needs_tides(recipe):
        return None
    found = configured_tides(folder, name)
    if found is None:
        raise RequestError(
            f"{recipe.name} has features at low or high tide, and no tide model is configured: set NEOCUBE_TIDE_MODELS to the "
            "folder of tide model files and NEOCUBE_TIDE_MODEL to the name of one (docs/operations.md)"
        )
    return found


def configured_tides(folder: Path | None, name: str | None) -> TideModel | None:
    """The tide model of the settings, None where they name none; RequestError where it cannot be used."""
    if folder is None or name is None:
        return None
    if importlib.util.find_spec("eo_tides") is None:
        raise RequestError(f"the tide model {name} needs eo-tides: install neocube[tides], or set no tide model")
    if not folder.is_dir():
        raise RequestError(f"NEOCUBE_TIDE_MODELS is {folder}: expected a folder of tide model files")
    with _quietly(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No valid tide models were found")  # an error of ours says so
        there, known = importlib.import_module("eo_tides.utils").list_models(
            folder, show_available=False, show_supported=False
        )
    if name not in known:
        raise RequestError(f"unknown tide model {name!r} in NEOCUBE_TIDE_MODEL{near(name, known)}")
    if name not in there:
        raise RequestError(
            f"{folder} has no files of the tide model {name}, it has {', '.join(there) or 'none of any model'}: "
            "expected the folders that eo-tides expects"
        )
    return TideModel(folder, name)


def with_tides(
    model: TideModel, scenes: Sequence[Scene], geobox: GeoBox, period: Period
) -> tuple[tuple[Scene, ...], dict[str, Any] | None]:
    """The scenes with the tide of their passes over a tile, and these tides, with how much of the period's tide range they saw; None inland.

    The scenes of a pass have the tide of its earliest. A period that is a pass has no range.
    """
    moments: dict[str, datetime] = {}
    for scene in sorted(scenes, key=lambda each: each.acquired):
        moments.setdefault(scene.pass_id, scene.acquired)
    passed = pd.DatetimeIndex([pd.Timestamp(moment).tz_convert(None) for moment in moments.values()])
    start, end = (pd.Timestamp(each).tz_convert(None) for each in (period.start, period.end))
    every = pd.DatetimeIndex([]) if isinstance(period, Pass) else pd.date_range(start, end, freq=MODELLED_STEP)
    heights = model.heights_m(geobox, pd.DatetimeIndex(passed.append(every)))
    if not np.isfinite(heights).all():
        return tuple(scenes), None
    by_pass = dict(zip(moments, heights[: len(passed)].tolist(), strict=True))
    seen = {} if isinstance(period, Pass) else range_seen(heights[: len(passed)], heights[len(passed) :])
    rounded = {number: round(height, 3) for number, height in by_pass.items()}
    document = {"model": model.name, "passes": len(passed), **seen, "heights_m": rounded}
    return tuple(replace(scene, tide_m=by_pass[scene.pass_id]) for scene in scenes), document


def _quietly() -> contextlib.redirect_stdout[io.StringIO]:
    """eo-tides tells its progress on stdout, where commands print their one document."""
    return contextlib.redirect_stdout(io.StringIO())
