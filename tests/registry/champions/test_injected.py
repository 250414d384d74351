"""Encoders of known rank come before the gate again and again, under fresh draws: only the better one gets through."""

import numpy as np
import pytest
from injected import BETTER, MIDDLE, WORSE, blocks_pack, seeing
from known_features import clouds, report_of

from registry.champions.gate import decide
from registry.champions.promote import promote, promote_best, rollback
from registry.champions.promotion_history import HistoryStore
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.report import Report, Scores
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig

NAME = "cross-modal-points"
REPETITIONS = 20


def config(seed: int) -> EvaluationConfig:
    """Fresh draws of labels and points for each seed."""
    labels = (LabelSetting(per_class=3, draws=5), LabelSetting())
    return EvaluationConfig(
        draw_seed=seed, label_settings=labels, probes=("svm",), point_draws=1, baselines=(), sections=NO_SECTIONS
    )


def drawn(chance: np.ndarray, rng: np.random.Generator, base: Report, draws: int = 10) -> Report:
    """A report as if an object were answered rightly with these chances; a label draw shifts all chances alike."""
    shift = rng.normal(0, 0.05, (draws, 1))
    right = (rng.random((draws, len(chance))) < np.clip(chance + shift, 0, 1)).astype(float)
    deciding = Scores(name="linear SVM at 3 per class labels", unit="test objects", values=right.tolist())
    return base.model_copy(update={"deciding": deciding})


@pytest.mark.slow
def test_equals_seldom_pass_worse_never_and_better_mostly():
    """Objects as hard as they come, encoders that err apart from each other: the hardest case of equal truth."""
    rng = np.random.default_rng(11)
    base = report_of({None: clouds(2.0, 1)})
    passed = {"worse": 0, "equal": 0, "better": 0}
    for _ in range(60):
        chance = rng.beta(2, 1, 90)
        incumbent = drawn(chance, rng, base)
        for kind, gain in (("worse", -0.08), ("equal", 0.0), ("better", 0.15)):
            passed[kind] += decide(drawn(chance + gain, rng, base), incumbent).promoted
    assert passed["worse"] == 0
    assert passed["equal"] <= 3, "5 % of 60"
    assert passed["better"] >= 48, "80 % of 60"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_only_the_better_encoder_is_promoted(store, lineage, trial, tmp_path):
    """Real bundles, real evaluations, a real registry. The champion comes back by a rollback after each repetition."""
    pack = blocks_pack(tmp_path / "blocks")
    sights = {"middle": MIDDLE, "equal": MIDDLE, "worse": WORSE, "better": BETTER}
    versions = {
        # the same weights under another name are another version
        kind: store.register(seeing(tmp_path / kind, sight, name=kind), NAME, lineage, trial)
        for kind, sight in sights.items()
    }
    assert promote(store, pack, versions["middle"], config(0)).promoted
    promoted = {"worse": 0, "equal": 0, "better": 0}
    for repetition in range(REPETITIONS):
        for kind in promoted:
            promoted[kind] += promote(store, pack, versions[kind], config(repetition)).promoted
        assert store.resolve(f"{NAME}@champion").version == versions["better"].version
        rollback(store, NAME, "next repetition")
    assert promoted == {"worse": 0, "equal": 0, "better": REPETITIONS}
    kinds = [line.kind for line in HistoryStore(store, NAME).read().lines]
    assert kinds == ["promoted", *["refused", "refused", "promoted", "rolled back"] * REPETITIONS]
    together = promote_best(store, pack, [versions[kind] for kind in ("worse", "equal", "better")], config(0))
    assert [decision.promoted for decision in together] == [False, False, True]
