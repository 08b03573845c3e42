"""The model that every part of the files of settings is one of."""

from pydantic import BaseModel, ConfigDict


class Closed(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
