"""Find, read and validate recipes. An unknown name lists the near ones; a wrong recipe is answered with its line."""

from pathlib import Path

from pydantic import BaseModel, ValidationError

from products.errors import RequestError
from products.formula import near
from products.learning.box_recipe import BoxRecipe
from products.learning.from_features import FromFeatures
from products.learning.line_recipe import LineRecipe
from products.learning.masked_recipe import MaskedRecipe
from products.learning.pca_recipe import PcaRecipe
from products.learning.recipe import ModelRecipe
from products.learning.samples_recipe import SamplesRecipe
from products.learning.table_recipe import TableRecipe
from products.observations_spec import ObservationsRecipe
from products.recipe_yaml import composed, line_of, sentences
from products.scene_recipe import SceneRecipe
from products.series_spec import SeriesRecipe
from products.spec import FeaturesRecipe

DEFINITIONS = Path(__file__).parent / "definitions"
YAML = (".yaml", ".yml")
MAX_RECIPE_BYTES = 200_000
KINDS: dict[str, type[BaseModel]] = {
    "features": FeaturesRecipe,
    "series": SeriesRecipe,
    "observations": ObservationsRecipe,
    "samples": SamplesRecipe,
    "model": ModelRecipe,
}
MODELS: dict[str, type[BaseModel]] = {  # by the key that tells them
    "pca": PcaRecipe,
    "table": TableRecipe,
    "masked": MaskedRecipe,
    "lines": LineRecipe,
    "boxes": BoxRecipe,
}
PictureRecipe = LineRecipe | BoxRecipe
Recipe = SceneRecipe | SamplesRecipe | ModelRecipe | PcaRecipe | TableRecipe | MaskedRecipe | PictureRecipe


def recipe_names() -> list[str]:
    """The names of the recipes that come with neocube."""
    return sorted(path.name.removesuffix(".recipe.yaml") for path in DEFINITIONS.glob("*.recipe.yaml"))


def read_recipe(name_or_path: str) -> Recipe:
    """The recipe of that name in `products/definitions`, or of a YAML file at that path; RequestError otherwise."""
    if name_or_path.endswith(YAML):
        path = Path(name_or_path)
        if not path.is_file():
            raise RequestError(f"no recipe file at {name_or_path}")
    else:
        path = DEFINITIONS / f"{name_or_path}.recipe.yaml"
        if name_or_path not in recipe_names():
            raise RequestError(
                f"unknown recipe {name_or_path!r}{near(name_or_path, recipe_names())}; or give a path ending in .yaml"
            )
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise RequestError(f"the recipe {path} has {path.stat().st_size} bytes: expected at most {MAX_RECIPE_BYTES}")
    return _with_features_file(parse_recipe(_text(path), path.name), path)


def _with_features_file(recipe: Recipe, path: Path) -> Recipe:
    """The recipe with the file of features that it names by a path: relative to its own folder, else to the working directory."""
    if not isinstance(recipe, FromFeatures) or not recipe.features.endswith(YAML):
        return recipe
    places = [place.absolute() for place in (path.parent / recipe.features, Path(recipe.features)) if place.is_file()]
    return recipe.model_copy(update={"features_file": str(places[0])}) if places else recipe


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"{path.name}, line {line}: expected text in UTF-8, got the byte {content[error.start]:#04x}: save it as UTF-8"
        ) from error


def features_at(recipe: FromFeatures) -> str:
    """The name, or the path that holds from any folder, of the recipe whose cells a recipe is made of."""
    return recipe.features_file if recipe.features_file and Path(recipe.features_file).is_file() else recipe.features


def scene_recipe(name_or_path: str) -> SceneRecipe:
    """The recipe, if its cells are made of scenes; RequestError otherwise."""
    recipe = read_recipe(name_or_path)
    if not isinstance(recipe, SceneRecipe):
        kinds = [kind for kind, model in KINDS.items() if issubclass(model, SceneRecipe)]
        raise wrong_kind(recipe, f"kind {_either(kinds)}")
    return recipe


def features_recipe(name_or_path: str) -> FeaturesRecipe:
    """The recipe, if it makes features; RequestError otherwise."""
    recipe = read_recipe(name_or_path)
    if not isinstance(recipe, FeaturesRecipe):
        raise wrong_kind(recipe, "kind features")
    return recipe


def input_recipe(name_or_path: str) -> SceneRecipe:
    """The recipe, if it makes what a model learns from labels on, features or series; RequestError otherwise."""
    recipe = read_recipe(name_or_path)
    if not isinstance(recipe, FeaturesRecipe | SeriesRecipe):
        raise wrong_kind(recipe, "kind features or series")
    return recipe


def learned_recipe(name_or_path: str) -> ModelRecipe | PcaRecipe | MaskedRecipe:
    """The recipe, if it makes a model, a transform or an encoder of cells; RequestError otherwise."""
    recipe = read_recipe(name_or_path)
    if isinstance(recipe, TableRecipe):
        raise RequestError(f"the recipe {recipe.name!r} is learned from a table: give its files, --table FILE")
    if isinstance(recipe, PictureRecipe):
        raise RequestError(f"the recipe {recipe.name!r} is learned from pictures: give their folder, --pictures FOLDER")
    if not isinstance(recipe, ModelRecipe | PcaRecipe | MaskedRecipe):
        raise wrong_kind(recipe, "kind model")
    return recipe


def table_recipe(name_or_path: str) -> TableRecipe:
    """The recipe, if it makes a model that is learned from a table; RequestError otherwise."""
    recipe = read_recipe(name_or_path)
    if not isinstance(recipe, TableRecipe):
        raise RequestError(
            f"the recipe {recipe.name!r} names no `table`: expected a model that is learned from a table"
        )
    return recipe


def picture_recipe(name_or_path: str) -> PictureRecipe:
    """The recipe, if it makes a model that is learned from a folder of pictures; RequestError otherwise."""
    recipe = read_recipe(name_or_path)
    if not isinstance(recipe, PictureRecipe):
        raise RequestError(
            f"the recipe {recipe.name!r} names no `lines` or `boxes`: expected a model that is learned from pictures"
        )
    return recipe


def model_recipe(name_or_path: str) -> ModelRecipe:
    """The recipe, if it makes a model that is learned from labels; RequestError otherwise."""
    recipe = learned_recipe(name_or_path)
    if not isinstance(recipe, ModelRecipe):
        key = next(key for key, made in MODELS.items() if isinstance(recipe, made))
        raise RequestError(f"the recipe {recipe.name!r} has `{key}`: expected a model that is learned from labels")
    return recipe


def samples_recipe(name_or_path: str) -> SamplesRecipe:
    """The recipe, if it makes a training set; RequestError otherwise."""
    recipe = read_recipe(name_or_path)
    if not isinstance(recipe, SamplesRecipe):
        raise wrong_kind(recipe, "kind samples")
    return recipe


def wrong_kind(recipe: Recipe, expected: str) -> RequestError:
    """The error of a recipe that another kind was expected of."""
    return RequestError(f"the recipe {recipe.name!r} is of kind {recipe.kind}: expected {expected}")


def parse_recipe(text: str, origin: str) -> Recipe:
    """The recipe in a YAML text; `origin` names it in errors."""
    root, document = composed(text, origin)
    if not isinstance(document, dict):
        raise RequestError(f"{origin}: expected a mapping with name, version, kind, …, got {type(document).__name__}")
    if "features_file" in document:
        raise RequestError(
            f"{origin}, line {line_of(root, ('features_file',))}: unknown key 'features_file'; did you mean features?"
        )
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise RequestError(
            f"{origin}, line {line_of(root, ('kind',))}: expected kind: {_either(list(KINDS))}, got {kind!r}"
        )
    made = next((MODELS[key] for key in MODELS if kind == "model" and key in document), KINDS[kind])
    try:
        recipe = made.model_validate(document)
    except ValidationError as error:
        raise RequestError(sentences(origin, root, made, error)) from error
    assert isinstance(recipe, Recipe)
    return recipe


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
