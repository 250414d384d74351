"""The cross-modal reference's SVM table of one encoder: read only, nothing is logged and no gate is asked.

A registered version keeps the report of the protocol it was judged by; this table is printed and forgotten.
"""

import tempfile
from pathlib import Path

import torch

from registry.evaluation.bundle_evaluation import evaluate_bundle, kept_features
from registry.evaluation.evaluate import Evaluation
from registry.evaluation.reports import EvaluationReport, reference_table
from registry.versions.fetching import fetch
from registry.versions.store import EncoderStore
from ssl_core.data.pack import Pack

Rows = list[dict[str, str]]


def evaluate_table(
    store: EncoderStore, reference: str, pack: Pack, *, device: torch.device | str = "cpu"
) -> Evaluation:
    """The table of the encoder `NAME@ALIAS` or `NAME/VERSION` on a pack.

    Raises:
        RegistryError: no such encoder.
        IntegrityError: the registered files do not match their checksums.
        InfeasibleError: the pack cannot serve the encoder, or has no test objects.
    """
    version = store.resolve(reference)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = fetch(store, version, Path(scratch))
        cache = kept_features(store)
        return evaluate_bundle(bundle, pack, reference_table(), device=device, title=version.reference, cache=cache)


def table_rows(report: EvaluationReport) -> Rows:
    """One row per number of views, one column per share of labels: linear-SVM test accuracy in percent, ± half-width.

    A point encoder sees no views and has one row. Without rows in the report (features not finite) there are none.
    """
    views = sorted({row.views for row in report.rows}, key=lambda count: count or 0)
    return [
        {
            "views": "-" if count is None else str(count),
            **{
                setting.name: row.accuracy.percent()
                for setting in report.config.label_settings
                if (row := report.row("svm", setting.name, count)) is not None
            },
        }
        for count in views
    ]
