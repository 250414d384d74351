"""The plain map of an encoder's features: their first two principal components.

Unlike t-SNE it keeps distances, and its axes say how much of the whole they show.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from ssl_core.evaluation.embedding_plot import GREY, INK, png, scatter_classes


def principal_components(features: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[n, F] → places [n, 2] of the standardised features, and the shares of their variance that the two axes hold."""
    x = StandardScaler().fit_transform(features.astype(np.float64))
    left, sizes, _ = np.linalg.svd(x, full_matrices=False)
    total = float((sizes**2).sum())
    places = np.zeros((len(x), 2))
    shares = np.zeros(2)
    width = min(2, len(sizes))
    places[:, :width] = left[:, :width] * sizes[:width]
    if total > 0:  # a constant encoder has no direction
        shares[:width] = sizes[:width] ** 2 / total
    return places, shares


def pca_png(
    features: NDArray[np.floating], labels: NDArray[np.integer], class_names: Sequence[str], title: str
) -> bytes:
    """PNG of the first two principal components of `features [n, F]`, coloured by `labels [n]`."""
    places, shares = principal_components(features)
    figure = Figure(figsize=(7.6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    scatter_classes(axes, places, labels, class_names)
    axes.set_xlabel(f"first principal component ({100 * shares[0]:.0f} % of the variance)", fontsize=9, color=GREY)
    axes.set_ylabel(f"second ({100 * shares[1]:.0f} %)", fontsize=9, color=GREY)
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.tick_params(labelsize=8, colors=GREY)
    if len(class_names) <= 40:
        figure.legend(loc="outside right center", fontsize=8, frameon=False)
    for side in axes.spines.values():
        side.set_color("#d1d5db")
    return png(figure)
