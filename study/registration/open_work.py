"""What is to be done next, from the registry as it stands."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from registry.champions.evaluation_claims import claim_in, work_key
from registry.champions.pending import UNFIT, PendingVersion
from registry.versions.records import PREFIX, kind_of
from ssl_core.errors import RegistryError
from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings
from ssl_core.evaluation.report import TaskConfig
from ssl_core.evaluation.task import AnyConfig, task_named
from ssl_core.evaluation.tasks.fine_tuned import with_fine_tuning
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig


@dataclass(frozen=True)
class OpenEvaluation:
    """A version to be judged on a pack, or to be fine-tuned after that."""

    found: PendingVersion
    work: str
    pack_digest: str
    protocol: AnyConfig | None = None  # None: what the gate asks of its kind
    fine_tunes: bool = False


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
    protocol: AnyConfig | None,
    running: Collection[str] = (),
    fine_tuning: FineTuningSettings | None = None,
) -> OpenWork:
    """The open work of this moment: not what is judged, unfit, claimed by another process, or waits for its champion.

    Fine-tuning comes after the judging of all.

    Args:
        versions: all of the registry.
        packs: digests of the packs that are here; the first is for versions that name none.
        protocol: that is asked for; None: what the gate asks of a version's kind.
        running: references that this watcher has under way.
        fine_tuning: that is asked for of those that were judged.
    """
    judging, tuning = list[OpenEvaluation](), list[OpenEvaluation]()
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
        asked = protocol or asked_of(found)
        work = work_key(digest, asked.digest())
        if found.judgement(work) is not None:
            task = _tuning(found, digest, asked, fine_tuning)
            tuning += [task] if task is not None and _may_begin(task, running) else []
            continue
        if found.champion:
            open_champions.add(found.name)
        task = OpenEvaluation(found, work, digest, protocol)
        waits = found.name in open_champions and not found.champion  # for its champion's evaluation
        if _may_begin(task, running) and not waits:
            judging.append(task)
    return OpenWork((*judging, *tuning), without_pack, external=sum(not found.ours for found in versions))


def _tuning(
    found: PendingVersion, digest: str, asked: TaskConfig, settings: FineTuningSettings | None
) -> OpenEvaluation | None:
    """The fine-tuning that a judged version still lacks; not of one that this pack cannot serve."""
    config = None if settings is None else with_fine_tuning(asked, settings)
    if config is None or f"{PREFIX}evaluation" not in found.tags:
        return None
    work = work_key(digest, config.digest())
    return None if found.judgement(work) is not None else OpenEvaluation(found, work, digest, config, fine_tunes=True)


def _may_begin(task: OpenEvaluation, running: Collection[str]) -> bool:
    return task.found.reference not in running and claim_in(task.found.tags, task.work) is None


def asked_of(found: PendingVersion) -> TaskConfig:
    """What the gate asks of a version's kind; one that does not say it is taken for an encoder until it is fetched."""
    try:
        return task_named(kind_of(found.tags)).config()
    except RegistryError:
        return EvaluationConfig()
