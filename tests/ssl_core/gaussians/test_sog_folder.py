"""An unbundled .sog: meta.json with its images beside it, given by the folder or by meta.json."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ssl_core.errors import DataError, GaussianFileError
from ssl_core.files.source import FileSource
from ssl_core.gaussians.gaussian_file import companions, read_gaussians
from tests.reference.plain_sog import sog_parts, write_sog
from tests.ssl_core.gaussians.test_sog import small_cloud


def unbundled(folder: Path, version: int = 2, degree: int = 2) -> Path:
    """The folder of a .sog; the bundle of the same lies above it."""
    content = write_sog(*sog_parts(small_cloud(), degree, version))
    (folder / "bundle.sog").write_bytes(content)
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        bundle.extractall(folder / "scene")
    return folder / "scene"


@pytest.mark.parametrize(("version", "degree"), [(1, 0), (1, 1), (2, 0), (2, 3)])
def test_a_folder_is_what_its_bundle_is(tmp_path, version, degree):
    folder = unbundled(tmp_path, version, degree)
    expected = read_gaussians(tmp_path / "bundle.sog")
    images = [FileSource(file) for file in folder.glob("*.webp")]
    for found in (
        read_gaussians(folder),
        read_gaussians(str(folder / "meta.json")),
        read_gaussians(FileSource(folder / "meta.json"), beside=companions("meta.json", images)),
    ):
        assert (found.format, found.sh_degree, found.notes) == ("sog", degree, expected.notes)
        for name in vars(expected.cloud):
            np.testing.assert_array_equal(getattr(found.cloud, name), getattr(expected.cloud, name))


def test_what_is_missing_or_elsewhere(tmp_path):
    """Names lead nowhere else; a missing or damaged image is named; claims are measured by the files."""
    folder = unbundled(tmp_path)
    meta = json.loads((folder / "meta.json").read_text())
    for name in ("../bundle.sog", "/etc/hostname", "..", "", "a\0b", "a:b", "x" * 400, "scales2.webp"):
        changed = meta | {"scales": meta["scales"] | {"files": [name]}}
        (folder / "meta.json").write_text(json.dumps(changed))
        with pytest.raises(GaussianFileError, match=r"scene/meta\.json: .*(plain name|does not lie beside it)"):
            read_gaussians(folder)
    (folder / "meta.json").write_text(json.dumps(meta | {"count": 2_000_000}))
    with pytest.raises(GaussianFileError, match="which no real file is"):
        read_gaussians(folder)
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "quats.webp").write_bytes((folder / "quats.webp").read_bytes()[:40])
    with pytest.raises(GaussianFileError, match=r"image 'quats\.webp' is"):
        read_gaussians(folder)
    (folder / "quats.webp").unlink()
    with pytest.raises(GaussianFileError, match=r"'quats\.webp', which does not lie beside it; put the whole folder"):
        read_gaussians(folder)
    with pytest.raises(GaussianFileError, match="does not lie beside it"):
        read_gaussians(folder, beside=())
    (folder / "meta.json").unlink()
    with pytest.raises(DataError):
        read_gaussians(folder)
    with pytest.raises(DataError, match="check the path"):
        read_gaussians(folder / "meta.json")
