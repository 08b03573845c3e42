"""The commands `subscribe`, `subscriptions` and `unsubscribe`: be told of new scenes over an area."""

from typing import TYPE_CHECKING, Any

import click

from flows.console import as_json_option, emit

if TYPE_CHECKING:
    from flows.steps.index.subscriptions import Subscription

SHARE = click.FloatRange(0, 1)


@click.command()
@as_json_option
@click.argument("name")
@click.argument("product", metavar="RECIPE|MODEL")
@click.option("--area", required=True, help="A name, a path, or west,south,east,north.")
@click.option(
    "--when", help="With a recipe of kind observations such as 'NDVI < 0.3', with a model one of its classes."
)
@click.option("--least-share", type=SHARE, default=0.0, show_default=True, help="Of what was seen, for an alert.")
@click.option("--least-clear", type=SHARE, default=0.0, show_default=True, help="Of the area, for an alert.")
@click.option(
    "--max-age-days", type=click.IntRange(1), default=30, show_default=True, help="Scenes sensed before are no news."
)
def subscribe(
    as_json: bool, name: str, product: str, area: str, when: str | None, least_share: float, least_clear: float,
    max_age_days: int,
) -> None:  # fmt: skip
    """Have each scene that comes from now on over an area answered, by a dated map and, where its condition holds, an alert.

    PRODUCT is a recipe of kind observations, or a trained model. `neocube tend` makes the answers.

    Example: neocube subscribe bare_ground coastal_observations --area demo --when "NDVI < 0.2" --least-share 0.1
    """
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.answer_subscriptions import checked
    from flows.steps.index.subscriptions import keep

    settings = get_settings()
    with open_index(settings) as index:
        wanted = _wanted(index, name, product, area, when, (least_share, least_clear), max_age_days)
        is_new = keep(index, checked(index, settings, wanted))
    emit(
        {"subscription": name, "new": is_new},
        as_json,
        lambda it: f"{name}: {'from now on' if it['new'] else 'kept already'}",
    )


@click.command()
@as_json_option
def subscriptions(as_json: bool) -> None:
    """List the subscriptions, what of them is answered, and how soon after a scene's arrival.

    Example: neocube subscriptions --json
    """
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.steps.index.subscriptions import kept, latencies

    with open_index(get_settings()) as index:
        told = {row["name"]: row for row in latencies(index)}
        rows = [
            {**told[each.name], "recipe": None if "\n" in each.recipe else each.recipe, "model": each.model, "when": each.when}
            for each, _ in kept(index)
        ]  # fmt: skip
    emit(rows, as_json, _listed)


@click.command()
@as_json_option
@click.argument("name")
def unsubscribe(as_json: bool, name: str) -> None:
    """End a subscription; answers that are due are dropped, those that were made stay.

    Example: neocube unsubscribe bare_ground
    """
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.steps.index.subscriptions import end

    with open_index(get_settings()) as index:
        dropped = end(index, name)
    emit(
        {"subscription": name, "dropped": dropped}, as_json, lambda it: f"{name} ended, {it['dropped']} answers dropped"
    )


def _wanted(
    index: Any, name: str, product: str, area: str, when: str | None, shares: tuple[float, float], max_age_days: int  # noqa: ANN401
) -> "Subscription":  # fmt: skip
    """The subscription; a model is a recipe's name that is no recipe of scenes, or an id."""
    import json
    from pathlib import Path

    from datacube_config.settings import get_settings
    from flows.steps.areas import find_area
    from flows.steps.index.subscriptions import Subscription
    from flows.steps.learning.models import find_model
    from flows.steps.storage import open_storage
    from products.registry import features_at, read_recipe, recipe_names, scene_recipe
    from products.scene_recipe import SceneRecipe

    model: str | None = None
    recipe = product
    if product.endswith((".yaml", ".yml")):
        scene_recipe(product)
        recipe = Path(product).read_text(encoding="utf-8")
    elif product not in recipe_names() or not isinstance(read_recipe(product), SceneRecipe):
        model = product
        recipe = features_at(find_model(index, open_storage(get_settings()), product).recipe)
    ground = json.dumps(find_area(area).geometry.json)
    return Subscription(name, recipe, model, ground, when, *shares, max_age_days)


def _listed(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        soon = "" if row["p50_s"] is None else f", p50 {row['p50_s']:.0f} s, p95 {row['p95_s']:.0f} s after arrival"
        what = row["model"] or row["recipe"] or "own recipe"
        when = f" when {row['when']}" if row["when"] else ""
        lines.append(f"{row['name']}: {what}{when}: {row['done']} answered, {row['due']} due{soon}")
    return "\n".join(lines) or "no subscriptions"
