"""The inspection page: one file that asks nobody for anything, whatever the names say."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from camera_writers import Model, nerfstudio, write_json
from pack_folders import write_pack_folder
from typer.testing import CliRunner

from ssl_core.errors import CameraError, PackError
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.inspect.gaussian_facts import inspect_gaussians
from ssl_core.inspect.inspect_page import file_page, number, pack_page, scene_page
from ssl_core.inspect.pack_facts import describe_pack
from ssl_core.inspect.scene_facts import describe_scene
from ssl_core.inspect.thumbnails import MAX_DRAWN, cloud_of, cloud_pictures, most_visible, pack_thumbnails
from ssl_core.scenes.camera_files import read_scene
from ssl_core.scenes.cameras import orbit_cameras
from study.commands.cli import app
from study.commands.inspect_command import kind_of
from study.reports.console import printable

NASTY = "<script>alert(1)</script>\"'&\x1b[2J[/red]"
VOID = {"meta", "img", "br"}


class Checked(HTMLParser):
    """Tags that close, no script, no address but data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images = 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes) -> None:
        assert tag not in {"script", "link", "iframe", "object", "base"}
        for name, value in attributes:
            assert not name.startswith("on")
            assert name not in {"href", "srcset"}
            if name == "src":
                assert value.startswith(("data:image/webp;base64,", "data:image/svg+xml;base64,"))
                self.images += "webp" in value
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    sizes = {"chair": [300, 40, 1200], NASTY: [50, 700]}
    return write_pack_folder(tmp_path_factory.mktemp("packs") / "p", sizes, refused=((NASTY, NASTY),), side=16)


@pytest.fixture
def scene(tmp_path):
    cameras = orbit_cameras(6, 32)
    return write_json(tmp_path / "s/transforms.json", nerfstudio(cameras, [NASTY, *"bcdef"]))


def test_the_page_of_a_pack(pack):
    thumbnails = pack_thumbnails(pack, 2)
    assert [item.name.split("/")[0] for item in thumbnails] == ["chair"] * 2 + ["<script>alert(1)<"] * 2
    text = pack_page(describe_pack(pack), thumbnails)
    checked = Checked(text)
    assert checked.images == sum(len(item.views) + len(item.renders) for item in thumbnails) > 0
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    for expected in ("What fails which threshold", "alpha &gt; 0.574", "fewer than 2048", "Refused"):
        assert expected in text


def test_thumbnails_go_from_fewest_to_most_and_stay_within_bounds(pack, monkeypatch):
    two = [item for item in pack_thumbnails(pack, 2) if item.class_name == "chair"]
    assert [item.gaussians for item in two] == [40, 1200]
    assert [item.gaussians for item in pack_thumbnails(pack, 1)] == [300, 700]
    assert pack_thumbnails(pack, 0) == []
    assert len(pack_thumbnails(pack, 100)) == 5
    monkeypatch.setattr("ssl_core.inspect.thumbnails.MAX_OBJECTS", 2)
    assert len(pack_thumbnails(pack, 100)) == 2


def test_rows_become_the_cloud_they_were_made_of(make_cloud):
    from ssl_core.data.pack_arrays import rows_of

    cloud = make_cloud(20, 3)
    again = cloud_of(rows_of(cloud))
    for name in ("xyz", "opacity_logits", "log_scales", "quaternions", "sh_dc", "sh_rest"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cloud, name))


def test_the_page_of_a_file(make_cloud, tmp_path):
    path = tmp_path / "<b>a&b.ply"
    write_gaussian_ply(path, make_cloud(200, 2))
    pictures = cloud_pictures(make_cloud(200, 2), size=24)
    text = file_page(inspect_gaussians(path), pictures)
    assert Checked(text).images == 4
    assert "&lt;b&gt;a&amp;b.ply" in text
    Checked(file_page(inspect_gaussians(path)))


def test_the_page_of_a_scene(scene, tmp_path):
    found = read_scene(scene)
    text = scene_page(found, describe_scene(found), [("data:image/webp;base64,AAAA", NASTY)])
    assert Checked(text).images == 1
    model = read_scene(Model.of(orbit_cameras(3, 32), "abc", np.eye(3)).write_binary(tmp_path / "m"))
    Checked(scene_page(model, describe_scene(model)))


def test_a_huge_cloud_is_thinned_to_what_covers_most(make_cloud):
    cloud = make_cloud(50, 0)
    thin = most_visible(cloud, 10)
    assert len(thin) == 10
    assert most_visible(cloud) is cloud
    assert MAX_DRAWN < 10**6
    areas = np.sort(cloud.log_scales, axis=1)[:, 1:].sum(axis=1) + np.log(cloud.alphas())
    np.testing.assert_array_equal(thin.xyz, cloud.xyz[np.sort(np.argsort(areas)[-10:])])


def test_numbers_are_short():
    assert (number(1234), number(2e6), number(0.5)) == ("1.23k", "2M", "0.5")


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_tells_what_it_is_given(pack, scene, make_cloud, tmp_path):
    write_gaussian_ply(tmp_path / "a.ply", make_cloud(30, 0))
    for place, kind, key in (
        (pack.path, "pack", "survivors"),
        (scene, "scene", "looked_at"),
        (scene.parent, "scene", "image_sizes"),
        (tmp_path / "a.ply", "gaussians", "bounds"),
    ):
        assert kind_of(str(place)) == kind
        page = tmp_path / "out" / f"{kind}.html"
        made = CliRunner().invoke(app, ["inspect", str(place), "--json", "--html", str(page), "--thumbnails", "1"])
        assert made.exit_code == 0, made.output
        assert key in json.loads(made.stdout)
        Checked(page.read_text())
        plain = CliRunner().invoke(app, ["inspect", str(place)])
        assert plain.exit_code == 0
        assert "\x1b" not in plain.stdout
    assert kind_of("s3://bucket/pack") == "pack"


def test_folders_that_are_nothing(tmp_path):
    refused = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert isinstance(refused.exception, CameraError)
    assert "nor is it a pack" in str(refused.exception)
    (tmp_path / "gaussians.npy").write_bytes(b"")
    assert isinstance(CliRunner().invoke(app, ["inspect", str(tmp_path)]).exception, PackError)


def test_text_for_a_terminal_moves_no_cursor():
    assert printable("a\x1b[2J\n\x07b\udc80\u202e") == "a?[2J\n?b??"
