"""What is asked of a scene field, and what is answered: labels and colours of the test views of its scene."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ssl_core.config import Config, short_digest
from ssl_core.evaluation.report import (
    Measurement,
    Report,
    Scores,
    Table,
    TaskConfig,
    markdown_table,
    psnr,
    scale_of,
)
from ssl_core.evaluation.statistics import bootstrap_mean

MODEL, TEACHER, UNTRAINED = "this model", "teacher", "untrained field"
Against = Literal["true labels", "labels of the teacher", "colours"]
"""What decides is measured against: the pack's labels; where it has none, what the teacher says of the same views;
colours alone where neither is there."""
NAMES: Mapping[Against, str] = {
    "true labels": "mIoU of test views",
    "labels of the teacher": "agreement with the teacher on test views (mIoU)",
    "colours": "colours of test views",
}


class SceneFieldConfig(TaskConfig):
    """What is asked of a scene field."""

    protocol: Literal["2"] = Field(default="2", description="version of the rules; 1 was of colours alone")
    twin_seeds: tuple[int, ...] = Field(default=(0, 1, 2), description="of the untrained fields")
    shown: int = Field(default=6, ge=0, description="test views in the picture")
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)

    @property
    def deciding_key(self) -> str:
        """The rules; untrained fields play no part between two trained ones."""
        return short_digest(json.dumps(["scene field", self.protocol]))

    def covers(self, other: TaskConfig) -> bool:
        return self == other

    def not_measured(self) -> tuple[str, ...]:
        return ()


class LabelRow(Config):
    """Label maps of all test views against the reference; NaN nowhere: what cannot be said is None.

    miou, precision, recall: means over the classes that the reference has. image_miou: the mean over views of what
    Label-3DGS ships, the mean over classes that either map of the view has. void: share of pixels without a label.
    """

    name: str
    miou: float
    accuracy: float
    precision: float | None
    recall: float
    image_miou: float
    void: float


class LabelClassRow(Config):
    """One class over all test views; None where there is nothing to divide by."""

    class_name: str
    pixels: int
    iou: float | None
    precision: float | None
    recall: float | None
    teacher_iou: float | None


class SceneFieldReport(Report):
    """The answer. `views` are the test views of `scene`, in the order of the scores."""

    kind: Literal["scene_field"] = "scene_field"
    config: SceneFieldConfig
    baseline_name: str = UNTRAINED
    scene: str
    against: Against
    view_names: tuple[str, ...]
    rows: tuple[LabelRow, ...] = ()
    classes: tuple[LabelClassRow, ...] = ()
    agreement: float | None = None
    """dataset-level mIoU against the teacher's labels of the test views, where these are known"""
    colours: Scores | None = None
    """negated squared errors of all test views"""
    ssim: float | None = None
    gaussians: int
    bytes_per_gaussian: float
    """of the exported .ply, and of the decoder where there is one"""
    seconds_per_view: float
    geometry_from_labels: bool
    """False: labels moved no Gaussian, so PSNR and SSIM are those of plain 3DGS"""

    @property
    def headline_text(self) -> str:
        """For example `mIoU 71.2 % over 8 test views (teacher 55.0 %), PSNR 24.10 dB`."""
        if self.deciding is None or self.colours is None:
            return "no result: views hold NaN or infinity"
        seen = f"PSNR {psnr(-self.colours.mean):.2f} dB"
        views = f"over {len(self.deciding.values[0])} test views"
        if self.against == "colours":
            other = "" if self.baseline is None else f" ({self.baseline_name} {psnr(-self.baseline.mean):.2f})"
            return f"{seen} {views}{other}"
        word = "mIoU" if self.against == "true labels" else "agreement with the teacher"
        others = [f"{row.name} {100 * row.miou:.1f} %" for row in self.rows[1:]]
        return f"{word} {100 * self.rows[0].miou:.1f} % {views} ({', '.join(others)}), {seen}"

    def overview(self) -> list[dict[str, Any]]:
        if self.deciding is None or self.colours is None:
            return []
        number = scale_of(self.deciding.measure).number
        rows: list[dict[str, Any]] = []
        for place, name in enumerate(self.view_names):
            row: dict[str, Any] = {"view": name, "PSNR": f"{psnr(-self.colours.values[0][place]):.2f}"}
            if self.against != "colours":
                row["mIoU"] = number(self.deciding.values[0][place])
            if self.baseline is not None:
                theirs = self.baseline.values[0][place]
                row[self.baseline_name] = f"{psnr(-theirs):.2f}" if self.against == "colours" else number(theirs)
            rows.append(row)
        return rows

    def tables(self) -> list[Table]:
        found: list[Table] = []
        if self.rows:
            heads = ("labels of", "mIoU", "accuracy", "precision", "recall", "per-image mIoU", "void")
            cells = [
                [row.name, *(_percent(getattr(row, key)) for key in ("miou", "accuracy", "precision", "recall",
                                                                     "image_miou", "void"))]
                for row in self.rows
            ]  # fmt: skip
            found.append((f"Labels of the test views against {self._reference}, %", heads, cells))
        if self.classes:
            by_class = ("class", "pixels", "IoU", "precision", "recall", "IoU of its teacher")
            cells = [
                [row.class_name, f"{row.pixels:,}", _percent(row.iou), _percent(row.precision), _percent(row.recall),
                 _percent(row.teacher_iou)]
                for row in self.classes
            ]  # fmt: skip
            found.append(("By class, %", by_class, cells))
        found.append(("The field", ("", "value"), [[name, value] for name, value in self._facts()]))
        return found

    def metrics(self) -> dict[str, float]:
        found = {
            "gaussians": float(self.gaussians),
            "bytes_per_gaussian": self.bytes_per_gaussian,
            "seconds_per_view": self.seconds_per_view,
        }
        if self.colours is not None:
            found |= {"mse": -self.colours.mean, "psnr": psnr(-self.colours.mean)}
        if self.ssim is not None:
            found["ssim"] = self.ssim
        if self.agreement is not None:
            found["agreement"] = self.agreement
        if self.against == "colours" and self.baseline is not None:
            found["psnr/untrained"] = psnr(-self.baseline.mean)
        places = {MODEL: "", TEACHER: "/teacher", UNTRAINED: "/untrained"}
        for row in self.rows if self.against == "true labels" else self.rows[1:]:
            found |= {
                f"{key}{places[row.name]}": value
                for key in ("miou", "accuracy", "precision", "recall", "image_miou", "void")
                if (value := getattr(row, key)) is not None
            }
        return {f"scene_field/{name}": value for name, value in found.items()}

    def markdown(self) -> str:
        text = (
            f"Test views of scene `{self.scene}` of pack `{self.data_digest}`, protocol {self.config.protocol}. "
            f"What decides: {NAMES[self.against]}, view by view."
        )
        parts = [text]
        if overview := self.overview():
            parts.append(markdown_table(tuple(overview[0]), [list(map(str, row.values())) for row in overview]))
        parts += [f"{title}\n\n{markdown_table(heads, cells)}" for title, heads, cells in self.tables()]
        return "\n\n".join(parts)

    def paired(self) -> tuple[tuple[Measurement, Scores], ...]:
        if self.deciding is None or self.colours is None:
            return ()
        found = [(self._measurement("scene_field", self.deciding), self.deciding)]
        if self.against != "colours" and self.colours.shape == self.deciding.shape:
            found.append((self._measurement("scene_field/colours", self.colours), self.colours))
        return tuple(found)

    def _measurement(self, key: str, scores: Scores) -> Measurement:
        value = bootstrap_mean(np.array(scores.values[0]), confidence=self.config.confidence)
        return Measurement(key=key, label=scores.name, value=value, main=True)

    @property
    def _reference(self) -> str:
        return "the pack's" if self.against == "true labels" else "the teacher's"

    def _facts(self) -> list[tuple[str, str]]:
        facts = [("Gaussians", f"{self.gaussians:,}"), ("bytes per Gaussian", f"{self.bytes_per_gaussian:.1f}")]
        if self.colours is not None and self.ssim is not None:
            same = "" if self.geometry_from_labels else " (as plain 3DGS: labels moved nothing)"
            facts += [("PSNR", f"{psnr(-self.colours.mean):.2f} dB{same}"), ("SSIM", f"{self.ssim:.3f}")]
        if self.agreement is not None:
            facts.append(("agreement with the teacher (mIoU)", f"{_percent(self.agreement)} %"))
        return [*facts, ("seconds to draw a view", f"{self.seconds_per_view:.3f}")]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
