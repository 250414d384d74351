"""A registered scene field drawn along a path of cameras."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from ssl_core.errors import ConfigError
from study.commands.options import Json
from study.reports.console import answer
from study.spec.home import home

FRAMES = 5000
"""More views are refused: the video is held in memory."""


def render(
    model: Annotated[str, typer.Argument(help="scene field: NAME@ALIAS, NAME/VERSION, or a folder with a pulled one")],
    to: Annotated[Path, typer.Option(help="folder for the views")],
    path: Annotated[
        Path | None,
        typer.Option(help="cameras.json, transforms.json or a COLMAP model; without, the cameras it was fitted with"),
    ] = None,
    fps: Annotated[float, typer.Option(min=0.1, max=100, help="views a second of the video")] = 10.0,
    ply: Annotated[bool, typer.Option("--ply", help="write the field itself, too: <to>/field with field.ply")] = False,
    json: Json = False,
) -> None:
    """Draw a scene field from each camera of a path: colours, depth, labels as ids and in colour, and a video."""
    from registry.pull import load
    from ssl_core.encode.field_files import write_field
    from ssl_core.inspect.field_views import VIDEO, write_views
    from ssl_core.models.gaussian_field import GaussianField, camera_of
    from ssl_core.scenes.camera_files import read_scene
    from ssl_core.training.config import choose_device

    given = None if path is None else read_scene(path)  # before a model is fetched
    loaded = load(model, home=home(), device=choose_device())
    field, card = loaded.module, loaded.card
    if not isinstance(field, GaussianField) or card.kind != "scene_field":
        raise ConfigError(
            f"{loaded.reference} {card.describe().does}; name a scene field (splatsweep models lists them)"
        )
    if given is None:
        sizes = field.get_buffer("sizes").tolist()
        cameras = [camera_of(v, (w, h)) for v, (w, h) in zip(field.get_buffer("cameras"), sizes, strict=True)]
        names = [f"{number:05d}" for number in range(len(cameras))]
        if not cameras:
            raise ConfigError(f"{loaded.reference} brings no cameras of its own; name some with --path")
    else:
        cameras, names = [view.camera for view in given.views], _file_names([view.name for view in given.views])
    if len(cameras) > FRAMES:
        raise ConfigError(f"{path}: {len(cameras):,} cameras; give a path of at most {FRAMES:,}")
    views = (view for camera in cameras for view in loaded.render(camera))
    seen = write_views(to, names, views, card, fps=fps)
    if ply:
        write_field(to / "field", field, card)
    facts = {"model": loaded.reference, "scene": card.scene, "views": len(cameras), "classes": list(card.classes),
             "seen": round(seen, 4), "to": str(to), "video": str(to / VIDEO)}  # fmt: skip
    text = (
        f"{len(cameras)} views of {card.scene or loaded.reference} in {to} ({100 * seen:.0f} % of pixels seen); {VIDEO}"
    )
    answer(json, facts, text)


def _file_names(views: Sequence[str]) -> list[str]:
    """The views' own names without folders and endings, or numbers where these are no names for files or not unique."""
    stems = [PurePosixPath(name).stem for name in views]
    plain = all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", stem) for stem in stems)
    return stems if plain and len(set(stems)) == len(stems) else [f"{number:05d}" for number in range(len(stems))]
