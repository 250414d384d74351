"""What is to be done next, from the registry as it stands: pure, so that it can be tested without one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from registry.champions.evaluation_claims import claim_in, work_key
from registry.champions.pending import UNFIT, PendingVersion
from registry.versions.records import kind_of
from ssl_core.errors import RegistryError
from ssl_core.evaluation.report import TaskConfig
from ssl_core.evaluation.task import task_named
from ssl_core.evaluation.tasks.probing_config import EvaluationConfig


@dataclass(frozen=True)
class OpenEvaluation:
    """A version to be judged on a pack."""

    found: PendingVersion
    work: str
    pack_digest: str


@dataclass(frozen=True)
class OpenWork:
    """What can begin, and why the rest does not.

    Attributes:
        tasks: to begin, in this order.
        claimed: references that another process evaluates.
        later: references that wait for their champion's evaluation.
        without_pack: reference to the digest of the pack that it names and that is not here ("" for none named).
        strangers: number of versions that are not of our kind.
    """

    tasks: tuple[OpenEvaluation, ...] = ()
    claimed: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    without_pack: Mapping[str, str] = field(default_factory=dict)
    strangers: int = 0


def plan_agenda(
    versions: Sequence[PendingVersion],
    packs: Sequence[str],
    protocol: TaskConfig | None,
    *,
    default_pack: str | None,
    running: Collection[str] = (),
) -> OpenWork:
    """The agenda of this moment.

    Args:
        versions: all of the registry.
        packs: digests of the packs that are here.
        protocol: that is asked for; None: what the gate asks of a version's kind.
        default_pack: digest of the pack for versions that name none; None leaves them alone.
        running: references that this watcher has under way.
    """
    tasks: list[OpenEvaluation] = []
    claimed, later, without_pack = [], [], {}
    champions_first = sorted(versions, key=lambda found: (found.name, not found.champion, found.version))
    open_champions: set[str] = set()
    for found in champions_first:
        if not found.ours or UNFIT in found.tags:
            continue
        digest = found.pack_digest or default_pack or ""
        if digest not in packs:
            without_pack[found.reference] = found.pack_digest
            continue
        work = work_key(digest, (protocol or asked_of(found)).digest())
        if found.judgement(work) is not None:
            continue
        if found.champion:
            open_champions.add(found.name)
        if found.reference in running:
            continue
        if claim_in(found.tags, work) is not None:
            claimed.append(found.reference)
        elif found.name in open_champions and not found.champion:
            later.append(found.reference)
        else:
            tasks.append(OpenEvaluation(found, work, digest))
    return OpenWork(
        tasks=tuple(tasks),
        claimed=tuple(claimed),
        later=tuple(later),
        without_pack=without_pack,
        strangers=sum(not found.ours for found in versions),
    )


def asked_of(found: PendingVersion) -> TaskConfig:
    """What the gate asks of a version's kind; one that does not say it is taken for an encoder until it is fetched."""
    try:
        return task_named(kind_of(found.tags)).config()
    except RegistryError:
        return EvaluationConfig()
