"""Plans and spaces of fake trials, for every test of studies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from fake_sessions import fake_preset

from search_spaces.space import SearchSpace, load_space
from study.run.driver import StudyPlan

MakePlan = Callable[..., StudyPlan]
"""The fixture `make_plan`."""


def make_space(folder: Path, space: dict[str, Any] | None = None, **base: Any) -> SearchSpace:
    """A space over FakeConfig."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "space.yaml"
    section = space or {"quality": {"float": [0.1, 1.0]}}
    path.write_text(yaml.safe_dump({"recipe": "fake", "preset": "quick", "base": base, "space": section}))
    return load_space(path, fake_preset)
