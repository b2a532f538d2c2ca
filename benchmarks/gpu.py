"""One command for a machine with a GPU: checks the CUDA kernels, then inference and training against torchvision.

    python benchmarks/gpu.py --out FOLDER [--peers PYTHON] [--seconds 570] [--row-seconds 150] [--only ROW ...]
    python benchmarks/gpu.py --pack FOLDER [--python-version 3.12] [--part-mb 60]

The machine needs no network. --pack, where there is one, downloads what this package needs as wheels and writes them to
FOLDER in parts of at most so many MB, with the lines that put them together and install them (install.sh).

Every row is a case of another benchmark (kernels.py, train_step.py, inference.py) in a process of its own with a time
limit: what fails or takes too long is noted, and the next row begins. The most important come first. FOLDER/gpu.json
and the table in FOLDER/gpu.md are written after each; rows that are there with numbers are kept, so that the same
command goes on where the time was over. --small takes tiny rows, for a machine without a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import ROOT, describe_machine, write_json

FOLDER = Path(__file__).resolve().parent
LEAST_SECONDS = 20.0  # less is no time for a row
HALVES = ("bfloat16", "float16")
TRAINERS = (
    "float32",
    *HALVES,
    "torchvision, channels last",
    *(f"torchvision, channels last, {half}" for half in HALVES),
    "torchvision, compiled",
)
DETECTORS = ("folded", *HALVES, "bfloat16, XLA", *TRAINERS[3:])
WHEELS = ("tensorflow[and-cuda]", "keras", "numpy", "pillow", "opencv-python-headless", "safetensors", "h5py", "pyyaml")


@dataclasses.dataclass(frozen=True)
class Row:
    """One case of a benchmark."""

    name: str
    script: str
    arguments: tuple[str, ...]
    engines: tuple[str, ...] = ()

    def command(self, rounds: int, peers: str, file: Path) -> list[str]:
        """The command line that measures it and writes its numbers to `file`."""
        only = ["--only", *self.engines] if self.engines else []
        compared = ["--peers", peers] if any("torchvision" in name for name in self.engines) else []
        line = [sys.executable, str(FOLDER / self.script), *self.arguments, *only, *compared]
        return [*line, "--rounds", str(rounds), "--json", str(file)]


def training(size: str, images: int, *options: str) -> Row:
    """A training step of ResNet-50-FPN with 512 RoIs an image."""
    name = " ".join(["train", size, f"x {images}", *options])
    return Row(name, "train_step.py", ("--case", f"{size}:{images}:512", *options), TRAINERS)


def detection(images: int, network: str, *options: str) -> Row:
    """Detection of 100 objects an image of 800 x 1088."""
    case = f"large:{images}:100" + (":r101" if network == "r101" else "")
    return Row(
        " ".join(["detect", network, f"x {images}", *options]), "inference.py", ("--case", case, *options), DETECTORS
    )


def kernels(*options: str) -> Row:
    """The compiled ops against TensorFlow's own operations."""
    return Row(" ".join(["kernels", *options]), "kernels.py", options)


ROWS = (
    kernels(),
    training("800x1344", 2),
    detection(1, "r50"),
    training("1024x1024", 8),
    detection(8, "r50"),
    training("1024x1024", 4),
    detection(32, "r50"),
    training("800x1344", 8),
    detection(1, "r101"),
    detection(8, "r101"),
    training("800x1344", 1),
    training("800x1344", 4),
    training("1024x1024", 1),
    training("1024x1024", 2),
    detection(32, "r101"),
    training("800x1344", 2, "--exact"),
    detection(8, "r50", "--exact"),
)
SMALL = (
    Row("kernels small", "kernels.py", ("--case", "roi_align:float32", "--side", "8")),
    Row("train small", "train_step.py", ("--case", "64x64:1:8"), ("float32",)),
    Row("detect small", "inference.py", ("--case", "64x96:1:5"), ("folded",)),
)

Measure = Callable[[Row, float], dict[str, Any]]
"""The numbers of a row by engine; raises RowError where there are none."""


class RowError(Exception):
    """A row has no numbers; the message says why."""


def measure(row: Row, seconds: float, rounds: int, peers: str) -> dict[str, Any]:
    """One row in a process of its own.

    Raises:
        RowError: it failed, or took longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "row.json"
        command = row.command(rounds, peers, file)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=ROOT, check=False)
        except subprocess.TimeoutExpired as error:
            raise RowError(f"took more than {seconds:.0f} s") from error
        if done.returncode or not file.exists():
            raise RowError((done.stderr.strip() or f"ended with exit code {done.returncode}")[-600:])
        cases: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["cases"]
    several = len(cases) > 1
    return {f"{case}, {name}" if several else name: own for case, of in cases.items() for name, own in of.items()}


def run(
    rows: Sequence[Row], out: Path, seconds: float, row_seconds: float, measure_row: Measure, log: Callable[[str], Any]
) -> dict[str, Any]:
    """Measures what is not there yet, the first rows first, and writes both files after each.

    Args:
        rows: in the order of their importance.
        out: the folder of gpu.json and gpu.md.
        seconds: for all rows together; those for which less than LEAST_SECONDS is left wait for the next call.
        row_seconds: for one row.
        measure_row: measures one within the seconds it is given.
        log: called with a line for each row.

    Returns:
        What gpu.json holds: the machine, and for each row its numbers or its error.
    """
    begin, file = time.monotonic(), out / "gpu.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"rows": {}}
    content["machine"] = describe_machine()
    for row in rows:
        if "engines" in content["rows"].get(row.name, {}):
            log(f"{row.name}: kept")
            continue
        left = seconds - (time.monotonic() - begin)
        if left < LEAST_SECONDS:
            log(f"{row.name}: no time left; the same command goes on")
            continue
        started = time.monotonic()
        try:
            result: dict[str, Any] = {"engines": measure_row(row, min(left, row_seconds))}
        except RowError as error:
            result = {"error": str(error)}
        content["rows"][row.name] = result
        log(f"{row.name}: {result.get('error', 'measured')} ({time.monotonic() - started:.0f} s)")
        write_json(file, content)
        (out / "gpu.md").write_text(to_markdown(content["rows"]), encoding="utf-8")
    return content


def to_markdown(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A table: seconds and memory of every engine, and their ratios to torchvision's fastest and to its memory."""
    lines = ["| row | engine | seconds | ratio | MB | ratio |", "|---|---|---|---|---|---|"]
    for name, row in rows.items():
        if "error" in row:
            lines.append(f"| {name} | {' '.join(row['error'].split())[-200:].replace('|', '/')} | | | | |")
            continue
        medians = {
            engine: tuple(own["numbers"].get(title, {}).get("median", math.nan) for title in ("seconds", "peak_mb"))
            for engine, own in row["engines"].items()
        }
        theirs = [value for engine, value in medians.items() if engine.startswith("torchvision")]
        base = min(theirs, default=(math.nan, math.nan))
        for engine, (seconds, held) in medians.items():
            ratios = [f"{a / b:.2f}" if b == b else "" for a, b in zip((seconds, held), base, strict=True)]
            lines.append(f"| {name} | {engine} | {seconds:.4g} | {ratios[0]} | {held:.0f} | {ratios[1]} |")
            name = ""
    return "\n".join(lines) + "\n"


def pack(out: Path, python_version: str, part_mb: int) -> None:
    """Download the wheels, and write them as parts with install.sh, for a machine without a network.

    Raises:
        SystemExit: pip finds no wheel of a package.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        platforms = [f"--platform=manylinux_2_{n}_x86_64" for n in (28, 27, 17)] + ["--platform=manylinux2014_x86_64"]
        line = [sys.executable, "-m", "pip", "download", "--only-binary=:all:", f"--python-version={python_version}"]
        if subprocess.run([*line, *platforms, "-d", folder, *WHEELS], check=False).returncode:
            raise SystemExit("--pack: pip could not download all wheels; see above")
        split(sorted(Path(folder).iterdir()), out, part_mb << 20)


def split(files: Sequence[Path], out: Path, part: int) -> None:
    """Write files as parts of at most `part` bytes, and install.sh, which joins them in a folder and installs them."""
    lines = [
        "# sh install.sh: joins the parts that lie beside it, and installs them for python3 into /tmp/site",
        "set -e",
    ]
    lines += ['cd "$(dirname "$0")"', "mkdir -p /tmp/wheels"]
    for path in files:
        count = 0
        with path.open("rb") as file:
            while data := file.read(part):
                (out / f"{path.name}.{count:03d}").write_bytes(data)
                count += 1
        lines.append(f"cat {path.name}.??? > /tmp/wheels/{path.name}")
    lines.append("python3 -m pip install --no-index --no-deps --target /tmp/site /tmp/wheels/*.whl")
    (out / "install.sh").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench_out/gpu"), help="folder of gpu.json and gpu.md")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="a Python with torchvision")
    parser.add_argument("--seconds", type=float, default=570.0, help="for all rows")
    parser.add_argument("--row-seconds", type=float, default=150.0, help="for one row")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="some of the rows, by name")
    parser.add_argument("--small", action="store_true", help="tiny rows")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="only download what the machine needs")
    parser.add_argument("--python-version", default="3.12", help="of the machine that --pack is for")
    parser.add_argument("--part-mb", type=int, default=60, help="of the parts that --pack writes")
    options = parser.parse_args(arguments)
    if options.pack is not None:
        pack(options.pack, options.python_version, options.part_mb)
        return
    rows = SMALL if options.small else ROWS
    unknown = [name for name in options.only if name not in {row.name for row in rows}]
    if unknown:
        raise SystemExit(f"--only {unknown[0]}: expected one of {'; '.join(row.name for row in rows)}")
    chosen = [row for row in rows if not options.only or row.name in options.only]

    def measure_row(row: Row, seconds: float) -> dict[str, Any]:
        return measure(row, seconds, options.rounds, options.peers)

    content = run(chosen, options.out, options.seconds, options.row_seconds, measure_row, print)
    print(to_markdown(content["rows"]), end="")


if __name__ == "__main__":
    main()
