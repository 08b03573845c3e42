"""Draw a training set from published cells: without Prefect."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from flows.learning_cells import given_or_named, sampled_with_state
from flows.run_logs import logged_run
from flows.steps.areas import find_area
from flows.steps.learning.label_files import LabelFile, label_file
from flows.steps.sampling.drawing import DrawnSet, draw_samples, match_samples
from flows.steps.sampling.label_sources import LabelFiles
from flows.steps.storage import open_storage, s3_options
from products.errors import RequestError
from products.learning.label_spec import LabelsSpec
from products.learning.samples_recipe import SamplesRecipe
from products.period import parse_period
from products.registry import features_at, samples_recipe, scene_recipe


@logged_run("sample")
def sample(recipe: str, area: str | None = None, period: str | None = None, labels: str | None = None) -> DrawnSet:
    """Draw the training set of a recipe, or find it where it was drawn already; what is not given is the recipe's."""
    settings, spec = get_settings(), with_labels(samples_recipe(recipe), labels)
    ground = find_area(given_or_named(spec, "area", area or spec.area))
    span = parse_period(given_or_named(spec, "period", period or spec.period))
    storage, wanted = open_storage(settings), scene_recipe(features_at(spec))
    storage.check_writable()
    with open_index(settings) as index, ExitStack() as stack:
        cells = sampled_with_state(index, settings, wanted, ground, span)
        threads = settings.decode_thread_count
        if spec.matches is not None:
            file = stack.enter_context(label_file(str(spec.matches.file), s3_options(settings)))
            return match_samples(index, storage, spec, cells, file, threads)
        files = label_files(spec, stack, s3_options(settings))
        return draw_samples(index, storage, spec, cells, files, threads)


def with_labels(recipe: SamplesRecipe, place: str | None) -> SamplesRecipe:
    """The recipe with a file for the one source of labels that names none, or for its only source; RequestError where that is not clear."""
    if recipe.matches is not None:
        if place is None and recipe.matches.file is None:
            raise RequestError(f"the recipe {recipe.name} names no file of its matches: give --labels")
        matches = recipe.matches.model_copy(update={"file": place or recipe.matches.file})
        return recipe.model_copy(update={"matches": matches})
    nameless = [number for number, source in enumerate(recipe.labels) if source.file is None]
    if place is None:
        if nameless:
            raise RequestError(f"the recipe {recipe.name} names no file of its labels: give --labels")
        return recipe
    chosen = nameless or list(range(len(recipe.labels)))
    if len(chosen) != 1:
        raise RequestError(
            f"--labels {place} could be any of {len(chosen)} sources of {recipe.name}: name all files but one in the recipe"
        )
    sources = list(recipe.labels)
    sources[chosen[0]] = sources[chosen[0]].model_copy(update={"file": place})
    return recipe.model_copy(update={"labels": tuple(sources)})


def label_files(recipe: SamplesRecipe, stack: ExitStack, options: Mapping[str, Any]) -> list[LabelFiles]:
    """The files of all label sources, on this machine as long as the stack is open."""

    def here(place: str) -> LabelFile:
        return stack.enter_context(label_file(place, options))

    return [_files_of(source, here) for source in recipe.labels]


def _files_of(source: LabelsSpec, here: Callable[[str], LabelFile]) -> LabelFiles:
    assert source.file is not None
    others = tuple(here(place) for place in source.stable_across)
    return LabelFiles(source, here(source.file), others, here(source.image) if source.image else None)
