"""Networks in a recipe: which one, its first weights, its patches, and the loop that trains it."""

from typing import Literal

from pydantic import Field, model_validator

from products.errors import RequestError
from products.learning.loop_spec import AugmentedSpec

Kind = Literal["unet", "deeplab"]


class NetworkSpec(AugmentedSpec):
    """A network that gives each pixel of a patch a class.

    `weights` is none, a file of weights (.safetensors, .pt or .pth) or the name of a set that the encoder has in its hub. `depth`
    times the encoder halves the patch.
    """

    encoder: str = Field(default="resnet18", pattern="^[A-Za-z0-9_.-]{1,80}$")
    weights: str | None = None
    depth: int = Field(ge=3, le=5, default=4)
    patch_px: int = Field(ge=16, le=1024, default=64)
    overlap_px: int = Field(ge=0, default=16)
    patches: int = Field(ge=2, le=10_000_000, default=512)

    @property
    def what_is_full(self) -> str:
        """What did not fit into a GPU that is full, and what to lower."""
        return f"a batch of {self.batch} patches of {self.patch_px} px does not fit; lower batch or patch_px"

    @model_validator(mode="after")
    def _fits(self) -> "NetworkSpec":
        step = 2**self.depth
        if self.patch_px % step:
            raise RequestError(
                f"expected patch_px as a multiple of {step} (the encoder halves it {self.depth} times), got {self.patch_px}"
            )
        if self.overlap_px * 2 > self.patch_px:
            raise RequestError(
                f"expected overlap_px of at most half of patch_px ({self.patch_px}), got {self.overlap_px}"
            )
        if self.patches < self.batch:
            raise RequestError(
                f"expected patches, those of an epoch, at least as many as batch ({self.batch}), got {self.patches}"
            )
        return self


class UnetSpec(NetworkSpec):
    """U-Net (Ronneberger et al. 2015, MICCAI, 234-241) on an encoder."""


class DeeplabSpec(NetworkSpec):
    """DeepLabV3+ (Chen et al. 2018, ECCV, 833-851) on an encoder."""
