"""benchmarks/harness.py, by engines that cost nothing; and that every benchmark uses it."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SHARED = {"gpu", "harness", "label_mistakes", "rois", "training_data"}  # no times beside those of others
SCRIPTS = sorted(path for path in BENCHMARKS.glob("*.py") if path.stem not in SHARED)

SCRIPT = '''
"""Counts."""
import os, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import harness

def fast(case, options):
    print("printed by a library")  # must not be taken for an answer
    rounds = iter(range(100))
    def run():
        turn = next(rounds)
        with open(options.log, "a") as log:
            print("fast", case, turn, os.getpid(), file=log)
        return {{"seconds": [9.0, 1.0, 2.0, 4.0][turn % 4], "result": 5.0, "note": "first"}}
    return run

def slow(case, options):
    rounds = iter(range(100))
    def run():
        turn = next(rounds)
        with open(options.log, "a") as log:
            print("slow", case, turn, os.getpid(), file=log)
        return {{"seconds": [9.0, 3.0, 4.0, 4.0][turn % 4], "result": 5.0 + options.off}}
    return run

def absent(case, options):
    raise harness.NotHere("no such machine")

def broken(case, options):
    raise ValueError("out of order")

harness.run(harness.Benchmark(
    __doc__, engines={{"slow": slow, "absent": absent, "broken": broken}}, peers={{"fast": fast}},
    cases=["a", "b"], rounds=3, fresh={fresh}, same={{"result": 1e-6}},
    arguments=lambda parser: [parser.add_argument("--log"), parser.add_argument("--off", type=float, default=0.0),
                              parser.add_argument("--broken", action="store_true")],
    prepare=lambda options, folder: (folder / "made").touch(),
    choose=lambda case, options: ["slow", "absent", *(["broken"] if options.broken else [])],
))
'''


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("harness", BENCHMARKS / "harness.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["harness"] = module
    spec.loader.exec_module(module)
    return module


def run_script(folder: Path, *arguments: str, fresh: bool = False) -> subprocess.CompletedProcess[str]:
    script = folder / "counting.py"
    script.write_text(SCRIPT.format(folder=str(BENCHMARKS), fresh=fresh))
    command = [sys.executable, str(script), "--log", str(folder / "log"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_engines_take_turns_in_processes_of_their_own(tmp_path: Path) -> None:
    done = run_script(tmp_path, "--peers", "--json", str(tmp_path / "out/numbers.json"))
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [row[:3] for row in rows] == [
        [name, case, str(turn)] for case in "ab" for turn in range(4) for name in ("fast", "slow")
    ]
    assert len({row[3] for row in rows}) == 4  # two engines, two cases
    assert "absent is left out: no such machine" in done.stderr
    content = json.loads((tmp_path / "out/numbers.json").read_text())
    assert content["benchmark"] == "counting" and list(content["cases"]) == ["a", "b"]
    assert content["machine"]["cpus"] >= 1
    slow, fast = content["cases"]["a"]["slow"]["numbers"], content["cases"]["a"]["fast"]
    assert slow["seconds"] == {"median": 4.0, "ratio": 2.0, "rounds": [3.0, 4.0, 4.0]}  # 3, 2 and 1 times the peer's
    assert fast["numbers"]["seconds"] == {"median": 2.0, "ratio": 1.0, "rounds": [1.0, 2.0, 4.0]}
    assert fast["note"] == "first" and slow["peak_mb"]["median"] > 1
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_a_fresh_process_for_every_round(tmp_path: Path) -> None:
    done = run_script(tmp_path, "--peers", "--case", "a", "--rounds", "2", fresh=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [(row[0], row[2]) for row in rows] == [("fast", "0"), ("slow", "0")] * 2
    assert len({row[3] for row in rows}) == 4


def test_without_peers_ratios_are_to_the_first_engine(tmp_path: Path) -> None:
    done = run_script(tmp_path, "--case", "b", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert "fast" not in done.stdout
    assert any(line.split()[:3] == ["slow", "3", "1.00"] for line in done.stdout.splitlines()), done.stdout


def test_an_engine_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("def start(case, options):\n    return lambda: {'seconds': 6.0}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run_script(tmp_path, "--case", "a", "--rounds", "1", "--engine", "own=mine:start")
    assert done.returncode == 0, done.stderr
    assert any(line.split()[:3] == ["own=mine:start", "6", "2.00"] for line in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--broken"], "broken: .*ValueError: out of order"),
        (["--peers", "--off", "0.1"], "result differs: 5.0 of fast, 5.1 of slow"),
        (["--rounds", "0"], "--rounds 0: expected at least 1"),
    ],
)
def test_what_goes_wrong_is_said(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_script(tmp_path, "--case", "a", *arguments)
    assert done.returncode != 0
    assert re.search(message, done.stderr, re.DOTALL), done.stderr


def test_ratio_is_the_median_of_each_rounds_ratio(harness: ModuleType) -> None:
    own, base = harness.Measured(0.0), harness.Measured(0.0)
    own.rounds = [{"s": 2.0}, {"s": 9.0}, {"s": 1.0}]
    base.rounds = [{"s": 1.0}, {"s": 3.0}, {"s": 4.0}]
    assert harness.ratio(own, base, "s") == 2.0
    assert harness.ratio(own, base, "other") is None
    base.rounds = [{"s": 0.0}] * 3
    assert harness.ratio(own, base, "s") is None


def test_serve_answers_each_line_and_measures_what_is_not_given(harness: ModuleType) -> None:
    out = io.StringIO()
    harness.serve(lambda: None, iter(["\n", "\n"]), out)
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(answers) == 2 and all(answer["seconds"] >= 0 and answer["peak_mb"] > 1 for answer in answers)


def test_numbers_of_one_engine_alone_have_lines_of_their_own(harness: ModuleType) -> None:
    parts = harness.Measured(1.0, [{"seconds": 2.0, "head": 1.5}])
    plain = harness.Measured(1.0, [{"seconds": 4.0}])
    rows = harness.table("case", {"plain": plain, "parts": parts}, "plain").splitlines()
    assert rows[0] == "case" and "head" not in rows[1]
    assert rows[3].split()[:3] == ["parts", "2", "0.50"] and rows[4].split() == ["head", "1.5"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_uses_the_harness(path: Path) -> None:
    text = path.read_text()
    assert "harness.run(BENCHMARK)" in text and "BENCHMARK = harness.Benchmark(" in text
