"""Packs: what goes in comes out, nothing half-written is taken for whole, bad input is listed."""

import json
import shutil

import numpy as np
import pytest

from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import PackError
from ssl_core.files.image_files import read_image
from ssl_core.inspect.pack_facts import describe_pack, format_pack
from ssl_core.packing.pack_writer import write_pack
from tests.reference.gaussian_ply import read_gaussian_ply
from tests.reference.stored_views import views_of

CONFIG = PackConfig(cached_points=128, starts=3)


def test_rows_and_views_are_those_of_the_files(tiny_pack, tiny_set):
    index = int(tiny_pack.objects("test")[4])
    item = tiny_pack.manifest.objects[index]
    folder = tiny_set / "points" / item.class_name / item.split / item.name
    cloud = read_gaussian_ply(next(folder.rglob("*.ply")))
    kept = cloud.select(np.flatnonzero(cloud.alphas() > 0.05))
    rows = tiny_pack.rows_of(index)
    expected = np.concatenate(
        [
            kept.xyz,
            kept.opacity_logits[:, None],
            kept.log_scales,
            kept.quaternions,
            kept.sh_dc,
            kept.sh_rest.transpose(0, 2, 1).reshape(len(kept), 45),
        ],
        axis=1,
    )
    assert {row.tobytes() for row in rows} == {row.tobytes() for row in expected}
    picture = tiny_set / "images" / item.class_name / item.split / item.name / "images" / "002.png"
    np.testing.assert_array_equal(views_of(tiny_pack, index)[2].transpose(1, 2, 0), read_image(picture))


def test_splits_partition_train_per_class(tiny_pack):
    fit, val, train = (set(tiny_pack.objects(s).tolist()) for s in ("fit", "val", "train"))
    assert fit | val == train
    assert not fit & val
    counts = np.bincount(tiny_pack.labels[sorted(val)])
    assert (counts == counts[0]).all()
    assert counts[0] >= 1
    assert not train & set(tiny_pack.objects("test").tolist())


def test_same_input_same_digest_and_reuse(tiny_pack, tiny_set, tmp_path):
    again = write_pack(tiny_set / "points", tiny_set / "images", tmp_path / "p", CONFIG)
    assert again.digest == tiny_pack.digest
    before = (tmp_path / "p/manifest.json").stat().st_mtime_ns
    write_pack(tiny_set / "points", tiny_set / "images", tmp_path / "p", CONFIG)
    assert (tmp_path / "p/manifest.json").stat().st_mtime_ns == before
    with pytest.raises(PackError, match=r"other settings \(.*starts is 3, not 1"):
        write_pack(tiny_set / "points", tiny_set / "images", tmp_path / "p", PackConfig(cached_points=128, starts=1))


def test_without_images_views_are_rendered(tiny_set, tmp_path):
    config = PackConfig(cached_points=64, starts=1, rendered_views=3, rendered_size=16)
    pack = write_pack(tiny_set / "points", None, tmp_path / "p", config)
    assert pack.manifest.views_rendered
    assert pack.views.shape[1:] == (3, 16, 16)
    assert pack.num_views.tolist() == [3] * len(pack.manifest.objects)
    assert pack.views[:].min() < 250, "the object must be visible on the white background"


def test_bad_input_is_listed_and_no_pack_is_made(tiny_set, tmp_path):
    data = tmp_path / "set"
    shutil.copytree(tiny_set, data)
    plies = sorted((data / "points").rglob("*.ply"))
    plies[0].write_bytes(plies[0].read_bytes()[:-100])
    pictures = sorted((data / "images").rglob("*.png"))
    pictures[-1].write_bytes(b"not an image")
    with pytest.raises(PackError) as failure:
        write_pack(data / "points", data / "images", tmp_path / "p", CONFIG)
    assert "2 unusable" in str(failure.value)
    assert "box_0000" in str(failure.value)
    assert pictures[-1].name in str(failure.value)
    assert not (tmp_path / "p").exists()
    pack = write_pack(data / "points", data / "images", tmp_path / "p", CONFIG, skip_bad=True)
    assert len(pack.manifest.refused) == 2
    assert len(pack.manifest.objects) == 3 * 11 - 2
    assert "refused" in format_pack(describe_pack(pack))
    assert sorted(place.name for place in tmp_path.iterdir()) == ["p", "set"], "nothing is left of the first run"


def test_damaged_packs_are_refused(tiny_pack, tmp_path):
    with pytest.raises(PackError, match="not a pack"):
        Pack.open(tmp_path / "nothing")
    copy = tmp_path / "copy"
    shutil.copytree(tiny_pack.path, copy)
    with (copy / "views.npy").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(PackError, match=r"views\.npy"):
        Pack.open(copy)
    values = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**values, "schema_version": 99}))
    with pytest.raises(PackError, match="schema 99"):
        Pack.open(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(PackError, match="damaged"):
        Pack.open(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(PackError, match="half-written"):
        Pack.open(copy)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_encoded_views_are_those_of_the_raw_pack_up_to_the_codec(tiny_set, tiny_pack, tmp_path, codec):
    config = CONFIG.model_copy(update={"codec": codec})
    pack = write_pack(tiny_set / "points", tiny_set / "images", tmp_path / "p", config)
    assert "views.npy" not in pack.manifest.files
    assert pack.views.shape == tiny_pack.views.shape
    assert len(pack.views) == len(tiny_pack.views)
    wanted = np.array([130, 0, 7, 7, -1])
    np.testing.assert_array_equal(pack.views[wanted], pack.views[:][wanted])
    assert pack.views[np.array([], dtype=np.int64)].shape == (0, 3, 24, 24)
    error = np.abs(pack.views[:].astype(int) - tiny_pack.views[:].astype(int))
    assert error.mean() < 30, "noise is the worst case of a codec"
    np.testing.assert_array_equal(pack.gaussians, tiny_pack.gaussians)
    np.testing.assert_array_equal(pack.orders, tiny_pack.orders)
