"""The command `sample`."""

from typing import Any

import click

from flows.console import as_json_option, emit, progress_on_stderr


@click.command()
@as_json_option
@click.argument("recipe")
@click.option("--area", help="Where to sample; default: the recipe's. A name, a path, or west,south,east,north.")
@click.option("--period", help="When to sample; default: the recipe's. Such as 2020.")
@click.option("--labels", help="The file of the source of labels that the recipe leaves open.")
def sample(as_json: bool, recipe: str, area: str | None, period: str | None, labels: str | None) -> None:
    """Draw the training set of RECIPE from published cells, under labels: a table of pixels, or chips. The same again gives the same set.

    Example: neocube sample mangrove_samples --area demo --period 2020 --labels var/demo/archive/truth/labels.geojson
    """
    from flows.prefect_api import has_prefect_api

    asked: dict[str, Any] = {"recipe": recipe, "area": area, "period": period, "labels": labels}
    if has_prefect_api():
        from flows.sample_area import sample_area

        document = sample_area(**asked)
    else:
        from flows.sample_here import sample as sample_here

        with progress_on_stderr(f"sampling {recipe}"):
            document = sample_here(**asked).document()
    emit(document, as_json, _drawn)


def _drawn(document: dict[str, Any]) -> str:
    head = f"samples {document['samples']}{'' if document['drawn'] else ' were there already'}"
    rows = [f"  {name}: {count}" for name, count in document["rows"].items()]
    dropped = [f"dropped, {cause.replace('_', ' ')}: {count}" for cause, count in document["dropped"].items()]
    notes = [f"note: {note}" for note in document["notes"]]
    if count := document["stale_cells"]:
        notes.append(f"note: {count} cells are stale; `neocube build` renews them")
    return "\n".join([head, *rows, *dropped, *notes, document["path"]])
