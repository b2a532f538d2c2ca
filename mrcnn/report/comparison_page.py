"""The page of a comparison."""

from __future__ import annotations

from typing import Any

from mrcnn.report.html import data_script, document, number, section, table, text

_MAX_ROWS = 100


def comparison_page(numbers: dict[str, Any], images: list[dict[str, Any]]) -> str:
    """The page as HTML text.

    Args:
        numbers: of `Comparison`.
        images: of `Comparison`, for the script to draw.
    """
    share = f"{100 * numbers['confidence']:.0f} %"
    parts = {
        "ap": (
            "Average precision",
            _intervals(numbers),
            f"In brackets where {share} of {numbers['samples']} bootstrap samples of the images lie. A difference "
            "whose interval holds 0 may be chance.",
        ),
        "classes": (f"AP of each class, {numbers['overlaps_of']}", _classes(numbers), ""),
        "errors": (
            "Errors",
            _errors(numbers),
            "AP50 that correcting each kind of error would add; in brackets how many.",
        ),
        "images": (
            "Images that differ most",
            f'<p class="legend" id="kinds"></p><div id="gallery" class="wide"></div>{_rows(numbers)}',
            "By the panoptic quality of the image, at each run's own score threshold of the best F1.",
        ),
        "coco": ("COCO numbers", _coco(numbers), ""),
    }
    links = "".join(f'<a href="#{name}">{text(title)}</a>' for name, (title, _, _) in parts.items())
    content = "".join(section(name, title, body, note) for name, (title, body, note) in parts.items())
    names = [run["name"] for run in numbers["runs"]]
    data = {"images": images, "runs": names, "classes": list(numbers["classes"])}
    body = (
        f"<header><h1>Comparison</h1><dl><dt>runs</dt><dd>{', '.join(map(text, names))}</dd><dt>images</dt>"
        f"<dd>{numbers['images']}</dd></dl></header><nav>{links}</nav><main>{content}</main>{data_script('data', data)}"
    )
    return document(f"Comparison of {', '.join(names)}", numbers["written_by"], body, ("draw.js", "compare.js"))


def _intervals(numbers: dict[str, Any]) -> str:
    header, rows = [""], []
    for name in ("AP", "AP50", "AP75"):
        header += [name, "difference"]
    for place, run in enumerate(numbers["runs"]):
        cells = [text(run["name"])]
        for name in ("AP", "AP50", "AP75"):
            cells.append(_interval(run[name]["value"]))
            cells.append(_interval(run[name]["difference"], "+") if place else "")
        rows.append(cells)
    return table(header, rows)


def _interval(interval: dict[str, float | None], sign: str = "") -> str:
    value, low, high = interval["value"], interval["low"], interval["high"]
    if value is None:
        return number(None)
    sure = sign and low is not None and high is not None and (low > 0 or high < 0)
    shown = f"{value:{sign}.3f}"
    return f"{f'<b>{shown}</b>' if sure else shown} <small>[{number(low)}, {number(high)}]</small>"


def _coco(numbers: dict[str, Any]) -> str:
    names = list(dict.fromkeys(name for run in numbers["runs"] for name in run["numbers"]))
    rows = [
        [text(name.replace("/", " ")), *(number(run["numbers"].get(name)) for run in numbers["runs"])] for name in names
    ]
    return table(["", *(text(run["name"]) for run in numbers["runs"])], rows)


def _classes(numbers: dict[str, Any]) -> str:
    header = ["class", *(text(run["name"]) for run in numbers["runs"]), "difference"]
    rows = []
    for name, values in numbers["classes"].items():
        both = values[0] is not None and values[-1] is not None
        change = f"{values[-1] - values[0]:+.3f}" if both else number(None)
        rows.append([text(name), *map(number, values), change])
    return table(header, rows, "sortable")


def _errors(numbers: dict[str, Any]) -> str:
    rows = []
    for kind in numbers["runs"][0]["errors"]:
        entries = [run["errors"][kind] for run in numbers["runs"]]
        rows.append([kind, *(f"{number(e['ap_gain'])} <small>({e['count']})</small>" for e in entries)])
    return table(["", *(text(run["name"]) for run in numbers["runs"])], rows)


def _rows(numbers: dict[str, Any]) -> str:
    rows = [
        [text(row["file"]), *map(number, row["quality"]), number(row["spread"])]
        for row in numbers["image_results"][:_MAX_ROWS]
    ]
    return table(["image", *(text(run["name"]) for run in numbers["runs"]), "spread"], rows)
