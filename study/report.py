"""One page about a study that opens without a network: what was tried, what happened, what mattered."""

import json
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from ssl_core.data.atomic import atomic_write
from study.importances import importances
from study.ledger import Ledger
from study.outcome import Outcome
from study.progress import clock_text
from study.report_charts import COLOUR, curves_chart, history_chart, importance_chart, parallel_chart
from study.report_page import badge, chart_place, facts, note, page, section, table, tiles
from study.status import short, study_state
from study.trial_record import TrialRecord, leaders, ranked


def write_report(ledger: Ledger, path: Path, state: str = "") -> Path:
    """Write the page and return its path.

    Args:
        ledger: of the study.
        path: file to write.
        state: what to call the study's state; by default what an onlooker finds, which is `running` to its driver.

    Raises:
        StorageError: the place cannot be written.
    """
    from plotly.offline import get_plotlyjs  # five megabytes of text, read only here

    records, spec = ledger.records(), ledger.spec
    space = json.loads(ledger.attrs.get("space", "{}"))
    found = importances(ledger.optuna_study)
    charts: dict[str, Any] = {
        "history": history_chart(records, spec.metric, spec.direction),
        "curves": curves_chart(records, spec.metric, spec.direction),
    }
    for name, chart in (
        ("importances", importance_chart(found)),
        ("parallel", parallel_chart(records, spec.metric, _logarithmic(space))),
    ):
        if chart is not None:
            charts[name] = chart
    body = [
        f"<h1>{escape(ledger.name)}</h1>",
        f"<p class=sub>{escape(_subtitle(ledger, state or study_state(ledger, records)))}</p>",
        tiles(_tiles(ledger, records)),
        section("History", chart_place("history"), note(_refused_note(records))),
        section("Leaderboard", _leaderboard(ledger, records)),
        section(
            "Learning curves",
            chart_place("curves"),
            note(f"× marks a trial that was stopped; {_curve_note(records)}"),
        ),
        section(
            "What mattered",
            *([chart_place("importances")] if "importances" in charts else []),
            note(found.note),
        ),
        section(
            "Parallel coordinates",
            chart_place("parallel") if "parallel" in charts else "",
            note(
                "Drag along an axis to select. A dash stands for a parameter that took no part."
                if "parallel" in charts
                else "At least two trials with a value are needed."
            ),
        ),
        section("Search space", _space_table(space)),
        section("Facts", facts(_facts(ledger, records, space))),
    ]
    with atomic_write(path) as stream:
        stream.write(page(f"{ledger.name} · Splatsweep study", body, charts, get_plotlyjs()).encode())
    return path


def _subtitle(ledger: Ledger, state: str) -> str:
    spec = ledger.spec
    recipe = ledger.attrs.get("identity", {}).get("recipe", "")
    return f"{recipe} · {spec.metric}, {spec.direction}d · best value over the epochs of a trial · {state}"


def _tiles(ledger: Ledger, records: list[TrialRecord]) -> list[tuple[str, str]]:
    counts = Counter(record.state for record in records)
    top = leaders(records, ledger.spec.direction, 1)
    best = top[0] if top else None
    kinds = [(str(counts[state]), state.lower()) for state in COLOUR if counts[state]]
    return [
        (
            f"{best.best_value:.4g}" if best else "–",
            f"best {ledger.spec.metric}" + (f", trial {best.number}" if best else ""),
        ),
        *kinds,
        (str(sum(record.epoch for record in records)), "epochs"),
        (clock_text(sum(record.seconds for record in records)), "of training"),
    ]


def _leaderboard(ledger: Ledger, records: list[TrialRecord]) -> str:
    kept = {record.number for record in leaders(records, ledger.spec.direction, ledger.spec.top_k)}
    columns = [
        ("", True),
        ("trial", True),
        ("outcome", False),
        (ledger.spec.metric, True),
        ("at epoch", True),
    ]
    columns += [("epochs", True), ("s", True), ("values and reason", False)]
    rows = []
    for place, record in enumerate(ranked(records, ledger.spec.direction), start=1):
        values = "".join(
            f"<span>{escape(key)}={escape(short(value))}</span>" for key, value in (record.values or {}).items()
        )
        comparable = record.outcome is not None and record.outcome.has_value
        rows.append(
            [
                str(place) if comparable else "",
                f"{'★ ' if record.number in kept else ''}{record.number}",
                badge(record.state, COLOUR[record.state]),
                "" if record.best_value is None else f"{record.best_value:.4f}",
                "" if record.best_epoch is None else str(record.best_epoch),
                f"{record.epoch}/{record.epochs or '?'}",
                f"{record.seconds:.1f}",
                f"<div class=kv>{values}</div><div class=why>{escape(record.reason)}</div>",
            ]
        )
    return table(columns, rows) + note("★ checkpoint kept: candidate for the registry")


def _space_table(space: dict[str, Any]) -> str:
    rows = []
    for key, entry in space.get("space", {}).items():
        domain = entry["domain"]
        if domain["kind"] == "choice":
            text = ", ".join(short(value) for value in domain["values"])
        else:
            step = f", step {domain['step']:g}" if domain.get("step") not in (None, 1) else ""
            text = f"{domain['kind']} {domain['low']:g} … {domain['high']:g}{step}"
        when = ", ".join(f"{other} = {' or '.join(short(v) for v in vs)}" for other, vs in entry["when"].items())
        rows.append([f"<div class=kv>{escape(key)}</div>", escape(text), escape(when)])
    return table([("key", False), ("values", False), ("takes part when", False)], rows)


def _facts(ledger: Ledger, records: list[TrialRecord], space: dict[str, Any]) -> list[tuple[str, str]]:
    spec, attrs = ledger.spec, ledger.attrs
    identity = attrs.get("identity", {})
    started = [record.started for record in records if record.started]
    ended = [record.ended for record in records if record.ended]
    return [
        ("recipe", str(space.get("recipe", ""))),
        ("space digest", str(identity.get("space_digest", ""))),
        ("pack digest", str(identity.get("pack_digest", ""))),
        *[(name.replace("_", " "), str(value)) for name, value in attrs.get("facts", {}).items()],
        ("search seed", f"{spec.seed} (trial n trains with {spec.seed} + n)"),
        ("scheduler", spec.scheduler.model_dump_json()),
        ("first start", f"{min(started):%Y-%m-%d %H:%M:%S}" if started else "–"),
        ("last end", f"{max(ended):%Y-%m-%d %H:%M:%S}" if ended else "–"),
        ("MLflow run", str(attrs.get("run_id") or "–")),
        ("MLflow address", str(attrs.get("tracking_uri") or "–")),
        ("folder", str(ledger.folder)),
    ]


def _logarithmic(space: dict[str, Any]) -> set[str]:
    return {key for key, entry in space.get("space", {}).items() if entry["domain"]["kind"] == "log"}


def _refused_note(records: list[TrialRecord]) -> str:
    silent = [str(record.number) for record in records if record.best_value is None]
    return f"Without a value, so not shown: trial {', '.join(silent)}." if silent else ""


def _curve_note(records: list[TrialRecord]) -> str:
    counts = Counter(record.outcome for record in records)
    stopped = f"{counts[Outcome.STOPPED]} of {len(records)} were."
    return f"{stopped} Click a trial in the legend to hide it, twice to see it alone."
