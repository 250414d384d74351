"""Batches of point-encoder input, gathered from a mapped pack."""

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.features import COLUMNS, assemble, check_groups, sigmoid
from ssl_core.data.pack import Pack
from ssl_core.data.sampling import farthest_point_orders, fit_length, uniform_sample
from ssl_core.errors import InfeasibleError
from ssl_core.models.encoder import PointsContract

Array = NDArray[np.float32]


class PointSampler:
    """Samples the `[N, D]` input of a contract from the objects of a pack.

    Farthest-point samples are prefixes of the pack's cached orders when the contract keeps what the pack keeps;
    with a higher threshold the orders are computed here once, when the sampler is made.

    Raises:
        InfeasibleError: a feature group the pack lacks, a threshold below the pack's or above every Gaussian of an
            object, or more points than any object keeps.
    """

    def __init__(self, pack: Pack, contract: PointsContract, objects: NDArray[np.int64]) -> None:
        check_contract(pack, contract)
        self.pack, self.contract = pack, contract
        self._eligible: dict[int, NDArray[np.int64]] = {}
        self._orders: dict[int, NDArray[np.int64]] = {}
        for index in objects.tolist():
            self._add(index)
        most = max((len(rows) for rows in self._eligible.values()), default=0)
        if contract.num_points > most:
            raise InfeasibleError(
                f"num_points {contract.num_points} is more than any object keeps at alpha_threshold "
                f"{contract.alpha_threshold} (at most {most}); lower num_points or alpha_threshold"
            )

    def _add(self, index: int) -> None:
        contract, pack = self.contract, self.pack
        rows = pack.rows_of(index)
        eligible = np.flatnonzero(sigmoid(np.asarray(rows[:, 3])) > contract.alpha_threshold)
        if len(eligible) == 0:
            key = pack.manifest.objects[index].key
            raise InfeasibleError(f"{key} keeps no Gaussian above alpha_threshold {contract.alpha_threshold}; lower it")
        self._eligible[index] = eligible
        if contract.sampling != "fps":
            return
        cached = pack.orders[index]
        length = min(contract.num_points, len(eligible))
        if len(eligible) == len(rows) and (cached[0, :length] >= 0).all() and length <= cached.shape[1]:
            self._orders[index] = cached[:, :length].astype(np.int64)
        else:
            rng = np.random.default_rng([pack.manifest.config.seed, index])
            xyz = np.ascontiguousarray(rows[eligible, COLUMNS["xyz"]])
            order = farthest_point_orders(xyz, length, len(cached), rng)
            self._orders[index] = eligible[order.astype(np.int64)]

    def sample(self, objects: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """A random draw: [B, N, D] float32."""
        picked = np.stack([self._pick(int(index), rng) for index in objects])
        return self._gather(objects, picked)

    def draw(self, objects: NDArray[np.int64], draw: int) -> Array:
        """Draw number `draw`, the same whenever it is asked for: [B, N, D] float32."""
        picked = np.stack([self._pick(int(index), np.random.default_rng([draw, int(index)])) for index in objects])
        return self._gather(objects, picked)

    def _pick(self, index: int, rng: np.random.Generator) -> NDArray[np.int64]:
        count = self.contract.num_points
        match self.contract.sampling:
            case "fps":
                orders = self._orders[index]
                return fit_length(orders[rng.integers(len(orders))], count)
            case "uniform":
                return uniform_sample(self._eligible[index], count, rng, replacement=False)
            case "uniform_with_replacement":
                return uniform_sample(self._eligible[index], count, rng, replacement=True)

    def _gather(self, objects: NDArray[np.int64], picked: NDArray[np.int64]) -> Array:
        where = self.pack.first_row[objects][:, None] + picked
        rows = np.zeros((*where.shape, 59), dtype=np.float32)
        rows[..., :14] = self.pack.gaussians[where]
        if self.pack.sh_rest is not None:
            rows[..., 14:] = self.pack.sh_rest[where]
        return assemble(rows, self.contract)


def check_contract(pack: Pack, contract: PointsContract) -> None:
    """The part of the check that needs no Gaussian: groups, threshold, an upper bound on the number of points."""
    check_groups(contract, pack.manifest.groups)
    pack.check_threshold(contract.alpha_threshold)
    most = max(item.rows for item in pack.manifest.objects)
    if contract.num_points > most:
        raise InfeasibleError(
            f"num_points {contract.num_points} is more than any object of the pack keeps (at most {most}); lower it"
        )
