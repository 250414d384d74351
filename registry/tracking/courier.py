"""Takes entries of an outbox to the server: finds or makes the runs, sends few large requests, mends what is gone.

Everything may be delivered twice without harm. A run is looked for before it is made wherever an earlier attempt may
have made it; points carry their own times; tags and statuses are the same the second time.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from registry.tracking.entries import STUDY_RUN, Entry, File, Start, Text, now
from registry.tracking.names import KEY, KIND, PARENT, STUDY, TRIAL, tags_of
from registry.tracking.parcel import Parcel, batches, last_tags, pack
from registry.tracking.run_ids import RunIds, RunRef
from registry.tracking.transport import MissingError, RefusedError, Transport, UnreachableError

log = logging.getLogger(__name__)


class Courier:
    """Delivers for one study.

    Args:
        transport: to the server.
        ids: the study's run ids.
        key, name: of the study; `key` is in the tags of its runs and of no other's.
        own: tags that every new run gets, for example the user's name.
    """

    def __init__(self, transport: Transport, ids: RunIds, key: str, name: str, own: Mapping[str, str]) -> None:
        self._server, self._ids, self._key, self._name, self._own = transport, ids, key, name, dict(own)
        self._experiment: str | None = None
        self._doubtful: set[str] = set()
        self.refused = 0
        """entries that the server will never take"""

    def deliver(self, entries: Sequence[Entry], *, first_time: bool) -> None:
        """Send the entries, in order within each run.

        Args:
            entries: of any runs.
            first_time: nobody has tried to send them before, so runs that are not known do not exist.

        Raises:
            UnreachableError: not all of it arrived; call again with the same entries.
        """
        self._settle()
        by_run: dict[str, list[Entry]] = {}
        for entry in entries:
            by_run.setdefault(entry.run, []).append(entry)
        if not first_time:
            self._doubtful |= {run for run in (STUDY_RUN, *by_run) if run not in self._ids.runs}
        for run in sorted(by_run, key=lambda run: run != STUDY_RUN):
            self._deliver_run(run, by_run[run])

    def _settle(self) -> None:
        """The experiment exists; ids of another store are forgotten."""
        if self._experiment is not None:
            return
        try:
            experiment = self._server.experiment()
        except (RefusedError, MissingError) as error:
            raise UnreachableError(f"the experiment cannot be opened at {self._server.address}: {error}") from None
        here = (self._server.address, experiment)
        if here != (self._ids.address, self._ids.experiment) and not self._same_store(experiment):
            self._doubtful |= set(self._ids.runs)
            self._ids.moved(*here)
        self._experiment = experiment

    def _same_store(self, experiment: str) -> bool:
        """The server under another name: it has the study's run, with the study's key."""
        study = self._ids.runs.get(STUDY_RUN)
        if study is None or experiment != self._ids.experiment:
            return False
        found = self._server.look_up(study.id)
        return found is not None and found.tags.get(KEY) == self._key

    # ---- one run

    def _deliver_run(self, run: str, entries: Sequence[Entry]) -> None:
        start = next((entry for entry in entries if isinstance(entry, Start)), None)
        try:
            # a run that is made now gets its last tags at once: setting them later is a transaction of its own
            ref, made = self._resolve(run, start, last_tags(entries))
            try:
                self._send(ref, pack(run, entries, lambda key: self._server.steps(ref.id, key)), made)
            except (RefusedError, MissingError) as error:
                revived = self._revive(run, start)
                if revived is not None:
                    self._send(revived, pack(run, entries, lambda key: self._server.steps(revived.id, key)), {})
                elif len(entries) > 1:
                    for entry in entries:
                        self._deliver_run(run, [entry])
                else:
                    raise RefusedError(str(error)) from None
        except (RefusedError, MissingError) as error:
            self.refused += 1
            log.warning("the tracking server refused %s of run %s: %s", type(entries[0]).__name__, run, error)

    def _send(self, ref: RunRef, parcel: Parcel, made: Mapping[str, str]) -> None:
        fresh = parcel.run not in self._ids.whole
        params = parcel.params if fresh else {}
        tags = {key: value for key, value in parcel.tags.items() if made.get(key) != value}
        for batch in batches(parcel.points, params, tags):
            self._server.batch(ref.id, batch.points, batch.params, batch.tags)
        if parcel.start is not None and fresh:
            self._ids.began(parcel.run)
        for artifact in parcel.artifacts:
            self._upload(ref, artifact)
        if parcel.status and not (made and parcel.status == "RUNNING"):
            self._server.status(ref.id, parcel.status, parcel.end)

    def _upload(self, ref: RunRef, artifact: Text | File) -> None:
        match artifact:
            case Text(name=name, text=text):
                with tempfile.TemporaryDirectory() as scratch:
                    path = Path(scratch, "text")
                    path.write_text(text, encoding="utf-8")
                    self._server.upload(ref, path, name)
            case File(name=name, path=place):
                try:
                    self._server.upload(ref, Path(place), name)
                except FileNotFoundError:
                    log.debug("%s was removed before it was sent", place)

    # ---- finding, making, mending

    def _resolve(
        self, run: str, start: Start | None, last: Mapping[str, str] | None = None
    ) -> tuple[RunRef, Mapping[str, str]]:
        """The run, and the tags it was made with if it was made now: those of its start, and `last`."""
        known = self._ids.runs.get(run)
        if known is not None:
            return known, {}
        tags = self._identity(run)
        if run in self._doubtful:
            found = self._server.find(tags)
            if found is not None:
                self._ids.found(run, found)
                return found, {}
        own = {**self._own, **tags, KIND: "study" if run == STUDY_RUN else "trial", STUDY: self._name}
        own |= (tags_of(start.tags) if start else {}) | dict(last or {})
        name = start.name if start else self._name if run == STUDY_RUN else f"trial-{int(run):03d}"
        self._doubtful.add(run)
        ref = self._create(run, name, start.time if start else now(), own)
        if start is None:
            self._ids.lose(run)
        self._ids.found(run, ref)
        self._doubtful.discard(run)
        return ref, own

    def _create(self, run: str, name: str, time: int, tags: dict[str, str]) -> RunRef:
        for last in (False, True):
            if run != STUDY_RUN:
                tags[PARENT] = self._resolve(STUDY_RUN, None)[0].id
            try:
                return self._server.create(self._experiment or "", name, time, tags)
            except (RefusedError, MissingError):
                if last:
                    raise
                # the experiment was deleted meanwhile, perhaps with everything in it
                self._experiment = None
                self._settle()
        raise AssertionError("unreachable")

    def _identity(self, run: str) -> dict[str, str]:
        return {KEY: self._key, **({KIND: "study"} if run == STUDY_RUN else {TRIAL: run})}

    def _revive(self, run: str, start: Start | None) -> RunRef | None:
        """The run brought back or made anew, if it had been deleted; None if it is as it should be."""
        ref = self._ids.runs.get(run)
        if ref is None:
            return None
        found = self._server.look_up(ref.id)
        if found is not None and found.stage == "active":
            return None
        log.warning("run %s of study %s was deleted at %s; it is made again", run, self._name, self._server.address)
        self._experiment = None  # deleted with its experiment, as a rule: it is restored with it
        self._settle()
        if self._ids.runs.get(run) == ref and (found := self._server.look_up(ref.id)) is not None:
            if found.stage == "deleted":
                self._server.restore(ref.id)
            return ref
        self._ids.lose(run)
        self._doubtful.add(run)
        made, _ = self._resolve(run, start)
        if run == STUDY_RUN:
            self._adopt(made)
        return made

    def _adopt(self, study: RunRef) -> None:
        """A new parent for the trials' runs."""
        for run, ref in list(self._ids.runs.items()):
            if run != STUDY_RUN:
                try:
                    self._server.batch(ref.id, [], {}, {PARENT: study.id})
                except (RefusedError, MissingError):
                    self._ids.lose(run)
                    self._doubtful.add(run)
