"""The page of a data set: its numbers as tables and charts, its images and issues for the script to draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from mrcnn.drawing.colors import class_color
from mrcnn.report.data_gallery import DataGallery
from mrcnn.report.html import data_script, document, number, section, table, text
from mrcnn.report.sections import about
from mrcnn.report.svg import Columns, bar_chart, column_chart, histogram_chart

_AXES = {
    "side": ("root of the box's area after resizing, pixels", True),
    "ratio": ("height / width", True),
    "angle": ("angle of the longer side, degrees", False),
}
_SIZES_SHOWN = 10


def data_page(numbers: dict[str, Any], gallery: DataGallery) -> str:
    """The page as HTML text.

    Args:
        numbers: of `Inspection.to_dict`, with "about".
        gallery: the images and issues to show.
    """
    parts: dict[str, tuple[str, Callable[[], str], str]] = {
        "classes": ("Classes", lambda: _classes(numbers), "A click on the header sorts."),
        "sizes": ("Sizes of images", lambda: _image_sizes(numbers), ""),
        "anchors": ("Objects against anchors", lambda: _anchors(numbers), _anchor_note(numbers)),
        "positions": ("Positions and crowding", lambda: _places(numbers), ""),
        "images": ("Images", lambda: _images(numbers, gallery), _image_note(numbers, gallery)),
        "issues": ("Issues", lambda: _issues(numbers, gallery), ""),
    }
    content = "".join(section(name, title, make(), note) for name, (title, make, note) in parts.items())
    links = "".join(f'<a href="#{name}">{text(title)}</a>' for name, (title, _, _) in parts.items())
    classes = list(numbers["classes"])
    data = {
        "images": gallery.images,
        "classes": classes,
        "colors": [f"#{bytes(class_color(i).tolist()).hex()}" for i in range(1, len(classes) + 1)],
        "issues": gallery.issues,
    }
    body = (
        f"<header><h1>Data</h1>{about(numbers)}{_tiles(numbers)}{_refusal(numbers)}</header>"
        f"<nav>{links}</nav><main>{content}</main>{data_script('data', data)}"
    )
    title = f"Data of {numbers['about'].get('data', 'a data set')}"
    return document(title, numbers["written_by"], body, ("draw.js", "data.js"))


def _tiles(numbers: dict[str, Any]) -> str:
    tiles = [
        ("images", numbers["images"]),
        ("without objects", numbers["images_without_objects"]),
        ("objects", numbers["objects"]),
        ("crowd regions", numbers["crowd_regions"]),
        ("classes", len(numbers["classes"])),
        ("fit no anchor", _percent(numbers["share_no_anchor_fits"])),
        ("issues", len(numbers["issues"]) + len(numbers["suspicions"])),
    ]
    return '<div class="tiles">' + "".join(f"<div><b>{v}</b><span>{text(k)}</span></div>" for k, v in tiles) + "</div>"


def _refusal(numbers: dict[str, Any]) -> str:
    reason = numbers["nothing_to_train_on"]
    return "" if reason is None else f"<p><b>Training refuses:</b> {text(reason)}</p>"


def _classes(numbers: dict[str, Any]) -> str:
    splits = list(numbers["splits"])
    header = ["class", "objects", *(f"in {text(name)}" for name in splits), "images", "median side", "fit no anchor"]
    rows = []
    for name, row in numbers["classes"].items():
        cells = [str(row["objects"]), *(str(row["splits"][split]) for split in splits), str(row["images"])]
        rows.append([text(name), *cells, number(row["median_side"], 1), _percent(row["share_no_anchor_fits"])])
    listed = ", ".join(f"{text(name)} {count}" for name, count in numbers["splits"].items())
    return (f"<p>Images by split: {listed}.</p>" if listed else "") + table(header, rows, "sortable")


def _image_sizes(numbers: dict[str, Any]) -> str:
    sizes = list(numbers["image_sizes"].items())
    shown = sizes[:_SIZES_SHOWN]
    note = f"<p>The {len(shown)} most frequent.</p>" if len(sizes) > len(shown) else ""
    bars = [(size, float(count), str(count), 0) for size, count in shown]
    return f'<div class="charts"><div><h3>width x height</h3>{bar_chart(bars, "Sizes of images")}{note}</div></div>'


def _anchor_note(numbers: dict[str, Any]) -> str:
    covered = ", ".join(f"{_percent(share)} by {least} or more" for least, share in numbers["coverage"].items())
    of = "rotated IoU of the rectangles of least area around the masks" if numbers["rotated_anchors"] else "IoU"
    return (
        f"Sizes after the recipe's resize. Share of objects that the best anchor overlaps, centers together ({of}): "
        f"{covered}. An object fits no anchor where that is less than 0.5."
    )


def _anchors(numbers: dict[str, Any]) -> str:
    charts = []
    for name, histogram in numbers["histograms"].items():
        label, log = _AXES[name]
        parts = [Columns("an anchor fits", histogram["fit"], 0), Columns("no anchor fits", histogram["poor"], 2)]
        chart = column_chart(
            histogram["edges"],
            parts,
            label,
            "objects",
            f"Objects by {label}",
            marks=histogram["anchors"],
            marks_name="anchors",
            log=log,
        )
        charts.append(f"<div>{chart}</div>")
    return f'<div class="charts">{"".join(charts)}</div>' if charts else "<p>No objects.</p>"


def _places(numbers: dict[str, Any]) -> str:
    heat = histogram_chart(
        np.array(numbers["positions"]).T,
        "from the left, share of the width",
        "from the top, share of the height",
        "Centers of boxes",
        diagonal=False,
        y_down=True,
    )
    per_image = numbers["objects_per_image"]
    columns = [Columns("images", per_image["images"], 0)]
    edges = per_image["edges"]
    crowding = column_chart(edges, columns, "objects in an image", "images", "Objects per image")
    total = max(1, sum(numbers["overlaps"].values()))
    rows = [[text(name), str(count), _percent(count / total)] for name, count in numbers["overlaps"].items()]
    kept = ""
    if numbers["max_objects_per_image"] > numbers["max_instances"]:
        kept = f"<p>data.max_instances is {numbers['max_instances']}: of fuller images the largest are kept.</p>"
    fullest = "".join(
        f'<li><button type="button" class="link" data-file="{text(row["file"])}">{text(row["file"])}</button>'
        f" {row['objects']}</li>"
        for row in numbers["fullest_images"]
    )
    return (
        f'<div class="charts"><div><h3>centers of boxes</h3>{heat}</div><div><h3>objects per image</h3>{crowding}'
        f'{kept}<details><summary>the fullest images</summary><ol class="files">{fullest}</ol></details></div></div>'
        '<p class="note">Touching: the box overlaps that of another object, by an IoU of up to 0.1; crowded: more.</p>'
        + table(["", "objects", "share"], rows)
    )


def _images(numbers: dict[str, Any], gallery: DataGallery) -> str:
    splits = "".join(f'<option value="{text(name)}">{text(name)}</option>' for name in numbers["splits"])
    by_split = f'<label>split <select id="by-split"><option value="">all</option>{splits}</select></label>'
    return (
        f'<form id="filters">{_class_choice("by-class", numbers)}{by_split if splits else ""}'
        '<label>order <select id="order"><option value="">as in the data set</option>'
        '<option value="most">most objects first</option><option value="fewest">fewest objects first</option></select>'
        '</label><button type="button" id="every" hidden>all images</button></form><p id="count" class="note"></p>'
        '<div id="gallery" class="samples"></div>'
        '<button type="button" class="more" id="more" hidden>more images</button>'
        "<noscript>The images are drawn by a script, which is switched off.</noscript>"
    )


def _image_note(numbers: dict[str, Any], gallery: DataGallery) -> str:
    shown = len(gallery.images)
    part = f" {shown} of {numbers['images']} images are shown." if shown < numbers["images"] else ""
    return f"Ground truth; a gray outline is a crowd region. Rare classes and images with issues are among them.{part}"


def _issues(numbers: dict[str, Any], gallery: DataGallery) -> str:
    every = [*numbers["issues"], *numbers["suspicions"]]
    if not every:
        return "<p>None.</p>"
    counts = Counter((issue["fatal"], issue["kind"]) for issue in every)
    rows = [
        [text(kind), str(count), "training refuses" if fatal else "corrected, left out or for notice"]
        for (fatal, kind), count in counts.most_common()
    ]
    kinds = "".join(
        f"<option>{text(kind)}</option>" for kind in dict.fromkeys(issue["kind"] for issue in gallery.issues)
    )
    shown = len(gallery.issues)
    note = f"<p>{shown} of {len(every)} are shown; all are in the file of numbers.</p>" if shown < len(every) else ""
    return (
        f'{table(["issue", "number", "what is done"], rows)}{note}<form id="issue-filters">'
        f'<label>issue <select id="issue-kind"><option value="">all</option>{kinds}</select></label>'
        f'{_class_choice("issue-class", numbers)}</form><p id="issue-count" class="note"></p>'
        '<div id="issue-cards" class="issues"></div>'
        '<button type="button" class="more" id="more-issues" hidden>more issues</button>'
    )


def _class_choice(name: str, numbers: dict[str, Any]) -> str:
    classes = "".join(f'<option value="{i}">{text(label)}</option>' for i, label in enumerate(numbers["classes"], 1))
    return f'<label>class <select id="{name}"><option value="">all</option>{classes}</select></label>'


def _percent(share: float | None) -> str:
    return number(None) if share is None else f"{100 * share:.1f} %"
