"""What a pack of objects was made from, and what has changed since.

`sources.json` holds stamps (sizes and times), which differ between equal packs. It only saves reading the sources again
to learn that nothing changed; a pack without it is whole.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ssl_core.config import Config
from ssl_core.data.object_pack import Pack
from ssl_core.errors import StorageError
from ssl_core.gaussians.gaussian_cloud import GAUSSIAN_GROUPS
from ssl_core.packing.objects import Problem
from ssl_core.packing.pack_folder import read_sidecar, write_sidecar
from ssl_core.packing.pack_plan import KnownObject, PackPlan
from ssl_core.packing.packed_object import source_digest
from ssl_core.packing.part import PartObject
from ssl_core.packing.part_files import EXTRAS, ExtraName

_VERSION = 2


class CarriedNames(Config):
    """What the files of one object carried and could not carry."""

    carries: tuple[ExtraName, ...]
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = GAUSSIAN_GROUPS


class Sources(Config):
    """Stamps of all inputs by key (refused ones too), facts of the packed ones, and a digest of the problems."""

    version: int = _VERSION
    stamps: dict[str, str]
    objects: dict[str, CarriedNames]
    problems: str
    drop_bad_rows: bool = False


@dataclass(frozen=True)
class Changes:
    """Keys of the objects that differ from those of a pack."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problems: bool = False

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def text(self) -> str:
        """For people: how many of each, and the first."""
        kinds = (("new", self.added), ("changed", self.changed), ("removed", self.removed))
        return ", ".join(f"{len(keys)} {name} ({keys[0]}{', …' if keys[1:] else ''})" for name, keys in kinds if keys)


def write_sources(folder: Path, plan: PackPlan, made: Iterable[PartObject]) -> None:
    """Write the sidecar of a pack. Raises StorageError."""
    objects = {
        item.facts.key: CarriedNames(carries=item.carries, notes=item.notes, groups=item.groups) for item in made
    }
    problems = _problems(plan.problems)
    sources = Sources(stamps=plan.stamps, objects=objects, problems=problems, drop_bad_rows=plan.drop_bad_rows)
    write_sidecar(folder, sources)


def read_sources(folder: Path) -> Sources | None:
    """The sidecar, or None when it is absent, damaged or of another version."""
    sources = read_sidecar(folder, Sources)
    return sources if sources is not None and sources.version == _VERSION else None


def changes(pack: Pack, plan: PackPlan) -> Changes:
    """What a plan's inputs have that the pack does not, and the other way round.

    An object whose stamp differs is read: if its bytes are those that were packed, it did not change. Where bad rows
    are dropped now and were not then, or the other way round, the objects that had some count as changed.

    Raises:
        DataError: an object whose stamp differs cannot be read.
    """
    sources = read_sources(pack.path)
    digests = {item.key: item.source_digest for item in pack.manifest.objects}
    known = dict.fromkeys(digests, "") if sources is None else sources.stamps
    now = plan.stamps
    added = tuple(key for key in now if key not in known)
    removed = tuple(key for key in known if key not in now)
    touched = [entry for entry in plan.entries if known.get(entry.item.key, entry.stamp) != entry.stamp]
    if added or removed:  # not the same in any case: nothing needs to be read
        return Changes(added, tuple(entry.item.key for entry in touched), removed)
    if turned := _treated_otherwise(pack, sources, plan):
        return Changes(changed=turned)
    for entry in touched:
        if source_digest(entry.item) != digests.get(entry.item.key):
            return Changes(changed=(entry.item.key,))
    if touched and sources is not None:
        with suppress(StorageError):  # a pack on a read-only disk: the next run reads the sources again
            write_sidecar(pack.path, sources.model_copy(update={"stamps": now}))
    return Changes(problems=sources is None or sources.problems != _problems(plan.problems))


def _treated_otherwise(pack: Pack, sources: Sources | None, plan: PackPlan) -> tuple[str, ...]:
    """Keys of the objects that may come out otherwise because bad rows are, or are no longer, dropped."""
    if sources is None or sources.drop_bad_rows == plan.drop_bad_rows:
        return ()
    manifest = pack.manifest
    affected = {item.path for item in manifest.refused} if plan.drop_bad_rows else manifest.dropped_rows.keys()
    return tuple(key for key in plan.stamps if key in affected)


def with_known(plan: PackPlan, pack: Pack) -> PackPlan:
    """The plan with each object that the pack holds marked as such; `build_part` copies those that did not change."""
    sources = read_sources(pack.path)
    manifest = pack.manifest
    rendered = manifest.views_rendered or not any(item.views for item in manifest.objects)
    if sources is None or (manifest.image_size, rendered) != (plan.image_size, plan.views_rendered):
        return plan
    there = {}
    for index, facts in enumerate(manifest.objects):
        stamp, carried = sources.stamps.get(facts.key), sources.objects.get(facts.key)
        dropped = manifest.dropped_rows.get(facts.key, 0)
        if stamp is not None and carried is not None and (plan.drop_bad_rows or not dropped):
            carries = frozenset(carried.carries)
            there[facts.key] = KnownObject(
                pack.path.absolute(), index, facts, stamp, carries, dropped, carried.notes, carried.groups
            )
    return replace(plan, entries=tuple(replace(entry, known=there.get(entry.item.key)) for entry in plan.entries))


def may_keep(plan: PackPlan, pack: Pack) -> frozenset[ExtraName]:
    """The extras of which it is still open whether the new pack stores them.

    It is not when an object that surely stays has none. A pack without them can then be copied from although some of
    its objects had them.
    """
    stays = [entry.known for entry in plan.entries if entry.known is not None and entry.known.stamp == entry.stamp]
    return frozenset(
        name
        for name, extra in EXTRAS.items()
        if all(file.pack in pack.files for file in extra.files) or all(name in known.carries for known in stays)
    )


def _problems(problems: Iterable[Problem]) -> str:
    lines = sorted(f"{problem.path}: {problem.reason}" for problem in problems)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
