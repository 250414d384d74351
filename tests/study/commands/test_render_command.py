"""`splatsweep render`: views of a scene field along a path, as files."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from ssl_core.models.bundle import load_bundle, save_bundle
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.scenes.cameras import orbit_cameras
from ssl_core.scenes.scene_writers import write_transforms
from study.commands.cli import main
from tests.contracts.cards import FIELD, RECONSTRUCTOR


@pytest.fixture
def ran(tmp_path, monkeypatch, capsys):
    """The command in this process; standard output, or the error's line. Programs, which take seconds, are not made."""
    monkeypatch.setattr("ssl_core.models.bundle.export_program", lambda module, card, file: file.touch())
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


def test_a_path_of_cameras_becomes_pictures_depth_labels_and_a_video(ran, tmp_path) -> None:
    save_bundle(FIELD.build(1), FIELD, tmp_path / "field", name="room", lineage={})
    cameras = orbit_cameras(3, 20, radius=1.0)
    write_transforms(tmp_path / "path.json", ["a.png", "b.png", "c.png"], cameras)
    told = json.loads(ran("field", "--path", "path.json", "--to", "out", "--ply", "--json"))
    assert (told["views"], told["classes"]) == (3, ["wall", "chair"])
    field = load_bundle(tmp_path / "field")
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


def test_what_cannot_be_drawn_is_said_in_a_line(ran, tmp_path) -> None:
    bare = SceneFieldCard(gaussians=5)
    save_bundle(bare.build(0), bare, tmp_path / "field", name="x", lineage={})
    save_bundle(RECONSTRUCTOR.build(0), RECONSTRUCTOR, tmp_path / "other", name="y", lineage={})
    for words, text in (
        (("field", "--to", "out"), "brings no cameras of its own"),
        (("other", "--to", "out"), "name a scene field"),
        (("field", "--to", "out", "--path", "nothing.json"), "no such camera file"),
    ):
        said = ran(*words)
        assert text in said
        assert said.count("\n") == 1
