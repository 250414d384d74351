"""The watcher: looks at the registry, has what is open judged, and looks again when time has passed.

Nothing is kept here that matters: what is done stands in the registry, so a watcher can be killed at any moment, and
two of them share the work (`registry.champions.evaluation_claims`).
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from registry.champions.pending import all_versions, note_judged, refuse
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.errors import RegistryError, StorageError
from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings
from ssl_core.evaluation.task import AnyConfig
from ssl_core.interrupt import Interrupt
from study.registration.evaluation_job import Answer, EvaluationJob
from study.registration.job_pools import Pool
from study.registration.job_progress import read_progress
from study.registration.open_work import OpenEvaluation, OpenWork, find_open_work
from study.reports.console import LINE_SECONDS
from study.reports.evaluation_pace import duration

Kind = Literal[
    "watching", "judging", "judged", "fine-tuning", "fine-tuned", "under way",
    "refused", "passed over", "failed", "trouble", "stopped",
]  # fmt: skip
EXTERNAL = "versions of other kinds are left alone; a model or version with the tag splatsweep.kind = encoder is judged"
_TRIES = 3
_LONGEST_PAUSE = 3600.0
_GLANCE = 0.25


class Notice(Config):
    """One thing that the watcher has to say."""

    kind: Kind
    reference: str = ""
    reason: str = ""
    seconds: float | None = None


Say = Callable[[Notice], None]


@dataclass(frozen=True)
class WatchPlan:
    """What is watched."""

    packs: Mapping[str, str]  # digest to place; the first serves versions that name none
    # home and tracking_uri: of the registry, for the workers
    home: Path
    tracking_uri: str | None
    protocol: AnyConfig | None = None  # that every version gets; None: what the gate asks of its kind
    every: float = 60.0  # seconds between looks
    fine_tuning: FineTuningSettings | None = None  # that every encoder gets after that; None: nothing


@dataclass
class WatchCounts:
    """What a watcher did while it ran."""

    judged: int = 0
    refused: int = 0
    failed: int = 0
    fine_tuned: int = 0


def _key(task: OpenEvaluation) -> str:
    return f"{task.found.reference} {task.work}"


@dataclass(frozen=True)
class _Running:
    """One job under way."""

    task: OpenEvaluation
    job: EvaluationJob
    future: Future[Answer]


@dataclass
class _Trouble:
    """Of one work on one version: how often it failed, and when it is tried again."""

    failures: int = 0
    pauses: int = 0
    not_before: float = 0.0


@dataclass
class Watcher:
    """One watcher."""

    store: EncoderStore  # the registry. plan: what is watched. pool: where jobs are done. say: told everything once
    plan: WatchPlan
    pool: Pool
    say: Say
    counts: WatchCounts = field(default_factory=WatchCounts)

    def __post_init__(self) -> None:
        self._wake = threading.Event()
        """set when a job has ended"""
        self._running: dict[str, _Running] = {}
        self._troubles: dict[str, _Trouble] = {}
        self._said: set[str] = set()
        self._last_progress = time.monotonic()

    def run(self, interrupt: Interrupt, *, once: bool = False) -> WatchCounts:
        """Watch until interrupted; with `once`, until nothing is left that this watcher can do.

        Raises:
            RegistryError: with `once`: the registry does not answer.
        """
        while interrupt.signal is None:
            self._wake.clear()
            open_work = self._look(once)
            if open_work is not None:
                self._begin(open_work)
            if once and not self._running:
                break
            self._wait(interrupt)
            self._gather()
        return self.counts

    def _look(self, once: bool) -> OpenWork | None:
        try:
            versions = all_versions(self.store)
        except (RegistryError, StorageError) as error:
            if once and not self._running:
                raise
            self._once(Notice(kind="trouble", reason=str(error)))
            return None
        self._said = {text for text in self._said if not text.startswith("trouble ")}
        plan = self.plan
        open_work = find_open_work(versions, list(plan.packs), plan.protocol, self._running.keys(), plan.fine_tuning)
        for reference, digest in open_work.without_pack.items():
            wanted = f"it was trained on pack {digest}, which is not here" if digest else "it names no pack"
            self._once(Notice(kind="passed over", reference=reference, reason=f"{wanted}; give one with --pack"))
        if open_work.external:
            self._once(Notice(kind="passed over", reason=EXTERNAL))
        return open_work

    def _begin(self, open_work: OpenWork) -> None:
        now = time.monotonic()
        for task in open_work.tasks:
            if len(self._running) >= self.pool.slots:
                return
            reference = task.found.reference
            if self._troubles.get(_key(task), _Trouble()).not_before > now:
                continue
            job = EvaluationJob(
                name=task.found.name,
                version=task.found.version,
                work=task.work,
                pack=self.plan.packs[task.pack_digest],
                home=str(self.plan.home),
                tracking_uri=self.plan.tracking_uri,
                protocol=task.protocol,
            )
            self.say(Notice(kind="fine-tuning" if task.fine_tunes else "judging", reference=reference))
            future = self.pool.submit(job)
            self._running[reference] = _Running(task, job, future)
            future.add_done_callback(lambda _: self._wake.set())

    def _wait(self, interrupt: Interrupt) -> None:
        """Until something happens. In short glances: a signal only sets a flag."""
        deadline = time.monotonic() + self.plan.every
        while interrupt.signal is None and time.monotonic() < deadline:
            self._say_progress()
            if self._wake.wait(_GLANCE):
                return

    def _say_progress(self) -> None:
        """Now and then, how far each job is."""
        if time.monotonic() - self._last_progress < LINE_SECONDS:
            return
        self._last_progress = time.monotonic()
        for reference, running in self._running.items():
            if (found := read_progress(running.job)) is not None:
                left = "" if found.left is None else f", about {duration(found.left)} left"
                self.say(Notice(kind="under way", reference=reference, reason=found.what + left, seconds=found.spent))

    def _gather(self) -> None:
        for reference, running in list(self._running.items()):
            if running.future.done():
                del self._running[reference]
                self._take(running.task, running.future.result())

    def _take(self, task: OpenEvaluation, answer: Answer) -> None:
        reference = task.found.reference
        trouble = self._troubles.setdefault(_key(task), _Trouble())
        match answer.outcome:
            case "judged" | "refused":
                self._troubles.pop(_key(task))
                self._count(task, answer)
                return
            case "busy":
                # whoever has it notes it within minutes; look again at the usual pace
                trouble.not_before = time.monotonic() + min(self.plan.every, 2.0)
                return
            case "failed":
                trouble.failures += 1
            case "trouble":
                pass
        if trouble.failures >= _TRIES:
            self._give_up(task, answer)
            return
        pause = min(self.plan.every * 2**trouble.pauses, _LONGEST_PAUSE)
        trouble.pauses += 1
        trouble.not_before = time.monotonic() + pause
        self.counts.failed += 1
        again = f"{answer.reason}; tried again in {pause:.0f} s"
        self.say(Notice(kind=answer.outcome, reference=reference, reason=again, seconds=answer.seconds))

    def _count(self, task: OpenEvaluation, answer: Answer) -> None:
        done = answer.outcome == "judged"
        self.counts.judged += done and not task.fine_tunes
        self.counts.fine_tuned += done and task.fine_tunes
        self.counts.refused += not done
        kind: Kind = "refused" if not done else "fine-tuned" if task.fine_tunes else "judged"
        reference = task.found.reference
        self.say(Notice(kind=kind, reference=reference, reason=answer.reason, seconds=answer.seconds))

    def _give_up(self, task: OpenEvaluation, answer: Answer) -> None:
        """A version that ends every worker would keep a watcher busy for ever."""
        reason = f"its evaluation failed {_TRIES} times, last: {answer.reason}"
        try:
            if task.fine_tunes:  # which says nothing against the version
                note_judged(self.store.client, task.found, task.work, "refused", reason)
            else:
                refuse(self.store.client, task.found, reason, task.work)
        except (RegistryError, StorageError) as error:
            self._once(Notice(kind="trouble", reference=task.found.reference, reason=str(error)))
            return
        self.counts.refused += 1
        self.say(Notice(kind="refused", reference=task.found.reference, reason=reason))

    def _once(self, notice: Notice) -> None:
        text = f"{notice.kind} {notice.reference} {notice.reason}"
        if text not in self._said:
            self._said.add(text)
            self.say(notice)
