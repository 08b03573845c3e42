"""An estimator in a recipe: exactly one kind, a random forest where none is named."""

from typing import Any

from pydantic import model_validator

from products.closed import Closed
from products.errors import RequestError


class OneKind(Closed):
    """Its fields are the kinds, `random_forest` among them; one of them is not None."""

    @model_validator(mode="before")
    @classmethod
    def _one(cls, document: Any) -> Any:  # noqa: ANN401
        if isinstance(document, cls) or not isinstance(document, dict):
            return document
        named = [kind for kind in cls.model_fields if document.get(kind) is not None]
        if len(named) > 1:
            raise RequestError(f"estimator names {' and '.join(named)}: expected exactly one kind")
        return document if named else {**document, "random_forest": {}}

    @property
    def kind(self) -> str:
        """Its key in the recipe."""
        return next(kind for kind in type(self).model_fields if getattr(self, kind) is not None)
