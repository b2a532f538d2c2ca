"""benchmarks/gpu.py: rows that are kept, fail or wait; the table; parts of wheels; and the tiny rows themselves."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("gpu")


def numbers(seconds: float, held: float) -> dict[str, Any]:
    return {"numbers": {"seconds": {"median": seconds}, "peak_mb": {"median": held}}}


def test_rows_are_kept_and_failures_do_not_end_the_run(gpu: ModuleType, tmp_path: Path) -> None:
    rows, asked, lines = [gpu.Row(name, "", ()) for name in ("a", "b", "c")], [], []

    def measure(row: Any, seconds: float) -> dict[str, Any]:
        asked.append((row.name, seconds))
        if row.name == "b" and len(asked) < 4:
            raise gpu.RowError("out of memory | here")
        return {"float32": numbers(2.0, 50), "torchvision": numbers(4.0, 100), "torchvision, compiled": numbers(8.0, 9)}

    gpu.run(rows, tmp_path, 1000.0, 30.0, measure, lines.append)
    assert asked == [("a", 30.0), ("b", 30.0), ("c", 30.0)]
    table = (tmp_path / "gpu.md").read_text().splitlines()
    assert table[2] == "| a | float32 | 2 | 0.50 | 50 | 0.50 |" and table[4].endswith("| 8 | 2.00 | 9 | 0.09 |")
    assert table[5] == "| b | out of memory / here | | | | |"
    gpu.run(rows, tmp_path, 1000.0, 30.0, measure, lines.append)
    assert [name for name, _ in asked[3:]] == ["b"] and lines[3] == "a: kept"
    assert "error" not in json.loads((tmp_path / "gpu.json").read_text())["rows"]["b"]


def test_rows_wait_where_no_time_is_left(gpu: ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    content = gpu.run([gpu.Row("a", "", ())], tmp_path, 5.0, 30.0, lambda *_: {}, lines.append)
    assert content["rows"] == {} and lines == ["a: no time left; the same command goes on"]


def test_what_a_row_runs_exists(gpu: ModuleType) -> None:
    for row in (*gpu.ROWS, *gpu.SMALL):
        assert (BENCHMARKS / row.script).exists()
        command = row.command(3, "python", Path("out.json"))
        assert ("--peers" in command) == any("torchvision" in name for name in row.engines)
    assert len({row.name for row in gpu.ROWS}) == len(gpu.ROWS)


@pytest.mark.parametrize("body, message", [("import time; time.sleep(60)", "took more than 1 s"), ("1 / 0", "ZeroDiv")])
def test_a_row_that_hangs_or_fails_is_named(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    (tmp_path / "row.py").write_text(body)
    monkeypatch.setattr(gpu, "FOLDER", tmp_path)
    with pytest.raises(gpu.RowError, match=message):
        gpu.measure(gpu.Row("a", "row.py", ()), 1.0 if "sleep" in body else 60.0, 1, sys.executable)


def test_parts_join_to_the_wheel(gpu: ModuleType, tmp_path: Path) -> None:
    wheel, out = tmp_path / "a-1.whl", tmp_path / "out"
    out.mkdir()
    wheel.write_bytes(bytes(range(250)))
    gpu.split([wheel], out, 100)
    parts = sorted(out.glob("a-1.whl.*"))
    assert [len(part.read_bytes()) for part in parts] == [100, 100, 50]
    assert b"".join(part.read_bytes() for part in parts) == wheel.read_bytes()
    assert "cat a-1.whl.??? > /tmp/wheels/a-1.whl" in (out / "install.sh").read_text()


@pytest.mark.slow
def test_tiny_rows_run_without_a_gpu(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--small", "--rounds", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert all("engines" in row for row in rows.values()), rows
    assert "| train small | float32 |" in (tmp_path / "gpu.md").read_text()
