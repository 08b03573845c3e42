"""The commands of the section on backups in docs/operations.md, run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from datacube_config.settings import Settings
from tests.conftest import POSTGRES_15

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
SECTION = re.search(r"^## Backup$(.*?)^## ", OPERATIONS.read_text(encoding="utf-8"), re.M | re.S)
assert SECTION
COMMANDS = re.findall(r"^\$ (.*)$", SECTION[1], re.M)


def run_documented(*beginnings: str, folder: Path, settings: Settings) -> None:
    """Run, in a folder, the commands of the section that begin so, in that order."""
    url = settings.index_url.get_secret_value().replace("+psycopg", "") if settings.index_url else ""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("NEOCUBE_")} | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(POSTGRES_15), os.environ["PATH"]]),
        "NEOCUBE_HOME": str(settings.home),
        "NEOCUBE_INDEX_URL": url,
        "NEOCUBE_INDEX_DRIVER": settings.index_driver,
    }
    for beginning in beginnings:
        found = [command for command in COMMANDS if command.startswith(beginning)]
        assert found, f"the section has no command that begins with {beginning}"
        subprocess.run(["bash", "-euo", "pipefail", "-c", found[0]], cwd=folder, env=environment, check=True)
