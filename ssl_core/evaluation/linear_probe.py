"""A linear layer on frozen features, trained by gradient: what most papers call linear probing.

Multinomial logistic regression on standardised features,

    mean_i cross_entropy(W x_i + b, y_i)  +  weight_decay / 2 |W|^2,

with all labelled objects in every step (L-BFGS, Liu & Nocedal 1989). The objective is strictly convex in W, so there is
one answer: no rate, no batch size, no order of the objects, and the seed of the first weights leaves nothing behind but
rounding. With stochastic gradient descent each of these would be another source of variation.

Features of networks lie close to a few directions, and plain gradients crawl along the rest. So the data are turned to
their principal axes, which changes neither the objective nor its answer, and each axis is scaled by the curvature that
the objective has along it at W = 0. That takes a tenth of the steps.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from ssl_core.errors import DivergedError
from ssl_core.evaluation.probes import Features, Labels, ProbeResult

WEIGHT_DECAY = 1e-2
"""Against the mean loss; scikit-learn's C is 1 / (weight_decay * n)."""
EPOCHS = 100
"""Steps at most; fewer where the gradient vanishes."""

Array = NDArray[np.float64]


def linear_probe(
    train_x: Features,
    train_y: Labels,
    test_x: Features,
    test_y: Labels,
    *,
    seed: int = 0,
    weight_decay: float = WEIGHT_DECAY,
    epochs: int = EPOCHS,
) -> ProbeResult:
    """Fit on `train_x [n, F]`, `train_y [n]`; predict `test_x [m, F]`; score against `test_y [m]`.

    With labels of one class only, that class is predicted everywhere.

    Args:
        train_x, train_y, test_x, test_y: as in `probes.linear_svm`.
        seed: of the first weights.
        weight_decay: above 0, or separable classes have no optimum.
        epochs: steps over all labelled objects at most.

    Raises:
        DivergedError: a feature is NaN or infinite.
    """
    assert len(train_x) == len(train_y) > 0, "one label per training feature, and at least one"
    assert len(test_x) == len(test_y) > 0, "one label per test feature, and at least one"
    assert weight_decay > 0, "separable classes have no optimum without weight decay"
    if not (np.isfinite(train_x).all() and np.isfinite(test_x).all()):
        raise DivergedError("features hold NaN or infinity: the encoder diverged and cannot be probed")
    classes, targets = np.unique(train_y, return_inverse=True)
    from sklearn.preprocessing import StandardScaler  # see `probes`

    scaler = StandardScaler().fit(train_x.astype(np.float64))
    x = scaler.transform(train_x.astype(np.float64))
    axes, variances = _principal(x)
    if len(classes) == 1 or axes.shape[1] == 0:  # nothing to tell apart, or nothing to tell by
        commonest = classes[np.bincount(targets).argmax()]
        return _scored(np.full(len(test_y), commonest), test_y)
    scales = 1 / np.sqrt(variances / len(classes) + weight_decay)
    weight, bias = _optimum(x @ axes, np.eye(len(classes))[targets], scales, weight_decay, epochs, seed)
    logits = scaler.transform(test_x.astype(np.float64)) @ (axes @ weight) + bias
    return _scored(classes[logits.argmax(axis=1)], test_y)


def _principal(x: Array) -> tuple[Array, Array]:
    """Orthonormal directions [F, r] in which the centred `x` [n, F] varies, and its variances [r] along them."""
    n, width = x.shape
    gram = (x @ x.T if n < width else x.T @ x) / n
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-10 * max(float(values[-1]), 1e-12)
    if n < width:  # eigenvectors of x x^T, taken to those of x^T x
        return x.T @ (vectors[:, kept] / np.sqrt(n * values[kept])), values[kept]
    return vectors[:, kept], values[kept]


def _optimum(
    z: Array, onehot: Array, scales: Array, weight_decay: float, epochs: int, seed: int
) -> tuple[Array, Array]:
    """Weights [r, K] and biases [K] for `z` [n, r] and `onehot` [n, K]; searched in units of `scales` [r]."""
    n, count = onehot.shape
    r = z.shape[1]

    def objective(flat: Array) -> tuple[float, Array]:
        weight = flat[: r * count].reshape(r, count) * scales[:, None]
        logs = log_softmax(z @ weight + flat[r * count :], axis=1)
        residual = (np.exp(logs) - onehot) / n
        gradient = (z.T @ residual + weight_decay * weight) * scales[:, None]
        loss = -(logs * onehot).sum() / n + 0.5 * weight_decay * (weight**2).sum()
        return float(loss), np.concatenate([gradient.reshape(-1), residual.sum(axis=0)])

    start = np.zeros((r + 1) * count)
    start[: r * count] = 0.01 * np.random.default_rng(seed).normal(size=r * count)
    options = {"maxiter": epochs, "gtol": 1e-7, "ftol": 1e-12}
    found: Array = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    return found[: r * count].reshape(r, count) * scales[:, None], found[r * count :]


def _scored(predictions: NDArray[np.integer], truth: Labels) -> ProbeResult:
    return ProbeResult(accuracy=float((predictions == truth).mean()), predictions=predictions.astype(np.int64))
