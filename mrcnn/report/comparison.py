"""Evaluations of several models on the same images, compared: what differs, how sure that is, and where it is seen."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn._version import __version__
from mrcnn.data.errors import DataError
from mrcnn.errors import InputError
from mrcnn.evaluation.bootstrap import CONFIDENCE, NUM_SAMPLES, ImageMatches, Interval, compare_runs
from mrcnn.files import atomic_write
from mrcnn.report.comparison_page import comparison_page
from mrcnn.report.evaluation_report import DATA_FILE, PAGE_FILE
from mrcnn.text import printable

COMPARISON_PAGE, COMPARISON_DATA = "compare.html", "compare.json"
MAX_IMAGES = 40
"""Shown, of those whose quality differs most."""
_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
_NEEDED = ("image_results", "matches", "numbers", "per_class", "errors", "overlaps_of")


@dataclasses.dataclass
class Comparison:
    """Result of `compare_reports`; printable. `numbers` is what compare.json holds, `images` what the page shows."""

    numbers: dict[str, Any]
    images: list[dict[str, Any]]

    def save(self, directory: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write compare.html and compare.json into a directory, made if it is absent; returns their paths."""
        page, data = Path(directory) / COMPARISON_PAGE, Path(directory) / COMPARISON_DATA
        with atomic_write(page) as temporary:
            temporary.write_text(comparison_page(self.numbers, self.images), encoding="utf-8")
        with atomic_write(data) as temporary:
            temporary.write_text(json.dumps(self.numbers, allow_nan=False, indent=1) + "\n", encoding="utf-8")
        return page, data

    def __str__(self) -> str:
        runs = self.numbers["runs"]
        width = max([4, *(len(printable(run["name"])) for run in runs)]) + 2
        share = f"{100 * CONFIDENCE:.0f} %"
        lines = [f"{self.numbers['images']} images; AP of the {self.numbers['overlaps_of']}, intervals of {share}"]
        lines.append(f"{'run':{width}}{'AP':>7}{'':19}{'difference':>12}")
        for run in runs:
            value, difference = run["AP"]["value"], run["AP"]["difference"]
            line = f"{printable(run['name']):{width}}{_text(value['value']):>7}  {_range(value):17}"
            lines.append(
                line if run is runs[0] else f"{line}{_text(difference['value'], '+'):>12}  {_range(difference)}"
            )
        return "\n".join(line.rstrip() for line in lines)


def compare_reports(folders: Sequence[str | os.PathLike[str]], *, num_samples: int = NUM_SAMPLES) -> Comparison:
    """Compare what `mrcnn evaluate` left in several folders; the first is what the others are held against.

    Args:
        folders: two or more, each with report_data.json, and report.html for the images.
        num_samples: draws of the bootstrap over images; see `evaluation.bootstrap`.

    Returns:
        printable, and saved as a page by `save`.

    Raises:
        InputError: fewer than two folders.
        DataError: a folder without a report, or reports of different images or objects; names the folder.

    Example:
        >>> print(compare_reports(["out/small", "out/large"]))  # doctest: +SKIP
    """
    if len(folders) < 2:
        raise InputError(f"compare: expected two or more folders that `mrcnn evaluate` wrote, got {len(folders)}")
    reports = [_read(Path(folder)) for folder in folders]
    names = _names([Path(folder) for folder in folders])
    for folder, report in zip(folders[1:], reports[1:], strict=True):
        _expect_same(Path(folder), report, reports[0])
    rows = compare_runs([[_matches(entry) for entry in report["matches"]] for report in reports], num_samples)
    runs = []
    for name, report, row in zip(names, reports, rows, strict=True):
        intervals = {
            key: {"value": _plain(value), "difference": _plain(difference)} for key, (value, difference) in row.items()
        }
        kinds = {kind: {k: e[k] for k in ("ap_gain", "count")} for kind, e in report["errors"]["kinds"].items()}
        runs.append({"name": name, **intervals, "numbers": report["numbers"], "errors": kinds})
    measure = f"{reports[0]['overlaps_of']}/AP"
    numbers = {
        "written_by": f"mrcnn compare {__version__}",
        "images": len(reports[0]["image_results"]),
        "overlaps_of": reports[0]["overlaps_of"],
        "confidence": CONFIDENCE,
        "samples": num_samples,
        "runs": runs,
        "classes": {
            name: [report["per_class"][name][measure] for report in reports] for name in reports[0]["per_class"]
        },
        "image_results": _by_image(reports),
    }
    return Comparison(numbers, _shown_images(numbers, [Path(folder) for folder in folders]))


def _read(folder: Path) -> dict[str, Any]:
    file = folder / DATA_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{folder}: has no {DATA_FILE}; `mrcnn evaluate --out {folder}` writes one") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON, or damaged ({error})") from error
    if not isinstance(content, dict) or not all(key in content for key in _NEEDED):
        raise DataError(f"{file}: not a report of `mrcnn evaluate`, it lacks one of {', '.join(_NEEDED)}")
    return content


def _names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or the whole of those that share it."""
    names = [folder.resolve().name or str(folder) for folder in folders]
    return [str(folder) if names.count(name) > 1 else name for folder, name in zip(folders, names, strict=True)]


def _expect_same(folder: Path, report: dict[str, Any], first: dict[str, Any]) -> None:
    objects = [{entry["image_id"]: entry["objects"] for entry in one["matches"]} for one in (first, report)]
    if objects[0].keys() != objects[1].keys():
        only = sorted(objects[0].keys() ^ objects[1].keys(), key=str)
        raise DataError(f"{folder}: a report of other images than the first one; image {only[0]!r} is in one only")
    for image_id, counts in objects[0].items():
        if counts != objects[1][image_id]:
            raise DataError(f"{folder}: image {image_id!r} has other objects than in the first report")
    if report["overlaps_of"] != first["overlaps_of"] or report["per_class"].keys() != first["per_class"].keys():
        raise DataError(f"{folder}: a report of other classes, or of boxes where the first one is of masks")
    order = {image_id: place for place, image_id in enumerate(objects[0])}
    for key in ("matches", "image_results"):
        report[key].sort(key=lambda entry: order[entry["image_id"]])


def _matches(entry: dict[str, Any]) -> ImageMatches:
    columns = list(zip(*entry["detections"], strict=True)) or [()] * 4
    class_ids, scores, correct, ignored = (np.array(column) for column in columns)
    objects = {int(class_id): number for class_id, number in entry["objects"].items()}
    return ImageMatches(objects, class_ids, scores, correct, ignored)


def _by_image(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Quality of every image in each run, those that differ most first."""
    rows = []
    for entries in zip(*(report["image_results"] for report in reports), strict=True):
        qualities = [entry["quality"] for entry in entries]
        spread = round(max(qualities) - min(qualities), 6)
        rows.append(
            {"image_id": entries[0]["image_id"], "file": entries[0]["file"], "quality": qualities, "spread": spread}
        )
    return sorted(rows, key=lambda row: -row["spread"])


def _shown_images(numbers: dict[str, Any], folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Small images with the detections of each run, taken from the pages of the runs where these show them."""
    galleries = [_gallery(folder / PAGE_FILE) for folder in folders]
    shown: list[dict[str, Any]] = []
    for row in numbers["image_results"]:
        entries = [gallery.get(json.dumps(row["image_id"])) for gallery in galleries]
        some = next((entry for entry in entries if entry is not None), None)
        if some is None or len(shown) == MAX_IMAGES:
            continue
        detections = [None if entry is None else entry["dt"] for entry in entries]
        kept = {key: some[key] for key in ("id", "file", "w", "h", "src", "gt")}
        shown.append({**kept, "quality": row["quality"], "runs": detections})
    return shown


def _gallery(page: Path) -> dict[str, dict[str, Any]]:
    """Image id as JSON -> what a page of `mrcnn evaluate` shows of it; empty where there is no such page."""
    try:
        match = _DATA.search(page.read_text(encoding="utf-8"))
        images = json.loads(match[1])["images"] if match else []
        return {json.dumps(image["id"]): image for image in images}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _plain(interval: Interval) -> dict[str, float | None]:
    return {k: round(v, 6) if math.isfinite(v) else None for k, v in dataclasses.asdict(interval).items()}


def _text(value: float | None, sign: str = "") -> str:
    return "n/a" if value is None else f"{value:{sign}.3f}"


def _range(interval: dict[str, float | None]) -> str:
    return f"[{_text(interval['low'])}, {_text(interval['high'])}]"
