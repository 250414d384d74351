"""What `inspect` says, as one offline HTML page: of a pack, of a file of Gaussians, of a scene's cameras.

Takes facts and pictures that are ready; names in them are untrusted and escaped in `html_page`.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ssl_core.inspect import html_page as html
from ssl_core.inspect.charts import WIDTH, box_plots, histogram, plan
from ssl_core.inspect.gaussian_facts import shape_rows
from ssl_core.inspect.notes import note_lines
from ssl_core.inspect.scene_facts import content_lines, place_rows
from ssl_core.scenes.cameras import CameraScene

if TYPE_CHECKING:  # the renderer brings torch
    from ssl_core.inspect.thumbnails import Thumbnails

SHOWN_CAMERAS, SHOWN_POINTS = 2000, 4000
SHOWN_REFUSED = 2000
PICTURE = 96


def pack_page(facts: Mapping[str, Any], thumbnails: Sequence["Thumbnails"] = ()) -> str:
    """The page of `pack_inspect.describe_pack`'s facts."""
    gaussians, views = facts["gaussians"], facts["views"]
    share = gaussians["kept"] / max(1, gaussians["in_files"])
    head = [
        (f"{facts['objects']:,}", f"objects in {len(facts['classes'])} classes"),
        (number(gaussians["kept"]), f"Gaussians kept, {share:.0%} of those in the files"),
        (
            f"{gaussians['kept_median']:,}",
            f"per object, median ({gaussians['kept_min']:,} to {gaussians['kept_max']:,})",
        ),
        (f"{views['total']:,}", f"views of {views['image_size']} px, {_per_object(views)} per object"),
        (f"{facts['bytes'] / 2**20:,.1f} MiB", f"on disk, views stored {facts['codec']}"),
        (f"{len(facts['refused']):,}", "inputs refused"),
    ]
    body = [
        html.tiles(head),
        _survivors(facts),
        _fails(facts),
        _distributions(facts),
        _classes(facts),
        _gallery(thumbnails),
        _refused(facts),
        _about(facts),
    ]
    name = PurePath(facts["path"]).name or facts["path"]
    return html.page(f"Pack {name}", f"{facts['path']} · digest {facts['digest']}", body)


def _per_object(views: Mapping[str, Any]) -> str:
    low, high = views["per_object_min"], views["per_object_max"]
    return f"{low}" if low == high else f"{low} to {high}"


def _survivors(facts: Mapping[str, Any]) -> str:
    entries = facts["survivors"]
    low = min(entry["all"]["min"] for entry in entries)
    high = max(entry["all"]["max"] for entry in entries)
    charts = []
    for entry in entries:
        title = f"alpha > {entry['alpha']:g}: {number(entry['kept'])} Gaussians"
        boxes = {**entry["classes"], "all classes": entry["all"]}
        charts.append(_chart(box_plots(title, boxes, (low, high), [int(n) for n in entry["below"]]), title))
    text = (
        "Gaussians per object whose alpha is larger than the threshold. Box: quartiles and median; whiskers: 1.5 "
        "interquartile ranges; circles: furthest outliers; dashed: numbers of points that encoders are trained with. "
        "An alpha of 0.574 is the cross-modal reference's threshold, a logit of 0.3."
    )
    if full := facts["gaussians"]["objects_at_max"]:
        most = facts["gaussians"]["max_per_object"]
        text += f" Objects at the {most:,} that a pack keeps, whose counts are lower bounds: {full:,}."
    inside = f"<div class=charts>{''.join(charts)}</div>"
    return html.section("Gaussians kept, by class and opacity threshold", inside, html.note(text))


def _fails(facts: Mapping[str, Any]) -> str:
    entries, objects = facts["survivors"], max(1, facts["objects"])
    columns = [
        ("alpha above", True),
        *((f"fewer than {length}", True) for length in entries[0]["below"]),
        ("fewest", False),
    ]
    rows, shades = [], []
    for entry in entries:
        below = list(entry["below"].values())
        fewest = ", ".join(f"{item['object']} ({item['kept']:,})" for item in entry["fewest"][:3])
        rows.append([f"{entry['alpha']:g}", *(f"{count:,} ({count / objects:.0%})" for count in below), fewest])
        shades.append([0.0, *(count / objects for count in below), 0.0])
    text = "Objects with fewer Gaussians than an encoder would sample; it would repeat some of theirs."
    return html.section("What fails which threshold", html.table(columns, rows, shades), html.note(text))


def _distributions(facts: Mapping[str, Any]) -> str:
    alpha, scale = facts["alpha"], facts["log10_scale"]
    charts = [
        _histogram("alpha of the kept Gaussians", alpha["edges"], alpha["counts"]),
        _histogram("scale: standard deviation along each axis", scale["edges"], scale["counts"], powers=True),
        _energy(facts["sh_energy"]),
    ]
    return html.section("Distributions", f"<div class=charts>{''.join(charts)}</div>")


def _histogram(title: str, edges: Sequence[float], counts: Sequence[int], powers: bool = False) -> str:
    return _chart(histogram(title, edges, counts, powers=powers), title)


def _chart(uri: str, title: str) -> str:
    return html.picture(uri, round(96 * WIDTH), title)


def _energy(energy: Mapping[str, float]) -> str:
    rows = [(f"degree {degree}", f"{value:.4g}") for degree, value in energy.items()]
    text = "Sum of squares of the colour coefficients of each degree, mean over Gaussians. "
    text += "Degree 0 is the constant colour; the rest makes it depend on the view."
    return f"<div><h3>Colour energy</h3>{html.facts(rows)}{html.note(text)}</div>"


def _classes(facts: Mapping[str, Any]) -> str:
    columns = [("class", False), ("train", True), ("of it validation", True), ("test", True)]
    columns += [(f"median > {entry['alpha']:g}", True) for entry in facts["survivors"]]
    rows = [
        [
            name,
            *(f"{count[key]:,}" for key in ("train", "validation", "test")),
            *(f"{entry['classes'][name]['median']:,.0f}" for entry in facts["survivors"]),
        ]
        for name, count in facts["classes"].items()
    ]
    return html.section("Classes", html.table(columns, rows))


def _gallery(thumbnails: Sequence["Thumbnails"]) -> str:
    figures = []
    for item in thumbnails:
        views = [html.picture(uri, PICTURE, f"view {i}") for i, uri in enumerate(item.views)]
        renders = [html.picture(uri, PICTURE, f"render {i}") for i, uri in enumerate(item.renders)]
        strips = [html.strip("views", views), html.strip("Gaussians", renders or ["cannot be drawn"])]
        figures.append(html.figure(item.name, f"{item.gaussians:,} Gaussians", "".join(strips)))
    if not figures:
        return ""
    text = (
        "Of each class, from the object with fewest Gaussians to the one with most. Above: its first stored views; "
        "below: its Gaussians, seen from the orbit that this project renders from."
    )
    return html.section("Objects", f"<div class=gallery>{''.join(figures)}</div>", html.note(text))


def _refused(facts: Mapping[str, Any]) -> str:
    refused = facts["refused"]
    rows = [[item["path"], item["reason"]] for item in refused[:SHOWN_REFUSED]]
    inside = [html.table([("input", False), ("reason", False)], rows) or html.note("Nothing was refused.")]
    if len(refused) > SHOWN_REFUSED:
        inside.append(html.note(f"and {len(refused) - SHOWN_REFUSED:,} more, which --json lists"))
    return html.section("Refused", *inside)


def _about(facts: Mapping[str, Any]) -> str:
    orders, views = facts["cached_orders"], facts["views"]
    rows = [
        ("features", ", ".join(facts["groups"])),
        ("views", "rendered" if views["rendered_from_gaussians"] else "from files"),
        ("alpha threshold", f"{facts['gaussians']['alpha_threshold']:g}"),
        ("cached orders", f"{orders['starts']} of {orders['length']:,} points per object"),
        *((f"file {name}", f"{size / 2**20:,.1f} MiB") for name, size in facts["files"].items()),
        *(("note", line) for line in note_lines(facts["notes"], facts["note_examples"])),
    ]
    return html.section("The pack", html.facts(rows))


def file_page(facts: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """The page of `inspect.inspect_gaussians`' facts, with renders."""
    count = facts["gaussians"]
    head = [
        (f"{count:,}", "Gaussians"),
        (facts["format"].replace("_", " "), f"format, {facts['bytes'] / 1e6:,.2f} MB"),
        (str(facts["sh_degree"]), "degree of the spherical harmonics"),
        (f"{facts['alpha']['0.5']:.3g}", "alpha, median"),
        (f"{facts['scale']['0.5']:.3g}", "scale, median, object units"),
    ]
    alpha, scale = facts["alpha_histogram"], facts["scale_histogram"]
    charts = [
        _histogram("alpha", alpha["edges"], alpha["counts"]),
        _histogram("scale: standard deviation along each axis", *_cut(scale["edges"], scale["counts"]), powers=True),
        _energy(facts["sh_energy"]),
    ]
    kept = [[f"{float(a):g}", f"{n:,}", f"{n / count:.1%}"] for a, n in facts["kept_above_alpha"].items()]
    seen = "".join(html.picture(uri, 256, f"render {i}") for i, uri in enumerate(pictures))
    text = "Framed by its solid part and seen with the z axis up, whatever its own up is."
    columns = [("alpha above", True), ("Gaussians", True), ("share", True)]
    body = [
        html.tiles(head),
        html.section("Seen from around", f"<div class=wide>{seen}</div>", html.note(text)) if seen else "",
        html.section("Distributions", f"<div class=charts>{''.join(charts)}</div>"),
        html.section("Gaussians kept, by opacity threshold", html.table(columns, kept)),
        html.section("The file", html.facts(shape_rows(facts))),
    ]
    return html.page(PurePath(facts["path"]).name, facts["path"], body)


def scene_page(scene: CameraScene, facts: Mapping[str, Any], pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The page of the facts of `describe_scene` or `describe_scene_pack`; pictures are (data URI, name)."""
    head = [
        (f"{facts['views']:,}", f"views, {facts['format']}"),
        (f"{facts['images_found']:,}", "with their image"),
        (" · ".join(list(facts["image_sizes"])[:2]).replace("x", " × "), "pixels"),
        (f"{facts['field_of_view']['0.5']:.3g}°", f"field of view across, focal length {facts['focal']['0.5']:.4g} px"),
    ]
    if facts["points"] is not None:
        head.append((f"{facts['points']['count']:,}", "sparse points"))
    splits = ", ".join(f"{name} {count}" for name, count in facts["splits"].items()) or "none named"
    content = content_lines(facts) if "scenes" in facts else []
    about = [
        ("splits", splits),
        *(("content", text) for text in content),
        *place_rows(facts),
        *(("note", text) for text in facts["notes"]),
    ]
    charts = [_plan(scene, title, *axes) for title, axes in (("From above (z up)", (0, 1)), ("From the side", (0, 2)))]
    seen = "".join(html.picture(uri, 160, name) for uri, name in pictures)
    body = [
        html.tiles(head),
        html.section("Cameras", f"<div class=charts>{''.join(charts)}</div>"),
        html.section("Images", f"<div class=wide>{seen}</div>") if seen else "",
        html.section("The scene", html.facts(about)),
    ]
    return html.page("Cameras of a scene", facts["path"], body)


def _plan(scene: CameraScene, title: str, across: int, up: int) -> str:
    step = -(-len(scene.views) // SHOWN_CAMERAS)
    cameras = []
    for view in scene.views[::step]:
        place, axis = view.camera.position, view.camera.viewmat[2, :3]
        cameras.append((float(place[across]), float(place[up]), float(axis[across]), float(axis[up])))
    points: list[tuple[float, float]] = []
    if scene.points is not None and len(scene.points):
        some = scene.points.xyz[:: -(-len(scene.points) // SHOWN_POINTS)]
        points = [(float(p[across]), float(p[up])) for p in some]
    return _chart(plan(title, cameras, points, ("xyz"[across], "xyz"[up])), title)


def _cut(edges: Sequence[float], counts: Sequence[int]) -> tuple[Sequence[float], Sequence[int]]:
    """Without the empty bins at both ends."""
    used = [i for i, count in enumerate(counts) if count] or [0]
    return edges[used[0] : used[-1] + 2], counts[used[0] : used[-1] + 1]


def number(value: float) -> str:
    """1200 as 1.2k: short enough for a tile."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"
