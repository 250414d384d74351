"""The watcher: looks at the registry, has what is open judged, and looks again when time has passed.

Nothing is kept here that matters: what is done stands in the registry, so a watcher can be killed at any moment, and
two of them share the work (`registry.champions.evaluation_claims`).
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from registry.champions.evaluation_claims import claim_in, work_key
from registry.champions.pending import UNFIT, PendingVersion, all_versions, refuse
from registry.versions.records import kind_of
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.errors import RegistryError, StorageError
from ssl_core.evaluation.report import TaskConfig
from ssl_core.evaluation.task import AnyConfig, task_named
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.interrupt import Interrupt
from study.registration.evaluation_job import Answer, EvaluationJob
from study.registration.job_pools import Pool

Kind = Literal["watching", "judging", "judged", "refused", "passed over", "failed", "trouble", "stopped"]
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


@dataclass(frozen=True)
class OpenEvaluation:
    """A version to be judged on a pack."""

    found: PendingVersion
    work: str
    pack_digest: str


@dataclass(frozen=True)
class OpenWork:
    """What can begin, from the registry as it stands, and what this watcher cannot do."""

    tasks: tuple[OpenEvaluation, ...] = ()  # to begin, in this order
    # reference to the digest of the pack that it names and that is not here ("" for none named)
    without_pack: Mapping[str, str] = field(default_factory=dict)
    external: int = 0  # number of versions that are not of our kind


def find_open_work(
    versions: Sequence[PendingVersion],
    packs: Sequence[str],
    protocol: TaskConfig | None,
    running: Collection[str] = (),
) -> OpenWork:
    """The open work of this moment: not what is judged, unfit, claimed by another process, or waits for its champion.

    Args:
        versions: all of the registry.
        packs: digests of the packs that are here; the first is for versions that name none.
        protocol: that is asked for; None: what the gate asks of a version's kind.
        running: references that this watcher has under way.
    """
    tasks: list[OpenEvaluation] = []
    without_pack: dict[str, str] = {}
    champions_first = sorted(versions, key=lambda found: (found.name, not found.champion, found.version))
    open_champions: set[str] = set()
    for found in champions_first:
        if not found.ours or UNFIT in found.tags:
            continue
        digest = found.pack_digest or next(iter(packs), "")
        if digest not in packs:
            without_pack[found.reference] = found.pack_digest
            continue
        work = work_key(digest, (protocol or asked_of(found)).digest())
        if found.judgement(work) is not None:
            continue
        if found.champion:
            open_champions.add(found.name)
        waits = found.name in open_champions and not found.champion  # for its champion's evaluation
        if found.reference not in running and claim_in(found.tags, work) is None and not waits:
            tasks.append(OpenEvaluation(found, work, digest))
    return OpenWork(tuple(tasks), without_pack, external=sum(not found.ours for found in versions))


def asked_of(found: PendingVersion) -> TaskConfig:
    """What the gate asks of a version's kind; one that does not say it is taken for an encoder until it is fetched."""
    try:
        return task_named(kind_of(found.tags)).config()
    except RegistryError:
        return EvaluationConfig()


@dataclass
class WatchCounts:
    """What a watcher did while it ran."""

    judged: int = 0
    refused: int = 0
    failed: int = 0


@dataclass
class _Trouble:
    """Of one version: how often it failed, and when it is tried again."""

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
        self._running: dict[str, tuple[OpenEvaluation, Future[Answer]]] = {}
        self._troubles: dict[str, _Trouble] = {}
        self._said: set[str] = set()

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
        open_work = find_open_work(versions, list(self.plan.packs), self.plan.protocol, self._running.keys())
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
            if self._troubles.get(reference, _Trouble()).not_before > now:
                continue
            job = EvaluationJob(
                name=task.found.name,
                version=task.found.version,
                work=task.work,
                pack=self.plan.packs[task.pack_digest],
                home=str(self.plan.home),
                tracking_uri=self.plan.tracking_uri,
                protocol=self.plan.protocol,
            )
            self.say(Notice(kind="judging", reference=reference))
            future = self.pool.submit(job)
            self._running[reference] = (task, future)
            future.add_done_callback(lambda _: self._wake.set())

    def _wait(self, interrupt: Interrupt) -> None:
        """Until something happens. In short glances: a signal only sets a flag."""
        deadline = time.monotonic() + self.plan.every
        while interrupt.signal is None and time.monotonic() < deadline:
            if self._wake.wait(_GLANCE):
                return

    def _gather(self) -> None:
        for reference, (task, future) in list(self._running.items()):
            if future.done():
                del self._running[reference]
                self._take(task, future.result())

    def _take(self, task: OpenEvaluation, answer: Answer) -> None:
        reference = task.found.reference
        trouble = self._troubles.setdefault(reference, _Trouble())
        match answer.outcome:
            case "judged" | "refused":
                self._troubles.pop(reference)
                self.counts.judged += answer.outcome == "judged"
                self.counts.refused += answer.outcome == "refused"
                self.say(Notice(kind=answer.outcome, reference=reference, reason=answer.reason, seconds=answer.seconds))
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

    def _give_up(self, task: OpenEvaluation, answer: Answer) -> None:
        """A version that ends every worker would keep a watcher busy for ever."""
        reason = f"its evaluation failed {_TRIES} times, last: {answer.reason}"
        try:
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
