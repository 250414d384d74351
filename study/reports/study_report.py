"""One page about a study that opens without a network: what was tried, what happened, what mattered, what it cost."""

import json
from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from registry.tracking.cursor import read_cursor
from registry.tracking.names import STUDY_RUN
from ssl_core.files.whole import atomic_write
from ssl_core.inspect.html_page import Html, badge, details, note, page, section, table, tiles
from study.analysis.as_optuna import as_optuna
from study.analysis.first_epochs import best_at_once, first_epoch_warning, untrained_values
from study.analysis.words import clock_text, short
from study.engine.cost_report import study_receipt
from study.engine.ledger import Ledger
from study.record.trial_record import TrialRecord, leaders, ranked
from study.reports.importances import LEAST, importances
from study.reports.plots import MOST_PARAMETERS, MOST_POINTS, Charts, curves_plot, importance_plot, study_plots
from study.reports.report_sections import (
    STATE_COLOUR,
    attribution_section,
    fidelity_section,
    numbers_text,
    pareto_section,
    provenance_section,
    receipt_section,
    recipes_section,
    rungs_section,
)
from study.reports.status import study_state
from study.reports.verdict_section import bought_section
from study.reports.verdicts import read_verdicts

MOST_ROWS = 20
"""Of the leaderboard, before the rest is folded away."""
MOST_CURVES = 60


def write_report(ledger: Ledger, path: Path, state: str = "") -> Path:
    """Write the page and return its path.

    Args:
        ledger: of the study.
        path: file to write.
        state: what to call the study's state; by default as another process sees it, which is `running` to its driver.

    Raises:
        StorageError: the place cannot be written.
    """
    records = ledger.records()
    charts = Charts()
    untrained = untrained_values(ledger.folder, records, ledger.spec.metric)
    trouble = first_epoch_warning(records, untrained, ledger.spec.direction)
    body = [bought_section(read_verdicts(ledger.folder), trouble), tiles(_tiles(ledger, records))]
    body += _sections(ledger, records, charts, untrained)
    subtitle = _subtitle(ledger, state or study_state(ledger, records))
    with atomic_write(path) as stream:
        stream.write(page(ledger.name, subtitle, body, charts.scripts()).encode())
    return path


def _sections(ledger: Ledger, records: list[TrialRecord], charts: Charts, untrained: Mapping[int, float]) -> list[str]:
    """The cards about the search in their order."""
    spec = ledger.spec
    space = json.loads(ledger.attrs.get("space", "{}"))
    return [
        recipes_section(records, space, spec),
        section("Leaderboard", _leaderboard(ledger, records)),
        pareto_section(records, spec, charts),
        attribution_section(records, space, spec, charts),
        rungs_section(records, spec, charts),
        fidelity_section(records, spec, charts),
        *_search_sections(records, space, ledger, charts, untrained),
        receipt_section(study_receipt(ledger), charts),
        section("Search space", _space_table(space)),
        provenance_section(records, _facts(ledger, records, space)),
    ]


def _search_sections(
    records: list[TrialRecord], space: dict[str, Any], ledger: Ledger, charts: Charts, untrained: Mapping[int, float]
) -> list[str]:
    """Optuna's plots of the search, each with what it takes and what it leaves out."""
    metric, direction = ledger.spec.metric, ledger.spec.direction
    study = as_optuna(records, space, direction)
    found, shown = importances(study), _with_curves(records, direction, untrained)
    valued = as_optuna(records, space, direction, stopped_too=True)
    plots = {
        **study_plots(study, valued, found.order(), metric),
        "curves": curves_plot(as_optuna(shown, space, direction), metric, list(untrained.values())),
        "importances": importance_plot(found),
    }

    def figures(title: str, names: tuple[str, ...], about: str, height: int = 400) -> str:
        return section(title, *(charts.place(name, plots.get(name), height) for name in names), note(about))

    few = "" if "edf" in plots else f"At least {LEAST} complete trials are needed."
    some = f"{MOST_POINTS} of the {len(records)} trials, taken evenly and numbered anew. "
    ends = "PRUNED: stopped by the scheduler; FAIL: infeasible, diverged, crashed, or a confirmation."
    return [
        figures(
            "History",
            ("history",),
            "Trials that completed or were stopped." if "history" in plots else "No trial has a value yet.",
        ),
        figures("Learning curves", ("curves",), _curve_note(records, shown, bool(untrained))),
        figures("What mattered", ("importances",), found.note, 140 + 46 * len(found.order())),
        figures(
            "Parameters one by one",
            ("slice",),
            few or f"Complete trials; the {MOST_PARAMETERS} most important parameters where there are more.",
        ),
        figures(
            "The two most important parameters",
            ("contour", "rank"),
            few or ("" if "rank" in plots else "Fewer than two parameters varied."),
        ),
        figures(
            "Parallel coordinates",
            ("parallel",),
            "" if "parallel" in plots else "At least two trials with a value are needed.",
            430,
        ),
        figures("Distribution of final values", ("edf",), few),
        figures(
            "Timeline",
            ("timeline",),
            (some if len(records) > MOST_POINTS else "") + ends,
            min(900, 160 + 14 * len(records)),
        ),
    ]


def _with_curves(records: list[TrialRecord], direction: str, untrained: Mapping[int, float]) -> list[TrialRecord]:
    """All trials, but only some with their curves: taken evenly from the best to the worst that have a value.

    Curves begin with the untrained models, as epoch 0.
    """
    valued = [r for r in records if r.outcome is None or (r.outcome.has_value and not r.confirms)]
    order = [record.number for record in ranked(valued, direction) if record.curve]
    count = min(MOST_CURVES, len(order))
    kept = {order[place * len(order) // count] for place in range(count)}
    starts = {number: {0: untrained[number]} if number in untrained else {} for number in kept}
    curves = {record.number: starts[record.number] | record.curve for record in records if record.number in kept}
    return [record.model_copy(update={"curve": curves.get(record.number, {})}) for record in records]


def _curve_note(records: list[TrialRecord], curves: list[TrialRecord], begins: bool) -> str:
    shown = sum(bool(record.curve) for record in curves)
    counts = Counter(record.state for record in records)
    some = f"Shown are {shown} trials, taken evenly from the best to the worst. " if shown == MOST_CURVES else ""
    silent = [record.number for record in records if record.outcome and not record.outcome.has_value]
    without = f" Without a value, so not shown: trial {numbers_text(silent)}." if silent else ""
    stopped = f"{counts['STOPPED']} of all {len(records)} were stopped."
    start = " Epoch 0 is the untrained models, the dashed line their median." if begins else ""
    return f"{some}{stopped}{without}{start} Click a trial in the legend to hide it, twice to see it alone."


def _subtitle(ledger: Ledger, state: str) -> str:
    spec = ledger.spec
    recipe = ledger.attrs.get("identity", {}).get("recipe", "")
    return f"{recipe} · {spec.metric}, {spec.direction}d · best value over the epochs of a trial · {state}"


def _tiles(ledger: Ledger, records: list[TrialRecord]) -> list[tuple[str, str]]:
    counts = Counter(record.state for record in records)
    top = leaders(records, ledger.spec.direction, 1)
    best = top[0] if top else None
    return [
        (
            f"{best.best_value:.4g}" if best else "–",
            f"best {ledger.spec.metric}" + (f", trial {best.number}" if best else ""),
        ),
        *((str(counts[state]), state.lower()) for state in STATE_COLOUR if counts[state]),
        (str(sum(record.epoch for record in records)), "epochs"),
        (clock_text(sum(record.seconds for record in records)), "of training"),
    ]


def _leaderboard(ledger: Ledger, records: list[TrialRecord]) -> str:
    spec = ledger.spec
    kept = {record.number for record in leaders(records, spec.direction, spec.top_k)}
    columns = [("", True), ("trial", True), ("outcome", False), (spec.metric, True), ("at epoch", True)]
    columns += [("epochs", True), ("s", True), ("values and reason", False)]
    board = ranked([record for record in records if not record.confirms], spec.direction)
    rows = [_board_row(place, record, record.number in kept) for place, record in enumerate(board, start=1)]
    extra = [_board_row(0, record, False) for record in records if record.confirms]
    return "".join(
        [
            table(columns, rows[:MOST_ROWS]),
            details(f"{len(rows) - MOST_ROWS} more trials", table(columns, rows[MOST_ROWS:])),
            details(f"{len(extra)} confirmations, no candidates", table(columns, extra)),
            note("★ checkpoint kept: candidate for the registry"),
        ]
    )


def _board_row(place: int, record: TrialRecord, kept: bool) -> list[str]:
    values = "".join(
        f"<span>{escape(key)}={escape(short(value))}</span>" for key, value in (record.values or {}).items()
    )
    repeat = f"repeat {record.repeat} of trial {record.configuration}" if record.repeat else ""
    early = "best in its first epoch" if best_at_once(record) else ""
    why = "".join(f"<div class=why>{escape(text)}</div>" for text in (record.reason, repeat, early) if text)
    comparable = record.outcome is not None and record.outcome.has_value
    return [
        str(place) if comparable and place else "",
        f"{'★ ' if kept else ''}{record.number}",
        badge(record.state, STATE_COLOUR[record.state]),
        "" if record.best_value is None else f"{record.best_value:.4f}",
        "" if record.best_epoch is None else str(record.best_epoch),
        f"{record.epoch}/{record.epochs or '?'}",
        f"{record.seconds:.1f}",
        Html(f"<div class=kv>{values}</div>{why}"),
    ]


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
        rows.append([Html(f"<div class=kv>{escape(key)}</div>"), text, when])
    return table([("key", False), ("values", False), ("takes part when", False)], rows)


def _facts(ledger: Ledger, records: list[TrialRecord], space: dict[str, Any]) -> list[tuple[str, str]]:
    spec, attrs, cursor = ledger.spec, ledger.attrs, read_cursor(ledger.folder)
    identity = attrs.get("identity", {})
    started = [record.started for record in records if record.started]
    ended = [record.ended for record in records if record.ended]
    return [
        ("recipe", str(identity.get("recipe", ""))),
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
        ("MLflow run", cursor.runs.get(STUDY_RUN) or "–"),
        ("MLflow address", cursor.address or "–"),
        ("folder", str(ledger.folder)),
    ]
