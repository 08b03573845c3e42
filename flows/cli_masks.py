"""The commands `masks`: how good the masks of clouds and shadows are."""

from typing import Any

import click

from flows.console import as_json_option, emit, progress_on_stderr

TARGETS = ("cloud", "cloud_shadow", "thin_cirrus")


@click.group()
def masks() -> None:
    """Hold masks of clouds and shadows against known truth.

    Example: neocube masks score mangrove_features --truth var/demo/archive/truth --area demo --period 2020 --json
    """


@masks.command()
@as_json_option
@click.argument("recipe")
@click.option("--truth", required=True, help="The folder `truth` that `neocube simulate` wrote.")
@click.option("--area", required=True, help="A name, a path, or west,south,east,north.")
@click.option("--period", required=True, help="Such as 2020.")
def score(as_json: bool, recipe: str, truth: str, area: str, period: str) -> None:
    """Score the masks that RECIPE says are clear, as its cells use them, on a simulated archive that is ingested.

    Omission is the share of true cloud or shadow that is left in use; commission the share of what is called cloud or shadow that is clear. They are given
    for all pixels and for the grounds where masks fail: sand, mudflat, turbid water, and the fringe within 60 m of the shore.

    Example: neocube masks score mangrove_features --truth var/demo/archive/truth --area demo --period 2020
    """
    from flows.score_masks import score_masks

    with progress_on_stderr("scoring") as tell:
        document = score_masks(recipe, truth, area, period, tell)
    emit(document, as_json, _scored)


@masks.command()
@as_json_option
@click.argument("files", nargs=-1, required=True)
@click.option("--model", type=click.Choice(["omnicloudmask"]), required=True, help="The model that masks them.")
@click.option("--resolution-m", type=click.FloatRange(10, 50), required=True, help="The pixels of the pictures.")
def chips(as_json: bool, files: tuple[str, ...], model: str, resolution_m: float) -> None:
    """Score the mask that a model makes of real pictures with labelled clouds: FILES in the form of the tests of ukis-csmask (.npz).

    Masks that come with scenes, as QA_PIXEL and SCL, cannot be scored on them: the pictures have none.

    Example: neocube masks chips sentinel2.npz --model omnicloudmask --resolution-m 10
    """
    from datacube_config.settings import get_settings
    from flows.steps.learning.cloud_chips import chip_scores, read_chip
    from flows.steps.loading.cloud_model import VERSION, require_model
    from flows.steps.loading.model_masks import classifier
    from flows.steps.loading.raster_access import raster_access

    weights = raster_access(get_settings()).mask_weights
    pictures = {name: read_chip(name) for name in files}
    require_model(VERSION, weights)
    scores = {name: chip_scores(chip, classifier(VERSION, weights), resolution_m) for name, chip in pictures.items()}
    emit({"model": f"{model} {VERSION}", "scores": scores}, as_json, _of_chips)


@masks.command()
@as_json_option
@click.argument("archive")
@click.option("--out", required=True, help="The folder for the weights.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed gives the same weights."
)
def learn(as_json: bool, archive: str, out: str, seed: int) -> None:
    """Train networks of the shape of OmniCloudMask's on ARCHIVE, which `neocube simulate` wrote, and write their weights under the names that its package
    expects.

    They let masks by a model run where the published weights cannot be had. They know made-up skies only; cells that they mask are
    others than those of the published weights. Judge them on an archive of another seed.

    Example: neocube masks learn var/sky --out var/sky-weights
    """
    from pathlib import Path

    from flows.steps.simulation.mask_weights import write_mask_weights

    with progress_on_stderr("learning") as tell:
        document = write_mask_weights(Path(out), Path(archive), seed, tell=tell)
    emit({"weights": out, "networks": document}, as_json, lambda told: f"{len(told['networks'])} networks in {out}")


@masks.command()
@as_json_option
@click.argument("archive")
@click.option("--out", required=True, help="The folder for the pictures.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the haze of each scene.")
def pictures(as_json: bool, archive: str, out: str, seed: int) -> None:
    """Write the scenes of ARCHIVE, which `neocube simulate` wrote, as labelled pictures at the top of the atmosphere: COLLECTION.npz, in the form of the
    test files of ukis-csmask.

    `neocube train` takes them as tables: a network that has learned the made-up skies is the `weights` of one that learns from a few real pictures.

    Example: neocube masks pictures var/sky --out var/sky-pictures
    """
    from pathlib import Path

    from flows.steps.simulation.sky_pictures import write_labelled_pictures

    document = {"folder": out, "shares": write_labelled_pictures(Path(out), Path(archive), seed)}
    emit(document, as_json, lambda told: "\n".join(f"{name}: {shares}" for name, shares in told["shares"].items()))


def _scored(document: dict[str, Any]) -> str:
    return f"{document['scenes']} scenes, {len(document['without_truth'])} without truth\n{_table(document['scores'])}"


def _of_chips(document: dict[str, Any]) -> str:
    return f"{document['model']}\n{_table(document['scores'])}"


def _table(scores: dict[str, Any]) -> str:
    lines = [
        f"{'% of observations':<28}{'cloud':>15}{'shadow':>15}{'cirrus':>15}{'clear':>8}{'used, not':>11}",
        f"{'':<28}{'omit  commit':>15}{'omit  commit':>15}{'omit  commit':>15}{'lost':>8}{'clear':>11}",
    ]
    for group, strata in scores.items():
        lines.append(group)
        for stratum, found in strata.items():
            pairs = "".join(
                f"{_percent(found[name]['omission']):>8}{_percent(found[name]['commission']):>7}" for name in TARGETS
            )
            lines.append(
                f"  {stratum:<26}{pairs}{_percent(found['clear_lost']):>8}{_percent(found['used_not_clear']):>11}"
            )
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
