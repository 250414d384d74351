"""Makes a ScenePack from a folder with cameras and pictures, beside its place, then moves it there whole."""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.config import Config
from ssl_core.data.manifest import FileFacts, Refused
from ssl_core.data.scene_pack import VOID, SceneFacts, SceneManifest, ScenePack, ScenePackConfig, SceneView
from ssl_core.errors import DataError, PackError
from ssl_core.files.source import FileSource
from ssl_core.files.whole import storage_errors
from ssl_core.packing.assemble import BlockWriter, write_array
from ssl_core.packing.pack_folder import (
    building,
    other_input,
    pack_at,
    read_sidecar,
    real_place,
    unusable,
    write_sidecar,
)
from ssl_core.packing.scene_plan import SPLITS, ScenePlan, plan_scenes
from ssl_core.packing.scene_views import StoredView, ViewEntry, stored_view
from ssl_core.scenes.cameras import Camera

Progress = Callable[[int, int], None]

_MAPS = ("masks.bin", "labels.bin", "depth.bin")


class SceneSources(Config):
    """What a scene pack was made from."""

    stamp: str
    """of cameras and the sizes and times of all files"""
    inputs: str
    """of cameras and the bytes of all files"""


def write_scene_pack(
    scenes: Path | Sequence[Path],
    out: Path,
    config: ScenePackConfig,
    *,
    workers: int = 0,
    skip_bad: bool = False,
    update: bool = False,
    progress: Progress | None = None,
) -> ScenePack:
    """Pack one scene or several, or find their pack up to date.

    Args:
        scenes: folder or camera file of each (`read_scene`), or a folder of scenes (`plan_scenes`).
        out: pack folder to make.
        config: how.
        workers: views at a time; 0 is one per core.
        skip_bad: leave views without a readable picture out, recorded in the manifest.
        update: replace a pack of other input at `out`.
        progress: called with (views done, views in all).

    Raises:
        CameraError: the cameras cannot be read.
        PackError: views are unusable (all are listed), no view is left for a split, scenes do not go together, `out`
            holds something else, or another packer is at work there.
        StorageError: the disk is full.
    """
    out = real_place(Path(out))
    plans = plan_scenes([scenes] if isinstance(scenes, Path) else scenes, config)
    stamp = _digest(plans, lambda file: FileSource(file).stamp)
    if (current := _up_to_date(out, plans, stamp, config, update=update)) is not None:
        return current
    before = [item for plan in plans for item in plan.refused]
    if before and not skip_bad:
        raise PackError(_listing(before))
    with building(out) as folder, storage_errors(folder.path):
        folder.forget_assembly()
        folder.new.mkdir()
        manifest = _Writing(plans, config, folder.new).run(workers, progress)
        if len(manifest.refused) > len(before) and not skip_bad:
            raise PackError(_listing(manifest.refused))
        _check_splits(manifest, plans)
        write_sidecar(folder.new, SceneSources(stamp=stamp, inputs=_digest(plans, _digest_of_file)))
        (folder.new / "manifest.json").write_text(manifest.model_dump_json(indent=1))
        folder.move_into_place()
    return ScenePack.open(out)


def _digest(plans: Sequence[ScenePlan], of_file: Callable[[Path], str]) -> str:
    digests = [plan.digest(of_file) for plan in plans]
    if len(plans) == 1:
        return digests[0]
    facts = [f"{plan.name} {plan.split} {digest}" for plan, digest in zip(plans, digests, strict=True)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _check_splits(manifest: SceneManifest, plans: Sequence[ScenePlan]) -> None:
    counts = Counter((view.scene, view.split) for view in manifest.views)
    for number, plan in enumerate(plans):
        if empty := [split for split in SPLITS if not counts[number, split]]:
            usable = sum(counts[number, split] for split in SPLITS)
            raise PackError(
                f"{plan.scene.path}: no view is left for {' and '.join(empty)} of {usable} usable ones; add views, or "
                "choose another --holdout"
            )


def _up_to_date(
    out: Path, plans: Sequence[ScenePlan], stamp: str, config: ScenePackConfig, *, update: bool
) -> ScenePack | None:
    """The pack at `out` when it is what would be made; None when it is to be made."""
    pack = pack_at(out, ScenePack, config)
    if pack is None:
        return None
    sources = read_sidecar(out, SceneSources)
    if sources is not None and sources.stamp == stamp:
        return pack
    inputs = _digest(plans, _digest_of_file)
    if sources is not None and sources.inputs == inputs:  # touched or moved, not changed
        write_sidecar(out, SceneSources(stamp=stamp, inputs=inputs))
        return pack
    if not update:
        raise other_input(out)
    return None


class _Writing:
    """All files of a pack but its manifest, written view by view."""

    def __init__(self, plans: Sequence[ScenePlan], config: ScenePackConfig, folder: Path) -> None:
        self.plans, self.config, self.folder = plans, config, folder
        self.views: list[SceneView] = []
        self.cameras: list[Camera] = []
        self.ends = [0]
        self.refused = [item for plan in plans for item in plan.refused]
        self.notes = Counter[str]()
        for plan in plans:
            self.notes.update(plan.notes)
        self.used: set[str] = set()

    def run(self, workers: int, progress: Progress | None) -> SceneManifest:
        """Write them. Raises OSError; PackError when no view is usable."""
        entries = [(number, entry) for number, plan in enumerate(self.plans) for entry in plan.entries]
        with ExitStack() as stack:
            files = {name: stack.enter_context(BlockWriter(self.folder / name)) for name in ("images.bin", *_MAPS)}
            stored_views = _stored_views([entry for _, entry in entries], self.config, workers)
            for done, ((number, entry), stored) in enumerate(zip(entries, stored_views, strict=True), start=1):
                if isinstance(stored, DataError):
                    self.refused.append(Refused(path=entry.view.name, reason=str(stored)))
                else:
                    self._write_view(number, entry, stored, files)
                if progress is not None:
                    progress(done, len(entries))
        if not self.views:
            raise PackError("no view is usable: " + _listing(self.refused))
        facts = {"images.bin": files["images.bin"].facts, **self._arrays()}
        for name in _MAPS:
            if name in self.used:
                facts[name] = files[name].facts
            else:
                (self.folder / name).unlink()
        return self._manifest(facts)

    def _write_view(self, number: int, entry: ViewEntry, stored: StoredView, files: Mapping[str, BlockWriter]) -> None:
        camera, maps = stored.camera, stored.maps
        pixels = camera.width * camera.height
        files["images.bin"].write(stored.content)
        files["masks.bin"].write(b"\xff" * pixels if maps.mask is None else maps.mask.tobytes())
        files["labels.bin"].write(bytes([VOID]) * pixels if maps.labels is None else maps.labels.tobytes())
        files["depth.bin"].write(bytes(4 * pixels) if maps.depth is None else maps.depth.astype("<f4").tobytes())
        # a mask that takes nothing away is none
        self.used |= {"masks.bin"} if maps.mask is not None and bool((maps.mask < 255).any()) else set()
        self.used |= {"labels.bin"} if maps.labels is not None else set()
        self.used |= {"depth.bin"} if maps.depth is not None else set()
        self.ends.append(self.ends[-1] + len(stored.content))
        self.cameras.append(camera)
        self.views.append(
            SceneView(
                name=entry.view.name,
                split=entry.split,
                width=camera.width,
                height=camera.height,
                source_digest=stored.source_digest,
                scene=number,
            )
        )
        self.notes.update(stored.notes)

    def _arrays(self) -> dict[str, FileFacts]:
        points = [plan.scene.points for plan in self.plans if plan.scene.points is not None and len(plan.scene.points)]
        arrays: dict[str, NDArray[Any]] = {
            "image_offsets.npy": np.array(self.ends, dtype=np.int64),
            "viewmats.npy": np.stack([camera.viewmat for camera in self.cameras]),
            "intrinsics.npy": np.stack([camera.K for camera in self.cameras]),
        }
        if points:
            arrays["points_xyz.npy"] = np.concatenate([each.xyz for each in points])
            arrays["points_colours.npy"] = np.concatenate([each.colours for each in points])
        return {name: write_array(self.folder / name, values) for name, values in arrays.items()}

    def _manifest(self, files: Mapping[str, FileFacts]) -> SceneManifest:
        classes = next((plan.classes.classes for plan in self.plans if plan.classes is not None), ())
        return SceneManifest(
            config=self.config,
            format=self.plans[0].scene.format,
            views=tuple(self.views),
            scenes=tuple(
                SceneFacts(
                    name=plan.name,
                    split=plan.split,
                    format=plan.scene.format,
                    points=0 if plan.scene.points is None else len(plan.scene.points),
                )
                for plan in self.plans
            ),
            classes=classes if "labels.bin" in self.used else (),
            refused=tuple(self.refused),
            notes=dict(sorted(self.notes.items())),
            files=dict(sorted(files.items())),
        ).sealed()


def _stored_views(
    entries: Sequence[ViewEntry], config: ScenePackConfig, workers: int
) -> Iterator[StoredView | DataError]:
    """In order, a few ahead: decoders leave the interpreter free, and a scene need not fit in memory."""

    def attempt(entry: ViewEntry) -> StoredView | DataError:
        try:
            return stored_view(entry, config)
        except DataError as error:
            return error

    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(attempt, entry) for entry in entries[:workers])
        for entry in entries[workers:]:
            waiting.append(pool.submit(attempt, entry))
            yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


def _digest_of_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _listing(refused: Sequence[Refused]) -> str:
    return unusable(refused, "view", "goes on without them")
