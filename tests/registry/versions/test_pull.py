"""Pulling: whole and checked, or not at all."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from resealed import reseal
from tiny_bundles import POINTS

from registry.versions.fetching import pull
from registry.versions.store import SERVING
from ssl_core.errors import IntegrityError, RegistryError, StorageError
from ssl_core.models.bundle import load_bundle

NAME = "cross-modal-points"


@pytest.fixture
def version(store, bundles, lineage, trial):
    return store.register(bundles[0], NAME, lineage, trial)


def artifacts_of(store, version) -> Path:
    location = store.client.get_logged_model(version.model_id).artifact_location
    return Path(location.removeprefix("file://"))


def test_a_pulled_encoder_equals_the_registered_one(store, version, bundles, tmp_path):
    folder = pull(store, f"{NAME}@candidate", tmp_path / "models" / "points")
    assert folder == tmp_path / "models" / "points"
    x = torch.rand(3, POINTS.num_points, 3)
    with torch.inference_mode():
        assert (load_bundle(folder)(x) == load_bundle(bundles[0])(x)).all()
    assert "torch.export.load" in (folder / "model_card.md").read_text()
    assert list(tmp_path.glob("models/.*")) == []


@pytest.mark.slow  # tests/test_journey.py runs a pulled one, too
def test_the_program_runs_with_torch_alone(store, version, bundles, tmp_path):
    folder = pull(store, f"{NAME}/1", tmp_path / "out")
    code = (
        "import sys, torch\n"
        "encoder = torch.export.load(sys.argv[1]).module()\n"
        "print([tuple(encoder(torch.zeros(b, 64, 3)).shape) for b in (1, 2, 7)])\n"
        "assert not [name for name in sys.modules if name.startswith(('ssl_core', 'registry', 'mlflow'))]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "program.pt2")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[(1, 64), (2, 64), (7, 64)]"


def test_pulling_again_changes_nothing_and_another_encoder_is_not_overwritten(
    store, version, bundles, lineage, trial, tmp_path
):
    folder = pull(store, f"{NAME}/1", tmp_path / "out")
    stamp = (folder / "encoder.safetensors").stat().st_mtime_ns
    assert pull(store, f"{NAME}/1", tmp_path / "out") == folder
    assert (folder / "encoder.safetensors").stat().st_mtime_ns == stamp
    store.register(bundles[1], NAME, lineage, trial)
    with pytest.raises(RegistryError, match="already holds something other"):
        pull(store, f"{NAME}/2", tmp_path / "out")
    other = tmp_path / "mine"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(RegistryError, match="choose another --to"):
        pull(store, f"{NAME}/1", other)
    assert [file.name for file in other.iterdir()] == ["notes.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (pull(store, f"{NAME}/1", empty) / "program.pt2").exists()


@pytest.mark.parametrize("name", ["encoder.safetensors", "program.pt2", "encoder.json", "checksums.json"])
def test_changed_bytes_are_refused_and_leave_nothing(store, version, tmp_path, name):
    file = artifacts_of(store, version) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError):
        pull(store, f"{NAME}/1", tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


@pytest.mark.parametrize("name", ["MLmodel", "code/splatsweep_encoder.py", "requirements.txt"])
def test_what_mlflow_would_run_is_checked_too(store, version, tmp_path, name):
    with (artifacts_of(store, version) / name).open("a") as file:
        file.write("# changed\n")
    with pytest.raises(IntegrityError, match="do not serve it"):
        pull(store, f"{NAME}/1", tmp_path / "out")
    (artifacts_of(store, version) / name).unlink()
    with pytest.raises(IntegrityError, match=f"lacks {name}"):
        pull(store, f"{NAME}/1", tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


def test_a_version_from_before_mlflow_could_serve_it_is_pulled_without_code(store, version, tmp_path):
    store.client.delete_model_version_tag(NAME, "1", SERVING)
    folder = pull(store, f"{NAME}/1", tmp_path / "out")
    assert (folder / "MLmodel").exists()
    assert not (folder / "code").exists()
    store.tag(version, {SERVING: '{"../../outside": "0"}'})
    with pytest.raises(RegistryError, match="was edited"):
        pull(store, f"{NAME}/1", tmp_path / "other")


def test_a_pickle_put_into_the_program_with_its_checksums_is_refused_by_what_it_is(store, version, tmp_path):
    """A client that writes checksums itself, and a tag to match."""
    place = artifacts_of(store, version)
    with zipfile.ZipFile(place / "program.pt2", "a") as archive:
        archive.writestr("program/data/constants/custom_obj_0", b"\x80\x04.")
    reseal(place)
    digest = hashlib.sha256((place / "checksums.json").read_bytes()).hexdigest()
    store.tag(version, {"splatsweep.checksums": digest})
    with pytest.raises(RegistryError, match="custom_obj_0"):
        pull(store, f"{NAME}/1", tmp_path / "out")


def test_files_and_checksums_changed_together_are_refused(store, version, bundles, tmp_path):
    """Another whole bundle in its place: every checksum fits, but it is not what was registered."""
    for file in bundles[1].iterdir():
        (artifacts_of(store, version) / file.name).write_bytes(file.read_bytes())
    with pytest.raises(IntegrityError, match="not the one that was registered"):
        pull(store, f"{NAME}/1", tmp_path / "out")


def test_a_missing_file_or_a_link_out_is_refused(store, version, tmp_path):
    file = artifacts_of(store, version) / "program.pt2"
    file.rename(tmp_path / "elsewhere.pt2")
    with pytest.raises(RegistryError):
        pull(store, f"{NAME}/1", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written(store, version, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="not a folder"):
        pull(store, f"{NAME}/1", tmp_path / "file")
    with pytest.raises(StorageError):
        pull(store, f"{NAME}/1", tmp_path / "file" / "below")
