from __future__ import annotations

import json
import shutil

import pytest

from mrcnn.data.errors import DataError
from mrcnn.errors import InputError
from mrcnn.report.comparison import COMPARISON_DATA, COMPARISON_PAGE, compare_reports
from tests.report.scenes import Scenes, evaluated


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One scene, evaluated as it is, with its detections moved, and in another order of the images."""
    folder = tmp_path_factory.mktemp("runs")
    for name, shift in (("good", 0), ("</script><b>", 4)):
        report, result = evaluated(Scenes(8), shift=shift)
        report.save(folder / name, result)
    return [folder / "good", folder / "</script><b>"]


def test_says_what_differs_and_on_which_images(folders, tmp_path):
    comparison = compare_reports(folders, num_samples=60)
    first, second = comparison.numbers["runs"]
    difference = second["AP"]["difference"]
    assert difference["value"] == pytest.approx(
        second["AP"]["value"]["value"] - first["AP"]["value"]["value"], abs=2e-6
    )
    assert difference["low"] <= difference["value"] <= difference["high"] < 0
    assert first["AP"]["value"]["value"] == pytest.approx(first["numbers"]["mask/AP"], abs=2e-6)
    spreads = [row["spread"] for row in comparison.numbers["image_results"]]
    assert spreads == sorted(spreads, reverse=True) and len(comparison.images) == 8
    assert [len(image["runs"]) for image in comparison.images] == [2] * 8
    lines = str(comparison).splitlines()
    assert "8 images" in lines[0] and f"{difference['value']:+.3f}" in lines[-1]
    page, data = comparison.save(tmp_path)
    assert (page.name, data.name) == (COMPARISON_PAGE, COMPARISON_DATA)
    assert json.loads(data.read_text())["classes"] and "script&gt;&lt;b&gt;" in page.read_text()
    assert page.read_text().count("</script>") == 3  # data and two of code: none of a name


def test_the_order_of_the_images_does_not_matter(folders, tmp_path):
    shutil.copytree(folders[1], tmp_path / "turned")
    file = tmp_path / "turned/report_data.json"
    content = json.loads(file.read_text())
    content["matches"].reverse()
    content["image_results"].reverse()
    file.write_text(json.dumps(content))
    one, other = (compare_reports([folders[0], f], num_samples=20).numbers for f in (folders[1], tmp_path / "turned"))
    assert one["image_results"] == other["image_results"] and one["runs"][1]["AP"] == other["runs"][1]["AP"]


def test_without_the_pages_there_are_no_images(folders, tmp_path):
    copies = [shutil.copytree(folder, tmp_path / str(i)) for i, folder in enumerate(folders)]
    (copies[0] / "report.html").unlink()
    (copies[1] / "report.html").write_text("something else")
    assert compare_reports(copies, num_samples=10).images == []


def test_refuses_what_cannot_be_compared(folders, tmp_path):
    with pytest.raises(InputError, match="two or more folders"):
        compare_reports(folders[:1])
    with pytest.raises(DataError, match="has no report_data"):
        compare_reports([folders[0], tmp_path])
    for text, message in (("{", "not JSON"), ("[]", "not a report of `mrcnn evaluate`")):
        (tmp_path / "report_data.json").write_text(text)
        with pytest.raises(DataError, match=message):
            compare_reports([folders[0], tmp_path])
    report, result = evaluated(Scenes(3))
    report.save(tmp_path / "fewer", result)
    with pytest.raises(DataError, match="of other images than the first one"):
        compare_reports([folders[0], tmp_path / "fewer"])
    report, result = evaluated(Scenes(8, seed=5))
    report.save(tmp_path / "other", result)
    with pytest.raises(DataError, match="has other objects"):
        compare_reports([folders[0], tmp_path / "other"])
