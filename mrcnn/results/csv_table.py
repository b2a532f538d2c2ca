"""A table of what was measured, one row an instance, of all images; units are in the names of the columns."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from mrcnn.results.measure import measure
from mrcnn.results.objects import score_of
from mrcnn.structures.result_format import ImageResult, ResultFormat

COLUMNS = (
    "image", "id", "class_id", "class", "score", "x1_px", "y1_px", "x2_px", "y2_px", "area_px2",
    "centroid_x_px", "centroid_y_px", "length_px", "width_px", "orientation_deg",
)  # fmt: skip

Row = list[str | int | float | None]


class CsvTable(ResultFormat):
    """`COLUMNS`; `measure.Measures` says what they are. Without a mask those from area on are empty."""

    name, suffix, joint = "csv", ".csv", True
    holds = "a table of class, score, box, area, centroid, length, width and orientation of all images"

    def encode(self, result: ImageResult, path: Path) -> list[Row]:
        """The rows of an image; the masks themselves are not in a table, which is noted by no loss."""
        result.without(keypoints=True, crowd=True)
        instances = result.instances
        windows = list(instances.mask_windows()) if instances.has_masks else [None] * len(instances)
        rows: list[Row] = []
        for i, (class_id, box, window) in enumerate(
            zip(instances.class_ids.tolist(), instances.boxes.tolist(), windows, strict=True)
        ):
            y1, x1, y2, x2 = (round(v, 3) for v in box)
            row: Row = [result.name, i + 1, class_id, result.class_name(class_id), score_of(result, i), x1, y1, x2, y2]
            values = None if window is None else measure(window[2], window[0], window[1])
            if values is None:
                row += [None if window is None else 0, *[None] * 5]
            else:
                lengths = (*values.centroid, values.length, values.width, values.orientation)
                row += [values.area, *(round(v, 3) for v in lengths)]
            rows.append(row)
        return rows

    def write(self, parts: Sequence[list[Row]], path: Path) -> None:
        """The header and the rows."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(row for part in parts for row in part)
