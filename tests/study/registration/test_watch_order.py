"""Which jobs a watcher gives out, in what order, and what it says: over a registry of values."""

import json
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from registry.champions.pending import PendingVersion
from ssl_core.evaluation.fine_tuning_plan import automatic_settings
from ssl_core.interrupt import Interrupt
from study.registration import watcher as watching
from study.registration.evaluation_job import Answer, EvaluationJob
from study.registration.watcher import Notice, Watcher, WatchPlan

KIND = {"splatsweep.kind": "encoder"}
DONE = json.dumps({"outcome": "promoted", "reason": "r", "time": "t"})


class Values:
    """A registry as a list of values, a pool that answers at once and notes what workers note, and what was said."""

    slots = 1
    shows = False

    def __init__(self, count: int, monkeypatch: pytest.MonkeyPatch, fails: tuple[int, ...] = ()) -> None:
        self.versions = [PendingVersion("points", number, {}, KIND) for number in range(1, count + 1)]
        self.fails, self.jobs, self.said = fails, list[EvaluationJob](), list[Notice]()
        monkeypatch.setattr(watching, "all_versions", lambda store: self.versions)
        monkeypatch.setattr(watching, "note_judged", lambda client, found, work, *_: self.note(found.version, work))
        monkeypatch.setattr(watching, "refuse", lambda *_: pytest.fail("fine-tuning says nothing against a version"))

    def note(self, number: int, work: str) -> None:
        version = self.versions[number - 1]
        tags = {**version.tags, f"splatsweep.judged.{work}": DONE, "splatsweep.evaluation": "{}"}
        self.versions[number - 1] = replace(version, tags=tags)

    def submit(self, job: EvaluationJob) -> "Future[Answer]":
        self.jobs.append(job)
        future: Future[Answer] = Future()
        if job.protocol is not None and job.version in self.fails:
            future.set_result(Answer(outcome="failed", reason="killed by signal 9", died=True))
        else:
            self.note(job.version, job.work)
            future.set_result(Answer(outcome="judged"))
        return future

    def watch(self, interrupt: Interrupt, once: bool = True) -> Any:
        plan = WatchPlan({"a" * 16: "/pack"}, Path("/home"), None, every=0.01, fine_tuning=automatic_settings())
        store = SimpleNamespace(client=None)
        return Watcher(store, plan, self, self.said.append).run(interrupt, once=once)  # type: ignore[arg-type]


def test_all_are_judged_before_the_first_is_fine_tuned(monkeypatch):
    values = Values(3, monkeypatch)
    counts = values.watch(Interrupt())
    asked = [(job.version, job.protocol is not None) for job in values.jobs]
    assert asked == [(1, False), (2, False), (3, False), (1, True), (2, True), (3, True)]
    assert (counts.judged, counts.fine_tuned, counts.refused) == (3, 3, 0)
    assert [notice.kind for notice in values.said][-2:] == ["fine-tuning", "fine-tuned"]
    assert all(job.protocol.sections.fine_tuning == automatic_settings() for job in values.jobs[3:])
    assert values.watch(Interrupt()).fine_tuned == 0


def test_one_that_cannot_be_fine_tuned_is_given_up_and_not_refused(monkeypatch):
    values, interrupt = Values(2, monkeypatch, fails=(1,)), Interrupt()
    say = values.said.append

    def listen(notice: Notice) -> None:
        say(notice)
        if notice.kind == "refused":
            interrupt.signal = 15

    values.said = SimpleNamespace(append=listen)  # type: ignore[assignment]
    counts = values.watch(interrupt, once=False)
    assert (counts.judged, counts.fine_tuned) == (2, 1)
    assert sum(job.protocol is not None and job.version == 1 for job in values.jobs) == 3
