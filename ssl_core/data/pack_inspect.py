"""What a pack holds, as facts for scripts and as text for people."""

from typing import Any

import numpy as np

from ssl_core.data.pack import Pack


def describe_pack(pack: Pack) -> dict[str, Any]:
    """JSON-ready facts: counts per class and split, Gaussians kept, views, groups, what was refused and why."""
    manifest = pack.manifest
    kept = np.array([item.rows for item in manifest.objects])
    per_class = {
        name: {
            "train": sum(o.class_name == name and o.split == "train" for o in manifest.objects),
            "validation": sum(o.class_name == name and o.validation for o in manifest.objects),
            "test": sum(o.class_name == name and o.split == "test" for o in manifest.objects),
            "median_gaussians_kept": int(np.median([o.rows for o in manifest.objects if o.class_name == name])),
        }
        for name in manifest.class_names
    }
    return {
        "path": str(pack.path),
        "digest": pack.digest,
        "objects": len(manifest.objects),
        "classes": per_class,
        "groups": list(manifest.groups),
        "gaussians": {
            "in_files": int(sum(o.gaussians_in_file for o in manifest.objects)),
            "kept": int(kept.sum()),
            "kept_min": int(kept.min()),
            "kept_median": int(np.median(kept)),
            "kept_max": int(kept.max()),
            "alpha_threshold": manifest.config.alpha_threshold,
        },
        "views": {
            "total": int(pack.num_views.sum()),
            "per_object_min": int(pack.num_views.min()),
            "per_object_max": int(pack.num_views.max()),
            "image_size": manifest.image_size,
            "rendered_from_gaussians": manifest.views_rendered,
        },
        "cached_orders": {"starts": int(pack.orders.shape[1]), "length": int(pack.orders.shape[2])},
        "bytes": int(sum(manifest.files.values())),
        "refused": [{"path": r.path, "reason": r.reason} for r in manifest.refused],
    }


def format_pack(facts: dict[str, Any]) -> str:
    """The same for people."""
    gaussians, views = facts["gaussians"], facts["views"]
    source = "rendered from the Gaussians" if views["rendered_from_gaussians"] else "from files"
    kept = f"{gaussians['kept']:,} of {gaussians['in_files']:,} kept (alpha > {gaussians['alpha_threshold']})"
    spread = f"{gaussians['kept_min']} to {gaussians['kept_max']}, median {gaussians['kept_median']}"
    lines = [
        f"pack {facts['path']} (digest {facts['digest']}, {facts['bytes'] / 2**20:.1f} MiB)",
        f"  {facts['objects']} objects; features {', '.join(facts['groups'])}",
        f"  Gaussians: {kept}; per object {spread}",
        f"  views: {views['total']} of {views['image_size']} px, {views['per_object_min']} to "
        f"{views['per_object_max']} per object, {source}",
        f"  {'class':<14}{'train':>7}{'of it val':>11}{'test':>7}{'kept':>9}",
    ]
    for name, count in facts["classes"].items():
        kept = count["median_gaussians_kept"]
        lines.append(f"  {name:<14}{count['train']:>7}{count['validation']:>11}{count['test']:>7}{kept:>9}")
    for item in facts["refused"]:
        lines.append(f"  refused {item['path']}: {item['reason']}")
    return "\n".join(lines)
