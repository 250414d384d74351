"""`watch`: whoever registers an encoder, it is judged."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl_core.errors import PackError, RegistryError
from study.reports.console import errors, printable, say
from study.spec.home import home, packs

if TYPE_CHECKING:
    from study.registration.watcher import Notice


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(watch)


def watch(
    pack: Annotated[
        list[str] | None,
        typer.Option(help="pack for versions that name it, and the first for those that name none; default: all here"),
    ] = None,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between looks at the registry")] = 60.0,
    workers: Annotated[int, typer.Option(min=1, help="evaluations at a time, unless RAY_ADDRESS is set")] = 1,
    once: Annotated[bool, typer.Option("--once", help="judge what is open, then leave: for cron")] = False,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON per event")] = False,
) -> None:
    """Evaluate every registered encoder and put it before the gate, once per protocol and pack. Ctrl-C ends it."""
    from registry.tracking.run_log import open_run_log
    from registry.versions.store import EncoderStore
    from study.cluster.tune_loop import Interrupt, watch_signals
    from study.registration.job_pools import open_pool
    from study.registration.watcher import Notice, Watcher, WatchPlan

    tell = _print_line if json else _print_words
    uri, places, interrupt = os.environ.get("MLFLOW_TRACKING_URI"), _places(pack), Interrupt()
    with ExitStack() as stack:
        log = stack.enter_context(open_run_log(uri, home()))
        stack.enter_context(watch_signals(interrupt))
        pool = open_pool(workers, home())
        stack.callback(pool.close)
        watcher = Watcher(EncoderStore(log), WatchPlan(places, home(), uri, every=every), pool, tell)
        known = ", ".join(f"{digest} ({place})" for digest, place in places.items()) or "none"
        tell(Notice(kind="watching", reason=f"{log.tracking_uri}, {pool.slots} at a time, packs: {known}"))
        tally = watcher.run(interrupt, once=once)
    tell(Notice(kind="stopped", reason=f"{tally.judged} judged, {tally.refused} refused"))
    if once and tally.failed:
        raise RegistryError(f"{tally.failed} evaluations failed and were not tried again; the same command does")


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
            errors.print(printable(str(error)), soft_wrap=True)
    return found


def _print_line(notice: "Notice") -> None:
    """One notice as one line, at once: a script may wait for it."""
    print(notice.to_json(), flush=True)


def _print_words(notice: "Notice") -> None:
    seconds = f" ({notice.seconds:.1f} s)" if notice.seconds is not None else ""
    text = " ".join(part for part in (notice.kind, notice.reference) if part)
    reason = f": {notice.reason}" if notice.reason else ""
    say(f"{text}{seconds}{reason}")
