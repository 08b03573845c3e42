"""What every card says where cells were not what a build would have made."""


def stale_note(n_stale: int, n_cells: int) -> list[str]:
    """The note, or none where no cell was stale."""
    if not n_stale:
        return []
    return [f"{n_stale} of {n_cells} feature cells were stale: scenes or recipe had changed since they were built."]
