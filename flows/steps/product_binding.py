"""A product version means one recipe, for ever."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from datacube_config.connection import Index
from datacube_config.schema import product_binding
from products.errors import RequestError


def bind_product(index: Index, product: str, version: int, digest: str) -> None:
    """Bind (product, version) to a recipe digest at its first build; RequestError if it is bound to another."""
    table = product_binding
    with index.engine.begin() as connection:
        connection.execute(
            insert(table).values(product=product, version=version, digest=digest).on_conflict_do_nothing()
        )
        bound = connection.scalar(select(table.c.digest).where(table.c.product == product, table.c.version == version))
    if bound != digest:
        raise RequestError(
            f"{product} version {version} was built from another recipe (digest {str(bound)[:12]}, now {digest[:12]}): "
            f"raise `version:` or take another `name:`"
        )
