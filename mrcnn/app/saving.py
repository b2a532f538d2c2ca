"""What is shown, corrected, as a file of labels that other programs read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from mrcnn.app.view import View, result
from mrcnn.data.dataset import Dataset
from mrcnn.results.objects import objects
from mrcnn.structures.result_format import ImageResult
from mrcnn.text import file_stem

Format = Literal["coco", "labelme", "yolo"]
FORMATS: tuple[Format, ...] = get_args(Format)
_SUFFIXES = {"coco": ".json", "labelme": ".json", "yolo": ".txt"}


def save_view(
    view: View, folder: Path, format: Format, class_names: Sequence[str], category_ids: Sequence[int] | None = None
) -> Path:
    """Write the instances that are shown to FOLDER/NAME.json or .txt.

    "coco" is a data set of one image, as people annotate (`mrcnn.load_coco` reads it), without scores; "labelme" and
    "yolo" are those of `Instances.save`.

    Args:
        view: what is shown.
        folder: that exists and has no file of that name.
        format: of the file.
        class_names: of the classes 1..C.
        category_ids: of the classes 1..C in a COCO file; None: 1..C.

    Returns:
        the path of the file, named after the image.

    Raises:
        FileError: the file cannot be written.
        DataError: there is such a file.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from mrcnn.structures.instances import Instances
        >>> leaf = Instances([[1, 2, 3, 7]], [1], (6, 8), scores=[0.9])
        >>> view = View("a.jpg", np.zeros((6, 8, 3), np.uint8), leaf)
        >>> save_view(view, Path(tempfile.mkdtemp()), "yolo", ["leaf"]).read_text()
        '0 0.5625 0.333333333 0.625 0.333333333\\n'
    """
    path = folder / f"{file_stem(Path(view.name).stem)}{_SUFFIXES[format]}"
    if format == "coco":
        _dataset(view, class_names, category_ids).save(path, "coco")
    else:
        # The image is beside the label, wherever the person puts both.
        result(view).save(path, format, class_names=class_names, image=folder / view.name)
    return path


def _dataset(view: View, class_names: Sequence[str], category_ids: Sequence[int] | None) -> Dataset:
    """A data set of the one image; without its pixels."""
    dataset = Dataset()
    for number, name in enumerate(class_names):
        dataset.add_class("app", number + 1 if category_ids is None else category_ids[number], name)
    annotations = [annotation for _, annotation in objects(ImageResult(result(view), Path(view.name)))]
    height, width = view.pixels.shape[:2]
    dataset.add_image("app", 1, view.name, width=width, height=height, annotations=annotations)
    return dataset
