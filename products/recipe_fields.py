"""Fields that recipes of every kind have: what their names, versions and seeds may be."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from products.errors import RequestError

NAME = re.compile(r"^[a-z][a-z0-9_]{1,62}$")


def plain_name(name: str) -> str:
    """The name, if it may be a product, a folder and a measurement; RequestError otherwise."""
    if not NAME.match(name):
        raise RequestError(
            f"expected a name of lower-case letters, digits and underscores, 2 to 63 of them, starting with a letter, got {name!r}"
        )
    return name


PlainName = Annotated[str, AfterValidator(plain_name)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]  # what an integer of the database holds
Seed = Annotated[int, Field(ge=0, lt=2**32)]
