"""What the sections of an evaluation answer. Accuracies and shares lie in [0, 1]; None: not asked, or left out."""

from typing import Literal

from pydantic import Field

from ssl_core.config import Config
from ssl_core.evaluation.costs import EncoderCosts
from ssl_core.evaluation.statistics import Interval


class RetrievalRow(Config):
    """How well test objects find each other by cosine similarity. Intervals are bootstraps over queries."""

    kind: Literal["across views", "across point draws", "points to images", "images to points"]
    space: Literal["own", "aligned"] = "own"
    """aligned: one side was mapped to the other by a linear map fitted on training objects, without labels"""
    relevant: Literal["same object", "same class"]
    queries: int
    gallery: int
    relevant_share: float
    """of the gallery, to a query, on average: about the average precision of a random order"""
    average_precision: Interval
    recall: dict[str, Interval]
    """k → share of queries with something relevant among the first k"""


class RobustnessRow(Config):
    """The linear SVM with the most labels, fitted on clean features, on disturbed test objects."""

    disturbance: str
    accuracy: Interval
    loss: Interval
    """clean minus disturbed, object by object"""


class NovelViewRow(Config):
    """The linear SVM fitted on the pack's own views, on views from other cameras and, of as many, its own."""

    labels: str
    views: int
    accuracy: Interval
    own: Interval
    loss: Interval
    """own minus novel, object by object"""


class FineTuningRow(Config):
    """The whole encoder trained with labels, from its own weights and from random ones, test accuracies."""

    labels: str
    runs: int
    """trainings behind each mean: label draws times seeds"""
    epochs: int
    accuracy: Interval
    scratch: Interval
    gain: Interval
    """fine-tuned minus from scratch, over the same labels and seeds"""
    over: Literal["label draws", "seeds", "test objects"]


class SectionReports(Config):
    """All sections. `left_out` says of each that was asked for and is not there, why."""

    retrieval: tuple[RetrievalRow, ...] | None = None
    robustness: tuple[RobustnessRow, ...] | None = None
    costs: EncoderCosts | None = None
    novel_views: tuple[NovelViewRow, ...] | None = None
    fine_tuning: tuple[FineTuningRow, ...] | None = None
    left_out: dict[str, str] = Field(default_factory=dict)
