"""The form of a recipe, made from its models: fields with their limits, and the YAML of what was filled in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from pydantic import BaseModel

from products.feature_step import PLAIN_REDUCERS
from products.grid_spec import GridSpec, PeriodSpec
from products.learning.recipe import ModelRecipe
from products.registry import read_recipe, recipe_names
from products.scene_recipe import SceneRecipe
from products.sensors import COLLECTIONS, SENSORS
from products.spec import FeaturesRecipe

LEFT_OUT = {"kind", "version"}
EXAMPLES = {
    "name": "my_features", "title": "My features", "grid.resolution_m": "30", "period.length": "P1Y",
    "sources": COLLECTIONS, "geomedian": ("blue", "green", "red", "nir", "swir1", "swir2"), "indices": "NDVI, MNDWI",
    "reduce": ("p10", "p50", "p90"), "simple": ("mads", "count"),
}  # fmt: skip
BANDS = tuple(dict.fromkeys(band for sensor in SENSORS.values() for band in sensor.reflectance))
REDUCERS = ("p10", "p50", "p90", *PLAIN_REDUCERS)
SIMPLE = {"mads": "Deviations from the median", "count": "Observation counts"}
# Roy et al. 2016 and HLS, as in docs/recipes.md
HARMONISED = {"target": "oli", "tm_etm": "roy2016", "msi": "hls"}


@dataclass(frozen=True, slots=True)
class Field:
    """An input: its name in the form, its label, its kind (text, number, select, checks), limits or choices, and what it says at first."""

    name: str
    label: str
    kind: str
    value: Any = ""
    choices: Sequence[str] = ()
    least: float | None = None
    most: float | None = None
    step: float | str = "any"


def recipe_fields(filled: Mapping[str, Sequence[str]]) -> list[Field]:
    """The fields of a features recipe, as they were filled in, else as an example has them."""
    made = [
        *_fields(FeaturesRecipe, "", filled),
        *_fields(GridSpec, "grid.", filled),
        *_fields(PeriodSpec, "period.", filled),
    ]
    checks = {
        "sources": ("Sensors", COLLECTIONS),
        "geomedian": ("Median of these bands", BANDS),
        "simple": ("Also", tuple(SIMPLE)),
        "reduce": ("Index values over time", REDUCERS),
    }
    made += [Field(name, label, "checks", _chosen(name, filled), tuple(all_)) for name, (label, all_) in checks.items()]
    return [*made, Field("indices", "Indices, between commas", "text", _value("indices", "", filled))]


def recipe_text(filled: Mapping[str, Sequence[str]]) -> str:
    """The YAML of what was filled in; whether it is a recipe is seen when it is read."""
    document: dict[str, Any] = {"version": 1, "kind": "features"}
    for field in recipe_fields(filled):
        text = field.value
        if field.kind == "checks" or field.name == "indices" or text == "":
            continue
        place, _, last = field.name.rpartition(".")
        into = document.setdefault(place, {}) if place else document
        into[last] = _number(text) if field.kind == "number" else text
    document["sources"] = [{"collection": name} for name in filled.get("sources", ())]
    if len(document["sources"]) > 1:
        document["harmonise"] = dict(HARMONISED)
    document["features"] = _features(filled)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


@cache
def scene_recipes() -> dict[str, str]:
    """The names and titles of the recipes that come with neocube and are made of scenes."""
    recipes = [recipe for name in recipe_names() if isinstance(recipe := read_recipe(name), SceneRecipe)]
    return {recipe.name: recipe.title or recipe.name for recipe in recipes}


@cache
def trainable_models() -> list[str]:
    """The names of the model recipes that name their labels."""
    recipes = [(name, read_recipe(name)) for name in recipe_names()]
    return [name for name, recipe in recipes if isinstance(recipe, ModelRecipe) and recipe.samples.labels]


def _fields(model: type[BaseModel], prefix: str, filled: Mapping[str, Sequence[str]]) -> list[Field]:
    """The fields of a model that hold one word or number."""
    made = []
    for name, schema in model.model_json_schema()["properties"].items():
        kinds = [schema, *schema.get("anyOf", [])]
        simple = next((each for each in kinds if each.get("type") in ("string", "number", "integer")), None)
        if simple is None or name in LEFT_OUT:
            continue
        default = schema.get("default")
        value = _value(prefix + name, "" if default is None else default, filled)
        label = (prefix + name).replace(".", " ").replace("_", " ")
        if choices := simple.get("enum"):
            made.append(Field(prefix + name, label, "select", value, choices))
        elif simple["type"] == "string":
            made.append(Field(prefix + name, label, "text", value))
        else:
            least = simple.get("minimum", simple.get("exclusiveMinimum"))
            step = simple.get("multipleOf", 1 if simple["type"] == "integer" else "any")
            made.append(Field(prefix + name, label, "number", value, (), least, simple.get("maximum"), step))
    return made


def _value(name: str, default: object, filled: Mapping[str, Sequence[str]]) -> str:
    if filled:
        return "".join(filled.get(name, [""])).strip()
    return str(EXAMPLES.get(name, default))


def _chosen(name: str, filled: Mapping[str, Sequence[str]]) -> Sequence[str]:
    return filled.get(name, ()) if filled else EXAMPLES.get(name, ())


def _features(filled: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    if bands := list(filled.get("geomedian", ())):
        made.append({"geomedian": {"bands": bands}})
    names = [name.strip() for name in "".join(filled.get("indices", ())).split(",") if name.strip()]
    if names:
        made.append({"index": {"names": names, "reduce": list(filled.get("reduce", ()))}})
    return made + [{name: {}} for name in filled.get("simple", ())]


def _number(text: str) -> float | str:
    """The number, whole where it is; what is none stays as it is, and is refused with its line."""
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() else value
