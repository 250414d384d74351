"""Whoever registers, it is judged: once, by however many watchers, and nothing that is registered can stop them."""

import json
import shutil
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from plain_client import NAME, PROTOCOL, TUNING, another_bundle, edit_card, first_bundle, register, spoil_weights

from registry.tracking.run_log import open_run_log
from registry.versions.evaluation_log import read_report
from registry.versions.fetching import pull
from registry.versions.store import EncoderStore
from ssl_core.evaluation.sections.fine_tuning import words
from ssl_core.interrupt import Interrupt
from study.registration import evaluation_job as judging
from study.registration.evaluation_job import Answer, EvaluationJob, judge
from study.registration.watcher import Notice, WatchCounts, Watcher, WatchPlan


class HerePool:
    """Jobs done at once in the asking process: the slow twin of the pools."""

    slots = 1

    def submit(self, job: EvaluationJob) -> "Future[Answer]":
        future: Future[Answer] = Future()
        future.set_result(judge(job))
        return future

    def close(self) -> None: ...


class Desk:
    """A registry, a pack and watchers."""

    def __init__(self, home: Path, pack: Any) -> None:
        self.home, self.pack, self.said = home, pack, list[Notice]()
        self.log = open_run_log(None, home)
        self.store = EncoderStore(self.log)
        self.client = self.store.client

    def watch(self, protocol: Any = PROTOCOL, pool: Any = None, packs: bool = True, tuning: Any = None) -> WatchCounts:
        places = {self.pack.manifest.pack_digest: str(self.pack.path)} if packs else {}
        plan = WatchPlan(places, self.home, None, protocol, every=0.2, fine_tuning=tuning)
        return Watcher(self.store, plan, pool or HerePool(), self.said.append).run(Interrupt(), once=True)

    def tags(self, reference: str) -> dict[str, str]:
        name, _, version = reference.rpartition("/")
        return dict(self.client.get_model_version(name, version).tags)

    def judgement(self, reference: str) -> dict[str, str]:
        found = [value for key, value in self.tags(reference).items() if key.startswith("splatsweep.judged.")]
        assert len(found) == 1
        return dict(json.loads(found[0]))

    def evaluations(self) -> dict[str, int]:
        return evaluations(self.log)


def evaluations(log: Any) -> dict[str, int]:
    """Evaluation runs per version, whatever their status, that are not in the bin."""
    query = "tags.`splatsweep.kind` = 'evaluation'"
    counts: dict[str, int] = {}
    for run in log.client.search_runs([log.connection.experiment_id], query, max_results=500):
        assert run.info.status == "FINISHED"
        counts[run.data.tags["splatsweep.encoder"]] = counts.get(run.data.tags["splatsweep.encoder"], 0) + 1
    return counts


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return first_bundle(tmp_path_factory.mktemp("bundles") / "first")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with MLflow's tables and nothing else."""
    home = tmp_path_factory.mktemp("empty")
    assert open_run_log(None, home).connection.experiment_id
    return home / "mlflow.db"


@pytest.fixture
def desk(tmp_path: Path, empty: Path, tiny_pack: Any) -> Desk:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(empty, home / "mlflow.db")
    judging._pack.cache_clear()
    return Desk(home, tiny_pack)


def test_versions_of_a_plain_client_are_judged_once(desk, bundle, tmp_path):
    for seed in range(2):
        register(desk.client, another_bundle(bundle, tmp_path / f"b{seed}", seed))
    assert desk.watch().judged == 2
    assert desk.evaluations() == {f"{NAME}/1": 1, f"{NAME}/2": 1}
    assert sum(NAME in version.name and "champion" in version.aliases for version in desk.store.list()) == 1
    version = desk.store.get(NAME, 1)
    assert version.kind == "point_encoder"
    assert version.feature_dim == 32
    assert version.evaluation is not None
    assert version.decision is not None
    assert [event.kind for event in version.events][:2] == ["registered", "evaluated"]
    assert desk.judgement(f"{NAME}/1")["outcome"] == ("promoted" if version.decision.promoted else "refused")
    folder = pull(desk.store, f"{NAME}@champion", tmp_path / "pulled")  # and can be used like any other
    assert (folder / "encoder.safetensors").is_file()
    before = {v.reference: desk.tags(v.reference) for v in desk.store.list()}
    assert desk.watch().judged == 0
    assert before == {v.reference: desk.tags(v.reference) for v in desk.store.list()}


@pytest.mark.slow  # ten seconds; test_watch_killed.py is the hard case
def test_what_a_plain_client_registered_is_judged_and_then_fine_tuned_once(desk, bundle, tmp_path):
    for seed in range(2):
        register(desk.client, another_bundle(bundle, tmp_path / f"b{seed}", seed))
    counts = desk.watch(tuning=TUNING)
    assert (counts.judged, counts.fine_tuned, counts.refused) == (2, 2, 0)
    kinds = [notice.kind for notice in desk.said if notice.kind in ("judged", "fine-tuned")]
    assert kinds == ["judged", "judged", "fine-tuned", "fine-tuned"]
    assert desk.evaluations() == {f"{NAME}/1": 2, f"{NAME}/2": 2}
    champion = desk.store.resolve(f"{NAME}@champion")
    for version in desk.store.list():
        report = read_report(desk.store, version)
        assert report.deciding is not None
        (row,) = report.sections.fine_tuning
        assert version.fine_tuning == words([row])
        assert version.fine_tuning in version.found
        metrics = desk.client.get_run(version.evaluation.run_id).data.metrics
        assert metrics["fine_tuning/2_per_class/gain"] == pytest.approx(row.gain.mean)
        described = desk.client.get_model_version(NAME, str(version.version)).description
        assert described.endswith(f"{version.found}.")
    assert champion.decision.promoted
    before = {v.reference: desk.tags(v.reference) for v in desk.store.list()}
    assert desk.watch(tuning=TUNING) == WatchCounts()
    assert before == {v.reference: desk.tags(v.reference) for v in desk.store.list()}


@pytest.mark.slow  # ten seconds
def test_another_protocol_measures_again_and_moves_no_alias(desk, bundle, tmp_path):
    for seed in range(2):
        register(desk.client, another_bundle(bundle, tmp_path / f"b{seed}", seed))
    desk.watch()
    champion = desk.store.resolve(f"{NAME}@champion")
    decisions = [version.decision for version in desk.store.list()]
    assert desk.watch(PROTOCOL.model_copy(update={"knn_k": 3, "svm_c": 2.0})).judged == 2
    assert desk.evaluations() == {f"{NAME}/1": 2, f"{NAME}/2": 2}
    assert desk.store.resolve(f"{NAME}@champion").version == champion.version
    assert [version.decision for version in desk.store.list()] == decisions


def spoil(kind: str, folder: Path) -> dict[str, str]:
    """Make a bundle bad; returns tags to register it with."""
    match kind:
        case "no weights":
            (folder / "encoder.safetensors").unlink()
        case "pickle":
            (folder / "model.pkl").write_bytes(b"\x80\x04N.")
        case "pickle under another name":
            (folder / "encoder.json").write_bytes(b"\x80\x04N.")
        case "nan":
            spoil_weights(folder)
        case "other columns":
            edit_card(folder, contract__features=["xyz", "normals"])
        case "other width":
            edit_card(folder, backbone__feature_dim=64)
        case "endless":
            edit_card(folder, contract__num_points=10**12)
        case "no card":
            (folder / "encoder.json").write_text("{")
        case "tampered":
            with (folder / "encoder.safetensors").open("r+b") as stream:
                stream.seek(-1, 2)
                stream.write(b"\x7f")
        case "lying tag":
            return {"feature_dim": "512"}
        case "not ours":
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / "notes.txt").write_text("hello")
        case "nothing there":
            shutil.rmtree(folder)
    return {}


BAD = {
    "no weights": "encoder.safetensors",
    "pickle": "pickle",
    "pickle under another name": "pickle|JSON|encoder.json",
    "nan": "finite",
    "other columns": "encoder",
    "other width": "does not fit",
    "endless": "numbers per object",
    "no card": "JSON|changed|sha256",
    "tampered": "sha256",
    "lying tag": "feature_dim",
    "not ours": "not an encoder",
    "nothing there": "not an encoder|not there",
}


def test_bad_input_is_refused_with_a_reason_and_stops_nobody(desk, bundle, tmp_path):
    import re

    references = {}
    for i, kind in enumerate(BAD):
        folder = another_bundle(bundle, tmp_path / f"bad{i}" / "bundle", i)
        references[kind] = register(desk.client, folder, **spoil(kind, folder))
    good = register(desk.client, another_bundle(bundle, tmp_path / "good", 99))
    counters = desk.watch()
    assert counters.refused == len(BAD), [notice.reason for notice in desk.said if notice.kind in ("failed", "trouble")]
    assert counters.failed == 0
    assert counters.judged == 1
    assert desk.evaluations() == {good: 1}
    for kind, reference in references.items():
        tags = desk.tags(reference)
        assert re.search(BAD[kind], tags["splatsweep.unfit"]), (kind, tags["splatsweep.unfit"])
        assert str(tmp_path) not in tags["splatsweep.unfit"]
        events = [json.loads(value) for key, value in tags.items() if key.startswith("splatsweep.event.")]
        assert [event["kind"] for event in events] == ["refused"]
        assert not [key for key in tags if key.startswith("splatsweep.claim.")]
    before = [desk.tags(reference) for reference in references.values()]
    assert desk.watch() == WatchCounts()
    assert before == [desk.tags(reference) for reference in references.values()]


@pytest.mark.parametrize("name", [".hidden", "tab\there", "it's", 'say "no"', "bell\x07", "x" * 120, "über"])
def test_unusable_names_are_refused(desk, bundle, name):
    reference = register(desk.client, bundle, name)
    assert desk.watch().refused == 1
    assert "not a usable model name" in desk.tags(reference)["splatsweep.unfit"]


def test_other_kinds_and_other_packs_are_passed_over_and_said_once(desk, bundle, tmp_path):
    stranger = register(desk.client, bundle, "a-forest", kind=None)
    elsewhere = register(desk.client, bundle, pack_digest="f00d" * 4)
    before = desk.tags(stranger), desk.tags(elsewhere)
    assert desk.watch() == WatchCounts()
    assert (desk.tags(stranger), desk.tags(elsewhere)) == before
    assert sorted(notice.reference for notice in desk.said if notice.kind == "passed over") == ["", elsewhere]
    assert desk.watch(packs=False) == WatchCounts()


def test_the_classes_of_another_pack_are_refused_for_this_one(desk, bundle):
    true = register(desk.client, bundle, classes="rod, disc,box")
    false = register(desk.client, bundle, classes='["chair", "sofa"]')
    counters = desk.watch()
    assert (counters.judged, counters.refused) == (1, 1)
    assert "chair, sofa" in desk.judgement(false)["reason"]
    assert "splatsweep.unfit" not in desk.tags(false)
    assert desk.judgement(true)["outcome"] in ("promoted", "refused")


def test_an_evaluation_that_died_half_way_is_not_done_twice(desk, bundle, tmp_path):
    from registry.tracking.names import own_tags

    reference = register(desk.client, bundle)
    desk.watch()
    (run,) = desk.client.search_runs([desk.log.connection.experiment_id], "tags.`splatsweep.kind` = 'evaluation'")
    # one that wrote all but the version's tags, and one that began and never ended
    for key in desk.tags(reference):
        if key.startswith(("splatsweep.evaluation", "splatsweep.judged", "splatsweep.decision")):
            desk.client.delete_model_version_tag(NAME, "1", key)
    tags = {key: value for key, value in run.data.tags.items() if key.startswith("splatsweep.")}
    half = desk.log.start_nested(run.data.tags["mlflow.parentRunId"], "half", {**own_tags(), **tags}, {})
    assert desk.watch().judged == 1
    assert desk.store.get(NAME, 1).evaluation.run_id == run.info.run_id
    assert desk.evaluations() == {reference: 1}
    assert desk.client.get_run(half).info.lifecycle_stage == "deleted"


@pytest.mark.slow  # ten seconds; test_watch_killed.py is the hard case
def test_two_watchers_share_the_work(desk, bundle, tmp_path):
    for seed in range(3):
        register(desk.client, another_bundle(bundle, tmp_path / f"b{seed}", seed))
    other = Desk(desk.home, desk.pack)
    tallies: list[WatchCounts] = []
    threads = [threading.Thread(target=lambda d=each: tallies.append(d.watch())) for each in (desk, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tallies.append(desk.watch())
    assert sum(counters.judged for counters in tallies) == 3
    assert desk.evaluations() == {f"{NAME}/{number}": 1 for number in (1, 2, 3)}
    assert sum("champion" in version.aliases for version in desk.store.list()) == 1


def test_a_version_that_ends_every_worker_is_given_up(desk, bundle):
    reference = register(desk.client, bundle)

    class DyingPool(HerePool):
        def submit(self, job: EvaluationJob) -> "Future[Answer]":
            future: Future[Answer] = Future()
            future.set_result(Answer(outcome="failed", reason="its evaluating process was killed by signal 9"))
            return future

    for _ in range(2):
        assert desk.watch(pool=DyingPool()).failed == 1
    plan = WatchPlan({desk.pack.manifest.pack_digest: str(desk.pack.path)}, desk.home, None, PROTOCOL, every=0.01)
    interrupt = Interrupt()

    def say(notice: Notice) -> None:
        desk.said.append(notice)
        if notice.kind == "refused":
            interrupt.signal = 15

    assert Watcher(desk.store, plan, DyingPool(), say).run(interrupt).refused == 1
    assert "failed 3 times" in desk.judgement(reference)["reason"]
    assert desk.watch() == WatchCounts()


def test_a_registry_that_does_not_answer_is_waited_for(desk, bundle, monkeypatch):
    from ssl_core.errors import RegistryError
    from study.registration import watcher as watching

    register(desk.client, bundle)
    answers = [RegistryError("no MLflow server answers"), RegistryError("no MLflow server answers"), None]
    look = watching.all_versions

    def sometimes(store: EncoderStore) -> Any:
        if answers and (error := answers.pop(0)) is not None:
            raise error
        return look(store)

    monkeypatch.setattr(watching, "all_versions", sometimes)
    interrupt = Interrupt()

    def say(notice: Notice) -> None:
        desk.said.append(notice)
        if notice.kind == "judged":
            interrupt.signal = 2

    plan = WatchPlan({desk.pack.manifest.pack_digest: str(desk.pack.path)}, desk.home, None, PROTOCOL, every=0.05)
    assert Watcher(desk.store, plan, HerePool(), say).run(interrupt).judged == 1
    assert [notice.kind for notice in desk.said] == ["trouble", "judging", "judged"]
