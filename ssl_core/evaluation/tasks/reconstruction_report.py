"""What is asked of a reconstructor, and the answer."""

import json
from typing import Any, Literal

from pydantic import Field

from ssl_core.config import Config, short_digest
from ssl_core.evaluation.cloud_metrics import EMD_POINTS
from ssl_core.evaluation.report import (
    Measurement,
    Report,
    Scores,
    Table,
    TaskConfig,
    markdown_table,
)
from ssl_core.evaluation.statistics import Interval, bootstrap_mean, in_percent

MODEL = "reconstructor"


def _empty(text: str) -> bool:
    return not text


class ReconstructionConfig(TaskConfig):
    """What is asked of a reconstructor."""

    task: Literal["reconstruction"] = Field(
        default="reconstruction", description="tells protocols apart, whose other keys may be alike"
    )
    protocol: Literal["1"] = Field(default="1", description="version of the rules")
    points: int = Field(default=1024, ge=8, le=16384, description="of a true cloud, farthest points first")
    view_seed: int = Field(default=0, description="which view of each object is read")
    twin_seeds: tuple[int, ...] = Field(default=(0, 1), description="of the untrained networks")
    matched: int = Field(default=64, ge=0, description="test objects whose points are matched one to one (EMD)")
    shown: int = Field(default=10, ge=0, le=40, description="best and worst objects in pictures")
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    point_encoder: str = Field(
        default="",
        max_length=300,
        exclude_if=_empty,
        description="registered point encoder that is asked about the clouds: NAME@ALIAS or NAME/VERSION",
    )

    @property
    def companions(self) -> tuple[str, ...]:
        return (self.point_encoder,) if self.point_encoder else ()

    @property
    def deciding_key(self) -> str:
        """The rules, the number of points and the views."""
        return short_digest(json.dumps(["reconstruction", self.protocol, self.points, self.view_seed]))

    def covers(self, other: TaskConfig) -> bool:
        return other in (self, self.model_copy(update={"point_encoder": ""}))

    def not_measured(self) -> tuple[str, ...]:
        return ()


class ReconstructionRow(Config):
    """One answer's distances from the true clouds, means over test objects, in units of a box's longest side.

    emd: of `matched` objects. mask_iou, colour_psnr: of the cloud drawn from the view's own camera, where the pack has
    cameras; of the model alone.
    """

    name: str
    cd_l2: Interval
    cd_l1: Interval
    f_1: Interval
    f_2: Interval
    emd: float | None = None
    mask_iou: float | None = None
    colour_psnr: float | None = None


class ClassRow(Config):
    """The model on the test objects of one class, and model minus the strongest baseline, both as negated CD-L2."""

    class_name: str
    objects: int
    cd_l2: Interval
    difference: Interval


class AlignmentFacts(Config):
    """What was done to the clouds before they were compared: one rotation and one scale, fitted on validation objects.

    degrees: the rotation's angle; a reconstructor whose own alignment is right needs next to none. scale, distance,
    mirrored: as `ssl_core.evaluation.alignment.Alignment`.
    """

    objects: int
    rotation: tuple[tuple[float, ...], ...]
    degrees: float
    scale: float
    distance: float
    mirrored: float


class PartTransfer(Config):
    """Part labels of the nearest training cloud, carried over to the true test cloud: share of its points that are
    right. The nearest is found by the reconstruction, by the true cloud (what a perfect one could reach), or is the
    medoid."""

    objects: int
    reconstructed: Interval
    true: Interval
    medoid: Interval


class EncoderTransfer(Config):
    """Accuracy of a linear SVM over a point encoder, fitted on true training clouds, on the test objects' true clouds
    and on their reconstructions; the difference is reconstructed minus true, object by object."""

    encoder: str
    objects: int
    true: Interval
    reconstructed: Interval
    difference: Interval


class ReconstructionReport(Report):
    """The answer: test objects' clouds, each from one image."""

    kind: Literal["reconstructor"] = "reconstructor"
    config: ReconstructionConfig
    object_names: tuple[str, ...]
    points: tuple[int, int]
    """of a reconstructed and of a true cloud"""
    rows: tuple[ReconstructionRow, ...]
    classes: tuple[ClassRow, ...] = ()
    alignment: AlignmentFacts | None = None
    parts: PartTransfer | None = None
    transfer: EncoderTransfer | None = None
    transfer_left_out: str = ""
    """why there is none, where one was asked for"""

    @property
    def headline_text(self) -> str:
        """For example `CD-L2 x 1000 8.31 over 100 test objects (mean shape 12.90)`."""
        if self.deciding is None:
            return "no result: points hold NaN or infinity"
        text = f"CD-L2 x 1000 {-1000 * self.deciding.mean:.2f} over {len(self.object_names)} test objects"
        if self.baseline is None:
            return text
        return f"{text} ({self.baseline_name} {-1000 * self.baseline.mean:.2f})"

    def overview(self) -> list[dict[str, Any]]:
        return [
            {
                "clouds": row.name,
                "CD-L2 x 1000": _thousandfold(row.cd_l2),
                "CD-L1 x 1000": _thousandfold(row.cd_l1),
                "EMD x 1000": "-" if row.emd is None else f"{1000 * row.emd:.1f}",
                "F at 1 %": row.f_1.percent(),
                "F at 2 %": row.f_2.percent(),
                "mask IoU": "-" if row.mask_iou is None else in_percent(row.mask_iou),
                "colour PSNR": "-" if row.colour_psnr is None else f"{row.colour_psnr:.1f}",
            }
            for row in self.rows
        ]

    def tables(self) -> list[Table]:
        found: list[Table] = []
        if self.classes:
            cells = [
                [row.class_name, str(row.objects), _thousandfold(row.cd_l2), _thousandfold(row.difference, signed=True)]
                for row in self.classes
            ]
            heads = ["class", "test objects", "CD-L2 x 1000", f"better than the {self.baseline_name} by"]
            found.append(("By class", heads, cells))
        if self.parts is not None:
            cells = [
                [name, value.percent()]
                for name, value in (
                    ("reconstruction", self.parts.reconstructed),
                    ("true cloud", self.parts.true),
                    ("medoid shape", self.parts.medoid),
                )
            ]
            title = f"Part labels carried over from the training object nearest to it, {self.parts.objects} objects"
            found.append((title, ["nearest by", "points right, %"], cells))
        if self.transfer is not None:
            found.append(_transfer_table(self.transfer, self.config.point_encoder))
        return found

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in self.rows:
            place = f"reconstruction/{row.name.replace(' ', '_')}"
            values = {"cd_l2": row.cd_l2.mean, "cd_l1": row.cd_l1.mean, "f_1": row.f_1.mean, "f_2": row.f_2.mean}
            more = {"emd": row.emd, "mask_iou": row.mask_iou, "colour_psnr": row.colour_psnr}
            values |= {name: value for name, value in more.items() if value is not None}
            found |= {f"{place}/{name}": value for name, value in values.items()}
        for each in self.classes:
            found[f"reconstruction/{each.class_name}/cd_l2"] = each.cd_l2.mean
        if self.alignment is not None:
            found["reconstruction/alignment_degrees"] = self.alignment.degrees
            found["reconstruction/alignment_scale"] = self.alignment.scale
        if self.parts is not None:
            found["reconstruction/parts"] = self.parts.reconstructed.mean
        if self.transfer is not None:
            found["reconstruction/encoder_accuracy"] = self.transfer.reconstructed.mean
            found["reconstruction/encoder_accuracy/true"] = self.transfer.true.mean
        return found

    def markdown(self) -> str:
        own, true = self.points
        parts = [
            f"Clouds of {len(self.object_names)} test objects of pack `{self.data_digest}`, each from one view, "
            f"protocol {self.config.protocol}. {own} points against {true} true ones; both in a cube whose side is "
            "the longest side of their box. CD-L2: mean squared distance to the nearest point, both ways summed; "
            "CD-L1: the same of distances; EMD: mean distance of points matched one to one, at most "
            f"{EMD_POINTS} of them; F: at 1 % and 2 % of the side. Distances depend on the number of points: compare "
            "at equal ones.",
            _table(self.overview()),
        ]
        if self.alignment is not None:
            parts.append(
                f"Before, the clouds were turned by {self.alignment.degrees:.1f}° and scaled by "
                f"{self.alignment.scale:.3f}, all alike, as fitted on {self.alignment.objects} validation objects."
            )
        for title, heads, cells in self.tables():
            parts.append(f"{title}:\n\n{markdown_table(heads, cells)}")
        if self.transfer_left_out:
            parts.append(f"Left out: {self.config.point_encoder}: {self.transfer_left_out}.")
        return "\n\n".join(parts)

    def paired(self) -> tuple[tuple[Measurement, Scores], ...]:
        if self.deciding is None:
            return ()
        value = bootstrap_mean(self.deciding.values[0], confidence=self.config.confidence)
        label = "Chamfer distance of test objects"
        return ((Measurement(key="reconstruction", label=label, value=value, main=True), self.deciding),)


def _transfer_table(found: EncoderTransfer, reference: str) -> Table:
    cells = [
        ["true clouds", found.true.percent(), ""],
        ["reconstructions", found.reconstructed.percent(), found.difference.percent(signed=True)],
    ]
    title = f"Classes told apart by {reference or found.encoder}, linear SVM on true training clouds, %"
    return title, ["test objects by", "accuracy", "difference"], cells


def _table(rows: list[dict[str, Any]]) -> str:
    return markdown_table(list(rows[0]), [list(map(str, row.values())) for row in rows]) if rows else ""


def _thousandfold(value: Interval, *, signed: bool = False) -> str:
    mean = f"{1000 * value.mean:+.2f}" if signed else f"{1000 * value.mean:.2f}"
    return f"{mean} ± {1000 * value.half_width:.2f}"
