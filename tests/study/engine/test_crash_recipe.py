"""The same as in test_crash_exact.py, with the real recipe: weights, optimiser and data order survive every kill."""

import statistics
from pathlib import Path

import pytest
import yaml
from agreement import assert_agreement
from study_process import study_process
from test_crash_exact import assert_rungs, assert_same, kill_often
from tiny_recipe import TINY

from registry.tracking.run_log import open_run_log
from ssl_core.data.object_pack import Pack
from study.engine.ledger import read_ledger


def space_file(folder: Path, trials: int) -> Path:
    study = {"trials": trials, "top_k": 1, "scheduler": {"kind": "asha", "grace": 2}}
    text = {"recipe": "cross_modal", "preset": "quick", "base": TINY, "study": study}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({**text, "space": {"loss.beta": {"log": [0.3, 10]}}}))
    return file


@pytest.mark.slow
@pytest.mark.timeout(3400)
def test_twenty_kills_of_a_study_of_the_real_recipe(
    tmp_path: Path, tiny_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, space = tmp_path / "compiled", space_file(tmp_path, 24)
    folder = tmp_path / "killed" / "studies" / "tiny"

    def start(home: str) -> object:
        monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / home))
        return study_process("run_tiny_study.py", space, tiny_pack.path, 1, cache=cache)

    def reported() -> int:
        files = folder.glob("trials/*/metrics.jsonl")
        return sum(file.read_bytes().count(b"\n") for file in files)

    resumed = kill_often(lambda: start("killed"), folder, 20, 5, reported, seed=5)
    with start("undisturbed") as process:  # type: ignore[attr-defined]
        out, errors = process.communicate(timeout=1500)
        assert "done" in out, errors[-2000:]
    assert len(read_ledger(folder).records()) == 24
    assert_same(folder, tmp_path / "undisturbed" / "studies" / "tiny")
    assert_rungs(folder)
    with open_run_log(None, tmp_path / "killed") as log:
        assert_agreement(folder, log)
    print(
        f"\nreal recipe: a first report after {statistics.median(resumed):.1f} s (median), {max(resumed):.1f} s (most) "
        f"of {len(resumed)} starts"
    )
