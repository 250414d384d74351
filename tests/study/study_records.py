"""Trial records made by hand, for what is computed from them alone."""

from typing import Any

import numpy as np

from study.record.trial_record import Origin, TrialRecord, Verdict
from study.spec.outcome import Outcome

GROUPS = ("normals", "opacity", "scale", "rotation", "sh_dc", "sh_rest")


def record(
    number: int, curve: list[float] | dict[int, float], *, outcome: Outcome | None = Outcome.COMPLETE, **more: Any
) -> TrialRecord:
    """A trial with this curve; the best value is the highest unless `direction` says minimize."""
    by_epoch = curve if isinstance(curve, dict) else dict(enumerate(curve, start=1))
    pick = min if more.pop("direction", "maximize") == "minimize" else max
    best = pick(by_epoch, key=lambda epoch: by_epoch[epoch]) if by_epoch else None
    made: dict[str, Any] = {
        "values": {"x": number},
        "epoch": max(by_epoch, default=0),
        "epochs": max(by_epoch, default=0),
        "best_epoch": best,
        "best_value": by_epoch[best] if best is not None else None,
        "seed": number,
        "configuration": number,
    }
    return TrialRecord(number=number, curve=by_epoch, outcome=outcome, **{**made, **more})


def stop(rung: int, value: float = 0.1, bar: float = 0.5) -> Verdict:
    """A verdict that ends a trial."""
    return Verdict(scheduler="asha", rung=rung, value=value, bar=bar, among=4, reason="too low")


CONFIRMS = Origin(kind="confirmation")


def feature_space(choices: list[list[str]], **ranges: list[float]) -> dict[str, Any]:
    """What `json.loads(space.to_json())` gives for `points.features` and some ranges."""
    searched: dict[str, Any] = {"points.features": {"domain": {"kind": "choice", "values": choices}, "when": {}}}
    for key, (low, high) in ranges.items():
        searched[key] = {"domain": {"kind": "float", "low": low, "high": high, "step": None}, "when": {}}
    return {"recipe": "fake", "base": {}, "space": searched}


def synthetic_study(
    seed: int, trials: int = 60, informative: str | None = "scale", gain: float = 0.1, noise: float = 0.05
) -> tuple[list[TrialRecord], dict[str, Any]]:
    """Independent random groups and three numbers of which two matter; one group is worth `gain`, the rest nothing."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(trials):
        groups = [group for group in GROUPS if rng.random() < 0.5]
        a, b, c = rng.uniform(size=3)
        final = 0.5 + 0.2 * a - 0.3 * (b - 0.4) ** 2 + noise * rng.normal() + gain * (informative in groups)
        values = {"points.features": ["xyz", *groups], "a": a, "b": b, "c": c}
        records.append(record(number, [final / 2, final * 0.8, final], values=values))
    space = feature_space([["xyz"], ["xyz", *GROUPS]], a=[0, 1], b=[0, 1], c=[0, 1])
    return records, space
