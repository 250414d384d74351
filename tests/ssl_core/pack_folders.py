"""Packs written by hand, so that tests of their readers do not depend on the writer."""

from pathlib import Path

import numpy as np

from ssl_core.data.manifest import FileFacts, Refused
from ssl_core.data.object_pack import Pack, PackConfig, PackManifest, PackObject


def gaussian_rows(count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, 14] around the origin, alphas above 0.05."""
    rows = rng.normal(size=(count, 14)).astype(np.float32)
    alphas = rng.uniform(0.051, 0.999, count)
    rows[:, 3] = np.log(alphas / (1 - alphas))
    rows[:, 4:7] -= 3
    return rows


def write_pack_folder(
    folder: Path,
    sizes: dict[str, list[int]],
    *,
    views: int = 2,
    side: int = 8,
    rest: bool = True,
    alpha_threshold: float = 0.05,
    refused: tuple[tuple[str, str], ...] = (),
    seed: int = 0,
) -> Pack:
    """A pack of `sizes`: class name -> Gaussians of each of its objects; every third is a test object."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    objects, row = [], 0
    for name, counts in sizes.items():
        for i, count in enumerate(counts):
            objects.append(
                PackObject(
                    class_name=name,
                    split="test" if i % 3 == 2 else "train",
                    validation=i % 3 == 1,
                    name=f"{name}_{i}",
                    source_digest="0" * 16,
                    gaussians_in_file=count + 10,
                    first_row=row,
                    rows=count,
                    sh_degree=3,
                    first_view=len(objects) * views,
                    views=views,
                )
            )
            row += count
    arrays = {
        "gaussians.npy": gaussian_rows(row, rng),
        "orders.npy": np.zeros((len(objects), 1, 8), dtype=np.int32),
        "views.npy": rng.integers(0, 256, (len(objects) * views, 3, side, side), dtype=np.uint8),
    }
    if rest:
        arrays["sh_rest.npy"] = rng.normal(size=(row, 45)).astype(np.float32)
    for name, array in arrays.items():
        np.save(folder / name, array)
    manifest = PackManifest(
        pack_digest="f" * 16,
        config=PackConfig(cached_points=8, starts=1, alpha_threshold=alpha_threshold),
        class_names=tuple(sizes),
        groups=("xyz", "opacity", "sh_rest") if rest else ("xyz",),
        image_size=side,
        views_rendered=False,
        objects=tuple(objects),
        refused=tuple(Refused(path=path, reason=reason) for path, reason in refused),
        notes={"quaternions have 8 bits per component": 2},
        files={name: FileFacts(bytes=(folder / name).stat().st_size, blocks=()) for name in arrays},
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    return Pack.open(folder)
