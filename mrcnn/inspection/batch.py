"""A look at a batch that a training run kept because its loss or gradient was not finite."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.drawing import draw_array, save_image
from mrcnn.inspection.report import SOFTWARE
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import paste_masks
from mrcnn.text import file_stem


def inspect_batch(path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> tuple[str, list[Path]]:
    """Describe and draw a batch that a training run kept because its loss or gradient was not finite.

    Args:
        path: the .npz file.
        out: folder for one drawing an image with its ground truth; None draws nothing.

    Returns:
        a description, and the files written.

    Raises:
        DataError: the file is no such batch.

    Example:
        >>> print(mrcnn.inspect_batch("RUN/nonfinite_step120.npz", "out")[0])  # doctest: +SKIP
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            batch = {key: file[key] for key in file.files}
        about = json.loads(str(batch.pop("about")))
        ids, valid = batch["image_id"].tolist(), batch["gt_valid"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a batch kept by a training run ({error})") from error
    lines, files = [about["message"]], []
    for row, image_id in enumerate(ids):
        h, w = batch["content_shape"][row].tolist()
        boxes, masks = batch["gt_boxes"][row][valid[row]], batch["gt_masks"][row][valid[row]]
        odd = "" if np.isfinite(boxes).all() else ", a box is not finite"
        lines.append(f"  image {image_id}: {w} x {h} pixels after resizing, {len(boxes)} objects{odd}")
        if out is None:
            continue
        canvas = batch["image"].shape[1:3]
        boxes = np.nan_to_num(boxes, nan=0.0, posinf=0.0, neginf=0.0)
        full = paste_masks(masks.astype(np.float32), boxes, *canvas)
        ground_truth = Instances(boxes, batch["gt_class_ids"][row][valid[row]], canvas, masks=full)
        drawing = draw_array(batch["image"][row].astype(np.uint8), ground_truth, class_names=about["class_names"])
        name = f"{file_stem(path.stem)}_{row}_{file_stem(image_id)}.png"
        files.append(save_image(Path(out) / name, drawing, software=SOFTWARE))
    return "\n".join(lines), files
