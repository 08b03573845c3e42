"""How long a network learns, and in which steps."""

from typing import Literal

from pydantic import Field

from products.closed import Closed

Augmentation = Literal["flip", "rotate", "mirror", "noise", "brightness"]


class LoopSpec(Closed):
    """AdamW on batches, epoch after epoch, until validation has got no better for `patience` of them.

    `schedule` says how the learning rate goes: `constant`, or `one_cycle`, up to `learning_rate` and down to nearly nothing over all epochs.
    """

    batch: int = Field(ge=2, le=65_536, default=16)
    epochs: int = Field(ge=1, le=100_000, default=50)
    learning_rate: float = Field(gt=0, le=1, default=1e-3)
    schedule: Literal["constant", "one_cycle"] = "constant"
    weight_decay: float = Field(ge=0, le=1, default=1e-4)
    patience: int = Field(ge=1, le=100_000, default=10)
    precision: Literal["32", "16-mixed", "bf16-mixed"] = "32"

    @property
    def what_is_full(self) -> str:
        """What did not fit into a GPU that is full, and what to lower."""
        return f"a batch of {self.batch} does not fit; lower batch"


class AugmentedSpec(LoopSpec):
    """How a network learns from squares of pixels, which change from epoch to epoch.

    `flip` and `rotate` turn squares by mirrors and quarter turns, `mirror` swaps left and right only, for pictures that have an up;
    `noise` (standard deviation `noise_std`) and `brightness` (at most `brightness_shift`, one for all pixels of a feature) add, in
    units of the features.
    """

    augment: tuple[Augmentation, ...] = ("flip", "rotate")
    noise_std: float = Field(ge=0, le=1, default=0.005)
    brightness_shift: float = Field(ge=0, le=1, default=0.01)
