"""What the index says of a model: its product and its dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from odc.geo.geobox import GeoBox

from flows.steps.cubes.cells import EO3
from flows.steps.index.derived_rows import CONTENT_DIGEST
from flows.steps.networks.encoder_file import Encoder
from products.learning.components import Components
from products.learning.learned import Learned
from products.learning.recipe import LearnedRecipe
from products.period import Period

FAMILY = "model"


@dataclass(frozen=True, slots=True)
class ModelDraft:
    """A model or transform ready to publish; `geobox` and `periods` say where and when it was learned, `encoder` what it began with."""

    id: UUID
    recipe: LearnedRecipe
    learned: Learned | Components | Encoder
    card: Mapping[str, Any]
    geobox: GeoBox
    periods: tuple[Period, ...]
    encoder: UUID | None = None


def model_document(draft: ModelDraft, learned: str, cells: Sequence[UUID]) -> dict[str, Any]:
    """The EO3 document of a model; its place and time are those of its training cells."""
    simulated = draft.card["simulated"]
    start, end = min(p.start for p in draft.periods), max(p.end for p in draft.periods) - timedelta(microseconds=1)
    return {
        "$schema": EO3,
        "id": str(draft.id),
        "label": f"{draft.recipe.name} {draft.recipe.version} {str(draft.id)[:8]}",
        "product": {"name": draft.recipe.name},
        "crs": str(draft.geobox.crs),
        "geometry": draft.geobox.extent.json,
        "grids": {"default": {"shape": list(draft.geobox.shape), "transform": list(draft.geobox.affine)}},
        "properties": {
            "datetime": start.isoformat(),
            "dtr:start_datetime": start.isoformat(),
            "dtr:end_datetime": end.isoformat(),
            "odc:processing_datetime": datetime.now(UTC).isoformat(),
            "odc:file_format": learned.rpartition(".")[2],
            "odc:product_family": FAMILY,
            "neocube:product_version": draft.recipe.version,
            "neocube:digest": draft.recipe.digest(),
            CONTENT_DIGEST: draft.learned.digest(),
            **({} if simulated is None else {"neocube:simulated": simulated}),
        },
        "measurements": {},
        "accessories": {"card": {"path": "card.md"}, learned.partition(".")[0]: {"path": learned}},
        "lineage": {"features": [str(cell) for cell in cells]}
        | ({"encoder": [str(draft.encoder)]} if draft.encoder else {}),
    }
