"""The recipe of a transform: principal components of a features product."""

from pydantic import Field

from products.closed import Closed
from products.learning.recipe import MappedRecipe


class PcaSpec(Closed):
    """Principal components (Jolliffe and Cadima 2016, Phil. Trans. R. Soc. A 374, 20150202) of `max_pixels` drawn pixels.

    `standardise` divides each feature by its standard deviation first, `whiten` each component by its own.
    """

    components: int = Field(ge=1, le=1000)
    standardise: bool = True
    whiten: bool = False
    max_pixels: int = Field(ge=2, le=10_000_000, default=100_000)


class PcaRecipe(MappedRecipe):
    """A transform fitted once on published cells and applied as it is: cropping an area changes no pixel."""

    pca: PcaSpec

    @property
    def component_names(self) -> tuple[str, ...]:
        """component_1, component_2, …, the largest variance first."""
        return tuple(f"component_{number}" for number in range(1, self.pca.components + 1))
