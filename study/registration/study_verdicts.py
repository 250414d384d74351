"""Brings what the registry says of a study's encoders into the study: its folder, its report, its page in MLflow."""

from collections.abc import Callable
from pathlib import Path

from registry.tracking.cursor import read_cursor
from registry.tracking.names import STUDY_RUN
from registry.tracking.run_log import RunLog
from registry.versions.evaluation_log import read_report
from registry.versions.gain import gain_of
from registry.versions.records import EncoderVersion
from registry.versions.store import EncoderStore
from ssl_core.errors import RegistryError, StorageError
from ssl_core.evaluation.report import Report
from ssl_core.evaluation.tasks.probing_report import ProbingReport
from study.engine.ledger import read_ledger
from study.reports.study_report import write_report
from study.reports.verdicts import EncoderVerdict, in_order, keep_verdicts, of_study

Say = Callable[[str], None]


def refresh_verdicts(log: RunLog, folder: Path, say: Say) -> None:
    """Read them anew and keep them in `folder`; a registry that does not answer leaves those of before, and is named.

    Raises StorageError: the folder cannot be written.
    """
    store = EncoderStore(log)
    try:
        versions = of_study(folder, store.list())
        found = [_verdict(store, version) for version in versions]
    except RegistryError as error:
        say(f"verdicts are as they were: {error}")
        return
    if found:
        keep_verdicts(folder, in_order(found))


def publish_verdicts(log: RunLog, folder: Path, say: Say) -> None:
    """After an assessment: verdicts and report are written anew, the report also where MLflow shows it.

    What cannot be written is named and ends nothing: the models are judged already.
    """
    try:
        refresh_verdicts(log, folder, say)
        page = write_report(read_ledger(folder), folder / "report.html")
        run_id = read_cursor(folder).runs.get(STUDY_RUN)
        if run_id:
            log.log_file(run_id, page)
    except (RegistryError, StorageError) as error:
        say(f"the report does not show the verdicts: {error}")


def _verdict(store: EncoderStore, version: EncoderVersion) -> EncoderVerdict:
    report = read_report(store, version)
    if version.gain is None and report is not None:  # evaluated before versions said it
        version = version.model_copy(update={"gain": gain_of(report)})
    return EncoderVerdict.of(version, _fine_tuning(report))


def _fine_tuning(report: Report | None) -> list[str]:
    """A line per label setting; none where it was not measured."""
    match report:
        case ProbingReport():
            rows = report.sections.fine_tuning or ()
        case _:
            rows = ()
    return [
        f"fine-tuned, {row.labels}: {row.accuracy.percent()} %, "
        f"{row.gain.percent(signed=True)} points over training from scratch"
        for row in rows
    ]
