"""What somebody asks for, understood: a recipe, an area and a period, of which nothing is a path."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from uuid import UUID, uuid4

from datacube_config.accounts import RequestLimits
from flows.request_rules import check_extent, request_key
from flows.steps.areas import area_from_geojson, find_area, named_areas
from products.area import Area, area_from_bounds
from products.errors import RequestError
from products.period import Period, parse_period
from products.registry import (
    features_at,
    features_recipe,
    model_recipe,
    parse_recipe,
    read_recipe,
    recipe_names,
    scene_recipe,
    wrong_kind,
)
from products.scene_recipe import SceneRecipe

MOST_RECIPE_BYTES = 20_000  # half a second to read; those that come with neocube have a tenth of it


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody asks for, as they wrote it: nothing in it is a path."""

    recipe: str
    area: str
    period: str
    train: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for, understood: its recipe, area and period, checked."""

    ask: Ask
    recipe: SceneRecipe
    area: Area
    period: Period
    key: UUID


def understand(ask: Ask, limits: RequestLimits) -> Asked:
    """The recipe, area and period that are meant; RequestError for what is wrong, too large, or a path."""
    recipe = recipe_in(ask.recipe)
    area, period = area_in(ask.area), parse_period(ask.period)
    check_extent(recipe, area, period, limits)
    learned = _learned(ask.train, recipe) if ask.train else None
    return Asked(ask, recipe, area, period, request_key(recipe, area, period, learned))


@lru_cache(64)
def recipe_in(text: str) -> SceneRecipe:
    """The recipe of a known name, or in a YAML text; a name that comes with neocube means that recipe only."""
    size = len(text.encode())
    if size > MOST_RECIPE_BYTES:
        raise RequestError(f"the recipe has {size} bytes: expected at most {MOST_RECIPE_BYTES}")
    if text in recipe_names():
        return scene_recipe(text)
    if "\n" not in text.strip():
        raise RequestError(f"expected one of {', '.join(recipe_names())}, or a whole recipe in YAML, got {text[:80]!r}")
    recipe = parse_recipe(text, "the recipe")
    if not isinstance(recipe, SceneRecipe):
        raise wrong_kind(recipe, "one that is made of scenes")
    if recipe.name in recipe_names():
        known = read_recipe(recipe.name)
        if not isinstance(known, SceneRecipe) or (known.version, known.digest()) != (recipe.version, recipe.digest()):
            raise RequestError(f"{recipe.name} is another recipe, which comes with neocube: take another `name:`")
    return recipe


@lru_cache(64)
def area_in(text: str) -> Area:
    """The area of a known name, of west,south,east,north, or of a GeoJSON text."""
    if text.lstrip().startswith("{"):
        return area_from_geojson(text)
    if text in named_areas():
        return find_area(text)
    if text.count(",") == 3:
        return area_from_bounds(text)
    raise RequestError(
        f"expected {', '.join(named_areas())}, west,south,east,north in degrees, or GeoJSON, got {text[:80]!r}"
    )


def area_argument(area: str, home: Path) -> str:
    """The name or bounds themselves, or a file in `home` that now holds the GeoJSON text; paths are refused: forms reach no files."""
    meant = area_in(area)
    if not area.lstrip().startswith("{"):
        return area
    path = home / "requests" / f"{meant.name}.geojson"
    keep_area(area, path)
    return str(path)


def keep_area(geojson: str, path: Path) -> None:
    """Write an area to a file, unless that is there: its name is that of its content."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
        partial.write_text(geojson, encoding="utf-8")
        partial.replace(path)


def _learned(train: str, recipe: SceneRecipe) -> str:
    """Name, version and digest of the model; RequestError if it learns from other features, or names no labels."""
    if train not in recipe_names():
        raise RequestError(
            f"unknown model {train[:80]!r}: expected the name of a model recipe, such as mangrove_extent"
        )
    model = model_recipe(train)
    features = features_recipe(features_at(model))
    if (features.name, features.digest()) != (recipe.name, recipe.digest()):
        raise RequestError(
            f"the model {train} learns from {features.name}: ask for these features, or for another model"
        )
    if not model.samples.labels:
        raise RequestError(f"the model {train} names no labels: an operator runs it with a label file")
    return f"{model.name} {model.version} {model.digest()}"
