"""The estimators that a recipe of a table may ask for: exactly one of them."""

from products.closed import Closed
from products.learning.chip_spec import ChipSpec
from products.learning.one_kind import OneKind
from products.learning.temporal_spec import LtaeSpec, TempcnnSpec, TemporalKind, TemporalSpec


class PlainSpec(Closed):
    """An estimator without settings."""


class TableEstimator(OneKind):
    """`random_forest` (100 trees, 5 rows a leaf) where none is named, `linear`, a network over time or a network of whole chips."""

    random_forest: PlainSpec | None = None
    linear: PlainSpec | None = None
    tempcnn: TempcnnSpec | None = None
    ltae: LtaeSpec | None = None
    chips: ChipSpec | None = None

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
