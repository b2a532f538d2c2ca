"""The page of an evaluation: its numbers as tables and charts, its images for the script to draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mrcnn.report import sections
from mrcnn.report.gallery import Gallery
from mrcnn.report.html import data_script, document, number, section, text

SECTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], str], str]] = {
    "coco": (
        "COCO numbers",
        sections.coco,
        "AP is the mean over ten IoU thresholds, 0.50 to 0.95. A dash: no such object.",
    ),
    "classes": (
        "Classes",
        sections.classes,
        "Precision and recall at the score threshold of the best F1, at IoU 0.50.",
    ),
    "curves": ("Precision and recall", sections.curves, ""),
    "errors": (
        "Errors",
        sections.errors,
        "What AP at IoU 0.50 would gain if every error of the kind, and no other, were corrected (TIDE, Bolya et al. "
        "2020). A kind unfolds to its images.",
    ),
    "confusion": (
        "Confusion",
        sections.confusion,
        "Rows are annotated, columns predicted, at the score threshold of the best F1.",
    ),
    "groups": (
        "Size, crowding, border",
        sections.groups,
        "Small: up to 32² pixels; medium: up to 96². Touching: boxes overlap by an IoU of up to 0.1; crowded: by more.",
    ),
    "calibration": (
        "Calibration",
        sections.calibration,
        "On the diagonal a score is the chance to be correct (left), and the overlap with the object (right).",
    ),
}
"""Anchor -> title, function that makes the content, note beneath the title."""
_AFTER = (("images", "Images"), ("labels", "Likely label mistakes"), ("machine", "Time and machine"))


def evaluation_page(numbers: dict[str, Any], gallery: Gallery) -> str:
    """The page as HTML text.

    Args:
        numbers: of `report_numbers`, with "about", "machine" and "seconds".
        gallery: the images to show.
    """
    shown = len(gallery.images)
    left_out = f" {shown} of {shown + gallery.left_out} images are shown." if gallery.left_out else ""
    parts = [section(name, title, make(numbers), note) for name, (title, make, note) in SECTIONS.items()]
    parts += [
        section(
            "images",
            "Images",
            _controls(numbers),
            "Ordered by the panoptic quality of the image at the score threshold of the best F1; ground truth on the "
            f"left, predictions on the right.{left_out}",
        ),
        section(
            "labels",
            "Likely label mistakes",
            sections.label_issues(numbers),
            "Annotations that predictions contradict, most suspicious first. Solid: annotated; dashed: predicted.",
        ),
        section("machine", "Time and machine", sections.machine(numbers)),
    ]
    links = [(name, title) for name, (title, _, _) in SECTIONS.items()] + list(_AFTER)
    navigation = "".join(f'<a href="#{name}">{text(title)}</a>' for name, title in links)
    data = {
        "images": gallery.images,
        "classes": numbers["classes"],
        "threshold": numbers["confusion"]["score_threshold"],
        "issues": numbers["label_issues"][: sections.MAX_ISSUES],
    }
    body = (
        f"<header><h1>Evaluation</h1>{sections.about(numbers)}{_tiles(numbers)}</header>"
        f"<nav>{navigation}</nav><main>{''.join(parts)}</main>{data_script('data', data)}"
    )
    title = f"Evaluation of {numbers['about'].get('model', 'a model')}"
    return document(title, numbers["written_by"], body, ("draw.js", "gallery.js"))


def _tiles(numbers: dict[str, Any]) -> str:
    values, point = numbers["numbers"], numbers["best_f1"]
    tiles = [(f"{kind} {name}", number(values[f"{kind}/{name}"])) for kind, name in _tile_names(values)]
    tiles += [
        ("best F1", number(point["f1"])),
        ("images", str(numbers["images"])),
        ("objects", str(numbers["objects"])),
    ]
    return '<div class="tiles">' + "".join(f"<div><b>{v}</b><span>{text(k)}</span></div>" for k, v in tiles) + "</div>"


def _tile_names(values: dict[str, Any]) -> list[tuple[str, str]]:
    wanted = (("mask", "AP"), ("mask", "AP50"), ("boundary", "AP"), ("box", "AP"))
    return [(kind, name) for kind, name in wanted if f"{kind}/{name}" in values]


def _controls(numbers: dict[str, Any]) -> str:
    classes = "".join(f'<option value="{i}">{text(name)}</option>' for i, name in enumerate(numbers["classes"], 1))
    kinds = "".join(f'<option value="{kind}">{kind}</option>' for kind in numbers["errors"]["kinds"])
    threshold = numbers["confusion"]["score_threshold"]
    return (
        '<form id="filters">'
        f'<label>class <select id="by-class"><option value="">all</option>{classes}</select></label>'
        f'<label>error <select id="by-error"><option value="">all</option>{kinds}</select></label>'
        '<label>order <select id="order"><option value="worst">worst first</option>'
        '<option value="best">best first</option></select></label>'
        f'<label>score from <output id="score-text">{threshold:.2f}</output>'
        f'<input id="score" type="range" min="0" max="1" step="0.01" value="{threshold:.2f}"></label>'
        '<button type="button" id="every" hidden>all images</button></form>'
        '<p class="legend" id="kinds"></p><p id="count" class="note"></p><div id="gallery"></div>'
        '<button type="button" class="more" id="more" hidden>more images</button>'
        "<noscript>The images are drawn by a script, which is switched off.</noscript>"
    )
