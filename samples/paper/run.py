"""Train and evaluate the rows of one of the paper's tables: python samples/paper/run.py --table 2c --scale laptop

`--list` shows all tables. What is done is kept in --out, row by row; the same command again does what is left.
"""

import argparse
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rendering
import running
import yaml
from running import Plan
from scales import ROOT, SCALES, STARTS, PaperError, Places
from tables import GROUPS, TABLES, find

import mrcnn

logger = logging.getLogger("paper")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", metavar="NAME", help=f"one of {', '.join((*TABLES, *GROUPS))}")
    parser.add_argument("--scale", choices=SCALES, default="laptop")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each row, with seeds 0 to N - 1")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), metavar="DIR")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data", metavar="DIR", help="data sets")
    parser.add_argument("--weights", action="append", default=[], metavar="imagenet|imagenet5k|coco=FILE")
    parser.add_argument("--rows", nargs="+", default=[], metavar="NAME", help="of the table; default: all")
    parser.add_argument("--devices", default="1", metavar="N|all", help="GPUs; batch_size is of each")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--list", action="store_true", help="show all tables and their rows")
    options = parser.parse_args(arguments)
    if not options.list and options.table is None:
        parser.error("--table NAME or --list is needed")
    if options.seeds < 1:
        parser.error(f"--seeds: expected at least 1, got {options.seeds}")
    return options


def plan_of(options: argparse.Namespace) -> Plan:
    """What all rows have in common."""
    changes = {key: yaml.safe_load(value) for key, value in (_pair(item, "--set") for item in options.changes)}
    weights = {start: Path(file) for start, file in (_pair(item, "--weights") for item in options.weights)}
    unknown = set(weights) - set(STARTS)
    if unknown:
        raise PaperError(f"--weights {min(unknown)}: expected one of {', '.join(STARTS)}")
    places = Places(options.data, weights)
    return Plan(options.scale, options.out, places, changes, options.devices)


def _pair(item: str, option: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not (key and equals):
        raise PaperError(f"{option} {item}: expected KEY=VALUE")
    return key, value


def run_table(plan: Plan, key: str, seeds: int, names: Sequence[str] = ()) -> str:
    """Run what is left of a table; results.json and table.md are written after every run.

    Raises:
        PaperError: a row cannot be run; the message names table, row and seed.
    """
    table = TABLES[key]
    unknown = set(names) - {row.name for row in table.rows}
    if unknown:
        raise PaperError(f"table {key}: no row {min(unknown)!r}; there are {', '.join(r.name for r in table.rows)}")
    rows = [row for row in table.rows if row.network and (not names or row.name in names)]
    results: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
    jobs = [(row, seed) for seed in range(seeds) for row in rows]  # every row once, before any a second time
    text = ""
    for number, (row, seed) in enumerate(jobs, start=1):
        where = f"table {key}, row {row.name!r}, seed {seed}"
        try:
            done = running.finished(plan, key, row, seed)
            logger.info("%s: %s, run %d of %d", where, "training" if done is None else "done before", number, len(jobs))
            results[row.name].append(running.run(plan, key, row, seed) if done is None else done)
        except (PaperError, mrcnn.MrcnnError, OSError) as error:
            raise PaperError(f"{where}: {error}") from error
        text = _write(plan, key, results)
    return text


def _write(plan: Plan, key: str, results: dict[str, list[dict[str, Any]]]) -> str:
    folder, table = plan.out / f"table_{key}_{plan.scale}", TABLES[key]
    content = {
        "table": key,
        "title": table.title,
        "scale": plan.scale,
        "version": mrcnn.__version__,
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "rows": rendering.summary(table, results),
        "runs": {name: [{k: v for k, v in run.items() if k != "recipe"} for run in of] for name, of in results.items()},
    }
    running.write_json(folder / "results.json", content)
    text = rendering.markdown(key, table, results)
    running.write_text(folder / "table.md", text)
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 where it cannot be run."""
    options = parse(arguments)
    if options.list:
        print(rendering.listing(TABLES))
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        plan = plan_of(options)
        for key in find(options.table):
            print(run_table(plan, key, options.seeds, options.rows), flush=True)
    except (PaperError, KeyError) as error:
        print(error.args[0], file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    mrcnn.quiet_start()
    sys.exit(main())
