"""The estimators that a recipe may ask for: exactly one of them."""

from pydantic import Field

from products.closed import Closed
from products.learning.chip_spec import ChipSpec
from products.learning.network_spec import DeeplabSpec, UnetSpec
from products.learning.one_kind import OneKind
from products.learning.temporal_spec import LtaeSpec, TempcnnSpec


class RandomForestSpec(Closed):
    """A random forest (Breiman 2001, Machine Learning 45, 5-32)."""

    trees: int = Field(ge=1, le=5000, default=200)
    max_depth: int = Field(ge=1, le=64, default=16)
    min_leaf: int = Field(ge=1, default=2)


class GradientBoostingSpec(Closed):
    """Gradient-boosted trees on histograms (Friedman 2001, Ann. Stat. 29, 1189-1232; Ke et al. 2017, NIPS), `rounds` trees for each class."""

    rounds: int = Field(ge=1, le=5000, default=100)
    learning_rate: float = Field(gt=0, le=1, default=0.1)
    max_leaves: int = Field(ge=2, le=4096, default=31)
    min_leaf: int = Field(ge=1, default=20)
    l2: float = Field(ge=0, default=0.0)


class LinearSpec(Closed):
    """Multinomial logistic regression of standardised features; `l2` is the weight of its penalty."""

    l2: float = Field(gt=0, default=1.0)
    max_iterations: int = Field(ge=1, default=1000)


class KnnSpec(Closed):
    """The classes of the `neighbours` nearest training pixels in standardised features (Cover and Hart 1967, IEEE TIT 13, 21-27)."""

    neighbours: int = Field(ge=1, le=1000, default=5)


class KmeansSpec(Closed):
    """Clusters of standardised features, found without labels (Lloyd 1982, IEEE TIT 28, 129-137), then named by their labelled pixels."""

    clusters: int = Field(ge=2, le=10_000, default=30)
    starts: int = Field(ge=1, le=100, default=4)


Kind = (
    RandomForestSpec
    | GradientBoostingSpec
    | LinearSpec
    | KnnSpec
    | KmeansSpec
    | UnetSpec
    | DeeplabSpec
    | TempcnnSpec
    | LtaeSpec
    | ChipSpec
)


class EstimatorSpec(OneKind):
    """The estimator: exactly one kind; a random forest where none is named."""

    random_forest: RandomForestSpec | None = None
    gradient_boosting: GradientBoostingSpec | None = None
    linear: LinearSpec | None = None
    knn: KnnSpec | None = None
    kmeans: KmeansSpec | None = None
    unet: UnetSpec | None = None
    deeplab: DeeplabSpec | None = None
    tempcnn: TempcnnSpec | None = None
    ltae: LtaeSpec | None = None
    chips: ChipSpec | None = None

    @property
    def spec(self) -> Kind:
        """What the recipe says of it."""
        found: Kind = getattr(self, self.kind)
        return found
