"""Features for the reference's whole SVM table: the encoder's share of the time, and what encoding once is worth."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import reference_items
from benchmarks.objects import Made, files_of, write_objects
from benchmarks.table import Comparison, Samples, Section, Table, ratio_table, seconds
from benchmarks.timing import one_thread, seconds_per_call
from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.evaluation.extract import ExtractionTimes, image_features
from ssl_core.evaluation.features import EncoderCard, FeatureSource
from ssl_core.evaluation.probes import draw_labels
from ssl_core.evaluation.tasks.probing import evaluate_encoder
from ssl_core.evaluation.tasks.probing_report import reference_table
from ssl_core.models.build import Encoder
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.pointnet2 import PointNet2MSGConfig
from ssl_core.packing.pack_writer import write_pack

SHARE_BAR = 0.9
Indices = NDArray[np.int64]
Extract = Callable[[ExtractionTimes], object]


TABLE = Made(classes=4, train=8, test=4, gaussians=6000, opaque=0.5, views=64, image=64)
LARGE = Made(classes=2, train=3, test=1, gaussians=6000, opaque=0.5, views=8, image=224)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    table: Made = TABLE
    large: Made = LARGE
    points: int = 1024
    objects: int = 16
    plain_objects: int = 4
    repetitions: int = 3


QUICK = Sizes(
    table=Made(classes=2, train=3, test=2, gaussians=700, opaque=0.45, views=3, image=32),
    large=Made(classes=2, train=2, test=1, gaussians=700, opaque=0.45, views=2, image=48),
    points=64,
    objects=4,
    plain_objects=2,
    repetitions=1,
)


def measure(quick: bool = False) -> Section:
    """The encoder's share of extractions, and the whole table of one image encoder and one point encoder."""
    sizes = QUICK if quick else Sizes()
    with one_thread(), tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as folder:
        packs = {made.image: made_pack(Path(folder, str(made.image)), made) for made in (sizes.table, sizes.large)}
        shares = encoder_shares(packs, sizes)
        rows, probing = compare_tables(packs[sizes.table.image], Path(folder, str(sizes.table.image)), sizes)
    short = [
        f"{name}: the encoder takes {100 * share.median:.1f} % of the extraction, the bar is {100 * SHARE_BAR:.0f} %"
        for name, share in shares.items()
        if share.median < SHARE_BAR
    ]
    views = ", ".join(str(count) for count in reference_table().views)
    return Section(
        title="Features for evaluation",
        shows=f"Features for an SVM table over {views} views and four shares of labels: each object's points and each "
        "view are encoded once for all of it.",
        baseline="The baseline reads and encodes them again for each setting, as the reference does: .ply and farthest "
        "points in numpy, PNG files, batches of 32.",
        tables=(ratio_table(rows, "anew per setting"), share_table(shares)),
        notes=notes(sizes, probing),
        missed=() if quick else tuple(short),
    )


def notes(sizes: Sizes, probing: float) -> tuple[str, ...]:
    """How it was measured, in sentences."""
    table = sizes.table
    return (
        f"{table.classes * (table.train + table.test)} objects with {table.views} views of {table.image} px. The "
        f"baseline's time per object and per view was measured on {sizes.plain_objects} objects and multiplied by how "
        "often the table needs them: labelled train and all test objects, for each number of views and labels.",
        f"Probes cost both the same and are in neither: {seconds(probing)} for the image table. Image features of both "
        "agree to 1e-3. Orders of farthest points for the encoder's threshold were made before, once per node. The bar "
        f"for the encoder's share is {100 * SHARE_BAR:.0f} %.",
    )


def made_pack(root: Path, made: Made) -> Pack:
    """Objects, and their pack: pictures in it are those of the files."""
    write_objects(root, made)
    return write_pack(root / "points", root / "images", root / "pack", PackConfig(cached_points=1024, starts=2))


def image_card(size: int) -> ImageEncoderCard:
    return ImageEncoderCard(contract=ImageContract(image_size=size), backbone=ResNetConfig(kind="resnet18"))


def point_contract(sizes: Sizes) -> PointsContract:
    return PointsContract(num_points=sizes.points, alpha_threshold=0.574, standardise_attributes=False)


def encoder_shares(packs: dict[int, Pack], sizes: Sizes) -> dict[str, Samples]:
    """Forward time over extraction time of several encoders, after a first extraction."""
    small, large = packs[sizes.table.image], packs[sizes.large.image]
    some = small.objects("train")[: sizes.objects]
    contract = point_contract(sizes)
    cases: dict[str, Extract] = {}
    for size in sorted(packs):
        pack = packs[size]
        cases[f"ResNet-18, {size} px"] = images(image_card(size), pack, pack.objects("train")[: sizes.objects])
    smaller = image_card(sizes.table.image)
    name = f"ResNet-18, {sizes.table.image} px, from views of {sizes.large.image} px"
    cases[name] = images(smaller, large, large.objects("train"))
    for name, config in (("PointNet", PointNetConfig()), ("PointNet++ MSG", PointNet2MSGConfig())):
        card = PointEncoderCard(contract=contract, backbone=config)
        cases[f"{name}, {sizes.points:,} points"] = points(card, small, some)
    found = {}
    for name, extract in cases.items():
        extract(ExtractionTimes())
        every = [ExtractionTimes() for _ in range(sizes.repetitions)]
        for times in every:
            extract(times)
        found[name] = Samples(tuple(times.forward_share for times in every))
    return found


def images(card: ImageEncoderCard, pack: Pack, objects: Indices) -> Extract:
    """Extraction of up to eight views of each object."""
    encoder, size = card.build(0), card.contract.image_size
    return lambda times: image_features(encoder, pack, objects, size, views=8, times=times)


def points(card: PointEncoderCard, pack: Pack, objects: Indices) -> Extract:
    """Extraction of one point draw; making the sampler counts as it does in an evaluation."""
    encoder, config = card.build(0), reference_table()
    return lambda times: FeatureSource(pack, objects, card, config).raw(encoder, times=times)


def compare_tables(pack: Pack, root: Path, sizes: Sizes) -> tuple[list[Comparison], float]:
    """Extraction for the whole table of an image and a point encoder, and the seconds of the image table's probes."""
    of_images = image_card(sizes.table.image)
    of_points = PointEncoderCard(contract=point_contract(sizes), backbone=PointNetConfig())
    image, point = of_images.build(0), of_points.build(0)
    objects = pack.objects("test")[: sizes.plain_objects]
    files = [files_of(root, *_place(pack, int(index)), sizes.table.views) for index in objects]
    rng = np.random.default_rng(0)

    def plain_views() -> torch.Tensor:
        pictures = [reference_items.test_pictures(pictures[:8], sizes.table.image) for _, pictures in files]
        return encoded(image, torch.cat(pictures))

    def plain_points() -> torch.Tensor:
        drawn = [reference_items.points_of(ply, sizes.points, rng, farthest=True)[:, :3] for ply, _ in files]
        return encoded(point, torch.from_numpy(np.stack(drawn)))

    ours = image_features(image, pack, objects, sizes.table.image)[:, :8].reshape(-1, image.feature_dim)
    np.testing.assert_allclose(plain_views().numpy(), ours, rtol=1e-3, atol=1e-3)
    rows, probing = [], 0.0
    for name, card, plain, units in (
        (f"ResNet-18 at {sizes.table.image} px", of_images, plain_views, len(files) * min(8, sizes.table.views)),
        (f"PointNet at {sizes.points:,} points", of_points, plain_points, len(files)),
    ):
        extraction, others = table_seconds(card, pack, sizes.repetitions)
        each = [seconds_per_call(plain, 0.0) / units for _ in range(sizes.repetitions)]
        needed = inputs_needed(pack, images=card is of_images)
        rows.append(Comparison(f"features for the table, {name}", extraction, Samples(tuple(needed * t for t in each))))
        probing = others if card is of_images else probing
    return rows, probing


def table_seconds(card: EncoderCard, pack: Pack, repetitions: int) -> tuple[Samples, float]:
    """Of the whole table: seconds of extraction, several times, and least seconds of what is not extraction."""
    encoder, extraction, others = card.build(0), [], []
    for _ in range(repetitions):
        began, times = time.perf_counter(), ExtractionTimes()
        evaluate_encoder(encoder, card, pack, reference_table(), times=times)
        extraction.append(times.forward + times.data)
        others.append(time.perf_counter() - began - extraction[-1])
    return Samples(tuple(extraction)), min(others)


def inputs_needed(pack: Pack, *, images: bool) -> int:
    """How many views (or point samples) are encoded when every setting of the table encodes its own."""
    config, labels = reference_table(), pack.labels[pack.objects("train")]
    available = int(pack.num_views.min())
    views = sorted({min(count, available) for count in config.views})
    labelled = [draw_labels(labels, fraction=setting.fraction) for setting in config.label_settings]
    objects = sum(len(chosen) + len(pack.objects("test")) for chosen in labelled)
    return objects * (sum(views) if images else len(views))


def encoded(encoder: Encoder, inputs: torch.Tensor) -> torch.Tensor:
    """Features of batches of 32."""
    with torch.inference_mode():
        return torch.cat([encoder.eval()(batch) for batch in inputs.split(32)])


def share_table(shares: dict[str, Samples]) -> Table:
    """One row per encoder."""
    rows = tuple((name, share.text(lambda value: f"{100 * value:.1f} %")) for name, share in shares.items())
    return Table(("extraction", "time in the encoder"), rows)


def _place(pack: Pack, index: int) -> tuple[str, str, str]:
    item = pack.manifest.objects[index]
    return item.class_name, item.split, item.name
