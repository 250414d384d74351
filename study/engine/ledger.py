"""The journal as the ledger of a study: every decision is on disk before it is acted on.

    <home>/studies/<name>/journal.log    one JSON line per fact, in Optuna's format
    <home>/studies/<name>/driver.lock    held by the process that runs the study

Study attributes hold what the study is (space, pack, spec, what it learnt from earlier studies); trial attributes
what became of each trial. What belongs together is one write, there whole or not at all: a trial with its values, a
report, an end. So a study that is cut off at any byte is a study at an earlier moment.

Epoch reports are left to the operating system to bring to the disk, which no death of a process can undo; trials,
verdicts and ends are waited for. Should the machine itself lose power, the last reports of running trials may be
missing, and are told again from their checkpoints.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution

from search_spaces.space import SearchSpace
from ssl_core.errors import StudyError
from study.engine.history import JOURNAL, History, read_history
from study.engine.warm_start import warm_entries
from study.record import journal_lines as lines
from study.record.full_disk import FullDiskRetry
from study.record.identity import StudyIdentity, refuse_another, study_tags
from study.record.journal import FileJournal, Journal, MemoryJournal, disk_errors
from study.record.journal_lines import FORMAT, Line
from study.record.trial_record import STATE_OF, Origin, TrialRecord, Verdict
from study.samplers.sampler_view import metric, missing
from study.samplers.suggestion import check_search, suggest
from study.spec.outcome import EpochReport, Outcome
from study.spec.study_spec import StudySpec

__all__ = [
    "JOURNAL", "Ledger", "StudyIdentity", "disk_errors", "memory_ledger", "open_ledger", "read_ledger", "study_tags",
]  # fmt: skip


class Ledger:
    """All facts of one study. One process writes; others may read what was there when they opened it."""

    def __init__(
        self, journal: Journal | None, history: History, folder: Path, disk_retry: FullDiskRetry | None = None
    ) -> None:
        self._journal, self._history, self._patience = journal, history, disk_retry
        self.folder = folder

    # ---- reading

    @property
    def name(self) -> str:
        """The study's name."""
        return self._history.state.name or self.folder.name

    @property
    def direction(self) -> str:
        """Of the metric that trials are compared by."""
        return self.spec.direction

    @property
    def attrs(self) -> dict[str, Any]:
        """Facts about the study as a whole."""
        return dict(self._history.state.attrs)

    @property
    def spec(self) -> StudySpec:
        """The spec it was last started with."""
        return self._history.spec

    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return self._history.records()

    def record(self, number: int) -> TrialRecord:
        """One trial."""
        return self._history.record(number)

    # ---- new trials

    def ask(self, space: SearchSpace) -> TrialRecord:
        """The next trial of the search: values, seed and origin in one write.

        Raises:
            SpaceExhaustedError: the sampler has tried all there is.
        """
        history = self._history
        found = suggest(history.spec, history.in_order(space), history.view, len(history.state.trials))
        return self._create(found.values, found.origin, found.params, found.distributions, found.notes)

    def repeat_of(self, number: int) -> TrialRecord:
        """A further trial of a configuration: the same values, its own number and seed."""
        history = self._history
        configuration = history.configuration(number)
        first = history.state.trials[configuration]
        values = history.space.replay(first.params)  # as suggested, whatever was changed while it trained
        origin = Origin(kind="repeat", of=configuration)
        return self._create(values, origin, first.params, first.distributions, {})

    def add(self, values: Mapping[str, Any], origin: Origin) -> TrialRecord:
        """A trial with given values, outside the search: a confirmation. The sampler does not hear of it."""
        if origin.kind != "confirmation":
            raise ValueError(f"only confirmations are added, not {origin.kind}")
        return self._create(values, origin, {}, {}, {})

    def _create(
        self,
        values: Mapping[str, Any],
        origin: Origin,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        notes: Mapping[str, Any],
    ) -> TrialRecord:
        number = configuration = len(self._history.state.trials)
        repeat = 0
        if origin.kind == "repeat" and origin.of is not None:
            configuration, repeat = origin.of, len(self._history.trials_of(origin.of))
        attrs = {
            "values": dict(values),
            "seed": self.spec.seed + number,
            "origin": origin.model_dump(mode="json"),
            "configuration": configuration,
            "repeat": repeat,
        }
        self._write([lines.create_trial(params, distributions, attrs, notes)], sync=True)
        return self.record(number)

    # ---- what becomes of them

    def set_attr(self, key: str, value: Any) -> None:
        """Write a JSON-able fact about the study."""
        self._write([lines.study_attr(key, value)], sync=True)

    def note(self, number: int, **facts: Any) -> None:
        """Write attributes of a trial, finished or not."""
        if facts:
            self._write([lines.trial_attr(number, key, value) for key, value in facts.items()], sync=False)

    def report(self, report: EpochReport, value: float, seconds: float, held: float = 0.0) -> None:
        """Write an epoch's objective; telling it again replaces it.

        Args:
            seconds: of training, of the trial so far.
            held: slot seconds of the trial so far, overhead included.
        """
        facts = {"epochs": report.epochs, "seconds": round(seconds, 3), "held": round(held, 3)}
        known = self._history.state.trials[report.number].attrs
        news = [lines.trial_attr(report.number, key, fact) for key, fact in facts.items() if known.get(key) != fact]
        self._write([lines.trial_value(report.number, report.epoch, value), *news], sync=False)

    def redirect(self, number: int, verdict: Verdict) -> TrialRecord:
        """Write a verdict on an unfinished trial; one to exploit also replaces its values."""
        group = [self._verdicts(number, verdict)]
        if verdict.action == "exploit":
            group.append(lines.trial_attr(number, "values", verdict.values))
        self._write(group, sync=True)
        return self.record(number)

    def close(
        self,
        number: int,
        outcome: Outcome,
        reason: str,
        vector: Mapping[str, float] | None = None,
        verdict: Verdict | None = None,
    ) -> TrialRecord:
        """Give a trial its outcome, here and in Optuna's own terms.

        Args:
            vector: metrics of the best epoch that objectives and constraints name, and costs.
            verdict: the scheduler's, when that ended it.
        """
        record = self.record(number)
        if record.told:
            return record
        record = record.model_copy(update={"vector": {**record.vector, **(vector or {})}})
        if outcome is Outcome.COMPLETE and (absent := missing(record, self.spec)):
            never = "the objective" if absent[0] == self.spec.metric else f"'{absent[0]}', which the study needs,"
            outcome, reason = Outcome.CRASHED, f"it ended without reporting {never} once"
        group = [self._verdicts(number, verdict)] if verdict is not None else []
        facts: dict[str, Any] = {"outcome": outcome.value, "reason": reason} if record.outcome is None else {}
        if record.vector:
            facts["vector"] = record.vector
        group += [lines.trial_attr(number, key, fact) for key, fact in facts.items()]
        self._write([*group, self._end(record, record.outcome or outcome)], sync=True)
        return self.record(number)

    def _end(self, record: TrialRecord, outcome: Outcome) -> Line:
        spec, values = self.spec, None
        if outcome is Outcome.COMPLETE:
            values = [metric(record, objective.metric, spec) for objective in spec.vector]
        elif outcome is Outcome.STOPPED and record.curve and len(spec.vector) == 1:
            values = [record.curve[record.epoch]]
        return lines.trial_state(record.number, STATE_OF[outcome], values)

    def _verdicts(self, number: int, verdict: Verdict) -> Line:
        every = [*self.record(number).verdicts, verdict]
        return lines.trial_attr(number, "verdicts", [known.model_dump(mode="json") for known in every])

    def _write(self, group: Sequence[Line], *, sync: bool) -> None:
        """To the journal first; what is known here is only ever read from there."""
        if self._journal is None:
            raise StudyError(f"{self.folder} was opened for reading; only the process that runs the study writes")
        append = partial(self._journal.append, group, sync=sync)
        with disk_errors(self.folder):
            append() if self._patience is None else self._patience(append, self.folder / JOURNAL)
            self.refresh()

    def refresh(self) -> None:
        """Take in what was written since."""
        if self._journal is not None:
            for line in self._journal.read():
                self._history.apply(line)


def open_ledger(
    folder: Path, identity: StudyIdentity, spec: StudySpec, space: SearchSpace, disk_retry: FullDiskRetry | None = None
) -> Ledger:
    """Create the study, or continue it if it is the same one. The caller holds the driver's lock.

    Args:
        disk_retry: what to do about a full disk; by default nothing is retried.

    Raises:
        SpaceError: the sampler, the points given by hand or the earlier studies do not fit the space.
        StudyError: the name belongs to another space, pack or objective; the text says which and what to do.
        StorageError: the folder cannot be written.
    """
    check_search(spec, space)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return _opened(FileJournal(folder / JOURNAL, writable=True), identity, spec, space, folder, disk_retry)


def memory_ledger(identity: StudyIdentity, spec: StudySpec, space: SearchSpace) -> Ledger:
    """A study that is kept nowhere, for simulations. Earlier studies it starts from must be given as folders."""
    check_search(spec, space)
    return _opened(MemoryJournal(), identity, spec, space, Path("memory"))


def read_ledger(folder: Path) -> Ledger:
    """An existing study as it is now, for reading. Raises StudyError when there is none."""
    return Ledger(None, read_history(folder), folder)


def _opened(
    journal: Journal,
    identity: StudyIdentity,
    spec: StudySpec,
    space: SearchSpace,
    folder: Path,
    disk_retry: FullDiskRetry | None = None,
) -> Ledger:
    history = History(folder / JOURNAL, follow_sampler=True)
    ledger = Ledger(journal, history, folder, disk_retry)
    ledger.refresh()
    if history.state.name is None:
        ledger._write(_beginning(identity, spec, space, folder), sync=True)
        return ledger
    refuse_another(history.identity, history.spec, identity, spec, folder)
    if history.spec != spec:
        ledger.set_attr("spec", spec.to_json())
    return ledger


def _beginning(identity: StudyIdentity, spec: StudySpec, space: SearchSpace, folder: Path) -> list[Line]:
    """What a study is, in one write."""
    warm, left_out = warm_entries(spec, space, identity.pack_digest, folder.parent)
    facts: dict[str, Any] = {
        "format": FORMAT,
        "space": space.to_json(),
        "order": [parameter.key for parameter in space.parameters],
        "spec": spec.to_json(),
        "identity": identity.model_dump(mode="json"),
    }
    if spec.warm_start:
        facts |= {"warm": [known.model_dump(mode="json") for known in warm], "warm_notes": left_out}
    directions = [objective.direction for objective in spec.vector]
    return [lines.create_study(identity.name, directions), *(lines.study_attr(*fact) for fact in facts.items())]
