"""Look inside: a file of Gaussians, a pack, or a scene's cameras."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from study.commands.options import DropBadRows, Json, SpzAxesOption
from study.reports.console import answer, say

if TYPE_CHECKING:
    from ssl_core.data.object_pack import Pack
    from ssl_core.data.scene_pack import ScenePack
    from ssl_core.files.image_files import Pixels
    from ssl_core.scenes.cameras import CameraScene

T = TypeVar("T")
Kind = Literal["pack", "scene", "gaussians"]
Found = tuple[dict[str, Any], str, Callable[[int], str]]
"""Facts for scripts, text for people, and what makes a page with so many thumbnails of both."""

PICTURES = 12
"""Images of a scene that its page shows."""


def inspect(
    path: Annotated[
        str, typer.Argument(help="Gaussians (a file, a .sog folder), a pack, or cameras (a file, a scene folder)")
    ],
    html: Annotated[Path | None, typer.Option(help="also write one offline page with charts and pictures")] = None,
    thumbnails: Annotated[int, typer.Option(min=0, help="objects per class that the page shows")] = 3,
    drop_bad_rows: DropBadRows = False,
    spz_axes: SpzAxesOption = None,
    json: Json = False,
) -> None:
    """Say what a file of Gaussians, a pack or a scene's cameras hold."""
    match kind_of(path):
        case "pack":
            facts, text, page = _pack(path)
        case "scene":
            facts, text, page = _scene(Path(path))
        case "gaussians":
            facts, text, page = _gaussians(Path(path), spz_axes, drop_bad_rows)
    if html is not None:
        from ssl_core.files.whole import atomic_write

        content = page(thumbnails).encode()
        with atomic_write(html) as stream:
            stream.write(content)
    answer(json, facts, text)
    if html is not None and not json:
        say(f"page at {html}")


def kind_of(path: str) -> Kind:
    """By what is there: an address or a folder with a manifest is a pack, other folders and camera files are a scene,
    but for an unbundled .sog."""
    from study.datasets.object_store import is_uri

    place = Path(path)
    # a pack without its manifest is half-written, and opening it says so
    if is_uri(path) or any((place / name).is_file() for name in ("manifest.json", "gaussians.npy")):
        return "pack"
    if place.name == "meta.json":
        return "gaussians"
    if (place / "meta.json").is_file() and any((place / f"means_l.{kind}").is_file() for kind in ("webp", "png")):
        return "gaussians"
    if place.is_dir() or place.suffix.lower() in (".json", ".bin", ".txt"):
        return "scene"
    return "gaussians"


def _pack(path: str) -> Found:
    from ssl_core.data.scene_pack import ScenePack
    from study.datasets.pack_storage import open_data

    opened = open_data(path)
    return _scene_pack(opened) if isinstance(opened, ScenePack) else _object_pack(opened)


def _object_pack(pack: "Pack") -> Found:
    from ssl_core.inspect.pack_facts import describe_pack, format_pack

    facts = describe_pack(pack)

    def page(thumbnails: int) -> str:
        from ssl_core.inspect.inspect_page import pack_page
        from ssl_core.inspect.thumbnails import pack_thumbnails

        return pack_page(facts, pack_thumbnails(pack, thumbnails))

    return facts, format_pack(facts), page


def _scene_pack(pack: "ScenePack") -> Found:
    from ssl_core.inspect.scene_facts import describe_scene_pack, format_scene_pack

    facts = describe_scene_pack(pack)

    def page(thumbnails: int) -> str:
        from ssl_core.inspect.scene_pictures import view_pictures

        pictures = (each for i in _spread(range(len(pack))) for each in view_pictures(pack, i))
        return _scene_page(pack.cameras_of(), facts, pictures, thumbnails)

    return facts, format_scene_pack(facts), page


def _scene(path: Path) -> Found:
    from ssl_core.inspect.scene_facts import describe_scene, format_scene
    from ssl_core.scenes.camera_files import read_scene

    scene = read_scene(path)
    facts = describe_scene(scene)
    return facts, format_scene(facts), lambda thumbnails: _scene_page(scene, facts, _pictures(scene), thumbnails)


def _pictures(scene: "CameraScene") -> "Iterator[tuple[Pixels, str]]":
    """Of some of its views; those that cannot be read are left out."""
    from contextlib import suppress

    from ssl_core.errors import ImageError
    from ssl_core.files.image_files import read_image

    for image, name in _spread([(view.image, view.name) for view in scene.views if view.image is not None]):
        with suppress(ImageError):
            yield read_image(image), name


def _scene_page(
    scene: "CameraScene", facts: dict[str, Any], pictures: "Iterator[tuple[Pixels, str]]", thumbnails: int
) -> str:
    from ssl_core.inspect.inspect_page import scene_page
    from ssl_core.inspect.thumbnails import data_uri, shrunk

    shown = [(data_uri(shrunk(image, 160)), name) for image, name in pictures] if thumbnails else []
    return scene_page(scene, facts, shown)


def _spread(items: Sequence[T]) -> Sequence[T]:
    """At most PICTURES of them."""
    return items[:: max(1, len(items) // PICTURES)][:PICTURES]


def _gaussians(path: Path, spz_axes: str | None, drop_bad_rows: bool) -> Found:
    from ssl_core.gaussians.formats.spz_axes import checked_axes
    from ssl_core.inspect.gaussian_facts import format_inspection, inspect_gaussians

    axes = checked_axes(spz_axes)
    facts = inspect_gaussians(path, spz_axes=axes, drop_bad_rows=drop_bad_rows)

    def page(thumbnails: int) -> str:
        from ssl_core.clouds.points_file import read_points
        from ssl_core.inspect.inspect_page import file_page
        from ssl_core.inspect.thumbnails import cloud_pictures

        cloud = read_points(path, spz_axes=axes, drop_bad_rows=drop_bad_rows).cloud if thumbnails else None
        return file_page(facts, () if cloud is None else cloud_pictures(cloud))

    return facts, format_inspection(facts), page
