"""Self-contained HTML: one file, no request to anywhere, light and dark. Every text is escaped here."""

from collections.abc import Sequence
from html import escape

STYLE = """
:root{color-scheme:light dark;--bg:#f7f8fa;--card:#fff;--ink:#1f2937;--soft:#6b7280;--line:#e5e7eb;
 --warn:#d97706;--bad:220,38,38}
@media(prefers-color-scheme:dark){
 :root{--bg:#0f141b;--card:#171e28;--ink:#e5e7eb;--soft:#9ca3af;--line:#2b3544;--warn:#f59e0b;--bad:248,113,113}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0;overflow-wrap:anywhere}h2{font-size:17px;margin:0 0 10px}
h3{font-size:14px;margin:14px 0 8px}
p.sub{color:var(--soft);margin:4px 0 20px;overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:16px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:12px 16px}
.tile b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px}table.small{width:auto}
th{color:var(--soft);text-align:left;font-weight:600;border-bottom:1px solid var(--line);padding:6px 10px}
td{border-bottom:1px solid var(--line);padding:6px 10px;vertical-align:top;overflow-wrap:break-word}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr:last-child td{border-bottom:0}
.note{color:var(--soft);font-size:13.5px;margin:6px 0 0}
.warning{border-left:4px solid var(--warn);padding:6px 12px;margin:0 0 12px;font-weight:600}
.badge{display:inline-block;border-radius:9px;padding:1px 9px;font-size:12px;font-weight:600;color:#fff}
.why{color:var(--soft);font-size:12.5px}
.kv{font-family:ui-monospace,SFMono-Regular,Menlo,monospace;font-size:12px}
.kv span{display:inline-block;margin-right:10px;white-space:nowrap}
details{margin-top:10px}summary{cursor:pointer;color:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0;font-size:13.5px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:18px}
.charts>img{width:100%;height:auto}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:14px}
figure{margin:0;border:1px solid var(--line);border-radius:10px;padding:10px}
figcaption{font-size:12.5px;color:var(--soft);margin-bottom:6px;overflow-wrap:anywhere}
figcaption b{color:var(--ink)}
.strip{display:grid;grid-template-columns:64px 1fr;align-items:center;gap:6px;font-size:12px;color:var(--soft)}
.strip div{display:grid;grid-template-columns:repeat(3,1fr);gap:4px}
.strip img{width:100%}
.strip img,.wide img{border-radius:4px;background:#fff;border:1px solid var(--line);max-width:100%;height:auto}
.wide{display:flex;flex-wrap:wrap;gap:10px}
"""

STILL = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
SCRIPTED = f"{STILL} blob:; script-src 'unsafe-inline' 'unsafe-eval'"
"""The page's own script and nothing from anywhere; Plotly compiles its shaders, which counts as eval."""


class Html(str):
    """Markup that is ready: a table does not escape it."""

    __slots__ = ()


def page(title: str, subtitle: str, body: Sequence[str], scripts: str = "") -> str:
    """The whole document.

    Args:
        title, subtitle: texts.
        body: ready-made sections.
        scripts: script elements to end with; without them the page may run none.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{SCRIPTED if scripts else STILL}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
        f"<h1>{escape(title)}</h1><p class=sub>{escape(subtitle)}</p>",
        *body,
        f"</main>{scripts}</body></html>",
    ]
    # surrogates of names that are not UTF-8 cannot be written
    return "\n".join(parts).encode("utf-8", "replace").decode()


def tiles(items: Sequence[tuple[str, str]]) -> str:
    """(value, label) pairs as large numbers."""
    inside = "".join(
        f"<div class=tile><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in items
    )
    return f"<div class=tiles>{inside}</div>"


def section(title: str, *inside: str) -> str:
    """A card; nothing where there is nothing inside."""
    return f"<section><h2>{escape(title)}</h2>{''.join(inside)}</section>" if any(inside) else ""


def note(text: str) -> str:
    """A remark."""
    return f"<p class=note>{escape(text)}</p>" if text else ""


def warning(text: str) -> str:
    """A sentence that must not be overlooked."""
    return f"<p class=warning>{escape(text)}</p>" if text else ""


def facts(items: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in items) + "</dl>"


def table(
    columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], shades: Sequence[Sequence[float]] = ()
) -> str:
    """A table of texts, which are escaped, and of `Html`; columns are (name, is a number). Nothing without rows.

    `shades` [rows][columns] in [0, 1] colours cells from nothing to alarming.
    """
    if not rows:
        return ""
    kinds = [" class=n" if number else "" for _, number in columns]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for (name, _), kind in zip(columns, kinds, strict=True))
    small = " class=small" if len(columns) <= 3 and all(number for _, number in columns) else ""
    lines = []
    for row, alarm in zip(rows, shades or [[0.0] * len(columns)] * len(rows), strict=True):
        marks = [f' style="background:rgba(var(--bad),{0.5 * shade:.2f})"' if shade else "" for shade in alarm]
        texts = [cell if isinstance(cell, Html) else escape(cell) for cell in row]
        cells = [f"<td{kind}{mark}>{text}</td>" for kind, mark, text in zip(kinds, marks, texts, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f"<div class=scroll><table{small}>{body}</table></div>"


def badge(text: str, colour: str) -> Html:
    """A word on a coloured ground."""
    return Html(f'<span class=badge style="background:{colour}">{escape(text)}</span>')


def strong(text: str) -> Html:
    """A cell that stands out."""
    return Html(f"<b>{escape(text)}</b>")


def details(label: str, inside: str) -> str:
    """Something long, folded away; nothing where there is nothing inside."""
    return f"<details><summary>{escape(label)}</summary>{inside}</details>" if inside else ""


def picture(uri: str, size: int, text: str) -> str:
    """An image of a data URI made by us."""
    return f'<img src="{escape(uri)}" width="{size}" alt="{escape(text)}">'


def strip(label: str, pictures: Sequence[str]) -> str:
    """Pictures in a row behind their label."""
    return f"<div class=strip><span>{escape(label)}</span><div>{''.join(pictures)}</div></div>"


def figure(title: str, text: str, inside: str) -> str:
    """A framed card around ready-made strips."""
    return f"<figure><figcaption><b>{escape(title)}</b> {escape(text)}</figcaption>{inside}</figure>"
