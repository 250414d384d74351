"""A scene field as files that other tools read: its Gaussians with their channels, its classes, its cameras.

field.ply              INRIA's 62 properties, then label_0 ... of scores, or feature_0 ... of features
decoder.safetensors    of features: weight [D, d] and bias [D] of the layer that decodes them, embeddings [C, D]
classes.json           names and colours in the order of the scores; how scores come of channels; the teacher
transforms.json        cameras that it was fitted with, each with its lens (nerfstudio's layout)
"""

import json
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from ssl_core.files.whole import whole_folder
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.gaussian_field import GaussianField, camera_of

FIELD, DECODER, CLASSES, CAMERAS = "field.ply", "decoder.safetensors", "classes.json", "transforms.json"


def write_field(folder: Path, field: GaussianField, card: SceneFieldCard) -> None:
    """Write the files into `folder`, whole or not at all. Raises PlyError, StorageError."""
    arrays = {name: value.detach().cpu() for name, value in field.state_dict().items()}
    sh = arrays["sh"].numpy()
    cloud = GaussianCloud(
        xyz=arrays["xyz"].numpy(),
        opacity_logits=arrays["opacity_logits"].numpy(),
        log_scales=arrays["log_scales"].numpy(),
        quaternions=arrays["quaternions"].numpy(),
        sh_dc=sh[:, 0],
        sh_rest=sh[:, 1:],
    )
    with whole_folder(folder, sole_writer=False) as new:
        prefix = "feature" if card.embedding else "label"
        write_gaussian_ply(new / FIELD, cloud, prefix=prefix, channels=arrays["channels"].numpy())
        if card.embedding:
            kept = {name: arrays[f"decoder.{name}"] for name in ("weight", "bias") if card.decodes}
            save_file({**kept, "embeddings": arrays["embeddings"].contiguous()}, new / DECODER)
        (new / CLASSES).write_text(json.dumps(_classes(card), indent=1) + "\n", encoding="utf-8")
        (new / CAMERAS).write_text(json.dumps(_cameras(field), indent=1) + "\n", encoding="utf-8")


def _classes(card: SceneFieldCard) -> dict[str, object]:
    named = zip(card.classes, card.colours.tolist(), strict=True)
    return {
        "scene": card.scene,
        "teacher": card.teacher,
        "activation": card.activation,
        "divided_by_coverage": card.normalised,
        "classes": [{"name": name, "id": i, "colour": colour} for i, (name, colour) in enumerate(named)],
    }


def _cameras(field: GaussianField) -> dict[str, object]:
    frames = []
    sizes = field.get_buffer("sizes").tolist()
    for number, (vector, (width, height)) in enumerate(zip(field.get_buffer("cameras"), sizes, strict=True)):
        camera = camera_of(vector, (width, height))
        pose = np.linalg.inv(camera.viewmat)
        pose[:, 1:3] *= -1  # OpenGL's camera: y up, looking along -z
        K = camera.K
        lens = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "w": width, "h": height}
        frames.append({"file_path": f"images/{number:05d}.png", **lens, "transform_matrix": pose.tolist()})
    return {"camera_model": "PINHOLE", "frames": frames}
