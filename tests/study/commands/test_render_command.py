"""`splatsweep render`: views of a scene field along a path, as files."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from ssl_core.models.bundle import load_bundle, save_bundle
from ssl_core.scenes.cameras import orbit_cameras
from ssl_core.scenes.scene_writers import write_transforms
from study.commands.cli import main
from tests.contracts.cards import FIELD, RECONSTRUCTOR


@pytest.fixture(scope="module")
def pulled(tmp_path_factory):
    """Folders of a scene field, which brings no cameras, and of another model."""
    folder = tmp_path_factory.mktemp("pulled")
    for name, card in (("field", FIELD), ("other", RECONSTRUCTOR)):
        save_bundle(card.build(1), card, folder / name, name=name, lineage={})
    return folder


@pytest.fixture
def ran(tmp_path, monkeypatch, capsys):
    """The command in this process; standard output, or the error's line."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["splatsweep", "render", *words])
        try:
            main()
        except SystemExit as left:
            if left.code:
                return capsys.readouterr().err
        return capsys.readouterr().out

    return run


def test_a_path_of_cameras_becomes_pictures_depth_labels_and_a_video(ran, pulled, tmp_path) -> None:
    cameras = orbit_cameras(3, 20, radius=1.0)
    write_transforms(tmp_path / "path.json", ["a.png", "b.png", "c.png"], cameras)
    told = json.loads(ran(str(pulled / "field"), "--path", "path.json", "--to", "out", "--ply", "--json"))
    assert (told["views"], told["classes"]) == (3, ["wall", "chair"])
    field = load_bundle(pulled / "field")
    for name, camera in zip("abc", cameras, strict=True):
        drawn = field.draw(camera)
        image = np.asarray(Image.open(tmp_path / f"out/rgb/{name}.png"))
        np.testing.assert_allclose(image / 255, drawn.image.detach().clamp(0, 1), atol=0.51 / 255)
        labels = np.asarray(Image.open(tmp_path / f"out/labels/{name}.png"))
        assert np.array_equal(labels, drawn.label)
        np.testing.assert_array_equal(np.load(tmp_path / f"out/depth/{name}.npy"), drawn.depth.detach())
        coloured = np.asarray(Image.open(tmp_path / f"out/labels_colour/{name}.png"))
        assert (coloured[labels == 255] == 0).all()
        if (labels == 0).any():
            assert (coloured[labels == 0] == FIELD.colours[0]).all()
    video = Image.open(tmp_path / "out/video.webp")
    assert (video.n_frames, video.size) == (3, (60, 20))
    assert (tmp_path / "out/field/field.ply").is_file()


def test_what_cannot_be_drawn_is_said_in_a_line(ran, pulled) -> None:
    for model, words, text in (
        ("field", (), "brings no cameras of its own"),
        ("other", (), "name a scene field"),
        ("field", ("--path", "nothing.json"), "no such camera file"),
    ):
        said = ran(str(pulled / model), "--to", "out", *words)
        assert text in said
        assert said.count("\n") == 1
