from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from mrcnn.report.svg import Line, bar_chart, histogram_chart, line_chart


def test_charts_are_well_formed_and_escape_their_text():
    hostile = "</svg><script>&\"'"
    charts = [
        line_chart([Line(hostile, [0, 0.5, 1], [1, float("nan"), 0], dots=True)], hostile, hostile, hostile),
        bar_chart([(hostile, 0.5, hostile, 0), ("none", float("nan"), "–", 1), ("lower", -0.1, "-0.1", 2)], hostile),
        histogram_chart(np.arange(9).reshape(3, 3), hostile, hostile, hostile),
    ]
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert hostile in {element.text for element in root.iter()} and "<script" not in chart
        assert "nan" not in chart


def test_a_point_is_where_its_values_are():
    chart = line_chart([Line("", [0, 1], [0, 1])], "x", "y", "t")
    assert ElementTree.fromstring(chart).find(".//polyline").get("points") == "52.0,258.0 408.0,10.0"


def test_nothing_is_an_empty_chart():
    empty = (histogram_chart(np.zeros((4, 4)), "x", "y", "t"), bar_chart([], "t"), line_chart([], "x", "y", "t"))
    assert all(ElementTree.fromstring(chart).tag == "figure" for chart in empty)
