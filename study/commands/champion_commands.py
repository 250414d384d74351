"""Who is champion, and why: promote, rollback, history, compare; watch has whatever is registered judged."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ssl_core.errors import IntegrityError, PackError, RegistryError, StorageError
from study.commands.options import FineTuning, Json, Reference, opened_store
from study.reports.console import answer, aside, evaluation_progress, print_json, say, table
from study.spec.home import home, packs

if TYPE_CHECKING:
    from registry.champions.compare import Comparison
    from registry.champions.promotion_history import Line
    from study.registration.watcher import Notice

ModelName = Annotated[str, typer.Argument(help="registered model")]
Reason = Annotated[str, typer.Option(help="why; it is written into the history")]


def promote(reference: Reference, reason: Reason, json: Json = False) -> None:
    """Make a registered encoder champion by hand; `evaluate` is the way through the gate."""
    from registry.champions.promote import promote_by_hand

    with opened_store() as store:
        version = store.resolve(reference)
        decision = promote_by_hand(store, version, reason)
    after = f" after version {decision.incumbent}" if decision.incumbent is not None else ""
    facts = {"reference": version.reference, **decision.model_dump(mode="json")}
    answer(json, facts, f"{version.reference} is champion{after}: {decision.reason}")


def rollback(name: ModelName, reason: Reason, json: Json = False) -> None:
    """Give the alias champion back to the version that had it before."""
    from registry.champions.promote import rollback as roll_back

    with opened_store() as store:
        store.known(name)
        version = roll_back(store, name, reason)
    why = version.events[-1].reason
    answer(json, {"reference": version.reference, "reason": why}, f"{version.reference} is champion again: {why}")


def history(name: ModelName, json: Json = False) -> None:
    """Every decision about a model's champion, from its promotion history."""
    from registry.champions.promotion_history import HistoryStore
    from registry.versions.records import CHAMPION

    with opened_store(reading=True) as store:
        store.known(name)
        holder, histories = store.with_alias(name, CHAMPION), HistoryStore(store, name)
        told, broken = histories.read(strict=False), None
        try:
            histories.read()
        except IntegrityError as error:
            broken = error
    now = told.champion.version if told.champion is not None else None
    stands = holder.version if holder is not None else None
    if json:
        lines = [line.model_dump(mode="json") for line in told.lines]
        found = {"name": name, "champion": stands, "by_ledger": now, "sound": broken is None}
        print_json({**found, "lines": lines})
    elif told.lines:
        columns = ["line", "time (UTC)", "what", "version", "against", "difference", "by"]
        table(f"promotion history of {name}", columns, [_row(line) for line in told.lines])
        for line in told.lines:  # beside the table a sentence has ten letters' room
            say(f"{line.sequence:>4}  {line.reason}")
    elif broken is None:
        say(f"nothing has been decided about {name} yet")
    if broken is not None:
        raise broken
    if now != stands and told.lines and not json:
        where = f"at version {stands}" if stands is not None else "nowhere"
        say(f"the alias champion stands {where}: it was moved by hand, which the next decision writes down")


def compare(
    left: Reference,
    right: Reference,
    pack: Annotated[str | None, typer.Option(help="evaluate both on this pack, where they are not yet")] = None,
    out: Annotated[Path | None, typer.Option(help="PNG to write; default: under the home folder")] = None,
    json: Json = False,
) -> None:
    """Two encoders side by side, with intervals: a table and a picture."""
    from ssl_core.evaluation.report import scale_of

    found = _comparison(left, right, pack)
    picture = _picture(found, out)
    if json:
        where = None if picture is None else str(picture)
        print_json({**found.model_dump(mode="json"), "verdict": found.verdict, "picture": where})
        return
    scale = scale_of(found.measure)
    rows = [
        [row.label, scale.interval(row.left), scale.interval(row.right), scale.interval(row.difference, signed=True),
         "paired" if row.paired else "unpaired"]
        for row in found.rows if row.main
    ]  # fmt: skip
    title = f"test {scale.axis}, {found.test_units} of pack {found.pack_digest}"
    table(title, ["measured", found.left, found.right, "difference", "compared"], rows)
    say(found.verdict if picture is None else f"{found.verdict}\npicture: {picture}")


def _picture(found: "Comparison", out: Path | None) -> Path | None:
    """Where the picture is; None where the home folder, which nobody asked for, may not be written."""
    from registry.champions.compare import comparison_png

    both = f"{found.left} and {found.right}".replace("/", "-v").replace(" ", "-")
    path = out or home() / "comparisons" / f"{both}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(comparison_png(found))
    except OSError as error:
        if out is not None:
            raise StorageError(f"cannot write {path}: {error}; choose another --out") from None
        aside(f"no picture: {path} cannot be written ({error.strerror}); choose a place with --out")
        return None
    return path


def _comparison(left: str, right: str, pack: str | None) -> "Comparison":
    from registry.champions.compare import compare_reports, stored_report
    from registry.champions.promote import evaluate_version
    from ssl_core.training.config import choose_device
    from study.datasets.pack_storage import open_data

    opened = open_data(pack) if pack is not None else None
    with opened_store(reading=pack is None) as store, evaluation_progress() as tell:
        versions = [store.resolve(reference) for reference in (left, right)]
        mine, theirs = (
            stored_report(store, version)
            if opened is None
            else evaluate_version(store, opened, version, device=choose_device(), tell=tell)
            for version in versions
        )
    return compare_reports(mine, theirs, (versions[0].reference, versions[1].reference))


def _row(line: "Line") -> list[Any]:
    from ssl_core.evaluation.report import Measure, scale_of

    numbers = line.numbers
    apart = ""
    if {"difference", "low", "high"} <= numbers.keys():
        change = scale_of(next((measure for measure in get_args(Measure) if measure in numbers), "accuracy")).change
        mean, low, high = (change(numbers[name]) for name in ("difference", "low", "high"))
        apart = f"{mean} ({low} to {high})"
    return [
        line.sequence,
        line.time[:19].replace("T", " "),
        line.kind if line.how == "gate" else f"{line.kind} ({line.how})",
        "nobody" if line.version is None else str(line.version),
        "" if line.incumbent is None else str(line.incumbent),
        apart,
        line.by,
    ]


def watch(
    pack: Annotated[
        list[str] | None,
        typer.Option(help="pack for versions that name it, and the first for those that name none; default: all here"),
    ] = None,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between looks at the registry")] = 60.0,
    workers: Annotated[int, typer.Option(min=1, help="evaluations at a time, unless RAY_ADDRESS is set")] = 1,
    fine_tuning: FineTuning = True,
    once: Annotated[bool, typer.Option("--once", help="judge what is open, then leave: for cron")] = False,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON per event")] = False,
) -> None:
    """Evaluate every registered encoder and put it before the gate, then fine-tune it, each once. Ctrl-C ends it."""
    from registry.tracking.run_log import open_run_log
    from registry.versions.store import EncoderStore
    from ssl_core.interrupt import Interrupt, watch_signals
    from study.registration.fine_tuning_asked import asked_fine_tuning
    from study.registration.job_pools import open_pool
    from study.registration.watcher import Notice, Watcher, WatchPlan

    tell = _print_line if json else _print_words
    asked = asked_fine_tuning(fine_tuning)
    uri, places, interrupt = os.environ.get("MLFLOW_TRACKING_URI"), _places(pack), Interrupt()
    with ExitStack() as stack:
        log = stack.enter_context(open_run_log(uri, home()))
        stack.enter_context(watch_signals(interrupt))
        pool = open_pool(workers, home())
        stack.callback(pool.close)
        plan = WatchPlan(places, home(), uri, every=every, fine_tuning=asked)
        watcher = Watcher(EncoderStore(log), plan, pool, tell)
        known = ", ".join(f"{digest} ({place})" for digest, place in places.items()) or "none"
        tell(Notice(kind="watching", reason=f"{log.tracking_uri}, {pool.slots} at a time, packs: {known}"))
        counts = watcher.run(interrupt, once=once)
    tell(
        Notice(
            kind="stopped", reason=f"{counts.judged} judged, {counts.refused} refused, {counts.fine_tuned} fine-tuned"
        )
    )
    if once and counts.failed:
        raise RegistryError(f"{counts.failed} evaluations failed and were not tried again; the same command does")


def _places(given: list[str] | None) -> dict[str, str]:
    """Digest to place of the packs asked for, or of those under the home folder."""
    from ssl_core.data.dataset import open_dataset
    from study.datasets.object_store import is_uri
    from study.datasets.pack_storage import open_data

    found: dict[str, str] = {}
    for place in given or ():
        absolute = place if is_uri(place) else str(Path(place).absolute())
        found.setdefault(open_data(place).digest, absolute)
    if given:
        return found
    for manifest in sorted(packs().glob("*/manifest.json")):
        try:
            found.setdefault(open_dataset(manifest.parent).digest, str(manifest.parent))
        except PackError as error:
            aside(str(error))
    return found


def _print_line(notice: "Notice") -> None:
    """One notice as one line, at once: a script may wait for it."""
    print(notice.to_json(), flush=True)


def _print_words(notice: "Notice") -> None:
    seconds = f" ({notice.seconds:.1f} s)" if notice.seconds is not None else ""
    text = " ".join(part for part in (notice.kind, notice.reference) if part)
    reason = f": {notice.reason}" if notice.reason else ""
    say(f"{text}{seconds}{reason}")
