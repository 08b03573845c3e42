"""What recipes have in common that are made of the cells of another recipe."""

from products.closed import Closed


class FromFeatures(Closed):
    """The recipe of the cells, by name or path; where its file lay when this recipe was read from its own, which decides nothing and is not written in it."""

    features: str
    features_file: str | None = None
