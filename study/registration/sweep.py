"""One study from a space file and a pack to judged encoders, and what is said of it: what `sweep` does."""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.tracking.cursor import read_cursor
from registry.tracking.run_log import open_run_log
from registry.versions.environment import facts as environment_facts
from search_spaces.space import load_space
from ssl_core.data.dataset import Dataset
from ssl_core.recipes.recipe_source import preset_at
from study.analysis.attribution import Attribution, from_confirmations, from_trials
from study.analysis.first_epochs import first_epoch_warning, untrained_values
from study.analysis.recipe_standings import COLUMNS, RecipeStanding, recipe_standings, standing_rows, winner_text
from study.analysis.words import values_text
from study.datasets.pack_storage import needed_files, open_data, place_name
from study.engine.cost_report import study_receipt
from study.engine.ledger import Ledger, read_ledger
from study.record.trial_record import ranked
from study.registration.fine_tuning_asked import asked_fine_tuning, asked_seconds
from study.reports.console import aside, console, errors, say, table
from study.reports.status import read_status
from study.reports.verdict_text import bought_lines, verdict_rows
from study.reports.verdicts import read_verdicts
from study.run.driver import run_study
from study.run.recipe_checks import checked_spec
from study.run.study_plan import StudyPlan, StudySummary, check_choices
from study.run.trial_opener import TrialOpener, keep_sources, trial_opener
from study.samplers.suggestion import check_search
from study.schedulers.pbt import check_perturbed
from study.spec.home import home, study_folder, study_name
from study.workers.revision import code_revision

if TYPE_CHECKING:
    from study.registration.assess import Assessed

_SHOWN = 10
"""Trials of the table at the end."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for; None means the space file's or the default value."""

    space: Path
    pack: str | Path
    name: str | None = None
    trials: int | None = None
    concurrency: int | None = None
    overrides: Mapping[str, Any] | None = None
    fine_tuning: bool = True


def plan_study(request: Request) -> tuple[StudyPlan, TrialOpener, Dataset]:
    """Everything is checked here, before anything is spent.

    Raises:
        SpaceError, ConfigError: the space file or an override is wrong.
        PackError, InfeasibleError: the pack is unusable, or cannot serve the base config.
    """
    name = study_name(request.name, request.space, place_name(request.pack))
    space = load_space(request.space, preset_at, request.overrides)
    pack = open_data(request.pack, needed_files(space.to_json()))
    given = {"trials": request.trials, "concurrency": request.concurrency}
    opener = trial_opener(space, pack, str(request.pack))
    spec = checked_spec(space, given)
    check_search(spec, space)
    check_perturbed(space, spec.scheduler)
    for values in space.presets():
        opener.check(values)
    check_choices(space, opener.check)
    facts = {"code_revision": code_revision(), "pack": opener.pack, **environment_facts(spec.threads)}
    plan = StudyPlan(
        name=name,
        folder=study_folder(name),
        pack_digest=pack.digest,
        spec=spec,
        space=space,
        open_session=opener,
        check=opener.check,
        facts=facts,
        recipe_digest=opener.source_digest,
    )
    return plan, opener, pack


def run_and_assess(request: Request) -> "tuple[StudyPlan, StudySummary, list[Assessed]]":
    """Run, continue or confirm the study, then register, evaluate, judge and fine-tune its best encoders."""
    asked_seconds()  # before hours of training
    plan, opener, pack = plan_study(request)
    keep_sources(opener, plan.folder)
    with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home()) as log:
        summary = run_study(plan, log, errors)
        if summary.interrupted:
            return plan, summary, []
        # seconds of imports that a study begins without
        from registry.versions.store import EncoderStore
        from study.registration.assess import Evaluating, assess_study
        from study.registration.study_verdicts import publish_verdicts

        fine_tuning = asked_fine_tuning(request.fine_tuning)
        evaluating = Evaluating(EncoderStore(log), pack, opener.pack, aside, fine_tuning)
        judged = assess_study(plan, opener, summary, evaluating)
        publish_verdicts(log, plan.folder, aside)
        return plan, summary, judged


def study_facts(plan: StudyPlan, summary: StudySummary, judged: "list[Assessed]") -> dict[str, Any]:
    """What came of a study, for scripts."""
    ledger = read_ledger(plan.folder)
    receipt = study_receipt(ledger)
    return {
        "study": plan.name,
        "outcomes": dict(summary.outcomes),
        "reason": summary.reason,
        "interrupted": summary.interrupted,
        "was_finished": summary.was_finished,
        "seconds": summary.seconds,
        "best": [{"trial": r.number, plan.spec.metric: r.best_value, "values": r.values} for r in summary.leaders],
        "receipt": {**receipt.model_dump(mode="json"), "held": receipt.held},
        "recipes": [one.model_dump(mode="json") for one in _standings(ledger)],
        "groups": [gain.model_dump(mode="json") for gain in _attribution(ledger).gains],
        "encoders": [item.model_dump(mode="json") for item in judged],
        "verdicts": [item.model_dump(mode="json") for item in read_verdicts(plan.folder)],
        "tracking": read_status(plan.folder).tracking.model_dump(mode="json"),
    }


def print_study(plan: StudyPlan, summary: StudySummary, judged: "list[Assessed]", request: Request) -> None:
    """What pretraining bought, leaderboard, registered encoders with what was found of them, next commands, and what
    MLflow did not take."""
    if summary.interrupted:
        return
    if summary.was_finished:
        say(f"study {plan.name} is finished already; nothing was run again")
    ledger, verdicts = read_ledger(plan.folder), read_verdicts(plan.folder) if judged else ()
    for line in bought_lines(verdicts):
        say(line)
    records = ranked([record for record in ledger.records() if not record.confirms], plan.spec.direction)
    rows = [
        [r.number, r.state, "-" if r.best_value is None else f"{r.best_value:.4f}", r.best_epoch or "-",
         f"{r.epoch}/{r.epochs}", values_text(r.values or {}, brief=True)]
        for r in records[:_SHOWN]
    ]  # fmt: skip
    columns = ["trial", "outcome", plan.spec.metric, "at epoch", "epochs", "values"]
    table(f"{plan.name}: best of {len(records)} trials", columns, rows)
    untrained = untrained_values(plan.folder, records, plan.spec.metric)
    if trouble := first_epoch_warning(records, untrained, plan.spec.direction):
        say(f"warning: {trouble}")
    if standings := _standings(ledger):
        table("which recipe", list(COLUMNS), standing_rows(standings))
        say(winner_text(standings, plan.spec.metric))
    _print_groups(_attribution(ledger), plan.spec.metric)
    if verdicts:
        console.print(verdict_rows("registered models", verdicts), markup=True)
    for name in sorted({item.name for item in judged if item.decision}):
        if all(item.status != "champion" for item in judged if item.name == name):
            say(f"no champion: no version of {name} was shown to be better than the strongest baseline")
    say("\nnext:")
    say("  look          make ui        (and make report: one page about this study)")
    if judged:
        champions = sorted((item.name for item in judged if item.status == "champion"), reverse=True)
        reference = f"{champions[0]}@champion" if champions else f"{judged[-1].name}@candidate"
        say(f"  pull          make pull MODEL={reference} TO=pulled")
    if plan.spec.planned is not None:
        words = [str(request.space), "--pack", str(request.pack), "--name", plan.name]
        say(f"  bigger study  .venv/bin/splatsweep sweep {shlex.join(words)} --trials {4 * plan.spec.planned}")
    for line in read_cursor(plan.folder).shortfall():
        say(f"\n{line}")


def _standings(ledger: Ledger) -> tuple[RecipeStanding, ...]:
    return recipe_standings(ledger.records(), json.loads(ledger.attrs.get("space", "{}")), ledger.spec.direction)


def _attribution(ledger: Ledger) -> Attribution:
    """What feature groups are worth: at the winner where that was confirmed, else by the trials of the search."""
    records, direction = ledger.records(), ledger.spec.direction
    space = json.loads(ledger.attrs.get("space", "{}"))
    confirmed = from_confirmations(records, space, direction)
    if confirmed is not None and confirmed.gains:
        return confirmed
    return from_trials(records, space, direction) or Attribution(source="trials")


def _print_groups(found: Attribution, metric: str) -> None:
    if not any(gain.matters for gain in found.gains):
        return  # the report has the table; nothing in it is sure
    source = "confirmed at the winner" if found.source == "confirmations" else f"by {len(found.trials)} trials"
    table(
        f"what feature groups are worth, {source}: gain in {metric}",
        ["group", "gain", "95 % interval, for all together"],
        [[gain.name, f"{gain.gain:+.3g}", f"{gain.low:+.3g} … {gain.high:+.3g}"] for gain in found.gains],
    )
