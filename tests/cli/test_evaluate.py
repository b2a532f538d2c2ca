from __future__ import annotations

import json

from mrcnn.cli.outputs import is_ours
from tests.cli.runner import DATA, NUCLEI, invoke, refused


def test_evaluate_writes_metrics_and_detections(run, tmp_path):
    result = invoke("evaluate", "--model", run, "--data", DATA, "--images", NUCLEI / "images", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert {"box/AP", "mask/AP50", "mask/ARl"} <= set(json.loads((tmp_path / "metrics.json").read_text())["numbers"])
    assert isinstance(json.loads((tmp_path / "detections.json").read_text()), list)

    numbers = json.loads((tmp_path / "report_data.json").read_text())
    assert (
        "boundary/AP" in numbers["numbers"] and numbers["about"]["model"] == str(run) and "GPUs" in numbers["machine"]
    )
    assert is_ours(tmp_path / "report.html") and is_ours(tmp_path / "report_data.json")


def test_a_page_of_the_users_is_not_replaced(run, tmp_path):
    (tmp_path / "report.html").write_text("<html>mine</html>")
    line = refused("evaluate", "--model", run, "--data", DATA, "--images", NUCLEI / "images", "--out", tmp_path)
    assert "report.html: exists and was not written by mrcnn" in line
    result = invoke(
        *("evaluate", "--model", run, "--data", DATA, "--images", NUCLEI / "images", "--out", tmp_path, "--no-report")
    )
    assert result.exit_code == 0 and not (tmp_path / "report_data.json").exists()


def test_evaluate_refuses_other_classes(run, tmp_path):
    content = json.loads(DATA.read_text())
    content["categories"][0]["name"] = "star"
    file = tmp_path / "stars.json"
    file.write_text(json.dumps(content))
    line = refused("evaluate", "--model", run, "--data", file, "--images", NUCLEI / "images", "--out", tmp_path / "o")
    assert "star" in line and "nucleus" in line
