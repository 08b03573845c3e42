"""Learning without labels in a recipe: an encoder that fills in what was masked."""

from pydantic import Field, model_validator

from products.errors import RequestError
from products.learning.loop_spec import AugmentedSpec


class MaskedSpec(AugmentedSpec):
    """An encoder learned as that of a U-Net that is given patches with squares masked, and tells what was there.

    Masked autoencoding (He et al. 2022, CVPR, 16000-16009) as convolutions take it, with the error of masked pixels only (Xie et al. 2022, CVPR,
    9653-9663). `mask_share` of the squares of `mask_px` are masked; a part of the blocks of `block_m` is kept to say when to stop.
    """

    encoder: str = Field(default="resnet18", pattern="^[A-Za-z0-9_.-]{1,80}$")
    depth: int = Field(ge=3, le=5, default=4)
    patch_px: int = Field(ge=16, le=1024, default=64)
    patches: int = Field(ge=2, le=10_000_000, default=512)
    mask_px: int = Field(ge=1, le=512, default=8)
    mask_share: float = Field(gt=0, lt=1, default=0.6)
    block_m: float = Field(gt=0, default=3000.0)

    @property
    def what_is_full(self) -> str:
        """What did not fit into a GPU that is full, and what to lower."""
        return f"a batch of {self.batch} patches of {self.patch_px} px does not fit; lower batch or patch_px"

    @model_validator(mode="after")
    def _fits(self) -> "MaskedSpec":
        for name, step in (("2 to the power of depth", 2**self.depth), ("mask_px", self.mask_px)):
            if self.patch_px % step:
                raise RequestError(f"expected patch_px as a multiple of {name} ({step}), got {self.patch_px}")
        if not 0 < self.n_masked < (self.patch_px // self.mask_px) ** 2:
            raise RequestError(
                f"expected some squares of a patch masked and some not, mask_share {self.mask_share:g} of "
                f"{(self.patch_px // self.mask_px) ** 2} masks {self.n_masked}: change mask_share or lower mask_px"
            )
        if self.patches < self.batch:
            raise RequestError(
                f"expected patches, those of an epoch, at least as many as batch ({self.batch}), got {self.patches}"
            )
        return self

    @property
    def n_masked(self) -> int:
        """How many squares of a patch are masked."""
        return round(self.mask_share * (self.patch_px // self.mask_px) ** 2)
