"""Every piece of YAML in the documentation is one that a study accepts."""

import re
from pathlib import Path

import pytest
import yaml

from search_spaces.space import read_space_file
from study.spec.study_spec import study_spec

ROOT = Path(__file__).parents[3]


def blocks(page: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("text", blocks("docs/studies.md"))
def test_study_sections_of_the_documentation_are_accepted(text: str) -> None:
    study_spec(yaml.safe_load(text)["study"])


def test_the_readme_shows_a_space_that_loads(tmp_path: Path) -> None:
    (text,) = blocks("README.md")
    (tmp_path / "space.yaml").write_text(text)
    study_spec(read_space_file(tmp_path / "space.yaml")["study"])
