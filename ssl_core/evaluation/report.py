"""What an evaluation answers, whatever was evaluated: scores, a baseline, defects, tables; and how far it is.

A gate reads `Report.deciding`, `baseline` and `defects`, and whether two reports are `comparable`; nothing else. What a
report holds besides is its task's own affair (`ssl_core.evaluation.tasks`), which says it in words, tables and metrics.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from ssl_core.config import Config
from ssl_core.evaluation.statistics import Interval, in_percent, paired_intervals

REPORT_FORMAT: Literal[3] = 3
Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""title, heads, rows of cells"""
Measure = Literal["accuracy", "mean iou", "squared error", "chamfer distance", "angle"]
"""accuracy: shares of right answers in [0, 1]. mean iou: of label maps, in [0, 1]. squared error: negated mean squared
errors, of colours in [0, 1]. chamfer distance: negated CD-L2 of clouds in a cube of side 1. angle: negated errors in
radians"""


class Scores(Config):
    """What decides, unit by unit; higher is better: errors are negated where they are made.

    name: what was measured and how, for sentences. unit: what `values [draws][units]` are of, as `test objects`.
    """

    name: str
    unit: str
    values: tuple[tuple[float, ...], ...]
    measure: Measure = "accuracy"

    @property
    def mean(self) -> float:
        """Over draws and units."""
        return float(np.mean(self.values))

    @property
    def shape(self) -> tuple[int, int]:
        """(draws, units)."""
        return len(self.values), len(self.values[0])


class BaselineScore(Config):
    """What one baseline scored, and how far the model is from it (model minus baseline, paired), both higher is better.

    score, difference: in the unit of `Scores.values`.
    """

    score: Interval
    difference: Interval


def beside(model: ArrayLike, baselines: Mapping[str, ArrayLike], confidence: float) -> dict[str, BaselineScore]:
    """Each baseline's mean and the paired difference; all are [draws, units].

    Intervals are over draws, or over units where there is one draw.
    """
    found = {}
    for name, values in baselines.items():
        _, score, difference = paired_intervals(model, values, confidence)
        found[name] = BaselineScore(score=score, difference=difference)
    return found


def strongest(baselines: Mapping[str, BaselineScore]) -> str | None:
    """Name of the baseline with the largest mean, the first of equal ones; None where there is none.

    Chosen on the draws that it is compared on, so the choice flatters it: a model has to beat more, never less.
    """
    return max(baselines, key=lambda name: baselines[name].score.mean, default=None)


@dataclass(frozen=True)
class ScoreScale:
    """How a measure is shown to people.

    factor: on axes, named `axis`. number: without a unit. change: a difference, signed, in `unit`. level: a mean.
    """

    factor: float
    axis: str
    unit: str
    number: Callable[[float], str]
    change: Callable[[float], str]
    level: Callable[[float], str]

    def interval(self, value: Interval, *, signed: bool = False) -> str:
        """A mean, or a difference if signed, with its half-width; an infinite one is left out."""
        mean = self.change(value.mean) if signed else self.number(value.mean)
        return f"{mean} ± {self.number(value.half_width)}" if np.isfinite(value.half_width) else mean

    def difference(self, interval: Interval) -> str:
        """With its interval: `+2.0 points (95 % interval +0.5 to +3.5)`."""
        mean, low, high = (self.change(value) for value in (interval.mean, interval.low, interval.high))
        return f"{mean} {self.unit} ({100 * interval.confidence:g} % interval {low} to {high})"


def scale_of(measure: Measure) -> ScoreScale:
    """Accuracies and mIoU in percent; squared errors as they are, their means as PSNR; distances times 1,000; angles in
    degrees."""
    match measure:
        case "accuracy" | "mean iou":
            percent = partial(in_percent, signed=True)
            axis = "accuracy [%]" if measure == "accuracy" else "mIoU [%]"
            return ScoreScale(100.0, axis, "points", in_percent, percent, lambda mean: f"{in_percent(mean)} %")
        case "squared error":
            axis, number, signed = "negated squared error", "{:.3g}".format, "{:+.3g}".format
            return ScoreScale(1.0, axis, f"in {axis}", number, signed, lambda mean: f"{psnr(-mean):.2f} dB")
        case "chamfer distance":
            axis = "negated CD-L2 x 1000"
            return ScoreScale(
                1000.0,
                axis,
                f"in {axis}",
                lambda value: f"{1000 * value:.2f}",
                lambda value: f"{1000 * value:+.2f}",
                lambda mean: f"CD-L2 x 1000 {-1000 * mean:.2f}",
            )
        case "angle":
            return ScoreScale(
                math.degrees(1),
                "negated error [°]",
                "degrees of negated error",
                lambda value: f"{math.degrees(value):.1f}",
                lambda value: f"{math.degrees(value):+.1f}",
                lambda mean: f"{math.degrees(-mean):.1f}°",
            )
        case _:
            assert_never(measure)


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of values in [0, 1]."""
    return float(-10 * np.log10(max(squared_error, 1e-12)))


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of a table."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


class Measurement(Config):
    """One of a report's numbers as comparisons show it. main: in tables and pictures for people."""

    key: str
    label: str
    value: Interval
    main: bool


class TaskConfig(Config):
    """What an evaluation is asked. Equal configs ask the same."""

    protocol: str

    @property
    @abstractmethod
    def deciding_key(self) -> str:
        """16 hex digits; equal where the deciding numbers of two reports on the same data can be compared."""

    @abstractmethod
    def covers(self, other: "TaskConfig") -> bool:
        """Whether a report under this config answers all that `other` asks."""

    @property
    def companions(self) -> tuple[str, ...]:
        """References of registered models that it needs beside the one under evaluation."""
        return ()

    @abstractmethod
    def not_measured(self) -> tuple[str, ...]:
        """What the full protocol measures and this config does not ask for, or not all of; empty for a full one."""


class Report(Config):
    """One evaluation's answer. Members of the closed union `AnyReport` (`ssl_core.evaluation.task`) add what their task
    measures.
    """

    format_version: Literal[3] = REPORT_FORMAT
    kind: str  # of the card
    data_digest: str  # of the pack
    config: TaskConfig  # what was asked
    deciding: Scores | None  # what a gate compares; None where nothing could be measured
    baseline: Scores | None  # the strongest of what the model has to be set beside, on the same draws and units
    baseline_name: str  # what it is, as `random twin, calibrated`
    baselines: dict[str, BaselineScore] = Field(default_factory=dict)
    """All of them by name, where `deciding` is measured; empty in reports that know of one alone"""
    defects: tuple[str, ...] = ()  # why the model cannot be considered, whatever it scores; sentences
    seconds: float = 0.0  # that the evaluation took

    def comparable(self, other: "Report") -> bool:
        """Whether both decide by the same number of the same data: draws, units and protocol."""
        if self.deciding is None or other.deciding is None or self.deciding.shape != other.deciding.shape:
            return False
        mine, theirs = (
            (report.kind, report.data_digest, report.config.deciding_key, report.deciding and report.deciding.measure)
            for report in (self, other)
        )
        return mine == theirs

    @property
    def left_out(self) -> dict[str, str]:
        """Of the full protocol: what this report does not answer, and why. Empty for a complete one."""
        return dict.fromkeys(self.config.not_measured(), "not asked for")

    @property
    def complete(self) -> bool:
        """Whether it answers all that the full protocol asks."""
        return not self.left_out and self.deciding is not None

    @property
    def share_saved(self) -> float:
        """Of the time this evaluation would have taken without kept features, in [0, 1]."""
        return 0.0

    @property
    @abstractmethod
    def headline_text(self) -> str:
        """The deciding number in a line."""

    @abstractmethod
    def overview(self) -> list[dict[str, Any]]:
        """The main table for people and scripts, a row each: values by column."""

    def tables(self) -> list[Table]:
        """Further tables for people."""
        return []

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """All numbers by name."""

    @abstractmethod
    def markdown(self) -> str:
        """All of it, for a model card."""

    def measurements(self) -> tuple[Measurement, ...]:
        """The numbers that another report has too."""
        return tuple(measurement for measurement, _ in self.paired())

    @abstractmethod
    def paired(self) -> tuple[tuple[Measurement, Scores], ...]:
        """Those with scores of each unit, the deciding one first."""


@dataclass(frozen=True)
class EvaluationProgress:
    """`done` of `total` steps, `what` is under way. A step is a batch through the model, or a fit of a probe.

    plan: steps of each kind of work, so far as they are known beforehand; those of a kind take about equally long.
    """

    title: str
    what: str
    done: int
    total: int
    plan: Mapping[str, int] = field(default_factory=dict)


Tell = Callable[[EvaluationProgress], None]


def silent(progress: EvaluationProgress) -> None:
    """Tell nobody."""


@dataclass
class Steps:
    """Counts the steps of one evaluation and tells of each."""

    title: str = ""
    total: int = 0
    tell: Tell = silent
    done: int = 0
    what: str = ""
    plan: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def planned(cls, title: str, plan: Mapping[str, int], tell: Tell = silent) -> "Steps":
        """Of work whose steps of each kind are known."""
        return cls(title, sum(plan.values()), tell, plan=plan)

    @contextmanager
    def block(self, what: str, count: int) -> Iterator[None]:
        """`count` steps of one kind; what of them was not needed, because it was kept, is done at the end."""
        end, self.what = self.done + count, what
        self.step(0)
        yield
        self.done = end
        self.step(0)

    def step(self, count: int = 1) -> None:
        """So many were made."""
        self.done = min(self.done + count, self.total)
        self.tell(EvaluationProgress(self.title, self.what, self.done, self.total, self.plan))
