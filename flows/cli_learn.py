"""The commands `train` and `map`."""

from typing import TYPE_CHECKING, Any

import click

from flows.console import as_json_option, device_option, emit, progress_on_stderr

if TYPE_CHECKING:
    from products.devices import DeviceChoice  # imports pandas, for which --help would wait


@click.command()
@as_json_option
@click.argument("recipe")
@click.option("--area", help="Where to learn from; default: the recipe's. A name, a path, or west,south,east,north.")
@click.option("--period", help="When to learn from; default: the recipe's. Such as 2020.")
@click.option("--labels", help="A GeoJSON, GeoPackage or GeoTIFF of labels; default: the recipe's.")
@device_option
@click.option("--table", "tables", multiple=True, help="A file of samples, for a recipe with `table`; once for each.")
@click.option(
    "--pictures", type=click.Path(), help="A folder of labelled pictures, for a recipe with `lines` or `boxes`."
)
def train(
    as_json: bool,
    recipe: str,
    area: str | None,
    period: str | None,
    labels: str | None,
    device: "DeviceChoice",
    tables: tuple[str, ...],
    pictures: str | None,
) -> None:
    """Learn the model of RECIPE from labelled pixels of published features, or a transform (`pca`) or an encoder (`masked`)
    from all of them.

    Example: neocube train mangrove_extent --area demo --period 2020 --labels var/demo/archive/truth/labels.geojson
    """
    from flows.prefect_api import has_prefect_api

    if tables:
        emit(
            _trained_on_tables(recipe, tables, device, {"--area": area, "--period": period, "--labels": labels}),
            as_json,
            _tried,
        )
        return
    if pictures:
        given = {"--area": area, "--period": period, "--labels": labels}
        emit(_trained_on_pictures(recipe, pictures, device, given), as_json, _found)
        return
    asked: dict[str, Any] = {"recipe": recipe, "area": area, "period": period, "labels": labels, "device": device}
    if has_prefect_api():
        from flows.train_model import train_model

        document = train_model(**asked)
    else:
        from flows.train_here import train as train_here

        with progress_on_stderr(f"training {recipe}") as tell:
            document = train_here(**asked, tell=tell).document()
    emit(document, as_json, _trained)


@click.command("map")
@as_json_option
@click.argument("model")
@click.option("--area", help="A name, a path, or west,south,east,north.")
@click.option("--period", help="Such as 2020.")
@device_option
@click.option(
    "--pictures",
    type=click.Path(),
    help="In their place: a folder of pictures, for a model that was learned from some.",
)
def map_command(
    as_json: bool, model: str, area: str | None, period: str | None, device: "DeviceChoice", pictures: str | None
) -> None:
    """Map an area with MODEL, the name or the id of a trained model: a cube, COGs and STAC. A transform gives a cube of components.

    Example: neocube map mangrove_extent --area demo --period 2020
    """
    from flows.failed_work import reported
    from flows.prefect_api import has_prefect_api
    from products.errors import RequestError

    if pictures:
        emit(_found_in_pictures(model, pictures, {"--area": area, "--period": period}), as_json, _shapes)
        return
    if area is None or period is None:
        raise RequestError("expected --area and --period, or --pictures for a model that was learned from pictures")
    if has_prefect_api():
        from flows.map_area import map_area

        document = reported(lambda: map_area(model, area, period, device))
    else:
        from flows.map_here import make_map

        with progress_on_stderr(f"mapping {area}") as tell:
            document = make_map(model, area, period, lambda step: tell(f"{step.share:.0%}"), device).document()
    emit(document, as_json, _mapped, failed=bool(document["failed"]))


def _trained_on_tables(
    recipe: str, tables: tuple[str, ...], device: "DeviceChoice", others: dict[str, str | None]
) -> dict[str, Any]:
    from flows.prefect_api import has_prefect_api
    from flows.train_table import train_table

    _refuse_beside("--table", others, "a table says itself what was seen where")
    if has_prefect_api():
        from flows.train_on_tables import train_on_tables

        return train_on_tables(recipe, list(tables), device)
    with progress_on_stderr(f"trying {recipe}") as tell:
        return train_table(recipe, tables, device, tell)


def _trained_on_pictures(
    recipe: str, folder: str, device: "DeviceChoice", others: dict[str, str | None]
) -> dict[str, Any]:
    from flows.train_pictures import train_pictures

    _refuse_beside("--pictures", others, "pictures have their labels beside them")
    with progress_on_stderr(f"training {recipe}") as tell:
        return train_pictures(recipe, folder, device, tell)


def _found_in_pictures(model: str, folder: str, others: dict[str, str | None]) -> dict[str, Any]:
    from flows.map_pictures import map_pictures

    _refuse_beside("--pictures", others, "pictures lie where they say themselves")
    with progress_on_stderr(f"looking at {folder}") as tell:
        return map_pictures(model, folder, tell)


def _refuse_beside(option: str, others: dict[str, str | None], why: str) -> None:
    from products.errors import RequestError

    if given := [other for other, value in others.items() if value is not None]:
        raise RequestError(f"{why}: leave out {', '.join(given)}, or {option}")


def _shapes(document: dict[str, Any]) -> str:
    found = document["found"]
    head = f"{sum(found.values())} {document['kind']} in {len(found)} pictures{'' if document['looked'] else ', found before'}"
    return "\n".join([head, *(f"  {name}: {n}" for name, n in found.items()), *document["files"], document["picture"]])


def _found(document: dict[str, Any]) -> str:
    metrics = document["metrics"]
    parts = metrics["by_group"] if "by_group" in metrics else metrics["by_class"] | metrics["by_picture"]
    rows = {"all": metrics["all"], **parts}
    scores = [
        f"  {name}: average precision {_three(row['ap50'])} at an overlap of 0.5, {row['true_boxes']} boxes"
        if "ap50" in row
        else f"  {name}: {_distances(row)}, {row['failure_rate']:.0%} of {row['pictures']} failed"
        for name, row in rows.items()
    ]
    return "\n".join(
        [_head(document), *scores, *(f"note: {note}" for note in document["notes"]), f"card {document['card']}"]
    )


def _three(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _distances(row: dict[str, Any]) -> str:
    """In metres where there are some."""
    unit = "px" if row["mean_m"] is None else "m"
    values = [row[f"{name}_{unit}"] for name in ("mean", "median")]
    return "none found" if None in values else f"mean {values[0]:.1f} {unit}, median {values[1]:.1f} {unit}"


def _tried(document: dict[str, Any]) -> str:
    metrics = document["metrics"]
    if "model" in metrics:
        scores = [
            f"  {name}: median symmetric accuracy {metrics[name]['median_symmetric_accuracy_percent']:.1f} %"
            for name in ("model", "baseline")
            if name in metrics
        ]
    else:
        rows = {"all": metrics["all"], **metrics["by_group"]}
        scores = [
            f"  {name}: balanced accuracy {entry['balanced_accuracy']['value']:.3f}, kappa {entry['kappa']['value']:.3f}"
            for name, entry in rows.items()
        ]
    notes = [f"note: {note}" for note in document["notes"]]
    pictures = [f"picture {each}" for each in document.get("pictures", ())]
    return "\n".join([_head(document), *scores, *notes, f"card {document['card']}", *pictures])


def _head(document: dict[str, Any]) -> str:
    return f"model {document['model']}{'' if document['trained'] else ' was there already'}"


def _trained(document: dict[str, Any]) -> str:
    metrics = document["metrics"]
    if "masked_error" in metrics:
        told = "standard deviations; filling in the mean"
        scores = [f"{metrics['score']}: {metrics['masked_error']:.3f} {told}: {metrics['error_of_mean']:.3f}"]
    else:
        scores = _agreement(metrics) if "holdout" in metrics else _explained(metrics)
    notes = [f"note: {note}" for note in document["notes"]]
    return "\n".join([_head(document), *_stale(document), *scores, *notes, f"card {document['card']}"])


def _agreement(metrics: dict[str, Any]) -> list[str]:
    holdout = metrics["holdout"]
    classes = [f"  {name}: F1 {entry['f1']}, {entry['pixels']} pixels" for name, entry in holdout["per_class"].items()]
    found = metrics.get("selection")
    kept = [f"features kept by {found['method']}: {', '.join(found['kept'])}"] if found else []
    return [f"{metrics['score']} on blocks never trained on: {holdout['overall']:.3f}", *classes, *kept]


def _explained(metrics: dict[str, Any]) -> list[str]:
    shares = [f"  {name}: {share:.3f}" for name, share in metrics["explained_variance"].items()]
    return [f"{metrics['score']} of {metrics['pixels']} pixels: {metrics['explained_in_all']:.3f}", *shares]


def _mapped(document: dict[str, Any]) -> str:
    areas = [
        f"  {each['period']} {each['class']}: {each['area']:.1f} {each['unit']}" for each in document["pixel_area"]
    ]
    areas += [
        f"  {each['period']}: the model is applicable to {each['inside_share']:.1%} of the mapped pixels"
        for each in document["applicability"]
        if each["inside_share"] is not None
    ]
    failed = [f"failed {each['cell']}: {each['cause']}" for each in document["failed"]]
    head = [
        f"{document['mapped']} cells mapped, {document['fresh']} were there",
        f"cube {document['cube']}",
        *document["cogs"],
    ]
    notes = [f"note: {note}" for note in document["notes"]]
    return "\n".join([*head, *_stale(document), *notes, *areas, *failed])


def _stale(document: dict[str, Any]) -> list[str]:
    count = document["stale_cells"]
    return [f"note: {count} feature cells are stale; `neocube build` renews them"] if count else []
