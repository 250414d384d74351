"""The novel-view task: a scene field draws the test views of a scene, beside the same network untrained.

What decides is the negated mean squared error of each test view's colours, where the scene's masks let them count;
people see it as PSNR. A field that learnt nothing is its own baseline: the mean of untrained networks.
"""

import io
import json
import time
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import short_digest
from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.report import (
    Measurement,
    Report,
    Scores,
    Steps,
    TaskConfig,
    beside,
    markdown_table,
    psnr,
)
from ssl_core.evaluation.statistics import bootstrap_mean
from ssl_core.evaluation.task_contract import Context, Evaluation
from ssl_core.models.cards import SceneFieldCard
from ssl_core.models.modes import device_of, evaluating
from ssl_core.scenes.cameras import Camera

UNTRAINED = "untrained twin"
_RAYS = 2**16
"""in a batch"""
_SHOWN = 6
"""views in the picture"""
_LEAST_SPREAD = 1e-3
"""of colours over all test views, in [0, 1]: below it the field is constant"""


class NovelViewConfig(TaskConfig):
    """What is asked of a scene field."""

    protocol: Literal["1"] = Field(default="1", description="version of the rules")
    twin_seeds: tuple[int, ...] = Field(default=(0, 1, 2), description="of the untrained networks")
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)

    @property
    def deciding_key(self) -> str:
        """The rules; untrained networks play no part between two trained ones."""
        return short_digest(json.dumps(["novel view", self.protocol]))

    def covers(self, other: TaskConfig) -> bool:
        return self == other

    def not_measured(self) -> tuple[str, ...]:
        return ()


class NovelViewReport(Report):
    """The answer: colours of the test views, drawn from their cameras."""

    kind: Literal["scene_field"] = "scene_field"
    config: NovelViewConfig
    baseline_name: str = UNTRAINED
    view_names: tuple[str, ...]

    @property
    def headline_text(self) -> str:
        """For example `PSNR 21.30 dB over 8 test views (untrained twin 9.81)`."""
        if self.deciding is None:
            return "no result: colours hold NaN or infinity"
        text = f"PSNR {psnr(-self.deciding.mean):.2f} dB over {len(self.view_names)} test views"
        return text if self.baseline is None else f"{text} ({self.baseline_name} {psnr(-self.baseline.mean):.2f})"

    def overview(self) -> list[dict[str, Any]]:
        mine = self.deciding.values[0] if self.deciding is not None else ()
        twin = self.baseline.values[0] if self.baseline is not None else [None] * len(mine)
        return [
            {
                "view": name,
                "PSNR": f"{psnr(-value):.2f}",
                self.baseline_name: "-" if other is None else f"{psnr(-other):.2f}",
            }
            for name, value, other in zip(self.view_names, mine, twin, strict=False)
        ]

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        if self.deciding is not None:
            found |= {"novel_view/mse": -self.deciding.mean, "novel_view/psnr": psnr(-self.deciding.mean)}
        if self.baseline is not None:
            found["novel_view/psnr/twin"] = psnr(-self.baseline.mean)
        return found

    def markdown(self) -> str:
        text = (
            f"Colours of {len(self.view_names)} test views of pack `{self.data_digest}`, protocol "
            f"{self.config.protocol}. PSNR in dB; an {self.baseline_name} is the same network with random weights "
            f"({len(self.config.twin_seeds)} of them)."
        )
        rows = [list(map(str, row.values())) for row in self.overview()]
        return f"{text}\n\n{markdown_table(('view', 'PSNR', self.baseline_name), rows)}"

    def paired(self) -> tuple[tuple[Measurement, Scores], ...]:
        if self.deciding is None:
            return ()
        value = bootstrap_mean(self.deciding.values[0], confidence=self.config.confidence)
        return ((Measurement(key="novel_view", label="colours of test views", value=value, main=True), self.deciding),)


def evaluate_field(
    field: nn.Module, card: SceneFieldCard, pack: ScenePack, config: NovelViewConfig, context: Context = Context()
) -> Evaluation[NovelViewReport]:
    """Draw every test view with the field and with its untrained twins.

    Raises InfeasibleError: the pack has no test views.
    """
    start = time.perf_counter()
    views = pack.views("test")
    if len(views) == 0:
        raise InfeasibleError(f"pack {pack.path} has no test views; pack the scene with some held out")
    steps = Steps(context.title, (1 + len(config.twin_seeds)) * len(views), context.tell)
    with steps.block("test views", len(views)):
        errors, drawn = _errors(field, pack, views, steps)
    device, twins = device_of(field), []
    for seed in config.twin_seeds:
        with steps.block("test views of untrained twins", len(views)):
            twins.append(_errors(card.build(seed).to(device), pack, views, steps)[0])
    finite = bool(np.isfinite(errors).all())
    spread = float(np.concatenate([picture.reshape(-1, 3) for picture in drawn]).std(axis=0).max()) if finite else 0.0
    untrained = _scores(np.mean(twins, axis=0)) if finite and twins else None
    report = NovelViewReport(
        data_digest=pack.digest,
        config=config,
        view_names=tuple(pack.manifest.views[index].name for index in views),
        deciding=_scores(errors) if finite else None,
        baseline=untrained,
        baselines=beside(_scores(errors).values, {UNTRAINED: untrained.values}, config.confidence) if untrained else {},
        defects=_defects(finite, spread),
        seconds=round(time.perf_counter() - start, 3),
    )
    pictures = {"views.png": _views_png(pack, views[:_SHOWN], drawn[:_SHOWN])} if finite else {}
    return Evaluation(report, pictures)


def camera_rays(camera: Camera) -> Tensor:
    """[H * W, 6] float32 origin and unit direction in the world's coordinates, of pixel centres row by row."""
    v, u = np.mgrid[: camera.height, : camera.width].reshape(2, -1) + 0.5
    inside = np.stack([u, v, np.ones_like(u)])  # [3, H * W]
    directions = camera.viewmat[:3, :3].T @ np.linalg.solve(camera.K, inside)
    directions /= np.linalg.norm(directions, axis=0)
    origins = np.broadcast_to(camera.position[:, None], directions.shape)
    return torch.from_numpy(np.concatenate([origins, directions]).T.astype(np.float32))


def _errors(
    field: nn.Module, pack: ScenePack, views: NDArray[np.int64], steps: Steps
) -> tuple[NDArray[np.float64], list[NDArray[np.float32]]]:
    """[views] mean squared errors of colours, and the pictures drawn, [H, W, 3] in [0, 1] each."""
    errors, drawn = np.zeros(len(views)), []
    with evaluating(field):
        for place, index in enumerate(views.tolist()):
            rays = camera_rays(pack.camera(index)).split(_RAYS)
            colours = torch.cat([field(some.to(device_of(field))).float().cpu() for some in rays]).numpy()
            truth, mask = pack.image(index), pack.mask(index)
            drawn.append(colours.reshape(truth.shape))
            weights = np.ones(truth.shape[:2]) if mask is None else mask / 255.0
            squared = ((drawn[-1].astype(np.float64) - truth / 255.0) ** 2).mean(axis=2)
            errors[place] = (squared * weights).sum() / max(weights.sum(), 1e-12)
            steps.step()
    return errors, drawn


def _scores(errors: NDArray[np.float64]) -> Scores:
    values = tuple(np.round(-errors, 8).tolist())
    return Scores(name="colours of test views", unit="test views", values=(values,), measure="squared error")


def _defects(finite: bool, spread: float) -> tuple[str, ...]:
    if not finite:
        return ("collapsed: colours hold NaN or infinity",)
    if spread < _LEAST_SPREAD:
        return (
            f"collapsed: all rays have nearly one colour (spread {spread:.1e}, at least {_LEAST_SPREAD:g} is asked)",
        )
    return ()


def _views_png(pack: ScenePack, views: NDArray[np.int64], drawn: list[NDArray[np.float32]]) -> bytes:
    """Stored views above, drawn ones below, at most 256 pixels high."""
    columns = []
    for index, picture in zip(views.tolist(), drawn, strict=True):
        both = np.concatenate([pack.image(index), (picture * 255).round().clip(0, 255).astype(np.uint8)])
        step = max(1, len(both) // 512)
        columns.append(both[::step, ::step])
    height = max(len(column) for column in columns)
    padded = [np.pad(column, ((0, height - len(column)), (0, 4), (0, 0)), constant_values=255) for column in columns]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(padded, axis=1)).save(buffer, "png")
    return buffer.getvalue()
