"""One page about a study that opens without a network: what was tried, what happened, what mattered, what it cost."""

import json
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from ssl_core.files.whole import atomic_write
from study.accounts.receipt import study_receipt
from study.findings.as_optuna import as_optuna
from study.ledger import Ledger
from study.outcome import Outcome
from study.record.trial_record import TrialRecord, leaders, ranked
from study.views.importances import LEAST, Importances, importances
from study.views.report_charts import (
    COLOUR,
    Chart,
    curves_chart,
    history_chart,
    importance_chart,
    parallel_chart,
)
from study.views.report_findings import (
    Place,
    attribution_section,
    fidelity_section,
    pareto_section,
    provenance_section,
    receipt_section,
    rungs_section,
)
from study.views.report_page import badge, chart_place, details, facts, note, page, section, table, tiles
from study.views.report_plots import MOST_PARAMETERS, MOST_POINTS, optuna_plots
from study.views.status import study_state
from study.views.words import clock_text, short

MOST_ROWS = 20
"""Of the leaderboard, before the rest is folded away."""


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

    records = ledger.records()
    charts: dict[str, Any] = {}

    def place(name: str, chart: Chart | None) -> str:
        if chart is None:
            return ""
        charts[name] = chart
        return chart_place(name)

    body = [
        f"<h1>{escape(ledger.name)}</h1>",
        f"<p class=sub>{escape(_subtitle(ledger, state or study_state(ledger, records)))}</p>",
        tiles(_tiles(ledger, records)),
        *_search_sections(ledger, records, place),
    ]
    with atomic_write(path) as stream:
        stream.write(page(f"{ledger.name} · Splatsweep study", body, charts, get_plotlyjs()).encode())
    return path


def _search_sections(ledger: Ledger, records: list[TrialRecord], place: Place) -> list[str]:
    """Every card of the page in its order."""
    spec = ledger.spec
    space = json.loads(ledger.attrs.get("space", "{}"))
    study = as_optuna(records, space, spec.direction)
    found = importances(study)
    important = sorted(found.ped_anova or found.fanova, key=lambda name: -_weight(found, name))
    plots = optuna_plots(study, important, spec.metric)
    trials = [record for record in records if not record.confirms]
    few = "" if "edf" in plots else f"At least {LEAST} complete trials are needed."
    return [
        section(
            "History",
            place("history", history_chart(trials, spec.metric, spec.direction)),
            note(_refused_note(trials)),
        ),
        section("Leaderboard", _leaderboard(ledger, records)),
        pareto_section(records, spec, place),
        attribution_section(records, space, spec, place),
        section(
            "Learning curves",
            place("curves", curves_chart(trials, spec.metric, spec.direction)),
            note(f"× marks a trial that was stopped; {_curve_note(trials)}"),
        ),
        rungs_section(records, spec, place),
        fidelity_section(records, spec, place),
        section("What mattered", place("importances", importance_chart(found)), note(found.note)),
        section(
            "Parameters one by one",
            place("slice", plots.get("slice")),
            note(few or f"Complete trials; the {MOST_PARAMETERS} most important parameters where there are more."),
        ),
        section(
            "The two most important parameters",
            place("contour", plots.get("contour")),
            place("rank", plots.get("rank")),
            note(few or ("" if "rank" in plots else "Fewer than two parameters varied.")),
        ),
        _parallel(trials, spec.metric, space, place),
        section("Distribution of final values", place("edf", plots.get("edf")), note(few)),
        section("Timeline", place("timeline", plots.get("timeline")), note(_timeline_note(records))),
        receipt_section(study_receipt(ledger), place),
        section("Search space", _space_table(space)),
        provenance_section(records, facts(_facts(ledger, records, space))),
    ]


def _timeline_note(records: list[TrialRecord]) -> str:
    if len(records) <= MOST_POINTS:
        return ""
    return f"{MOST_POINTS} of the {len(records)} trials, taken evenly and numbered anew."


def _weight(found: Importances, name: str) -> float:
    return found.fanova.get(name, 0.0) if found.fanova else found.ped_anova.get(name, 0.0)


def _parallel(records: list[TrialRecord], metric: str, space: dict[str, Any], place: Place) -> str:
    chart = parallel_chart(records, metric, _logarithmic(space))
    few = "At least two trials with a value are needed."
    usage = "Drag along an axis to select. A dash stands for a parameter that took no part."
    return section("Parallel coordinates", place("parallel", chart), note(usage if chart else few))


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
    columns = [("", True), ("trial", True), ("outcome", False), (ledger.spec.metric, True), ("at epoch", True)]
    columns += [("epochs", True), ("s", True), ("values and reason", False)]
    board = ranked([record for record in records if not record.confirms], ledger.spec.direction)
    rows = [_board_row(place, record, record.number in kept) for place, record in enumerate(board, start=1)]
    extra = [_board_row(0, record, False) for record in records if record.confirms]
    return "".join(
        [
            table(columns, rows[:MOST_ROWS]),
            details(f"{len(rows) - MOST_ROWS} more trials", table(columns, rows[MOST_ROWS:]))
            if rows[MOST_ROWS:]
            else "",
            details(f"{len(extra)} confirmations, no candidates", table(columns, extra)) if extra else "",
            note("★ checkpoint kept: candidate for the registry"),
        ]
    )


def _board_row(place: int, record: TrialRecord, kept: bool) -> list[str]:
    values = "".join(
        f"<span>{escape(key)}={escape(short(value))}</span>" for key, value in (record.values or {}).items()
    )
    comparable = record.outcome is not None and record.outcome.has_value
    whys = [record.reason, _source(record)]
    why = "".join(f"<div class=why>{escape(text)}</div>" for text in whys if text)
    return [
        str(place) if comparable and place else "",
        f"{'★ ' if kept else ''}{record.number}",
        badge(record.state, COLOUR[record.state]),
        "" if record.best_value is None else f"{record.best_value:.4f}",
        "" if record.best_epoch is None else str(record.best_epoch),
        f"{record.epoch}/{record.epochs or '?'}",
        f"{record.seconds:.1f}",
        f"<div class=kv>{values}</div>{why}",
    ]


def _source(record: TrialRecord) -> str:
    return f"repeat {record.repeat} of trial {record.configuration}" if record.repeat else ""


def _space_table(space: dict[str, Any]) -> str:
    rows = []
    for key, entry in space.get("space", {}).items():
        domain = entry["domain"]
        if domain["kind"] == "choice":
            text = ", ".join(short(value) for value in domain["values"])
        else:
            step = f", step {domain['step']:g}" if domain.get("step") not in (None, 1) else ""
            text = f"{domain['kind']} {domain['low']:g} … {domain['high']:g}{step}"
        when = ", ".join(
            f"{other} = {' or '.join(short(v) for v in vs)}" for other, vs in entry.get("when", {}).items()
        )
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
        ("sampler", spec.sampler.model_dump_json()),
        ("scheduler", spec.scheduler.model_dump_json()),
        ("budget", spec.limit.model_dump_json()),
        *([("repeats", f"{spec.repeats} of each configuration that completes")] if spec.repeats > 1 else []),
        *[("warm start", f"{earlier.study}, at most {earlier.at_most} trials") for earlier in spec.warm_start],
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
