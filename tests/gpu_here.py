"""Whether this machine has a GPU."""

import importlib
import importlib.util


def has_gpu(*libraries: str) -> bool:
    """Whether CuPy, and these libraries too, are installed and CuPy finds a device."""
    if any(importlib.util.find_spec(name) is None for name in ("cupy", *libraries)):
        return False
    return bool(importlib.import_module("cupy").cuda.is_available())
