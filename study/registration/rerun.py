"""Train a registered encoder again from its lineage, and say whether the same comes out.

The trial is trained alone, without a cluster, on as many threads as it had, in a folder that is kept only until the
answer is there: killed in between, the same command goes on. On the CPU of the same environment everything is equal, to
the last bit; where it is not, the first epoch and metric that differ are named, and what is another than it was then.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from registry.versions.fetching import pull
from registry.versions.lineage import Curves, trace
from registry.versions.records import EncoderVersion
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.errors import CheckpointError
from ssl_core.files.whole import standing
from ssl_core.models.bundle import WEIGHTS, read_card
from ssl_core.models.weights_file import file_sha256
from ssl_core.training.checkpoint import has_checkpoint, replace_checkpoint
from ssl_core.training.contract import PARAMETERS, Session
from study.record.metrics_file import MetricsFile, read_metrics
from study.record.trial_record import TrialRecord
from study.registration.repeatable import open_again, repeatable
from study.spec.outcome import EpochReport, finite_only
from study.workers.revision import code_digest, code_revision

Say = Callable[[str], None]


_OF_THE_CLOCK = ("seconds/", "train/samples_per_second", "train/data_wait", "cost/", "system/")


class CurveDifference(Config):
    """A metric that is not what it was; None stands for a value that is not there."""

    epoch: int
    metric: str
    recorded: float | None
    found: float | None

    @property
    def size(self) -> float:
        """Absolute; infinite where a value is missing."""
        if self.recorded is None or self.found is None:
            return float("inf")
        return abs(self.found - self.recorded)

    def __str__(self) -> str:
        if self.recorded is None or self.found is None:
            which = "was not recorded" if self.recorded is None else "is not reported any more"
            return f"{self.metric} {which}"
        return f"{self.metric} was {self.recorded!r}, is {self.found!r} (differs by {self.size:.3g})"


def measured(metric: str) -> bool:
    """Whether a metric is the machine's rather than the training's: times, rates, memory."""
    return metric.startswith(_OF_THE_CLOCK) and metric != PARAMETERS


def compared(recorded: Curves) -> list[str]:
    """Metrics that a second training must give again."""
    return sorted(name for name in recorded if not measured(name))


def differences(recorded: Curves, found: Curves, tolerance: float = 0.0) -> list[CurveDifference]:
    """All differences larger than `tolerance` in the epochs that `found` has, by epoch and metric.

    Metrics that only `found` has are passed over: a later version of the code may report more.
    """
    epochs = sorted({epoch for curve in found.values() for epoch in curve})
    every = [
        CurveDifference(
            epoch=epoch, metric=name, recorded=recorded[name].get(epoch), found=found.get(name, {}).get(epoch)
        )
        for epoch in epochs
        for name in compared(recorded)
    ]
    return [one for one in every if one.recorded != one.found and one.size > tolerance]


class Rerun(Config):
    """What came out the second time."""

    reference: str
    source: str
    """where the recorded metrics were read"""
    device: str
    threads: int
    epochs: int
    metrics: int
    """compared in each epoch; those of the clock and of memory are not"""
    tolerance: float
    differing: int
    """values that differ by more than the tolerance"""
    first: CurveDifference | None
    largest: CurveDifference | None
    same_bundle: bool
    """weights and card are the registered ones"""
    weights: float | None
    """largest difference of a weight; None when the tensors are not even of the same shapes"""
    notes: tuple[str, ...] = ()

    @property
    def bit_equal(self) -> bool:
        """Every compared metric and every weight is the same."""
        return self.largest is None and self.weights == 0

    @property
    def agrees(self) -> bool:
        """`bit_equal`, or with a tolerance: no metric differs by more."""
        return self.bit_equal if self.tolerance == 0 else self.first is None

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.bit_equal:
            return f"bit-equal: {self.metrics} metrics in each of {self.epochs} epochs and every weight are the same"
        worst = "" if self.largest is None else f"largest difference in epoch {self.largest.epoch}: {self.largest}"
        if self.first is not None:
            return f"differs from epoch {self.first.epoch} on: {self.first}; {worst}"
        if self.tolerance > 0 and worst:
            return f"agrees within {self.tolerance:g}; {worst}"
        how = "are of other shapes" if self.weights is None else f"differ by up to {self.weights:.3g}"
        return f"every metric is the same, but the weights {how}"


@dataclass(frozen=True)
class Scratch:
    """Where a second training is kept until it is done, laid out as a study's folder."""

    folder: Path
    number: int

    @property
    def trial(self) -> Path:
        """The trial's folder."""
        return self.folder / "trials" / f"{self.number:04d}"

    def tell(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keep an epoch's metrics; told twice, the later ones count."""
        report = EpochReport(number=self.number, epoch=epoch, metrics=finite_only(metrics))
        MetricsFile(self.folder).reported(TrialRecord(number=self.number), report)


def rerun(
    store: EncoderStore,
    reference: str,
    home: Path,
    *,
    pack: str | None = None,
    tolerance: float = 0.0,
    say: Say = lambda text: None,
) -> Rerun:
    """Train `NAME@ALIAS` or `NAME/VERSION` again.

    Args:
        home: holds `studies`, where a trial whose run is gone is looked for, and `reruns`, for the time of training.
        pack: folder or address of the pack, where it does not lie any more where it lay.
        tolerance: differences of metrics up to this are taken for equal.
        say: told how it goes, once an epoch.

    Raises:
        RegistryError: no such encoder, or the server does not answer. IntegrityError: its files were changed.
        StudyError: it was not trained here, or too little of its trial is left.
        PackError: its pack is not to be had.
    """
    traced = trace(store, reference)
    version, trial = traced.version, repeatable(store, traced, home / "studies")
    scratch = Scratch(home / "reruns" / f"{version.name}-{version.version}-{code_digest()}", version.lineage.trial)
    registered = pull(store, version.reference, scratch.folder / "registered")
    threads, epochs = trial.threads or 1, trial.epochs
    with computing_on(threads):
        session, device, notes = open_again(trial, version, pack)

        def told(epoch: int, found: Curves) -> None:
            first = next(iter(differences(trial.curves, found, tolerance)), None)
            state = "equal so far" if first is None else f"differs since epoch {first.epoch} ({first})"
            say(f"epoch {epoch}/{epochs}: {state}")

        curves = retrain(session, scratch, epochs, trial.best_epoch, told)
        exported = session.export(scratch.folder / "encoders", read_card(registered).lineage)
        again = {trial.recipe.model_name(output): folder for output, folder in exported.items()}[version.name]
    beyond = differences(trial.curves, curves, tolerance)
    result = Rerun(
        reference=version.reference,
        source=trial.source,
        device=device,
        threads=threads,
        epochs=epochs,
        metrics=len(compared(trial.curves)),
        tolerance=tolerance,
        differing=len(beyond),
        first=next(iter(beyond), None),
        largest=max(differences(trial.curves, curves), key=lambda one: one.size, default=None),
        same_bundle=_same(registered, again),
        weights=weight_difference(registered / WEIGHTS, again / WEIGHTS),
        notes=(*notes, *trial.notes, *_other_code(version)),
    )
    shutil.rmtree(scratch.folder, ignore_errors=True)
    return result


def retrain(
    session: Session, scratch: Scratch, epochs: int, best_epoch: int, told: Callable[[int, Curves], None]
) -> Curves:
    """Train a fresh session for so many epochs, going on from the scratch folder; it is left as after `best_epoch`.

    Returns:
        The metrics of all epochs.
    """
    last, best = scratch.trial / "last", scratch.trial / "best"
    if has_checkpoint(last):
        try:
            session.load(standing(last))
        except CheckpointError:
            shutil.rmtree(scratch.trial)  # of another device; there is nothing in it that cannot be had again
    while session.epoch < epochs:
        metrics = session.run_epoch()
        scratch.tell(session.epoch, metrics)  # before its checkpoint: killed in between, it is told again
        if session.epoch == best_epoch:
            replace_checkpoint(session, best)
        replace_checkpoint(session, last)
        told(session.epoch, read_metrics(scratch.folder, scratch.number))
    session.load(standing(best))
    return read_metrics(scratch.folder, scratch.number)


def weight_difference(one: Path, other: Path) -> float | None:
    """Largest absolute difference between two files of weights; None when names or shapes differ."""
    first, second = safetensors.torch.load_file(one), safetensors.torch.load_file(other)
    if {name: x.shape for name, x in first.items()} != {name: x.shape for name, x in second.items()}:
        return None
    sizes = (float((first[name].double() - second[name].double()).abs().max()) for name in first if first[name].numel())
    return max(sizes, default=0.0)


def _same(registered: Path, again: Path) -> bool:
    """Equal weights and cards, in whatever format an older revision wrote the card."""
    first, second = (read_card(folder).model_copy(update={"format_version": 0}) for folder in (registered, again))
    return first == second and file_sha256(registered / WEIGHTS) == file_sha256(again / WEIGHTS)


@contextmanager
def computing_on(threads: int) -> Iterator[None]:
    """So many CPU threads inside: sums are split by them, and so are the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _other_code(version: EncoderVersion) -> list[str]:
    then, now = version.lineage.code_revision, code_revision()
    if then == now and not then.endswith("+changes"):
        return []
    return [f"code {then or 'unknown'}, now {now or 'unknown'}"]
