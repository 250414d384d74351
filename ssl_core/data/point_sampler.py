"""Batches of point-encoder input, gathered from a mapped pack without a loop over samples."""

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ssl_core.contracts import FEATURE_WIDTH, PointsContract
from ssl_core.data.cached_orders import alphas_for, orders_for
from ssl_core.data.object_pack import Pack
from ssl_core.data.point_columns import REST_GROUPS, check_groups, spans, write_geometry
from ssl_core.data.sampling import (
    Bits,
    Indices,
    random_bits,
    seeds,
    smallest,
    uniform_below,
    uniform_keys,
    weighted_keys,
)
from ssl_core.errors import InfeasibleError, PackError

Array = NDArray[np.float32]

_KEYS = 2**21
"""Random keys drawn at a time (16 MiB each of keys and of what they are made from), however large the batch."""
_ROWS = 2**14
"""Rows gathered at a time: what is computed from them then stays in the processor's cache."""


class PointSampler:
    """Samples the `[N, D]` input of a contract from the objects of a pack.

    Farthest-point samples are prefixes of the pack's cached orders when the contract keeps what the pack keeps and
    asks for no more points than they have; otherwise of orders computed once per node (`cached_orders`). Random
    samples are drawn anew each time. An object that keeps fewer Gaussians than `num_points` has its sample repeated in
    order, which leaves max-pooled features unchanged.

    Args:
        objects: indices of the objects that will be sampled from.

    Raises:
        InfeasibleError: a feature group the pack lacks, a threshold below the pack's or above every Gaussian of an
            object, or more points than any object keeps.
        StorageError: orders must be computed and cannot be kept anywhere.
    """

    def __init__(self, pack: Pack, contract: PointsContract, objects: Indices) -> None:
        check_contract(pack, contract)
        self.pack, self.contract = pack, contract
        self._geometry = np.asarray(pack.gaussians)
        self._sh_rest = None if pack.sh_rest is None else np.asarray(pack.sh_rest)
        self._filtered = contract.alpha_threshold > pack.manifest.config.alpha_threshold
        wants_alphas = self._filtered or contract.sampling == "opacity_weighted"
        self._alphas = alphas_for(pack, objects) if wants_alphas else None
        self._kept = np.zeros(len(pack.manifest.objects), dtype=np.int64)
        self._kept[objects] = self._count(objects)
        self._check_kept(objects)
        self._orders = self._find_orders(objects) if contract.sampling == "fps" else None

    def _count(self, objects: Indices) -> Indices:
        """How many Gaussians of each object the contract keeps."""
        rows = self.pack.num_rows[objects]
        if self._alphas is None or not self._filtered:
            return rows
        pairs = zip(self.pack.first_row[objects], rows, strict=True)
        above = [np.count_nonzero(self._alphas[a : a + n] > self.contract.alpha_threshold) for a, n in pairs]
        return np.array(above, dtype=np.int64)

    def _check_kept(self, objects: Indices) -> None:
        kept, contract = self._kept[objects], self.contract
        if len(objects) and kept.min() == 0:
            empty = objects[kept == 0]
            key = self.pack.manifest.objects[int(empty[0])].key
            more = f" (nor do {len(empty) - 1} more objects)" if len(empty) > 1 else ""
            raise InfeasibleError(
                f"{key} keeps no Gaussian above alpha_threshold {contract.alpha_threshold}{more}; lower it"
            )
        most = int(kept.max(initial=0))
        if contract.num_points > most:
            raise InfeasibleError(
                f"num_points {contract.num_points} is more than any object keeps at alpha_threshold "
                f"{contract.alpha_threshold} (at most {most}); lower num_points or alpha_threshold"
            )

    def _find_orders(self, objects: Indices) -> NDArray[np.int32]:
        cached = self.pack.orders.shape[2]
        wanted = self.contract.num_points
        longest = min(wanted, int(self.pack.num_rows[objects].max()))
        if not self._filtered and longest <= cached:
            return np.asarray(self.pack.orders)
        # one file serves every number of points that the pack's own orders would serve
        length = max(wanted, cached)
        return np.asarray(orders_for(self.pack, self.contract.alpha_threshold, length, objects))

    def sample(self, objects: Indices, rng: np.random.Generator, out: Array | None = None) -> Array:
        """A random draw: [B, N, D] float32, written into `out` where it is given (contiguous or not)."""
        return self.gather(objects, self.pick(objects, rng), out)

    def pick(self, objects: Indices, rng: np.random.Generator) -> Indices:
        """The rows of a random draw, within each object: [B, N]."""
        seed = rng.integers(0, 2**64, size=len(objects), dtype=np.uint64)
        return self._pick(objects, seed, seed)

    def draw(self, objects: Indices, draw: int, out: Array | None = None) -> Array:
        """Draw number `draw`, the same whenever it is asked for: [B, N, D] float32.

        What an object gets depends on the draw and the object, not on the others. Consecutive draws take different
        farthest-point starts, as many as the pack has.
        """
        turn = seeds(0, objects) // np.uint64(2) + np.uint64(draw)
        return self.gather(objects, self._pick(objects, seeds(draw, objects), turn), out)

    def kept_rows(self, index: int) -> Indices:
        """The rows of one object that the contract keeps."""
        return np.flatnonzero(self._eligible(np.array([index]))[0])

    def _pick(self, objects: Indices, seed: Bits, turn: Bits) -> Indices:
        """[B, N] rows within each object. `turn` [B] chooses among cached orders, `seed` [B] everything random."""
        objects = np.asarray(objects, dtype=np.int64)
        if (self._kept[objects] == 0).any():
            raise ValueError("an object is sampled that was not given to this sampler when it was made")
        if self._orders is not None:
            return self._from_orders(objects, turn)
        step = max(1, _KEYS // int(self.pack.num_rows[objects].max(initial=1)))
        parts = [self._at_random(objects[i : i + step], seed[i : i + step]) for i in range(0, len(objects), step)]
        return np.concatenate(parts)

    def _from_orders(self, objects: Indices, turn: Bits) -> Indices:
        assert self._orders is not None
        count = self.contract.num_points
        starts = (turn % np.uint64(self._orders.shape[1])).astype(np.int64)
        kept = self._kept[objects]
        if kept.min() >= count:
            picked = self._orders[objects, starts, :count]
        else:
            columns = np.arange(count) % np.minimum(kept, count)[:, None]
            picked = self._orders[objects[:, None], starts[:, None], columns]
        if picked.min() < 0 or (picked >= self.pack.num_rows[objects][:, None]).any():
            raise PackError(f"{self.pack.path / 'orders.npy'} names Gaussians that are not there; make the pack again")
        return picked.astype(np.int64)

    def _at_random(self, objects: Indices, seed: Bits) -> Indices:
        contract, kept = self.contract, self._kept[objects]
        if contract.sampling == "uniform_with_replacement":
            picked = uniform_below(random_bits(seed, contract.num_points), kept)
            if not self._filtered:
                return picked
            columns = np.nonzero(self._eligible(objects)[0])[1]
            return np.take(columns, (np.cumsum(kept) - kept)[:, None] + picked)
        eligible, alphas = self._eligible(objects)
        bits = random_bits(seed, eligible.shape[1])
        match contract.sampling:
            case "uniform":
                keys = uniform_keys(bits)
            case "opacity_weighted":
                keys = weighted_keys(bits, alphas)
            case "fps":
                raise AssertionError("farthest points are not drawn at random")
            case _:
                assert_never(contract.sampling)
        picked = smallest(keys, eligible, contract.num_points)
        if kept.min() >= contract.num_points:
            return picked
        return np.take_along_axis(
            picked, np.arange(contract.num_points) % np.minimum(kept, picked.shape[1])[:, None], 1
        )

    def _eligible(self, objects: Indices) -> tuple[NDArray[np.bool_], Array]:
        """[B, M] which of the first M rows of each object are kept, and their alphas (one where none are needed)."""
        rows = self.pack.num_rows[objects]
        columns = np.arange(int(rows.max()))
        eligible = columns < rows[:, None]
        if self._alphas is None:
            return eligible, np.ones(1, dtype=np.float32)
        where = np.minimum(self.pack.first_row[objects][:, None] + columns, len(self._alphas) - 1)
        alphas: Array = np.take(self._alphas, where)
        if self._filtered:
            eligible &= alphas > self.contract.alpha_threshold
        return eligible, alphas

    def gather(self, objects: Indices, picked: Indices, out: Array | None = None) -> Array:
        """The points of rows [B, N] within each object: [B, N, D] float32, written into `out` where it is given."""
        contract = self.contract
        if out is None:
            out = np.empty((*picked.shape, contract.columns), dtype=np.float32)
        where = self.pack.first_row[objects][:, None] + picked
        step = max(1, _ROWS // contract.num_points)
        for i in range(0, len(where), step):
            write_geometry(out[i : i + step], np.take(self._geometry, where[i : i + step], axis=0), contract)
        for group, span in spans(contract):
            if group in REST_GROUPS and self._sh_rest is not None:
                width = FEATURE_WIDTH[group]
                for i in range(0, len(where), step):
                    out[i : i + step, :, span] = np.take(self._sh_rest, where[i : i + step], axis=0)[..., :width]
        return out


def check_contract(pack: Pack, contract: PointsContract) -> None:
    """The part of the check that needs no Gaussian: groups, threshold, an upper bound on the number of points.

    Raises:
        InfeasibleError: the pack cannot serve the contract; the text says which of its files lack what is asked.
    """
    check_groups(contract, pack.manifest.groups, _why_no_sh(pack))
    pack.check_threshold(contract.alpha_threshold)
    most = int(pack.num_rows.max())
    if contract.num_points > most:
        raise InfeasibleError(
            f"num_points {contract.num_points} is more than any object of the pack keeps (at most {most}); lower it"
        )


def _why_no_sh(pack: Pack) -> str:
    """Which objects have no higher SH coefficients, and what was noted about their files."""
    without = [item for item in pack.manifest.objects if item.sh_degree == 0]
    if not without:
        return ""
    noted = sorted(pack.manifest.notes.items(), key=lambda item: -item[1])[:3]
    notes = "; noted: " + ", ".join(f"{text} ({count})" for text, count in noted) if noted else ""
    return (
        f"{len(without)} of {len(pack.manifest.objects)} objects have colours of SH degree 0 ({without[0].key}){notes}"
    )
