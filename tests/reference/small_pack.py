"""A pack written by hand, array by array: what a reader of packs may expect, whoever writes them."""

from pathlib import Path

import numpy as np

from ssl_core.data.manifest import FileFacts
from ssl_core.data.object_pack import Pack, PackConfig, PackManifest, PackObject
from ssl_core.data.sampling import farthest_point_order


def small_pack(
    folder: Path,
    rows: tuple[int, ...] = (60, 200, 130, 90),
    *,
    cached: int = 64,
    starts: int = 3,
    with_rest: bool = True,
    seed: int = 0,
    notes: dict[str, int] | None = None,
) -> Pack:
    """Objects of random Gaussians, alphas between .06 and .99, alternately of two classes; object 2 is a test object.

    Orders and rows are as the pack writer makes them: the first order is 0, 1, 2, ... and reaches `cached`.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    orders = np.full((len(rows), starts, min(cached, max(rows))), -1, dtype=np.int32)
    geometry = []
    for index, count in enumerate(rows):
        values = rng.normal(size=(count, 14)).astype(np.float32)
        values[:, :3] *= rng.uniform(0.3, 2.0, 3)
        alphas = rng.uniform(0.06, 0.99, count)
        values[:, 3] = np.log(alphas / (1 - alphas))
        length = min(cached, count)
        first = farthest_point_order(values[:, :3], length, 0)
        values = values[np.concatenate([first, np.setdiff1d(np.arange(count), first)])]
        for row, start in enumerate([0, *rng.permutation(np.arange(1, count))[: starts - 1]]):
            orders[index, row, :length] = farthest_point_order(values[:, :3], length, int(start))
        geometry.append(values)
    total = sum(rows)
    arrays = {
        "gaussians.npy": np.concatenate(geometry),
        "orders.npy": orders,
        "views.npy": np.zeros((len(rows), 3, 8, 8), dtype=np.uint8),
    }
    if with_rest:
        arrays["sh_rest.npy"] = rng.normal(size=(total, 45)).astype(np.float32)
    for name, array in arrays.items():
        np.save(folder / name, array)
    objects = tuple(
        PackObject(
            class_name=("chair", "table")[index % 2],
            split="test" if index == 2 else "train",
            validation=index == 1,
            name=f"object_{index}",
            source_digest="0" * 16,
            gaussians_in_file=count + 10,
            first_row=sum(rows[:index]),
            rows=count,
            sh_degree=3 if with_rest else 0,
            first_view=index,
            views=1,
        )
        for index, count in enumerate(rows)
    )
    groups = ("xyz", "opacity", "scale", "rotation", "sh_dc", *(["sh_rest"] if with_rest else []), "normals")
    manifest = PackManifest(
        pack_digest=f"{seed:08x}{total:08x}",
        config=PackConfig(cached_points=cached, starts=starts, seed=seed),
        class_names=("chair", "table"),
        groups=groups,
        image_size=8,
        views_rendered=False,
        objects=objects,
        notes=notes or {},
        files={name: FileFacts(bytes=(folder / name).stat().st_size, blocks=()) for name in arrays},
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    return Pack.open(folder)
