"""Local contrast: each point is to be told from the others by the pixels that show it, and each pixel by its point.

    u_s = norm(h(f_s) - mean over s),  w_s = norm(c(m_s) - mean over s)
    L_local = NT-Xent(u, w) over the 2 S rows of an object, mean over objects

with f_s the point network's features of the pair's point before they are pooled, m_s the frozen network's dense feature
at its pixel, and h and c projections that are trained (Tran et al. 2022, §3.3). Negatives are the other rows of the
same object, other pixels of the same point among them, as in the reference. Each side is centred over the object's S
rows, which the reference does not: what they share tells none from another, and is most of what untrained features
hold. c is the reference's 1x1 convolution (`convup`): being linear, it may follow the enlargement of the map, and so is
computed for the pixels of pairs alone.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_core.data.batches import Indices
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.errors import InfeasibleError
from ssl_core.losses.contrast import nt_xent
from ssl_core.models.build import seeded_weights
from ssl_core.models.neighbours import gather_rows
from ssl_core.models.readout import HiddenLayer
from ssl_core.recipes.multiview_contrast.pair_sampling import draw_pairs, first_times
from ssl_core.recipes.multiview_contrast.pair_settings import PairsConfig
from ssl_core.recipes.multiview_contrast.pairs import VisiblePairs
from ssl_core.recipes.multiview_contrast.teacher_maps import TeacherMaps
from ssl_core.training.contract import Batch

Embed = Callable[[Tensor, Batch], tuple[Tensor, Tensor]]
"""points [B, N, D] and a batch's pairs -> u and w of `LocalHeads.embed`"""


class LocalHeads(nn.Module):
    """The projections of points (two layers, as in the reference) and of pixels into one space."""

    def __init__(self, widths: tuple[int, int], hidden: int, config: PairsConfig, seed: int) -> None:
        super().__init__()
        points, pixels = widths
        with seeded_weights(seed):
            self.point_hidden = HiddenLayer(points, hidden)
            self.point_output = nn.Linear(hidden, config.feature_dim)
            self.convup = nn.Linear(pixels, config.feature_dim)

    def embed(self, rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features of points [B, N, F] and a batch's pairs -> u and w, centred, of any length: [B, S, feature_dim]."""
        points = gather_rows(rows, batch["pair_points"])
        u = self.point_output(self.point_hidden(points.flatten(0, 1))).unflatten(0, points.shape[:2])
        w = self.convup(batch["pair_pixels"])
        return u - u.mean(dim=1, keepdim=True), w - w.mean(dim=1, keepdim=True)

    def loss(self, rows: Tensor, batch: Batch, temperature: float) -> Tensor:
        """L_local."""
        u, w = self.embed(rows, batch)
        return nt_xent(u, w, temperature)


class LocalPairs:
    """The pairs that each step compares, drawn from the stages' arrays for the points that were sampled."""

    def __init__(
        self, config: PairsConfig, pack: ObjectPack, pairs: VisiblePairs, maps: TeacherMaps, sampler: PointSampler
    ) -> None:
        self.config, self.pack, self.pairs, self.maps, self.sampler = config, pack, pairs, maps, sampler

    @classmethod
    def opened(cls, config: PairsConfig, folders: tuple[Path, Path], sampler: PointSampler, views: int) -> "LocalPairs":
        """Over the folders of the stages `pairs` and `maps`. Raises ConfigError: they are of something else."""
        pack, (pairs, maps) = sampler.pack, folders
        opened = VisiblePairs.of(pairs, pack, views), TeacherMaps.of(maps, pack, views)
        return cls(config, pack, *opened, sampler)

    def check(self, objects: Indices) -> None:
        """Raises InfeasibleError for an object of which no sample of the contract's size holds enough pairs."""
        wanted = 1 if self.config.repeat else self.config.per_object
        points = self.sampler.contract.num_points
        few = {}
        for index in objects.tolist():
            counts = np.sort(self.pairs.counts(index)[self.sampler.kept_rows(index)])[::-1]
            if (most := int(counts[:points].sum())) < wanted:
                few[self.pack.manifest.objects[index].key] = most
        if few:
            key = min(few, key=lambda name: few[name])
            more = f" (and {len(few) - 1} more objects have too few)" if len(few) > 1 else ""
            raise InfeasibleError(
                f"{key}: {points} of its points are seen in {few[key]} pixels at most{more}, and pairs.per_object asks "
                f"for {wanted}; lower it, raise points.num_points or teacher.views, leave the object out, or set "
                "pairs.repeat=true to compare some pairs twice"
            )

    def complete(self, objects: Indices, picked: Indices, rng: np.random.Generator) -> Indices:
        """Sampled rows [B, N] that hold `per_object` pairs wherever the object has so many.

        Where a sample falls short, points seen in few views give way to points seen in many: as few as will do. So
        most samples stay what the contract's sampling made them.
        """
        seen = self._seen(objects, picked).sum(axis=2)
        wanted, out = self.config.per_object, picked
        for row in np.flatnonzero(seen.sum(axis=1) < wanted).tolist():
            index = int(objects[row])
            counts = self.pairs.counts(index)
            spare = rng.permutation(np.setdiff1d(self.sampler.kept_rows(index), picked[row]))
            spare = spare[np.argsort(-counts[spare], kind="stable")]
            leaving = np.argsort(seen[row], kind="stable")[: len(spare)]
            gains = np.maximum(counts[spare[: len(leaving)]] - seen[row, leaving], 0)
            changed = int(np.searchsorted(seen[row].sum() + np.cumsum(gains), wanted)) + 1
            changed = min(changed, int(np.count_nonzero(gains)))
            out = picked.copy() if out is picked else out
            out[row, leaving[:changed]] = spare[:changed]
        return out

    def draw(
        self, objects: Indices, picked: Indices, xyz: NDArray[np.float32], rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """The pairs of a batch, of its sampled rows [B, N] at xyz [B, N, 3].

        `pair_points` [B, S] place of each pair's point in the sample, `pair_pixels` [B, S, C] the teacher's features
        at its pixel, `in_pairs` [B, N] bool the points that are in pairs, `pairs_repeated` [B] float their share.
        """
        seen = self._seen(objects, picked)
        return self._batch(objects, picked, draw_pairs(seen, xyz, self.config.per_object, self.config.sampler, rng))

    def one_pixel_each(
        self, objects: Indices, picked: Indices, xyz: NDArray[np.float32], rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """As `draw`, with one pixel of each point and as many points as every object has; for retrieval."""
        seen = self._seen(objects, picked)
        count = min(self.config.per_object, int(seen.any(axis=2).sum(axis=1).min()))
        return self._batch(objects, picked, draw_pairs(seen, xyz, max(count, 1), "sps", rng))

    def retrieval(self, objects: Indices, batch_size: int, embed: Embed) -> dict[str, float]:
        """How often a point's nearest pixel of its object is its own, on objects that did not train; and by chance."""
        rng, found, chance = np.random.default_rng(0), list[float](), list[float]()
        for some in np.array_split(objects, -(-len(objects) // batch_size)):
            picked = self.complete(some, self.sampler.pick(some, rng), rng)
            points = self.sampler.gather(some, picked)
            batch = self.one_pixel_each(some, picked, points[..., :3], rng)
            found += retrieved(*embed(torch.from_numpy(points), batch)).tolist()
            chance += [1 / batch["pair_points"].shape[1]] * len(some)
        return {"val/pixel_top1": float(np.mean(found)), "val/pixel_top1_chance": float(np.mean(chance))}

    def _seen(self, objects: Indices, picked: Indices) -> NDArray[np.bool_]:
        """[B, N, V]; a row that was sampled twice counts once."""
        return self.pairs.seen(objects, picked) & first_times(picked)[..., None]

    def _batch(self, objects: Indices, picked: Indices, pairs: tuple[Indices, Indices, Indices]) -> dict[str, Tensor]:
        points, views, repeated = pairs
        pixels = self.pairs.pixels(objects, np.take_along_axis(picked, points, axis=1), views)
        in_pairs = np.zeros(picked.shape, dtype=bool)
        np.put_along_axis(in_pairs, points, True, axis=1)
        return {
            "pair_points": torch.from_numpy(points),
            "pair_pixels": torch.from_numpy(self.maps.at(objects, views, pixels, self.pack.image_size)),
            "in_pairs": torch.from_numpy(in_pairs),
            "pairs_repeated": torch.from_numpy((repeated / points.shape[1]).astype(np.float32)),
        }


def retrieved(u: Tensor, w: Tensor) -> Tensor:
    """[B] share of the points, [B, S, F], whose nearest pixel of the object by cosine is their own."""
    similarity = nn.functional.normalize(u, dim=-1) @ nn.functional.normalize(w, dim=-1).mT
    own = torch.arange(u.shape[1], device=u.device)
    return (similarity.argmax(dim=-1) == own).float().mean(dim=-1)
