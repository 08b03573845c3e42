"""The encoder that a network begins with, where its recipe names a published one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import shapely

from datacube_config.connection import Index
from flows.steps.learning.learned_version import require_version
from flows.steps.learning.models import find_encoder
from flows.steps.storage import Storage
from products.cell_content import cell_template, stack_names
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from products.learning.splits import BlockSplit
from products.scene_recipe import SceneRecipe

PUBLISHED = "model:"


@dataclass(frozen=True, slots=True)
class Begun:
    """A recipe whose first weights are at hand, and the published encoder that they are, if they are one."""

    recipe: ModelRecipe
    encoder: UUID | None = None


@contextmanager
def first_weights(index: Index, storage: Storage, recipe: ModelRecipe, features: SceneRecipe) -> Iterator[Begun]:
    """The recipe with `weights: model:NAME` as a file, for as long as it is needed; RequestError for an encoder of other features, or none.

    `features` is the recipe of the cells that are learned from.
    """
    kind, spec = recipe.estimator.kind, recipe.estimator.spec
    named = getattr(spec, "weights", None)
    if named is None or not named.startswith(PUBLISHED):
        yield Begun(recipe)
        return
    found = find_encoder(index, storage, named.removeprefix(PUBLISHED))
    if found.recipe.features != recipe.features:
        raise RequestError(
            f"the encoder {found.recipe.name} has learned from {found.recipe.features}, the recipe {recipe.name!r} from {recipe.features}: "
            "expected the same features"
        )
    learned = f"the encoder {found.recipe.name} has learned"
    require_version(learned, found.features_version, features, f"train it again on version {features.version}")
    theirs, ours = found.encoder.feature_names, stack_names(cell_template(features))
    if theirs != ours:
        raise RequestError(
            f"{learned} from the features {', '.join(theirs)}, the cells of {features.name} have {', '.join(ours)}: train it again on these"
        )
    with tempfile.TemporaryDirectory(prefix="neocube-encoder-") as folder:
        path = Path(folder) / "encoder.safetensors"
        path.write_bytes(found.encoder.to_bytes())
        begun = spec.model_copy(update={"weights": str(path)})
        yield Begun(
            recipe.model_copy(update={"estimator": recipe.estimator.model_copy(update={kind: begun})}), found.id
        )


def holdout_seen_by(index: Index, begun: Begun, split: BlockSplit, crs: str) -> str | None:
    """The name of the published encoder that a model begins with, where a sample of the hold-out lies on the ground of the encoder's cells."""
    if begun.encoder is None:
        return None
    row, held = index.dc.index.datasets.get(begun.encoder), split.test_rows(split.holdout)
    ground = row.extent.to_crs(crs).geom
    return str(row.product.name) if shapely.contains_xy(ground, split.x[held], split.y[held]).any() else None
