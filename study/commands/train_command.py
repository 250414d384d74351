"""One trial without Ray."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from study.reports.console import console, errors


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(train)


def train(
    pack: Annotated[str, typer.Option(help="pack folder, or its address (s3://...)")],
    out: Annotated[Path, typer.Option(help="folder for checkpoints, metrics and what is exported")],
    recipe: Annotated[str, typer.Option(help="recipe: a name, FILE.py:NAME or module:NAME")] = "cross_modal",
    preset: Annotated[str, typer.Option(help="preset of the recipe")] = "quick",
    assignments: Annotated[list[str] | None, typer.Option("--set", help="key=value, repeatable")] = None,
    seed: int = 0,
    threads: Annotated[int, typer.Option(min=0, help="torch threads; 0 = all cores")] = 0,
) -> None:
    """Train one trial; the same command continues an interrupted one."""
    import torch

    from ssl_core.config import override, parse_assignment
    from ssl_core.recipes import preset_named
    from ssl_core.recipes.recipe_source import recipe_source
    from ssl_core.training.session import train_single
    from ssl_core.training.stages import Stages
    from study.datasets.pack_storage import needed_files, open_data
    from study.run.trial_opener import derived_root

    if threads:
        torch.set_num_threads(threads)
    source = recipe_source(recipe)
    chosen = source.load()
    config = override(preset_named(chosen, preset), dict(parse_assignment(text) for text in assignments or []))
    data = open_data(pack, needed_files(config.to_json()))
    session = Stages(chosen, derived_root(), source.source_digest).open(config, data, seed)
    shown = ("train/loss", *(output.select.metric for output in chosen.outputs))

    def report(epoch: int, metrics: Mapping[str, float], seconds_left: float) -> None:
        values = "  ".join(f"{name.partition('/')[2]} {metrics[name]:.4f}" for name in shown if name in metrics)
        speed = ""
        if "train/samples_per_second" in metrics:
            waited = metrics["train/data_wait_share"]
            speed = f"{metrics['train/samples_per_second']:.0f} samples/s, {waited:.1%} of the time waiting for data  "
        errors.print(f"epoch {epoch}/{session.epochs}  {values}  {speed}{seconds_left:.0f} s left", soft_wrap=True)

    lineage = {"pack_digest": data.digest, "config_digest": config.digest(), "seed": str(seed), "recipe": chosen.name}
    written = train_single(session, out, report, config=config.to_json(), lineage=lineage)
    console.print(f"metrics: {out / 'metrics.jsonl'}")
    for output, folder in written.items():
        console.print(f"{output}: {folder}")
