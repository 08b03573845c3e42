"""Plain functions that touch the world: catalogues, index, loading, storage, checks."""
