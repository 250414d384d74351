"""After a study, without being asked: register the best encoders, evaluate them on the test split, let the gate decide,
and fine-tune them beside training from scratch.

Evaluations are jobs of one thread, spread over the cores or the cluster; the gate decides when all of them are there,
in an order that validation fixed, so it does not matter which ended first. Fine-tuning comes last and moves no alias.
Each step leaves a trace in the registry and is skipped when it is found there, so an interrupted assessment goes on.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from registry.champions.evaluation_claims import work_key
from registry.champions.promote import promote_best
from registry.server.users import may_judge
from registry.tracking.cursor import read_cursor
from registry.tracking.run_log import RunLog
from registry.versions.evaluation_log import known_report
from registry.versions.records import CHAMPION, EncoderVersion, Lineage
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.data.dataset import Dataset
from ssl_core.errors import MissingDependencyError, RegistryError, StudyError
from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings
from ssl_core.evaluation.report import TaskConfig
from ssl_core.evaluation.task import task_named
from ssl_core.evaluation.tasks.fine_tuned import with_fine_tuning
from ssl_core.models.bundle import add_onnx
from ssl_core.training.config import choose_device, supervision_of_outputs
from ssl_core.training.contract import AnyRecipe
from study.engine.cost_report import trial_receipt
from study.record.metrics_file import Curves, read_metrics
from study.record.trial_record import TrialRecord
from study.registration.evaluation_job import Answer, EvaluationJob
from study.registration.job_pools import finished, study_pool
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
    fine_tuning: str = ""

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
            fine_tuning=version.fine_tuning,
        )


@dataclass(frozen=True)
class Evaluating:
    """Where versions are evaluated, and who hears of it.

    place: of the pack, as workers see it. fine_tuning: what every version gets after the gate; None: nothing.
    """

    store: EncoderStore
    pack: Dataset
    place: str
    say: Say
    fine_tuning: FineTuningSettings | None = None


def assess_study(
    plan: StudyPlan,
    opener: TrialOpener,
    summary: StudySummary,
    evaluating: Evaluating,
) -> list[Assessed]:
    """Register, evaluate and judge the encoders of the study's best trials, each kind in order of its own probe; then
    fine-tune them.

    Raises:
        StudyError: a best trial has lost its checkpoint, or an encoder could not be evaluated.
        RegistryError: MLflow does not answer, or has not taken the trials' runs yet; the same command goes on.
    """
    store, say = evaluating.store, evaluating.say
    versions: list[EncoderVersion] = []
    for record in summary.leaders:
        versions += register_trial(plan, opener, record, store, say)
    if not may_judge(store.run_log.tracking_uri):
        say("registered; who may promote there judges them (`splatsweep watch`)")
        return [Assessed.of(version) for version in versions]
    ordered = promising_first(opener.loaded.values(), summary, partial(read_metrics, plan.folder), versions)
    waiting = [version for version in ordered if version.decision is None]
    names = sorted({version.name for version in waiting})
    _evaluate(evaluating, [*waiting, *_champions(store, names, waiting)])
    for name in names:
        # together: they share the chance of error
        some = [version for version in waiting if version.name == name]
        with evaluation_progress() as tell:
            promote_best(store, evaluating.pack, some, device=choose_device(), tell=tell)
    _fine_tune(evaluating, ordered)
    return [Assessed.of(store.get(version.name, version.version)) for version in ordered]


def _champions(store: EncoderStore, names: Sequence[str], waiting: Sequence[EncoderVersion]) -> list[EncoderVersion]:
    """Whom the waiting are compared with. One that another client registered and nobody took in yet is left to the
    gate, which does that first."""
    known, found = {version.reference for version in waiting}, (store.with_alias(name, CHAMPION) for name in names)
    return [each for each in found if each is not None and each.bundle_digest and each.reference not in known]


def _evaluate(evaluating: Evaluating, versions: Sequence[EncoderVersion]) -> None:
    """By what the gate asks, where they are not yet. Raises StudyError for the first that could not be."""
    protocols = {version.reference: task_named(version.kind).config() for version in versions}
    for job, answer in _done(evaluating, versions, protocols, "evaluating"):
        if answer.outcome != "judged":
            raise StudyError(f"{job.reference} was not evaluated: {answer.reason}; the same command goes on")


def _fine_tune(evaluating: Evaluating, versions: Sequence[EncoderVersion]) -> None:
    """Where it is asked for and they are not yet. It decides nothing, so what fails is said and passed over."""
    settings = evaluating.fine_tuning
    if settings is None:
        return
    asked = {version.reference: with_fine_tuning(task_named(version.kind).config(), settings) for version in versions}
    for job, answer in _done(evaluating, versions, asked, "fine-tuning"):
        if answer.outcome != "judged":
            evaluating.say(f"{job.reference} was not fine-tuned: {answer.reason}; the same command tries again")


def _done(
    evaluating: Evaluating,
    versions: Sequence[EncoderVersion],
    protocols: Mapping[str, TaskConfig | None],
    doing: str,
) -> list[tuple[EvaluationJob, Answer]]:
    """Measured by those protocols, where they are not yet: jobs and answers. Versions without a protocol are left."""
    store, jobs = evaluating.store, list[EvaluationJob]()
    for version in _in_turns(versions):
        protocol, digest = protocols[version.reference], evaluating.pack.digest
        current = store.get(version.name, version.version)
        if protocol is None or known_report(store, current, digest, protocol) is not None:
            continue
        where = {"pack": evaluating.place, "home": str(store.run_log.home)}
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        work = work_key(digest, protocol.digest())
        job = {"name": version.name, "version": version.version, "work": work, "protocol": protocol, "gate": False}
        jobs.append(EvaluationJob.model_validate({**job, **where, "tracking_uri": uri}))
    if not jobs:
        return []
    with study_pool(len(jobs), store.run_log.home) as pool:
        some = f"{doing} {len(jobs)} encoder{'s' if len(jobs) > 1 else ''}"
        evaluating.say(f"{some}: {', '.join(job.reference for job in jobs)}, {pool.slots} at a time")
        return list(zip(jobs, finished(pool, jobs, some), strict=True))


def _in_turns(versions: Sequence[EncoderVersion]) -> list[EncoderVersion]:
    """One of each name, then the next of each: those of a name share what is computed, so they should not meet."""
    rank = {version.reference: len(_before(versions, place)) for place, version in enumerate(versions)}
    return sorted(versions, key=lambda version: (rank[version.reference], version.name))


def _before(versions: Sequence[EncoderVersion], place: int) -> list[EncoderVersion]:
    return [version for version in versions[:place] if version.name == versions[place].name]


def promising_first(
    recipes: Iterable[AnyRecipe],
    summary: StudySummary,
    curves: Callable[[int], Curves],
    versions: list[EncoderVersion],
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
    scores = {recipe.model_name(output.name): output.select for recipe in recipes for output in recipe.outputs}

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
    run_id, recipe = _run_of(plan, record, store.run_log), opener.recipe_of(record.values or {})
    outputs = opener.outputs(record.values or {})
    known = {
        output.name: version
        for output in outputs
        for version in store.list(recipe.model_name(output.name))
        if version.lineage.run_id == run_id and version.lineage.study == plan.name
    }
    if len(known) == len(outputs):
        return list(known.values())
    say(f"registering trial {record.number}: {', '.join(recipe.model_name(output.name) for output in outputs)}")
    receipt = trial_receipt(record, plan.folder)
    folder = plan.folder / "trials" / f"{record.number:04d}"
    bundles = _export(opener, record, folder, _lineage(plan, record, run_id, [each.name for each in outputs]))
    for bundle in bundles.values():
        try:
            add_onnx(bundle)
        except (RegistryError, MissingDependencyError) as error:
            say(f"{bundle.name} is registered without encoder.onnx: {error}")
    return [
        store.register(
            bundle, recipe.model_name(output), _lineage(plan, record, run_id, [output]), run_id, receipt.model_dump()
        )
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


def _export(opener: TrialOpener, record: TrialRecord, folder: Path, lineage: Lineage) -> Mapping[str, Path]:
    best = folder / "best"
    if not best.is_dir():
        raise StudyError(f"trial {record.number} has lost its checkpoint {best}; it cannot be registered any more")
    session = opener.open(record.values or {}, record.seed or 0)
    session.load(best, transfer=record.redirected)  # its best may be from before
    return session.export(folder / "encoders", {key: str(value) for key, value in lineage.model_dump().items()})


def _lineage(plan: StudyPlan, record: TrialRecord, run_id: str, outputs: Iterable[str]) -> Lineage:
    """Of these outputs of a trial."""
    config = plan.space.configure(record.values or {})
    return Lineage(
        study=plan.name,
        trial=record.number,
        run_id=run_id,
        seed=record.seed or 0,
        recipe=plan.space.recipe_of(record.values or {}).name,
        config_digest=config.digest(),
        supervision=supervision_of_outputs(config, outputs),
        space_digest=plan.space.digest,
        pack_digest=plan.pack_digest,
        code_revision=plan.facts.get("code_revision", ""),
        environment_digest=plan.facts.get("environment_digest", ""),
    )
