"""One trial without Ray."""

from pathlib import Path
from typing import Annotated

import typer

from study.console import console, errors


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(train)


def train(
    pack: Annotated[str, typer.Option(help="pack folder, or its address (s3://...)")],
    out: Annotated[Path, typer.Option(help="folder for checkpoints, metrics and encoders")],
    recipe: Annotated[str, typer.Option(help="recipe name")] = "cross_modal",
    preset: Annotated[str, typer.Option(help="preset of the recipe")] = "quick",
    assignments: Annotated[list[str] | None, typer.Option("--set", help="key=value, repeatable")] = None,
    seed: int = 0,
    threads: Annotated[int, typer.Option(min=0, help="torch threads; 0 = all cores")] = 0,
) -> None:
    """Train one trial; the same command continues an interrupted one."""
    import torch

    from ssl_core.config import override, parse_assignment
    from ssl_core.recipes import preset_named, recipe_named
    from ssl_core.training.session import TrialSession
    from ssl_core.training.single import train_single
    from study.packs.pack_storage import needed_files, open_pack

    if threads:
        torch.set_num_threads(threads)
    chosen = recipe_named(recipe)
    config = override(preset_named(chosen, preset), dict(parse_assignment(text) for text in assignments or []))
    session = TrialSession(chosen, config, open_pack(pack, needed_files(config.to_json())), seed)

    def report(epoch: int, metrics: dict[str, float], seconds_left: float) -> None:
        shown = ("train/loss", "val/matching_accuracy", "val/distance_ratio", "val/points_probe", "val/image_probe")
        values = "  ".join(f"{name.split('/')[1]} {metrics[name]:.4f}" for name in shown if name in metrics)
        waited = metrics["train/data_wait_share"]
        speed = f"{metrics['train/samples_per_second']:.0f} samples/s, {waited:.1%} of the time waiting for data"
        line = f"epoch {epoch}/{session.epochs}  {values}  {speed}  {seconds_left:.0f} s left"
        errors.print(line, soft_wrap=True)

    written = train_single(session, out, report)
    console.print(f"metrics: {out / 'metrics.jsonl'}")
    for modality, folder in written.items():
        console.print(f"{modality} encoder: {folder}")
