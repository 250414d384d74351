"""From a pack to encoder input as one would write it down: one object, one Gaussian, one number at a time, in float64.

Random numbers are splitmix64 in Python's integers; farthest points are searched by one pass over all points each.
"""

import numpy as np

from ssl_core.contracts import PointsContract
from ssl_core.data.object_pack import Pack

WORD = 2**64
GAMMA = 0x9E3779B97F4A7C15


def plain_mix(word: int) -> int:
    """Last step of splitmix64."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % WORD
    return word ^ (word >> 31)


def plain_bits(seed: int, count: int) -> list[int]:
    """The first words of the splitmix64 sequence of a seed."""
    return [plain_mix((seed + (j + 1) * GAMMA) % WORD) for j in range(count)]


def plain_seed(draw: int, index: int) -> int:
    """Seed of draw number `draw` of object `index`."""
    own = plain_mix((index + 1) * GAMMA % WORD)
    return plain_mix(own ^ plain_mix((draw * GAMMA + 1) % WORD))


def plain_farthest(xyz: np.ndarray, count: int, start: int) -> np.ndarray:
    """The definition: always the point farthest from all chosen ones."""
    xyz = np.asarray(xyz, dtype=np.float64)
    chosen = [start]
    distance = np.full(len(xyz), np.inf)
    while len(chosen) < min(count, len(xyz)):
        distance = np.minimum(distance, ((xyz - xyz[chosen[-1]]) ** 2).sum(1))
        distance[chosen] = -1  # copies of chosen points come last, each once
        chosen.append(int(distance.argmax()))
    return np.array(chosen)


def plain_eligible(pack: Pack, contract: PointsContract, index: int) -> list[int]:
    """Rows of an object that the contract keeps."""
    logits = pack.rows_of(index)[:, 3]
    if contract.alpha_threshold <= pack.manifest.config.alpha_threshold:
        return list(range(len(logits)))
    alphas = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return [row for row in range(len(logits)) if alphas[row] > contract.alpha_threshold]


def plain_order(pack: Pack, contract: PointsContract, index: int, start: int) -> list[int]:
    """A farthest-point order of what the contract keeps, from one of the object's starts."""
    rows, eligible = pack.rows_of(index), plain_eligible(pack, contract, index)
    starts = pack.orders.shape[1]
    if len(eligible) == len(rows):
        first = int(pack.orders[index, start, 0])
    else:
        firsts = np.random.default_rng([pack.manifest.config.seed, index]).permutation(len(eligible))[:starts]
        first = int(firsts[start % len(firsts)])
    order = plain_farthest(rows[eligible, :3], contract.num_points, first)
    return [eligible[i] for i in order]


def plain_pick(pack: Pack, contract: PointsContract, index: int, draw: int) -> list[int]:
    """Rows of object `index` that draw number `draw` takes."""
    eligible = plain_eligible(pack, contract, index)
    seed, count = plain_seed(draw, index), contract.num_points
    if contract.sampling == "fps":
        order = plain_order(pack, contract, index, (plain_seed(0, index) // 2 + draw) % pack.orders.shape[1])
    elif contract.sampling == "uniform_with_replacement":
        return [eligible[(bits >> 32) * len(eligible) >> 32] for bits in plain_bits(seed, count)]
    else:
        keys = []
        alphas = 1 / (1 + np.exp(-pack.rows_of(index)[:, 3].astype(np.float64)))
        for row, bits in enumerate(plain_bits(seed, len(alphas))):
            if row in eligible:
                uniform = (bits >> 33, row)
                weighted = (-np.log1p(-(bits >> 32) / 2**32) / alphas[row], row)
                keys.append(uniform if contract.sampling == "uniform" else weighted)
        order = [row for _, row in sorted(keys)]
    return [order[i % len(order)] for i in range(count)]


def plain_rotation(w: float, x: float, y: float, z: float) -> np.ndarray:
    """[3, 3] local to world, of a quaternion of any norm but zero."""
    w, x, y, z = np.array([w, x, y, z], dtype=np.float64) / np.linalg.norm([w, x, y, z])
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def plain_features(rows: np.ndarray, contract: PointsContract) -> np.ndarray:
    """Encoder input [N, D] of sampled rows [N, 59]."""
    rows = rows.astype(np.float64)
    standardise = contract.standardise_attributes
    centre = rows[:, :3].mean(0)
    radius = max(np.linalg.norm(row[:3] - centre) for row in rows)
    points = []
    for row in rows:
        values: list[float] = []
        for group in contract.features:
            if group == "xyz":
                values += list((row[:3] - centre) / radius)
            elif group == "normals":
                normal = plain_rotation(*row[7:11])[:, int(np.argmin(row[4:7]))]
                values += list(-normal if normal @ (row[:3] - centre) < 0 else normal)
            elif group == "normal_tensor":
                tensor = np.outer(*[plain_rotation(*row[7:11])[:, int(np.argmin(row[4:7]))]] * 2)
                values += [tensor[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
            elif group == "covariance":
                turn, sizes = plain_rotation(*row[7:11]), np.exp(row[4:7]) / radius
                values_of, vectors = np.linalg.eigh(turn @ np.diag(sizes**2) @ turn.T)
                tensor = vectors @ np.diag(np.log(values_of) / 8 + 1) @ vectors.T
                values += [tensor[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
            elif group == "opacity":
                values.append(2 / (1 + np.exp(-row[3])) - 1 if standardise else row[3])
            elif group == "scale":
                values += list(row[4:7] - np.log(radius) + 4 if standardise else row[4:7])
            elif group == "rotation":
                unit = row[7:11] / np.linalg.norm(row[7:11]) * (-1 if row[7] < 0 else 1)
                values += list(unit if standardise else row[7:11])
            else:
                values += list(row[{"sh_dc": slice(11, 14), "sh_rest": slice(14, 59)}.get(group, slice(14, 58))])
        points.append(values)
    return np.array(points)


def plain_draw(pack: Pack, contract: PointsContract, objects: np.ndarray, draw: int) -> np.ndarray:
    """[B, N, D]."""
    return np.stack(
        [plain_features(pack.rows_of(int(i))[plain_pick(pack, contract, int(i), draw)], contract) for i in objects]
    )
