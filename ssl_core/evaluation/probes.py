"""Probes: how well frozen features separate classes, and which labels a probe may see.

* `one_scale_svm`: a support vector machine with linear kernel and C=1 (one-versus-one) on features in one scale. It
  knows of the features only their inner products about a common centre, so that rotating them changes nothing.
* `linear_svm`: the same after StandardScaler, the probe of the cross-modal reference. Which columns are scaled, and so
  what it finds with few labels, depends on the basis that the features are written in.
* `knn`: the k nearest training objects by cosine similarity vote; summed similarity decides equal counts.
* `linear_probe`: a linear layer trained by gradient, what most papers call linear probing.

The linear probe is multinomial logistic regression on standardised features,

    mean_i cross_entropy(W x_i + b, y_i)  +  weight_decay / 2 |W|^2,

with all labelled objects in every step (L-BFGS, Liu & Nocedal 1989). The objective is strictly convex in W, so there is
one answer: no rate, no batch size, no order of the objects, and the seed of the first weights leaves nothing behind but
rounding. Features of networks lie close to a few directions, and plain gradients crawl along the rest. So the data are
turned to their principal axes, which changes neither the objective nor its answer, and each axis is scaled by the
curvature that the objective has along it at W = 0. That takes a tenth of the steps.

`draw_labels` picks the labelled objects. A draw depends on its seed and on the class alone, and larger draws
contain smaller ones of the same seed: two encoders probed with the same seed see the same objects, and a
label curve is read along growing sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from ssl_core.errors import ConfigError, DivergedError

Features = NDArray[np.floating]
Labels = NDArray[np.integer]


@dataclass(frozen=True)
class ProbeResult:
    """accuracy in [0, 1] over the test objects; predictions [test objects] int64 labels."""

    accuracy: float
    predictions: NDArray[np.int64]


def linear_svm(train_x: Features, train_y: Labels, test_x: Features, test_y: Labels, C: float = 1.0) -> ProbeResult:
    """Fit on `train_x [n, F]`, `train_y [n]`; predict `test_x [m, F]`; score against `test_y [m]`.

    With labels of one class only, that class is predicted everywhere.

    Raises DivergedError: a feature is NaN or infinite.
    """
    _check(train_x, train_y, test_x, test_y)
    if len(np.unique(train_y)) == 1:
        return _scored(np.full(len(test_y), train_y[0]), test_y)
    from sklearn.preprocessing import StandardScaler  # a second, which a driver that only names probes is spared
    from sklearn.svm import SVC

    scaler = StandardScaler().fit(train_x.astype(np.float64))
    machine = SVC(kernel="linear", C=C, cache_size=500)
    machine.fit(scaler.transform(train_x.astype(np.float64)), train_y)
    return _scored(machine.predict(scaler.transform(test_x.astype(np.float64))), test_y)


def one_scale_svm(
    train_x: Features,
    train_y: Labels,
    test_x: Features,
    test_y: Labels,
    C: float = 1.0,
    *,
    reference: Features | None = None,
) -> ProbeResult:
    """As `linear_svm`, after one shift and one scale for all columns: the mean column variance of `reference` is 1.

    `reference` [r, F] needs no labels: all training objects, or those with labels when left out. What is predicted
    depends on distances between features and on nothing else, whatever rotation they went through.
    """
    _check(train_x, train_y, test_x, test_y)
    if len(np.unique(train_y)) == 1:
        return _scored(np.full(len(test_y), train_y[0]), test_y)
    from sklearn.svm import SVC  # see `linear_svm`

    known = (train_x if reference is None else reference).astype(np.float64)
    centre, scale = known.mean(axis=0), np.sqrt(known.var(axis=0).mean())
    x, tests = ((some.astype(np.float64) - centre) / max(float(scale), 1e-12) for some in (train_x, test_x))
    machine = SVC(kernel="precomputed", C=C, cache_size=500).fit(x @ x.T, train_y)
    return _scored(machine.predict(tests @ x.T), test_y)


def knn(train_x: Features, train_y: Labels, test_x: Features, test_y: Labels, k: int = 5) -> ProbeResult:
    """Vote of the `min(k, n)` most similar training objects (cosine); shapes and errors as in `linear_svm`."""
    _check(train_x, train_y, test_x, test_y)
    k = min(k, len(train_y))
    similarity = unit(test_x) @ unit(train_x).T  # [m, n]
    near = np.argpartition(-similarity, k - 1, axis=1)[:, :k]  # [m, k]
    classes, votes_for = np.unique(train_y, return_inverse=True)
    # similarities sum to at most k in magnitude: scaled below one half they settle ties and nothing else
    weight = 1.0 + np.take_along_axis(similarity, near, axis=1) / (2 * k + 1)
    scores = np.zeros((len(test_y), len(classes)))
    np.add.at(scores, (np.arange(len(test_y))[:, None], votes_for[near]), weight)
    return _scored(classes[scores.argmax(axis=1)], test_y)


def draw_labels(
    labels: ArrayLike | Sequence[int], *, per_class: int | None = None, fraction: float | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """Sorted indices into `labels [n]` of one stratified draw.

    Args:
        labels: class of each object.
        per_class: objects kept per class; a class with fewer gives all it has.
        fraction: keep `max(1, int(fraction * n_c))` of the `n_c` objects of each class: no class can vanish.
        seed: which draw. Without `per_class` and `fraction` all objects are kept, whatever the seed.

    Raises ConfigError: both amounts are given, or one is out of range.
    """
    values = np.asarray(labels)
    if per_class is not None and fraction is not None:
        raise ConfigError("draw_labels takes per_class or fraction, not both; drop one")
    if per_class is not None and per_class < 1:
        raise ConfigError(f"per_class must be at least 1 (got {per_class})")
    if fraction is not None and not 0.0 < fraction <= 1.0:
        raise ConfigError(f"fraction must be above 0 and at most 1 (got {fraction})")
    kept = []
    for name in np.unique(values):
        members = np.flatnonzero(values == name)
        if per_class is not None:
            count = min(per_class, len(members))
        elif fraction is not None:
            count = max(1, int(fraction * len(members)))
        else:
            count = len(members)
        order = np.random.default_rng([seed, int(name)]).permutation(len(members))
        kept.append(members[order[:count]])
    return np.sort(np.concatenate(kept)).astype(np.int64) if kept else np.empty(0, np.int64)


def _check(train_x: Features, train_y: Labels, test_x: Features, test_y: Labels) -> None:
    assert len(train_x) == len(train_y) > 0, "one label per training feature, and at least one"
    assert len(test_x) == len(test_y) > 0, "one label per test feature, and at least one"
    if not (np.isfinite(train_x).all() and np.isfinite(test_x).all()):
        raise DivergedError("features hold NaN or infinity: the encoder diverged and cannot be probed")


def _scored(predictions: NDArray[np.integer], truth: Labels) -> ProbeResult:
    return ProbeResult(accuracy=float((predictions == truth).mean()), predictions=predictions.astype(np.int64))


def unit(x: Features) -> NDArray[np.float64]:
    """Rows scaled to unit length; zero rows stay zero."""
    wide = x.astype(np.float64)
    norm: NDArray[np.float64] = np.linalg.norm(wide, axis=1, keepdims=True)
    scaled: NDArray[np.float64] = wide / np.maximum(norm, 1e-12)
    return scaled


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
    """As `linear_svm`, by at most `epochs` steps from weights that `seed` draws."""
    _check(train_x, train_y, test_x, test_y)
    assert weight_decay > 0, "separable classes have no optimum without weight decay"
    classes, targets = np.unique(train_y, return_inverse=True)
    from sklearn.preprocessing import StandardScaler  # see `linear_svm`

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
