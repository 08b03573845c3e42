"""Where packages come from."""

import os
import subprocess
import sys


def package_index() -> dict[str, str]:
    """The package index that pip is told to use, in the words of uv."""
    given = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL")
    if not given:
        asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        given = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {"UV_DEFAULT_INDEX": given} if given else {}
