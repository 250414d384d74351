"""One local Ray for all tests of this folder that need it; workers find the fake sessions."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_plans import MakePlan, make_space
from fake_sessions import FakeConfig, OpenFake

from study.run.driver import StudyPlan
from study.spec.study_spec import StudySpec

HERE = Path(__file__).parent
FOLDERS = [str(folder) for folder in (HERE, *sorted(HERE.iterdir())) if folder.is_dir()]  # workers import from all
os.environ["PYTHONPATH"] = os.pathsep.join([*FOLDERS, os.environ.get("PYTHONPATH", "")])


@pytest.fixture(scope="session")
def ray_two() -> Iterator[None]:
    """A local Ray with two slots, started once."""
    from study.cluster.cluster import ray_cluster

    with ray_cluster(2.0):
        yield


@pytest.fixture
def make_plan(tmp_path: Path) -> MakePlan:
    """`make_plan(space={...}, base={...}, name=..., trials=..., ...)`: a plan of fake trials under tmp_path."""

    def make(
        space: dict[str, Any] | None = None,
        base: dict[str, Any] | None = None,
        name: str = "demo",
        pack: str = "pack0",
        **spec: Any,
    ) -> StudyPlan:
        asha = {"kind": "asha", "grace": spec.pop("grace", 2), "reduction": spec.pop("reduction", 3)}
        settings = {"trials": 4, "metric": "val/probe", "concurrency": 2, "scheduler": asha, **spec}
        searched = make_space(tmp_path / "spaces", space, **(base or {}))
        config = searched.base_config
        assert isinstance(config, FakeConfig)
        return StudyPlan(
            name=name,
            folder=tmp_path / "studies" / name,
            pack_digest=pack,
            spec=StudySpec(**settings),
            space=searched,
            open_session=OpenFake(config),
            facts={"code_revision": "abc"},
        )

    return make
