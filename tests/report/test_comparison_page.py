from __future__ import annotations

from mrcnn.report.comparison_page import comparison_page


def interval(value, low, high):
    return {"value": value, "low": low, "high": high}


def numbers_of(*names):
    ap = {"value": interval(0.5, 0.4, 0.6), "difference": interval(0.1, 0.05, 0.2)}
    nothing = {"value": interval(None, None, None), "difference": interval(None, None, None)}
    run = {"AP": ap, "AP50": nothing, "AP75": nothing, "numbers": {"mask/AP": 0.5}}
    errors = {"missed": {"ap_gain": None, "count": 3}}
    return {
        "written_by": "mrcnn compare 1",
        "images": 1,
        "overlaps_of": "mask",
        "confidence": 0.95,
        "samples": 10,
        "runs": [{"name": name, **run, "errors": errors} for name in names],
        "classes": {"<i>": [0.5, None]},
        "image_results": [{"image_id": 1, "file": "&.png", "quality": [0.5, 0.75], "spread": 0.25}],
    }


def test_names_are_text_and_sure_differences_are_bold():
    page = comparison_page(numbers_of("<b>one", "two"), [])
    assert "<b>one" not in page and "&lt;b&gt;one" in page and "&lt;i&gt;" in page and "&amp;.png" in page
    assert page.count("<b>+0.100</b>") == 1  # the first run has no difference from itself
    assert "95 % of 10 bootstrap samples" in page and "<small>(3)</small>" in page
