"""Rows of measurements, and the tables that they become."""

from pathlib import Path

from benchmarks import clouds_from_images
from benchmarks.label_fields import table
from benchmarks.measured_rows import MeasuredRows


def test_what_was_measured_is_there_for_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "rows.jsonl"
    first = MeasuredRows(file)
    first.add({"row": "a", "seed": 0, "set": {"pair": (1, 2)}, "miou": 0.5})
    for rows in (first, MeasuredRows(file)):
        assert rows.has({"row": "a", "seed": 0, "set": {"pair": (1, 2)}}) is True
        assert rows.has({"row": "a", "seed": 1}) is False
        assert rows.has({"row": "a", "set": {}}) is False


def cloud_line(row: str, seed: int, scores: tuple[float, ...]) -> dict:
    metrics = {f"reconstruction/{name}/cd_l2": 0.02 for name in clouds_from_images.CONSTANT}
    baseline = {"name": "medoid shape", "scores": [-0.02, -0.02]}
    return {
        "row": row,
        "class": "sofa",
        "set": {},
        "steps": clouds_from_images.STEPS,
        "seed": seed,
        "scores": scores,
        "metrics": metrics,
        "baseline": baseline,
    }


def test_clouds_are_set_beside_the_strongest_baseline_and_the_same_seeds() -> None:
    lines = [cloud_line("cc", 0, (-0.01, -0.03)), cloud_line("cc", 1, (-0.01, -0.01))]
    text = clouds_from_images.table([*lines, cloud_line("nn", 1, (-0.008, -0.008))])
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    assert [row[1] for row in cells] == ["mean shape", "medoid shape (strongest)", "untrained network", "cc", "nn"]
    assert cells[3][2:4] == ["20.0/10.0", "15.0"]
    assert cells[3][4].startswith("+5.0 (")
    assert cells[4][2:] == ["8.0", "8.0", "+12.0 (+12.0 to +12.0)", "+2.0 (+2.0 to +2.0)"]
    for own in ({"set": {"loss.mask": 0}}, {"steps": 10}):
        other = clouds_from_images.table([*lines, {**lines[0], **own}])
        assert other.count("| cc |") == 2, "other settings are another group"


def line(row: str, scene: str, miou: float, **more) -> dict:
    costs = {"bytes_per_gaussian": 300.0, "seconds_per_iteration": 0.02}
    return {"row": row, "scene": scene, "seed": 0, "set": {}, "miou": miou, "teacher_miou": 0.4, **costs, **more}


def test_rows_are_compared_over_the_fields_that_both_have() -> None:
    lines = [line("logits", "a", 0.5), line("logits", "b", 0.7), line("vote", "b", 0.6), line("focal", "c", 0.9)]
    cells = [[cell.strip() for cell in text.split("|")[1:-1]] for text in table(lines).splitlines()[2:]]
    assert [row[:5] for row in cells] == [
        ["logits", "2", "60.0%", "40.0%", "+20.0%, +10.0%"],
        ["vote", "1", "60.0%", "40.0%", "+20.0%, +20.0%"],
        ["focal", "1", "90.0%", "40.0%", "+50.0%, +50.0%"],
    ]
    assert [row[5] for row in cells] == ["", "-10.0% (-10.0% to -10.0%)", ""]


def test_other_settings_are_another_row() -> None:
    lines = [line("logits", "a", 0.5), line("logits", "a", 0.6, set={"labelled_views": 2})]
    assert [text.split("|")[1].strip() for text in table(lines).splitlines()[2:]] == [
        "logits",
        'logits {"labelled_views": 2}',
    ]
