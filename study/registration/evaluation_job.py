"""One version judged by one protocol on one pack: what a worker is asked and what it answers, as JSON, and the work.

Each step leaves its trace in the registry before the next begins, so a worker that dies anywhere is followed by one
that goes on there: the claim ends, a whole report is found again, the final note is written last.
"""

import time
from functools import lru_cache
from pathlib import Path
from typing import Literal

from registry.champions.adoption import UnfitError, adopted, declared_classes
from registry.champions.evaluation_claims import claimed
from registry.champions.pending import UNFIT, Outcome, PendingVersion, note_judged, one_version, refuse
from registry.champions.promote import evaluate_version, promote
from registry.champions.promotion_history import Champion, HistoryStore
from registry.tracking.run_log import open_run_log
from registry.versions.records import CHAMPION, EncoderVersion
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.data.dataset import Dataset
from ssl_core.errors import DataError, InfeasibleError, IntegrityError, RegistryError, SplatsweepError, StorageError
from ssl_core.evaluation.report import TaskConfig, Tell, silent
from ssl_core.evaluation.task import AnyConfig, class_names, task_named
from ssl_core.models.bundle import BundleCard
from ssl_core.training.config import choose_device
from study.datasets.pack_storage import open_data


class EvaluationJob(Config):
    """Judge this version. Places are the worker's: a folder that it can see, or an address."""

    name: str
    version: int
    work: str
    """`registry.champions.evaluation_claims.work_key` of the pack and the protocol"""
    pack: str
    home: str
    tracking_uri: str | None = None
    protocol: AnyConfig | None = None
    """None: what the gate asks of the version's kind"""
    gate: bool = True
    """put it before the gate, if it never was, and note on the version what became of it; else measure it, no more"""

    @property
    def reference(self) -> str:
        """`name/version`."""
        return f"{self.name}/{self.version}"


class Answer(Config):
    """What became of a job.

    `judged`: evaluated, and put before the gate if it had not been. `refused`: unfit, and noted on the version.
    `busy`: another has it. `failed`: not done; the next look tries again. `trouble`: not done, because the registry or
    a disk did not answer, which says nothing against the version.
    """

    outcome: Literal["judged", "refused", "busy", "failed", "trouble"]
    reason: str = ""
    seconds: float = 0.0
    died: bool = False
    """its worker ended, which may have been no fault of the job"""


def judge(job: EvaluationJob, tell: Tell = silent) -> Answer:
    """Do the job if nobody else does. Never raises: a version that breaks everything is an answer too."""
    began = time.perf_counter()
    try:
        with open_run_log(job.tracking_uri, Path(job.home)) as log:
            store = EncoderStore(log)
            answer = _claimed(store, job, tell) if job.gate else _measured(store, job, tell)
    except (RegistryError, StorageError, DataError) as error:  # nothing that the encoder could be blamed for
        answer = Answer(outcome="trouble", reason=str(error))
    except SplatsweepError as error:
        answer = Answer(outcome="failed", reason=str(error))
    except Exception as error:
        answer = Answer(outcome="failed", reason=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return answer.model_copy(update={"seconds": round(time.perf_counter() - began, 3)})


def _measured(store: EncoderStore, job: EvaluationJob, tell: Tell) -> Answer:
    """Evaluated; who asked for it goes on. Waits for another who is at it."""
    version = store.get(job.name, job.version)
    evaluate_version(store, _pack(job.pack), version, job.protocol, device=choose_device(), tell=tell)
    return Answer(outcome="judged", reason=store.get(job.name, job.version).found)


def _claimed(store: EncoderStore, job: EvaluationJob, tell: Tell) -> Answer:
    with claimed(store.client, job.name, job.version, job.work) as mine:
        if not mine:
            return Answer(outcome="busy", reason="another watcher evaluates it")
        found = one_version(store, job.name, job.version)  # as it is under the claim
        done = found.judgement(job.work)
        if done is not None or UNFIT in found.tags:
            return Answer(outcome="busy", reason="judged by another in the meantime")
        try:
            version, card = adopted(store, found)
        except UnfitError as error:
            refuse(store.client, found, str(error))
            return Answer(outcome="refused", reason=str(error))
        pack = _pack(job.pack)
        try:
            _check_classes(found, card, pack)
            config = job.protocol or task_named(version.kind).config()
            evaluate_version(store, pack, version, config, device=choose_device(), tell=tell)
        except (InfeasibleError, IntegrityError) as error:  # of this encoder on this pack, whenever it is tried
            refuse(store.client, found, str(error), job.work)
            return Answer(outcome="refused", reason=str(error))
        try:
            outcome, reason = _verdict(store, version, pack, config, tell)
        except InfeasibleError as error:  # the champion's fault or the pack's
            return Answer(outcome="trouble", reason=str(error))
        note_judged(store.client, found, job.work, outcome, reason)
        return Answer(outcome="judged", reason=f"{outcome}: {reason}")


def _check_classes(found: PendingVersion, card: BundleCard, pack: Dataset) -> None:
    declared = declared_classes(card, found.tags)
    there = class_names(pack)
    if declared and set(declared) != set(there):
        raise InfeasibleError(
            f"it says its classes are {_some(declared)}, but those of pack {pack.digest} are "
            f"{_some(there)}; watch with its own pack, or correct the tag"
        )


def _some(names: tuple[str, ...]) -> str:
    shown = [name[:40] for name in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _verdict(
    store: EncoderStore, version: EncoderVersion, pack: Dataset, config: TaskConfig, tell: Tell
) -> tuple[Outcome, str]:
    """Put an evaluated version before the gate if it never was. A later protocol moves no alias by itself.

    The history says whether it was: a verdict on the version's tags may have been brought along by who registered it.
    """
    version = store.get(version.name, version.version)
    history, me = HistoryStore(store, version.name).read(), Champion.of(version)
    told = {line.kind for line in history.lines if line.names == me}
    if told & {"promoted", "refused"} or (told and history.champion != me):
        return "evaluated", version.found
    device, incumbent = choose_device(), store.with_alias(version.name, CHAMPION)
    if incumbent is not None and incumbent.version != version.version:
        evaluate_version(store, pack, incumbent, config, device=device, tell=tell)
    decision = promote(store, pack, version, config, device=device)
    return "promoted" if decision.promoted else "refused", decision.reason


@lru_cache(maxsize=4)
def _pack(place: str) -> Dataset:
    return open_data(place)
