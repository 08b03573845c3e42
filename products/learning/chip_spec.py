"""Networks of whole chips in a recipe, by transfer learning: an encoder that has learned something else, and a new head."""

from typing import Literal

from pydantic import Field, model_validator

from products.errors import RequestError
from products.learning.loop_spec import AugmentedSpec

Head = Literal["classes", "shares"]


class ChipSpec(AugmentedSpec):
    """A network that says of a chip its most frequent class (`head: classes`), or the share of each (`shares`).

    `weights` is none, a file of weights (.safetensors, .pt or .pth) or the name of a set that the encoder has in its hub. The first `freeze` of the
    `depth` stages of the encoder keep them, or keep them until `thaw` epochs are over.
    """

    encoder: str = Field(default="resnet50", pattern="^[A-Za-z0-9_.-]{1,80}$")
    weights: str | None = None
    depth: int = Field(ge=3, le=5, default=5)
    freeze: int = Field(ge=0, le=5, default=0)
    thaw: int | None = Field(ge=1, le=100_000, default=None)
    head: Head = "classes"
    dropout: float = Field(ge=0, lt=1, default=0.2)

    @property
    def what_is_full(self) -> str:
        """What did not fit into a GPU that is full, and what to lower."""
        return f"a batch of {self.batch} chips does not fit; lower batch"

    def frozen_stages(self, epoch: int) -> int:
        """How many stages keep their weights in an epoch, counted from 0."""
        return self.freeze if self.thaw is None or epoch < self.thaw else 0

    @model_validator(mode="after")
    def _freezes_what_is_there(self) -> "ChipSpec":
        if self.freeze > self.depth:
            raise RequestError(f"expected freeze of at most depth ({self.depth} stages), got {self.freeze}")
        if self.freeze and self.weights is None:
            raise RequestError(
                f"freeze keeps {self.freeze} stages as they begin, which without `weights` is at random: name weights"
            )
        if self.thaw is not None and not self.freeze:
            raise RequestError("thaw lets frozen stages learn: name how many in `freeze`, or leave thaw out")
        return self
