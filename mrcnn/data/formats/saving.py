"""`Dataset.save`: what the writers of formats share, and the list of what a format could not hold.

Kinds of losses: "crowd", "keypoints", "holes", "parts", "overlap" (of a map whose pixels have one owner), "class",
"mask" (of a format of boxes), "too many objects", "empty" (an object without a pixel).
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.data.image_file import image_suffixes
from mrcnn.data.images import stored_shape
from mrcnn.data.read_options import ReadOptions
from mrcnn.files import atomic_write
from mrcnn.structures.records import Annotation, ImageRecord
from mrcnn.text import file_stem

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Saved:
    """What `Dataset.save` wrote.

    Attributes:
        path: of the data set, as `load_dataset` takes it.
        num_images: that were written.
        losses: an issue for each object that the format could not hold, or not wholly.
    """

    path: Path
    num_images: int
    losses: tuple[DatasetIssue, ...]

    def __str__(self) -> str:
        if not self.losses:
            return f"{self.path}: {self.num_images} images; nothing is lost"
        shown = "\n".join(f"  {loss}" for loss in self.losses[:_SHOWN])
        more = f"\n  and {len(self.losses) - _SHOWN} more" if len(self.losses) > _SHOWN else ""
        return f"{self.path}: {self.num_images} images; {len(self.losses)} losses:\n{shown}{more}"


class Saver:
    """A data set while it is written.

    Args:
        dataset: what to write.
        path: where to.
        copy_images: put the images beside the labels.
    """

    def __init__(self, dataset: Dataset, path: Path, copy_images: bool = True) -> None:
        self.dataset, self.path, self.copy_images = dataset, path, copy_images
        self.losses: list[DatasetIssue] = []
        self._names: dict[int, str] = {}
        self._taken: set[str] = set()

    def lost(
        self, kind: str, message: str, record: ImageRecord | None = None, annotation: Annotation | None = None
    ) -> None:
        """Note what the format cannot hold."""
        image_id = None if record is None else record.image_id
        annotation_id = None if annotation is None else annotation.annotation_id
        self.losses.append(DatasetIssue(kind, message, image_id, annotation_id, str(self.path)))

    def without(
        self, record: ImageRecord, annotation: Annotation, *, crowd: bool = True, keypoints: bool = True
    ) -> None:
        """Note that an object loses its crowd flag or its keypoints, where it has them."""
        if crowd and annotation.is_crowd:
            self.lost("crowd", "a crowd region, written as an object", record, annotation)
        if keypoints and annotation.keypoints is not None and (annotation.keypoints[:, 2] > 0).any():
            self.lost("keypoints", "its keypoints are not written", record, annotation)

    def is_copied(self, index: int) -> bool:
        """Whether an image's file is copied as it is; else it is written anew as PNG."""
        path = self.dataset._records[index].path
        if path is None or not self.dataset._reads_files or self.dataset.read_options != ReadOptions():
            return False
        stored, orientation = stored_shape(path)
        same = orientation == 1 or self.dataset.image_shape(index) != stored
        return same and path.lower().endswith(image_suffixes())

    def name(self, index: int) -> str:
        """A file name for an image, its own where it is free; differs from all others in more than case."""
        if index not in self._names:
            record = self.dataset._records[index]
            given = record.extra.get("file_name") or record.path or str(record.image_id)
            base = os.path.basename(str(given).replace("\\", "/"))
            stem, suffix = os.path.splitext(base) if base.lower().endswith(image_suffixes()) else (base, "")
            if record.path is not None and self.is_copied(index):
                suffix = os.path.splitext(record.path)[1]
            else:
                suffix = ".png"
            stem = file_stem(stem or str(record.image_id))
            unique, number = stem, 1
            while unique.lower() in self._taken:
                unique, number = f"{stem}_{number}", number + 1
            self._taken.add(unique.lower())
            self._names[index] = unique + suffix
        return self._names[index]

    def stem(self, index: int) -> str:
        """The file name of an image without its suffix."""
        return os.path.splitext(self.name(index))[0]

    def put_image(self, index: int, folder: Path) -> None:
        """Write an image into a folder, under its `name`."""
        if not self.copy_images:
            return
        target = folder / self.name(index)
        with atomic_write(target) as temporary:
            if self.is_copied(index):
                shutil.copyfile(str(self.dataset._records[index].path), temporary)
            else:
                Image.fromarray(self.dataset._get_image(index)).save(temporary, "PNG")

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        """The objects of an image."""
        return self.dataset.annotations(index)

    def class_name(self, annotation: Annotation) -> str:
        """The name of an object's class."""
        return self.dataset.class_names[annotation.class_id - 1]


def save(
    dataset: Dataset,
    path: str | os.PathLike[str],
    format: str = "coco",
    *,
    copy_images: bool = True,
    strict: bool = False,
    **options: Any,
) -> Saved:
    """See `Dataset.save`."""
    from mrcnn.data.formats.base import Format
    from mrcnn.data.formats.registry import find_format, formats

    chosen, target = find_format(format), Path(path)
    if type(chosen).save is Format.save:
        writable = ", ".join(name for name, f in formats().items() if type(f).save is not Format.save)
        raise DataError(f"{chosen.name} can be read only; formats that can be written: {writable}")
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise DataError(f"{target}: is there already; choose a path that is free, nothing is replaced")
    saver = Saver(dataset, target, copy_images)
    if strict:
        # Everything is written to nowhere first: a loss must leave no half of a data set.
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            trial = Saver(dataset, Path(folder) / target.name, copy_images=False)
            chosen.save(trial, **options)
        if trial.losses:
            shown = "\n".join(str(loss) for loss in trial.losses[:_SHOWN])
            raise DataError(f"{target}: {chosen.name} cannot hold {len(trial.losses)} things:\n{shown}")
    chosen.save(saver, **options)
    return Saved(target, len(dataset), tuple(saver.losses))


def write_text(path: Path, text: str) -> None:
    """Write a text file; it appears whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_png(path: Path, values: np.ndarray, palette: list[int] | None = None) -> None:
    """Write u8 or u16 [h, w] as PNG."""
    with atomic_write(path) as temporary:
        image = Image.fromarray(values)
        if palette is not None:
            image = image.convert("P") if image.mode != "P" else image
            image.putpalette(palette)
        image.save(temporary, "PNG")
