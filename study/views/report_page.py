"""The report's HTML around its charts: one file, no request to anywhere. Looks and parts are those of `html_page`."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from ssl_core.data.html_page import BASE_STYLE, facts, note, section, tiles

__all__ = ["badge", "chart_place", "details", "facts", "note", "page", "section", "table", "tiles", "warning"]

STYLE = (
    BASE_STYLE
    + """
.badge{display:inline-block;border-radius:9px;padding:1px 9px;font-size:12px;font-weight:600;color:#fff}
.why{color:var(--soft);font-size:12.5px}
.kv{font-family:ui-monospace,SFMono-Regular,Menlo,monospace;font-size:12px}
.kv span{display:inline-block;margin-right:10px;white-space:nowrap}
.warning{border-left:4px solid var(--warn);padding:6px 12px;margin:0 0 12px;font-weight:600}
details{margin-top:10px}summary{cursor:pointer;color:var(--soft)}
"""
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:"
"""The page's own script and nothing from anywhere; Plotly compiles its shaders, which counts as eval."""

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
  for(const axis of Object.keys(layout).filter(name=>/^[xy]axis/.test(name)))
   Object.assign(layout[axis],{gridcolor:t.line,zerolinecolor:t.line,linecolor:t.line});
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
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
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


def chart_place(name: str) -> str:
    """Where the script draws a chart."""
    return f'<div id="{name}"></div>'


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


def warning(text: str) -> str:
    """A sentence that must not be overlooked."""
    return f"<p class=warning>{escape(text)}</p>" if text else ""


def details(label: str, inside: str) -> str:
    """Something long, folded away."""
    return f"<details><summary>{escape(label)}</summary>{inside}</details>"
