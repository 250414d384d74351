"""What a pack holds, as facts for scripts and as text for people.

With the cross-modal reference's data-set analysis: how many Gaussians of each object outlive an alpha threshold, and
how alphas, scales and colours are distributed. The pack is read in blocks, so that its size does not matter.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ssl_core.data.object_pack import Pack
from ssl_core.data.pack_arrays import GEOMETRY_WIDTH
from ssl_core.gaussians.gaussian_cloud import SH_REST
from ssl_core.inspect.notes import note_lines
from ssl_core.packing.sources import read_sources

FEWEST = 5
"""Objects named per threshold: those that keep least."""
REFUSED_SHOWN = 20
"""Refused inputs that the text lists; JSON and HTML have all."""
THRESHOLDS = (0.3, 0.5, 0.574, 0.8, 0.9)
"""Alphas worth knowing, besides the pack's own; 0.574 is the cross-modal reference's logit of 0.3."""
LENGTHS = (256, 512, 1024, 2048)
"""Numbers of points that encoders are trained with."""

BLOCK_ROWS = 1_000_000
SAMPLED_BLOCKS = 64
SAMPLED_ROWS = 8_192
"""Spherical harmonics are measured on this many blocks of this many rows at most."""

ALPHA_EDGES = np.linspace(0, 1, 1001)
LOG_SCALE_EDGES = np.linspace(-12, 6, 1801)
"""log10 of the standard deviation in object units."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
WHISKER = 1.5
"""Tukey's: an outlier is further than this many interquartile ranges from the box."""

Counts = NDArray[np.int64]


def describe_pack(pack: Pack) -> dict[str, Any]:
    """JSON-ready facts.

    Keys: `path`, `digest`, `objects`, `classes` (name -> counts per split and median kept), `groups`, `gaussians` (in
    files, kept, dropped because they cannot be used), `survivors` (one entry per alpha threshold: `alpha`, `kept`,
    `all` and `classes` as `box_plot`, `below` (length -> objects with fewer Gaussians), `fewest` (the objects with
    least)), `alpha` and `log10_scale` (quantiles and a histogram), `sh_energy` (degree -> mean sum of squares),
    `views`, `part_labels` (whether there are any), `cached_orders`, `codec`, `spz_axes`, `files`, `bytes`, `refused`,
    `notes` (what the files could not carry -> objects), `note_examples` (the same -> one of the objects, where the pack
    still says what it was made from).
    """
    manifest = pack.manifest
    kept = pack.num_rows
    found = count_survivors(pack)
    files = {name: facts.bytes for name, facts in manifest.files.items()}
    return {
        "path": str(pack.path),
        "digest": pack.digest,
        "objects": len(manifest.objects),
        "classes": _classes(pack),
        "groups": list(manifest.groups),
        "gaussians": {
            "in_files": int(sum(o.gaussians_in_file for o in manifest.objects)),
            "dropped_rows": sum(manifest.dropped_rows.values()),
            "kept": int(kept.sum()),
            "kept_min": int(kept.min()),
            "kept_median": int(np.median(kept)),
            "kept_max": int(kept.max()),
            "alpha_threshold": manifest.config.alpha_threshold,
            "max_per_object": manifest.config.max_gaussians,
            "objects_at_max": int((kept >= manifest.config.max_gaussians).sum()),
        },
        "survivors": [_at(pack, found, i) for i in range(len(found.thresholds))],
        "alpha": distribution(found.alpha, ALPHA_EDGES),
        "log10_scale": distribution(found.log_scale, LOG_SCALE_EDGES),
        "sh_energy": sh_energy(pack),
        "views": {
            "total": int(pack.num_views.sum()),
            "per_object_min": int(pack.num_views.min()),
            "per_object_max": int(pack.num_views.max()),
            "image_size": manifest.image_size,
            "rendered_from_gaussians": manifest.views_rendered,
            "cameras": "viewmats.npy" in manifest.files,
            "masks": "masks.npy" in manifest.files,
        },
        "part_labels": "part_labels.npy" in manifest.files,
        "cached_orders": {"starts": int(pack.orders.shape[1]), "length": int(pack.orders.shape[2])},
        "codec": manifest.config.codec,
        "spz_axes": manifest.config.spz_axes,
        "files": files,
        "bytes": sum(files.values()),
        "refused": [{"path": r.path, "reason": r.reason} for r in manifest.refused],
        "notes": dict(manifest.notes),
        "note_examples": note_examples(pack),
    }


def note_examples(pack: Pack) -> dict[str, str]:
    """Text of a note -> the first object that has it. Empty for a pack that came from elsewhere."""
    sources = read_sources(pack.path)
    found: dict[str, str] = {}
    for key, carried in sorted(sources.objects.items()) if sources is not None else ():
        for text in carried.notes:
            found.setdefault(text, key)
    return found


def _classes(pack: Pack) -> dict[str, dict[str, int]]:
    counts = Counter((item.class_name, item.split) for item in pack.manifest.objects)
    held_out = Counter(item.class_name for item in pack.manifest.objects if item.validation)
    return {
        name: {
            "train": counts[name, "train"],
            "validation": held_out[name],
            "test": counts[name, "test"],
            "median_gaussians_kept": int(np.median(pack.num_rows[pack.labels == label])),
        }
        for label, name in enumerate(pack.manifest.class_names)
        if (pack.labels == label).any()
    }


def _at(pack: Pack, found: "Survivors", i: int) -> dict[str, Any]:
    """One threshold's entry."""
    kept = found.kept[i]
    fewest = np.argsort(kept, kind="stable")[:FEWEST]
    return {
        "alpha": found.thresholds[i],
        "kept": int(kept.sum()),
        "all": box_plot(kept),
        "classes": {
            name: box_plot(kept[pack.labels == label])
            for label, name in enumerate(pack.manifest.class_names)
            if (pack.labels == label).any()
        },
        "below": {str(length): int((kept < length).sum()) for length in LENGTHS},
        "fewest": [{"object": pack.manifest.objects[j].key, "kept": int(kept[j])} for j in fewest.tolist()],
    }


@dataclass(frozen=True, eq=False)
class Survivors:
    """What one pass over a pack's Gaussians gives."""

    thresholds: tuple[float, ...]  # T alphas, rising; the first is the pack's own
    kept: Counts  # [T, objects] Gaussians with a larger alpha
    alpha: Counts  # counts between ALPHA_EDGES
    log_scale: Counts  # counts between LOG_SCALE_EDGES, three per Gaussian; those beyond are in the last bins


def count_survivors(pack: Pack) -> Survivors:
    """One pass over `gaussians.npy`. Counts are of the pack's rows, of which an object has `max_gaussians` at most."""
    own = pack.manifest.config.alpha_threshold
    thresholds = (own, *(alpha for alpha in THRESHOLDS if alpha > own))
    kept = np.zeros((len(thresholds), len(pack.manifest.objects)), dtype=np.int64)
    alpha_counts = np.zeros(len(ALPHA_EDGES) - 1, dtype=np.int64)
    scale_counts = np.zeros(len(LOG_SCALE_EDGES) - 1, dtype=np.int64)
    for objects, rows in _blocks(pack):
        alphas = expit(rows[:, 3])
        starts = pack.first_row[objects] - pack.first_row[objects[0]]
        for i, threshold in enumerate(thresholds):
            kept[i, objects] = np.add.reduceat(alphas > threshold, starts, dtype=np.int64)
        alpha_counts += np.histogram(alphas, ALPHA_EDGES)[0]
        scales = np.clip(rows[:, 4:7] / np.log(10), LOG_SCALE_EDGES[0], LOG_SCALE_EDGES[-1])
        scale_counts += np.histogram(scales, LOG_SCALE_EDGES)[0]
    return Survivors(thresholds, kept, alpha_counts, scale_counts)


def _blocks(pack: Pack) -> Iterator[tuple[Counts, NDArray[np.float32]]]:
    """Objects that have rows, in the order of these, some at a time with a copy of their rows."""
    order = np.argsort(pack.first_row, kind="stable")
    order = order[pack.num_rows[order] > 0]
    ends = np.cumsum(pack.num_rows[order])
    at = 0
    while at < len(order):
        before = ends[at - 1] if at else 0
        stop = max(at + 1, int(np.searchsorted(ends, before + BLOCK_ROWS, side="right")))
        objects = order[at:stop]
        first = pack.first_row[objects[0]]
        yield objects, np.array(pack.gaussians[first : first + pack.num_rows[objects].sum()])
        at = stop


def box_plot(values: Counts) -> dict[str, Any]:
    """Tukey's numbers of a sample: count, min, q1, median, q3, max, mean, whiskers, and the values outside them."""
    q1, median, q3 = (float(v) for v in np.quantile(values, (0.25, 0.5, 0.75)))
    reach = WHISKER * (q3 - q1)
    inside = values[(values >= q1 - reach) & (values <= q3 + reach)]
    return {
        "objects": len(values),
        "min": int(values.min()),
        "q1": q1,
        "median": median,
        "q3": q3,
        "max": int(values.max()),
        "mean": float(values.mean()),
        "whiskers": [int(inside.min()), int(inside.max())],
        "outliers": len(values) - len(inside),
    }


def sh_energy(pack: Pack) -> dict[str, float]:
    """Degree -> mean over Gaussians of the sum of squares of its colour coefficients ("0" is the constant one).

    Measured on evenly spaced blocks of rows; degrees above 0 only where the pack has them.
    """
    total = len(pack.gaussians)
    firsts = np.linspace(0, max(0, total - SAMPLED_ROWS), min(SAMPLED_BLOCKS, -(-total // SAMPLED_ROWS)))
    slices = [slice(int(first), int(first) + SAMPLED_ROWS) for first in firsts]
    constant = np.concatenate([pack.gaussians[part, 11:GEOMETRY_WIDTH] for part in slices]).astype(np.float64)
    energy = {"0": float(np.square(constant).sum(axis=1).mean())}
    if pack.sh_rest is not None:
        rest = np.concatenate([pack.sh_rest[part] for part in slices]).reshape(-1, 3, SH_REST[3])
        for degree in (1, 2, 3):
            part = rest[:, :, SH_REST[degree - 1] : SH_REST[degree]].astype(np.float64)
            energy[str(degree)] = float(np.square(part).sum(axis=(1, 2)).mean())
    return energy


def distribution(counts: Counts, edges: NDArray[np.float64], bins: int = 50) -> dict[str, Any]:
    """Quantiles (to the width of a fine bin) and a coarse histogram of finely counted values, ends without counts
    cut off."""
    total = int(counts.sum())
    cumulative = np.cumsum(counts)
    places = np.searchsorted(cumulative, np.array(QUANTILES) * total).clip(max=len(counts) - 1)
    middles = (edges[:-1] + edges[1:]) / 2
    used = np.flatnonzero(counts) if total else np.array([0])
    low, high = int(used[0]), int(used[-1]) + 1
    step = max(1, -(-(high - low) // bins))
    borders = np.arange(low, high, step)
    return {
        "quantiles": {f"{q:g}": float(middles[i]) for q, i in zip(QUANTILES, places, strict=True)},
        "edges": [*edges[borders].tolist(), float(edges[min(len(edges) - 1, borders[-1] + step)])],
        "counts": np.add.reduceat(counts[:high], borders).tolist(),
    }


def format_pack(facts: dict[str, Any]) -> str:
    """The same for people."""
    plain = "opacity" not in facts["groups"]  # of points the columns of a Gaussian are made up: they say nothing
    table = _class_table(facts, [] if plain else facts["survivors"])
    return "\n".join([*_head(facts, plain), *table, *([] if plain else _thresholds(facts)), *_remarks(facts)])


def _head(facts: dict[str, Any], plain: bool) -> list[str]:
    gaussians, views = facts["gaussians"], facts["views"]
    source = (
        f"rendered from the {'meshes' if plain else 'Gaussians'}" if views["rendered_from_gaussians"] else "from files"
    )
    kept = f"{gaussians['kept']:,} of {gaussians['in_files']:,} kept"
    kept += "" if plain else f" (alpha > {gaussians['alpha_threshold']})"
    spread = f"{gaussians['kept_min']:,} to {gaussians['kept_max']:,}, median {gaussians['kept_median']:,}"
    alpha, scale = facts["alpha"]["quantiles"], facts["log10_scale"]["quantiles"]
    extras = {"cameras": views["cameras"], "masks": views["masks"], "part labels": facts["part_labels"]}
    besides = ", ".join(name for name, there in extras.items() if there) or "no cameras, masks or part labels"
    energy = ", ".join(f"degree {degree}: {value:.3g}" for degree, value in facts["sh_energy"].items())
    lines = [
        f"pack {facts['path']} (digest {facts['digest']}, {facts['bytes'] / 2**20:.1f} MiB)",
        f"  {facts['objects']:,} objects; features {', '.join(facts['groups'])}",
        f"  besides: {besides}",
        f"  {'points' if plain else 'Gaussians'}: {kept}; per object {spread}",
        f"  views: {views['total']:,} of {views['image_size']} px, {views['per_object_min']} to "
        f"{views['per_object_max']} per object, {source}, stored {facts['codec']}"
        if views["total"]
        else "  views: none",
    ]
    of_gaussians = [
        f"  alpha: {_quantiles(alpha)}",
        f"  scale: {_quantiles({q: 10**value for q, value in scale.items()})} (standard deviation, object units)",
        f"  colour energy (sum of squares of the coefficients): {energy}",
    ]
    return lines if plain else [*lines, *of_gaussians]


def _class_table(facts: dict[str, Any], survivors: list[dict[str, Any]]) -> list[str]:
    """Objects of each class, and how many Gaussians they keep at each of the thresholds of `survivors`."""
    levels = [entry["alpha"] for entry in survivors]
    width = max(14, *(len(name) + 2 for name in facts["classes"]))
    heads = "".join(f"{f'>{level:g}':>9}" for level in levels)
    lines = [
        f"  {'class':<{width}}{'train':>7}{'of it val':>11}{'test':>7}"
        + ("   median Gaussians kept, by alpha" if levels else ""),
        *([f"  {'':<{width}}{'':>25}{heads}"] if levels else []),
    ]
    for name, count in facts["classes"].items():
        medians = "".join(f"{entry['classes'][name]['median']:>9,.0f}" for entry in survivors)
        counts = f"{count['train']:>7}{count['validation']:>11}{count['test']:>7}"
        lines.append(f"  {name:<{width}}{counts}{medians}")
    return lines


def _thresholds(facts: dict[str, Any]) -> list[str]:
    heads = "".join(f"{f'< {length}':>9}" for length in facts["survivors"][0]["below"])
    lines = [f"  {'alpha':<9}{'Gaussians':>13}{'share':>8}   objects with{heads}   fewest"]
    for entry in facts["survivors"]:
        share = entry["kept"] / max(1, facts["gaussians"]["in_files"])
        below = "".join(f"{count:>9,}" for count in entry["below"].values())
        fewest = entry["fewest"][0]
        worst = f"{fewest['object']} ({fewest['kept']:,})"
        lines.append(f"  >{entry['alpha']:<8g}{entry['kept']:>13,}{share:>8.1%}{'':>15}{below}   {worst}")
    return lines


def _remarks(facts: dict[str, Any]) -> list[str]:
    lines = [f"  note: {line}" for line in note_lines(facts["notes"], facts["note_examples"])]
    if dropped := facts["gaussians"]["dropped_rows"]:
        lines.append(f"  note: rows dropped in all: {dropped:,} of {facts['gaussians']['in_files']:,}")
    if full := facts["gaussians"]["objects_at_max"]:
        most = facts["gaussians"]["max_per_object"]
        lines.append(
            f"  note: objects at the {most:,} Gaussians that a pack keeps, whose counts are lower bounds: {full:,}"
        )
    lines += [f"  refused {item['path']}: {item['reason']}" for item in facts["refused"][:REFUSED_SHOWN]]
    if (more := len(facts["refused"]) - REFUSED_SHOWN) > 0:
        lines.append(f"  and {more:,} more refused (--json lists all)")
    return lines


def _quantiles(quantiles: dict[str, float]) -> str:
    return ", ".join(f"{float(q):.0%} {value:.3g}" for q, value in quantiles.items())
