from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from mrcnn.report.svg import Columns, Line, bar_chart, column_chart, histogram_chart, line_chart


def test_charts_are_well_formed_and_escape_their_text():
    hostile = "</svg><script>&\"'"
    charts = [
        line_chart([Line(hostile, [0, 0.5, 1], [1, float("nan"), 0], dots=True)], hostile, hostile, hostile),
        bar_chart([(hostile, 0.5, hostile, 0), ("none", float("nan"), "–", 1), ("lower", -0.1, "-0.1", 2)], hostile),
        histogram_chart(np.arange(9).reshape(3, 3), hostile, hostile, hostile),
        column_chart([0, 1], [Columns(hostile, [1])] * 2, hostile, hostile, hostile, marks_name=hostile),
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


def test_columns_stand_on_each_other_and_marks_where_their_value_is():
    parts = [Columns("a", [0, 3]), Columns("b", [2, 1])]
    chart = ElementTree.fromstring(
        column_chart([1, 4, 16], parts, "x", "y", "t", marks=[4, 99], marks_name="m", log=True)
    )
    bars = [bar for bar in chart.iter("rect") if bar.find("title") is not None]
    tops = [(float(bar.get("y")), float(bar.get("height"))) for bar in bars]
    np.testing.assert_allclose(tops, [(72, 186), (134, 124), (10, 62)])  # of 248 pixels, the highest is 4
    assert [path.get("d") for path in chart.iter("path") if path.get("class") == "mark"] == ["M230.0 258V10"]
    assert [e.text for e in chart.iter("text")][:5] == ["1", "2", "4", "8", "16"]


def test_rows_of_an_image_run_downwards():
    first = ElementTree.fromstring(histogram_chart(np.array([[1, 0], [0, 0]]), "x", "y", "t", False, y_down=True))
    (cell,) = (bar for bar in first.iter("rect") if bar.find("title") is not None)
    assert float(cell.get("y")) == 10.0 and float(cell.get("x")) == 52.0


def test_of_large_numbers_ticks_stay_short():
    texts = [
        [e.text for e in ElementTree.fromstring(column_chart([0, 1], [Columns("", [most])], "", "", "")).iter("text")]
        for most in (1, 7, 3200, 2_500_000)
    ]
    assert all(len(text or "") <= 4 for chart in texts for text in chart)
    assert "3k" in texts[2] and "2.5M" in texts[3] and "0" in texts[0] and "1" in texts[0]
