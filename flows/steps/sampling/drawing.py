"""Draw a training set: labels onto cells, cleaned, drawn, published as a product of its own; found where it was drawn already."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from datacube_config.connection import Index
from flows.steps.cubes.credits import sources_of
from flows.steps.index.product_binding import bind_product, check_binding
from flows.steps.learning.label_facts import LabelSource
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.training import software_versions
from flows.steps.sampling.label_sources import LabelFiles, open_source
from flows.steps.sampling.matches import read_measurements
from flows.steps.sampling.sample_files import PICTURE, SampleFiles
from flows.steps.sampling.sample_sets import SamplesDraft, SampleSet, WriteFiles, found_samples, publish_samples
from flows.steps.sampling.sampled_cells import SampledCells
from flows.steps.sampling.writing import write_matches, write_pixels, write_set_of_chips
from flows.steps.storage import Storage
from products.identity import NAMESPACE
from products.learning.samples_recipe import SamplesRecipe
from products.period import Period
from products.scene_recipe import canonical_digest

SAMPLING_VERSION = 3  # raised whenever other samples are drawn from the same cells and labels


@dataclass(frozen=True, slots=True)
class DrawnSet:
    """What drawing gave: `drawn` is False where the same set was there already."""

    set: SampleSet
    drawn: bool
    n_stale: int

    def document(self) -> dict[str, Any]:
        """As the contract shows it."""
        about, files = self.set.about, self.set.files
        shown = ("samples", "name", "kind", "rows", "dropped", "notes", "simulated")
        places = {"path": files.path(files.content), "picture": files.path(PICTURE)}
        return {name: about[name] for name in shown} | places | {"drawn": self.drawn, "stale_cells": self.n_stale}


def draw_samples(
    index: Index,
    storage: Storage,
    recipe: SamplesRecipe,
    cells: SampledCells,
    labels: Sequence[LabelFiles],
    threads: int,
) -> DrawnSet:
    """The training set of this recipe, these cells and labels: drawn and published, or found."""
    ground = cells.grid.mosaic(cells.tiles).pad(recipe.chips.size_px if recipe.chips else 0)
    sources = [open_source(each, recipe.classes, ground) for each in labels]

    def write(files: SampleFiles) -> dict[str, Any]:
        return (
            write_set_of_chips(files, recipe, cells, sources, threads)
            if recipe.chips
            else write_pixels(files, recipe, cells, sources, threads)
        )

    return _published(index, storage, recipe, cells, [each.source for each in sources], write)


def match_samples(
    index: Index, storage: Storage, recipe: SamplesRecipe, cells: SampledCells, file: LabelFile, threads: int
) -> DrawnSet:
    """The training set of measurements on the ground and what these cells show there: matched and published, or found."""
    assert recipe.matches is not None
    measured = read_measurements(file, recipe.matches, cells.grid.crs)

    def write(files: SampleFiles) -> dict[str, Any]:
        return write_matches(files, recipe, cells, measured, threads)

    return _published(index, storage, recipe, cells, [measured.source], write)


def _published(
    index: Index,
    storage: Storage,
    recipe: SamplesRecipe,
    cells: SampledCells,
    labels: Sequence[LabelSource],
    write: WriteFiles,
) -> DrawnSet:
    number = samples_id(recipe, cells.ids, [each.digest for each in labels])
    if found := found_samples(index, storage, recipe, number):
        return DrawnSet(found, False, cells.n_stale)
    check_binding(index, recipe.name, recipe.version, recipe.digest())
    about = set_document(index, recipe, cells, labels, number)
    times = [each.time for each in cells.cells]
    span = Period(min(time.start for time in times), max(time.end for time in times))

    def written(files: SampleFiles) -> dict[str, Any]:
        made = about | write(files)
        bind_product(index, recipe.name, recipe.version, recipe.digest())
        return made

    draft = SamplesDraft(number, recipe, cells.grid.mosaic(cells.tiles), span, cells.ids, written)
    return DrawnSet(publish_samples(index, storage, draft), True, cells.n_stale)


def samples_id(recipe: SamplesRecipe, cells: Iterable[UUID], labels: Sequence[str]) -> UUID:
    """uuid5 of the recipe's name, version and digest, the cells in any order, the digests of the labels in their order and the code that draws."""
    document = {
        "samples": recipe.name,
        "version": recipe.version,
        "recipe": recipe.digest(),
        "cells": sorted(map(str, cells)),
        "labels": list(labels),
        "sampling": SAMPLING_VERSION,
    }
    return uuid5(NAMESPACE, canonical_digest(document))


def set_document(
    index: Index, recipe: SamplesRecipe, cells: SampledCells, labels: Sequence[LabelSource], number: UUID
) -> dict[str, Any]:
    """What is known of a set before it is drawn: the same whenever it is drawn again."""
    simulated = any(each.simulated for each in labels) or any(
        each.is_simulated for each in sources_of(index, cells.ids)
    )
    return {
        "samples": str(number),
        "name": recipe.name,
        "version": recipe.version,
        "title": recipe.title,
        "recipe": recipe.model_dump(mode="json", exclude_defaults=True, by_alias=True),
        "features": cells.recipe.name,
        "features_version": cells.recipe.version,
        "classes": list(recipe.classes),
        "area": cells.area.name,
        "period": cells.asked.label,
        "crs": cells.grid.crs,
        "labels": [_label_document(spec, source) for spec, source in zip(_specs(recipe), labels, strict=True)],
        "cells": sorted(map(str, cells.ids)),
        "simulated": simulated,
        "software": software_versions(),
        "sampling_version": SAMPLING_VERSION,
    }


def _specs(recipe: SamplesRecipe) -> Sequence[Any]:
    return recipe.labels or (recipe.matches,)


def _label_document(spec: Any, source: LabelSource) -> dict[str, Any]:  # noqa: ANN401
    """A source of labels: what its file is called, what the recipe says it is, and its digest."""
    said = {name: getattr(spec, name, None) for name in ("dataset", "dataset_version", "epoch", "stable_across")}
    named = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items() if value}
    return {"file": source.file.name, "digest": source.digest, "crs": source.crs, "simulated": source.simulated} | named
