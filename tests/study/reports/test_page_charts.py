"""Figures in a page: whatever their texts are, they stay texts."""

import json
import re
from html.parser import HTMLParser

import plotly.graph_objects as go

from ssl_core.inspect.html_page import page
from study.reports.plots import Charts

NASTY = "</script><!--<script>alert(1)</script><img src=x onerror=alert(1)><a href='x'>"


class Scripts(HTMLParser):
    """The page's elements, and what stands in its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str | None] = []
        self.inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids.append(dict(attributes).get("id"))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.inside.append(data)


def test_foreign_texts_are_neither_markup_nor_script() -> None:
    charts = Charts()
    figure = go.Figure(go.Scatter(x=[NASTY, "b"], y=[1 / 3, 2.0], name=NASTY, text=["one<br>two", NASTY]))
    body = [charts.place("history", figure.update_layout(title=NASTY, xaxis_title=NASTY)), charts.place("edf", None)]
    found = Scripts(page(NASTY, NASTY, body, charts.scripts()))
    assert found.tags.count("script") == 3
    assert not {"img", "a"} & set(found.tags)
    assert "history" in found.ids
    assert "edf" not in found.ids
    (trace,) = json.loads(found.inside[0])["history"]["data"]
    assert trace["text"][0] == "one<br>two"
    assert not re.search(r"<(?!br>)", json.dumps([trace["name"], trace["x"], trace["text"]]))
    assert trace["x"][0] == trace["text"][1] == NASTY.replace("<", "&lt;")
    assert trace["y"] == [0.333333, 2.0]


def test_a_page_without_scripts_may_run_none() -> None:
    assert "script-src" not in page("a", "b", [])
    assert "script-src 'unsafe-inline'" in page("a", "b", [], "<script></script>")
