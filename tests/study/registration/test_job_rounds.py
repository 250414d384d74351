"""Several jobs over a pool: answers in the order of the jobs, one retry for a dead worker, one estimate for all."""

from concurrent.futures import Future
from pathlib import Path

import pytest

from ssl_core.errors import ConfigError
from ssl_core.evaluation.fine_tuning_plan import automatic_settings
from ssl_core.evaluation.report import EvaluationProgress
from study.registration.evaluation_job import Answer, EvaluationJob
from study.registration.fine_tuning_asked import asked_fine_tuning
from study.registration.job_pools import HerePool, Pool, ProcessPool, finished, study_pool
from study.registration.job_progress import Estimate, JobProgress, progress_file, read_progress, told_by_file


def job(number: int, name: str = "points", home: Path = Path("/nowhere")) -> EvaluationJob:
    return EvaluationJob(name=name, version=number, work="w", pack="p", home=str(home), gate=False)


class ScriptedPool(Pool):
    """Answers as it is told, the last submitted first."""

    def __init__(self, answers: dict[int, list[Answer]]) -> None:
        super().__init__(2)
        self.answers, self.asked = answers, list[int]()

    def submit(self, job: EvaluationJob) -> "Future[Answer]":
        self.asked.append(job.version)
        future: Future[Answer] = Future()
        future.set_result(self.answers[job.version].pop(0))
        return future


DIED = Answer(outcome="failed", reason="killed by signal 9", died=True)
GOOD = Answer(outcome="judged")


def test_answers_stand_in_the_order_of_the_jobs_and_a_dead_worker_costs_one_retry():
    answers = {
        1: [Answer(outcome="judged", reason="one")],
        2: [DIED, GOOD],
        3: [DIED, DIED],
        4: [Answer(outcome="failed")],
    }
    pool = ScriptedPool(answers)
    found = finished(pool, [job(number) for number in (1, 2, 3, 4)], "evaluating")
    assert [(answer.outcome, answer.reason) for answer in found] == [
        ("judged", "one"), ("judged", ""), ("failed", DIED.reason), ("failed", ""),
    ]  # fmt: skip
    assert sorted(pool.asked) == [1, 2, 2, 3, 3, 4], "what failed by itself is not done again"


def test_the_estimate_covers_jobs_that_run_and_jobs_that_wait():
    jobs = [job(1, "image"), job(1, "points"), job(2, "image"), job(2, "points")]
    estimate, under_way = Estimate(jobs, 2), {"image/1": JobProgress(what="probes", spent=30, left=60)}
    estimate.done(1, 10.0)
    words, spent, left = estimate.look(lambda each: under_way.get(each.reference))
    assert words == "image/1 probes"
    assert spent == 40
    assert left == (60 + 90 + 10) / 2, "the other image as long as the first, the other points too"
    under_way["image/1"] = JobProgress(what="probes", spent=30, left=500)
    assert estimate.look(lambda each: under_way.get(each.reference))[2] == (500 + 530 + 10) / 2
    lone = Estimate([job(1)], 8)
    assert lone.look(lambda each: JobProgress(what="probes", spent=1, left=80))[2] == 80, "one job has one worker"
    assert Estimate(jobs, 2).look(lambda each: None) == ("", 0.0, 0.0)


def test_a_worker_says_how_far_it_is_in_a_file_that_goes_with_the_job(tmp_path: Path):
    one = job(1, "../../etc/passwd", tmp_path)
    with told_by_file(one) as tell:
        tell(EvaluationProgress("t", "probes", 1, 2, {"probes": 2}))
        assert progress_file(one).parent == tmp_path / "evaluations"
        found = read_progress(one)
        assert found is not None
        assert found.what == "probes"
    assert read_progress(one) is None


def test_one_worker_is_this_process_and_more_are_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for given, jobs, slots in (("1", 6, 1), ("3", 6, 3), ("8", 2, 2)):
        monkeypatch.setenv("SPLATSWEEP_EVALUATION_WORKERS", given)
        with study_pool(jobs, tmp_path) as pool:
            assert isinstance(pool, HerePool if slots == 1 else ProcessPool)
            assert pool.slots == slots
    monkeypatch.setenv("SPLATSWEEP_EVALUATION_WORKERS", "many")
    with pytest.raises(ConfigError, match="SPLATSWEEP_EVALUATION_WORKERS=many"), study_pool(2, tmp_path):
        pass


def test_fine_tuning_is_asked_for_unless_somebody_says_no(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SPLATSWEEP_FINE_TUNING")
    assert asked_fine_tuning() == automatic_settings()
    assert asked_fine_tuning(False) is None
    monkeypatch.setenv("SPLATSWEEP_FINE_TUNING", "off")
    assert asked_fine_tuning() is None
    monkeypatch.setenv("SPLATSWEEP_FINE_TUNING", "120")
    found = asked_fine_tuning()
    assert found is not None
    assert found.budget is not None
    assert found.budget.of(10**6) == 120
    for wrong in ("-1", "nan", "much", "inf"):
        monkeypatch.setenv("SPLATSWEEP_FINE_TUNING", wrong)
        with pytest.raises(ConfigError, match="SPLATSWEEP_FINE_TUNING"):
            asked_fine_tuning()
