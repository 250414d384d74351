"""The stage `lift`: features of every training and validation scene, rendered into its views at the network's tokens.

    views.npy       [V] int64, indices into the pack, scene by scene
    targets.npy     [V, D, h, w] float16
    weights.npy     [V, h, w] float32 in [0, 1], how much of a token Gaussians cover; 0: it has no target
    scene_003.safetensors   Gaussians and features of a scene
    facts.json      pack, card of the network, seconds of each scene

Test scenes are not looked at. Trials map the targets.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.config import Config
from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import ConfigError, DivergedError
from ssl_core.evaluation.dense_data import scene_of, token_maps, views_of
from ssl_core.models.dense_sources import DenseSource
from ssl_core.recipes.fit3d.config import Fit3dConfig, LiftConfig, ViewsConfig
from ssl_core.recipes.fit3d.original_network import original_network
from ssl_core.recipes.fit3d.scene_lift import LiftedScene, SceneViews, lifted
from ssl_core.training.contract import Stage
from ssl_core.training.stage_progress import tell_stage


class LiftStageSettings(Config):
    """What decides the targets."""

    backbone: DenseSource
    views: ViewsConfig
    lift: LiftConfig


def _settings(config: Fit3dConfig) -> LiftStageSettings:
    return LiftStageSettings(backbone=config.backbone, views=config.views, lift=config.lift)


def _make(config: Fit3dConfig, pack: ScenePack, folder: Path, device: torch.device) -> None:
    root = folder.parent
    original, card = original_network(config.backbone, pack, config.views.side, root, device)
    wanted = lift_views(pack)
    scenes, seconds = list(dict.fromkeys(scene_of(pack, wanted).tolist())), list[float]()
    found: dict[int, LiftedScene] = {}
    for scene in scenes if config.lift.target != "identity" else ():
        tell_stage(len(found), len(scenes), "scenes")
        began = time.perf_counter()
        views = pack.views("train", scene) if len(pack.scenes) == 1 else pack.views(scene=scene)
        tokens = token_maps(original, pack, views, (card.height, card.width)).original.to(device)
        found[scene] = lifted(SceneViews(pack, scene, views, tokens), config.lift, root)
        safetensors.torch.save_file(found[scene].tensors(), folder / f"scene_{scene:03d}.safetensors")
        seconds.append(round(time.perf_counter() - began, 3))
    identity = token_maps(original, pack, wanted, (card.height, card.width)).original
    targets, weights = identity, torch.ones(len(wanted), *identity.shape[2:])
    if found:
        sources = [(view, found[_source_of(pack, view, scenes, config)]) for view in wanted.tolist()]
        shown = [_shown(pack, view, source, identity) for view, source in sources]
        targets, weights = (torch.stack(parts) for parts in zip(*shown, strict=True))
    if not bool(torch.isfinite(targets).all()):
        raise DivergedError("lifted features are not finite; lower the rates of lift.geometry")
    np.save(folder / "views.npy", wanted)
    np.save(folder / "targets.npy", targets.half().numpy())
    np.save(folder / "weights.npy", weights.numpy())
    facts = {"pack": pack.digest, "card": json.loads(card.to_json()), "seconds": seconds}
    (folder / "facts.json").write_text(json.dumps(facts))


def lift_views(pack: ScenePack) -> NDArray[np.int64]:
    """Views that have targets: those of training, then those of validation scenes."""
    return np.concatenate((views_of(pack, "train"), views_of(pack, "val")))


def _source_of(pack: ScenePack, view: int, scenes: list[int], config: Fit3dConfig) -> int:
    """Whose Gaussians a view is shown: its own scene's, or, as a control, the next one's."""
    own = pack.manifest.views[view].scene
    return own if config.lift.target == "lift" else scenes[(scenes.index(own) + 1) % len(scenes)]


def _shown(pack: ScenePack, view: int, source: LiftedScene, tokens: Tensor) -> tuple[Tensor, Tensor]:
    target, weight = source.target(pack.camera(view), (tokens.shape[2], tokens.shape[3]))
    return target.float().cpu(), weight.float().cpu()


LIFT: Stage[Fit3dConfig, ScenePack] = Stage("lift", _settings, _make)


@dataclass(frozen=True)
class LiftTargets:
    """The stage's arrays, mapped."""

    views: NDArray[np.int64]
    targets: NDArray[np.float16]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, folder: Path, pack: ScenePack) -> "LiftTargets":
        """Open a made stage. Raises ConfigError: it is another pack's."""
        facts = json.loads((folder / "facts.json").read_text())
        if facts["pack"] != pack.digest:
            raise ConfigError(f"{folder} was made of pack {facts['pack']}, not {pack.digest}; give it its own stage")
        views = np.load(folder / "views.npy")
        return cls(views, *(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("targets", "weights")))

    def of_views(self, views: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Targets [n, D, h, w] and weights [n, h, w] of some of the views."""
        place = {view: row for row, view in enumerate(self.views.tolist())}
        rows = np.array([place[view] for view in views.tolist()], dtype=np.int64)
        targets, weights = np.array(self.targets[rows], dtype=np.float32), np.array(self.weights[rows])
        return torch.from_numpy(targets), torch.from_numpy(weights)
