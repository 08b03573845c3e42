"""The commands `assess`: how good a map is, and how large its classes are."""

from typing import Any

import click

from flows.console import as_json_option, emit, progress_on_stderr


@click.group()
def assess() -> None:
    """Accuracy and areas of a map with 95 % intervals, from a stratified probability sample (Olofsson et al. 2014).

    Example: neocube assess design mangrove_map --area demo --period 2020 --json
    """


@assess.command()
@as_json_option
@click.argument("name", metavar="MAP")
@click.option("--area", help="With a product's name: a name, a path, or west,south,east,north.")
@click.option("--crs", help="Which zone, where the area has several, such as EPSG:32647.")
@click.option("--period", help="Such as 2020; needed where the map has several.")
@click.option("--until", help="A later period of the map: strata are then what stayed and what changed.")
@click.option("--points", type=click.IntRange(2), help="Size of the sample; default: from --standard-error.")
@click.option(
    "--standard-error", type=click.FloatRange(0.001, 0.2), default=0.01, show_default=True, help="Of overall accuracy."
)
@click.option(
    "--expect",
    type=click.FloatRange(0.5, 0.999),
    default=0.85,
    show_default=True,
    help="User's accuracy that is expected.",
)
@click.option(
    "--least",
    type=click.IntRange(2),
    default=50,
    show_default=True,
    help="Points of a rare stratum, if it has so many (Olofsson et al. 2014, section 5.1.1: 50 to 100).",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed draws the same sample."
)
@click.option("--out", help="The sample: .gpkg or .geojson; default: named after map and period, in this folder.")
def design(
    as_json: bool, name: str, area: str | None, crs: str | None, period: str | None, until: str | None, points: int | None,
    standard_error: float, expect: float, least: int, seed: int, out: str | None,
) -> None:  # fmt: skip
    """Draw pixels of MAP for interpretation: fill their field `reference` from better data, without looking at the map.

    MAP is the product of a map over --area, or the path or URL of a snapshot, as `map` prints it. With an area its pixels are drawn, without one all
    pixels of the snapshot. Strata are the classes; rare ones get --least points, the rest of the points goes by pixel count.

    Example: neocube assess design mangrove_map --area demo --period 2020 --points 300 --out var/mangrove_sample.gpkg
    """
    from flows.assess_here import design_sample
    from flows.steps.learning.assessment import SampleOrder
    from products.errors import RequestError

    if until and not period:
        raise RequestError(f"expected --period, the earlier one, with --until {until}")
    order = SampleOrder(points, standard_error, expect, least, seed)
    with progress_on_stderr(f"sampling {name}"):
        document = design_sample(name, area, crs, tuple(each for each in (period, until) if each), order, out)
    emit(document, as_json, _designed)


@assess.command("estimate")
@as_json_option
@click.argument("name", metavar="MAP")
@click.argument("sample")
def estimate_command(as_json: bool, name: str, sample: str) -> None:
    """Accuracy and areas of MAP from its interpreted SAMPLE; also written beside it as JSON and as a picture.

    Example: neocube assess estimate mangrove_map var/mangrove_sample.gpkg
    """
    from flows.prefect_api import has_prefect_api

    if has_prefect_api():
        from flows.assess_map import assess_map

        document = assess_map(name, sample)
    else:
        from flows.assess_here import estimate_map

        document = estimate_map(name, sample)
    emit(document, as_json, _estimated)


def _designed(document: dict[str, Any]) -> str:
    strata = [
        f"  {each['name']}: {each['points']} of {each['pixel_count']} pixels, weight {each['weight']:.4f}"
        for each in document["strata"]
        if each["pixel_count"]
    ]
    return "\n".join(
        [f"sample {document['sample']}: {document['points']} points", *strata, f"design {document['design']}"]
    )


def _estimated(document: dict[str, Any]) -> str:
    per_class = document["accuracy"]["per_class"]
    head = f"{document['score']} {_share(document['accuracy']['overall'])} of {document['points']} points"
    lines = [
        f"  {each['class']}: {each['area']['estimate']:.1f} ± {each['area']['half_width_95']:.1f} ha "
        f"(pixel count {each['pixel_count_ha']:.1f} ha), user's {_share(per_class[each['class']]['users'])}, "
        f"producer's {_share(per_class[each['class']]['producers'])}"
        for each in document["areas"]
    ]
    return "\n".join(
        [head, *lines, *(f"note: {note}" for note in document["notes"]), document["json"], document["picture"]]
    )


def _share(found: dict[str, Any] | None) -> str:
    return "undefined" if found is None else f"{found['estimate']:.3f} ± {found['half_width_95']:.3f}"
