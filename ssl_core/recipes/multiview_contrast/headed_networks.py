"""The networks of a trial: a point backbone under its head, and the image output beside it."""

from collections.abc import Mapping
from typing import assert_never

import torch
from torch import Tensor, nn

from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.models.build import Encoder, build_point_encoder, seeded_weights
from ssl_core.models.cards import PointEncoderCard
from ssl_core.models.dgcnn import DGCNN
from ssl_core.models.pointnet import PointNet
from ssl_core.models.readout import Head, Part, ReadOut, ReadoutConfig
from ssl_core.recipes.multiview_contrast.config import AdapterConfig, MultiviewContrastConfig, StudentConfig
from ssl_core.recipes.multiview_contrast.image_output import Adapter, Student
from ssl_core.recipes.multiview_contrast.local_contrast import LocalHeads
from ssl_core.recipes.multiview_contrast.teacher import TeacherFeatures


class HeadedPoints(nn.Module):
    """Point backbone under its head, whose output has `output` columns."""

    def __init__(self, config: MultiviewContrastConfig, output: int, seed: int) -> None:
        super().__init__()
        columns, heads = config.point_backbone.feature_dim, config.heads
        self.points = build_point_encoder(config.points, config.point_backbone, seed=seed)
        self.readout = ReadoutConfig(hidden=heads.hidden, output=output, parts=heads.read_points)
        with seeded_weights(seed + 1):
            self.head = Head(columns, self.readout)

    def parts(self, points: Tensor) -> tuple[dict[Part, Tensor], Tensor | None]:
        """[B, N, D] -> each part of the network, [B, F], and the feature transform of a backbone that has one."""
        backbone, transform = self.points.backbone, None
        if isinstance(backbone, PointNet):
            features, transform = backbone.features_and_transform(points)
        else:
            features = self.points(points)
        return self.head(features), transform

    def parts_and_rows(self, points: Tensor) -> tuple[dict[Part, Tensor], Tensor | None, Tensor]:
        """As `parts`, and the features of each point before they are pooled, [B, N, F]."""
        backbone = self.points.backbone
        assert isinstance(backbone, PointNet | DGCNN), "the config lets no other through"
        rows, features, transform = backbone.point_features(points)
        return self.head(features), transform, rows

    def read(self, parts: Mapping[Part, Tensor]) -> Tensor:
        """What is exported of the parts, [B, width]."""
        return torch.cat([parts[part] for part in self.readout.parts], dim=1)

    def exported(self, config: MultiviewContrastConfig) -> tuple[Encoder, PointEncoderCard]:
        """The backbone under the parts that are read."""
        card = PointEncoderCard(contract=config.points, backbone=config.point_backbone, readout=self.readout)
        read = ReadOut(self.points.backbone, self.head, self.readout.parts)
        return Encoder(config.points, read, card.output_shape[0]), card


class MultiviewContrastModels(HeadedPoints):
    """All that is trained or solved: point backbone with its head, image output; `local`, the projections of local
    contrast, which are exported nowhere, is set by a trial that has it."""

    def __init__(self, config: MultiviewContrastConfig, pack: ObjectPack, teacher: TeacherFeatures, seed: int) -> None:
        super().__init__(config, teacher.dim, seed)
        self._taught = config.taught
        taught = self.readout.model_copy(update={"parts": self._taught})
        width = taught.width(config.point_backbone.feature_dim)
        with seeded_weights(seed + 3):
            self.image = self._image(config, pack, teacher, width, seed)
        self.local: LocalHeads | None = None

    def taught(self, parts: Mapping[Part, Tensor]) -> Tensor:
        """What the image output hears of the parts, [B, width]."""
        return torch.cat([parts[part] for part in self._taught], dim=1)

    @staticmethod
    def _image(
        config: MultiviewContrastConfig, pack: ObjectPack, teacher: TeacherFeatures, width: int, seed: int
    ) -> Adapter | Student:
        match config.image:
            case AdapterConfig():
                return Adapter(config, config.image, teacher, width)
            case StudentConfig():
                return Student(config, config.image, (pack, teacher), width, seed + 2)
            case _:
                assert_never(config.image)
