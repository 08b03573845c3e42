"""Networks over time in a recipe: they learn from the series of single pixels."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from products.errors import RequestError
from products.learning.loop_spec import LoopSpec

TemporalKind = Literal["tempcnn", "ltae"]


class TemporalSpec(LoopSpec):
    """A network that gives a pixel a class by its series; `dropout` is the share of inner values that each step of training leaves out."""

    batch: int = Field(ge=2, le=65_536, default=128)
    dropout: float = Field(ge=0, lt=1, default=0.5)

    @property
    def sizes(self) -> dict[str, int]:
        """What decides the shape of the weights: all keys but those of the loop and dropout."""
        loop = set(TemporalSpec.model_fields)
        return {name: getattr(self, name) for name in type(self).model_fields if name not in loop}

    @property
    def what_is_full(self) -> str:
        """What did not fit into a GPU that is full, and what to lower."""
        return f"a batch of {self.batch} series does not fit; lower batch"


class TempcnnSpec(TemporalSpec):
    """Three convolutions along time and a dense layer, of the sizes of Pelletier et al. 2019, Remote Sensing 11(5), 523."""

    filters: int = Field(ge=1, le=4096, default=64)
    kernel: int = Field(ge=1, le=99, default=5)
    dense: int = Field(ge=1, le=65_536, default=256)

    @model_validator(mode="after")
    def _centred(self) -> "TempcnnSpec":
        if self.kernel % 2 == 0:
            raise RequestError(f"expected kernel as an odd number of steps, with a middle, got {self.kernel}")
        return self


class LtaeSpec(TemporalSpec):
    """Lightweight temporal attention (Garnot and Landrieu 2020, AALTD, LNCS 12588, 171-181): `heads` that each look at steps by a learned query.

    `width` values a step are shared by the heads, `key` is the length of queries and keys. Defaults are smaller than those of the paper (width 256,
    16 heads, keys of 8), whose steps are sets of pixels.
    """

    dropout: float = Field(ge=0, lt=1, default=0.2)
    width: int = Field(ge=2, le=4096, default=64)
    heads: int = Field(ge=1, le=256, default=8)
    key: int = Field(ge=1, le=1024, default=8)

    @model_validator(mode="after")
    def _shared(self) -> "LtaeSpec":
        if self.width % self.heads:
            raise RequestError(
                f"expected width as a multiple of heads ({self.heads}), which share it, got {self.width}"
            )
        return self


TEMPORAL_SPECS: Mapping[TemporalKind, type[TempcnnSpec] | type[LtaeSpec]] = {"tempcnn": TempcnnSpec, "ltae": LtaeSpec}
