"""A product on request: build the cube, then train and map with it, as one chain."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from prefect import flow, runtime
from pydantic import Field

from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from flows.build_cube import build_cube
from flows.index_retry import outlasting
from flows.map_area import map_area
from flows.request_parsing import area_argument
from flows.requesting import begin, finish
from flows.run_artifacts import leave_markdown
from flows.run_events import announce_cube, announce_model
from flows.steps.areas import find_area
from flows.steps.index.follow_ups import Order, claimed, due, keep_standing
from flows.tend_here import follow
from flows.train_model import train_model
from products.devices import DeviceChoice
from products.errors import RequestError
from products.registry import features_at, features_recipe, model_recipe, parse_recipe

RecipeText = Annotated[
    str, Field(title="Recipe", description="A name such as mangrove_features, or a whole features recipe in YAML.")
]
AreaText = Annotated[
    str, Field(title="Area", description="A known name, west,south,east,north in degrees, or GeoJSON with polygons.")
]
PeriodText = Annotated[str, Field(title="Period", description="Such as 2020, 2020-03 or 2019-01-01/2020-12-31.")]
ModelText = Annotated[
    str | None, Field(title="Model to train", description="The name of a model recipe, such as mangrove_extent.")
]
LabelsText = Annotated[
    str | None, Field(title="Labels", description="A label file, where the model recipe names none.")
]
ThenMap = Annotated[bool, Field(title="Map", description="Map the same area and period with the trained model.")]
KeepUp = Annotated[bool, Field(title="Keep up", description="Train and map again whenever the cube changes.")]


RequestId = Annotated[str | None, Field(title="Request", description="Of the request page, which fills it in.")]


def _run_name() -> str:
    """`request-demo-2020`; an area in GeoJSON is a drawn one."""
    asked = runtime.flow_run.parameters
    area = "drawn" if str(asked["area"]).lstrip().startswith("{") else asked["area"]
    return f"request-{area}-{asked['period']}"


@flow(name="request-product", flow_run_name=_run_name)
def request_product(
    recipe: RecipeText,
    area: AreaText,
    period: PeriodText,
    train: ModelText = None,
    labels: LabelsText = None,
    then_map: ThenMap = True,
    keep_up: KeepUp = False,
    device: DeviceChoice = "auto",
    workers: Annotated[int, Field(ge=1, le=64, title="Processes")] = 1,
    provisional: Annotated[bool, Field(title="Also unsettled periods")] = False,
    request: RequestId = None,
) -> dict[str, Any]:
    """Build a cube over an area and a period and, if asked, train a model on it and map with that; nothing follows a failed cell."""
    with _reported(request) as report:
        home = get_settings().home
        source, place = recipe_argument(recipe, home), area_argument(area, home)
        if train:
            check_model(train, source, labels)
        built = build_cube(source, place, period, device, workers, provisional)
        found: dict[str, Any] = {"built": built, "trained": None, "mapped": None}
        if train is None:
            announce_cube(built, recipe, place, period)
        else:
            drawn = area if area.lstrip().startswith("{") else None
            order = Order(train, place, period, labels, then_map, drawn)
            found |= outlasting(_run_chain)(order, built, keep_up)
        report(found)
    leave_markdown(
        "request", _summary(found), f"{recipe if is_name(recipe) else 'A recipe'} over {Path(place).stem}, {period}"
    )
    return found


def recipe_argument(recipe: str, home: Path) -> str:
    """The name itself, or a file in `home` that now holds the YAML text; paths are refused: forms reach no files."""
    if is_name(recipe):
        return recipe
    if "\n" not in recipe.strip():
        raise RequestError(f"expected the name of a recipe or its whole YAML text, got {recipe!r}: paste the text")
    parse_recipe(recipe, "the recipe in the request")
    path = home / "requests" / f"{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.recipe.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(recipe, encoding="utf-8")
    return str(path)


def check_model(train: str, features: str, labels: str | None) -> None:
    """RequestError, before anything is built, if the model could not be trained on these features or has no labels."""
    model, wanted = model_recipe(train), features_recipe(features)
    learned_from = features_recipe(features_at(model))
    if (learned_from.name, learned_from.version, learned_from.digest()) != (
        wanted.name,
        wanted.version,
        wanted.digest(),
    ):
        raise RequestError(
            f"the model {model.name} learns from {learned_from.name} version {learned_from.version}, the request asks "
            f"for {wanted.name} version {wanted.version}: ask for {model.features}, or train another model"
        )
    if not (labels or model.samples.labels):
        raise RequestError(f"the model recipe {model.name} names no labels: give a label file")


def is_name(recipe: str) -> bool:
    """Whether it is a plain recipe name."""
    return recipe.isidentifier()


@contextmanager
def _reported(request: str | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Begins the request that the run is for, and is what ends it: as done, with what is handed in, or as failed, with the cause."""

    @outlasting
    def tell(step: Callable[..., None], *how: Any) -> None:  # noqa: ANN401, of requesting.finish
        if request:
            with open_index(get_settings()) as index:
                step(index, UUID(request), *how)

    tell(begin)
    try:
        yield lambda found: tell(finish, "done", None, _kept(found))
    except Exception as error:
        tell(finish, "failed", str(error) or type(error).__name__)
        raise


def _kept(found: dict[str, Any]) -> dict[str, Any]:
    """What a request keeps of its result: where the cube, the model and the map lie."""
    built, trained, mapped = found["built"], found["trained"], found["mapped"]
    counts = {name: built[name] for name in ("built", "fresh", "seconds", "bytes_read")}
    return {
        "built": counts | {"cube": built["asked_cube"]},
        "model": trained["model"] if trained else None,
        "map": mapped["asked_cube"] if mapped else None,
    }


def _run_chain(order: Order, built: dict[str, Any], keep_up: bool) -> dict[str, Any]:
    """Train and map here, claimed before the event goes out, so that what the event wakes finds nothing left to do."""
    with open_index(get_settings()) as index:
        if keep_up:
            keep_standing(index, order)
        training = due(index, order, find_area(order.area).name)
        assert training is not None
        with claimed(index, training, wait=True):
            announce_cube(built, order.model, order.area, order.period)
            trained = follow(index, training, train_model, map_area)
        mapping = order.mapping(trained["model"], training.parameters["cube"])
        with claimed(index, mapping, wait=True):
            announce_model(trained)
            mapped = follow(index, mapping, train_model, map_area) if order.then_map else None
    return {"trained": trained, "mapped": mapped}


def _summary(found: dict[str, Any]) -> str:
    lines = [f"- cube: `{found['built']['asked_cube']}`"]
    if found["trained"]:
        lines.append(f"- model: `{found['trained']['model']}`, {found['trained']['metrics']['score']}")
    if found["mapped"]:
        lines.append(f"- map: `{found['mapped']['asked_cube']}`")
    return "\n".join(lines)
