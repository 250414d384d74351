"""Makes a ScenePack from a folder with cameras and pictures, beside its place, then moves it there whole."""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.config import Config
from ssl_core.data.manifest import FileFacts, Refused
from ssl_core.data.scene_pack import SceneManifest, ScenePack, ScenePackConfig, SceneView, ViewSplit
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
from ssl_core.packing.scene_views import StoredView, ViewEntry, stored_view
from ssl_core.scenes.camera_files import read_scene
from ssl_core.scenes.cameras import Camera, CameraScene, CameraView
from ssl_core.scenes.scene_images import SceneImages

Progress = Callable[[int, int], None]

MASKS = "masks"
"""Folder of a scene with a mask per picture, of the picture's name, or that and an image's ending (COLMAP's habit)."""


class SceneSources(Config):
    """What a scene pack was made from."""

    stamp: str
    """of cameras and the sizes and times of all files"""
    inputs: str
    """of cameras and the bytes of all files"""


@dataclass(frozen=True)
class ScenePlan:
    """The views of a scene in order, and those that cannot be used."""

    scene: CameraScene
    entries: tuple[ViewEntry, ...]
    refused: tuple[Refused, ...]

    def digest(self, of_file: Callable[[Path], str]) -> str:
        """16 hex digits over all cameras, points and files, each of these by `of_file`."""
        digest = hashlib.sha256()
        for entry in self.entries:
            view = entry.view
            files = [of_file(file) for file in entry.files]
            digest.update(f"{view.name}\n{entry.split}\n{view.distortion}\n{files}\n".encode())
            digest.update(np.array([view.camera.width, view.camera.height, *view.camera.K.flat]).tobytes())
            digest.update(view.camera.viewmat.tobytes())
        if self.scene.points is not None:
            digest.update(self.scene.points.xyz.tobytes() + self.scene.points.colours.tobytes())
        digest.update(repr(self.refused).encode())
        return digest.hexdigest()[:16]


def write_scene_pack(
    scene: Path,
    out: Path,
    config: ScenePackConfig,
    *,
    workers: int = 0,
    skip_bad: bool = False,
    update: bool = False,
    progress: Progress | None = None,
) -> ScenePack:
    """Pack a scene, or find its pack up to date.

    Args:
        scene: folder or camera file (`read_scene`).
        out: pack folder to make.
        config: how.
        workers: views at a time; 0 is one per core.
        skip_bad: leave views without a readable picture out, recorded in the manifest.
        update: replace a pack of other input at `out`.
        progress: called with (views done, views in all).

    Raises:
        CameraError: the cameras cannot be read.
        PackError: views are unusable (all are listed), no view is left for a split, `out` holds something else, or
            another packer is at work there.
        StorageError: the disk is full.
    """
    out = real_place(Path(out))
    plan = plan_scene(Path(scene), config)
    stamp = plan.digest(lambda file: FileSource(file).stamp)
    if (current := _up_to_date(out, plan, stamp, config, update=update)) is not None:
        return current
    if plan.refused and not skip_bad:
        raise PackError(_listing(plan.refused))
    with building(out) as folder, storage_errors(folder.path):
        folder.forget_assembly()
        folder.new.mkdir()
        manifest = _write(plan, config, folder.new, workers, progress)
        if len(manifest.refused) > len(plan.refused) and not skip_bad:
            raise PackError(_listing(manifest.refused))
        _check_splits(manifest, plan.scene.path)
        write_sidecar(folder.new, SceneSources(stamp=stamp, inputs=plan.digest(_digest_of_file)))
        (folder.new / "manifest.json").write_text(manifest.model_dump_json(indent=1))
        folder.move_into_place()
    return ScenePack.open(out)


def plan_scene(scene: Path, config: ScenePackConfig) -> ScenePlan:
    """Read the cameras, find pictures and masks, settle the splits. Raises CameraError."""
    found = read_scene(scene)
    masks = SceneImages(scene if scene.is_dir() else scene.parent, (MASKS,))
    splits = assign_splits(found.views, config.holdout)
    entries, refused = [], []
    for view, split in zip(found.views, splits, strict=True):
        if view.image is None:
            refused.append(Refused(path=view.name, reason=f"its picture is not under {scene}; add it"))
        else:
            entries.append(ViewEntry(view, view.image, masks.find(view.name), split))
    return ScenePlan(found, tuple(entries), tuple(refused))


def assign_splits(views: Sequence[CameraView], holdout: int) -> list[ViewSplit]:
    """The split of each view: what files say; where they name no test or no val, every `holdout`-th of the rest.

    In the order of names, the first included, test before val: the convention of LLFF's scenes (Mildenhall et al.
    2019), which Gaussian splatting's trainer follows.
    """
    found: list[ViewSplit] = [view.split or "train" for view in views]
    order = sorted(range(len(views)), key=lambda i: views[i].name)
    held_out: tuple[ViewSplit, ...] = ("test", "val")
    for split in held_out:
        if split not in found:
            for i in [i for i in order if found[i] == "train"][::holdout]:
                found[i] = split
    return found


def _check_splits(manifest: SceneManifest, scene: Path) -> None:
    counts = Counter(view.split for view in manifest.views)
    splits: tuple[ViewSplit, ...] = ("train", "val", "test")
    if empty := [split for split in splits if not counts[split]]:
        raise PackError(
            f"{scene}: no view is left for {' and '.join(empty)} of {len(manifest.views)} usable ones; add views, or "
            "choose another --holdout"
        )


def _up_to_date(out: Path, plan: ScenePlan, stamp: str, config: ScenePackConfig, *, update: bool) -> ScenePack | None:
    """The pack at `out` when it is what would be made; None when it is to be made."""
    pack = pack_at(out, ScenePack, config)
    if pack is None:
        return None
    sources = read_sidecar(out, SceneSources)
    if sources is not None and sources.stamp == stamp:
        return pack
    inputs = plan.digest(_digest_of_file)
    if sources is not None and sources.inputs == inputs:  # touched or moved, not changed
        write_sidecar(out, SceneSources(stamp=stamp, inputs=inputs))
        return pack
    if not update:
        raise other_input(out)
    return None


def _write(
    plan: ScenePlan, config: ScenePackConfig, folder: Path, workers: int, progress: Progress | None
) -> SceneManifest:
    """All files but the manifest. Raises OSError."""
    views: list[SceneView] = []
    cameras: list[Camera] = []
    refused, notes, ends = list(plan.refused), Counter[str](), [0]
    with ExitStack() as stack:
        images = stack.enter_context(BlockWriter(folder / "images.bin"))
        masks = stack.enter_context(BlockWriter(folder / "masks.bin"))
        any_mask = False
        for done, (entry, stored) in enumerate(_stored_views(plan.entries, config, workers), start=1):
            if isinstance(stored, DataError):
                refused.append(Refused(path=entry.view.name, reason=str(stored)))
            else:
                camera = stored.camera
                images.write(stored.content)
                any_mask |= stored.mask is not None and bool((stored.mask < 255).any())
                masks.write(b"\xff" * (camera.width * camera.height) if stored.mask is None else stored.mask.tobytes())
                ends.append(ends[-1] + len(stored.content))
                cameras.append(camera)
                views.append(
                    SceneView(
                        name=entry.view.name,
                        split=entry.split,
                        width=camera.width,
                        height=camera.height,
                        source_digest=stored.source_digest,
                    )
                )
                notes.update(stored.notes)
            if progress is not None:
                progress(done, len(plan.entries))
    if not views:
        raise PackError("no view is usable: " + _listing(refused))
    files = {"images.bin": images.facts, **_arrays(plan, cameras, ends, folder)}
    if any_mask:
        files["masks.bin"] = masks.facts
    else:
        (folder / "masks.bin").unlink()
    return SceneManifest(
        config=config,
        format=plan.scene.format,
        views=tuple(views),
        refused=tuple(refused),
        notes=dict(sorted(notes.items())),
        files=dict(sorted(files.items())),
    ).sealed()


def _arrays(plan: ScenePlan, cameras: Sequence[Camera], ends: Sequence[int], folder: Path) -> dict[str, FileFacts]:
    arrays: dict[str, NDArray[Any]] = {
        "image_offsets.npy": np.array(ends, dtype=np.int64),
        "viewmats.npy": np.stack([camera.viewmat for camera in cameras]),
        "intrinsics.npy": np.stack([camera.K for camera in cameras]),
    }
    if plan.scene.points is not None and len(plan.scene.points):
        arrays["points_xyz.npy"] = plan.scene.points.xyz
        arrays["points_colours.npy"] = plan.scene.points.colours
    return {name: write_array(folder / name, values) for name, values in arrays.items()}


def _stored_views(
    entries: Sequence[ViewEntry], config: ScenePackConfig, workers: int
) -> Iterator[tuple[ViewEntry, StoredView | DataError]]:
    """In order, a few ahead: decoders leave the interpreter free, and a scene need not fit in memory."""

    def attempt(entry: ViewEntry) -> tuple[ViewEntry, StoredView | DataError]:
        try:
            return entry, stored_view(entry, config)
        except DataError as error:
            return entry, error

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
