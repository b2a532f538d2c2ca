"""What every benchmark shares: engines that take turns in processes of their own, medians, ratios, a table, JSON.

A benchmark is a script that describes itself to `run`:

    def start(case: str, options: argparse.Namespace) -> Callable[[], Answer]:
        ...  # import, build and load here
        return lambda: ...  # what is timed

    if __name__ == "__main__":
        harness.run(harness.Benchmark(__doc__, engines={"ours": start}, cases=["small", "large"]))

Every engine of a case runs in a process of its own, which serves one round for each line it reads. In a round each
engine runs once, in turn, so a busy machine disturbs all of them alike; a ratio is the median over the rounds of an
engine's number over the base engine's in the same round. The base is the first peer that is measured, else the first
engine.

Every benchmark understands

    --case NAME ...   some of its cases
    --rounds N        rounds that count, after one that warms up
    --only NAME ...   some of its engines and peers
    --engine NAME=MODULE:FUNCTION ...   engines of your own; FUNCTION is a `start` as above
    --peers [PYTHON]  also the other programs, by a Python that has them; default: this one
    --json FILE       the numbers of every round, and the machine they are from
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
MAX_COLUMNS = 5
INSTRUCTIONS = {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}
"""Of the kernel's flags of a CPU those that decide how fast networks are."""
sys.path.insert(0, str(ROOT))  # for mrcnn where it is not installed, and for tests.reference and custom_ops
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Answer = Mapping[str, Any] | None
"""Of one round: numbers by name, and a "note" to print. "seconds" and "peak_mb" are measured unless they are given."""
Start = Callable[[str, argparse.Namespace], Callable[[], Answer]]
"""Prepares an engine for a case, and returns what is timed."""


class NotHere(Exception):
    """An engine cannot run on this machine; the message says what it needs. Raised by a `Start`, it leaves it out."""


class EngineError(Exception):
    """An engine's process ended; the message holds the end of what it wrote to stderr."""


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One script: what is compared, on what."""

    doc: str
    engines: Mapping[str, Start]
    cases: Sequence[str]
    peers: Mapping[str, Start] = dataclasses.field(default_factory=dict)  # run by the Python of --peers
    rounds: int = 5
    fresh: bool = False  # a new process for every round, none to warm up: for what only a first run shows
    base: str | None = None  # what ratios are taken to
    arguments: Callable[[argparse.ArgumentParser], Any] | None = None  # adds the script's own
    prepare: Callable[[argparse.Namespace, Path], Any] | None = None  # once; engines find the folder in `options`
    choose: Callable[[str, argparse.Namespace], Sequence[str]] | None = None  # the engines of a case; None: all
    same: Mapping[str, float] = dataclasses.field(default_factory=dict)  # numbers that agree, and how far they may not


@dataclasses.dataclass
class Measured:
    """The rounds of one engine on one case."""

    start: float  # seconds until the first answer: start of Python, import, building, first run
    rounds: list[dict[str, float]] = dataclasses.field(default_factory=list)
    note: str = ""

    def values(self, name: str) -> list[float]:
        """One number of every round."""
        return [numbers[name] for numbers in self.rounds if name in numbers]

    @property
    def names(self) -> list[str]:
        """Of the numbers, in their order."""
        return list(self.rounds[0]) if self.rounds else []


def ratio(own: Measured, base: Measured, name: str) -> float | None:
    """The median over the rounds of one number over the base's; None where a side lacks it or the base's is 0."""
    pairs = [(a[name], b[name]) for a, b in zip(own.rounds, base.rounds, strict=True) if name in a and b.get(name)]
    return median(a / b for a, b in pairs) if pairs else None


def peak_mb() -> float:
    """Highest resident memory of this process so far in MB; NaN where the system does not say.

    `ru_maxrss` would also count what the parent held when it forked.
    """
    status = Path("/proc/self/status")
    rows = status.read_text().splitlines() if status.exists() else []
    return next((int(row.split()[1]) / 1024 for row in rows if row.startswith("VmHWM")), float("nan"))


def serve(run: Callable[[], Answer], lines: Iterator[str] | IO[str], out: IO[str]) -> None:
    """Answers each line with one round, as JSON."""
    for _ in lines:
        begin = time.perf_counter()
        answer = dict(run() or {})
        answer.setdefault("seconds", time.perf_counter() - begin)
        answer.setdefault("peak_mb", peak_mb())
        first = {name: answer.pop(name) for name in ("seconds", "peak_mb")}
        print(json.dumps(first | answer), file=out, flush=True)


def timed(forward: Callable[[], Any], both: Callable[[], Any], **numbers: float) -> Callable[[], Answer]:
    """What a `Start` returns for two functions; both are timed by the clock on the wall and by processor time."""

    def run() -> Answer:
        answer = dict(numbers)
        for name, function in (("", forward), ("both", both)):
            wall, processor = time.perf_counter(), time.process_time()
            function()
            answer[name or "seconds"] = time.perf_counter() - wall
            answer[f"{name} cpu".strip()] = time.process_time() - processor
        return answer

    return run


class Worker:
    """The process of one engine."""

    def __init__(self, command: Sequence[str]) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )

    def ask(self) -> dict[str, Any]:
        """One round.

        Raises:
            NotHere: the engine cannot run here.
            EngineError: it ended.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        with contextlib.suppress(BrokenPipeError):  # what it wrote before it ended says why
            stdin.write("\n")
            stdin.flush()
        for line in stdout:
            with contextlib.suppress(json.JSONDecodeError):  # what a library prints is not an answer
                answer = json.loads(line)
                if isinstance(answer, dict):
                    if "not_here" in answer:
                        raise NotHere(answer["not_here"])
                    return answer
        self._process.wait()
        self._stderr.seek(0)
        raise EngineError(self._stderr.read()[-2000:] or f"ended with exit code {self._process.returncode}")

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()


def measure(workers: Mapping[str, Callable[[], Worker]], rounds: int, fresh: bool = False) -> dict[str, Measured]:
    """Every engine, in turns.

    Args:
        workers: starts the process of each engine.
        rounds: that count.
        fresh: a new process for each round. Otherwise one, whose first answer does not count.

    Returns:
        What was measured, by engine; those that cannot run here are left out, and named on stderr.
    """
    running: dict[str, Worker] = {}
    measured: dict[str, Measured] = {}
    absent: set[str] = set()
    name = ""
    try:
        for turn in range(rounds if fresh else rounds + 1):
            for name, start in workers.items():
                if name in absent:
                    continue
                begin = time.perf_counter()
                if name not in running:
                    running[name] = start()
                try:
                    answer = running[name].ask()
                except NotHere as error:
                    print(f"{name} is left out: {error}", file=sys.stderr)
                    absent.add(name)
                    running.pop(name).close()
                    continue
                own = measured.setdefault(name, Measured(time.perf_counter() - begin))
                own.note = str(answer.pop("note", ""))
                if fresh or turn > 0:
                    own.rounds.append({key: float(value) for key, value in answer.items()})
                if fresh:
                    running.pop(name).close()
    except EngineError as error:
        raise SystemExit(f"{name}: {error}") from error
    finally:
        for worker in running.values():
            worker.close()
    return measured


def check_same(measured: Mapping[str, Measured], same: Mapping[str, float]) -> None:
    """That engines which claim the same result have it.

    Raises:
        SystemExit: numbers named in `same` differ by more than the relative tolerance; says of which engines.
    """
    for title, tolerance in same.items():
        values = {name: median(own.values(title)) for name, own in measured.items() if own.values(title)}
        for name, value in values.items():
            first = next(iter(values))
            if abs(value - values[first]) > tolerance * abs(values[first]):
                raise SystemExit(f"{title} differs: {values[first]} of {first}, {value} of {name}")


def table(case: str, measured: Mapping[str, Measured], base: str | None) -> str:
    """What was measured on one case: an engine a row, and for each number the median and the ratio to the base.

    Numbers that most engines lack have lines of their own, below their engine's.
    """
    other = measured.get(base or "")
    names = [name for own in measured.values() for name in own.names]
    titles = [name for name in dict.fromkeys(names) if 2 * names.count(name) > len(measured)]
    if len(titles) > MAX_COLUMNS:
        titles = titles[:2]
    wide = max([6, *map(len, measured)])
    widths = [max(9, len(title)) for title in titles]
    head = "".join(f"  {title:>{width}} {'ratio':>6}" for title, width in zip(titles, widths, strict=True))
    rows = [case, f"  {'engine':{wide}}{head}  {'start s':>8}"]
    for name, own in measured.items():
        cells = ""
        for title, width in zip(titles, widths, strict=True):
            values = own.values(title)
            value = f"{median(values):.4g}" if values else ""
            share = None if other is None else ratio(own, other, title)
            cells += f"  {value:>{width}} {'' if share is None else f'{share:.2f}':>6}"
        rows.append(f"  {name:{wide}}{cells}  {own.start:8.1f}  {own.note}".rstrip())
        for title in own.names:
            if title not in titles:
                share = None if other is None or other is own else ratio(own, other, title)
                rows.append(f"    {title:28} {median(own.values(title)):>9.4g}" + (f" {share:6.2f}" if share else ""))
    return "\n".join(rows)


def describe_machine() -> dict[str, Any]:
    """Where the numbers are from."""
    from mrcnn.hardware import cpu_flags

    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "instructions": sorted(cpu_flags() & INSTRUCTIONS),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def to_json(measured: Mapping[str, Measured], base: str | None) -> dict[str, Any]:
    """What was measured on one case, for a file."""
    other = measured.get(base or "")
    return {
        name: {
            "start": own.start,
            "note": own.note,
            "numbers": {
                title: {
                    "median": median(own.values(title)),
                    "ratio": None if other is None else ratio(own, other, title),
                    "rounds": own.values(title),
                }
                for title in own.names
            },
        }
        for name, own in measured.items()
    }


def write_json(path: Path, content: Any) -> None:
    """The file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def make_parser(benchmark: Benchmark) -> argparse.ArgumentParser:
    """The arguments of a benchmark: those that all have, and its own."""
    parser = argparse.ArgumentParser(description=benchmark.doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", default=list(benchmark.cases), help="default: all of them")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="engines and peers; default: all of them")
    parser.add_argument("--rounds", type=int, default=benchmark.rounds)
    parser.add_argument("--peers", nargs="?", const=sys.executable, metavar="PYTHON", help="also the other programs")
    parser.add_argument("--engine", nargs="+", default=[], metavar="NAME=MODULE:FUNCTION", help="engines of your own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers of every round")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=2, metavar=("ENGINE", "CASE"), help=argparse.SUPPRESS)
    if benchmark.arguments is not None:
        benchmark.arguments(parser)
    return parser


def run(benchmark: Benchmark, arguments: Sequence[str] | None = None, script: str | None = None) -> None:
    """The command line of a benchmark.

    Args:
        benchmark: what to measure.
        arguments: of the command line; None: those of this process.
        script: the file that processes run; None: the one that runs now.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = make_parser(benchmark).parse_args(given)
    if options.serve:
        _serve_one(benchmark, options)
        return
    if options.rounds < 1:
        raise SystemExit(f"--rounds {options.rounds}: expected at least 1")
    if options.peers and not benchmark.peers:
        raise SystemExit("--peers: this benchmark has none")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if benchmark.prepare is not None:
            benchmark.prepare(options, Path(folder))
        for case in options.case:
            engines = list(benchmark.engines) if benchmark.choose is None else benchmark.choose(case, options)
            names = [*(benchmark.peers if options.peers else ()), *engines, *options.engine]
            if options.only:
                check_names(options.only, names)
                names = [name for name in names if name in options.only]
            command = [script or sys.argv[0], *given, "--folder", folder]
            workers = {
                name: _starter([options.peers if name in benchmark.peers else sys.executable, *command], name, case)
                for name in names
            }
            measured = measure(workers, options.rounds, benchmark.fresh)
            check_same(measured, benchmark.same)
            base = next((name for name in (benchmark.base, *names) if name in measured), None)
            print(table(case, measured, base), flush=True)
            results[case] = to_json(measured, base)
    if options.json:
        name = Path(script or sys.argv[0]).stem
        write_json(options.json, {"benchmark": name, "machine": describe_machine(), "cases": results})


def check_names(given: Sequence[str], known: Sequence[str]) -> None:
    """That engines which are asked for exist.

    Raises:
        SystemExit: one does not; says which there are.
    """
    unknown = [name for name in given if name not in known]
    if unknown:
        raise SystemExit(f"--only {unknown[0]}: expected one of {'; '.join(known)}")


def _starter(command: Sequence[str], name: str, case: str) -> Callable[[], Worker]:
    return lambda: Worker([*command, "--serve", name, case])


def _serve_one(benchmark: Benchmark, options: argparse.Namespace) -> None:
    name, case = options.serve
    start = {**benchmark.engines, **benchmark.peers}.get(name)
    if start is None:
        module, function = name.partition("=")[2].split(":")
        start = getattr(importlib.import_module(module), function)
    out = os.fdopen(os.dup(1), "w")  # answers keep a channel of their own, whatever is printed meanwhile
    os.dup2(2, 1)
    try:
        function = start(case, options)
    except (NotHere, ModuleNotFoundError) as error:
        print(json.dumps({"not_here": str(error)}), file=out, flush=True)
        return
    serve(function, sys.stdin, out)
