"""The sections of a report as tables for people (Markdown) and as metrics for MLflow."""

import re
from collections.abc import Sequence

from registry.evaluation.section_reports import SectionReports

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""title, heads, rows of cells"""


def section_tables(sections: SectionReports) -> list[Table]:
    """One table per section that is there; accuracies in percent."""
    return [
        table
        for table in (
            _retrieval(sections),
            _robustness(sections),
            _novel_views(sections),
            _fine_tuning(sections),
            _costs(sections),
        )
        if table is not None
    ]


def markdown(sections: SectionReports) -> str:
    """All tables, then what was left out and why; empty when there is neither."""
    parts = []
    for title, heads, rows in section_tables(sections):
        lines = [f"### {title}", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        parts.append("\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]))
    if sections.left_out:
        named = (f"{name.replace('_', ' ')}: {reason}" for name, reason in sorted(sections.left_out.items()))
        parts.append("Left out: " + "; ".join(named) + ".")
    return "\n\n".join(parts)


def section_metrics(sections: SectionReports) -> dict[str, float]:
    """Names as MLflow takes them → means; costs in milliseconds, bytes and numbers."""
    found: dict[str, float] = {}
    for retrieval in sections.retrieval or ():
        place = f"retrieval/{_plain(retrieval.kind)}/{retrieval.space}/{_plain(retrieval.relevant)}"
        found[f"{place}/map"] = retrieval.average_precision.mean
        found |= {f"{place}/recall_{k}": value.mean for k, value in retrieval.recall.items()}
    for robust in sections.robustness or ():
        found[f"robustness/{_plain(robust.disturbance)}"] = robust.accuracy.mean
        found[f"robustness/{_plain(robust.disturbance)}/loss"] = robust.loss.mean
    for novel in sections.novel_views or ():
        found[f"novel_views/{_plain(novel.labels)}"] = novel.accuracy.mean
        found[f"novel_views/{_plain(novel.labels)}/loss"] = novel.loss.mean
    for tuned in sections.fine_tuning or ():
        place = f"fine_tuning/{_plain(tuned.labels)}"
        found |= {place: tuned.accuracy.mean, f"{place}/scratch": tuned.scratch.mean, f"{place}/gain": tuned.gain.mean}
    if (costs := sections.costs) is not None:
        found |= {f"costs/ms_batch_{each.batch}": each.median_ms for each in costs.latencies}
        found |= {
            "costs/parameters": float(costs.parameters),
            "costs/weight_bytes": float(costs.weight_bytes),
            "costs/peak_bytes": float(costs.peak_bytes),
        }
    return found


def _retrieval(sections: SectionReports) -> Table | None:
    rows = sections.retrieval
    if not rows:
        return None
    ks = sorted(rows[0].recall, key=int)  # JSON orders them as words
    heads = ["search", "space", "relevant", "share relevant", "mAP", *(f"recall@{k}" for k in ks)]
    cells = [
        [row.kind, row.space, row.relevant, f"{100 * row.relevant_share:.2g}", row.average_precision.percent()]
        + [row.recall[k].percent() for k in ks]
        for row in rows
    ]
    return "Retrieval among test objects, %", heads, cells


def _robustness(sections: SectionReports) -> Table | None:
    if not sections.robustness:
        return None
    cells = [[row.disturbance, row.accuracy.percent(), row.loss.percent(signed=True)] for row in sections.robustness]
    return "Robustness: linear SVM with the most labels, %", ["test objects", "accuracy", "lost"], cells


def _novel_views(sections: SectionReports) -> Table | None:
    if not sections.novel_views:
        return None
    cells = [
        [row.labels, str(row.views), row.own.percent(), row.accuracy.percent(), row.loss.percent(signed=True)]
        for row in sections.novel_views
    ]
    return "Novel views: linear SVM, %", ["labels", "views", "own views", "novel views", "lost"], cells


def _fine_tuning(sections: SectionReports) -> Table | None:
    if not sections.fine_tuning:
        return None
    cells = [
        [
            row.labels,
            str(row.runs),
            row.accuracy.percent(),
            row.scratch.percent(),
            row.gain.percent(signed=True),
            row.over,
        ]
        for row in sections.fine_tuning
    ]
    heads = ["labels", "trainings", "fine-tuned", "from scratch", "gain", "interval over"]
    return "Fine-tuning of the whole encoder, %", heads, cells


def _costs(sections: SectionReports) -> Table | None:
    costs = sections.costs
    if costs is None:
        return None
    cells = [
        [f"time per object, batch {each.batch}", f"{each.median_ms:.3g} ms ({each.low_ms:.3g} to {each.high_ms:.3g})"]
        for each in costs.latencies
    ]
    cells += [
        ["parameters", f"{costs.parameters:,}"],
        ["weights", f"{costs.weight_bytes / 2**20:.1f} MiB"],
        [f"memory, batch {costs.peak_batch}", f"{costs.peak_bytes / 2**20:.1f} MiB"],
    ]
    return f"Costs ({costs.device}, {costs.threads} thread)", ["", ""], cells


def _plain(text: str) -> str:
    """Part of a metric's name: letters, digits, dots and underscores."""
    named = text.replace("%", "percent").replace("°", "_degrees")
    return re.sub(r"[^A-Za-z0-9.]+", "_", named).strip("_")
