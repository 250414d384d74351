"""Self-contained HTML: one file, no script, no request to anywhere, light and dark. Every text is escaped here."""

from collections.abc import Sequence
from html import escape

BASE_STYLE = """
:root{color-scheme:light dark;--bg:#f7f8fa;--card:#fff;--ink:#1f2937;--soft:#6b7280;--line:#e5e7eb;
 --accent:#4f6bed;--fill:#c9d3fb;--warn:#d97706;--bad:220,38,38}
@media(prefers-color-scheme:dark){
 :root{--bg:#0f141b;--card:#171e28;--ink:#e5e7eb;--soft:#9ca3af;--line:#2b3544;
 --accent:#8ea2ff;--fill:#33417a;--warn:#f59e0b;--bad:248,113,113}}
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
table{border-collapse:collapse;width:100%;font-size:13.5px}
th{color:var(--soft);text-align:left;font-weight:600;border-bottom:1px solid var(--line);padding:6px 10px}
td{border-bottom:1px solid var(--line);padding:6px 10px;vertical-align:top;overflow-wrap:break-word}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr:last-child td{border-bottom:0}
.note{color:var(--soft);font-size:13.5px;margin:6px 0 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0;font-size:13.5px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
"""
"""The page, its cards and tables; nothing that a chart library would stumble over."""

STYLE = (
    BASE_STYLE
    + """
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:18px}
svg{display:block;width:100%;height:auto;font:11px system-ui,sans-serif}
svg text{fill:var(--soft)}svg text.name{fill:var(--ink)}svg text.title{fill:var(--ink);font-weight:600;font-size:12px}
.grid{stroke:var(--line)}.mark{stroke:var(--warn);stroke-dasharray:3 3;opacity:.7}
.box{fill:var(--fill);stroke:var(--accent)}.whisker{stroke:var(--accent)}.median{stroke:var(--accent);stroke-width:2.5}
.dot{fill:none;stroke:var(--accent)}.bar{fill:var(--accent);opacity:.75}.bar:hover{opacity:1}
.camera{fill:var(--accent)}.axis{stroke:var(--accent);opacity:.5}.point{fill:var(--soft);opacity:.35}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:14px}
figure{margin:0;border:1px solid var(--line);border-radius:10px;padding:10px}
figcaption{font-size:12.5px;color:var(--soft);margin-bottom:6px;overflow-wrap:anywhere}
figcaption b{color:var(--ink)}
.strip{display:grid;grid-template-columns:64px 1fr;align-items:center;gap:6px;font-size:12px;color:var(--soft)}
.strip div{display:grid;grid-template-columns:repeat(3,1fr);gap:4px}
.strip img{width:100%}table.small{width:auto}
.strip img,.wide img{border-radius:4px;background:#fff;border:1px solid var(--line);max-width:100%;height:auto}
.wide{display:flex;flex-wrap:wrap;gap:10px}
"""
)


def page(title: str, subtitle: str, body: Sequence[str]) -> str:
    """The whole document around ready-made sections."""
    # surrogates of names that are not UTF-8 cannot be written
    return (
        "\n".join(
            [
                "<!doctype html>",
                '<html lang="en"><head><meta charset="utf-8">',
                '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
                "style-src 'unsafe-inline'; img-src data:\">",
                '<meta name="viewport" content="width=device-width,initial-scale=1">',
                f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
                f"<h1>{escape(title)}</h1><p class=sub>{escape(subtitle)}</p>",
                *body,
                "</main></body></html>",
            ]
        )
        .encode("utf-8", "replace")
        .decode()
    )


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


def facts(items: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in items) + "</dl>"


def table(
    columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], shades: Sequence[Sequence[float]] = ()
) -> str:
    """A table of texts; columns are (name, is a number).

    `shades` [rows][columns] in [0, 1] colours cells from nothing to alarming.
    """
    kinds = [" class=n" if number else "" for _, number in columns]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for (name, _), kind in zip(columns, kinds, strict=True))
    small = " class=small" if len(columns) <= 3 and all(number for _, number in columns) else ""
    lines = []
    for i, row in enumerate(rows):
        marks = (
            [f' style="background:rgba(var(--bad),{0.5 * s:.2f})"' if s else "" for s in shades[i]] if shades else []
        )
        cells = [
            f"<td{kind}{marks[j] if marks else ''}>{escape(cell)}</td>"
            for j, (cell, kind) in enumerate(zip(row, kinds, strict=True))
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f"<div class=scroll><table{small}><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def picture(uri: str, size: int, text: str) -> str:
    """An image of a data URI made by us."""
    return f'<img src="{escape(uri)}" width="{size}" alt="{escape(text)}">'


def strip(label: str, pictures: Sequence[str]) -> str:
    """Pictures in a row behind their label."""
    return f"<div class=strip><span>{escape(label)}</span><div>{''.join(pictures)}</div></div>"


def figure(title: str, text: str, inside: str) -> str:
    """A framed card around ready-made strips."""
    return f"<figure><figcaption><b>{escape(title)}</b> {escape(text)}</figcaption>{inside}</figure>"
