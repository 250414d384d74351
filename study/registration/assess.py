"""After a study, without being asked: register the best encoders, evaluate them on the test split, let the gate decide.

Each step leaves a trace in the registry and is skipped when it is found there, so an interrupted assessment goes on.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from registry.champions.promote import evaluate_version, promote_best
from registry.server.users import may_judge
from registry.tracking.cursor import read_cursor
from registry.tracking.run_log import RunLog
from registry.versions.records import EncoderVersion, Lineage
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.data.dataset import Dataset
from ssl_core.errors import MissingDependencyError, RegistryError, StudyError
from ssl_core.models.bundle import add_onnx
from ssl_core.training.config import choose_device
from ssl_core.training.contract import AnyRecipe
from study.engine.cost_report import trial_receipt
from study.record.metrics_file import Curves, read_metrics
from study.record.trial_record import TrialRecord
from study.reports.console import evaluation_progress
from study.run.study_plan import StudyPlan, StudySummary
from study.run.trial_opener import TrialOpener

Say = Callable[[str], None]


class Assessed(Config):
    """One registered encoder and what was found about it."""

    name: str
    version: int
    trial: int
    status: str
    headline: str
    decision: str

    @classmethod
    def of(cls, version: EncoderVersion) -> "Assessed":
        """As the registry has it."""
        return cls(
            name=version.name,
            version=version.version,
            trial=version.lineage.trial,
            status=version.status,
            headline=version.evaluation.headline if version.evaluation else "",
            decision=version.decision.reason if version.decision else "",
        )


def assess_study(
    plan: StudyPlan, opener: TrialOpener, pack: Dataset, summary: StudySummary, run_log: RunLog, say: Say
) -> list[Assessed]:
    """Register, evaluate and judge the encoders of the study's best trials, each kind in order of its own probe.

    Raises:
        StudyError: a best trial has lost its checkpoint.
        RegistryError: MLflow does not answer, or has not taken the trials' runs yet; the same command goes on.
    """
    store = EncoderStore(run_log)
    versions: list[EncoderVersion] = []
    for record in summary.leaders:
        versions += register_trial(plan, opener, record, store, say)
    if not may_judge(run_log.tracking_uri):
        say("registered; who may promote there judges them (`splatsweep watch`)")
        return [Assessed.of(version) for version in versions]
    ordered = promising_first(opener.recipe, summary, partial(read_metrics, plan.folder), versions)
    device = choose_device()
    for name in sorted({version.name for version in ordered}):
        waiting = [version for version in ordered if version.name == name and version.decision is None]
        for version in waiting:
            say(f"evaluating {version.reference} (trial {version.lineage.trial}) on the test split")
            with evaluation_progress() as tell:
                evaluate_version(store, pack, version, device=device, tell=tell)
        if waiting:
            # together: they share the chance of error; the champion is evaluated where it has no such report
            with evaluation_progress() as tell:
                promote_best(store, pack, waiting, device=device, tell=tell)
    return [Assessed.of(store.get(version.name, version.version)) for version in ordered]


def promising_first(
    recipe: AnyRecipe, summary: StudySummary, curves: Callable[[int], Curves], versions: list[EncoderVersion]
) -> list[EncoderVersion]:
    """Versions by name, within a name by the best score of their own output up to the registered epoch.

    The study ranks trials by one objective, which may weigh several outputs; the gate compares models of one kind. The
    order is fixed by validation data alone, before a test object is read.

    Args:
        curves: metrics of a trial by number.

    Raises:
        StudyError: a trial never reported the score of an output.
    """
    best_epochs = {record.number: record.best_epoch for record in summary.leaders}
    scores = {recipe.model_name(output.name): output.select for output in recipe.outputs}

    def key(version: EncoderVersion) -> tuple[str, float, int]:
        number, score = version.lineage.trial, scores[version.name]
        found = curves(number)
        upto = best_epochs.get(number) or 0
        seen = [value for epoch, value in found.get(score.metric, {}).items() if epoch <= upto]
        if not seen:
            raise StudyError(
                f"trial {number} reported no '{score.metric}' up to epoch {upto}, which {version.name} is selected by; "
                f"it has {', '.join(sorted(found)) or 'none'}"
            )
        return version.name, -max(seen) if score.direction == "maximize" else min(seen), version.version

    return sorted(versions, key=key)


def register_trial(
    plan: StudyPlan, opener: TrialOpener, record: TrialRecord, store: EncoderStore, say: Say = lambda text: None
) -> list[EncoderVersion]:
    """All outputs of a trial, each of its own best epoch up to the trial's; those registered already, as they are."""
    run_id, recipe = _run_of(plan, record, store.run_log), opener.recipe
    outputs = opener.outputs(record.values or {})
    known = {
        output.name: version
        for output in outputs
        for version in store.list(recipe.model_name(output.name))
        if version.lineage.run_id == run_id and version.lineage.study == plan.name
    }
    if len(known) == len(outputs):
        return list(known.values())
    lineage, receipt = _lineage(plan, record, run_id), trial_receipt(record, plan.folder)
    folder = plan.folder / "trials" / f"{record.number:04d}"
    bundles = _export(opener, record, folder, lineage.model_dump())
    for bundle in bundles.values():
        try:
            add_onnx(bundle)
        except (RegistryError, MissingDependencyError) as error:
            say(f"{bundle.name} is registered without encoder.onnx: {error}")
    return [
        store.register(bundle, recipe.model_name(output), lineage, run_id, receipt.model_dump())
        for output, bundle in bundles.items()
    ]


def _run_of(plan: StudyPlan, record: TrialRecord, run_log: RunLog) -> str:
    """The trial's run in MLflow. Raises RegistryError where the server has not taken it yet."""
    cursor = read_cursor(plan.folder)
    run_id = cursor.run_of(record.number)
    if run_id is None or cursor.address != run_log.address:
        why = f" ({cursor.trouble})" if cursor.trouble else ""
        raise RegistryError(
            f"study '{plan.name}' is complete, but MLflow has not taken the run of trial {record.number} yet{why}; "
            "nothing is lost: when the server answers, the same command sends what waits and registers the encoders"
        )
    return run_id


def _export(opener: TrialOpener, record: TrialRecord, folder: Path, lineage: Mapping[str, Any]) -> Mapping[str, Path]:
    best = folder / "best"
    if not best.is_dir():
        raise StudyError(f"trial {record.number} has lost its checkpoint {best}; it cannot be registered any more")
    session = opener.open(record.values or {}, record.seed or 0)
    session.load(best, transfer=record.redirected)  # its best may be from before
    return session.export(folder / "encoders", {key: str(value) for key, value in lineage.items()})


def _lineage(plan: StudyPlan, record: TrialRecord, run_id: str) -> Lineage:
    return Lineage(
        study=plan.name,
        trial=record.number,
        run_id=run_id,
        seed=record.seed or 0,
        recipe=plan.space.recipe,
        config_digest=plan.space.configure(record.values or {}).digest(),
        space_digest=plan.space.digest,
        pack_digest=plan.pack_digest,
        code_revision=plan.facts.get("code_revision", ""),
        environment_digest=plan.facts.get("environment_digest", ""),
    )
