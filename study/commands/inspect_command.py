"""Look inside: a file of Gaussians, a pack, or a scene's cameras."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from study.reports.console import console, print_json, printable

if TYPE_CHECKING:
    from ssl_core.data.object_pack import Pack
    from ssl_core.data.scene_pack import ScenePack
    from ssl_core.files.image_files import Pixels

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
Kind = Literal["pack", "scene", "gaussians"]

PICTURES = 12
"""Images of a scene that its page shows."""


@dataclass(frozen=True)
class Inspection:
    """What was found: facts for scripts, text for people, and how to make a page of both."""

    facts: dict[str, Any]
    text: str
    page: Callable[[int], str]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(inspect)


def inspect(
    path: Annotated[str, typer.Argument(help="a file of Gaussians, a pack, or camera files (a file or scene folder)")],
    html: Annotated[Path | None, typer.Option(help="also write one offline page with charts and pictures")] = None,
    thumbnails: Annotated[int, typer.Option(min=0, help="objects per class that the page shows")] = 3,
    json: Json = False,
) -> None:
    """Say what a file of Gaussians, a pack or a scene's cameras hold."""
    match kind_of(path):
        case "pack":
            found = _pack(path)
        case "scene":
            found = _scene(Path(path))
        case "gaussians":
            found = _gaussians(Path(path))
    if html is not None:
        from ssl_core.files.whole import atomic_write

        page = found.page(thumbnails).encode()
        with atomic_write(html) as stream:
            stream.write(page)
    # names in files are anybody's: no markup, nothing that moves the cursor
    if json:
        print_json(found.facts)
    else:
        console.print(printable(found.text), soft_wrap=True, markup=False, emoji=False)
        if html is not None:
            console.print(f"page at {printable(str(html))}", soft_wrap=True, markup=False)


def kind_of(path: str) -> Kind:
    """By what is there: an address or a folder with a manifest is a pack, other folders and camera files a scene."""
    from study.datasets.object_store import is_uri

    place = Path(path)
    # a pack without its manifest is half-written, and opening it says so
    if is_uri(path) or any((place / name).is_file() for name in ("manifest.json", "gaussians.npy")):
        return "pack"
    if place.is_dir() or place.suffix.lower() in (".json", ".bin", ".txt"):
        return "scene"
    return "gaussians"


def _pack(path: str) -> Inspection:
    from ssl_core.data.scene_pack import ScenePack
    from study.datasets.pack_storage import open_data

    match open_data(path):
        case ScenePack() as scene:
            return _scene_pack(scene)
        case objects:
            return _object_pack(objects)


def _object_pack(pack: "Pack") -> Inspection:
    from ssl_core.inspect.pack_facts import describe_pack, format_pack

    facts = describe_pack(pack)

    def page(thumbnails: int) -> str:
        from ssl_core.inspect.inspect_page import pack_page
        from ssl_core.inspect.thumbnails import pack_thumbnails

        return pack_page(facts, pack_thumbnails(pack, thumbnails))

    return Inspection(facts, format_pack(facts), page)


def _scene_pack(pack: "ScenePack") -> Inspection:
    from ssl_core.inspect.scene_facts import describe_scene_pack, format_scene_pack

    facts = describe_scene_pack(pack)

    def page(thumbnails: int) -> str:
        from ssl_core.inspect.inspect_page import scene_page

        shown = _spread(range(len(pack))) if thumbnails else ()
        return scene_page(pack.scene(), facts, [_picture(pack.image(i), pack.manifest.views[i].name) for i in shown])

    return Inspection(facts, format_scene_pack(facts), page)


def _spread(items: Sequence[T]) -> Sequence[T]:
    """At most PICTURES of them."""
    return items[:: max(1, len(items) // PICTURES)][:PICTURES]


def _picture(image: "Pixels", name: str) -> tuple[str, str]:
    from ssl_core.inspect.thumbnails import data_uri, shrunk

    return data_uri(shrunk(image, 160)), name


def _gaussians(path: Path) -> Inspection:
    from ssl_core.inspect.gaussian_facts import format_inspection, inspect_gaussians

    facts = inspect_gaussians(path)

    def page(thumbnails: int) -> str:
        from ssl_core.gaussians.gaussian_file import read_gaussians
        from ssl_core.inspect.inspect_page import file_page
        from ssl_core.inspect.thumbnails import cloud_pictures

        return file_page(facts, cloud_pictures(read_gaussians(path).cloud) if thumbnails else ())

    return Inspection(facts, format_inspection(facts), page)


def _scene(path: Path) -> Inspection:
    from ssl_core.inspect.scene_facts import describe_scene, format_scene
    from ssl_core.scenes.camera_files import read_scene
    from ssl_core.scenes.cameras import CameraScene

    scene = read_scene(path)
    facts = describe_scene(scene)

    def page(thumbnails: int) -> str:
        from ssl_core.inspect.inspect_page import scene_page

        return scene_page(scene, facts, _pictures(scene) if thumbnails else ())

    def _pictures(scene: CameraScene) -> list[tuple[str, str]]:
        from ssl_core.errors import ImageError
        from ssl_core.files.image_files import read_image

        pictures = []
        for view in _spread([view for view in scene.views if view.image is not None]):
            try:
                assert view.image is not None
                pictures.append(_picture(read_image(view.image), view.name))
            except ImageError:
                continue
        return pictures

    return Inspection(facts, format_scene(facts), page)
