"""The parts of an evaluation's page, each a function of the report's numbers that gives HTML."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.report.html import number, table, text
from mrcnn.report.svg import Line, bar_chart, histogram_chart, line_chart

MAX_ISSUES = 60
"""Of the likely label mistakes, shown in the page; the file of numbers holds more."""
MAX_CLASSES = 25
"""In the confusion matrix; of more classes those are shown that are confused most."""
_LISTED = 200  # images of a kind of error
KIND_COLORS = {"classification": 3, "localization": 1, "both": 4, "duplicate": 5, "background": 2, "missed": 6}
ISSUE_TITLES = {
    "unlabeled": "predicted, not annotated",
    "unfound": "annotated, not predicted",
    "class": "another class predicted",
    "outline": "another outline predicted",
}


def about(numbers: dict[str, Any]) -> str:
    """Where the numbers come from."""
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in numbers["about"].items())
    return f"<dl>{rows}</dl>"


def coco(numbers: dict[str, Any]) -> str:
    """A row for each kind, boundary AP among them."""
    values = numbers["numbers"]
    kinds = [k for k in ("box", "mask", "boundary", "keypoints") if f"{k}/AP" in values]
    columns = list(dict.fromkeys(name.partition("/")[2] for name in values if name.partition("/")[0] in kinds))
    rows = []
    for kind in kinds:
        cells = [values.get(f"{kind}/{column}", "") for column in columns]
        rows.append([text(kind), *("" if cell == "" else number(cell) for cell in cells)])
    others = [[text(k), number(v, 4)] for k, v in values.items() if k.partition("/")[0] not in kinds]
    return table(["", *map(text, columns)], rows) + (table(["", "value"], others) if others else "")


def classes(numbers: dict[str, Any]) -> str:
    """A row for each class, which a click on the header sorts."""
    rows = numbers["per_class"]
    some: dict[str, Any] = next(iter(rows.values()), {})
    names = [f"{kind}/{n}" for kind in ("box", "mask", "boundary") for n in ("AP", "AP50") if f"{kind}/{n}" in some]
    header = [
        "class",
        "objects",
        "detections",
        *(n.replace("/", " ") for n in names),
        "precision",
        "recall",
        "F1",
        "score from",
    ]
    body = []
    for name, row in rows.items():
        point = row["best_f1"]
        cells = [str(row["objects"]), str(row["detections"]), *(number(row[n]) for n in names)]
        cells += [number(point[n]) for n in ("precision", "recall", "f1", "threshold")]
        body.append([text(name), *cells])
    return table(header, body, "sortable")


def curves(numbers: dict[str, Any]) -> str:
    """A chart for each kind with the mean curves, and one of the classes."""
    charts = []
    for kind, curve in numbers["curves"].items():
        lines = [
            Line(f"IoU {name.replace(':', ' to ')}", curve["recall"], _gaps(values), place)
            for place, (name, values) in enumerate(curve["precision"].items())
        ]
        charts.append(line_chart(lines, "recall", "precision", f"Precision and recall of {kind}, mean over classes"))
    kind = "mask" if "mask" in numbers["curves"] else "box"
    if len(numbers["classes"]) > 1 and kind in numbers["curves"]:
        curve = numbers["curves"][kind]
        often = sorted(curve["per_class"], key=lambda name: -numbers["per_class"][name]["objects"])[:8]
        lines = [Line(_short(n), curve["recall"], _gaps(curve["per_class"][n]), i) for i, n in enumerate(often)]
        charts.append(line_chart(lines, "recall", "precision", f"Precision and recall of {kind} by class, IoU 0.50"))
    captioned = [
        f"<h3>{text(k)}</h3>{chart}" for k, chart in zip([*numbers["curves"], "classes"], charts, strict=False)
    ]
    return '<div class="charts">' + "".join(f"<div>{chart}</div>" for chart in captioned) + "</div>"


def errors(numbers: dict[str, Any]) -> str:
    """A bar for each kind, and its images."""
    analysis = numbers["errors"]
    file_of = {row["image_id"]: row["file"] for row in numbers["image_results"]}
    bars = [
        (kind, entry["ap_gain"] if entry["ap_gain"] is not None else float("nan"), _gain(entry), KIND_COLORS[kind])
        for kind, entry in analysis["kinds"].items()
    ]
    lists = []
    for kind, entry in analysis["kinds"].items():
        shown = entry["images"][:_LISTED]
        items = "".join(
            f'<li><button type="button" class="link" data-file="{text(file_of[i])}" data-kind="{kind}">'
            f"{text(_short(file_of[i], 48))}</button> {count}</li>"
            for i, count in shown
        )
        more = f"<p>and {len(entry['images']) - _LISTED} more</p>" if len(entry["images"]) > _LISTED else ""
        lists.append(
            f"<details><summary>{kind}: {entry['count']} in {len(entry['images'])} images</summary>"
            f'<ol class="files">{items}</ol>{more}</details>'
        )
    total = (
        f"<p>AP50 {number(analysis['ap50'])}; without false positives +{number(analysis['false_positives'])}, without "
        f"missed objects +{number(analysis['false_negatives'])}.</p>"
    )
    chart = bar_chart(bars, "AP that correcting each kind of error would add")
    return f'<div class="charts"><div>{chart}{total}</div><div>{"".join(lists)}</div></div>'


def confusion(numbers: dict[str, Any]) -> str:
    """A table shaded by the share of the row."""
    matrix = np.array(numbers["confusion"]["matrix"])
    names = ["background", *numbers["classes"]]
    keep = np.arange(len(names))
    note = ""
    if len(names) > MAX_CLASSES + 1:
        off = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
        keep = np.sort(np.append(0, 1 + np.argsort(-off[1:], kind="stable")[:MAX_CLASSES]))
        note = f'<p class="note">The {MAX_CLASSES} of {len(names) - 1} classes with the most errors.</p>'
    order = [*keep[1:], 0]
    rows = []
    for i in order:
        total = max(1, int(matrix[i].sum()))
        cells = [
            "" if not i and not k else _shaded(int(matrix[i, k]), matrix[i, k] / total, right=i == k) for k in order
        ]
        rows.append([text(_short(names[i])), *cells])
    return note + table(["annotated \\ predicted", *(text(_short(names[k])) for k in order)], rows, "confusion")


def groups(numbers: dict[str, Any]) -> str:
    """AP of each group of objects."""
    rows = [
        [text(f"{row['by']}: {row['group']}"), str(row["objects"]), _bar(row["AP"]), number(row["AP50"])]
        for row in numbers["groups"]
    ]
    return table(["", "objects", f"AP of the {numbers['overlaps_of']}", "AP50"], rows)


def calibration(numbers: dict[str, Any]) -> str:
    """Score against correctness, and against the overlap with the object."""
    score, quality = numbers["calibration"]["score"], numbers["calibration"]["quality"]
    diagonal = Line("", [0, 1], [0, 1], "muted", dashed=True)
    lines = [
        diagonal,
        Line("share of correct detections", _gaps(score["mean_scores"]), _gaps(score["means"]), 0, dots=True),
    ]
    reliability = line_chart(lines, "score", "share correct at IoU 0.50", "Scores and the share of correct detections")
    grid = histogram_chart(
        np.array(quality["grid"]), "score", f"{numbers['overlaps_of']} IoU", "Scores and overlaps with the object"
    )
    return (
        f'<div class="charts"><div><h3>to be correct</h3>{reliability}<p>Expected calibration error '
        f"{number(score['error'])}, of {sum(score['counts'])} detections.</p></div><div><h3>quality of the "
        f"{numbers['overlaps_of']}</h3>{grid}<p>Expected calibration error {number(quality['error'])}, correlation "
        f"{number(quality['correlation'])}.</p></div></div>"
    )


def label_issues(numbers: dict[str, Any]) -> str:
    """Cards that the script fills with crops of the images."""
    if not numbers["label_issues"]:
        return "<p>None.</p>"
    file_of = {row["image_id"]: row["file"] for row in numbers["image_results"]}
    names = ["", *numbers["classes"]]
    cards = []
    for place, issue in enumerate(numbers["label_issues"][:MAX_ISSUES]):
        sides = [names[c] for c in (issue["annotated"], issue["predicted"]) if c is not None]
        score = "" if issue["score"] is None else f", score {issue['score']:.2f}"
        cards.append(
            f'<div class="issue" data-issue="{place}"><div class="crop"></div><b>{ISSUE_TITLES[issue["kind"]]}</b>'
            f"<span>{text(' → '.join(map(_short, sides)))}{score}</span>"
            f"<span>{text(_short(file_of[issue['image_id']], 30))}</span>"
            f"<small>suspicion {issue['suspicion']:.2f}</small></div>"
        )
    every = len(numbers["label_issues"])
    more = f"<p>{every - MAX_ISSUES} more are in the file of numbers.</p>" if every > MAX_ISSUES else ""
    return f'<div class="issues">{"".join(cards)}</div>{more}'


def machine(numbers: dict[str, Any]) -> str:
    """Times and hardware."""
    seconds = numbers["seconds"]
    rows = [
        ["evaluation", f"{seconds['evaluation']:.1f} s, {1000 * seconds['per_image']:.0f} ms an image"],
        ["this report", f"{seconds['report']:.1f} s"],
    ]
    rows += [[text(name), text(value)] for name, value in numbers["machine"].items()]
    return table(["", ""], rows, "plain")


def _gaps(values: list[float | None]) -> list[float]:
    return [float("nan") if v is None else v for v in values]


def _gain(entry: dict[str, Any]) -> str:
    return "–" if entry["ap_gain"] is None else f"{entry['ap_gain']:+.3f}"


def _short(name: str, longest: int = 22) -> str:
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-(longest // 2) :]}"


def _shaded(count: int, share: float, right: bool) -> str:
    color = "--good" if right else "--bad"
    return f'<span class="cell" style="--share:{100 * share:.0f}%;--tone:var({color})">{count or ""}</span>'


def _bar(value: float | None) -> str:
    if value is None:
        return number(value)
    return f'<span class="bar" style="--share:{100 * value:.1f}%">{number(value)}</span>'
