"""Many entries of one run become few requests: the last word for tags and status, every point once, in order."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from registry.tracking.entries import Entry, File, Finish, Points, Start, Tags, Text
from registry.tracking.names import key_of, params_of, tags_of
from registry.tracking.transport import Point

MOST, MOST_TEXTS, MOST_BYTES = 1000, 100, 900_000
"""Of one batch. MLflow's limits are 1000 items, of them 100 parameters and 100 tags, and 1 MB."""


@dataclass
class Parcel:
    """What entries of one run come to."""

    run: str
    start: Start | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    artifacts: list[Text | File] = field(default_factory=list)
    status: str = ""
    end: int | None = None


Steps = Callable[[str], set[int]]
"""Steps at which the server has a value of a metric."""


def pack(run: str, entries: Sequence[Entry], steps: Steps) -> Parcel:
    """Entries of one run in the order in which they were put."""
    parcel = Parcel(run)
    seen: dict[str, set[int]] = {}
    for entry in entries:
        match entry:
            case Start():
                parcel.start = parcel.start or entry
                parcel.params |= params_of(entry.params)
                parcel.tags |= tags_of(entry.tags)
                parcel.status, parcel.end = "RUNNING", None
            case Points():
                _add_points(parcel, entry, seen, steps)
            case Tags():
                parcel.tags |= tags_of(entry.tags)
            case Text() | File():
                parcel.artifacts.append(entry)
            case Finish():
                parcel.tags |= tags_of(entry.tags)
                parcel.status, parcel.end = entry.status, entry.time
    return parcel


def last_tags(entries: Sequence[Entry]) -> dict[str, str]:
    """What the entries, of one run and in order, leave its tags at."""
    found: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, Start | Tags | Finish):
            found |= tags_of(entry.tags)
    return found


def _add_points(parcel: Parcel, entry: Points, seen: dict[str, set[int]], steps: Steps) -> None:
    """An infinite value would be stored as 1.8e308 and ruin every plot: a tag names it instead. NaN is kept as such."""
    for name, value in entry.metrics.items():
        key = key_of(name)
        if math.isinf(value):
            parcel.tags[key_of(f"splatsweep.infinite.{key}")] = f"epoch {entry.step}"
            continue
        if entry.again:
            there = seen.get(key)
            if there is None:
                there = seen[key] = steps(key) | {p.step for p in parcel.points if p.key == key}
            if entry.step in there:
                continue
        if key in seen:
            seen[key].add(entry.step)
        parcel.points.append(Point(key, float(value), entry.time, entry.step))


@dataclass
class Batch:
    """One request's worth."""

    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.points) + len(self.params) + len(self.tags)


def batches(points: Sequence[Point], params: dict[str, str], tags: dict[str, str]) -> Iterator[Batch]:
    """All of it within the limits; points in order, the first of them beside the texts where there is room."""
    batch, size = Batch(), 0
    for is_param, texts in ((True, params), (False, tags)):
        for key, value in texts.items():
            weight = _weight(key, value)
            if batch and (len(batch) >= MOST_TEXTS or size + weight > MOST_BYTES):
                yield batch
                batch, size = Batch(), 0
            (batch.params if is_param else batch.tags)[key] = value
            size += weight
    for point in points:
        weight = len(point.key) + 100
        if batch and (len(batch) >= MOST or size + weight > MOST_BYTES):
            yield batch
            batch, size = Batch(), 0
        batch.points.append(point)
        size += weight
    if batch:
        yield batch


def _weight(key: str, value: str) -> int:
    """Bytes in a request, escapes included."""
    return len(json.dumps(key)) + len(json.dumps(value)) + 30
