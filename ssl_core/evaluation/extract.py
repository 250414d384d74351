"""Frozen features of packed objects, computed once and reused by every probe; with a cache, by the next evaluation too.

Each object's points (of one point draw) and each view go through the encoder once. Inputs stream from the pack in
batches; only features stay in memory.

The same encoder meets the same objects again and again: a champion whenever a candidate challenges it, random twins
with every encoder of their architecture, the full protocol after the automatic one. What decides the bytes is in the
key: weights and contract, pack, objects, draw, device and version of torch. A file holds the array, its key, the
seconds it cost and a sha256; one that does not check out is computed again. The folder is bounded: what was not read
for longest goes first.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.contracts import Background
from ssl_core.data.augment import whole_images
from ssl_core.data.backgrounds import views_over
from ssl_core.data.object_pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.errors import InfeasibleError, StorageError
from ssl_core.evaluation.report import Steps
from ssl_core.files.whole import atomic_write, locked
from ssl_core.models.modes import device_of, evaluating

Features = NDArray[np.float32]
_POINT_BATCH = 32  # PointNet++ MSG needs a gigabyte or two at this size
_IMAGE_BATCH = 64


@dataclass
class ExtractionTimes:
    """Where the time of extractions went, in seconds; several may be added up in one.

    forward: encoder, and features back to the CPU.
    data: reading from the pack (points: sampling, views: decoding), and bringing it to the encoder's contract.
    """

    forward: float = 0.0
    data: float = 0.0

    @property
    def forward_share(self) -> float:
        """In [0, 1]; 0 before anything was extracted."""
        total = self.forward + self.data
        return self.forward / total if total > 0 else 0.0


def point_features(
    encoder: nn.Module,
    sampler: PointSampler,
    objects: NDArray[np.int64],
    draw: int,
    *,
    times: ExtractionTimes | None = None,
    steps: Steps | None = None,
) -> Features:
    """[len(objects), F] features of one point draw; the same draw gives the same points.

    The encoder's mode and weights are left as they are. What it took is added to `times`, `steps` hears of every batch.
    """
    batches = (points.to(device_of(encoder)) for points in point_batches(sampler, objects, draw))
    return encoded(encoder, batches, times, steps)


def point_batches(sampler: PointSampler, objects: NDArray[np.int64], draw: int) -> Iterator[Tensor]:
    """The points of one draw, [b, N, D] on the CPU."""
    for start in range(0, len(objects), _POINT_BATCH):
        yield torch.from_numpy(sampler.draw(objects[start : start + _POINT_BATCH], draw))


def image_features(
    encoder: nn.Module,
    pack: Pack,
    objects: NDArray[np.int64],
    image_size: int,
    *,
    views: int | None = None,
    background: Background = "white",
    times: ExtractionTimes | None = None,
    steps: Steps | None = None,
) -> Features:
    """[len(objects), V, F] features of V views of each object; V is `views`, or what every object has.

    When an object has more than V views, they are taken evenly spaced over its views. Otherwise as `point_features`.

    Raises InfeasibleError: an object has no view, or a background other than white is asked for without masks.
    """
    if int(pack.num_views[objects].min()) < 1:
        raise InfeasibleError("an object of the pack has no view, and an image encoder reads views; pack images too")
    places = spaced_views(pack, objects, views)
    index = places.reshape(-1)
    stored = (
        views_over(pack, index[start : start + _IMAGE_BATCH], background).to(device_of(encoder))
        for start in range(0, len(index), _IMAGE_BATCH)
    )
    batches = (whole_images(some, image_size) for some in stored)
    return encoded(encoder, batches, times, steps).reshape(*places.shape, -1)


def spaced_views(pack: Pack, objects: NDArray[np.int64], views: int | None) -> NDArray[np.int64]:
    """[len(objects), V] which of the pack's views `image_features` takes."""
    available = int(pack.num_views[objects].min())
    count = available if views is None else min(views, available)
    spaced: NDArray[np.int64] = (np.arange(count)[None] * pack.num_views[objects][:, None]) // count
    return pack.first_view[objects][:, None] + spaced


def encoded(
    encoder: nn.Module, batches: Iterable[Tensor], times: ExtractionTimes | None = None, steps: Steps | None = None
) -> Features:
    """Features of all batches, [rows, F]; one batch, which is on the encoder's device, is held at a time."""
    times, steps, parts = times or ExtractionTimes(), steps or Steps(), []
    with evaluating(encoder):
        began = time.perf_counter()
        for batch in batches:
            arrived = time.perf_counter()
            times.data += arrived - began
            parts.append(encoder(batch).float().cpu().numpy())
            began = time.perf_counter()
            times.forward += began - arrived
            steps.step()
    return np.concatenate(parts)


def point_batch_count(objects: int) -> int:
    """Batches of `point_features`."""
    return -(-objects // _POINT_BATCH)


def view_batch_count(pack: Pack, objects: NDArray[np.int64], views: int | None = None) -> int:
    """Batches of `image_features` of so many views, or all."""
    available = int(pack.num_views[objects].min())
    return -(-len(objects) * (available if views is None else min(views, available)) // _IMAGE_BATCH)


LIMIT_BYTES = 4 * 2**30
_FORMAT = "1"
_LOCKS = "locks"
"""folder of lock files, by the first digits of a key: 256 for all arrays"""
_STALE_SECONDS = 24 * 3600
"""A half-written file of a process that was killed is removed after a day."""


class FeatureKey(Config):
    """What an array of features is of."""

    encoder: str
    """digest of weights and contract, or of a twin's architecture and seed"""
    contract: str
    pack: str
    objects: str
    """digest of the indices, in order"""
    what: str
    """`points 3`, `views`, `drop 0.5 of points 0`, …"""
    device: str
    torch: str = torch.__version__


class Extraction(Config):
    """What features cost: seconds that computing them took, and that kept features spared."""

    computed: int = 0
    """arrays of features that were computed (of one draw, of all views, of a disturbance)"""
    kept: int = 0
    """arrays that were found in the cache"""
    seconds: float = 0.0
    saved_seconds: float = 0.0
    """what computing the kept ones took when they were computed, less reading them"""


@dataclass
class ExtractionLog:
    """Adds up what was computed and what was kept; `report` for the evaluation's report."""

    computed: int = 0
    kept: int = 0
    seconds: float = 0.0
    saved_seconds: float = 0.0

    def report(self) -> Extraction:
        """The sums."""
        return Extraction(
            computed=self.computed,
            kept=self.kept,
            seconds=round(self.seconds, 3),
            saved_seconds=round(max(0.0, self.saved_seconds), 3),
        )


class FeatureCache:
    """Arrays of features under a folder, several processes at once; safetensors, each file whole or absent.

    What one process computes, another that asks for it waits for.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder, self._limit = folder, limit_bytes

    def beside(self, name: str) -> "FeatureCache":
        """Another such folder beside this one, with a limit of its own."""
        return FeatureCache(self.folder.with_name(name), self._limit)

    def recall(self, key: FeatureKey, compute: Callable[[], Features], log: ExtractionLog) -> Features:
        """The array kept under `key`, else computed and kept; a disk that is full keeps nothing and hinders nobody."""
        path = self.folder / f"{key.digest()}.safetensors"
        began = time.perf_counter()
        found = _read(path, key)
        if found is not None:
            features, cost = found
            log.kept += 1
            log.saved_seconds += cost - (time.perf_counter() - began)
            return features
        with ExitStack() as stack:
            with suppress(StorageError):  # without a lock it may be computed twice, no more
                stack.enter_context(locked(self.folder / _LOCKS / path.name[:2]))
            waited = _read(path, key)
            if waited is not None:
                log.kept += 1
                return waited[0]
            features, seconds = timed(compute, log)
            self._keep(path, key, features, seconds)
            return features

    def _keep(self, path: Path, key: FeatureKey, features: Features, seconds: float) -> None:
        array = np.ascontiguousarray(features)
        cost = f"{seconds:.3f}"
        facts = {"format": _FORMAT, "key": key.to_json(), "seconds": cost, "sha256": _sha256(array, cost)}
        try:
            with atomic_write(path) as stream:
                stream.write(safetensors.numpy.save({"features": array}, facts))
            self._bound(path)
        except (OSError, StorageError):
            pass  # a disk that is full keeps nothing and hinders nobody

    def _bound(self, newest: Path) -> None:
        """Remove what was read longest ago until the rest fits; the file just written stays."""
        kept, now = [], time.time()
        for file in self.folder.iterdir():
            try:
                facts = file.stat()
            except OSError:
                continue  # another process removed it
            if file.name.endswith(".tmp"):
                if now - facts.st_mtime > _STALE_SECONDS:
                    file.unlink(missing_ok=True)
            elif file.suffix == ".safetensors" and file != newest:
                kept.append((facts.st_mtime, facts.st_size, file))
        total = newest.stat().st_size + sum(size for _, size, _ in kept)
        for _, size, file in sorted(kept):
            if total <= self._limit:
                return
            file.unlink(missing_ok=True)
            total -= size


def timed(compute: Callable[[], Features], log: ExtractionLog) -> tuple[Features, float]:
    """What `compute` gives and the seconds it took, which are logged."""
    began = time.perf_counter()
    features = compute()
    seconds = time.perf_counter() - began
    log.computed += 1
    log.seconds += seconds
    return features, seconds


def indices_digest(objects: NDArray[np.int64]) -> str:
    """16 hex digits over indices, in order."""
    return hashlib.sha256(np.ascontiguousarray(objects, dtype="<i8").tobytes()).hexdigest()[:16]


def _read(path: Path, key: FeatureKey) -> tuple[Features, float] | None:
    """The array and the seconds it cost; None where there is none, or one that is damaged or of another key."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            facts: Mapping[str, str] = file.metadata() or {}
            if facts.get("format") != _FORMAT or json.loads(facts["key"]) != key.model_dump(mode="json"):
                return None
            features: Features = file.get_tensor("features")
        if features.dtype != np.float32 or _sha256(features, facts["seconds"]) != facts["sha256"]:
            return None
        seconds = float(facts["seconds"])
        os.utime(path)
    except (OSError, ValueError, KeyError, safetensors.SafetensorError):
        return None
    return features, seconds


def _sha256(array: Features, cost: str) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes() + cost.encode()).hexdigest()
