"""Making packs: the same bytes whichever way they came about; nothing is read or made twice; nothing is half made."""

import hashlib
import os
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData
from small_sets import drop, pack_bytes, put

from ssl_core.clouds.points_file import read_points
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import PackError, StorageError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.gaussian_file import read_gaussians
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.gaussians.usable_rows import DROPPED
from ssl_core.inspect.pack_facts import describe_pack, format_pack
from ssl_core.packing import assemble, pack_folder, packed_object, part, sources
from ssl_core.packing.assemble import BlockWriter
from ssl_core.packing.layout import find_objects, ply_path
from ssl_core.packing.pack_plan import plan_pack
from ssl_core.packing.pack_writer import PackJob, PackStats, build_here, make_pack, write_pack
from ssl_core.packing.packed_object import PackTimes, ordered_points

CONFIG = PackConfig(cached_points=32, starts=2)
CLASSES = ("box", "rod")


def run(root: Path, out: Path, config: PackConfig = CONFIG, **how: bool) -> tuple[Pack, PackStats]:
    return make_pack(PackJob(root / "points", root / "images", out, config, **how), build_here)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two classes, six objects each."""
    for i in range(12):
        put(tmp_path / "set", f"{CLASSES[i % 2]}/{'test' if i > 7 else 'train'}/o{i:02d}", i)
    return tmp_path / "set"


@pytest.mark.parametrize("seed", range(5))
def test_an_update_equals_a_pack_made_from_scratch(tmp_path, seed):
    """Any history of added, changed, removed and merely touched objects ends in the bytes of a fresh pack."""
    rng = np.random.default_rng(seed)
    root, names = tmp_path / "set", [f"{c}/{s}/o{i}" for c in CLASSES for s in ("train", "test") for i in range(4)]
    config = CONFIG.model_copy(update={"codec": ("raw", "jpeg")[seed % 2]})
    kept = {name for name in names if rng.random() < 0.7} | {names[0], names[-1]}
    for name in sorted(kept):
        put(root, name, int(rng.integers(1000)), sh_rest=bool(rng.random() < 0.9))
    run(root, tmp_path / "updated", config)
    for generation in range(3):
        for name in rng.permutation(names)[: rng.integers(1, 6)].tolist():
            what = rng.integers(4)
            if what == 0 and name in kept and len(kept) > 3:
                drop(root, name)
                kept.discard(name)
            elif what == 1 and name in kept:
                for file in (root / "points" / name).rglob("*.ply"):
                    os.utime(file)
            else:
                put(root, name, int(rng.integers(1000)), sh_rest=bool(rng.random() < 0.8))
                kept.add(name)
        run(root, tmp_path / "updated", config, update=True)
        fresh = tmp_path / f"fresh{generation}"
        run(root, fresh, config)
        assert pack_bytes(tmp_path / "updated") == pack_bytes(fresh)
        pack = Pack.open(fresh)
        assert [item.key for item in pack.manifest.objects] == sorted(kept)
    assert not list(tmp_path.glob("*.building"))


def test_only_what_changed_is_made_again(small, tmp_path):
    _, first = run(small, tmp_path / "p")
    assert (first.made, first.copied, first.resumed) == (12, 0, 0)
    put(small, "box/train/o00", 99)
    put(small, "box/train/new", 98)
    drop(small, "rod/train/o01")
    with pytest.raises(PackError, match=r"1 new \(box/train/new\), 1 changed .*1 removed \(rod/train/o01\).*--update"):
        run(small, tmp_path / "p")
    pack, second = run(small, tmp_path / "p", update=True)
    assert (second.made, second.copied) == (2, 10)
    assert len(pack.manifest.objects) == 12


def test_unchanged_input_is_not_read(small, tmp_path, monkeypatch):
    pack, _ = run(small, tmp_path / "p")

    def unread(*_args):
        raise AssertionError("an input was read")

    monkeypatch.setattr(sources, "source_digest", unread)
    monkeypatch.setattr(part, "source_digest", unread)
    monkeypatch.setattr(part, "ordered_points", unread)
    for update in (False, True):
        again, stats = run(small, tmp_path / "p", update=update)
        assert again.digest == pack.digest
        assert (stats.made, stats.copied, stats.resumed) == (0, 0, 0)


def test_touched_or_unknown_input_is_compared_by_its_bytes(small, tmp_path):
    pack, _ = run(small, tmp_path / "p")
    for file in small.rglob("*.png"):
        os.utime(file)
    assert run(small, tmp_path / "p")[0].digest == pack.digest
    (tmp_path / "p/sources.json").unlink()
    assert run(small, tmp_path / "p")[0].digest == pack.digest
    put(small, "box/train/o00", 99)
    with pytest.raises(PackError, match=r"1 changed \(box/train/o00\)"):
        run(small, tmp_path / "p")
    run(small, tmp_path / "p", update=True)
    assert pack_bytes(tmp_path / "p") == pack_bytes(run(small, tmp_path / "fresh")[0].path)


def test_a_damaged_pack_is_not_copied_from(small, tmp_path):
    run(small, tmp_path / "p")
    with (tmp_path / "p/views.npy").open("r+b") as file:
        file.seek(2000)
        file.write(b"\1\2\3\4")
    put(small, "box/train/new", 98)
    with pytest.raises(PackError, match=r"views\.npy: damaged"):
        run(small, tmp_path / "p", update=True)


def test_what_is_in_the_way_is_not_overwritten(small, tmp_path):
    (tmp_path / "p").mkdir()
    run(small, tmp_path / "p")  # an empty folder is no obstacle
    (tmp_path / "q").mkdir()
    (tmp_path / "q/thesis.txt").write_text("years of work")
    with pytest.raises(PackError, match="is no pack"):
        run(small, tmp_path / "q", update=True)
    assert (tmp_path / "q/thesis.txt").exists()


def test_a_file_that_changes_while_it_is_packed_is_noticed(small, tmp_path, monkeypatch):
    whole = part.ordered_points

    def meddle(item, *rest, **how):
        ordered = whole(item, *rest, **how)
        if item.name == "o05":
            put(small, item.key, 77)
        return ordered

    monkeypatch.setattr(part, "ordered_points", meddle)
    with pytest.raises(PackError, match="rod/train/o05: a file changed while it was packed"):
        run(small, tmp_path / "p")
    assert not (tmp_path / "p").exists()
    monkeypatch.setattr(part, "ordered_points", whole)
    run(small, tmp_path / "p")
    assert pack_bytes(tmp_path / "p") == pack_bytes(run(small, tmp_path / "fresh")[0].path)


def test_a_mended_object_is_all_that_is_made_after_a_refusal(tmp_path):
    root = tmp_path / "set"
    for i in range(60):
        put(root, f"box/train/o{i:02d}", i, views=1)
    file = next((root / "points/box/train/o30").rglob("*.ply"))
    good, times = file.read_bytes(), file.stat()
    file.write_bytes(good[:-5])
    with pytest.raises(PackError, match=r"1 unusable input.*box/train/o30.*truncated"):
        run(root, tmp_path / "p")
    file.write_bytes(good)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    pack, stats = run(root, tmp_path / "p")
    assert stats.resumed >= 28
    assert stats.made + stats.resumed == len(pack.manifest.objects) == 60
    assert pack_bytes(tmp_path / "p") == pack_bytes(run(root, tmp_path / "fresh")[0].path)


def test_a_refused_object_leaves_no_trace_but_its_reason(small, tmp_path):
    picture = sorted((small / "images/box/train/o04").rglob("*.png"))[-1]
    picture.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    pack, _ = run(small, tmp_path / "p", skip_bad=True)
    assert [item.path for item in pack.manifest.refused] == ["box/train/o04"]
    assert picture.name in pack.manifest.refused[0].reason
    drop(small, "box/train/o04")
    without, _ = run(small, tmp_path / "q")
    assert without.digest == pack.digest


def spoil(root: Path, key: str, rows: dict[int, float]) -> None:
    """Give Gaussians of an object another x, behind the writer's back."""
    (file,) = (root / "points" / key).rglob("*.ply")
    content = bytearray(file.read_bytes())
    start = content.index(b"end_header\n") + 11
    for row, value in rows.items():
        content[start + 248 * row : start + 248 * row + 4] = struct.pack("<f", value)
    file.write_bytes(bytes(content))


def test_bad_rows_are_refused_or_dropped_and_counted(small, tmp_path):
    (file,) = (small / "points/box/train/o02").rglob("*.ply")
    count = len(read_gaussians(file).cloud)
    np.save(file.with_name("point_cloud.parts.npy"), np.arange(count))
    spoil(small, "box/train/o02", {3: np.nan, 9: 1e20})
    spoil(small, "rod/test/o11", {0: -np.inf})
    with pytest.raises(PackError, match=r"box/train/o02: .*2 of \d+ Gaussians.*rod/test/o11: ") as caught:
        run(small, tmp_path / "p")
    assert caught.value.args[0].count("--drop-bad-rows") == 2
    pack, _ = run(small, tmp_path / "p", drop_bad_rows=True)
    assert pack.manifest.dropped_rows == {"box/train/o02": 2, "rod/test/o11": 1}
    assert pack.manifest.notes[DROPPED] == 2
    assert pack.manifest.refused == ()
    assert np.isfinite(pack.gaussians).all()
    (item,) = (item for item in pack.manifest.objects if item.key == "box/train/o02")
    assert item.gaussians_in_file == count
    facts = describe_pack(pack)
    assert facts["gaussians"]["dropped_rows"] == 3
    assert "rows dropped in all: 3 of " in format_pack(facts)
    # labels stay with their Gaussians
    item = next(item for item in find_objects(small / "points", None)[0] if item.key == "box/train/o02")
    found = ordered_points(item, read_points(item.gaussians, drop_bad_rows=True), CONFIG, PackTimes())
    (labels,) = found.carried["part_labels"]
    assert set(labels.tolist()).isdisjoint((3, 9))
    whole = {tuple(row): label for label, row in enumerate(PlyData.read(str(file))["vertex"].data[["x", "y"]].tolist())}
    assert [whole[tuple(row)] for row in found.geometry[:, :2].tolist()] == labels.tolist()


def test_a_pack_knows_whether_bad_rows_were_dropped(small, tmp_path):
    spoil(small, "box/train/o02", {3: np.nan})
    without, _ = run(small, tmp_path / "p", skip_bad=True)
    assert [item.path for item in without.manifest.refused] == ["box/train/o02"]
    with pytest.raises(PackError, match=r"1 changed \(box/train/o02\).*--update"):
        run(small, tmp_path / "p", drop_bad_rows=True)
    pack, stats = run(small, tmp_path / "p", drop_bad_rows=True, update=True)
    assert (stats.made, stats.copied) == (1, 11)
    assert pack_bytes(tmp_path / "p") == pack_bytes(run(small, tmp_path / "fresh", drop_bad_rows=True)[0].path)
    assert run(small, tmp_path / "p", drop_bad_rows=True)[1].made == 0
    put(small, "rod/train/new", 1)
    pack, stats = run(small, tmp_path / "p", drop_bad_rows=True, update=True)
    assert (stats.made, stats.copied) == (1, 12)
    assert pack.manifest.dropped_rows == {"box/train/o02": 1}
    with pytest.raises(PackError, match=r"1 changed \(box/train/o02\)"):
        run(small, tmp_path / "p")
    with pytest.raises(PackError, match=r"box/train/o02: .*--drop-bad-rows"):
        run(small, tmp_path / "p", update=True)


def test_too_many_gaussians_to_render_are_refused(small, tmp_path, monkeypatch):
    monkeypatch.setattr(packed_object, "MAX_RENDERED", 40)
    with pytest.raises(PackError, match=r"point_cloud\.ply: has \d+ Gaussians and no views"):
        write_pack(small / "points", None, tmp_path / "p", CONFIG)


def test_notes_count_objects_and_say_why_sh_rest_is_missing(small, tmp_path):
    put(small, "box/train/plain", 5, sh_rest=False)
    pack, _ = run(small, tmp_path / "p")
    assert pack.sh_rest is None
    assert "sh_rest" not in pack.manifest.groups
    assert pack.manifest.notes["no spherical harmonics above degree 0, so the pack keeps those of no object"] == 1


def test_parts_depend_on_names_alone(tmp_path):
    root = tmp_path / "set"
    for i in range(80):
        put(root, f"box/train/o{i:02d}", i, views=0)
    before = plan_pack(root / "points", None, CONFIG).parts(tmp_path)
    put(root, "box/train/o40b", 40, views=0)
    after = plan_pack(root / "points", None, CONFIG).parts(tmp_path)
    assert len(before) > 3
    assert max(len(part.entries) for part in before) <= 32
    changed = {part.id for part in after} - {part.id for part in before}
    assert len(changed) <= 2
    other = plan_pack(root / "points", None, CONFIG.model_copy(update={"seed": 1})).parts(tmp_path)
    assert not {part.id for part in other} & {part.id for part in before}


def test_block_digests_are_those_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(assemble, "BLOCK_BYTES", 100)
    rng = np.random.default_rng(0)
    for length in (0, 1, 99, 100, 101, 200, 1234):
        data = rng.bytes(length)
        with BlockWriter(tmp_path / "file") as writer:
            start = 0
            while start < length:
                step = int(rng.integers(1, 250))
                writer.write(data[start : start + step])
                start += step
        assert (tmp_path / "file").read_bytes() == data
        resumed = int(rng.integers(0, length + 1))
        with BlockWriter(tmp_path / "file", resumed) as again:
            again.write(data[resumed:])
        assert (tmp_path / "file").read_bytes() == data
        assert again.facts == writer.facts
        blocks = tuple(hashlib.sha256(data[i : i + 100]).hexdigest() for i in range(0, length, 100))
        assert (writer.facts.bytes, writer.facts.blocks) == (length, blocks)


def test_a_full_disk_is_one_typed_error_and_the_next_run_goes_on(small, tmp_path):
    """A limit on the size of files stands for the full disk: the system refuses to write past it."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    code = (
        "import sys; from pathlib import Path\n"
        "from ssl_core.data.object_pack import PackConfig\nfrom ssl_core.packing.pack_writer import write_pack\n"
        "from ssl_core.errors import StorageError\n"
        "root, out = map(Path, sys.argv[1:])\n"
        "try: write_pack(root / 'points', root / 'images', out, PackConfig(cached_points=32, starts=2))\n"
        "except StorageError as error: print(error)\n"
    )
    words = [sys.executable, "-c", code, str(small), str(tmp_path / "p")]
    done = subprocess.run(words, capture_output=True, text=True, preexec_fn=limit, check=False, timeout=100)
    assert "cannot be written" in done.stdout, done.stderr
    assert "File too large" in done.stdout
    assert not (tmp_path / "p").exists()
    assert not list((tmp_path / "p.building/parts").iterdir()), "the part under way is removed"
    run(small, tmp_path / "p")
    assert pack_bytes(tmp_path / "p") == pack_bytes(run(small, tmp_path / "fresh")[0].path)


def test_too_little_space_is_said_before_anything_is_made(small, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pack_folder.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StorageError, match=r"takes about .* GB and 0\.0 GB are free"):
        run(small, tmp_path / "p")


def test_what_does_not_fit_is_left_out_at_random(tmp_path):
    """A file in an order of its own, here along z, keeps that in no part of the pack but the order of rows."""
    count, rng = 4000, np.random.default_rng(0)
    for i in range(2):
        xyz = np.stack([*rng.normal(size=(2, count)), np.linspace(0, 100, count)], axis=1)
        flat = np.zeros((count, 0, 3))
        cloud = GaussianCloud(xyz, np.full(count, 2.0), np.zeros((count, 3)), np.ones((count, 4)), xyz, flat)
        write_gaussian_ply(ply_path(tmp_path / "set/points", "box", "train", f"o{i}"), cloud)
    config = PackConfig(cached_points=32, starts=1, max_gaussians=1032, rendered_views=1, rendered_size=8)
    pack = write_pack(tmp_path / "set/points", None, tmp_path / "p", config)
    rest = pack.gaussians[32:1032, 2]
    assert (np.diff(rest) > 0).all()
    quarters = np.histogram(rest, bins=4, range=(0, 100))[0]
    assert quarters.min() > 200, quarters


def test_a_change_that_keeps_size_and_time_is_seen(small, tmp_path):
    """As when a file is restored, or a program sets times back."""
    run(small, tmp_path / "p")
    ply = next((small / "points/box/train/o00").rglob("*.ply"))
    times, content = ply.stat(), bytearray(ply.read_bytes())
    content[-20:-16] = np.float32(0.25).tobytes()
    ply.write_bytes(content)
    os.utime(ply, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(PackError, match=r"1 changed \(box/train/o00\)"):
        run(small, tmp_path / "p")
    _, again = run(small, tmp_path / "p", update=True)
    assert (again.made, again.copied) == (1, 11)
