"""The recipe of a model: what to learn from, how to split it, which estimator, and the map it makes."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.learning.estimator_spec import EstimatorSpec
from products.learning.from_features import FromFeatures
from products.learning.label_codes import LabelValue, label_codes, one_meaning
from products.learning.network_spec import Kind, NetworkSpec
from products.learning.split_spec import SplitSpec
from products.learning.temporal_spec import TemporalKind, TemporalSpec
from products.learning.tune_spec import TuneSpec
from products.recipe_fields import PlainName, Seed, Version, plain_name
from products.scene_recipe import canonical_digest

NOT_PIXELS = {"name", "version", "title", "area", "period", "map", "features_file"}
YearOrPeriod = Annotated[str | None, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


def named_once(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The names of classes; RequestError for one that is no plain name, or stands twice."""
    for name in classes:
        plain_name(name)
        if classes.count(name) > 1:
            raise RequestError(f"the class {name!r} stands twice in classes: name each once")
    return classes


class SamplesSpec(Closed):
    """Where labelled pixels come from: a vector file with `class_field`, or a raster; classes get the codes 1, 2, ….

    `values` says which label values mean a class (default: its name in a vector file, its code in a raster), `ignore`
    which mean none. A pixel counts if it lies wholly inside a label and at least `edge_px` pixels from its edge; in a
    finer label raster, `min_label_fraction` of the pixel must be of one class. Or `product`: the name or id of a training set, whose classes are kept.
    """

    labels: str | None = None
    product: str | None = None
    class_field: str = "class"
    classes: tuple[str, ...] = Field(min_length=2, max_length=254)
    values: dict[str, tuple[LabelValue, ...]] = Field(default={})
    ignore: tuple[LabelValue, ...] = ()
    max_per_class: int = Field(ge=1, default=20_000)
    min_label_fraction: float = Field(gt=0.5, le=1.0, default=0.9)
    edge_px: int = Field(ge=0, le=50, default=1)

    @field_validator("classes")
    @classmethod
    def _plain(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return named_once(classes)

    @model_validator(mode="after")
    def _one_meaning(self) -> "SamplesSpec":
        if self.product and (self.labels or self.values or self.ignore):
            raise RequestError("`product` is a training set drawn already: leave `labels`, `values` and `ignore` out")
        for name in self.values:
            if name not in self.classes:
                raise RequestError(f"values names the class {name!r}: expected one of {', '.join(self.classes)}")
        one_meaning(self.values, self.ignore)
        return self

    def codes(self, *, by_number: bool) -> dict[LabelValue, int]:
        """Label value of a raster, `by_number`, or of a vector file -> class code; 0 for ignored values."""
        own = [(code if by_number else name,) for code, name in enumerate(self.classes, start=1)]
        return label_codes(self.classes, self.values, self.ignore, own)


class SelectionSpec(Closed):
    """Which features the estimator gets, chosen on the folds that are not held out.

    `mutual_information` with the class and `permutation` (agreement lost where a feature is shuffled `repeats` times) keep the
    `keep` best; `recursive` leaves out the weakest one by one and keeps the number that agrees best, at least `keep`.
    """

    method: Literal["mutual_information", "permutation", "recursive"]
    keep: int = Field(ge=1, le=1000)
    repeats: int = Field(ge=1, le=100, default=5)


class ExplainSpec(Closed):
    """What the card tells of the features a model looks at, on at most `pixels` of the hold-out.

    Each feature is shuffled `repeats` times; `shap` adds what each feature adds to each class, for models of trees.
    """

    pixels: int = Field(ge=10, le=100_000, default=1000)
    repeats: int = Field(ge=1, le=100, default=5)
    shap: bool = False


class MapSpec(Closed):
    """The product that this model's maps belong to."""

    name: PlainName


class LearnedRecipe(FromFeatures):
    """What every recipe of `kind: model` has that is learned from cells: the features to learn from, where and when."""

    name: PlainName
    version: Version
    kind: Literal["model"]
    title: str = ""
    area: str | None = None
    period: YearOrPeriod = None
    seed: Seed = 0

    def digest(self) -> str:
        """SHA-256 of what decides the model but its data, which cell ids and the digest of labels tell."""
        return canonical_digest(self.model_dump(mode="json", exclude_defaults=True, exclude=NOT_PIXELS))


class MappedRecipe(LearnedRecipe):
    """A recipe of what maps: it names the product of its maps."""

    map: MapSpec

    @model_validator(mode="after")
    def _two_products(self) -> "MappedRecipe":
        if self.name == self.map.name:
            raise RequestError(f"the model and its map are both called {self.name!r}: give the map another name")
        return self


class ModelRecipe(MappedRecipe):
    """An estimator learned from labelled pixels of a features product."""

    samples: SamplesSpec
    split: SplitSpec = SplitSpec()
    selection: SelectionSpec | None = None
    estimator: EstimatorSpec = EstimatorSpec()
    tune: TuneSpec | None = None
    explain: ExplainSpec = ExplainSpec()

    @model_validator(mode="after")
    def _network_takes_all(self) -> "ModelRecipe":
        if self.selection and self.has_network:
            raise RequestError(
                "selection chooses features of single pixels: leave it out where the estimator is a network"
            )
        kind, learns_once = self.estimator.kind, bool(self.temporal or self.estimator.chips)
        if self.selection and learns_once:
            raise RequestError(f"selection learns anew for each set of features, {kind} once: leave selection out")
        if self.split.sites and learns_once:
            raise RequestError(f"split: sites learns anew for each site, {kind} once: leave sites out")
        if self.has_network and (self.split.sites or self.split.holdout_periods):
            raise RequestError(
                "split: sites and holdout_periods are for models of single pixels: leave them out where the estimator is a network"
            )
        return self

    @model_validator(mode="after")
    def _ranked(self) -> "ModelRecipe":
        if self.selection and self.selection.method == "recursive" and self.estimator.kind != "random_forest":
            raise RequestError(
                f"selection by `recursive` leaves out by the importance that a random_forest gives, {self.estimator.kind} "
                "gives none: expected method permutation or mutual_information"
            )
        trees = ("random_forest", "gradient_boosting")
        if self.explain.shap and self.estimator.kind not in trees:
            raise RequestError(
                f"explain: shap is for {' and '.join(trees)}, not for {self.estimator.kind}: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _tunes_what_is_there(self) -> "ModelRecipe":
        if self.tune and self.has_network:
            raise RequestError(
                f"tune learns anew for each trial, a {self.estimator.kind} from whole cells: leave tune out"
            )
        if self.tune:
            self.tune.check(self.estimator.spec, self.estimator.kind)
        return self

    @property
    def has_network(self) -> bool:
        """Whether the estimator looks at patches."""
        return bool(self.estimator.unet or self.estimator.deeplab)

    @property
    def is_network(self) -> bool:
        """Whether the estimator is a network of any kind."""
        return bool(self.has_network or self.temporal or self.estimator.chips)

    @property
    def network(self) -> tuple[Kind, NetworkSpec]:
        """Which network, and its settings; RequestError if the estimator is none."""
        if self.estimator.unet:
            return "unet", self.estimator.unet
        if self.estimator.deeplab:
            return "deeplab", self.estimator.deeplab
        raise RequestError(
            f"the recipe {self.name!r} has no network: expected estimator: {{unet: …}} or {{deeplab: …}}"
        )

    @property
    def temporal(self) -> tuple[TemporalKind, TemporalSpec] | None:
        """Which network over time, and its settings; None if the estimator is none."""
        if self.estimator.tempcnn:
            return "tempcnn", self.estimator.tempcnn
        return ("ltae", self.estimator.ltae) if self.estimator.ltae else None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of their map codes 1, 2, …."""
        return self.samples.classes

    def digest(self) -> str:
        """SHA-256 of what decides the model but its data: without the place of the labels, the name of the training set, and the place of the sites."""
        document = self.model_dump(mode="json", exclude_defaults=True, exclude=NOT_PIXELS)
        for place in ("labels", "product"):
            document["samples"].pop(place, None)
        if self.split.sites:
            document["split"]["sites"] = True
        return canonical_digest(document)
