"""A session of your own (own_session.yaml): k-means of Gaussians' centres, of which `val/distance` is minimised."""

import numpy as np

from ssl_core.config import Config
from ssl_core.data.object_pack import Pack
from ssl_core.training.contract import Recipe


class Codebook(Config):
    codes: int = 16
    epochs: int = 4


class Session:
    def __init__(self, config, pack, stages, seed):
        self.epoch, self.epochs, rng = 0, config.epochs, np.random.default_rng(seed)
        self.fit, self.val = np.array_split(rng.choice(pack.gaussians[:, :3], 2000), 2)
        self.codes = self.fit[: config.codes].copy()

    def run_epoch(self):
        nearest = np.square(self.fit[:, None] - self.codes).sum(-1).argmin(1)
        self.codes = np.stack([self.fit[nearest == code].mean(0) for code in np.unique(nearest)])
        self.epoch += 1
        return {"val/distance": float(np.sqrt(np.square(self.val[:, None] - self.codes).sum(-1).min(1)).mean())}

    def save(self, folder):
        folder.mkdir(parents=True)
        np.savez(folder / "state.npz", codes=self.codes, epoch=self.epoch)

    def load(self, folder, transfer=False):
        state = np.load(folder / "state.npz")
        self.codes, self.epoch = state["codes"], int(state["epoch"])

    def export(self, folder, lineage):
        return {}


RECIPE = Recipe("codebook", "Codebook", Codebook, {"quick": Codebook}, Pack, (), lambda *_: None, Session)
