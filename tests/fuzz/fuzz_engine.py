"""The mutation fuzzer: deals inputs to processes that may die, counts what becomes of them, keeps what goes wrong.

python tests/fuzz/fuzz_engine.py --inputs 20000            all readers
python tests/fuzz/fuzz_engine.py --only ply --number 4711  one input again
"""

import argparse
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
FAILURES = FOLDER.parents[1] / ".hypothesis" / "fuzz"
"""Inputs that went wrong are written here; git does not see it."""

FINE = ("accepted", "declined", "refused")
PATIENCE = 15.0
"""Seconds after which a process that answers nothing is killed: three times what an input has."""


@dataclass(frozen=True)
class Failure:
    """One input that was not handled: how, and where it was saved."""

    target: str
    number: int
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.target} {self.number}: {self.kind}: {self.detail}"


@dataclass
class Findings:
    """Counts per target and outcome, and the failures."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        return sum(each.total() for each in self.counts.values())

    def table(self) -> str:
        """Counts per target, one line each."""
        columns = (*FINE, "failed")
        lines = [f"{'reader':<16}{'inputs':>9}" + "".join(f"{name:>10}" for name in columns)]
        for name, counts in sorted(self.counts.items()):
            failed = sum(count for kind, count in counts.items() if kind not in FINE)
            row = [counts[kind] for kind in FINE] + [failed]
            lines.append(f"{name:<16}{counts.total():>9}" + "".join(f"{value:>10}" for value in row))
        lines.append(f"{self.inputs:,} inputs in {self.seconds:.0f} s, {len(self.failures)} failures")
        return "\n".join(lines)

    def kinds(self) -> str:
        """Failures of a kind together, with the numbers of some."""
        alike: dict[tuple[str, str, str], list[Failure]] = {}
        for failure in self.failures:
            place = re.search(r"\((\w+\.py:\d+)\)", failure.detail)
            key = (failure.target, failure.kind, place[1] if place else failure.detail[:40])
            alike.setdefault(key, []).append(failure)
        return "\n".join(
            f"{len(each)} x {each[0]} (also {', '.join(str(one.number) for one in each[1:8])})"
            for each in alike.values()
        )


class _Child:
    """One process that runs inputs, replaced when it dies."""

    def __init__(self, seed: int, names: list[str], script: str = "fuzz_child.py") -> None:
        self.command = [sys.executable, str(FOLDER / script), str(seed), *names]
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        answer = self._answer(120.0)
        if answer is None:
            raise RuntimeError(f"{' '.join(self.command)} does not start")
        self.ready: dict[str, int] = answer["ready"]

    def run(self, target: str, number: int) -> tuple[str, str]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{target} {number}\n".encode())
            answer = self._answer(PATIENCE)
        except BrokenPipeError:
            answer = None
        if answer is not None:
            return answer["outcome"], answer["detail"]
        died = self.process.poll()
        self.stop()
        self._start()
        return ("hang", f"no answer in {PATIENCE:g} s") if died is None else ("death", f"the process died ({died})")

    def _answer(self, patience: float) -> Any:
        """One line of JSON, None when the process dies or is silent."""
        assert self.process.stdout is not None
        until, line = time.monotonic() + patience, b""
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            part = os.read(self.process.stdout.fileno(), 65536)
            if not part:
                self.process.wait()
                return None
            line += part
        return json.loads(line)

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def fuzz(inputs: int, seed: int = 0, workers: int = 2, names: list[str] | None = None) -> Findings:
    """Run `inputs` inputs over the targets, by their weights; the cases themselves come first and count."""
    sys.path.insert(0, str(FOLDER))
    from fuzz_child import TARGETS

    chosen = names or list(TARGETS)
    weight = sum(TARGETS[name].weight for name in chosen)
    shares = {name: -(-inputs * TARGETS[name].weight // weight) for name in chosen}
    found = Findings({name: Counter() for name in chosen})
    queue, lock, began = _dealt(shares), threading.Lock(), time.perf_counter()

    def work() -> None:
        child = _Child(seed, chosen)
        try:
            while True:
                with lock:
                    dealt = next(queue, None)
                if dealt is None:
                    return
                target, number = dealt
                outcome, detail = child.run(target, number)
                # a whole file that is refused is a failure of these tests or of the reader
                if number < child.ready[target] and outcome == "refused":
                    outcome = "whole file refused"
                with lock:
                    found.counts[target][outcome] += 1
                    if outcome not in FINE:
                        found.failures.append(Failure(target, number, outcome, detail))
        finally:
            child.stop()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds = time.perf_counter() - began
    found.failures.sort(key=lambda failure: (failure.target, failure.number))
    for failure in found.failures[:200]:
        save(failure.target, failure.number, seed)
    return found


def _dealt(shares: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Numbers of all targets in turn."""
    for number in range(max(shares.values())):
        yield from ((name, number) for name, share in shares.items() if number < share)


def save(target: str, number: int, seed: int) -> Path:
    """Write the input of this number where it can be looked at."""
    from fuzz_child import TARGETS, input_of, write_case

    folder = FAILURES / f"{target.replace(' ', '-')}-{seed}-{number}"
    write_case(input_of(target, number, seed, TARGETS[target].cases()), folder)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument("--only", action="append", help="target, repeatable")
    parser.add_argument("--number", type=int, help="one input of the one target, and where it was saved")
    given = parser.parse_args()
    if given.number is not None:
        (target,) = given.only
        child = _Child(given.seed, [target])
        print(*child.run(target, given.number), save(target, given.number, given.seed), sep="\n")
        child.stop()
        return 0
    found = fuzz(given.inputs, given.seed, given.workers, given.only)
    print(found.table())
    print(found.kinds())
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
