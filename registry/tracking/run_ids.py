"""Which run of the server is which run of the study: appended to by the sender, read by the study.

{"at": "http://…", "experiment": "1"}     ids below are of this server and experiment
{"run": "7", "id": "…", "artifacts": "…"}
{"whole": "7"}                            its beginning (tags, parameters) has arrived
{"lost": "7"}                             the server had lost it; the study shall tell its story again
"""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunRef:
    """A run of the server and where its artifacts go."""

    id: str
    artifacts: str = ""


class RunIds:
    """The file as it stands; the sender adds to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.address = self.experiment = ""
        self.runs: dict[str, RunRef] = {}
        self.whole: set[str] = set()
        self.lost: set[str] = set()
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # half a line

    def moved(self, address: str, experiment: str) -> None:
        """Another store: every run that was known is lost there until it is found."""
        self._add(*({"lost": run} for run in self.runs), {"at": address, "experiment": experiment})

    def found(self, run: str, ref: RunRef) -> None:
        """The run has this id."""
        self._add({"run": run, "id": ref.id, "artifacts": ref.artifacts})

    def began(self, run: str) -> None:
        """Its beginning has arrived."""
        self._add({"whole": run})

    def lose(self, run: str) -> None:
        """The server does not have it."""
        self._add({"lost": run})

    def _add(self, *facts: dict[str, str]) -> None:
        text = "".join(f"{json.dumps(fact)}\n" for fact in facts)
        with self._path.open("a+b") as stream:
            # after the torn line of a process that died, on a line of its own
            if stream.tell():
                stream.seek(-1, 2)
                text = text if stream.read() == b"\n" else f"\n{text}"
            stream.write(text.encode())
        for fact in facts:
            self._take(fact)

    def _take(self, fact: dict[str, str]) -> None:
        if "at" in fact:
            self.address, self.experiment = fact["at"], fact["experiment"]
            self.runs, self.whole = {}, set()
        elif "run" in fact:
            self.runs[fact["run"]] = RunRef(fact["id"], fact["artifacts"])
        elif "whole" in fact:
            self.whole.add(fact["whole"])
            self.lost.discard(fact["whole"])
        elif "lost" in fact:
            self.lost.add(fact["lost"])
            self.runs.pop(fact["lost"], None)
            self.whole.discard(fact["lost"])
