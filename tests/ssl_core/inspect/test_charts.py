"""Charts of the inspection page are images that a browser can draw, whatever names and numbers are."""

import base64
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ssl_core.inspect.charts import box_plots, histogram, plan

NASTY = "<script>alert(1)</script>\"'&\x1b$x^$\udc80類"


def texts(uri: str) -> list[str]:
    """Of a well-formed SVG without scripts."""
    head, data = uri.split(",", 1)
    assert head == "data:image/svg+xml;base64"
    root = ET.fromstring(base64.b64decode(data))
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    return ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text")]


def box(low: float, high: float) -> dict[str, object]:
    """Of two objects at the ends."""
    return {"whiskers": (low, high), "q1": low, "q3": high, "median": (low + high) / 2, "min": low, "max": high}


@pytest.mark.parametrize(("low", "high"), [(1, 1), (3, 3e9), (400, 1500), (0, 0), (1000, 1001), (0, 5)])
def test_boxes_of_any_span_have_a_row_per_class_and_a_labelled_axis(low, high):
    found = texts(box_plots(NASTY, {"$chair$": box(low, high), "table": box(low, high)}, (low, high), [512]))
    assert {"$chair$", "table"} <= set(found)
    assert any(text.startswith("<script>alert(1)</script>") and "$x^$" in text for text in found)
    assert ("512" in found) == (max(1, low) / 1.06 < 512 < max(1, high) * 1.06)
    assert len(found) >= 4, "names, a title and at least one tick"


def test_histograms_with_exponents_are_over_a_logarithmic_axis():
    found = texts(histogram("alpha", np.linspace(0, 1, 5).tolist(), [0, 4, 2, 0]))
    assert {"alpha", "0", "1"} <= set(found)
    assert {"0.001", "0.01", "0.1"} <= set(texts(histogram("scale", [-3.0, -2.0, -1.0], [0, 0], powers=True)))
    texts(histogram("scale", [-3.0, -2.0], [7], powers=True))


@pytest.mark.parametrize("points", [(), ((0.0, 1.0), (5.0, -3.0))])
def test_plans_name_their_axes(points):
    cameras = [(0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 0.0)]
    assert {"x →", "z →", "From the side"} <= set(texts(plan("From the side", cameras, points, ("x", "z"))))
