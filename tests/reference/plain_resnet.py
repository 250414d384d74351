"""ResNet-18 as one reads it in the paper (He, Zhang, Ren, Sun 2016), in float64.

Parameters by their published names.
"""

import numpy as np

EPS = 1e-5
Arrays = dict[str, np.ndarray]


def convolve(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """[B, C, H, W] with [out, C, k, k] -> [B, out, H', W'], zeros around so that stride 1 keeps the size."""
    size, margin = weight.shape[2], weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    rows = range(0, padded.shape[2] - size + 1, stride)
    columns = range(0, padded.shape[3] - size + 1, stride)
    out = np.zeros((len(x), len(weight), len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = padded[:, :, row : row + size, column : column + size].reshape(len(x), -1)
            out[:, :, i, j] = window @ weight.reshape(len(weight), -1).T
    return out


def normalise(state: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    """Batch normalisation with running statistics."""

    def channel(leaf: str) -> np.ndarray:
        return state[f"{name}.{leaf}"][:, None, None]

    scaled = (x - channel("running_mean")) / np.sqrt(channel("running_var") + EPS)
    return scaled * channel("weight") + channel("bias")


def halve(x: np.ndarray) -> np.ndarray:
    """Maximum over 3 by 3 pixels at every other pixel."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    height, width = (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2
    out = np.empty((*x.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            out[:, :, i, j] = padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((2, 3))
    return out


def block(state: Arrays, name: str, x: np.ndarray, stride: int) -> np.ndarray:
    """Two 3 by 3 layers beside a shortcut, which is a 1 by 1 layer where the shape changes."""
    inner = np.maximum(normalise(state, f"{name}.bn1", convolve(x, state[f"{name}.conv1.weight"], stride)), 0)
    inner = normalise(state, f"{name}.bn2", convolve(inner, state[f"{name}.conv2.weight"], 1))
    if f"{name}.downsample.0.weight" in state:
        x = convolve(x, state[f"{name}.downsample.0.weight"], stride)
        x = normalise(state, f"{name}.downsample.1", x)
    return np.maximum(inner + x, 0)


def plain_resnet18(state: Arrays, x: np.ndarray) -> np.ndarray:
    """[B, 3, H, W] -> [B, 512]."""
    state = {name: np.asarray(value, dtype=np.float64) for name, value in state.items()}
    x = np.asarray(x, dtype=np.float64)
    x = halve(np.maximum(normalise(state, "bn1", convolve(x, state["conv1.weight"], 2)), 0))
    for layer in (1, 2, 3, 4):
        for number in (0, 1):
            x = block(state, f"layer{layer}.{number}", x, 2 if layer > 1 and number == 0 else 1)
    return x.mean((2, 3))
