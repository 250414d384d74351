"""What a study's folder says MLflow shall show: the journal's story, however often and wherever it is cut."""

import json
from collections.abc import Iterator

import pytest
from fake_plans import MakePlan
from inline_driver import PowerCut, run_inline

from registry.tracking.cursor import read_cursor
from registry.tracking.mirror import Mirror
from registry.tracking.names import STUDY_RUN
from registry.tracking.run_log import RunLog, open_run_log
from study.engine.cost_report import study_receipt
from study.engine.ledger import JOURNAL, open_ledger, read_ledger
from study.engine.trial_manager import TrialManager
from study.record.config_file import ConfigFile
from study.record.journal import count_lines
from study.record.metrics_file import metrics_path, read_metrics, read_untrained
from study.record.trial_record import Origin, TrialRecord, Verdict
from study.run.driver import StudyPlan
from study.run.study_source import STATUS, Ending, StudySource, provenance_tags


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLog]:
    """An embedded store; every study has a key of its own."""
    with open_run_log(None, tmp_path_factory.mktemp("home")) as opened:
        yield opened


def begun(plan: StudyPlan, **attrs: object) -> None:
    """The study is there, with what its driver writes before anything else."""
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    invocation = int(ledger.attrs.get("invocations", 0)) + 1
    for key, value in {"tracking_key": str(plan.folder), "invocations": invocation, "facts": dict(plan.facts)}.items():
        ledger.set_attr(key, value)
    for key, value in attrs.items():
        ledger.set_attr(key, value)


def run(plan: StudyPlan, each_turn: object = None) -> TrialManager:
    begun(plan)
    configs = ConfigFile(plan.folder, plan.space)
    return run_inline(plan, callbacks=[configs], each_turn=each_turn)


def end(plan: StudyPlan, status: str = "FINISHED") -> Ending:
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    invocation = int(ledger.attrs["invocations"])
    ending = Ending(invocation=invocation, status=status, outcome="COMPLETE", reason="done", at=1_800_000_000_000)
    ledger.set_attr("ending", ending.model_dump(mode="json"))
    return ending


def tell(plan: StudyPlan, log: RunLog, *, rest: bool = True) -> Mirror:
    """By a mirror that begins anew and tells all there is."""
    source = StudySource(plan.folder, read_cursor(plan.folder).position)
    if rest:
        source.rest()
    mirror = Mirror(source, lambda: log.connection, plan.folder)
    while mirror.round():
        pass
    if rest:
        mirror.finish()
    return mirror


def assert_told(plan: StudyPlan, log: RunLog, *, cursor: bool = True) -> None:
    """Every record is there once with its metrics file's points in order, and with its end."""
    client, records = log.client, read_ledger(plan.folder).records()
    key = read_ledger(plan.folder).attrs["tracking_key"]
    found = client.search_runs([log.connection.experiment_id], f"tags.`splatsweep.key` = '{key}'", max_results=1000)
    runs = {run.data.tags.get("splatsweep.trial", STUDY_RUN): run for run in found}
    assert len(runs) == len(found) == len(records) + 1
    assert not cursor or {name: run.info.run_id for name, run in runs.items()} == read_cursor(plan.folder).runs
    for record in records:
        run = runs[str(record.number)]
        assert record.outcome is not None
        assert run.info.status == STATUS[record.outcome]
        assert run.data.tags["splatsweep.outcome"] == record.outcome.value
        assert run.data.tags["mlflow.parentRunId"] == runs[STUDY_RUN].info.run_id
        curves = {**{"val/probe": record.curve}, **read_metrics(plan.folder, record.number)}
        if record.best_value is not None:
            curves["objective"] = {record.best_epoch or 0: record.best_value}
        assert set(run.data.metrics) == {name for name, curve in curves.items() if curve}
        for name, curve in curves.items():
            history = client.get_metric_history(run.info.run_id, name)
            assert [(point.step, point.value) for point in history] == list(curve.items())
    totals = client.get_metric_history(runs[STUDY_RUN].info.run_id, "study/trials")
    assert sorted((p.step, p.value) for p in totals) == [(n, float(n)) for n in range(1, len(records) + 1)]
    assert runs[STUDY_RUN].info.status in ("FINISHED", "FAILED")


def test_a_study_is_shown_whole(make_plan: MakePlan, log: RunLog) -> None:
    plan = make_plan(trials=5, base={"mode": "good"})
    (plan.folder).mkdir(parents=True)
    (plan.folder / "space.yaml").write_text("recipe: fake\n")
    run(plan)
    ending = end(plan)
    mirror = tell(plan, log)
    assert_told(plan, log)
    ledger, client = read_ledger(plan.folder), log.client
    kept = {n for n in range(5) if client.list_artifacts(mirror.cursor.runs[str(n)], "checkpoint")}
    assert len(kept) == plan.spec.top_k
    for number in map(str, range(5)):
        names = {item.path for item in client.list_artifacts(mirror.cursor.runs[number])}
        assert names >= {"config.json"}
    study = client.get_run(mirror.cursor.runs[STUDY_RUN])
    assert {item.path for item in client.list_artifacts(study.info.run_id)} == {
        "receipt.json", "space.json", "space.yaml",
    }  # fmt: skip
    assert json.loads(study.data.tags["splatsweep.receipt"]) == study_receipt(ledger).model_dump(mode="json")
    assert study.data.metrics["receipt/held"] == study_receipt(ledger).held
    assert (study.info.end_time, study.data.tags["splatsweep.reason"]) == (ending.at, "done")
    assert study.data.params["study.trials"] == "5"
    assert mirror.cursor.left(count_lines(plan.folder / JOURNAL)) == 0


@pytest.mark.parametrize("seed", range(3))
def test_driver_and_mirror_die_again_and_again_and_all_is_told_once(
    make_plan: MakePlan, log: RunLog, seed: int
) -> None:
    plan = make_plan(trials=6, seed=seed, grace=1)
    cuts = iter([3 + seed, 7, 2 + 2 * seed, 10])
    while True:
        countdown = next(cuts, 10**9)

        def turn(manager: TrialManager) -> None:
            nonlocal countdown
            countdown -= 1
            if countdown <= 0:
                raise PowerCut

        try:
            run(plan, turn)
        except PowerCut:
            if seed != 1:  # for one, MLflow is down all the time
                tell(plan, log, rest=seed == 2)
            if seed == 2:
                (plan.folder / "mirror.json").unlink()
            continue
        break
    end(plan)
    tell(plan, log)
    assert_told(plan, log)


def test_a_mirror_follows_a_study_and_tells_points_as_they_come(make_plan: MakePlan, log: RunLog) -> None:
    plan, mirrors = make_plan(trials=3), list[Mirror]()
    points: list[float] = []

    def turn(manager: TrialManager) -> None:
        mirrors.append(
            mirrors[-1] if mirrors else Mirror(StudySource(plan.folder), lambda: log.connection, plan.folder)
        )
        mirrors[-1].round()
        run_id = mirrors[-1].cursor.runs.get("0")
        if run_id is not None and not points:
            points.extend(p.value for p in log.client.get_metric_history(run_id, "val/probe"))

    run(plan, turn)
    assert points
    end(plan)
    tell(plan, log)
    assert_told(plan, log)


def test_what_a_metrics_file_has_lost_is_told_by_the_journal(make_plan: MakePlan, log: RunLog) -> None:
    plan = make_plan(trials=3)
    run(plan)
    metrics_path(plan.folder, 1).unlink()
    lines = metrics_path(plan.folder, 0).read_bytes().splitlines(keepends=True)
    metrics_path(plan.folder, 0).write_bytes(lines[0] + b'{"torn' + b"\n" + b"".join(lines[2:]))
    end(plan)
    mirror = tell(plan, log)
    for number, record in enumerate(read_ledger(plan.folder).records()):
        history = log.client.get_metric_history(mirror.cursor.runs[str(number)], "val/probe")
        assert [(point.step, point.value) for point in history] == list(record.curve.items())
    assert "train/loss" not in log.client.get_run(mirror.cursor.runs["1"]).data.metrics


def test_a_report_is_not_told_before_its_line_is_there(make_plan: MakePlan) -> None:
    """The journal comes first: of its latest epoch the other metrics are on their way."""
    plan = make_plan(trials=1, base={"epochs": 4})

    def turn(manager: TrialManager) -> None:
        if manager.ledger.record(0).epoch == 3:
            raise PowerCut

    with pytest.raises(PowerCut):
        run(plan, turn)
    path = metrics_path(plan.folder, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    source = StudySource(plan.folder)
    assert "0" in source.poll()
    assert {point.step for point in source.look("0", 0).points} == {1, 2}
    assert source.poll() == set()
    path.write_bytes(b"".join(lines))
    assert source.poll() == {"0"}
    assert {point.step for point in source.look("0", 2).points} == {3}
    assert {point.step for point in source.look("0", 0).points} == {1, 2, 3}


def test_an_interrupted_trial_is_killed_and_goes_on_in_its_own_run(make_plan: MakePlan, log: RunLog) -> None:
    plan = make_plan(trials=2, base={"epochs": 6})

    def turn(manager: TrialManager) -> None:
        if manager.ledger.record(0).epoch >= 2:
            raise PowerCut

    with pytest.raises(PowerCut):
        run(plan, turn)
    mirror = tell(plan, log)  # nobody wrote an ending: the driver was killed
    for name in ("0", STUDY_RUN):
        killed = log.client.get_run(mirror.cursor.runs[name])
        assert killed.info.status == "KILLED"
        assert killed.data.tags["splatsweep.outcome"] == "UNFINISHED"
        assert "the same command continues it" in killed.data.tags["splatsweep.reason"]
    mirror = tell(plan, log, rest=False)
    assert log.client.get_run(mirror.cursor.runs["0"]).info.status == "RUNNING"
    run(plan)
    end(plan)
    tell(plan, log)
    assert_told(plan, log)


def test_a_trial_keeps_the_lineage_of_the_code_that_trained_it(make_plan: MakePlan, log: RunLog) -> None:
    plan = make_plan(trials=1)
    run(plan)
    begun(plan, facts={"code_revision": "newer"})
    end(plan)
    mirror = tell(plan, log)
    revisions = [log.client.get_run(mirror.cursor.runs[name]).data.tags["splatsweep.code_revision"]
                 for name in ("0", STUDY_RUN)]  # fmt: skip
    assert revisions == ["abc", "newer"]


def test_a_study_that_an_earlier_version_told_keeps_its_runs(make_plan: MakePlan, log: RunLog) -> None:
    """Its runs have the same tags, points of times of their own, and there is no cursor."""
    plan = make_plan(trials=3)
    run(plan)
    client, experiment, key = log.client, log.connection.experiment_id, str(plan.folder)
    tags = {"splatsweep.key": key, "splatsweep.study": "demo"}
    parent = client.create_run(experiment, run_name="demo", tags={**tags, "splatsweep.kind": "study"}).info.run_id
    made = {STUDY_RUN: parent}
    for record in read_ledger(plan.folder).records()[:2]:
        own = {**tags, "splatsweep.kind": "trial", "splatsweep.trial": str(record.number), "mlflow.parentRunId": parent}
        made[str(record.number)] = run_id = client.create_run(experiment, run_name="trial", tags=own).info.run_id
        for name, curve in read_metrics(plan.folder, record.number).items():
            for epoch, value in list(curve.items())[: 1 + record.number]:
                client.log_metric(run_id, name, value, timestamp=1000 + epoch, step=epoch)
    end(plan)
    mirror = tell(plan, log)
    assert_told(plan, log)
    assert {name: mirror.cursor.runs[name] for name in made} == made


def test_the_untrained_models_are_step_0_of_the_curves(make_plan: MakePlan, log: RunLog) -> None:
    """Also where the mirror is cut after it, and where a study began before it was measured."""
    plan = make_plan(trials=2)
    run(plan)
    end(plan)
    path = metrics_path(plan.folder, 0)
    path.write_text(json.dumps({"val/probe": 0.01, "epoch": 0, "at": 1_790_000_000_000}) + "\n" + path.read_text())
    tell(plan, log, rest=False)
    tell(plan, log)
    client, runs = log.client, read_cursor(plan.folder).runs
    steps = {name: client.get_metric_history(runs[name], "val/probe") for name in ("0", "1")}
    assert [point.step for point in steps["0"]] == [0, 1, 2, 3, 4]
    assert steps["0"][0].value == 0.01
    assert [point.step for point in steps["1"]] == [1, 2, 3, 4]
    assert read_untrained(plan.folder, 0) == {"val/probe": 0.01}
    assert read_untrained(plan.folder, 1) == {}
    assert min(read_metrics(plan.folder, 0)["val/probe"]) == 1


def test_lines_of_metrics_without_a_time_are_follow_the_trials_beginning(make_plan: MakePlan) -> None:
    plan = make_plan(trials=1)
    run(plan)
    path = metrics_path(plan.folder, 0)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(line["at"] > 1_700_000_000_000 for line in lines)
    path.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "at"}) + "\n" for line in lines))
    source = StudySource(plan.folder)
    source.poll()
    view = source.look("0", 0)
    times = {point.step: point.time for point in view.points if point.key == "train/loss"}
    assert times == {epoch: view.began + epoch for epoch in times}


def test_a_long_journal_is_taken_in_parts(make_plan: MakePlan, log: RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(trials=4)
    run(plan)
    end(plan)
    monkeypatch.setattr("study.run.study_source.MOST_LINES", 5)
    source = StudySource(plan.folder)
    source.rest()
    mirror, positions = Mirror(source, lambda: log.connection, plan.folder), [source.position]
    while mirror.round():
        assert positions[-1] <= mirror.cursor.position <= positions[-1] + 5
        positions.append(mirror.cursor.position)
    assert len(positions) > 5
    assert_told(plan, log)


def test_the_record_says_where_values_came_from() -> None:
    verdict = Verdict(scheduler="asha", rung=4, value=0.25, bar=0.5, among=3, reason="below")
    record = TrialRecord(number=3, configuration=1, repeat=2, origin=Origin(kind="repeat"), verdicts=(verdict,))
    assert provenance_tags(record) == {
        "splatsweep.configuration": "1",
        "splatsweep.repeat": "2",
        "splatsweep.origin": "repeat",
        "splatsweep.verdict": "stop at epoch 4: 0.25 against 0.5",
    }
