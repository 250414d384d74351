"""The draws of a probing evaluation: which labels, points and views, by which seeds, and which probes are fitted.

The vocabulary: a *label setting* says how many training objects carry labels (5 per class, 10 %, all), a *label draw*
which ones, a *point draw* (or *view draw*) which random points (or views) stand for an object, a *twin* is the same
architecture with random weights, a *section* is a measurement beside the probes. `docs/protocol.md` explains the
choices.

`objects.json` beside a report lists which objects carried labels in which draw, and which were scored. Class, split and
name identify an object of a pack (`PackObject.key`), so the lists say without this project what a number was measured
on; with it, they are drawn again from the config and must come out the same.
"""

import json
from typing import Any, Literal

from pydantic import Field, model_validator

from ssl_core.config import Config, short_digest
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.probes import draw_labels
from ssl_core.evaluation.report import TaskConfig

PROTOCOL_VERSION: Literal["3"] = "3"
"""Raised when the same config would be measured differently; a result names it. Reports of version 2 are read: random
twins as they were initialised were their only baseline."""

Probe = Literal["svm", "one_scale_svm", "knn", "nearest", "linear"]
PROBES: dict[Probe, str] = {
    "svm": "linear SVM",
    "one_scale_svm": "linear SVM, one scale",
    "knn": "kNN",
    "nearest": "1-NN",
    "linear": "linear probe",
}
SCALES: dict[Probe, str] = {"svm": "scaled columns", "one_scale_svm": "one scale"}
"""What tells the two SVMs apart."""
BaselineKind = Literal["random_twins", "calibrated_twins", "coordinate_quantiles", "frozen_networks"]
"""`ssl_core.evaluation.baselines` says what they are."""
Pooling = Literal["max", "mean"]
_NUMBERS = 1000
"""Numbers of label and view draws that one draw seed owns; a setting has at most so many draws."""


class LabelSetting(Config):
    """How many labels a probe sees, and in how many different draws. Neither amount: all labels, one draw."""

    per_class: int | None = Field(default=None, ge=1)
    fraction: float | None = Field(default=None, gt=0.0, le=1.0)
    draws: int = Field(default=1, ge=1, le=_NUMBERS)

    @model_validator(mode="after")
    def _consistent(self) -> "LabelSetting":
        if self.per_class is not None and self.fraction is not None:
            raise ValueError("give per_class or fraction, not both")
        if self.per_class is None and self.fraction is None and self.draws != 1:
            raise ValueError("all labels can be drawn in one way only: draws must be 1")
        return self

    @property
    def name(self) -> str:
        """`5 per class`, `10 %` or `all`."""
        if self.per_class is not None:
            return f"{self.per_class} per class"
        return "all" if self.fraction is None else f"{100 * self.fraction:g} %"


class ProbingConfig(TaskConfig):
    """Probes on frozen features. Reports of one pack can be compared object by object where `deciding_key` is equal."""

    protocol: Literal["2", "3"] = Field(default=PROTOCOL_VERSION, description="version of the rules")
    draw_seed: int = Field(default=0, ge=0, le=10**6, description="another one: fresh draws of labels, points, views")
    label_settings: tuple[LabelSetting, ...] = Field(
        default=(
            LabelSetting(per_class=5, draws=10),
            LabelSetting(fraction=0.01, draws=10),
            LabelSetting(fraction=0.1, draws=10),
            LabelSetting(fraction=0.5, draws=5),
            LabelSetting(),
        ),
        min_length=1,
    )
    probes: tuple[Probe, ...] = Field(default=("svm", "one_scale_svm", "knn", "nearest", "linear"), min_length=1)
    point_draws: int = Field(default=3, ge=1, description="random point samples per object")
    views: tuple[int, ...] = Field(
        default=(1, 4, 16, 32, 64), min_length=1, description="capped by what the pack has; its maximum is added"
    )
    view_draws: int = Field(default=3, ge=1, le=_NUMBERS, description="random subsets of views, where not all are used")
    pooling: tuple[Pooling, ...] = Field(
        default=("max", "mean"), description="of views; max decides and is always there"
    )
    knn_k: int = Field(default=5, ge=1)
    svm_c: float = Field(default=1.0, gt=0.0)
    baselines: tuple[BaselineKind, ...] = Field(
        default=("random_twins", "calibrated_twins", "coordinate_quantiles", "frozen_networks"),
        description="what the encoder is set beside; the strongest is what the gate asks it to beat",
    )
    twin_seeds: tuple[int, ...] = Field(default=(0, 1, 2), description="of random twins of both kinds")
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)

    @model_validator(mode="before")
    @classmethod
    def _of_version_2(cls, values: Any) -> Any:
        """What configs of before did not say: they had one kind of baseline."""
        if isinstance(values, dict) and values.get("protocol") == "2":
            return {"baselines": ("random_twins",), **values}
        return values

    @model_validator(mode="after")
    def _decides(self) -> "ProbingConfig":
        if self.probes[0] not in ("svm", "one_scale_svm"):
            raise ValueError("probes must begin with 'svm' or 'one_scale_svm': the first is what the gate compares")
        if "max" not in self.pooling:
            raise ValueError("pooling must hold 'max': it is what the gate compares")
        return self

    @property
    def deciding_labels(self) -> LabelSetting:
        """The first label setting: the deciding probe at these labels is what the gate compares."""
        return self.label_settings[0]

    @property
    def deciding_probe(self) -> Probe:
        """The first probe: one of the two SVMs."""
        return self.probes[0]

    @property
    def other_svm(self) -> Probe:
        """The one that does not decide."""
        return "svm" if self.deciding_probe == "one_scale_svm" else "one_scale_svm"

    @property
    def deciding_key(self) -> str:
        """Rules, draws, deciding labels and probe. Sections and further label settings play no part."""
        labels = self.deciding_labels.model_dump(mode="json")
        parts: list[object] = [self.protocol, self.draw_seed, self.point_draws, self.view_draws, labels, self.svm_c]
        parts += [] if self.protocol == "2" else [self.deciding_probe]
        return short_digest(json.dumps(parts, sort_keys=True))

    def label_seed(self, draw: int) -> int:
        """Seed of label draw number `draw`, for `draw_labels`: the same for every setting, so that draws nest."""
        return self.draw_seed * _NUMBERS + draw

    def view_seed(self, draw: int) -> int:
        """Seed of view subset number `draw`."""
        return self.draw_seed * _NUMBERS + draw

    def point_number(self, draw: int) -> int:
        """Number of a point draw, for `PointSampler.draw`; consecutive, because those differ in their first points."""
        return self.draw_seed * self.point_draws + draw


OBJECTS_FILE = "objects.json"


class LabelDraw(Config):
    """One draw of labels: `train` are places in the list of training objects, ascending."""

    labels: str
    draw: int
    seed: int
    train: tuple[int, ...]


class ObjectLists(Config):
    """All objects of an evaluation. No object of a draw is left out of its fit, none of `test` out of the scores."""

    pack_digest: str
    draw_seed: int
    class_names: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_draws: tuple[LabelDraw, ...]
    point_draws: tuple[int, ...]
    """numbers of the point draws, for `PointSampler.draw`"""

    def labelled(self, labels: str, draw: int) -> tuple[str, ...]:
        """Keys of the objects that carried labels. Raises KeyError for a draw that was not made."""
        for found in self.label_draws:
            if (found.labels, found.draw) == (labels, draw):
                return tuple(self.train[place] for place in found.train)
        raise KeyError(f"no draw {draw} of '{labels}' labels")


def object_lists(pack: ObjectPack, config: ProbingConfig) -> ObjectLists:
    """The lists of an evaluation of `config` on `pack`."""
    train, test = pack.objects("train"), pack.objects("test")
    draws = []
    for setting in config.label_settings:
        for draw in range(setting.draws):
            seed = config.label_seed(draw)
            chosen = draw_labels(pack.labels[train], per_class=setting.per_class, fraction=setting.fraction, seed=seed)
            draws.append(LabelDraw(labels=setting.name, draw=draw, seed=seed, train=tuple(chosen.tolist())))
    keys = [item.key for item in pack.manifest.objects]
    return ObjectLists(
        pack_digest=pack.manifest.pack_digest,
        draw_seed=config.draw_seed,
        class_names=tuple(pack.manifest.class_names),
        train=tuple(keys[index] for index in train),
        test=tuple(keys[index] for index in test),
        label_draws=tuple(draws),
        point_draws=tuple(config.point_number(draw) for draw in range(config.point_draws)),
    )
