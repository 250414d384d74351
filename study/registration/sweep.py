"""One study from a space file and a pack to judged encoders: what `sweep` does."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.tracking.run_log import open_run_log
from registry.versions.environment import facts as environment_facts
from search_spaces.presets import preset_at
from search_spaces.space import load_space
from ssl_core.data.dataset import Dataset
from study.datasets.pack_storage import needed_files, open_data, place_name
from study.reports.console import errors
from study.run.choices_check import check_choices
from study.run.driver import StudyPlan, StudySummary, run_study
from study.run.trial_opener import TrialOpener, keep_source, trial_opener
from study.samplers.suggestion import check_search
from study.schedulers.pbt_check import check_perturbed
from study.spec.home import home, study_folder, study_name
from study.spec.study_spec import study_spec
from study.workers.revision import code_revision

if TYPE_CHECKING:
    from study.registration.assess import Assessed


@dataclass(frozen=True)
class Request:
    """What the command line asks for; None means the space file's or the default value."""

    space: Path
    pack: str | Path
    name: str | None = None
    trials: int | None = None
    concurrency: int | None = None
    overrides: Mapping[str, Any] | None = None


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
    spec = study_spec(space.study, given, request.space, [output.select for output in opener.recipe.outputs])
    check_search(spec, space)
    check_perturbed(space, spec.scheduler)
    opener.check({})
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
        recipe_digest=opener.source.source_digest,
    )
    return plan, opener, pack


def run_and_assess(request: Request) -> "tuple[StudyPlan, StudySummary, list[Assessed]]":
    """Run, continue or confirm the study, then register, evaluate and judge its best encoders."""
    plan, opener, pack = plan_study(request)
    keep_source(opener.source, plan.folder)
    with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home()) as log:
        summary = run_study(plan, log, errors)
        if summary.interrupted:
            return plan, summary, []
        from study.registration.assess import (
            assess_study,  # pictures and probes: two seconds that a study begins without
        )

        say = lambda text: errors.print(text, soft_wrap=True)  # noqa: E731
        return plan, summary, assess_study(plan, opener, pack, summary, log, say)
