from __future__ import annotations

import json

from mrcnn.cli.outputs import is_ours
from tests.cli.runner import invoke, refused
from tests.report.scenes import Scenes, evaluated


def test_compare_writes_a_page_and_its_numbers(tmp_path):
    for name, shift in (("a", 0), ("b", 4)):
        report, result = evaluated(Scenes(3), shift=shift)
        report.save(tmp_path / name, result)
    out = tmp_path / "out"
    result = invoke("compare", tmp_path / "a", tmp_path / "b", "--out", out, "--samples", "20")
    assert result.exit_code == 0, result.output
    assert "difference" in result.stdout and is_ours(out / "compare.html") and is_ours(out / "compare.json")
    assert [run["name"] for run in json.loads((out / "compare.json").read_text())["runs"]] == ["a", "b"]
    assert invoke("compare", tmp_path / "a", tmp_path / "b", "--out", out, "--samples", "20").exit_code == 0


def test_compare_names_the_folder_without_a_report(tmp_path):
    line = refused("compare", tmp_path, tmp_path, "--out", tmp_path / "out")
    assert "has no report_data.json" in line and not (tmp_path / "out").exists()
