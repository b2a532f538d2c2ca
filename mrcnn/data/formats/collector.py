"""What the readers of formats share: a data set gathered image by image, its class table, its issues.

Kinds of issues, beside those of `formats.coco`: "missing image", "damaged image", "image size", "orientation",
"unknown class", "no area" (points, lines), "image without label", "label without image", "damaged label".
None of them stops: the record is corrected or left out. A set of which nothing can be used is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue, refuse, warn
from mrcnn.data.formats.agreement import LEFT_OUT, Agreement, merge_file_issues
from mrcnn.data.formats.class_table import ClassTable
from mrcnn.data.formats.fields import short
from mrcnn.data.formats.image_objects import ImageObjects, Record
from mrcnn.data.images import stored_shape
from mrcnn.data.rasterize import MAX_MASK_PIXELS
from mrcnn.data.rgb import shown_shape
from mrcnn.text import printable


class Collector:
    """A data set while its files are read.

    Args:
        path: what `Dataset.path` will be.
        source: name of the format.
        class_names: of the classes 1..C; None: those that occur, by name.
        keypoint_names: of the joints; empty: keypoints are not kept.
        dataset: to fill; None: a plain one.
    """

    def __init__(
        self,
        path: Path,
        source: str,
        class_names: Iterable[str] | None = None,
        keypoint_names: Sequence[str] = (),
        dataset: Dataset | None = None,
    ) -> None:
        self.path, self.source = path, source
        self.dataset = Dataset() if dataset is None else dataset
        self.dataset.path = str(path)
        self.dataset.keypoint_names = tuple(map(str, keypoint_names))
        self.issues = self.dataset.issues
        self.agreement = Agreement()
        self.num_objects = 0
        self._images: list[ImageObjects] = []
        self._image_ids: set[Record] = set()
        self.classes = ClassTable(class_names)

    def add_class(self, name: str, category_id: int | None = None) -> int:
        """The class id of a name, which is added if it is new; until `finish` it may be provisional."""
        return self.classes.add(name, category_id)

    @property
    def class_names(self) -> tuple[str, ...]:
        """So far."""
        return self.classes.names

    def report(
        self,
        kind: str,
        message: str,
        image_id: Record | None = None,
        record: Record | None = None,
        path: Path | str | None = None,
        fatal: bool = False,
    ) -> None:
        """Keep an issue."""
        where = self.dataset.path if path is None else str(path)
        self.issues.append(DatasetIssue(kind, message, image_id, record, where, fatal))

    def image(
        self,
        image_id: Record,
        file: Path | None,
        *,
        stated: tuple[int, int] | None = None,
        shape: tuple[int, int] | None = None,
        orientation: int = 1,
        label: Path | None = None,
        missing: str = "",
        file_name: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> ImageObjects | None:
        """Begin an image; None where it cannot be used, which is reported.

        Args:
            image_id: unique; a further image of one id is left out.
            file: of the image; None: it was not found.
            stated: (height, width) as the label says.
            shape: (height, width) of the stored pixels of an image without a file.
            orientation: of these, as `images.stored_shape` gives it.
            label: the file of its objects, for messages.
            missing: the sentence for an image that was not found.
            file_name: as the label says it.
            extra: of the record.
        """
        if file is None and shape is None:
            self.report("missing image", f"{missing or 'no such image'}{LEFT_OUT}", image_id, path=label)
            return None
        if image_id in self._image_ids:
            self.report("image id twice", f"image {image_id} is given twice; the first is kept", image_id, path=label)
            return None
        if file is not None:
            try:
                shape, orientation = stored_shape(file)
            except DataError as error:
                self.report("damaged image", f"{error}{LEFT_OUT}", image_id, path=label or file)
                return None
        if shape is not None:
            shape = self._shape(image_id, shape, orientation, stated, label or file)
        if shape is None:
            return None
        if shape[0] * shape[1] > MAX_MASK_PIXELS:
            self.report(
                "image size", f"{shape[0]} x {shape[1]}, expected at most {MAX_MASK_PIXELS} pixels{LEFT_OUT}", image_id
            )
            return None
        self._image_ids.add(image_id)
        kept = {"file_name": file_name or (file.name if file is not None else str(image_id)), **(extra or {})}
        objects = ImageObjects(self, image_id, file, shape, label or file or self.path, kept)
        self._images.append(objects)
        return objects

    def drop(self, image: ImageObjects) -> None:
        """Leave an image out that `image` gave."""
        self.num_objects -= len(image.annotations)
        self._images.remove(image)

    def _shape(
        self,
        image_id: Record,
        stored: tuple[int, int],
        orientation: int,
        stated: tuple[int, int] | None,
        path: Path | None,
    ) -> tuple[int, int] | None:
        """(height, width) of an image in the frame of its label; None where the two do not agree."""
        shape = shown_shape(stored, orientation)
        if stated is None or tuple(stated) == shape:
            return shape
        if tuple(stated) == stored:
            self.report(
                "orientation",
                f"its orientation tag is {orientation}; the size is stated without it, pixels are left as stored",
                image_id,
                path=path,
            )
            return stored
        self.report(
            "image size",
            f"the image is {shape[0]} x {shape[1]} (height x width), its label says {stated[0]} x {stated[1]}"
            f"{LEFT_OUT}",
            image_id,
            path=path,
        )
        return None

    def finish(self, *, validate: bool = True, order: Callable[[str], Any] | None = str) -> Dataset:
        """The data set.

        Args:
            validate: refuse a set of which nothing can be used, and issues that are fatal.
            order: what classes that occur are sorted by; None: in the order in which they occurred.

        Raises:
            DataError: see `validate`.
        """
        for name in self.classes.escaped:
            clean = printable(name)
            self.report("class name", f"class {short(clean)} holds control characters; escaped")
        names = self.classes.final_order(order)
        final = {self.classes.find(name): number for number, name in enumerate(names, start=1)}
        for name, category_id in zip(names, self.classes.category_ids(names), strict=True):
            self.dataset.add_class(self.source, category_id, name)
        for image in self._images:
            for a in image.annotations:
                object.__setattr__(a, "class_id", final[a.class_id])  # nobody else has them yet
            self.dataset.add_image(
                self.source,
                image.image_id,
                None if image.file is None else str(image.file),
                height=image.height,
                width=image.width,
                annotations=image.annotations,
                extra=image.extra,
                stuff=image.stuff,
            )
        self._images.clear()
        merge_file_issues(self.issues, self.agreement, self.num_objects, str(self.path))
        if not len(self.dataset):
            self._refuse_nothing()
        if validate:
            refuse(self.issues)
        warn(self.issues, self.path)
        return self.dataset

    def _refuse_nothing(self) -> None:
        reasons = [issue for issue in self.issues if issue.kind != "class name"]
        why = f"; {len(reasons)} issue{'s' * (len(reasons) != 1)}, the first: {reasons[0]}" if reasons else ""
        self.report("no image", f"no image can be used{why}", fatal=True)


def relative_id(file: Path, root: Path) -> str:
    """An image id from a file: its path below a folder, "/" between the parts, without suffix."""
    try:
        relative = file.relative_to(root)
    except ValueError:
        relative = Path(os.path.basename(file))
    return relative.with_suffix("").as_posix()
