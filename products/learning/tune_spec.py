"""What is tried, in a recipe, to find better settings of its estimator."""

from pydantic import BaseModel, Field, ValidationError, model_validator

from products.closed import Closed
from products.errors import RequestError

BY_RATIO_FROM = 100.0
WHOLE_NUMBERS_TRIED = 1000


class TuneSpec(Closed):
    """`parameters` names settings of the estimator, each with the lowest and the highest value to try.

    A range from above 0 to 100 times as much or more is drawn evenly in its logarithm. Of `trials` the settings are learned with that agree best on an
    inner split of the training blocks into `folds`; no trial begins after `seconds`.
    """

    parameters: dict[str, tuple[float, float]] = Field(min_length=1, max_length=20)
    trials: int = Field(ge=2, le=10_000, default=20)
    folds: int = Field(ge=3, le=20, default=3)
    seconds: float | None = Field(gt=0, default=None)

    @model_validator(mode="after")
    def _rising(self) -> "TuneSpec":
        for name, (low, high) in self.parameters.items():
            if not low < high:
                raise RequestError(f"tune: {name} goes from {low:g} to {high:g}: expected the lower value first")
        return self

    def is_by_ratio(self, name: str) -> bool:
        """Whether values of a setting are drawn evenly in their logarithm."""
        low, high = self.parameters[name]
        return low > 0 and high >= BY_RATIO_FROM * low

    def check(self, settings: BaseModel, kind: str) -> None:
        """RequestError for a parameter that is no number of the estimator, or that may not have a value of its range."""
        for name, (low, high) in self.parameters.items():
            own = getattr(settings, name, None) if name in type(settings).model_fields else None
            if not isinstance(own, int | float) or isinstance(own, bool):
                numbers = [key for key in type(settings).model_fields if type(getattr(settings, key)) in (int, float)]
                raise RequestError(f"tune names {name!r}: expected a setting of {kind}, one of {', '.join(numbers)}")
            values: list[float] = [low, high]
            if isinstance(own, int):
                if low != int(low) or high != int(high):
                    raise RequestError(f"tune: {name} of {kind} is a whole number: expected a range of whole numbers")
                values += range(int(low), min(int(high), int(low) + WHOLE_NUMBERS_TRIED))
            for value in values:
                checked(settings, {name: value}, kind)


def checked(settings: BaseModel, changed: dict[str, float], kind: str) -> BaseModel:
    """The settings of an estimator with some of them changed; RequestError where it cannot have them."""
    given = {name: type(getattr(settings, name))(value) for name, value in changed.items()}
    try:
        return type(settings).model_validate(settings.model_dump() | given)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        said = ", ".join(f"{name} = {value:g}" for name, value in given.items())
        raise RequestError(f"tune: {kind} cannot have {said}: {reason}") from error
