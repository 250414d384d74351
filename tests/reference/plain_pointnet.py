"""PointNet as one reads it in the paper, in float64 and with a loop over points.

Parameters by their published names.
"""

import numpy as np

EPS = 1e-5


class PlainLayers:
    """Linear maps and normalisations of a state dict of arrays."""

    def __init__(self, state: dict[str, np.ndarray], batch_statistics: bool = False) -> None:
        self.state = {name: np.asarray(value, dtype=np.float64) for name, value in state.items()}
        self.batch_statistics = batch_statistics

    def linear(self, name: str, rows: np.ndarray) -> np.ndarray:
        weight = self.state[f"{name}.weight"]
        weight = weight.reshape(weight.shape[0], -1)
        return np.stack([weight @ row for row in rows]) + self.state[f"{name}.bias"]

    def normalise(self, name: str, rows: np.ndarray) -> np.ndarray:
        mean, var = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        if self.batch_statistics:
            mean, var = rows.mean(0), rows.var(0)
        scaled = (rows - mean) / np.sqrt(var + EPS)
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]


def relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.0)


def transform(layers: PlainLayers, prefix: str, clouds: np.ndarray, size: int) -> np.ndarray:
    """[B, N, C] -> [B, size, size]: shared layers 64, 128, 1024, maximum over points, 512, 256, matrix,
    identity.
    """
    batch, points, _ = clouds.shape
    rows = clouds.reshape(batch * points, -1)
    for number in (1, 2, 3):
        rows = relu(layers.normalise(f"{prefix}.bn{number}", layers.linear(f"{prefix}.conv{number}", rows)))
    pooled = rows.reshape(batch, points, -1).max(1)
    pooled = relu(layers.normalise(f"{prefix}.bn4", layers.linear(f"{prefix}.fc1", pooled)))
    pooled = relu(layers.normalise(f"{prefix}.bn5", layers.linear(f"{prefix}.fc2", pooled)))
    matrices = layers.linear(f"{prefix}.fc3", pooled)
    return np.stack([matrix.reshape(size, size) + np.eye(size) for matrix in matrices])


def plain_pointnet(state: dict[str, np.ndarray], x: np.ndarray, *, batch_statistics: bool = False) -> np.ndarray:
    """[B, N, D] -> [B, 512]. A T-Net without parameters in `state` is left out."""
    layers = PlainLayers(state, batch_statistics)
    clouds = np.array(x, dtype=np.float64)
    batch, points, _ = clouds.shape
    if "feat.stn.fc3.weight" in layers.state:
        matrices = transform(layers, "feat.stn", clouds, 3)
        for b in range(batch):
            for n in range(points):
                clouds[b, n, :3] = clouds[b, n, :3] @ matrices[b]
    rows = relu(layers.normalise("feat.bn1", layers.linear("feat.conv1", clouds.reshape(batch * points, -1))))
    if "feat.fstn.fc3.weight" in layers.state:
        matrices = transform(layers, "feat.fstn", rows.reshape(batch, points, -1), 64)
        rows = np.stack([rows[i] @ matrices[i // points] for i in range(len(rows))])
    rows = relu(layers.normalise("feat.bn2", layers.linear("feat.conv2", rows)))
    rows = layers.normalise("feat.bn3", layers.linear("feat.conv3", rows))
    return rows.reshape(batch, points, -1).max(1)
