"""Plotly figures inside the report's page: drawn by its one script, in the colours of the reader's theme."""

import json
import re
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

SCRIPT = """
const charts=JSON.parse(document.getElementById('charts').textContent);
function draw(){
 const s=getComputedStyle(document.documentElement),v=n=>s.getPropertyValue(n).trim();
 for(const [id,chart] of Object.entries(charts)){
  const layout=structuredClone(chart.layout);
  Object.assign(layout,{paper_bgcolor:'rgba(0,0,0,0)',plot_bgcolor:'rgba(0,0,0,0)',
   colorway:['#0072B2','#E69F00','#009E73','#CC79A7','#D55E00','#56B4E9'],
   font:{color:v('--ink'),family:'system-ui,sans-serif',size:12},
   hoverlabel:{bgcolor:v('--card'),font:{color:v('--ink')}},
   modebar:{bgcolor:'rgba(0,0,0,0)',color:v('--soft'),activecolor:v('--ink')}});
  for(const axis of Object.keys(layout).filter(name=>/^[xy]axis/.test(name)))
   Object.assign(layout[axis],{gridcolor:v('--line'),zerolinecolor:v('--line'),linecolor:v('--line')});
  Plotly.react(id,structuredClone(chart.data),layout,{responsive:true,displaylogo:false});
 }
}
draw();
matchMedia('(prefers-color-scheme:dark)').addEventListener('change',draw);
"""
"""Okabe and Ito's palette is told apart by colour-blind eyes, on white and on black."""

_MARKUP = re.compile(r"<(?!br>|/?b>|/?extra>)")
"""What Plotly would read as markup, but for what Optuna and we write."""


class Charts:
    """The figures of one page."""

    def __init__(self) -> None:
        self._charts: dict[str, dict[str, Any]] = {}

    def place(self, name: str, figure: go.Figure | None, height: int = 400) -> str:
        """The element `name` in which the script draws the figure; the empty text where there is none."""
        if figure is None:
            return ""
        figure.update_layout(template=None, title=None, width=None, height=height, margin={"t": 30, "r": 20})
        figure.update_xaxes(automargin=True)
        figure.update_yaxes(automargin=True)
        self._charts[name] = _brief(json.loads(figure.to_json()))
        return f'<div id="{name}"></div>'

    def scripts(self) -> str:
        """Plotly, the figures and what draws them, as script elements."""
        # no "<" of a text may end the script element it stands in
        data = json.dumps(self._charts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        return (
            f'<script type="application/json" id="charts">{data}</script>'
            f"<script>{get_plotlyjs()}</script><script>{SCRIPT}</script>"
        )


def _brief(value: Any) -> Any:
    """With texts that are no markup, and numbers of six digits: more than a screen shows, two thirds of the bytes."""
    match value:
        case str():
            return _MARKUP.sub("&lt;", value)
        case float():
            return float(f"{value:.6g}")
        case list():
            return [_brief(part) for part in value]
        case dict():
            return {key: _brief(part) for key, part in value.items()}
        case _:
            return value
