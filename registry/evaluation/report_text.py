"""A report in words, for a version's card and description."""

from registry.evaluation.protocol import not_measured
from registry.evaluation.reports import EvaluationReport, Probe, Row
from registry.evaluation.section_tables import markdown
from registry.versions.model_card import NOT_EVALUATED
from registry.versions.records import Decision
from ssl_core.evaluation.statistics import in_percent

PROBES: dict[Probe, str] = {"svm": "linear SVM", "knn": "kNN", "linear": "linear, by gradient"}


def headline_text(report: EvaluationReport) -> str:
    """The deciding result in a sentence or two."""
    row = report.headline
    if row is None:
        return NOT_EVALUATED
    labels = f"linear SVM, {row.labels}" + (f", {row.views} views" if row.views is not None else "")
    text = f"Test accuracy ({labels}): **{row.accuracy.percent()} %**"
    if row.twin is not None and row.difference is not None:
        text += f"; random twin {row.twin.percent()} %, difference {row.difference.percent(signed=True)} points"
    return text + ". Intervals are 95 %." if row.accuracy.confidence == 0.95 else text + "."


def evaluation_text(report: EvaluationReport | None, decision: Decision | None = None) -> str:
    """What stands under Evaluation on a version's card."""
    if report is None:
        return NOT_EVALUATED
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
