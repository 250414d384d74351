"""The measurements run at tiny sizes, their arithmetic is right, and one section can be renewed alone."""

import os
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import (
    backbones,
    evaluations,
    extraction,
    input_pipeline,
    machine,
    packing,
    page,
    rasteriser,
    scene_fit,
    search,
    splatting,
    trials,
)
from benchmarks.table import Comparison, Samples, Section, Table, digits, ratio_table, seconds
from benchmarks.timing import compare, one_thread


def section(title: str = "Tables", value: float = 2.0) -> Section:
    row = Comparison("legs", Samples((1.0,)), Samples((value,)))
    return Section(title, "It shows.", "The baseline is.", (ratio_table([row]),))


def test_ratios_are_of_pairs() -> None:
    found = Comparison("x", Samples((1.0, 2.0, 4.0)), Samples((4.0, 4.0, 4.0))).ratio
    assert found.values == (4.0, 2.0, 1.0)
    assert found.text(digits) == "2.00 (1.00 to 4.00)"


def test_unpaired_ratios_are_of_medians() -> None:
    row = Comparison("x", Samples((1.0, 2.0, 9.0)), Samples((8.0,)))
    assert row.ratio.values == (4.0,)
    assert ratio_table([row]).rows == (("x", "2.00 s (1.00 s to 9.00 s)", "8.00 s", "4.00", "3 times and once"),)


def test_nothing_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Samples(())


@pytest.mark.parametrize(
    ("value", "text"),
    [(123.4, "123 s"), (1.0, "1.00 s"), (0.0456, "45.6 ms"), (7.89e-4, "789 µs"), (2e-7, "0.20 µs")],
)
def test_seconds_take_the_unit_that_suits(value: float, text: str) -> None:
    assert seconds(value) == text


def test_tables_are_aligned_and_whole() -> None:
    lines = Table(("a", "longer"), (("wide cell", "1"), ("b", "2"))).text().splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 4
    with pytest.raises(ValueError, match="cells"):
        Table(("a", "b"), (("only one",),))


def test_sides_take_turns() -> None:
    calls: list[str] = []
    row = compare("x", lambda: calls.append("ours"), lambda: calls.append("theirs"), 3, at_least=0.0)
    assert calls == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert len(row.ours.values) == len(row.baseline.values) == 3


def test_one_thread_ends() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_renewing_a_section_keeps_the_others(tmp_path: Path) -> None:
    file, order = tmp_path / "docs" / "PAGE.md", ("first", "second", "third")
    for name in ("third", "first", "second"):
        page.renew(file, name, page.block(name, section(name), "measured once"), order)
    before = file.read_text()
    assert [before.index(f"## {name}") for name in order] == sorted(before.index(f"## {name}") for name in order)
    page.renew(file, "second", page.block("second", section("second", 3.0), "measured twice"), order)
    after = file.read_text()
    assert after != before
    for name in ("first", "third"):
        assert page.block(name, section(name), "measured once") in after
    page.renew(file, "second", page.block("second", section("second"), "measured once"), order)
    assert file.read_text() == before
    assert [each.name for each in file.parent.iterdir()] == [file.name]


MEASUREMENTS = (rasteriser, backbones, input_pipeline, extraction, packing, splatting, search)


@pytest.mark.parametrize("module", MEASUREMENTS, ids=lambda module: module.__name__)
def test_a_measurement_runs(module) -> None:
    found = module.measure(quick=True)
    text = found.text()
    assert text.startswith(f"## {found.title}\n")
    assert "nan" not in text
    assert all(table.rows for table in found.tables)
    assert found.tables[0].header[0] in ("what", "objects")
    assert found.shows.endswith(".")
    assert found.baseline.endswith(".")


@pytest.mark.slow  # a teacher is loaded
def test_the_fit_of_scenes_is_measured() -> None:
    test_a_measurement_runs(scene_fit)


@pytest.mark.slow  # exports two encoders and starts four processes
def test_evaluations_are_measured_in_each_way() -> None:
    found = evaluations.measure(quick=True)
    assert [row[0].split()[0] for row in found.tables[0].rows] == ["one", "spread", "the"]
    assert found.missed == ()


def test_evaluations_that_are_no_faster_or_suffer_are_told() -> None:
    good, bad = {"alone": Samples((1.7,)), "busy": Samples((2.9,))}, {"alone": Samples((1.5,)), "busy": Samples((3.1,))}
    assert evaluations.missed(good, 2) == ()
    assert len(evaluations.missed(bad, 2)) == 2
    assert len(evaluations.missed(bad, 1)) == 1, "one core cannot be spread over"


def test_wrong_pictures_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rasteriser, "tiles", lambda leaves, camera: rasteriser.dense(leaves, camera) * 0.99)
    with pytest.raises(AssertionError):
        rasteriser.measure(quick=True)


def test_quick_writes_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(command, "PAGE", tmp_path / "PAGE.md")
    monkeypatch.setattr(splatting, "measure", lambda quick: section("Splatting"))
    assert command.main(["--quick", "--only", "splatting"]) == 0
    assert not command.PAGE.exists()
    assert "## Splatting" in capsys.readouterr().out
    assert command.main(["--quick", "--only", "splatting", "--out", str(tmp_path / "OTHER.md")]) == 0
    assert "tiny sizes" in (tmp_path / "OTHER.md").read_text()
    assert command.main(["--only", "splatting"]) == 0
    assert "tiny sizes" not in command.PAGE.read_text()


def test_a_failed_measurement_leaves_its_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def fail(quick: bool) -> Section:
        raise RuntimeError("no result")

    monkeypatch.setattr(command, "PAGE", tmp_path / "PAGE.md")
    monkeypatch.setattr(input_pipeline, "measure", lambda quick: section("Input pipeline"))
    assert command.main(["--only", "input"]) == 0
    before = command.PAGE.read_text()
    monkeypatch.setattr(input_pipeline, "measure", fail)
    assert command.main(["--only", "input"]) == 1
    assert command.PAGE.read_text() == before
    assert "error: input was not measured" in capsys.readouterr().err


def test_trials_are_read_from_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = 'a log line\n{"ours": [0.5, 0.6], "stock": [4.8]}\n'
    monkeypatch.setenv("RAY_ADDRESS", "cluster:6379")
    asked: dict[str, str] = {}

    def run(words: list[str], **options) -> subprocess.CompletedProcess:
        asked.update(options["env"])
        return subprocess.CompletedProcess(words, 0, stdout=printed, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    assert trials.in_own_process(2, runs=2) == {"ours": [0.5, 0.6], "stock": [4.8]}
    assert "RAY_ADDRESS" not in asked


def test_trials_without_a_result_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 3, stdout="", stderr="one\nthe last line")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match=r"ended with 3: the last line"):
        trials.in_own_process(2, runs=1)


@pytest.mark.parametrize(("seconds_per_trial", "kept"), [(0.2, True), (1.5, False)])
def test_a_missed_bar_is_told(monkeypatch: pytest.MonkeyPatch, seconds_per_trial: float, kept: bool) -> None:
    parts = {"starting": [3.0], "first": [4.0], "others": [0.03], "after": [2.0]}
    answer = {"ours": [seconds_per_trial] * 3, "stock": [6.0], **parts}
    monkeypatch.setattr(trials, "in_own_process", lambda count, runs: answer)
    found = trials.measure()
    assert (found.missed == ()) == kept
    assert ("per trial: kept" if kept else "per trial: missed") in found.text()


def test_the_machine_is_described_without_names() -> None:
    words = f"{machine.describe_machine()} {machine.describe_revision()} {machine.describe_load()}"
    assert torch.__version__ in words
    assert str(machine.ROOT) not in words
    host = platform.node()
    assert len(host) < 4 or host not in words
    assert f"{len(os.sched_getaffinity(0))} usable core" in words
