"""Retrieval among test objects: across views (images), across point draws (points), and across modalities.

Points and images share no space unless they were trained to: besides the search in the encoders' own spaces (where
the widths are equal) the points are mapped to the images by a linear map, fitted on training objects without their
labels (ridge regression on standardised features).
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from registry.evaluation.features import FeatureSource, RawFeatures, pool
from registry.evaluation.probing import Features
from registry.evaluation.protocol import RetrievalSettings
from registry.evaluation.section_reports import RetrievalRow
from registry.evaluation.sections.subject import Found, LeftOutError, Partner, Subject
from ssl_core.errors import DivergedError, InfeasibleError
from ssl_core.evaluation.neighbours_picture import neighbours_png, pack_examples
from ssl_core.evaluation.retrieval import (
    AcrossModalities,
    BothLevels,
    Retrieval,
    across_modalities,
    across_views,
    retrieve,
)
from ssl_core.evaluation.statistics import bootstrap_mean


def measure_retrieval(subject: Subject, settings: RetrievalSettings, found: Found) -> tuple[RetrievalRow, ...]:
    """Rows of every search that the encoder, its pack and its partner allow; what is missing is noted in `found`.

    Raises:
        LeftOutError: no search is possible.
    """
    rows = [*_within(subject, settings, found), *_across(subject, settings, found)]
    if not rows:
        raise LeftOutError("; ".join(found.left_out))
    picture = _picture(subject)
    if picture is not None:
        found.pictures["retrieval.png"] = picture
    return tuple(rows)


def _picture(subject: Subject) -> bytes | None:
    """Test objects and their five nearest others; None where no class has two of them."""
    test, labels = _one(subject.raw)[len(subject.labels.train) :], subject.labels.test
    try:
        nearest = retrieve(test, test, labels, labels, exclude_self=True)
    except InfeasibleError:
        return None
    return neighbours_png(pack_examples(subject.pack, nearest, subject.test, subject.test), subject.title)


def _within(subject: Subject, settings: RetrievalSettings, found: Found) -> list[RetrievalRow]:
    """One view (or point draw) of each test object asks for the object's others."""
    test = subject.raw.rows(slice(len(subject.labels.train), None))
    features = test.views if test.views is not None else np.stack(test.points, axis=1)  # [n, views or draws, F]
    kind = "across views" if test.views is not None else "across point draws"
    if features.shape[1] < 2:
        found.left_out.append(f"{kind}: one only is there of each object")
        return []
    try:
        both = across_views(features, subject.labels.test, seed=subject.config.draw_seed, ks=settings.ks)
    except InfeasibleError as error:
        found.left_out.append(f"{kind}: {error}")
        return []
    gallery = len(features) * (features.shape[1] - 1)
    return _rows(subject, kind, "own", both, gallery)


def _across(subject: Subject, settings: RetrievalSettings, found: Found) -> list[RetrievalRow]:
    """Points ask for images and the reverse, where the encoder has a partner."""
    if subject.partner is None:
        found.left_out.append("across modalities: no encoder of the other modality from the same trial is at hand")
        return []
    try:
        points, images = _pair(subject, subject.partner)
        found_rows: list[RetrievalRow] = []
        n = len(subject.labels.train)
        if points.shape[1] == images.shape[1]:
            own = across_modalities(points[n:], images[n:], subject.labels.test, ks=settings.ks)
            found_rows += _both_ways(subject, "own", own)
        mapped, targets = aligned(points, images, n)
        return found_rows + _both_ways(
            subject, "aligned", across_modalities(mapped, targets, subject.labels.test, ks=settings.ks)
        )
    except (InfeasibleError, DivergedError) as error:
        found.left_out.append(f"across modalities: {error}")
        return []


def aligned(points: Features, images: Features, n: int) -> tuple[Features, Features]:
    """Points and images [objects, F], the first `n` of training objects → the others of both in the images' space.

    Both sides are standardised on training objects; the penalty of the map is n, what a column of unit spread weighs.
    """
    x, y = StandardScaler().fit(points[:n].astype(np.float64)), StandardScaler().fit(images[:n].astype(np.float64))
    fitted = Ridge(alpha=float(n)).fit(x.transform(points[:n]), y.transform(images[:n]))
    mapped = fitted.predict(x.transform(points[n:])).astype(np.float32)
    return mapped, y.transform(images[n:]).astype(np.float32)


def _pair(subject: Subject, partner: Partner) -> tuple[Features, Features]:
    """Features of points and of images, [objects, F] of train then test objects: one point draw, all views."""
    source = subject.source
    theirs = FeatureSource(
        source.pack, source.objects, partner.encoder.contract, source.config, source.cache, source.log
    ).raw(partner.encoder, identity=partner.identity)
    mine, other = _one(subject.raw), _one(theirs)
    return (mine, other) if subject.raw.views is None else (other, mine)


def _one(raw: RawFeatures) -> Features:
    if raw.views is None:
        return raw.points[0]
    return pool(raw.views, np.arange(raw.views.shape[1]), "max")


def _both_ways(subject: Subject, space: str, both: AcrossModalities) -> list[RetrievalRow]:
    count = len(subject.labels.test)
    return [
        *_rows(subject, "points to images", space, both.points_to_images, count),
        *_rows(subject, "images to points", space, both.images_to_points, count),
    ]


def _rows(subject: Subject, kind: str, space: str, both: BothLevels, gallery: int) -> list[RetrievalRow]:
    classes = np.bincount(subject.labels.test)
    count = len(subject.labels.test)
    per_object = gallery / count
    # of a query of class c: (size of c - 1) other objects, each with `per_object` members of the gallery
    peers = float((classes * (classes - 1)).sum() / count) * per_object
    levels = [("same object", both.same_object, per_object / gallery), ("same class", both.same_class, peers / gallery)]
    return [_row(subject, (kind, space, relevant), found, gallery, share) for relevant, found, share in levels]


def _row(subject: Subject, place: tuple[str, str, str], found: Retrieval, gallery: int, share: float) -> RetrievalRow:
    def interval(values: NDArray[np.float64]) -> object:
        return bootstrap_mean(values, confidence=subject.config.confidence)

    kind, space, relevant = place
    return RetrievalRow.model_validate(
        {
            "kind": kind,
            "space": space,
            "relevant": relevant,
            "queries": len(found.queries),
            "gallery": gallery,
            "relevant_share": round(share, 6),
            "average_precision": interval(found.average_precision),
            "recall": {str(k): interval(values) for k, values in found.recall.items()},
        }
    )
