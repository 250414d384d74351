"""What a pack holds, as facts for scripts and as text for people."""

from collections import Counter
from typing import Any

import numpy as np

from ssl_core.data.object_pack import Pack
from ssl_core.inspect.opacity_statistics import (
    ALPHA_EDGES,
    LENGTHS,
    LOG_SCALE_EDGES,
    Survivors,
    box_plot,
    count_survivors,
    distribution,
    sh_energy,
)

FEWEST = 5
"""Objects named per threshold: those that keep least."""
REFUSED_SHOWN = 20
"""Refused inputs that the text lists; JSON and HTML have all."""


def describe_pack(pack: Pack) -> dict[str, Any]:
    """JSON-ready facts.

    Keys: `path`, `digest`, `objects`, `classes` (name -> counts per split and median kept), `groups`, `gaussians` (in
    files, kept), `survivors` (one entry per alpha threshold: `alpha`, `kept`, `all` and `classes` as `box_plot`,
    `below` (length -> objects with fewer Gaussians), `fewest` (the objects with least)), `alpha` and `log10_scale`
    (quantiles and a histogram), `sh_energy` (degree -> mean sum of squares), `views`, `part_labels` (whether there
    are any), `cached_orders`, `codec`, `files`, `bytes`, `refused`, `notes` (what the files could not carry ->
    objects).
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
        "files": files,
        "bytes": sum(files.values()),
        "refused": [{"path": r.path, "reason": r.reason} for r in manifest.refused],
        "notes": dict(manifest.notes),
    }


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


def _at(pack: Pack, found: Survivors, i: int) -> dict[str, Any]:
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


def format_pack(facts: dict[str, Any]) -> str:
    """The same for people."""
    return "\n".join([*_head(facts), *_class_table(facts), *_thresholds(facts), *_remarks(facts)])


def _head(facts: dict[str, Any]) -> list[str]:
    gaussians, views = facts["gaussians"], facts["views"]
    source = "rendered from the Gaussians" if views["rendered_from_gaussians"] else "from files"
    kept = f"{gaussians['kept']:,} of {gaussians['in_files']:,} kept (alpha > {gaussians['alpha_threshold']})"
    spread = f"{gaussians['kept_min']:,} to {gaussians['kept_max']:,}, median {gaussians['kept_median']:,}"
    alpha, scale = facts["alpha"]["quantiles"], facts["log10_scale"]["quantiles"]
    extras = {"cameras": views["cameras"], "masks": views["masks"], "part labels": facts["part_labels"]}
    besides = ", ".join(name for name, there in extras.items() if there) or "no cameras, masks or part labels"
    energy = ", ".join(f"degree {degree}: {value:.3g}" for degree, value in facts["sh_energy"].items())
    return [
        f"pack {facts['path']} (digest {facts['digest']}, {facts['bytes'] / 2**20:.1f} MiB)",
        f"  {facts['objects']:,} objects; features {', '.join(facts['groups'])}",
        f"  besides: {besides}",
        f"  Gaussians: {kept}; per object {spread}",
        f"  views: {views['total']:,} of {views['image_size']} px, {views['per_object_min']} to "
        f"{views['per_object_max']} per object, {source}, stored {facts['codec']}",
        f"  alpha: {_quantiles(alpha)}",
        f"  scale: {_quantiles({q: 10**value for q, value in scale.items()})} (standard deviation, object units)",
        f"  colour energy (sum of squares of the coefficients): {energy}",
    ]


def _class_table(facts: dict[str, Any]) -> list[str]:
    levels = [entry["alpha"] for entry in facts["survivors"]]
    width = max(14, *(len(name) + 2 for name in facts["classes"]))
    heads = "".join(f"{f'>{level:g}':>9}" for level in levels)
    lines = [
        f"  {'class':<{width}}{'train':>7}{'of it val':>11}{'test':>7}   median Gaussians kept, by alpha",
        f"  {'':<{width}}{'':>25}{heads}",
    ]
    for name, count in facts["classes"].items():
        medians = "".join(f"{entry['classes'][name]['median']:>9,.0f}" for entry in facts["survivors"])
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
    lines = [f"  note: {text} ({count:,} objects)" for text, count in facts["notes"].items()]
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
