"""Reports that were written before reports knew of cards (format 2)."""

from typing import Any

from ssl_core.evaluation.probe_grid import FeatureHealth, probe_at
from ssl_core.evaluation.report import Scores
from ssl_core.evaluation.tasks.probing_report import ProbingReport, defects_of


def report_of_format_2(values: dict[str, Any]) -> ProbingReport:
    """What was written before reports knew of cards. Raises ValueError, KeyError or TypeError for anything else."""
    old = {name: value for name, value in values.items() if name not in ("format_version", "modality", "pack_digest")}
    health = FeatureHealth.model_validate(old["health"])
    deciding, baseline = _scores_of_format_2(old.pop("deciding"))
    full_labels, _ = _scores_of_format_2(old.pop("full_labels"))
    return ProbingReport.model_validate(
        {
            **old,
            "kind": {"points": "point_encoder", "image": "image_encoder"}[values["modality"]],
            "data_digest": values["pack_digest"],
            "rows": [{name: value for name, value in row.items() if name != "modality"} for row in values["rows"]],
            "deciding": deciding,
            "baseline": baseline,
            "full_labels": full_labels,
            "defects": defects_of(health, full_labels, len(values["class_names"])),
        }
    )


def _scores_of_format_2(found: dict[str, Any] | None) -> tuple[Scores | None, Scores | None]:
    if found is None:
        return None, None
    name, twin = probe_at("svm", found["labels"]), found["twin"]
    return (
        Scores(name=name, unit="test objects", values=found["encoder"]),
        None if twin is None else Scores(name=name, unit="test objects", values=twin),
    )
