"""A product version means one recipe, for ever."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from datacube_config.connection import Index
from datacube_config.schema import product_binding
from products.errors import RequestError


def bind_product(index: Index, product: str, version: int, digest: str) -> None:
    """Bind (product, version) to a recipe digest at its first build; RequestError if it is bound to another."""
    values = {"product": product, "version": version, "digest": digest}
    with index.engine.begin() as connection:
        connection.execute(insert(product_binding).values(values).on_conflict_do_nothing())
    check_binding(index, product, version, digest)


def check_binding(index: Index, product: str, version: int, digest: str) -> None:
    """RequestError if (product, version) is bound to another recipe digest; nothing is written."""
    table = product_binding
    query = select(table.c.digest).where(table.c.product == product, table.c.version == version)
    with index.engine.connect() as connection:
        bound = connection.scalar(query)
    if bound is not None and bound != digest:
        raise RequestError(
            f"{product} version {version} was built from another recipe (digest {bound[:12]}, now {digest[:12]}): "
            f"raise `version:` or take another `name:`"
        )
