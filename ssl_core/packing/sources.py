"""What a pack was made from: the sidecar `sources.json`, and what has changed since.

The sidecar holds stamps (sizes and times), which differ between equal packs; it is therefore no part of the pack's
digest, and a pack without it is whole. It only saves reading the sources again to learn that nothing changed.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssl_core.config import Config
from ssl_core.data.object_pack import Pack
from ssl_core.errors import ConfigError, StorageError
from ssl_core.files.whole import atomic_write
from ssl_core.packing.objects import Problem
from ssl_core.packing.pack_plan import Entry, KnownObject, PackPlan
from ssl_core.packing.packed_object import source_digest
from ssl_core.packing.part import PartObject
from ssl_core.packing.part_files import ExtraName, extras

SOURCES = "sources.json"
_VERSION = 2


class Carried(Config):
    """What the files of one object carried and could not carry."""

    carries: tuple[ExtraName, ...]
    notes: tuple[str, ...] = ()


class Sources(Config):
    """Stamps of all inputs by key (refused ones too), facts of the packed ones, and a digest of the problems."""

    version: int = _VERSION
    stamps: dict[str, str]
    objects: dict[str, Carried]
    problems: str


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
    sources = Sources(
        stamps=plan.stamps,
        objects={item.facts.key: Carried(carries=item.carries, notes=item.notes) for item in made},
        problems=_problems(plan.problems),
    )
    _write(folder, sources)


def read_sources(folder: Path) -> Sources | None:
    """The sidecar, or None when it is absent, damaged or of another version."""
    try:
        sources = Sources.from_json((folder / SOURCES).read_text())
    except (OSError, ValueError, ConfigError):
        return None
    return sources if sources.version == _VERSION else None


def changes(pack: Pack, plan: PackPlan) -> Changes:
    """What a plan's inputs have that the pack does not, and the other way round.

    An object whose stamp differs is read: if its bytes are those that were packed, it did not change.

    Raises:
        DataError: an object whose stamp differs cannot be read.
    """
    sources = read_sources(pack.path)
    digests = {item.key: item.source_digest for item in pack.manifest.objects}
    known = dict.fromkeys(digests, "") if sources is None else sources.stamps
    now = plan.stamps
    added = tuple(entry.item.key for entry in plan.entries if entry.item.key not in known)
    removed = tuple(key for key in known if key not in now)
    touched = [entry for entry in plan.entries if known.get(entry.item.key, entry.stamp) != entry.stamp]
    if added or removed:  # not the same in any case: nothing needs to be read
        return Changes(added, tuple(entry.item.key for entry in touched), removed)
    changed = _first_changed(touched, digests)
    problems = sources is None or sources.problems != _problems(plan.problems)
    if touched and not changed and sources is not None:
        _refresh(pack.path, sources, now)
    return Changes(added, changed, removed, problems)


def with_known(plan: PackPlan, pack: Pack) -> PackPlan:
    """The plan with each object that the pack holds marked as such; `build_part` copies those that did not change."""
    sources = read_sources(pack.path)
    manifest = pack.manifest
    if sources is None or (manifest.image_size, manifest.views_rendered) != (plan.image_size, plan.views_rendered):
        return plan
    there = {}
    for index, facts in enumerate(manifest.objects):
        stamp, carried = sources.stamps.get(facts.key), sources.objects.get(facts.key)
        if stamp is not None and carried is not None:
            there[facts.key] = KnownObject(
                pack.path.absolute(), index, facts, stamp, frozenset(carried.carries), carried.notes
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
        for name, extra in extras(plan.image_size).items()
        if all(file.pack in pack.files for file in extra.files) or all(name in known.carries for known in stays)
    )


def _first_changed(touched: Sequence[Entry], digests: Mapping[str, str]) -> tuple[str, ...]:
    for entry in touched:
        if source_digest(entry.item) != digests.get(entry.item.key):
            return (entry.item.key,)
    return ()


def _refresh(folder: Path, sources: Sources, stamps: dict[str, str]) -> None:
    try:
        _write(folder, sources.model_copy(update={"stamps": stamps}))
    except StorageError:
        return  # a pack on a read-only disk: the next run reads the sources again


def _write(folder: Path, sources: Sources) -> None:
    with atomic_write(folder / SOURCES) as stream:
        stream.write(sources.to_json().encode())


def _problems(problems: Iterable[Problem]) -> str:
    lines = sorted(f"{problem.path}: {problem.reason}" for problem in problems)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
