"""Taking over a running trial's checkpoint: whole, of one epoch, and only once the ledger says so."""

import threading
from pathlib import Path

from study.spec.outcome import EpochReport, Outcome
from study.workers.trial_folder import Attempt, FencingToken, TrialFolder

FILES = ("model", "training", "state")


class TwoFiles:
    """A session whose checkpoint says in each file which epoch it is of."""

    epoch, epochs = 0, 10**6

    def run_epoch(self) -> dict[str, float]:
        self.epoch += 1
        return {}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name).write_text(str(self.epoch))

    def load(self, folder: Path, transfer: bool = False) -> None:
        self.epoch = int((folder / "model").read_text())


def saved(folder: TrialFolder, session: TwoFiles, end: Outcome | None = None) -> None:
    session.run_epoch()
    report = EpochReport(number=1, epoch=session.epoch, epochs=session.epochs, metrics={"a": 1.0}, end=end)
    folder.save(session, report, fence_of(folder))


def fence_of(folder: TrialFolder) -> FencingToken:
    return FencingToken(folder.path, Attempt())


OWN = EpochReport(number=2, epochs=9, best_epoch=1, best_value=0.5)


def test_a_donor_that_goes_on_saving_is_copied_whole(tmp_path: Path) -> None:
    donor, taker = TrialFolder(tmp_path / "1"), TrialFolder(tmp_path / "2")
    donor.claim(fence_of(donor))
    session, over = TwoFiles(), threading.Event()
    saved(donor, session)

    def train() -> None:
        while not over.is_set():
            saved(donor, session)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        staged = 0
        for turn in range(1, 60):
            if taker.stage(donor, turn, OWN):
                staged += 1
                copy = taker.path / f".adopted-{turn}"
                epochs = {(copy / name).read_text() for name in FILES}
                report = EpochReport.from_json((copy / "report.json").read_text())
                assert epochs == {str(report.epoch)}
    finally:
        over.set()
        thread.join()
    assert staged, "it never got through"
    assert (donor.last / "model").read_text() == str(session.epoch), "the donor lost nothing"


def test_what_was_staged_is_taken_over_once_and_keeps_the_takers_best(tmp_path: Path) -> None:
    donor, taker = TrialFolder(tmp_path / "1"), TrialFolder(tmp_path / "2")
    for folder in (donor, taker):
        folder.claim(fence_of(folder))
    session = TwoFiles()
    for _ in range(5):
        saved(donor, session)
    saved(taker, TwoFiles())
    assert not TrialFolder(tmp_path / "2").stage(TrialFolder(tmp_path / "3"), 1, OWN), "no checkpoint, no copy"
    assert taker.stage(donor, 1, OWN)
    before = taker.report()
    assert before is not None
    assert before.epoch == 1, "nothing happens before it is adopted"
    for _ in range(2):
        taker.adopt(1)
        report = taker.report()
        assert report is not None
        assert (report.number, report.epoch, report.metrics, report.best_value) == (2, 5, {}, 0.5)
    theirs = donor.report()
    assert theirs is not None
    assert theirs.metrics, "the donor's own report is another file"
    taker.stage(donor, 2, OWN)
    taker.prune(keep_best=False)
    assert not list(taker.path.glob(".*"))


def test_a_finished_donor_gives_nothing(tmp_path: Path) -> None:
    donor, taker = TrialFolder(tmp_path / "1"), TrialFolder(tmp_path / "2")
    donor.claim(fence_of(donor))
    saved(donor, TwoFiles(), end=Outcome.COMPLETE)
    assert not taker.stage(donor, 1, OWN)
    assert not list(taker.path.glob(".*"))
