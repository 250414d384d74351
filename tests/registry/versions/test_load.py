"""An encoder ready to use: from the registry or from a folder, always checked."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bundles import POINT_BACKBONE, POINTS, make_bundle

from registry.pull import load
from registry.versions.fetching import choose_bundle, list_bundles, pull, pull_offline
from ssl_core.errors import ConfigError, IntegrityError, RegistryError, SplatsweepError, StorageError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.models.bundle import load_bundle, save_bundle
from ssl_core.models.cards import encoder_card
from ssl_core.models.gaussian_field import camera_of
from tests.contracts.cards import FIELD

NAME = "cross-modal-points"


@pytest.fixture
def ply(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    write_gaussian_ply(
        tmp_path / "object.ply",
        GaussianCloud(
            xyz=rng.normal(size=(90, 3)),
            opacity_logits=np.full(90, 3.0),
            log_scales=rng.normal(-3, 0.3, (90, 3)),
            quaternions=rng.normal(size=(90, 4)),
            sh_dc=rng.normal(size=(90, 3)),
            sh_rest=np.zeros((90, 0, 3)),
        ),
    )
    return tmp_path / "object.ply"


@pytest.fixture
def version(store, bundles, lineage, trial):
    return store.register(bundles[0], NAME, lineage, trial)


def test_from_the_registry_and_from_a_pulled_folder_it_is_the_same(store, version, home, ply, tmp_path, monkeypatch):
    online = load(f"{NAME}@candidate", home=home)
    assert online.reference == f"{NAME}/1"
    assert (online.feature_dim, online.card) == (64, encoder_card(POINTS, POINT_BACKBONE))
    features = online.encode_ply(ply)
    assert features.shape == (1, 64)
    assert (load(f"models:/{NAME}/1", home=home).encode_ply(ply) == features).all()
    folder = pull(store, f"{NAME}/1", tmp_path / "pulled")
    for place in (folder, str(folder)):
        offline = load(place, home=tmp_path / "no registry here")
        assert (offline.encode_ply(ply) == features).all()
    assert not (tmp_path / "no registry here").exists()
    monkeypatch.setenv("SPLATSWEEP_HOME", str(home))
    assert load(f"{NAME}/1").reference == f"{NAME}/1"


def test_what_is_not_there_is_said(store, version, home, tmp_path):
    with pytest.raises(RegistryError, match=f"no registered encoder 'nothing'.*{NAME}"):
        load("nothing@champion", home=home)
    with pytest.raises(RegistryError, match="not a usable model name"):
        load("a/b@champion", home=home)
    with pytest.raises(RegistryError, match="no such folder, and no reference"):
        load(tmp_path / "nowhere")
    with pytest.raises(RegistryError, match="holds no encoder"):
        load(tmp_path / "home")
    with pytest.raises(RegistryError, match="leave one of them out"):
        load(f"{NAME}/1", name="other", home=home)


def test_one_of_several_in_a_folder_by_either_name(bundles, tmp_path):
    for i in range(2):
        shutil.copytree(bundles[i], tmp_path / "many" / f"points-{i}")
    make_bundle(tmp_path / "many" / "views", 0, "image")
    (tmp_path / "many" / "notes").mkdir()
    many = tmp_path / "many"
    assert list_bundles(many).keys() == {"points-0", "points-1", "views"}
    assert choose_bundle(many, "points-1") == many / "points-1"
    assert load(many, name="tiny-image").card.kind == "image_encoder"
    x = torch.rand(2, POINTS.num_points, 3)
    with torch.inference_mode():
        assert (load(many, name="points-1").encode(x) == load_bundle(bundles[1])(x).numpy()).all()
    with pytest.raises(RegistryError, match=r"holds 3 encoders; choose by name one of points-0 \(tiny-points\)"):
        load(many)
    with pytest.raises(RegistryError, match="2 encoders called 'tiny-points'"):
        load(many, name="tiny-points")
    with pytest.raises(RegistryError, match="no encoder called 'x'"):
        load(many, name="x")


@pytest.mark.parametrize("name", ["encoder.safetensors", "program.pt2", "encoder.json"])
def test_a_changed_byte_is_refused_offline_too(bundles, tmp_path, name):
    folder = Path(shutil.copytree(bundles[0], tmp_path / "pulled"))
    content = bytearray((folder / name).read_bytes())
    content[-20] ^= 1
    (folder / name).write_bytes(content)
    for use in (load, lambda place: pull_offline(place, tmp_path / "out")):
        with pytest.raises(RegistryError, match=name):
            use(folder)
    assert not (tmp_path / "out").exists()


def test_pulling_from_a_folder(bundles, tmp_path):
    folder = pull_offline(bundles[0], tmp_path / "deep" / "out")
    assert {file.name for file in folder.iterdir()} == {file.name for file in bundles[0].iterdir()}
    assert [file.name for file in folder.parent.iterdir()] == ["out"]
    with pytest.raises(RegistryError, match="not an empty folder"):
        pull_offline(bundles[1], folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        pull_offline(bundles[1], tmp_path / "file" / "below")
    (folder / "encoder.json").unlink()
    (folder / "encoder.json").symlink_to(bundles[0] / "encoder.json")
    with pytest.raises(IntegrityError, match="a link"):
        load(folder)


def test_prepared_input_of_any_precision_is_taken_and_no_device_is_an_error_that_says_so(bundles):
    encoder = load(bundles[0])
    prepared = np.random.default_rng(0).normal(size=(2, 64, 3))
    assert np.array_equal(encoder.encode(prepared), encoder.encode(prepared.astype(np.float32)))
    for text in ("x" * 5000, "x@" + "y" * 300, "a\0@b"):
        with pytest.raises(SplatsweepError):
            load(text)
    for device in ("cuda:99", "nonsense"):
        with pytest.raises(ConfigError, match="take device='cpu'"):
            load(bundles[0], device=device)


@pytest.mark.slow
def test_a_scene_field_is_registered_pulled_and_rendered(store, lineage, trial, home, tmp_path):
    card = FIELD
    save_bundle(card.build(2), card, tmp_path / "field", name="field", lineage={})
    version = store.register(tmp_path / "field", "toy-field", lineage, trial)
    assert (version.kind, version.feature_dim) == ("scene_field", FIELD.output_shape[0])
    folder = pull(store, version.reference, tmp_path / "pulled")
    camera = camera_of(card.example(1)[0], (card.width, card.height))
    with torch.no_grad():
        wanted = load_bundle(folder).draw(camera)
    for loaded in (load("toy-field@candidate", home=home), load(folder)):
        (drawn,) = loaded.render(camera)
        assert torch.equal(drawn.image, wanted.image)
        assert torch.equal(drawn.label, wanted.label)
        with pytest.raises(ConfigError, match="reads cameras, not Gaussians; use render"):
            loaded.encode_ply([])
    page = (folder / "model_card.md").read_text()
    assert "3D Gaussians" in page
    assert "views = model(cameras)" in page
