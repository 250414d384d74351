"""A study as its journal tells it, line by line: state, records, and what the sampler knew at each moment.

The process that runs a study follows its own lines with this, `replay` and `why` follow those of the past.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search_spaces.parameter import distribution
from search_spaces.space import SearchSpace
from search_spaces.stored import in_stored_order, stored_space
from ssl_core.errors import ConfigError, StudyError
from study.record.identity import StudyIdentity
from study.record.journal import REMEDY, FileJournal
from study.record.journal_lines import Line, Op, StudyState, TrialFacts
from study.record.trial_record import ON_REPORT, TrialRecord, record_of, with_report
from study.samplers.sampler_view import SamplerView, WarmEntry
from study.spec.outcome import one_line
from study.spec.study_spec import StudySpec

JOURNAL = "journal.log"


class History:
    """The lines so far.

    Args:
        source: the journal, for messages.
        follow_sampler: keep `view` up to date too.
    """

    def __init__(self, source: Path, *, follow_sampler: bool) -> None:
        self.source = source
        self.state = StudyState()
        self._follow = follow_sampler
        self._records: list[TrialRecord | None] = []
        self._stale: set[int] = set()
        self._advanced: dict[int, list[int]] = {}  # epochs told since the record was made, and nothing else
        self._groups: dict[int, list[int]] = {}
        self._spec: tuple[str, StudySpec] | None = None
        self._space: SearchSpace | None = None
        self._view: SamplerView | None = None

    def apply(self, line: Line) -> None:
        """Take the next line. Raises StudyError naming the journal when it makes no sense."""
        try:
            number = self.state.apply(line)
        except StudyError as error:
            raise StudyError(f"{self.source}: {error}") from None
        if number is None:
            return
        trial = self.state.trials[number]
        if number == len(self._records):
            self._records.append(None)
            self._created(trial)
        self._touch(number, line)
        if line["op_code"] == Op.TRIAL_STATE and self._follow and "origin" in trial.attrs:
            first = self._groups[self.configuration(number)]
            with self._sense(f"the end of trial {number}"):
                self.view.tell([self.record(other) for other in first])

    def record(self, number: int) -> TrialRecord:
        """A trial as it is now."""
        kept = self._records[number]
        epochs = self._advanced.pop(number, None)
        if kept is None or number in self._stale:
            with self._sense(f"trial {number}"):
                kept = self._records[number] = record_of(self.state.trials[number], self.spec.direction)
            self._stale.discard(number)
        elif epochs is not None:
            kept = self._records[number] = with_report(kept, self.state.trials[number], epochs, self.spec.direction)
        return kept

    def records(self) -> list[TrialRecord]:
        """All trials, by number; those that another tool put into a queue are not trials yet."""
        for number in (*self._stale, *self._advanced):
            self.record(number)
        return [record for record in self._records if record is not None and record.started is not None]

    def configuration(self, number: int) -> int:
        """Number of the first trial with these values."""
        return int(self.state.trials[number].attrs.get("configuration", number))

    def trials_of(self, configuration: int) -> list[int]:
        """Numbers of a configuration's trials, the first of them first."""
        return list(self._groups[configuration])

    @property
    def spec(self) -> StudySpec:
        """As last written."""
        text = self.attr("spec")
        if self._spec is None or self._spec[0] != text:
            with self._sense("the spec of the study"):
                self._spec = (text, StudySpec.from_json(text))
        return self._spec[1]

    @property
    def identity(self) -> StudyIdentity:
        """What must not change while the study goes on."""
        stored = self.attr("identity")
        with self._sense("the identity of the study"):
            return StudyIdentity.model_validate(stored)

    @property
    def space(self) -> SearchSpace:
        """As stored: it suggests like the original."""
        if self._space is None:
            self._space = stored_space(self.attr("space"), self.attr("order"), self.source)
        return self._space

    @property
    def view(self) -> SamplerView:
        """What the sampler knows now."""
        if self._view is None:
            kinds = {parameter.key: distribution(parameter.domain) for parameter in self.space.parameters}
            warm = [WarmEntry.model_validate(earlier) for earlier in self.state.attrs.get("warm", ())]
            self._view = SamplerView(self.spec, warm, kinds)
        return self._view

    def in_order(self, space: SearchSpace) -> SearchSpace:
        """The study's space with its parameters in the order that the study began with."""
        return in_stored_order(space, self.attr("order"))

    def attr(self, key: str) -> Any:
        """A fact that every study of this program has."""
        if key not in self.state.attrs:
            raise StudyError(f"{self.source} is not the journal of a study of this program (it has no '{key}')")
        return self.state.attrs[key]

    @contextmanager
    def _sense(self, what: str) -> Iterator[None]:
        """What this version cannot have written becomes a StudyError that names the journal."""
        try:
            yield
        except (ArithmeticError, AttributeError, ConfigError, LookupError, TypeError, ValueError) as error:
            raise StudyError(
                f"{self.source}: {what} cannot be read ({one_line(error)}); continue the study with the version that "
                f"wrote it, or {REMEDY}"
            ) from None

    def _touch(self, number: int, line: Line) -> None:
        """Note what a record has to be renewed for: reports come often, so what they change is renewed alone."""
        kept = self._records[number]
        if kept is None or number in self._stale:
            self._stale.add(number)
        elif line["op_code"] == Op.TRIAL_VALUE and int(line["step"]) > self._last_epoch(kept):
            self._advanced.setdefault(number, []).append(int(line["step"]))
        elif line["op_code"] == Op.TRIAL_ATTR and ON_REPORT.issuperset(line["user_attr"]):
            self._advanced.setdefault(number, [])
        else:
            self._stale.add(number)

    def _last_epoch(self, kept: TrialRecord) -> int:
        return max([kept.epoch, *self._advanced.get(kept.number, [])])

    def _created(self, trial: TrialFacts) -> None:
        with self._sense(f"trial {trial.number}"):
            configuration = self.configuration(trial.number)
            if configuration != trial.number and configuration not in self._groups:
                raise ValueError(f"it repeats a configuration {configuration} that is not there")
        self._groups.setdefault(configuration, []).append(trial.number)
        if not self._follow:
            return
        record = self.record(trial.number)
        if record.origin is not None and record.origin.kind not in ("repeat", "confirmation"):
            with self._sense(f"trial {trial.number}"):
                self.view.add(record, trial.distributions, trial.system_attrs)


def existing_journal(folder: Path) -> FileJournal:
    """A study's journal for reading. Raises StudyError when there is none; the text says which there are."""
    path = folder / JOURNAL
    if not _is_file(path):
        known = sorted(file.parent.name for file in folder.parent.glob(f"*/{JOURNAL}"))
        hint = f"; there is {', '.join(known[:10])}" if known else "; start one with `splatsweep sweep`"
        raise StudyError(f"no study '{folder.name}' in {folder.parent}{hint}")
    return FileJournal(path, writable=False)


def _is_file(path: Path) -> bool:
    """Raises StudyError for one that may not be looked at."""
    try:
        return path.is_file()
    except PermissionError:
        raise StudyError(f"{path} may not be read by this user; ask its owner, or allow reading") from None
    except OSError:
        return False  # a name that no file can have


def read_history(folder: Path) -> History:
    """An existing study's journal as far as it goes. Raises StudyError when there is none, or it is no journal."""
    journal = existing_journal(folder)
    history = History(journal.path, follow_sampler=False)
    for line in journal.read():
        history.apply(line)
    return checked(history, folder)


def checked(history: History, folder: Path) -> History:
    """A history that is that of a study. Raises StudyError."""
    if history.state.name is None:
        raise StudyError(f"study '{folder.name}' was never started completely; start it again with `splatsweep sweep`")
    _ = history.identity, history.spec, history.space
    return history
