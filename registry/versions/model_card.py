"""The model card: one Markdown page per registered encoder, readable without this project.

What it is, what goes in, where it came from, how it scored against random twins, how to run it with torch
alone, and what it should not be trusted with.
"""

from registry.evaluation.protocol import not_measured
from registry.evaluation.reports import EvaluationReport, Probe, Row
from registry.evaluation.section_tables import markdown
from registry.versions.mlmodel import input_shape
from registry.versions.records import Decision, Lineage
from ssl_core.config import Config
from ssl_core.evaluation.statistics import in_percent
from ssl_core.models.encoder import FEATURE_WIDTH, ImageContract, PointsContract

Contract = PointsContract | ImageContract
PROBES: dict[Probe, str] = {"svm": "linear SVM", "knn": "kNN", "linear": "linear, by gradient"}


def render_card(
    name: str,
    contract: Contract,
    backbone: Config,
    feature_dim: int,
    lineage: Lineage,
    report: EvaluationReport | None = None,
    decision: Decision | None = None,
) -> str:
    """The whole page. Without a report it says that the evaluation has not been run."""
    parts = [
        f"# {name}",
        _summary(contract, backbone, feature_dim, lineage),
        "## Input\n\n" + _input(contract),
        "## Evaluation\n\n" + _evaluation(report, decision),
        "## Use\n\n" + _use(contract, feature_dim),
        "## Lineage\n\n" + _lineage(lineage),
        "## Limits\n\n" + _limits(contract),
    ]
    return "\n\n".join(parts) + "\n"


def describe(report: EvaluationReport | None, contract: Contract, backbone: Config, lineage: Lineage) -> str:
    """A few lines of Markdown for the description shown beside a version."""
    kind = getattr(backbone, "kind", type(backbone).__name__)
    head = f"**{_modality(contract)} encoder** ({kind}) from {lineage.origin}."
    row = report.headline if report is not None else None
    if row is None:
        return head + " Not evaluated yet."
    labels = f"linear SVM, {row.labels}" + (f", {row.views} views" if row.views is not None else "")
    text = f"{head}\n\nTest accuracy ({labels}): **{row.accuracy.percent()} %**"
    if row.twin is not None and row.difference is not None:
        text += f"; random twin {row.twin.percent()} %, difference {row.difference.percent(signed=True)} points"
    return text + ". Intervals are 95 %." if row.accuracy.confidence == 0.95 else text + "."


def _modality(contract: Contract) -> str:
    return "Point" if isinstance(contract, PointsContract) else "Image"


def _summary(contract: Contract, backbone: Config, feature_dim: int, lineage: Lineage) -> str:
    source = "3D Gaussian splats" if isinstance(contract, PointsContract) else "images of objects"
    kind = getattr(backbone, "kind", type(backbone).__name__)
    how = "trained elsewhere" if lineage.source else "pretrained without labels by a self-supervised recipe"
    how = f"pretrained without labels by the `{lineage.recipe}` recipe" if lineage.recipe else how
    return (
        f"A `{kind}` that turns {source} into vectors of {feature_dim} numbers, "
        f"{how} ({lineage.origin}). The features are meant to be used"
        " frozen, under a linear model or a nearest-neighbour search, or as a start for fine-tuning."
    )


def _input(contract: Contract) -> str:
    shape = ", ".join(["B", *(str(size) for size in input_shape(contract))])
    match contract:
        case PointsContract():
            lines = _columns(contract)
            lines += [
                f"- kept: Gaussians with alpha = sigmoid(opacity logit) above {contract.alpha_threshold:g}",
                f"- points: {contract.num_points} per object, sampling `{contract.sampling}`",
                "- position: centred on the mean, scaled to the unit sphere",
            ]
            if contract.standardise_attributes:
                lines.append("- attributes: log-scales, opacity and SH brought to order one; unit quaternions, w >= 0")
            return f"`float32 [{shape}]`\n\n" + "\n".join(lines)
        case ImageContract():
            return (
                f"`float32 [{shape}]`, RGB in [0, 1] over a white background. Mean {list(contract.mean)} and "
                f"standard deviation {list(contract.std)} are applied inside. Several views of one object: "
                "encode each, take the elementwise maximum of the features."
            )


def _columns(contract: PointsContract) -> list[str]:
    lines, start = [], 0
    for group in contract.features:
        width = FEATURE_WIDTH[group]
        lines.append(f"- columns {start}–{start + width - 1}: `{group}`")
        start += width
    return lines


def _evaluation(report: EvaluationReport | None, decision: Decision | None) -> str:
    if report is None:
        return "Not evaluated yet."
    lines = [
        f"Frozen features on the test split ({report.test_objects} objects, "
        f"{len(report.class_names)} classes) "
        f"of pack `{report.pack_digest}`, protocol {report.protocol}; probes trained on up to "
        f"{report.train_objects} objects. Accuracy in %, "
        f"{100 * report.config.confidence:g} % intervals; a twin is the same architecture with random "
        f"weights ({len(report.config.twin_seeds)} of them), compared on the same label draws. "
        "Single draws: standard deviation and range of what one draw of labels and points would have said.",
        "",
    ]
    if report.rows:
        lines += [
            "| probe | labels | views | encoder | random twin | difference | interval over | single draws |",
            "|---|---|---|---|---|---|---|---|",
            *(_row(row) for row in report.rows),
            "",
        ]
    health = report.health
    lines.append(
        f"Feature health: effective rank {health.effective_rank:.1f}, "
        f"relative spread {health.relative_std:.3f}; "
        f"a constant answer scores {in_percent(health.constant_accuracy)} %."
    )
    if sections := markdown(report.sections):
        lines += ["", sections]
    if missing := not_measured(report.config):
        names = ", ".join(name.replace("_", " ") for name in missing)
        lines += ["", f"Of the full protocol not asked for, or not in full: {names}."]
    if decision is not None:
        verdict = "promoted" if decision.promoted else "not promoted"
        lines += ["", f"Gate: {verdict}. {decision.reason}"]
    return "\n".join(lines)


def _row(row: Row) -> str:
    twin = row.twin.percent() if row.twin is not None else "–"
    difference = row.difference.percent(signed=True) if row.difference is not None else "–"
    views = "–" if row.views is None else f"{row.views}{', mean' if row.pooling == 'mean' else ''}"
    cells = (PROBES[row.probe], row.labels, views, row.accuracy.percent(), twin, difference, row.over, _single(row))
    return f"| {' | '.join(cells)} |"


def _single(row: Row) -> str:
    if row.single is None:
        return "–"
    found = row.single
    return f"sd {in_percent(found.sd)}, {in_percent(found.low)} to {in_percent(found.high)}"


def _use(contract: Contract, feature_dim: int) -> str:
    shape = ", ".join(str(size) for size in input_shape(contract))
    match contract:
        case PointsContract():
            make = f"points = torch.zeros(4, {shape})  # four objects, prepared as under Input"
            name, files = "points", "splat files (`encode_ply`)"
        case ImageContract():
            make = f"images = torch.rand(4, {shape})  # four views, RGB in [0, 1]"
            name, files = "image", "image files (`encode_images`)"
    variable = make.partition(" ")[0]
    return (
        "`program.pt2` needs torch and nothing else; any batch size:\n\n"
        "```python\nimport torch\n\n"
        'encoder = torch.export.load("program.pt2").module()\n'
        f"{make}\n"
        "with torch.inference_mode():\n"
        f"    features = encoder({variable})  # [4, {feature_dim}]\n```\n\n"
        "`encoder.onnx`, where it is there, gives the same features under onnxruntime (from a numpy array):\n\n"
        "```python\nimport onnxruntime\n\n"
        'session = onnxruntime.InferenceSession("encoder.onnx")\n'
        f'features = session.run(["features"], {{"{name}": {variable}.numpy()}})[0]\n```\n\n'
        "With this project installed, `registry.pull.load(reference)` gives an encoder that reads "
        f"{files} and checks what it is given, and `ssl_core.models.bundle.load_bundle(folder)` a trainable module. "
        "`encoder.safetensors` and `encoder.json` hold the same weights, architecture and input contract. "
        "`mlflow models serve` serves the version over HTTP. `checksums.json` holds the sha256 of each file."
    )


def _lineage(lineage: Lineage) -> str:
    rows = [f"| {name.replace('_', ' ')} | `{value}` |" for name, value in lineage.model_dump().items() if value != ""]
    return "\n".join(["| | |", "|---|---|", *rows])


def _limits(contract: Contract) -> str:
    lines = [
        "- Measured on the one pack named above; other objects, noisy or occluded scans were not tried.",
        "- Random networks are strong baselines: read the difference to the twin, not the accuracy alone.",
        "- Intervals over label draws hold the test objects fixed, and the reverse.",
    ]
    if isinstance(contract, PointsContract):
        lines.append("- Not invariant to rotation: objects are expected upright, as in training.")
    else:
        lines.append("- Views are expected as in training: one object, centred, white background.")
    return "\n".join(lines)
