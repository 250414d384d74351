"""Packs of other tools' files: axes of .spz, unbundled .sog, and many notes of one kind."""

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from small_sets import put

from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import LayoutError, PackError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.inspect.pack_facts import describe_pack, format_pack
from ssl_core.packing.pack_plan import plan_pack
from ssl_core.packing.pack_writer import PackJob, PackStats, build_here, make_pack
from tests.reference.plain_sog import sog_parts, write_sog
from tests.reference.plain_spz import encode_spz

CONFIG = PackConfig(cached_points=16, starts=1, alpha_threshold=0)
KEYS = ("box/train/a", "box/train/b", "box/test/c")


def rows(seed: int, count: int = 20) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "xyz": (rng.normal(size=3) * (1, 2, 3) + (0, 1, 2)).tolist(),
            "alpha": float(rng.uniform(0.3, 0.9)),
            "dc": rng.normal(size=3).tolist(),
            "log_scales": rng.normal(-3, 0.3, 3).tolist(),
            "wxyz": rng.normal(size=4).tolist(),
            "sh": rng.uniform(-0.5, 0.5, (15, 3)).tolist(),
        }
        for _ in range(count)
    ]


def data_set(root: Path, keys: tuple[str, ...] = KEYS) -> None:
    """Objects with views and, in place of their .ply, an empty folder."""
    for i, key in enumerate(keys):
        put(root, key, i, views=1)
        shutil.rmtree(root / "points" / key)
        (root / "points" / key).mkdir()


def run(root: Path, out: Path, config: PackConfig = CONFIG, **how: bool) -> tuple[Pack, PackStats]:
    return make_pack(PackJob(root / "points", root / "images", out, config, **how), build_here)


def centres(pack: Pack, index: int) -> np.ndarray:
    return pack.rows_of(index)[:, :3]


def true_centres(seed: int) -> np.ndarray:
    return np.array([one["xyz"] for one in rows(seed)])


def same_points(found: np.ndarray, true: np.ndarray) -> bool:
    return bool(np.abs(found[np.lexsort(found.T)] - true[np.lexsort(true.T)]).max() < 1e-3)


def test_axes_are_an_option_and_stand_in_the_manifest(tmp_path):
    """Three files that keep a .ply's axes: turned by default, and it says so; right with the option, which is kept."""
    data_set(tmp_path)
    for i, key in enumerate(KEYS):
        (tmp_path / "points" / key / "point_cloud.spz").write_bytes(encode_spz(rows(i), 3, 3))
    assumed, _ = run(tmp_path, tmp_path / "assumed")
    (note,) = (note for note in assumed.manifest.notes if note.startswith("axes"))
    assert "RUB assumed" in note
    assert assumed.manifest.notes[note] == 3
    named, _ = run(tmp_path, tmp_path / "named", CONFIG.model_copy(update={"spz_axes": "ply"}))
    assert named.manifest.config.spz_axes == "ply"
    assert '"spz_axes": "ply"' in (tmp_path / "named" / "manifest.json").read_text()
    for i, item in enumerate(named.manifest.objects):
        true = true_centres(KEYS.index(item.key))
        assert same_points(centres(named, i), true)
        assert same_points(centres(assumed, i), true * (1, -1, -1))
    assert named.digest != assumed.digest
    with pytest.raises(PackError, match="spz_axes is ply, not None"):
        run(tmp_path, tmp_path / "named")
    with pytest.raises(PackError, match="spz_axes is None, not ply"):
        run(tmp_path, tmp_path / "assumed", named.manifest.config)


def test_packs_without_the_option_are_what_they_were():
    assert "spz_axes" not in PackConfig().to_json()
    assert PackConfig.from_json(PackConfig().to_json()) == PackConfig()


@pytest.mark.parametrize("archived", [False, True])
def test_a_compressed_ply_beside_it_decides_and_is_watched(tmp_path, archived):
    """The object with both comes from the .spz; its .ply says which way, and counts as one of its files."""
    data_set(tmp_path)
    for i, key in enumerate(KEYS):
        folder = tmp_path / "points" / key
        (folder / "point_cloud.spz").write_bytes(encode_spz(rows(i), 3, 3))
        write_gaussian_ply(folder / "point_cloud.compressed.ply", plain_cloud(true_centres(i)))
    if archived:
        shutil.make_archive(str(tmp_path / "box"), "zip", tmp_path / "points")
        shutil.rmtree(tmp_path / "points")
        (tmp_path / "points").mkdir()
        (tmp_path / "box.zip").rename(tmp_path / "points" / "box.zip")
    pack, _ = run(tmp_path, tmp_path / "pack")
    for i, item in enumerate(pack.manifest.objects):
        assert same_points(centres(pack, i), true_centres(KEYS.index(item.key)))
    assert any("the .ply beside it shows" in note for note in pack.manifest.notes)
    if archived:
        return
    assert run(tmp_path, tmp_path / "pack")[1].made == 0
    write_gaussian_ply(folder / "point_cloud.compressed.ply", plain_cloud(true_centres(2) * (1, -1, -1)))
    again, stats = run(tmp_path, tmp_path / "pack", update=True)
    assert (stats.made, stats.copied) == (1, 2)
    (index,) = (i for i, item in enumerate(again.manifest.objects) if item.key == KEYS[2])
    assert same_points(centres(again, index), true_centres(2) * (1, -1, -1))


def plain_cloud(xyz: np.ndarray) -> GaussianCloud:
    n = len(xyz)
    return GaussianCloud(
        xyz, np.zeros(n), np.full((n, 3), -3.0), np.tile([1.0, 0, 0, 0], (n, 1)), np.zeros((n, 3)), np.zeros((n, 0, 3))
    )


def test_unbundled_sog_folders_are_objects(tmp_path):
    """One folder each; its images count as files of the object, and not as views."""
    data_set(tmp_path)
    for i, key in enumerate(KEYS):
        with zipfile.ZipFile(io.BytesIO(write_sog(*sog_parts(rows(i), 1)))) as bundle:
            bundle.extractall(tmp_path / "points" / key)
    pack, _ = run(tmp_path, tmp_path / "pack")
    assert sorted(item.key for item in pack.manifest.objects) == sorted(KEYS)
    assert "the order is the encoder's, not that of the .ply file" in pack.manifest.notes
    assert {item.views for item in pack.manifest.objects} == {1}
    images = tmp_path / "points" / KEYS[0] / "sh0.webp"
    os.utime(images)
    assert run(tmp_path, tmp_path / "pack")[1].made == 0  # touched, not changed
    images.write_bytes((tmp_path / "points" / KEYS[1] / "sh0.webp").read_bytes())
    with pytest.raises(PackError, match=r"1 changed \(box/train/a\)"):
        run(tmp_path, tmp_path / "pack")
    _, stats = run(tmp_path, tmp_path / "pack", update=True)
    assert (stats.made, stats.copied) == (1, 2)
    with pytest.raises(LayoutError, match="object without views"):
        plan_pack(tmp_path / "points", tmp_path / "points", CONFIG)


def test_a_meta_json_of_something_else_is_no_object(tmp_path):
    """Other tools write files of this name; only one with the images of a .sog beside it counts."""
    for i, key in enumerate(KEYS):
        put(tmp_path, key, i, views=1)
        (tmp_path / "points" / key / "meta.json").write_text("{}")
    pack, _ = run(tmp_path, tmp_path / "pack")
    assert len(pack.manifest.objects) == 3


def splat(clear: int, count: int = 20) -> bytes:
    """antimatter15's .splat with so many Gaussians that are fully opaque."""
    rng = np.random.default_rng(clear)
    found = b""
    for i in range(count):
        rgba = bytes([*rng.integers(0, 256, 3), 255 if i < clear else 128])
        found += rng.normal(size=3).astype("<f4").tobytes() + np.full(3, 0.1, "<f4").tobytes() + rgba
        found += bytes([*rng.integers(0, 120, 4)])
    return found


def test_many_notes_of_one_kind_are_one_line(tmp_path):
    """Twelve files that differ in how many of their opacities were cut: one line, with a count and an example."""
    keys = tuple(f"box/{'test' if i > 8 else 'train'}/o{i:02d}" for i in range(12))
    data_set(tmp_path, keys)
    for i, key in enumerate(keys):
        (tmp_path / "points" / key / "point_cloud.splat").write_bytes(splat(i + 1))
    pack, _ = run(tmp_path, tmp_path / "pack")
    facts = describe_pack(pack)
    cut = [text for text in facts["notes"] if text.startswith("opacities of")]
    assert len(cut) == 12
    assert all(facts["note_examples"][text] in keys for text in cut)
    lines = [line for line in format_pack(facts).splitlines() if "opacities of" in line]
    assert len(lines) == 1
    assert "(12 objects, with 12 different numbers: --json; such as box/t" in lines[0]
    (tmp_path / "pack" / "sources.json").unlink()  # as in a pack that was fetched
    facts = describe_pack(Pack.open(tmp_path / "pack"))
    lines = [line for line in format_pack(facts).splitlines() if "opacities of" in line]
    assert [line.endswith("(12 objects, with 12 different numbers: --json)") for line in lines] == [True]
