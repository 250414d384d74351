"""Cameras by COLMAP: a program of that name is called step by step, and what it says is passed on.

A script stands in for COLMAP, which is no Python package; it checks what it is asked and writes a model.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_core.errors import CameraError, LayoutError, MissingDependencyError
from ssl_core.scenes.camera_files import read_scene
from ssl_core.scenes.structure_from_motion import Reconstruction, reconstruct_cameras
from tests.ssl_core.camera_writers import CAMERAS, Model

SCRIPT = """#!/bin/sh
step=$1; shift
if [ "$1" = -h ]; then
    case $step in *extractor) name=Extraction;; *) name=Matching;; esac
    echo "  --Sift$name.use_gpu arg (=1)"
    exit
fi
echo "$step $*" >> {folder}/calls
if [ "$step" = "$FAILS" ]; then echo "E1234 No good initial image pair found."; exit 3; fi
while [ $# -gt 0 ]; do
    case $1 in --output_path) out=$2;; --input_path) model=$2;; --image_path) images=$2;; esac
    shift 2
done
case $step in
mapper) [ -n "$NOTHING" ] || cp -r {folder}/model "$out/0";;
image_undistorter) mkdir -p "$out" && cp -r "$model" "$out/sparse" && cp -r "$images" "$out/images";;
esac
"""


@pytest.fixture
def asked(tmp_path, monkeypatch) -> Reconstruction:
    names = [f"{i}.png" for i in range(len(CAMERAS))]
    Model.of(CAMERAS, names, np.zeros((3, 3))).write_binary(tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for name in names:
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "photos" / name)
    program = tmp_path / "bin/colmap"
    program.parent.mkdir()
    program.write_text(SCRIPT.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(shutil, "which", lambda name, which=shutil.which: None if name == "nvidia-smi" else which(name))
    return Reconstruction(tmp_path / "photos", tmp_path / "scene")


def test_the_steps_leave_a_scene_and_are_not_done_twice(asked, tmp_path):
    scene = read_scene(reconstruct_cameras(asked))
    assert len(scene.views) == 5
    assert all(view.image is not None for view in scene.views)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == [
        "feature_extractor", "exhaustive_matcher", "mapper", "image_undistorter",
    ]  # fmt: skip
    assert "--SiftExtraction.use_gpu 0" in calls[0]
    assert "--ImageReader.camera_model OPENCV" in calls[0]
    assert "--SiftMatching.use_gpu 0" in calls[1]
    reconstruct_cameras(asked)
    assert (tmp_path / "calls").read_text().splitlines() == calls


def test_a_step_that_fails_shows_its_words_and_may_be_tried_again(asked, monkeypatch):
    monkeypatch.setenv("FAILS", "mapper")
    with pytest.raises(CameraError, match=r"colmap mapper ended with 3: .*No good initial image pair"):
        reconstruct_cameras(asked)
    monkeypatch.delenv("FAILS")
    monkeypatch.setenv("NOTHING", "1")
    with pytest.raises(CameraError, match="COLMAP registered no pictures"):
        reconstruct_cameras(asked)
    monkeypatch.delenv("NOTHING")
    assert (reconstruct_cameras(asked) / "sparse/0/cameras.bin").is_file()


def test_without_the_program_it_says_how_to_install_it(asked, tmp_path):
    with pytest.raises(MissingDependencyError, match=r"COLMAP \(colmap-9\) is not installed; install it: `apt"):
        reconstruct_cameras(Reconstruction(asked.images, asked.out, colmap="colmap-9"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="holds 0 pictures"):
        reconstruct_cameras(Reconstruction(tmp_path / "empty", tmp_path / "other"))
    with pytest.raises(LayoutError, match="exists and is no unfinished reconstruction"):
        reconstruct_cameras(Reconstruction(asked.images, Path(tmp_path)))
