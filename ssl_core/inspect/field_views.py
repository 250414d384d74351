"""Drawn views of a scene field as files.

<to>/rgb/NAME.png             colours
<to>/depth/NAME.npy           float32 [H, W] along the camera's z axis, world units; 0 where nothing is
<to>/depth_colour/NAME.png    the same for people, near is bright
<to>/labels/NAME.png          ids of classes, 255 where nothing was seen; only of a field with classes
<to>/labels_colour/NAME.png   in the classes' colours
<to>/video.webp               all views in turn: colours, labels and depth side by side
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_core.errors import StorageError
from ssl_core.files.whole import REMEDY, storage_errors
from ssl_core.inspect.field_pictures import Pixels, as_pixels, coloured_depth, coloured_labels
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.gaussian_field import SEEN, FieldView

VIDEO = "video.webp"
"""Animated WebP: Pillow writes it, browsers show it, and no library of codecs is needed."""


def write_views(
    to: Path, names: Sequence[str], views: Iterable[FieldView], card: SceneFieldCard, *, fps: float
) -> float:
    """Write all views under their names, one at a time; the mean share of their pixels that something was seen in.

    Without classes no labels are written. Depth is coloured over the card's range.

    Raises StorageError.
    """
    frames, seen, colours, span = [], [], card.colours, card.depths
    with storage_errors(to):
        for name, view in zip(names, views, strict=True):
            image, depth = as_pixels(view.image.cpu().numpy()), view.depth.float().cpu().numpy()
            parts = {"rgb": image, "depth_colour": coloured_depth(depth, span)}
            if len(colours):
                labels = view.label.cpu().numpy()
                parts |= {"labels": labels, "labels_colour": coloured_labels(labels, colours)}
            for folder, pixels in parts.items():
                _write(to / folder / f"{name}.png", pixels)
            (to / "depth").mkdir(parents=True, exist_ok=True)
            np.save(to / "depth" / f"{name}.npy", depth)
            shown = [parts[part] for part in ("rgb", "labels_colour", "depth_colour") if part in parts]
            frames.append(Image.fromarray(np.concatenate(shown, axis=1)))
            seen.append(float((view.coverage >= SEEN).float().mean()))
    if len({frame.size for frame in frames}) == 1:
        _write_video(to / VIDEO, frames, fps)
    return float(np.mean(seen))


def _write(file: Path, pixels: Pixels) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def _write_video(file: Path, frames: Sequence[Image.Image], fps: float) -> None:
    try:
        frames[0].save(
            file, save_all=True, append_images=list(frames[1:]), duration=round(1000 / fps), loop=0, quality=85
        )
    except OSError as error:
        raise StorageError(f"{file}: cannot be written ({error}); {REMEDY}") from None
