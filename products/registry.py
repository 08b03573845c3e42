"""Find, read and validate recipes. An unknown name lists the near ones; a wrong recipe is answered with its line."""

import re
from pathlib import Path
from typing import Any

import yaml
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
from products.scene_recipe import SceneRecipe
from products.series_spec import SeriesRecipe
from products.spec import FeaturesRecipe

DEFINITIONS = Path(__file__).parent / "definitions"
YAML = (".yaml", ".yml")
MAX_RECIPE_BYTES = 200_000
MAX_DEPTH = 20
# YAML has numbers to the base of 60, too; Python writes none of thousands of digits
LONG_NUMBER = re.compile(r"[-+]?[0-9][0-9a-fA-Fx_:.]{100,}")
_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
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
    root, document = _compose(text, origin)
    if not isinstance(document, dict):
        raise RequestError(f"{origin}: expected a mapping with name, version, kind, …, got {type(document).__name__}")
    if "features_file" in document:
        raise RequestError(
            f"{origin}, line {_line(root, ('features_file',))}: unknown key 'features_file'; did you mean features?"
        )
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise RequestError(
            f"{origin}, line {_line(root, ('kind',))}: expected kind: {_either(list(KINDS))}, got {kind!r}"
        )
    made = next((MODELS[key] for key in MODELS if kind == "model" and key in document), KINDS[kind])
    try:
        recipe = made.model_validate(document)
    except ValidationError as error:
        raise RequestError("\n".join(_sentence(origin, root, made, entry) for entry in error.errors())) from error
    assert isinstance(recipe, Recipe)
    return recipe


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _compose(text: str, origin: str) -> tuple[yaml.Node, Any]:
    """The node tree and the document, refusing aliases: an alias can make a small file expand without end."""
    depth = 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > MAX_DEPTH:
                raise RequestError(f"{origin}, line {token.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
            if isinstance(token, yaml.ScalarToken) and token.plain and LONG_NUMBER.fullmatch(token.value):
                raise RequestError(
                    f"{origin}, line {token.start_mark.line + 1}: expected numbers of at most 100 characters, got one of {len(token.value)}"
                )
            if isinstance(token, yaml.AliasToken):
                raise RequestError(
                    f"{origin}, line {token.start_mark.line + 1}: YAML aliases (*{token.value}) are not allowed in recipes"
                )
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except RequestError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise RequestError(f"{origin} is not readable YAML: {' '.join(str(error).split())}") from error
    if root is None:
        raise RequestError(f"{origin} is empty: expected a recipe")
    _refuse_repeated_keys(root, origin)
    return root, document


def _refuse_repeated_keys(node: yaml.Node, origin: str) -> None:
    """YAML keeps the last of two equal keys in silence; we do not."""
    children = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        for key, child in node.value:
            if keys.count(key.value) > 1:
                raise RequestError(f"{origin}, line {key.start_mark.line + 1}: the key {key.value!r} stands twice")
            children.append(child)
    for child in children:
        _refuse_repeated_keys(child, origin)


def _sentence(origin: str, root: yaml.Node, model: type[BaseModel], entry: Any) -> str:  # noqa: ANN401
    place = tuple(part for part in entry["loc"])
    where = ".".join(str(part) for part in place)
    prefix = f"{origin}, line {_line(root, place)}" + (f", {where}" if where else "")
    if entry["type"] == "extra_forbidden":
        return f"{prefix}: unknown key {place[-1]!r}{near(str(place[-1]), _known_keys(model, place[:-1]))}"
    message = str(entry["msg"]).removeprefix("Value error, ")
    return f"{prefix}: {message}" + (
        f", got {entry['input']!r}" if entry["type"] not in ("value_error", "missing") else ""
    )


def _known_keys(model: type[BaseModel], place: tuple[Any, ...]) -> list[str]:
    """The keys that may stand at a place; of every kind of feature, where there are several."""
    models = [model]
    for part in place:
        fields = [f for m in models for name, f in m.model_fields.items() if part in (name, f.alias)]
        models = [m for field in fields for m in _models_in(field.annotation)] or models
    return sorted({field.alias or name for m in models for name, field in m.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]


def _line(node: yaml.Node, place: tuple[Any, ...]) -> int:
    """The line (from 1) of the deepest node of `place` that exists."""
    line = node.start_mark.line + 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value}
            if part not in pairs:
                continue
            line, node = pairs[part][0].start_mark.line + 1, pairs[part][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
