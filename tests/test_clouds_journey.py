"""Plain point clouds without views, from a folder to a judged encoder; and what they lack, said before a study."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.journeys import Journey

SPACE = """
recipe: multiview_contrast
preset: quick
base:
  loss.global_weight: 0
  loss.agreement_weight: 1
  points.num_points: 64
  heads.hidden: 32
  training.epochs: 3
  training.batch_size: 8
study:
  trials: 1
  top_k: 1
space:
  points.features: {choice: [[xyz]]}
  training.optimizer.lr: {log: [1.0e-3, 2.0e-3]}
"""


def write_clouds(root: Path) -> None:
    rng = np.random.default_rng(0)
    for class_name, size in (("ball", (1, 1, 1)), ("board", (1, 1, 0.1)), ("rod", (0.1, 0.1, 1))):
        for split, count in (("train", 8), ("test", 5)):
            (root / class_name / split).mkdir(parents=True)
            for i in range(count):
                np.savetxt(root / class_name / split / f"{class_name}_{i}.txt", rng.normal(size=(120, 3)) * size)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_on_points_alone(tmp_path: Path) -> None:
    write_clouds(tmp_path / "clouds")
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "more.yaml").write_text(SPACE.replace("[[xyz]]", "[[xyz], [xyz, opacity]]"))
    journey = Journey(tmp_path)
    words = ["sweep", "space.yaml", "--data", "clouds", "--name", "alone", "--concurrency", "1", "--json"]
    facts = json.loads(journey.run(*words))
    assert facts["outcomes"] == {"complete": 1}
    models = [entry["name"] for entry in facts["encoders"]]
    assert models == ["multiview-contrast-points"]
    assert "'opacity' is not in this pack" in journey.run(
        "sweep", "more.yaml", "--data", "clouds", "--name", "other", "--json", code=2
    )
    # the same command again finds all done, and registers nothing twice
    assert json.loads(journey.run(*words))["encoders"] == facts["encoders"]
