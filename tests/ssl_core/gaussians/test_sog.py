"""Reading .sog: against a slow twin, files of other encoders, a real file, and files that are wrong.

tests/golden/household_100.sog was made from household_100_values.ply by @playcanvas/splat-transform 2.7.1 (-g cpu).
"""

import io
import itertools
import json
import struct
import tracemalloc
import zipfile
import zlib
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial import cKDTree

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import FileSource
from ssl_core.gaussians.formats.sog import decode
from ssl_core.gaussians.gaussian_cloud import MAX_GAUSSIANS, SH_REST, GaussianCloud
from ssl_core.gaussians.gaussian_file import read_gaussians
from tests.reference.gaussian_axes import rotations
from tests.reference.plain_sog import decode_sog, image_bytes, sog_parts, write_sog

GOLDEN = Path(__file__).parents[2] / "golden"


def small_cloud(n: int = 11, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "xyz": rng.uniform(-30, 30, 3).tolist(),
            "alpha": float(rng.uniform(0.02, 0.98)),
            "dc": rng.uniform(-2, 2, 3).tolist(),
            "log_scales": rng.uniform(-9, 1, 3).tolist(),
            "wxyz": rng.normal(size=4).tolist(),
            "sh": rng.uniform(-1, 1, (15, 3)).tolist(),
        }
        for _ in range(n)
    ]


def make(folder: Path, content: bytes) -> FileSource:
    path = folder / "a.sog"
    path.write_bytes(content)
    return FileSource(path)


def refusal(folder: Path, content: bytes, limit: int = MAX_GAUSSIANS) -> str:
    """The one line that the content is refused with; it names the file and ends with a remedy."""
    source = make(folder, content)
    with pytest.raises(GaussianFileError) as caught:
        decode(source, limit)
    text = str(caught.value)
    assert text.startswith(str(source))
    assert "\n" not in text
    assert ";" in text or ": " in text
    return text.removeprefix(str(source))


def check_twin(source: FileSource) -> None:
    cloud = decode(source, MAX_GAUSSIANS).cloud
    plain = decode_sog(source.path.read_bytes())
    if "alpha" in plain[0]:
        alphas = np.clip([one["alpha"] for one in plain], 1 / 510, 1 - 1 / 510)
        logits = np.log(alphas / (1 - alphas))
    else:
        logits = [one["logit"] for one in plain]
    expected = {
        "xyz": [one["xyz"] for one in plain],
        "opacity_logits": logits,
        "log_scales": [one["log_scales"] for one in plain],
        "quaternions": [one["wxyz"] for one in plain],
        "sh_dc": [one["dc"] for one in plain],
        "sh_rest": np.array([one["sh"] for one in plain]).reshape(len(plain), -1, 3),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(cloud, name), values, rtol=1e-5, atol=1e-6, err_msg=name)


def check_close(cloud: GaussianCloud, true: list[dict[str, object]], version: int, degree: int) -> None:
    """Within half a step of each quantisation: 16-bit logarithms, 8-bit values over their range."""
    xyz = np.array([one["xyz"] for one in true])
    logs = np.log1p(np.abs(xyz))
    step = 2 * logs.max() / 65535
    assert (np.abs(np.log1p(np.abs(cloud.xyz)) - logs) <= step).all()
    assert ((np.sign(cloud.xyz) == np.sign(xyz)) | (np.abs(xyz) < 2 * step)).all()
    alphas = np.array([one["alpha"] for one in true])
    np.testing.assert_allclose(cloud.alphas(), alphas, atol=0.51 / 255 if version == 2 else 8 / 4 / 255)
    np.testing.assert_allclose(cloud.log_scales, [one["log_scales"] for one in true], atol=0.51 * 10 / 255)
    np.testing.assert_allclose(cloud.sh_dc, [one["dc"] for one in true], atol=0.51 * 4 / 255)
    k = SH_REST[degree]
    rest = np.array([one["sh"][:k] for one in true]).reshape(len(true), k, 3)
    np.testing.assert_allclose(cloud.sh_rest, rest, atol=0.51 * 2 / 255)
    wxyz = np.array([one["wxyz"] for one in true])
    cosine = np.abs((wxyz * cloud.quaternions).sum(1)) / np.linalg.norm(wxyz, axis=1)
    assert 2 * np.arccos(np.minimum(1, cosine)).max() < 0.025


@pytest.mark.parametrize(("version", "degree"), itertools.product((1, 2), range(4)))
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_version_and_degree(tmp_path, version, degree, method):
    true = small_cloud()
    source = make(tmp_path, write_sog(*sog_parts(true, degree, version), method=method))
    file = decode(source, MAX_GAUSSIANS)
    assert (file.format, file.sh_degree, len(file.cloud)) == ("sog", degree, len(true))
    assert any("palette" in note for note in file.notes) == (degree > 0)
    check_twin(source)
    check_close(file.cloud, true, version, degree)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    version=st.integers(1, 2),
    n=st.integers(1, 200),
    width=st.sampled_from([1, 4, 8, 20]),
    degree=st.integers(0, 3),
)
def test_random_clouds_come_back(scratch, seed, version, n, width, degree):
    true = small_cloud(n, seed)
    source = make(scratch, write_sog(*sog_parts(true, degree, version, width)))
    check_twin(source)
    if n > 8:
        check_close(decode(source, n).cloud, true, version, degree)


def test_names_folders_and_png(tmp_path):
    """One top-level folder, PNG images, other names and other members change nothing."""
    meta, images = sog_parts(small_cloud(), 2)
    plain = decode(make(tmp_path, write_sog(meta, images)), 99).cloud
    named = {name: f"x {name[:-5]}.png" for name in images}
    for section in ("means", "scales", "quats", "sh0", "shN"):
        meta[section]["files"] = [named[name] for name in meta[section]["files"]]
    content = write_sog(meta, {named[name]: image for name, image in images.items()}, folder="scene/")
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("__MACOSX/._scene", b"no matter")
        archive.writestr("../../evil", b"no matter")
        archive.mkdir("scene/")
    other = decode(make(tmp_path, stream.getvalue()), 99).cloud
    for name in ("xyz", "opacity_logits", "log_scales", "quaternions", "sh_dc", "sh_rest"):
        np.testing.assert_array_equal(getattr(other, name), getattr(plain, name))


def matched(cloud: GaussianCloud, true: GaussianCloud) -> GaussianCloud:
    """The true Gaussians in the order of the cloud; nearest centres are a one-to-one map."""
    index = cKDTree(true.xyz).query(cloud.xyz)[1]
    assert len(np.unique(index)) == len(true)
    return true.select(index)


def test_file_of_another_encoder():
    file = read_gaussians(GOLDEN / "household_100.sog")
    check_twin(FileSource(GOLDEN / "household_100.sog"))
    true = matched(file.cloud, read_gaussians(GOLDEN / "household_100_values.ply").cloud)
    np.testing.assert_allclose(file.cloud.xyz, true.xyz, atol=2e-5)
    np.testing.assert_allclose(file.cloud.alphas(), true.alphas(), atol=1.01 / 255)
    np.testing.assert_allclose(file.cloud.log_scales, true.log_scales, atol=0.01)
    np.testing.assert_allclose(file.cloud.sh_dc, true.sh_dc, atol=0.01)
    np.testing.assert_allclose(rotations(file.cloud), rotations(true), atol=0.025)
    # The encoder shares palette entries even among 100 random ones.
    assert np.corrcoef(file.cloud.sh_rest.ravel(), true.sh_rest.ravel())[0, 1] > 0.8


def test_real_file(shared_data):
    """A trained scene as .ply and .sog: every Gaussian is found again, in the same axes, within what .sog can carry."""
    folder = shared_data / "gaussians" / "brush_sh3_leica-sofort"
    file = read_gaussians(folder / "leica-sofort-top8192.sog")
    true = matched(file.cloud, read_gaussians(folder / "leica-sofort-top8192.ply").cloud)
    assert file.sh_degree == 3
    step = 5.7 / 65535
    np.testing.assert_allclose(np.log1p(np.abs(file.cloud.xyz)), np.log1p(np.abs(true.xyz)), atol=step)
    np.testing.assert_allclose(file.cloud.alphas(), true.alphas(), atol=1.01 / 255)
    np.testing.assert_allclose(file.cloud.log_scales, true.log_scales, atol=0.1)
    np.testing.assert_allclose(file.cloud.sh_dc, true.sh_dc, atol=0.04)
    np.testing.assert_allclose(rotations(file.cloud), rotations(true), atol=0.025)
    assert np.abs(file.cloud.sh_rest - true.sh_rest).mean() < 0.02 * np.abs(true.sh_rest).mean()
    few = FileSource(folder / "leica-sofort-top8192.sog")
    plain = decode_sog(few.path.read_bytes())[:50]
    np.testing.assert_allclose(file.cloud.xyz[:50], [one["xyz"] for one in plain], rtol=1e-5)
    np.testing.assert_allclose(file.cloud.sh_rest[:50], [one["sh"] for one in plain], rtol=1e-5)


NUMBERS = [None, "1", float("nan"), float("inf"), 1e39, 10**400, True, [1], {}]


@pytest.mark.parametrize(
    ("path", "values", "says"),
    [
        (("version",), [0, 1, 3, "2", None, True, 2.0, 2.5], "version"),
        (("count",), [0, -1, 12 * 10**6, 10**400, 1.5, "5", None, True], ""),
        (("count",), [10 * 8 + 8 + 65537, 17], "pixels"),
        (("means",), [None, [], 3, "x"], "'means' is"),
        (("means", "mins"), [None, [0, 0], [0, 0, 0, 0], "x", *([n, 0, 0] for n in NUMBERS)], "means.mins"),
        (("means", "maxs"), [None, *([n, 0, 0] for n in NUMBERS)], "means.maxs"),
        (("means", "mins"), [[9, 9, 9]], "not above"),
        (("means", "files"), [None, [], ["means_l.webp"], [1, 2], "ab"], "means.files"),
        (("scales", "codebook"), [None, [0] * 255, [0] * 257, *([n, *[0] * 255] for n in NUMBERS)], "scales.codebook"),
        (("sh0", "codebook"), [None, [None] * 256], "sh0.codebook"),
        (("shN", "codebook"), [None, [float("inf")] * 256], "shN.codebook"),
        (("shN", "bands"), [0, 4, -1, "3", True, 2.0, None], "shN.bands"),
        (("shN", "bands"), [1, 3], "shN needs a width"),
        (("shN", "count"), [0, -1, 65537, None, 1.5], "shN.count"),
        (("shN", "count"), [10], "label 10 at Gaussian 10"),
        (("shN", "count"), [65], "shN needs a width"),
        (("shN",), [[], 3], "shN"),
    ],
)
def test_wrong_meta(tmp_path, path, values, says):
    right, images = sog_parts(small_cloud(), 2)
    for value in values:
        meta = deepcopy(right)
        section = meta
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
        assert says in refusal(tmp_path, write_sog(meta, images)), value


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (("means", "shape"), [None, [], 3, ["11"], [-1, 3], [0, 3], [10**400, 3], [True, 3]]),
        (("quats", "encoding"), ["euler", None]),
        (("scales", "mins"), [None, 1, [9, 9, 9], [None] * 3]),
        (("sh0", "maxs"), [[0, 0, 0], None, [float("inf")] * 4]),
        (("shN", "mins"), [None, "1", [1, 2], float("nan")]),
    ],
)
def test_wrong_meta_of_version_1(tmp_path, path, values):
    right, images = sog_parts(small_cloud(), 1, version=1)
    for value in values:
        meta = deepcopy(right)
        meta[path[0]][path[1]] = value
        refusal(tmp_path, write_sog(meta, images))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "expected an object"),
        (b"2", "expected an object"),
        (b'{"count": ' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * (1024 * 1024 + 1), "1,048,576 allowed"),
    ],
)
def test_meta_that_is_no_object(tmp_path, text, says):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("meta.json", text)
    assert says in refusal(tmp_path, stream.getvalue())


@pytest.mark.parametrize(
    "name",
    [
        "../means_l.webp",
        "/etc/passwd",
        "a/../means_l.webp",
        "..",
        ".",
        "",
        "c:means_l.webp",
        "a\\b",
        "a\0b",
        "none.webp",
    ],
)
def test_names_that_lead_elsewhere(tmp_path, name):
    meta, images = sog_parts(small_cloud())
    meta["means"]["files"][0] = name
    stream = io.BytesIO(write_sog(meta, images))
    if name.strip("."):
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr(name if name != "none.webp" else "other", b"x")
    text = refusal(tmp_path, stream.getvalue())
    assert "plain name" in text or "lacks the member" in text


def test_archives_that_are_none(tmp_path):
    assert "no readable zip" in refusal(tmp_path, b"")
    assert "no readable zip" in refusal(tmp_path, b"PK\x03\x04" + bytes(100))
    meta, images = sog_parts(small_cloud())
    content = write_sog(meta, images)
    for end in range(0, len(content), 7):
        refusal(tmp_path, content[:end])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for folder in ("a", "b"):
            archive.writestr(f"{folder}/meta.json", b"{}")
    assert "no meta.json" in refusal(tmp_path, stream.getvalue())
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("meta.json", b"{}")
    assert "twice" in refusal(tmp_path, stream.getvalue())
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        for i in range(300):
            archive.writestr(str(i), b"")
    assert "directory entries" in refusal(tmp_path, stream.getvalue())
    assert "packed by method 12" in refusal(tmp_path, write_sog(meta, images, method=zipfile.ZIP_BZIP2))


def test_every_damaged_member_is_named(tmp_path):
    """A flipped byte of stored data fails the checksum, whichever member it is in."""
    content = write_sog(*sog_parts(small_cloud(), 1))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos = archive.infolist()
    for info in infos:
        damaged = bytearray(content)
        damaged[info.header_offset + 30 + len(info.filename) + info.file_size // 2] ^= 1
        text = refusal(tmp_path, bytes(damaged))
        assert info.filename in text
        assert "CRC" in text


def test_claims_of_the_directory(tmp_path):
    """Sizes in the central directory that the data does not have."""
    content = write_sog(*sog_parts(small_cloud()), method=zipfile.ZIP_DEFLATED)
    start = content.find(b"PK\x01\x02")
    for offset in (20, 24):
        for value in (0, 1, 2**20, 2**31, 2**32 - 1):
            damaged = bytearray(content)
            damaged[start + offset : start + offset + 4] = struct.pack("<I", value)
            refusal(tmp_path, bytes(damaged))
    encrypted = bytearray(content)
    encrypted[start + 8] |= 1
    assert "encrypted" in refusal(tmp_path, bytes(encrypted))


def replaced(name: str, content: bytes, degree: int = 1) -> bytes:
    """The archive with one member of other bytes."""
    stream = io.BytesIO()
    meta, images = sog_parts(small_cloud(), degree)
    with zipfile.ZipFile(stream, "w") as archive:
        for one, image in images.items():
            archive.writestr(one, content if one == name else image_bytes(image, one))
        archive.writestr("meta.json", json.dumps(meta))
    return stream.getvalue()


def saved(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["means_l", "means_u", "scales", "quats", "sh0", "shN_centroids", "shN_labels"])
def test_images_that_are_wrong(tmp_path, name):
    file = f"{name}.webp"
    right = sog_parts(small_cloud(), 1)[1][file]
    height, width = right.shape[:2]
    whole = image_bytes(right, file)
    decode(make(tmp_path, replaced(file, whole)), 99)
    image = Image.fromarray(right)
    for content, says in (
        (b"", "neither WebP nor PNG"),
        (b"GIF89a" + bytes(50), "neither WebP nor PNG"),
        (saved(image, format="WEBP", quality=80), "lossy"),
        (saved(image, format="TIFF"), "neither"),
        (saved(image.convert("L"), format="PNG"), "8-bit RGB"),
        (saved(image.convert("I;16"), format="PNG"), "8-bit RGB"),
        (saved(Image.new("RGBA", (width, height + 1024 + 90000 // width)), format="PNG"), f"{width} x "),
        (saved(Image.new("RGBA", (width * 2, height)), format="PNG"), f"{width * 2} x {height}"),
        (saved(Image.new("RGBA", (1, 1)), format="PNG"), "1 x 1"),
        (saved(image, format="WEBP", save_all=True, append_images=[Image.new("RGB", image.size)]), "animated"),
        (whole[: len(whole) // 2], "damaged"),
        (whole[:20], "WebP"),
        (whole[:15], "WebP"),
    ):
        text = refusal(tmp_path, replaced(file, content))
        # The first image that is read sets the size for the others.
        assert says in text or (name == "means_l" and "others are" in text)


def test_pixels_that_are_wrong(tmp_path):
    meta, images = sog_parts(small_cloud(), 1)
    images["quats.webp"][1, 2, 3] = 251
    assert "alpha 251 at Gaussian 10" in refusal(tmp_path, write_sog(meta, images))
    meta, images = sog_parts(small_cloud(), 1)
    images["shN_labels.webp"][0, 3, 1] = 255
    assert "at Gaussian 3" in refusal(tmp_path, write_sog(meta, images))
    meta, images = sog_parts(small_cloud(), 1, version=1)
    images["shN_labels.webp"][0, 3, 0] = 64
    assert "label 64 at Gaussian 3" in refusal(tmp_path, write_sog(meta, images))
    meta, images = sog_parts(small_cloud(), 0)
    images["quats.webp"][1, 3:, 3] = 0
    assert len(decode(make(tmp_path, write_sog(meta, images)), 99).cloud) == 11


def test_extreme_opacities_are_noted(tmp_path):
    meta, images = sog_parts(small_cloud(), 0)
    images["sh0.webp"][0, :2, 3] = (0, 255)
    file = decode(make(tmp_path, write_sog(meta | {"antialias": True}, images)), 99)
    np.testing.assert_allclose(file.cloud.alphas()[:2], [1 / 510, 1 - 1 / 510], rtol=1e-5)
    assert any("2 Gaussians" in note for note in file.notes)
    assert any("antialiasing" in note for note in file.notes)


def peak_of(folder: Path, content: bytes) -> int:
    source = make(folder, content)
    decode(FileSource(GOLDEN / "household_100.sog"), 100)
    tracemalloc.start()
    try:
        decode(source, MAX_GAUSSIANS)
    except GaussianFileError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims any size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(10))), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def test_bombs_cost_what_they_may(tmp_path):
    """Huge counts, one-colour images of 16,384 pixels a side, deflated zeros: refused or read within 64 MB."""
    meta, images = sog_parts(small_cloud(), 1)
    flat = saved(Image.new("RGBA", (250, 220)), format="WEBP", lossless=True, exact=True)
    vp8l = flat[:21] + (16383 | 16383 << 14 | 1 << 28).to_bytes(4, "little") + flat[25:]
    assert len(flat) < 200
    for count in (11, 50_000, 60_000, MAX_GAUSSIANS, 2**32):
        for picture in (flat, vp8l, png_claiming(2**31 - 1, 2**31 - 1), png_claiming(1800, 1800)):
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in images:
                    archive.writestr(name, picture)
                archive.writestr("meta.json", json.dumps(meta | {"count": count}))
            assert peak_of(tmp_path, stream.getvalue()) < 64e6
    zeros = write_sog(meta, {}, method=zipfile.ZIP_DEFLATED)
    stream = io.BytesIO(zeros)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in images:
            archive.writestr(name, bytes(50_000_000))
    assert peak_of(tmp_path, stream.getvalue()) < 64e6
    assert "claims 50,000,000 bytes" in refusal(tmp_path, stream.getvalue())


def test_limits(tmp_path):
    content = write_sog(*sog_parts(small_cloud(11)))
    assert "more than the 10 allowed" in refusal(tmp_path, content, limit=10)
    assert len(decode(make(tmp_path, content), 11).cloud) == 11
    with pytest.raises(GaussianFileError, match="check the path"):
        decode(FileSource(tmp_path / "none.sog"), 10)
