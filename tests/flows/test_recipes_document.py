"""The recipes of passes and series that docs/recipes.md shows are planned and built, and what it says of opening them runs."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import main

DOCUMENT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(yaml|python)\n(.*?)^```$", re.M | re.S)


def section(title: str) -> list[tuple[str, str]]:
    """(language, text) of the blocks of a section."""
    start = DOCUMENT.index(f"## {title}\n")
    return BLOCK.findall(DOCUMENT[start : DOCUMENT.index("\n## ", start)])


@pytest.mark.full
@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("An observations recipe", ("platform", "('time', 'y', 'x')")),
        ("A series recipe", ("23, 4)",)),
    ],
)
@pytest.mark.usefixtures("ingested_settings")
def test_a_recipe_of_the_document_is_planned_and_built_and_opens_as_it_says(
    title: str, said: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (_, text), *examples = section(title)
    path = tmp_path / "shown.recipe.yaml"
    path.write_text(text)
    asked = [str(path), "--area", "demo", "--period", "2020", "--json"]
    planned = CliRunner().invoke(main, ["plan", *asked])
    assert planned.exit_code == 0, planned.output
    cells = json.loads(planned.stdout)["cells"]
    done = CliRunner().invoke(main, ["build", *asked])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["built"] == len(cells) > 0
    assert len(examples) == len(said)
    for (language, example), words in zip(examples, said, strict=True):
        assert language == "python"
        exec(compile(example, title, "exec"), {})
        assert words in capsys.readouterr().out
