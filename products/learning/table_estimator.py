"""The estimators that a recipe of a table may ask for: exactly one of them."""

from typing import Any

from pydantic import model_validator

from products.errors import RequestError
from products.learning.chip_spec import ChipSpec
from products.learning.temporal_spec import LtaeSpec, TempcnnSpec, TemporalKind, TemporalSpec
from products.source_spec import Closed


class PlainSpec(Closed):
    """An estimator without settings."""


class TableEstimator(Closed):
    """`random_forest` (100 trees, 5 rows a leaf) where none is named, `linear`, a network over time or a network of whole chips."""

    random_forest: PlainSpec | None = None
    linear: PlainSpec | None = None
    tempcnn: TempcnnSpec | None = None
    ltae: LtaeSpec | None = None
    chips: ChipSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _one(cls, document: Any) -> Any:  # noqa: ANN401
        if isinstance(document, cls) or not isinstance(document, dict):
            return document
        named = [kind for kind in cls.model_fields if document.get(kind) is not None]
        if len(named) > 1:
            raise RequestError(f"estimator names {' and '.join(named)}: expected exactly one kind")
        return document if named else {**document, "random_forest": {}}

    @property
    def kind(self) -> str:
        """Its key in the recipe."""
        return next(kind for kind in type(self).model_fields if getattr(self, kind) is not None)

    @property
    def temporal(self) -> tuple[TemporalKind, TemporalSpec] | None:
        """Which network over time, and its settings; None if it is none."""
        if self.tempcnn:
            return "tempcnn", self.tempcnn
        return ("ltae", self.ltae) if self.ltae else None

    @property
    def is_network(self) -> bool:
        """Whether it needs the extra `deep`."""
        return bool(self.temporal or self.chips)
