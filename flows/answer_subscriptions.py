"""Answer subscriptions: a new scene gives a dated map and, where its condition holds, an alert; without Prefect."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.failed_work import cell_causes, end_failed
from flows.map_here import make_map
from flows.steps.areas import find_area
from flows.steps.index.catalogue import find_scenes
from flows.steps.index.follow_ups import FollowUp
from flows.steps.index.subscriptions import Subscription, kept, notice
from flows.steps.learning.condition_map import DatedMap, write_condition_map, write_json
from flows.steps.learning.map_files import COGS
from flows.steps.learning.models import Model, find_model
from flows.steps.service.webhook import deliver
from flows.steps.storage import Storage, open_storage
from products.area import Area
from products.condition import parse_condition
from products.errors import RequestError
from products.observations_spec import ObservationsRecipe
from products.passes import WITHIN_A_PASS, passes_of
from products.period import Period
from products.recipe_fields import plain_name
from products.registry import parse_recipe, scene_recipe, wrong_kind
from products.scene import Scene
from products.scene_recipe import SceneRecipe
from products.spec import FeaturesRecipe

AHEAD = timedelta(days=1)  # clocks differ
Tell = Callable[[str, list[str]], None]


class ScenesGone(RequestError):
    """The scenes that an answer is about are not in the index any more; should they come back, they are news again."""


def checked(index: Index, settings: Settings, wanted: Subscription) -> Subscription:
    """The subscription, if new scenes could answer it; RequestError."""
    plain_name(wanted.name)
    recipe = recipe_of(wanted)
    if wanted.model is None:
        if not isinstance(recipe, ObservationsRecipe):
            raise RequestError(
                f"{recipe.name} is of kind {recipe.kind}: expected one of kind observations, whose cells are passes, or a trained model"
            )
        if wanted.when is None:
            raise RequestError(f"expected --when with a recipe, such as --when '{recipe.bands_asked[0]} < 0.1'")
        parse_condition(wanted.when, frozenset(recipe.bands_asked))
        return wanted
    model = find_model(index, open_storage(settings), wanted.model)
    if not isinstance(model, Model) or not isinstance(recipe, FeaturesRecipe):
        raise RequestError(
            f"{wanted.model} makes no map of single periods: expected a model that learned from features"
        )
    names = model.recipe.class_names
    if wanted.when is not None and wanted.when not in names:
        raise RequestError(f"expected --when as one of the classes {', '.join(names)}, got {wanted.when!r}")
    return wanted


def notice_new(index: Index, settings: Settings) -> list[dict[str, str]]:
    """Note the answers that new scenes ask for; the subscriptions that cannot be looked at (`what`, `cause`), which stop no other."""
    now, failed = datetime.now(UTC), list[dict[str, str]]()
    for subscription, since in kept(index):
        span = Period(now - timedelta(days=subscription.max_age_days), now + AHEAD)
        try:
            ground = find_area(str(area_file(settings, subscription)))
            notice(index, subscription, since, _scenes(index, settings, subscription, ground, span))
        except RequestError as error:
            failed.append({"what": subscription.name, "cause": str(error)})
    return failed


def answer(index: Index, settings: Settings, work: FollowUp, tell: Tell) -> dict[str, Any]:
    """Make the map of a pass, then deliver the alert: at least once, under one key; returns what the answer's file holds."""
    asked = work.parameters
    subscription = next((each for each, _ in kept(index) if each.name == asked["subscription"]), None)
    if subscription is None:
        raise RequestError(f"the subscription {asked['subscription']} has ended")
    storage = open_storage(settings)
    sensed = datetime.fromisoformat(asked["sensed_at"])
    folder = storage.path("answers", subscription.name, f"{sensed:%Y-%m-%dT%H%M%SZ}_{work.id.hex[:8]}")
    ground = find_area(str(area_file(settings, subscription)))
    span = Period(sensed - WITHIN_A_PASS, sensed + WITHIN_A_PASS)
    members = [s for s in _scenes(index, settings, subscription, ground, span) if s.pass_id == asked["pass"]]
    if not members:
        raise ScenesGone(f"the scenes of {asked['pass']} are gone from the index: its answer is given up")
    made = _mapped(settings, storage, subscription, ground, members, folder)
    document = {"id": str(work.id), **asked, "when": subscription.when, **made.document()}
    document["alert"] = _is_news(subscription, made)
    document["answered_at"] = datetime.now(UTC).isoformat()
    write_json(storage, f"{folder}/answer.json", document)
    if document["alert"]:
        if settings.alert_webhook:
            deliver(settings.alert_webhook, document, str(work.id))
        tell(f"neocube: {subscription.name}", [_in_words(document)])
    return document


def recipe_of(subscription: Subscription) -> SceneRecipe:
    """The recipe of its cells."""
    if "\n" not in subscription.recipe:
        return scene_recipe(subscription.recipe)
    recipe = parse_recipe(subscription.recipe, f"the recipe of {subscription.name}")
    if not isinstance(recipe, SceneRecipe):
        raise wrong_kind(recipe, "one that is made of scenes")
    return recipe


def area_file(settings: Settings, subscription: Subscription) -> Path:
    """A file in the home that holds its area: cubes over it are called after the subscription."""
    return _kept_file(settings, f"{subscription.name}.geojson", subscription.area)


def _mapped(
    settings: Settings, storage: Storage, subscription: Subscription, ground: Area, members: list[Scene], folder: str
) -> DatedMap:
    recipe, place = recipe_of(subscription), str(area_file(settings, subscription))
    named = subscription.recipe
    if "\n" in named:
        named = str(_kept_file(settings, f"{subscription.name}.recipe.yaml", subscription.recipe))
    one, _ = passes_of(members)[0]
    span = (
        recipe.period.calendar.step_at(one.start) if isinstance(recipe, FeaturesRecipe) else Period(one.start, one.end)
    )
    period = f"{span.start.isoformat()}/{span.end.isoformat()}"
    report = build(named, place, period, provisional=True)
    end_failed(report, cell_causes(report))
    if subscription.model is None:
        crs = recipe.grid.pixel_grid(ground.geometry).crs
        return write_condition_map(storage, report["cube"], crs, one.pass_id, str(subscription.when), ground, folder)
    mapped = make_map(subscription.model, place, period).document()
    end_failed(mapped, cell_causes(mapped))
    hectares = {each["class"]: each["area"] for each in mapped["pixel_area"]}
    whole = sum(hectares.values())
    seen = whole - hectares["no data"]
    found = hectares[subscription.when] if subscription.when else None
    share = found / seen if found is not None and seen else None
    maps, pictures = tuple(path for path in mapped["cogs"] if path.endswith(COGS[0])), tuple(mapped["quicklooks"])
    where = maps[0] if len(maps) == 1 else mapped["stac"]
    return DatedMap(where, pictures[0], seen / whole if whole else 0.0, share, found, maps, pictures)


def _scenes(index: Index, settings: Settings, subscription: Subscription, ground: Area, span: Period) -> list[Scene]:
    return find_scenes(index, recipe_of(subscription).sources, span, ground.geometry, settings.mirrors)


def _is_news(subscription: Subscription, made: DatedMap) -> bool:
    """Whether enough was seen and, where there is a condition, it holds on enough of it, and anywhere."""
    if made.clear_share < subscription.least_clear or not made.clear_share:
        return False
    return subscription.when is None or (bool(made.share) and (made.share or 0.0) >= subscription.least_share)


def _in_words(document: dict[str, Any]) -> str:
    share = "" if document["share"] is None else f"{document['when']} on {document['share']:.1%} of what was seen, "
    seen = f"{document['clear_share']:.0%} of the area seen"
    return f"{document['subscription']}: {document['pass']}: {share}{seen}: {', '.join(document['maps'])}"


def _kept_file(settings: Settings, name: str, content: str) -> Path:
    path = settings.home / "subscriptions" / name
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{name}.partial")
        partial.write_text(content, encoding="utf-8")
        partial.replace(path)
    return path
