"""Plain point clouds without views, from a folder to a judged encoder; and what they lack, said before a study."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.journeys import Journey

SPACE = Path(__file__).resolve().parents[1] / "search_spaces" / "multiview_contrast_clouds.yaml"
SMALL = {
    "points.num_points": 64, "heads.hidden": 32, "training.epochs": 10, "training.batch_size": 8,
    "validation.labels_per_class": 2,
}  # fmt: skip


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
    (tmp_path / "more.yaml").write_text(SPACE.read_text().replace("[xyz]", "[xyz, opacity]"))
    journey = Journey(tmp_path)
    more = ["--data", "clouds", "--trials", "1", "--concurrency", "1", "--json"]
    more += [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    words = ["sweep", str(SPACE), "--name", "alone", *more]
    facts = json.loads(journey.run(*words))
    assert facts["outcomes"] == {"COMPLETE": 1}
    assert [entry["name"] for entry in facts["encoders"]] == ["multiview-contrast-points"]
    (version,) = json.loads(journey.run("models", "--json"))
    assert version["lineage"]["supervision"] == "", "there was no teacher, whatever the space says of one"
    refused = journey.run("sweep", "more.yaml", "--name", "other", *more, code=2)
    assert "'opacity' is not in this pack" in refused
    # the same command again finds all done, and registers nothing twice
    assert json.loads(journey.run(*words))["encoders"] == facts["encoders"]
