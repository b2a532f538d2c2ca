"""The results of a table beside the paper's numbers, in Markdown: means, deviations, signs of the differences."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tables import Row, Table

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""Finished runs by the name of their row."""


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and standard deviation of the sample; None where one value has none."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float | None]:
    """How much larger the mean of `second` is, and the standard error of that; None with a single run."""
    (a, of_a), (b, of_b) = mean_and_deviation(first), mean_and_deviation(second)
    if of_a is None or of_b is None:
        return b - a, None
    return b - a, math.sqrt(of_a**2 / len(first) + of_b**2 / len(second))


def verdict(measured: float, error: float | None, published: float) -> str:
    """Whether the paper's sign was found; a difference below twice its standard error is no sign."""
    if published == 0:
        return "none in the paper"
    if error is not None and abs(measured) <= 2 * error:
        return "not clear"
    sign = "same sign" if measured * published > 0 else "opposite sign"
    return sign if error is not None else f"{sign}, of single runs"


def summary(table: Table, results: Results) -> list[dict[str, Any]]:
    """Each row's numbers, means and differences, as results.json holds them."""
    runs_of = {name: _by_metric(table, runs) for name, runs in results.items()}
    reference = next(row for row in table.rows if row.name == table.reference)
    rows = []
    for row in table.rows:
        published, entry = table.published(row), {"name": row.name, "published": table.published(row), "metrics": {}}
        for metric, values in runs_of.get(row.name, {}).items():
            mean, deviation = mean_and_deviation(values)
            numbers: dict[str, Any] = {"values": values, "mean": mean, "deviation": deviation}
            base = runs_of.get(reference.name, {}).get(metric)
            if base and row.name != reference.name:
                numbers["difference"], numbers["standard_error"] = difference(base, values)
                if metric in published and metric in table.published(reference):
                    numbers["published_difference"] = round(published[metric] - table.published(reference)[metric], 4)
                    numbers["sign"] = verdict(
                        numbers["difference"], numbers["standard_error"], numbers["published_difference"]
                    )
            entry["metrics"][metric] = numbers
        rows.append(entry)
    return rows


def _by_metric(table: Table, runs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    values = {name: [run["numbers"][name] for run in runs if name in run["numbers"]] for name in table.metrics}
    return {name: of_runs for name, of_runs in values.items() if of_runs}


def markdown(key: str, table: Table, results: Results) -> str:
    """The table in Markdown.

    Args:
        key: the paper's number of the table.
        table: the table.
        results: finished runs; rows without any have a dash.
    """
    rows = summary(table, results)
    cells = [[row["name"], *(_value(row["metrics"].get(m)) + _printed(row, m) for m in table.metrics)] for row in rows]
    lines = [f"Table {key}: {table.title}. Mean ± standard deviation here (paper).", ""]
    lines += _grid(["", *table.metrics], cells)
    compared = [row for row in rows if any("difference" in number for number in row["metrics"].values())]
    if compared:
        cells = [[row["name"], *(_compared(row["metrics"].get(m, {})) for m in table.metrics)] for row in compared]
        lines += ["", f"Less {table.reference}, ± standard error (paper), and whether the sign is the paper's:", ""]
        lines += _grid(["", *table.metrics], cells)
    return "\n".join(lines) + "\n"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _value(number: Mapping[str, Any] | None) -> str:
    if number is None:
        return "–"
    deviation = number["deviation"]
    return f"{number['mean']:.1f}" + (f" ± {deviation:.1f}" if deviation is not None else "")


def _printed(row: Mapping[str, Any], metric: str) -> str:
    return f" ({row['published'][metric]:.1f})" if metric in row["published"] else ""


def _compared(number: Mapping[str, Any]) -> str:
    if "difference" not in number:
        return "–"
    error = number["standard_error"]
    text = f"{number['difference']:+.1f}" + (f" ± {error:.1f}" if error is not None else "")
    if "published_difference" in number:
        text += f" ({number['published_difference']:+.1f}): {number['sign']}"
    return text


def listing(tables: Mapping[str, Table]) -> str:
    """All tables with their rows, for `--list`."""
    lines = []
    for key, table in tables.items():
        lines.append(f"{key:5} {table.title}")
        lines += [f"      {_mark(row)} {row.name}{_numbers(table, row)}" for row in table.rows]
    return "\n".join([*lines, "", "Rows with - are other programs', printed but not trained. Numbers: the paper's."])


def _mark(row: Row) -> str:
    return "+" if row.network else "-"


def _numbers(table: Table, row: Row) -> str:
    published = table.published(row)
    return ": " + ", ".join(f"{name} {value}" for name, value in published.items()) if published else ""
