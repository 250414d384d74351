"""A pack of small asymmetric objects, seen from known cameras before white, with masks and part labels."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ssl_core.data.manifest import FileFacts
from ssl_core.data.object_pack import Pack, PackConfig, PackManifest, PackObject
from ssl_core.gaussians.gaussian_cloud import SH_C0
from ssl_core.render.point_splatting import OrbitLens, project_points, splat_colour, splat_mask
from ssl_core.scenes.cameras import orbit_cameras

POINTS, SIZE, VIEWS = 160, 32, 2
SPLITS = ("fit",) * 8 + ("val",) * 4 + ("test",) * 6


def shape(kind: str, rng: np.random.Generator, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """[points, 3] on a slab with two unequal pieces on it, a mirror image of which no rotation gives; part labels."""
    size = rng.uniform(0.8, 1.2, 3)
    height = {"low": 0.25, "tall": 0.9}[kind] * size[2]
    centres = np.array([[0, 0, 0], [-0.45, 0.1, height / 2], [0.3, -0.3, 0.2]])
    halves = np.array([[0.6, 0.4 * size[1], 0.08], [0.1, 0.25, height / 2], [0.2, 0.08, 0.15]])
    part = rng.choice(3, size=points, p=[0.5, 0.3, 0.2])
    return centres[part] + rng.uniform(-1, 1, (points, 3)) * halves[part] - [0, 0, 0.2], part


def single_view_pack(
    folder: Path,
    *,
    masks: bool = True,
    cameras: bool = True,
    parts: bool = True,
    views: int = VIEWS,
    splits: tuple[str, ...] = SPLITS,
    seed: int = 0,
) -> Pack:
    """One object for each of `splits`, alternately low and tall."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    kinds = [("low", "tall")[i % 2] for i in range(len(splits))]
    made = [shape(kind, rng) for kind in kinds]
    xyz = np.stack([points for points, _ in made]).astype(np.float32)
    colours = np.where(np.stack([part for _, part in made])[..., None] == 1, [0.9, 0.2, 0.1], [0.2, 0.4, 0.8])
    rows = np.zeros((len(splits), POINTS, 14), dtype=np.float32)
    rows[..., :3], rows[..., 3], rows[..., 4:7], rows[..., 7] = xyz, 3.0, -4.0, 1.0
    rows[..., 11:14] = (colours - 0.5) / SH_C0
    orbits = [orbit_cameras(max(views, 1), SIZE, seed=index) for index in range(len(splits))]
    pictures, covered = _views(xyz, colours, orbits, views)
    arrays = {
        "gaussians.npy": rows.reshape(-1, 14),
        "orders.npy": np.tile(np.arange(POINTS, dtype=np.int32), (len(splits), 1, 1)),
        "views.npy": pictures,
    }
    if masks:
        arrays["masks.npy"] = covered
    if parts:
        arrays["part_labels.npy"] = np.concatenate([part for _, part in made]).astype(np.int16)
    if cameras:
        seen = [camera for orbit in orbits for camera in orbit[:views]]
        arrays["viewmats.npy"] = np.stack([camera.viewmat for camera in seen])
        arrays["intrinsics.npy"] = np.stack([camera.K for camera in seen])
    for name, array in arrays.items():
        np.save(folder / name, array)
    objects = tuple(
        PackObject(
            class_name=kind, split="test" if split == "test" else "train", validation=split == "val",
            name=f"{kind}_{index}", source_digest="0" * 16, gaussians_in_file=POINTS, first_row=index * POINTS,
            rows=POINTS, sh_degree=0, first_view=index * views, views=views,
        )
        for index, (kind, split) in enumerate(zip(kinds, splits, strict=True))
    )  # fmt: skip
    manifest = PackManifest(
        pack_digest=f"{seed:08x}{len(splits):04x}{views:02x}{masks + 2 * cameras:02x}",
        config=PackConfig(cached_points=POINTS, starts=1, rendered_views=max(views, 1)),
        class_names=("low", "tall"),
        groups=("xyz", "opacity", "scale", "rotation", "sh_dc"),
        image_size=SIZE,
        views_rendered=True,
        objects=objects,
        files={name: FileFacts(bytes=(folder / name).stat().st_size, blocks=()) for name in arrays},
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    return Pack.open(folder)


def _views(xyz, colours, orbits, views: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [objects * views, 3, S, S] over white and masks [objects * views, S, S]."""
    pictures, covered = [np.zeros((0, 3, SIZE, SIZE), np.uint8)], [np.zeros((0, SIZE, SIZE), np.uint8)]
    for points, rgb, orbit in zip(torch.from_numpy(xyz), torch.from_numpy(colours).float(), orbits, strict=True):
        for camera in orbit[:views]:
            lens = OrbitLens.of(SIZE, float(camera.K[0, 0]) / SIZE, float(camera.viewmat[2, 3]))
            seen = project_points(points[None], torch.from_numpy(camera.viewmat[None, :3, :3]).float(), lens)
            mask = splat_mask(seen, SIZE, 0.4)
            white = splat_colour(seen, rgb[None], SIZE) * mask[:, None] + 1 - mask[:, None]
            pictures.append((255 * white).round().clamp(0, 255).to(torch.uint8).numpy())
            covered.append((255 * mask).round().to(torch.uint8).numpy())
    return np.concatenate(pictures), np.concatenate(covered)


class Remembering(nn.Module):
    """Answers with what belongs to the nearest image that it was shown."""

    def __init__(self, images: Tensor, answers: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images.flatten(1), requires_grad=False)
        self.answers = nn.Parameter(answers, requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.answers[torch.cdist(images.flatten(1), self.images).argmin(dim=1)]
