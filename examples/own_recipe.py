"""Your own method: two samplings of one object shall have like features (NT-Xent, Chen et al. 2020), on points alone.

A study (own_recipe.yaml) searches it, registers `agreement-points`, evaluates that and puts it before the gate."""

from typing import Annotated

import numpy as np
import torch
from torch.nn import functional

from ssl_core.config_roles import LIVE
from ssl_core.contracts import PointsContract
from ssl_core.data.batches import batches_of
from ssl_core.data.object_pack import Pack
from ssl_core.data.point_sampler import PointSampler, check_contract
from ssl_core.models.build import PointBackbone
from ssl_core.models.cards import PointEncoderCard
from ssl_core.models.modes import evaluating
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.training.config import RecipeConfig, choose_device
from ssl_core.training.contract import LossTerms, Output, ParameterGroup, Recipe, Score
from ssl_core.training.session import trained


class Agreement(RecipeConfig):
    points: PointsContract = PointsContract(num_points=128)
    backbone: PointBackbone = PointNetConfig(input_transform=False, feature_transform=False)
    temperature: Annotated[float, LIVE] = 0.2


class AgreementTrial:
    def __init__(self, config: Agreement, pack: Pack, seed: int, device: torch.device):
        self.config, self.seed, self.device = config, seed, device
        self.fit, self.val = pack.objects("fit"), pack.objects("val")
        self.sampler = PointSampler(pack, config.points, np.concatenate([self.fit, self.val]))
        self.card = PointEncoderCard(contract=config.points, backbone=config.backbone)
        self.module = self.card.build(seed)
        self.batch_size = min(config.training.batch_size, len(self.fit))
        self.steps_per_epoch = len(self.fit) // self.batch_size

    def batches(self, epoch):
        rng = np.random.default_rng([self.seed, epoch])  # the same batches, whenever this epoch is trained
        for objects in batches_of(self.fit, self.batch_size, rng):
            yield {view: torch.from_numpy(self.sampler.sample(objects, rng)).to(self.device) for view in ("one", "two")}

    def samples(self, batch):
        return len(batch["one"])

    def losses(self, batch):
        one, two = (functional.normalize(self.module(batch[view]), dim=1) for view in ("one", "two"))
        logits = one @ two.T / self.config.temperature
        loss = functional.cross_entropy(logits, torch.arange(len(logits), device=self.device))
        return {"all": LossTerms(loss, {"nt_xent": loss})}

    def parameters(self):
        return {"all": [ParameterGroup(list(self.module.parameters()))]}

    def validate(self):
        """Share of held-out objects whose two samplings are nearest to each other."""
        with evaluating(self.module):
            one, two = (self.module(torch.from_numpy(self.sampler.draw(self.val, d)).to(self.device)) for d in (0, 1))
        found = torch.cdist(one, two).argmin(1).cpu() == torch.arange(len(one))
        return {"val/agreement": float(found.float().mean())}

    def models(self):
        return {"points": (self.module, self.card)}


def start(config, pack, stages, seed):
    trial = AgreementTrial(config, pack, seed, choose_device(config.training.device))
    return trained(trial, config, RECIPE, pack, seed)


def check(config, pack):
    check_contract(pack, config.points)


OUTPUT = Output("points", PointEncoderCard, Score(metric="val/agreement"))
RECIPE = Recipe("agreement", "Two samplings agree", Agreement, {"quick": Agreement}, Pack, (OUTPUT,), check, start)
