"""One image to a coloured cloud, by a registered reconstructor."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ssl_core.errors import ConfigError
from study.commands.options import Json
from study.reports.console import answer, aside
from study.spec.home import home


def reconstruct(
    images: Annotated[
        list[Path], typer.Argument(help="pictures of one object each, over black or with transparency; any size")
    ],
    model: Annotated[str, typer.Option(help="reconstructor: NAME@ALIAS, NAME/VERSION, or a folder with a pulled one")],
    to: Annotated[Path, typer.Option(help="folder for the clouds")],
    json: Json = False,
) -> None:
    """Turn pictures into coloured clouds: <name>.ply for any viewer, <name>_gaussians.ply for what draws splats."""
    from registry.pull import load
    from ssl_core.encode.model_inputs import has_own_background
    from ssl_core.encode.reconstructed_files import write_reconstruction
    from ssl_core.files.whole import storage_errors
    from ssl_core.training.config import choose_device

    _check_names(images)
    unmasked = [image for image in images if has_own_background(image)]
    loaded = load(model, home=home(), device=choose_device())
    clouds = loaded.reconstruct(images)
    with storage_errors(to):
        to.mkdir(parents=True, exist_ok=True)
    written = [write_reconstruction(to, image.stem, cloud) for image, cloud in zip(images, clouds, strict=True)]
    for image in unmasked:
        aside(
            f"{image}: has a background of its own, which is taken for part of the object; cut the object out and save "
            "it as PNG with transparency, or over black"
        )
    rows = [
        {"image": str(image), "points": str(points), "gaussians": str(gaussians), "own_background": image in unmasked}
        for image, (points, gaussians) in zip(images, written, strict=True)
    ]
    facts = {"model": loaded.reference, "num_points": clouds.shape[1], "clouds": rows}
    answer(json, facts, "\n".join(f"{row['points']}  {clouds.shape[1]} points; {row['gaussians']}" for row in rows))


def _check_names(images: Sequence[Path]) -> None:
    """Raises ConfigError: two clouds would be written to one file."""
    for stem, count in Counter(image.stem for image in images).items():
        if count > 1:
            raise ConfigError(f"{count} images are called '{stem}', as their clouds would be; give them one by one")
