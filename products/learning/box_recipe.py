"""The recipe of a network that finds objects in pictures and puts boxes around them."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.learning.line_recipe import NAME, place_of_pictures
from products.learning.network_spec import NetworkSpec
from products.recipe_fields import PlainName, Seed, Version
from products.scene_recipe import canonical_digest

NOT_LEARNED = {"name", "version", "title"}
NOT_OF_BOXES = {"weights", "depth", "overlap_px", "noise_std", "brightness_shift"}
LabelValue = str | int
MOST_ZOOM, SHRUNK = 8, (0.5, 0.25)


class RetinanetSpec(NetworkSpec):
    """RetinaNet (Lin et al. 2017, ICCV, 2980-2988) on a ResNet with random first weights; `anchor_px` is the side of the smallest boxes that it looks for.

    Each of `levels` looks for boxes twice as large as the one before. A picture is enlarged `zoom` times before it is looked at: objects of few pixels need it.
    Those of many are the sooner learned from a shrunk one, `zoom` 0.5 or 0.25.
    """

    encoder: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    augment: tuple[Literal["flip", "rotate"], ...] = ("flip", "rotate")
    schedule: Literal["constant", "one_cycle"] = "one_cycle"
    anchor_px: float = Field(ge=4, le=256, default=16)
    levels: int = Field(ge=1, le=5, default=5)
    zoom: int | float = 1

    @field_validator("zoom")
    @classmethod
    def _whole(cls, zoom: float) -> float:
        if zoom in SHRUNK:
            return zoom
        if zoom not in range(1, MOST_ZOOM + 1):
            raise RequestError(f"expected zoom as a whole number from 1 to {MOST_ZOOM}, or 0.5 or 0.25, got {zoom:g}")
        return int(zoom)

    @model_validator(mode="after")
    def _nothing_idle(self) -> "RetinanetSpec":
        idle = sorted(NOT_OF_BOXES & self.model_fields_set)
        if idle:
            raise RequestError(f"a retinanet has no {', '.join(idle)}: leave out what is for unet and deeplab")
        return self


class BoxesSpec(Closed):
    """Files of pictures and of boxes, with `{name}` where they are alike, and what counts as an object.

    The bands of `images` are stacked, each file's `bands` in turn, and set to their ranks with `scale: rank`. `classes` says which values of a label file mean
    a class. Each picture is cut into `strips` from left to right, left out in turn where there are several, otherwise each picture is; a box across a cut
    counts nowhere. Found boxes with a confidence above `keep_above` are written.
    """

    images: tuple[str, ...] = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=1)
    bands: tuple[int, ...] = Field(min_length=1, max_length=100, default=(1,))
    scale: Literal["none", "rank"] = "rank"
    classes: dict[str, tuple[LabelValue, ...]] = Field(min_length=1)
    strips: int = Field(ge=1, le=20, default=1)
    keep_above: float = Field(ge=0, lt=1, default=0.5)

    @field_validator("images", "labels")
    @classmethod
    def _inside(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(place_of_pictures(place, (0, 1)) for place in places)

    @model_validator(mode="after")
    def _named(self) -> "BoxesSpec":
        if NAME not in self.images[0]:
            raise RequestError(f"expected {NAME} in the first of images: it names the pictures; got {self.images[0]!r}")
        said = [str(value) for values in self.classes.values() for value in values]
        for value in said:
            if said.count(value) > 1:
                raise RequestError(f"the value {value!r} stands twice in classes: give it one meaning")
        return self

    @property
    def codes(self) -> dict[str, int]:
        """Label value, as text -> class code 1, 2, …."""
        return {str(value): code for code, values in enumerate(self.classes.values(), start=1) for value in values}


class BoxRecipe(Closed):
    """A detector learned from pictures with boxes, and tested on pictures, or strips of them, that it never saw: one at a time, or dealt into `folds`."""

    name: PlainName
    version: Version
    kind: Literal["model"]
    title: str = ""
    boxes: BoxesSpec
    retinanet: RetinanetSpec = RetinanetSpec()
    folds: int | None = Field(ge=2, le=100, default=None)
    simulated: bool = False
    seed: Seed = 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of their codes 1, 2, …."""
        return tuple(self.boxes.classes)

    def digest(self) -> str:
        """SHA-256 of what decides the model but its data."""
        return canonical_digest(self.model_dump(mode="json", exclude_defaults=True, exclude=NOT_LEARNED))
