"""Packs between machines: push one to an object store or shared folder, fetch one to this node."""

from pathlib import Path
from typing import Annotated

import typer

from study.reports.console import console, print_json

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(push)
    app.command()(fetch)


def push(
    pack: Annotated[Path, typer.Argument(help="pack folder")],
    uri: Annotated[str, typer.Argument(help="where to: s3://bucket/packs/name, file:///shared/packs/name")],
    force: Annotated[bool, typer.Option("--force", help="replace another pack that is there")] = False,
    json: Json = False,
) -> None:
    """Copy a pack to an object store or a shared folder; again: what is there is not sent again."""
    from ssl_core.data.dataset import open_dataset
    from study.datasets.pack_storage import push_pack

    opened = open_dataset(pack)
    done = push_pack(opened, uri, force=force)
    if json:
        print_json({"uri": uri, "digest": opened.digest, "sent": done.sent, "skipped": done.skipped,
                    "bytes": done.bytes, "seconds": done.seconds})  # fmt: skip
        return
    speed = done.bytes / 1e6 / max(done.seconds, 1e-6)
    there = f", {len(done.skipped)} files were there" if done.skipped else ""
    console.print(
        f"pack {opened.digest} at {uri}: {done.bytes / 1e6:,.1f} MB sent in {done.seconds:.1f} s "
        f"({speed:,.0f} MB/s){there}",
        soft_wrap=True,
        markup=False,
    )


def fetch(
    uri: Annotated[str, typer.Argument(help="a pack's address; a study fetches by itself, this does it ahead")],
    json: Json = False,
) -> None:
    """Bring a pack to this node's cache (SPLATSWEEP_CACHE) and say where it lies."""
    from study.datasets.pack_storage import open_data

    opened = open_data(uri)
    if json:
        print_json({"uri": uri, "digest": opened.digest, "folder": str(opened.path)})
    else:
        console.print(str(opened.path), soft_wrap=True, markup=False)
