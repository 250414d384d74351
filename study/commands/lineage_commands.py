"""Where an encoder came from, what saw a pack, and whether a training can be had again."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_core.errors import ConfigError, PackError
from study.commands.options import Json, Reference, opened_store
from study.reports.console import aside, print_json, say, table
from study.spec.home import home

if TYPE_CHECKING:
    from registry.versions.lineage import PackTrace, Trace
    from registry.versions.records import EncoderVersion


def lineage(
    reference: Annotated[str | None, typer.Argument(help="NAME@ALIAS or NAME/VERSION")] = None,
    pack: Annotated[str | None, typer.Option(help="encoders that saw this pack: folder, address or digest")] = None,
    study: Annotated[str | None, typer.Option(help="encoders registered from this study")] = None,
    json: Json = False,
) -> None:
    """Where an encoder came from; or every encoder that saw a pack, or came from a study."""
    if sum(given is not None for given in (reference, pack, study)) != 1:
        raise ConfigError("name one thing: an encoder (NAME@ALIAS or NAME/VERSION), --pack or --study")
    from registry.versions.lineage import of_pack, of_study, trace

    with opened_store(reading=True) as store:
        if reference is not None:
            traced = trace(store, reference)
            print_json(traced.model_dump(mode="json")) if json else _print_trace(traced)
        elif pack is not None:
            seen = of_pack(store, _digest_of(pack))
            print_json(seen.model_dump(mode="json")) if json else _print_pack(seen)
        elif study is not None:
            versions = of_study(store, study)
            print_json([v.model_dump(mode="json") for v in versions]) if json else _print_study(study, versions)


def rerun(
    reference: Reference,
    pack: Annotated[str | None, typer.Option(help="its pack, where that lies elsewhere now")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="differences of metrics that are taken for equal")] = 0.0,
    json: Json = False,
) -> None:
    """Train an encoder again from its lineage; exit code 1 when other metrics or weights come out."""
    from study.registration.rerun import rerun as trained_again

    with opened_store(reading=True) as store:
        found = trained_again(store, reference, home(), pack=pack, tolerance=tolerance, say=aside)
    if json:
        extra = {"bit_equal": found.bit_equal, "agrees": found.agrees, "verdict": found.verdict}
        print_json({**found.model_dump(mode="json"), **extra})
    else:
        say(f"{found.reference}: {found.verdict}")
        for note in found.notes:
            say(f"  {note}")
    if not found.agrees:
        raise typer.Exit(1)


def _print_trace(traced: "Trace") -> None:
    """An encoder's origins, one line each."""
    table(traced.version.reference, ["what", "value"], [[name, value] for name, value in _trace_rows(traced) if value])
    for gap in traced.recorded.gaps:
        say(f"missing: {gap}")


def _trace_rows(traced: "Trace") -> list[tuple[str, str]]:
    """Name and text of everything known; empty texts for what is not."""
    version, recorded, origin = traced.version, traced.recorded, traced.version.lineage
    environment, receipt = recorded.environment, version.receipt or {}
    libraries = "" if environment is None else ", ".join(f"{n} {v}" for n, v in environment.libraries.items())
    return [
        ("status", ", ".join([version.status, *version.aliases])),
        ("registered", version.created),
        ("bundle", version.bundle_digest),
        *((name.replace("_", " "), value) for name, value in traced.source.items()),
        ("study", f"{origin.study} (run {recorded.study_run})" if origin.study else ""),
        ("trial", f"{origin.trial} (run {origin.run_id})" if traced.trained_here else ""),
        ("outcome", f"{recorded.outcome} {recorded.reason}".strip()),
        ("best epoch", "" if recorded.best_epoch is None else str(recorded.best_epoch)),
        ("seed", str(origin.seed) if traced.trained_here else ""),
        ("recipe", origin.recipe),
        ("searched", ", ".join(f"{key}={value}" for key, value in sorted(recorded.values.items()))),
        ("config", origin.config_digest),
        ("space", origin.space_digest),
        ("pack", f"{origin.pack_digest} {recorded.pack}".strip()),
        ("code", origin.code_revision),
        ("environment", "" if environment is None else f"Python {environment.python}, {libraries}"),
        (
            "machine",
            "" if environment is None else ", ".join(filter(None, [environment.system, environment.processor])),
        ),
        ("lock", "" if environment is None else environment.lock_digest),
        ("threads", "" if recorded.threads is None else str(recorded.threads)),
        ("cost", ", ".join(f"{name} {value:.4g}" for name, value in receipt.items())),
        *(
            ("evaluated", f"pack {e.pack_digest}, protocol {e.protocol or '1'}, {e.time} (run {e.run_id})")
            for e in traced.evaluations
        ),
        ("evaluation", version.evaluation.headline if version.evaluation else ""),
    ]


def _print_pack(seen: "PackTrace") -> None:
    """Encoders that saw a pack."""
    if not seen.encoders:
        say(f"no registered encoder saw pack {seen.pack_digest}")
    else:
        columns = ["encoder", "used for", "status", "study", "trial", "test result"]
        table(f"encoders that saw pack {seen.pack_digest}", columns, [
            [e.reference, ", ".join(e.uses), e.status, e.study, e.trial if e.trial >= 0 else "-", e.headline]
            for e in seen.encoders
        ])  # fmt: skip
    if seen.studies:
        say(f"studies on it: {', '.join(seen.studies)}")


def _print_study(study: str, versions: "tuple[EncoderVersion, ...]") -> None:
    """Encoders of a study."""
    columns = ["encoder", "trial", "seed", "config", "pack", "status", "test result"]
    rows: list[list[Any]] = [
        [v.reference, v.lineage.trial, v.lineage.seed, v.lineage.config_digest, v.lineage.pack_digest, v.status,
         v.evaluation.headline if v.evaluation else "not evaluated"]
        for v in versions
    ]  # fmt: skip
    table(f"encoders of study {study}", columns, rows)


def _digest_of(pack: str) -> str:
    """Digest of a pack given by folder, address or the digest itself; only its manifest is read.

    Raises:
        PackError: there is no pack. ConfigError: the address is malformed. StorageError: the store does not answer.
    """
    from ssl_core.data.dataset import open_dataset, parse_manifest
    from study.datasets.object_store import Store, is_uri, parse_uri
    from study.datasets.pack_storage import MANIFEST_BYTES

    if is_uri(pack):
        store = Store(parse_uri(pack))
        content = store.read("manifest.json", MANIFEST_BYTES)
        if content is None:
            raise PackError(f"{store} holds no pack; check the address")
        return parse_manifest(content, f"{store}/manifest.json").pack_digest
    if not Path(pack).exists() and re.fullmatch(r"[0-9a-f]{4,64}", pack):
        return pack
    return open_dataset(Path(pack)).digest
