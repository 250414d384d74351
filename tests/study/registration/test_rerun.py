"""An encoder trained again from its lineage: the same bits, or the first thing that differs."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import yaml
from inline_driver import run_inline
from tiny_recipe import TINY
from typer.testing import CliRunner

from registry.tracking.run_log import RunLog, open_run_log
from registry.versions.environment import facts
from registry.versions.lineage import Curves
from registry.versions.records import EncoderVersion
from registry.versions.store import EncoderStore
from ssl_core.data.object_pack import Pack
from ssl_core.errors import PackError, RegistryError, StudyError
from ssl_core.recipes.cross_modal import CROSS_MODAL
from ssl_core.training.session import TrainedSession
from study.commands.cli import app
from study.engine.ledger import open_ledger, read_ledger
from study.record.config_file import ConfigFile
from study.registration.assess import register_trial
from study.registration.rerun import (
    CurveDifference,
    Scratch,
    compared,
    computing_on,
    differences,
    measured,
    rerun,
    retrain,
)
from study.registration.sweep import Request, plan_study
from study.run.driver import run_study
from study.run.mirror_process import MirrorProcess
from study.run.trial_opener import TrialOpener
from study.spec.outcome import Outcome


@dataclass(frozen=True)
class Studied:
    """A study of the real recipe, its trials in MLflow, and the encoders of one complete and one stopped trial."""

    home: Path
    log: RunLog
    complete: tuple[EncoderVersion, ...]
    stopped: tuple[EncoderVersion, ...]

    @property
    def store(self) -> EncoderStore:
        """Where they are registered."""
        return EncoderStore(self.log)


def space_file(folder: Path, **study: object) -> Path:
    """Three trials of three epochs, of which the halving stops one."""
    halving = {"kind": "asha", "grace": 1, "reduction": 2}
    study = {"trials": 3, "top_k": 3, "metric": "val/probe", "scheduler": halving, **study}
    text = {"recipe": "cross_modal", "preset": "quick", "base": {**TINY, "training.epochs": 3}, "study": study}
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({**text, "space": {"training.optimizer.lr": {"choice": [0.003, 0.0000001]}}}))
    return file


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, tiny_pack: Pack) -> Iterator[Studied]:
    """The study, run in this process: the twin of the loop under Ray."""
    folder = tmp_path_factory.mktemp("rerun")
    home = folder / "home"
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, open_run_log(None, home) as log:
        patch.setenv("SPLATSWEEP_HOME", str(home))
        plan, opener, _ = plan_study(Request(space=space_file(folder), pack=tiny_pack.path, name="tiny", concurrency=1))
        plan = replace(plan, facts={**plan.facts, **facts(threads=1)})
        ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
        ledger.set_attr("facts", dict(plan.facts))
        run_inline(plan, slots=1, callbacks=[ConfigFile(plan.folder, plan.space)])
        ledger.refresh()
        assert MirrorProcess(log, ledger, print).leave(120.0) == 0
        assert isinstance(opener, TrialOpener)
        records, store = read_ledger(plan.folder).records(), EncoderStore(log)
        made = {}
        for outcome in (Outcome.COMPLETE, Outcome.STOPPED):
            record = next(record for record in records if record.outcome is outcome)
            made[outcome] = tuple(register_trial(plan, opener, record, store))
        yield Studied(home, log, made[Outcome.COMPLETE], made[Outcome.STOPPED])


@pytest.fixture
def tag(studied: Studied) -> Iterator[Callable[..., None]]:
    """`tag(version, seed=9)` changes the lineage of a version until the end of the test."""
    before: list[tuple[EncoderVersion, dict[str, str]]] = []

    def change(version: EncoderVersion, **fields: object) -> None:
        before.append((version, {f"splatsweep.{key}": str(getattr(version.lineage, key)) for key in fields}))
        studied.store.tag(version, {f"splatsweep.{key}": str(value) for key, value in fields.items()})

    yield change
    for version, tags in reversed(before):
        studied.store.tag(version, tags)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["complete", "stopped"])
def test_a_training_on_the_cpu_is_had_again_to_the_last_bit(studied: Studied, which: str) -> None:
    version: EncoderVersion = getattr(studied, which)[0]
    said: list[str] = []
    found = rerun(studied.store, version.reference, studied.home, say=said.append)
    assert found.bit_equal, found.verdict
    assert found.agrees
    assert found.same_bundle
    assert (found.differing, found.weights, found.device, found.threads) == (0, 0.0, "cpu", 1)
    assert found.metrics > 10
    assert found.epochs == (3 if which == "complete" else len(said))
    assert (found.epochs < 3) == (which == "stopped")
    assert all(text.endswith("equal so far") for text in said)
    assert found.verdict.startswith("bit-equal")
    assert not [note for note in found.notes if not note.startswith("code ")]
    assert list((studied.home / "reruns").iterdir()) == [], "nothing is left behind"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_in_a_worker_of_the_cluster_is_had_again_too(
    tmp_path: Path, tiny_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    space = space_file(tmp_path, trials=1, threads_per_trial=1)
    plan, opener, _ = plan_study(Request(space=space, pack=tiny_pack.path, name="tiny", concurrency=1))
    with open_run_log(None, tmp_path / "home") as log:
        summary, store = run_study(plan, log), EncoderStore(log)
        version = register_trial(plan, opener, summary.leaders[0], store)[-1]
        found = rerun(store, version.reference, tmp_path / "home")
    assert found.bit_equal, found.verdict
    assert found.same_bundle
    assert (found.threads, found.epochs) == (1, 3)


@pytest.mark.slow
def test_another_seed_is_found_out_in_the_first_epoch(studied: Studied, tag: Callable[..., None]) -> None:
    version = studied.stopped[0]
    tag(version, seed=version.lineage.seed + 1)
    found = rerun(studied.store, version.reference, studied.home)
    assert not found.agrees
    assert not found.same_bundle
    assert found.first is not None
    assert found.largest is not None
    assert found.weights is not None
    assert found.weights > 0
    assert found.first.epoch == 1
    assert found.verdict.startswith("differs from epoch 1 on: ")
    assert rerun(studied.store, version.reference, studied.home, tolerance=found.largest.size).agrees


@pytest.mark.slow
def test_cut_off_it_goes_on_where_it_was(studied: Studied) -> None:
    version = studied.complete[0]

    def power_cut(text: str) -> None:
        if text.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rerun(studied.store, version.reference, studied.home, say=power_cut)
    (left,) = (studied.home / "reruns").iterdir()
    metrics = next(left.glob("trials/*/metrics.jsonl"))
    # killed before the last line was written: the checkpoint knows
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    said: list[str] = []
    found = rerun(studied.store, version.reference, studied.home, say=said.append)
    assert found.bit_equal, found.verdict
    assert [text.split(":")[0] for text in said] == ["epoch 3/3"]


@pytest.mark.slow
def test_without_its_run_the_studys_folder_will_do(studied: Studied, tag: Callable[..., None], tmp_path: Path) -> None:
    version = studied.stopped[0]
    tag(version, run_id="0" * 32)
    found = rerun(studied.store, version.reference, studied.home)
    assert found.source.startswith("study folder")
    assert found.bit_equal, found.verdict
    assert not [note for note in found.notes if not note.startswith("code ")]
    with pytest.raises(StudyError, match=r"not in MLflow.*bring back"):
        rerun(studied.store, version.reference, tmp_path)
    tag(version, config_digest="0123456789abcdef")
    with pytest.raises(StudyError, match="bring back"):
        rerun(studied.store, version.reference, studied.home)


@pytest.mark.slow
def test_what_cannot_be_trained_again_says_why(
    studied: Studied, tag: Callable[..., None], tmp_path: Path, tiny_set: Path
) -> None:
    from ssl_core.data.object_pack import PackConfig
    from ssl_core.packing.pack_writer import write_pack

    version, store = studied.complete[0], studied.store
    other = write_pack(tiny_set / "points", tiny_set / "images", tmp_path / "other", PackConfig(cached_points=64))
    for place in (str(other.path), str(tmp_path / "nowhere")):
        with pytest.raises(PackError, match=f"{version.lineage.pack_digest} that .* with --pack"):
            rerun(store, version.reference, studied.home, pack=place)
    with pytest.raises(RegistryError, match="no version 99"):
        rerun(store, f"{version.name}/99", studied.home)
    tag(version, trial=-1)
    with pytest.raises(StudyError, match="was imported"):
        rerun(store, version.reference, studied.home)


@pytest.mark.slow
def test_the_commands(studied: Studied, tag: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLATSWEEP_HOME", str(studied.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    version = studied.stopped[0]

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, words)
        assert done.exit_code == code, done.output
        return done.stdout

    again = json.loads(run("rerun", version.reference, "--json"))
    assert again["bit_equal"]
    tag(version, seed=77)
    assert not json.loads(run("rerun", version.reference, "--json", code=1))["agrees"]

    told = json.loads(run("lineage", version.reference, "--json"))
    assert told["recorded"]["space"]["recipe"] == "cross_modal"
    assert told["recorded"]["gaps"] == []
    text = run("lineage", version.reference)
    for word in ("tiny", version.lineage.pack_digest, "torch", "threads"):
        assert word in text, word
    for pack in (version.lineage.pack_digest, told["recorded"]["pack"], f"file://{told['recorded']['pack']}"):
        seen = json.loads(run("lineage", "--pack", pack, "--json"))
        assert {one["reference"] for one in seen["encoders"]} >= {version.reference, studied.complete[0].reference}
        assert seen["studies"] == ["tiny"]
    assert "studies on it: tiny" in run("lineage", "--pack", version.lineage.pack_digest)
    assert len(json.loads(run("lineage", "--study", "tiny", "--json"))) == 4
    assert "encoders of study tiny" in run("lineage", "--study", "tiny")
    run("lineage", version.reference, "--study", "tiny", code=1)
    run("lineage", code=1)


@pytest.mark.slow  # a quarter of a minute; the whole way is slow, too
def test_trained_again_and_cut_off_a_session_gives_the_same_bits(tmp_path: Path, tiny_pack: Pack, tiny_config) -> None:
    def session(seed: int) -> TrainedSession:
        return CROSS_MODAL.open(tiny_config, tiny_pack, {}, seed)

    def power_cut(epoch: int, curves: Curves) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with computing_on(1):
        once = session(seed=5)
        recorded: Curves = {}
        for epoch in (1, 2, 3):
            for name, value in once.run_epoch().items():
                recorded.setdefault(name, {})[epoch] = value
        scratch, best = Scratch(tmp_path / "scratch", 7), 3
        with pytest.raises(KeyboardInterrupt):
            retrain(session(5), scratch, 3, best, power_cut)
        again = session(5)
        found = retrain(again, scratch, 3, best, lambda epoch, curves: None)
        assert {name: curve for name, curve in found.items() if not measured(name)} == {
            name: curve for name, curve in recorded.items() if not measured(name)
        }
        states = once.trial.module.state_dict(), again.trial.module.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        # what is left of another training in the folder is not gone on with
        other = retrain(session(6), scratch, 1, 1, lambda epoch, curves: None)
        assert {epoch for curve in other.values() for epoch in curve} == {1}
        assert differences(recorded, other)[0].epoch == 1


def test_the_first_and_the_largest_difference() -> None:
    recorded = {"loss": {1: 1.0, 2: 0.5}, "probe": {1: 0.7, 2: 0.8}, "seconds/train": {1: 3.0, 2: 3.0}}
    found = {"loss": {1: 1.0, 2: 0.25}, "probe": {1: 0.7, 2: 0.75}, "new": {1: 1.0}, "seconds/train": {1: 9.0}}
    assert compared(recorded) == ["loss", "probe"]
    assert [(one.epoch, one.metric) for one in differences(recorded, found)] == [(2, "loss"), (2, "probe")]
    assert [one.metric for one in differences(recorded, found, tolerance=0.1)] == ["loss"]
    assert differences(recorded, recorded) == []
    gone = differences(recorded, {"loss": {1: 1.0}})
    assert gone == [CurveDifference(epoch=1, metric="probe", recorded=0.7, found=None)]
    assert gone[0].size == float("inf")
    assert measured("cost/latency_ms")
    assert not measured("cost/parameters")
