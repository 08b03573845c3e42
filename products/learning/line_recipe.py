"""The recipe of a network that finds lines in pictures: which files, what is left out to test it, and which lines count."""

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.learning.estimator_spec import EstimatorSpec
from products.learning.network_spec import Kind, NetworkSpec
from products.recipe_fields import PlainName, Seed, Version
from products.scene_recipe import canonical_digest

NOT_LEARNED = {"name", "version", "title"}
NAME = "{name}"
CLASSES = ("elsewhere", "line")


def place_of_pictures(place: str, n_names: tuple[int, ...]) -> str:
    """A path in the folder of pictures, if it leads out of it by no way and has `{name}` so many times, in the file's name alone; RequestError otherwise."""
    path = PurePosixPath(place)
    if path.is_absolute() or ".." in path.parts or path.name.count(NAME) not in n_names or NAME in str(path.parent):
        times = "once" if n_names == (1,) else "at most once"
        raise RequestError(
            f"expected a path inside the folder of pictures with {NAME} {times} in the file's name, got {place!r}"
        )
    return place


class LinesSpec(Closed):
    """Pairs of files `image` and `label`, paths in a folder with `{name}` where they are alike, and the lines in them.

    Label pixels with one of `values` are a line, read in the first band. `bands` of the image count from 1; with `scale: rank` each is set to its ranks
    within its picture, 0 to 1. A picture belongs to the group of which its name holds a part; without `groups` each is one by itself. Pixels that are a line
    with more than `threshold` are one; of the lines through them those below `min_length_px` do not count, with `only_longest` but the longest does.
    """

    image: str
    label: str
    values: tuple[int, ...] = Field(min_length=1)
    bands: tuple[int, ...] = Field(min_length=1, max_length=100, default=(1,))
    scale: Literal["none", "rank"] = "rank"
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    only_longest: bool = False
    threshold: float = Field(gt=0, lt=1, default=0.9)
    min_length_px: float = Field(ge=0, default=10.0)
    tolerance_px: float = Field(gt=0, default=3.0)
    failure_px: float = Field(gt=0, default=20.0)

    @field_validator("image", "label")
    @classmethod
    def _inside(cls, place: str) -> str:
        return place_of_pictures(place, (1,))

    @model_validator(mode="after")
    def _one_group_each(self) -> "LinesSpec":
        parts = [part for group in self.groups.values() for part in group]
        for part in parts:
            if parts.count(part) > 1:
                raise RequestError(f"the part {part!r} of names stands twice in groups: a picture has one group")
        if len(self.groups) == 1:
            raise RequestError("groups names one group: expected two or more, each is left out in turn to be tested")
        return self

    def group_of(self, name: str) -> str:
        """The group of a picture by its name; RequestError where it has none or several."""
        if not self.groups:
            return name
        found = [group for group, parts in self.groups.items() if any(part in name for part in parts)]
        if len(found) != 1:
            raise RequestError(
                f"the name of the picture {name} holds parts of {', '.join(found) or 'no group'}: expected one of {', '.join(self.groups)}"
            )
        return found[0]


class LineRecipe(Closed):
    """A network learned from pictures with lines, and tested on groups of pictures that it never saw: one at a time, or dealt into `folds`."""

    name: PlainName
    version: Version
    kind: Literal["model"]
    title: str = ""
    lines: LinesSpec
    folds: int | None = Field(ge=2, le=100, default=None)
    estimator: EstimatorSpec
    simulated: bool = False
    seed: Seed = 0

    @model_validator(mode="after")
    def _by_network(self) -> "LineRecipe":
        if self.estimator.kind not in ("unet", "deeplab"):
            raise RequestError(
                f"lines are found by a network: expected estimator: {{unet: …}} or {{deeplab: …}}, got {self.estimator.kind}"
            )
        return self

    @property
    def network(self) -> tuple[Kind, NetworkSpec]:
        """Which network, and its settings."""
        spec = self.estimator.unet or self.estimator.deeplab
        assert spec is not None
        return "unet" if self.estimator.unet else "deeplab", spec

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the network tells apart."""
        return CLASSES

    def digest(self) -> str:
        """SHA-256 of what decides the model but its data."""
        return canonical_digest(self.model_dump(mode="json", exclude_defaults=True, exclude=NOT_LEARNED))
