"""The error that a user can mend."""


class RequestError(ValueError):
    """The request itself is wrong: the message says what was expected, what came, and what to do."""


class DeviceFull(MemoryError):
    """A device cannot hold what it is asked to compute."""
