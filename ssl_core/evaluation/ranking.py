"""Retrieval: does the nearest neighbour of a query, by cosine of the features, belong to it?

Asked across views (`across_views`), across modalities (`across_modalities`), or as `retrieve` with any labels.

*Average precision* is the mean, over all that is relevant, of the precision at its rank. *Recall@k* is 1 if anything
relevant stands among the first k, as metric learning counts it (Oh Song et al. 2016). All numbers are per query; their
means and intervals (`statistics.bootstrap_mean`, over queries) are the caller's. Equal similarities rank in the order
of the gallery.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import ConfigError, DivergedError, InfeasibleError
from ssl_core.evaluation.probes import Features, Labels, unit

KS = (1, 5, 10)
NEIGHBOURS = 5
"""So many nearest of each query are kept, for pictures."""
_BLOCK = 2**20
"""Similarities ranked at a time: about 50 MiB with what the ranking needs."""


@dataclass(frozen=True)
class Retrieval:
    """What the queries found. A query without anything relevant in the gallery is left out of all arrays.

    queries: [a] which of the queries these are, ascending.
    average_precision: [a] in [0, 1].
    recall: k → [a] of 0 and 1.
    neighbours: [a, 5] places in the gallery, nearest first; -1 where the gallery is too small.
    """

    queries: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    recall: Mapping[int, NDArray[np.float64]]
    neighbours: NDArray[np.int64]


@dataclass(frozen=True)
class BothLevels:
    """One retrieval counted twice: the same object is relevant; any *other* object of the same class is."""

    same_object: Retrieval
    same_class: Retrieval


@dataclass(frozen=True)
class AcrossModalities:
    """Points ask for images, images ask for points."""

    points_to_images: BothLevels
    images_to_points: BothLevels


def retrieve(
    queries: Features,
    gallery: Features,
    query_labels: Labels,
    gallery_labels: Labels,
    *,
    exclude_self: bool = False,
    own: tuple[Labels, Labels] | None = None,
    ks: Sequence[int] = KS,
) -> Retrieval:
    """Rank the gallery for each query by cosine similarity; what has the query's label is relevant.

    Args:
        queries, gallery: [q, F] and [g, F], with labels [q] and [g].
        exclude_self: the gallery is the queries; each is left out of its own ranking.
        own: identities [q] and [g]; what has the query's identity is left out of its ranking.
        ks: recall@k is told for these.

    Raises:
        ConfigError: the widths of the features differ, or a k is below 1.
        DivergedError: a feature is NaN or infinite.
        InfeasibleError: no query has anything relevant to find.
    """
    _check(queries, gallery, ks)
    if exclude_self:
        assert own is None, "exclude_self and own say the same"
        own = (np.arange(len(queries)), np.arange(len(gallery)))
    unit_queries, unit_gallery = unit(queries), unit(gallery)
    count, precision = np.zeros(len(queries), dtype=np.int64), np.zeros(len(queries))
    recall = {k: np.zeros(len(queries)) for k in ks}
    neighbours = np.full((len(queries), NEIGHBOURS), -1, dtype=np.int64)
    step = max(1, _BLOCK // len(gallery))
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        similarity = unit_queries[some] @ unit_gallery.T  # [b, g]
        relevant = query_labels[some, None] == gallery_labels[None]
        if own is not None:
            left_out = own[0][some, None] == own[1][None]
            similarity[left_out], relevant[left_out] = -np.inf, False
        order = np.argsort(-similarity, axis=1, kind="stable")
        hits = np.take_along_axis(relevant, order, axis=1)
        count[some] = hits.sum(axis=1)
        precision[some] = _average_precision(hits)
        for k in ks:
            recall[k][some] = hits[:, :k].any(axis=1)
        shown = order[:, :NEIGHBOURS]
        allowed = np.isfinite(np.take_along_axis(similarity, shown, axis=1))
        neighbours[some, : shown.shape[1]] = np.where(allowed, shown, -1)
    found = count > 0
    if not found.any():
        raise InfeasibleError("no query has anything relevant in the gallery; retrieval needs two of a kind")
    kept = {k: values[found] for k, values in recall.items()}
    return Retrieval(np.flatnonzero(found), precision[found], kept, neighbours[found])


def _average_precision(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[b] of what is relevant by rank [b, g]; 0 where nothing is."""
    at_rank = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    mean: NDArray[np.float64] = (at_rank * hits).sum(axis=1) / np.maximum(hits.sum(axis=1), 1)
    return mean


def across_views(features: Features, labels: Labels, *, seed: int = 0, ks: Sequence[int] = KS) -> BothLevels:
    """One seeded view of each object asks for the object's other views, and for views of others of its class.

    Features are [n, V, F] of V >= 2 views, labels [n] classes. The gallery are the views that do not ask, V - 1 of each
    object in their order (`gallery_views`). Raises as `retrieve`.
    """
    objects, views, width = features.shape
    asking, others = gallery_views(objects, views, seed)
    gallery = np.take_along_axis(features, others[:, :, None], axis=1).reshape(-1, width)
    owner = np.repeat(np.arange(objects), views - 1)
    return _both(features[np.arange(objects), asking], gallery, labels, np.arange(objects), owner, ks)


def gallery_views(objects: int, views: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of `across_views`: the view of each object that asks [n], and the others [n, V - 1], ascending."""
    asking = np.random.default_rng([23, seed]).integers(0, views, size=objects)
    others = np.arange(views - 1)[None] + (np.arange(views - 1)[None] >= asking[:, None])
    return asking, others


def across_modalities(
    points: Features, images: Features, labels: Labels, *, ks: Sequence[int] = KS
) -> AcrossModalities:
    """Each object's points ask for its image, and for images of others of its class; and the reverse.

    Both are [n, F], of encoders that were trained together; views are pooled. Raises as `retrieve`.
    """
    place = np.arange(len(labels))
    return AcrossModalities(
        points_to_images=_both(points, images, labels, place, place, ks),
        images_to_points=_both(images, points, labels, place, place, ks),
    )


def part_to_whole(parts: Features, wholes: Features, labels: Labels, *, ks: Sequence[int] = KS) -> BothLevels:
    """What is left of each object asks for the whole object, and for others of its class; both are [n, F]."""
    place = np.arange(len(labels))
    return _both(parts, wholes, labels, place, place, ks)


def _both(
    queries: Features,
    gallery: Features,
    labels: Labels,
    query_owner: NDArray[np.int64],
    gallery_owner: NDArray[np.int64],
    ks: Sequence[int],
) -> BothLevels:
    """`labels` [objects]; the owners say of which object a query or a member of the gallery is."""
    return BothLevels(
        same_object=retrieve(queries, gallery, query_owner, gallery_owner, ks=ks),
        # with its own among what is relevant, the class would be found by finding the object
        same_class=retrieve(
            queries, gallery, labels[query_owner], labels[gallery_owner], own=(query_owner, gallery_owner), ks=ks
        ),
    )


def _check(queries: Features, gallery: Features, ks: Sequence[int]) -> None:
    if queries.shape[1] != gallery.shape[1]:
        raise ConfigError(
            f"queries have {queries.shape[1]} features and the gallery {gallery.shape[1]}: they share no space to "
            "search in; take features of one encoder, or of two with equal feature_dim"
        )
    if not ks or min(ks) < 1:
        raise ConfigError(f"recall@k needs at least one k, all at least 1 (got {list(ks)})")
    if not (np.isfinite(queries).all() and np.isfinite(gallery).all()):
        raise DivergedError("features hold NaN or infinity: the encoder diverged and nothing can be searched with it")
