"""How samples are split in a recipe: blocks of ground that are never trained on."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError


class SplitSpec(Closed):
    """Spatial blocks of `block_m` metres, dealt into `folds`; the last fold is held out of all training.

    Training pixels within `buffer_m` metres of a test block are left out too; `auto` measures how far the features are alike. No sample of a cell that
    shows any of the `holdout_periods` is trained on, and the hold-out is tested in those whose step begins there only. `sites`, a file of named areas,
    are left out one by one. `accept` names features, or `duplicate_spectra`, that the audit of leaks shall let pass.
    """

    block_m: float = Field(gt=0, default=960.0)
    folds: int = Field(ge=3, le=20, default=5)
    buffer_m: Annotated[float, Field(ge=0)] | Literal["auto"] = 60.0
    holdout_periods: tuple[str, ...] = ()
    sites: str | None = None
    accept: tuple[str, ...] = ()

    @field_validator("holdout_periods", mode="before")
    @classmethod
    def _years(cls, value: object) -> object:
        return [str(each) for each in value] if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _narrow(self) -> "SplitSpec":
        if self.buffer_m != "auto" and self.buffer_m * 2 >= self.block_m:
            raise RequestError(f"expected buffer_m below half of block_m ({self.block_m:g} m), got {self.buffer_m:g}")
        return self
