"""What the dense probing task is asked, and what it answers."""

import json
from typing import Any, Literal

from pydantic import Field

from ssl_core.config import Config, short_digest
from ssl_core.evaluation.dense_probes import DenseProbeConfig
from ssl_core.evaluation.report import Measurement, Report, Scores, Table, TaskConfig, markdown_table
from ssl_core.evaluation.statistics import Interval, bootstrap_mean, in_percent


class DenseProbingConfig(TaskConfig):
    """What is asked of a dense encoder."""

    task: Literal["dense_probing"] = Field(
        default="dense_probing", description="tells protocols apart, whose other keys may be alike"
    )
    protocol: Literal["1"] = Field(default="1", description="version of the rules")
    probe: DenseProbeConfig = DenseProbeConfig()
    probe_seeds: tuple[int, ...] = Field(
        default=(0, 1, 2), min_length=1, description="of the probes; their mean counts"
    )
    twin_seeds: tuple[int, ...] = Field(
        default=(0, 1), description="of untrained networks, which an encoder without fine-tuned tokens is set beside"
    )
    partners: int = Field(default=2, ge=0, description="following views that a view's features are compared with")
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)

    @property
    def deciding_key(self) -> str:
        """The rules and how probes are fitted."""
        return short_digest(json.dumps(["dense probing", self.protocol, self.probe.to_json(), self.probe_seeds]))

    def covers(self, other: TaskConfig) -> bool:
        return self == other

    def not_measured(self) -> tuple[str, ...]:
        return ()


class DenseRow(Config):
    """One kind of features under both probes.

    metrics: mIoU, mAcc, aAcc over all test pixels; depth errors, means over test views. by_view: the deciding number.
    miou_gain, by_view_gain: over the original features, paired; the first over resampled scenes and their views.
    same_point, other_point: mean cosines of centred features.
    """

    name: str
    width: int
    metrics: dict[str, float]
    by_view: Interval
    miou_gain: Interval | None = None
    rmse_gain: Interval | None = None
    by_view_gain: Interval | None = None
    same_point: float | None = None
    other_point: float | None = None


class DenseProbingReport(Report):
    """The answer: label maps and depth of test views, told from frozen features by linear probes."""

    kind: Literal["dense_encoder"] = "dense_encoder"
    config: DenseProbingConfig
    view_names: tuple[str, ...]
    fitted_views: int
    scenes: tuple[str, ...]
    """that test views are of"""
    class_names: tuple[str, ...]
    rows: tuple[DenseRow, ...]
    class_ious: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)
    """of each row's name, by class; None where test views lack it"""

    @property
    def headline_text(self) -> str:
        """For example `mIoU 41.3 % over 48 test views (original 38.0 %)`."""
        if self.deciding is None:
            return "no result: features hold NaN or infinity"
        key, label = ("miou", "mIoU") if self.class_names else ("delta_1", "pixels within 25 % of their depth")
        text = f"{label} {in_percent(self.rows[0].metrics[key])} % over {len(self.view_names)} test views"
        other = next((row for row in self.rows if row.name == self.baseline_name), None)
        return text if other is None else f"{text} ({other.name} {in_percent(other.metrics[key])} %)"

    def overview(self) -> list[dict[str, Any]]:
        return [
            {
                "features": row.name,
                "width": str(row.width),
                "mIoU %": _percent(row.metrics.get("miou")),
                "gain": "-" if row.miou_gain is None else _signed(row.miou_gain),
                "by view %": row.by_view.percent(),
                "mAcc %": _percent(row.metrics.get("macc")),
                "aAcc %": _percent(row.metrics.get("aacc")),
                "RMSE": _number(row.metrics.get("rmse")),
                "AbsRel": _number(row.metrics.get("abs_rel")),
                "δ1 %": _percent(row.metrics.get("delta_1")),
                "same point": _number(row.same_point),
                "other point": _number(row.other_point),
            }
            for row in self.rows
        ]

    def tables(self) -> list[Table]:
        if not self.class_ious:
            return []
        heads = ["class", *self.class_ious]
        cells = [
            [name, *(_percent(values[place]) for values in self.class_ious.values())]
            for place, name in enumerate(self.class_names)
        ]
        return [("IoU by class, % over all test pixels", heads, cells)]

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in self.rows:
            place = f"dense/{row.name.replace(' ', '_').replace('⊕', 'and')}"
            values = {**row.metrics, "by_view": row.by_view.mean}
            more = {
                "miou_gain": None if row.miou_gain is None else row.miou_gain.mean,
                "same_point": row.same_point,
                "other_point": row.other_point,
            }
            values |= {name: value for name, value in more.items() if value is not None}
            found |= {f"{place}/{name}": value for name, value in values.items()}
        return found

    def markdown(self) -> str:
        text = (
            f"Linear probes of frozen features on {len(self.view_names)} test views of {len(self.scenes)} scenes of "
            f"pack `{self.data_digest}`, fitted on {self.fitted_views} views of other scenes (of a pack with one "
            f"scene: on its validation views), protocol {self.config.protocol}, {len(self.config.probe_seeds)} seeds. "
            "mIoU, mAcc and aAcc are over all test pixels; depth errors are means over views, in world units. Gains "
            "are over the original features, paired; views of a scene are alike, so scenes are resampled first. "
            "Cosines are of centred features at one surface point in two views, and at two points."
        )
        rows = self.overview()
        body = [list(map(str, row.values())) for row in rows]
        return f"{text}\n\n{markdown_table(tuple(rows[0]) if rows else (), body)}"

    def paired(self) -> tuple[tuple[Measurement, Scores], ...]:
        if self.deciding is None:
            return ()
        value = bootstrap_mean(self.deciding.values[0], confidence=self.config.confidence)
        label = "mIoU of test views" if self.class_names else "depth of test views"
        return ((Measurement(key="dense", label=label, value=value, main=True), self.deciding),)


def _percent(value: float | None) -> str:
    return "-" if value is None else in_percent(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _signed(value: Interval) -> str:
    mean, low, high = (in_percent(each, signed=True) for each in (value.mean, value.low, value.high))
    return f"{mean} ({low} to {high})"
