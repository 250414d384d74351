"""Retrieval among test objects, by cosine of the features (`ranking` has the terms).

Asked across views (images): one view of an object against the other views of all objects; across point draws
(points); what is left of an object with one side missing against whole objects (points); and across modalities: the
points of an object against the views of all objects, and the reverse. Points and images share no space unless they were
trained to: besides the search in the encoders' own spaces (where the widths are equal) the points are mapped to the
images by a linear map, fitted on training objects without their labels (ridge regression on standardised features).
Intervals are bootstraps over queries.
"""

from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from ssl_core.config import Config
from ssl_core.errors import DivergedError, InfeasibleError
from ssl_core.evaluation.extract import Features
from ssl_core.evaluation.features import EncoderCard, FeatureSource, whole
from ssl_core.evaluation.pictures import neighbours_png, pack_examples
from ssl_core.evaluation.ranking import BothLevels, across_modalities, across_views, part_to_whole, retrieve
from ssl_core.evaluation.report import Table
from ssl_core.evaluation.sections.robustness import MISSING, MissingPart, disturbed_tests
from ssl_core.evaluation.statistics import Interval, bootstrap_mean
from ssl_core.evaluation.task_contract import Companion, Found, LeftOutError, Section, Subject, plain
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard


class RetrievalSettings(Config):
    """Test objects found among test objects: across views or point draws, across modalities with a partner."""

    ks: tuple[int, ...] = Field(default=(1, 5, 10), min_length=1, description="recall among the first k")
    missing: float = Field(default=MISSING, gt=0, lt=1, description="share of the points that a part lacks")


class RetrievalRow(Config):
    """How well test objects find each other by cosine similarity. Intervals are bootstraps over queries."""

    kind: Literal["across views", "across point draws", "wholes by parts", "points to images", "images to points"]
    space: Literal["own", "aligned"] = "own"
    """aligned: one side was mapped to the other by a linear map fitted on training objects, without labels"""
    relevant: Literal["same object", "same class"]
    queries: int
    gallery: int
    relevant_share: float
    """of the gallery, to a query, on average: about the average precision of a random order"""
    average_precision: Interval
    recall: dict[str, Interval]
    """k → share of queries with something relevant among the first k"""


def _measure(subject: Subject, settings: RetrievalSettings, found: Found) -> tuple[RetrievalRow, ...]:
    """Rows of every search that the encoder, its pack and its partner allow; what is missing is noted in `found`."""
    rows = [*_within(subject, settings, found), *_parts(subject, settings), *_across(subject, settings, found)]
    if not rows:
        raise LeftOutError("; ".join(found.left_out))
    picture = _picture(subject)
    if picture is not None:
        found.pictures["retrieval.png"] = picture
    return tuple(rows)


def _picture(subject: Subject) -> bytes | None:
    """Test objects and their five nearest others; None where no class has two of them."""
    test, labels = subject.features[len(subject.labels.train) :], subject.labels.test
    try:
        nearest = retrieve(test, test, labels, labels, exclude_self=True)
    except InfeasibleError:
        return None
    return neighbours_png(pack_examples(subject.pack, nearest, subject.test, subject.test), subject.steps.title)


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


def _parts(subject: Subject, settings: RetrievalSettings) -> list[RetrievalRow]:
    """Parts of test objects ask for whole ones, whose points were drawn anew where there are several draws."""
    match subject.card:
        case PointEncoderCard():
            wholes = subject.raw.points[-1][len(subject.labels.train) :]
            parts = disturbed_tests(subject, MissingPart(share=settings.missing))
            both = part_to_whole(parts, wholes, subject.labels.test, ks=settings.ks)
            return _rows(subject, "wholes by parts", "own", both, len(subject.labels.test))
        case _:
            return []


def _across(subject: Subject, settings: RetrievalSettings, found: Found) -> list[RetrievalRow]:
    """Points ask for images and the reverse, where the encoder has a partner."""
    try:
        points, images = _pair(subject)
        n, labels, rows = len(subject.labels.train), subject.labels.test, []
        for space in ("own", "aligned") if points.shape[1] == images.shape[1] else ("aligned",):
            pair = (points[n:], images[n:]) if space == "own" else aligned(points, images, n)
            both = across_modalities(*pair, labels, ks=settings.ks)
            rows += _rows(subject, "points to images", space, both.points_to_images, len(labels))
            rows += _rows(subject, "images to points", space, both.images_to_points, len(labels))
        return rows
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


def _pair(subject: Subject) -> tuple[Features, Features]:
    """Features of points and of images, [objects, F] of train then test objects: one point draw, all views."""
    source, mine = subject.source, subject.features
    for companion in subject.companions:
        match subject.card, companion.card:
            case PointEncoderCard(), ImageEncoderCard() as card:
                return mine, _features(source, card, companion)
            case ImageEncoderCard(), PointEncoderCard() as card:
                return _features(source, card, companion), mine
    raise InfeasibleError("no encoder of the other modality from the same trial is at hand")


def _features(source: FeatureSource, card: EncoderCard, companion: Companion) -> Features:
    theirs = FeatureSource(source.pack, source.objects, card, source.config, source.cache, source.log)
    return whole(theirs.raw(companion.model, companion.identity))


def _rows(subject: Subject, kind: str, space: str, both: BothLevels, gallery: int) -> list[RetrievalRow]:
    classes = np.bincount(subject.labels.test)
    count = len(subject.labels.test)
    per_object = gallery / count
    # of a query of class c: (size of c - 1) other objects, each with `per_object` members of the gallery
    peers = float((classes * (classes - 1)).sum() / count) * per_object
    levels = [("same object", both.same_object, per_object / gallery), ("same class", both.same_class, peers / gallery)]
    interval = partial(bootstrap_mean, confidence=subject.config.confidence)
    return [
        RetrievalRow.model_validate(
            {"kind": kind, "space": space, "relevant": relevant, "queries": len(found.queries), "gallery": gallery}
            | {"relevant_share": round(share, 6), "average_precision": interval(found.average_precision)}
            | {"recall": {str(k): interval(values) for k, values in found.recall.items()}}
        )
        for relevant, found, share in levels
    ]


def _table(rows: tuple[RetrievalRow, ...]) -> Table:
    ks = sorted(rows[0].recall, key=int)  # JSON orders them as words
    heads = ["search", "space", "relevant", "share relevant", "mAP", *(f"recall@{k}" for k in ks)]
    cells = [
        [row.kind, row.space, row.relevant, f"{100 * row.relevant_share:.2g}", row.average_precision.percent()]
        + [row.recall[k].percent() for k in ks]
        for row in rows
    ]
    return "Retrieval among test objects, %", heads, cells


def _metrics(rows: tuple[RetrievalRow, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        place = f"retrieval/{plain(row.kind)}/{row.space}/{plain(row.relevant)}"
        found[f"{place}/map"] = row.average_precision.mean
        found |= {f"{place}/recall_{k}": value.mean for k, value in row.recall.items()}
    return found


RETRIEVAL = Section("retrieval", lambda settings: 20, _measure, _table, _metrics)
