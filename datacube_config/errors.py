"""What can be wrong with the place: its settings, its index, its store."""


class SettingsError(ValueError):
    """A setting cannot be used: the message says which, what was expected, what came."""


class IndexUnavailable(RuntimeError):
    """The index cannot be opened: the message says which, why, and what to do."""


class IndexDown(IndexUnavailable):
    """The server of the index does not take connections now."""


class StorageUnavailable(RuntimeError):
    """The store cannot be written or read: the message says which, why, and what to do."""


class IndexLost(IndexUnavailable):
    """The index gave out while it was used: what was committed stays, the rest is done by running again."""


class StorageLost(StorageUnavailable):
    """The store gave out while it was used: what was published stays, the rest is done by running again."""
