"""What every card says of the cells that were learned from."""


def of_features(name: str, version: int | None) -> str:
    """The features by name, and by version where that is known."""
    return f"`{name}`" if version is None else f"`{name}`, version {version},"


def stale_note(n_stale: int, n_cells: int) -> list[str]:
    """The note, or none where no cell was stale."""
    if not n_stale:
        return []
    return [f"{n_stale} of {n_cells} feature cells were stale: scenes or recipe had changed since they were built."]
