from __future__ import annotations

import numpy as np

from mrcnn.report import sections


def test_a_large_confusion_matrix_shows_the_classes_with_most_errors():
    matrix = np.zeros((81, 81), int)
    matrix[np.arange(81), np.arange(81)] = 5
    matrix[70, 30] = 9
    numbers = {"classes": [f"c{i}" for i in range(1, 81)], "confusion": {"matrix": matrix.tolist()}}
    content = sections.confusion(numbers)
    assert ">c70<" in content and ">c30<" in content and ">c80<" not in content and "25 of 80" in content


def test_errors_name_their_images_and_how_many_more_there_are():
    images = [[i, 2] for i in range(250)]
    kinds = {kind: {"ap_gain": None, "count": 0, "images": []} for kind in sections.KIND_COLORS}
    kinds["both"] = {"ap_gain": 0.0625, "count": 500, "images": images}
    errors = {"ap50": 0.5, "kinds": kinds, "false_positives": None, "false_negatives": 0.25}
    numbers = {"errors": errors, "image_results": [{"image_id": i, "file": f"<{i}>.png"} for i in range(250)]}
    content = sections.errors(numbers)
    assert "&lt;3&gt;.png" in content and "<3>" not in content and "and 50 more" in content
    assert "+0.062" in content and "500 in 250 images" in content


def test_no_label_mistakes():
    assert sections.label_issues({"label_issues": []}) == "<p>None.</p>"
