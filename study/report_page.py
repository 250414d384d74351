"""The report's HTML around its charts: one file, no request to anywhere, light and dark."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--bg:#f7f8fa;--card:#fff;--ink:#1f2937;--soft:#6b7280;--line:#e5e7eb}
@media(prefers-color-scheme:dark){
 :root{--bg:#0f141b;--card:#171e28;--ink:#e5e7eb;--soft:#9ca3af;--line:#2b3544}}
*{box-sizing:border-box}
body{margin:0;
 background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0}h2{font-size:17px;margin:0 0 10px}p.sub{color:var(--soft);margin:4px 0 20px}
section{background:var(--card);
 border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:16px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:12px 16px}
.tile b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th{color:var(--soft);text-align:left;font-weight:600;border-bottom:1px solid var(--line);padding:6px 10px}
td{border-bottom:1px solid var(--line);padding:6px 10px;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr:last-child td{border-bottom:0}
.badge{display:inline-block;border-radius:9px;padding:1px 9px;font-size:12px;font-weight:600;color:#fff}
.why{color:var(--soft);font-size:12.5px}
.kv{font-family:ui-monospace,SFMono-Regular,Menlo,monospace;font-size:12px}
.kv span{display:inline-block;margin-right:10px;white-space:nowrap}
.note{color:var(--soft);font-size:13.5px;margin:6px 0 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0;font-size:13.5px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
"""

SCRIPT = """
const charts=JSON.parse(document.getElementById('charts').textContent);
function theme(){
 const s=getComputedStyle(document.documentElement),v=n=>s.getPropertyValue(n).trim();
 return {ink:v('--ink'),soft:v('--soft'),line:v('--line'),card:v('--card')};
}
function draw(){
 const t=theme();
 for(const [id,chart] of Object.entries(charts)){
  const layout=structuredClone(chart.layout);
  Object.assign(layout,{paper_bgcolor:'rgba(0,0,0,0)',plot_bgcolor:'rgba(0,0,0,0)',
   font:{color:t.ink,family:'system-ui,sans-serif',size:12},hoverlabel:{bgcolor:t.card,font:{color:t.ink}},
   modebar:{bgcolor:'rgba(0,0,0,0)',color:t.soft,activecolor:t.ink}});
  for(const axis of ['xaxis','yaxis'])
   if(layout[axis])Object.assign(layout[axis],{gridcolor:t.line,zerolinecolor:t.line,linecolor:t.line});
  Plotly.react(id,structuredClone(chart.data),layout,{responsive:true,displaylogo:false});
 }
}
draw();
matchMedia('(prefers-color-scheme:dark)').addEventListener('change',draw);
"""


def page(title: str, body: Sequence[str], charts: dict[str, Any], plotly_js: str) -> str:
    """The whole document. `charts`: element id -> {data, layout}."""
    # "</" must not end the script element it stands in
    data = json.dumps(charts, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
            *body,
            "</main>",
            f'<script type="application/json" id="charts">{data}</script>',
            f"<script>{plotly_js}</script>",
            f"<script>{SCRIPT}</script>",
            "</body></html>",
        ]
    )


def tiles(items: Sequence[tuple[str, str]]) -> str:
    """(value, label) pairs as large numbers."""
    inside = "".join(
        f"<div class=tile><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in items
    )
    return f"<div class=tiles>{inside}</div>"


def section(title: str, *inside: str) -> str:
    """A card."""
    return f"<section><h2>{escape(title)}</h2>{''.join(inside)}</section>"


def chart_place(name: str) -> str:
    """Where the script draws a chart."""
    return f'<div id="{name}"></div>'


def note(text: str) -> str:
    """A remark under a chart."""
    return f"<p class=note>{escape(text)}</p>" if text else ""


def facts(items: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in items) + "</dl>"


def table(columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> str:
    """A table of ready-made HTML cells; columns are (name, is a number)."""
    kinds = [' class="n"' if number else "" for _, number in columns]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for (name, _), kind in zip(columns, kinds, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    ]
    inside = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f"<div class=scroll><table>{inside}</table></div>"


def badge(text: str, colour: str) -> str:
    """An outcome."""
    return f'<span class=badge style="background:{colour}">{escape(text)}</span>'
