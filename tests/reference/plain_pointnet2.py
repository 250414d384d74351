"""PointNet++ as one reads it in the paper, in float64 and with loops over centres and points.

Multi-scale grouping with published parameter names; the first `centres` points are the centres, unless they are
searched.
"""

import numpy as np

from tests.reference.plain_pointnet import PlainLayers, relu
from tests.reference.plain_sampling import plain_farthest

SCALES = (
    ((0.1, 16), (0.2, 32), (0.4, 128)),
    ((0.2, 32), (0.4, 64), (0.8, 128)),
)


def ball(xyz: np.ndarray, centre: np.ndarray, radius: float, count: int) -> list[int]:
    """Indices of the first `count` points inside the ball, the first repeated until there are `count`."""
    found = []
    for i in range(len(xyz)):
        if ((xyz[i] - centre) ** 2).sum() <= radius**2:
            found.append(i)
        if len(found) == count:
            break
    return found + [found[0]] * (min(count, len(xyz)) - len(found))


def farthest(xyz: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` points (of all, where there are fewer), the first one first."""
    return plain_farthest(xyz, min(count, len(xyz)), 0)


def shared_network(layers: PlainLayers, linear: str, norm: str, groups: np.ndarray) -> np.ndarray:
    """[G, K, C] -> [G, out]: three layers on every row, maximum over each group."""
    rows = groups.reshape(-1, groups.shape[-1])
    for number in range(3):
        rows = relu(layers.normalise(f"{norm}.{number}", layers.linear(f"{linear}.{number}", rows)))
    return rows.reshape(*groups.shape[:2], -1).max(1)


def plain_pointnet2_msg(
    state: dict[str, np.ndarray],
    x: np.ndarray,
    *,
    centres: tuple[int, int] = (512, 128),
    batch_statistics: bool = False,
    search: bool = False,
) -> np.ndarray:
    """[B, N, D] -> [B, 512]. `search`: the centres are farthest points, not the first ones."""
    layers = PlainLayers(state, batch_statistics)
    x = np.asarray(x, dtype=np.float64)
    batch = len(x)
    xyz, features = x[..., :3], x[..., 3:]
    for stage, scales in enumerate(SCALES, start=1):
        centre_xyz = xyz[:, : centres[stage - 1]]
        if search:
            centre_xyz = np.stack([cloud[farthest(cloud, centres[stage - 1])] for cloud in xyz])
        outputs = []
        for scale, (radius, count) in enumerate(scales):
            groups = []
            for b in range(batch):
                for centre in centre_xyz[b]:
                    members = ball(xyz[b], centre, radius, count)
                    groups.append([np.concatenate([features[b, i], xyz[b, i] - centre]) for i in members])
            names = (f"sa{stage}.conv_blocks.{scale}", f"sa{stage}.bn_blocks.{scale}")
            outputs.append(shared_network(layers, *names, np.array(groups)))
        features = np.concatenate(outputs, axis=-1).reshape(batch, centre_xyz.shape[1], -1)
        xyz = centre_xyz
    groups = np.concatenate([xyz, features], axis=-1)
    return shared_network(layers, "sa3.mlp_convs", "sa3.mlp_bns", groups)
