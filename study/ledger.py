"""The Optuna journal as the ledger: every decision is on disk before it is acted on.

    <home>/studies/<name>/journal.log    one JSON line per fact, under a lock that works on shared storage
    <home>/studies/<name>/driver.lock    held by the process that runs the study

Study attributes hold what the study is (space, pack, spec); trial attributes what became of each trial. A trial
gets its outcome attribute first and Optuna's final state second: a death in between is repaired when the study is
opened again.
"""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from search_spaces.space import SearchSpace
from ssl_core.config import Config
from ssl_core.errors import StorageError, StudyError
from study.outcome import EpochReport, Outcome
from study.spec import StudySpec
from study.trial_record import STATE_OF, TrialRecord, record_of

JOURNAL = "journal.log"


class StudyIdentity(Config):
    """What must not change when a study is continued."""

    name: str
    recipe: str
    space_digest: str
    pack_digest: str


class Ledger:
    """All facts of one study. One process writes; others may read."""

    def __init__(self, study: optuna.Study, storage: JournalStorage, folder: Path) -> None:
        self._study, self._storage = study, storage
        self.folder = folder
        self.direction = study.direction.name.lower()

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    @property
    def attrs(self) -> dict[str, Any]:
        """Facts about the study as a whole."""
        return dict(self._study.user_attrs)

    @property
    def spec(self) -> StudySpec:
        """The spec it was last started with."""
        return StudySpec.from_json(self._study.user_attrs["spec"])

    @property
    def optuna_study(self) -> optuna.Study:
        """For reading: importances, plots."""
        return self._study

    def set_attr(self, key: str, value: Any) -> None:
        """Write a JSON-able fact about the study."""
        with disk_errors(self.folder):
            self._study.set_user_attr(key, value)

    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return [
            record_of(trial, self.direction)
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state != TrialState.WAITING
        ]

    def record(self, number: int) -> TrialRecord:
        """One trial."""
        return record_of(self._frozen(number), self.direction)

    def ask(self, space: SearchSpace) -> TrialRecord:
        """The next trial of the search, its values and seed written down.

        The sampler is seeded by (study seed, trial number): a search that was interrupted goes on as it would have.
        """
        with disk_errors(self.folder):
            spec = self.spec
            trials = self._study.get_trials(deepcopy=False)
            number = sum(trial.state != TrialState.WAITING for trial in trials)
            self._study.sampler = optuna.samplers.TPESampler(
                seed=(spec.seed * 1_000_003 + number) % 2**32,
                n_startup_trials=spec.startup,
                multivariate=False,
                constant_liar=True,
            )
            if spec.first_is_base and not trials:
                self._study.enqueue_trial(space.base_params())
            trial = self._study.ask()
            return self._suggest(trial, space)

    def complete_values(self, number: int, space: SearchSpace) -> TrialRecord:
        """Values of a trial whose asking was cut short: what was drawn stays, what was not is drawn now."""
        with disk_errors(self.folder):
            trial = Trial(self._study, self._frozen(number)._trial_id)
            return self._suggest(trial, space)

    def note(self, number: int, **facts: Any) -> None:
        """Write attributes of an unfinished trial."""
        with disk_errors(self.folder):
            trial_id = self._frozen(number)._trial_id
            for key, value in facts.items():
                self._storage.set_trial_user_attr(trial_id, key, value)

    def report(self, report: EpochReport, value: float, seconds: float) -> None:
        """Write an epoch's objective; telling it again replaces it. `seconds`: of the trial so far."""
        with disk_errors(self.folder):
            trial_id = self._frozen(report.number)._trial_id
            self._storage.set_trial_intermediate_value(trial_id, report.epoch, value)
            self._storage.set_trial_user_attr(trial_id, "epochs", report.epochs)
            self._storage.set_trial_user_attr(trial_id, "seconds", round(seconds, 3))

    def close(self, number: int, outcome: Outcome, reason: str) -> TrialRecord:
        """Give a trial its outcome, here and in Optuna's own terms."""
        record = self.record(number)
        if outcome is Outcome.COMPLETE and record.best_value is None:
            outcome, reason = Outcome.CRASHED, "it ended without reporting the objective once"
        if record.outcome is None:
            self.note(number, outcome=outcome.value, reason=reason)
        with disk_errors(self.folder):
            value = record.best_value if outcome is Outcome.COMPLETE else None
            self._study.tell(number, value, state=STATE_OF[outcome], skip_if_finished=True)
        return self.record(number)

    def _suggest(self, trial: Trial, space: SearchSpace) -> TrialRecord:
        values = space.suggest(trial)
        trial.set_user_attr("values", values)
        trial.set_user_attr("seed", self.spec.seed + trial.number)
        return self.record(trial.number)

    def _frozen(self, number: int) -> optuna.trial.FrozenTrial:
        trials = self._study.get_trials(deepcopy=False)
        return trials[number]


def open_ledger(folder: Path, identity: StudyIdentity, spec: StudySpec, space: SearchSpace) -> Ledger:
    """Create the study, or continue it if it is the same one. The caller holds the driver's lock.

    Raises:
        StudyError: the name belongs to another space, pack or objective; the text says which and what to do.
        StorageError: the folder cannot be written.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        storage = _storage(folder, repair=True)
        if not storage.get_all_studies():
            study = optuna.create_study(
                storage=storage,
                study_name=identity.name,
                direction=spec.direction,
                pruner=optuna.pruners.NopPruner(),
            )
            study.set_user_attr("space", space.to_json())
            study.set_user_attr("spec", spec.to_json())
            # written last: with it the study exists
            study.set_user_attr("identity", identity.model_dump(mode="json"))
            return Ledger(study, storage, folder)
        ledger = Ledger(_load(storage, folder), storage, folder)
    if "identity" not in ledger.attrs:
        ledger.set_attr("space", space.to_json())
        ledger.set_attr("spec", spec.to_json())
        ledger.set_attr("identity", identity.model_dump(mode="json"))
    _refuse_another(ledger, identity, spec)
    if ledger.spec != spec:
        ledger.set_attr("spec", spec.to_json())
    return ledger


def read_ledger(folder: Path) -> Ledger:
    """An existing study, for reading. Raises StudyError when there is none."""
    if not (folder / JOURNAL).is_file():
        known = sorted(path.parent.name for path in folder.parent.glob(f"*/{JOURNAL}"))
        hint = f"; there is {', '.join(known[:10])}" if known else "; start one with `splatsweep sweep`"
        raise StudyError(f"no study '{folder.name}' in {folder.parent}{hint}")
    storage = _storage(folder, repair=False)
    return Ledger(_load(storage, folder), storage, folder)


def _load(storage: JournalStorage, folder: Path) -> optuna.Study:
    studies = storage.get_all_studies()
    if not studies:
        raise StudyError(f"study '{folder.name}' was never started completely; start it again with `splatsweep sweep`")
    return optuna.load_study(study_name=studies[0].study_name, storage=storage)


def _storage(folder: Path, repair: bool) -> JournalStorage:
    path = folder / JOURNAL
    if repair:
        _repair(path)
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError) as error:
        raise StudyError(f"{path} is damaged ({error}); restore it from a copy or use another study name") from None


def _repair(path: Path) -> None:
    """Remove a line that a dying machine left half-written, and the lock of a dead writer."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if not path.exists():
        return
    with path.open("rb+") as stream:
        content = stream.read()
        if content and not content.endswith(b"\n"):
            stream.truncate(content.rfind(b"\n") + 1)


def _refuse_another(ledger: Ledger, identity: StudyIdentity, spec: StudySpec) -> None:
    old = StudyIdentity.model_validate(ledger.attrs["identity"])
    remedy = f"choose another --name, or delete {ledger.folder} to start over"
    for field, thing in (("recipe", "recipe"), ("space_digest", "search space"), ("pack_digest", "pack")):
        before, now = getattr(old, field), getattr(identity, field)
        if before != now:
            raise StudyError(
                f"study '{identity.name}' was started with another {thing} ({before}, now {now}); {remedy}"
            )
    for field in ("metric", "direction", "seed"):
        before, now = getattr(ledger.spec, field), getattr(spec, field)
        if before != now:
            raise StudyError(f"study '{identity.name}' was started with {field}={before}, now {now}; {remedy}")


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A disk that is full or read-only becomes a StorageError naming the place."""
    try:
        yield
    except OSError as error:
        known = (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EROFS,
            errno.EACCES,
            errno.EPERM,
            errno.ENOTDIR,
            errno.EEXIST,
        )
        if error.errno in known:
            raise StorageError(
                f"{error.filename or folder}: {error.strerror}; nothing is lost: free space or allow writing, "
                "then start the same command again"
            ) from error
        raise


def study_tags(identity: StudyIdentity, facts: Mapping[str, str]) -> dict[str, str]:
    """MLflow tags of lineage."""
    own = {
        "splatsweep.recipe": identity.recipe,
        "splatsweep.space_digest": identity.space_digest,
        "splatsweep.pack_digest": identity.pack_digest,
    }
    return {**own, **{f"splatsweep.{key}": value for key, value in facts.items()}}
