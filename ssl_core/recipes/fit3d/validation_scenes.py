"""What is measured on validation scenes after each epoch: linear probes, each fitted on other scenes than it is asked.

    val/dense_probe         assembled tokens: mIoU, or, without classes, pixels within 25 % of their depth
    val/fine_probe          the fine-tuned tokens alone
    val/original_probe      the original tokens: the same at every epoch
    val/lift_probe          the rendered features themselves: what fine-tuning could reach
    val/gain                assembled less original
    val/lift_loss           of fine-tuned tokens to the rendered ones; says how much was learnt, not whether it helps

Depth, where there is any, as val/rmse, val/original_rmse. The loss decides nothing: of an identity target, which
teaches nothing, it would be 0.
"""

from functools import cached_property

import numpy as np
from torch import Tensor

from ssl_core.data.scene_pack import ScenePack
from ssl_core.evaluation.dense_answers import Chosen, DenseAnswer, DenseTruth, joined, probed
from ssl_core.evaluation.dense_data import TokenMaps, scene_of, token_maps, views_of
from ssl_core.losses.feature_maps import masked_map_loss
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_encoder import DenseEncoder, DenseTokens, assembled
from ssl_core.recipes.fit3d.config import Fit3dConfig
from ssl_core.recipes.fit3d.lift_stage import LiftTargets


class ValidationScenes:
    """Of one trial; what does not change is measured once."""

    def __init__(self, config: Fit3dConfig, pack: ScenePack, card: DenseEncoderCard, lifted: LiftTargets) -> None:
        self.config, self.pack, self.card = config, pack, card
        self.views = views_of(pack, "val")
        self.targets, self.weights = lifted.of_views(self.views)
        self.truth = DenseTruth(pack, self.views, (self.targets.shape[2], self.targets.shape[3]), config.probe.finer)

    def metrics(self, encoder: DenseEncoder) -> dict[str, float]:
        """Of an encoder whose tokens are fine-tuned."""
        found = token_maps(encoder, self.pack, self.views, (self.card.height, self.card.width))
        assert found.fine is not None
        both = DenseTokens(found.original, found.fine, found.whole)
        dense = self._probed(assembled(both, self.config.assembly), found.whole)
        fine = self._probed(found.fine, found.whole, labels_alone=True)
        original, lift = self._before(found)
        loss = masked_map_loss(found.fine, self.targets, self.weights, self.config.tuning.loss)
        metrics = {
            "val/dense_probe": dense.score,
            "val/fine_probe": fine.score,
            "val/original_probe": original.score,
            "val/lift_probe": lift.score,
            "val/gain": dense.score - original.score,
            "val/lift_loss": float(loss),
        }
        for name, answer in (("val/rmse", dense), ("val/original_rmse", original)):
            if "rmse" in answer.depth:
                metrics[name] = answer.metrics()["rmse"]
        return metrics

    def _before(self, found: TokenMaps) -> tuple[DenseAnswer, DenseAnswer]:
        """Of the original tokens and of the rendered features."""
        if self._constant is None:
            self._constant = (
                self._probed(found.original, found.whole),
                self._probed(self.targets, found.whole, labels_alone=True),
            )
        return self._constant

    _constant: tuple[DenseAnswer, DenseAnswer] | None = None

    def _probed(self, tokens: Tensor, whole: Tensor, labels_alone: bool = False) -> DenseAnswer:
        alone, both = labels_alone and bool(self.pack.classes), (tokens, whole)
        return joined(
            [probed(both, self.truth, fold, self.config.probe, (0,), labels_alone=alone) for fold in self._folds]
        )

    @cached_property
    def _folds(self) -> list[tuple[Chosen, Chosen]]:
        """Each scene is asked about once, with probes of the others; of one scene, every second view."""
        groups = scene_of(self.pack, self.views)
        if len(np.unique(groups)) < 2:
            groups = np.arange(len(self.views)) % 2
        return [(groups != group, groups == group) for group in np.unique(groups)]
